//! Owner references, written anew once everything stands.
//!
//! A wrong UID in an owner reference is an order to the garbage collector to delete the object, so only
//! UIDs that were just read are written: the live owner is read and must have the name and kind that the
//! backup says, then the object is patched on condition that it has not changed since.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use salvor_api::resource::{GroupVersion, ObjectKey};
use salvor_cluster::{ApiResource, ErrorKind, WriteOptions};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::item::Hands;
use super::journal::Done;
use crate::restore::body;
use crate::restore::plan::PlanEntry;
use crate::restore::planner::parse;
use crate::restore::transform::Transformed;

/// Objects that are relinked at once.
const AT_ONCE: usize = 16;
/// Times that an object is read and written when others write it in between. Controllers do, which adopt
/// what was just restored; they are done after a write or two.
const ATTEMPTS: u32 = 5;

/// UIDs of owners that were read, by namespace, version, kind and name.
type Owners = Mutex<HashMap<(Option<String>, String, String, String), Option<String>>>;

/// Relinks every object that this restore created or updated. Returns what could not be relinked.
pub(super) async fn run(
    hands: &Arc<Hands>,
    entries: &Arc<Vec<PlanEntry>>,
    done: &BTreeMap<u32, Done>,
    cancel: &CancellationToken,
) -> Vec<(ObjectKey, String)> {
    let owners = Owners::default();
    let made: Vec<u32> = done
        .iter()
        .filter(|(_, done)| matches!(done, Done::Created | Done::Updated))
        .map(|(at, _)| *at)
        .collect();
    let problems = stream::iter(made)
        .map(|at| {
            let (hands, entries, owners) = (hands.clone(), entries.clone(), &owners);
            async move {
                if cancel.is_cancelled() {
                    return Vec::new();
                }
                let sent = match hands.remake(&entries[at as usize]).await {
                    Ok(sent) if !sent.owners.is_empty() => sent,
                    _ => return Vec::new(),
                };
                let problems = relink(&hands, &sent, owners).await;
                problems
                    .into_iter()
                    .map(|text| (sent.key.clone(), text))
                    .collect()
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<Vec<_>>>()
        .await;
    problems.into_iter().flatten().collect()
}

async fn relink(hands: &Hands, sent: &Transformed, owners: &Owners) -> Vec<String> {
    let mut problems = Vec::new();
    let mut wanted = Vec::new();
    for owner in &sent.owners {
        match find_owner(hands, sent, owner, owners).await {
            Ok(Some(uid)) => {
                let mut reference = owner.clone();
                body::set_at(&mut reference, &["uid"], json!(uid));
                wanted.push(reference);
            }
            Ok(None) => problems.push(format!(
                "its owner {} {} is not in the target; it stands without it",
                body::text_at(owner, &["kind"]),
                body::text_at(owner, &["name"])
            )),
            Err(problem) => problems.push(problem),
        }
    }
    if !wanted.is_empty()
        && let Err(problem) = write(hands, sent, wanted).await
    {
        problems.push(problem);
    }
    problems
}

/// The UID that the owner has in the target, read at most once per restore.
async fn find_owner(
    hands: &Hands,
    sent: &Transformed,
    owner: &Value,
    owners: &Owners,
) -> Result<Option<String>, String> {
    let version = body::text_at(owner, &["apiVersion"]).to_owned();
    let kind = body::text_at(owner, &["kind"]).to_owned();
    let name = body::text_at(owner, &["name"]).to_owned();
    let discovery = hands.discovery();
    let wanted = GroupVersion::parse(&version);
    let api = discovery.find_kind(&wanted, &kind).or_else(|| {
        discovery
            .resources
            .iter()
            .find(|api| api.preferred && api.group == wanted.group && api.kind == kind)
    });
    let Some(api) = api else {
        return Ok(None);
    };
    let namespace = sent.key.namespace.clone().filter(|_| api.namespaced);
    let known_as = (namespace.clone(), version, kind, name.clone());
    if let Some(known) = owners.lock().await.get(&known_as) {
        return Ok(known.clone());
    }
    let found = hands.cluster.get(api, namespace.as_deref(), &name).await;
    let found = found.map_err(|error| format!("read its owner {name}: {}", error.reason()))?;
    let uid = found
        .map(|bytes| parse(&bytes))
        .filter(|object| body::text_at(object, &["metadata", "deletionTimestamp"]).is_empty())
        .map(|object| body::text_at(&object, &["metadata", "uid"]).to_owned())
        .filter(|uid| !uid.is_empty());
    owners.lock().await.insert(known_as, uid.clone());
    Ok(uid)
}

/// Adds references to the live object; those that it has already stay.
async fn write(hands: &Hands, sent: &Transformed, wanted: Vec<Value>) -> Result<(), String> {
    let discovery = hands.discovery();
    let api = discovery
        .find_version(&sent.key.resource, &sent.group_version.version)
        .ok_or("its resource is not served any more")?;
    let mut attempt = 1;
    loop {
        match write_once(hands, api, sent, &wanted).await {
            Err(Problem::Changed) if attempt < ATTEMPTS => attempt += 1,
            Err(Problem::Changed) => {
                return Err("write its owners: it changes all the time".to_owned());
            }
            Err(Problem::Other(text)) => return Err(text),
            Ok(()) => return Ok(()),
        }
    }
}

/// Why references were not written.
enum Problem {
    /// Somebody else wrote the object meanwhile.
    Changed,
    Other(String),
}

impl From<salvor_cluster::Error> for Problem {
    fn from(error: salvor_cluster::Error) -> Self {
        match error.kind() {
            ErrorKind::Conflict => Self::Changed,
            _ => Self::Other(format!("write its owners: {}", error.reason())),
        }
    }
}

/// Reads the object and writes it on condition that nobody else did meanwhile.
async fn write_once(
    hands: &Hands,
    api: &ApiResource,
    sent: &Transformed,
    wanted: &[Value],
) -> Result<(), Problem> {
    let (namespace, name) = (sent.key.namespace.as_deref(), sent.key.name.as_str());
    let Some(bytes) = hands.cluster.get(api, namespace, name).await? else {
        return Ok(());
    };
    let live = parse(&bytes);
    let mut references = body::list_at(&live, &["metadata", "ownerReferences"]).to_vec();
    let before = references.clone();
    let uid = |reference: &Value| body::text_at(reference, &["uid"]).to_owned();
    for reference in wanted {
        if references.iter().any(|old| uid(old) == uid(reference)) {
            continue;
        }
        let Some(at) = references
            .iter()
            .position(|old| is_of_same_owner(old, reference))
        else {
            references.push(reference.clone());
            continue;
        };
        // A controller has adopted the object, or the owner was made anew since it was read. It is read again:
        // a second reference to an owner would be refused, and one to an owner that is gone deletes the object.
        let now = find_owner(hands, sent, reference, &Owners::default()).await;
        if let Some(now) = now.map_err(Problem::Other)?
            && now != uid(&references[at])
        {
            body::set_at(&mut references[at], &["uid"], json!(now));
        }
    }
    if references == before {
        return Ok(());
    }
    let patch = json!({"metadata": {
        "resourceVersion": body::text_at(&live, &["metadata", "resourceVersion"]),
        "ownerReferences": references,
    }});
    let (patch, options) = (patch.to_string(), WriteOptions::default());
    hands
        .cluster
        .merge_patch(api, namespace, name, None, patch.as_bytes(), &options)
        .await?;
    Ok(())
}

/// True when two references name the same owner, whatever its UID is or was.
fn is_of_same_owner(a: &Value, b: &Value) -> bool {
    let group =
        |reference: &Value| GroupVersion::parse(body::text_at(reference, &["apiVersion"])).group;
    let same = |field: &str| body::text_at(a, &[field]) == body::text_at(b, &[field]);
    same("kind") && same("name") && group(a) == group(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_the_same_whatever_its_uid_and_version() {
        let owner = |api_version: &str, kind: &str, name: &str, uid: &str| json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid});
        let one = owner("apps/v1", "DaemonSet", "agent", "a");
        for (other, same) in [
            (owner("apps/v1", "DaemonSet", "agent", "b"), true),
            (owner("apps/v1beta2", "DaemonSet", "agent", "b"), true),
            (
                owner("extensions/v1beta1", "DaemonSet", "agent", "b"),
                false,
            ),
            (owner("apps/v1", "StatefulSet", "agent", "b"), false),
            (owner("apps/v1", "DaemonSet", "other", "a"), false),
        ] {
            assert_eq!(is_of_same_owner(&one, &other), same, "{other}");
        }
    }
}
