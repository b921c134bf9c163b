//! Brings what the backup says of its volumes together with what the plan does to their claims and pods.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::Archive;
use salvor_cluster::{Cluster, Discovery};

use super::users::{Use, Users, priority};
use super::{DataAction, UNFILLED, VolumeData};
use crate::restore::body;
use crate::restore::error::{Doing as _, RestoreError};
use crate::restore::existing::ExistingPolicy;
use crate::restore::fits::{Finding, Severity};
use crate::restore::plan::{Action, RestorePlan};
use crate::restore::planner::parse;

/// Claims of the target, `<namespace>/<name>`, that a restore has made and not filled, with that restore.
pub(crate) async fn unfilled(
    cluster: &Cluster,
    discovery: &Discovery,
    data: &[VolumeData],
    plan: &RestorePlan,
) -> Result<BTreeMap<String, String>, RestoreError> {
    let claims = GroupResource::new("persistentvolumeclaims", "");
    let mut found = BTreeMap::new();
    let Some(api) = discovery.find(&claims) else {
        return Ok(found);
    };
    let entries = entries_of(plan);
    for data in data
        .iter()
        .filter(|data| data.action.fills() && !data.is_of_pod())
    {
        let exists = entries.get(&key_of(data)).is_some_and(|at| {
            let entry = &plan.entries[*at as usize];
            !matches!(
                entry.action,
                Action::Create | Action::Skip | Action::Blocked
            )
        });
        if !exists {
            continue;
        }
        let namespace = data.target_namespace(&plan.header.rules.namespaces);
        let live = cluster.get(api, Some(namespace), &data.claim).await;
        let live = live.doing(|| format!("read claim {namespace}/{}", data.claim))?;
        let live = parse(&live.unwrap_or_default());
        let by = body::annotation(&live, UNFILLED);
        if !by.is_empty() {
            found.insert(data.claim_key(), by.to_owned());
        }
    }
    Ok(found)
}

/// Completes the plan: what is done to each volume, who uses it, and what of that its reader should know.
pub(crate) fn settle(
    plan: &mut RestorePlan,
    mut data: Vec<VolumeData>,
    unfilled: &BTreeMap<String, String>,
    has_mover: bool,
    archive: &Archive,
) -> Result<(), RestoreError> {
    let entries = entries_of(plan);
    for data in &mut data {
        name_claim(data, archive)?;
        data.entry = entries.get(&key_of(data)).copied();
        if let Some(at) = data.entry {
            let (action, policy) = (plan.entries[at as usize].action, plan.header.policy);
            meet(data, action, policy, unfilled.get(&data.claim_key()));
        }
    }
    // What is not in the plan is not asked for.
    data.retain(|data| data.entry.is_some());
    let claims: BTreeSet<String> = data
        .iter()
        .filter(|data| !data.is_of_pod() && data.action != DataAction::Leave)
        .map(VolumeData::claim_key)
        .collect();
    let reading = || "read the archive".to_owned();
    let mut users = Users::find(archive, &plan.entries, &claims).doing(reading)?;
    for data in &mut data {
        if data.is_of_pod() {
            continue;
        }
        let Use {
            users,
            placement,
            priority,
        } = users.of(&data.claim_key());
        data.users = users
            .into_iter()
            .filter(|at| plan.entries[*at as usize].action.changes())
            .collect();
        data.placement = placement.unwrap_or_default();
        data.priority = match priority {
            Some(priority) => priority,
            None => of_namespace(archive, &data.namespace)?,
        };
    }
    data.sort_by_cached_key(|data| {
        let place = (data.namespace.clone(), data.claim.clone(), data.pod.clone());
        (
            std::cmp::Reverse(data.priority),
            place,
            data.pod_volume.clone(),
        )
    });
    let findings = &mut plan.header.findings;
    findings.extend(told(&data, has_mover));
    findings.sort();
    plan.header.data = data;
    Ok(())
}

/// Velero's old lists name the pod and its volume only: its claim is found in the pod.
fn name_claim(data: &mut VolumeData, archive: &Archive) -> Result<(), RestoreError> {
    if !data.is_of_pod() || data.action != DataAction::Leave {
        return Ok(());
    }
    let Some(entry) = archive.index().get(&key_of(data), None) else {
        return Ok(());
    };
    let pod = parse(
        &archive
            .get(&entry)
            .doing(|| "read the archive".to_owned())?,
    );
    let mut volumes = body::list_at(&pod, &["spec", "volumes"]).iter();
    let named = volumes.find(|volume| body::text_at(volume, &["name"]) == data.pod_volume);
    let claim = named.map_or("", |volume| {
        body::text_at(volume, &["persistentVolumeClaim", "claimName"])
    });
    claim.clone_into(&mut data.claim);
    Ok(())
}

/// What the plan does to the claim or pod decides about the data.
fn meet(data: &mut VolumeData, action: Action, policy: ExistingPolicy, unfilled: Option<&String>) {
    if data.action != DataAction::Fill {
        return;
    }
    let what = if data.is_of_pod() { "pod" } else { "claim" };
    match (action, unfilled) {
        (Action::Create | Action::Recreate, _) => {}
        (Action::Skip, _) => data.set(DataAction::Leave, format!("its {what} is not restored")),
        (Action::Blocked, _) => data.set(DataAction::Blocked, format!("its {what} is blocked")),
        (_, Some(by)) => {
            let text = format!("restore {by} has made the claim and not filled it");
            data.set(DataAction::Fill, text);
        }
        _ if data.is_of_pod() => data.set(DataAction::Leave, "the pod exists"),
        _ if data.csi.is_some() => {
            let text = "the claim exists and keeps what it holds; a snapshot comes back only as a new volume: delete the \
                        claim first, or restore into another namespace";
            data.set(DataAction::Leave, text);
        }
        _ if policy == ExistingPolicy::Update => {
            let text = "the claim exists: what it holds and the backup has otherwise is overwritten, the rest stays";
            data.set(DataAction::FillInPlace, text);
        }
        _ => {
            let text = "the claim exists and keeps what it holds; existing-resource-policy update puts the data of the \
                        backup over it";
            data.set(DataAction::Leave, text);
        }
    }
}

fn of_namespace(archive: &Archive, namespace: &str) -> Result<i64, RestoreError> {
    let key = ObjectKey::cluster(GroupResource::new("namespaces", ""), namespace);
    let Some(entry) = archive.index().get(&key, None) else {
        return Ok(0);
    };
    let bytes = archive
        .get(&entry)
        .doing(|| "read the archive".to_owned())?;
    Ok(priority(&parse(&bytes)).unwrap_or_default())
}

fn told(data: &[VolumeData], has_mover: bool) -> Vec<Finding> {
    let by_mover = |data: &&VolumeData| data.action.fills() && data.csi.is_none();
    let fills = data.iter().filter(by_mover).count();
    let mut findings = Vec::new();
    if fills > 0 && !has_mover {
        let text = format!(
            "{fills} volumes cannot be filled, because no node agent is there: what uses them is not made; install it \
             (`salvor install --use-node-agent`), or leave the data out (`--restore-volumes=false`)"
        );
        findings.push(Finding::new(Severity::Problem, "node-agent", text));
    }
    let blocked = |data: &&VolumeData| !data.is_of_pod() && data.action == DataAction::Blocked;
    let blocked = data.iter().filter(blocked).count();
    if blocked > 0 {
        let text = format!(
            "{blocked} volumes cannot be filled (see the volumes of the plan): what uses them is not made"
        );
        findings.push(Finding::new(Severity::Problem, "volume-blocked", text));
    }
    findings
}

fn key_of(data: &VolumeData) -> ObjectKey {
    let (resource, name) = match data.is_of_pod() {
        true => ("pods", &data.pod),
        false => ("persistentvolumeclaims", &data.claim),
    };
    ObjectKey::namespaced(GroupResource::new(resource, ""), &*data.namespace, &**name)
}

/// Claims and pods of a plan by their keys in the backup.
fn entries_of(plan: &RestorePlan) -> HashMap<ObjectKey, u32> {
    let is_meant = |resource: &GroupResource| {
        let name = resource.resource.as_str();
        resource.group.is_empty() && matches!(name, "pods" | "persistentvolumeclaims")
    };
    (0u32..)
        .zip(&plan.entries)
        .filter(|(_, entry)| is_meant(&entry.resource))
        .map(|(at, entry)| (entry.source(), at))
        .collect()
}
