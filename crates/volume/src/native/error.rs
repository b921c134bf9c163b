//! What goes wrong with snapshots of a storage.

use salvor_storage::ErrorKind;

/// Why a snapshot or volume was not made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// Not a volume that this can be done with.
    #[error("{what}: {reason}")]
    Unfit {
        /// The volume.
        what: String,
        /// Why.
        reason: String,
    },
    /// The storage does not have it.
    #[error("{what} is not there")]
    NotFound {
        /// The volume or snapshot.
        what: String,
        /// The storage's words.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The storage has given it up.
    #[error("{what}: the storage could not make it ({message})")]
    Lost {
        /// The volume or snapshot.
        what: String,
        /// The storage's words.
        message: String,
    },
    /// It was not ready in time.
    #[error("{what} is not ready after {seconds} s ({seen})")]
    TimedOut {
        /// The volume or snapshot.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// What was seen last.
        seen: String,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The storage does not answer, or refuses.
    #[error("{doing}")]
    Failed {
        /// What we were doing.
        doing: String,
        /// Whether the same may succeed later.
        retryable: bool,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl NativeError {
    /// True when the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Failed { retryable, .. } => *retryable,
            _ => false,
        }
    }

    /// True when it was stopped rather than failed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// The error with its causes, in one line.
    #[must_use]
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(current) = cause {
            let more = current.to_string();
            if !text.ends_with(&more) {
                text = format!("{text}: {more}");
            }
            cause = current.source();
        }
        text
    }

    /// Of an answer of the service, about a volume or snapshot.
    pub(super) fn of(doing: &str, what: &str) -> impl FnOnce(salvor_storage::Error) -> Self {
        let (doing, what) = (format!("{doing} {what}"), what.to_owned());
        move |error| match error.kind {
            ErrorKind::NotFound => Self::NotFound {
                what,
                source: Box::new(error),
            },
            _ => Self::Failed {
                doing,
                retryable: error.is_retryable(),
                source: Box::new(error),
            },
        }
    }
}
