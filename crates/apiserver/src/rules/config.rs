//! Secrets, ConfigMaps, namespaces, bindings, priority classes and custom resource definitions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Context, Object, immutable};
use crate::crd;
use crate::entry::{at, child_mut, text_at};
use crate::status::FieldError;

/// Largest sum of a Secret's values, in bytes.
const MAX_SECRET_BYTES: usize = 1 << 20;

/// `stringData` becomes `data`; well-known types need their keys.
pub(super) fn create_secret(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    fold_string_data(object);
    let kind = object
        .entry("type")
        .or_insert_with(|| "Opaque".into())
        .clone();
    if kind == "" {
        object.insert("type".into(), "Opaque".into());
    }
    let mut errors = check_data(object);
    let needed: &[&str] = match kind.as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if text_at(object, &["metadata", "annotations", key]).is_empty() {
                let field = format!("metadata.annotations[{key}]");
                errors.push(FieldError::required(field, ""));
            }
            &[]
        }
        _ => &[],
    };
    for key in needed
        .iter()
        .filter(|key| at(object, &["data", key]).is_none())
    {
        errors.push(FieldError::required(format!("data[{key}]"), ""));
    }
    errors
}

/// The type stays, and everything stays once `immutable` is set.
pub(super) fn update_secret(
    old: &Object,
    new: &mut Object,
    context: &Context<'_>,
) -> Vec<FieldError> {
    if text_at(new, &["type"]).is_empty() {
        new.insert("type".into(), old.get("type").cloned().unwrap_or_default());
    }
    let mut errors = create_secret(new, context);
    errors.extend(immutable(old, new, &["type"], "field is immutable"));
    errors.extend(sealed(old, new, &["data"]));
    errors
}

fn fold_string_data(object: &mut Object) {
    let Some(Value::Object(texts)) = object.shift_remove("stringData") else {
        return;
    };
    let data = child_mut(object, "data");
    for (key, value) in texts {
        let bytes = value.as_str().unwrap_or_default().as_bytes().to_vec();
        data.insert(key, STANDARD.encode(bytes).into());
    }
}

fn check_data(object: &Object) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, value) in object
        .get("data")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let well_formed = !key.is_empty()
            && key.len() <= 253
            && key
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
        if !well_formed {
            let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
            errors.push(FieldError::invalid(
                format!("data[{key}]"),
                &key.as_str().into(),
                detail,
            ));
        }
        bytes += value.as_str().map_or(0, str::len);
    }
    // Base64 holds three bytes in four.
    if bytes / 4 * 3 > MAX_SECRET_BYTES {
        errors.push(FieldError::too_long("data", MAX_SECRET_BYTES));
    }
    errors
}

fn sealed(old: &Object, new: &Object, fields: &[&str]) -> Vec<FieldError> {
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return Vec::new();
    }
    fields
        .iter()
        .chain(&["immutable"])
        .filter(|field| immutable(old, new, &[field], "").is_some())
        .map(|field| FieldError::forbidden(*field, "field is immutable when `immutable` is set"))
        .collect()
}

/// ConfigMap keys are checked as Secret keys are.
pub(super) fn create_config_map(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    check_data(object)
}

/// Everything stays once `immutable` is set.
pub(super) fn update_config_map(
    old: &Object,
    new: &mut Object,
    _: &Context<'_>,
) -> Vec<FieldError> {
    let mut errors = check_data(new);
    errors.extend(sealed(old, new, &["data", "binaryData"]));
    errors
}

/// Namespaces are labelled with their name, Active, and held by the `kubernetes` finalizer.
pub(super) fn create_namespace(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    label_namespace(object);
    let spec = child_mut(object, "spec");
    if spec
        .get("finalizers")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        spec.insert("finalizers".into(), json!(["kubernetes"]));
    }
    object.insert("status".into(), json!({"phase": "Active"}));
    Vec::new()
}

/// `spec.finalizers` has a path of its own.
pub(super) fn update_namespace(old: &Object, new: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    label_namespace(new);
    if let Some(spec) = old.get("spec") {
        new.insert("spec".into(), spec.clone());
    }
    Vec::new()
}

fn label_namespace(object: &mut Object) {
    let name = text_at(object, &["metadata", "name"]).to_owned();
    child_mut(child_mut(object, "metadata"), "labels")
        .insert("kubernetes.io/metadata.name".into(), name.into());
}

/// Bindings name a role.
pub(super) fn create_binding(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    let role = child_mut(object, "roleRef");
    role.entry("apiGroup")
        .or_insert_with(|| "rbac.authorization.k8s.io".into());
    let mut errors = Vec::new();
    for key in ["kind", "name"] {
        if at(object, &["roleRef", key]).is_none_or(|one| *one == json!("")) {
            errors.push(FieldError::required(format!("roleRef.{key}"), ""));
        }
    }
    for subject in object
        .get_mut("subjects")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if matches!(subject["kind"].as_str(), Some("User" | "Group"))
            && let Some(subject) = subject.as_object_mut()
        {
            subject
                .entry("apiGroup")
                .or_insert_with(|| "rbac.authorization.k8s.io".into());
        }
    }
    errors
}

/// The role stays.
pub(super) fn update_binding(
    old: &Object,
    new: &mut Object,
    context: &Context<'_>,
) -> Vec<FieldError> {
    let mut errors = create_binding(new, context);
    errors.extend(immutable(old, new, &["roleRef"], "cannot change roleRef"));
    errors
}

/// The value stays.
pub(super) fn update_priority_class(
    old: &Object,
    new: &mut Object,
    _: &Context<'_>,
) -> Vec<FieldError> {
    ["value", "preemptionPolicy"]
        .iter()
        .filter(|key| immutable(old, new, &[key], "").is_some())
        .map(|key| FieldError::forbidden(*key, "may not be changed in an update."))
        .collect()
}

/// Definitions are checked and established at once.
pub(super) fn create_crd(object: &mut Object, context: &Context<'_>) -> Vec<FieldError> {
    let errors = crd::validate(object);
    object.shift_remove("status");
    crd::complete(object, context.now);
    errors
}

/// Group, scope and names stay.
pub(super) fn update_crd(old: &Object, new: &mut Object, context: &Context<'_>) -> Vec<FieldError> {
    let mut errors = crd::validate(new);
    let fixed: [&[&str]; 4] = [
        &["spec", "group"],
        &["spec", "scope"],
        &["spec", "names", "plural"],
        &["spec", "names", "kind"],
    ];
    errors.extend(
        fixed
            .iter()
            .filter_map(|path| immutable(old, new, path, "field is immutable")),
    );
    crd::complete(new, context.now);
    errors
}
