//! A set of actions, and asking those that are meant about an object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use salvor_api::meta::StringMap;
use salvor_api::resource::ObjectKey;
use salvor_seal::Secret;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::answer;
use super::credentials::SecretKey;
use super::definition::{Definition, Document, OnFailure, Origin, Scope, VERSION};
use super::error::{CallError, Failed};
use super::exec;
use super::message::{ActionKind, Answer, Ask, Item, Occasion};
use super::transport::Transport;

/// Longest answer that is read, in bytes: an object of etcd's default limit several times over.
const MAX_ANSWER: usize = 8 << 20;

/// Actions, ready to be asked. Cheap to clone; clones share connections and limits.
#[derive(Clone, Default)]
pub struct Actions {
    actions: Arc<[Arc<Action>]>,
}

struct Action {
    definition: Definition,
    scope: Scope,
    transport: Transport,
    places: Semaphore,
}

/// The object that is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// When.
    pub kind: ActionKind,
    /// What for.
    pub occasion: &'a Occasion,
    /// Its place.
    pub key: &'a ObjectKey,
}

/// What the actions made of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The object, changed or not.
    pub object: Value,
    /// Why it is left out, if it is.
    pub skip: Option<String>,
    /// Objects that belong with it, in the order in which they were named.
    pub additional: Vec<ObjectKey>,
    /// What the user should know about the object.
    pub warnings: Vec<String>,
}

impl Actions {
    /// Reads a document of definitions: YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, one sentence each.
    pub fn parse(text: &str, origin: Origin) -> Result<Self, Vec<String>> {
        Self::default().and(Document::read(text, origin)?.actions)
    }

    /// These actions and those of another set.
    ///
    /// # Errors
    /// A name is defined twice.
    pub fn with(&self, others: &Self) -> Result<Self, Vec<String>> {
        let mut all: Vec<Arc<Action>> = self
            .actions
            .iter()
            .chain(&*others.actions)
            .cloned()
            .collect();
        sort(&mut all)?;
        Ok(Self {
            actions: all.into(),
        })
    }

    fn and(&self, definitions: Vec<Definition>) -> Result<Self, Vec<String>> {
        let mut all = self.actions.to_vec();
        let mut errors = Vec::new();
        for definition in definitions {
            let name = definition.name.clone();
            match Action::new(definition) {
                Ok(action) => all.push(Arc::new(action)),
                Err(reason) => errors.push(format!("action `{name}`: {reason}")),
            }
        }
        errors.extend(sort(&mut all).err().unwrap_or_default());
        match errors.is_empty() {
            true => Ok(Self {
                actions: all.into(),
            }),
            false => Err(errors),
        }
    }

    /// The Secrets that hold credentials of endpoints.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<SecretKey> {
        let unknown = self
            .actions
            .iter()
            .filter_map(|action| action.transport.unknown());
        unknown.cloned().collect()
    }

    /// With the credentials that were found; what is wrong with them, one sentence each. Credentials are
    /// not part of what makes two sets equal.
    ///
    /// # Errors
    /// A value cannot be shown to an endpoint.
    pub fn with_secrets(&self, found: &BTreeMap<SecretKey, Secret>) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let actions = self.actions.iter().map(|action| {
            let Definition { name, webhook, .. } = &action.definition;
            match action.transport.with_secrets(webhook.as_ref(), found) {
                Ok(None) => Arc::clone(action),
                Ok(Some(transport)) => Arc::new(Action {
                    definition: action.definition.clone(),
                    scope: action.scope.clone(),
                    places: Semaphore::new(usize::from(action.definition.max_concurrent)),
                    transport,
                }),
                Err(reason) => {
                    errors.push(format!("action `{name}`: {reason}"));
                    Arc::clone(action)
                }
            }
        });
        let actions: Vec<Arc<Action>> = actions.collect();
        match errors.is_empty() {
            true => Ok(Self {
                actions: actions.into(),
            }),
            false => Err(errors),
        }
    }

    /// Those that are asked on one kind of occasion.
    #[must_use]
    pub fn of(&self, kind: ActionKind) -> Self {
        let chosen = self
            .actions
            .iter()
            .filter(|action| action.definition.kind == kind);
        Self {
            actions: chosen.cloned().collect(),
        }
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The definitions, by name.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.actions.iter().map(|action| &action.definition)
    }

    /// What tells one set of definitions from another, for records; empty for the empty set.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        if self.is_empty() {
            return String::new();
        }
        let mut hash = Sha256::new();
        for definition in self.definitions() {
            hash.update(format!("{definition:?}\0"));
        }
        let digest = hash.finalize();
        digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// True when some action may be about an object in this place: its labels decide.
    #[must_use]
    pub fn may_apply(&self, subject: &Subject<'_>) -> bool {
        self.actions
            .iter()
            .any(|action| action.definition.kind == subject.kind && action.scope.meets(subject))
    }

    /// Asks every action that is about the object, in the order of their names, each about what the one
    /// before made of it. `backed_up` is the object as it stands in the backup, in a restore.
    ///
    /// Cancel safe: nothing is kept; a program that runs is ended.
    ///
    /// # Errors
    /// The first action that fails and whose definition does not say that this is only a warning.
    pub async fn ask(
        &self,
        subject: &Subject<'_>,
        object: Value,
        backed_up: Option<&Value>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failed> {
        let mut outcome = Outcome {
            object,
            skip: None,
            additional: Vec::new(),
            warnings: Vec::new(),
        };
        for action in &*self.actions {
            let Definition { name, kind, .. } = &action.definition;
            let labels = labels_of(backed_up.unwrap_or(&outcome.object));
            let meant = *kind == subject.kind
                && action.scope.meets(subject)
                && action.scope.meets_labels(&labels);
            if !meant {
                continue;
            }
            let asked = action.ask(subject, &outcome.object, backed_up);
            let answered = match cancel.run_until_cancelled(asked).await {
                Some(answered) => answered,
                None => Err(CallError::Cancelled),
            };
            match answered {
                Ok(answer) => {
                    if let Err(source) = outcome.take(answer) {
                        action.fail(source, &mut outcome)?;
                    }
                }
                Err(source) => action.fail(source, &mut outcome)?,
            }
            if let Some(reason) = &mut outcome.skip {
                *reason = format!("item action `{name}` leaves it out: {reason}");
                break;
            }
        }
        Ok(outcome)
    }
}

fn sort(actions: &mut [Arc<Action>]) -> Result<(), Vec<String>> {
    actions.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
    let twice = actions
        .windows(2)
        .filter(|pair| pair[0].definition.name == pair[1].definition.name)
        .map(|pair| format!("action `{}` is defined twice", pair[0].definition.name));
    let twice: Vec<String> = twice.collect();
    if twice.is_empty() { Ok(()) } else { Err(twice) }
}

fn labels_of(object: &Value) -> StringMap {
    let labels = object["metadata"]["labels"].as_object();
    let pairs = labels.into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

impl Outcome {
    fn take(&mut self, answer: Answer) -> Result<(), CallError> {
        let mut keys = Vec::new();
        for item in answer.additional_items {
            let key = item.key().ok_or(CallError::Meaningless(
                "an additional item without a resource or name",
            ))?;
            keys.push(key);
        }
        self.additional.extend(keys);
        if let Some(object) = answer.object {
            self.object = object;
        }
        self.skip = answer
            .skip
            .map(|skip| super::error::excerpt(skip.reason.as_bytes()));
        let warnings = answer.warnings.iter();
        self.warnings
            .extend(warnings.map(|warning| super::error::excerpt(warning.as_bytes())));
        Ok(())
    }
}

impl Action {
    fn new(definition: Definition) -> Result<Self, String> {
        let transport = Transport::new(definition.webhook.as_ref(), definition.exec.as_ref())?;
        Ok(Self {
            scope: Scope::compile(&definition.applies_to)?,
            places: Semaphore::new(usize::from(definition.max_concurrent)),
            transport,
            definition,
        })
    }

    async fn ask(
        &self,
        subject: &Subject<'_>,
        object: &Value,
        backed_up: Option<&Value>,
    ) -> Result<Answer, CallError> {
        let Definition {
            name,
            kind,
            timeout,
            ..
        } = &self.definition;
        let question = Ask {
            version: VERSION.to_owned(),
            action: name.clone(),
            kind: *kind,
            run: subject.occasion.clone(),
            item: Item::from(subject.key),
            object: object.clone(),
            backed_up: backed_up.cloned(),
        };
        let question =
            serde_json::to_vec(&question).map_err(|source| CallError::Malformed { source })?;
        let question = Bytes::from(question);
        // An error would mean that the semaphore was closed, which nobody does.
        let _place = self.places.acquire().await.ok();
        tracing::debug!(action = %name, item = %subject.key, "item action is asked");
        let call = async {
            match &self.transport {
                Transport::Webhook(endpoint) => endpoint.ask(question, MAX_ANSWER).await,
                Transport::Exec(command) => exec::ask(command, question, MAX_ANSWER).await,
            }
        };
        let bytes = tokio::time::timeout(timeout.0, call)
            .await
            .map_err(|_| CallError::Timeout(timeout.0))??;
        answer::read(&bytes, *kind, object)
    }

    /// What a failure means: an error, or a warning about the object.
    fn fail(&self, source: CallError, outcome: &mut Outcome) -> Result<(), Failed> {
        let failed = Failed {
            action: self.definition.name.clone(),
            source,
        };
        if self.definition.on_failure == OnFailure::Continue && !failed.is_cancelled() {
            outcome.warnings.push(failed.chain());
            return Ok(());
        }
        Err(failed)
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.definitions()).finish()
    }
}

/// Sets are equal when their definitions are.
impl PartialEq for Actions {
    fn eq(&self, other: &Self) -> bool {
        self.definitions().eq(other.definitions())
    }
}
