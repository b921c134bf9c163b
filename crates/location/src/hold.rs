//! Holds: records that keep a backup until they are released. They stand beside the backups, not in them, so
//! that they survive the cluster and need no change to what is committed.
//!
//! ```text
//! plugins/salvor/holds/<backup>/<id>.json       who holds it and why; create-only
//! plugins/salvor/holds/<backup>/<id>.released   it no longer counts
//! ```
//!
//! A hold takes the claim of the backup's name, as a deletion does: one of the two comes first, and the other
//! sees it. A record that cannot be read holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use salvor_api::name::BackupName;
use salvor_storage::{Key, PutMode};
use serde::{Deserialize, Serialize};

use crate::claim::{Claim, Purpose};
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::record;
use crate::run::RunId;

/// Newest format of a hold that we write and read.
pub(crate) const HOLD_VERSION: u64 = 1;

/// One hold of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Format version.
    pub version: u64,
    /// Its id, unique in the location.
    pub id: String,
    /// Why the backup is held.
    pub reason: String,
    /// Who holds it, for people to read.
    pub by: String,
    /// Since when, by the writer's clock; absent when the record cannot be read.
    pub created: Option<Timestamp>,
}

/// The holds of one backup, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Those that count.
    pub active: Vec<Hold>,
    /// Those that were released.
    pub released: Vec<Hold>,
}

impl Holds {
    /// The reasons of those that count.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        self.active.iter().map(|hold| hold.reason.as_str())
    }
}

impl Location {
    /// Holds a backup: nothing of Salvor's deletes it until the hold is released.
    ///
    /// # Errors
    /// [`Error::BackupNotFound`], [`Error::Busy`] while it is being deleted, [`Error::ReadOnly`], or the store
    /// fails.
    pub async fn hold(&self, name: &BackupName, reason: &str, by: &str) -> Result<Hold> {
        let prepared = self.prepare().await?;
        let run = RunId::generate();
        let claim = Claim::take(
            self,
            &prepared,
            "backup",
            name.as_str(),
            &run,
            Purpose::Write,
        )
        .await?;
        let hold = Hold {
            version: HOLD_VERSION,
            id: run.to_string(),
            reason: reason.to_owned(),
            by: by.to_owned(),
            created: Some(Timestamp::now()),
        };
        let written = self.write_hold(name, &hold).await;
        claim.close().await;
        written.map(|()| hold)
    }

    async fn write_hold(&self, name: &BackupName, hold: &Hold) -> Result<()> {
        let committed = self.file_size(name, layout::BACKUP_RECORD).await?.is_some();
        if !committed {
            return Err(Error::BackupNotFound {
                name: name.to_string(),
                location: self.name().to_owned(),
            });
        }
        let body = record::encode("hold", hold)?;
        self.store
            .put(&hold_key(name, &hold.id, "json"), body, PutMode::Create)
            .await
            .map(drop)
            .map_err(Error::store(format!("hold backup `{name}`")))
    }

    /// Releases a hold. One that is released already, or never was, is no error.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::BadRecord`] for an id that is none, or the store fails.
    pub async fn release(&self, name: &BackupName, id: &str) -> Result<()> {
        self.prepare().await?;
        let file = format!("{id}.released");
        let key = Key::new(format!("{}/{file}", layout::hold_folder(name)))
            .ok()
            .filter(|key| !id.is_empty() && key.file_name() == file)
            .ok_or_else(|| Error::BadRecord {
                key: layout::hold_folder(name),
                reason: format!("`{id}` is no id of a hold"),
            })?;
        let body = Bytes::from_static(b"{}\n");
        self.store
            .put(&key, body, PutMode::Overwrite)
            .await
            .map(drop)
            .map_err(Error::store(format!("release backup `{name}`")))
    }

    /// The holds of one backup.
    ///
    /// # Errors
    /// The store fails.
    pub async fn holds_of(&self, name: &BackupName) -> Result<Holds> {
        let found = self.holds_below(&layout::hold_folder(name)).await?;
        Ok(found.into_values().next().unwrap_or_default())
    }

    /// All holds, by the name of the backup.
    ///
    /// # Errors
    /// The store fails.
    pub async fn holds(&self) -> Result<BTreeMap<String, Holds>> {
        self.holds_below(layout::HOLDS).await
    }

    async fn holds_below(&self, folder: &str) -> Result<BTreeMap<String, Holds>> {
        let list = async {
            let listed = self.store.list(folder).await?;
            listed.map_ok(|info| info.key).try_collect().await
        };
        let keys: Vec<Key> = list
            .await
            .map_err(Error::store(format!("list `{folder}/`")))?;
        let mut found: BTreeMap<String, Holds> = BTreeMap::new();
        for key in &keys {
            let Some((backup, id)) = parts(key) else {
                continue;
            };
            let hold = match record::read::<Hold>(&self.store, key, HOLD_VERSION).await {
                Ok(hold) => hold,
                // Removed since it was listed, with its backup.
                Err(error) if error.is_not_found() => continue,
                Err(error @ (Error::BadRecord { .. } | Error::NewerFormat { .. })) => Hold {
                    version: HOLD_VERSION,
                    id: id.to_owned(),
                    reason: format!("a hold that cannot be read: {error}"),
                    by: String::new(),
                    created: None,
                },
                Err(error) => return Err(error),
            };
            let released = format!("{}/{backup}/{id}.released", layout::HOLDS);
            let holds = found.entry(backup.to_owned()).or_default();
            if keys.iter().any(|key| key.as_str() == released) {
                holds.released.push(hold);
            } else {
                holds.active.push(hold);
            }
        }
        for holds in found.values_mut() {
            for list in [&mut holds.active, &mut holds.released] {
                list.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
            }
        }
        Ok(found)
    }

    /// Refuses a backup that is held.
    pub(crate) async fn refuse_held(&self, name: &BackupName) -> Result<()> {
        let holds = self.holds_of(name).await?;
        if holds.active.is_empty() {
            return Ok(());
        }
        Err(Error::Held {
            name: name.to_string(),
            location: self.name().to_owned(),
            reasons: holds.reasons().collect::<Vec<_>>().join("; "),
        })
    }
}

/// Ids are run ids, of digits, letters and hyphens.
fn hold_key(name: &BackupName, id: &str, ending: &str) -> Key {
    layout::key(format!("{}/{id}.{ending}", layout::hold_folder(name)))
}

/// The backup and the id that the key of a hold names.
fn parts(key: &Key) -> Option<(&str, &str)> {
    let below = key
        .as_str()
        .strip_prefix(layout::HOLDS)?
        .strip_prefix('/')?;
    let (backup, file) = below.split_once('/')?;
    Some((backup, file.strip_suffix(".json")?))
}
