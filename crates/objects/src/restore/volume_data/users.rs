//! Who uses a volume: what must not be made before it is filled, and where a pod that uses it can run.
//!
//! Users of a claim are the pods that mount it, what has a template of such pods, and everything that owns one of
//! these or the claim itself: an operator that sees its own object makes pods, whatever else is held back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use salvor_api::resource::{GroupVersion, ObjectKey};
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use salvor_volume::Placement;
use serde_json::Value;

use super::PRIORITY;
use crate::restore::body;
use crate::restore::item_action::pod_spec_path;
use crate::restore::order::Stage;
use crate::restore::plan::PlanEntry;
use crate::restore::planner::parse;

/// Kinds with a template of pods.
const TEMPLATES: &[&str] = &[
    "daemonsets.apps",
    "deployments.apps",
    "replicasets.apps",
    "replicasets.extensions",
    "statefulsets.apps",
    "replicationcontrollers",
    "jobs.batch",
    "cronjobs.batch",
];

/// What is known of a volume's users.
#[derive(Debug, Default)]
pub(crate) struct Use {
    /// Entries of the plan, sorted.
    pub(crate) users: BTreeSet<u32>,
    /// Of the first pod, or else template, that mounts it.
    pub(crate) placement: Option<Placement>,
    /// The highest that is given.
    pub(crate) priority: Option<i64>,
}

/// An object's owner as its references name it.
type OwnerKey = (Option<String>, String, String);

/// Reads who uses the volumes of these namespaces.
pub(crate) struct Users<'a> {
    archive: &'a Archive,
    entries: &'a [PlanEntry],
    /// Entries by namespace (of the backup), API group and name.
    by_name: HashMap<OwnerKey, Vec<u32>>,
    uses: BTreeMap<String, Use>,
}

impl<'a> Users<'a> {
    /// Reads the pods and templates of the namespaces that have these claims, `<namespace>/<name>`.
    pub(crate) fn find(
        archive: &'a Archive,
        entries: &'a [PlanEntry],
        claims: &BTreeSet<String>,
    ) -> Result<Self, ArchiveError> {
        let mut users = Self {
            archive,
            entries,
            by_name: HashMap::new(),
            uses: claims
                .iter()
                .map(|claim| (claim.clone(), Use::default()))
                .collect(),
        };
        for (at, entry) in (0u32..).zip(entries) {
            let namespace = entry.namespace.as_deref().map(str::to_owned);
            let key = (
                namespace,
                entry.resource.group.clone(),
                entry.name.to_string(),
            );
            users.by_name.entry(key).or_default().push(at);
        }
        let namespaces: BTreeSet<&str> = claims
            .iter()
            .filter_map(|claim| claim.split_once('/').map(|(namespace, _)| namespace))
            .collect();
        // Pods stand before what has templates of them in a plan: their placement is the one that counts.
        for (at, entry) in (0u32..).zip(entries) {
            let namespace = entry.namespace.as_deref().unwrap_or_default();
            if !namespaces.contains(namespace) {
                continue;
            }
            match entry.resource.to_string().as_str() {
                "persistentvolumeclaims" => users.claim(entry)?,
                "pods" => users.mounts(at, entry, true)?,
                kind if TEMPLATES.contains(&kind) => users.mounts(at, entry, false)?,
                _ => {}
            }
        }
        Ok(users)
    }

    /// What uses a claim.
    pub(crate) fn of(&mut self, claim: &str) -> Use {
        self.uses.remove(claim).unwrap_or_default()
    }

    fn claim(&mut self, entry: &PlanEntry) -> Result<(), ArchiveError> {
        let key = entry.source().scoped_name();
        if !self.uses.contains_key(&key) {
            return Ok(());
        }
        let object = self.read(&entry.source(), &entry.version)?;
        let owners = self.owners_of(entry.namespace.as_deref(), &object)?;
        let found = self.uses.entry(key).or_default();
        found.users.extend(owners);
        found.priority = found.priority.max(priority(&object));
        Ok(())
    }

    fn mounts(&mut self, at: u32, entry: &PlanEntry, is_pod: bool) -> Result<(), ArchiveError> {
        let object = self.read(&entry.source(), &entry.version)?;
        let namespace = entry.namespace.as_deref().unwrap_or_default();
        let path = pod_spec_path(body::text_at(&object, &["kind"]));
        let spec = body::at(&object, path).unwrap_or(&Value::Null);
        let mut claims = mounted(spec, is_pod.then_some(&*entry.name));
        claims.extend(self.of_templates(namespace, &object));
        claims.retain(|claim| self.uses.contains_key(&format!("{namespace}/{claim}")));
        if claims.is_empty() {
            return Ok(());
        }
        let owners = self.owners_of(Some(namespace), &object)?;
        for claim in claims {
            let found = self.uses.entry(format!("{namespace}/{claim}")).or_default();
            found.users.insert(at);
            found.users.extend(owners.iter().copied());
            found.placement.get_or_insert_with(|| placement(spec));
            found.priority = found.priority.max(priority(&object));
        }
        Ok(())
    }

    /// Claims that a stateful set makes of its templates: `<template>-<set>-<number>`.
    fn of_templates(&self, namespace: &str, set: &Value) -> Vec<String> {
        let name = body::text_at(set, &["metadata", "name"]);
        let mut found = Vec::new();
        for template in body::list_at(set, &["spec", "volumeClaimTemplates"]) {
            let template = body::text_at(template, &["metadata", "name"]);
            let prefix = format!("{namespace}/{template}-{name}-");
            let numbered = self.uses.keys().filter(|claim| {
                let number = claim.strip_prefix(&prefix);
                number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            });
            found.extend(numbered.filter_map(|claim| Some(claim.split_once('/')?.1.to_owned())));
        }
        found
    }

    /// Everything that owns an object, and what owns that, as far as it is in the plan.
    fn owners_of(
        &self,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<BTreeSet<u32>, ArchiveError> {
        let mut found = BTreeSet::new();
        let mut open = vec![object.clone()];
        while let Some(object) = open.pop() {
            for reference in body::list_at(&object, &["metadata", "ownerReferences"]) {
                for at in self.owner(namespace, reference) {
                    if found.contains(&at) {
                        continue;
                    }
                    let entry = &self.entries[at as usize];
                    let owner = self.read(&entry.source(), &entry.version)?;
                    let uid = body::text_at(&owner, &["metadata", "uid"]);
                    if uid == body::text_at(reference, &["uid"]) {
                        found.insert(at);
                        open.push(owner);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Entries that may be the owner: of its group and name, in the namespace or of the cluster.
    fn owner(&self, namespace: Option<&str>, reference: &Value) -> Vec<u32> {
        let group = GroupVersion::parse(body::text_at(reference, &["apiVersion"])).group;
        let name = body::text_at(reference, &["name"]);
        let of = |namespace: Option<&str>| {
            let key = (namespace.map(str::to_owned), group.clone(), name.to_owned());
            self.by_name.get(&key).into_iter().flatten().copied()
        };
        of(namespace)
            .chain(of(None))
            .filter(|at| self.entries[*at as usize].stage() >= Stage::Data)
            .collect()
    }

    fn read(&self, key: &ObjectKey, version: &str) -> Result<Value, ArchiveError> {
        match self.archive.index().get(key, Some(version)) {
            Some(entry) => Ok(parse(&self.archive.get(&entry)?)),
            None => Ok(Value::Null),
        }
    }
}

/// Claims that pods of a specification mount; those of ephemeral volumes are named after the pod.
fn mounted(spec: &Value, pod: Option<&str>) -> Vec<String> {
    let of = |volume: &Value| {
        let claim = body::text_at(volume, &["persistentVolumeClaim", "claimName"]);
        match (body::at(volume, &["ephemeral"]), pod) {
            (Some(_), Some(pod)) => Some(format!("{pod}-{}", body::text_at(volume, &["name"]))),
            _ => (!claim.is_empty()).then(|| claim.to_owned()),
        }
    };
    body::list_at(spec, &["volumes"])
        .iter()
        .filter_map(of)
        .collect()
}

fn placement(spec: &Value) -> Placement {
    let part = |path: &[&str]| body::at(spec, path).cloned().unwrap_or_default();
    Placement {
        node_selector: part(&["nodeSelector"]),
        node_affinity: part(&["affinity", "nodeAffinity"]),
        tolerations: part(&["tolerations"]),
    }
}

/// The priority that an object asks for; what is no number asks for none.
pub(crate) fn priority(object: &Value) -> Option<i64> {
    body::annotation(object, PRIORITY).trim().parse().ok()
}
