//! A backup opened for reading: its record, its archive by entry, its volume infos.

use salvor_api::name::BackupName;
use salvor_api::velero::Backup;
use salvor_archive::archive::Archive;
use salvor_archive::files::{self, BackupVolumeInfo};
use salvor_archive::findings::Severity;
use salvor_archive::limits::Limits;
use salvor_archive::names::BackupFile;
use salvor_location::Location;

use super::error::{Doing as _, RestoreError};

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
    /// What is known of its volumes; empty in backups before Velero 1.13.
    pub volumes: Vec<BackupVolumeInfo>,
    /// What was odd about the archive: entries that were left out, an index that could not be used.
    pub oddities: Vec<String>,
}

impl Source {
    /// Opens a committed backup.
    ///
    /// # Errors
    /// The backup is not there, its archive is missing or damaged, or the location fails.
    pub async fn open(location: &Location, name: &BackupName) -> Result<Self, RestoreError> {
        let doing = || format!("open backup `{name}`");
        let record = location.backup(name).await.doing(doing)?;
        let opened = crate::source::open(location, &record, Limits::default())
            .await
            .doing(doing)?;
        let mut oddities: Vec<String> = opened.index_problem.into_iter().collect();
        if let Some(findings) = &opened.findings {
            let odd = findings
                .list
                .iter()
                .filter(|f| f.severity() > Severity::Info);
            oddities.extend(odd.map(ToString::to_string));
        }
        Ok(Self {
            backup: record.backup,
            name: name.clone(),
            archive: opened.archive,
            volumes: read_volumes(location, name).await?,
            oddities,
        })
    }
}

async fn read_volumes(
    location: &Location,
    name: &BackupName,
) -> Result<Vec<BackupVolumeInfo>, RestoreError> {
    let doing = || format!("read the volume infos of backup `{name}`");
    let file = BackupFile::VolumeInfo.name(name);
    match location
        .read_file(name, &file, SIDE_FILE_LIMIT)
        .await
        .doing(doing)?
    {
        Some(bytes) => files::read_json_gz(&bytes, files::DEFAULT_SIDE_FILE_LIMIT).doing(doing),
        None => Ok(Vec::new()),
    }
}
