//! From what happened on the wire to the errors that [`crate::Error`] promises.

use opendal::ErrorKind as Cause;

use super::trace::{Failure, Refusal, Trace, shorten};
use crate::error::{Error, ErrorKind};

/// The error of one operation: `cause` is what the client library made of it, `trace` what was answered.
///
/// The library's own error is not passed on as a source: its context repeats request addresses, which may
/// carry signatures.
pub(super) fn explain(
    operation: &'static str,
    key: &str,
    store: &str,
    trace: &Trace,
    cause: &opendal::Error,
) -> Error {
    let mut retry_after = None;
    let (kind, detail) = match trace.failure() {
        Some(Failure::Refused(refusal)) => {
            retry_after = refusal.retry_after;
            (kind_of(&refusal, operation), describe(&refusal))
        }
        Some(Failure::Broken(reason)) => (broken_kind(&reason), advise(&reason)),
        None if trace.reached_store() => (library_kind(cause), shorten(&words(cause), 300)),
        None => unsent(cause),
    };
    let mut error = Error::new(kind, operation, key)
        .in_store(store)
        .with_detail(detail);
    // A clean refusal of the last attempt says that this one did not happen.
    let refused = matches!(
        kind,
        ErrorKind::AlreadyExists | ErrorKind::Denied | ErrorKind::Locked | ErrorKind::Full
    );
    error.retry_after = retry_after;
    error.indeterminate = trace.in_doubt() && !refused;
    error
}

/// Before any request to the store: credentials or an option.
fn unsent(cause: &opendal::Error) -> (ErrorKind, String) {
    match cause.kind() {
        Cause::Unsupported => (ErrorKind::Unsupported, shorten(&words(cause), 300)),
        Cause::ConfigInvalid => (ErrorKind::Invalid, shorten(&words(cause), 300)),
        _ => {
            let detail = format!(
                "no usable credentials, after a look at the environment, configuration files, web \
                 identity and the machine's metadata: {}",
                words(cause)
            );
            (ErrorKind::Denied, shorten(&detail, 300))
        }
    }
}

/// The words of an error and its causes, without their context.
fn words(cause: &opendal::Error) -> String {
    let mut text = cause.message().to_owned();
    let mut source = std::error::Error::source(cause);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = error.source();
    }
    text
}

fn library_kind(cause: &opendal::Error) -> ErrorKind {
    match cause.kind() {
        Cause::NotFound => ErrorKind::NotFound,
        Cause::PermissionDenied => ErrorKind::Denied,
        Cause::Unsupported => ErrorKind::Unsupported,
        Cause::ConfigInvalid | Cause::RangeNotSatisfied => ErrorKind::Invalid,
        Cause::AlreadyExists | Cause::ConditionNotMatch => ErrorKind::AlreadyExists,
        Cause::RateLimited => ErrorKind::Throttled,
        _ if cause.is_temporary() => ErrorKind::Transient,
        _ => ErrorKind::Other,
    }
}

/// A server that shows a wrong certificate will show it again.
fn broken_kind(reason: &str) -> ErrorKind {
    if reason.contains("invalid peer certificate") {
        ErrorKind::Other
    } else {
        ErrorKind::Transient
    }
}

fn advise(reason: &str) -> String {
    let reason = shorten(reason, 300);
    if reason.contains("invalid peer certificate") {
        format!("{reason}; give the CA that signed it with the option caCert")
    } else {
        reason
    }
}

fn describe(refusal: &Refusal) -> String {
    let mut detail = format!("HTTP {}", refusal.status);
    if !refusal.code.is_empty() {
        detail = format!("{detail} {}", refusal.code);
    }
    if !refusal.message.is_empty() {
        detail = format!("{detail}: {}", refusal.message);
    }
    if let (301 | 307 | 308 | 400, Some(region)) = (refusal.status, &refusal.region) {
        detail =
            format!("{detail}; the bucket is in region `{region}`: give it with region={region}");
    }
    detail
}

fn kind_of(refusal: &Refusal, operation: &str) -> ErrorKind {
    let locked = refusal.message.contains("WORM") || refusal.message.contains("object lock");
    // The store's code is more precise than the status, where there is one.
    match refusal.code.as_str() {
        "SlowDown"
        | "ServerBusy"
        | "TooManyRequests"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "OperationTimedOut"
        | "rateLimitExceeded"
        | "userRateLimitExceeded"
        | "SnapshotCreationPerVolumeRateExceeded" => return ErrorKind::Throttled,
        "RequestTimeout"
        | "ConditionalRequestConflict"
        | "OperationAborted"
        | "InternalError"
        | "Unavailable"
        | "BadDigest"
        | "XAmzContentSHA256Mismatch"
        | "IncompleteBody" => return ErrorKind::Transient,
        "QuotaExceeded"
        | "XMinioStorageFull"
        | "XMinioAdminBucketQuotaExceeded"
        | "InsufficientAccountResources"
        | "AccountCapacityExceeded"
        | "ConcurrentSnapshotLimitExceeded"
        | "SnapshotLimitExceeded"
        | "VolumeLimitExceeded"
        | "MaxIOPSLimitExceeded" => return ErrorKind::Full,
        "BlobImmutableDueToPolicy"
        | "BlobImmutableDueToLegalHold"
        | "retentionPolicyNotMet"
        | "objectUnderActiveHold"
        | "InvalidSnapshot.InUse" => return ErrorKind::Locked,
        "BlobAlreadyExists" | "PreconditionFailed" | "conditionNotMet" | "ConditionNotMet"
            if operation == "create" =>
        {
            return ErrorKind::AlreadyExists;
        }
        "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "RequestTimeTooSkewed"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "AuthFailure"
        | "UnauthorizedOperation"
        | "KMS.DisabledException"
        | "KMS.NotFoundException" => return ErrorKind::Denied,
        "InvalidObjectState" | "BlobArchived" | "BlobBeingRehydrated" => return ErrorKind::Frozen,
        "NoSuchBucket" | "ContainerNotFound" => return ErrorKind::NoBucket,
        code if code.ends_with(".NotFound") => return ErrorKind::NotFound,
        "InvalidRange" => return ErrorKind::Invalid,
        "NotImplemented" | "MethodNotAllowed" => return ErrorKind::Unsupported,
        _ => {}
    }
    match refusal.status {
        401 | 403 if locked => ErrorKind::Locked,
        401 | 403 => ErrorKind::Denied,
        // Google has one code for objects and buckets.
        404 if refusal.message.contains("bucket does not exist") => ErrorKind::NoBucket,
        404 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        408 => ErrorKind::Transient,
        412 if operation == "create" => ErrorKind::AlreadyExists,
        429 => ErrorKind::Throttled,
        300..=399 | 400 | 411 | 413 | 414 | 416 => ErrorKind::Invalid,
        503 if refusal.retry_after.is_some() => ErrorKind::Throttled,
        507 => ErrorKind::Full,
        500..=599 => ErrorKind::Transient,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::trace::Effect;
    use super::*;

    fn refusal(status: u16, code: &str, message: &str) -> Refusal {
        Refusal {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            ..Refusal::default()
        }
    }

    fn explained(refusal: Refusal, operation: &'static str) -> Error {
        let trace = Trace::default();
        trace.sending();
        trace.refused(refusal, Effect::Visible);
        let cause = opendal::Error::new(Cause::Unexpected, "library's words");
        explain(operation, "a/b", "s3://bucket", &trace, &cause)
    }

    #[test]
    fn answers_of_stores_become_kinds() {
        use ErrorKind::*;
        let cases = [
            (404, "NoSuchKey", "", "read", NotFound),
            (404, "NoSuchBucket", "", "list", NoBucket),
            (404, "ContainerNotFound", "", "read", NoBucket),
            (
                404,
                "",
                "The specified bucket does not exist.",
                "read",
                NoBucket,
            ),
            (403, "AccessDenied", "", "read", Denied),
            (400, "ExpiredToken", "", "write", Denied),
            (
                403,
                "AccessDenied",
                "Object is WORM protected",
                "delete",
                Locked,
            ),
            (409, "BlobImmutableDueToPolicy", "", "delete", Locked),
            (412, "PreconditionFailed", "", "create", AlreadyExists),
            (412, "", "", "create", AlreadyExists),
            (412, "PreconditionFailed", "", "read", Other),
            (409, "BlobAlreadyExists", "", "create", AlreadyExists),
            (409, "ConditionalRequestConflict", "", "create", Transient),
            (503, "SlowDown", "", "write", Throttled),
            (503, "", "", "write", Transient),
            (429, "", "", "write", Throttled),
            (500, "InternalError", "", "write", Transient),
            (507, "", "", "write", Full),
            (403, "QuotaExceeded", "", "write", Full),
            (416, "InvalidRange", "", "read", Invalid),
            (301, "PermanentRedirect", "", "read", Invalid),
            (501, "NotImplemented", "", "list versions of", Unsupported),
            (400, "RequestTimeout", "", "write", Transient),
        ];
        for (status, code, message, operation, kind) in cases {
            let error = explained(refusal(status, code, message), operation);
            assert_eq!(error.kind, kind, "{status} {code} in {operation}");
        }
    }

    #[test]
    fn a_write_is_in_doubt_after_5xx_and_not_after_a_refusal() {
        for (status, code, doubt) in [
            (500, "InternalError", true),
            (503, "SlowDown", true),
            (409, "ConditionalRequestConflict", false),
            (412, "PreconditionFailed", false),
            (429, "", false),
            (403, "AccessDenied", false),
            (507, "", false),
        ] {
            let error = explained(refusal(status, code, ""), "create");
            assert_eq!(error.may_have_happened(), doubt, "{status} {code}");
        }
    }

    #[test]
    fn a_wait_and_a_region_reach_the_caller() {
        let mut slow = refusal(503, "SlowDown", "Please reduce your request rate.");
        slow.retry_after = Some(Duration::from_secs(3));
        let error = explained(slow, "create");
        assert_eq!(error.retry_after, Some(Duration::from_secs(3)));
        assert_eq!(
            error.to_string(),
            "create `a/b` in s3://bucket: throttled by the store \
             (HTTP 503 SlowDown: Please reduce your request rate.)"
        );
        let mut elsewhere = refusal(301, "PermanentRedirect", "");
        elsewhere.region = Some("eu-west-1".to_owned());
        let text = explained(elsewhere, "read").to_string();
        assert!(text.contains("region=eu-west-1"), "{text}");
    }

    #[test]
    fn without_an_answer_a_write_is_in_doubt_only_when_it_was_sent() {
        for sent in [true, false] {
            let trace = Trace::default();
            trace.sending();
            trace.broken("connection reset".to_owned(), sent, Effect::Visible);
            let cause = opendal::Error::new(Cause::Unexpected, "").set_temporary();
            let error = explain("create", "a", "s3://b", &trace, &cause);
            assert_eq!(error.kind, ErrorKind::Transient);
            assert_eq!(error.may_have_happened(), sent);
        }
    }

    #[test]
    fn what_never_left_is_about_credentials_and_shows_no_context() {
        let cause = opendal::Error::new(Cause::Unexpected, "signing failed")
            .with_context("uri", "https://b/?sig=hunter2");
        let error = explain("read", "a", "azure://b", &Trace::default(), &cause);
        assert_eq!(error.kind, ErrorKind::Denied);
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains("no usable credentials") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
