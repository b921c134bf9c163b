//! What goes wrong with snapshots.

use salvor_cluster::{Error, ErrorKind};

use super::class::ClassError;
use crate::MoveError;

/// Why a snapshot was not taken, restored, moved or deleted.
#[derive(Debug, thiserror::Error)]
pub enum CsiError {
    /// Not a volume that this can be done with.
    #[error("{what}: {reason}")]
    Unfit {
        /// The claim or volume.
        what: String,
        /// Why.
        reason: String,
    },
    /// No VolumeSnapshotClass.
    #[error("choose a VolumeSnapshotClass for claim {claim}")]
    Class {
        /// `<namespace>/<name>`.
        claim: String,
        /// Why there is none.
        source: ClassError,
    },
    /// The driver, or the snapshot controller, says that it cannot be done.
    #[error("{what}: {message}")]
    Refused {
        /// The object.
        what: String,
        /// Its words.
        message: String,
    },
    /// Nothing came of it in time.
    #[error("{what}: {seen}")]
    TimedOut {
        /// The object.
        what: String,
        /// How long it was waited for, and what was seen last.
        seen: String,
    },
    /// An object of somebody else has the name, or changed its meaning meanwhile.
    #[error("{what} is not ours: {reason}")]
    Foreign {
        /// The object.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another backup needs the snapshot.
    #[error("snapshot {handle} stays: backup {by} depends on it")]
    Needed {
        /// The storage's name for it.
        handle: String,
        /// Who needs it.
        by: String,
    },
    /// The data of a snapshot was not moved.
    #[error("move the data of snapshot {snapshot}")]
    Move {
        /// `<namespace>/<name>` of the VolumeSnapshot.
        snapshot: String,
        /// Why not.
        source: Box<MoveError>,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The cluster does not answer, or refuses.
    #[error("{doing}")]
    Cluster {
        /// What we were doing.
        doing: String,
        /// What it said.
        source: Box<Error>,
    },
    /// The cluster's answer is none.
    #[error("read {what}")]
    Malformed {
        /// The object.
        what: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl CsiError {
    /// True when the same may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Cluster { source, .. } => source.is_retryable(),
            _ => false,
        }
    }

    /// True when it was stopped rather than failed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Cluster { source, .. } => source.is_cancelled(),
            Self::Move { source, .. } => matches!(**source, MoveError::Cancelled),
            _ => false,
        }
    }

    /// Of an error of the cluster, while doing something.
    pub(super) fn cluster(doing: impl Into<String>) -> impl FnOnce(Error) -> Self {
        let doing = doing.into();
        move |source| match source.kind() {
            ErrorKind::Cancelled => Self::Cancelled,
            _ => Self::Cluster {
                doing,
                source: Box::new(source),
            },
        }
    }
}
