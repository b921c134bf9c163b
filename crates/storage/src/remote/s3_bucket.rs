//! What S3 does besides reading and writing objects: the rules of a bucket, storage classes and thawing. The client
//! library knows none of it, so these requests are built and signed here and sent by the same transport.

use std::borrow::Cow;

use http::{Method, Request, Response, header::HeaderValue};
use opendal::raw::ServiceOperation;
use opendal::{Buffer, HttpTransporter};
use reqsign_aws_v4::Credential;
use reqsign_core::Signer;

use super::failure::explain;
use super::store::RemoteStore;
use super::trace::Trace;
use super::xml::Element;
use crate::bucket::{
    Access, BucketRules, DefaultRetention, Known, LifecycleRule, Tier, Versioning, is_cold_class,
};
use crate::error::{ErrorKind, Result};
use crate::key::Key;

/// Larger objects cannot be copied by one request.
const LARGEST_COPY: u64 = 5 << 30;

/// What it takes to send a request of our own.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    pub(super) signer: Signer<Credential>,
    /// Address of the bucket, without a slash at its end.
    pub(super) address: String,
    /// Name of the bucket.
    pub(super) bucket: String,
    /// Headers that every write of an object carries.
    pub(super) write_headers: Vec<(&'static str, String)>,
    /// Whether a key of the customer's encrypts objects, which a copy would need twice.
    pub(super) customer_key: bool,
}

/// One request.
pub(super) struct Asked<'a> {
    pub(super) operation: &'static str,
    /// S3's name for it.
    pub(super) name: &'static str,
    pub(super) method: Method,
    pub(super) key: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Cow<'static, str>,
}

impl<'a> Asked<'a> {
    fn bucket(name: &'static str, query: &'a str) -> Self {
        Self {
            operation: "read the rules of",
            name,
            method: Method::GET,
            key: "",
            query,
            headers: Vec::new(),
            body: "".into(),
        }
    }
}

impl RemoteStore {
    pub(super) async fn ask(&self, asked: Asked<'_>) -> Result<Response<Buffer>> {
        let Asked {
            operation,
            name,
            method,
            key,
            query,
            headers,
            body,
        } = asked;
        let requests = self.requests(operation, key).await?;
        let trace = Trace::default();
        let failed = |cause: opendal::Error| explain(operation, key, self.place(), &trace, &cause);
        let uri = format!("{}/{}{query}", requests.address, encode(key));
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request
            .body(())
            .map_err(|error| failed(invalid(&error.to_string())))?;
        let (mut parts, ()) = request.into_parts();
        let signed = requests.signer.sign(&mut parts, None).await;
        signed.map_err(|error| failed(unsigned(&error)))?;
        parts.extensions.insert(ServiceOperation(name));
        // A request with a body of known length, also of none.
        let length = HeaderValue::from(body.len());
        parts.headers.insert(http::header::CONTENT_LENGTH, length);
        let transport = HttpTransporter::new(self.client().traced(trace.clone()));
        let request = Request::from_parts(parts, Buffer::from(body.into_owned()));
        let answer = transport.send(request).await.map_err(&failed)?;
        match trace.failure() {
            None => Ok(answer),
            Some(_) => Err(failed(invalid("the store refused"))),
        }
    }

    /// The rules of the bucket.
    pub(super) async fn bucket_rules(&self) -> Result<BucketRules> {
        let versioning = self.rule(
            "GetBucketVersioning",
            "?versioning",
            "s3:GetBucketVersioning",
        );
        let lifecycle = self.rule(
            "GetBucketLifecycleConfiguration",
            "?lifecycle",
            "s3:GetLifecycleConfiguration",
        );
        let lock = self.rule(
            "GetObjectLockConfiguration",
            "?object-lock",
            "s3:GetBucketObjectLockConfiguration",
        );
        let (versioning, lifecycle, lock) = tokio::try_join!(versioning, lifecycle, lock)?;
        Ok(BucketRules {
            versioning: map(versioning, |root| versioning_of(root.as_ref())),
            lifecycle: map(lifecycle, |root| lifecycle_of(root.as_ref())),
            default_retention: map(lock, |root| retention_of(root.as_ref())),
        })
    }

    /// One of the bucket's configurations; `None` inside when it has none.
    async fn rule(
        &self,
        name: &'static str,
        query: &str,
        right: &'static str,
    ) -> Result<Known<Option<Element>>> {
        match self.ask(Asked::bucket(name, query)).await {
            Ok(answer) => {
                let body = answer.into_body().to_bytes();
                let text = String::from_utf8_lossy(&body);
                let root = Element::parse(&text).map_err(|reason| {
                    self.refusal(ErrorKind::Other, "read the rules of", "")
                        .with_detail(format!("the answer to {name} is {reason}"))
                })?;
                Ok(Known::Is(Some(root)))
            }
            Err(error) => match error.kind {
                // There is no configuration of this kind. A bucket that is not there has a kind of its own.
                ErrorKind::NotFound => Ok(Known::Is(None)),
                ErrorKind::Denied => Ok(Known::Denied(right)),
                ErrorKind::Unsupported | ErrorKind::Invalid => Ok(Known::Unsupported),
                _ => Err(error),
            },
        }
    }

    /// The storage class of an object, and whether it can be read.
    pub(super) async fn object_tier(&self, key: &Key) -> Result<Tier> {
        let answer = self
            .ask(Asked {
                operation: "look up",
                name: "HeadObject",
                method: Method::HEAD,
                key: key.as_str(),
                query: "",
                headers: Vec::new(),
                body: "".into(),
            })
            .await?;
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            value.to_str().ok()
        };
        let class = header("x-amz-storage-class").unwrap_or_default();
        let frozen = is_cold_class(class) || header("x-amz-archive-status").is_some();
        Ok(Tier {
            class: class.to_owned(),
            access: access_of(frozen, header("x-amz-restore")),
        })
    }

    /// Moves an object to another storage class, by a copy onto itself. Its bytes stay what they are.
    pub(super) async fn move_to_class(&self, key: &Key, class: &str) -> Result<()> {
        const DOING: &str = "move to another storage class";
        let refuse = |detail: &str| {
            let error = self.refusal(ErrorKind::Unsupported, DOING, key.as_str());
            Err(error.with_detail(detail))
        };
        let named = |c: u8| c.is_ascii_uppercase() || c == b'_' || c.is_ascii_digit();
        if class.is_empty() || !class.bytes().all(named) {
            return refuse("a storage class is a name such as GLACIER or DEEP_ARCHIVE");
        }
        let (info, _) = self.stat(key).await?;
        if info.size > LARGEST_COPY {
            return refuse("it is larger than 5 GiB, which one request cannot copy");
        }
        let requests = self.requests(DOING, key.as_str()).await?;
        if requests.customer_key {
            return refuse("it is encrypted with a key of the customer");
        }
        let source = format!("/{}/{}", requests.bucket, encode(key.as_str()));
        let mut headers = vec![
            ("x-amz-copy-source", source),
            ("x-amz-storage-class", class.to_owned()),
            ("x-amz-metadata-directive", "COPY".to_owned()),
        ];
        // What lies there is what was looked at.
        headers.extend(info.etag.map(|etag| ("x-amz-copy-source-if-match", etag)));
        headers.extend(requests.write_headers.iter().cloned());
        self.ask(Asked {
            operation: DOING,
            name: "CopyObject",
            method: Method::PUT,
            key: key.as_str(),
            query: "",
            headers,
            body: "".into(),
        })
        .await
        .map(drop)
    }

    /// Asks for an object of a cold class to be readable for some days.
    pub(super) async fn ask_to_thaw(&self, key: &Key, body: &'static str) -> Result<()> {
        let asked = self
            .ask(Asked {
                operation: "thaw",
                name: "RestoreObject",
                method: Method::POST,
                key: key.as_str(),
                query: "?restore",
                headers: Vec::new(),
                body: body.into(),
            })
            .await;
        match asked {
            // It was asked for before.
            Err(error) if error.detail.contains("RestoreAlreadyInProgress") => Ok(()),
            other => other.map(drop),
        }
    }
}

fn invalid(text: &str) -> opendal::Error {
    opendal::Error::new(opendal::ErrorKind::Unexpected, text)
}

/// Its own words only: the context may name what is secret.
fn unsigned(error: &reqsign_core::Error) -> opendal::Error {
    let temporary = error.is_retryable();
    let error = invalid(&format!("sign the request: {:?}", error.kind()));
    if temporary {
        error.set_temporary()
    } else {
        error
    }
}

/// A key as it stands in an address: every byte but the unreserved ones and the slash in percents.
fn encode(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn map<T, U>(known: Known<T>, with: impl FnOnce(T) -> U) -> Known<U> {
    match known {
        Known::Is(value) => Known::Is(with(value)),
        Known::Denied(right) => Known::Denied(right),
        Known::Unsupported => Known::Unsupported,
    }
}

fn versioning_of(root: Option<&Element>) -> Versioning {
    match root.and_then(|root| root.text_of("Status")) {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        _ => Versioning::Off,
    }
}

fn lifecycle_of(root: Option<&Element>) -> Vec<LifecycleRule> {
    let rules = root.into_iter().flat_map(|root| root.all("Rule"));
    rules.map(rule_of).collect()
}

fn rule_of(rule: &Element) -> LifecycleRule {
    let filter = rule.child("Filter");
    let both = filter.and_then(|filter| filter.child("And"));
    let parts = [Some(rule), filter, both];
    let prefix = parts
        .iter()
        .flatten()
        .find_map(|part| part.text_of("Prefix"));
    let tagged = parts
        .iter()
        .flatten()
        .any(|part| part.child("Tag").is_some());
    let expiration = rule.child("Expiration");
    let old = rule.child("NoncurrentVersionExpiration");
    let abort = rule.child("AbortIncompleteMultipartUpload");
    LifecycleRule {
        id: rule.text_of("ID").unwrap_or("without a name").to_owned(),
        enabled: rule.text_of("Status") == Some("Enabled"),
        prefix: prefix.unwrap_or_default().to_owned(),
        tagged,
        expires: expiration.and_then(when),
        expires_old_versions: old.and_then(|old| old.number_of("NoncurrentDays")),
        aborts_uploads: abort.and_then(|abort| abort.number_of("DaysAfterInitiation")),
        moves: rule
            .all("Transition")
            .filter_map(|moves| Some((moves.text_of("StorageClass")?.to_owned(), when(moves)?)))
            .collect(),
    }
}

/// `after 30 days`, `on 2027-01-01`; `None` for what only removes markers of deletions.
fn when(part: &Element) -> Option<String> {
    if let Some(days) = part.number_of("Days") {
        return Some(format!("after {days} days"));
    }
    let date = part.text_of("Date")?;
    Some(format!("on {}", date.get(..10).unwrap_or(date)))
}

fn retention_of(root: Option<&Element>) -> Option<DefaultRetention> {
    let rule = root?.child("Rule")?.child("DefaultRetention")?;
    let (days, years) = (rule.number_of("Days"), rule.number_of("Years"));
    let period = match (days, years) {
        (Some(days), _) => format!("{days} days"),
        (None, Some(years)) => format!("{years} years"),
        (None, None) => return None,
    };
    Some(DefaultRetention {
        mode: rule.text_of("Mode").unwrap_or_default().to_owned(),
        period,
    })
}

/// `x-amz-restore` is `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`.
fn access_of(frozen: bool, restore: Option<&str>) -> Access {
    match restore {
        Some(text) if text.contains("ongoing-request=\"true\"") => Access::Thawing,
        Some(text) => {
            let date = text.split_once("expiry-date=\"").map(|(_, rest)| rest);
            let date = date
                .and_then(|rest| rest.split_once('"'))
                .map(|(date, _)| date);
            let until = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
            Access::Until(until.map(|zoned| zoned.timestamp()))
        }
        None if frozen => Access::Frozen,
        None => Access::Now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_in_the_old_form_and_the_new() {
        let text = "<LifecycleConfiguration>\
            <Rule><ID>old</ID><Prefix>logs/</Prefix><Status>Enabled</Status>\
              <Expiration><Days>30</Days></Expiration></Rule>\
            <Rule><ID>new</ID><Filter><And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter>\
              <Status>Disabled</Status><Expiration><Date>2027-01-01T00:00:00Z</Date></Expiration>\
              <Transition><Days>5</Days><StorageClass>GLACIER</StorageClass></Transition></Rule>\
            <Rule><Filter><Prefix/></Filter><Status>Enabled</Status>\
              <Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>\
              <NoncurrentVersionExpiration><NoncurrentDays>90</NoncurrentDays></NoncurrentVersionExpiration>\
              <AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>\
              </Rule></LifecycleConfiguration>";
        let rules = lifecycle_of(Some(&Element::parse(text).expect("well-formed")));
        let [old, new, last] = rules.as_slice() else {
            panic!("{rules:?}");
        };
        assert_eq!((old.prefix.as_str(), old.enabled), ("logs/", true));
        assert_eq!(old.expires.as_deref(), Some("after 30 days"));
        assert_eq!(
            (new.prefix.as_str(), new.enabled, new.tagged),
            ("a/", false, true)
        );
        assert_eq!(new.expires.as_deref(), Some("on 2027-01-01"));
        assert_eq!(
            new.moves,
            [("GLACIER".to_owned(), "after 5 days".to_owned())]
        );
        assert_eq!((last.prefix.as_str(), last.expires.clone()), ("", None));
        assert_eq!(
            (last.expires_old_versions, last.aborts_uploads),
            (Some(90), Some(7))
        );
    }

    #[test]
    fn what_a_store_says_of_thawing_is_understood() {
        for (frozen, restore, access) in [
            (false, None, Access::Now),
            (true, None, Access::Frozen),
            (true, Some("ongoing-request=\"true\""), Access::Thawing),
            (
                true,
                Some("ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\""),
                Access::Until("2012-12-21T00:00:00Z".parse().ok()),
            ),
            (true, Some("ongoing-request=\"false\""), Access::Until(None)),
        ] {
            assert_eq!(access_of(frozen, restore), access, "{restore:?}");
        }
    }

    #[test]
    fn keys_stand_in_addresses_as_they_are_signed() {
        assert_eq!(encode("a/b c+d%.tar.gz~_-"), "a/b%20c%2Bd%25.tar.gz~_-");
        assert_eq!(encode("가"), "%EA%B0%80");
    }
}
