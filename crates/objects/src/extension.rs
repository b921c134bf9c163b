//! Extensions of users: found in the cluster with the credentials that they are shown, and item actions asked about
//! objects.
//!
//! Definitions stand in ConfigMaps with the label [`LABEL`] in Velero's namespace, or come from a file of the
//! operator's. What cannot be read is never passed over: an action may be there to keep secrets out of a
//! backup. Credentials come from Secrets with the same label only: whoever may write a ConfigMap shall not have
//! any Secret sent to an address of their choice.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use salvor_api::meta::StringMap;
use salvor_api::resource::ObjectKey;
use salvor_api::resource_policy::only_value;
use salvor_archive::index::Entry;
use salvor_cluster::{ApiResource, Cluster, Error, ErrorKind, ListOptions};
use salvor_extension::{
    ActionKind, Actions, Failed, Occasion, Origin, Outcome, Providers, SecretKey, Subject,
};
use salvor_location::Location;
use salvor_seal::{Hasher, Secret};
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config_map;
use crate::restore::{RestoreError, Source};

/// Label of a ConfigMap that defines extensions, and of a Secret that may be shown to them.
pub const LABEL: &str = "salvor.dev/extension";

/// The actions that were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Those of the cluster and the ones given, together.
    pub actions: Actions,
    /// Definitions that cannot be used: nothing may begin.
    pub errors: Vec<String>,
    /// Why the cluster's own are not known, when its user may not see them.
    pub hidden: Option<String>,
}

/// The providers that were found.
#[derive(Clone, Debug, Default)]
pub struct FoundProviders {
    /// Those of the cluster and the ones given, together.
    pub providers: Providers,
    /// Definitions that cannot be used, one sentence each.
    pub errors: Vec<String>,
    /// Differs whenever the definitions or their credentials do.
    pub fingerprint: String,
}

/// Finds the actions of one kind: those that ConfigMaps of a namespace define, and those given.
///
/// # Errors
/// The cluster fails.
pub async fn find(
    cluster: &Cluster,
    namespace: &str,
    given: &Actions,
    kind: ActionKind,
) -> Result<Found, Error> {
    let mut found = Found::default();
    let mut all = given.clone();
    match documents(cluster, namespace).await {
        Ok(documents) => {
            for body in documents {
                let own = text_of(&body).and_then(|text| Actions::parse(&text, Origin::Cluster));
                match own.and_then(|own| all.with(&own)) {
                    Ok(merged) => all = merged,
                    Err(errors) => found.errors.extend(said("item actions", &body, errors)),
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::Forbidden => {
            found.hidden = Some(error.reason().to_owned());
        }
        Err(error) => return Err(error),
    }
    let chosen = all.of(kind);
    let (secrets, missing) = secrets(cluster, namespace, chosen.secrets()).await?;
    found.errors.extend(missing);
    match chosen.with_secrets(&secrets) {
        Ok(known) => found.actions = known,
        Err(errors) => found.errors.extend(errors),
    }
    Ok(found)
}

/// Finds providers: those that ConfigMaps of a namespace define, and those given.
///
/// # Errors
/// The cluster fails, or does not let its ConfigMaps be listed.
pub async fn find_providers(
    cluster: &Cluster,
    namespace: &str,
    given: &Providers,
) -> Result<FoundProviders, Error> {
    let mut found = FoundProviders::default();
    let mut all = given.clone();
    for body in documents(cluster, namespace).await? {
        let own = text_of(&body).and_then(|text| Providers::parse(&text, Origin::Cluster));
        match own.and_then(|own| all.with(&own)) {
            Ok(merged) => all = merged,
            Err(errors) => found.errors.extend(said("providers", &body, errors)),
        }
    }
    let (secrets, missing) = secrets(cluster, namespace, all.secrets()).await?;
    found.errors.extend(missing);
    match all.with_secrets(&secrets) {
        Ok(known) => found.providers = known,
        Err(errors) => found.errors.extend(errors),
    }
    let mut hash = Hasher::new();
    for provider in found.providers.iter() {
        hash.update(format!("{:?}\0", provider.definition()).as_bytes());
    }
    for (key, value) in &secrets {
        hash.update(format!("{key:?}\0").as_bytes());
        hash.update(value.expose().as_bytes());
    }
    found.fingerprint = hash.finish().to_string();
    Ok(found)
}

/// The ConfigMaps with the label.
async fn documents(cluster: &Cluster, namespace: &str) -> Result<Vec<Bytes>, Error> {
    let options = ListOptions {
        label_selector: Some(LABEL.to_owned()),
        ..ListOptions::default()
    };
    let mut pager = cluster.pager(&config_map::resource(), Some(namespace), options);
    let mut all = Vec::new();
    while let Some(page) = pager.next_page().await? {
        all.extend(page.items().map(Bytes::copy_from_slice));
    }
    Ok(all)
}

fn text_of(body: &[u8]) -> Result<String, Vec<String>> {
    let data: StringMap = config_map::data_of(body);
    only_value(&data)
        .map(ToString::to_string)
        .map_err(|error| vec![error])
}

fn said(what: &str, body: &[u8], errors: Vec<String>) -> Vec<String> {
    let name = name_of(body);
    let errors = errors.into_iter();
    errors
        .map(|error| format!("{what} in configmap {name}: {error}"))
        .collect()
}

/// The values that definitions name; what is wrong with those that cannot be used, one sentence each.
async fn secrets(
    cluster: &Cluster,
    namespace: &str,
    keys: BTreeSet<SecretKey>,
) -> Result<(BTreeMap<SecretKey, Secret>, Vec<String>), Error> {
    let resource = ApiResource::known("", "v1", "Secret", "secrets", true);
    let (mut found, mut wrong) = (BTreeMap::new(), Vec::new());
    for key in keys {
        let value = match cluster.get(&resource, Some(namespace), &key.name).await {
            Ok(Some(body)) => value_of(&body, &key.key),
            Ok(None) => Err("it does not exist in the server's namespace".to_owned()),
            Err(error) if error.kind() == ErrorKind::Forbidden => Err(error.reason().to_owned()),
            Err(error) => return Err(error),
        };
        match value {
            Ok(value) => {
                found.insert(key, value);
            }
            Err(reason) => {
                let SecretKey { name, key } = &key;
                wrong.push(format!(
                    "credentials in secret `{name}`, key `{key}`: {reason}"
                ));
            }
        }
    }
    Ok((found, wrong))
}

fn value_of(body: &[u8], key: &str) -> Result<Secret, String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        metadata: Metadata,
        data: BTreeMap<String, String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Metadata {
        labels: StringMap,
    }
    let Ok(Body { metadata, data }) = serde_json::from_slice(body) else {
        return Err("it is not a Secret".to_owned());
    };
    if !metadata.labels.contains_key(LABEL) {
        return Err(format!(
            "it lacks the label {LABEL}, without which it is shown to nobody"
        ));
    }
    let value = data.get(key).ok_or("it has no such key")?;
    let bytes = BASE64
        .decode(value)
        .map_err(|_| "its value is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "its value is not text")?;
    Ok(Secret::new(text))
}

fn name_of(body: &[u8]) -> String {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    object["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Asks from a thread that may block.
pub(crate) fn ask_blocking(
    actions: &Actions,
    subject: &Subject<'_>,
    object: Value,
    backed_up: Option<&Value>,
    cancel: &CancellationToken,
) -> Result<Outcome, Failed> {
    Handle::current().block_on(actions.ask(subject, object, backed_up, cancel))
}

/// Asks the delete item actions about every object of a backup that is about to be deleted; what stands in
/// the way, one sentence each. Objects that no action is about are not read.
///
/// # Errors
/// The backup cannot be read.
pub async fn before_deletion(
    location: &Location,
    backup: &salvor_api::name::BackupName,
    actions: &Actions,
    cancel: &CancellationToken,
) -> Result<Vec<String>, RestoreError> {
    let actions = actions.of(ActionKind::DeleteItemAction);
    if actions.is_empty() {
        return Ok(Vec::new());
    }
    let source = Source::open(location, backup).await?;
    let occasion = Occasion {
        backup: backup.to_string(),
        restore: None,
    };
    let cancel = cancel.clone();
    crate::restore::planner::blocking(move || {
        let index = source.archive.index();
        let mut errors = Vec::new();
        for entry in index.in_archive_order().filter(Entry::preferred) {
            let key: ObjectKey = entry.key();
            let subject = Subject {
                kind: ActionKind::DeleteItemAction,
                occasion: &occasion,
                key: &key,
            };
            if !actions.may_apply(&subject) {
                continue;
            }
            let object = match source.archive.get(&entry) {
                Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
                Err(error) => {
                    errors.push(format!("{key}: {error}"));
                    continue;
                }
            };
            match ask_blocking(&actions, &subject, object, None, &cancel) {
                Ok(outcome) => {
                    for warning in outcome.warnings {
                        tracing::warn!(item = %key, backup = %occasion.backup, warning, "delete item action");
                    }
                }
                Err(failed) if failed.is_cancelled() => return Err(RestoreError::cancelled()),
                Err(failed) => errors.push(format!("{key}: {}", failed.chain())),
            }
        }
        Ok(errors)
    })
    .await
}
