//! A backup opened for reading: its record, its archive by entry, its volume infos.

use std::sync::Arc;

use salvor_api::name::BackupName;
use salvor_api::resource::ObjectKey;
use salvor_api::velero::Backup;
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use salvor_archive::files::{
    self, BackupVolumeInfo, NativeSnapshotInfo, PodVolumeInfo, SalvorVolumes, VolumeSnapshot,
};
use salvor_archive::findings::Severity;
use salvor_archive::limits::Limits;
use salvor_archive::names::BackupFile;
use salvor_location::{BackupRecord, Location};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::body;
use super::closure::{Closure, closure};
use super::error::{Cause, Doing as _, RestoreError, chain};
use super::volume_data::VolumeData;
use super::volume_data::wanted::{Wish, wanted};
use crate::damage::Damage;
use crate::source::OpenArchive;

/// Longest compressed side file that is read, in bytes.
const SIDE_FILE_LIMIT: u64 = 64 << 20;

/// A backup, open.
#[derive(Clone, Debug)]
pub struct Source {
    /// The record.
    pub backup: Backup,
    /// Its name in the location.
    pub name: BackupName,
    /// Its objects.
    pub archive: Archive,
    /// What is known of its volumes, see [`read_volumes`].
    pub volumes: Vec<BackupVolumeInfo>,
    /// Snapshots that its volumes' storage keeps, taken by its own interface.
    pub snapshots: Vec<VolumeSnapshot>,
    /// Our own record of its volumes; backups of Velero and of earlier releases have none.
    pub record: Option<SalvorVolumes>,
    /// What was odd about the archive: entries that were left out, an index that could not be used.
    pub oddities: Vec<String>,
    /// What is damaged and so is left out; see [`Source::open_readable`].
    pub damage: Option<Arc<Damage>>,
}

impl Source {
    /// Opens a committed backup.
    ///
    /// # Errors
    /// The backup is not there, its archive is missing or damaged, or the location fails.
    pub async fn open(location: &Location, name: &BackupName) -> Result<Self, RestoreError> {
        let doing = || format!("open backup `{name}`");
        let record = location.backup(name).await.doing(doing)?;
        let opened = crate::source::open(location, &record, Limits::default()).await;
        Self::new(location, record, opened.doing(doing)?, OnDamage::Refuse).await
    }

    /// Opens what can be read of a committed backup: the whole archive is read once, and what is damaged is
    /// left out and named in [`Source::damage`].
    ///
    /// # Errors
    /// The backup or its archive is not there, or the location fails.
    pub async fn open_readable(
        location: &Location,
        name: &BackupName,
    ) -> Result<Self, RestoreError> {
        let doing = || format!("open backup `{name}`");
        let record = location.backup(name).await.doing(doing)?;
        let opened = crate::source::open_readable(location, &record, Limits::default()).await;
        Self::new(location, record, opened.doing(doing)?, OnDamage::Skip).await
    }

    async fn new(
        location: &Location,
        record: BackupRecord,
        opened: OpenArchive,
        on_damage: OnDamage,
    ) -> Result<Self, RestoreError> {
        let mut oddities: Vec<String> = opened.index_problem.into_iter().collect();
        if let Some(findings) = &opened.findings {
            let odd = findings
                .list
                .iter()
                .filter(|f| f.severity() > Severity::Info);
            oddities.extend(odd.map(ToString::to_string));
        }
        let volumes = match read_volumes(location, &record.name).await {
            Ok(volumes) => volumes,
            Err(error) if on_damage == OnDamage::Skip && is_damage(&error) => {
                let error = chain(&error);
                oddities.push(format!("what is known of its volumes is lost: {error}"));
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let own = read_side_file(location, &record.name, BackupFile::SalvorVolumes).await;
        let own = match own {
            Ok(own) => own,
            Err(error) if on_damage == OnDamage::Skip && is_damage(&error) => {
                let error = chain(&error);
                oddities.push(format!(
                    "where the data of its volumes is, is lost: {error}"
                ));
                None
            }
            Err(error) => return Err(error),
        };
        let snapshots = read_side_file(location, &record.name, BackupFile::VolumeSnapshots).await;
        let snapshots = match snapshots {
            Ok(snapshots) => snapshots.unwrap_or_default(),
            Err(error) if on_damage == OnDamage::Skip && is_damage(&error) => {
                let error = chain(&error);
                oddities.push(format!(
                    "the list of snapshots of its volumes is lost: {error}"
                ));
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        if let Some(damage) = &opened.damage {
            oddities.extend(damage.replaced.iter().map(|(key, version)| {
                format!("{key} is damaged in its preferred version; {version} is taken instead")
            }));
        }
        Ok(Self {
            backup: record.backup,
            name: record.name,
            archive: opened.archive,
            volumes,
            snapshots,
            record: own,
            oddities,
            damage: opened.damage.map(Arc::new),
        })
    }

    /// The volumes that have data, or should have it, as far as the backup knows.
    pub(crate) fn data(&self, wish: Wish) -> Vec<VolumeData> {
        wanted(self.record.as_ref(), &self.volumes, wish)
    }

    /// Objects of the backup and what they need to live.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub async fn closure(&self, roots: &[ObjectKey]) -> Result<Closure, RestoreError> {
        let (archive, roots) = (self.archive.clone(), roots.to_vec());
        let found = super::planner::blocking(move || {
            closure(&archive, &roots).doing(|| "read the archive".to_owned())
        });
        match found.await {
            Ok(found) => Ok(found),
            Err(error) => Err(self.explained(error).await),
        }
    }

    /// What stopped a reading of the archive; see [`Source::archive`].
    pub async fn stopped_by(&self, error: ArchiveError) -> RestoreError {
        let doing = format!("read the archive of backup `{}`", self.name);
        self.explained(RestoreError::new(doing, error)).await
    }

    /// When damage of the archive stopped something: where it is damaged and what is lost with it, for which
    /// the whole archive is read. Other errors stay as they are.
    pub(crate) async fn explained(&self, error: RestoreError) -> RestoreError {
        if !matches!(error.cause(), Cause::Archive(cause) if cause.is_damage()) {
            return error;
        }
        let (archive, file) = (self.archive.clone(), BackupFile::Archive.name(&self.name));
        let surveyed = super::planner::blocking(move || {
            let members = archive.survey().doing(|| "look for damage".to_owned())?;
            Ok(Damage::of_members(file, &members))
        });
        match surveyed.await {
            Ok(Some(damage)) => {
                let doing = format!("read the archive of backup `{}`", self.name);
                RestoreError::new(doing, Cause::Damaged(Box::new(damage)))
            }
            // It was a passing fault, or the archive cannot be read at all.
            _ => error,
        }
    }
}

/// What a damaged file of a backup does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDamage {
    Refuse,
    Skip,
}

fn is_damage(error: &RestoreError) -> bool {
    matches!(error.cause(), Cause::Archive(_))
}

/// What is known of a backup's volumes: its volume infos, or, in backups before Velero 1.13, which have none,
/// what its lists of native snapshots and of pod volume backups tell.
///
/// # Errors
/// A file is damaged, or the location fails.
pub async fn read_volumes(
    location: &Location,
    name: &BackupName,
) -> Result<Vec<BackupVolumeInfo>, RestoreError> {
    if let Some(infos) = read_side_file(location, name, BackupFile::VolumeInfo).await? {
        return Ok(infos);
    }
    let snapshots: Option<Vec<Value>> =
        read_side_file(location, name, BackupFile::VolumeSnapshots).await?;
    let copies: Option<Vec<Value>> =
        read_side_file(location, name, BackupFile::PodVolumeBackups).await?;
    let snapshots = snapshots.unwrap_or_default();
    let copies = copies.unwrap_or_default();
    Ok(snapshots
        .iter()
        .map(of_snapshot)
        .chain(copies.iter().map(of_pod_volume))
        .collect())
}

async fn read_side_file<T: SideFile>(
    location: &Location,
    name: &BackupName,
    file: BackupFile,
) -> Result<Option<T>, RestoreError> {
    let file = file.name(name);
    let doing = || format!("read `{file}` of backup `{name}`");
    let bytes = location
        .read_file(name, &file, SIDE_FILE_LIMIT)
        .await
        .doing(doing)?;
    bytes
        .map(|bytes| T::decode(&bytes).doing(doing))
        .transpose()
}

/// What a file beside the archive holds.
trait SideFile: Sized {
    fn decode(bytes: &[u8]) -> Result<Self, ArchiveError>;
}

impl<T: DeserializeOwned> SideFile for Vec<T> {
    fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        files::read_json_gz(bytes, files::DEFAULT_SIDE_FILE_LIMIT)
    }
}

impl SideFile for SalvorVolumes {
    fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        Self::decode(bytes)
    }
}

fn text(object: &Value, path: &[&str]) -> String {
    body::text_at(object, path).to_owned()
}

/// A snapshot counts as data only when it was completed.
fn with_outcome(mut info: BackupVolumeInfo, phase: &str) -> BackupVolumeInfo {
    let completed = phase == "Completed";
    info.result = if completed { "succeeded" } else { "failed" }.to_owned();
    info.skipped = !completed;
    if !completed {
        info.skipped_reason = format!("its backup is in phase {phase}");
    }
    info
}

fn of_snapshot(snapshot: &Value) -> BackupVolumeInfo {
    let phase = text(snapshot, &["status", "phase"]);
    let iops = body::at(snapshot, &["spec", "volumeIOPS"]).and_then(Value::as_i64);
    let info = BackupVolumeInfo {
        pv_name: text(snapshot, &["spec", "persistentVolumeName"]),
        backup_method: "NativeSnapshot".to_owned(),
        native_snapshot_info: Some(NativeSnapshotInfo {
            snapshot_handle: text(snapshot, &["status", "providerSnapshotID"]),
            volume_type: text(snapshot, &["spec", "volumeType"]),
            volume_az: text(snapshot, &["spec", "volumeAZ"]),
            iops: iops.map(|iops| iops.to_string()).unwrap_or_default(),
            phase: phase.clone(),
        }),
        ..BackupVolumeInfo::default()
    };
    with_outcome(info, &phase)
}

fn of_pod_volume(copy: &Value) -> BackupVolumeInfo {
    let phase = text(copy, &["status", "phase"]);
    let uploader = text(copy, &["spec", "uploaderType"]);
    let info = BackupVolumeInfo {
        backup_method: "PodVolumeBackup".to_owned(),
        pvb_info: Some(PodVolumeInfo {
            snapshot_handle: text(copy, &["status", "snapshotID"]),
            // Releases before 1.10 had no other.
            uploader_type: if uploader.is_empty() {
                "restic".to_owned()
            } else {
                uploader
            },
            volume_name: text(copy, &["spec", "volume"]),
            pod_name: text(copy, &["spec", "pod", "name"]),
            pod_namespace: text(copy, &["spec", "pod", "namespace"]),
            node_name: text(copy, &["spec", "node"]),
            phase: phase.clone(),
            ..PodVolumeInfo::default()
        }),
        ..BackupVolumeInfo::default()
    };
    with_outcome(info, &phase)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::restore::planner::volumes::holds_data;

    #[test]
    fn volumes_of_backups_without_volume_infos_are_known_from_their_lists() {
        let snapshot = json!({"spec": {"persistentVolumeName": "pv", "volumeType": "gp2",
            "volumeAZ": "a", "volumeIOPS": 100},
            "status": {"providerSnapshotID": "snap-1", "phase": "Completed"}});
        let info = of_snapshot(&snapshot);
        assert!(holds_data(&info));
        assert_eq!(info.pv_name, "pv");
        let native = info.native_snapshot_info.expect("a snapshot");
        assert_eq!(
            (native.snapshot_handle.as_str(), native.iops.as_str()),
            ("snap-1", "100")
        );

        let copy = json!({"spec": {"volume": "data", "pod": {"namespace": "shop", "name": "db-0"}},
            "status": {"phase": "Failed"}});
        let info = of_pod_volume(&copy);
        assert!(!holds_data(&info), "a failed copy is no data");
        let copied = info.pvb_info.expect("a copy");
        assert_eq!(
            (copied.pod_name.as_str(), copied.uploader_type.as_str()),
            ("db-0", "restic")
        );
    }
}
