//! The stages of a restore, and the journal beside them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use salvor_api::go::Time;
use salvor_api::velero::{DEFAULT_CSI_SNAPSHOT_TIMEOUT, Restore, RestorePhase, RestoreProgress};
use salvor_cluster::{Cluster, DiscoverOptions};
use salvor_location::{Location, RestoreWriter, RunId};
use salvor_volume::OnBehalfOf;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::data::Filling;
use super::deferred::Deferred;
use super::fill::Filler;
use super::hooks::HookJournal;
use super::item::{Attempt, Hands, Why};
use super::journal::{self, Done, Line};
use super::native;
use super::record::Record;
use super::{Observer, Progress, RestoreOutcome, relink};
use crate::leftovers;
use crate::restore::error::{Doing as _, RestoreError};
use crate::restore::order::Stage;
use crate::restore::plan::{PlanEntry, RestorePlan};
use crate::restore::request::RestoreOptions;
use crate::restore::source::Source;
use crate::restore::status::StatusSelection;

/// Objects between two parts of the journal.
pub const JOURNAL_LINES: usize = 500;
/// Longest time between two parts of the journal while objects are finished.
pub const JOURNAL_PAUSE: Duration = Duration::from_secs(5);
/// Objects under way at once. The cluster's limiter decides how many of them are calls; this many more are
/// read and transformed meanwhile.
const AHEAD: usize = 64;
/// Between the last restored pod and the first set that is to adopt it.
const POD_NOTICE: Duration = Duration::from_millis(500);
/// After so many unanswered calls in a row the target counts as gone and the restore stops, to be resumed.
const SILENCE: u32 = 200;

/// What is carried out.
pub(super) struct Job {
    pub(super) cluster: Cluster,
    pub(super) source: Source,
    pub(super) restore: Restore,
    pub(super) options: RestoreOptions,
    pub(super) plan: RestorePlan,
    pub(super) run: RunId,
    pub(super) observer: Observer,
    pub(super) cancel: CancellationToken,
    /// Where its records are.
    pub(super) location: Location,
}

pub(super) struct Engine {
    pub(super) hands: Arc<Hands>,
    pub(super) entries: Arc<Vec<PlanEntry>>,
    pub(super) writer: RestoreWriter,
    pub(super) record: Record,
    pub(super) done: BTreeMap<u32, Done>,
    pub(super) hooks: HookJournal,
    pub(super) unwritten: Vec<Line>,
    written_at: Instant,
    pub(super) deferred: Vec<Deferred>,
    pub(super) filling: Filling,
    silent: u32,
    pub(super) progress: Progress,
    pub(super) observer: Observer,
    pub(super) cancel: CancellationToken,
}

/// Runs a job to its end, or to the point where it was cancelled.
pub(super) async fn run(job: Job, writer: RestoreWriter) -> Result<RestoreOutcome, RestoreError> {
    let started = Time::new(jiff::Timestamp::now());
    let Job {
        cluster,
        source,
        mut restore,
        options,
        plan,
        run,
        observer,
        cancel,
        location,
    } = job;
    let doing = || "prepare the restore".to_owned();
    let discovery = cluster
        .discover(DiscoverOptions { all_versions: true })
        .await
        .doing(doing);
    let discovery = match discovery {
        Ok(discovery) => discovery,
        Err(error) => {
            writer.suspend().await;
            return Err(error);
        }
    };
    if restore.metadata.uid.is_empty() {
        leftovers::settle_beside(&cluster, &discovery, &location).await;
    }
    let mut status = StatusSelection::new(plan.header.status.as_ref()).unwrap_or_default();
    if options.approval.is_some() {
        // Approved was what the plan says, not what an object says of itself.
        status = status.without_annotations();
    }
    let RestorePlan { header, entries } = plan;
    let header = Arc::new(header);
    let entries = Arc::new(entries);
    let record = Record::begin(&restore, &header, &source, &run).doing(doing)?;
    let filling = Filling::new(Filler {
        cluster: cluster.clone(),
        mover: options.data_mover.clone(),
        of: OnBehalfOf {
            name: restore.metadata.name.clone(),
            uid: restore.metadata.uid.clone(),
            run: run.to_string(),
            location: options.data_location.clone(),
        },
        header: header.clone(),
        timeout: options.data_timeout,
        pod_timeout: options.resource_timeout,
        snapshot_timeout: match source.backup.spec.csi_snapshot_timeout.0 {
            Duration::ZERO => DEFAULT_CSI_SNAPSHOT_TIMEOUT.0,
            given => given,
        },
        found_snapshots: OnceCell::new(),
        cancel: cancel.clone(),
    });
    let total = entries
        .iter()
        .filter(|entry| entry.action.changes())
        .count() as u64;
    let mut engine = Engine {
        hands: Arc::new(Hands {
            cluster,
            archive: source.archive.clone(),
            header: header.clone(),
            discovery: RwLock::new(Arc::new(discovery)),
            status,
            snapshotters: options.snapshotters.clone(),
            timeout: options.resource_timeout,
            cancel: cancel.clone(),
        }),
        entries,
        writer,
        record,
        done: BTreeMap::new(),
        hooks: HookJournal::new(),
        unwritten: Vec::new(),
        written_at: Instant::now(),
        deferred: Vec::new(),
        filling,
        silent: 0,
        progress: Progress {
            total,
            ..Progress::default()
        },
        observer,
        cancel,
    };
    match engine.carry_out(&source).await {
        Ok(()) => {}
        Err(error) => {
            // What is in the journal stays true; the claim is given back so that it can be resumed.
            let _ = engine.write_journal().await;
            engine.writer.suspend().await;
            return Err(error);
        }
    }
    let cancelled = engine.cancel.is_cancelled();
    let counts = engine.counts();
    let hook_status = engine.hook_status();
    let unfilled = engine.filling.unfilled();
    let mut volumes = engine.filling.infos();
    let made = (0u32..)
        .zip(&*engine.entries)
        .filter(|(at, _)| engine.done.get(at) == Some(&Done::Created));
    volumes.extend(made.filter_map(|(_, entry)| native::info(&header, entry)));
    let Engine {
        hands,
        entries,
        mut writer,
        record,
        done,
        ..
    } = engine;
    let finished = record
        .finish(&mut writer, &hands, &entries, &done, &volumes, cancelled)
        .await;
    let finished = match finished {
        Ok(finished) => finished,
        Err(error) => {
            writer.suspend().await;
            return Err(error);
        }
    };
    restore.status.start_timestamp = restore.status.start_timestamp.or(Some(started));
    restore.status.completion_timestamp = Some(Time::new(jiff::Timestamp::now()));
    restore.status.warnings = finished.warnings.cast_signed();
    restore.status.errors = finished.errors.cast_signed();
    restore.status.progress = Some(RestoreProgress {
        total_items: finished.listed.cast_signed(),
        items_restored: finished.listed.cast_signed(),
    });
    restore.status.hook_status = Some(hook_status);
    restore.status.phase = match (cancelled, finished.errors) {
        (true, _) => RestorePhase::Cancelled,
        (false, 0) => RestorePhase::Completed,
        (false, _) => RestorePhase::PartiallyFailed,
    };
    if cancelled {
        restore.status.failure_reason = "stopped by its user; it can be resumed".to_owned();
        writer.suspend().await;
    } else if unfilled > 0 {
        // Not the end: what is held back is made once its volumes are filled.
        restore.status.failure_reason = format!(
            "{unfilled} volumes are not filled, and what uses them is held back: go on with `salvor restore create {} --resume`",
            restore.metadata.name
        );
        writer.suspend().await;
    } else {
        writer
            .finish(&restore)
            .await
            .doing(|| "record the result".to_owned())?;
    }
    Ok(RestoreOutcome {
        restore,
        counts,
        results: finished.results,
    })
}

impl Engine {
    async fn carry_out(&mut self, source: &Source) -> Result<(), RestoreError> {
        self.take_up().await?;
        self.record.log_plan(&self.entries, source);
        for stage in Stage::ALL {
            if self.cancel.is_cancelled() {
                break;
            }
            self.progress.stage = Some(stage);
            if stage >= Stage::Data {
                self.go_on_filling().await?;
            }
            let items = self.items_of(stage);
            let mut items = self.keep_from_unfilled(items);
            // In archive order each member of the archive is read and decompressed once.
            items.sort_by_key(|at| self.entries[*at as usize].at);
            if !items.is_empty() {
                if stage == Stage::ReplicaSets {
                    self.let_pods_be_seen().await;
                }
                self.record
                    .say(&format!("stage {stage}: {} objects", items.len()));
                self.try_all(items.clone()).await?;
            }
            if stage == Stage::Definitions {
                self.establish(&items).await?;
            }
            self.retry_while_it_shrinks().await?;
        }
        self.finish_filling().await?;
        self.wait_for_the_rest().await?;
        if !self.cancel.is_cancelled() {
            self.give_up_the_rest();
            self.fill_pods(true).await?;
            if self.hands.header.relink_owners {
                let problems =
                    relink::run(&self.hands, &self.entries, &self.done, &self.cancel).await;
                for (key, problem) in problems {
                    self.record.warn(&key, &problem);
                }
            }
        }
        if !self.cancel.is_cancelled() {
            self.run_hooks().await?;
            self.close_snapshots().await;
        }
        if !self.cancel.is_cancelled() {
            self.check_claims().await?;
        }
        self.write_journal().await
    }

    /// Controllers watch pods and what owns them apart: one that sees a restored set before its restored pods makes
    /// pods of its own and ends as many, perhaps those that were restored.
    pub(super) async fn let_pods_be_seen(&self) {
        let made = |at: u32| {
            let entry = &self.entries[at as usize];
            entry.stage() == Stage::Pods && self.done.get(&at) == Some(&Done::Created)
        };
        if (0u32..).take(self.entries.len()).any(made) {
            tokio::select! {
                () = tokio::time::sleep(POD_NOTICE) => {}
                () = self.cancel.cancelled() => {}
            }
        }
    }

    /// Takes over what an earlier run has done.
    async fn take_up(&mut self) -> Result<(), RestoreError> {
        let doing = || "read the journal".to_owned();
        let parts = self.writer.journals().await.doing(doing)?;
        let journal = journal::decode(&parts).doing(doing)?;
        for line in journal.objects.into_values() {
            // Failures are tried once more: what was in the way may have gone.
            if line.done != Done::Failed && (line.entry as usize) < self.entries.len() {
                self.record_line(&line, true);
            }
        }
        self.take_up_fills(journal.fills);
        for (at, line) in journal.hooks {
            // What has ended is not run again, however it ended.
            if (line.entry as usize) < self.entries.len() {
                self.tell_hook(&line, true);
                self.hooks.insert(at, line);
            }
        }
        Ok(())
    }

    fn items_of(&self, stage: Stage) -> Vec<u32> {
        (0u32..)
            .zip(self.entries.iter())
            .filter(|(at, entry)| {
                entry.action.changes() && entry.stage() == stage && !self.done.contains_key(at)
            })
            .map(|(at, _)| at)
            .collect()
    }

    /// Attempts objects, many at once; what may work later is deferred.
    pub(super) async fn try_all(&mut self, items: Vec<u32>) -> Result<(), RestoreError> {
        let hands = self.hands.clone();
        let entries = self.entries.clone();
        let cancel = self.cancel.clone();
        let mut waiting: VecDeque<u32> = items.into();
        let attempts = stream::poll_fn(move |_| {
            let next = if cancel.is_cancelled() {
                None
            } else {
                waiting.pop_front()
            };
            std::task::Poll::Ready(next)
        })
        .map(move |at| {
            let hands = hands.clone();
            let entries = entries.clone();
            // A task of its own, for more than one core; it ends with the restore.
            let attempt = async move { hands.attempt(&entries[at as usize]).await };
            let attempt = AbortOnDropHandle::new(tokio::spawn(attempt));
            async move { (at, attempt.await) }
        })
        .buffer_unordered(AHEAD);
        let mut attempts = std::pin::pin!(attempts);
        while let Some((at, attempt)) = attempts.next().await {
            let attempt = match attempt {
                Ok(attempt) => attempt,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(RestoreError::cancelled()),
            };
            self.settle(at, attempt).await?;
        }
        Ok(())
    }

    async fn settle(&mut self, at: u32, attempt: Attempt) -> Result<(), RestoreError> {
        match attempt {
            Attempt::Settled {
                done,
                message,
                warnings,
            } => {
                self.silent = 0;
                let line = Line {
                    entry: at,
                    done,
                    message,
                    warnings,
                };
                self.record_line(&line, false);
                self.unwritten.push(line);
            }
            Attempt::Later { why, message } => {
                self.silent = if why == Why::Unanswered {
                    self.silent + 1
                } else {
                    0
                };
                tracing::debug!(entry = at, ?why, message, "deferred");
                self.deferred.push(Deferred {
                    entry: at,
                    why,
                    message,
                });
            }
        }
        self.progress.done = self.done.len() as u64;
        self.progress.waiting = self.deferred.len() as u64;
        self.observer.tell(self.progress);
        if self.unwritten.len() >= JOURNAL_LINES || self.written_at.elapsed() >= JOURNAL_PAUSE {
            self.write_journal().await?;
        }
        if self.silent >= SILENCE {
            let last = self.deferred.last().map_or("", |d| d.message.as_str());
            return Err(RestoreError::refused(
                "restore",
                format!(
                    "the target has not answered {SILENCE} calls in a row ({last}); resume the restore \
                     when it is back"
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn record_line(&mut self, line: &Line, earlier: bool) {
        let entry = &self.entries[line.entry as usize];
        self.record.object(entry, line, earlier);
        self.done.insert(line.entry, line.done);
    }

    pub(super) async fn write_journal(&mut self) -> Result<(), RestoreError> {
        self.written_at = Instant::now();
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let doing = || "write the journal".to_owned();
        let part = journal::encode(&self.unwritten).doing(doing)?;
        self.writer.append_journal(part).await.doing(doing)?;
        self.unwritten.clear();
        Ok(())
    }

    /// Waits for the definitions that were made, then asks the target again what it serves.
    async fn establish(&mut self, items: &[u32]) -> Result<(), RestoreError> {
        if items.is_empty() {
            return Ok(());
        }
        let hands = self.hands.clone();
        let entries = self.entries.clone();
        let made = |at: &&u32| {
            let done = self.done.get(*at);
            matches!(done, Some(Done::Created | Done::Updated | Done::Skipped))
        };
        let waits: Vec<u32> = items.iter().filter(made).copied().collect();
        let results: Vec<_> = stream::iter(waits)
            .map(|at| {
                let hands = hands.clone();
                let entry = entries[at as usize].clone();
                async move {
                    let key = entry.target(&hands.header.rules);
                    let to = entry.destination();
                    let discovery = hands.discovery();
                    let api = discovery.find_version(&to.resource, &to.group_version.version);
                    let established = match api {
                        Some(api) => {
                            let wait = hands.wait();
                            hands
                                .cluster
                                .wait_crd_established(api, &key.name, &wait)
                                .await
                        }
                        None => Ok(()),
                    };
                    (key, established)
                }
            })
            .buffer_unordered(AHEAD)
            .collect()
            .await;
        for (key, established) in results {
            if let Err(error) = established
                && !error.is_cancelled()
            {
                self.record.warn(
                    &key,
                    &format!("it was not established: {error}: {}", error.reason()),
                );
            }
        }
        self.rediscover().await
    }

    pub(super) async fn rediscover(&mut self) -> Result<(), RestoreError> {
        let fresh = self
            .hands
            .cluster
            .discover(DiscoverOptions { all_versions: true })
            .await
            .doing(|| "ask the target again what it serves".to_owned())?;
        *self
            .hands
            .discovery
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
        Ok(())
    }

    fn counts(&self) -> BTreeMap<Done, u64> {
        let mut counts = BTreeMap::new();
        for done in self.done.values() {
            *counts.entry(*done).or_default() += 1;
        }
        counts
    }
}
