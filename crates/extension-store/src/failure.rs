//! What a failure of a provider means for who asked a store.

use std::fmt::Display;
use std::time::Duration;

use salvor_extension::{CallError, Code, ProviderError};
use salvor_storage::{Error, ErrorKind};

/// A failed question that changes nothing.
pub(crate) fn of_read(
    operation: &'static str,
    key: impl Display,
    store: &str,
    error: ProviderError,
) -> Error {
    let kind = match &error.source {
        CallError::Told(complaint) => kind_of(complaint.code),
        _ if error.is_retryable() => ErrorKind::Transient,
        CallError::Digest
        | CallError::Malformed { .. }
        | CallError::Meaningless(_)
        | CallError::Chunk(_)
        | CallError::Refused(_)
        | CallError::TooLarge(_) => ErrorKind::Corrupt,
        CallError::Credentials(_)
        | CallError::Status {
            code: 401 | 403, ..
        } => ErrorKind::Denied,
        _ => ErrorKind::Other,
    };
    told(kind, operation, key, store, error)
}

/// A failed question that changes something.
pub(crate) fn of_write(
    operation: &'static str,
    key: impl Display,
    store: &str,
    error: ProviderError,
) -> Error {
    let happened = error.may_have_happened();
    let mut failed = of_read(operation, key, store, error);
    if failed.kind == ErrorKind::Corrupt {
        // What is stored need not be damaged; what was answered is.
        failed.kind = ErrorKind::Other;
    }
    if happened {
        failed.maybe_happened()
    } else {
        failed
    }
}

fn told(
    kind: ErrorKind,
    operation: &'static str,
    key: impl Display,
    store: &str,
    error: ProviderError,
) -> Error {
    let mut failed = Error::new(kind, operation, key).in_store(store);
    if let CallError::Told(complaint) = &error.source {
        let seconds = complaint.retry_after_seconds.map(u64::from);
        failed.retry_after = seconds.map(Duration::from_secs);
    }
    failed.caused_by(error)
}

fn kind_of(code: Code) -> ErrorKind {
    match code {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::Denied => ErrorKind::Denied,
        Code::Full => ErrorKind::Full,
        Code::Unsupported => ErrorKind::Unsupported,
        Code::Throttled => ErrorKind::Throttled,
        Code::Transient => ErrorKind::Transient,
        Code::Locked => ErrorKind::Locked,
        Code::Invalid => ErrorKind::Invalid,
        Code::Corrupt => ErrorKind::Corrupt,
        Code::Other => ErrorKind::Other,
    }
}
