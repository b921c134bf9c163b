//! Volumes that are filled beside the stages, and what waits for them.
//!
//! Fills begin once everything before the pods stands, those of a higher priority first, some at once. What does not
//! use their volumes goes on meanwhile; what does is made as soon as its last volume is filled, in the order of the
//! stages. So the first application is up before the last byte is copied.
//!
//! Commit point: the line of the journal that says that a volume is filled. A run that is killed before it fills the
//! volume again, which does no harm: nothing has used it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use salvor_archive::files::{CsiSnapshotInfo, PodVolumeInfo, RestoreVolumeInfo};
use salvor_volume::Filled;
use tokio::task::JoinSet;

use super::fill::Filler;
use super::journal::{self, Done, FillEnd, FillLine, Line};
use super::stages::Engine;
use crate::restore::error::{Doing as _, RestoreError};
use crate::restore::order::Stage;
use crate::restore::plan::{Action, PlanEntry};
use crate::restore::volume_data::{DataAction, VolumeData};

/// Volumes that are asked for at once; movers bound how many are carried out on one node.
pub(super) const FILLS_AT_ONCE: usize = 8;
/// Problems of one volume that are named; the rest is counted.
const NAMED_PROBLEMS: usize = 3;

/// Where one volume stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is to be done, or nothing is left to do.
    Settled,
    /// Its claim or pod is not there yet, or others come first.
    Waiting,
    /// It is being filled.
    Running,
    /// It is not filled, and what uses it must not be made.
    Failed(String),
}

/// The volumes of a plan while they are filled.
pub(super) struct Filling {
    filler: Arc<Filler>,
    states: Vec<State>,
    lines: BTreeMap<u32, FillLine>,
    tasks: JoinSet<(u32, Result<Filled, String>)>,
    /// Volumes by the entry that uses them.
    needs: HashMap<u32, Vec<u32>>,
    /// Entries whose stage has come and whose volumes are not filled yet.
    held: Vec<u32>,
}

/// Whether an entry may be made.
enum Gate {
    Open,
    Later,
    Closed(String),
}

impl Filling {
    pub(super) fn new(filler: Filler) -> Self {
        let data = &filler.header.data;
        let mut needs: HashMap<u32, Vec<u32>> = HashMap::new();
        for (at, data) in (0u32..).zip(data) {
            for user in &data.users {
                needs.entry(*user).or_default().push(at);
            }
        }
        let states = data
            .iter()
            .map(|data| match data.action {
                DataAction::Fill | DataAction::FillInPlace => State::Waiting,
                DataAction::Leave | DataAction::FromSnapshot => State::Settled,
                DataAction::Blocked => State::Failed(data.reason.clone()),
            })
            .collect();
        Self {
            filler: Arc::new(filler),
            states,
            lines: BTreeMap::new(),
            tasks: JoinSet::new(),
            needs,
            held: Vec::new(),
        }
    }

    pub(super) fn filler(&self) -> Arc<Filler> {
        Arc::clone(&self.filler)
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &FillLine> {
        self.lines.values()
    }

    fn data(&self, at: u32) -> &VolumeData {
        &self.filler.header.data[at as usize]
    }

    /// Volumes of claims (or of pods) that are not filled yet.
    fn waiting(&self, of_pods: bool) -> Vec<u32> {
        (0u32..)
            .zip(&self.states)
            .filter(|(at, state)| {
                **state == State::Waiting && self.data(*at).is_of_pod() == of_pods
            })
            .map(|(at, _)| at)
            .collect()
    }

    fn gate(&self, at: u32, entry: &PlanEntry) -> Gate {
        let mut gate = Gate::Open;
        for volume in self.needs.get(&at).into_iter().flatten() {
            match &self.states[*volume as usize] {
                State::Settled => {}
                State::Waiting | State::Running => gate = Gate::Later,
                State::Failed(reason) => {
                    let shown = self
                        .data(*volume)
                        .shown(&self.filler.header.rules.namespaces);
                    return Gate::Closed(format!(
                        "held back, because {shown} is not filled and it would begin with an empty volume: {reason}"
                    ));
                }
            }
        }
        if matches!(gate, Gate::Open) && self.may_have_pods_of_its_own(entry) {
            gate = Gate::Later;
        }
        gate
    }

    /// True for an object of a user's kind beside volumes that are not filled yet: its operator may make pods of which
    /// the backup tells nothing.
    fn may_have_pods_of_its_own(&self, entry: &PlanEntry) -> bool {
        let group = &entry.resource.group;
        let is_custom = group.contains('.') && !group.ends_with(".k8s.io");
        let Some(namespace) = entry.namespace.as_deref().filter(|_| is_custom) else {
            return false;
        };
        let open = |(state, data): (&State, &VolumeData)| {
            matches!(state, State::Waiting | State::Running)
                && !data.is_of_pod()
                && data.namespace == namespace
        };
        self.states.iter().zip(&self.filler.header.data).any(open)
    }

    /// Volumes that were to be filled and are not, although another try may do it.
    pub(super) fn unfilled(&self) -> usize {
        let failed = |line: &&FillLine| line.end == FillEnd::Failed;
        self.lines.values().filter(failed).count()
    }

    /// What Velero's file says of the volumes.
    pub(super) fn infos(&self) -> Vec<RestoreVolumeInfo> {
        let lines = self.lines.values().filter(|line| match line.end {
            FillEnd::Filled => true,
            // Of a snapshot it has no field that would say so.
            FillEnd::Failed => self.data(line.volume).csi.is_none(),
            FillEnd::Left => false,
        });
        lines.map(|line| self.info(line)).collect()
    }

    fn info(&self, line: &FillLine) -> RestoreVolumeInfo {
        let data = self.data(line.volume);
        let namespace = data.target_namespace(&self.filler.header.rules.namespaces);
        let snapshot = data.snapshot.clone().unwrap_or_default();
        let phase = match line.end {
            FillEnd::Failed => "Failed",
            FillEnd::Filled | FillEnd::Left => "Completed",
        };
        let info = RestoreVolumeInfo {
            pvc_name: data.claim.clone(),
            pvc_namespace: match data.is_of_pod() {
                true => String::new(),
                false => namespace.to_owned(),
            },
            pv_name: line.persistent_volume.clone(),
            ..RestoreVolumeInfo::default()
        };
        if let Some(csi) = &data.csi {
            return RestoreVolumeInfo {
                restore_method: "CSISnapshot".to_owned(),
                csi_snapshot_info: Some(CsiSnapshotInfo {
                    snapshot_handle: csi.handle.clone(),
                    size: i64::try_from(csi.restore_size).unwrap_or(i64::MAX),
                    driver: csi.driver.clone(),
                    vsc_name: csi.made_as.clone(),
                    ..CsiSnapshotInfo::default()
                }),
                ..info
            };
        }
        RestoreVolumeInfo {
            restore_method: "PodVolumeRestore".to_owned(),
            pvr_info: Some(PodVolumeInfo {
                snapshot_handle: snapshot.id,
                size: i64::try_from(snapshot.bytes).unwrap_or(i64::MAX),
                uploader_type: "restic".to_owned(),
                volume_name: data.pod_volume.clone(),
                pod_name: data.pod.clone(),
                pod_namespace: namespace.to_owned(),
                node_name: line.node.clone(),
                phase: phase.to_owned(),
                ..PodVolumeInfo::default()
            }),
            ..info
        }
    }
}

impl Engine {
    /// Takes over what an earlier run has filled. What failed is tried once more.
    pub(super) fn take_up_fills(&mut self, lines: BTreeMap<u32, FillLine>) {
        for (at, line) in lines {
            if line.end != FillEnd::Failed && (at as usize) < self.filling.states.len() {
                self.settle_fill(line, true);
            }
        }
    }

    /// Leaves out what must not be made yet, or at all.
    pub(super) fn keep_from_unfilled(&mut self, items: Vec<u32>) -> Vec<u32> {
        let mut open = Vec::with_capacity(items.len());
        for at in items {
            match self.filling.gate(at, &self.entries[at as usize]) {
                Gate::Open => open.push(at),
                Gate::Later => self.filling.held.push(at),
                Gate::Closed(reason) => {
                    let line = Line {
                        entry: at,
                        done: Done::Failed,
                        message: reason,
                        warnings: Vec::new(),
                    };
                    self.record_line(&line, false);
                    self.unwritten.push(line);
                }
            }
        }
        open
    }

    /// Begins what can begin, takes in what has ended, and makes what waited for that.
    pub(super) async fn go_on_filling(&mut self) -> Result<(), RestoreError> {
        while let Some(ended) = self.filling.tasks.try_join_next() {
            self.end_fill(ended).await?;
        }
        for at in self.filling.waiting(false) {
            if self.filling.tasks.len() >= FILLS_AT_ONCE || self.cancel.is_cancelled() {
                break;
            }
            match self.readiness(at) {
                Ok(false) => {}
                Ok(true) => {
                    let filler = Arc::clone(&self.filling.filler);
                    self.filling.states[at as usize] = State::Running;
                    self.filling.tasks.spawn(async move {
                        let filled = filler.fill(&filler.header.data[at as usize]).await;
                        (at, filled)
                    });
                }
                Err(line) => self.write_fill(line).await?,
            }
        }
        self.release().await
    }

    /// Whether the claim or pod of a volume stands; the line that settles it when it never will.
    fn readiness(&self, at: u32) -> Result<bool, FillLine> {
        let data = self.filling.data(at);
        let what = if data.is_of_pod() { "pod" } else { "claim" };
        let Some(entry) = data.entry else {
            return Err(ended(
                at,
                FillEnd::Failed,
                format!("its {what} is not in the plan"),
            ));
        };
        let planned = self.entries[entry as usize].action;
        match (self.done.get(&entry), planned) {
            (Some(Done::Created | Done::Updated), _) => Ok(true),
            (Some(Done::Skipped), Action::Create | Action::Recreate) => {
                let reason =
                    format!("its {what} appeared after the plan was made and keeps what it holds");
                Err(ended(at, FillEnd::Left, reason))
            }
            (Some(Done::Failed), _) => Err(ended(
                at,
                FillEnd::Failed,
                format!("its {what} could not be made"),
            )),
            (Some(Done::Skipped), _) => Ok(true),
            (None, action) => Ok(!action.changes()),
        }
    }

    /// Makes what waited, as far as its volumes are settled.
    async fn release(&mut self) -> Result<(), RestoreError> {
        let held = std::mem::take(&mut self.filling.held);
        if held.is_empty() || self.cancel.is_cancelled() {
            self.filling.held = held;
            return Ok(());
        }
        let mut stages: BTreeMap<Stage, Vec<u32>> = BTreeMap::new();
        for at in self.keep_from_unfilled(held) {
            stages
                .entry(self.entries[at as usize].stage())
                .or_default()
                .push(at);
        }
        for (stage, mut items) in stages {
            if stage == Stage::ReplicaSets {
                self.let_pods_be_seen().await;
            }
            items.sort_by_key(|at| self.entries[*at as usize].at);
            self.record.say(&format!(
                "stage {stage}: {} objects whose volumes are filled",
                items.len()
            ));
            self.try_all(items).await?;
        }
        Ok(())
    }

    /// Waits for the volumes of claims, then fills those of pods.
    pub(super) async fn finish_filling(&mut self) -> Result<(), RestoreError> {
        let mut has_waited = false;
        while !self.cancel.is_cancelled() {
            self.go_on_filling().await?;
            if !self.filling.tasks.is_empty() {
                let ended = tokio::select! {
                    ended = self.filling.tasks.join_next() => ended,
                    () = self.cancel.cancelled() => break,
                };
                if let Some(ended) = ended {
                    self.end_fill(ended).await?;
                }
                self.retry_while_it_shrinks().await?;
            } else if self.filling.waiting(false).is_empty() {
                break;
            } else if has_waited {
                for at in self.filling.waiting(false) {
                    let reason = "its claim could not be made in time".to_owned();
                    self.write_fill(ended(at, FillEnd::Failed, reason)).await?;
                }
            } else {
                // Their claims are in the deferred queue.
                self.wait_for_the_rest().await?;
                has_waited = true;
            }
        }
        if self.cancel.is_cancelled() {
            // The movers have the same token: they stop at a safe point.
            while self.filling.tasks.join_next().await.is_some() {}
        }
        self.fill_pods(false).await
    }

    /// Fills the volumes of pods that wait for them. `last`: pods that are not there now will not come.
    pub(super) async fn fill_pods(&mut self, last: bool) -> Result<(), RestoreError> {
        let mut ready = Vec::new();
        for at in self.filling.waiting(true) {
            match self.readiness(at) {
                Ok(true) => ready.push(at),
                Ok(false) if last => {
                    let reason = "its pod could not be made".to_owned();
                    self.write_fill(ended(at, FillEnd::Failed, reason)).await?;
                }
                Ok(false) => {}
                Err(line) => self.write_fill(line).await?,
            }
        }
        if self.cancel.is_cancelled() {
            return Ok(());
        }
        let filler = Arc::clone(&self.filling.filler);
        let fills = stream::iter(ready).map(|at| {
            let filler = Arc::clone(&filler);
            async move { (at, filler.fill(&filler.header.data[at as usize]).await) }
        });
        let mut fills = std::pin::pin!(fills.buffer_unordered(FILLS_AT_ONCE));
        while let Some(ended) = fills.next().await {
            self.end_fill(Ok(ended)).await?;
        }
        Ok(())
    }

    async fn end_fill(
        &mut self,
        result: Result<(u32, Result<Filled, String>), tokio::task::JoinError>,
    ) -> Result<(), RestoreError> {
        let (at, result) = match result {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Err(RestoreError::cancelled()),
        };
        let line = match result {
            Ok(filled) => of_filled(at, filled),
            // It is not known how far it came, so the journal says nothing and it is filled again.
            Err(_) if self.cancel.is_cancelled() => {
                self.filling.states[at as usize] = State::Waiting;
                return Ok(());
            }
            Err(reason) => ended(at, FillEnd::Failed, reason),
        };
        self.write_fill(line).await
    }

    /// Writes a line before anything that rests on it happens.
    async fn write_fill(&mut self, line: FillLine) -> Result<(), RestoreError> {
        let doing = || "write the journal".to_owned();
        let part = journal::encode_fill(&line).doing(doing)?;
        self.writer.append_journal(part).await.doing(doing)?;
        self.settle_fill(line, false);
        Ok(())
    }

    fn settle_fill(&mut self, line: FillLine, earlier: bool) {
        let at = line.volume;
        let data = self.filling.data(at).clone();
        self.record.volume(&data, &line, earlier);
        self.filling.states[at as usize] = match line.end {
            FillEnd::Filled | FillEnd::Left => State::Settled,
            FillEnd::Failed => State::Failed(line.message.clone()),
        };
        self.filling.lines.insert(at, line);
    }
}

fn ended(volume: u32, end: FillEnd, message: String) -> FillLine {
    FillLine {
        volume,
        end,
        message,
        bytes: 0,
        entries: 0,
        failed: 0,
        node: String::new(),
        persistent_volume: String::new(),
    }
}

fn of_filled(volume: u32, filled: Filled) -> FillLine {
    let mut named = filled.problems;
    let more = named.len().saturating_sub(NAMED_PROBLEMS);
    named.truncate(NAMED_PROBLEMS);
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    FillLine {
        bytes: filled.bytes,
        entries: filled.entries,
        failed: filled.failed,
        node: filled.node,
        persistent_volume: filled.volume,
        ..ended(volume, FillEnd::Filled, named.join("; "))
    }
}
