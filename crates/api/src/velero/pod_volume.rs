//! Volumes of pods, copied file by file: one object per volume and backup or restore.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data::{DataPhase, DataProgress};
use super::kind::kind;
use super::repository::UploaderType;
use crate::go::Time;
use crate::meta::{ObjectReference, StringMap, null_is_default};

kind! {
    /// The copy of one volume of a running pod into a repository.
    PodVolumeBackup, v1, "podvolumebackups", "podvolumebackup", ["pvb"],
    PodVolumeBackupSpec, PodVolumeBackupStatus
}

/// `PodVolumeBackup.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeBackupSpec {
    /// Node that the pod runs on.
    pub node: String,
    /// The pod.
    #[serde(deserialize_with = "null_is_default")]
    pub pod: ObjectReference,
    /// Name of the volume in the pod.
    pub volume: String,
    /// Name of the location.
    pub backup_storage_location: String,
    /// Identifies the repository.
    pub repo_identifier: String,
    /// Who copies; written even when empty.
    pub uploader_type: UploaderType,
    /// Marks put on the snapshot in the repository.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub tags: StringMap,
    /// Settings of the uploader.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub uploader_settings: StringMap,
    /// Whether it shall stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// Snapshot to compare with: empty chooses one, `none` takes all (releases from 1.19).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent_snapshot: String,
}

/// `PodVolumeBackup.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeBackupStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "DataPhase::is_unset")]
    pub phase: DataPhase,
    /// Path of the volume on the node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Snapshot in the repository.
    #[serde(rename = "snapshotID", skip_serializing_if = "String::is_empty")]
    pub snapshot_id: String,
    /// What happened.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When copying began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// How far it got.
    #[serde(deserialize_with = "null_is_default")]
    pub progress: DataProgress,
    /// Bytes that were new to the repository.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub incremental_bytes: i64,
    /// When preparation began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_timestamp: Option<Time>,
}

kind! {
    /// The copy of one volume from a repository into a restored pod.
    PodVolumeRestore, v1, "podvolumerestores", "podvolumerestore", ["pvr"],
    PodVolumeRestoreSpec, PodVolumeRestoreStatus
}

/// `PodVolumeRestore.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeRestoreSpec {
    /// The pod.
    #[serde(deserialize_with = "null_is_default")]
    pub pod: ObjectReference,
    /// Name of the volume in the pod.
    pub volume: String,
    /// Name of the location.
    pub backup_storage_location: String,
    /// Identifies the repository.
    pub repo_identifier: String,
    /// Who copies; written even when empty.
    pub uploader_type: UploaderType,
    /// Snapshot in the repository.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// Namespace that the volume was taken from.
    pub source_namespace: String,
    /// Settings of the uploader.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub uploader_settings: StringMap,
    /// Whether it shall stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// Bytes in the snapshot.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub snapshot_size: i64,
}

/// `PodVolumeRestore.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeRestoreStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "DataPhase::is_unset")]
    pub phase: DataPhase,
    /// What happened.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When copying began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// How far it got.
    #[serde(deserialize_with = "null_is_default")]
    pub progress: DataProgress,
    /// When preparation began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_timestamp: Option<Time>,
    /// Node that copies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
}
