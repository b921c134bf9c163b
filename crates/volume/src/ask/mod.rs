//! [`AgentMover`]: data is moved by the node agents of the cluster.

mod hold;
mod holder;
mod request;
pub(crate) mod stuck;
mod wait;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_cluster::{ApiResource, Cluster, DeleteOptions, ErrorKind, ListOptions};
use salvor_location::RunId;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::hold::Held;
pub(crate) use self::hold::events_of;
pub(crate) use self::holder::HOLDS_FOR;
/// What names of pods begin with that hold a claim.
pub const HOLDER_PREFIX: &str = "salvor-hold-";

pub use self::request::PVC_NAME;
use self::request::Request;
use crate::objects::{Direction, MADE_BY, MANAGED_BY, Movement, RUN, pods};
use crate::{
    BackUpVolume, Claim, DataMover, FillVolume, Filled, MoveError, Moving, OnBehalfOf, Stored,
    VolumePlace,
};

/// Name of the DaemonSet, as in Velero.
pub const NODE_AGENT: &str = "node-agent";
/// How long a claim may take to be mounted: a node may have to be started and a disk to be made for it.
const HOLD_PATIENCE: Duration = Duration::from_secs(10 * 60);
/// How long a pod is waited for whose volume cannot be mounted by waiting, as its events say: a directory may be made by
/// hand, or a mount below it be late. A kubelet tries again after a minute at the third time.
pub(crate) const STUCK_PATIENCE: Duration = Duration::from_secs(75);

/// How long the record of a movement stays that nothing owns: of commands, whose backups have no object.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MadeBy {
    /// The server of the namespace, of which there is one at a time.
    Server,
    /// A command, of which there may be several.
    Command,
}

impl MadeBy {
    fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Command => "command",
        }
    }
}

/// Has the node agents of a server's namespace move data.
#[derive(Clone, Debug)]
pub struct AgentMover {
    cluster: Cluster,
    namespace: String,
    made_by: MadeBy,
    hold_patience: Duration,
    stuck_patience: Duration,
    agent_patience: Duration,
    moving: Option<Arc<watch::Sender<Moving>>>,
    begun: Arc<AtomicBool>,
}

/// Where a volume is mounted.
#[derive(Clone, Debug)]
struct Target {
    namespace: String,
    pod: String,
    uid: String,
    node: String,
    volume: String,
    claim: Option<Claim>,
    /// Whether the volume goes when the pod goes.
    lives_with_pod: bool,
}

impl AgentMover {
    /// Makes no call.
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str, made_by: MadeBy) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            made_by,
            hold_patience: HOLD_PATIENCE,
            stuck_patience: STUCK_PATIENCE,
            agent_patience: wait::AGENT_PATIENCE,
            moving: None,
            begun: Arc::default(),
        }
    }

    /// Tells how far the movement is that it carries out; of several at once, of each in turn.
    #[must_use]
    pub fn telling(self, moving: watch::Sender<Moving>) -> Self {
        Self {
            moving: Some(Arc::new(moving)),
            ..self
        }
    }

    /// The same for one movement, with a flag that says afterwards whether it may have written into its volume.
    pub(crate) fn for_one(&self) -> (Self, Arc<AtomicBool>) {
        let begun = Arc::new(AtomicBool::new(false));
        let mover = Self {
            begun: Arc::clone(&begun),
            ..self.clone()
        };
        (mover, begun)
    }

    /// Notes that a movement may have written.
    fn note_begun(&self, begun: bool) {
        self.begun.fetch_or(begun, Ordering::Relaxed);
    }

    /// With another time for claims to be mounted, and for agents to come back.
    #[must_use]
    pub fn with_patience(self, hold: Duration, agent: Duration) -> Self {
        Self {
            hold_patience: hold,
            agent_patience: agent,
            ..self
        }
    }

    /// With another time for volumes to be mounted that their events say cannot be.
    #[must_use]
    pub fn with_patience_for_stuck(self, stuck: Duration) -> Self {
        Self {
            stuck_patience: stuck,
            ..self
        }
    }

    /// Whether node agents are installed.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub async fn is_installed(&self) -> Result<bool, MoveError> {
        match self.daemon_set().await {
            Ok(_) => Ok(true),
            Err(MoveError::NoAgent { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends what a server before began and did not finish: cancels its movements and deletes the pods that held claims for
    /// it. Old records that nothing owns go as well. To be called by a new server before it asks for anything; how many
    /// things there were.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses.
    pub async fn sweep(&self) -> Result<usize, MoveError> {
        if !self.is_installed().await? {
            return Ok(0);
        }
        let mut swept = self.sweep_holders().await?;
        for direction in [Direction::Backup, Direction::Restore] {
            let selector = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
            for movement in self.movements(direction, selector).await? {
                let is_ours = movement.annotation(MADE_BY) == self.made_by.word();
                if is_ours && !movement.phase.is_final() && !movement.cancel {
                    self.ask_to_stop(&movement).await?;
                    swept += 1;
                }
                // Those with an owner go with it.
                let is_old = movement
                    .completed
                    .is_some_and(|at| at.plus(KEPT) < Time::new(Timestamp::now()));
                if movement.owner_uid.is_empty() && movement.phase.is_final() && is_old {
                    self.forget(&movement).await?;
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }

    /// Ends what a dead run of the same identity left of its fill of a claim: its movements are stopped and waited for,
    /// then the pods that held the claim for it go. Only for who knows that no such run is alive.
    ///
    /// # Errors
    /// The cluster does not answer, or refuses; cancelled.
    pub async fn take_over(
        &self,
        run: &str,
        claim: &Claim,
        cancel: &CancellationToken,
    ) -> Result<(), MoveError> {
        let selector = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
        for movement in self.movements(Direction::Restore, selector).await? {
            if movement.annotation(RUN) == run && !movement.phase.is_final() {
                let until = Instant::now() + wait::STOPPING;
                self.end_other(&movement, until, cancel).await?;
            }
        }
        self.release_of(run, &claim.namespace).await
    }

    async fn forget(&self, movement: &Movement) -> Result<(), MoveError> {
        let options = DeleteOptions {
            uid: Some(movement.uid.clone()),
            ..DeleteOptions::default()
        };
        let resource = movement.direction.resource();
        let deleted = self
            .cluster
            .delete(&resource, Some(&self.namespace), &movement.name, &options)
            .await;
        deleted
            .map(drop)
            .map_err(|error| cluster_error("remove an old movement of data", error))
    }

    async fn ask_to_stop(&self, movement: &Movement) -> Result<(), MoveError> {
        let patch = json!({"spec": {"cancel": true}});
        match movement.patch(&self.cluster, &self.namespace, &patch).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(cluster_error("cancel a movement of data", error)),
        }
    }

    async fn movements(
        &self,
        direction: Direction,
        selector: String,
    ) -> Result<Vec<Movement>, MoveError> {
        let options = ListOptions {
            label_selector: Some(selector),
            ..ListOptions::default()
        };
        let resource = direction.resource();
        let mut pager = self
            .cluster
            .pager(&resource, Some(&self.namespace), options);
        let mut found = Vec::new();
        let failed = |error| cluster_error("look for movements of data", error);
        while let Some(page) = pager.next_page().await.map_err(failed)? {
            found.extend(
                page.items()
                    .filter_map(|item| Movement::parse(direction, item)),
            );
        }
        Ok(found)
    }

    /// The DaemonSet of the agents.
    async fn daemon_set(&self) -> Result<Value, MoveError> {
        let resource = ApiResource::known("apps", "v1", "DaemonSet", "daemonsets", true);
        let found = self
            .read(
                "look for the node agent",
                &resource,
                Some(&self.namespace),
                NODE_AGENT,
            )
            .await?;
        found.ok_or_else(|| MoveError::NoAgent {
            node: "any".to_owned(),
            reason: format!(
                "there is no DaemonSet {}/{NODE_AGENT}: install it with `salvor install --use-node-agent`",
                self.namespace
            ),
        })
    }

    /// Why no agent works on a node; `None` when one does.
    async fn missing_agent(&self, node: &str) -> Result<Option<String>, MoveError> {
        let daemon_set = self.daemon_set().await?;
        let labels = daemon_set["spec"]["selector"]["matchLabels"].as_object();
        let labels = labels.into_iter().flatten();
        let selector: Vec<String> = labels
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        let options = ListOptions {
            label_selector: Some(selector.join(",")),
            field_selector: Some(format!("spec.nodeName={node}")),
            ..ListOptions::default()
        };
        let listed = self
            .cluster
            .list_page(&pods(), Some(&self.namespace), &options)
            .await;
        let page = listed.map_err(|error| cluster_error("look for the node agent", error))?;
        let found: Vec<Value> = page
            .items()
            .filter_map(|item| serde_json::from_slice(item).ok())
            .collect();
        let is_ready = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            let mut ready = conditions.filter(|c| c["type"] == "Ready" && c["status"] == "True");
            ready.next().is_some() && pod["metadata"]["deletionTimestamp"].is_null()
        };
        if found.iter().any(is_ready) {
            return Ok(None);
        }
        Ok(Some(match found.first() {
            Some(pod) => {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                format!("its pod {}/{name} is not ready", self.namespace)
            }
            None => "the DaemonSet has no pod there: look at its tolerations and the node's taints"
                .to_owned(),
        }))
    }

    async fn read(
        &self,
        doing: &str,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, MoveError> {
        let found = self.cluster.get(resource, namespace, name).await;
        let found = found.map_err(|error| cluster_error(doing, error))?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Finds where the volume is mounted, or mounts it.
    async fn reach(
        &self,
        place: &VolumePlace,
        of: &OnBehalfOf,
        until: Instant,
        cancel: &CancellationToken,
    ) -> Result<(Option<Held>, Target), MoveError> {
        match place {
            VolumePlace::Pod {
                namespace,
                name,
                uid,
                node,
                volume,
                claim,
            } => {
                self.daemon_set().await?;
                let target = Target {
                    namespace: namespace.clone(),
                    pod: name.clone(),
                    uid: uid.clone(),
                    node: node.clone(),
                    volume: volume.clone(),
                    claim: claim.clone(),
                    lives_with_pod: claim.is_none(),
                };
                Ok((None, target))
            }
            VolumePlace::Claim { claim, placement } => {
                let held = Box::pin(self.hold(claim, placement, of, until, cancel)).await?;
                Ok((Some(held.0), held.1))
            }
        }
    }

    /// Asks for a movement and follows it to its end.
    async fn carry_out(
        &self,
        place: &VolumePlace,
        of: &OnBehalfOf,
        timeout: Duration,
        cancel: &CancellationToken,
        request: impl FnOnce(&Target) -> Request,
    ) -> Result<(Target, Movement), MoveError> {
        if cancel.is_cancelled() {
            return Err(MoveError::Cancelled);
        }
        let until = Instant::now() + timeout;
        let (held, target) = self.reach(place, of, until, cancel).await?;
        let moved = Box::pin(self.ask(&target, request(&target), timeout, until, cancel)).await;
        if let Some(held) = held {
            held.release().await;
        }
        Ok((target, moved?))
    }
}

#[async_trait]
impl DataMover for AgentMover {
    async fn back_up(
        &self,
        job: &BackUpVolume,
        cancel: &CancellationToken,
    ) -> Result<Stored, MoveError> {
        let request = |target: &Target| Request::backup(self, job, target);
        let moved =
            Box::pin(self.carry_out(&job.place, &job.of, job.timeout, cancel, request)).await?;
        let (target, movement) = moved;
        if target.lives_with_pod {
            self.check_still_there(&target).await?;
        }
        let outcome = movement.outcome().unwrap_or_default();
        Ok(Stored {
            domain: outcome.domain,
            snapshot: outcome.snapshot,
            bytes: outcome.bytes,
            new_bytes: outcome.new_bytes,
            entries: outcome.entries,
            unread: outcome.failed,
            problems: outcome.problems,
            sockets: outcome.sockets,
            some_sockets: outcome.some_sockets,
            node: target.node,
            object: movement.name,
            started: movement.started,
            ended: movement.completed,
        })
    }

    async fn fill(
        &self,
        job: &FillVolume,
        cancel: &CancellationToken,
    ) -> Result<Filled, MoveError> {
        let request = |target: &Target| Request::restore(self, job, target);
        let moved =
            Box::pin(self.carry_out(&job.place, &job.of, job.timeout, cancel, request)).await?;
        let (target, movement) = moved;
        let outcome = movement.outcome().unwrap_or_default();
        Ok(Filled {
            bytes: outcome.bytes,
            entries: outcome.entries,
            failed: outcome.failed,
            missing: outcome.missing,
            problems: outcome.problems,
            node: target.node,
            volume: target.claim.map(|claim| claim.volume).unwrap_or_default(),
            object: movement.name,
            started: movement.started,
            ended: movement.completed,
        })
    }

    async fn image(&self) -> Option<String> {
        let daemon_set = self.daemon_set().await.ok()?;
        let image = daemon_set["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?;
        Some(image.to_owned())
    }
}

impl AgentMover {
    /// A volume that goes with its pod is emptied when the pod goes: what was read meanwhile is not to be trusted.
    async fn check_still_there(&self, target: &Target) -> Result<(), MoveError> {
        let found = self
            .read(
                "look at the pod once more",
                &pods(),
                Some(&target.namespace),
                &target.pod,
            )
            .await?;
        let is_there = found.is_some_and(|pod| {
            let metadata = &pod["metadata"];
            (target.uid.is_empty() || metadata["uid"] == *target.uid)
                && metadata["deletionTimestamp"].is_null()
        });
        if is_there {
            return Ok(());
        }
        Err(MoveError::Failed {
            message: format!(
                "pod {}/{} ended while its volume was read: its files were being removed",
                target.namespace, target.pod
            ),
        })
    }
}

fn cluster_error(doing: &str, source: salvor_cluster::Error) -> MoveError {
    MoveError::Cluster {
        doing: doing.to_owned(),
        source,
    }
}

/// Digits for a name that nobody else has.
pub(crate) fn random() -> String {
    let run = RunId::generate();
    let random = run.as_str().rsplit('-').next().unwrap_or_default();
    random.chars().take(10).collect()
}
