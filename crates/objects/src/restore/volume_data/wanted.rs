//! What the backup says of its volumes' data, before anything is known of the target.

use salvor_archive::files::{
    BackupVolumeInfo, SalvorVolume, SalvorVolumes, VolumeMethod, VolumeOutcome,
};
use salvor_volume::Domain;

use super::{DataAction, DataSnapshot, StorageSnapshot, VolumeData};
use crate::restore::planner::volumes::holds_data;

const NOT_WANTED: &str = "its data is not wanted (restorePVs=false)";
/// Hexadecimal digits of a snapshot's id.
const ID_DIGITS: usize = 64;

/// What a restore wants of a backup's volumes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// `restorePVs` of the restore is not false.
    pub(crate) volumes: bool,
    /// The target serves VolumeSnapshots.
    pub(crate) snapshots: bool,
    /// There is a mover, and an image for the container that waits in pods.
    pub(crate) can_wait: bool,
}

/// The volumes of a backup that have data or should have it: of our record, and where there is none, of Velero's.
pub(crate) fn wanted(
    record: Option<&SalvorVolumes>,
    infos: &[BackupVolumeInfo],
    wish: Wish,
) -> Vec<VolumeData> {
    match record {
        Some(record) => record
            .volumes
            .iter()
            .filter(|volume| !volume.claim.is_empty() || !volume.pod_volume.is_empty())
            .map(|volume| of_record(volume, wish))
            .collect(),
        None => infos
            .iter()
            .filter(|info| holds_data(info))
            .map(|info| of_velero(info, wish))
            .collect(),
    }
}

fn of_record(volume: &SalvorVolume, wish: Wish) -> VolumeData {
    let mut data = VolumeData {
        namespace: volume.namespace.clone(),
        claim: volume.claim.clone(),
        pod: volume.pod.clone(),
        pod_volume: volume.pod_volume.clone(),
        persistent_volume: volume.persistent_volume.clone(),
        missed: volume.outcome == VolumeOutcome::Failed,
        ..VolumeData::default()
    };
    let reason = match volume.outcome {
        VolumeOutcome::Skipped | VolumeOutcome::Failed => {
            format!("no data of it is in the backup: {}", volume.reason)
        }
        VolumeOutcome::Protected if !wish.volumes => NOT_WANTED.to_owned(),
        VolumeOutcome::Protected => match (&volume.snapshot, volume.method) {
            (Some(snapshot), _) if is_usable(&snapshot.domain, &snapshot.id) => {
                data.snapshot = Some(DataSnapshot {
                    domain: snapshot.domain.clone(),
                    id: snapshot.id.clone(),
                    bytes: snapshot.bytes,
                });
                if data.is_of_pod() && !wish.can_wait {
                    data.set(DataAction::Blocked, CANNOT_WAIT);
                } else {
                    let unread = match snapshot.unread {
                        0 => String::new(),
                        n => format!("{n} entries could not be read when it was backed up"),
                    };
                    data.set(DataAction::Fill, unread);
                }
                return data;
            }
            (Some(_), _) => {
                let text = "the backup's record of its data names no snapshot of a repository: the record is damaged; \
                            verify the backup";
                data.set(DataAction::Blocked, text);
                return data;
            }
            (None, Some(VolumeMethod::CsiSnapshot)) => {
                let csi = volume.csi.clone().unwrap_or_default();
                let snapshot = StorageSnapshot {
                    driver: csi.driver,
                    handle: csi.handle,
                    class: csi.class,
                    name: csi.snapshot,
                    restore_size: csi.restore_size,
                    made_as: String::new(),
                };
                of_storage(&mut data, snapshot, wish);
                return data;
            }
            (None, Some(VolumeMethod::NativeSnapshot)) => NOT_LISTED.to_owned(),
            (None, _) => "the backup does not say where its data is".to_owned(),
        },
    };
    data.set(DataAction::Leave, reason);
    data
}

/// A volume whose data is in a snapshot that the storage keeps.
fn of_storage(data: &mut VolumeData, snapshot: StorageSnapshot, wish: Wish) {
    if snapshot.driver.is_empty() || snapshot.handle.is_empty() || data.is_of_pod() {
        let text = "the backup's record of its data names no snapshot of a CSI driver: the record is damaged; verify \
                    the backup";
        data.set(DataAction::Blocked, text);
        return;
    }
    let driver = snapshot.driver.clone();
    data.csi = Some(snapshot);
    if wish.snapshots {
        data.set(DataAction::Fill, "");
        return;
    }
    let text = format!(
        "its data is in a snapshot of driver {driver}, and the target serves no VolumeSnapshots: install the snapshot \
         controller and the driver, or leave the data out (`--restore-volumes=false`)"
    );
    data.set(DataAction::Blocked, text);
}
/// Of snapshots that the list names the planner takes care.
const NOT_LISTED: &str =
    "its data is in a snapshot of the storage, which the backup's list of snapshots does not name";

const CANNOT_WAIT: &str = "it lives with its pod and comes back empty: no node agent is there, or no image is known for \
                           the container that holds the pod back; install the node agent, then restore again";

/// True for what can be looked for in a repository.
fn is_usable(domain: &str, id: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    Domain::named(domain).is_some() && id.len() == ID_DIGITS && id.bytes().all(hex)
}

fn of_velero(info: &BackupVolumeInfo, wish: Wish) -> VolumeData {
    let copy = info.pvb_info.as_ref();
    let moved = info.snapshot_data_movement_info.as_ref();
    let uploader = copy.map(|copy| copy.uploader_type.as_str());
    let uploader = uploader.or(moved.map(|moved| moved.uploader_type.as_str()));
    let mut data = VolumeData {
        namespace: info.pvc_namespace.clone(),
        claim: info.pvc_name.clone(),
        persistent_volume: info.pv_name.clone(),
        ..VolumeData::default()
    };
    if let Some(copy) = copy {
        data.pod.clone_from(&copy.pod_name);
        data.pod_volume.clone_from(&copy.volume_name);
        if data.namespace.is_empty() {
            data.namespace.clone_from(&copy.pod_namespace);
        }
    }
    if let Some(csi) = &info.csi_snapshot_info
        && uploader.is_none()
        && info.backup_method == "CSISnapshot"
        && wish.volumes
    {
        let snapshot = StorageSnapshot {
            driver: csi.driver.clone(),
            handle: csi.snapshot_handle.clone(),
            class: String::new(),
            name: csi.vsc_name.clone(),
            restore_size: u64::try_from(csi.size).unwrap_or_default(),
            made_as: String::new(),
        };
        of_storage(&mut data, snapshot, wish);
        return data;
    }
    let reason = match (uploader, info.backup_method.as_str()) {
        _ if !wish.volumes => NOT_WANTED,
        (Some("restic"), _) => {
            "its data is in a restic repository of Velero: `salvor volume restore --repository` reads it, a restore \
             does not fill claims from it"
        }
        (Some(_), _) => {
            "its data is in a kopia repository of Velero, which is not read: restore it with Velero's node agent"
        }
        (None, "CSISnapshot") => {
            "its data is in a CSI snapshot of Velero, of which the backup does not say where it is"
        }
        (None, _) => NOT_LISTED,
    };
    data.set(DataAction::Leave, reason);
    data
}

#[cfg(test)]
mod tests {
    use salvor_archive::files::{CsiSnapshot, CsiSnapshotInfo, PodVolumeInfo, RepositorySnapshot};

    use super::*;

    const WISH: Wish = Wish {
        volumes: true,
        snapshots: true,
        can_wait: true,
    };

    fn protected(claim: &str) -> SalvorVolume {
        SalvorVolume {
            namespace: "shop".into(),
            claim: claim.into(),
            pod: "db-0".into(),
            pod_volume: "data".into(),
            outcome: VolumeOutcome::Protected,
            method: Some(VolumeMethod::Files),
            snapshot: Some(RepositorySnapshot {
                domain: "ns-shop".into(),
                id: "ab".repeat(32),
                bytes: 7,
                ..RepositorySnapshot::default()
            }),
            ..SalvorVolume::default()
        }
    }

    fn judged(volume: SalvorVolume, wish: Wish) -> (DataAction, String) {
        let record = SalvorVolumes::new(vec![volume]);
        let mut found = wanted(Some(&record), &[], wish);
        let data = found.remove(0);
        (data.action, data.reason)
    }

    #[test]
    fn what_the_record_holds_is_filled_and_everything_else_says_why_not() {
        let fill = (DataAction::Fill, String::new());
        assert_eq!(judged(protected("data"), WISH), fill);
        assert_eq!(judged(protected(""), WISH), fill);
        let no = Wish {
            volumes: false,
            ..WISH
        };
        let blind = Wish {
            can_wait: false,
            ..WISH
        };
        let change = |change: fn(&mut SalvorVolume)| {
            let mut volume = protected("data");
            change(&mut volume);
            volume
        };
        for (volume, wish, action, reason) in [
            (protected("data"), no, DataAction::Leave, "restorePVs=false"),
            (protected(""), blind, DataAction::Blocked, "node agent"),
            (
                change(|v| {
                    v.outcome = VolumeOutcome::Skipped;
                    v.reason = "no running pod".into();
                }),
                WISH,
                DataAction::Leave,
                "no data of it is in the backup: no running pod",
            ),
            (
                change(|v| v.snapshot.as_mut().expect("one").domain = "../x".into()),
                WISH,
                DataAction::Blocked,
                "damaged",
            ),
            (
                change(|v| v.snapshot.as_mut().expect("one").id = "latest".into()),
                WISH,
                DataAction::Blocked,
                "damaged",
            ),
            (
                change(|v| {
                    v.snapshot = None;
                    v.method = Some(VolumeMethod::CsiSnapshot);
                }),
                WISH,
                DataAction::Blocked,
                "names no snapshot of a CSI driver",
            ),
        ] {
            let (found, text) = judged(volume, wish);
            assert_eq!(found, action, "{text}");
            assert!(text.contains(reason), "{text}");
        }
        assert_eq!(
            judged(protected("data"), blind),
            fill,
            "no pod waits for a claim"
        );
    }

    #[test]
    fn data_of_velero_is_named_with_its_repository() {
        let copy = |uploader: &str| BackupVolumeInfo {
            pvc_name: "data".into(),
            pvc_namespace: "shop".into(),
            backup_method: "PodVolumeBackup".into(),
            pvb_info: Some(PodVolumeInfo {
                uploader_type: uploader.into(),
                pod_name: "db-0".into(),
                ..PodVolumeInfo::default()
            }),
            ..BackupVolumeInfo::default()
        };
        for (uploader, word) in [
            ("kopia", "kopia repository"),
            ("restic", "restic repository"),
        ] {
            let found = wanted(None, &[copy(uploader)], WISH);
            assert_eq!(
                (found[0].action, found[0].pod.as_str()),
                (DataAction::Leave, "db-0")
            );
            assert!(found[0].reason.contains(word), "{}", found[0].reason);
        }
        let skipped = BackupVolumeInfo {
            skipped: true,
            ..copy("kopia")
        };
        assert!(wanted(None, &[skipped], WISH).is_empty());
        let record = SalvorVolumes::default();
        assert!(
            wanted(Some(&record), &[copy("kopia")], WISH).is_empty(),
            "our record counts"
        );
    }

    #[test]
    fn a_snapshot_that_the_storage_keeps_is_made_a_volume_where_that_can_be() {
        let kept = SalvorVolume {
            snapshot: None,
            method: Some(VolumeMethod::CsiSnapshot),
            csi: Some(CsiSnapshot {
                driver: "d".into(),
                handle: "h".into(),
                snapshot: "velero-data".into(),
                restore_size: 5,
                ..CsiSnapshot::default()
            }),
            ..protected("data")
        };
        let of_velero = BackupVolumeInfo {
            pvc_name: "data".into(),
            pvc_namespace: "shop".into(),
            backup_method: "CSISnapshot".into(),
            csi_snapshot_info: Some(CsiSnapshotInfo {
                driver: "d".into(),
                snapshot_handle: "h".into(),
                size: 5,
                ..CsiSnapshotInfo::default()
            }),
            ..BackupVolumeInfo::default()
        };
        let record = SalvorVolumes::new(vec![kept]);
        let wishes = [(true, true), (true, false), (false, true)];
        for (volumes, snapshots) in wishes {
            let wish = Wish {
                volumes,
                snapshots,
                ..WISH
            };
            let ours = wanted(Some(&record), &[], wish).remove(0);
            let theirs = wanted(None, std::slice::from_ref(&of_velero), wish).remove(0);
            for data in [ours, theirs] {
                let expected = match (volumes, snapshots) {
                    (true, true) => (DataAction::Fill, ""),
                    (true, false) => (DataAction::Blocked, "serves no VolumeSnapshots"),
                    (false, _) => (DataAction::Leave, "restorePVs=false"),
                };
                assert_eq!(data.action, expected.0, "{}", data.reason);
                assert!(data.reason.contains(expected.1), "{}", data.reason);
                let handle = data.csi.as_ref().map(|csi| csi.handle.as_str());
                assert_eq!(handle, volumes.then_some("h"));
            }
        }
    }
}
