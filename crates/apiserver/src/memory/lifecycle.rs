//! What controllers do for stored objects, done at once: garbage collection, namespaces that are emptied
//! and finished, definitions whose objects go first, and the objects that every namespace has.

use std::sync::Arc;

use salvor_api::resource::{GroupResource, ObjectKey};
use serde_json::{Map, Value, json};

use super::admit::namespace_key;
use super::delete::{self, CLEAN_UP, FOREGROUND, key_of};
use super::seed;
use super::state::State;
use crate::crd;
use crate::entry::{Entry, child_mut, metadata_mut};
use crate::registry::Resource;
use crate::status::Failure;
use crate::store::Propagation;

/// After an object was stored for the first time.
pub(super) fn after_create(state: &mut State, key: &ObjectKey, entry: &Arc<Entry>) {
    if is_definition(key) {
        seed::sync_api_services(state);
    }
    if !state.options.controllers {
        return;
    }
    if *key == namespace_key(&key.name) {
        seed::fill_namespace(state, &key.name);
    }
    if !entry.meta.owners.is_empty() && !has_live_owner(state, key, entry) {
        delete::delete(state, key, Propagation::Background);
    }
}

/// After an object was changed.
pub(super) fn after_update(state: &mut State, key: &ObjectKey, entry: &Arc<Entry>) {
    if is_definition(key) {
        seed::sync_api_services(state);
    }
    if entry.meta.deleting && entry.meta.finalizers.is_empty() {
        if *key == namespace_key(&key.name) {
            finish_namespace(state, &key.name);
            return;
        }
        if let Some(last) = state.remove(key) {
            after_remove(state, key, &last);
        }
    }
}

/// After an object is gone for good.
pub(super) fn after_remove(state: &mut State, key: &ObjectKey, last: &Arc<Entry>) {
    if is_definition(key) {
        seed::sync_api_services(state);
    }
    finish_definition_of(state, &key.resource);
    if !state.options.controllers {
        return;
    }
    for dependent in state.dependents(&last.meta.uid) {
        collect(state, &dependent, &last.meta.uid);
    }
    for owner in &last.meta.owners {
        finish_foreground(state, &owner.uid);
    }
    let Some(namespace) = &key.namespace else {
        return;
    };
    match state
        .get(&namespace_key(namespace))
        .map(|entry| entry.meta.deleting)
    {
        // While a namespace is emptied, its end is looked at once, when all objects were deleted.
        Some(true) if state.emptying.as_ref() == Some(namespace) => {}
        Some(true) => finish_namespace(state, namespace),
        Some(false) => seed::fill_namespace(state, namespace),
        None => {}
    }
}

fn is_definition(key: &ObjectKey) -> bool {
    key.resource.group == crd::GROUP && key.resource.resource == crd::PLURAL
}

/// An owner counts when it exists with that UID, in the same namespace or cluster-wide.
fn has_live_owner(state: &State, key: &ObjectKey, entry: &Entry) -> bool {
    entry.meta.owners.iter().any(|owner| {
        state
            .key_of_uid(&owner.uid)
            .is_some_and(|found| found.namespace.is_none() || found.namespace == key.namespace)
    })
}

/// Deletes a dependent whose last owner went; otherwise drops the reference to the one that went.
fn collect(state: &mut State, dependent: &ObjectKey, gone: &str) {
    let Some(entry) = state.get(dependent).cloned() else {
        return;
    };
    if has_live_owner(state, dependent, &entry) {
        drop_owner(state, dependent, gone);
    } else {
        delete::delete(state, dependent, Propagation::Background);
    }
}

/// Removes the reference to an owner from all its dependents.
pub(super) fn release_dependents(state: &mut State, owner: &str) {
    for dependent in state.dependents(owner) {
        drop_owner(state, &dependent, owner);
    }
}

fn drop_owner(state: &mut State, key: &ObjectKey, owner: &str) {
    let Some(entry) = state.get(key) else { return };
    let mut object = entry.object();
    let metadata = metadata_mut(&mut object);
    if let Some(owners) = metadata
        .get_mut("ownerReferences")
        .and_then(Value::as_array_mut)
    {
        owners.retain(|one| one["uid"] != owner);
        if owners.is_empty() {
            metadata.shift_remove("ownerReferences");
        }
    }
    state.put(key, object);
}

/// Lets an owner go that waited for its dependents, when the last blocking one is gone.
pub(super) fn finish_foreground(state: &mut State, owner: &str) {
    let Some(key) = state.key_of_uid(owner).cloned() else {
        return;
    };
    let Some(entry) = state.get(&key).cloned() else {
        return;
    };
    let waits = entry.meta.deleting && entry.meta.finalizers.iter().any(|one| one == FOREGROUND);
    let blocked = state.dependents(owner).iter().any(|dependent| {
        state.get(dependent).is_some_and(|entry| {
            entry
                .meta
                .owners
                .iter()
                .any(|one| one.uid == owner && one.blocks)
        })
    });
    if waits && !blocked {
        drop_finalizer(state, &key, &entry, FOREGROUND);
    }
}

fn drop_finalizer(state: &mut State, key: &ObjectKey, entry: &Entry, finalizer: &str) {
    let mut object = entry.object();
    let metadata = metadata_mut(&mut object);
    if let Some(list) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
        list.retain(|one| one != finalizer);
        if list.is_empty() {
            metadata.shift_remove("finalizers");
        }
    }
    let entry = state.put(key, object);
    after_update(state, key, &entry);
}

/// Deletes everything in a namespace, then finishes it if nothing holds on.
pub(super) fn empty_namespace(state: &mut State, namespace: &str) {
    let resources: Vec<GroupResource> = state
        .registry
        .resources()
        .filter(|resource| resource.namespaced)
        .map(|resource| resource.name.clone())
        .collect();
    let outer = state.emptying.replace(namespace.to_owned());
    for resource in resources {
        let keys: Vec<ObjectKey> = state
            .entries(&resource, Some(namespace))
            .map(|entry| key_of(&resource, entry))
            .collect();
        for key in keys {
            delete::delete(state, &key, Propagation::Background);
        }
    }
    state.emptying = outer;
    finish_namespace(state, namespace);
}

/// Removes a namespace that is being deleted when it is empty and no finalizer holds it.
fn finish_namespace(state: &mut State, namespace: &str) {
    let key = namespace_key(namespace);
    let Some(entry) = state.get(&key).cloned().filter(|entry| entry.meta.deleting) else {
        return;
    };
    let mut object = entry.object();
    if state.options.controllers {
        let remaining = remaining_kinds(state, namespace);
        if !remaining.is_empty() {
            set_remaining(&mut object, &remaining, &state.options.now());
            if object != entry.object() {
                state.put(&key, object);
            }
            return;
        }
        let spec = child_mut(&mut object, "spec");
        if let Some(list) = spec.get_mut("finalizers").and_then(Value::as_array_mut) {
            list.retain(|one| one != "kubernetes");
        }
        let status = child_mut(&mut object, "status");
        status.shift_remove("conditions");
    }
    let spec = child_mut(&mut object, "spec");
    let held = spec
        .get("finalizers")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    if !held {
        spec.shift_remove("finalizers");
    }
    if held || !entry.meta.finalizers.is_empty() {
        if object != entry.object() {
            state.put(&key, object);
        }
        return;
    }
    if let Some(last) = state.remove(&key) {
        after_remove(state, &key, &last);
    }
}

fn remaining_kinds(state: &State, namespace: &str) -> Vec<(GroupResource, usize, Vec<String>)> {
    let mut remaining = Vec::new();
    for resource in state
        .registry
        .resources()
        .filter(|resource| resource.namespaced)
    {
        let entries: Vec<_> = state.entries(&resource.name, Some(namespace)).collect();
        if !entries.is_empty() {
            let mut finalizers: Vec<String> = entries
                .iter()
                .flat_map(|entry| entry.meta.finalizers.clone())
                .collect();
            finalizers.sort();
            finalizers.dedup();
            remaining.push((resource.name.clone(), entries.len(), finalizers));
        }
    }
    remaining
}

fn set_remaining(
    object: &mut Map<String, Value>,
    remaining: &[(GroupResource, usize, Vec<String>)],
    now: &str,
) {
    let content: Vec<String> = remaining
        .iter()
        .map(|(resource, count, _)| {
            let group = if resource.group.is_empty() { "" } else { "." };
            format!(
                "{}{group}{} has {count} resource instances",
                resource.resource, resource.group
            )
        })
        .collect();
    let mut finalizers: Vec<&String> = remaining.iter().flat_map(|(_, _, list)| list).collect();
    finalizers.sort();
    finalizers.dedup();
    let finalizers: Vec<String> = finalizers
        .iter()
        .map(|one| format!("{one} in some resource instances"))
        .collect();
    let status = child_mut(object, "status");
    let since = status
        .get("conditions")
        .and_then(|all| all[0]["lastTransitionTime"].as_str())
        .unwrap_or(now)
        .to_owned();
    status.insert(
        "conditions".into(),
        json!([
            {"type": "NamespaceContentRemaining", "status": "True", "lastTransitionTime": since,
             "reason": "SomeResourcesRemain",
             "message": format!("Some resources are remaining: {}", content.join(", "))},
            {"type": "NamespaceFinalizersRemaining", "status": "True", "lastTransitionTime": since,
             "reason": "SomeFinalizersRemain",
             "message": format!("Some content in the namespace has finalizers remaining: {}", finalizers.join(", "))},
        ]),
    );
}

/// Deletes the objects of a definition, then the definition if none of them holds on.
pub(super) fn empty_definition(state: &mut State, key: &ObjectKey) {
    let Some(resource) = state.get(key).and_then(|entry| crd::resource(entry)) else {
        finish_definition(state, key);
        return;
    };
    let keys: Vec<ObjectKey> = state
        .entries(&resource.name, None)
        .map(|entry| key_of(&resource.name, entry))
        .collect();
    for key in keys {
        delete::delete(state, &key, Propagation::Background);
    }
    finish_definition(state, key);
}

fn definition_key(resource: &GroupResource) -> ObjectKey {
    ObjectKey::cluster(
        GroupResource::new(crd::PLURAL, crd::GROUP),
        resource.to_string(),
    )
}

fn finish_definition_of(state: &mut State, resource: &GroupResource) {
    if !resource.group.is_empty() {
        finish_definition(state, &definition_key(resource));
    }
}

fn finish_definition(state: &mut State, key: &ObjectKey) {
    let Some(entry) = state.get(key).cloned().filter(|entry| entry.meta.deleting) else {
        return;
    };
    let objects = crd::resource(&entry)
        .is_some_and(|resource| state.entries(&resource.name, None).next().is_some());
    if !objects && entry.meta.finalizers.iter().any(|one| one == CLEAN_UP) {
        drop_finalizer(state, key, &entry, CLEAN_UP);
    }
}

/// Nothing new is made of a definition that is going.
pub(super) fn check_definition_is_live(
    state: &State,
    resource: &Arc<Resource>,
) -> Result<(), Failure> {
    let going = resource.custom
        && state
            .get(&definition_key(&resource.name))
            .is_some_and(|entry| entry.meta.deleting);
    if going {
        let message = "create not allowed while custom resource definition is terminating";
        return Err(Failure::new(405, "MethodNotAllowed", message));
    }
    Ok(())
}
