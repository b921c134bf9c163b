//! Deleting a backup: claim, commit record, contents, in that order, so that a crash leaves either the
//! whole backup or leftovers that are no backup. Each step may be repeated.

use salvor_api::name::{BackupName, RestoreName};

use crate::claim::{Claim, Purpose};
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::run::RunId;

impl Location {
    /// Deletes a backup; returns how many objects were removed. Also removes what an interrupted deletion
    /// or a dead writer left under the name.
    ///
    /// # Errors
    /// [`Error::BackupNotFound`] when there is nothing under the name, [`Error::Busy`] while a run works on
    /// it, [`Error::ReadOnly`], or the store fails.
    pub async fn delete_backup(&self, name: &BackupName, run: &RunId) -> Result<u64> {
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
        let claim = Claim::take(
            self,
            &prepared,
            "backup",
            name.as_str(),
            run,
            Purpose::Delete,
        )
        .await?;
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
        claim.close().await;
        Ok(removed + u64::from(existed))
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
        let claim = Claim::take(
            self,
            &prepared,
            "restore",
            name.as_str(),
            run,
            Purpose::Delete,
        )
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
