//! What can stop a restore as a whole. What goes wrong with one object is a result, not an error.

use std::fmt;

/// Why a restore could not be planned or carried out.
#[derive(Debug)]
pub struct RestoreError {
    doing: String,
    cause: Box<Cause>,
}

/// The parts that a restore works with.
#[derive(Debug)]
pub enum Cause {
    /// The restore as asked for breaks these rules (`FailedValidation`).
    Invalid(Vec<String>),
    /// The cluster.
    Cluster(salvor_cluster::Error),
    /// The location.
    Location(salvor_location::Error),
    /// The archive.
    Archive(salvor_archive::ArchiveError),
    /// Opening the archive.
    Open(crate::source::OpenError),
    /// The archive is damaged.
    Damaged(Box<crate::damage::Damage>),
    /// The stored plan.
    Plan(super::plan::PlanFormatError),
    /// The user's modifiers.
    Modifiers(super::modifiers::ModifierError),
    /// A local file or a thread.
    Local(std::io::Error),
    /// Something is not there or not what it should be; the text says what to do.
    Refused(String),
    /// Stopped by its user.
    Cancelled,
}

impl RestoreError {
    pub(crate) fn new(doing: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self {
            doing: doing.into(),
            cause: Box::new(cause.into()),
        }
    }

    pub(crate) fn refused(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(doing, Cause::Refused(why.into()))
    }

    pub(crate) fn cancelled() -> Self {
        Self::new("restore", Cause::Cancelled)
    }

    /// The task that carried a restore out failed.
    #[must_use]
    pub fn task(error: tokio::task::JoinError) -> Self {
        Self::new("carry out the restore", std::io::Error::other(error))
    }

    /// Which part failed.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The rules that the restore breaks; empty when that is not the reason.
    #[must_use]
    pub fn validation_errors(&self) -> &[String] {
        match &*self.cause {
            Cause::Invalid(errors) => errors,
            _ => &[],
        }
    }

    /// True when the same call may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &*self.cause {
            Cause::Cluster(error) => error.is_retryable(),
            Cause::Location(error) => error.is_retryable(),
            Cause::Open(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// True when its user stopped it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match &*self.cause {
            Cause::Cluster(error) => error.is_cancelled(),
            Cause::Cancelled => true,
            _ => false,
        }
    }

    /// True when it is not known whether the last write happened. Resuming looks before it writes.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match &*self.cause {
            Cause::Cluster(error) => error.may_have_happened(),
            Cause::Location(error) => error.may_have_happened(),
            _ => false,
        }
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        match &*self.cause {
            Cause::Invalid(errors) => write!(f, ": {}", errors.join("; ")),
            Cause::Refused(why) => write!(f, ": {why}"),
            Cause::Damaged(damage) => write!(f, ": {damage}"),
            Cause::Cancelled => f.write_str(": cancelled"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.cause {
            Cause::Cluster(error) => Some(error),
            Cause::Location(error) => Some(error),
            Cause::Archive(error) => Some(error),
            Cause::Open(error) => Some(error),
            Cause::Plan(error) => Some(error),
            Cause::Modifiers(error) => Some(error),
            Cause::Local(error) => Some(error),
            Cause::Invalid(_) | Cause::Refused(_) | Cause::Damaged(_) | Cause::Cancelled => None,
        }
    }
}

macro_rules! causes {
    ($($variant:ident($type:ty)),+ $(,)?) => {
        $(impl From<$type> for Cause {
            fn from(error: $type) -> Self {
                Cause::$variant(error)
            }
        })+
    };
}

causes!(
    Cluster(salvor_cluster::Error),
    Location(salvor_location::Error),
    Archive(salvor_archive::ArchiveError),
    Open(crate::source::OpenError),
    Plan(super::plan::PlanFormatError),
    Modifiers(super::modifiers::ModifierError),
    Local(std::io::Error),
);

/// An error with its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Names what was being done when a part failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, RestoreError>;
}

impl<T, E: Into<Cause>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, RestoreError> {
        self.map_err(|error| RestoreError::new(what(), error))
    }
}
