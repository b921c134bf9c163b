//! Definitions of actions: the document, and what must hold for it.

use std::time::Duration;

use salvor_api::filter::IncludesExcludes;
use salvor_api::go::GoDuration;
use salvor_api::meta::{LabelSelector, StringMap};
use salvor_api::resource_policy::StrictSelector;
use salvor_api::selector::Selector;
use serde::{Deserialize, Serialize};

use super::actions::Subject;
use super::credentials::Credentials;
use super::message::ActionKind;
use super::provider::ProviderDefinition;

/// Version of the contract.
pub const VERSION: &str = "v1";
/// Longest document that is read, in bytes: the limit of a ConfigMap.
pub const MAX_DOCUMENT: usize = 1 << 20;
/// Longest time that an action may take for one object: a backup waits for it.
const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// Where a document comes from: it decides what it may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A ConfigMap: whoever may write it must not start programs where the server runs.
    Cluster,
    /// A file that the operator named.
    File,
}

/// The document.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document {
    version: String,
    #[serde(default)]
    pub(crate) actions: Vec<Definition>,
    #[serde(default)]
    pub(crate) providers: Vec<ProviderDefinition>,
}

/// One action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Definition {
    /// `domain/name`, unique; actions run in the order of their names.
    pub name: String,
    /// When it is asked.
    pub kind: ActionKind,
    /// For which objects; all when nothing is said.
    #[serde(default)]
    pub applies_to: AppliesTo,
    /// The endpoint that is asked; this or `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// The program that is asked; this or `webhook`. Only in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
    /// How long one answer may take.
    #[serde(default = "ten_seconds")]
    pub timeout: GoDuration,
    /// What a failure means for the object.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How many objects it is shown at once.
    #[serde(default = "four")]
    pub max_concurrent: u16,
}

pub(crate) fn ten_seconds() -> GoDuration {
    GoDuration(Duration::from_secs(10))
}

pub(crate) fn four() -> u16 {
    4
}

/// What a failure means for the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// It fails: it is not backed up, or not restored.
    #[default]
    Fail,
    /// A warning; the object stays as it was.
    Continue,
}

/// Which objects an action is asked about: all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AppliesTo {
    /// Patterns of namespaces; when there are any, cluster-scoped objects are not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_namespaces: Vec<String>,
    /// Patterns of namespaces that are not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespaces: Vec<String>,
    /// Patterns of resources, with or without the group: `secrets`, `deployments.apps`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_resources: Vec<String>,
    /// Patterns of resources that are not meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_resources: Vec<String>,
    /// Labels.
    #[serde(skip_serializing, default)]
    pub label_selector: Option<StrictSelector>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Where questions are posted: https, or http on this machine.
    pub url: String,
    /// Certificates to trust besides the system's, as PEM text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ca_bundle: String,
    /// What the endpoint is shown, so that it knows who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The program's path and its arguments; no shell is involved.
    pub command: Vec<String>,
}

impl Document {
    /// Reads a document.
    pub(crate) fn read(text: &str, origin: Origin) -> Result<Self, Vec<String>> {
        if text.len() > MAX_DOCUMENT {
            let length = text.len();
            return Err(vec![format!(
                "it is {length} bytes long, at most 1 MiB is read"
            )]);
        }
        let document: Self = serde_saphyr::from_str(text).map_err(|error| {
            // Its later lines are an excerpt of the document.
            let error = error.to_string();
            let reason = error.lines().next().unwrap_or_default();
            vec![format!("it cannot be read: {reason}")]
        })?;
        let mut errors = Vec::new();
        let version = &document.version;
        if version != VERSION {
            errors.push(format!("version is `{version}`: write {VERSION}"));
        }
        if document.actions.is_empty() && document.providers.is_empty() {
            errors.push("it defines neither actions nor providers".to_owned());
        }
        let mut note = |what: &str, name: &str, wrong: Vec<String>| {
            let wrong = wrong.into_iter();
            errors.extend(wrong.map(|wrong| format!("{what} `{name}`: {wrong}")));
        };
        for definition in &document.actions {
            note("action", &definition.name, definition.check(origin));
        }
        for definition in &document.providers {
            note("provider", &definition.name, definition.check(origin));
        }
        match errors.is_empty() {
            true => Ok(document),
            false => Err(errors),
        }
    }
}

/// What must hold for everything that is asked: its name, how it is reached, its limits.
pub(crate) struct Common<'a> {
    pub(crate) name: &'a str,
    pub(crate) webhook: Option<&'a Webhook>,
    pub(crate) exec: Option<&'a Exec>,
    pub(crate) timeout: GoDuration,
    pub(crate) max_concurrent: u16,
}

impl Common<'_> {
    pub(crate) fn check(&self, origin: Origin) -> Vec<String> {
        let mut wrong = Vec::new();
        let parts: Vec<&str> = self.name.split('/').collect();
        if parts.len() != 2 || parts.iter().any(|part| part.is_empty()) || self.name.len() > 128 {
            wrong.push("its name is not of the form domain/name".to_owned());
        }
        match (self.webhook, self.exec) {
            (Some(webhook), None) => wrong.extend(webhook.check(origin).err()),
            (None, Some(_)) if origin == Origin::Cluster => wrong.push(
                "exec starts a program where Salvor runs: only a file that its operator names may say so, \
                 use a webhook"
                    .to_owned(),
            ),
            (None, Some(exec)) if exec.command.first().is_none_or(String::is_empty) => {
                wrong.push("its command is empty".to_owned());
            }
            (None, Some(_)) => {}
            _ => wrong.push("it needs either webhook or exec".to_owned()),
        }
        if self.timeout.is_zero() || self.timeout.0 > MAX_TIMEOUT {
            wrong.push("its timeout is not between 1ns and 10m".to_owned());
        }
        if self.max_concurrent == 0 || self.max_concurrent > 64 {
            wrong.push("maxConcurrent is not between 1 and 64".to_owned());
        }
        wrong
    }
}

impl Definition {
    fn check(&self, origin: Origin) -> Vec<String> {
        let common = Common {
            name: &self.name,
            webhook: self.webhook.as_ref(),
            exec: self.exec.as_ref(),
            timeout: self.timeout,
            max_concurrent: self.max_concurrent,
        };
        let mut wrong = common.check(origin);
        wrong.extend(Scope::compile(&self.applies_to).err());
        wrong
    }
}

impl Webhook {
    fn check(&self, origin: Origin) -> Result<(), String> {
        if let Some(credentials) = &self.credentials {
            credentials.check(origin)?;
        }
        let uri: http::Uri = self
            .url
            .parse()
            .map_err(|error| format!("url `{}` cannot be read: {error}", self.url))?;
        let host = uri.host().unwrap_or_default();
        let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        match uri.scheme_str() {
            _ if host.is_empty() => Err(format!("url `{}` names no host", self.url)),
            Some("https") => Ok(()),
            Some("http") if local => Ok(()),
            Some("http") => Err(format!(
                "url `{}` would send objects, Secrets among them, unencrypted: use https",
                self.url
            )),
            _ => Err(format!("url `{}` is neither https nor http", self.url)),
        }
    }
}

/// [`AppliesTo`], compiled.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    namespaces: IncludesExcludes,
    resources: IncludesExcludes,
    labels: Selector,
}

impl Scope {
    pub(crate) fn compile(applies: &AppliesTo) -> Result<Self, String> {
        let lists = |includes: &[String], excludes: &[String]| {
            IncludesExcludes::new(includes, excludes).map_err(|error| error.to_string())
        };
        let labels = applies.label_selector.as_ref().map(LabelSelector::from);
        Ok(Self {
            namespaces: lists(&applies.included_namespaces, &applies.excluded_namespaces)?,
            resources: lists(&applies.included_resources, &applies.excluded_resources)?,
            labels: labels
                .map(|labels| Selector::compile(&labels))
                .transpose()
                .map_err(|error| error.to_string())?
                .unwrap_or_default(),
        })
    }

    /// True when the object's place is meant; its labels may still not be.
    pub(crate) fn meets(&self, subject: &Subject<'_>) -> bool {
        let resource = &subject.key.resource;
        let full = resource.to_string();
        let names = [resource.resource.as_str(), full.as_str()];
        let resource = names.iter().any(|name| self.resources.should_include(name))
            && !names.iter().any(|name| self.resources.is_excluded(name));
        let namespace = match &subject.key.namespace {
            Some(namespace) => self.namespaces.should_include(namespace),
            None => self.namespaces.is_everything(),
        };
        resource && namespace
    }

    pub(crate) fn meets_labels(&self, labels: &StringMap) -> bool {
        self.labels.matches(labels)
    }
}
