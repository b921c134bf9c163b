//! Works through a runbook.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;

use salvor_location::with_causes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::approval::{Approver, Decision, Gate};
use crate::error::{Error, Result};
use crate::history::{Beginning, Phase};
use crate::journal::Journal;
use crate::record::{Event, Record};
use crate::step::{Check, Compensation, Context, Effect, Runbook, Step, StepError};

/// Which function of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// [`Step::question`] and the answer to it.
    Question,
    /// [`Step::check`].
    Check,
    /// [`Step::apply`].
    Apply,
    /// [`Step::verify`].
    Verify,
    /// [`Step::compensate`].
    Compensate,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Question => "question",
            Self::Check => "check",
            Self::Apply => "apply",
            Self::Verify => "verify",
            Self::Compensate => "compensate",
        })
    }
}

/// How it ended, forward or backward.
#[derive(Debug)]
pub enum End {
    /// All steps are verified.
    Succeeded,
    /// Everything that was applied is taken back, but for these: name of the step, and why it cannot be.
    Undone(Vec<(String, String)>),
    /// A step failed. The run can be resumed, or undone.
    Failed {
        /// The step.
        step: String,
        /// In which of its functions.
        stage: Stage,
        /// Why.
        error: StepError,
    },
    /// A step must not be done as things stand. The run can be resumed once that has changed, or undone.
    Blocked {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
    /// Whoever was asked did not agree.
    Refused {
        /// The step.
        step: String,
        /// Who decided, and what they said.
        decision: Decision,
    },
    /// It was to stop. The run can be resumed, or undone.
    Cancelled,
}

/// Why a function of a step was given up.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("not done within {0:?}, which is as long as it may take")]
    TooLong(std::time::Duration),
    #[error("stopped, as was asked for")]
    Cancelled,
}

/// Works through one runbook with one journal.
pub struct Executor<'a> {
    runbook: &'a Runbook,
    journal: Mutex<Journal>,
    approver: &'a dyn Approver,
    observer: &'a (dyn Fn(&Record) + Send + Sync),
    cancel: CancellationToken,
}

impl<'a> Executor<'a> {
    /// Of a run that has not begun, or that is to be gone on with. `observer` is told of each record that this executor wrote,
    /// but for notes of steps.
    #[must_use]
    pub fn new(
        runbook: &'a Runbook,
        journal: Journal,
        approver: &'a dyn Approver,
        observer: &'a (dyn Fn(&Record) + Send + Sync),
        cancel: CancellationToken,
    ) -> Self {
        Self {
            runbook,
            journal: Mutex::new(journal),
            approver,
            observer,
            cancel,
        }
    }

    /// What it did to its journal.
    #[must_use]
    pub fn into_journal(self) -> Journal {
        self.journal.into_inner()
    }

    /// Begins the run, or goes on with it, until all steps are verified or one is not.
    ///
    /// # Errors
    /// The journal cannot be written; the run was begun with another plan, was undone, or is gone on with elsewhere.
    pub async fn run(&self) -> Result<End> {
        self.begin().await?;
        {
            let journal = self.journal.lock().await;
            let history = journal.history();
            if history.undoing || history.undone {
                let run = journal.run().to_string();
                return Err(Error::Undone { run });
            }
            if history.succeeded {
                return Ok(End::Succeeded);
            }
        }
        for step in &self.runbook.steps {
            if let Some(end) = self.forward(step.as_ref()).await? {
                return Ok(end);
            }
        }
        self.tell(Event::Succeeded).await?;
        Ok(End::Succeeded)
    }

    /// Takes back, last first, what this run applied.
    ///
    /// # Errors
    /// As [`Executor::run`].
    pub async fn undo(&self) -> Result<End> {
        self.begin().await?;
        let mut remains = Vec::new();
        for step in self.runbook.steps.iter().rev() {
            let name = step.name();
            let phase = self.phase(name).await;
            if let Phase::Undone(Compensation::Impossible(why)) = &phase {
                remains.push((name.to_owned(), why.clone()));
            }
            if !phase.is_to_undo() {
                continue;
            }
            match self.backward(step.as_ref()).await? {
                Ok(Compensation::Impossible(why)) => remains.push((name.to_owned(), why)),
                Ok(_) => {}
                Err(end) => return Ok(end),
            }
        }
        if !self.journal.lock().await.history().undone {
            self.tell(Event::AllUndone).await?;
        }
        remains.reverse();
        Ok(End::Undone(remains))
    }

    /// Looks at every step without changing anything: what a run would find now. A later step may be done, or blocked, only
    /// because those before it are not.
    ///
    /// # Errors
    /// None of the journal is written; a step that cannot be looked at says so in its place.
    pub async fn preview(&self) -> Vec<(String, Result<Check, StepError>)> {
        let mut found = Vec::new();
        for step in &self.runbook.steps {
            let context = self.context(step.name());
            let check = self.limited(step.as_ref(), step.check(&context)).await;
            found.push((step.name().to_owned(), check));
        }
        found
    }

    async fn begin(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for step in &self.runbook.steps {
            if !names.insert(step.name()) {
                return Err(Error::Twice {
                    runbook: self.runbook.name.clone(),
                    step: step.name().to_owned(),
                });
            }
        }
        let begun = {
            let journal = self.journal.lock().await;
            let begun = journal.history().begun.clone();
            if let Some(begun) = &begun {
                self.assert_same(begun, journal.run().as_str())?;
            }
            begun
        };
        let event = match begun {
            Some(_) => Event::Resumed,
            None => Event::Begun {
                runbook: self.runbook.name.clone(),
                target: self.runbook.target.clone(),
                parameters: self.runbook.parameters.clone(),
                digest: self.runbook.digest(),
                tool: concat!("salvor ", env!("CARGO_PKG_VERSION")).to_owned(),
                steps: self.runbook.names(),
            },
        };
        self.tell(event).await
    }

    fn assert_same(&self, begun: &Beginning, run: &str) -> Result<()> {
        let now = self.runbook;
        let texts = [
            ("runbook", begun.runbook.clone(), now.name.clone()),
            ("target", begun.target.clone(), now.target.clone()),
            (
                "request",
                begun.parameters.to_string(),
                now.parameters.to_string(),
            ),
            ("list of steps", begun.digest.clone(), now.digest()),
        ];
        match texts.into_iter().find(|(_, begun, now)| begun != now) {
            None => Ok(()),
            Some((what, begun, now)) => Err(Error::AnotherPlan {
                run: run.to_owned(),
                what,
                begun,
                now,
            }),
        }
    }

    /// One step forward; an end where the run does not go on behind it.
    async fn forward(&self, step: &dyn Step) -> Result<Option<End>> {
        let name = step.name();
        if self.cancel.is_cancelled() {
            return Ok(Some(End::Cancelled));
        }
        let context = self.context(name);
        let before = self.journal.lock().await.history().step(name);
        if matches!(before.phase, Phase::Verified | Phase::Found) {
            return Ok(None);
        }
        // Killed between the two: only the looking is left. What was looked at and was not reached begins anew.
        let applied = before.phase == Phase::Applied && before.failure.is_none();
        if !applied {
            if let Some(end) = self.ask(step, &context).await? {
                return Ok(Some(end));
            }
            match self.limited(step, step.check(&context)).await {
                Err(error) => return self.failed(step, Stage::Check, error).await.map(Some),
                Ok(Check::Blocked(reason)) => {
                    let error = reason.clone().into();
                    self.failed(step, Stage::Check, error).await?;
                    let step = name.to_owned();
                    return Ok(Some(End::Blocked { step, reason }));
                }
                Ok(Check::Done) if before.phase == Phase::Untouched => {
                    let step = name.to_owned();
                    self.tell(Event::Found { step }).await?;
                    return Ok(None);
                }
                // What was interrupted and is done is this run's own. It is applied once more nevertheless: only that gives
                // its output, and a step that is done has nothing to do.
                Ok(Check::Done | Check::ToDo) => {}
            }
            if let Some(end) = self.apply(step, &context).await? {
                return Ok(Some(end));
            }
        }
        if let Err(error) = self.limited(step, step.verify(&context)).await {
            return self.failed(step, Stage::Verify, error).await.map(Some);
        }
        let step = name.to_owned();
        self.tell(Event::Verified { step }).await?;
        Ok(None)
    }

    async fn apply(&self, step: &dyn Step, context: &Context<'_>) -> Result<Option<End>> {
        let name = step.name();
        let attempt = {
            let mut journal = self.journal.lock().await;
            if step.effect() == Effect::Destroys {
                journal.assert_copied(name).await?;
            }
            journal.history().step(name).attempts + 1
        };
        let applying = Event::Applying {
            step: name.to_owned(),
            attempt,
        };
        self.tell(applying).await?;
        if step.effect() == Effect::Destroys {
            // With the record that it begins.
            self.journal.lock().await.assert_copied(name).await?;
        }
        match self.limited(step, step.apply(context)).await {
            Err(error) => self.failed(step, Stage::Apply, error).await.map(Some),
            Ok(output) => {
                let step = name.to_owned();
                self.tell(Event::Applied { step, output }).await?;
                Ok(None)
            }
        }
    }

    /// Asks whoever decides, unless they agreed to the same before.
    async fn ask(&self, step: &dyn Step, context: &Context<'_>) -> Result<Option<End>> {
        let question = match self.limited(step, step.question(context)).await {
            Ok(None) => return Ok(None),
            Ok(Some(question)) => question,
            Err(error) => return self.failed(step, Stage::Question, error).await.map(Some),
        };
        let gate = Gate {
            runbook: self.runbook.name.clone(),
            target: self.runbook.target.clone(),
            step: step.name().to_owned(),
            digest: self.bound(step.name(), &question),
            question,
        };
        let before = self.journal.lock().await.history().step(step.name());
        if let Some((digest, decision)) = before.decided
            && digest == gate.digest
            && decision.granted
        {
            return Ok(None);
        }
        let decided = tokio::select! {
            decided = self.approver.decide(&gate) => decided,
            () = self.cancel.cancelled() => return Ok(Some(End::Cancelled)),
        };
        let decision = match decided {
            Ok(decision) => decision,
            Err(error) => return self.failed(step, Stage::Question, error).await.map(Some),
        };
        let decided = Event::Decided {
            step: gate.step.clone(),
            question: gate.question,
            digest: gate.digest,
            decision: decision.clone(),
        };
        self.tell(decided).await?;
        let step = gate.step;
        Ok((!decision.granted).then_some(End::Refused { step, decision }))
    }

    /// One step backward; an end where the run does not go on before it.
    async fn backward(&self, step: &dyn Step) -> Result<Result<Compensation, End>> {
        let name = step.name();
        if self.cancel.is_cancelled() {
            return Ok(Err(End::Cancelled));
        }
        let undoing = Event::Undoing {
            step: name.to_owned(),
        };
        self.tell(undoing).await?;
        let context = self.context(name);
        match self.limited(step, step.compensate(&context)).await {
            Err(error) => self.failed(step, Stage::Compensate, error).await.map(Err),
            Ok(outcome) => {
                let undone = Event::Undone {
                    step: name.to_owned(),
                    outcome: outcome.clone(),
                };
                self.tell(undone).await?;
                Ok(Ok(outcome))
            }
        }
    }

    /// Records a failure and makes it the end.
    async fn failed(&self, step: &dyn Step, stage: Stage, error: StepError) -> Result<End> {
        let failed = Event::Failed {
            step: step.name().to_owned(),
            stage,
            error: with_causes(error.as_ref()),
        };
        self.tell(failed).await?;
        if matches!(error.downcast_ref::<Stopped>(), Some(Stopped::Cancelled)) {
            return Ok(End::Cancelled);
        }
        let step = step.name().to_owned();
        Ok(End::Failed { step, stage, error })
    }

    /// Runs a function of a step until its limit, or until the run is to stop.
    async fn limited<T>(
        &self,
        step: &dyn Step,
        work: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, StepError> {
        tokio::select! {
            biased;
            done = tokio::time::timeout(step.limit(), work) => match done {
                Ok(done) => done,
                Err(_) => Err(Stopped::TooLong(step.limit()).into()),
            },
            () = self.cancel.cancelled() => Err(Stopped::Cancelled.into()),
        }
    }

    fn bound(&self, step: &str, question: &str) -> String {
        let bound = Value::from(vec![&self.runbook.digest(), step, question]);
        format!("{:x}", Sha256::digest(bound.to_string()))
    }

    fn context<'b>(&'b self, step: &'b str) -> Context<'b> {
        Context {
            step,
            journal: &self.journal,
            cancel: &self.cancel,
        }
    }

    async fn phase(&self, step: &str) -> Phase {
        self.journal.lock().await.history().step(step).phase
    }

    async fn tell(&self, event: Event) -> Result<()> {
        let record = self.journal.lock().await.append(event).await?;
        (self.observer)(&record);
        Ok(())
    }
}
