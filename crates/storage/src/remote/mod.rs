//! Stores behind HTTP: S3, Azure Blob Storage, Google Cloud Storage.
//!
//! The client library speaks the protocols and signs; everything that [`crate::ObjectStore`] promises is
//! made here. Each operation sends its requests through a transport of its own that notes what was answered
//! (`trace`), and the error is made from those notes rather than from the library's opinion (`failure`).
//! A single request is sent once: repeating it is the business of [`crate::RetryStore`]. What cannot be
//! repeated from outside is repeated here: parts of an upload and its end, further pages of a listing, the
//! rest of a body that broke off.
//!
//! What a dropped or killed upload leaves behind is never visible: its removal is attempted in the
//! background; where that does not happen any more, S3 keeps the parts until a lifecycle rule
//! (`AbortIncompleteMultipartUpload`) removes them, and Azure and Google drop them after a week.
//!
//! Start with `store`.

mod aws_query;
mod azure;
mod failure;
mod gcs;
mod list;
mod options;
mod proxy;
mod read;
mod s3;
mod s3_bucket;
mod s3_retention;
mod signed;
mod store;
mod tls;
mod trace;
mod transport;
mod upload;
mod xml;

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::prefix::PrefixStore;
use crate::store::ObjectStore;
use crate::url::StoreUrl;

pub use self::aws_query::AwsQuery;
pub use self::signed::read_signed;
use self::store::{Recipe, RemoteStore};
pub use self::xml::Element;

/// Opens the bucket or container of an `s3`, `azure` or `gs` URL, at its folder, without decorators.
///
/// # Errors
/// [`ErrorKind::Invalid`] when an option cannot be used. No request is sent.
pub fn open(url: &StoreUrl) -> Result<Arc<dyn ObjectStore>> {
    let refuse = |detail: String| {
        Error::new(ErrorKind::Invalid, "open", url).with_detail(trace::shorten(&detail, 300))
    };
    let environment = |name: &str| std::env::var(name).ok();
    let (recipe, trust) = match url.scheme.as_str() {
        "s3" => s3::S3Recipe::new(&url.bucket, &url.options, environment)
            .map(|(recipe, trust)| (Recipe::S3(recipe), trust)),
        "azure" => azure::AzureRecipe::new(&url.bucket, &url.options, environment)
            .map(|(recipe, trust)| (Recipe::Azure(recipe), trust)),
        "gs" => gcs::GcsRecipe::new(&url.bucket, &url.options)
            .map(|(recipe, trust)| (Recipe::Gcs(recipe), trust)),
        other => Err(format!("`{other}` is not one of s3, azure, gs")),
    }
    .map_err(refuse)?;
    let client = transport::Client::new(&trust).map_err(refuse)?;
    let name = format!("{}://{}", url.scheme, url.bucket);
    let store = RemoteStore::new(recipe, client, name)
        .map_err(|error| refuse(error.message().to_owned()))?;
    Ok(PrefixStore::wrap(Arc::new(store), &url.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_text(text: &str) -> Result<Arc<dyn ObjectStore>> {
        open(&StoreUrl::parse(text).expect("valid URL"))
    }

    #[test]
    fn a_url_opens_the_store_at_its_folder() {
        for (url, name) in [
            (
                "s3://bucket/some/prefix?region=eu-west-1",
                "s3://bucket/some/prefix",
            ),
            ("s3://bucket?endpoint=http://127.0.0.1:9000", "s3://bucket"),
            (
                "azure://container/p?storageAccount=acc",
                "azure://container/p",
            ),
            ("gs://bucket", "gs://bucket"),
        ] {
            assert_eq!(open_text(url).expect("opened").describe(), name);
        }
    }

    #[test]
    fn an_unusable_option_is_refused_by_name() {
        let error = open_text("s3://bucket?secretAccessKey=hunter2").expect_err("unknown option");
        assert_eq!(error.kind, ErrorKind::Invalid);
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("secretAccessKey") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
