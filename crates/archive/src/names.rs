//! Names of the files of a backup or a restore, below `backups/<b>/` or `restores/<r>/`.

use salvor_api::name::{BackupName, RestoreName};

/// The record of a backup; its presence is what makes the backup exist. Not compressed.
pub const BACKUP_METADATA: &str = "velero-backup.json";
/// Salvor's list of a backup's files with their sizes and digests.
pub const SALVOR_MANIFEST: &str = "salvor-manifest.json";
/// Salvor's index of a backup's archive.
pub const SALVOR_INDEX: &str = "salvor-index.zst";
/// Salvor's own facts on the volumes of a backup.
pub const SALVOR_VOLUMES: &str = "salvor-volumes.json.gz";
/// The plan of a restore.
pub const SALVOR_PLAN: &str = "salvor-plan.zst";

/// The folder of a backup below a location's root, with a slash at its end.
#[must_use]
pub fn backup_folder(backup: &BackupName) -> String {
    format!("backups/{backup}/")
}

/// The folder of a restore below the root of its backup's location, with a slash at its end.
#[must_use]
pub fn restore_folder(restore: &RestoreName) -> String {
    format!("restores/{restore}/")
}

/// A file of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BackupFile {
    /// [`BACKUP_METADATA`].
    Metadata,
    /// The archive of objects.
    Archive,
    /// The log, text in gzip.
    Logs,
    /// Warnings and errors.
    Results,
    /// What the archive holds, by kind.
    ResourceList,
    /// Snapshots by volume plugins.
    VolumeSnapshots,
    /// File-system backups of volumes.
    PodVolumeBackups,
    /// Asynchronous operations of item actions.
    ItemOperations,
    /// How each volume was treated.
    VolumeInfo,
    /// VolumeSnapshots, written by Velero 1.12 to 1.16.
    CsiVolumeSnapshots,
    /// VolumeSnapshotContents, written by Velero 1.12 to 1.16.
    CsiVolumeSnapshotContents,
    /// VolumeSnapshotClasses, written by Velero 1.12 to 1.17.
    CsiVolumeSnapshotClasses,
    /// [`SALVOR_MANIFEST`].
    SalvorManifest,
    /// [`SALVOR_INDEX`].
    SalvorIndex,
    /// [`SALVOR_VOLUMES`].
    SalvorVolumes,
}

impl BackupFile {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Metadata,
        Self::Archive,
        Self::Logs,
        Self::Results,
        Self::ResourceList,
        Self::VolumeSnapshots,
        Self::PodVolumeBackups,
        Self::ItemOperations,
        Self::VolumeInfo,
        Self::CsiVolumeSnapshots,
        Self::CsiVolumeSnapshotContents,
        Self::CsiVolumeSnapshotClasses,
        Self::SalvorManifest,
        Self::SalvorIndex,
        Self::SalvorVolumes,
    ];

    /// The file's name in the folder of the backup.
    #[must_use]
    pub fn name(self, backup: &BackupName) -> String {
        match self {
            Self::Metadata => BACKUP_METADATA.to_owned(),
            Self::SalvorManifest => SALVOR_MANIFEST.to_owned(),
            Self::SalvorIndex => SALVOR_INDEX.to_owned(),
            Self::SalvorVolumes => SALVOR_VOLUMES.to_owned(),
            Self::Archive => format!("{backup}.tar.gz"),
            Self::Logs => format!("{backup}-logs.gz"),
            Self::Results => format!("{backup}-results.gz"),
            Self::ResourceList => format!("{backup}-resource-list.json.gz"),
            Self::VolumeSnapshots => format!("{backup}-volumesnapshots.json.gz"),
            Self::PodVolumeBackups => format!("{backup}-podvolumebackups.json.gz"),
            Self::ItemOperations => format!("{backup}-itemoperations.json.gz"),
            Self::VolumeInfo => format!("{backup}-volumeinfo.json.gz"),
            Self::CsiVolumeSnapshots => format!("{backup}-csi-volumesnapshots.json.gz"),
            Self::CsiVolumeSnapshotContents => {
                format!("{backup}-csi-volumesnapshotcontents.json.gz")
            }
            Self::CsiVolumeSnapshotClasses => format!("{backup}-csi-volumesnapshotclasses.json.gz"),
        }
    }

    /// The file's key below the location's root.
    #[must_use]
    pub fn key(self, backup: &BackupName) -> String {
        backup_folder(backup) + &self.name(backup)
    }
}

/// A file of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestoreFile {
    /// The log, text in gzip.
    Logs,
    /// Warnings and errors.
    Results,
    /// What was done to each object.
    ResourceList,
    /// Asynchronous operations of item actions.
    ItemOperations,
    /// How each volume was treated. Its name lacks the `restore-` of the others.
    VolumeInfo,
    /// [`SALVOR_PLAN`].
    SalvorPlan,
}

impl RestoreFile {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Logs,
        Self::Results,
        Self::ResourceList,
        Self::ItemOperations,
        Self::VolumeInfo,
        Self::SalvorPlan,
    ];

    /// The file's name in the folder of the restore.
    #[must_use]
    pub fn name(self, restore: &RestoreName) -> String {
        match self {
            Self::Logs => format!("restore-{restore}-logs.gz"),
            Self::Results => format!("restore-{restore}-results.gz"),
            Self::ResourceList => format!("restore-{restore}-resource-list.json.gz"),
            Self::ItemOperations => format!("restore-{restore}-itemoperations.json.gz"),
            Self::VolumeInfo => format!("{restore}-volumeinfo.json.gz"),
            Self::SalvorPlan => SALVOR_PLAN.to_owned(),
        }
    }

    /// The file's key below the root of the backup's location.
    #[must_use]
    pub fn key(self, restore: &RestoreName) -> String {
        restore_folder(restore) + &self.name(restore)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn keys_are_those_of_velero() {
        let backup = BackupName::new("b1").expect("valid name");
        let restore = RestoreName::new("r1").expect("valid name");
        let mut text = String::new();
        let keys = BackupFile::ALL.map(|file| file.key(&backup)).into_iter();
        for key in keys.chain(RestoreFile::ALL.map(|file| file.key(&restore))) {
            text += &key;
            text.push('\n');
        }
        expect![[r#"
            backups/b1/velero-backup.json
            backups/b1/b1.tar.gz
            backups/b1/b1-logs.gz
            backups/b1/b1-results.gz
            backups/b1/b1-resource-list.json.gz
            backups/b1/b1-volumesnapshots.json.gz
            backups/b1/b1-podvolumebackups.json.gz
            backups/b1/b1-itemoperations.json.gz
            backups/b1/b1-volumeinfo.json.gz
            backups/b1/b1-csi-volumesnapshots.json.gz
            backups/b1/b1-csi-volumesnapshotcontents.json.gz
            backups/b1/b1-csi-volumesnapshotclasses.json.gz
            backups/b1/salvor-manifest.json
            backups/b1/salvor-index.zst
            backups/b1/salvor-volumes.json.gz
            restores/r1/restore-r1-logs.gz
            restores/r1/restore-r1-results.gz
            restores/r1/restore-r1-resource-list.json.gz
            restores/r1/restore-r1-itemoperations.json.gz
            restores/r1/r1-volumeinfo.json.gz
            restores/r1/salvor-plan.zst
        "#]]
        .assert_eq(&text);
    }
}
