//! `<b>-volumesnapshots.json.gz`: the snapshots that volume snapshotters took for a backup.

use serde::{Deserialize, Serialize};

/// Phase of a snapshot that was taken.
const COMPLETED: &str = "Completed";
/// Phase of one that was not.
const FAILED: &str = "Failed";

/// A snapshot by a volume snapshotter, in Velero's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSnapshot {
    /// Of what it was to be taken.
    pub spec: VolumeSnapshotSpec,
    /// What came of it.
    pub status: VolumeSnapshotStatus,
}

/// Of what a snapshot was to be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotSpec {
    /// The backup.
    pub backup_name: String,
    /// UID of its object; empty when it has none.
    #[serde(rename = "backupUID")]
    pub backup_uid: String,
    /// The VolumeSnapshotLocation.
    pub location: String,
    /// The persistent volume.
    pub persistent_volume_name: String,
    /// The provider's name for the volume.
    #[serde(rename = "providerVolumeID")]
    pub provider_volume_id: String,
    /// The provider's type of the volume.
    pub volume_type: String,
    /// Zone of the volume.
    #[serde(rename = "volumeAZ", skip_serializing_if = "String::is_empty")]
    pub volume_az: String,
    /// Operations per second that the volume was made for.
    #[serde(rename = "volumeIOPS", skip_serializing_if = "Option::is_none")]
    pub volume_iops: Option<i64>,
}

/// What came of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeSnapshotStatus {
    /// The provider's name for it.
    #[serde(
        rename = "providerSnapshotID",
        skip_serializing_if = "String::is_empty"
    )]
    pub provider_snapshot_id: String,
    /// `New`, `Completed` or `Failed`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub phase: String,
}

impl VolumeSnapshotStatus {
    /// It was taken, under this name of the provider's.
    #[must_use]
    pub fn completed(provider_snapshot_id: &str) -> Self {
        Self {
            provider_snapshot_id: provider_snapshot_id.to_owned(),
            phase: COMPLETED.to_owned(),
        }
    }

    /// It was not taken.
    #[must_use]
    pub fn failed() -> Self {
        Self {
            phase: FAILED.to_owned(),
            ..Self::default()
        }
    }
}

impl VolumeSnapshot {
    /// True when it was taken.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.status.phase == COMPLETED && !self.status.provider_snapshot_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULT_SIDE_FILE_LIMIT, read_json_gz, write_json_gz};
    use super::*;

    /// As Velero 1.14 with velero-plugin-for-aws writes it.
    const VELERO: &str = r#"[{"spec":{"backupName":"nightly","backupUID":"6e4e","location":"default","persistentVolumeName":"pvc-1","providerVolumeID":"vol-0a1","volumeType":"gp2","volumeAZ":"eu-west-1a","volumeIOPS":100},"status":{"providerSnapshotID":"snap-0b2","phase":"Completed"}},{"spec":{"backupName":"nightly","backupUID":"6e4e","location":"default","persistentVolumeName":"pvc-2","providerVolumeID":"vol-0a2","volumeType":"gp3"},"status":{"phase":"Failed"}}]"#;

    #[test]
    fn the_list_is_read_and_written_as_velero_does() {
        let read: Vec<VolumeSnapshot> = serde_json::from_str(VELERO).expect("read");
        assert!(read[0].is_completed() && !read[1].is_completed());
        assert_eq!(serde_json::to_string(&read).expect("written"), VELERO);
        let bytes = write_json_gz(&read).expect("compressed");
        let again: Vec<VolumeSnapshot> =
            read_json_gz(&bytes, DEFAULT_SIDE_FILE_LIMIT).expect("read");
        assert_eq!(again, read);
        assert_eq!(VolumeSnapshotStatus::completed("snap-0b2"), read[0].status);
        assert_eq!(VolumeSnapshotStatus::failed(), read[1].status);
    }
}
