//! Components stopped and started on all members.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde_json::{Value, json};

use super::Restoration;
use crate::control_plane::poll::until;
use crate::control_plane::services::{Component, PATIENCE, State};

/// What ran before, in the journal: `member/component`.
const RAN: &str = "ran";

/// Longest time for one kind of component on all members.
fn limit(plane: &Restoration) -> Duration {
    let members = u32::try_from(plane.plane.members.len()).unwrap_or(u32::MAX);
    PATIENCE.saturating_mul(members.saturating_mul(2))
}

/// Stops components on all members.
pub(super) struct Stop {
    plane: Arc<Restoration>,
    name: &'static str,
    components: Vec<Component>,
}

impl Stop {
    pub(super) fn new(
        plane: &Arc<Restoration>,
        name: &'static str,
        components: &[Component],
    ) -> Self {
        Self {
            plane: Arc::clone(plane),
            name,
            components: components.to_vec(),
        }
    }

    /// `member/component` of those that run.
    async fn running(&self) -> Result<Vec<String>, StepError> {
        let mut running = Vec::new();
        for member in &self.plane.plane.members {
            for component in &self.components {
                if self.plane.runs(member, *component).await? {
                    running.push(format!("{}/{component}", member.name));
                }
            }
        }
        Ok(running)
    }
}

#[async_trait]
impl Step for Stop {
    fn name(&self) -> &str {
        self.name
    }

    fn title(&self) -> String {
        let names: Vec<String> = self.components.iter().map(ToString::to_string).collect();
        format!("stop {} on every member", names.join(" and "))
    }

    fn effect(&self) -> Effect {
        Effect::Destroys
    }

    fn limit(&self) -> Duration {
        limit(&self.plane)
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        match self.running().await?.is_empty() {
            true => Ok(Check::Done),
            false => Ok(Check::ToDo),
        }
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        // What runs when a run is gone on with is not what ran before it.
        let ran = match context.noted(RAN).await {
            Some(ran) => ran,
            None => {
                let ran = json!(self.running().await?);
                context.note(RAN, ran.clone()).await?;
                ran
            }
        };
        for member in &self.plane.plane.members {
            let services = self.plane.services(member);
            for component in &self.components {
                services.stop(*component).await?;
            }
        }
        Ok(json!({ "stopped": ran }))
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        let running = self.running().await?;
        if running.is_empty() {
            return Ok(());
        }
        Err(format!("still running: {}", running.join(", ")).into())
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        let ran = context.noted(RAN).await.unwrap_or_default();
        let ran: Vec<String> = serde_json::from_value(ran).unwrap_or_default();
        if ran.is_empty() {
            return Ok(Compensation::Nothing);
        }
        for member in &self.plane.plane.members {
            let services = self.plane.services(member);
            for component in &self.components {
                if ran.contains(&format!("{}/{component}", member.name)) {
                    services.start(*component).await?;
                }
            }
        }
        // An API server that finds no etcd gives up, so the next is only started when this one serves.
        let all = ran.len() == self.plane.plane.members.len();
        if all && self.components.contains(&Component::Etcd) {
            until(PATIENCE, || self.plane.serves()).await?;
        }
        Ok(Compensation::Undone)
    }
}

/// Starts a component on each member that has it.
async fn start(plane: &Restoration, component: Component) -> Result<(), StepError> {
    for member in &plane.plane.members {
        plane.services(member).start(component).await?;
    }
    Ok(())
}

/// The members that have a component which does not run.
async fn missing(plane: &Restoration, component: Component) -> Result<Vec<String>, StepError> {
    let mut missing = Vec::new();
    for member in &plane.plane.members {
        if plane.services(member).state(component).await? == State::Stopped {
            missing.push(format!("{}/{component}", member.name));
        }
    }
    Ok(missing)
}

async fn stop(plane: &Restoration, component: Component) -> Result<(), StepError> {
    for member in &plane.plane.members {
        plane.services(member).stop(component).await?;
    }
    Ok(())
}

fn all_there(missing: &[String]) -> Result<(), StepError> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("not running: {}", missing.join(", ")).into())
}

/// Starts the API servers, and waits for the API.
pub(super) struct StartServers(Arc<Restoration>);

impl StartServers {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }
}

#[async_trait]
impl Step for StartServers {
    fn name(&self) -> &str {
        "start-api-servers"
    }

    fn title(&self) -> String {
        "start the API servers, and wait until the API answers".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn limit(&self) -> Duration {
        limit(&self.0)
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        start(&self.0, Component::KubeApiserver).await?;
        until(PATIENCE, || self.0.running.api()).await?;
        Ok(Value::Null)
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        all_there(&missing(&self.0, Component::KubeApiserver).await?)?;
        self.0.running.api().await
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        stop(&self.0, Component::KubeApiserver).await?;
        Ok(Compensation::Undone)
    }
}

/// Starts controllers and schedulers, and the kubelets anew: all of them remember newer objects than there are now.
pub(super) struct StartControllers(Arc<Restoration>);

impl StartControllers {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }
}

const CONTROLLERS: [Component; 2] = [Component::KubeControllerManager, Component::KubeScheduler];

#[async_trait]
impl Step for StartControllers {
    fn name(&self) -> &str {
        "start-controllers"
    }

    fn title(&self) -> String {
        "start controllers and schedulers, and restart the kubelets of the members".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn limit(&self) -> Duration {
        limit(&self.0) * 2
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        for component in CONTROLLERS {
            start(&self.0, component).await?;
        }
        let mut restarted = Vec::new();
        for member in &self.0.plane.members {
            let services = self.0.services(member);
            if services.state(Component::Kubelet).await? == State::Absent {
                continue;
            }
            services.stop(Component::Kubelet).await?;
            services.start(Component::Kubelet).await?;
            restarted.push(member.name.clone());
        }
        Ok(json!({ "kubeletsRestarted": restarted }))
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        let mut all = Vec::new();
        for component in CONTROLLERS.into_iter().chain([Component::Kubelet]) {
            all.extend(missing(&self.0, component).await?);
        }
        all_there(&all)
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        for component in CONTROLLERS {
            stop(&self.0, component).await?;
        }
        // One that was stopped to be restarted.
        start(&self.0, Component::Kubelet).await?;
        Ok(Compensation::Undone)
    }
}
