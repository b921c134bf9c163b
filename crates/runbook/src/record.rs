//! One transition of a run, as it stands in the journal.

use jiff::Timestamp;
use salvor_location::RunId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::Decision;
use crate::executor::Stage;
use crate::step::Compensation;

/// Version of the records that are written here; a newer one is refused.
pub const VERSION: u64 = 1;

/// One transition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`VERSION`].
    pub version: u64,
    /// The run.
    pub run: RunId,
    /// Its place, from 1 without a gap.
    pub number: u64,
    /// SHA-256 of the record before it, in hex; empty for the first. A record that was changed or taken out afterwards is
    /// noticed.
    pub previous: String,
    /// By the executor's clock, for people: the order is that of the numbers.
    pub at: Timestamp,
    /// Who wrote it: another one for every start of a program.
    pub executor: String,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// The run began; the first record.
    Begun {
        /// Its runbook.
        runbook: String,
        /// What it changes.
        target: String,
        /// What it was asked to do.
        parameters: Value,
        /// [`crate::Runbook::digest`].
        digest: String,
        /// Name and version of the program.
        tool: String,
        /// Names of its steps, in their order; journals of before have none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<String>,
    },
    /// Somebody goes on with it, forward or backward.
    Resumed,
    /// A person, or a standing order, decided about a step.
    Decided {
        /// The step.
        step: String,
        /// What was asked.
        question: String,
        /// What the decision is bound to.
        digest: String,
        /// What was decided, and by whom.
        decision: Decision,
    },
    /// The step was found done, by nobody of this run.
    Found {
        /// The step.
        step: String,
    },
    /// The step is applied from now on.
    Applying {
        /// The step.
        step: String,
        /// From 1.
        attempt: u64,
    },
    /// The step keeps something in mind before it acts on it.
    Noted {
        /// The step.
        step: String,
        /// Under which key.
        key: String,
        /// What.
        value: Value,
    },
    /// The step came to its end.
    Applied {
        /// The step.
        step: String,
        /// What it gave.
        output: Value,
    },
    /// What was to be reached is reached.
    Verified {
        /// The step.
        step: String,
    },
    /// The step failed.
    Failed {
        /// The step.
        step: String,
        /// In which of its functions.
        stage: Stage,
        /// Why, with all causes.
        error: String,
    },
    /// The step is taken back from now on.
    Undoing {
        /// The step.
        step: String,
    },
    /// The step is taken back, as far as it can be.
    Undone {
        /// The step.
        step: String,
        /// What came of it.
        outcome: Compensation,
    },
    /// All steps are verified.
    Succeeded,
    /// All steps that were applied are taken back.
    AllUndone,
}

impl Event {
    /// The step that it is about.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::Begun { .. } | Self::Resumed | Self::Succeeded | Self::AllUndone => None,
            Self::Decided { step, .. }
            | Self::Found { step }
            | Self::Applying { step, .. }
            | Self::Noted { step, .. }
            | Self::Applied { step, .. }
            | Self::Verified { step }
            | Self::Failed { step, .. }
            | Self::Undoing { step }
            | Self::Undone { step, .. } => Some(step),
        }
    }
}
