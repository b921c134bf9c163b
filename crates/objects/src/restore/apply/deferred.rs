//! The queue of what could not be applied yet: tried again between the stages and, with growing pauses, after the last
//! one, until nothing waits or the time is up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use salvor_cluster::ApiResource;
use tokio::time::Instant;

use super::item::Why;
use super::journal::{Done, Line};
use super::stages::Engine;
use crate::restore::error::RestoreError;
use crate::restore::mapping::is_namespace;
use crate::restore::order::Stage;

/// First pause after the last stage.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// An object that waits.
pub(super) struct Deferred {
    pub(super) entry: u32,
    pub(super) why: Why,
    pub(super) message: String,
}

impl Engine {
    /// Tries the deferred queue for as long as each pass settles something.
    pub(super) async fn retry_while_it_shrinks(&mut self) -> Result<(), RestoreError> {
        loop {
            let before = self.deferred.len();
            if before == 0 || self.cancel.is_cancelled() {
                return Ok(());
            }
            self.retry_once().await?;
            if self.deferred.len() >= before {
                return Ok(());
            }
        }
    }

    async fn retry_once(&mut self) -> Result<(), RestoreError> {
        let deferred = std::mem::take(&mut self.deferred);
        if deferred.iter().any(|item| item.why == Why::NoKind) {
            self.rediscover().await?;
        }
        // Stage order inside the queue as well: what comes last must not be in the way of the rest.
        let mut stages: BTreeMap<Stage, Vec<u32>> = BTreeMap::new();
        for item in deferred {
            let stage = self.entries[item.entry as usize].stage();
            stages.entry(stage).or_default().push(item.entry);
        }
        for (_, mut items) in stages {
            items.sort_by_key(|at| self.entries[*at as usize].at);
            self.try_all(items).await?;
        }
        Ok(())
    }

    /// Objects whose namespace was deleted under us do not wait for it: that is told at once.
    async fn stop_lost_namespaces(&mut self) -> Result<(), RestoreError> {
        let header = self.hands.header.clone();
        let target = |engine: &Self, item: &Deferred| {
            engine.entries[item.entry as usize].target(&header.rules)
        };
        let waiting: BTreeSet<String> = self
            .deferred
            .iter()
            .map(|item| target(self, item))
            .filter(is_namespace)
            .map(|key| key.name)
            .collect();
        let missed: BTreeSet<String> = self
            .deferred
            .iter()
            .filter(|item| item.why == Why::NoNamespace)
            .filter_map(|item| target(self, item).namespace)
            .filter(|name| !waiting.contains(name))
            .collect();
        let mut lost = BTreeSet::new();
        for name in missed {
            let api = ApiResource::namespaces();
            // A server that does not answer here is asked again by the queue itself.
            if let Ok(None) = self.hands.cluster.get(&api, None, &name).await {
                lost.insert(name);
            }
        }
        for item in std::mem::take(&mut self.deferred) {
            match target(self, &item).namespace {
                Some(name) if item.why == Why::NoNamespace && lost.contains(&name) => {
                    let line = Line {
                        entry: item.entry,
                        done: Done::Failed,
                        message: format!("namespace {name} was deleted during the restore"),
                        warnings: Vec::new(),
                    };
                    self.record_line(&line, false);
                    self.unwritten.push(line);
                }
                _ => self.deferred.push(item),
            }
        }
        Ok(())
    }

    /// After the last stage: with growing pauses, until nothing waits or the time is up.
    pub(super) async fn wait_for_the_rest(&mut self) -> Result<(), RestoreError> {
        let mut deadline = Instant::now() + self.hands.timeout;
        let mut pause = FIRST_PAUSE;
        self.stop_lost_namespaces().await?;
        while !self.deferred.is_empty() && !self.cancel.is_cancelled() {
            if Instant::now() + pause > deadline {
                return Ok(());
            }
            self.write_journal().await?;
            tokio::select! {
                () = self.cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            let before = self.deferred.len();
            self.retry_while_it_shrinks().await?;
            if self.deferred.len() < before {
                // Something moved: the time counts from the last progress.
                deadline = Instant::now() + self.hands.timeout;
                pause = FIRST_PAUSE;
            } else {
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        Ok(())
    }

    pub(super) fn give_up_the_rest(&mut self) {
        for item in std::mem::take(&mut self.deferred) {
            let line = Line {
                entry: item.entry,
                done: Done::Failed,
                message: item.message,
                warnings: Vec::new(),
            };
            self.record_line(&line, false);
            self.unwritten.push(line);
        }
    }
}
