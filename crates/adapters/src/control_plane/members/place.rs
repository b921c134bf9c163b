//! Steps on one machine: its components, and its data directory.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde_json::{Value, json};

use super::{Error, Setting};
use crate::control_plane::plane::Member;
use crate::control_plane::services::{Component, State};
use crate::host::Host;

/// Under which key a step keeps where it put something.
pub(super) const ASIDE: &str = "aside";

impl Member {
    /// What etcd has in its data directory. The directory itself may be a mount point, so what moves is this.
    pub(super) fn contents(&self) -> PathBuf {
        self.data_directory.join("member")
    }
}

/// A name beside the contents, with the time.
pub(super) fn beside(member: &Member, what: &str) -> String {
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let path = member.data_directory.join(format!("member.{what}-{now}"));
    path.to_string_lossy().into_owned()
}

/// The path that this step noted, or a new one, noted.
pub(super) async fn noted(
    context: &Context<'_>,
    member: &Member,
    what: &str,
) -> Result<PathBuf, StepError> {
    if let Some(Value::String(path)) = context.noted(ASIDE).await {
        return Ok(path.into());
    }
    let path = beside(member, what);
    context.note(ASIDE, path.as_str()).await?;
    Ok(path.into())
}

/// Stops a component.
pub(super) struct Stop {
    pub(super) name: String,
    pub(super) setting: Setting,
    pub(super) member: Member,
    pub(super) component: Component,
    /// Asked before, where it is the first step that changes something: the text is an output of the step `look`.
    pub(super) asks: bool,
    /// A step behind which it must not be started again as it was.
    pub(super) unless: Option<&'static str>,
}

#[async_trait]
impl Step for Stop {
    fn name(&self) -> &str {
        &self.name
    }

    fn title(&self) -> String {
        format!("stop {} on {}", self.component, self.member.name)
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    async fn question(&self, context: &Context<'_>) -> Result<Option<String>, StepError> {
        if !self.asks {
            return Ok(None);
        }
        let facts = context.output(super::replace::LOOK).await;
        let question = facts.and_then(|facts| Some(facts.get("question")?.as_str()?.to_owned()));
        Ok(question)
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        let services = self.setting.services(&self.member);
        Ok(match services.state(self.component).await? {
            State::Running => Check::ToDo,
            State::Stopped | State::Absent => Check::Done,
        })
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        let services = self.setting.services(&self.member);
        services.stop(self.component).await?;
        Ok(Value::Null)
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        reached(self, context).await
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        if let Some(step) = self.unless
            && context
                .noted_by(step, super::replace::REMOVED)
                .await
                .is_some()
        {
            let why = format!(
                "{} stays stopped on {}: it is no member of the cluster any more and would not be taken back; replace it again",
                self.component, self.member.name
            );
            return Ok(Compensation::Impossible(why));
        }
        let services = self.setting.services(&self.member);
        services.start(self.component).await?;
        Ok(Compensation::Undone)
    }
}

/// Starts the components that come behind etcd again.
pub(super) struct StartAgain {
    pub(super) name: String,
    pub(super) setting: Setting,
    pub(super) member: Member,
    pub(super) component: Component,
}

#[async_trait]
impl Step for StartAgain {
    fn name(&self) -> &str {
        &self.name
    }

    fn title(&self) -> String {
        format!("start {} on {}", self.component, self.member.name)
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        let services = self.setting.services(&self.member);
        Ok(match services.state(self.component).await? {
            State::Stopped => Check::ToDo,
            State::Running | State::Absent => Check::Done,
        })
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        let services = self.setting.services(&self.member);
        services.start(self.component).await?;
        Ok(Value::Null)
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        reached(self, context).await
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        let services = self.setting.services(&self.member);
        services.stop(self.component).await?;
        Ok(Compensation::Undone)
    }
}

/// Puts the contents of a data directory aside.
pub(super) struct Aside {
    pub(super) name: String,
    pub(super) member: Member,
}

impl Aside {
    fn host(&self) -> Arc<dyn Host> {
        self.member.host()
    }
}

#[async_trait]
impl Step for Aside {
    fn name(&self) -> &str {
        &self.name
    }

    fn title(&self) -> String {
        format!("put the data of {} aside", self.member.name)
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        let there = self.host().exists(&self.member.contents()).await?;
        Ok(if there { Check::ToDo } else { Check::Done })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let host = self.host();
        let contents = self.member.contents();
        let aside = noted(context, &self.member, "before").await?;
        if host.exists(&contents).await? {
            host.rename(&contents, &aside).await?;
        }
        Ok(json!({ "aside": aside }))
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        reached(self, context).await
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        let host = self.host();
        let Some(Value::String(aside)) = context.noted(ASIDE).await else {
            return Ok(Compensation::Nothing);
        };
        let aside = PathBuf::from(aside);
        if host.exists(&aside).await? {
            host.rename(&aside, &self.member.contents()).await?;
        }
        Ok(Compensation::Undone)
    }
}

/// What is to be reached is what is looked for at first.
pub(super) async fn reached(step: &dyn Step, context: &Context<'_>) -> Result<(), StepError> {
    match step.check(context).await? {
        Check::Done => Ok(()),
        Check::ToDo | Check::Blocked(_) => {
            let text = format!("not reached: {}", step.title());
            Err(Error::NotReached(text).into())
        }
    }
}
