//! What a mover says in its object.

use std::sync::Arc;
use std::time::Duration;

use salvor_api::velero::DataPhase;
use salvor_cluster::ErrorKind;
use salvor_repository::Progress;
use serde_json::{Value, json};

use super::{Work, WorkError};
use crate::objects::{Direction, Movement, Outcome, RESULT, UNTOUCHED, now};

/// Between two looks, and two words of progress.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// How often the end is tried to be written while the API server is away: an hour of it is more than any upgrade takes.
const ATTEMPTS: u32 = 360;
/// Entries that the message names; the result has more.
const QUOTED: usize = 3;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Reporter<'a> {
    work: &'a Work,
}

/// The object changed since it was read.
pub(super) fn is_stale(error: &salvor_cluster::Error) -> bool {
    error.kind() == ErrorKind::Conflict
}

impl<'a> Reporter<'a> {
    pub(super) fn new(work: &'a Work) -> Self {
        Self { work }
    }

    /// Writes progress once a second until the object asks to stop.
    pub(super) async fn until_cancelled(&self, movement: &Movement, progress: &Arc<Progress>) {
        let mut written = 0;
        loop {
            tokio::time::sleep(PAUSE).await;
            let bytes = progress.bytes();
            let Work {
                cluster,
                namespace,
                direction,
                name,
                ..
            } = self.work;
            let looked = if bytes == written {
                Movement::get(cluster, namespace, *direction, name).await
            } else {
                let total = progress.total_bytes().max(movement.expected);
                let status = progress_of(bytes, total);
                movement
                    .patch(cluster, namespace, &json!({"status": status}))
                    .await
            };
            match looked {
                Ok(Some(now)) => {
                    written = bytes;
                    let is_over = now.phase.is_final() || now.phase == DataPhase::Canceling;
                    if now.cancel || is_over || now.uid != movement.uid {
                        return;
                    }
                }
                // Deleted: nobody waits for it.
                Ok(None) => return,
                Err(error) if error.kind() == ErrorKind::NotFound => return,
                Err(error) => {
                    tracing::warn!(%error, "the progress could not be told; the work goes on");
                }
            }
        }
    }

    /// Writes that it is done; of a restore that some entries do not have their content, that it failed.
    pub(super) async fn completed(
        &self,
        movement: &Movement,
        outcome: &Outcome,
    ) -> Result<(), WorkError> {
        let mut status = progress_of(outcome.bytes, outcome.bytes);
        match &lacking(movement.direction, outcome) {
            Some(message) => {
                status["phase"] = json!("Failed");
                status["message"] = json!(message);
            }
            None => status["phase"] = json!("Completed"),
        }
        status["completionTimestamp"] = json!(now());
        if movement.direction == Direction::Backup {
            if let Some(left_out) = outcome.left_out() {
                status["message"] = json!(left_out);
            }
            status["snapshotID"] = json!(outcome.snapshot);
            status["incrementalBytes"] = json!(outcome.new_bytes);
        }
        let result = json!(outcome).to_string();
        self.write(json!({"metadata": {"annotations": {RESULT: result}}, "status": status}))
            .await
    }

    /// Writes that it failed or was stopped.
    pub(super) async fn ended(&self, error: &WorkError, touched: bool) -> Result<(), WorkError> {
        let phase = if error.is_cancelled() {
            "Canceled"
        } else {
            "Failed"
        };
        let status = json!({
            "phase": phase, "message": chain(error), "completionTimestamp": now(),
        });
        let untouched = (self.work.direction == Direction::Restore && !touched).then_some("true");
        let annotations = json!({ UNTOUCHED: untouched });
        self.write(json!({"metadata": {"annotations": annotations}, "status": status}))
            .await
    }

    /// Writes an end, unless there is one. An end that another wrote meanwhile stays: whoever waited has read it.
    async fn write(&self, patch: Value) -> Result<(), WorkError> {
        let failed = |source| WorkError::Cluster {
            doing: "write what came of it",
            source,
        };
        let Work {
            cluster, namespace, ..
        } = self.work;
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            let written = match self.work.movement().await {
                Ok(movement) if movement.phase.is_final() => return Ok(()),
                Ok(movement) => {
                    let mut patch = patch.clone();
                    patch["metadata"]["resourceVersion"] = json!(movement.resource_version);
                    movement.patch(cluster, namespace, &patch).await
                }
                Err(WorkError::Cluster { source, .. }) => Err(source),
                Err(gone) => return Err(gone),
            };
            match written {
                Ok(_) => return Ok(()),
                Err(error) if is_stale(&error) => {}
                Err(error) if attempt < ATTEMPTS && error.is_retryable() => {
                    tracing::warn!(%error, attempt, "the end could not be written; tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(failed(error)),
            }
            attempt += 1;
        }
    }
}

/// What a restore did not bring back; `None` when everything has its content.
fn lacking(direction: Direction, outcome: &Outcome) -> Option<String> {
    if direction == Direction::Backup || outcome.missing == 0 {
        return None;
    }
    let entries = match outcome.missing {
        1 => "1 entry does".to_owned(),
        some => format!("{some} entries do"),
    };
    let named: Vec<&str> = outcome
        .problems
        .iter()
        .take(QUOTED)
        .map(String::as_str)
        .collect();
    let more = if outcome.failed > named.len() as u64 {
        "; ..."
    } else {
        ""
    };
    Some(format!(
        "{entries} not have the content of the snapshot, {} do: {}{more}",
        outcome.entries,
        named.join("; ")
    ))
}

fn progress_of(done: u64, total: u64) -> Value {
    // Of a volume that is being read the total is not known: the field is left alone then.
    let mut progress = json!({ "bytesDone": done });
    if total >= done && total > 0 {
        progress["totalBytes"] = json!(total);
    }
    json!({ "progress": progress })
}

/// An error with its causes, for people.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let more = current.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = current.source();
    }
    text
}
