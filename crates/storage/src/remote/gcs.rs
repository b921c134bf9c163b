//! Google Cloud Storage.

use std::collections::BTreeMap;

use opendal::Operator;
use opendal::raw::Servicer;
use opendal::services::Gcs;

use super::options::{self, Options};
use super::tls::Trust;

/// A bucket and how to reach it.
#[derive(Clone, Debug)]
pub(super) struct GcsRecipe {
    bucket: String,
    endpoint: Option<String>,
    credentials_file: Option<String>,
    service_account: Option<String>,
    storage_class: Option<String>,
    anonymous: bool,
}

impl GcsRecipe {
    /// The endpoint that was given.
    pub(super) fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Reads the options of a location.
    ///
    /// # Errors
    /// Which option cannot be used and why, for people.
    pub(super) fn new(
        bucket: &str,
        given: &BTreeMap<String, String>,
    ) -> Result<(Self, Trust), String> {
        let mut options = Options::new(given);
        let trust = options.trust()?;
        let endpoint = options.text(&["endpoint"]);
        let endpoint = endpoint.as_deref().map(options::endpoint).transpose()?;
        let credentials_file = options.text(&["credentialsFile"]);
        if let Some(file) = &credentials_file {
            // The library would silently go on to the next kind of credentials.
            std::fs::metadata(file).map_err(|error| {
                format!("the credentials file `{file}` cannot be read: {error}")
            })?;
        }
        let service_account = options.text(&["serviceAccount"]);
        let storage_class = options.text(&["storageClass"]);
        let anonymous = options.flag(&["anonymous"])?.unwrap_or(false);
        options.refuse("kmsKeyName", "set the key as the bucket's default key")?;
        options.finish()?;
        let recipe = Self {
            bucket: bucket.to_owned(),
            endpoint,
            credentials_file,
            service_account,
            storage_class,
            anonymous,
        };
        Ok((recipe, trust))
    }

    /// Generation preconditions of Google cover single requests and resumable uploads; of a store that
    /// merely speaks the protocol nothing is known.
    pub(super) fn excludes(&self) -> bool {
        self.endpoint
            .as_deref()
            .is_none_or(|endpoint| endpoint == "https://storage.googleapis.com")
    }

    pub(super) fn build(&self) -> opendal::Result<Servicer> {
        let mut builder = Gcs::default().bucket(&self.bucket);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(file) = &self.credentials_file {
            builder = builder.credential_path(file);
        }
        if let Some(account) = &self.service_account {
            builder = builder.service_account(account);
        }
        if let Some(class) = &self.storage_class {
            builder = builder.default_storage_class(class);
        }
        if self.anonymous {
            builder = builder.skip_signature();
        }
        Ok(Operator::new(builder)?.into_parts().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(query: &[(&str, &str)]) -> Result<GcsRecipe, String> {
        let given = query
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        GcsRecipe::new("bucket", &given).map(|(recipe, _)| recipe)
    }

    #[test]
    fn only_google_itself_is_known_to_exclude() {
        let google = recipe(&[]).expect("valid");
        assert!(google.excludes());
        google.build().expect("usable");
        let other = recipe(&[("endpoint", "http://127.0.0.1:1"), ("anonymous", "true")]);
        let other = other.expect("valid");
        assert!(!other.excludes());
        other.build().expect("usable");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for query in [
            &[("kmsKeyName", "k")][..],
            &[("credentialsFile", "/no/such/file")],
            &[("bogus", "1")],
        ] {
            assert!(recipe(query).is_err(), "{query:?}");
        }
    }
}
