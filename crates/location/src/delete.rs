//! Deleting a backup: claim, restores that were made from it, commit record, contents, in that order, so that
//! a crash leaves either the whole backup or leftovers that are no backup. Each step may be repeated.
//!
//! The records of restores go first, as long as the backup can still be named: after a crash the same command
//! finds what is left. Whether one of those restores is at work is asked before anything is deleted.

use std::collections::BTreeMap;

use salvor_api::name::{BackupName, RestoreName};
use tracing::warn;

use crate::claim;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::restore::RestoreRecord;
use crate::run::RunId;

/// What a deletion removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedBackup {
    /// Objects of the backup.
    pub objects: u64,
    /// Restores whose records went with it.
    pub restores: Vec<RestoreName>,
}

impl Location {
    /// The restores that were made from a backup and are recorded here, by name. One whose record cannot be
    /// read is not among them.
    ///
    /// # Errors
    /// The listing fails.
    pub async fn restores_of(&self, backup: &BackupName) -> Result<Vec<RestoreRecord>> {
        let mut all = self.restores_by_backup().await?;
        Ok(all.remove(backup.as_str()).unwrap_or_default())
    }

    /// All restores that are recorded here, by the backup that they were made from, for whoever deletes
    /// several. One whose record cannot be read is not among them.
    ///
    /// # Errors
    /// The listing fails.
    pub async fn restores_by_backup(&self) -> Result<BTreeMap<String, Vec<RestoreRecord>>> {
        let listing = self.restores().await?;
        for damaged in &listing.damaged {
            warn!(
                restore = damaged.name,
                reason = damaged.reason,
                "not readable"
            );
        }
        let mut all: BTreeMap<String, Vec<RestoreRecord>> = BTreeMap::new();
        for record in listing.entries {
            let backup = record.restore.spec.backup_name.clone();
            all.entry(backup).or_default().push(record);
        }
        Ok(all)
    }

    /// Deletes a backup and, as Velero does, the records of restores that were made from it; what they
    /// restored stays. Also removes what an interrupted deletion or a dead writer left under the name.
    ///
    /// # Errors
    /// [`Error::BackupNotFound`] when there is nothing under the name, [`Error::Held`], [`Error::Busy`] while a
    /// run works on it or on a restore of it, [`Error::ReadOnly`], or the store fails.
    pub async fn delete_backup(&self, name: &BackupName, run: &RunId) -> Result<DeletedBackup> {
        self.delete_backup_and(name, None, run).await
    }

    /// As [`Location::delete_backup`], with the records of restores from a listing that was made before
    /// ([`Location::restores_by_backup`]): the records of many restores are then read once, not once for each
    /// backup. A restore that was begun since keeps its record.
    ///
    /// # Errors
    /// As [`Location::delete_backup`].
    pub async fn delete_backup_and(
        &self,
        name: &BackupName,
        restores: Option<&[RestoreRecord]>,
        run: &RunId,
    ) -> Result<DeletedBackup> {
        let prepared = self.prepare().await?;
        let folder = layout::backup_folder(name);
        let listed = self
            .store
            .list_folder(&folder)
            .await
            .map_err(Error::store(format!("look for backup `{name}`")))?;
        if listed.objects.is_empty() && listed.folders.is_empty() {
            return Err(Error::BackupNotFound {
                name: name.to_string(),
                location: self.name().to_owned(),
            });
        }
        let claim = self
            .claim_for_deletion(&prepared, "backup", name.as_str(), run)
            .await?;
        let free = async {
            // Under the claim, which a new hold needs as well.
            self.refuse_held(name).await?;
            match restores {
                Some(known) => self.delete_restores(known, run).await,
                None => {
                    self.delete_restores(&self.restores_of(name).await?, run)
                        .await
                }
            }
        };
        let restores = match free.await {
            Ok(restores) => restores,
            Err(error) => {
                // The backup is as it was; the next one need not wait for our lease.
                claim.close().await;
                return Err(error);
            }
        };
        let record = layout::backup_file(name, layout::BACKUP_RECORD)
            .map_err(Error::store("name the commit record"))?;
        let existed = listed.objects.iter().any(|info| info.key == record);
        self.store
            .delete(&record)
            .await
            .map_err(Error::store(format!(
                "delete the record of backup `{name}`"
            )))?;
        let removed = self.remove_folder(&folder).await?;
        // Released ones, and what was said of this backup: they must not speak for a later one of the name.
        for records in [
            layout::hold_folder(name),
            layout::copies_folder(name),
            layout::verified_folder(name),
            layout::archived_folder(name),
        ] {
            self.remove_folder(&records).await?;
        }
        let copied = self.store.delete(&layout::copied_key(name)).await;
        copied.map_err(Error::store(format!(
            "forget where backup `{name}` came from"
        )))?;
        claim.close().await;
        // There is room again.
        self.keep_reserve().await;
        if let Err(error) = self.sweep().await {
            warn!(%error, "leftovers of crashed writers stay");
        }
        Ok(DeletedBackup {
            objects: removed + u64::from(existed),
            restores,
        })
    }

    async fn delete_restores(
        &self,
        restores: &[RestoreRecord],
        run: &RunId,
    ) -> Result<Vec<RestoreName>> {
        for active in restores.iter().filter(|restore| restore.active) {
            claim::assert_free(self, "restore", active.name.as_str()).await?;
        }
        let mut deleted = Vec::with_capacity(restores.len());
        for restore in restores {
            match self.delete_restore(&restore.name, run).await {
                Ok(_) => deleted.push(restore.name.clone()),
                // Somebody else's deletion.
                Err(Error::RestoreNotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(deleted)
    }

    /// Deletes the records of a restore; what it restored stays. Returns how many objects were removed.
    ///
    /// # Errors
    /// [`Error::RestoreNotFound`], [`Error::Busy`] while it runs, [`Error::ReadOnly`], or the store fails.
    pub async fn delete_restore(&self, name: &RestoreName, run: &RunId) -> Result<u64> {
        let prepared = self.prepare().await?;
        let folder = layout::restore_folder(name);
        let listed = self
            .store
            .list_folder(&folder)
            .await
            .map_err(Error::store(format!("look for restore `{name}`")))?;
        if listed.objects.is_empty() && listed.folders.is_empty() {
            return Err(Error::RestoreNotFound {
                name: name.to_string(),
                location: self.name().to_owned(),
            });
        }
        let claim = self
            .claim_for_deletion(&prepared, "restore", name.as_str(), run)
            .await?;
        // The request first: without it a restore cannot be resumed. Then the result, without which it is
        // none. So what an interruption leaves is a finished restore, or nothing that counts.
        let mut removed = 0;
        for file in [layout::RESTORE_REQUEST, layout::RESTORE_RECORD] {
            let doing = || format!("delete `{file}` of restore `{name}`");
            let key = layout::restore_file(name, file).map_err(Error::store(doing()))?;
            if listed.objects.iter().any(|info| info.key == key) {
                removed += 1;
            }
            let deleted = self.store.delete(&key).await;
            deleted.map_err(Error::store(doing()))?;
        }
        removed += self.remove_folder(&folder).await?;
        claim.close().await;
        Ok(removed)
    }
}
