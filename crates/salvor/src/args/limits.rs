//! How fast a store may be used.

use clap::Args;
use salvor_api::labels;
use salvor_api::limits::{self, TransferLimits};
use salvor_api::meta::StringMap;

use crate::exit::Failure;

/// Limits on the use of a store.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LimitArgs {
    /// Bytes per second to the store, at most: 50Mi, or `none`.
    #[arg(long, value_parser = bytes, value_name = "BYTES", help_heading = "Limits")]
    pub(crate) upload_limit: Option<String>,
    /// Bytes per second from the store, at most: 50Mi, or `none`.
    #[arg(long, value_parser = bytes, value_name = "BYTES", help_heading = "Limits")]
    pub(crate) download_limit: Option<String>,
    /// Requests to the store per second, at most.
    #[arg(long, value_parser = count, value_name = "N", help_heading = "Limits")]
    pub(crate) request_limit: Option<String>,
    /// Requests to the store at once, at most.
    #[arg(long, value_parser = count, value_name = "N", help_heading = "Limits")]
    pub(crate) in_flight_limit: Option<String>,
}

impl LimitArgs {
    /// True when none is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.given().next().is_none()
    }

    fn given(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let Self {
            upload_limit,
            download_limit,
            request_limit,
            in_flight_limit,
        } = self;
        [
            (labels::UPLOAD_LIMIT, upload_limit),
            (labels::DOWNLOAD_LIMIT, download_limit),
            (labels::REQUEST_LIMIT, request_limit),
            (labels::IN_FLIGHT_LIMIT, in_flight_limit),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)))
    }

    /// Writes what is given into annotations; `none` takes a limit out.
    pub(crate) fn annotate(&self, annotations: &mut StringMap) {
        for (key, value) in self.given() {
            if value == "none" {
                annotations.remove(key);
            } else {
                annotations.insert(key.to_owned(), value.clone());
            }
        }
    }

    /// What is given, for a run from here.
    ///
    /// # Errors
    /// None that the parsing of the flags lets through.
    pub(crate) fn limits(&self) -> Result<TransferLimits, Failure> {
        let mut annotations = StringMap::new();
        self.annotate(&mut annotations);
        TransferLimits::of(&annotations).map_err(Failure::usage)
    }
}

fn bytes(text: &str) -> Result<String, String> {
    limits::bytes_per_second(text).map(|_| text.to_owned())
}

fn count(text: &str) -> Result<String, String> {
    limits::count(text).map(|_| text.to_owned())
}
