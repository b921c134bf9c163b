//! PodVolumeBackups of imported backups: which parts of the file in the location become objects of this cluster (a
//! pure decision), and their creation.
//!
//! They need the UID of their Backup, so they come after it. Between the two the Backup carries [`PENDING`]: whoever
//! syncs next finishes what a server that died has begun.

use std::sync::Arc;

use salvor_api::labels;
use salvor_api::meta::OwnerReference;
use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupStorageLocation, Kind, PodVolumeBackup};
use salvor_archive::files::read_json_gz;
use salvor_archive::names::BackupFile;
use salvor_location::Location;

use super::{Sync, SyncError, is_refusal};
use crate::backup::modify;
use crate::context::chain;
use crate::kinds::KindError;

/// Annotation of a Backup whose PodVolumeBackups are still to be created.
pub(super) const PENDING: &str = labels::IMPORT_VOLUMES;
/// Largest file that is read, in bytes, packed or not: 20,000 volumes.
const LARGEST: u64 = 32 << 20;

/// What the file of a location says about volumes of a backup.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    volumes: Vec<PodVolumeBackup>,
    /// Why the file cannot be used, if it cannot.
    pub(super) problem: String,
}

impl Recorded {
    pub(super) fn is_empty(&self) -> bool {
        self.volumes.is_empty()
    }
}

/// Reads the file; nothing where there is none, which is so for most backups.
pub(super) async fn read(
    location: &Location,
    name: &BackupName,
) -> Result<Recorded, salvor_location::Error> {
    let file = BackupFile::PodVolumeBackups.name(name);
    let bytes = match location.read_file(name, &file, LARGEST).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Recorded::default()),
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) => {
            return Ok(Recorded {
                problem: chain(&error),
                ..Recorded::default()
            });
        }
    };
    Ok(match read_json_gz(&bytes, LARGEST) {
        Ok(volumes) => Recorded {
            volumes,
            problem: String::new(),
        },
        Err(error) => Recorded {
            problem: format!("`{file}`: {}", chain(&error)),
            ..Recorded::default()
        },
    })
}

/// A recorded PodVolumeBackup as an object that belongs to `backup`; `None` for one that is not of this backup or has
/// not ended: it would be an order to whoever copies volumes here, and whoever can write to the store must not
/// give orders.
fn imported(
    recorded: &PodVolumeBackup,
    backup: &Backup,
    location: &str,
) -> Option<PodVolumeBackup> {
    let theirs = &recorded.metadata;
    let of = theirs.labels.get(labels::BACKUP_NAME);
    let of_this = of.is_some_and(|name| *name == labels::label_value(&backup.metadata.name));
    if !of_this || !recorded.status.phase.is_final() {
        return None;
    }
    let mut volume = PodVolumeBackup::named(&backup.metadata.namespace, &theirs.name);
    let ours = &mut volume.metadata;
    ours.labels = theirs.labels.clone();
    ours.labels
        .insert(labels::BACKUP_UID.to_owned(), backup.metadata.uid.clone());
    ours.annotations = theirs.annotations.clone();
    ours.owner_references = vec![OwnerReference {
        api_version: Backup::API_VERSION.to_owned(),
        kind: Backup::KIND.to_owned(),
        name: backup.metadata.name.clone(),
        uid: backup.metadata.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }];
    volume.spec = recorded.spec.clone();
    location.clone_into(&mut volume.spec.backup_storage_location);
    volume.status = recorded.status.clone();
    Some(volume)
}

impl Sync {
    /// Creates the PodVolumeBackups of a backup that was just imported; what is wrong with them, if anything. One
    /// that is there already is somebody's, and stays as it is.
    pub(super) async fn create_volumes(
        &self,
        backup: &Backup,
        recorded: &Recorded,
    ) -> Result<String, KindError> {
        let location = &backup.spec.storage_location;
        let volumes = recorded.volumes.iter();
        let mut problem = recorded.problem.clone();
        for volume in volumes.filter_map(|one| imported(one, backup, location)) {
            match self.context.kinds().create(&volume).await {
                Ok(_) => {}
                Err(error) if error.already_exists() => {}
                Err(error) if is_refusal(&error) => problem = chain(&error),
                Err(error) => return Err(error),
            }
        }
        let kinds = self.context.kinds::<Backup>();
        let done = |backup: &mut Backup| backup.metadata.annotations.remove(PENDING).is_some();
        modify(&kinds, &backup.metadata.name, done).await?;
        Ok(problem)
    }

    /// Finishes imports that a server began and did not live to end.
    pub(super) async fn finish_volumes(
        &self,
        object: &BackupStorageLocation,
        location: &Location,
        known: &[Arc<Backup>],
    ) -> Result<(), SyncError> {
        let name = &object.metadata.name;
        let pending = known.iter().filter(|backup| {
            backup.spec.storage_location == *name
                && backup.metadata.annotations.contains_key(PENDING)
        });
        for backup in pending {
            let Ok(backup_name) = BackupName::new(backup.metadata.name.as_str()) else {
                continue;
            };
            let recorded = read(location, &backup_name).await;
            let recorded = recorded.map_err(|source| SyncError::Location {
                name: name.clone(),
                source,
            })?;
            let problem = self.create_volumes(backup, &recorded).await?;
            self.tell_once(object, &backup.metadata.name, &problem);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use salvor_api::velero::DataPhase;

    use super::*;

    fn backup() -> Backup {
        let mut backup = Backup::named("here", "b1");
        backup.metadata.uid = "new".to_owned();
        backup
    }

    fn recorded(phase: DataPhase, of: &str) -> PodVolumeBackup {
        let text = r#"{"kind": "PodVolumeBackup", "apiVersion": "velero.io/v1",
            "metadata": {"name": "b1-x7", "namespace": "there", "uid": "u", "resourceVersion": "7",
                "labels": {"velero.io/backup-uid": "old", "team": "shop"}, "finalizers": ["their/own"],
                "annotations": {"velero.io/pvc-name": "data"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "foreign"}]},
            "spec": {"node": "n1", "volume": "data", "backupStorageLocation": "default",
                "repoIdentifier": "s3:x", "uploaderType": "kopia", "pod": {"name": "db-0"}},
            "status": {"snapshotID": "abc"}}"#;
        let mut volume: PodVolumeBackup = serde_json::from_str(text).expect("decoded");
        let labels = &mut volume.metadata.labels;
        labels.insert(labels::BACKUP_NAME.to_owned(), of.to_owned());
        volume.status.phase = phase;
        volume
    }

    #[test]
    fn it_belongs_to_the_backup_here_and_to_nothing_else() {
        let volume = imported(&recorded(DataPhase::Completed, "b1"), &backup(), "offsite");
        let volume = volume.expect("imported");
        let metadata = &volume.metadata;
        assert_eq!((&*metadata.name, &*metadata.namespace), ("b1-x7", "here"));
        assert_eq!(metadata.labels["velero.io/backup-uid"], "new");
        assert_eq!(metadata.labels["team"], "shop");
        assert_eq!(metadata.annotations["velero.io/pvc-name"], "data");
        let owners: Vec<_> = metadata
            .owner_references
            .iter()
            .map(|o| (&*o.kind, &*o.uid))
            .collect();
        assert_eq!(owners, [("Backup", "new")]);
        assert_eq!((&*metadata.uid, metadata.finalizers.len()), ("", 0));
        assert_eq!(volume.spec.backup_storage_location, "offsite");
        assert_eq!(
            (&*volume.spec.volume, &*volume.status.snapshot_id),
            ("data", "abc")
        );
    }

    #[test]
    fn what_has_not_ended_or_is_another_backups_is_left_out() {
        for (phase, of) in [
            (DataPhase::New, "b1"),
            (DataPhase::InProgress, "b1"),
            (DataPhase::default(), "b1"),
            (DataPhase::Completed, "b2"),
        ] {
            assert_eq!(imported(&recorded(phase, of), &backup(), "offsite"), None);
        }
    }
}
