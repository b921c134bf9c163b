//! What a journal says of its run in a few words, for a list of runs.

use jiff::Timestamp;
use serde::Serialize;

use crate::executor::Stage;
use crate::history::Beginning;
use crate::record::{Event, Record};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// All steps are verified.
    Done,
    /// A step failed, was blocked, or was not agreed to. It can be resumed, or undone.
    Stopped,
    /// The last record is one of work: a program is at it now, or was killed. The journal cannot tell which.
    Open,
    /// It is being taken back, or that was stopped: it can only go on backwards.
    Undoing,
    /// It was taken back.
    Undone,
}

/// A run in a few words.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How it began.
    pub begun: Beginning,
    /// When.
    pub started: Timestamp,
    /// When its last record was written.
    pub last: Timestamp,
    /// How far it is.
    pub state: State,
    /// The step of the last record that has one.
    pub step: Option<String>,
    /// Its place from 1, where the journal has the list of steps.
    pub number: Option<usize>,
    /// How many steps there are, where the journal has the list.
    pub steps: Option<usize>,
    /// Why it stopped last.
    pub error: Option<String>,
}

impl Summary {
    /// Of all records of a run; `None` where it has not begun.
    #[must_use]
    pub fn of(records: &[Record]) -> Option<Self> {
        let first = records.first()?;
        let begun = Beginning::of(&first.event)?;
        let mut summary = Self {
            steps: Some(begun.steps.len()).filter(|count| *count > 0),
            begun,
            started: first.at,
            last: records.last()?.at,
            state: State::Open,
            step: None,
            number: None,
            error: None,
        };
        for record in records {
            summary.take(&record.event);
        }
        let step = summary.step.as_ref();
        let names = &summary.begun.steps;
        summary.number = names
            .iter()
            .position(|name| Some(name) == step)
            .map(|at| at + 1);
        Some(summary)
    }

    fn take(&mut self, event: &Event) {
        let backwards = matches!(self.state, State::Undoing | State::Undone);
        let forward = if backwards {
            State::Undoing
        } else {
            State::Open
        };
        let (state, error) = match event {
            Event::Begun { .. } | Event::Resumed if self.state == State::Undone => return,
            Event::Noted { .. } => return,
            Event::Begun { .. } | Event::Resumed => (forward, self.error.take()),
            Event::Found { .. }
            | Event::Applying { .. }
            | Event::Applied { .. }
            | Event::Verified { .. } => (forward, None),
            Event::Decided { decision, .. } if decision.granted => (forward, None),
            Event::Decided { decision, .. } => {
                let by = format!("not agreed to by {}: {}", decision.by, decision.comment);
                (State::Stopped, Some(by))
            }
            Event::Failed { stage, error, .. } => {
                let state = match stage {
                    Stage::Compensate => State::Undoing,
                    _ if backwards => State::Undoing,
                    _ => State::Stopped,
                };
                (state, Some(error.clone()))
            }
            Event::Undoing { .. } | Event::Undone { .. } => (State::Undoing, None),
            Event::Succeeded => (State::Done, None),
            Event::AllUndone => (State::Undone, None),
        };
        self.state = state;
        self.error = error;
        if let Some(step) = event.step() {
            self.step = Some(step.to_owned());
        }
    }

    /// Whether there is something left to go on with.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        matches!(self.state, State::Stopped | State::Open)
    }

    /// Whether there is something left to take back.
    #[must_use]
    pub fn can_be_undone(&self) -> bool {
        self.state != State::Undone
    }
}
