//! Backup of cluster objects, from an API server straight to a location.
//!
//! ```text
//! discovery -> plan -> pagers -> classify -> segments -> compress -> sink -> upload
//!                         ^                     |
//!                         +---- referred to ----+          then the files beside it, the record last
//! ```
//!
//! Invariants:
//! - memory is bounded in bytes: pages under way, unfinished segments, members that wait, the index;
//! - a list is read to its end at the cluster's pace; the store's pace never holds it up ([`sink`]);
//! - an object is in the archive once per version, however often it is met ([`once`]);
//! - a resource that cannot be read is an error with its name and makes the backup partially failed;
//! - a pod with hooks is captured between them, its volumes too, and its post hooks run whatever happens ([`hooked`]);
//! - every volume ends up in the backup's record of volumes, with a reason where its data is left out ([`volumes`]);
//! - until the record is committed, there is no backup.
//!
//! Start with [`run`]; [`plan`] and [`namespaces`] decide what is taken, [`collect`] takes it.

mod action;
mod block;
mod collect;
mod engine;
mod error;
mod finish;
mod gather;
mod hooked;
mod item;
mod namespaces;
mod old_definitions;
mod once;
mod plan;
mod prepare;
mod progress;
pub(crate) mod reads;
mod references;
pub(crate) mod runlog;
mod sink;
mod volumes;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use salvor_api::resource_policy::ResourcePolicies;
use salvor_api::velero::Backup;
use salvor_archive::files::Results;
use salvor_cluster::Cluster;
use salvor_extension::Actions;
use salvor_location::{BackupRecord, Location, RunId};
use salvor_volume::DataMover;
use salvor_volume::native::Snapshotters;
use tokio_util::sync::CancellationToken;

use crate::hooks::OpenHooks;
use crate::rights::Approval;

pub use engine::run;
pub use error::BackupError;

/// How long the copy of one volume may take, as with Velero's `--fs-backup-timeout`.
pub const DEFAULT_VOLUME_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// What to back up, from where, to where.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// The cluster that is read.
    pub cluster: Cluster,
    /// The location that is written.
    pub location: Location,
    /// Name and spec; the status is filled in.
    pub backup: Backup,
    /// How.
    pub options: BackupOptions,
}

/// How a backup is made.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// Identity of the run; it is in the claim, the record and every log line.
    pub run: RunId,
    /// Take every served version of each object, not only the preferred one.
    pub all_versions: bool,
    /// Resource policies that do not stand in a ConfigMap of the cluster; the one that the backup names is not
    /// read then.
    pub policies: Option<ResourcePolicies>,
    /// Item actions besides those that the cluster defines.
    pub actions: Actions,
    /// Lists that are read at once.
    pub pagers: usize,
    /// Keeps which pods are between their hooks, for whoever comes after a kill.
    pub open_hooks: OpenHooks,
    /// Whether the objects are those of a running cluster. Where they are not, as in a snapshot of etcd, no hook runs,
    /// what can be read is taken although nothing can be written, and the release of the server is not recorded.
    pub is_live: bool,
    /// Who is asked before anything is read, and once more before what was read is committed; `None` when its user
    /// acts with his own rights.
    pub approval: Option<Approval>,
    /// Who copies the files of volumes; `None` when nobody is there who could, which is told of each volume whose
    /// files are asked for.
    pub data_mover: Option<Arc<dyn DataMover>>,
    /// Who takes snapshots of volumes by their storage's own interface: the VolumeSnapshotLocations of the backup.
    pub snapshotters: Snapshotters,
    /// How long the copy of one volume may take when the backup does not say it.
    pub volume_timeout: Duration,
    /// Stops the run at the next safe point; nothing is committed then. Post hooks of pods that have begun run
    /// all the same.
    pub cancel: CancellationToken,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            run: RunId::generate(),
            all_versions: false,
            policies: None,
            actions: Actions::default(),
            pagers: 4,
            open_hooks: OpenHooks::forget(),
            is_live: true,
            approval: None,
            data_mover: None,
            snapshotters: Snapshotters::default(),
            volume_timeout: DEFAULT_VOLUME_TIMEOUT,
            cancel: CancellationToken::new(),
        }
    }
}

/// How far a backup is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupProgress {
    /// Objects in the archive.
    pub items: u64,
    /// Objects that there will be, as far as the server's counts tell.
    pub items_expected: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// What was read last, for example `pods`.
    pub current: String,
}

/// Receives progress, at most once a second and once at the end.
#[derive(Clone)]
pub struct ProgressSink(Arc<dyn Fn(BackupProgress) + Send + Sync>);

impl ProgressSink {
    /// Calls `receive` with each progress. It must return quickly.
    pub fn new(receive: impl Fn(BackupProgress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    /// Drops progress.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| ())
    }

    fn send(&self, progress: BackupProgress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for ProgressSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressSink")
    }
}

/// What came of a backup.
#[derive(Clone, Debug)]
pub struct BackupOutcome {
    /// The backup with its status, as committed.
    pub backup: Backup,
    /// The committed record; `None` when validation failed and nothing was written.
    pub record: Option<BackupRecord>,
    /// Warnings and errors.
    pub results: Results,
    /// Figures.
    pub stats: BackupStats,
}

/// Figures of a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupStats {
    /// Objects in the archive.
    pub items: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// Bytes of the compressed archive.
    pub archive_bytes: u64,
    /// Objects left out, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// How long it took.
    pub elapsed: Duration,
}
