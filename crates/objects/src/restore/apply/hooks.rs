//! Commands in restored pods: each runs once its container is there, many pods at once, one pod's in order.
//!
//! Before a command begins and after it ended, a line of the journal says so: a restore that is gone on with
//! does not run again what has ended. One that had begun and was not seen to end is run once more, and that is
//! told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use salvor_api::labels::{RESTORE_NAME, label_value};
use salvor_api::resource::ObjectKey;
use salvor_api::velero::HookStatus;
use salvor_cluster::Cluster;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::item::Hands;
use super::journal::{Done, HookEnd, HookLine};
use super::stages::Engine;
use crate::hooks::follow::{Seen, follow};
use crate::hooks::of_restore::{RestoreCommand, RestoreHooks};
use crate::hooks::{Pod, run};
use crate::restore::error::{Doing as _, RestoreError};
use crate::restore::plan::PlanEntry;
use crate::restore::planner::blocking;

/// Commands that run at once; waiting costs nothing and has no bound.
const AT_ONCE: usize = 8;

/// What earlier runs and this one have done: by entry of the plan and number of the hook.
pub(super) type HookJournal = BTreeMap<(u32, u32), HookLine>;

/// The hooks of one pod.
struct PodHooks {
    entry: u32,
    key: ObjectKey,
    commands: Vec<RestoreCommand>,
    problems: Vec<String>,
}

/// What a pod's hooks tell the engine. It answers when the line is in the journal.
struct Told {
    line: HookLine,
    written: oneshot::Sender<()>,
}

/// What the work on one pod shares with the others.
struct Work<'a> {
    cluster: &'a Cluster,
    seen: watch::Receiver<Seen>,
    running: &'a Semaphore,
    tell: mpsc::Sender<Told>,
    cancel: &'a CancellationToken,
    longest_wait: Duration,
}

impl Engine {
    /// Runs the hooks of the pods that this restore has made.
    ///
    /// # Errors
    /// The archive or the journal fails; the restore can be resumed.
    pub(super) async fn run_hooks(&mut self) -> Result<(), RestoreError> {
        let made: Vec<u32> = self
            .done
            .iter()
            .filter(|(at, done)| {
                let resource = &self.entries[**at as usize].resource;
                let changed = matches!(done, Done::Created | Done::Updated);
                changed && resource.group.is_empty() && resource.resource == "pods"
            })
            .map(|(at, _)| *at)
            .collect();
        let (hands, entries) = (self.hands.clone(), self.entries.clone());
        let pods = blocking(move || find(&hands, &entries, &made)).await?;
        if pods.is_empty() {
            return Ok(());
        }
        self.write_journal().await?;
        for pod in &pods {
            for problem in &pod.problems {
                self.record.warn(&pod.key, problem);
            }
        }
        self.record
            .say(&format!("hooks of {} restored pods", pods.len()));
        self.progress.finalizing = true;
        self.progress.errors = self.record.errors();
        self.observer.tell(self.progress);
        let hands = self.hands.clone();
        let (sender, seen) = watch::channel(Seen::default());
        let (tell, told) = mpsc::channel(AT_ONCE);
        let running = Semaphore::new(AT_ONCE);
        let earlier = self.hooks.clone();
        let selector = format!(
            "{RESTORE_NAME}={}",
            label_value(&hands.header.rules.restore)
        );
        let work = async {
            // Taken by value: the channel ends with the last pod.
            let work = Work {
                cluster: &hands.cluster,
                seen,
                running: &running,
                tell,
                cancel: &hands.cancel,
                longest_wait: hands.timeout,
            };
            let all: Vec<_> = pods.iter().map(|pod| work.pod(pod, &earlier)).collect();
            stream::iter(all).for_each_concurrent(None, |pod| pod).await;
        };
        let keep = async {
            // Dropped when this ends, so that nobody waits for an answer that does not come.
            let mut told = told;
            while let Some(Told { line, written }) = told.recv().await {
                self.note_hook(line).await?;
                // Nobody waits any more when the restore was cancelled.
                let _ = written.send(());
            }
            Ok(())
        };
        tokio::select! {
            ((), kept) = async { tokio::join!(work, keep) } => kept,
            () = follow(&hands.cluster, &selector, &sender) => Ok(()),
        }
    }

    /// Writes a line before anything else happens: it must not be lost.
    async fn note_hook(&mut self, line: HookLine) -> Result<(), RestoreError> {
        let doing = || "write the journal".to_owned();
        let part = super::journal::encode_hook(&line).doing(doing)?;
        self.writer.append_journal(part).await.doing(doing)?;
        if line.end != HookEnd::Begun {
            self.tell_hook(&line, false);
        }
        self.hooks.insert((line.entry, line.hook), line);
        Ok(())
    }

    /// Says what became of a hook.
    pub(super) fn tell_hook(&self, line: &HookLine, earlier: bool) {
        let key = self.entries[line.entry as usize].target(&self.hands.header.rules);
        let when = if earlier { " (by an earlier run)" } else { "" };
        let text = format!("{}{when}", line.message);
        match line.end {
            HookEnd::Begun => {}
            HookEnd::Done => self.record.note(&key, &text),
            HookEnd::Failed => self.record.error(&key, &text),
            HookEnd::Tolerated => self.record.warn(&key, &text),
        }
    }

    pub(super) fn hook_status(&self) -> HookStatus {
        let count = |wanted: fn(HookEnd) -> bool| {
            let lines = self.hooks.values().filter(|line| wanted(line.end));
            i64::try_from(lines.count()).unwrap_or(i64::MAX)
        };
        HookStatus {
            hooks_attempted: count(|_| true),
            hooks_failed: count(|end| matches!(end, HookEnd::Failed | HookEnd::Tolerated)),
        }
    }
}

/// The hooks of these entries, read from the pods as they stand in the backup.
fn find(
    hands: &Arc<Hands>,
    entries: &[PlanEntry],
    made: &[u32],
) -> Result<Vec<PodHooks>, RestoreError> {
    let rules = &hands.header.rules;
    let hooks = RestoreHooks::compile(&rules.hooks)
        .map_err(|errors| RestoreError::refused("read the hooks", errors.join("; ")))?;
    let mut found = Vec::new();
    let mut made: Vec<u32> = made.to_vec();
    // In archive order each member of the archive is read and decompressed once.
    made.sort_by_key(|at| entries[*at as usize].at);
    for at in made {
        let entry = &entries[at as usize];
        let archive = &hands.archive;
        let Some(item) = archive.index().get(&entry.source(), Some(&entry.version)) else {
            continue;
        };
        let body = archive
            .get(&item)
            .doing(|| format!("read {} again", entry.source()))?;
        let Some(pod) = Pod::read(&body) else {
            continue;
        };
        let key = entry.target(rules);
        let namespace = key.namespace.clone().unwrap_or_default();
        let (commands, problems) = hooks.commands(&pod, &namespace);
        if !commands.is_empty() {
            found.push(PodHooks {
                entry: at,
                key,
                commands,
                problems,
            });
        }
    }
    Ok(found)
}

impl Work<'_> {
    /// Runs what is left of a pod's hooks, in order.
    async fn pod(&self, pod: &PodHooks, earlier: &HookJournal) {
        let begun = Instant::now();
        for (hook, command) in (0u32..).zip(&pod.commands) {
            let before = earlier.get(&(pod.entry, hook)).map(|line| line.end);
            let again = match before {
                Some(HookEnd::Done | HookEnd::Tolerated) => continue,
                Some(HookEnd::Failed) => return,
                Some(HookEnd::Begun) => true,
                None => false,
            };
            let name = &command.command.hook;
            let mut line = HookLine {
                entry: pod.entry,
                hook,
                end: HookEnd::Begun,
                message: String::new(),
            };
            let result = match self.wait(pod, command, begun).await {
                Ok(live) => {
                    let Ok(_place) = self.running.acquire().await else {
                        return;
                    };
                    if self.cancel.is_cancelled() || !self.tell(line.clone()).await {
                        return;
                    }
                    let ran = run::run(self.cluster, &live, &command.command, self.cancel).await;
                    ran.map_err(|failed| failed.text)
                }
                Err(reason) => Err(reason),
            };
            if self.cancel.is_cancelled() && result.is_err() {
                // It has not ended well, and it is not known to have ended: it is run again.
                return;
            }
            let repeated = match again {
                true => "; it had begun in a run that was killed, and may have run twice",
                false => "",
            };
            (line.end, line.message) = match result {
                Ok(what) => (
                    HookEnd::Done,
                    format!("hook `{name}`: {what}: done{repeated}"),
                ),
                Err(reason) => {
                    let end = match command.command.fails {
                        true => HookEnd::Failed,
                        false => HookEnd::Tolerated,
                    };
                    (end, format!("hook `{name}` failed: {reason}{repeated}"))
                }
            };
            let failed = line.end == HookEnd::Failed;
            if !self.tell(line).await || failed {
                return;
            }
        }
    }

    /// Waits until the container is as the hook wants it; the pod as it is then.
    async fn wait(
        &self,
        pod: &PodHooks,
        command: &RestoreCommand,
        begun: Instant,
    ) -> Result<Arc<Pod>, String> {
        let limit = command.wait.unwrap_or(self.longest_wait);
        let namespace = pod.key.namespace.clone().unwrap_or_default();
        let key = (namespace, pod.key.name.clone());
        let mut seen = self.seen.clone();
        let wanted = if command.ready { "ready" } else { "running" };
        let look = |seen: &Seen| -> Option<Result<Arc<Pod>, String>> {
            let Some(live) = seen.pods.get(&key) else {
                let gone = "the pod was deleted before the hook could run".to_owned();
                return seen.complete.then_some(Err(gone));
            };
            let container = match live.container(&command.command.container) {
                Ok(container) => container,
                Err(reason) => return Some(Err(reason)),
            };
            if live.has_ended() {
                return Some(Err("the pod ended before the hook could run".to_owned()));
            }
            live.runs(container, command.ready)
                .then(|| Ok(Arc::clone(live)))
        };
        let mut found = None;
        let waiting = seen.wait_for(|seen| {
            found = look(seen);
            found.is_some()
        });
        let waited = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err("cancelled".to_owned()),
            waited = tokio::time::timeout_at(begun + limit, waiting) => waited.map(drop),
        };
        match (waited, found) {
            (Ok(()), Some(found)) => found,
            _ => {
                let trouble = self.seen.borrow().trouble.clone();
                let trouble = trouble.map_or_else(String::new, |why| format!(" ({why})"));
                let limit = limit.as_secs_f32();
                Err(format!(
                    "its container was not {wanted} within {limit} s{trouble}"
                ))
            }
        }
    }

    /// Tells the engine; true when the line is in the journal.
    async fn tell(&self, line: HookLine) -> bool {
        let (written, answer) = oneshot::channel();
        self.tell.send(Told { line, written }).await.is_ok() && answer.await.is_ok()
    }
}
