//! Velero's kinds (`velero.io/v1`), as they stand in a cluster and in a location.
//!
//! Field names, order and omission follow the Go types, so that Velero decodes what we write. Unknown
//! fields are ignored on reading: a newer Velero may have written the file.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::go::{GoDuration, Time};
use crate::meta::{
    LabelSelector, ObjectMeta, StringMap, TypedLocalObjectReference, null_is_default,
};

/// `apiVersion` of all kinds here.
pub const API_VERSION: &str = "velero.io/v1";
/// `status.version` of a backup.
pub const BACKUP_VERSION: i64 = 1;
/// `status.formatVersion` of a backup: the layout of its archive.
pub const FORMAT_VERSION: &str = "1.1.0";
/// What a backup's TTL is when none is given, or `0`.
pub const DEFAULT_TTL: GoDuration = GoDuration::from_hours(720);
/// Default for [`BackupSpec::csi_snapshot_timeout`].
pub const DEFAULT_CSI_SNAPSHOT_TIMEOUT: GoDuration = GoDuration::from_minutes(10);
/// Default for [`BackupSpec::item_operation_timeout`].
pub const DEFAULT_ITEM_OPERATION_TIMEOUT: GoDuration = GoDuration::from_hours(4);

/// A backup: what was asked for and what came of it. In a location, this is `velero-backup.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Backup {
    /// Always `Backup`.
    pub kind: String,
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// What was asked for.
    pub spec: BackupSpec,
    /// What came of it.
    pub status: BackupStatus,
}

impl Backup {
    /// An empty backup of this name with kind and version set.
    #[must_use]
    pub fn named(namespace: &str, name: &str) -> Self {
        Self {
            kind: "Backup".to_owned(),
            api_version: API_VERSION.to_owned(),
            metadata: ObjectMeta {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                ..ObjectMeta::default()
            },
            ..Self::default()
        }
    }
}

/// The filters that backups and restores share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Labels for backups made from a schedule's template.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub labels: StringMap,
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
    /// Hooks, kept as they are.
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
    /// Uploader settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploader_config: Option<Value>,
    /// Label key that groups claims for a group snapshot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_group_snapshot_label_key: String,
}

/// Hook specifications; `resources` is kept as written, hooks are run by the server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// One entry per set of pods.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub resources: Vec<Value>,
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
}

/// `Backup.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// [`BACKUP_VERSION`].
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub version: i64,
    /// [`FORMAT_VERSION`].
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

/// Hooks of a backup or restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HookStatus {
    /// How many were run.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub hooks_attempted: i64,
    /// How many failed.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub hooks_failed: i64,
}

macro_rules! phases {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $type {
            /// Not looked at yet.
            #[default]
            #[serde(rename = "")]
            Unset,
            $($(#[$vdoc])* $variant,)+
            /// A phase that this version does not know.
            #[serde(untagged)]
            Other(String),
        }

        impl $type {
            /// True before anybody has looked at the object.
            #[must_use]
            pub fn is_unset(&self) -> bool {
                *self == Self::Unset
            }

            /// The phase as Velero prints it; `New` when unset.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    Self::Unset => "New",
                    $(Self::$variant => stringify!($variant),)+
                    Self::Other(text) => text,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
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

/// A restore: what was asked for and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Restore {
    /// Always `Restore`.
    pub kind: String,
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// What was asked for.
    pub spec: RestoreSpec,
    /// What came of it.
    pub status: RestoreStatus,
}

impl Restore {
    /// An empty restore of this name with kind and version set.
    #[must_use]
    pub fn named(namespace: &str, name: &str) -> Self {
        Self {
            kind: "Restore".to_owned(),
            api_version: API_VERSION.to_owned(),
            metadata: ObjectMeta {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                ..ObjectMeta::default()
            },
            ..Self::default()
        }
    }
}

/// `Restore.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreSpec {
    /// Which backup; exclusive with [`RestoreSpec::schedule_name`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backup_name: String,
    /// Newest completed backup of this schedule.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schedule_name: String,
    /// Namespaces to restore; empty means all in the backup.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub excluded_namespaces: Vec<String>,
    /// Resources to restore; empty means all in the backup.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub included_resources: Vec<String>,
    /// Resources to leave out.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub excluded_resources: Vec<String>,
    /// Source namespace to target namespace.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub namespace_mapping: StringMap,
    /// Label selector; exclusive with [`RestoreSpec::or_label_selectors`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Any of these selectors.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Whether volumes are restored from snapshots.
    #[serde(rename = "restorePVs", skip_serializing_if = "Option::is_none")]
    pub restore_pvs: Option<bool>,
    /// Whose status is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_status: Option<RestoreStatusSpec>,
    /// Whether node ports are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserve_node_ports: Option<bool>,
    /// Whether cluster-scoped objects are restored; absent means those that belong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Hooks, kept as they are.
    #[serde(deserialize_with = "null_is_default")]
    pub hooks: Hooks,
    /// `none` (default), `update`, or Salvor's `recreate`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub existing_resource_policy: String,
    /// How long asynchronous operations may take.
    pub item_operation_timeout: GoDuration,
    /// ConfigMap with resource modifiers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_modifier: Option<TypedLocalObjectReference>,
    /// Uploader settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploader_config: Option<Value>,
}

/// `Restore.spec.restoreStatus`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatusSpec {
    /// Resources whose status is restored; `*` for all.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub included_resources: Vec<String>,
    /// Resources whose status is not restored.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub excluded_resources: Vec<String>,
}

phases! {
    /// Where a restore stands.
    RestorePhase {
        /// Accepted.
        New,
        /// Refused.
        FailedValidation,
        /// Objects are being created.
        InProgress,
        /// Objects are done, operations run.
        WaitingForPluginOperations,
        /// The same, with errors.
        WaitingForPluginOperationsPartiallyFailed,
        /// The last touches.
        Finalizing,
        /// The same, with errors.
        FinalizingPartiallyFailed,
        /// Everything asked for was done.
        Completed,
        /// Some objects could not be restored.
        PartiallyFailed,
        /// It could not be carried out.
        Failed,
        /// Stopped by its user (Salvor's own; Velero restores are never cancelled).
        Cancelled,
    }
}

/// `Restore.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "RestorePhase::is_unset")]
    pub phase: RestorePhase,
    /// Why validation failed.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub validation_errors: Vec<String>,
    /// Number of warnings.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub warnings: i64,
    /// Number of errors.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub errors: i64,
    /// Why it failed as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub failure_reason: String,
    /// When work began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When work ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// How far it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<RestoreProgress>,
    /// Hook counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_status: Option<HookStatus>,
}

/// Items of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreProgress {
    /// How many there are.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub total_items: i64,
    /// How many are done.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub items_restored: i64,
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_backup_is_written_as_velero_writes_it() {
        let mut backup = Backup::named("velero", "nightly-1");
        backup
            .metadata
            .labels
            .insert("velero.io/storage-location".into(), "default".into());
        backup.spec.included_namespaces = vec!["*".into()];
        backup.spec.ttl = DEFAULT_TTL;
        backup.spec.csi_snapshot_timeout = DEFAULT_CSI_SNAPSHOT_TIMEOUT;
        backup.spec.item_operation_timeout = DEFAULT_ITEM_OPERATION_TIMEOUT;
        backup.spec.storage_location = "default".into();
        backup.status.version = BACKUP_VERSION;
        backup.status.format_version = FORMAT_VERSION.into();
        backup.status.phase = BackupPhase::PartiallyFailed;
        backup.status.start_timestamp = Some("2026-11-20T02:00:00Z".parse().expect("time"));
        expect![[r#"{"kind":"Backup","apiVersion":"velero.io/v1","metadata":{"name":"nightly-1","namespace":"velero","creationTimestamp":null,"labels":{"velero.io/storage-location":"default"}},"spec":{"metadata":{},"includedNamespaces":["*"],"ttl":"720h0m0s","hooks":{},"storageLocation":"default","csiSnapshotTimeout":"10m0s","itemOperationTimeout":"4h0m0s"},"status":{"version":1,"formatVersion":"1.1.0","phase":"PartiallyFailed","startTimestamp":"2026-11-20T02:00:00Z"}}"#]]
        .assert_eq(&serde_json::to_string(&backup).expect("plain data"));
    }

    #[test]
    fn unknown_fields_nulls_and_phases_are_read() {
        let text = r#"{"apiVersion":"velero.io/v1","kind":"Backup",
            "metadata":{"name":"x","creationTimestamp":null,"managedFields":[]},
            "spec":{"includedNamespaces":null,"ttl":"1h","fromTheFuture":{},"hooks":null},
            "status":{"phase":"Hibernating"}}"#;
        let backup: Backup = serde_json::from_str(text).expect("lenient");
        assert_eq!(
            backup.status.phase,
            BackupPhase::Other("Hibernating".into())
        );
        assert_eq!(backup.spec.ttl, GoDuration::from_hours(1));
        assert_eq!(BackupPhase::Unset.to_string(), "New");
        let again: Backup =
            serde_json::from_str(&serde_json::to_string(&backup).expect("plain")).expect("ours");
        assert_eq!(again, backup);
    }
}
