//! How a command ends: the exit codes of the help text, and failures with a hint.

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use salvor_seal::age::AgeError;
use salvor_storage::ErrorKind;

use crate::explain::code_of;

/// What to do with a damaged archive.
pub(crate) const SKIP_DAMAGED: &str = "take it from another copy or an earlier backup, or take all that can be read with --skip-damaged \
     (restore create, undelete, backup export)";

/// How to find out what is damaged.
const VERIFY: &str = "run `salvor backup verify` to see what is damaged";

/// Exit status of a command that ran to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Differences or findings.
    Differences = 1,
    /// Wrong usage.
    Usage = 2,
    /// Not found.
    NotFound = 3,
    /// A confirmation, permission or rule is missing.
    Refused = 4,
    /// Something is missing in the result.
    Partial = 5,
    /// Time ran out.
    TimedOut = 6,
    /// Stored data is not what it should be.
    VerificationFailed = 7,
    /// A store or cluster cannot be reached or does not answer; `EX_UNAVAILABLE` of sysexits.h.
    Unavailable = 69,
    /// This program failed, or what it runs on did; `EX_SOFTWARE`.
    Internal = 70,
    /// There is no room for what had to be written; `EX_CANTCREAT`.
    NoRoom = 73,
    /// Ctrl-C.
    Cancelled = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command could not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What was being done to what.
    doing: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure without a cause of its own.
    pub(crate) fn new(exit: Exit, doing: impl Into<String>) -> Self {
        Self {
            exit,
            doing: doing.into(),
            cause: None,
            hint: None,
        }
    }

    /// Wrong usage.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// A failure of what this program called.
    pub(crate) fn caused(
        exit: Exit,
        doing: impl Into<String>,
        cause: impl Error + Send + Sync + 'static,
    ) -> Self {
        let frozen = frozen_advice(&cause);
        let exit = match exit {
            _ if frozen.is_some() => Exit::Refused,
            Exit::Internal if is_full(&cause) => Exit::NoRoom,
            exit => exit,
        };
        Self {
            cause: Some(Box::new(cause)),
            hint: frozen.map(str::to_owned),
            ..Self::new(exit, doing)
        }
    }

    /// What this program called, and failed.
    pub(crate) fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }

    /// Adds what to do next; an empty hint is none. What lies in a cold storage class must be thawed, whatever else
    /// could be done.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        let frozen = self.cause.as_deref().and_then(|cause| frozen_advice(cause));
        if !hint.is_empty() && frozen.is_none() {
            self.hint = Some(hint);
        }
        self
    }

    /// The code that `salvor explain` knows; `None` where the text says all there is, as for wrong usage.
    pub(crate) fn code(&self) -> Option<&'static str> {
        let own = self.cause.as_deref().and_then(|cause| code_of(cause));
        own.or(match self.exit {
            Exit::NoRoom => Some("no-room-here"),
            Exit::VerificationFailed => Some("stored-data-wrong"),
            _ => None,
        })
    }

    /// The whole chain, joined once by `: `. A cause whose text an outer error repeats is left out.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.doing.clone();
        let mut next: Option<&(dyn Error + 'static)> = self
            .cause
            .as_deref()
            .map(|cause| cause as &(dyn Error + 'static));
        while let Some(error) = next {
            let own = error.to_string();
            if !own.is_empty() && !text.contains(&own) {
                let separator = if text.is_empty() { "" } else { ": " };
                // Writing to a string cannot fail.
                let _ = write!(text, "{separator}{own}");
            }
            next = error.source();
        }
        text
    }
}

/// What to do when an object lies in a storage class that must be thawed, somewhere in the chain.
fn frozen_advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    salvor_storage::Error::among(error)
        .filter(|error| error.kind == ErrorKind::Frozen)
        .map(salvor_storage::Error::advice)
}

/// True when a local disk is full somewhere in the chain.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(error.kind(), StorageFull | QuotaExceeded)
        {
            return true;
        }
        next = error.source();
    }
    false
}

impl From<salvor_location::Error> for Failure {
    fn from(error: salvor_location::Error) -> Self {
        let hint = error.advice();
        Self::caused(exit_of(&error), "", error).hint(hint)
    }
}

/// What the state of a location means for a script.
fn exit_of(error: &salvor_location::Error) -> Exit {
    use salvor_location::Error as E;
    match error {
        E::BackupExists { .. } | E::RestoreExists { .. } | E::ReadOnly { .. } => Exit::Refused,
        // Another run has the name: the rule of claims forbids to go on, and nothing was committed.
        E::Busy { .. } | E::ClaimLost { .. } => Exit::Refused,
        E::RecordsMissing { .. } | E::OtherPlace { .. } => Exit::Refused,
        E::NewerFormat { .. } | E::Held { .. } | E::CopyDiffers { .. } | E::NotFinished { .. } => {
            Exit::Refused
        }
        E::SamePlace { .. } | E::File { .. } | E::NoRecipients { .. } => Exit::Usage,
        E::Store { source, .. } => match source.kind {
            ErrorKind::Denied | ErrorKind::Locked | ErrorKind::Frozen => Exit::Refused,
            ErrorKind::NotFound | ErrorKind::NoBucket => Exit::NotFound,
            ErrorKind::Full => Exit::NoRoom,
            ErrorKind::Throttled | ErrorKind::Transient => Exit::Unavailable,
            _ => Exit::Internal,
        },
        E::Sealed { source, .. } if matches!(**source, AgeError::NotForUs { .. }) => Exit::Refused,
        // What is stored is not, or may not be, what was written.
        E::CommitInDoubt { .. }
        | E::ContentsChanged { .. }
        | E::SourceDamaged { .. }
        | E::Untrusted { .. }
        | E::RecipientsDiffer { .. }
        | E::Sealed { .. }
        | E::BadRecord { .. } => Exit::VerificationFailed,
        error if error.is_not_found() => Exit::NotFound,
        error if error.is_cancelled() => Exit::Cancelled,
        _ => Exit::Internal,
    }
}

impl Failure {
    /// The same failure, told with what was being done when it came.
    pub(crate) fn while_doing(mut self, doing: &str) -> Self {
        self.doing = if self.doing.is_empty() {
            doing.to_owned()
        } else {
            format!("{doing}: {}", self.doing)
        };
        self
    }
}

impl From<salvor_objects::backup::BackupError> for Failure {
    fn from(error: salvor_objects::backup::BackupError) -> Self {
        use salvor_objects::backup::BackupError as E;
        let doing = error.to_string();
        match error {
            E::Location { source, .. } => Self::from(source).while_doing(&doing),
            E::Cluster { source } => Self::from(source).while_doing(&doing),
            error @ E::Name { .. } => Self::caused(Exit::Usage, "", error),
            error @ E::Cancelled { .. } => Self::caused(Exit::Cancelled, "", error),
            error => Self::caused(Exit::Internal, "make the backup", error),
        }
    }
}

impl From<salvor_objects::restore::RestoreError> for Failure {
    fn from(error: salvor_objects::restore::RestoreError) -> Self {
        use salvor_location::Error as L;
        use salvor_objects::restore::error::Cause;
        let (exit, hint) = match error.cause() {
            Cause::Invalid(_) | Cause::Modifiers(_) => (Exit::Usage, ""),
            Cause::Location(L::RestoreExists { .. }) => (
                Exit::Refused,
                "choose another name, or go on with an unfinished restore with --resume",
            ),
            Cause::Location(cause) => (exit_of(cause), cause.advice()),
            Cause::Open(salvor_objects::source::OpenError::Location { source, .. }) => {
                (exit_of(source), source.advice())
            }
            Cause::Damaged(_) | Cause::Open(salvor_objects::source::OpenError::Damaged { .. }) => {
                (Exit::VerificationFailed, SKIP_DAMAGED)
            }
            Cause::Open(_) | Cause::Archive(_) | Cause::Plan(_) => {
                (Exit::VerificationFailed, VERIFY)
            }
            Cause::Refused(_) => (Exit::Refused, ""),
            Cause::Cancelled => (Exit::Cancelled, ""),
            Cause::Cluster(cause) => of_cluster(cause),
            Cause::Local(_) => (Exit::Internal, ""),
        };
        Self::caused(exit, "", error).hint(hint)
    }
}

impl From<salvor_objects::source::OpenError> for Failure {
    fn from(error: salvor_objects::source::OpenError) -> Self {
        use salvor_objects::source::OpenError as E;
        let doing = error.to_string();
        match error {
            E::Location { source, .. } => Self::from(source).while_doing(&doing),
            error @ E::Damaged { .. } => {
                Self::caused(Exit::VerificationFailed, "", error).hint(SKIP_DAMAGED)
            }
            error => Self::caused(Exit::VerificationFailed, "", error).hint(VERIFY),
        }
    }
}

/// What a failure of the cluster means for a script, and what to do next.
fn of_cluster(error: &salvor_cluster::Error) -> (Exit, &'static str) {
    use salvor_cluster::ErrorKind as K;
    match error.kind() {
        K::NotFound | K::NoSuchKind => (Exit::NotFound, ""),
        K::Forbidden => (
            Exit::Refused,
            "grant this user the missing permission in the cluster, then repeat the command",
        ),
        K::Config => (
            Exit::Usage,
            "check --kubeconfig and --context, or set KUBECONFIG",
        ),
        K::Timeout => (
            Exit::TimedOut,
            "the API server is slow or cannot be reached: check it, then repeat the command",
        ),
        _ if error.is_cancelled() => (Exit::Cancelled, ""),
        _ if error.is_retryable() => (
            Exit::Unavailable,
            "check that the API server can be reached, then repeat the command",
        ),
        _ => (Exit::Internal, ""),
    }
}

impl From<salvor_cluster::Error> for Failure {
    fn from(error: salvor_cluster::Error) -> Self {
        let (exit, hint) = of_cluster(&error);
        Self::caused(exit, "", error).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn a_chain_is_joined_once_without_repetition() {
        let inner = Layer("permission denied", None);
        let outer = Layer("read `x`: permission denied", Some(Box::new(inner)));
        let failure = Failure::caused(Exit::Internal, "list backups", outer);
        assert_eq!(failure.chain(), "list backups: read `x`: permission denied");
        let bare = Failure::caused(Exit::Internal, "", Layer("read `y`", None));
        assert_eq!(bare.chain(), "read `y`");
    }

    #[test]
    fn what_another_run_prevents_is_refused_and_a_commit_in_doubt_must_be_verified() {
        use salvor_location::{Error, RunId};
        let (name, location) = (|| "b".to_owned(), || "main".to_owned());
        let cases = [
            (
                Error::Busy {
                    kind: "backup",
                    name: name(),
                    run: RunId::generate(),
                    last_seen: None,
                    lease_seconds: 180,
                },
                Exit::Refused,
                "try again when it has been silent for 180 seconds",
            ),
            (
                Error::ClaimLost {
                    kind: "backup",
                    name: name(),
                },
                Exit::Refused,
                "nothing was committed",
            ),
            (
                Error::ReadOnly {
                    location: location(),
                },
                Exit::Refused,
                "read-only",
            ),
            (
                Error::CommitInDoubt {
                    name: name(),
                    location: location(),
                },
                Exit::VerificationFailed,
                "its contents may be gone",
            ),
            (
                Error::BackupNotFound {
                    name: name(),
                    location: location(),
                },
                Exit::NotFound,
                "not found",
            ),
        ];
        for (error, exit, part) in cases {
            let failure = Failure::from(error);
            assert_eq!(failure.exit, exit, "{}", failure.chain());
            assert!(failure.chain().contains(part), "{}", failure.chain());
        }
    }

    #[test]
    fn a_full_disk_and_a_dead_server_are_no_faults_of_the_program() {
        use std::io::{Error as IoError, ErrorKind as Io};
        let full = || IoError::from(Io::StorageFull);
        assert_eq!(
            Failure::caused(Exit::Internal, "write a file", full()).exit,
            Exit::NoRoom
        );
        let other = IoError::from(Io::BrokenPipe);
        assert_eq!(
            Failure::caused(Exit::Internal, "write", other).exit,
            Exit::Internal
        );
        for (kind, exit) in [
            (ErrorKind::Full, Exit::NoRoom),
            (ErrorKind::Transient, Exit::Unavailable),
            (ErrorKind::NoBucket, Exit::NotFound),
            (ErrorKind::Denied, Exit::Refused),
        ] {
            let error = salvor_location::Error::Store {
                doing: "read".to_owned(),
                source: Box::new(salvor_storage::Error::new(kind, "read", "x")),
            };
            assert_eq!(Failure::from(error).exit, exit, "{kind:?}");
        }
        assert_eq!(Exit::Unavailable as u8, 69);
    }

    #[test]
    fn what_to_do_next_is_said_in_korean_too() {
        let korean = salvor_text::Messages::new(salvor_text::Language::Korean);
        let kinds = [
            ErrorKind::NoBucket,
            ErrorKind::Denied,
            ErrorKind::Full,
            ErrorKind::Throttled,
            ErrorKind::Transient,
            ErrorKind::Locked,
            ErrorKind::Corrupt,
        ];
        let of_stores = kinds.map(|kind| salvor_storage::Error::new(kind, "read", "x").advice());
        for advice in of_stores.into_iter().chain([SKIP_DAMAGED, VERIFY]) {
            assert!(!advice.is_empty());
            assert_ne!(korean.advice(advice), advice, "{advice}");
        }
        let english = salvor_text::Messages::new(salvor_text::Language::English);
        assert_eq!(english.advice(VERIFY), VERIFY);
    }
}
