//! Whether a backup may be deleted, and what there is of it.

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::{
    AccessMode, Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase, LocationPhase,
};
use salvor_location::Location;

use super::Deletions;
use crate::context::chain;
use crate::kinds::KindError;

/// What a look before a deletion found.
pub(super) enum Checked {
    /// It is deleted already.
    Gone,
    Refused(String),
    Go {
        backup: Box<Backup>,
        files: Files,
    },
}

/// Where the files of a backup are.
pub(super) enum Files {
    /// It has none: it failed before anything was written, or its name is another's there.
    None,
    In(Location),
}

impl Deletions {
    pub(super) async fn check(&self, request: &DeleteBackupRequest) -> Result<Checked, KindError> {
        let refused = |reason: String| Ok(Checked::Refused(reason));
        let context = &self.context;
        let name = &request.spec.backup_name;
        if name.is_empty() {
            return refused("spec.backupName is empty: name the backup to delete".to_owned());
        }
        let Some(backup) = context.kinds::<Backup>().get(name).await? else {
            if request.status.phase == DeleteBackupRequestPhase::InProgress {
                return Ok(Checked::Gone);
            }
            return refused(format!("backup `{name}` does not exist"));
        };
        let meant = request.metadata.labels.get(labels::BACKUP_UID);
        if meant.is_some_and(|uid| !uid.is_empty() && *uid != backup.metadata.uid) {
            if request.status.phase == DeleteBackupRequestPhase::InProgress {
                return Ok(Checked::Gone);
            }
            return refused(format!(
                "the request was made for an earlier backup `{name}`, not for the one of today: make a new request"
            ));
        }
        if let Some(reason) = self.refuse_by_state(&backup) {
            return refused(reason);
        }
        match self.files(&backup).await {
            Ok(files) => Ok(Checked::Go {
                backup: Box::new(backup),
                files,
            }),
            Err(reason) => refused(reason),
        }
    }

    /// Why the state of the cluster forbids to delete a backup.
    fn refuse_by_state(&self, backup: &Backup) -> Option<String> {
        let context = &self.context;
        let (name, phase) = (&backup.metadata.name, &backup.status.phase);
        let begun = matches!(
            phase,
            BackupPhase::InProgress
                | BackupPhase::WaitingForPluginOperations
                | BackupPhase::WaitingForPluginOperationsPartiallyFailed
                | BackupPhase::Finalizing
                | BackupPhase::FinalizingPartiallyFailed
        );
        if begun || context.backup_runs.contains(name) {
            return Some(format!("backup `{name}` is still in progress"));
        }
        if !phase.is_final() && *phase != BackupPhase::Deleting {
            return Some(format!(
                "backup `{name}` is {phase}: let it end first, or stop it by the annotation {}=true",
                labels::CANCEL
            ));
        }
        let reading = context.restores.list().into_iter().find(|restore| {
            restore.spec.backup_name == *name && restore.status.phase.is_under_way()
        });
        reading.map(|restore| {
            format!(
                "restore `{}` reads backup `{name}`: let it end first, or stop it by the annotation {}=true",
                restore.metadata.name,
                labels::CANCEL
            )
        })
    }

    /// Where the files of the backup are; an error says why they cannot be deleted.
    async fn files(&self, backup: &Backup) -> Result<Files, String> {
        let storage = &backup.spec.storage_location;
        // A deletion that was interrupted has replaced the phase, not the reasons.
        let status = &backup.status;
        let failed = status.phase == BackupPhase::Failed || !status.failure_reason.is_empty();
        let refused =
            status.phase == BackupPhase::FailedValidation || !status.validation_errors.is_empty();
        if refused || storage.is_empty() {
            return Ok(Files::None);
        }
        let context = &self.context;
        let object = context
            .storage_locations
            .get(storage)
            .ok_or_else(|| format!("backup storage location `{storage}` does not exist"))?;
        if object.spec.access_mode == AccessMode::ReadOnly {
            return Err(format!(
                "backup storage location `{storage}` is read-only: nothing can be deleted there"
            ));
        }
        if object.status.phase == LocationPhase::Unavailable {
            return Err(format!(
                "backup storage location `{storage}` is unavailable: {}",
                object.status.message
            ));
        }
        let location = context.locations.open(&object).await;
        let location = location.map_err(|error| {
            format!(
                "backup storage location `{storage}` cannot be opened: {}",
                chain(&error)
            )
        })?;
        let name = &backup.metadata.name;
        let Ok(checked) = BackupName::new(name.as_str()) else {
            // Nothing can have been written under it.
            return Ok(Files::None);
        };
        let run = backup.metadata.annotations.get(labels::RUN_ID);
        match location.backup(&checked).await {
            Ok(record) => {
                let by = record.backup.metadata.annotations.get(labels::RUN_ID);
                // A backup that failed because its name was taken must not take the other with it.
                if failed && by != run {
                    return Ok(Files::None);
                }
                if by.is_some() && run.is_some() && by != run {
                    return Err(format!(
                        "location `{storage}` holds another backup under the name `{name}`: delete the object \
                         with kubectl, and the sync shows that other one"
                    ));
                }
            }
            Err(error) if error.is_not_found() => {
                if failed && run.is_none() {
                    return Ok(Files::None);
                }
            }
            // Damaged: there is all the more reason to delete it.
            Err(salvor_location::Error::BadRecord { .. }) => {}
            Err(error) => return Err(chain(&error)),
        }
        match self.held(backup, &location, &checked).await? {
            Some(reason) => Err(reason),
            None => Ok(Files::In(location)),
        }
    }

    /// Why the backup is held; `None` when it is not. An annotation holds as well until the sync has made it a
    /// record, or removed it because its record was released.
    async fn held(
        &self,
        backup: &Backup,
        location: &Location,
        name: &BackupName,
    ) -> Result<Option<String>, String> {
        let holds = location.holds_of(name).await;
        let holds = holds.map_err(|error| chain(&error))?;
        let mut reasons: Vec<&str> = holds.reasons().collect();
        let asked = backup.metadata.annotations.get(labels::HOLD);
        let released = |text: &&String| holds.released.iter().any(|hold| hold.reason == **text);
        if reasons.is_empty() {
            reasons.extend(asked.filter(|text| !released(text)).map(String::as_str));
        }
        Ok((!reasons.is_empty()).then(|| {
            format!(
                "backup `{name}` is held: {}; release it first",
                reasons.join("; ")
            )
        }))
    }
}
