//! Backups in colder storage classes.
//!
//! Only the archive itself is moved (`<backup>.tar.gz`, all but a few kilobytes of a backup): the commit record, the
//! manifest, logs and lists stay at hand, so that the backup is listed, described and planned with as before.
//!
//! ```text
//! plugins/salvor/archived/<backup>/<n>.json      in which class since when; the highest number counts
//! ```
//!
//! Under the claim of the backup's name, as a deletion is: first the object is moved, which the store does whole or not
//! at all, then the record is written. A run that dies between the two is repeated by the next one, which finds the
//! object in its class and writes the record. Reading never trusts the record: it asks the store.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use salvor_api::name::BackupName;
use salvor_api::retention::mark;
use salvor_storage::{Access, Key, ObjectInfo, PutMode, Tier};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::claim::{Claim, Purpose};
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::record;
use crate::run::RunId;

/// Newest format of the record.
const VERSION: u64 = 1;

/// That a backup was moved to a storage class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Archived {
    /// Format version.
    pub version: u64,
    /// The store's name for the class.
    pub class: String,
    /// Since when, by the writer's clock.
    pub since: Timestamp,
    /// The run that moved it.
    pub run: String,
}

impl Archived {
    /// As the backup's annotation says it: `DEEP_ARCHIVE, retrieval 12h`.
    #[must_use]
    pub fn mark(&self) -> String {
        mark(&self.class)
    }
}

/// The key of a backup's archive.
fn archive_key(name: &BackupName) -> Result<Key> {
    layout::backup_file(name, &format!("{name}.tar.gz"))
        .map_err(Error::store(format!("name the archive of backup `{name}`")))
}

impl Location {
    /// Moves the archive of a backup to a storage class. One that lies there is left alone, and recorded.
    ///
    /// # Errors
    /// [`Error::BackupNotFound`], [`Error::Busy`] while it is written or deleted, [`Error::ReadOnly`], or the store
    /// cannot do it.
    pub async fn archive_backup(&self, name: &BackupName, class: &str) -> Result<Archived> {
        let prepared = self.prepare().await?;
        let run = RunId::generate();
        let purpose = Purpose::Write;
        let claim = Claim::take(self, &prepared, "backup", name.as_str(), &run, purpose).await?;
        let moved = self.move_archive(name, class, &run).await;
        claim.close().await;
        moved
    }

    async fn move_archive(&self, name: &BackupName, class: &str, run: &RunId) -> Result<Archived> {
        // Under the claim: it cannot be deleted meanwhile.
        self.backup(name).await?;
        let key = archive_key(name)?;
        let doing = || format!("move backup `{name}` to storage class {class}");
        let tier = self.store.tier(&key).await;
        let tier = tier.map_err(Error::store(doing()))?;
        if tier.class != class {
            let moved = self.store.set_class(&key, class).await;
            moved.map_err(Error::store(doing()))?;
        }
        let known = self
            .archived_records(&layout::archived_folder(name))
            .await?;
        if let Some((_, newest)) = known.get(name.as_str())
            && newest.class == class
        {
            return Ok(newest.clone());
        }
        let archived = Archived {
            version: VERSION,
            class: class.to_owned(),
            since: Timestamp::now(),
            run: run.to_string(),
        };
        let number = known.get(name.as_str()).map_or(0, |(number, _)| *number) + 1;
        let file = format!("{}/{number:06}.json", layout::archived_folder(name));
        let body = record::encode("archive record", &archived)?;
        let key = layout::key(file);
        let put = self.store.put(&key, body, PutMode::Create).await;
        put.map_err(Error::store(format!(
            "record that backup `{name}` was archived"
        )))?;
        Ok(archived)
    }

    /// All backups that were archived, by name.
    ///
    /// # Errors
    /// The listing fails.
    pub async fn archived(&self) -> Result<BTreeMap<String, Archived>> {
        let found = self.archived_records(layout::ARCHIVED).await?;
        Ok(found
            .into_iter()
            .map(|(name, (_, record))| (name, record))
            .collect())
    }

    /// What is on record of one backup; `None` when it was not archived.
    ///
    /// # Errors
    /// As [`Location::archived`].
    pub async fn archived_backup(&self, name: &BackupName) -> Result<Option<Archived>> {
        let found = self
            .archived_records(&layout::archived_folder(name))
            .await?;
        Ok(found.into_values().next().map(|(_, record)| record))
    }

    /// In which class the archive of a backup is now, and whether it can be read.
    ///
    /// # Errors
    /// [`Error::BackupNotFound`], or the store fails.
    pub async fn tier(&self, name: &BackupName) -> Result<Tier> {
        let key = archive_key(name)?;
        match self.store.tier(&key).await {
            Ok(tier) => Ok(tier),
            Err(error) if error.is_not_found() => Err(Error::BackupNotFound {
                name: name.to_string(),
                location: self.name().to_owned(),
            }),
            Err(error) => Err(Error::store(format!("look where backup `{name}` lies"))(
                error,
            )),
        }
    }

    /// Asks the store to make an archived backup readable for a week; says how it stands. One that can be read is left
    /// alone.
    ///
    /// # Errors
    /// As [`Location::tier`], and when the store cannot do it.
    pub async fn thaw(&self, name: &BackupName) -> Result<Tier> {
        let before = self.tier(name).await?;
        if before.access != Access::Frozen {
            return Ok(before);
        }
        let asked = self.store.thaw(&archive_key(name)?).await;
        asked.map_err(Error::store(format!("thaw backup `{name}`")))?;
        self.tier(name).await
    }

    /// The newest record of each backup below a folder, with its number.
    async fn archived_records(&self, folder: &str) -> Result<BTreeMap<String, (u64, Archived)>> {
        let list = async {
            let listed = self.store.list(folder).await?;
            listed.try_collect::<Vec<ObjectInfo>>().await
        };
        let doing = format!("list the archived backups of location `{}`", self.name());
        let listed = list.await.map_err(Error::store(doing))?;
        let mut newest: BTreeMap<String, (u64, Key)> = BTreeMap::new();
        for info in listed {
            let Some((name, number)) = parts(info.key.as_str()) else {
                continue;
            };
            // In the order of keys, so the highest number comes last.
            newest.insert(name.to_owned(), (number, info.key.clone()));
        }
        let mut found = BTreeMap::new();
        for (name, (number, key)) in newest {
            match record::read(&self.store, &key, VERSION).await {
                Ok(record) => {
                    found.insert(name, (number, record));
                }
                // One that cannot be understood hides no other; where the backup lies, the store tells.
                Err(error @ (Error::BadRecord { .. } | Error::NewerFormat { .. })) => {
                    warn!(%error, "a record of an archived backup is left out");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// Name and number of `plugins/salvor/archived/<backup>/<n>.json`.
fn parts(key: &str) -> Option<(&str, u64)> {
    let rest = key.strip_prefix(layout::ARCHIVED)?.strip_prefix('/')?;
    let (name, file) = rest.split_once('/')?;
    Some((name, file.strip_suffix(".json")?.parse().ok()?))
}
