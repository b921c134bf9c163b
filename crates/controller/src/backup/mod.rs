//! Backups: they wait for their turn, are made, and are settled when a server ended in the middle of one.
//!
//! ```text
//! New -> Queued -> ReadyToStart -> InProgress -> Completed | PartiallyFailed | Failed
//!                       '-> FailedValidation
//! ```
//!
//! A backup that is in progress carries the id of its run. Whoever leads next looks in the location whether
//! that run committed: then the backup is done; else it failed, and nothing of it counts.

mod hooks;
mod queue;
mod run;

use std::sync::Arc;
use std::time::Duration;

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase};
use salvor_objects::hooks::OpenPod;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::queue::{Decision, decide};
use crate::context::{Context, chain};
use crate::control::{self, Next, Reconcile};
use crate::events::EventType;
use crate::kinds::{KindError, Kinds};
use crate::queue::Queue;
use crate::snapshotters;

/// The turn that looks at all backups; no object has this name.
const ALL: &str = "";
/// Pause before a backup that could not begin is tried again.
const BEGIN_AGAIN: Duration = Duration::from_secs(5);
/// Times that a write is tried whose object changed since it was read.
const WRITES: u32 = 8;

/// Begins to serve backups.
pub(crate) fn start(context: &Context, tasks: &TaskTracker, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::default());
    let controller = Arc::new(Backups {
        context: context.clone(),
        queue: Arc::clone(&queue),
        tasks: tasks.clone(),
    });
    control::feed(&context.backups, &queue, tasks, cancel);
    // One worker: what begins is decided by one turn at a time.
    control::work(controller, &queue, 1, tasks, cancel);
}

struct Backups {
    context: Context,
    queue: Arc<Queue>,
    tasks: TaskTracker,
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error(transparent)]
    Kind(#[from] KindError),
    /// It is not known yet whether an interrupted backup was committed.
    #[error("look whether backup `{name}` was committed: {reason}")]
    Unknown { name: String, reason: String },
}

impl Reconcile for Backups {
    const NAME: &'static str = "backup";
    type Error = TurnError;

    async fn reconcile(&self, name: &str) -> Result<Next, TurnError> {
        if name == ALL {
            return self.look_at_all().await;
        }
        let Some(backup) = self.context.backups.get(name) else {
            // Its place may be another's now; and nobody waits for the result of its run any more.
            self.context.backup_runs.stop(name);
            self.queue.add(ALL);
            return Ok(Next::Wait);
        };
        if is_cancelled(&backup.metadata.annotations) {
            self.cancel(&backup).await?;
        }
        let running = self.context.backup_runs.contains(name);
        if backup.status.phase == BackupPhase::InProgress && !running {
            self.settle(name).await?;
        }
        // Whatever changed may let others move up.
        self.queue.add(ALL);
        Ok(Next::Wait)
    }

    fn is_ordinary(error: &TurnError) -> bool {
        matches!(error, TurnError::Kind(error) if error.is_stale())
    }
}

/// True when an object asks for its run to stop.
pub(crate) fn is_cancelled(annotations: &salvor_api::meta::StringMap) -> bool {
    annotations
        .get(labels::CANCEL)
        .is_some_and(|value| value == "true")
}

impl Backups {
    /// Gives every waiting backup its place, and begins those whose turn it is.
    async fn look_at_all(&self) -> Result<Next, TurnError> {
        let context = &self.context;
        let backups = context.backups.list();
        let kinds = context.kinds::<Backup>();
        let limit = context.options.concurrent_backups;
        let mut decision = decide(&backups, limit);
        let runs = &context.backup_runs;
        let left_ready = backups.iter().any(|backup| {
            backup.status.phase == BackupPhase::ReadyToStart
                && !runs.contains(&backup.metadata.name)
        });
        let begins = left_ready || !decision.begin.is_empty();
        let paused = begins && context.paused().await;
        if paused {
            decision = decide(&backups, 0);
        }
        let Decision { waiting, begin } = decision;
        // As it was decided upon: one that has changed since, has begun for example, is refused by the API
        // server, and the change brings the next turn.
        let decided = |name: &str| backups.iter().find(|backup| backup.metadata.name == name);
        for (name, position) in waiting.iter().zip(1..) {
            let Some(backup) = decided(name) else {
                continue;
            };
            let mut after = (**backup).clone();
            after.status.phase = BackupPhase::Queued;
            after.status.queue_position = position;
            let stored = kinds.update(backup, &after).await?;
            if backup.status.phase != BackupPhase::Queued {
                let text = format!("it waits for its turn, at position {position}");
                let events = &context.events;
                events.record(&stored, EventType::Normal, "Queued", text);
            }
        }
        for name in begin {
            let Some(backup) = decided(&name) else {
                continue;
            };
            let mut after = (**backup).clone();
            after.status.phase = BackupPhase::ReadyToStart;
            after.status.queue_position = 0;
            let ready = kinds.update(backup, &after).await?;
            self.begin(ready);
        }
        // Those that a server before us let begin and did not get to.
        for backup in &backups {
            if backup.status.phase == BackupPhase::ReadyToStart && !paused {
                self.begin((**backup).clone());
            }
        }
        Ok(match paused {
            true => Next::After(context.options.pause_look),
            false => Next::Wait,
        })
    }

    fn begin(&self, backup: Backup) {
        let name = backup.metadata.name.clone();
        let Some(place) = self.context.backup_runs.begin(&name) else {
            return;
        };
        let (context, queue) = (self.context.clone(), Arc::clone(&self.queue));
        self.tasks.spawn(async move {
            let begun = Box::pin(run::run(&context, backup, &place.handle)).await;
            drop(place);
            if begun {
                // Its own result may need another look, and the next one may begin.
                queue.add(&name);
                queue.add(ALL);
            } else {
                queue.add_after(ALL, BEGIN_AGAIN);
            }
        });
    }

    /// Stops a backup whose object asks for it. One that has not begun never does.
    async fn cancel(&self, backup: &Backup) -> Result<(), TurnError> {
        let name = &backup.metadata.name;
        if self.context.backup_runs.stop(name) {
            return Ok(());
        }
        let waits = matches!(
            backup.status.phase,
            BackupPhase::Unset | BackupPhase::New | BackupPhase::Queued | BackupPhase::ReadyToStart
        );
        if waits {
            let mut after = backup.clone();
            run::fail(&mut after, CANCELLED.to_owned(), &self.context);
            let stored = self.context.kinds().update(backup, &after).await?;
            run::tell(&self.context, &stored);
        }
        Ok(())
    }

    /// Runs the post hooks that a killed server left open, then lets the backup be settled.
    fn release(&self, backup: Backup, open: Vec<OpenPod>) {
        let name = backup.metadata.name.clone();
        let Some(place) = self.context.backup_runs.begin(&name) else {
            return;
        };
        let (context, queue) = (self.context.clone(), Arc::clone(&self.queue));
        self.tasks.spawn(async move {
            let released = hooks::release(&context, &backup, &open).await;
            drop(place);
            match released {
                Ok(()) => queue.add(&name),
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(error, backup = name, "the end of its hooks was not written");
                    queue.add_after(&name, BEGIN_AGAIN);
                }
            }
        });
    }

    /// Finds out what became of a backup whose server ended while it was made.
    async fn settle(&self, name: &str) -> Result<(), TurnError> {
        let context = &self.context;
        let kinds = context.kinds::<Backup>();
        // As it is now: the copy may not show yet that our own run has ended.
        let Some(before) = kinds.get(name).await? else {
            return Ok(());
        };
        if before.status.phase != BackupPhase::InProgress || context.backup_runs.contains(name) {
            return Ok(());
        }
        // Something may be held still in these pods: they come first, whatever the location has to say.
        let open = hooks::open_pods(&before);
        if !open.is_empty() {
            self.release(before, open);
            return Ok(());
        }
        let mut after = before.clone();
        match committed(context, &before).await? {
            Some(record) => run::adopt(&mut after, &record),
            None => {
                snapshotters::discard(context, &before).await;
                run::fail(&mut after, interrupted(&before), context);
            }
        }
        let stored = kinds.update(&before, &after).await?;
        run::tell(context, &stored);
        Ok(())
    }
}

/// Why a backup failed whose server ended, with what is known of its hooks.
fn interrupted(backup: &Backup) -> String {
    match backup.status.failure_reason.as_str() {
        "" => INTERRUPTED.to_owned(),
        hooks => format!("{INTERRUPTED}; {hooks}"),
    }
}

const CANCELLED: &str = "cancelled by the annotation salvor.dev/cancel; nothing was committed";
const INTERRUPTED: &str =
    "the server ended while the backup was made; nothing was committed, make it again";

/// The record of this backup's run in its location; `None` when the run certainly did not commit.
async fn committed(context: &Context, backup: &Backup) -> Result<Option<Backup>, TurnError> {
    let name = &backup.metadata.name;
    let unknown = |reason: String| TurnError::Unknown {
        name: name.clone(),
        reason,
    };
    let Some(run) = backup.metadata.annotations.get(labels::RUN_ID) else {
        return Ok(None);
    };
    let storage = &backup.spec.storage_location;
    if context.storage_locations.get(storage).is_none() {
        // Its backups, this one as well, are no longer ours to know.
        return Ok(None);
    }
    let location = context
        .location(storage)
        .await
        .map_err(|error| unknown(chain(&error)))?;
    let Ok(backup_name) = BackupName::new(name.as_str()) else {
        return Ok(None);
    };
    match location.backup(&backup_name).await {
        Ok(record) => {
            let by = record.backup.metadata.annotations.get(labels::RUN_ID);
            Ok((by == Some(run)).then_some(record.backup))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(unknown(chain(&error))),
    }
}

/// Changes an object as it is now; tried again when it changes meanwhile. `None` when it is gone or `change`
/// leaves it alone.
pub(crate) async fn modify<K: salvor_api::velero::Kind>(
    kinds: &Kinds<K>,
    name: &str,
    change: impl Fn(&mut K) -> bool,
) -> Result<Option<K>, KindError> {
    let mut tries = 0;
    loop {
        let Some(before) = kinds.get(name).await? else {
            return Ok(None);
        };
        let mut after = before.clone();
        if !change(&mut after) {
            return Ok(None);
        }
        tries += 1;
        match kinds.update(&before, &after).await {
            Ok(stored) => return Ok(Some(stored)),
            Err(error) if error.is_stale() && tries < WRITES => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) fn event_of(phase: &BackupPhase) -> (EventType, &'static str) {
    match phase {
        BackupPhase::InProgress => (EventType::Normal, "Started"),
        BackupPhase::Completed => (EventType::Normal, "Completed"),
        BackupPhase::PartiallyFailed => (EventType::Warning, "PartiallyFailed"),
        BackupPhase::FailedValidation => (EventType::Warning, "FailedValidation"),
        _ => (EventType::Warning, "Failed"),
    }
}
