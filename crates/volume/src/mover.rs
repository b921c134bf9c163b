//! What backups and restores ask for.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use salvor_api::go::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Domain;

/// Moves data between volumes and repositories.
///
/// Contract: a call ends when the data is moved, it failed for good, its time is over or it was cancelled; nothing of it
/// goes on then that could still change a volume. Dropping the future cancels it. Calls may run side by side; the mover
/// bounds how many are carried out at once. A call that is repeated after a crash does its work again and does no harm.
#[async_trait]
pub trait DataMover: fmt::Debug + Send + Sync {
    /// Copies a volume into the repository of its namespace's domain.
    ///
    /// # Errors
    /// [`MoveError`]: no snapshot was made.
    async fn back_up(
        &self,
        job: &BackUpVolume,
        cancel: &CancellationToken,
    ) -> Result<Stored, MoveError>;

    /// Copies a snapshot into a volume. What stands there already stays unless the snapshot has it otherwise.
    ///
    /// # Errors
    /// [`MoveError`]: the volume may hold a part of it.
    async fn fill(&self, job: &FillVolume, cancel: &CancellationToken)
    -> Result<Filled, MoveError>;

    /// Image with this program, for the container that holds a pod back while its own volumes are filled; `None` when
    /// it is not known.
    async fn image(&self) -> Option<String> {
        None
    }
}

/// The backup or restore that wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnBehalfOf {
    /// Name of the Backup or Restore.
    pub name: String,
    /// Its UID in the cluster, which makes it the owner; empty when it has no object there.
    pub uid: String,
    /// Identity of the run.
    pub run: String,
    /// Name of the location in the cluster.
    pub location: String,
}

/// A claim that is bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The persistent volume; may be empty for one that waits for its first pod.
    pub volume: String,
}

/// Where a volume is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum VolumePlace {
    /// Through a running pod that mounts it.
    Pod {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        name: String,
        /// UID of the pod.
        uid: String,
        /// Node of the pod.
        node: String,
        /// The volume's name in the pod.
        volume: String,
        /// Its claim, if it has one.
        claim: Option<Claim>,
    },
    /// Through its claim, which no running pod mounts: it is held as long as that takes.
    Claim {
        /// The claim.
        claim: Claim,
        /// Where the holding pod may run.
        placement: Placement,
    },
}

/// What of a pod decides where it can run, as its specification has it: the pod that holds a claim for it goes to a
/// node where it can go itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// `spec.nodeSelector`.
    pub node_selector: Value,
    /// `spec.affinity.nodeAffinity`.
    pub node_affinity: Value,
    /// `spec.tolerations`.
    pub tolerations: Value,
}

/// A volume that is to be backed up.
#[derive(Clone, Debug, PartialEq)]
pub struct BackUpVolume {
    /// Who wants it.
    pub of: OnBehalfOf,
    /// The volume.
    pub place: VolumePlace,
    /// The claim whose data it is, where what stands at `place` was made of its snapshot. It decides the domain and
    /// which earlier snapshot is the parent.
    pub data_of: Option<Claim>,
    /// How long it may take.
    pub timeout: Duration,
}

impl BackUpVolume {
    /// Namespace whose data it is: its domain's.
    #[must_use]
    pub fn source_namespace(&self) -> &str {
        let of = self.data_of.as_ref().map(|claim| &claim.namespace);
        of.unwrap_or(match &self.place {
            VolumePlace::Pod { namespace, .. } => namespace,
            VolumePlace::Claim { claim, .. } => &claim.namespace,
        })
    }

    /// The claim whose data it is; `None` for a volume of a pod that has none.
    #[must_use]
    pub fn source_claim(&self) -> Option<&Claim> {
        self.data_of.as_ref().or(match &self.place {
            VolumePlace::Pod { claim, .. } => claim.as_ref(),
            VolumePlace::Claim { claim, .. } => Some(claim),
        })
    }
}

/// A volume that was backed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Domain of the repository.
    pub domain: String,
    /// The snapshot, 64 hexadecimal digits.
    pub snapshot: String,
    /// Bytes of the volume.
    pub bytes: u64,
    /// Bytes that the repository did not have.
    pub new_bytes: u64,
    /// Files and other entries.
    pub entries: u64,
    /// Entries that could not be read and are not in the snapshot.
    pub unread: u64,
    /// Some of those, and why.
    pub problems: Vec<String>,
    /// Sockets of the volume, which no restore can make.
    pub sockets: u64,
    /// The first of them, by their paths.
    pub some_sockets: Vec<String>,
    /// Node that read it.
    pub node: String,
    /// The PodVolumeBackup.
    pub object: String,
    /// When it began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
}

impl Stored {
    /// What the copy leaves out by its nature, for people; `None` for nothing.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        crate::objects::left_out(self.sockets, &self.some_sockets)
    }
}

/// A volume that is to be filled.
#[derive(Clone, Debug, PartialEq)]
pub struct FillVolume {
    /// Who wants it.
    pub of: OnBehalfOf,
    /// The volume.
    pub place: VolumePlace,
    /// Domain of the repository.
    pub domain: Domain,
    /// The snapshot.
    pub snapshot: String,
    /// Namespace that it was taken from.
    pub source_namespace: String,
    /// Bytes of it, as recorded.
    pub bytes: u64,
    /// Which part of it, and what becomes of the rest.
    pub part: Part,
    /// A file to make once everything else is written, empty, readable by everybody, with the folders above it:
    /// a relative path in the volume such as `.velero/<id>`, for a pod that waits for it. `None`: nobody waits.
    pub done_marker: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Which part of a snapshot is brought into a volume. The default is all of it, over what stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Part {
    /// Files and directories, by their paths in the volume; empty for everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Remove what the snapshot does not have, in what is brought back.
    pub delete_extra: bool,
}

/// How far a movement is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moving {
    /// Bytes that are there as they should be.
    pub bytes: u64,
    /// Bytes in all; 0 while that is not known.
    pub total: u64,
}

/// A volume that was filled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Bytes that were written.
    pub bytes: u64,
    /// Files and other entries.
    pub entries: u64,
    /// Entries that are missing or not as they were.
    pub failed: u64,
    /// Of those, entries whose content is missing, as it was before, or mixed: an application would not find its data.
    pub missing: u64,
    /// Some of those, and why.
    pub problems: Vec<String>,
    /// Node that wrote it.
    pub node: String,
    /// The persistent volume that was filled; empty for one without a claim.
    pub volume: String,
    /// The PodVolumeRestore.
    pub object: String,
    /// When it began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
}

/// Why data was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// Nobody is there who could.
    #[error("no node agent is ready on node {node}: {reason}")]
    NoAgent {
        /// The node, or `any`.
        node: String,
        /// What was found instead.
        reason: String,
    },
    /// It cannot be copied file by file at all.
    #[error("{reason}")]
    Unfit {
        /// Why.
        reason: String,
    },
    /// The claim could not be held.
    #[error("claim {claim} could not be mounted: {reason}")]
    NotHeld {
        /// `<namespace>/<name>`.
        claim: String,
        /// What Kubernetes said.
        reason: String,
    },
    /// It was tried and failed.
    #[error("{message}")]
    Failed {
        /// What the mover said.
        message: String,
    },
    /// Its time is over.
    #[error("not done after {} s, in phase {phase}", after.as_secs())]
    TimedOut {
        /// How long it had.
        after: Duration,
        /// How far it was.
        phase: String,
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
        source: salvor_cluster::Error,
    },
}
