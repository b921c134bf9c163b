//! A cluster that lost its majority: made anew of one member that is left, which the others join.

use std::sync::Arc;

use async_trait::async_trait;
use salvor_runbook::{Check, Compensation, Context, Effect, Runbook, Step, StepError};
use serde_json::{Value, json};

use super::alone::{COPY, Copy, LastFile, Rebuild, StartAlone, rows};
use super::join::{self, Compare};
use super::place::{Aside, StartAgain, Stop};
use super::replace::LOOK;
use super::{Error, Setting, hex, names};
use crate::control_plane::plane::Member;
use crate::control_plane::services::Component;

/// The member that knows most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its name.
    pub name: String,
    /// Term and index of its last entry.
    pub last: (u64, u64),
    /// What was found of the others: a line each.
    pub others: Vec<String>,
}

/// Finds the member with the longest log among those whose directories are still there, by reading the logs.
///
/// # Errors
/// Nobody has one.
pub async fn survivor(setting: &Setting, left_out: &[String]) -> Result<Survivor, Error> {
    let mut found: Vec<(String, (u64, u64))> = Vec::new();
    let mut others = Vec::new();
    for member in taking_part(setting, left_out) {
        match LastFile::read(member).await {
            Ok(Some(file)) => found.push((member.name.clone(), file.tail.last)),
            Ok(None) => others.push(format!("{}: no data directory", member.name)),
            Err(error) => others.push(format!("{}: {}", member.name, told(error.as_ref()))),
        }
    }
    // Of several that know the same, the first one.
    found.sort_by_key(|one| std::cmp::Reverse(one.1));
    let mut found = found.into_iter();
    let Some((name, last)) = found.next() else {
        return Err(Error::NoSurvivor {
            cluster: setting.plane.cluster.clone(),
            found: others.join("; "),
        });
    };
    others.extend(found.map(|(name, (term, index))| {
        format!("{name}: its log ends with entry {index} of term {term}")
    }));
    Ok(Survivor { name, last, others })
}

fn taking_part<'a>(
    setting: &'a Setting,
    left_out: &'a [String],
) -> impl Iterator<Item = &'a Member> {
    let members = setting.plane.members.iter();
    members.filter(|member| !left_out.contains(&member.name))
}

/// The runbook that makes a cluster of a survivor, and lets the others join it, but for those that are left out.
///
/// # Errors
/// The control plane has no member of that name.
pub fn recover(
    setting: &Setting,
    survivor: &str,
    left_out: &[String],
    force: bool,
) -> Result<Runbook, Error> {
    let own = setting.member(survivor)?.clone();
    for name in left_out {
        setting.member(name)?;
    }
    let all: Vec<Member> = taking_part(setting, left_out).cloned().collect();
    let mut steps: Vec<Arc<dyn Step>> = vec![Arc::new(Look {
        setting: setting.clone(),
        survivor: own.clone(),
        left_out: left_out.to_vec(),
        force,
    })];
    let stop = |member: &Member, component: Component, asks| Stop {
        name: format!("stop-{component}/{}", member.name),
        setting: setting.clone(),
        member: member.clone(),
        component,
        asks,
        unless: None,
    };
    for component in [Component::KubeApiserver, Component::Etcd] {
        for (index, member) in all.iter().enumerate() {
            let asks = component == Component::KubeApiserver && index == 0;
            steps.push(Arc::new(stop(member, component, asks)));
        }
    }
    steps.push(Arc::new(Copy {
        member: own.clone(),
    }));
    let others = || all.iter().filter(|member| member.name != own.name);
    for member in others() {
        let name = format!("aside/{}", member.name);
        let member = member.clone();
        steps.push(Arc::new(Aside { name, member }));
    }
    steps.push(Arc::new(Rebuild {
        member: own.clone(),
    }));
    steps.push(Arc::new(StartAlone {
        setting: setting.clone(),
        member: own.clone(),
    }));
    for member in others() {
        steps.extend(join::steps(setting, member, Some(COPY)));
    }
    steps.push(Arc::new(Compare {
        setting: setting.clone(),
        members: all.iter().map(|member| member.name.clone()).collect(),
    }));
    for member in &all {
        steps.push(Arc::new(StartAgain {
            name: format!("start-{}/{}", Component::KubeApiserver, member.name),
            setting: setting.clone(),
            member: member.clone(),
            component: Component::KubeApiserver,
        }));
    }
    Ok(Runbook {
        name: "etcd recover-quorum".to_owned(),
        target: setting.plane.cluster.clone(),
        parameters: json!({
            "survivor": survivor,
            "leftOut": left_out,
            "force": force,
            "plane": *setting.plane,
        }),
        steps,
    })
}

/// Finds out what there is.
struct Look {
    setting: Setting,
    survivor: Member,
    left_out: Vec<String>,
    force: bool,
}

impl Look {
    async fn facts(&self) -> Result<Value, StepError> {
        let name = &self.survivor.name;
        let file = LastFile::read(&self.survivor).await?;
        let file = file.ok_or_else(|| Error::NoSurvivor {
            cluster: self.setting.plane.cluster.clone(),
            found: format!("{name}: no data directory"),
        })?;
        // One that runs knows more than its database.
        let listed = match self.setting.etcd.members(&self.survivor).await {
            Ok(listed) => listed,
            Err(_) => rows(&self.survivor).await?,
        };
        let own = file.tail.member;
        let others = listed.iter().filter(|member| member.id != own);
        let others: Vec<_> = others.map(|member| hex(member.id)).collect();
        let joining = taking_part(&self.setting, &self.left_out);
        let joining: Vec<Member> = joining
            .filter(|member| member.name != *name)
            .cloned()
            .collect();
        let (term, index) = file.tail.last;
        let question = format!(
            "Cluster {:x} has no majority. {name} becomes its only member, with everything up to entry {index} of term {term}; what only \
             the members {} had is lost. API servers and etcd are stopped on all machines, a copy of the data of {name} is kept beside it, \
             what others have is put aside, and they join anew: {}.",
            file.tail.cluster,
            others.join(", "),
            if joining.is_empty() {
                "nobody".to_owned()
            } else {
                names(&joining)
            },
        );
        Ok(json!({
            "cluster": hex(file.tail.cluster),
            "member": hex(own),
            "others": others,
            "question": question,
        }))
    }
}

#[async_trait]
impl Step for Look {
    fn name(&self) -> &str {
        LOOK
    }

    fn title(&self) -> String {
        format!("look at what {} has", self.survivor.name)
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        if !self.force
            && let Ok((via, _)) = self.setting.majority(None).await
        {
            return Ok(Check::Blocked(format!(
                "{} has a majority behind it, so nothing is lost: replace single members with `salvor etcd member replace`; to make a \
                 cluster of {} all the same, say --force",
                via.name, self.survivor.name
            )));
        }
        if self.left_out.contains(&self.survivor.name) {
            return Ok(Check::Blocked(format!(
                "{} is left out and cannot be what the others join",
                self.survivor.name
            )));
        }
        match self.facts().await {
            Ok(_) => Ok(Check::ToDo),
            Err(error) => Ok(Check::Blocked(told(error.as_ref()))),
        }
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        self.facts().await
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}

fn told(error: &(dyn std::error::Error + 'static)) -> String {
    salvor_location::with_causes(error)
}
