//! What the requests of one operation met on the wire.
//!
//! The client library folds an answer into a kind and a text. What our errors promise (was it sent, may it
//! have happened, when to come back) stands in the answer itself, so the transport writes it down here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

/// A refusal that a store sent as an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// The store's own code, such as `SlowDown`; empty when the answer has none.
    pub(super) code: String,
    /// The store's words; empty when the answer has none.
    pub(super) message: String,
    /// How long the store asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// The region in which the bucket is, where the answer says so.
    pub(super) region: Option<String>,
}

/// How the last failed request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// With an answer.
    Refused(Refusal),
    /// Without one.
    Broken(String),
}

#[derive(Debug, Default)]
struct Facts {
    failure: Option<Failure>,
    requests: usize,
    in_doubt: bool,
}

/// Notes of one operation. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace(Arc<Mutex<Facts>>);

impl Trace {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is about to be sent.
    pub(super) fn sending(&self) {
        self.facts().requests += 1;
    }

    /// A request succeeded. One that makes a change visible may still be followed by a failure to
    /// understand its answer, so it leaves a doubt.
    pub(super) fn succeeded(&self, effect: Effect) {
        let mut facts = self.facts();
        facts.in_doubt |= effect == Effect::Visible;
        if effect != Effect::Part {
            facts.failure = None;
        }
    }

    /// A request was refused by an answer.
    pub(super) fn refused(&self, refusal: Refusal, effect: Effect) {
        let mut facts = self.facts();
        // A store that answers 5xx may have done it: a gateway gives up on a slow but working server.
        let uncertain = refusal.status >= 500 && !matches!(refusal.status, 501 | 507);
        facts.in_doubt |= effect == Effect::Visible && uncertain;
        facts.failure = Some(Failure::Refused(refusal));
    }

    /// A request ended without an answer.
    pub(super) fn broken(&self, reason: String, sent: bool, effect: Effect) {
        let mut facts = self.facts();
        facts.in_doubt |= effect == Effect::Visible && sent;
        facts.failure = Some(Failure::Broken(reason));
    }

    /// How the last failed request ended; `None` when none failed since the last that succeeded.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.facts().failure.clone()
    }

    /// True when a change may have become visible although no answer said so.
    pub(super) fn in_doubt(&self) -> bool {
        self.facts().in_doubt
    }

    /// True when a request to the store itself was sent; signing comes before it.
    pub(super) fn reached_store(&self) -> bool {
        self.facts().requests > 0
    }
}

/// What a request changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Nothing,
    /// Something that nobody sees before a later request.
    Part,
    /// An object appears, changes or goes.
    Visible,
}

impl Effect {
    /// By the name of the request in the store's API.
    pub(super) fn of(request: &str) -> Self {
        match request {
            "CreateMultipartUpload"
            | "UploadPart"
            | "AbortMultipartUpload"
            | "PutBlock"
            | "InitiateResumableUpload"
            | "QueryResumableUpload"
            | "CancelResumableUpload" => Self::Part,
            "GetBucketVersioning"
            | "GetBucketLifecycleConfiguration"
            | "GetObjectLockConfiguration" => Self::Nothing,
            "GetObject" | "HeadObject" | "ListObjectsV1" | "ListObjectsV2"
            | "ListObjectVersions" | "GetBlob" | "GetBlobProperties" | "ListBlobs"
            | "GetObjectMetadata" | "ListObjects" => Self::Nothing,
            // EC2's questions.
            _ if request.starts_with("Describe") => Self::Nothing,
            // Whatever else there is may change something.
            _ => Self::Visible,
        }
    }
}

impl Refusal {
    /// Reads an answer that is no success.
    pub(super) fn parse(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let text = String::from_utf8_lossy(body);
        let (code, message) = json_error(body).unwrap_or_else(|| {
            let code = element(&text, "Code").or_else(|| header("x-ms-error-code"));
            (
                code.unwrap_or_default(),
                element(&text, "Message").unwrap_or_default(),
            )
        });
        Self {
            status: status.as_u16(),
            code: shorten(&code, 80),
            message: shorten(&message, 300),
            retry_after: header("retry-after").and_then(|value| retry_after(&value)),
            region: header("x-amz-bucket-region").or_else(|| element(&text, "Region")),
        }
    }
}

/// Text of the first XML element of this name that has no children.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    (!text.contains('<')).then(|| {
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&amp;", "&")
    })
}

fn json_error(body: &[u8]) -> Option<(String, String)> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = value.get("error")?;
    let text = |value: Option<&serde_json::Value>| {
        value.and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    let reason = text(error.pointer("/errors/0/reason")).or_else(|| text(error.get("status")));
    Some((
        reason.unwrap_or_default(),
        text(error.get("message")).unwrap_or_default(),
    ))
}

/// `Retry-After` as seconds or as an HTTP date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
    Duration::try_from(date.duration_since(Timestamp::now())).ok()
}

/// One line of at most `limit` characters.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    let mut line = String::new();
    for (count, character) in text.trim().chars().enumerate() {
        if count == limit {
            line.push('…');
            break;
        }
        line.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(headers: &[(&'static str, &str)], body: &str) -> Refusal {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("header value"));
        }
        Refusal::parse(StatusCode::SERVICE_UNAVAILABLE, &map, body.as_bytes())
    }

    #[test]
    fn codes_and_words_of_every_store_are_read() {
        let cases = [
            (
                "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>less &amp; slower</Message></Error>",
                ("SlowDown", "less & slower"),
            ),
            (
                r#"{"error":{"code":412,"message":"no","errors":[{"reason":"conditionNotMet"}]}}"#,
                ("conditionNotMet", "no"),
            ),
            ("<html>gateway</html>", ("", "")),
            ("", ("", "")),
        ];
        for (body, (code, message)) in cases {
            let found = refusal(&[], body);
            assert_eq!(
                (found.code.as_str(), found.message.as_str()),
                (code, message)
            );
        }
        let azure = refusal(&[("x-ms-error-code", "ServerBusy")], "");
        assert_eq!(azure.code, "ServerBusy");
    }

    #[test]
    fn the_wait_that_a_store_asks_for_is_seconds_or_a_date() {
        let wait = |value: &str| refusal(&[("retry-after", value)], "").retry_after;
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("soon"), None);
        // A date that has passed asks for no wait.
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), None);
        let far = wait("Fri, 31 Dec 2100 23:59:59 GMT").expect("a date");
        assert!(far > Duration::from_secs(3600), "{far:?}");
    }

    #[test]
    fn a_long_answer_is_cut_and_keeps_to_one_line() {
        let body = format!("<Error><Message>a\nb{}</Message></Error>", "x".repeat(1000));
        let message = refusal(&[], &body).message;
        assert_eq!(message.chars().count(), 301);
        assert!(message.starts_with("a bx") && message.ends_with('…'));
    }

    #[test]
    fn only_an_uncertain_end_of_a_visible_change_leaves_a_doubt() {
        let refused = |status, effect| {
            let trace = Trace::default();
            let refusal = Refusal {
                status,
                ..Refusal::default()
            };
            trace.refused(refusal, effect);
            trace.in_doubt()
        };
        assert!(refused(500, Effect::of("PutObject")));
        assert!(refused(503, Effect::of("CompleteMultipartUpload")));
        for (status, request) in [
            (412, "PutObject"),
            (429, "PutBlockList"),
            (507, "PutObject"),
            (500, "UploadPart"),
            (500, "GetObject"),
        ] {
            assert!(!refused(status, Effect::of(request)), "{status} {request}");
        }
        for (sent, doubt) in [(true, true), (false, false)] {
            let trace = Trace::default();
            trace.broken("reset".to_owned(), sent, Effect::of("DeleteObject"));
            assert_eq!(trace.in_doubt(), doubt);
        }
    }
}
