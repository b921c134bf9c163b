//! `salvor-volumes.json.gz`: what became of every volume of a backup, and where its data is.
//!
//! Beside it stands Velero's volume info, in which every volume whose data only we can read is skipped with that
//! reason: an upstream Velero then restores the objects and waits for nothing.

use salvor_api::go::Time;
use serde::{Deserialize, Serialize};

use super::{DEFAULT_SIDE_FILE_LIMIT, read_json_gz, write_json_gz};
use crate::error::{ArchiveError, Result};

/// The version that this code writes.
const VERSION: u32 = 1;

/// The file: every volume that the backup met, none left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SalvorVolumes {
    /// Version of the format.
    version: u32,
    /// Sorted by namespace, claim and pod.
    pub volumes: Vec<SalvorVolume>,
}

impl SalvorVolumes {
    /// The file for these volumes.
    #[must_use]
    pub fn new(mut volumes: Vec<SalvorVolume>) -> Self {
        volumes.sort_by(|a, b| a.place().cmp(&b.place()));
        Self {
            version: VERSION,
            volumes,
        }
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// The compressor fails, which would be a fault of this program.
    pub fn encode(&self) -> Result<Vec<u8>> {
        write_json_gz(self)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Damaged, too long, or written by a later release, whose fields may mean something else.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let volumes: Self = read_json_gz(bytes, DEFAULT_SIDE_FILE_LIMIT)?;
        if volumes.version > VERSION {
            return Err(ArchiveError::SideFileNewer {
                what: crate::names::SALVOR_VOLUMES,
                found: volumes.version,
                supported: VERSION,
            });
        }
        Ok(volumes)
    }
}

/// One volume of a backup: a claim's, or one that lives and ends with its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SalvorVolume {
    /// Namespace of the claim or the pod; empty for a persistent volume without a claim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The claim; empty for a volume of a pod that has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub claim: String,
    /// The persistent volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub persistent_volume: String,
    /// The pod through which it was read; empty when none mounted it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Its name in that pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod_volume: String,
    /// The node on which it was read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// What became of it.
    pub outcome: VolumeOutcome,
    /// Why it is skipped or failed, as users read it; for a protected one what they should know, or nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How it was backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<VolumeMethod>,
    /// What its data can be relied on for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// Its data in a repository of the location.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<RepositorySnapshot>,
    /// Its snapshot in the storage that its CSI driver manages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csi: Option<CsiSnapshot>,
    /// Its snapshot by a volume snapshotter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<NativeSnapshot>,
    /// When reading or the snapshot began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
}

impl SalvorVolume {
    fn place(&self) -> (&str, &str, &str, &str, &str) {
        (
            &self.namespace,
            &self.claim,
            &self.pod,
            &self.pod_volume,
            &self.persistent_volume,
        )
    }
}

/// What became of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeOutcome {
    /// Its data is in the backup.
    Protected,
    /// Its data was left out, for a reason.
    #[default]
    Skipped,
    /// Its data was wanted and is not there.
    Failed,
}

/// How a volume was backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeMethod {
    /// Its files were copied into a repository.
    Files,
    /// A CSI driver took a snapshot, which stays in the storage.
    CsiSnapshot,
    /// A CSI driver took a snapshot, whose files were copied into a repository.
    CsiMoved,
    /// A volume snapshotter took a snapshot.
    NativeSnapshot,
}

/// What a point can be relied on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Its application was told to write everything out first, by hooks that succeeded.
    Application,
    /// As after a power cut: all of one moment.
    Crash,
    /// Files were read one after the other while they could be written.
    Files,
}

/// A snapshot in a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RepositorySnapshot {
    /// The repository: folder `plugins/salvor/repository/<domain>` of the location.
    pub domain: String,
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Bytes of the volume.
    pub bytes: u64,
    /// Bytes that the repository did not have.
    pub new_bytes: u64,
    /// Files and other entries.
    pub entries: u64,
    /// Entries that could not be read.
    pub unread: u64,
}

/// A snapshot by a CSI driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CsiSnapshot {
    /// The driver.
    pub driver: String,
    /// The storage's name for it; empty once it was moved and deleted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub handle: String,
    /// The VolumeSnapshotClass it was taken with.
    pub class: String,
    /// The VolumeSnapshot's name, in the claim's namespace.
    pub snapshot: String,
    /// The VolumeSnapshotContent's name.
    pub content: String,
    /// Size in bytes that a volume made of it has at least.
    pub restore_size: u64,
    /// The storage's name for the group that it was taken with; empty for one by itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
}

/// A snapshot by a volume snapshotter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NativeSnapshot {
    /// The VolumeSnapshotLocation.
    pub location: String,
    /// The provider's name for it.
    pub handle: String,
    /// The provider's type of the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_type: String,
    /// Zone of the volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Operations per second that it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_and_one_of_a_later_release_is_refused() {
        let volume = |claim: &str| SalvorVolume {
            namespace: "shop".into(),
            claim: claim.into(),
            outcome: VolumeOutcome::Protected,
            method: Some(VolumeMethod::Files),
            consistency: Some(Consistency::Application),
            snapshot: Some(RepositorySnapshot {
                domain: "ns-shop".into(),
                id: "ab".repeat(32),
                bytes: 7,
                ..RepositorySnapshot::default()
            }),
            ..SalvorVolume::default()
        };
        let volumes = SalvorVolumes::new(vec![volume("b"), volume("a")]);
        assert_eq!(volumes.volumes[0].claim, "a");
        let bytes = volumes.encode().expect("encoded");
        assert_eq!(SalvorVolumes::decode(&bytes).expect("decoded"), volumes);

        let later = SalvorVolumes {
            version: 2,
            ..volumes
        };
        let refused = SalvorVolumes::decode(&later.encode().expect("encoded"));
        let text = refused.expect_err("newer").to_string();
        assert!(
            text.contains("salvor-volumes.json.gz has format version 2"),
            "{text}"
        );
        assert!(SalvorVolumes::decode(&bytes[..bytes.len() / 2]).is_err());
    }
}
