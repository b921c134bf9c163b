//! Maintenance of a repository, every so often: snapshots of backups that are gone, space that nobody needs, and a share
//! of the data that is read. What it did is written into the object's status.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::{
    AccessMode, BackupPhase, BackupRepository, BackupRepositoryPhase, DataPhase, MaintenanceResult,
    MaintenanceRun, PodVolumeBackup,
};
use salvor_location::Location;
use salvor_repository::check::Share;
use salvor_repository::lock::Holder;
use salvor_repository::{Error, FileId, Files, Progress, Repository};
use salvor_volume::Domain;
use tokio_util::task::TaskTracker;

use super::connect::{ConnectError, blocking, open};
use super::notes::Notes;
use super::orphans::{Incomplete, Look, Sight, Tagged, look};
use super::work::{self, Done, Order, StopOnDrop};
use super::{DAMAGED, domain_of, files_of};
use crate::context::{Context, Unusable, chain};
use crate::control::{Next, Reconcile};
use crate::events::EventType;
use crate::kinds::KindError;

/// Runs that the object remembers, as Velero's does.
const REMEMBERED: usize = 3;

pub(super) struct Maintenance {
    pub(super) context: Context,
    pub(super) tasks: TaskTracker,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
enum MaintainError {
    #[error(transparent)]
    Location(#[from] Unusable),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("look which backups are there")]
    Look(#[source] salvor_location::Error),
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    #[error("look which volumes were backed up")]
    Kinds(#[source] KindError),
    #[error("read the snapshots")]
    Snapshots(#[source] Error),
    #[error("maintain the repository")]
    Work(#[source] Error),
}

impl Reconcile for Maintenance {
    const NAME: &'static str = "repository-maintenance";
    type Error = KindError;

    async fn reconcile(&self, name: &str) -> Result<Next, KindError> {
        let context = &self.context;
        let Some(object) = context.repositories.get(name) else {
            return Ok(Next::Wait);
        };
        let Some(domain) = domain_of(&object) else {
            return Ok(Next::Wait);
        };
        if object.status.phase != BackupRepositoryPhase::Ready {
            return Ok(Next::Wait);
        }
        let every = match object.spec.maintenance_frequency.0 {
            Duration::ZERO => context.options.upkeep.every,
            given => given,
        };
        if every.is_zero() {
            return Ok(Next::Wait);
        }
        let pause = until_due(&object, every, context.now().timestamp());
        if !pause.is_zero() {
            return Ok(Next::After(pause));
        }
        let location = &object.spec.backup_storage_location;
        let location = context.storage_locations.get(location);
        if location.is_none_or(|location| location.spec.access_mode == AccessMode::ReadOnly) {
            return Ok(Next::After(every));
        }
        if context.paused().await {
            return Ok(Next::After(context.options.pause_look));
        }
        self.run(&object, &domain).await?;
        Ok(Next::After(every))
    }

    fn is_ordinary(error: &KindError) -> bool {
        error.is_stale()
    }
}

/// How long until the next run: counted from the beginning of the last one, or from when the object was made.
fn until_due(object: &BackupRepository, every: Duration, now: Timestamp) -> Duration {
    let last = object.status.recent_maintenance.last();
    let from = last.and_then(|run| run.start_timestamp);
    let Some(from) = from.or(object.metadata.creation_timestamp) else {
        return Duration::ZERO;
    };
    let since = now.duration_since(from.timestamp());
    let since = Duration::try_from(since).unwrap_or_default();
    every.saturating_sub(since)
}

impl Maintenance {
    async fn run(&self, object: &BackupRepository, domain: &Domain) -> Result<(), KindError> {
        let context = &self.context;
        let begun = context.now();
        let mut notes = Notes::of(object);
        let result = self.maintain(object, domain, &mut notes).await;
        let location = &object.spec.backup_storage_location;
        context
            .metrics
            .repositories()
            .maintained(location, result.is_ok());
        let mut after = object.clone();
        notes.write(&mut after);
        let mut run = MaintenanceRun {
            result: MaintenanceResult::Succeeded,
            start_timestamp: Some(begun),
            complete_timestamp: Some(context.now()),
            message: String::new(),
        };
        match &result {
            Ok(done) => {
                after.status.last_maintenance_time = run.complete_timestamp;
                show_damage(&mut after, done);
            }
            Err(error) => {
                run.result = MaintenanceResult::Failed;
                run.message = chain(error);
            }
        }
        let runs = &mut after.status.recent_maintenance;
        runs.push(run);
        let too_many = runs.len().saturating_sub(REMEMBERED);
        runs.drain(..too_many);
        let stored = context.kinds().update(object, &after).await?;
        self.tell(&stored, &result);
        Ok(())
    }

    fn tell(&self, object: &BackupRepository, result: &Result<Done, MaintainError>) {
        let events = &self.context.events;
        match result {
            Ok(done) => {
                if done.forgotten > 0 {
                    let text = format!(
                        "{} snapshots of backups that are gone were removed",
                        done.forgotten
                    );
                    events.record(object, EventType::Normal, "SnapshotsRemoved", text);
                }
                if done.swept_packs > 0 {
                    let text = format!(
                        "{} packs that nobody needs were removed, {} bytes",
                        done.swept_packs, done.swept_bytes
                    );
                    events.record(object, EventType::Normal, "SpaceGivenBack", text);
                }
                if done.mended_packs > 0 {
                    let text = format!(
                        "{} packs were damaged or lost and came from a copy in another location, {} bytes",
                        done.mended_packs, done.mended_bytes
                    );
                    tracing::warn!(repository = object.metadata.name, "{text}");
                    events.record(object, EventType::Warning, "RepositoryMended", text);
                }
                if let Some(why) = &done.not_retained {
                    let text = format!(
                        "the retention of what is still needed could not be extended: {why}"
                    );
                    tracing::warn!(repository = object.metadata.name, "{text}");
                    events.record(object, EventType::Warning, "RetentionNotExtended", text);
                }
                if !done.findings.is_empty() {
                    let text = format!("stored data is damaged: {}", done.findings.join("; "));
                    tracing::error!(repository = object.metadata.name, "{text}");
                    events.record(object, EventType::Warning, "RepositoryDamaged", text);
                }
            }
            Err(error) => {
                let text = chain(error);
                tracing::warn!(
                    repository = object.metadata.name,
                    error = text,
                    "maintenance failed"
                );
                events.record(object, EventType::Warning, "MaintenanceFailed", text);
            }
        }
    }

    async fn maintain(
        &self,
        object: &BackupRepository,
        domain: &Domain,
        notes: &mut Notes,
    ) -> Result<Done, MaintainError> {
        let context = &self.context;
        let upkeep = &context.options.upkeep;
        let name = &object.spec.backup_storage_location;
        let location = context.location(name).await?;
        let repository = open(context, &self.tasks, &location, domain).await?;
        let snapshots = self.snapshots(&repository).await?;
        let now = context.now().timestamp();
        let sight = self.sight(name, &location).await?;
        let seen = look(&snapshots, &sight, &notes.gone, now, upkeep.orphan_grace)?;
        let forget = confirmed(&location, &seen).await?;
        let known = self.known(object, domain, &seen).await?;
        let is_due = |last: Option<Timestamp>, every: Duration| {
            let every = SignedDuration::try_from(every).unwrap_or(SignedDuration::MAX);
            last.is_none_or(|last| now.duration_since(last) >= every)
        };
        let share = Share {
            part: notes.part,
            of: upkeep.scrub_parts.max(1),
        };
        let scrub = !upkeep.scrub_every.is_zero() && is_due(notes.scrubbed, upkeep.scrub_every);
        let order = Order {
            forget,
            known,
            mark: is_due(notes.marked, upkeep.prune_every),
            grace: SignedDuration::try_from(upkeep.prune_grace).unwrap_or(SignedDuration::MAX),
            retain: is_due(notes.retained, upkeep.prune_every).then_some(notes.retained),
            scrub: scrub.then_some(share),
            copies: match scrub {
                true => self.copies(name, domain).await,
                false => Vec::new(),
            },
            holder: Holder {
                hostname: context.options.identity.clone(),
                username: "salvor".to_owned(),
            },
        };
        // What was seen is remembered also when the work fails.
        notes.gone = seen.gone;
        let done = self.work(repository, order).await?;
        if done.marked {
            notes.marked = Some(now);
        }
        if done.retained {
            notes.retained = Some(now);
        }
        if done.scrubbed {
            notes.scrubbed = Some(now);
            notes.part = (share.part + 1) % share.of;
        }
        Ok(done)
    }

    /// The same domain of all other locations that can be used; whether that is a copy shows when it is needed.
    async fn copies(&self, location: &str, domain: &Domain) -> Vec<Files> {
        let mut copies = Vec::new();
        for other in self.context.storage_locations.list() {
            let name = &other.metadata.name;
            if name == location {
                continue;
            }
            match self.context.location(name).await {
                Ok(other) => copies.push(files_of(&other, domain)),
                Err(error) => {
                    tracing::debug!(%error, location = name, "it is not looked at for copies");
                }
            }
        }
        copies
    }

    async fn work(&self, repository: Arc<Repository>, order: Order) -> Result<Done, MaintainError> {
        let progress = Arc::new(Progress::new());
        let _stop = StopOnDrop(Arc::clone(&progress));
        let done = blocking(&self.tasks, move || {
            work::run(&repository, &order, &progress)
        });
        done.await?.map_err(MaintainError::Work)
    }

    async fn snapshots(&self, repository: &Arc<Repository>) -> Result<Vec<Tagged>, MaintainError> {
        let repository = Arc::clone(repository);
        let all = blocking(&self.tasks, move || repository.snapshots_that_read()).await?;
        let all = all.map_err(MaintainError::Snapshots)?;
        Ok(all
            .iter()
            .filter_map(|(id, snapshot)| Tagged::of(*id, snapshot))
            .collect())
    }

    /// What the location and the cluster say of the backups.
    async fn sight(&self, name: &str, location: &Location) -> Result<Sight, MaintainError> {
        // Before the listing: what is committed after this is in it.
        let objects = self.context.backups.list();
        let here = objects
            .iter()
            .filter(|backup| backup.spec.storage_location == name);
        let mut sight = Sight::default();
        for backup in here {
            let name = backup.metadata.name.clone();
            let is_committed = matches!(
                backup.status.phase,
                BackupPhase::Completed | BackupPhase::PartiallyFailed
            );
            if is_committed && backup.metadata.deletion_timestamp.is_none() {
                sight.committed.insert(name.clone());
            }
            sight.objects.insert(name);
        }
        // A location that cannot be read must not look like an empty one.
        location
            .assert_readable()
            .await
            .map_err(MaintainError::Look)?;
        let folders = location.backup_folders().await;
        sight.folders = folders.map_err(MaintainError::Look)?.into_iter().collect();
        Ok(sight)
    }

    /// Snapshots that PodVolumeBackups name: a witness that does not depend on listings of the store.
    async fn known(
        &self,
        object: &BackupRepository,
        domain: &Domain,
        seen: &Look,
    ) -> Result<Vec<FileId>, MaintainError> {
        let kinds = self.context.kinds::<PodVolumeBackup>();
        let volumes = kinds.list(None).await.map_err(MaintainError::Kinds)?;
        let gone: BTreeSet<String> = seen
            .gone
            .keys()
            .map(|name| labels::label_value(name))
            .collect();
        let is_ours = |volume: &&PodVolumeBackup| {
            volume.spec.backup_storage_location == object.spec.backup_storage_location
                && volume.spec.repo_identifier == domain.folder()
                && volume.status.phase == DataPhase::Completed
                && volume
                    .metadata
                    .labels
                    .get(labels::BACKUP_NAME)
                    .is_some_and(|backup| !gone.contains(backup))
        };
        let ours = volumes.iter().filter(is_ours);
        // Those of Velero's are shorter and in other repositories.
        Ok(ours
            .filter_map(|volume| volume.status.snapshot_id.parse().ok())
            .collect())
    }
}

/// Snapshots of backups that are gone for long enough, each asked for once more by its name: a listing alone decides
/// nothing.
async fn confirmed(location: &Location, seen: &Look) -> Result<Vec<FileId>, MaintainError> {
    if seen.due.is_empty() {
        return Ok(Vec::new());
    }
    let again = location
        .backup_folders()
        .await
        .map_err(MaintainError::Look)?;
    let again: BTreeSet<String> = again.into_iter().collect();
    let mut gone = Vec::new();
    for (name, snapshots) in &seen.due {
        if again.contains(name) {
            continue;
        }
        // What could not be the name of a backup was never one of ours.
        let Ok(name) = BackupName::new(name.clone()) else {
            continue;
        };
        match location.backup(&name).await {
            Err(error) if error.is_not_found() => gone.extend(snapshots),
            Ok(_) => {}
            Err(error) => return Err(MaintainError::Look(error)),
        }
    }
    Ok(gone)
}

/// Shows on the object what is known to be damaged.
fn show_damage(object: &mut BackupRepository, done: &Done) {
    let annotations = &mut object.metadata.annotations;
    if done.damaged == 0 {
        annotations.remove(DAMAGED);
        object.status.message.clear();
        return;
    }
    annotations.insert(DAMAGED.to_owned(), done.damaged.to_string());
    object.status.message = format!(
        "{} snapshots lack data: look with `salvor repo check --depth data`, mend with `salvor repo repair`",
        done.damaged
    );
}
