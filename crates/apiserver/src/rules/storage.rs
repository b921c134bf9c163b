//! Claims, volumes and storage classes: what is fixed once they exist.

use salvor_api::quantity::approximate;
use serde_json::{Value, json};

use super::{Context, Object, immutable};
use crate::entry::{at, child_mut};
use crate::status::FieldError;

/// Claims start as Pending.
pub(super) fn create_claim(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if at(object, &["spec", "accessModes"])
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        let detail = "at least 1 access mode is required";
        errors.push(FieldError::required("spec.accessModes", detail));
    }
    if at(object, &["spec", "resources", "requests", "storage"]).is_none() {
        errors.push(FieldError::required("spec.resources[storage]", ""));
    }
    child_mut(object, "spec")
        .entry("volumeMode")
        .or_insert_with(|| "Filesystem".into());
    object.insert("status".into(), json!({"phase": "Pending"}));
    errors
}

/// The request may grow and a volume may be named; the rest stays.
pub(super) fn update_claim(old: &Object, new: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    let request = ["spec", "resources", "requests", "storage"];
    child_mut(new, "spec")
        .entry("volumeMode")
        .or_insert_with(|| "Filesystem".into());
    let fixed = |object: &Object, keep_volume: bool| {
        let mut spec = object.get("spec").cloned().unwrap_or_default();
        if let Some(requests) = spec
            .pointer_mut("/resources/requests")
            .and_then(Value::as_object_mut)
        {
            requests.remove("storage");
        }
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("volumeAttributesClassName");
            if !keep_volume {
                spec.remove("volumeName");
            }
        }
        spec
    };
    let was_bound = at(old, &["spec", "volumeName"]).is_some_and(|name| *name != json!(""));
    let mut errors = Vec::new();
    if fixed(old, was_bound) != fixed(new, was_bound) {
        errors.push(FieldError::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ));
    }
    let size = |object: &Object| at(object, &request).and_then(worth);
    if let (Some(before), Some(after)) = (size(old), size(new))
        && after < before
    {
        let detail = "field can not be less than previous value";
        errors.push(FieldError::forbidden(
            "spec.resources.requests.storage",
            detail,
        ));
    }
    errors
}

/// Volumes start as Pending.
pub(super) fn create_volume(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, what) in [("accessModes", ""), ("capacity", "")] {
        if at(object, &["spec", key]).is_none() {
            errors.push(FieldError::required(format!("spec.{key}"), what));
        }
    }
    if source(object).is_empty() {
        errors.push(FieldError::required("spec", "must specify a volume type"));
    }
    let spec = child_mut(object, "spec");
    spec.entry("volumeMode")
        .or_insert_with(|| "Filesystem".into());
    spec.entry("persistentVolumeReclaimPolicy")
        .or_insert_with(|| "Retain".into());
    object.insert("status".into(), json!({"phase": "Pending"}));
    errors
}

/// Fields of a volume's spec that do not say where its data is.
const NOT_SOURCE: [&str; 9] = [
    "capacity",
    "accessModes",
    "claimRef",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "mountOptions",
    "volumeMode",
    "nodeAffinity",
    "volumeAttributesClassName",
];

fn source(object: &Object) -> Object {
    let mut spec = object
        .get("spec")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    spec.retain(|key, value| !NOT_SOURCE.contains(&key.as_str()) && !value.is_null());
    spec
}

/// Source, mode and affinity stay; the claim may change.
pub(super) fn update_volume(old: &Object, new: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    child_mut(new, "spec")
        .entry("volumeMode")
        .or_insert_with(|| "Filesystem".into());
    let mut errors = Vec::new();
    if source(old) != source(new) {
        errors.push(FieldError::forbidden(
            "spec.persistentvolumesource",
            "spec.persistentvolumesource is immutable after creation",
        ));
    }
    errors.extend(immutable(
        old,
        new,
        &["spec", "volumeMode"],
        "field is immutable",
    ));
    if at(old, &["spec", "nodeAffinity"]).is_some() {
        errors.extend(immutable(
            old,
            new,
            &["spec", "nodeAffinity"],
            "field is immutable",
        ));
    }
    errors
}

/// Reclaim policy and binding mode have defaults.
pub(super) fn create_class(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    object
        .entry("reclaimPolicy")
        .or_insert_with(|| "Delete".into());
    object
        .entry("volumeBindingMode")
        .or_insert_with(|| "Immediate".into());
    if at(object, &["provisioner"]).is_none_or(|one| *one == json!("")) {
        return vec![FieldError::required("provisioner", "")];
    }
    Vec::new()
}

/// Provisioner, parameters, reclaim policy and binding mode stay.
pub(super) fn update_class(
    old: &Object,
    new: &mut Object,
    context: &Context<'_>,
) -> Vec<FieldError> {
    let mut errors = create_class(new, context);
    for key in ["parameters", "provisioner", "reclaimPolicy"] {
        if immutable(old, new, &[key], "").is_some() {
            let detail = format!("updates to {key} are forbidden.");
            errors.push(FieldError::forbidden(key, &detail));
        }
    }
    errors.extend(immutable(
        old,
        new,
        &["volumeBindingMode"],
        "field is immutable",
    ));
    errors
}

/// What a quantity is about worth, be it a number or a text.
fn worth(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => approximate(text),
        _ => None,
    }
}
