//! Providers: extensions that keep bytes, make snapshots or know an application. `docs/formats/providers.md` is the
//! contract; each kind has its questions in a module of its own.

pub mod application;
mod conversation;
pub mod object_store;
pub mod snapshotter;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use salvor_api::go::GoDuration;
use salvor_api::meta::StringMap;
use salvor_seal::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::credentials::SecretKey;
use super::definition::{Common, Document, Exec, Origin, Webhook, four};
use super::transport::Transport;

pub use self::conversation::{About, Body, Conversation, Provider};

/// Last parts of names that are the built-in stores'.
const BUILT_IN: &[&str] = &["aws", "s3", "azure", "gcp", "gcs", "file", "filesystem"];

/// What a provider is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProviderKind {
    /// Keeps bytes under names: the place of a location.
    ObjectStore,
    /// Makes and restores snapshots of volumes.
    VolumeSnapshotter,
    /// Finds, quiesces, dumps, verifies and restores applications.
    ApplicationAdapter,
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As it is written in a definition.
        fmt::Debug::fmt(self, f)
    }
}

/// One provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderDefinition {
    /// `domain/name`, unique among providers.
    pub name: String,
    /// What it is for.
    pub kind: ProviderKind,
    /// The endpoint that is asked; this or `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// The program that is asked; this or `webhook`. Only in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// How long it may say nothing: until an answer begins, and between the parts of a body.
    #[serde(default = "a_minute")]
    pub timeout: GoDuration,
    /// How many questions without a body are asked at once.
    #[serde(default = "four")]
    pub max_concurrent: u16,
    /// What it is told with every question.
    #[serde(default, skip_serializing_if = "StringMap::is_empty")]
    pub config: StringMap,
}

fn a_minute() -> GoDuration {
    GoDuration(Duration::from_secs(60))
}

impl ProviderDefinition {
    pub(crate) fn check(&self, origin: Origin) -> Vec<String> {
        let common = Common {
            name: &self.name,
            webhook: self.webhook.as_ref(),
            exec: self.exec.as_ref(),
            timeout: self.timeout,
            max_concurrent: self.max_concurrent,
        };
        let mut wrong = common.check(origin);
        let last = self.name.rsplit('/').next().unwrap_or_default();
        if self.kind == ProviderKind::ObjectStore && BUILT_IN.contains(&last) {
            wrong.push(format!(
                "a location with a provider that ends in /{last} uses the built-in store: choose another name"
            ));
        }
        wrong
    }
}

/// The providers that are defined, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    all: BTreeMap<String, Provider>,
}

impl Providers {
    /// Reads a document of definitions: YAML or JSON.
    ///
    /// # Errors
    /// Everything that is wrong with it, one sentence each.
    pub fn parse(text: &str, origin: Origin) -> Result<Self, Vec<String>> {
        let mut providers = Self::default();
        let mut errors = Vec::new();
        for definition in Document::read(text, origin)?.providers {
            let name = definition.name.clone();
            let added = Provider::new(definition).and_then(|provider| providers.add(provider));
            errors.extend(
                added
                    .err()
                    .map(|reason| format!("provider `{name}`: {reason}")),
            );
        }
        if errors.is_empty() {
            Ok(providers)
        } else {
            Err(errors)
        }
    }

    /// These and those of another set.
    ///
    /// # Errors
    /// A name is defined twice.
    pub fn with(&self, others: &Self) -> Result<Self, Vec<String>> {
        let mut all = self.clone();
        let added = others.all.values().cloned().map(|other| {
            let name = other.name().to_owned();
            all.add(other)
                .map_err(|reason| format!("provider `{name}`: {reason}"))
        });
        let errors: Vec<String> = added.filter_map(Result::err).collect();
        if errors.is_empty() {
            Ok(all)
        } else {
            Err(errors)
        }
    }

    fn add(&mut self, provider: Provider) -> Result<(), String> {
        match self.all.insert(provider.name().to_owned(), provider) {
            None => Ok(()),
            Some(_) => Err("it is defined twice".to_owned()),
        }
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The provider of this name and kind.
    #[must_use]
    pub fn get(&self, kind: ProviderKind, name: &str) -> Option<&Provider> {
        self.all
            .get(name)
            .filter(|provider| provider.kind() == kind)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.all.values()
    }

    /// The Secrets that hold credentials of endpoints.
    #[must_use]
    pub fn secrets(&self) -> BTreeSet<SecretKey> {
        let unknown = self.iter().filter_map(|one| one.transport().unknown());
        unknown.cloned().collect()
    }

    /// With the credentials that were found.
    ///
    /// # Errors
    /// A value cannot be shown to an endpoint, one sentence each.
    pub fn with_secrets(&self, found: &BTreeMap<SecretKey, Secret>) -> Result<Self, Vec<String>> {
        let mut all = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, provider) in &self.all {
            match provider.with_secrets(found) {
                Ok(provider) => {
                    all.insert(name.clone(), provider);
                }
                Err(reason) => errors.push(format!("provider `{name}`: {reason}")),
            }
        }
        if errors.is_empty() {
            Ok(Self { all })
        } else {
            Err(errors)
        }
    }
}

impl Provider {
    /// From a definition that was checked.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn new(definition: ProviderDefinition) -> Result<Self, String> {
        let transport = Transport::new(definition.webhook.as_ref(), definition.exec.as_ref())?;
        let places = Arc::new(Semaphore::new(usize::from(definition.max_concurrent)));
        Ok(Self::from_parts(definition, Arc::new(transport), places))
    }
}
