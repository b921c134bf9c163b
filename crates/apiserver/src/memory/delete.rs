//! Deletion: preconditions, finalizers, and what happens to dependents.

use std::sync::Arc;

use salvor_api::resource::ObjectKey;
use serde_json::{Map, Value, json};

use super::admit::namespace_key;
use super::lifecycle;
use super::state::State;
use crate::crd;
use crate::entry::{Entry, metadata_mut};
use crate::request::Selection;
use crate::status::Failure;
use crate::store::{DeleteOptions, Propagation, Write, Written};

/// Finalizer of an owner whose dependents go first.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents are to be set free.
pub(super) const ORPHAN: &str = "orphan";
/// Finalizer of a definition whose objects go first.
pub(super) const CLEAN_UP: &str = "customresourcecleanup.apiextensions.k8s.io";
/// Namespaces that a cluster cannot be without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Deletes one object as a client asks for it.
pub(super) fn delete_one(
    state: &mut State,
    write: &Write,
    options: &DeleteOptions,
) -> Result<Written, Failure> {
    let key = write.key();
    let Some(entry) = state.get(&key).cloned() else {
        return Err(Failure::not_found(&key.resource, &key.name));
    };
    check_preconditions(&key, &entry, options)?;
    if key == namespace_key(&key.name) && IMMORTAL.contains(&key.name.as_str()) {
        let why = "this namespace may not be deleted";
        return Err(Failure::forbidden(&key.resource, &key.name, why));
    }
    if write.dry_run {
        return Ok(Written::Deleted { entry, gone: true });
    }
    let entry = delete(
        state,
        &key,
        options.propagation.unwrap_or_else(|| default_policy(&key)),
    )
    .unwrap_or(entry);
    let gone = state
        .get(&key)
        .is_none_or(|now| now.meta.uid != entry.meta.uid);
    Ok(Written::Deleted { entry, gone })
}

/// Deletes the objects of a collection.
pub(super) fn delete_collection(
    state: &mut State,
    write: &Write,
    options: &DeleteOptions,
    selection: &Selection,
) -> Result<Written, Failure> {
    let chosen: Vec<Arc<Entry>> = state
        .entries(&write.resource.name, write.namespace.as_deref())
        .filter(|entry| selection.matches(entry))
        .cloned()
        .collect();
    for entry in &chosen {
        let key = key_of(&write.resource.name, entry);
        if check_preconditions(&key, entry, options).is_ok() && !write.dry_run {
            let policy = options.propagation.unwrap_or_else(|| default_policy(&key));
            delete(state, &key, policy);
        }
    }
    Ok(Written::DeletedCollection(chosen))
}

/// The key of a stored object.
pub(super) fn key_of(resource: &salvor_api::resource::GroupResource, entry: &Entry) -> ObjectKey {
    ObjectKey {
        resource: resource.clone(),
        namespace: Some(entry.meta.namespace.clone()).filter(|one| !one.is_empty()),
        name: entry.meta.name.clone(),
    }
}

/// `batch/v1` Jobs and ReplicationControllers set their Pods free unless told otherwise, for the sake of
/// clients older than garbage collection.
fn default_policy(key: &ObjectKey) -> Propagation {
    match (key.resource.group.as_str(), key.resource.resource.as_str()) {
        ("batch", "jobs") | ("", "replicationcontrollers") => Propagation::Orphan,
        _ => Propagation::Background,
    }
}

fn check_preconditions(
    key: &ObjectKey,
    entry: &Entry,
    options: &DeleteOptions,
) -> Result<(), Failure> {
    let refuse = |what: &str, wanted: &str, found: &str| {
        let why = format!(
            "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
        );
        Err(Failure::conflict(&key.resource, &key.name, &why))
    };
    if let Some(uid) = options.uid.as_ref().filter(|uid| **uid != entry.meta.uid) {
        return refuse("UID", uid, &entry.meta.uid);
    }
    let revision = entry.meta.resource_version.to_string();
    match options
        .resource_version
        .as_ref()
        .filter(|wanted| **wanted != revision)
    {
        Some(wanted) => refuse("ResourceVersion", wanted, &revision),
        None => Ok(()),
    }
}

/// Deletes an object, or marks it when something must happen first. Answers its last stored state.
pub(super) fn delete(
    state: &mut State,
    key: &ObjectKey,
    policy: Propagation,
) -> Option<Arc<Entry>> {
    let entry = state.get(key).cloned()?;
    let controllers = state.options.controllers;
    let mut hold: Vec<&str> = Vec::new();
    match policy {
        Propagation::Background => {}
        Propagation::Orphan if controllers => lifecycle::release_dependents(state, &entry.meta.uid),
        Propagation::Orphan => hold.push(ORPHAN),
        Propagation::Foreground => hold.push(FOREGROUND),
    }
    let is_definition = key.resource.group == crd::GROUP && key.resource.resource == crd::PLURAL;
    if is_definition {
        hold.push(CLEAN_UP);
    }
    let is_namespace = *key == namespace_key(&key.name);
    if hold.is_empty() && entry.meta.finalizers.is_empty() && !is_namespace {
        let last = state.remove(key)?;
        lifecycle::after_remove(state, key, &last);
        return Some(last);
    }
    let marked = mark(state, key, &entry, &hold, is_namespace, is_definition);
    if is_namespace && controllers {
        lifecycle::empty_namespace(state, &key.name);
    }
    if is_definition {
        lifecycle::empty_definition(state, key);
    }
    if controllers && policy == Propagation::Foreground {
        for dependent in state.dependents(&marked.meta.uid) {
            delete(state, &dependent, Propagation::Foreground);
        }
        lifecycle::finish_foreground(state, &marked.meta.uid);
    }
    Some(marked)
}

/// Sets the deletion time stamp and the finalizers that hold the object; does nothing twice.
fn mark(
    state: &mut State,
    key: &ObjectKey,
    entry: &Arc<Entry>,
    hold: &[&str],
    is_namespace: bool,
    is_definition: bool,
) -> Arc<Entry> {
    let missing: Vec<&&str> = hold
        .iter()
        .filter(|one| !entry.meta.finalizers.iter().any(|known| known == **one))
        .collect();
    if entry.meta.deleting && missing.is_empty() {
        return Arc::clone(entry);
    }
    let now = state.options.now();
    let mut object = entry.object();
    let metadata = metadata_mut(&mut object);
    if !entry.meta.deleting {
        metadata.insert("deletionTimestamp".into(), now.clone().into());
        metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
        if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
    let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(list) = finalizers.as_array_mut() {
        list.extend(missing.into_iter().map(|one| Value::from(*one)));
        if list.is_empty() {
            metadata.shift_remove("finalizers");
        }
    }
    if is_namespace {
        set_phase(&mut object);
    }
    if is_definition {
        add_terminating(&mut object, &now);
    }
    state.put(key, object)
}

fn set_phase(object: &mut Map<String, Value>) {
    crate::entry::child_mut(object, "status").insert("phase".into(), "Terminating".into());
}

fn add_terminating(object: &mut Map<String, Value>, now: &str) {
    let status = crate::entry::child_mut(object, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(list) = conditions.as_array_mut() {
        list.push(json!({
            "type": "Terminating", "status": "True", "lastTransitionTime": now,
            "reason": "InstanceDeletionInProgress",
            "message": "CustomResource deletion is in progress",
        }));
    }
}
