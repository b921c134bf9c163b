//! Replaces one member: the dead one is taken out, and its machine, or another one in its place, joins anew.

use std::sync::Arc;

use async_trait::async_trait;
use salvor_etcd::membership;
use salvor_runbook::{Check, Compensation, Context, Effect, Runbook, Step, StepError};
use serde_json::{Value, json};

use super::join::{self, Compare};
use super::place::{Aside, Stop};
use super::{Error, Setting, hex, is_at, names, of_hex, once_ready};
use crate::control_plane::plane::Member;
use crate::control_plane::poll::poll;
use crate::control_plane::services::{Component, State};

/// The step whose output has what the others go by: `cluster`, and `old`, the id that is taken out.
pub(super) const LOOK: &str = "look";
/// The step that takes the dead member out, and what it keeps in mind before it does.
pub(super) const REMOVE: &str = "remove";
pub(super) const REMOVED: &str = "removed";

/// The runbook that replaces a member. With `force` one that is healthy, too.
///
/// # Errors
/// The control plane has no member of that name.
pub fn replace(setting: &Setting, name: &str, force: bool) -> Result<Runbook, Error> {
    let member = setting.member(name)?.clone();
    let of = |what: &str| format!("{what}/{name}");
    let mut steps: Vec<Arc<dyn Step>> = vec![
        Arc::new(Look {
            setting: setting.clone(),
            member: member.clone(),
            force,
        }),
        Arc::new(Stop {
            name: of("stop"),
            setting: setting.clone(),
            member: member.clone(),
            component: Component::Etcd,
            asks: true,
            unless: Some(REMOVE),
        }),
        Arc::new(Aside {
            name: of("aside"),
            member: member.clone(),
        }),
        Arc::new(Remove {
            setting: setting.clone(),
            member: member.clone(),
        }),
    ];
    steps.extend(join::steps(setting, &member, None));
    let all = setting.plane.members.iter();
    steps.push(Arc::new(Compare {
        setting: setting.clone(),
        members: all.map(|member| member.name.clone()).collect(),
    }));
    Ok(Runbook {
        name: "etcd member replace".to_owned(),
        target: setting.plane.cluster.clone(),
        parameters: json!({ "member": name, "force": force, "plane": *setting.plane }),
        steps,
    })
}

/// The id that is taken out; `None` where there is none.
pub(super) async fn old_of(context: &Context<'_>) -> Option<u64> {
    let facts = context.output(LOOK).await?;
    of_hex(facts.get("old"))
}

/// The id of the cluster.
pub(super) async fn cluster_of(context: &Context<'_>) -> Result<u64, Error> {
    let facts = context.output(LOOK).await.unwrap_or_default();
    of_hex(facts.get("cluster"))
        .ok_or_else(|| Error::NotReached("the step look has not told the cluster's id".to_owned()))
}

/// Finds out what there is.
struct Look {
    setting: Setting,
    member: Member,
    force: bool,
}

/// What is there before anything is done.
struct Facts {
    cluster: u64,
    /// The member that is to be replaced, where the cluster still has it.
    old: Option<membership::Member>,
    /// Whether that one is well.
    well: bool,
    /// Members that vote, it not counted, and how many of them answer.
    voters: usize,
    answering: usize,
    /// A learner that is none of this run's.
    learner: Option<membership::Member>,
    revision: u64,
}

impl Look {
    async fn facts(&self) -> Result<Facts, StepError> {
        let name = self.member.name.as_str();
        let (via, revision) = match self.setting.majority(Some(name)).await {
            Ok(found) => found,
            // It may be that the others are a majority only with it.
            Err(_) => self.setting.majority(None).await?,
        };
        let listed = self.setting.etcd.members(&via).await?;
        let cluster = self.setting.etcd.status(&via).await?.cluster;
        let is_old = |one: &&membership::Member| one.name == name || is_at(one, &self.member);
        let old = listed.iter().find(is_old).cloned();
        let others = listed.iter().filter(|one| !is_old(one));
        let mut facts = Facts {
            cluster,
            well: false,
            voters: 0,
            answering: 0,
            learner: None,
            revision,
            old,
        };
        for other in others {
            if other.is_learner {
                facts.learner = Some(other.clone());
                continue;
            }
            facts.voters += 1;
            let here = self.setting.plane.members.iter();
            for member in here.filter(|member| is_at(other, member)) {
                let said = self.setting.etcd.status(member).await;
                let well = said.is_ok_and(|said| said.member == other.id && said.leader != 0);
                facts.answering += usize::from(well);
            }
        }
        if let Some(old) = &facts.old {
            let said = self.setting.etcd.status(&self.member).await;
            facts.well = said.is_ok_and(|said| {
                said.member == old.id && said.leader != 0 && said.errors.is_empty()
            });
        }
        Ok(facts)
    }

    fn blocked(&self, facts: &Facts, state: State) -> Option<String> {
        let name = &self.member.name;
        if facts.well && !self.force {
            return Some(format!(
                "member {name} is healthy: there is nothing to replace; to do it all the same, say --force"
            ));
        }
        if facts.answering * 2 <= facts.voters {
            return Some(format!(
                "only {} of the {} members beside {name} answer, which is no majority: bring them back first, or make a cluster of \
                 one that is left with `salvor etcd recover-quorum`",
                facts.answering, facts.voters
            ));
        }
        if let Some(learner) = &facts.learner {
            return Some(format!(
                "the cluster has another learner, {:x} at {}: promote it or take it out first",
                learner.id,
                learner.peer_urls.join(",")
            ));
        }
        (state == State::Absent).then(|| {
            format!(
                "etcd is not set up on {name}: set it up as on the others, with its manifest, unit or commands, and do not start it"
            )
        })
    }

    fn question(&self, facts: &Facts) -> String {
        let name = &self.member.name;
        let old = match &facts.old {
            Some(old) => format!("member {name} ({:x}) is taken out for ever", old.id),
            None => format!("the cluster has no member {name} any more"),
        };
        format!(
            "Cluster {:x}, revision {}: {} of {} other members answer. {old}; what is in {} stays beside it under a name with the \
             time; then the machine joins with nothing, and gets everything from the others.",
            facts.cluster,
            facts.revision,
            facts.answering,
            facts.voters,
            join::shown(&self.member.contents()),
        )
    }
}

#[async_trait]
impl Step for Look {
    fn name(&self) -> &str {
        LOOK
    }

    fn title(&self) -> String {
        format!(
            "look at the members: {}",
            names(&self.setting.plane.members)
        )
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        let facts = match self.facts().await {
            Ok(facts) => facts,
            Err(error) => return Ok(Check::Blocked(error.to_string())),
        };
        let services = self.setting.services(&self.member);
        let state = services.state(Component::Etcd).await?;
        Ok(match self.blocked(&facts, state) {
            Some(reason) => Check::Blocked(reason),
            None => Check::ToDo,
        })
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        let facts = self.facts().await?;
        Ok(json!({
            "cluster": hex(facts.cluster),
            "old": facts.old.as_ref().map(|old| hex(old.id)),
            "revision": facts.revision,
            "question": self.question(&facts),
        }))
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}

/// Takes the dead member out.
struct Remove {
    setting: Setting,
    member: Member,
}

#[async_trait]
impl Step for Remove {
    fn name(&self) -> &str {
        REMOVE
    }

    fn title(&self) -> String {
        format!("take {} out of the cluster", self.member.name)
    }

    fn effect(&self) -> Effect {
        Effect::Destroys
    }

    async fn check(&self, context: &Context<'_>) -> Result<Check, StepError> {
        let Some(old) = old_of(context).await else {
            return Ok(Check::Done);
        };
        let (_, listed) = self.setting.listed(&self.member.name).await?;
        let there = listed.iter().any(|one| one.id == old);
        Ok(if there { Check::ToDo } else { Check::Done })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let Some(old) = old_of(context).await else {
            return Ok(Value::Null);
        };
        context.note(REMOVED, hex(old)).await?;
        poll(|| async {
            let (via, _) = self.setting.majority(Some(&self.member.name)).await?;
            match self.setting.etcd.remove(&via, old).await {
                Err(error) if error.is_unknown_member() => Ok(Some(Value::Null)),
                removed => Ok(once_ready(removed)?.map(|()| json!({ "removed": hex(old) }))),
            }
        })
        .await
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        super::place::reached(self, context).await
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        if self.check(context).await? == Check::ToDo {
            return Ok(Compensation::Nothing);
        }
        Ok(Compensation::Impossible(format!(
            "an id that was taken out does not come back: {} is no member now, and the others go on without it; replace it again",
            self.member.name
        )))
    }
}
