//! Objects of backups that their location no longer has.

use std::collections::BTreeSet;
use std::sync::Arc;

use salvor_api::labels;
use salvor_api::retention::Guard;
use salvor_api::velero::{Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequestPhase};
use salvor_location::Location;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{CONFIRM_SYNC, Sync, SyncError, read};
use crate::backup::modify;
use crate::context::chain;
use crate::deletion::request_for;
use crate::events::EventType;
use crate::kinds::KindError;

impl Sync {
    /// Removes the objects of backups that two listings and a look did not find.
    pub(super) async fn remove(
        &self,
        object: &BackupStorageLocation,
        location: &Location,
        known: &[Arc<Backup>],
        folders: &BTreeSet<String>,
    ) -> Result<(), SyncError> {
        let name = &object.metadata.name;
        let here: Vec<&Arc<Backup>> = known
            .iter()
            .filter(|backup| {
                // One that failed never was in the store; it goes at its expiration.
                backup.spec.storage_location == *name && backup.status.phase.is_restorable()
            })
            .collect();
        let missing: Vec<&Arc<Backup>> = here
            .iter()
            .copied()
            .filter(|backup| !folders.contains(&backup.metadata.name))
            .collect();
        let uids: BTreeSet<String> = missing.iter().map(|b| b.metadata.uid.clone()).collect();
        let confirm = self.context.options.sync_confirm;
        let before = self.see(name, |seen| {
            let is_new = uids.iter().any(|uid| !seen.missing.contains(uid));
            seen.confirm_at = is_new.then(|| Instant::now() + confirm);
            std::mem::replace(&mut seen.missing, uids)
        });
        let mut gone = Vec::new();
        for backup in missing {
            if !before.contains(&backup.metadata.uid) {
                continue;
            }
            match read(location, &backup.metadata.name).await {
                Ok(None) => gone.push(&**backup),
                // The listing was wrong.
                Ok(Some(_)) => {}
                Err(source) if source.is_retryable() => {
                    return Err(SyncError::Location {
                        name: name.clone(),
                        source,
                    });
                }
                Err(error) => self.tell_once(object, &backup.metadata.name, &chain(&error)),
            }
        }
        let stop = stop(object, &gone, here.len(), self.context.options.guard);
        if let Some(text) = &stop
            && self.context.stops.get(name).as_ref() != Some(text)
        {
            tracing::error!(location = %name, "{text}");
            let events = &self.context.events;
            events.record(object, EventType::Warning, "SyncStopped", text.clone());
        }
        let stopped = stop.is_some();
        self.context.stops.set(name, stop);
        if stopped {
            return Ok(());
        }
        for backup in gone {
            self.drop_object(backup).await?;
        }
        Ok(())
    }

    /// Deletes the object of a backup, unless it is another one by now.
    async fn drop_object(&self, backup: &Backup) -> Result<(), KindError> {
        let kinds = self.context.kinds::<Backup>();
        let Some(now) = kinds.get(&backup.metadata.name).await? else {
            return Ok(());
        };
        let same = now.metadata.uid == backup.metadata.uid
            && now.spec.storage_location == backup.spec.storage_location
            && now.status.phase == backup.status.phase;
        if !same {
            return Ok(());
        }
        let (name, storage) = (&now.metadata.name, &now.spec.storage_location);
        tracing::info!(backup = %name, location = %storage, "its files are gone; the object goes too");
        let text = format!("location `{storage}` no longer has it");
        let events = &self.context.events;
        events.record(&now, EventType::Normal, "Removed", text);
        kinds.delete(&now).await
    }

    /// Backups that are being deleted although nobody asks for it any more: those that are whole get their
    /// phase back, the deletion of the others is asked for again.
    pub(super) async fn settle_deletions(
        &self,
        object: &BackupStorageLocation,
        location: &Location,
        known: &[Arc<Backup>],
    ) -> Result<(), SyncError> {
        let name = &object.metadata.name;
        let requests = self.context.delete_requests.list();
        let is_open = |backup: &Backup| {
            requests.iter().any(|request| {
                request.spec.backup_name == backup.metadata.name
                    && request.status.phase != DeleteBackupRequestPhase::Processed
            })
        };
        for backup in known {
            let deleting = backup.spec.storage_location == *name
                && backup.status.phase == BackupPhase::Deleting
                && backup.metadata.deletion_timestamp.is_none();
            if !deleting || is_open(backup) {
                continue;
            }
            let record = read(location, &backup.metadata.name).await;
            let record = record.map_err(|source| SyncError::Location {
                name: name.clone(),
                source,
            })?;
            match record {
                Some(record) => {
                    reinstate(&self.context.kinds(), backup, &record.backup).await?;
                }
                None if location.profile().read_only => {}
                None => {
                    let context = &self.context;
                    let mut request = request_for(&context.options.namespace, backup);
                    context.authorizer.sign(&mut request).await;
                    match context.kinds().create(&request).await {
                        Ok(_) => {}
                        Err(error) if error.already_exists() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Gives a backup that was to be deleted the phase back that its record has.
pub(crate) async fn reinstate(
    kinds: &crate::kinds::Kinds<Backup>,
    backup: &Backup,
    record: &Backup,
) -> Result<(), KindError> {
    let same = |key: &str, other: &Backup| {
        backup.metadata.annotations.get(key) == other.metadata.annotations.get(key)
    };
    if !same(labels::RUN_ID, record) || !backup.status.validation_errors.is_empty() {
        return Ok(());
    }
    modify(kinds, &backup.metadata.name, |now: &mut Backup| {
        let deleting =
            now.status.phase == BackupPhase::Deleting && now.metadata.uid == backup.metadata.uid;
        now.status.phase = record.status.phase.clone();
        deleting && now.status.phase.is_final()
    })
    .await
    .map(drop)
}

/// Why so many objects may not go; `None` when they may.
fn stop(
    object: &BackupStorageLocation,
    gone: &[&Backup],
    of: usize,
    guard: Guard,
) -> Option<String> {
    let removed = gone.len();
    // As retention counts: more than the share of more than so many.
    if of <= guard.at_least || removed * 100 <= of * usize::from(guard.share) {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(&object.metadata.name);
    for backup in gone {
        hash.update("\n");
        hash.update(&backup.metadata.name);
    }
    let digest: String = hash.finalize()[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if object.metadata.annotations.get(CONFIRM_SYNC) == Some(&digest) {
        return None;
    }
    Some(format!(
        "{removed} of {of} backups are gone from the store; their objects stay until somebody has looked: if \
         that is right, annotate the location with {CONFIRM_SYNC}={digest}"
    ))
}
