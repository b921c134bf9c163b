//! Backups: what to take, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DEFAULT_TTL;
use super::hook::{HookStatus, Hooks};
use super::kind::kind;
use super::phase::{phases, words};
use super::uploader::{UploaderConfigForBackup, settings};
use crate::go::{GoDuration, Time};
use crate::meta::{LabelSelector, StringMap, TypedLocalObjectReference, null_is_default};

kind! {
    /// A backup: what was asked for and what came of it. In a location, this is `velero-backup.json`.
    Backup, v1, "backups", "backup", ["bak"], BackupSpec, BackupStatus
}

/// What a schedule's template gives to the backups made from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Labels for backups made from a schedule's template.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub labels: StringMap,
    /// Annotations for backups made from a schedule's template (releases from 1.19).
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub annotations: StringMap,
}

/// `Backup.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupSpec {
    /// Labels for backups made from a template.
    pub metadata: Metadata,
    /// Namespaces to take; empty means all. Globs.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out. Globs.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub excluded_namespaces: Vec<String>,
    /// Old filter: resources to take; empty means all.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub included_resources: Vec<String>,
    /// Old filter: resources to leave out.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub excluded_resources: Vec<String>,
    /// New filter: cluster-scoped resources to take.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub included_cluster_scoped_resources: Vec<String>,
    /// New filter: cluster-scoped resources to leave out.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub excluded_cluster_scoped_resources: Vec<String>,
    /// New filter: namespaced resources to take.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub included_namespace_scoped_resources: Vec<String>,
    /// New filter: namespaced resources to leave out.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub excluded_namespace_scoped_resources: Vec<String>,
    /// Label selector; exclusive with [`BackupSpec::or_label_selectors`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Any of these selectors.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Whether to snapshot volumes; absent means where possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_volumes: Option<bool>,
    /// How long to keep the backup; zero or absent means [`DEFAULT_TTL`].
    pub ttl: GoDuration,
    /// Old filter: whether to take cluster-scoped resources; absent means those that belong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Hooks as written; read them through [`Hooks::for_backup`].
    #[serde(deserialize_with = "null_is_default")]
    pub hooks: Hooks,
    /// Name of the location.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub storage_location: String,
    /// Names of volume snapshot locations.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub volume_snapshot_locations: Vec<String>,
    /// Deprecated alias of [`BackupSpec::default_volumes_to_fs_backup`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_volumes_to_restic: Option<bool>,
    /// Whether volumes are copied file by file unless excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_volumes_to_fs_backup: Option<bool>,
    /// Resource to `ns/a,ns/b`: these first, in this order.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub ordered_resources: StringMap,
    /// How long to wait for a CSI snapshot.
    pub csi_snapshot_timeout: GoDuration,
    /// How long asynchronous operations may take.
    pub item_operation_timeout: GoDuration,
    /// ConfigMap with resource policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_policy: Option<TypedLocalObjectReference>,
    /// Whether snapshot data is moved to the location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_move_data: Option<bool>,
    /// Which data mover.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datamover: String,
    /// Uploader settings as written; read them through [`BackupSpec::uploader`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploader_config: Option<Value>,
    /// Label key that groups claims for a group snapshot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_group_snapshot_label_key: String,
    /// Whether moved volume data is taken whole or as a difference (releases from 1.19).
    #[serde(skip_serializing_if = "BackupType::is_unset")]
    pub backup_type: BackupType,
}

words! {
    /// Whether moved volume data is taken whole or as a difference to an earlier snapshot.
    BackupType, unset: "", {
        /// Everything is read.
        Full,
        /// Only what changed is read; the default.
        Incremental,
    }
}

impl BackupSpec {
    /// True when any of the four scoped filters of newer releases is used.
    #[must_use]
    pub fn uses_scoped_filters(&self) -> bool {
        !(self.included_cluster_scoped_resources.is_empty()
            && self.excluded_cluster_scoped_resources.is_empty()
            && self.included_namespace_scoped_resources.is_empty()
            && self.excluded_namespace_scoped_resources.is_empty())
    }

    /// True when any of the old resource filters is used.
    #[must_use]
    pub fn uses_old_filters(&self) -> bool {
        !self.included_resources.is_empty()
            || !self.excluded_resources.is_empty()
            || self.include_cluster_resources.is_some()
    }

    /// The TTL that applies: zero means the default.
    #[must_use]
    pub fn effective_ttl(&self) -> GoDuration {
        if self.ttl.is_zero() {
            DEFAULT_TTL
        } else {
            self.ttl
        }
    }

    /// The uploader settings, typed. Absent settings are the defaults.
    ///
    /// # Errors
    /// A setting has the wrong type.
    pub fn uploader(&self) -> Result<UploaderConfigForBackup, serde_json::Error> {
        settings(self.uploader_config.as_ref())
    }
}

/// `Backup.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// [`super::BACKUP_VERSION`].
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub version: i64,
    /// [`super::FORMAT_VERSION`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub format_version: String,
    /// When it may be collected; absent means never by Velero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// Where it stands.
    #[serde(skip_serializing_if = "BackupPhase::is_unset")]
    pub phase: BackupPhase,
    /// Position in the queue.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub queue_position: i64,
    /// Why validation failed.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub validation_errors: Vec<String>,
    /// When work began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When work ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// Snapshots tried.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub volume_snapshots_attempted: i64,
    /// Snapshots made.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub volume_snapshots_completed: i64,
    /// CSI snapshots tried.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub csi_volume_snapshots_attempted: i64,
    /// CSI snapshots made.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub csi_volume_snapshots_completed: i64,
    /// Asynchronous operations tried.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub backup_item_operations_attempted: i64,
    /// Asynchronous operations done.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub backup_item_operations_completed: i64,
    /// Asynchronous operations failed.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub backup_item_operations_failed: i64,
    /// Why it failed as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failure_reason: String,
    /// Number of warnings.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub warnings: i64,
    /// Number of errors.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub errors: i64,
    /// How far it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<BackupProgress>,
    /// Hook counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_status: Option<HookStatus>,
}

/// Items of a backup, counted once each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupProgress {
    /// How many there are.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub total_items: i64,
    /// How many are written.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub items_backed_up: i64,
}

phases! {
    /// Where a backup stands.
    BackupPhase {
        /// Accepted, not queued.
        New,
        /// Waiting for its turn.
        Queued,
        /// Next to run.
        ReadyToStart,
        /// Refused.
        FailedValidation,
        /// Being written.
        InProgress,
        /// Items are written, operations run.
        WaitingForPluginOperations,
        /// The same, with errors.
        WaitingForPluginOperationsPartiallyFailed,
        /// Operations are done, the archive is being finished.
        Finalizing,
        /// The same, with errors.
        FinalizingPartiallyFailed,
        /// Everything asked for is there.
        Completed,
        /// Usable, but something is missing.
        PartiallyFailed,
        /// Not usable.
        Failed,
        /// Being deleted.
        Deleting,
    }
}

impl BackupPhase {
    /// True for the phases in which a backup can be restored.
    #[must_use]
    pub fn is_restorable(&self) -> bool {
        matches!(self, Self::Completed | Self::PartiallyFailed)
    }

    /// True when nothing more will happen to it by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Completed | Self::PartiallyFailed | Self::Failed | Self::FailedValidation
        )
    }
}
