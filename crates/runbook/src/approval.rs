//! Who has to agree before a step is applied.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::step::StepError;

/// What somebody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The runbook.
    pub runbook: String,
    /// What it changes.
    pub target: String,
    /// The step.
    pub step: String,
    /// What there is to agree to.
    pub question: String,
    /// What the answer is bound to: SHA-256 over the runbook's digest, the step and the question, in hex.
    pub digest: String,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Whether it may be done.
    pub granted: bool,
    /// Who decided.
    pub by: String,
    /// What they said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// Asks whoever decides.
#[async_trait]
pub trait Approver: Send + Sync {
    /// Waits for a decision.
    ///
    /// # Errors
    /// Nobody can be asked.
    async fn decide(&self, gate: &Gate) -> Result<Decision, StepError>;
}

/// Agrees to everything on somebody's behalf, such as whoever gave `--yes`.
#[derive(Clone, Debug)]
pub struct Granted {
    /// On whose.
    pub by: String,
}

#[async_trait]
impl Approver for Granted {
    async fn decide(&self, _gate: &Gate) -> Result<Decision, StepError> {
        Ok(Decision {
            granted: true,
            by: self.by.clone(),
            comment: String::new(),
        })
    }
}
