//! The recovery mode, in which workloads get no traffic.

use std::sync::Arc;

use async_trait::async_trait;
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde_json::{Value, json};

use super::Restoration;
use crate::host::{Command, Host, Local};

/// Enters or leaves it.
pub(super) struct Mode {
    plane: Arc<Restoration>,
    enters: bool,
}

impl Mode {
    pub(super) fn enter(plane: &Arc<Restoration>) -> Self {
        let plane = Arc::clone(plane);
        Self {
            plane,
            enters: true,
        }
    }

    pub(super) fn leave(plane: &Arc<Restoration>) -> Self {
        let plane = Arc::clone(plane);
        Self {
            plane,
            enters: false,
        }
    }

    /// Whether there is one, and then what it is now.
    async fn set(&self, entered: bool) -> Result<bool, StepError> {
        let Some(mode) = &self.plane.plane.recovery_mode else {
            return Ok(false);
        };
        let (argv, doing) = match entered {
            true => (&mode.enter, "enter the recovery mode"),
            false => (&mode.leave, "leave the recovery mode"),
        };
        let here = Local::new("this machine");
        let ended = here.run(Command::new(argv.clone())).await?;
        ended.success(&here, doing)?;
        Ok(true)
    }
}

#[async_trait]
impl Step for Mode {
    fn name(&self) -> &str {
        match self.enters {
            true => "enter-recovery-mode",
            false => "leave-recovery-mode",
        }
    }

    fn title(&self) -> String {
        let verb = if self.enters { "block" } else { "admit" };
        match self.plane.plane.recovery_mode {
            Some(_) => {
                format!("{verb} the traffic of workloads, by the command of the description")
            }
            None => format!(
                "{verb} the traffic of workloads: the description names no command, so nothing is done"
            ),
        }
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        let is_set = self.set(self.enters).await?;
        Ok(json!({ "trafficBlocked": is_set && self.enters, "named": is_set }))
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        // The command's own status is all that is known of a mode that only its author knows.
        Ok(())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        match self.set(!self.enters).await? {
            true => Ok(Compensation::Undone),
            false => Ok(Compensation::Nothing),
        }
    }
}
