//! What a journal says: a pure fold over its records.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::approval::Decision;
use crate::record::Event;
use crate::step::Compensation;

/// How far a step is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Never applied.
    #[default]
    Untouched,
    /// Found done by nobody of this run.
    Found,
    /// It may have happened, in part or as a whole.
    Applying,
    /// It came to its end, and is not verified.
    Applied,
    /// Done.
    Verified,
    /// It is being taken back: that may have happened, in part or as a whole.
    Undoing,
    /// Taken back, as far as it can be.
    Undone(Compensation),
}

impl Phase {
    /// Whether this run may have changed the world by it and has not taken that back.
    #[must_use]
    pub fn is_to_undo(&self) -> bool {
        matches!(
            self,
            Self::Applying | Self::Applied | Self::Verified | Self::Undoing
        )
    }
}

/// What is known of one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepHistory {
    /// How far it is.
    pub phase: Phase,
    /// How often it was applied.
    pub attempts: u64,
    /// What it noted.
    pub notes: BTreeMap<String, Value>,
    /// What it gave.
    pub output: Option<Value>,
    /// The last decision about it, and what that is bound to.
    pub decided: Option<(String, Decision)>,
    /// Why it failed last, while it has not come further since.
    pub failure: Option<String>,
}

/// How a run began.
#[derive(Clone, Debug, PartialEq)]
pub struct Beginning {
    /// Its runbook.
    pub runbook: String,
    /// What it changes.
    pub target: String,
    /// What it was asked to do.
    pub parameters: Value,
    /// The digest of its runbook.
    pub digest: String,
    /// Names of its steps; empty where the journal does not say.
    pub steps: Vec<String>,
}

impl Beginning {
    /// Of a run's first record; `None` of any other.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let Event::Begun {
            runbook,
            target,
            parameters,
            digest,
            tool: _,
            steps,
        } = event
        else {
            return None;
        };
        Some(Self {
            runbook: runbook.clone(),
            target: target.clone(),
            parameters: parameters.clone(),
            digest: digest.clone(),
            steps: steps.clone(),
        })
    }
}

/// What is known of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// How it began; `None` before its first record.
    pub begun: Option<Beginning>,
    /// Whether all of it is done, and nothing of that taken back.
    pub succeeded: bool,
    /// Whether it was taken back. From the first step that is, it can only go on backwards.
    pub undone: bool,
    /// Whether it is being taken back.
    pub undoing: bool,
    steps: BTreeMap<String, StepHistory>,
}

impl History {
    /// What is known of a step; of one without a record, that it is untouched.
    #[must_use]
    pub fn step(&self, name: &str) -> StepHistory {
        self.steps.get(name).cloned().unwrap_or_default()
    }

    /// Takes in the next event.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::Begun { .. } => self.begun = Beginning::of(event),
            Event::Resumed => {}
            Event::Succeeded => self.succeeded = true,
            Event::AllUndone => {
                self.undone = true;
                self.succeeded = false;
            }
            Event::Decided {
                step,
                digest,
                decision,
                question: _,
            } => self.of(step).decided = Some((digest.clone(), decision.clone())),
            Event::Found { step } => self.of(step).phase = Phase::Found,
            Event::Applying { step, attempt } => {
                let step = self.of(step);
                step.attempts = *attempt;
                step.phase = Phase::Applying;
                step.failure = None;
            }
            Event::Noted { step, key, value } => {
                self.of(step).notes.insert(key.clone(), value.clone());
            }
            Event::Applied { step, output } => {
                let step = self.of(step);
                step.phase = Phase::Applied;
                step.output = Some(output.clone());
            }
            Event::Verified { step } => {
                let step = self.of(step);
                step.phase = Phase::Verified;
                step.failure = None;
            }
            // How far it is, is what the records before say: a failure changes nothing of that.
            Event::Failed { step, error, .. } => self.of(step).failure = Some(error.clone()),
            Event::Undoing { step } => {
                self.undoing = true;
                self.succeeded = false;
                self.of(step).phase = Phase::Undoing;
            }
            Event::Undone { step, outcome } => {
                let step = self.of(step);
                step.phase = Phase::Undone(outcome.clone());
                step.failure = None;
            }
        }
    }

    fn of(&mut self, name: &str) -> &mut StepHistory {
        self.steps.entry(name.to_owned()).or_default()
    }
}
