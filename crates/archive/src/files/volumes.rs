//! How each volume was backed up or restored.

use std::collections::BTreeMap;

use salvor_api::go::Time;
use serde::{Deserialize, Serialize};

use super::operations::is_zero;
use super::results::null_is_empty;

/// One volume of `<b>-volumeinfo.json.gz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupVolumeInfo {
    /// Name of the claim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pvc_name: String,
    /// Namespace of the claim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pvc_namespace: String,
    /// Name of the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pv_name: String,
    /// `NativeSnapshot`, `PodVolumeBackup` or `CSISnapshot`; empty when skipped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backup_method: String,
    /// True when a snapshot's data was moved to the location.
    pub snapshot_data_moved: bool,
    /// True when the storage keeps its snapshot.
    pub preserve_local_snapshot: bool,
    /// True when the data was not backed up.
    pub skipped: bool,
    /// Why it was not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub skipped_reason: String,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// `succeeded` or `failed`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// For `CSISnapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi_snapshot_info: Option<CsiSnapshotInfo>,
    /// For moved data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_data_movement_info: Option<SnapshotDataMovementInfo>,
    /// For `NativeSnapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_snapshot_info: Option<NativeSnapshotInfo>,
    /// For `PodVolumeBackup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvb_info: Option<PodVolumeInfo>,
    /// What a volume made anew would lose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pv_info: Option<PvInfo>,
}

/// One volume of `<r>-volumeinfo.json.gz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreVolumeInfo {
    /// Name of the claim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pvc_name: String,
    /// Namespace of the claim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pvc_namespace: String,
    /// Name of the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pv_name: String,
    /// `NativeSnapshot`, `PodVolumeRestore` or `CSISnapshot`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restore_method: String,
    /// True when the data came from the location.
    pub snapshot_data_moved: bool,
    /// For `CSISnapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi_snapshot_info: Option<CsiSnapshotInfo>,
    /// For moved data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_data_movement_info: Option<SnapshotDataMovementInfo>,
    /// For `NativeSnapshot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_snapshot_info: Option<NativeSnapshotInfo>,
    /// For `PodVolumeRestore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvr_info: Option<PodVolumeInfo>,
}

/// A snapshot by a CSI driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSnapshotInfo {
    /// The storage's name for it.
    pub snapshot_handle: String,
    /// Size of the volume in bytes.
    pub size: i64,
    /// The driver.
    pub driver: String,
    /// Name of the VolumeSnapshotContent.
    pub vsc_name: String,
    /// The operation that waits for it.
    #[serde(rename = "operationID", skip_serializing_if = "String::is_empty")]
    pub operation_id: String,
    /// What the VolumeSnapshot says; the key is capitalised and always written.
    #[serde(rename = "ReadyToUse", alias = "readyToUse")]
    pub ready_to_use: Option<bool>,
    /// The storage's name for the group it was taken with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_group_snapshot_handle: String,
}

/// A snapshot whose data was moved to the location.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotDataMovementInfo {
    /// The mover; empty or `velero` for the one that is built in.
    pub data_mover: String,
    /// For example `kopia`.
    pub uploader_type: String,
    /// Name of the snapshot that stayed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub retained_snapshot: String,
    /// The repository's name for it.
    pub snapshot_handle: String,
    /// The operation that moved it.
    #[serde(rename = "operationID")]
    pub operation_id: String,
    /// Moved bytes.
    pub size: i64,
    /// Bytes that were new to the repository.
    #[serde(skip_serializing_if = "is_zero")]
    pub incremental_size: i64,
    /// Phase of the DataUpload; the key is capitalised.
    #[serde(rename = "Phase", alias = "phase")]
    pub phase: String,
}

/// A snapshot by a volume plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NativeSnapshotInfo {
    /// The provider's name for it.
    pub snapshot_handle: String,
    /// The provider's type of volume.
    pub volume_type: String,
    /// The provider's zone.
    #[serde(rename = "volumeAZ")]
    pub volume_az: String,
    /// A number as text.
    pub iops: String,
    /// Phase of the snapshot; the key is capitalised.
    #[serde(rename = "Phase", alias = "phase")]
    pub phase: String,
}

/// A file-system backup or restore of a pod's volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodVolumeInfo {
    /// The repository's name for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub snapshot_handle: String,
    /// Bytes in the volume.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: i64,
    /// Bytes that were new to the repository.
    #[serde(skip_serializing_if = "is_zero")]
    pub incremental_size: i64,
    /// For example `kopia`.
    pub uploader_type: String,
    /// The pod's name for the volume.
    pub volume_name: String,
    /// The pod.
    pub pod_name: String,
    /// Namespace of the pod.
    pub pod_namespace: String,
    /// The node it ran on; empty for restores.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// Phase of the PodVolumeBackup or PodVolumeRestore; the key is capitalised.
    #[serde(rename = "Phase", alias = "phase")]
    pub phase: String,
}

/// What a volume made anew would lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PvInfo {
    /// `Delete` or `Retain`.
    pub reclaim_policy: String,
    /// Labels of the volume.
    #[serde(deserialize_with = "null_is_empty")]
    pub labels: BTreeMap<String, String>,
}
