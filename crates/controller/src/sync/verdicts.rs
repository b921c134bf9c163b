//! What verifications found, shown on the objects of their backups.

use std::sync::Arc;

use salvor_api::labels;
use salvor_api::velero::{Backup, BackupStorageLocation};
use salvor_location::verified::Verdicts;

use super::{Sync, SyncError};

impl Sync {
    /// Brings the annotations of a location's backups to what its records say. It is only shown: what counts is read
    /// from the location.
    pub(super) async fn mirror_verdicts(
        &self,
        object: &BackupStorageLocation,
        verdicts: &Verdicts,
        known: &[Arc<Backup>],
    ) -> Result<(), SyncError> {
        let name = &object.metadata.name;
        for backup in known.iter().filter(|b| b.spec.storage_location == *name) {
            let wanted = verdicts.of(backup).map(ToString::to_string);
            if backup.metadata.annotations.get(labels::VERIFIED) == wanted.as_ref() {
                continue;
            }
            let mut after = (**backup).clone();
            let annotations = &mut after.metadata.annotations;
            match wanted {
                Some(text) => annotations.insert(labels::VERIFIED.to_owned(), text),
                None => annotations.remove(labels::VERIFIED),
            };
            match self.context.kinds().update(&**backup, &after).await {
                Ok(_) => {}
                // The next sync finds it as it is then.
                Err(error) if error.is_stale() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
