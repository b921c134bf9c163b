//! What a restore has in its location goes with its object.

use salvor_api::labels;
use salvor_api::name::RestoreName;
use salvor_api::velero::{AccessMode, LocationPhase, Restore};
use salvor_location::{Location, RunId};

use crate::backup::modify;
use crate::context::{Context, chain};
use crate::control::Next;
use crate::events::EventType;
use crate::kinds::{KindError, Kinds};

use super::TurnError;

/// Pause while the run of a restore that was deleted comes to its end.
const STOPPING: std::time::Duration = std::time::Duration::from_millis(500);

/// True when a restore may not go before its records.
pub(super) fn is_waiting(restore: &Restore) -> bool {
    let metadata = &restore.metadata;
    let ours = |finalizer: &String| finalizer == labels::RESTORE_FINALIZER;
    metadata.deletion_timestamp.is_some() && metadata.finalizers.iter().any(ours)
}

/// Makes a restore wait for its records.
pub(super) fn keep_until_deleted(restore: &mut Restore) {
    let finalizers = &mut restore.metadata.finalizers;
    let ours = |finalizer: &String| finalizer == labels::RESTORE_FINALIZER;
    if !finalizers.iter().any(ours) {
        finalizers.push(labels::RESTORE_FINALIZER.to_owned());
    }
}

/// Lets a restore go whose object is being deleted, after its records.
pub(super) async fn finalize(context: &Context, restore: &Restore) -> Result<Next, TurnError> {
    let name = &restore.metadata.name;
    if context.restore_runs.contains(name) {
        context.restore_runs.stop(name);
        return Ok(Next::After(STOPPING));
    }
    if let Some(location) = location_of(context, restore).await? {
        let deleted = delete_records(&location, restore).await;
        deleted.map_err(|error| {
            let reason = chain(&error);
            let text = format!("its records are still there: {reason}");
            let events = &context.events;
            events.record(restore, EventType::Warning, "DeletionFailed", text);
            TurnError::Records {
                name: name.clone(),
                reason,
            }
        })?;
    }
    release(&context.kinds(), name).await?;
    Ok(Next::Wait)
}

/// The location with the records of a restore; `None` when nothing is or can be deleted there: its backup or
/// the location are gone from the cluster, or the location is read-only.
async fn location_of(context: &Context, restore: &Restore) -> Result<Option<Location>, TurnError> {
    let Some(backup) = context.backups.get(&restore.spec.backup_name) else {
        return Ok(None);
    };
    let storage = &backup.spec.storage_location;
    let Some(object) = context.storage_locations.get(storage) else {
        return Ok(None);
    };
    if object.spec.access_mode == AccessMode::ReadOnly {
        return Ok(None);
    }
    let unknown = |reason: String| TurnError::Records {
        name: restore.metadata.name.clone(),
        reason,
    };
    if object.status.phase == LocationPhase::Unavailable {
        return Err(unknown(format!(
            "backup storage location `{storage}` is unavailable: {}",
            object.status.message
        )));
    }
    let opened = context.locations.open(&object).await;
    opened.map(Some).map_err(|error| unknown(chain(&error)))
}

/// Deletes what a location has of a restore. Another cluster's restore of the same name is left alone.
pub(crate) async fn delete_records(
    location: &Location,
    restore: &Restore,
) -> Result<(), salvor_location::Error> {
    use salvor_location::Error::BadRecord;
    let Ok(name) = RestoreName::new(restore.metadata.name.as_str()) else {
        return Ok(());
    };
    match location.restore(&name).await {
        Ok(record) => {
            let (theirs, ours) = (&record.restore.metadata, &restore.metadata);
            let other = !theirs.uid.is_empty() && theirs.uid != ours.uid;
            if other || record.restore.spec.backup_name != restore.spec.backup_name {
                return Ok(());
            }
        }
        // Velero's leave no record; and one that cannot be read is no reason to keep its files.
        Err(error) if error.is_not_found() => {}
        Err(BadRecord { .. }) => {}
        Err(error) => return Err(error),
    }
    let run = RunId::from(format!("deletion-{}", restore.metadata.uid));
    match location.delete_restore(&name, &run).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes the finalizer off a restore.
pub(crate) async fn release(kinds: &Kinds<Restore>, name: &str) -> Result<(), KindError> {
    modify(kinds, name, |restore: &mut Restore| {
        let finalizers = &mut restore.metadata.finalizers;
        let before = finalizers.len();
        finalizers.retain(|finalizer| finalizer != labels::RESTORE_FINALIZER);
        finalizers.len() != before
    })
    .await
    .map(drop)
}
