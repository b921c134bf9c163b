//! A movement is asked for and followed to its end.

use std::time::Duration;

use salvor_api::labels::PVC_UID;
use salvor_api::velero::DataPhase;
use salvor_cluster::WriteOptions;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::request::Request;
use super::{AgentMover, Target, cluster_error};
use crate::follow::{Followed, Selection};
use crate::objects::{Direction, Movement, RUN, core, now};
use crate::{MoveError, Moving};

/// How long an agent may be away before what it has not begun is given up: a DaemonSet that is updated brings it back
/// within.
pub(super) const AGENT_PATIENCE: Duration = Duration::from_secs(120);
/// How many times longer a node may be away that has begun: it may be started anew, and its mover goes on.
const LOST: u32 = 3;
/// How often it is looked whether the agent is there, or the node, while nothing is heard.
const LOOK: Duration = Duration::from_secs(10);
/// How long a mover may take to stop: its grace, and the agent's way.
pub(super) const STOPPING: Duration = Duration::from_secs(90);

/// Cancels a movement when whoever waits for it goes away.
struct Guard {
    mover: AgentMover,
    movement: Option<Movement>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (Some(movement), Ok(runtime)) =
            (self.movement.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let mover = self.mover.clone();
        runtime.spawn(async move {
            if let Err(error) = mover.ask_to_stop(&movement).await {
                tracing::warn!(%error, name = movement.name, "a movement that nobody waits for goes on");
            }
        });
    }
}

impl AgentMover {
    pub(super) async fn ask(
        &self,
        target: &Target,
        request: Request,
        timeout: Duration,
        until: Instant,
        cancel: &CancellationToken,
    ) -> Result<Movement, MoveError> {
        if let Some(reason) = self.missing_agent(&target.node).await? {
            return Err(MoveError::NoAgent {
                node: target.node.clone(),
                reason,
            });
        }
        self.alone(&request, until, cancel).await?;
        let Request {
            direction,
            name,
            body,
            ..
        } = request;
        let resource = direction.resource();
        let text = body.to_string();
        let made = self
            .cluster
            .create_once(
                &resource,
                Some(&self.namespace),
                &name,
                text.as_bytes(),
                &WriteOptions::default(),
                |_| true,
            )
            .await;
        let stored = made.map_err(|error| {
            self.note_begun(error.may_have_happened());
            cluster_error("ask the node agent", error)
        })?;
        let movement = Movement::parse(direction, &stored);
        let movement = movement.ok_or_else(|| MoveError::Failed {
            message: "the API server stored something else than it was sent".to_owned(),
        })?;
        let mut guard = Guard {
            mover: self.clone(),
            movement: Some(movement.clone()),
        };
        let ended = self.follow(&movement, target, timeout, until, cancel).await;
        if matches!(ended, Err(MoveError::Cluster { .. })) {
            // How far it is, nobody knows.
            self.note_begun(true);
        } else {
            guard.movement = None;
        }
        ended
    }

    async fn follow(
        &self,
        movement: &Movement,
        target: &Target,
        timeout: Duration,
        until: Instant,
        cancel: &CancellationToken,
    ) -> Result<Movement, MoveError> {
        let selection = Selection::one(
            movement.direction.resource(),
            &self.namespace,
            &movement.name,
        );
        let mut followed = Followed::start(&self.cluster, selection);
        let mut seen = movement.clone();
        let mut away_since: Option<Instant> = None;
        loop {
            tokio::select! {
                () = followed.changed() => {}
                // Nothing was heard of it for a while.
                () = tokio::time::sleep(LOOK) => {
                    let (absence, patience) = match is_waiting(&seen) {
                        true => (self.missing_agent(&target.node).await, self.agent_patience),
                        false => (self.lost_node(&target.node).await, self.agent_patience * LOST),
                    };
                    match absence {
                        Ok(Some(reason)) => {
                            let since = *away_since.get_or_insert_with(Instant::now);
                            if since.elapsed() > patience {
                                self.stop(&seen, &mut followed).await?;
                                return Err(MoveError::NoAgent { node: target.node.clone(), reason });
                            }
                        }
                        Ok(None) => away_since = None,
                        Err(error) => tracing::warn!(%error, "whether the node works is not known"),
                    }
                }
                () = tokio::time::sleep_until(until) => {
                    let phase = format!("{:?}", seen.phase);
                    self.stop(&seen, &mut followed).await?;
                    return Err(MoveError::TimedOut { after: timeout, phase });
                }
                () = cancel.cancelled() => {
                    self.stop(&seen, &mut followed).await?;
                    return Err(MoveError::Cancelled);
                }
            }
            if !followed.is_synced() {
                continue;
            }
            match self.seen(movement, &followed) {
                Some(now) => {
                    self.note_begun(now.has_begun());
                    if let Some(moving) = &self.moving {
                        let total = now.moving.total.max(now.expected);
                        moving.send_replace(Moving {
                            total,
                            ..now.moving
                        });
                    }
                    seen = now;
                }
                None => {
                    self.note_begun(true);
                    return Err(MoveError::Failed {
                        message: format!("{} was deleted before it ended", movement.name),
                    });
                }
            }
            if let Some(ended) = ended(&seen) {
                return ended;
            }
        }
    }

    /// Why a node does not work; `None` when it does, or says nothing.
    async fn lost_node(&self, node: &str) -> Result<Option<String>, MoveError> {
        let resource = core("Node", "nodes", false);
        let Some(found) = self.read("look at the node", &resource, None, node).await? else {
            return Ok(Some("the node is gone".to_owned()));
        };
        let conditions = found["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        let broken = ready.find(|condition| condition["status"] != "True");
        Ok(broken.map(|condition| {
            let message = condition["message"].as_str().unwrap_or_default();
            format!("the node is not ready: {message}")
        }))
    }

    fn seen(&self, movement: &Movement, followed: &Followed) -> Option<Movement> {
        let object = followed.get(&movement.name)?;
        Movement::read(movement.direction, &object).filter(|now| now.uid == movement.uid)
    }

    /// Asks a movement to stop and waits until it has, so that nothing goes on that could still change the volume.
    async fn stop(&self, movement: &Movement, followed: &mut Followed) -> Result<(), MoveError> {
        self.ask_to_stop(movement).await?;
        let give_up = Instant::now() + STOPPING;
        loop {
            let seen = self.seen(movement, followed);
            self.note_begun(seen.as_ref().is_none_or(Movement::has_begun));
            match seen {
                None => return Ok(()),
                Some(now) if now.phase.is_final() => return Ok(()),
                // Nobody has taken it up: if nobody does just now, it is ours to end.
                Some(now) if now.cancel && is_untouched(&now) => {
                    let status = json!({"phase": "Canceled", "message": "cancelled", "completionTimestamp": self::now()});
                    if now
                        .set_status(&self.cluster, &self.namespace, status)
                        .await
                        .is_ok()
                    {
                        return Ok(());
                    }
                }
                Some(_) => {}
            }
            tokio::select! {
                () = followed.changed() => {}
                () = tokio::time::sleep_until(give_up) => {
                    tracing::warn!(
                        name = movement.name, node = movement.node,
                        "it was asked to stop and has not said that it did: is its node alive?"
                    );
                    return Ok(());
                }
            }
        }
    }

    /// No second movement into the same claim: one of the same restore, of a run that is dead, is ended first; another's is
    /// none of ours to end.
    async fn alone(
        &self,
        request: &Request,
        until: Instant,
        cancel: &CancellationToken,
    ) -> Result<(), MoveError> {
        if request.direction != Direction::Restore || request.claim_uid.is_empty() {
            return Ok(());
        }
        let selector = format!("{PVC_UID}={}", request.claim_uid);
        let names = |object: &serde_json::Value| {
            object["metadata"]["ownerReferences"][0]["uid"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let ours = names(&request.body);
        let run = request.body["metadata"]["annotations"][RUN]
            .as_str()
            .unwrap_or_default();
        for other in self.movements(request.direction, selector).await? {
            if other.phase.is_final() {
                continue;
            }
            let is_ours =
                (!ours.is_empty() && other.owner_uid == ours) || other.annotation(RUN) == run;
            if !is_ours && !other.cancel {
                return Err(MoveError::Failed {
                    message: format!(
                        "{} fills the same claim: wait for it, or cancel it",
                        other.name
                    ),
                });
            }
            self.end_other(&other, until, cancel).await?;
        }
        Ok(())
    }

    /// Ends a movement that nobody waits for any more.
    pub(super) async fn end_other(
        &self,
        other: &Movement,
        until: Instant,
        cancel: &CancellationToken,
    ) -> Result<(), MoveError> {
        let selection = Selection::one(other.direction.resource(), &self.namespace, &other.name);
        let mut followed = Followed::start(&self.cluster, selection);
        tokio::select! {
            () = followed.changed() => {}
            () = tokio::time::sleep_until(until) => {}
            () = cancel.cancelled() => return Err(MoveError::Cancelled),
        }
        self.stop(other, &mut followed).await
    }
}

fn is_untouched(movement: &Movement) -> bool {
    movement.phase.is_unset() || movement.phase == DataPhase::New
}

/// Whether it needs the agent to go on.
fn is_waiting(movement: &Movement) -> bool {
    is_untouched(movement) || movement.phase == DataPhase::Accepted
}

fn ended(movement: &Movement) -> Option<Result<Movement, MoveError>> {
    let message = || match movement.message.as_str() {
        "" => format!("{} failed without a word", movement.name),
        message => message.to_owned(),
    };
    match movement.phase {
        DataPhase::Completed => Some(match movement.outcome() {
            Some(_) => Ok(movement.clone()),
            None => Err(MoveError::Failed {
                message: format!(
                    "{} is completed and does not say what came of it",
                    movement.name
                ),
            }),
        }),
        // It was done as far as it can be: what came of it is known to the last entry.
        DataPhase::Failed if movement.outcome().is_some() => Some(Ok(movement.clone())),
        DataPhase::Failed => Some(Err(MoveError::Failed { message: message() })),
        // Not by us: we do not wait for an end then.
        DataPhase::Canceled => Some(Err(MoveError::Failed {
            message: format!("{} was cancelled: {}", movement.name, message()),
        })),
        _ => None,
    }
}
