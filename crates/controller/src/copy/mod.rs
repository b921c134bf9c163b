//! Copies of finished backups in other locations, as their annotations ask for: `salvor.dev/copy-to`,
//! `salvor.dev/copy-rule`, `salvor.dev/copy-ttl`.
//!
//! What is done stands in the annotations `salvor.dev/copies` and `salvor.dev/copy-status` of the Backup and in the
//! records beside it, so a restarted server goes on with what is missing. The phase of the Backup is Velero's and is
//! not touched: copies succeed or fail beside it.

mod status;
mod verdicts;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use salvor_api::copies::{CopyRequest, CopyStanding, CopyState};
use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase};
use salvor_location::copy::{Copied, CopyOptions, Expiry, Transfer};
use salvor_location::{Error as LocationError, Location};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backup::is_cancelled;
use crate::context::{Context, chain, cluster_uid};
use crate::control::{self, Next, Reconcile};
use crate::copy::status::{States, Stored};
use crate::events::EventType;
use crate::kinds::KindError;
use crate::queue::Queue;

pub(crate) use status::missing;
pub(crate) use verdicts::{KnownVerdicts, damaged_of};

/// A store that is down for a day is asked every ten minutes.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How often a copy under way looks whether it is still wanted.
const LOOK: Duration = Duration::from_secs(1);

/// Begins to copy.
pub(crate) fn start(context: &Context, tasks: &TaskTracker, cancel: &CancellationToken) {
    let queue = Arc::new(Queue::default());
    let copier = Arc::new(Copier {
        context: context.clone(),
        tasks: tasks.clone(),
        leaving: cancel.clone(),
        own_cluster: OnceCell::new(),
        pauses: Mutex::default(),
    });
    control::feed(&context.backups, &queue, tasks, cancel);
    let workers = context.options.concurrent_copies;
    control::work(copier, &queue, workers, tasks, cancel);
}

struct Copier {
    context: Context,
    tasks: TaskTracker,
    leaving: CancellationToken,
    own_cluster: OnceCell<String>,
    /// Attempts that failed in a row and when the next one is due, by backup. Losing it costs an early attempt.
    pauses: Mutex<HashMap<String, (u32, Instant)>>,
}

impl Reconcile for Copier {
    const NAME: &'static str = "backup-copies";
    type Error = KindError;

    async fn reconcile(&self, name: &str) -> Result<Next, KindError> {
        let context = &self.context;
        let Some(backup) = context.backups.get(name) else {
            self.forget(name);
            return Ok(Next::Wait);
        };
        let request = match CopyRequest::of(&backup.metadata.annotations) {
            Ok(None) => return Ok(Next::Wait),
            Ok(Some(request)) => request,
            Err(error) => {
                let text = format!("no copy is made: {error}");
                self.tell(&backup, &Stored::invalid(&text)).await?;
                return Ok(Next::Wait);
            }
        };
        if !backup.status.phase.is_restorable() || self.is_foreign(&backup).await {
            return Ok(Next::Wait);
        }
        let Some(request) = without_itself(request, &backup) else {
            return Ok(Next::Wait);
        };
        let states = States::of(&backup);
        if is_cancelled(&backup.metadata.annotations) {
            self.tell(&backup, &Stored::new(&request, &states).cancelled())
                .await?;
            return Ok(Next::Wait);
        }
        self.tell(&backup, &Stored::new(&request, &states)).await?;
        let Some(target) = states.first_missing(&request) else {
            self.forget(name);
            return Ok(Next::Wait);
        };
        if let Some(pause) = self.pause(name) {
            return Ok(Next::After(pause));
        }
        if context.paused().await {
            return Ok(Next::After(context.options.pause_look));
        }
        self.attempt(&backup, &request, states, &target).await
    }

    fn is_ordinary(error: &KindError) -> bool {
        error.is_stale()
    }
}

/// What came of one attempt.
enum Attempt {
    /// It is there.
    Done(Box<Copied>),
    /// A repetition may bring it there.
    Failed(String),
    /// Somebody must do something first. It is tried again all the same.
    Hopeless(String),
    /// The server leaves, or the backup is no longer to be copied.
    Stopped,
}

impl Copier {
    /// Tries every copy that is missing, beginning with `first`, and writes down what came of each.
    async fn attempt(
        &self,
        backup: &Backup,
        request: &CopyRequest,
        mut states: States,
        first: &str,
    ) -> Result<Next, KindError> {
        let context = &self.context;
        let name = &backup.metadata.name;
        let mut failed = false;
        let mut next = Some(first.to_owned());
        let mut tried = Vec::new();
        while let Some(target) = next {
            let events = &context.events;
            match self.copy(backup, request, &target).await {
                Attempt::Stopped => return Ok(Next::After(LOOK)),
                Attempt::Done(copied) => {
                    context.metrics.copies().done(&target, &copied);
                    if !copied.already {
                        let text = format!("copied to `{target}`: {} bytes", copied.bytes);
                        tracing::info!(backup = name, target, bytes = copied.bytes, "copied");
                        events.record(backup, EventType::Normal, "Copied", text);
                    }
                    states.set(&target, CopyState::Done, String::new());
                }
                Attempt::Failed(why) => {
                    failed = true;
                    context.metrics.copies().failed(&target);
                    let text = format!("not copied to `{target}`, it is tried again: {why}");
                    tracing::warn!(backup = name, target, "{text}");
                    events.record(backup, EventType::Warning, "CopyFailed", text);
                    states.set(&target, CopyState::Pending, why);
                }
                Attempt::Hopeless(why) => {
                    failed = true;
                    context.metrics.copies().failed(&target);
                    let text = format!("not copied to `{target}`: {why}");
                    tracing::error!(backup = name, target, "{text}");
                    events.record(backup, EventType::Warning, "CopyFailed", text);
                    states.set(&target, CopyState::Failed, why);
                }
            }
            // As it is now: others may have written meanwhile, and what was done must not be lost.
            let Some(now) = context.kinds::<Backup>().get(name).await? else {
                return Ok(Next::Wait);
            };
            self.tell(&now, &Stored::new(request, &states)).await?;
            tried.push(target);
            next = states.next_missing(request, &tried);
        }
        if !failed {
            self.forget(name);
            return Ok(Next::Wait);
        }
        Ok(Next::After(self.back_off(name)))
    }

    async fn copy(&self, backup: &Backup, request: &CopyRequest, target: &str) -> Attempt {
        let context = &self.context;
        let Ok(name) = BackupName::new(backup.metadata.name.as_str()) else {
            return Attempt::Hopeless("its name is none that a location has".to_owned());
        };
        let source = match context.location(&backup.spec.storage_location).await {
            Ok(source) => source,
            Err(error) => return Attempt::Failed(error.to_string()),
        };
        let target = match context.location(target).await {
            Ok(target) => target,
            Err(error) => return Attempt::Failed(error.to_string()),
        };
        let transfer = Transfer::default();
        let options = CopyOptions {
            expiry: match request.ttl {
                None => Expiry::AsOriginal,
                Some(ttl) if ttl.0.is_zero() => Expiry::Never,
                Some(ttl) => Expiry::After(ttl.0),
            },
            transfer,
        };
        // A task of its own: the turn may be dropped at any await, and a copy ends in good order, so that whoever
        // leads next need not wait for its claim.
        let (context, leaving) = (context.clone(), self.leaving.clone());
        let work = self.tasks.spawn(async move {
            follow(&context, &leaving, &source, &target, &name, &options).await
        });
        match work.await {
            Ok(Ok(copied)) => Attempt::Done(Box::new(copied)),
            Ok(Err(error)) if error.is_cancelled() => Attempt::Stopped,
            Ok(Err(error)) => judged(&error),
            Err(error) => Attempt::Failed(format!("the copy broke off: {error}")),
        }
    }

    /// Writes how the copies stand, where that is news.
    async fn tell(&self, backup: &Backup, stored: &Stored) -> Result<(), KindError> {
        let mut after = backup.clone();
        stored.write(&mut after.metadata.annotations);
        if after.metadata.annotations == backup.metadata.annotations {
            return Ok(());
        }
        let updated = self.context.kinds().update(backup, &after).await?;
        let events = &self.context.events;
        match stored.standing {
            Some(CopyStanding::Failed) => {
                events.record(
                    &updated,
                    EventType::Warning,
                    "CopiesFailed",
                    &*stored.status,
                );
            }
            Some(CopyStanding::Satisfied) => {
                events.record(
                    &updated,
                    EventType::Normal,
                    "CopiesSatisfied",
                    &*stored.status,
                );
            }
            Some(CopyStanding::Pending) => {}
            None => events.record(
                &updated,
                EventType::Warning,
                "InvalidCopies",
                &*stored.status,
            ),
        }
        Ok(())
    }

    /// What another cluster made is copied by that cluster.
    async fn is_foreign(&self, backup: &Backup) -> bool {
        let Some(theirs) = backup.metadata.annotations.get(labels::CLUSTER_UID) else {
            return false;
        };
        let ours = self
            .own_cluster
            .get_or_try_init(|| cluster_uid(&self.context.cluster));
        // As long as it is not known who we are, nothing of somebody else's is touched.
        ours.await
            .map_or(true, |ours| !ours.is_empty() && ours != theirs)
    }

    fn pause(&self, name: &str) -> Option<Duration> {
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, due) = pauses.get(name)?;
        let rest = due.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }

    fn back_off(&self, name: &str) -> Duration {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let (failures, due) = pauses.entry(name.to_owned()).or_insert((0, Instant::now()));
        let first = self.context.options.copy_pause;
        let pause = first
            .saturating_mul(1 << (*failures).min(16))
            .min(LONGEST_PAUSE);
        *failures += 1;
        *due = Instant::now() + pause;
        pause
    }

    fn forget(&self, name: &str) {
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.remove(name);
    }
}

/// A backup that was copied carries the wish to be copied with it. In the place that it names it is there.
fn without_itself(mut request: CopyRequest, backup: &Backup) -> Option<CopyRequest> {
    let here = &backup.spec.storage_location;
    let asked = request.to.len();
    request.to.retain(|target| target != here);
    if request.rule.needed(request.to.len()) > request.to.len() && asked > request.to.len() {
        request.rule = salvor_api::copies::CopyRule::All;
    }
    (!request.to.is_empty()).then_some(request)
}

/// What a failure means: whether waiting may mend it.
fn judged(error: &LocationError) -> Attempt {
    let text = chain(error);
    let advice = error.advice();
    let text = match advice.is_empty() {
        true => text,
        false => format!("{text}; {advice}"),
    };
    match error {
        LocationError::CopyDiffers { .. }
        | LocationError::SamePlace { .. }
        | LocationError::SourceDamaged { .. }
        | LocationError::BadRecord { .. }
        | LocationError::NewerFormat { .. } => Attempt::Hopeless(text),
        error if error.is_write_refused() => Attempt::Hopeless(text),
        _ => Attempt::Failed(text),
    }
}

/// Copies, and stops when the server leaves or the backup is no longer to be copied.
async fn follow(
    context: &Context,
    leaving: &CancellationToken,
    source: &Location,
    target: &Location,
    name: &BackupName,
    options: &CopyOptions,
) -> Result<Copied, LocationError> {
    let mut work = Box::pin(source.copy_backup(name, target, options));
    let mut look = tokio::time::interval(LOOK);
    let wanted = || {
        context.backups.get(name.as_str()).is_some_and(|backup| {
            backup.status.phase != BackupPhase::Deleting
                && !is_cancelled(&backup.metadata.annotations)
        })
    };
    loop {
        tokio::select! {
            copied = &mut work => return copied,
            () = leaving.cancelled(), if !options.transfer.is_stopped() => options.transfer.stop(),
            _ = look.tick() => if !wanted() {
                options.transfer.stop();
            }
        }
    }
}
