//! Restoring into other namespaces: keys, bodies and the subjects of bindings follow the mapping.

use salvor_api::meta::StringMap;
use salvor_api::resource::ObjectKey;
use serde_json::{Value, json};

use super::body;

/// The label that every namespace carries with its own name.
const OWN_NAME: &str = "kubernetes.io/metadata.name";

/// Where a source namespace goes.
#[must_use]
pub fn target_namespace<'a>(source: &'a str, mapping: &'a StringMap) -> &'a str {
    mapping.get(source).map_or(source, String::as_str)
}

/// The key under which a backed up object is restored.
#[must_use]
pub fn target_key(source: &ObjectKey, mapping: &StringMap) -> ObjectKey {
    let mut key = source.clone();
    if let Some(namespace) = &mut key.namespace {
        *namespace = target_namespace(namespace, mapping).to_owned();
    } else if is_namespace(source) {
        key.name = target_namespace(&source.name, mapping).to_owned();
    }
    key
}

/// True for the key of a namespace itself.
#[must_use]
pub fn is_namespace(key: &ObjectKey) -> bool {
    key.resource.group.is_empty() && key.resource.resource == "namespaces"
}

/// Moves a body to its target namespace; a namespace gets its new name.
pub fn map_body(object: &mut Value, target: &ObjectKey) {
    if let Some(namespace) = &target.namespace {
        body::set_at(object, &["metadata", "namespace"], json!(namespace));
    } else if is_namespace(target) {
        body::set_at(object, &["metadata", "name"], json!(target.name));
        if let Some(label) = body::at_mut(object, &["metadata", "labels", OWN_NAME]) {
            *label = json!(target.name);
        }
    }
}

/// Moves the subjects of a role binding or cluster role binding.
pub fn map_subjects(binding: &mut Value, mapping: &StringMap) {
    for subject in body::list_at_mut(binding, &["subjects"])
        .into_iter()
        .flatten()
    {
        if let Some(target) = mapping.get(body::text_at(subject, &["namespace"])) {
            body::set_at(subject, &["namespace"], json!(target));
        }
    }
}
