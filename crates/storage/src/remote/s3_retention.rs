//! Until when S3 lets nobody remove an object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use salvor_seal::Digest;

use super::s3_bucket::Asked;
use super::store::RemoteStore;
use crate::error::{ErrorKind, Result};
use crate::key::Key;

impl RemoteStore {
    /// The end of the retention of an object's newest version. S3 tells it to whoever may ask for retentions, and leaves it
    /// out for others.
    pub(super) async fn object_retained_until(&self, key: &Key) -> Result<Option<Timestamp>> {
        const DOING: &str = "look up the retention of";
        let asked = Asked {
            operation: DOING,
            name: "HeadObject",
            method: Method::HEAD,
            key: key.as_str(),
            query: "",
            headers: Vec::new(),
            body: "".into(),
        };
        let answer = self.ask(asked).await?;
        let until = answer.headers().get("x-amz-object-lock-retain-until-date");
        let Some(until) = until else { return Ok(None) };
        let date = until.to_str().ok().and_then(|text| text.parse().ok());
        date.map(Some).ok_or_else(|| {
            self.refusal(ErrorKind::Other, DOING, key.as_str())
                .with_detail(format!("the answer has no date but {until:?}"))
        })
    }

    /// Lets nobody remove an object's newest version before `until`.
    pub(super) async fn retain_until(&self, key: &Key, mode: &str, until: Timestamp) -> Result<()> {
        const DOING: &str = "extend the retention of";
        if !matches!(mode, "COMPLIANCE" | "GOVERNANCE") {
            let error = self.refusal(ErrorKind::Unsupported, DOING, key.as_str());
            return Err(error.with_detail("a retention is COMPLIANCE or GOVERNANCE"));
        }
        let body = document(mode, until);
        let checksum = BASE64.encode(Digest::of(body.as_bytes()).as_bytes());
        self.ask(Asked {
            operation: DOING,
            name: "PutObjectRetention",
            method: Method::PUT,
            key: key.as_str(),
            query: "?retention",
            headers: vec![
                // S3 takes this request with a checksum of its body only.
                ("x-amz-checksum-sha256", checksum),
                ("x-amz-sdk-checksum-algorithm", "SHA256".to_owned()),
            ],
            body: body.into(),
        })
        .await
        .map(drop)
    }
}

fn document(mode: &str, until: Timestamp) -> String {
    let until = until.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ");
    format!(
        "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{mode}</Mode>\
         <RetainUntilDate>{until}</RetainUntilDate></Retention>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::xml::Element;

    #[test]
    fn a_retention_ends_at_a_second() {
        let until: Timestamp = "2027-03-01T10:20:30.75Z".parse().expect("a time");
        let text = document("COMPLIANCE", until);
        let root = Element::parse(&text).expect("XML");
        assert_eq!(root.text_of("Mode"), Some("COMPLIANCE"));
        assert_eq!(
            root.text_of("RetainUntilDate"),
            Some("2027-03-01T10:20:30Z")
        );
    }
}
