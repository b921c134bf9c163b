//! Garbage collection: what is expired, or what the policy of its schedule does not keep, gets a request for its
//! deletion. What goes is decided by [`salvor_api::retention`]; here the plan is made and carried out.
//!
//! A pass looks at the copy of the objects only. The store is asked when something would go, for the holds.

mod archive;
mod copies;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use salvor_api::labels;
use salvor_api::retention::{Inventory, RetentionPlan, Scope, SeriesPlan, group};
use salvor_api::velero::{
    AccessMode, Backup, BackupStorageLocation, DeleteBackupRequest, DeleteBackupRequestPhase,
    LocationPhase, Restore, Schedule,
};
use salvor_location::Holds;
use salvor_location::verified::Verdicts;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::{Context, chain, cluster_uid};
use crate::control::{self, Next, Reconcile};
use crate::deletion::request_for;
use crate::events::EventType;
use crate::kinds::KindError;
use crate::queue::Queue;

/// The turn that looks at everything; no object has this name.
const ALL: &str = "";
/// Pause before a pass that a backup brought about: backups that end, or are imported, together need one.
const GATHER: Duration = Duration::from_millis(500);

/// Pause before another look at a location that was never followed whole.
const NOT_YET: Duration = Duration::from_secs(2);

/// Begins to collect.
pub(crate) fn start(context: &Context, tasks: &TaskTracker, cancel: &CancellationToken) {
    if context.options.collect_every.is_zero() {
        return;
    }
    let queue = Arc::new(Queue::default());
    let collector = Arc::new(Collector {
        context: context.clone(),
        queue: Arc::clone(&queue),
        own_cluster: OnceCell::new(),
    });
    queue.add(ALL);
    control::feed(&context.backups, &queue, tasks, cancel);
    control::work(collector, &queue, 1, tasks, cancel);
}

struct Collector {
    context: Context,
    queue: Arc<Queue>,
    own_cluster: OnceCell<String>,
}

impl Reconcile for Collector {
    const NAME: &'static str = "garbage-collection";
    type Error = KindError;

    async fn reconcile(&self, name: &str) -> Result<Next, KindError> {
        let context = &self.context;
        if name != ALL {
            // After each backup of a schedule; those made by hand only have their time.
            let ended = context.backups.get(name).filter(|backup| {
                backup.status.phase.is_final()
                    && backup.metadata.labels.contains_key(labels::SCHEDULE_NAME)
            });
            if ended.is_some() {
                self.queue.add_after(ALL, GATHER);
            }
            return Ok(Next::Wait);
        }
        if context.paused().await {
            return Ok(Next::After(context.options.pause_look));
        }
        let mut by_location: BTreeMap<String, Vec<Arc<Backup>>> = BTreeMap::new();
        for backup in context.backups.list() {
            let storage = backup.spec.storage_location.clone();
            by_location.entry(storage).or_default().push(backup);
        }
        let mut next = context.options.collect_every;
        for (location, backups) in by_location {
            if !self.collect(&location, &backups).await? {
                next = next.min(NOT_YET);
            }
        }
        for location in context.storage_locations.list() {
            self.collect_copies(&location.metadata.name).await?;
        }
        Ok(Next::After(next))
    }

    fn is_ordinary(error: &KindError) -> bool {
        error.is_stale()
    }
}

impl Collector {
    /// Collects in one location; false when it is too early for that.
    async fn collect(&self, name: &str, backups: &[Arc<Backup>]) -> Result<bool, KindError> {
        let context = &self.context;
        let plan = self.plan(name, backups, &Kept::default()).await;
        let wanted: Vec<&str> = plan.series.iter().flat_map(SeriesPlan::removed).collect();
        let counts = context.metrics.counts();
        if wanted.is_empty() && plan.to_archive().next().is_none() {
            counts.retention(name, 0, false);
            return Ok(true);
        }
        let (object, kept) = match self.usable(name).await {
            Ok(usable) => usable,
            Err(why) => {
                for backup in named(backups, &wanted) {
                    self.mark(backup, Some(why)).await?;
                }
                return Ok(true);
            }
        };
        if object.status.last_synced_time.is_none() && !context.sync_period(&object).is_zero() {
            // What is imported one by one must not be judged one by one: a policy and the guard count.
            return Ok(false);
        }
        let plan = self.plan(name, backups, &kept).await;
        let confirmed = object.metadata.annotations.get(labels::CONFIRM_RETENTION);
        match plan.to_remove(confirmed.map(String::as_str)) {
            Ok(names) => {
                counts.retention(name, names.len(), false);
                for backup in named(backups, &names) {
                    self.ask(backup).await?;
                }
                archive::carry_out(context, name, &plan, backups).await;
            }
            Err(stop) => {
                let planned = plan.series.iter().flat_map(SeriesPlan::removed).count();
                counts.retention(name, planned, true);
                let text = format!(
                    "{stop}; nothing is deleted until somebody has looked: if that is right, annotate the \
                     location with {}={}",
                    labels::CONFIRM_RETENTION,
                    plan.digest()
                );
                tracing::error!(location = name, "{text}");
                let events = &context.events;
                events.record(&*object, EventType::Warning, "CollectionStopped", text);
            }
        }
        Ok(true)
    }

    async fn plan(&self, location: &str, backups: &[Arc<Backup>], kept: &Kept) -> RetentionPlan {
        let context = &self.context;
        // An error is asked again.
        let own_cluster = self
            .own_cluster
            .get_or_try_init(|| cluster_uid(&context.cluster));
        let own_cluster = own_cluster.await.map_or("", String::as_str);
        let backups: Vec<Backup> = backups.iter().map(|backup| (**backup).clone()).collect();
        let schedules = context.schedules.list();
        let restores = context.restores.list();
        let reads = |restore: &&Arc<Restore>| restore.status.phase.is_under_way();
        let used_by = restores.iter().filter(reads).map(|restore| {
            let text = format!("restore {}", restore.metadata.name);
            (restore.spec.backup_name.clone(), text)
        });
        let (series, unreadable) = group(&Inventory {
            location,
            cluster: own_cluster,
            backups: &backups,
            schedules: &schedules.iter().map(|s| (**s).clone()).collect::<Vec<_>>(),
            verified: &chosen(&backups, |backup| kept.verdicts.is_sound(backup)),
            damaged: &chosen(&backups, |backup| kept.verdicts.is_damaged(backup)),
            holds: &all_holds(&backups, &kept.holds),
            used_by: &used_by.collect(),
        });
        for unreadable in unreadable {
            let of = |schedule: &&Arc<Schedule>| {
                labels::label_value(&schedule.metadata.name) == unreadable.series
            };
            let text = chain(&unreadable);
            tracing::warn!(location, "{text}");
            if let Some(schedule) = schedules.iter().find(of) {
                let events = &context.events;
                events.record(&**schedule, EventType::Warning, "InvalidRetention", text);
            }
        }
        let scope = Scope {
            location: location.to_owned(),
            now: context.now(),
            store_clock: None,
            guard: context.options.guard,
        };
        RetentionPlan::new(&scope, series)
    }

    /// The location, when backups can be deleted there, and what its records say; else the value of the label that says
    /// why not.
    async fn usable(&self, name: &str) -> Result<(Arc<BackupStorageLocation>, Kept), &'static str> {
        let context = &self.context;
        let object = context.storage_locations.get(name).ok_or("BSLNotFound")?;
        if object.spec.access_mode == AccessMode::ReadOnly {
            return Err("BSLReadOnly");
        }
        if object.status.phase == LocationPhase::Unavailable {
            return Err("BSLUnavailable");
        }
        let unreachable = |reason: String| {
            tracing::warn!(
                location = name,
                reason,
                "its holds and verifications cannot be read: nothing is collected"
            );
            "BSLCannotGet"
        };
        let location = context.locations.open(&object).await;
        let location = location.map_err(|error| unreachable(chain(&error)))?;
        let kept = async {
            Ok::<_, salvor_location::Error>(Kept {
                holds: location.holds().await?,
                verdicts: location.verdicts().await?,
            })
        };
        let kept = kept.await.map_err(|error| unreachable(chain(&error)))?;
        Ok((object, kept))
    }

    /// Labels a backup with what keeps it from being collected.
    async fn mark(&self, backup: &Backup, why: Option<&str>) -> Result<(), KindError> {
        let mut after = backup.clone();
        let marks = &mut after.metadata.labels;
        match why {
            Some(why) => marks.insert(labels::GC_FAILURE.to_owned(), why.to_owned()),
            None => marks.remove(labels::GC_FAILURE),
        };
        match self.context.kinds().update(backup, &after).await {
            Ok(_) => Ok(()),
            // The next pass sees it as it is then.
            Err(error) if error.is_stale() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Asks for the deletion of a backup, unless that is asked for already. A request that failed is made again
    /// when the time of another pass has come.
    async fn ask(&self, backup: &Backup) -> Result<(), KindError> {
        let context = &self.context;
        let kinds = context.kinds::<DeleteBackupRequest>();
        let now = context.now();
        for request in context.delete_requests.list() {
            if request.spec.backup_name != backup.metadata.name {
                continue;
            }
            let made = request.metadata.creation_timestamp;
            let age = made.map_or(0, |made| now.seconds_since(made).max(0));
            let recent = Duration::from_secs(age.unsigned_abs()) < context.options.collect_every;
            if request.status.phase != DeleteBackupRequestPhase::Processed || recent {
                return Ok(());
            }
            kinds.delete(&request).await?;
        }
        self.mark(backup, None).await?;
        let mut request = request_for(&context.options.namespace, backup);
        context.authorizer.sign(&mut request).await;
        match kinds.create(&request).await {
            Ok(_) => {
                tracing::info!(backup = %backup.metadata.name, "its time is over");
                context.metrics.counts().retention_removed(backup);
                let text =
                    "its time is over, or its policy does not keep it: its deletion is asked for";
                context
                    .events
                    .record(backup, EventType::Normal, "Collected", text);
                Ok(())
            }
            Err(error) if error.already_exists() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What the records of a location say about keeping its backups.
#[derive(Default)]
struct Kept {
    holds: BTreeMap<String, Holds>,
    verdicts: Verdicts,
}

fn chosen(backups: &[Backup], chosen: impl Fn(&Backup) -> bool) -> BTreeSet<String> {
    let chosen = backups.iter().filter(|backup| chosen(backup));
    chosen.map(|backup| backup.metadata.name.clone()).collect()
}

/// Reasons why backups are held, by their names: those on record, else what an annotation asks for.
fn all_holds(
    backups: &[Backup],
    recorded: &BTreeMap<String, Holds>,
) -> BTreeMap<String, Vec<String>> {
    let mut holds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for backup in backups {
        let name = &backup.metadata.name;
        let known = recorded.get(name).into_iter().flat_map(Holds::reasons);
        let mut reasons: Vec<String> = known.map(str::to_owned).collect();
        if reasons.is_empty() {
            reasons.extend(backup.metadata.annotations.get(labels::HOLD).cloned());
        }
        if !reasons.is_empty() {
            holds.insert(name.clone(), reasons);
        }
    }
    holds
}

fn named<'a>(backups: &'a [Arc<Backup>], names: &[&str]) -> Vec<&'a Backup> {
    let named = |backup: &&Arc<Backup>| names.contains(&backup.metadata.name.as_str());
    backups
        .iter()
        .filter(named)
        .map(|backup| &**backup)
        .collect()
}
