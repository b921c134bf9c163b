//! Sync: the cluster follows its locations. What a location holds gets an object here, and the object of a
//! backup that is gone from its location goes too.
//!
//! Nothing is removed because of one listing: the next one must agree, a look at the backup itself as well, and
//! when much would go at once somebody has to confirm it. Nothing is written while nothing changes, but the
//! time of the sync, once a period.

mod import;
mod remove;
mod verdicts;
mod volumes;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use salvor_api::labels;
use salvor_api::meta::OwnerReference;
use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase, BackupStorageLocation, LocationPhase};
use salvor_cluster::ErrorKind;
use salvor_location::{BackupRecord, Location};
use tokio::time::Instant;

use self::import::{Place, imported};
pub(crate) use self::remove::reinstate;
use self::volumes::Recorded;
use crate::backup::modify;
use crate::context::{Context, chain};
use crate::control::{Next, Reconcile};
use crate::events::EventType;
use crate::kinds::KindError;
use crate::locations::LocationError;

/// Annotation of a location: digest of the removal that may be carried out although it takes more than the
/// guard lets through. The message of the stopped sync states it.
pub const CONFIRM_SYNC: &str = "salvor.dev/confirm-sync";
/// Records that are read at once.
const PARALLELISM: usize = 8;

/// Why syncs were stopped, by location. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stops(Arc<Mutex<HashMap<String, String>>>);

impl Stops {
    pub(crate) fn get(&self, location: &str) -> Option<String> {
        self.lock().get(location).cloned()
    }

    fn set(&self, location: &str, stop: Option<String>) {
        match stop {
            Some(stop) => self.lock().insert(location.to_owned(), stop),
            None => self.lock().remove(location),
        };
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Sync {
    context: Context,
    seen: Mutex<HashMap<String, Seen>>,
}

/// What earlier syncs of a location saw. Losing it costs another listing.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// UIDs of the backups that the last listing lacked.
    missing: BTreeSet<String>,
    /// When to list once more because of them.
    confirm_at: Option<Instant>,
    /// What was told already, by what it is about.
    told: HashMap<String, String>,
}

/// Why a sync failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    #[error(transparent)]
    Kind(#[from] KindError),
    #[error("open location `{name}`")]
    Open {
        name: String,
        #[source]
        source: LocationError,
    },
    #[error("follow location `{name}`")]
    Location {
        name: String,
        #[source]
        source: salvor_location::Error,
    },
}

impl Reconcile for Sync {
    const NAME: &'static str = "backup-sync";
    type Error = SyncError;

    async fn reconcile(&self, name: &str) -> Result<Next, SyncError> {
        let context = &self.context;
        let Some(object) = context.storage_locations.get(name) else {
            self.lock().remove(name);
            context.stops.set(name, None);
            return Ok(Next::Wait);
        };
        let every = context.sync_period(&object);
        if every.is_zero() {
            return Ok(Next::Wait);
        }
        if object.status.phase != LocationPhase::Available {
            // Listings before and after do not speak about the same store. Its change brings a turn.
            self.see(name, |seen| {
                seen.missing.clear();
                seen.confirm_at = None;
            });
            return Ok(Next::Wait);
        }
        let due = self.due(&object, every);
        if !due.is_zero() {
            return Ok(Next::After(due));
        }
        if context.paused().await {
            return Ok(Next::After(context.options.pause_look));
        }
        let synced = self.sync(&object).await;
        let failure = synced
            .as_ref()
            .err()
            .filter(|error| !Self::is_ordinary(error));
        let failure = failure.map(|error| chain(error)).unwrap_or_default();
        self.tell_once(&object, "", &failure);
        synced?;
        self.note(&object).await?;
        Ok(Next::After(self.due_after(name, every)))
    }

    fn is_ordinary(error: &SyncError) -> bool {
        matches!(error, SyncError::Kind(error) if error.is_stale())
    }
}

impl Sync {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            seen: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see<T>(&self, name: &str, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(self.lock().entry(name.to_owned()).or_default())
    }

    /// How long until the next sync of a location.
    fn due(&self, object: &BackupStorageLocation, every: Duration) -> Duration {
        let regular = match object.status.last_synced_time {
            None => Duration::ZERO,
            Some(last) => {
                let elapsed = self.context.now().seconds_since(last).max(0);
                every.saturating_sub(Duration::from_secs(elapsed.unsigned_abs()))
            }
        };
        self.due_after(&object.metadata.name, regular)
    }

    fn due_after(&self, name: &str, regular: Duration) -> Duration {
        let confirm = self.see(name, |seen| seen.confirm_at);
        let confirm = confirm.map(|at| at.saturating_duration_since(Instant::now()));
        confirm.map_or(regular, |confirm| confirm.min(regular))
    }

    /// Tells of a problem by an event, until it is another one. The empty text means that there is none.
    fn tell_once(&self, object: &BackupStorageLocation, about: &str, problem: &str) {
        let name = &object.metadata.name;
        let is_news = self.see(name, |seen| {
            if problem.is_empty() {
                seen.told.remove(about);
                return false;
            }
            let before = seen.told.insert(about.to_owned(), problem.to_owned());
            before.as_deref() != Some(problem)
        });
        if is_news {
            let text = match about {
                "" => problem.to_owned(),
                about => format!("backup `{about}`: {problem}"),
            };
            tracing::warn!(location = %name, problem = %text, "sync");
            let events = &self.context.events;
            events.record(object, EventType::Warning, "SyncProblem", text);
        }
    }

    async fn sync(&self, object: &BackupStorageLocation) -> Result<(), SyncError> {
        let name = &object.metadata.name;
        let opened = self.context.locations.open(object).await;
        let location = opened.map_err(|source| SyncError::Open {
            name: name.clone(),
            source,
        })?;
        let failed = |source| SyncError::Location {
            name: name.clone(),
            source,
        };
        // The cluster before the store: what is committed meanwhile is then only found too much, never too
        // little.
        let known = self.context.backups.list();
        let folders: BTreeSet<String> = location
            .backup_folders()
            .await
            .map_err(failed)?
            .into_iter()
            .collect();
        let imported = self.import(object, &location, &folders).await;
        self.finish_volumes(object, &location, &known).await?;
        self.mirror_holds(object, &location, &known).await?;
        let verdicts = location.verdicts().await.map_err(failed)?;
        self.mirror_verdicts(object, &verdicts, &known).await?;
        self.context.verdicts.set(name, verdicts);
        self.settle_deletions(object, &location, &known).await?;
        self.remove(object, &location, &known, &folders).await?;
        imported
    }

    /// Creates the objects of backups that are new here. One that cannot be read or created does not keep the
    /// others away.
    async fn import(
        &self,
        object: &BackupStorageLocation,
        location: &Location,
        folders: &BTreeSet<String>,
    ) -> Result<(), SyncError> {
        let backups = &self.context.backups;
        let new: Vec<String> = folders
            .iter()
            .filter(|name| backups.get(name).is_none())
            .cloned()
            .collect();
        let mut records = stream::iter(new)
            .map(|name| {
                let location = location.clone();
                async move {
                    let record = read_with_volumes(&location, &name).await;
                    (name, record)
                }
            })
            .buffer_unordered(PARALLELISM);
        let mut first_error = None;
        while let Some((name, record)) = records.next().await {
            let problem = match record {
                Ok(Some((record, volumes))) => match self.create(object, &record, &volumes).await {
                    Ok(problem) => problem,
                    Err(error) => {
                        first_error.get_or_insert(SyncError::Kind(error));
                        continue;
                    }
                },
                Ok(None) => String::new(),
                Err(source) if source.is_retryable() => {
                    first_error.get_or_insert(SyncError::Location {
                        name: object.metadata.name.clone(),
                        source,
                    });
                    continue;
                }
                Err(error) => chain(&error),
            };
            self.tell_once(object, &name, &problem);
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Creates the object of a recorded backup; what is wrong with it, if anything.
    async fn create(
        &self,
        object: &BackupStorageLocation,
        record: &BackupRecord,
        volumes: &Recorded,
    ) -> Result<String, KindError> {
        let context = &self.context;
        let has_schedule = |owner: &OwnerReference| {
            let schedule = context.schedules.get(&owner.name);
            schedule.is_some_and(|schedule| schedule.metadata.uid == owner.uid)
        };
        let place = Place {
            namespace: &context.options.namespace,
            location: &object.metadata.name,
            now: context.now(),
            has_schedule: &has_schedule,
        };
        let Some(mut backup) = imported(record, &place) else {
            return Ok(String::new());
        };
        if !volumes.is_empty() {
            let annotations = &mut backup.metadata.annotations;
            annotations.insert(volumes::PENDING.to_owned(), "true".to_owned());
        }
        match context.kinds().create(&backup).await {
            Ok(stored) => {
                let text = format!("found in location `{}`", object.metadata.name);
                tracing::info!(backup = %record.name, location = %object.metadata.name, "imported");
                let events = &context.events;
                events.record(&stored, EventType::Normal, "Imported", text);
                if volumes.is_empty() {
                    return Ok(volumes.problem.clone());
                }
                self.create_volumes(&stored, volumes).await
            }
            // Made since we looked, by ourselves before we died or by somebody else.
            Err(error) if error.already_exists() => Ok(String::new()),
            Err(error) if is_refusal(&error) => Ok(chain(&error)),
            Err(error) => Err(error),
        }
    }

    /// Makes the annotation and the records of holds say the same. The records decide; an annotation that no
    /// record has ever backed is somebody's wish, and becomes a record first.
    async fn mirror_holds(
        &self,
        object: &BackupStorageLocation,
        location: &Location,
        known: &[Arc<Backup>],
    ) -> Result<(), SyncError> {
        let name = &object.metadata.name;
        let holds = location.holds().await;
        let holds = holds.map_err(|source| SyncError::Location {
            name: name.clone(),
            source,
        })?;
        for backup in known.iter().filter(|b| b.spec.storage_location == *name) {
            let said = backup.metadata.annotations.get(labels::HOLD);
            let held = holds.get(&backup.metadata.name);
            let recorded: Vec<&str> = held.iter().flat_map(|held| held.reasons()).collect();
            let wanted = (!recorded.is_empty()).then(|| recorded.join("; "));
            if said == wanted.as_ref() {
                continue;
            }
            let released = |text: &String| {
                held.is_some_and(|held| held.released.iter().any(|hold| hold.reason == *text))
            };
            if let (Some(text), None) = (said, &wanted)
                && !released(text)
            {
                let problem = hold(location, backup, text).await;
                self.tell_once(object, &backup.metadata.name, &problem);
                continue;
            }
            let mut after = (**backup).clone();
            let annotations = &mut after.metadata.annotations;
            match wanted {
                Some(text) => annotations.insert(labels::HOLD.to_owned(), text),
                None => annotations.remove(labels::HOLD),
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

    /// Writes when the location was followed, and what keeps it from being followed whole.
    async fn note(&self, object: &BackupStorageLocation) -> Result<(), KindError> {
        let now = self.context.now();
        let stop = self.context.stops.get(&object.metadata.name);
        let stop = stop.unwrap_or_default();
        modify(
            &self.context.kinds(),
            &object.metadata.name,
            |object: &mut BackupStorageLocation| {
                let before = object.clone();
                object.status.last_synced_time = Some(now);
                if object.status.phase == LocationPhase::Available {
                    object.status.message.clone_from(&stop);
                }
                *object != before
            },
        )
        .await
        .map(drop)
    }
}

/// Reads a record and what is recorded of volumes.
async fn read_with_volumes(
    location: &Location,
    name: &str,
) -> Result<Option<(BackupRecord, Recorded)>, salvor_location::Error> {
    match read(location, name).await? {
        None => Ok(None),
        Some(record) => {
            let recorded = volumes::read(location, &record.name).await?;
            Ok(Some((record, recorded)))
        }
    }
}

/// Reads a record; `None` when there is none under the name.
async fn read(
    location: &Location,
    name: &str,
) -> Result<Option<BackupRecord>, salvor_location::Error> {
    let Ok(name) = BackupName::new(name) else {
        // No backup can have this name; whose folder it is, is not for us to say.
        return Ok(None);
    };
    match location.backup(&name).await {
        Ok(record) => Ok(Some(record)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Records a hold that somebody asked for by annotation; what is wrong with it, if anything.
async fn hold(location: &Location, backup: &Backup, reason: &str) -> String {
    let Ok(name) = BackupName::new(backup.metadata.name.as_str()) else {
        return String::new();
    };
    if !matches!(
        backup.status.phase,
        BackupPhase::Completed | BackupPhase::PartiallyFailed
    ) {
        return String::new();
    }
    match location.hold(&name, reason, "annotation").await {
        Ok(_) => String::new(),
        Err(error) => format!(
            "it is not held, although its annotation says so: {}",
            chain(&error)
        ),
    }
}

/// True when the API server says that the object itself is wrong.
fn is_refusal(error: &KindError) -> bool {
    use ErrorKind::{BadRequest, Invalid, TooLarge, WebhookDenied};
    let KindError::Cluster { source, .. } = error else {
        return true;
    };
    matches!(
        source.kind(),
        Invalid | BadRequest | TooLarge | WebhookDenied
    )
}
