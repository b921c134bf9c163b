//! Volume data on the move: snapshots uploaded to, and volumes downloaded from, a repository.
//!
//! The file by file copies of [`super::PodVolumeBackup`] and [`super::PodVolumeRestore`] have the same
//! phases: New, Accepted (a pod that can reach the volume is being prepared), Prepared, InProgress, then
//! Completed or Failed; a request to stop leads through Canceling to Canceled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kind::kind;
use super::phase::{phases, words};
use crate::go::{GoDuration, Time};
use crate::meta::{StringMap, null_is_default};

phases! {
    /// Where a movement of data stands.
    DataPhase {
        /// Not looked at yet.
        New,
        /// A node prepares it.
        Accepted,
        /// Ready to move.
        Prepared,
        /// Bytes move.
        InProgress,
        /// Asked to stop.
        Canceling,
        /// Stopped.
        Canceled,
        /// Everything was moved.
        Completed,
        /// Not everything was moved.
        Failed,
    }
}

impl DataPhase {
    /// True when nothing more will happen to it by itself.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Canceled | Self::Completed | Self::Failed)
    }
}

/// Bytes of a movement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataProgress {
    /// Bytes in all.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub total_bytes: i64,
    /// Bytes moved.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub bytes_done: i64,
}

words! {
    /// Operating system of a node.
    NodeOs, unset: "", {
        /// Chosen by what is there.
        Auto = "auto",
        /// Linux.
        Linux = "linux",
        /// Windows.
        Windows = "windows",
    }
}

kind! {
    /// Moves the data of a snapshot into a repository.
    DataUpload, v2alpha1, "datauploads", "dataupload", ["du"], DataUploadSpec, DataUploadStatus
}

/// `DataUpload.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataUploadSpec {
    /// Kind of snapshot; `CSI` is the only one.
    pub snapshot_type: String,
    /// The snapshot. Go writes `null` when there is none.
    pub csi_snapshot: Option<CsiSnapshot>,
    /// Claim that the snapshot was taken of.
    #[serde(rename = "sourcePVC")]
    pub source_pvc: String,
    /// Which data mover; empty means the built-in one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datamover: String,
    /// Name of the location.
    pub backup_storage_location: String,
    /// Namespace of the claim and the snapshot.
    pub source_namespace: String,
    /// Settings of the data mover.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub data_mover_config: StringMap,
    /// Whether it shall stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// How long single steps may take.
    pub operation_timeout: GoDuration,
    /// File system of the source (releases from 1.19).
    #[serde(rename = "sourceFSType", skip_serializing_if = "String::is_empty")]
    pub source_fs_type: String,
    /// Snapshot to compare with: empty chooses one, `none` takes all (releases from 1.19).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub parent_snapshot: String,
}

/// A CSI snapshot whose data is moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSnapshot {
    /// Name of the VolumeSnapshot.
    pub volume_snapshot: String,
    /// Storage class of the claim.
    pub storage_class: String,
    /// Snapshot class; written even when empty.
    pub snapshot_class: String,
    /// Driver of the snapshot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
}

/// `DataUpload.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataUploadStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "DataPhase::is_unset")]
    pub phase: DataPhase,
    /// Path of the volume on the node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Snapshot in the repository.
    #[serde(rename = "snapshotID", skip_serializing_if = "String::is_empty")]
    pub snapshot_id: String,
    /// What the data mover wants to know at the restore.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub data_mover_result: StringMap,
    /// What happened.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When moving began.
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
    /// Node that moves the data.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Its operating system.
    #[serde(rename = "nodeOS", skip_serializing_if = "NodeOs::is_unset")]
    pub node_os: NodeOs,
    /// Node that prepared it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub accepted_by_node: String,
    /// When preparation began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_timestamp: Option<Time>,
}

kind! {
    /// Moves data from a repository into a new volume.
    DataDownload, v2alpha1, "datadownloads", "datadownload", ["dd"],
    DataDownloadSpec, DataDownloadStatus
}

/// `DataDownload.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataDownloadSpec {
    /// Where the data goes.
    #[serde(deserialize_with = "null_is_default")]
    pub target_volume: TargetVolume,
    /// Name of the location.
    pub backup_storage_location: String,
    /// Which data mover; empty means the built-in one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub datamover: String,
    /// Snapshot in the repository.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// Namespace that the data was taken from.
    pub source_namespace: String,
    /// Settings of the data mover.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub data_mover_config: StringMap,
    /// Whether it shall stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancel: bool,
    /// How long single steps may take.
    pub operation_timeout: GoDuration,
    /// Operating system of the node that shall do it.
    #[serde(rename = "nodeOS", skip_serializing_if = "NodeOs::is_unset")]
    pub node_os: NodeOs,
    /// Bytes in the snapshot.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub snapshot_size: i64,
}

/// The claim and volume that downloaded data goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetVolume {
    /// Name of the claim.
    pub pvc: String,
    /// Name of the volume.
    pub pv: String,
    /// Namespace of the claim.
    pub namespace: String,
    /// File system of the volume (releases from 1.19).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fs_type: String,
}

/// `DataDownload.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataDownloadStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "DataPhase::is_unset")]
    pub phase: DataPhase,
    /// What happened.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When moving began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// How far it got.
    #[serde(deserialize_with = "null_is_default")]
    pub progress: DataProgress,
    /// Node that moves the data.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// Node that prepared it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub accepted_by_node: String,
    /// When preparation began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_timestamp: Option<Time>,
}
