//! Where things stand in a location.

use salvor_api::name::{BackupName, RestoreName};
use salvor_storage::Key;

/// Folder of all backups.
pub const BACKUPS: &str = "backups";
/// Folder of all restores.
pub const RESTORES: &str = "restores";
/// Folder of what only Salvor reads. Velero allows `plugins/` at the top and uses it for nothing.
pub const PRIVATE: &str = "plugins/salvor";
/// Folder of the location's own records.
pub const LOCATION_RECORDS: &str = "plugins/salvor/location";
/// Folder of the holds, by backup.
pub const HOLDS: &str = "plugins/salvor/holds";
/// Folder of what is known of copies elsewhere, by backup.
pub const COPIES: &str = "plugins/salvor/copies";
/// Folder of where copies in this location come from, by backup.
pub const COPIED: &str = "plugins/salvor/copied";
/// Folder of what verifications found, by backup.
pub const VERIFIED: &str = "plugins/salvor/verified";
/// Folder of the plain files that were mirrored here, by the name of their tree.
pub const TREES: &str = "plugins/salvor/trees";
/// Folder of what is known of archived backups, by backup.
pub const ARCHIVED: &str = "plugins/salvor/archived";
/// Folder of the recovery points of sources that are no backups of Velero, by source.
pub const POINTS: &str = "plugins/salvor/points";
/// Folder of captures of etcd, by cluster and chain.
pub const ETCD: &str = "plugins/salvor/etcd";
/// Folder of the notices of what may be removed, by source.
pub const GARBAGE: &str = "plugins/salvor/gc";
/// What a deletion on a full disk gives up first; it means nothing.
pub const RESERVE: &str = "plugins/salvor/reserve";
/// Top-level folders that Velero accepts; any other makes a location unavailable to it.
pub const VELERO_FOLDERS: &[&str] = &[
    "backups", "restores", "restic", "kopia", "metadata", "plugins",
];

/// The commit record of a backup.
pub const BACKUP_RECORD: &str = "velero-backup.json";
/// What a backup consists of, with digests.
pub const MANIFEST: &str = "salvor-manifest.json";
/// What a restore was asked to do; written first.
pub const RESTORE_REQUEST: &str = "salvor-request.json";
/// What came of a restore; written last.
pub const RESTORE_RECORD: &str = "salvor-restore.json";
/// The plan of a restore; written before its first change.
pub const RESTORE_PLAN: &str = "salvor-plan.zst";

/// Names come from checked types and constants, so the result is always a key.
pub(crate) fn key(text: String) -> Key {
    Key::new(text).expect("layout builds keys from checked names")
}

/// A file of a backup.
///
/// # Errors
/// `file` is not a file name.
pub fn backup_file(name: &BackupName, file: &str) -> Result<Key, salvor_storage::Error> {
    Ok(Key::new(format!("{BACKUPS}/{name}/{file}"))?)
}

/// A file of a restore.
///
/// # Errors
/// `file` is not a file name.
pub fn restore_file(name: &RestoreName, file: &str) -> Result<Key, salvor_storage::Error> {
    Ok(Key::new(format!("{RESTORES}/{name}/{file}"))?)
}

/// Folder of a backup.
#[must_use]
pub fn backup_folder(name: &BackupName) -> String {
    format!("{BACKUPS}/{name}")
}

/// Folder of a restore.
#[must_use]
pub fn restore_folder(name: &RestoreName) -> String {
    format!("{RESTORES}/{name}")
}

/// Folder of a backup's holds.
#[must_use]
pub fn hold_folder(name: &BackupName) -> String {
    format!("{HOLDS}/{name}")
}

/// Folder of what is known of a backup's copies elsewhere.
#[must_use]
pub fn copies_folder(name: &BackupName) -> String {
    format!("{COPIES}/{name}")
}

/// Where a copy says what it is a copy of.
pub(crate) fn copied_key(name: &BackupName) -> Key {
    key(format!("{COPIED}/{name}.json"))
}

/// Folder of what verifications of a backup found.
#[must_use]
pub fn verified_folder(name: &BackupName) -> String {
    format!("{VERIFIED}/{name}")
}

/// Folder of what is known of an archived backup.
#[must_use]
pub fn archived_folder(name: &BackupName) -> String {
    format!("{ARCHIVED}/{name}")
}

/// Part of a restore's journal.
#[must_use]
pub fn journal_file(number: u64) -> String {
    format!("salvor-journal-{number:06}.zst")
}

/// The number in the name of a part of a journal.
#[must_use]
pub fn journal_number(file: &str) -> Option<u64> {
    let number = file
        .strip_prefix("salvor-journal-")?
        .strip_suffix(".zst")?
        .parse()
        .ok()?;
    (journal_file(number) == file).then_some(number)
}
