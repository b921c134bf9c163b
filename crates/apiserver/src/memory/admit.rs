//! Checks that creates and updates share.

use std::sync::Arc;

use salvor_api::resource::{GroupResource, ObjectKey};
use serde_json::{Map, Value};

use super::state::State;
use crate::entry::{metadata_mut, text_at};
use crate::registry::{Resource, Version};
use crate::status::{Failure, FieldError};
use crate::store::Write;
use crate::{names, typed};

/// Built-in kinds whose `metadata.generation` counts changes of the spec.
const COUNTED: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "replicationcontrollers"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("batch", "jobs"),
    ("batch", "cronjobs"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "ingressclasses"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("scheduling.k8s.io", "priorityclasses"),
    ("discovery.k8s.io", "endpointslices"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
    ),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    (
        "flowcontrol.apiserver.k8s.io",
        "prioritylevelconfigurations",
    ),
];

/// True when `metadata.generation` counts changes of this resource.
pub(super) fn has_generation(resource: &Resource) -> bool {
    resource.custom
        || COUNTED
            .iter()
            .any(|(group, plural)| resource.is(group, plural))
}

/// The version that a request names.
pub(super) fn version(write: &Write) -> Result<&Version, Failure> {
    write
        .resource
        .version(&write.version)
        .ok_or_else(Failure::no_such_path)
}

/// True when the request's version keeps status apart.
pub(super) fn splits_status(write: &Write) -> bool {
    match write.resource.version(&write.version) {
        Some(version) => version.has_subresource("status"),
        None => write.resource.has_status(),
    }
}

/// `apiVersion` and `kind` of a body must be those of the path.
pub(super) fn check_type(write: &Write, object: &Map<String, Value>) -> Result<(), Failure> {
    let expected = write.resource.api_version(&write.version);
    let found = text_at(object, &["apiVersion"]);
    let kind = text_at(object, &["kind"]);
    if write.resource.custom && (found.is_empty() || kind.is_empty()) {
        let missing = if kind.is_empty() {
            "Kind"
        } else {
            "apiVersion"
        };
        return Err(Failure::bad_request(format!(
            "Object '{missing}' is missing"
        )));
    }
    if !found.is_empty() && found != expected {
        return Err(Failure::bad_request(format!(
            "the API version in the data ({found}) does not match the expected API version ({expected})"
        )));
    }
    if !kind.is_empty() && kind != write.resource.kind {
        return Err(Failure::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {}: the kind in the data does not match the kind of the path",
            write.version, write.resource.kind
        )));
    }
    Ok(())
}

/// The namespace of a body must be the path's; an absent one is filled in.
pub(super) fn check_namespace(
    write: &Write,
    object: &mut Map<String, Value>,
) -> Result<(), Failure> {
    let metadata = metadata_mut(object);
    let found = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match write.namespace.as_deref() {
        Some(namespace) if found.is_empty() => {
            metadata.insert("namespace".into(), namespace.into());
            Ok(())
        }
        Some(namespace) if found == namespace => Ok(()),
        Some(_) => Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        None => {
            metadata.shift_remove("namespace");
            Ok(())
        }
    }
}

/// Reads a body as its type: drops unknown fields, sets a custom resource's defaults.
pub(super) fn shape(write: &Write, object: &mut Map<String, Value>) -> Result<(), Failure> {
    let version = version(write)?;
    if let Some(root) = version.root {
        let unknown = typed::read(object, root, &write.resource.kind, &write.version)?;
        if write.strict && !unknown.is_empty() {
            let list: Vec<String> = unknown
                .iter()
                .map(|path| format!("unknown field \"{path}\""))
                .collect();
            return Err(Failure::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {list}",
                kind = write.resource.kind,
                version = write.version,
                list = list.join(", ")
            )));
        }
    }
    if let Some(custom) = &version.schema {
        custom.schema.prune_object(object);
        custom.schema.default_object(object);
    }
    Ok(())
}

/// Checks metadata and a custom resource's schema; `more` are the kind's own findings.
pub(super) fn check(
    write: &Write,
    object: &Map<String, Value>,
    more: Vec<FieldError>,
) -> Result<(), Failure> {
    let empty = Map::new();
    let metadata = object
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let mut errors = names::check_metadata(&write.resource.name, metadata);
    errors.extend(more);
    if let Some(custom) = &version(write)?.schema {
        errors.extend(custom.schema.validate_object(object));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let name = text_at(object, &["metadata", "name"]);
    let resource = &write.resource;
    Err(Failure::invalid(
        &resource.name.group,
        &resource.kind,
        name,
        &errors,
    ))
}

/// The key of a namespace.
pub(super) fn namespace_key(name: &str) -> ObjectKey {
    ObjectKey::cluster(GroupResource::new("namespaces", ""), name)
}

/// Nothing new goes into a namespace that is missing or on its way out.
pub(super) fn check_namespace_is_live(
    state: &State,
    resource: &Arc<Resource>,
    namespace: &str,
    name: &str,
) -> Result<(), Failure> {
    let key = namespace_key(namespace);
    let Some(entry) = state.get(&key) else {
        return Err(Failure::not_found(&key.resource, namespace));
    };
    if !entry.meta.deleting {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    Err(Failure::forbidden(&resource.name, name, &why).cause(
        "NamespaceTerminating",
        &format!("namespace {namespace} is being terminated"),
        "metadata.namespace",
    ))
}
