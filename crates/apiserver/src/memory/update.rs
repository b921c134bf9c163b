//! Changed objects: update, patch, and the status, scale and finalize paths.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::state::State;
use super::{admit, lifecycle};
use crate::crd::ScalePaths;
use crate::entry::{Entry, at, child_mut, metadata_mut, text_at};
use crate::patch::Patch;
use crate::registry::Resource;
use crate::rules::{self, Context};
use crate::scale;
use crate::status::{Failure, FieldError};
use crate::store::{Write, Written};

/// Kinds that a `PUT` may create.
const CREATED_BY_UPDATE: &[(&str, &str)] = &[
    ("", "services"),
    ("", "endpoints"),
    ("", "events"),
    ("", "limitranges"),
    ("coordination.k8s.io", "leases"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
];

/// Built-in kinds that a `PUT` changes only with a resourceVersion.
const CONDITIONAL: &[(&str, &str)] = &[
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
    ("coordination.k8s.io", "leases"),
    ("policy", "poddisruptionbudgets"),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
    ),
    ("node.k8s.io", "runtimeclasses"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
];

/// Replaces an object.
pub(super) fn update(
    state: &mut State,
    write: &Write,
    mut object: Map<String, Value>,
) -> Result<Written, Failure> {
    let key = write.key();
    if write.subresource.as_deref() == Some("scale") {
        let old = find(state, write)?;
        return scale_to(state, write, &old, &object);
    }
    admit::check_type(write, &object)?;
    admit::check_namespace(write, &mut object)?;
    let name = text_at(&object, &["metadata", "name"]);
    if name.is_empty() {
        metadata_mut(&mut object).insert("name".into(), key.name.clone().into());
    } else if name != key.name {
        return Err(wrong_name(name, &key.name));
    }
    let listed = |list: &[(&str, &str)]| list.iter().any(|(g, p)| write.resource.is(g, p));
    if state.get(&key).is_none() && write.subresource.is_none() && listed(CREATED_BY_UPDATE) {
        metadata_mut(&mut object).shift_remove("resourceVersion");
        return super::create::create(state, write, object);
    }
    let old = find(state, write)?;
    let conditional = write.resource.custom || listed(CONDITIONAL);
    if conditional && text_at(&object, &["metadata", "resourceVersion"]).is_empty() {
        let value = json!(0);
        let error = FieldError::invalid(
            "metadata.resourceVersion",
            &value,
            "must be specified for an update",
        );
        let resource = &write.resource;
        return Err(Failure::invalid(
            &resource.name.group,
            &resource.kind,
            &key.name,
            &[error],
        ));
    }
    replace(state, write, &old, object)
}

/// Applies a patch to the present object.
pub(super) fn patch(state: &mut State, write: &Write, patch: &Patch) -> Result<Written, Failure> {
    let old = find(state, write)?;
    if write.subresource.as_deref() == Some("scale") {
        let paths = scale_paths(write)?;
        let current = scale::read(&old, paths.as_deref());
        let patched = patch.apply(current, Some("autoscaling.v1.Scale"))?;
        return scale_to(state, write, &old, &patched);
    }
    let root = admit::version(write)?.root;
    let current = old.full(
        &write.resource.api_version(&write.version),
        &write.resource.kind,
    );
    let mut object = patch.apply(current, root)?;
    admit::check_type(write, &object)?;
    admit::check_namespace(write, &mut object)?;
    let name = text_at(&object, &["metadata", "name"]);
    if name != old.meta.name {
        return Err(wrong_name(name, &old.meta.name));
    }
    replace(state, write, &old, object)
}

fn wrong_name(found: &str, wanted: &str) -> Failure {
    Failure::bad_request(format!(
        "the name of the object ({found}) does not match the name on the URL ({wanted})"
    ))
}

fn find(state: &State, write: &Write) -> Result<Arc<Entry>, Failure> {
    let key = write.key();
    let old = state.get(&key).cloned();
    old.ok_or_else(|| Failure::not_found(&key.resource, &key.name))
}

fn scale_paths(write: &Write) -> Result<Option<Arc<ScalePaths>>, Failure> {
    let version = admit::version(write)?;
    Ok(version
        .schema
        .as_ref()
        .and_then(|custom| custom.scale.clone()))
}

fn scale_to(
    state: &mut State,
    write: &Write,
    old: &Arc<Entry>,
    wanted: &Map<String, Value>,
) -> Result<Written, Failure> {
    let paths = scale_paths(write)?;
    let replicas = at(wanted, &["spec", "replicas"])
        .cloned()
        .unwrap_or_else(|| json!(0));
    if replicas.as_i64().is_none_or(|count| count < 0) {
        let detail = "must be greater than or equal to 0";
        let error = FieldError::invalid("spec.replicas", &replicas, detail);
        return Err(Failure::invalid(
            "autoscaling",
            "Scale",
            &old.meta.name,
            &[error],
        ));
    }
    let mut object = old.full(
        &write.resource.api_version(&write.version),
        &write.resource.kind,
    );
    scale::set_replicas(&mut object, paths.as_deref(), replicas);
    let asked = text_at(wanted, &["metadata", "resourceVersion"]).to_owned();
    if !asked.is_empty() {
        metadata_mut(&mut object).insert("resourceVersion".into(), asked.into());
    }
    let main = Write {
        subresource: None,
        ..write.clone()
    };
    replace(state, &main, old, object)
}

/// Stores `new` in place of `old`, as far as the path that was written may change it.
fn replace(
    state: &mut State,
    write: &Write,
    old: &Arc<Entry>,
    mut new: Map<String, Value>,
) -> Result<Written, Failure> {
    let resource = &write.resource;
    let key = write.key();
    let before = old.object();
    check_preconditions(resource, old, &new)?;
    admit::shape(write, &mut new)?;
    keep_metadata(&before, &mut new);
    match write.subresource.as_deref() {
        None => {
            if admit::splits_status(write) {
                copy_field(&before, &mut new, "status");
            }
        }
        Some("status") => {
            let status = new.get("status").cloned();
            new = before.clone();
            set_field(&mut new, "status", status);
        }
        Some("finalize") => {
            let finalizers = at(&new, &["spec", "finalizers"]).cloned();
            new = before.clone();
            set_field(child_mut(&mut new, "spec"), "finalizers", finalizers);
        }
        // approval, resize and ephemeralcontainers write the object itself.
        Some(_) => {}
    }
    new.shift_remove("apiVersion");
    new.shift_remove("kind");
    check_finalizers(resource, old, &new)?;
    let now = state.options.now();
    let findings = if write.subresource.is_none() {
        let context = Context {
            allocations: &state.allocations,
            now: &now,
        };
        rules::on_update(&resource.name, &before, &mut new, &context)
    } else {
        Vec::new()
    };
    admit::check(write, &new, findings)?;
    set_generation(write, &before, &mut new);
    if new == before {
        return Ok(Written::Updated(Arc::clone(old)));
    }
    if write.dry_run {
        return Ok(Written::Updated(Arc::new(Entry::new(new))));
    }
    let entry = state.put(&key, new);
    lifecycle::after_update(state, &key, &entry);
    Ok(Written::Updated(entry))
}

fn check_preconditions(
    resource: &Resource,
    old: &Entry,
    new: &Map<String, Value>,
) -> Result<(), Failure> {
    let asked = text_at(new, &["metadata", "resourceVersion"]);
    let uid = text_at(new, &["metadata", "uid"]);
    if !uid.is_empty() && uid != old.meta.uid {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.meta.uid
        );
        return Err(Failure::conflict(&resource.name, &old.meta.name, &why));
    }
    if asked.is_empty() || asked == "0" || asked.parse() == Ok(old.meta.resource_version) {
        return Ok(());
    }
    if asked.parse::<u64>().is_err() {
        let value = Value::from(asked);
        let error = FieldError::invalid("metadata.resourceVersion", &value, "not a number");
        return Err(Failure::invalid(
            &resource.name.group,
            &resource.kind,
            &old.meta.name,
            &[error],
        ));
    }
    Err(Failure::modified(&resource.name, &old.meta.name))
}

/// Identity and life cycle of an object are the server's.
fn keep_metadata(before: &Map<String, Value>, new: &mut Map<String, Value>) {
    const KEPT: [&str; 7] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "namespace",
    ];
    let metadata = metadata_mut(new);
    for key in ["selfLink", "managedFields"] {
        metadata.shift_remove(key);
    }
    for key in KEPT {
        set_field(metadata, key, at(before, &["metadata", key]).cloned());
    }
    if !metadata.contains_key("generateName") {
        set_field(
            metadata,
            "generateName",
            at(before, &["metadata", "generateName"]).cloned(),
        );
    }
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = match metadata.get(key) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if empty {
            metadata.shift_remove(key);
        }
    }
}

fn copy_field(from: &Map<String, Value>, to: &mut Map<String, Value>, key: &str) {
    set_field(to, key, from.get(key).cloned());
}

fn set_field(object: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    match value {
        Some(value) => {
            object.insert(key.to_owned(), value);
        }
        None => {
            object.shift_remove(key);
        }
    }
}

fn check_finalizers(
    resource: &Resource,
    old: &Entry,
    new: &Map<String, Value>,
) -> Result<(), Failure> {
    if !old.meta.deleting {
        return Ok(());
    }
    let finalizers = at(new, &["metadata", "finalizers"]).and_then(Value::as_array);
    let added: Vec<&str> = finalizers
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|one| !old.meta.finalizers.iter().any(|known| known == one))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
    );
    let error = FieldError::forbidden("metadata.finalizers", &detail);
    Err(Failure::invalid(
        &resource.name.group,
        &resource.kind,
        &old.meta.name,
        &[error],
    ))
}

fn set_generation(write: &Write, before: &Map<String, Value>, new: &mut Map<String, Value>) {
    if !admit::has_generation(&write.resource) {
        return;
    }
    let split = admit::splits_status(write);
    let relevant = |object: &Map<String, Value>| {
        let mut object = object.clone();
        object.shift_remove("metadata");
        if split || !write.resource.custom {
            object.shift_remove("status");
        }
        object
    };
    if relevant(before) == relevant(new) {
        return;
    }
    let generation = at(before, &["metadata", "generation"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    metadata_mut(new).insert("generation".into(), (generation + 1).into());
}
