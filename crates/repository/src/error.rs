//! What can go wrong with a repository.

use std::io;
use std::path::PathBuf;

use salvor_storage as storage;

use crate::id::{BlobId, FileId};

/// Result of a repository operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed repository operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store refused or failed.
    #[error("{action} {file} of the repository at {place}")]
    Store {
        /// What we were doing, a verb.
        action: &'static str,
        /// The file, relative to the repository.
        file: String,
        /// The store, without secrets.
        place: String,
        /// What the store said.
        #[source]
        source: Box<storage::Error>,
    },
    /// Stored bytes are not what was written.
    #[error("{file} of the repository at {place} is damaged: {what}")]
    Damaged {
        /// The file, relative to the repository.
        file: String,
        /// The store, without secrets.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// There is no `config`.
    #[error(
        "there is no repository at {place}: it has no file `config`; check the address, or create one with `repo init`"
    )]
    NoRepository {
        /// The store, without secrets.
        place: String,
    },
    /// There is no `config`, but other files of a repository are.
    #[error(
        "the repository at {place} lacks its file `config`, without which nothing in it can be read: it was lost, or a mirror to here has not ended; bring it from a copy with `repo repair --from`"
    )]
    ConfigLost {
        /// The store, without secrets.
        place: String,
    },
    /// A repository is there already.
    #[error("there is a repository at {place} already; nothing was changed")]
    Exists {
        /// The store, without secrets.
        place: String,
    },
    /// No key slot opens with the password.
    #[error("none of the {slots} keys of the repository at {place} opens with this password")]
    WrongPassword {
        /// The store, without secrets.
        place: String,
        /// Key files that were tried.
        slots: usize,
    },
    /// A format of the future.
    #[error(
        "the repository at {place} has format version {version}; this program knows 1 and 2: use a newer one"
    )]
    Version {
        /// The store, without secrets.
        place: String,
        /// What `config` says.
        version: u64,
    },
    /// Somebody else works on the repository in a way that excludes us.
    #[error(
        "the repository at {place} is locked by {holder} since {since}; wait until it is done, or remove a lock whose owner is dead with `repo unlock`"
    )]
    Locked {
        /// The store, without secrets.
        place: String,
        /// Host, process and user of the lock.
        holder: String,
        /// When it was refreshed last.
        since: String,
    },
    /// Our own lock could not be kept: another may believe that we are dead.
    #[error(
        "the lock on the repository at {place} could not be refreshed for {minutes} minutes; nothing was committed"
    )]
    LockLost {
        /// The store, without secrets.
        place: String,
        /// Minutes since the last refresh.
        minutes: i64,
    },
    /// Our own lock was removed: others may have removed what we count on.
    #[error(
        "the lock on the repository at {place} was removed while we worked, and what we stored or count on may be gone with it; nothing was committed: run it again"
    )]
    LockRemoved {
        /// The store, without secrets.
        place: String,
    },
    /// A blob that is referred to is in no index.
    #[error("the {kind} {id} is in no index of the repository at {place}")]
    NoBlob {
        /// `data blob` or `tree`.
        kind: &'static str,
        /// Which one.
        id: BlobId,
        /// The store, without secrets.
        place: String,
    },
    /// No such snapshot, or several whose id begins so.
    #[error(
        "{count} snapshots of the repository at {place} have an id that begins with `{prefix}`"
    )]
    NoSnapshot {
        /// What was asked for.
        prefix: String,
        /// How many match.
        count: usize,
        /// The store, without secrets.
        place: String,
    },
    /// The index is too large for memory, and the folder for large ones cannot be used.
    #[error(
        "the index of the repository is larger than the memory that it may take, and its file in {} cannot be used: name another folder with TMPDIR, with room for 100 bytes a blob", .folder.display()
    )]
    IndexTooLarge {
        /// Where the file should be.
        folder: PathBuf,
        /// Why it cannot.
        #[source]
        source: io::Error,
    },
    /// A directory has more entries than a snapshot can say.
    #[error(
        "the directory {path:?} has {entries} entries or more, and their description has more than the {megabytes} MiB that a snapshot can hold of one directory; nothing was committed: back it up in parts, or as one stream"
    )]
    DirectoryTooLarge {
        /// Its path in the source.
        path: String,
        /// Entries until then.
        entries: usize,
        /// The limit.
        megabytes: u64,
    },
    /// A file in the folder of snapshots cannot be read, and what it needs is not known.
    #[error(
        "snapshot {id} of the repository at {place} cannot be read ({what}), so what it needs is not known, and nothing was removed: bring it from a copy with `repo repair --from`, or give it up with `repo repair --set-aside-snapshots`"
    )]
    UnreadableSnapshot {
        /// Its id.
        id: FileId,
        /// The store, without secrets.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The source of a snapshot failed as a whole: no snapshot was written.
    #[error("read the source: {what}")]
    Source {
        /// What failed.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something on the local machine failed.
    #[error("{action} {}", .path.display())]
    Local {
        /// What we were doing, a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Bytes that we had just sealed did not open to what they were made of: broken memory or processor.
    #[error(
        "{what} did not read back as it was written; nothing was stored: the memory or the processor of this machine is at fault"
    )]
    Unfaithful {
        /// What was being written.
        what: String,
    },
    /// It was asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// True when the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_retryable(),
            Self::Locked { .. } => true,
            _ => false,
        }
    }

    /// True when it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// What is wrong with a file that is damaged, to be said beside its name.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Damaged { what, .. } => what.clone(),
            Self::Store { source, .. } => source.to_string(),
            other => other.to_string(),
        }
    }

    /// True when stored bytes are damaged or missing: another copy is needed.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::NoBlob { .. }
            | Self::ConfigLost { .. }
            | Self::UnreadableSnapshot { .. } => true,
            Self::Store { source, .. } => {
                source.is_not_found() || source.kind == storage::ErrorKind::Corrupt
            }
            _ => false,
        }
    }
}
