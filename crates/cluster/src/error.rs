//! What can go wrong between us and an API server, classified from its `Status`.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A call that failed: what was being done, why, and what the server said.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {}", self.reason())]
pub struct Error {
    operation: String,
    kind: ErrorKind,
    status: Option<Box<Status>>,
    retry_after: Option<Duration>,
    may_have_happened: bool,
    detail: String,
    #[source]
    source: Option<BoxError>,
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The object is not there.
    NotFound,
    /// The namespace that the object should go into is not there.
    NamespaceMissing,
    /// The server does not know the resource or its version (kubectl: "no matches for kind").
    NoSuchKind,
    /// An object of this name exists.
    AlreadyExists,
    /// The object changed since it was read.
    Conflict,
    /// The caller is not known to the server.
    Unauthorized,
    /// The caller may not do this.
    Forbidden,
    /// The object breaks the rules of its kind; see the causes in [`Status`].
    Invalid,
    /// The request makes no sense to the server.
    BadRequest,
    /// A continue token or resource version has expired; see [`Error::continue_token`].
    Gone,
    /// The server asks for patience.
    TooManyRequests,
    /// An admission webhook looked at the object and said no.
    WebhookDenied,
    /// An admission webhook could not be asked.
    WebhookUnavailable,
    /// A quota of the namespace is used up.
    QuotaExceeded,
    /// The namespace is being deleted and takes no new objects.
    NamespaceTerminating,
    /// The server, or what stands in front of it, cannot answer now.
    Unavailable,
    /// The server failed inside.
    Server,
    /// No answer within the time allowed for the call.
    Timeout,
    /// The answer is larger than the caller allowed.
    TooLarge,
    /// The resource does not support this verb.
    MethodNotAllowed,
    /// The server does not take this kind of body.
    UnsupportedMediaType,
    /// The connection could not be made or broke.
    Transport,
    /// The answer is not what the protocol promises.
    Malformed,
    /// The kubeconfig, or a name in the request, is not usable.
    Config,
    /// The wait was given up by its caller.
    Cancelled,
}

/// `metav1.Status`, the parts that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// HTTP code.
    pub code: u16,
    /// Machine-readable reason, for example `AlreadyExists`.
    pub reason: String,
    /// What the server says to people.
    pub message: String,
    /// Which object, and what is wrong with it.
    pub details: Option<StatusDetails>,
    metadata: StatusMeta,
}

/// `Status.details`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatusDetails {
    /// Name of the object.
    pub name: String,
    /// Plural resource, despite its name.
    pub kind: String,
    /// API group.
    pub group: String,
    /// Each thing that is wrong.
    pub causes: Vec<StatusCause>,
    /// Seconds to wait before asking again.
    pub retry_after_seconds: u64,
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct StatusCause {
    /// Machine-readable, for example `FieldValueInvalid`.
    pub reason: String,
    /// What is wrong.
    pub message: String,
    /// Where, for example `spec.clusterIP`.
    pub field: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct StatusMeta {
    r#continue: String,
}

impl Error {
    /// Why it failed.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the server said, when it said anything.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.status.as_deref()
    }

    /// What was being done, for example `list pods in namespace prod`.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// Why, in the server's words where there are any.
    #[must_use]
    pub fn reason(&self) -> &str {
        match &self.status {
            Some(status) if !status.message.is_empty() => &status.message,
            _ => &self.detail,
        }
    }

    /// True when the same call may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::TooManyRequests
                | ErrorKind::WebhookUnavailable
                | ErrorKind::Unavailable
                | ErrorKind::Server
                | ErrorKind::Timeout
                | ErrorKind::Transport
        )
    }

    /// True when the caller gave up.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.kind == ErrorKind::Cancelled
    }

    /// True when this was a write that the server may have carried out although it was not confirmed.
    /// Look at the object before doing it again.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.may_have_happened
    }

    /// True when the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// With [`ErrorKind::Gone`]: the token with which the server offers to go on, at the price of a
    /// listing that is not of one moment. Without one, list from the start.
    #[must_use]
    pub fn continue_token(&self) -> Option<&str> {
        let token = self
            .status
            .as_deref()
            .map(|s| s.metadata.r#continue.as_str())?;
        (self.kind == ErrorKind::Gone && !token.is_empty()).then_some(token)
    }

    /// How long the server asked us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn local(
        kind: ErrorKind,
        operation: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            operation: operation.into(),
            kind,
            status: None,
            retry_after: None,
            may_have_happened: false,
            detail: detail.into(),
            source: None,
        }
    }

    pub(crate) fn caused(
        kind: ErrorKind,
        operation: impl Into<String>,
        detail: impl Into<String>,
        source: impl Into<BoxError>,
    ) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::local(kind, operation, detail)
        }
    }

    /// From an answer that is not a success.
    pub(crate) fn from_answer(
        operation: &str,
        code: StatusCode,
        body: &[u8],
        retry_after: Option<Duration>,
        is_write: bool,
    ) -> Self {
        let status = parse_status(code, body);
        let kind = classify(code, &status);
        let retry_after = retry_after.or_else(|| {
            let seconds = status.details.as_ref()?.retry_after_seconds;
            (seconds > 0).then(|| Duration::from_secs(seconds))
        });
        Self {
            operation: operation.to_owned(),
            kind,
            retry_after,
            // A refusal with a reason is certain; a gateway's or a crashing server's answer is not.
            may_have_happened: is_write
                && matches!(
                    kind,
                    ErrorKind::Unavailable | ErrorKind::Server | ErrorKind::Timeout
                ),
            detail: format!("the server answered {code}"),
            status: Some(Box::new(status)),
            source: None,
        }
    }

    /// From a `Status` that came as an event of a watch.
    pub(crate) fn from_status(operation: &str, body: &[u8]) -> Self {
        let code = serde_json::from_slice::<Status>(body)
            .ok()
            .and_then(|status| StatusCode::from_u16(status.code).ok())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::from_answer(operation, code, body, None, false)
    }

    /// Only a create can miss the namespace it goes into; for other calls a namespace is an object.
    pub(crate) fn on(mut self, method: &http::Method) -> Self {
        if self.kind == ErrorKind::NamespaceMissing && method != http::Method::POST {
            self.kind = ErrorKind::NotFound;
        }
        self
    }

    pub(crate) fn with_doubt(mut self, may_have_happened: bool) -> Self {
        self.may_have_happened = may_have_happened;
        self
    }
}

/// A body that is not a `Status` (a proxy's page, `404 page not found`) becomes one with its first line.
fn parse_status(code: StatusCode, body: &[u8]) -> Status {
    let parsed: Option<Status> = serde_json::from_slice(body).ok();
    match parsed {
        Some(status) if status.code != 0 || !status.reason.is_empty() => Status {
            code: code.as_u16(),
            ..status
        },
        _ => {
            let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
            let line = text.lines().next().unwrap_or_default().trim();
            Status {
                code: code.as_u16(),
                message: match line {
                    "" => format!("the server answered {code}"),
                    line => format!("the server answered {code}: {line}"),
                },
                ..Status::default()
            }
        }
    }
}

fn classify(code: StatusCode, status: &Status) -> ErrorKind {
    let message = status.message.as_str();
    let has_cause = |reason: &str| {
        status
            .details
            .as_ref()
            .is_some_and(|d| d.causes.iter().any(|c| c.reason == reason))
    };
    if message.starts_with("admission webhook") && message.contains("denied the request") {
        return ErrorKind::WebhookDenied;
    }
    if message.contains("failed calling webhook") || message.contains("failed to call webhook") {
        return ErrorKind::WebhookUnavailable;
    }
    match (code.as_u16(), status.reason.as_str()) {
        (404, _) => not_found(status),
        (409, "AlreadyExists") => ErrorKind::AlreadyExists,
        (409, _) => ErrorKind::Conflict,
        (401, _) => ErrorKind::Unauthorized,
        (403, _) if has_cause("NamespaceTerminating") || message.contains("being terminated") => {
            ErrorKind::NamespaceTerminating
        }
        (403, _) if message.contains("exceeded quota") => ErrorKind::QuotaExceeded,
        (403, _) => ErrorKind::Forbidden,
        (405, _) => ErrorKind::MethodNotAllowed,
        (410, _) => ErrorKind::Gone,
        (413, _) => ErrorKind::TooLarge,
        (415, _) => ErrorKind::UnsupportedMediaType,
        (422, _) => ErrorKind::Invalid,
        (429, _) => ErrorKind::TooManyRequests,
        (504 | 408, _) => ErrorKind::Timeout,
        (502 | 503, _) => ErrorKind::Unavailable,
        (400, _) if message.contains("no matches for kind") => ErrorKind::NoSuchKind,
        (400..=499, _) => ErrorKind::BadRequest,
        (500..=599, "ServerTimeout") => ErrorKind::Timeout,
        (500..=599, _) => ErrorKind::Server,
        _ => ErrorKind::Malformed,
    }
}

fn not_found(status: &Status) -> ErrorKind {
    match &status.details {
        Some(details) if details.kind == "namespaces" && !details.name.is_empty() => {
            ErrorKind::NamespaceMissing
        }
        Some(details) if !details.name.is_empty() => ErrorKind::NotFound,
        // "the server could not find the requested resource" and the bare "404 page not found".
        _ => ErrorKind::NoSuchKind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, body: &str) -> Error {
        Error::from_answer(
            "create pod",
            StatusCode::from_u16(code).expect("code"),
            body.as_bytes(),
            None,
            true,
        )
    }

    #[test]
    fn answers_are_classified_by_status_not_by_code_alone() {
        use ErrorKind::*;
        for (code, body, kind, retryable, doubt) in [
            (
                404,
                r#"{"code":404,"reason":"NotFound","message":"pods \"a\" not found","details":{"name":"a","kind":"pods"}}"#,
                NotFound,
                false,
                false,
            ),
            (
                404,
                r#"{"code":404,"reason":"NotFound","message":"namespaces \"x\" not found","details":{"name":"x","kind":"namespaces"}}"#,
                NamespaceMissing,
                false,
                false,
            ),
            (
                404,
                r#"{"code":404,"reason":"NotFound","message":"the server could not find the requested resource","details":{}}"#,
                NoSuchKind,
                false,
                false,
            ),
            (404, "404 page not found\n", NoSuchKind, false, false),
            (
                409,
                r#"{"code":409,"reason":"AlreadyExists","message":"x"}"#,
                AlreadyExists,
                false,
                false,
            ),
            (
                409,
                r#"{"code":409,"reason":"Conflict","message":"x"}"#,
                Conflict,
                false,
                false,
            ),
            (
                403,
                r#"{"code":403,"reason":"Forbidden","message":"pods is forbidden: User x cannot list"}"#,
                Forbidden,
                false,
                false,
            ),
            (
                403,
                r#"{"code":403,"reason":"Forbidden","message":"pods \"a\" is forbidden: exceeded quota: q, requested: pods=1"}"#,
                QuotaExceeded,
                false,
                false,
            ),
            (
                403,
                r#"{"code":403,"reason":"Forbidden","message":"pods \"a\" is forbidden: unable to create new content in namespace x because it is being terminated","details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#,
                NamespaceTerminating,
                false,
                false,
            ),
            (
                400,
                r#"{"code":400,"reason":"BadRequest","message":"admission webhook \"v.x.io\" denied the request: no"}"#,
                WebhookDenied,
                false,
                false,
            ),
            (
                500,
                r#"{"code":500,"reason":"InternalError","message":"Internal error occurred: failed calling webhook \"v.x.io\": dial tcp"}"#,
                WebhookUnavailable,
                true,
                false,
            ),
            (
                422,
                r#"{"code":422,"reason":"Invalid","message":"x"}"#,
                Invalid,
                false,
                false,
            ),
            (
                429,
                r#"{"code":429,"reason":"TooManyRequests","message":"x","details":{"retryAfterSeconds":3}}"#,
                TooManyRequests,
                true,
                false,
            ),
            (
                500,
                r#"{"code":500,"reason":"InternalError","message":"etcdserver: request timed out"}"#,
                Server,
                true,
                true,
            ),
            (502, "<html>bad gateway</html>", Unavailable, true, true),
            (
                504,
                r#"{"code":504,"reason":"Timeout","message":"x"}"#,
                Timeout,
                true,
                true,
            ),
            (200, "{", Malformed, false, false),
        ] {
            let error = answer(code, body);
            assert_eq!(
                (
                    error.kind(),
                    error.is_retryable(),
                    error.may_have_happened()
                ),
                (kind, retryable, doubt),
                "{code} {body}"
            );
        }
    }

    #[test]
    fn an_expired_token_brings_its_successor() {
        let error = answer(
            410,
            r#"{"code":410,"reason":"Expired","message":"too old","metadata":{"continue":"fresh"}}"#,
        );
        assert_eq!(error.continue_token(), Some("fresh"));
        assert_eq!(
            answer(410, r#"{"code":410,"reason":"Gone"}"#).continue_token(),
            None
        );
    }

    #[test]
    fn the_message_says_what_was_done_and_why() {
        let error = answer(503, "upstream connect error\nsecond line");
        assert_eq!(
            error.to_string(),
            "create pod: the server answered 503 Service Unavailable: upstream connect error"
        );
    }
}
