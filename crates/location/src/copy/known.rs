//! What is known to be wrong with a backup without reading it: what one listing shows, and what a verification wrote down.

use std::collections::BTreeMap;

use crate::copy::Transfer;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::{BackupRecord, Location};

impl Location {
    /// What is wrong with a backup, as far as one listing and its last verification tell; nothing when nothing is known
    /// to be. A byte that changed is found by a verification only.
    ///
    /// # Errors
    /// The store fails.
    pub async fn known_damage(&self, record: &BackupRecord) -> Result<Option<String>> {
        let manifest = match self.manifest(record).await {
            Ok(manifest) => manifest,
            Err(error @ Error::BadRecord { .. }) => return Ok(Some(error.to_string())),
            Err(error) => return Err(error),
        };
        if let Some(manifest) = manifest {
            let folder = layout::backup_folder(&record.name);
            let listed = self.store.list_folder(&folder).await;
            let listed = listed.map_err(Error::store(format!("list `{folder}/`")))?;
            let sizes: BTreeMap<&str, u64> = listed
                .objects
                .iter()
                .map(|info| (info.key.file_name(), info.size))
                .collect();
            for entry in &manifest.objects {
                match sizes.get(entry.name.as_str()) {
                    None => return Ok(Some(format!("`{}` is missing", entry.name))),
                    Some(size) if *size != entry.size => {
                        return Ok(Some(format!(
                            "`{}` has {size} bytes instead of {}",
                            entry.name, entry.size
                        )));
                    }
                    Some(_) => {}
                }
            }
        }
        let verdicts = self.verdicts_on(&record.name).await?;
        Ok(verdicts
            .is_damaged(&record.backup)
            .then(|| "its last verification found damage".to_owned()))
    }

    /// Brings what is wrong with a copy back from its original, and writes down what is so now.
    ///
    /// # Errors
    /// As [`Location::repair_backup`], and [`Error::SourceDamaged`] when the original has not the right bytes either.
    pub(crate) async fn heal_copy(
        &self,
        record: &BackupRecord,
        original: &Self,
        transfer: &Transfer,
    ) -> Result<()> {
        let name = &record.name;
        let repair = self
            .repair_backup(name, std::slice::from_ref(original), transfer)
            .await?;
        if !repair.is_whole() {
            return Err(Error::SourceDamaged {
                key: layout::backup_folder(name),
                location: original.name().to_owned(),
                reason: "the copy is damaged, and the original has not the right bytes either"
                    .to_owned(),
            });
        }
        let found = self.verify_files(record).await?;
        self.record_verification(record, &found).await.map(drop)
    }
}
