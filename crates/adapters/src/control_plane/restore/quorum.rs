//! A majority that is lost where no survivor is good enough: the members anew, from a snapshot.

use std::sync::Arc;

use async_trait::async_trait;
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde_json::{Value, json};

use super::Restoration;

/// Looks that there is no majority that would be lost.
pub(super) struct NoMajority {
    plane: Arc<Restoration>,
    force: bool,
}

impl NoMajority {
    pub(super) fn new(plane: &Arc<Restoration>, force: bool) -> Self {
        let plane = Arc::clone(plane);
        Self { plane, force }
    }

    /// Those that know a leader, and those that only answer.
    async fn found(&self) -> (Vec<String>, Vec<String>) {
        let (mut led, mut alone) = (Vec::new(), Vec::new());
        for member in &self.plane.plane.members {
            match self.plane.running.member(member).await {
                Ok(status) if status.has_leader => led.push(member.name.clone()),
                Ok(_) => alone.push(member.name.clone()),
                // It is one of those that are lost.
                Err(_) => {}
            }
        }
        (led, alone)
    }
}

#[async_trait]
impl Step for NoMajority {
    fn name(&self) -> &str {
        "majority"
    }

    fn title(&self) -> String {
        "look that no majority is left that would be lost".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        let (led, _) = self.found().await;
        if led.is_empty() || self.force {
            return Ok(Check::ToDo);
        }
        Ok(Check::Blocked(format!(
            "{} has a leader, so a majority is there and nothing is lost: replace single members with `salvor etcd member replace`, \
             go back to an older state with `salvor control-plane restore`, or say --force",
            led.join(", ")
        )))
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        let (led, alone) = self.found().await;
        Ok(json!({ "withLeader": led, "answering": alone }))
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}
