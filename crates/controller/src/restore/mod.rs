//! Restores: carried out in the order of their age, and gone on with after an interruption.
//!
//! ```text
//! New -> InProgress -> Completed | PartiallyFailed | Failed
//!    '-> FailedValidation
//! ```
//!
//! A restore that is in progress has its plan and journal in the location. Whoever leads next goes on from
//! there; one that has changed nothing yet begins anew.

mod finalize;
mod run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use salvor_api::velero::{Restore, RestorePhase};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backup::is_cancelled;
use crate::context::Context;
use crate::control::{self, Next, Reconcile};
use crate::kinds::KindError;
use crate::queue::Queue;

pub(crate) use self::finalize::{delete_records, release};

/// The turn that looks at all restores; no object has this name.
const ALL: &str = "";
/// Interruptions after which a restore is given up: with the default pause a good half hour of a cluster or
/// store that does not answer.
const MOST_INTERRUPTIONS: u32 = 100;
const CANCELLED: &str = "cancelled by the annotation salvor.dev/cancel";

/// Begins to serve restores.
pub(crate) fn start(context: &Context, tasks: &TaskTracker, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::default());
    let controller = Arc::new(Restores {
        context: context.clone(),
        queue: Arc::clone(&queue),
        tasks: tasks.clone(),
        interruptions: Arc::default(),
    });
    control::feed(&context.restores, &queue, tasks, cancel);
    control::work(controller, &queue, 1, tasks, cancel);
}

struct Restores {
    context: Context,
    queue: Arc<Queue>,
    tasks: TaskTracker,
    interruptions: Arc<Mutex<HashMap<String, Interrupted>>>,
}

/// A restore that something interrupted.
#[derive(Clone, Copy, Debug)]
struct Interrupted {
    /// How often by now.
    times: u32,
    /// When it is gone on with.
    again: Instant,
}

/// Why a turn failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error(transparent)]
    Kind(#[from] KindError),
    /// What the location has of a restore whose object is deleted is still there.
    #[error("delete the records of restore `{name}`: {reason}")]
    Records { name: String, reason: String },
}

impl Reconcile for Restores {
    const NAME: &'static str = "restore";
    type Error = TurnError;

    async fn reconcile(&self, name: &str) -> Result<Next, TurnError> {
        if name == ALL {
            return Ok(self.look_at_all().await);
        }
        let Some(restore) = self.context.restores.get(name) else {
            self.context.restore_runs.stop(name);
            self.queue.add(ALL);
            return Ok(Next::Wait);
        };
        if finalize::is_waiting(&restore) {
            return finalize::finalize(&self.context, &restore).await;
        }
        let runs = &self.context.restore_runs;
        if is_cancelled(&restore.metadata.annotations) && !runs.stop(name) && is_new(&restore) {
            let mut after = (*restore).clone();
            run::fail(&mut after, CANCELLED.to_owned(), &self.context);
            let stored = self
                .context
                .kinds::<Restore>()
                .update(&restore, &after)
                .await?;
            run::tell(&self.context, &stored);
            return Ok(Next::Wait);
        }
        if !restore.status.phase.is_final() {
            self.queue.add(ALL);
        }
        Ok(Next::Wait)
    }

    fn is_ordinary(error: &TurnError) -> bool {
        matches!(error, TurnError::Kind(error) if error.is_stale())
    }
}

fn is_new(restore: &Restore) -> bool {
    matches!(
        restore.status.phase,
        RestorePhase::Unset | RestorePhase::New
    )
}

impl Restores {
    /// Goes on with what was interrupted, then begins the oldest that wait.
    async fn look_at_all(&self) -> Next {
        let runs = &self.context.restore_runs;
        let mut open: Vec<Arc<Restore>> = self.context.restores.list();
        open.retain(|restore| {
            restore.metadata.deletion_timestamp.is_none()
                && (is_new(restore) || restore.status.phase.is_under_way())
        });
        open.sort_by_key(|restore| {
            (
                is_new(restore),
                restore.metadata.creation_timestamp,
                restore.metadata.name.clone(),
            )
        });
        let under_way = |restore: &&Arc<Restore>| runs.contains(&restore.metadata.name);
        let running = open.iter().filter(under_way).count();
        let limit = self.context.options.concurrent_restores.max(1);
        let now = Instant::now();
        let rest = |restore: &Arc<Restore>| {
            let interruptions = lock(&self.interruptions);
            let interrupted = interruptions.get(&restore.metadata.name);
            interrupted.and_then(|i| i.again.checked_duration_since(now))
        };
        let rests = |restore: &&Arc<Restore>| rest(restore).is_some_and(|left| !left.is_zero());
        // This turn takes the place of a later one that was asked for: it asks for it again.
        let next_rest = open.iter().filter(rests).filter_map(rest).min();
        let waiting: Vec<&Arc<Restore>> = open
            .iter()
            .filter(|restore| !under_way(restore))
            // One that was interrupted holds nobody up, but is not hurried either.
            .filter(|restore| !rests(restore))
            .take(limit.saturating_sub(running))
            .collect();
        // What was begun comes to its end even when the server is paused.
        let begins = waiting.iter().any(|restore| is_new(restore));
        let paused = begins && self.context.paused().await;
        for restore in waiting {
            if !(paused && is_new(restore)) {
                self.begin(&restore.metadata.name);
            }
        }
        let next_look = paused.then_some(self.context.options.pause_look);
        let next = next_rest.into_iter().chain(next_look).min();
        next.map_or(Next::Wait, Next::After)
    }

    fn begin(&self, name: &str) {
        let Some(place) = self.context.restore_runs.begin(name) else {
            return;
        };
        let (context, queue) = (self.context.clone(), Arc::clone(&self.queue));
        let (name, interruptions) = (name.to_owned(), Arc::clone(&self.interruptions));
        self.tasks.spawn(async move {
            let pause = context.options.resume_pause;
            let last = |name: &str| {
                let mut interruptions = lock(&interruptions);
                let now = Instant::now();
                let one = interruptions.entry(name.to_owned()).or_insert(Interrupted {
                    times: 0,
                    again: now,
                });
                one.times += 1;
                one.again = now + pause;
                one.times >= MOST_INTERRUPTIONS
            };
            let ended = run::run(&context, &name, &place.handle, last).await;
            drop(place);
            match ended {
                run::Ended::Done => {
                    lock(&interruptions).remove(&name);
                    queue.add(ALL);
                }
                run::Ended::Interrupted => queue.add_after(ALL, pause),
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
