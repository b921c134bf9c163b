//! Which entries of the archive are looked at, and in which version, as far as the index tells.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use salvor_api::filter::{Choice, LabelFilter, NON_RESTORABLE};
use salvor_api::resource::{GroupResource, GroupVersion, ObjectKey};
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use salvor_archive::index::{Entry, Index};
use serde_json::Value;

use super::super::body;
use super::super::error::{Doing as _, RestoreError};
use super::super::plan::Destination;
use super::super::selection::Selection;
use super::super::target::key_hash;
use super::super::version::{Route, Serving};
use super::parse;

/// What becomes of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pick {
    /// Another version of the object is taken.
    OtherVersion,
    /// The filters leave it out.
    Leave,
    /// Of a resource that is never restored.
    NonRestorable,
    /// No version of it fits the target.
    Blocked(Arc<str>),
    /// It is looked at.
    Take { to: Destination },
    /// It is looked at when a taken object refers to it.
    Related { to: Destination },
}

/// One pick for each entry, in archive order.
pub(super) struct Picks {
    kinds: Vec<Pick>,
    of: Vec<u16>,
}

/// The definitions that the backup would restore, to learn what will be served.
pub(super) fn definitions(
    archive: &Archive,
    selection: &Selection,
) -> Result<Vec<Value>, RestoreError> {
    let resource = crd_resource();
    let names = [
        resource.to_string(),
        resource.resource.clone(),
        "crd".into(),
        "crds".into(),
    ];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    for entry in archive.index().range(&resource, None) {
        if selection.choose(&entry.key(), &names) != Choice::Leave {
            let bytes = archive
                .get(&entry)
                .doing(|| "read the archive".to_owned())?;
            found.push(parse(&bytes));
        }
    }
    Ok(found)
}

pub(super) fn crd_resource() -> GroupResource {
    GroupResource::new("customresourcedefinitions", "apiextensions.k8s.io")
}

impl Picks {
    pub(super) fn make(
        archive: &Archive,
        selection: &Selection,
        serving: &Serving,
        priorities: &BTreeMap<String, Vec<String>>,
    ) -> Result<Self, RestoreError> {
        let index = archive.index();
        let mut picks = Self {
            kinds: Vec::new(),
            of: Vec::with_capacity(index.len()),
        };
        let mut known: HashMap<Pick, u16> = HashMap::new();
        for entry in index.in_archive_order() {
            let pick = pick(index, &entry, selection, serving, priorities);
            let id = match known.get(&pick) {
                Some(id) => *id,
                None => {
                    let id = u16::try_from(picks.kinds.len()).map_err(|_| {
                        RestoreError::refused("plan", "the backup has more than 65535 resources")
                    })?;
                    picks.kinds.push(pick.clone());
                    known.insert(pick, id);
                    id
                }
            };
            picks.of.push(id);
        }
        Ok(picks)
    }

    pub(super) fn get(&self, at: usize) -> &Pick {
        &self.kinds[usize::from(self.of[at])]
    }

    /// Names of picked objects of a resource.
    pub(super) fn names_of(&self, resource: &str, index: &Index) -> Vec<String> {
        index
            .in_archive_order()
            .enumerate()
            .filter(|(at, entry)| {
                matches!(self.get(*at), Pick::Take { .. } | Pick::Related { .. })
                    && entry.resource().to_string() == resource
            })
            .map(|(_, entry)| entry.name().to_owned())
            .collect()
    }

    /// Objects that taken ones refer to: claims and priority classes of pods, volumes of claims,
    /// definitions of custom resources. They escape the label filter.
    pub(super) fn related(
        &self,
        archive: &Archive,
        labels: &LabelFilter,
    ) -> Result<HashSet<[u8; 16]>, ArchiveError> {
        let mut related = HashSet::new();
        let has_related = self
            .kinds
            .iter()
            .any(|kind| matches!(kind, Pick::Related { .. }));
        if !has_related && labels.is_everything() {
            return Ok(related);
        }
        self.relate_definitions(archive.index(), &mut related);
        // Pods first: the claims that they name are taken, too, and so are those claims' volumes.
        for (resource, relate) in [
            (
                "pods",
                relate_pod as fn(&ObjectKey, &Value, &mut HashSet<[u8; 16]>),
            ),
            ("persistentvolumeclaims", relate_claim),
        ] {
            for (at, entry) in archive.index().in_archive_order().enumerate() {
                let takeable = matches!(self.get(at), Pick::Take { .. });
                if !takeable || entry.resource().to_string() != resource {
                    continue;
                }
                let object = parse(&archive.get(&entry)?);
                let key = entry.key();
                if labels.matches(&body::labels(&object)) || related.contains(&key_hash(&key)) {
                    relate(&key, &object, &mut related);
                }
            }
        }
        Ok(related)
    }

    /// A definition belongs to its resources. Labels are not looked at: an unneeded definition does less
    /// harm than a missing one.
    fn relate_definitions(&self, index: &Index, related: &mut HashSet<[u8; 16]>) {
        let mut seen: HashSet<&GroupResource> = HashSet::new();
        for (at, entry) in index.in_archive_order().enumerate() {
            if matches!(self.get(at), Pick::Take { .. }) && seen.insert(entry.resource()) {
                let name = entry.resource().to_string();
                related.insert(key_hash(&ObjectKey::cluster(crd_resource(), name)));
            }
        }
    }
}

fn relate_pod(key: &ObjectKey, pod: &Value, related: &mut HashSet<[u8; 16]>) {
    for claim in claims_of(pod) {
        let claims = GroupResource::new("persistentvolumeclaims", "");
        let namespace = key.namespace.clone().unwrap_or_default();
        related.insert(key_hash(&ObjectKey::namespaced(claims, namespace, claim)));
    }
    let class = body::text_at(pod, &["spec", "priorityClassName"]);
    if !class.is_empty() {
        let classes = GroupResource::new("priorityclasses", "scheduling.k8s.io");
        related.insert(key_hash(&ObjectKey::cluster(classes, class)));
    }
}

/// Claims that a pod mounts.
pub(crate) fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    body::list_at(pod, &["spec", "volumes"])
        .iter()
        .map(|volume| body::text_at(volume, &["persistentVolumeClaim", "claimName"]))
        .filter(|claim| !claim.is_empty())
}

fn relate_claim(_key: &ObjectKey, claim: &Value, related: &mut HashSet<[u8; 16]>) {
    let volume = body::text_at(claim, &["spec", "volumeName"]);
    if !volume.is_empty() {
        let volumes = GroupResource::new("persistentvolumes", "");
        related.insert(key_hash(&ObjectKey::cluster(volumes, volume)));
    }
}

fn pick(
    index: &Index,
    entry: &Entry<'_>,
    selection: &Selection,
    serving: &Serving,
    priorities: &BTreeMap<String, Vec<String>>,
) -> Pick {
    let key = entry.key();
    let resource = &key.resource;
    let text = resource.to_string();
    let held = held_versions(index, &key, entry);
    if held.first().map(String::as_str) != Some(entry.version()) && held.len() == 1 {
        return Pick::OtherVersion;
    }
    let fallback = [text.as_str(), resource.resource.as_str()];
    let names: Vec<&str> = match serving.get(resource) {
        Some(served) => {
            let mut names: Vec<&str> = served.names.iter().map(String::as_str).collect();
            names.extend(fallback);
            names
        }
        None => fallback.to_vec(),
    };
    let choice = selection.choose(&key, &names);
    let chosen = chosen_version(resource, &held, serving, priorities);
    let is_chosen = match &chosen {
        Ok((version, _)) => *version == entry.version(),
        Err(_) => held.first().map(String::as_str) == Some(entry.version()),
    };
    if !is_chosen {
        return Pick::OtherVersion;
    }
    match (choice, chosen) {
        (Choice::Leave, _) => Pick::Leave,
        _ if NON_RESTORABLE.contains(&text.as_str()) => Pick::NonRestorable,
        (Choice::RelatedOnly, Err(_)) => Pick::Leave,
        (Choice::Take, Err(reason)) => Pick::Blocked(reason.into()),
        (Choice::Take, Ok((_, to))) => Pick::Take { to },
        (Choice::RelatedOnly, Ok((_, to))) => Pick::Related { to },
    }
}

/// The versions in which the backup holds an object, the source's preferred one first.
fn held_versions(index: &Index, key: &ObjectKey, entry: &Entry<'_>) -> Vec<String> {
    let of_resource = index.versions(&key.resource);
    if of_resource.len() == 1 {
        return vec![entry.version().to_owned()];
    }
    let mut held: Vec<String> = index
        .get(key, None)
        .map(|preferred| preferred.version().to_owned())
        .into_iter()
        .collect();
    for version in of_resource {
        let known = held.iter().any(|v| v == version.version);
        if !known && index.get(key, Some(version.version)).is_some() {
            held.push(version.version.to_owned());
        }
    }
    held
}

/// The version that is taken from the backup, and where it goes.
fn chosen_version<'a>(
    resource: &GroupResource,
    held: &'a [String],
    serving: &Serving,
    priorities: &BTreeMap<String, Vec<String>>,
) -> Result<(&'a str, Destination), String> {
    let none = Vec::new();
    let wanted = priorities.get(&resource.to_string()).unwrap_or(&none);
    if let Some(version) = serving.choose(resource, held, wanted) {
        let to = Destination {
            resource: resource.clone(),
            group_version: GroupVersion::new(resource.group.clone(), version),
        };
        return Ok((version, to));
    }
    let mut first_reason = None;
    for version in held {
        let from = GroupVersion::new(resource.group.clone(), version.as_str());
        match serving.route(resource, &from) {
            Ok(Route::Convert(conversion)) => {
                let to = Destination {
                    resource: conversion.target_resource(),
                    group_version: conversion.target_version(),
                };
                return Ok((version, to));
            }
            Ok(Route::Direct) => {
                let to = Destination {
                    resource: resource.clone(),
                    group_version: from,
                };
                return Ok((version, to));
            }
            Err(error) => {
                first_reason.get_or_insert_with(|| error.to_string());
            }
        }
    }
    Err(first_reason.unwrap_or_else(|| "the backup holds no version of it".to_owned()))
}
