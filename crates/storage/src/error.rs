//! What can go wrong with a store, and what a caller may do about it.

use std::fmt;
use std::time::Duration;

use crate::key::KeyError;

/// Result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No such object.
    NotFound,
    /// No such bucket or container: nothing can be said about what is in it.
    NoBucket,
    /// A create-only write found an object under its key. It did not happen.
    AlreadyExists,
    /// The store refused for lack of rights or wrong credentials.
    Denied,
    /// No space, or over a quota.
    Full,
    /// The store cannot do this at all.
    Unsupported,
    /// The store asks to come back later.
    Throttled,
    /// A fault that may pass: a 5xx, a broken connection, a time-out.
    Transient,
    /// The object is locked by a retention rule.
    Locked,
    /// The object is in a storage class that must be thawed before it is read.
    Frozen,
    /// The bytes that came back are not the bytes that were asked for.
    Corrupt,
    /// The call makes no sense: a bad key, a range outside the object, an unusable URL.
    Invalid,
    /// Anything else.
    Other,
}

/// A failed store operation: what was attempted, on what, and why it failed.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    /// What kind of failure it was.
    pub kind: ErrorKind,
    /// The operation, a verb such as `read` or `create`.
    pub operation: &'static str,
    /// The object or prefix.
    pub key: Box<str>,
    /// The store, as [`crate::ObjectStore::describe`] names it; empty until a store fills it in.
    pub store: Box<str>,
    /// What the store said, without secrets.
    pub detail: Box<str>,
    /// For [`ErrorKind::Throttled`]: how long the store asked us to wait.
    pub retry_after: Option<Duration>,
    /// For writes: whether the write may have taken effect although it was reported as failed.
    pub indeterminate: bool,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// A determinate error without a cause.
    pub fn new(kind: ErrorKind, operation: &'static str, key: impl fmt::Display) -> Self {
        Self {
            kind,
            operation,
            key: key.to_string().into(),
            store: Box::default(),
            detail: Box::default(),
            retry_after: None,
            indeterminate: false,
            source: None,
        }
    }

    /// Adds what the store said.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Box<str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Names the store.
    #[must_use]
    pub fn in_store(mut self, store: impl Into<Box<str>>) -> Self {
        self.store = store.into();
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// Marks a write that may have taken effect.
    #[must_use]
    pub fn maybe_happened(mut self) -> Self {
        self.indeterminate = true;
        self
    }

    /// True when the same call may succeed later. For writes, look at
    /// [`Error::may_have_happened`] first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Throttled | ErrorKind::Transient)
    }

    /// Always false: a store operation is cancelled by dropping its future.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        false
    }

    /// True when a failed write may have taken effect all the same.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.indeterminate
    }

    /// True when the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// True when a create-only write was refused because the key is taken.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.kind == ErrorKind::AlreadyExists
    }

    /// The store's error somewhere among the causes of another, also where it went through a reader's.
    #[must_use]
    pub fn among<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let boxed = error.downcast_ref::<Box<Self>>().map(|boxed| &**boxed);
            if let Some(found) = error.downcast_ref::<Self>().or(boxed) {
                return Some(found);
            }
            // Such an error gives the source of what it wraps, not what it wraps.
            let wrapped = error
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref);
            next = match wrapped {
                Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
                None => error.source(),
            };
        }
        None
    }

    /// What the user can do about it; empty when nothing general can be said.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.kind {
            ErrorKind::NoBucket => {
                "create the bucket, or check its name and the endpoint and region of the location"
            }
            ErrorKind::Denied => "check the credentials and the rights they have on this location",
            ErrorKind::Full => "free space or raise the quota, then run the command again",
            ErrorKind::Throttled => {
                "the store asks to slow down: run again later or with less parallelism"
            }
            ErrorKind::Transient => "check that the store is reachable, then run the command again",
            ErrorKind::Locked => "a retention rule protects the object until it expires",
            ErrorKind::Frozen => {
                "thaw it with `salvor backup thaw NAME`, wait as long as that says, and try again"
            }
            ErrorKind::Corrupt => "the stored bytes are damaged: use another copy",
            _ => "",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.operation, self.key)?;
        if !self.store.is_empty() {
            write!(f, " in {}", self.store)?;
        }
        let kind = match self.kind {
            ErrorKind::NotFound => "not found",
            ErrorKind::NoBucket => "there is no such bucket",
            ErrorKind::AlreadyExists => "it exists already",
            ErrorKind::Denied => "access denied",
            ErrorKind::Full => "no space left",
            ErrorKind::Unsupported => "not supported by this store",
            ErrorKind::Throttled => "throttled by the store",
            ErrorKind::Transient => "temporary failure",
            ErrorKind::Locked => "locked by a retention rule",
            ErrorKind::Frozen => "in a storage class that must be thawed before it is read",
            ErrorKind::Corrupt => "damaged data",
            ErrorKind::Invalid => "invalid request",
            ErrorKind::Other => "failed",
        };
        write!(f, ": {kind}")?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::new(ErrorKind::Invalid, "name", &error.key).with_detail(error.reason)
    }
}
