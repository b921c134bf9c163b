//! What has to work before a restore is over.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde_json::{Value, json};

use super::Restoration;
use crate::control_plane::poll::until;
use crate::host::{Command, Host, Local};

/// How long nodes may take to report: kubelets renew every 10 seconds, and back off while the API is away.
const NODES: Duration = Duration::from_secs(540);
/// How long a probe may take to pass.
const PROBE: Duration = Duration::from_secs(240);
/// Since when nodes must have reported.
const SINCE: &str = "since";

/// Waits for the nodes.
pub(super) struct Nodes(Arc<Restoration>);

impl Nodes {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }

    async fn assert_ready(&self, since: Timestamp) -> Result<bool, StepError> {
        self.0.running.api().await?;
        match self.0.running.unready(since).await? {
            None => Ok(false),
            Some(unready) if unready.is_empty() => Ok(true),
            Some(unready) => Err(unready.join(", ").into()),
        }
    }

    async fn since(context: &Context<'_>) -> Result<Timestamp, StepError> {
        if let Some(Value::String(since)) = context.noted(SINCE).await {
            return Ok(since.parse()?);
        }
        let now = Timestamp::now();
        context.note(SINCE, now.to_string()).await?;
        Ok(now)
    }
}

#[async_trait]
impl Step for Nodes {
    fn name(&self) -> &str {
        "nodes-ready"
    }

    fn title(&self) -> String {
        "wait until the API answers and every node is ready and has reported anew".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let since = Self::since(context).await?;
        let asked = until(NODES, || self.assert_ready(since)).await?;
        Ok(json!({ "asked": asked }))
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        let since = Self::since(context).await?;
        self.assert_ready(since).await.map(|_| ())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}

/// Runs the probes of the description.
pub(super) struct Probes(Arc<Restoration>);

impl Probes {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }

    async fn pass(&self) -> Result<(), StepError> {
        let here = Local::new("this machine");
        for probe in &self.0.plane.probes {
            let ended = here.run(Command::new(probe.command.clone())).await?;
            ended.success(&here, &format!("see that {}", probe.name))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Step for Probes {
    fn name(&self) -> &str {
        "probes"
    }

    fn title(&self) -> String {
        match self.0.plane.probes.len() {
            0 => "run the probes of the description, of which there are none".to_owned(),
            count => format!("wait until {count} of {count} probes of the description pass"),
        }
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        until(PROBE, || self.pass()).await?;
        let names: Vec<&String> = self
            .0
            .plane
            .probes
            .iter()
            .map(|probe| &probe.name)
            .collect();
        Ok(json!({ "passed": names }))
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        self.pass().await
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}
