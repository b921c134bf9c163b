//! What ends a backup without a record. All else is an error in the backup's results.

use std::io;

use salvor_api::name::NameError;

/// A backup that was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The name cannot be used.
    #[error("name the backup")]
    Name {
        /// Which rule it breaks.
        #[source]
        source: NameError,
    },
    /// The cluster does not answer, or not as an API server does. Nothing was written.
    #[error("read the cluster")]
    Cluster {
        /// Why.
        #[source]
        source: salvor_cluster::Error,
    },
    /// The location refuses or fails.
    #[error("write backup `{name}`")]
    Location {
        /// The backup.
        name: String,
        /// Why.
        #[source]
        source: salvor_location::Error,
    },
    /// The archive cannot be put together.
    #[error("put the archive together")]
    Archive {
        /// Why.
        #[source]
        source: salvor_archive::ArchiveError,
    },
    /// A temporary file cannot be used.
    #[error("keep data in the temporary folder: free some space there, or set TMPDIR")]
    Spool {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The upload ended early; its own error says why.
    #[error("the upload of the archive has ended")]
    UploadEnded,
    /// The run was cancelled; nothing was committed.
    #[error("backup `{name}` was cancelled; nothing was committed")]
    Cancelled {
        /// The backup.
        name: String,
    },
    /// A part of the program failed.
    #[error("a task of the backup failed")]
    Task {
        /// How.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl BackupError {
    /// True when the same backup may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Cluster { source } => source.is_retryable(),
            Self::Location { source, .. } => source.is_retryable(),
            _ => false,
        }
    }

    /// True when its caller stopped it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled { .. })
    }

    /// True when the backup may have been committed all the same: look before trying again.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Location { source, .. } if source.may_have_happened())
    }
}
