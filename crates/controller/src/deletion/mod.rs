//! DeleteBackupRequests: a backup goes with everything that belongs to it, or stays with a reason.
//!
//! Order: the phase `Deleting`; the snapshots that the storage keeps for it; the files in the location; restores of
//! the backup; its object; the request. A server that is killed at any of these steps has left a request that is in
//! progress, and the next one repeats it: each step finds done what is done. The claim in the location is taken in the name of the request, so the
//! next server need not wait for the lease of the one before.

mod check;
mod snapshots;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::{
    Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase, Kind as _, Restore,
};
use salvor_extension::ActionKind;
use salvor_location::{Location, RunId};
use salvor_objects::extension;
use salvor_objects::rights::Right;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::check::{Checked, Files};
use crate::backup::modify;
use crate::context::{Context, chain};
use crate::control::{Next, Reconcile};
use crate::events::EventType;
use crate::kinds::KindError;
use crate::restore;
use crate::sync::reinstate;

/// How long a request that failed stays, so that its errors can be read.
const FAILED_STAY: Duration = Duration::from_secs(24 * 3600);
/// How long another run that has the name is waited for. A dead one is forgotten by the location after three
/// minutes.
const PATIENCE: Duration = Duration::from_secs(600);
const BUSY_PAUSE: Duration = Duration::from_secs(5);
/// Pause while an earlier request for the same backup is worked on.
const BEHIND_ANOTHER: Duration = Duration::from_secs(5);

pub(crate) struct Deletions {
    context: Context,
    /// Since when a request waits for another run, by its name.
    busy: Mutex<HashMap<String, Instant>>,
}

/// How an attempt ended.
enum End {
    /// The backup is gone.
    Done,
    Refused(Vec<String>),
    /// Another run has the name.
    Busy(String),
}

impl Reconcile for Deletions {
    const NAME: &'static str = "backup-deletion";
    type Error = KindError;

    async fn reconcile(&self, name: &str) -> Result<Next, KindError> {
        let context = &self.context;
        let request = context.delete_requests.get(name);
        let Some(request) = request.filter(|r| r.metadata.deletion_timestamp.is_none()) else {
            self.busy().remove(name);
            return Ok(Next::Wait);
        };
        match request.status.phase {
            DeleteBackupRequestPhase::Processed => return self.expire(&request).await,
            // Of a release that knows more.
            DeleteBackupRequestPhase::Other(_) => return Ok(Next::Wait),
            _ => {}
        }
        if self.is_behind_another(&request) {
            return Ok(Next::After(BEHIND_ANOTHER));
        }
        if request.status.phase != DeleteBackupRequestPhase::InProgress && context.paused().await {
            return Ok(Next::After(context.options.pause_look));
        }
        // The copy may be older than our own last word, and a request that was given up stays so.
        let now = context.kinds::<DeleteBackupRequest>().get(name).await?;
        if now.is_none_or(|now| now.status.phase == DeleteBackupRequestPhase::Processed) {
            return Ok(Next::Wait);
        }
        let end = match self.attempt(&request).await? {
            End::Busy(reason) => {
                let mut busy = self.busy();
                let since = busy.entry(name.to_owned()).or_insert_with(Instant::now);
                if since.elapsed() < PATIENCE {
                    return Ok(Next::After(BUSY_PAUSE));
                }
                End::Refused(vec![reason])
            }
            end => end,
        };
        self.busy().remove(name);
        match end {
            End::Refused(errors) => self.refuse(&request, errors).await?,
            _ => context.kinds().delete(&*request).await?,
        }
        Ok(Next::Wait)
    }

    fn is_ordinary(error: &KindError) -> bool {
        error.is_stale()
    }
}

impl Deletions {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            busy: Mutex::default(),
        }
    }

    fn busy(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes a request that is done: at once when it has nothing to say, a day after it was made otherwise.
    async fn expire(&self, request: &DeleteBackupRequest) -> Result<Next, KindError> {
        let made = request.metadata.creation_timestamp;
        let age = made.map_or(0, |made| self.context.now().seconds_since(made).max(0));
        let left = FAILED_STAY.saturating_sub(Duration::from_secs(age.unsigned_abs()));
        if !left.is_zero() && !request.status.errors.is_empty() {
            return Ok(Next::After(left));
        }
        self.context.kinds().delete(request).await?;
        Ok(Next::Wait)
    }

    fn others(&self, request: &DeleteBackupRequest) -> Vec<std::sync::Arc<DeleteBackupRequest>> {
        let mut others = self.context.delete_requests.list();
        others.retain(|other| {
            other.spec.backup_name == request.spec.backup_name
                && other.metadata.name != request.metadata.name
                && other.metadata.deletion_timestamp.is_none()
        });
        others
    }

    /// Removes the other requests for the same backup.
    async fn take_others(&self, request: &DeleteBackupRequest) -> Result<(), KindError> {
        let kinds = self.context.kinds::<DeleteBackupRequest>();
        for other in self.others(request) {
            kinds.delete(&other).await?;
        }
        Ok(())
    }

    /// Of several open requests for one backup the oldest is worked on; it removes the others.
    fn is_behind_another(&self, request: &DeleteBackupRequest) -> bool {
        let age = |request: &DeleteBackupRequest| {
            let metadata = &request.metadata;
            (metadata.creation_timestamp, metadata.name.clone())
        };
        self.others(request).iter().any(|other| {
            other.status.phase != DeleteBackupRequestPhase::Processed && age(other) < age(request)
        })
    }

    async fn attempt(&self, request: &DeleteBackupRequest) -> Result<End, KindError> {
        let context = &self.context;
        let kinds = context.kinds::<DeleteBackupRequest>();
        let namespace = Some(context.options.namespace.as_str());
        let rights = [Right::new("delete", &Backup::group_resource(), namespace)];
        let objections = context
            .authorizer
            .objections(request, rights.into())
            .await?;
        if !objections.is_empty() {
            return Ok(End::Refused(objections));
        }
        self.take_others(request).await?;
        let (backup, files) = match self.check(request).await? {
            Checked::Gone => return Ok(End::Done),
            Checked::Refused(reason) => return Ok(End::Refused(vec![reason])),
            Checked::Go { backup, files } => (backup, files),
        };
        let name = &backup.metadata.name;
        let begun = modify(&kinds, &request.metadata.name, |request| {
            let before = request.clone();
            request.status.phase = DeleteBackupRequestPhase::InProgress;
            request.metadata.labels.extend(labels_for(&backup));
            *request != before
        });
        begun.await?;
        let backups = context.kinds();
        let deleting = modify(&backups, name, |now: &mut Backup| {
            let same = now.metadata.uid == backup.metadata.uid
                && now.status.phase == backup.status.phase
                && now.status.phase != BackupPhase::Deleting;
            now.status.phase = BackupPhase::Deleting;
            same
        });
        if let Some(deleting) = deleting.await? {
            context.metrics.counts().deletion_begins(&backup);
            let (events, text) = (&context.events, "its files go first, its object last");
            events.record(&deleting, EventType::Normal, "Deleting", text);
        }
        tracing::info!(backup = %name, "deletion begins");
        let location = match files {
            Files::None => None,
            Files::In(location) => {
                let errors = ask_actions(context, &location, name).await;
                if !errors.is_empty() {
                    return Ok(End::Refused(errors));
                }
                let errors = snapshots::delete_snapshots(context, &location, &backup).await;
                if !errors.is_empty() {
                    return Ok(End::Refused(errors));
                }
                let errors = snapshots::delete_native(context, &location, &backup).await;
                if !errors.is_empty() {
                    return Ok(End::Refused(errors));
                }
                if let Some(end) = delete_files(&location, name, request).await {
                    return Ok(end);
                }
                Some(location)
            }
        };
        let errors = self.delete_restores(name, location.as_ref()).await?;
        if !errors.is_empty() {
            return Ok(End::Refused(errors));
        }
        context.kinds().delete(&*backup).await?;
        // Those that came while it was deleted asked for the same.
        self.take_others(request).await?;
        tracing::info!(backup = %name, "deleted");
        context.metrics.counts().deletion_ends(Some(&*backup), true);
        let text = match &location {
            Some(location) => format!("deleted, with its files in location `{}`", location.name()),
            None => "deleted; there were no files of it".to_owned(),
        };
        let events = &context.events;
        events.record(&*backup, EventType::Normal, "Deleted", text);
        Ok(End::Done)
    }

    /// Deletes the restores of a backup, with what the location has of them.
    async fn delete_restores(
        &self,
        backup: &str,
        location: Option<&Location>,
    ) -> Result<Vec<String>, KindError> {
        let mut errors = Vec::new();
        for restore in self.context.restores.list() {
            if restore.spec.backup_name != backup {
                continue;
            }
            if let Some(location) = location
                && let Err(error) = restore::delete_records(location, &restore).await
            {
                errors.push(format!(
                    "restore `{}`: {}",
                    restore.metadata.name,
                    chain(&error)
                ));
                continue;
            }
            let kinds = self.context.kinds::<Restore>();
            restore::release(&kinds, &restore.metadata.name).await?;
            kinds.delete(&restore).await?;
        }
        Ok(errors)
    }

    /// Gives a request up, with reasons; the backup stays what its record says it is.
    async fn refuse(
        &self,
        request: &DeleteBackupRequest,
        errors: Vec<String>,
    ) -> Result<(), KindError> {
        let context = &self.context;
        let backup = context.kinds::<Backup>();
        let backup = match backup.get(&request.spec.backup_name).await {
            Ok(backup) => backup,
            // A name that is none.
            Err(_) if request.spec.backup_name.is_empty() => None,
            Err(error) => return Err(error),
        };
        if let Some(backup) = &backup
            && backup.status.phase == BackupPhase::Deleting
        {
            self.take_back(backup).await?;
        }
        let requests = context.kinds();
        let written = modify(
            &requests,
            &request.metadata.name,
            |request: &mut DeleteBackupRequest| {
                request.status.phase = DeleteBackupRequestPhase::Processed;
                request.status.errors.clone_from(&errors);
                if let Some(backup) = &backup {
                    request.metadata.labels.extend(labels_for(backup));
                }
                true
            },
        );
        let Some(written) = written.await? else {
            return Ok(());
        };
        context
            .metrics
            .counts()
            .deletion_ends(backup.as_ref(), false);
        let text = errors.join("; ");
        tracing::warn!(backup = %request.spec.backup_name, reason = %text, "not deleted");
        let events = &context.events;
        events.record(&written, EventType::Warning, "DeletionFailed", text.clone());
        if let Some(backup) = &backup {
            events.record(backup, EventType::Warning, "DeletionFailed", text);
        }
        Ok(())
    }

    /// Ends the phase `Deleting`, when the backup can be seen to be whole. If not, the sync of its location
    /// finds out later.
    async fn take_back(&self, backup: &Backup) -> Result<(), KindError> {
        let context = &self.context;
        let name = BackupName::new(backup.metadata.name.as_str());
        let location = context.location(&backup.spec.storage_location).await;
        let (Ok(name), Ok(location)) = (name, location) else {
            return Ok(());
        };
        match location.backup(&name).await {
            Ok(record) => reinstate(&context.kinds(), backup, &record.backup).await,
            Err(error) if error.is_not_found() && !backup.status.failure_reason.is_empty() => {
                // It failed, so it never was there.
                let backups = context.kinds();
                let written = modify(&backups, name.as_str(), |now: &mut Backup| {
                    let deleting = now.status.phase == BackupPhase::Deleting;
                    now.status.phase = BackupPhase::Failed;
                    deleting
                });
                written.await.map(drop)
            }
            Err(_) => Ok(()),
        }
    }
}

/// Asks the delete item actions, before any file goes; what stands in the way.
async fn ask_actions(context: &Context, location: &Location, name: &str) -> Vec<String> {
    let (cluster, namespace) = (&context.cluster, &context.options.namespace);
    let kind = ActionKind::DeleteItemAction;
    let found = extension::find(cluster, namespace, &context.options.actions, kind).await;
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![format!("find the item actions: {}", chain(&error))],
    };
    if !found.errors.is_empty() {
        return found.errors;
    }
    let Ok(name) = BackupName::new(name) else {
        // The deletion itself says what is wrong with it.
        return Vec::new();
    };
    let cancel = CancellationToken::new();
    match extension::before_deletion(location, &name, &found.actions, &cancel).await {
        Ok(errors) => errors,
        Err(error) => vec![format!("ask the item actions: {}", chain(&error))],
    }
}

/// Deletes the files of a backup; how the attempt ends when that is not possible.
async fn delete_files(
    location: &Location,
    name: &str,
    request: &DeleteBackupRequest,
) -> Option<End> {
    let name = match BackupName::new(name) {
        Ok(name) => name,
        Err(error) => return Some(End::Refused(vec![error.to_string()])),
    };
    let run = RunId::from(format!("deletion-{}", request.metadata.uid));
    match location.delete_backup(&name, &run).await {
        Ok(deleted) => {
            tracing::info!(backup = %name, objects = deleted.objects, "files are deleted");
            None
        }
        Err(error) if error.is_not_found() => None,
        Err(error @ salvor_location::Error::Busy { .. }) => Some(End::Busy(chain(&error))),
        Err(error) => Some(End::Refused(vec![chain(&error)])),
    }
}

fn labels_for(backup: &Backup) -> [(String, String); 2] {
    let metadata = &backup.metadata;
    [
        (
            labels::BACKUP_NAME.to_owned(),
            labels::label_value(&metadata.name),
        ),
        (labels::BACKUP_UID.to_owned(), metadata.uid.clone()),
    ]
}

/// The request to delete a backup. Its name is made of the backup's, so that asking twice asks once.
pub(crate) fn request_for(namespace: &str, backup: &Backup) -> DeleteBackupRequest {
    let metadata = &backup.metadata;
    let digest = Sha256::digest(format!("{}\0{}", metadata.name, metadata.uid).as_bytes());
    let suffix: String = digest[..5]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Names are ASCII and at most 253 characters long; a cut one must not end in a dot.
    let head: String = metadata.name.chars().take(240).collect();
    let name = format!("{}-{suffix}", head.trim_end_matches(['.', '-']));
    let mut request = DeleteBackupRequest::named(namespace, &name);
    request.spec.backup_name.clone_from(&metadata.name);
    request.metadata.labels.extend(labels_for(backup));
    request
}
