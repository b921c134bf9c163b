//! What can go wrong with a location.

use jiff::Timestamp;
use salvor_storage::ErrorKind;

use crate::run::RunId;

/// Result of a location operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on a location.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name is taken by a committed backup.
    #[error(
        "backup `{name}` exists already in location `{location}`; choose another name or delete it first"
    )]
    BackupExists {
        /// The backup.
        name: String,
        /// The location.
        location: String,
    },
    /// A name is taken by a restore.
    #[error("restore `{name}` exists already in location `{location}`; choose another name")]
    RestoreExists {
        /// The restore.
        name: String,
        /// The location.
        location: String,
    },
    /// Somebody is writing under this name.
    #[error(
        "{kind} `{name}` is being worked on by run {run} (last sign of life {}); wait for it, or try \
         again when it has been silent for {lease_seconds} seconds",
        .last_seen.map_or_else(|| "unknown".to_owned(), |at| at.to_string())
    )]
    Busy {
        /// `backup` or `restore`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The run that holds the claim.
        run: RunId,
        /// When it last showed life, by the store's clock.
        last_seen: Option<Timestamp>,
        /// After how many silent seconds it counts as dead.
        lease_seconds: u64,
    },
    /// The claim was taken over while we were writing.
    #[error(
        "{kind} `{name}`: this run was silent for too long and another one took its place; nothing was committed"
    )]
    ClaimLost {
        /// `backup` or `restore`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The claim was taken over at the moment of the commit.
    #[error(
        "backup `{name}` was recorded in location `{location}` at the moment when another run took its place: \
         its contents may be gone"
    )]
    CommitInDoubt {
        /// The backup.
        name: String,
        /// The location.
        location: String,
    },
    /// A backup may not be deleted.
    #[error("backup `{name}` in location `{location}` is held: {reasons}; release it first")]
    Held {
        /// The backup.
        name: String,
        /// The location.
        location: String,
        /// Why, one text per hold.
        reasons: String,
    },
    /// No such backup.
    #[error("backup `{name}` not found in location `{location}`")]
    BackupNotFound {
        /// The backup.
        name: String,
        /// The location.
        location: String,
    },
    /// No such restore.
    #[error("restore `{name}` not found in location `{location}`")]
    RestoreNotFound {
        /// The restore.
        name: String,
        /// The location.
        location: String,
    },
    /// A record cannot be understood.
    #[error("read `{key}`: {reason}")]
    BadRecord {
        /// Where it stands.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record was written by a newer release.
    #[error("`{key}` has format {found}, this release knows up to {known}; use a newer salvor")]
    NewerFormat {
        /// Where it stands.
        key: String,
        /// The version it has.
        found: u64,
        /// The newest that we know.
        known: u64,
    },
    /// The store has other bytes than those that were written.
    #[error("`{key}` is not what was written there: {reason}; nothing was committed")]
    ContentsChanged {
        /// The object.
        key: String,
        /// What differs.
        reason: String,
    },
    /// What is to be copied is not what was written.
    #[error("`{key}` in location `{location}` is damaged: {reason}; it is not copied")]
    SourceDamaged {
        /// The object.
        key: String,
        /// Where it stands.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What is to be copied still changes.
    #[error("backup `{name}` in location `{location}` cannot be copied yet: {reason}")]
    NotFinished {
        /// The backup.
        name: String,
        /// Where it stands.
        location: String,
        /// What it waits for.
        reason: String,
    },
    /// The target has another backup of this name.
    #[error("location `{location}` has another backup `{name}`: {difference}; nothing was written")]
    CopyDiffers {
        /// The backup.
        name: String,
        /// The target.
        location: String,
        /// What identifies the backup that is there, and the one that was to be copied.
        difference: String,
    },
    /// Source and target are one place.
    #[error(
        "location `{location}` is at {url}, which is where the backup is: a copy needs another place"
    )]
    SamePlace {
        /// The target.
        location: String,
        /// Its address.
        url: String,
    },
    /// It was stopped by whoever asked for it.
    #[error("stopped: {doing}; the same command goes on with what is missing")]
    Stopped {
        /// What we were doing.
        doing: String,
    },
    /// A file of this machine cannot be read or written.
    #[error("{doing}")]
    File {
        /// What we were doing.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// No record of the location is one that the configuration trusts.
    #[error(
        "location `{location}` is not the one that is pinned: {reason}; nothing is written to it"
    )]
    Untrusted {
        /// The location.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// The location's record names other recipients than the configuration.
    #[error(
        "the recipients of location `{location}` are not those that are pinned: the configuration has {pinned}, the \
         location's record {recorded}; nothing is encrypted to either"
    )]
    RecipientsDiffer {
        /// The location.
        location: String,
        /// Fingerprints of those that are pinned.
        pinned: String,
        /// Fingerprints of those in the record.
        recorded: String,
    },
    /// Nobody is pinned whom an object could be encrypted to.
    #[error("location `{location}` has no recipients: nobody could read what would be encrypted")]
    NoRecipients {
        /// The location.
        location: String,
    },
    /// What is to be written could not be read.
    #[error("{doing}: read its content")]
    Content {
        /// What we were doing.
        doing: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another location stands where the configuration says that this one is.
    #[error(
        "location `{location}` is not the one that is pinned (id {pinned}): {reason}; nothing was written"
    )]
    OtherPlace {
        /// The location.
        location: String,
        /// The id that is pinned.
        pinned: String,
        /// What is there.
        reason: String,
    },
    /// An encrypted object cannot be made or read.
    #[error("{doing}")]
    Sealed {
        /// What we were doing.
        doing: String,
        /// Why.
        #[source]
        source: Box<salvor_seal::age::AgeError>,
    },
    /// Commit records that were there when garbage was noted are not listed, and nobody here removed them.
    #[error(
        "{missing} of {of} points that are known are not listed ({named}): nothing was removed, since a listing that is \
         not whole looks the same"
    )]
    RecordsMissing {
        /// How many.
        missing: usize,
        /// Of how many.
        of: usize,
        /// The first of them.
        named: String,
    },
    /// The location may only be read.
    #[error("location `{location}` is read-only")]
    ReadOnly {
        /// The location.
        location: String,
    },
    /// Something of ours cannot be written as JSON.
    #[error("encode {what}")]
    Encode {
        /// What it was.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The store failed.
    #[error("{doing}")]
    Store {
        /// What we were doing.
        doing: String,
        /// Why it failed.
        #[source]
        source: Box<salvor_storage::Error>,
    },
}

impl Error {
    /// Wraps a store error with what we were doing.
    pub(crate) fn store(doing: impl Into<String>) -> impl FnOnce(salvor_storage::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Store {
            doing,
            source: Box::new(source),
        }
    }

    /// The same for the errors of a stream.
    pub(crate) fn store_each(
        doing: impl Into<String>,
    ) -> impl FnMut(salvor_storage::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Store {
            doing: doing.clone(),
            source: Box::new(source),
        }
    }

    /// True when the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Store { source, .. } => source.is_retryable(),
            _ => false,
        }
    }

    /// True for a transfer that was stopped ([`crate::copy::Transfer::stop`]). Any other operation is cancelled by
    /// dropping its future.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Stopped { .. })
    }

    /// True when a failed write may have taken effect.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::CommitInDoubt { .. } => true,
            Self::Store { source, .. } => source.may_have_happened(),
            _ => false,
        }
    }

    /// True when what was asked for is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::BackupNotFound { .. } | Self::RestoreNotFound { .. } => true,
            Self::Store { source, .. } => source.kind == ErrorKind::NotFound,
            _ => false,
        }
    }

    /// True when there was no room for a write.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.kind == ErrorKind::Full)
    }

    /// True when a write was refused for good: for lack of rights or room, or because the location may only be
    /// read. Reading may work all the same.
    #[must_use]
    pub fn is_write_refused(&self) -> bool {
        match self {
            Self::ReadOnly { .. } => true,
            Self::Store { source, .. } => matches!(
                source.kind,
                ErrorKind::Denied
                    | ErrorKind::Full
                    | ErrorKind::Unsupported
                    | ErrorKind::Locked
                    | ErrorKind::Frozen
            ),
            _ => false,
        }
    }

    /// What the user can do about it; empty when nothing general can be said.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Store { source, .. } => source.advice(),
            Self::ContentsChanged { .. } => {
                "the store answered success for a write that is gone or changed: run \
                 `salvor backup-location check`"
            }
            Self::SourceDamaged { .. } => {
                "bring it back with `salvor backup repair`, or copy from another location that has it"
            }
            Self::CopyDiffers { .. } => {
                "look at both with `salvor backup describe`; delete the one that is not wanted, or copy to another \
                 location"
            }
            Self::Untrusted { .. } => {
                "look at it with `salvor backup-location check`; if it is the right one and new, sign it with `salvor \
                 backup-location init --signing-key-file`"
            }
            Self::RecipientsDiffer { .. } => {
                "somebody changed one of the two: if the configuration is right, write a new record with `salvor \
                 backup-location init`"
            }
            Self::Sealed { source, .. }
                if matches!(**source, salvor_seal::age::AgeError::NotForUs { .. }) =>
            {
                "give the file with the identity of one of its recipients: --identity FILE"
            }
            Self::OtherPlace { .. } => {
                "look whether its file system is mounted and its URL is right; where another location takes its place \
                 on purpose, remove `id` from the configuration and run `salvor backup-location init` again"
            }
            Self::NoRecipients { .. } => {
                "name them with `salvor backup-location init --recipient`, or make an identity with --new-identity FILE"
            }
            Self::RecordsMissing { .. } => {
                "bring them back from another copy of the location or an earlier version of the objects; if they were \
                 removed on purpose, begin anew with --forget-notices"
            }
            Self::CommitInDoubt { .. } => {
                "wait for the other run, then look with `salvor backup verify`"
            }
            Self::BadRecord { key, .. } if key.ends_with(crate::layout::BACKUP_RECORD) => {
                "this file says what the backup is: bring it back from another copy of the location or an \
                 earlier version of the object; the other files of the backup may be sound"
            }
            Self::BadRecord { .. } => "run `salvor backup verify` to see what is damaged",
            _ => "",
        }
    }
}

/// An error with its causes in one line, for people: `a: b: c`. A cause that the text before it ends with is left out: some
/// errors show theirs themselves.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let own = cause.to_string();
        if !text.ends_with(&own) {
            text.push_str(": ");
            text.push_str(&own);
        }
        next = cause.source();
    }
    text
}
