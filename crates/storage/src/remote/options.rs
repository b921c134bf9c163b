//! Options of a remote location: the query of its URL, in our words or in those of Velero's
//! `BackupStorageLocation` configuration.

use std::collections::BTreeMap;

use super::tls::Trust;

/// Options of a URL that are taken out one by one; what is left over is refused.
pub(super) struct Options {
    given: BTreeMap<String, String>,
}

impl Options {
    pub(super) fn new(given: &BTreeMap<String, String>) -> Self {
        Self {
            given: given.clone(),
        }
    }

    /// The value under the first of these names that is given and not empty; the others are dropped.
    pub(super) fn text(&mut self, names: &[&str]) -> Option<String> {
        self.given_text(names).filter(|value| !value.is_empty())
    }

    /// Like [`Options::text`], with an empty value as one.
    pub(super) fn given_text(&mut self, names: &[&str]) -> Option<String> {
        let mut found = None;
        for name in names {
            let key = self
                .given
                .keys()
                .find(|key| key.eq_ignore_ascii_case(name))
                .cloned();
            let value = key.and_then(|key| self.given.remove(&key));
            found = found.or(value);
        }
        found
    }

    /// A yes or no.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn flag(&mut self, names: &[&str]) -> Result<Option<bool>, String> {
        let Some(value) = self.text(names) else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(Some(true)),
            "false" | "0" | "no" => Ok(Some(false)),
            other => Err(format!(
                "option `{}` is true or false, not `{other}`",
                names.first().copied().unwrap_or_default()
            )),
        }
    }

    /// An option that Velero knows and that changes nothing here.
    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.given_text(names);
    }

    /// An option that would change what is stored, and that is not supported.
    ///
    /// # Errors
    /// It is given.
    pub(super) fn refuse(&mut self, name: &str, reason: &str) -> Result<(), String> {
        match self.text(&[name]) {
            Some(_) => Err(format!("option `{name}` is not supported: {reason}")),
            None => Ok(()),
        }
    }

    /// How far the server's certificate is trusted, which every store shares.
    ///
    /// # Errors
    /// A flag is not one.
    pub(super) fn trust(&mut self) -> Result<Trust, String> {
        Ok(Trust {
            ca: self.text(&["caCert", "ca"]),
            skip_verification: self.flag(&["insecureSkipTLSVerify"])?.unwrap_or(false),
        })
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Names the options that nobody asked for; their values stay unsaid.
    pub(super) fn finish(self) -> Result<(), String> {
        let unknown: Vec<&str> = self.given.keys().map(String::as_str).collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(format!("unknown option: {}", unknown.join(", ")))
        }
    }
}

/// An endpoint with its scheme: `https` where none is given.
///
/// # Errors
/// It is no address, or carries credentials or a query.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url = url::Url::parse(&full).map_err(|error| format!("the endpoint is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err("the endpoint is not of the form https://host:port".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("an endpoint carries neither credentials nor options".to_owned());
    }
    Ok(full.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        let given = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Options::new(&given)
    }

    #[test]
    fn names_differ_by_case_and_the_first_that_is_given_counts() {
        let mut given = options(&[
            ("S3FORCEPATHSTYLE", "true"),
            ("s3Url", "http://a"),
            ("region", ""),
        ]);
        assert_eq!(
            given.flag(&["pathStyle", "s3ForcePathStyle"]),
            Ok(Some(true))
        );
        assert_eq!(
            given.text(&["endpoint", "s3Url"]).as_deref(),
            Some("http://a")
        );
        assert_eq!(given.text(&["region"]), None);
        assert_eq!(given.finish(), Ok(()));
    }

    #[test]
    fn what_is_not_understood_is_refused_without_its_value() {
        let mut given = options(&[("secretKey", "hunter2"), ("x", "maybe")]);
        let flag = given.flag(&["x"]).expect_err("no flag");
        assert_eq!(flag, "option `x` is true or false, not `maybe`");
        let unknown = given.finish().expect_err("unknown");
        assert_eq!(unknown, "unknown option: secretKey");
        let mut tagged = options(&[("tagging", "a=b")]);
        assert!(tagged.refuse("tagging", "why").is_err());
    }

    #[test]
    fn an_endpoint_is_an_address_and_nothing_else() {
        assert_eq!(endpoint("minio:9000").as_deref(), Ok("https://minio:9000"));
        assert_eq!(
            endpoint("http://[::1]:9000/").as_deref(),
            Ok("http://[::1]:9000")
        );
        for bad in [
            "ftp://x",
            "https://",
            "https://user:pw@host",
            "https://h?x=1",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
