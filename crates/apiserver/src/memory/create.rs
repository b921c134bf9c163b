//! New objects.

use std::sync::Arc;

use salvor_api::resource::{GroupResource, ObjectKey};
use serde_json::{Map, Value, json};

use super::state::State;
use super::{admit, lifecycle};
use crate::entry::{Entry, child_mut, metadata_mut, text_at};
use crate::rules::{self, Context};
use crate::status::Failure;
use crate::store::{Write, Written};

/// Metadata that only the server sets.
const SERVER_SET: [&str; 5] = [
    "selfLink",
    "managedFields",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
];

/// Creates an object as a client asks for it.
pub(super) fn create(
    state: &mut State,
    write: &Write,
    mut object: Map<String, Value>,
) -> Result<Written, Failure> {
    let resource = &write.resource;
    if let Some(subresource) = &write.subresource {
        return Err(Failure::not_implemented(format!(
            "{}/{subresource} is not served here: this server stores objects and runs nothing",
            resource.name
        )));
    }
    admit::check_type(write, &object)?;
    admit::check_namespace(write, &mut object)?;
    admit::shape(write, &mut object)?;
    let metadata = metadata_mut(&mut object);
    if metadata
        .get("resourceVersion")
        .and_then(Value::as_str)
        .is_some_and(|rv| !rv.is_empty())
    {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Failure::new(500, "", message));
    }
    for key in SERVER_SET {
        metadata.shift_remove(key);
    }
    let text = |key: &str| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (mut name, prefix) = (text("name"), text("generateName"));
    if name.is_empty() && !prefix.is_empty() {
        name = state.new_name(&prefix);
    }
    let namespace = write.namespace.clone();
    if let Some(namespace) = &namespace {
        admit::check_namespace_is_live(state, resource, namespace, &name)?;
    }
    let now = state.options.now();
    let metadata = metadata_mut(&mut object);
    metadata.insert("name".into(), name.clone().into());
    metadata.insert("uid".into(), state.new_uid().into());
    metadata.insert("creationTimestamp".into(), now.clone().into());
    if admit::has_generation(resource) {
        metadata.insert("generation".into(), 1.into());
    }
    if admit::splits_status(write) {
        object.shift_remove("status");
        if !resource.custom {
            let empty = if resource.is("networking.k8s.io", "ingresses") {
                json!({"loadBalancer": {}})
            } else {
                json!({})
            };
            object.insert("status".into(), empty);
        }
    }
    if resource.is("", "pods") && state.options.controllers {
        assign_service_account(state, &mut object)?;
    }
    let context = Context {
        allocations: &state.allocations,
        now: &now,
    };
    let findings = rules::on_create(&resource.name, &mut object, &context);
    admit::check(write, &object, findings)?;

    let key = ObjectKey {
        resource: resource.name.clone(),
        namespace,
        name: name.clone(),
    };
    if state.get(&key).is_some() {
        return Err(Failure::already_exists(&resource.name, &name));
    }
    lifecycle::check_definition_is_live(state, resource)?;
    if write.dry_run {
        return Ok(Written::Created(Arc::new(Entry::new(object))));
    }
    let entry = state.put(&key, object);
    lifecycle::after_create(state, &key, &entry);
    Ok(Written::Created(entry))
}

/// Pods run under a service account that must exist, as the real server's admission demands.
fn assign_service_account(state: &State, object: &mut Map<String, Value>) -> Result<(), Failure> {
    let namespace = text_at(object, &["metadata", "namespace"]).to_owned();
    let pod = text_at(object, &["metadata", "name"]).to_owned();
    let spec = child_mut(object, "spec");
    let name = ["serviceAccountName", "serviceAccount"]
        .iter()
        .filter_map(|key| spec.get(*key).and_then(Value::as_str))
        .find(|name| !name.is_empty())
        .unwrap_or("default")
        .to_owned();
    spec.insert("serviceAccountName".into(), name.clone().into());
    spec.insert("serviceAccount".into(), name.clone().into());
    let account =
        ObjectKey::namespaced(GroupResource::new("serviceaccounts", ""), &namespace, &name);
    if state.get(&account).is_some() {
        return Ok(());
    }
    let why = format!(
        "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
    );
    Err(Failure::forbidden(
        &GroupResource::new("pods", ""),
        &pod,
        &why,
    ))
}
