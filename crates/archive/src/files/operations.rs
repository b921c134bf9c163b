//! Asynchronous operations that item actions started.

use salvor_api::go::Time;
use serde::{Deserialize, Serialize};

use super::results::null_is_empty;

/// One operation of `<b>-itemoperations.json.gz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupOperation {
    /// What it is.
    pub spec: BackupOperationSpec,
    /// How far it is.
    pub status: OperationStatus,
}

/// What an operation of a backup is. Three keys are capitalised: their Go fields have malformed tags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupOperationSpec {
    /// The backup.
    pub backup_name: String,
    /// UID of the Backup object.
    #[serde(rename = "backupUID")]
    pub backup_uid: String,
    /// The action that started it.
    pub backup_item_action: String,
    /// The item that it works on.
    #[serde(rename = "ResourceIdentifier", alias = "resourceIdentifier")]
    pub resource_identifier: ResourceIdentifier,
    /// The action's name for it.
    #[serde(rename = "OperationID", alias = "operationID")]
    pub operation_id: String,
    /// Items to be collected again once it is done.
    #[serde(
        rename = "PostOperationItems",
        alias = "postOperationItems",
        deserialize_with = "null_is_empty"
    )]
    pub post_operation_items: Vec<ResourceIdentifier>,
}

/// One operation of `restore-<r>-itemoperations.json.gz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreOperation {
    /// What it is.
    pub spec: RestoreOperationSpec,
    /// How far it is.
    pub status: OperationStatus,
}

/// What an operation of a restore is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreOperationSpec {
    /// The restore.
    pub restore_name: String,
    /// UID of the Restore object.
    #[serde(rename = "restoreUID")]
    pub restore_uid: String,
    /// The action that started it.
    pub restore_item_action: String,
    /// The item that it works on.
    #[serde(rename = "ResourceIdentifier", alias = "resourceIdentifier")]
    pub resource_identifier: ResourceIdentifier,
    /// The action's name for it.
    #[serde(rename = "OperationID", alias = "operationID")]
    pub operation_id: String,
}

/// An item as operations name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ResourceIdentifier {
    /// API group, empty for the core group.
    #[serde(alias = "group")]
    pub group: String,
    /// Plural.
    #[serde(alias = "resource")]
    pub resource: String,
    /// Empty for cluster-scoped items.
    #[serde(alias = "namespace")]
    pub namespace: String,
    /// Name.
    #[serde(alias = "name")]
    pub name: String,
}

/// How far an operation is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationStatus {
    /// `New`, `InProgress`, `Completed` or `Failed`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// How much is done, in units of `operation_units`.
    #[serde(skip_serializing_if = "is_zero")]
    pub n_completed: i64,
    /// How much there is to do, in units of `operation_units`.
    #[serde(skip_serializing_if = "is_zero")]
    pub n_total: i64,
    /// For example `Byte`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operation_units: String,
    /// Progress in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When this status was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated: Option<Time>,
}

pub(super) fn is_zero(value: &i64) -> bool {
    *value == 0
}
