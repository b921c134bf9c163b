//! Item actions of users: found in the cluster, and asked about objects.
//!
//! Definitions stand in ConfigMaps with the label [`LABEL`] in Velero's namespace, or come from a file of the
//! operator's. What cannot be read is never passed over: an action may be there to keep secrets out of a
//! backup.

use salvor_api::meta::StringMap;
use salvor_api::resource::ObjectKey;
use salvor_api::resource_policy::only_value;
use salvor_archive::index::Entry;
use salvor_cluster::{Cluster, Error, ErrorKind, ListOptions};
use salvor_extension::{ActionKind, Actions, Failed, Occasion, Origin, Outcome, Subject};
use salvor_location::Location;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::config_map;
use crate::restore::{RestoreError, Source};

/// Label of a ConfigMap that defines item actions.
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
    let options = ListOptions {
        label_selector: Some(LABEL.to_owned()),
        ..ListOptions::default()
    };
    let mut all = given.clone();
    let mut pager = cluster.pager(&config_map::resource(), Some(namespace), options);
    loop {
        let page = match pager.next_page().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                found.hidden = Some(error.reason().to_owned());
                break;
            }
            Err(error) => return Err(error),
        };
        for body in page.items() {
            let merged = read(body).and_then(|own| all.with(&own));
            match merged {
                Ok(merged) => all = merged,
                Err(errors) => {
                    let name = name_of(body);
                    let errors = errors.into_iter();
                    let said = errors.map(|e| format!("item actions in configmap {name}: {e}"));
                    found.errors.extend(said);
                }
            }
        }
    }
    found.actions = all.of(kind);
    Ok(found)
}

fn read(body: &[u8]) -> Result<Actions, Vec<String>> {
    let data: StringMap = config_map::data_of(body);
    let text = only_value(&data).map_err(|error| vec![error])?;
    Actions::parse(text, Origin::Cluster)
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
