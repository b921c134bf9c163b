//! The contract of a step, and the list of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::journal::Journal;
use crate::record::Event;

/// Why a step did not do what it should: any error, whose causes are told with it.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// What a step does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It looks only.
    Reads,
    /// It changes something and can take that back.
    Changes,
    /// It changes something that cannot be taken back, or that serves somebody until then. The journal's copies are complete
    /// before it begins.
    Destroys,
}

/// What a step finds before it does anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// The world is as the step would leave it. Where the step was interrupted that was its own doing; otherwise it is not
    /// this run's to undo.
    Done,
    /// There is something to do.
    ToDo,
    /// It must not be done, and why: told to the user, who changes something and resumes.
    Blocked(String),
}

/// What came of undoing a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Compensation {
    /// The world is as it was before the step.
    Undone,
    /// There was nothing to take back.
    Nothing,
    /// It cannot be taken back, and why, and what a person can do.
    Impossible(String),
}

/// One step of a runbook.
///
/// What an executor relies on:
/// - **Repeatable.** Every function may be called again after it was dropped at any of its `await`s, or its process killed,
///   and then completes what it began. A step that must know what it did last time, such as the name under which it put
///   something aside, says so with [`Context::note`] before it does it.
/// - **Own effects only.** `compensate` takes back what `apply` of this run did, and nothing else.
/// - **Told as it is.** An error means that the step did not reach its end, not that nothing happened.
#[async_trait]
pub trait Step: Send + Sync {
    /// Its name, the same in every run and unique in its runbook: `stop-etcd/master-1`.
    fn name(&self) -> &str;

    /// What it does, for people, in one line.
    fn title(&self) -> String;

    /// What it does to the world.
    fn effect(&self) -> Effect;

    /// How long `apply` may take, and each of the others; after that it is dropped and has failed.
    fn limit(&self) -> Duration {
        Duration::from_secs(600)
    }

    /// What a person has to agree to before it is applied, with all that is to be known for that; `None` where nobody is
    /// asked. Asked again where the text has become another one by the time the run is resumed.
    ///
    /// # Errors
    /// What has to be told cannot be found out.
    async fn question(&self, _context: &Context<'_>) -> Result<Option<String>, StepError> {
        Ok(None)
    }

    /// Looks whether it is done already. Changes nothing.
    ///
    /// # Errors
    /// It cannot be found out.
    async fn check(&self, context: &Context<'_>) -> Result<Check, StepError>;

    /// Does it. The value is kept in the journal, for later steps ([`Context::output`]) and for people; it holds no secret.
    ///
    /// # Errors
    /// It did not reach its end.
    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError>;

    /// Looks whether what was to be reached is reached, by other means than `apply`'s own word. Changes nothing.
    ///
    /// # Errors
    /// It is not, or it cannot be found out.
    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError>;

    /// Takes back what `apply` did, as far as it went.
    ///
    /// # Errors
    /// It did not reach its end; it is called again when the run is undone again.
    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError>;
}

/// What a step knows of its run.
pub struct Context<'a> {
    pub(crate) step: &'a str,
    pub(crate) journal: &'a Mutex<Journal>,
    pub(crate) cancel: &'a CancellationToken,
}

impl Context<'_> {
    /// What an earlier step gave; `None` where it was found done, or has not run.
    pub async fn output(&self, step: &str) -> Option<Value> {
        let journal = self.journal.lock().await;
        journal.history().step(step).output.clone()
    }

    /// Keeps something in the journal before it is acted on. What is noted under the same key before is replaced.
    ///
    /// # Errors
    /// The journal cannot be written: then it must not be acted on.
    pub async fn note(&self, key: &str, value: impl Into<Value> + Send) -> Result<()> {
        let event = Event::Noted {
            step: self.step.to_owned(),
            key: key.to_owned(),
            value: value.into(),
        };
        self.journal.lock().await.append(event).await.map(|_| ())
    }

    /// What this step noted, in this attempt or an earlier one.
    pub async fn noted(&self, key: &str) -> Option<Value> {
        let journal = self.journal.lock().await;
        journal.history().step(self.step).notes.get(key).cloned()
    }

    /// What another step noted.
    pub async fn noted_by(&self, step: &str, key: &str) -> Option<Value> {
        let journal = self.journal.lock().await;
        journal.history().step(step).notes.get(key).cloned()
    }

    /// Identity of the run, for names of what is made on its behalf.
    pub async fn run(&self) -> String {
        self.journal.lock().await.run().to_string()
    }

    /// Cancelled when the run is to stop.
    #[must_use]
    pub fn cancel(&self) -> &CancellationToken {
        self.cancel
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

/// A list of steps with a purpose.
#[derive(Clone)]
pub struct Runbook {
    /// What it is for: `etcd member replace`.
    pub name: String,
    /// What it changes, as a person would recognise it: the cluster's name and id.
    pub target: String,
    /// What it was asked to do. A run is resumed only with the same. No secrets.
    pub parameters: Value,
    /// In their order.
    pub steps: Vec<Arc<dyn Step>>,
}

impl Runbook {
    /// Names of its steps, in their order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let names = self.steps.iter().map(|step| step.name().to_owned());
        names.collect()
    }

    /// SHA-256 over its name, target, parameters and the names of its steps, in hex: what an approval and a run are bound to.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let parameters = self.parameters.to_string();
        let names = self.steps.iter().map(|step| step.name());
        let heads = [self.name.as_str(), &self.target, &parameters];
        for text in heads.into_iter().chain(names) {
            // Lengths, so that no two lists of texts read the same.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        format!("{:x}", hash.finalize())
    }
}

impl fmt::Debug for Runbook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.steps.iter().map(|step| step.name()).collect();
        f.debug_struct("Runbook")
            .field("name", &self.name)
            .field("target", &self.target)
            .field("steps", &names)
            .finish_non_exhaustive()
    }
}
