//! Restores: what to bring back, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hook::{HookStatus, Hooks};
use super::kind::kind;
use super::phase::phases;
use super::uploader::{UploaderConfigForRestore, settings};
use crate::go::{GoDuration, Time};
use crate::meta::{LabelSelector, StringMap, TypedLocalObjectReference, null_is_default};

kind! {
    /// A restore: what was asked for and what came of it.
    Restore, v1, "restores", "restore", ["rst"], RestoreSpec, RestoreStatus
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
    /// Hooks as written; read them through [`Hooks::for_restore`].
    #[serde(deserialize_with = "null_is_default")]
    pub hooks: Hooks,
    /// `none` (default), `update`, or Salvor's `recreate`.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub existing_resource_policy: String,
    /// How long asynchronous operations may take.
    pub item_operation_timeout: GoDuration,
    /// ConfigMap with resource modifiers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_modifier: Option<TypedLocalObjectReference>,
    /// Uploader settings as written; read them through [`RestoreSpec::uploader`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploader_config: Option<Value>,
    /// ConfigMap with resource policies (releases from 1.19).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_policy: Option<TypedLocalObjectReference>,
    /// Whether the server's own resource modifier is left out (releases from 1.19).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_default_resource_modifier: Option<bool>,
}

impl RestoreSpec {
    /// The uploader settings, typed. Absent settings are the defaults.
    ///
    /// # Errors
    /// A setting has the wrong type.
    pub fn uploader(&self) -> Result<UploaderConfigForRestore, serde_json::Error> {
        settings(self.uploader_config.as_ref())
    }
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

impl RestorePhase {
    /// True when nothing more will happen to it by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::PartiallyFailed
                | Self::Failed
                | Self::FailedValidation
                | Self::Cancelled
        )
    }

    /// True when it was begun and has not come to its end.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(
            self,
            Self::InProgress
                | Self::WaitingForPluginOperations
                | Self::WaitingForPluginOperationsPartiallyFailed
                | Self::Finalizing
                | Self::FinalizingPartiallyFailed
        )
    }

    /// The phase as an object in a cluster may carry it: Velero's definition has no `Cancelled`, so a
    /// cancelled restore is `Failed` there and its failure reason says who stopped it.
    #[must_use]
    pub fn in_cluster(self) -> Self {
        match self {
            Self::Cancelled => Self::Failed,
            phase => phase,
        }
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
    /// Asynchronous operations tried.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub restore_item_operations_attempted: i64,
    /// Asynchronous operations done.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub restore_item_operations_completed: i64,
    /// Asynchronous operations failed.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub restore_item_operations_failed: i64,
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
