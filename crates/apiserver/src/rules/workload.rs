//! Pods and what makes pods: generated and immutable selectors, immutable pod specs.

use salvor_api::meta::LabelSelector;
use salvor_api::selector::Selector;
use serde_json::{Value, json};

use super::{Context, Object, immutable};
use crate::entry::{at, child_mut, string_map, text_at};
use crate::status::FieldError;

const LABELS: &str = "spec.template.metadata.labels";
const MISMATCH: &str = "`selector` does not match template `labels`";
const IMMUTABLE: &str = "field is immutable";

/// Pods start as Pending.
pub(super) fn create_pod(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    let containers = at(object, &["spec", "containers"]).and_then(Value::as_array);
    if containers.is_none_or(Vec::is_empty) {
        return vec![FieldError::required("spec.containers", "")];
    }
    object.insert(
        "status".into(),
        json!({"phase": "Pending", "qosClass": "BestEffort"}),
    );
    Vec::new()
}

/// Only images, the deadline and more tolerations may change.
pub(super) fn update_pod(old: &Object, new: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    let Some(before) = old.get("spec") else {
        return Vec::new();
    };
    let mut spec = new.get("spec").cloned().unwrap_or_default();
    for list in ["containers", "initContainers"] {
        let names: Vec<Value> = before[list].as_array().cloned().unwrap_or_default();
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let same = names.iter().find(|one| one["name"] == container["name"]);
            if let (Some(image), Some(container)) = (
                same.and_then(|one| one.get("image")),
                container.as_object_mut(),
            ) {
                container.insert("image".into(), image.clone());
            }
        }
    }
    for (key, default) in [
        ("activeDeadlineSeconds", None),
        ("serviceAccount", None),
        ("serviceAccountName", None),
    ] {
        restore_key(&mut spec, before, key, default);
    }
    let tolerations = |spec: &Value| spec["tolerations"].as_array().cloned().unwrap_or_default();
    let (had, has) = (tolerations(before), tolerations(&spec));
    if had.iter().all(|one| has.contains(one)) {
        restore_key(&mut spec, before, "tolerations", None);
    }
    let kept_account = ["serviceAccount", "serviceAccountName"].iter().all(|key| {
        let now = at(new, &["spec", key]);
        now.is_none() || now == before.get(*key)
    });
    if spec != *before || !kept_account {
        return vec![FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )];
    }
    for key in ["serviceAccount", "serviceAccountName"] {
        if let Some(value) = before.get(key) {
            child_mut(new, "spec").insert(key.into(), value.clone());
        }
    }
    Vec::new()
}

fn restore_key(spec: &mut Value, before: &Value, key: &str, default: Option<Value>) {
    let Some(spec) = spec.as_object_mut() else {
        return;
    };
    match before.get(key).cloned().or(default) {
        Some(value) => {
            spec.insert(key.to_owned(), value);
        }
        None => {
            spec.remove(key);
        }
    }
}

fn selector_errors(object: &Object) -> Vec<FieldError> {
    let Some(selector) = at(object, &["spec", "selector"]).filter(|one| one.is_object()) else {
        // No selector selects nothing, not even the template.
        let labels = at(object, &["spec", "template", "metadata", "labels"]).cloned();
        return vec![
            FieldError::required("spec.selector", ""),
            FieldError::invalid(LABELS, &labels.unwrap_or_default(), MISMATCH),
        ];
    };
    if selector
        .as_object()
        .is_none_or(|one| one.values().all(is_empty))
    {
        let detail = "empty selector is invalid for deployment";
        return vec![FieldError::invalid("spec.selector", selector, detail)];
    }
    let parsed = serde_json::from_value::<LabelSelector>(selector.clone()).ok();
    let Some(compiled) = parsed.and_then(|parsed| Selector::compile(&parsed).ok()) else {
        return vec![FieldError::invalid(
            "spec.selector",
            selector,
            "invalid label selector",
        )];
    };
    let labels = at(object, &["spec", "template", "metadata", "labels"]);
    if compiled.matches(&string_map(labels)) {
        return Vec::new();
    }
    let labels = labels.cloned().unwrap_or_default();
    vec![FieldError::invalid(LABELS, &labels, MISMATCH)]
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A selector is needed and must match the template.
pub(super) fn create_selecting(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    default_replicas(object);
    selector_errors(object)
}

/// ReplicationControllers select by their template's labels when they say nothing.
pub(super) fn create_controller(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    default_replicas(object);
    let labels = at(object, &["spec", "template", "metadata", "labels"]).cloned();
    let spec = child_mut(object, "spec");
    if let Some(labels) = labels {
        spec.entry("selector").or_insert(labels);
    }
    Vec::new()
}

fn default_replicas(object: &mut Object) {
    let spec = child_mut(object, "spec");
    if !spec.contains_key("updateStrategy") || spec.contains_key("serviceName") {
        spec.entry("replicas").or_insert_with(|| 1.into());
    }
}

/// The selector stays.
pub(super) fn update_selecting(old: &Object, new: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    let mut errors = selector_errors(new);
    errors.extend(immutable(old, new, &["spec", "selector"], IMMUTABLE));
    errors
}

/// All but a few fields stay.
pub(super) fn update_stateful_set(
    old: &Object,
    new: &mut Object,
    _: &Context<'_>,
) -> Vec<FieldError> {
    const MUTABLE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |object: &Object| {
        let mut spec = object
            .get("spec")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        spec.retain(|key, value| !MUTABLE.contains(&key.as_str()) && !value.is_null());
        spec
    };
    let mut errors = selector_errors(new);
    if fixed(old) != fixed(new) {
        errors.push(FieldError::forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ));
    }
    errors
}

const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];

/// Unless `manualSelector` is set, a Job's selector and labels are made from its new UID; those of
/// another incarnation are refused.
pub(super) fn create_job(object: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    let uid = text_at(object, &["metadata", "uid"]).to_owned();
    let name = text_at(object, &["metadata", "name"]).to_owned();
    let spec = child_mut(object, "spec");
    spec.entry("parallelism").or_insert_with(|| 1.into());
    spec.entry("completions").or_insert_with(|| 1.into());
    spec.entry("backoffLimit").or_insert_with(|| 6.into());
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return selector_errors(object);
    }
    let labels = child_mut(child_mut(child_mut(spec, "template"), "metadata"), "labels");
    let mut errors = Vec::new();
    for (keys, wanted) in [(UID_LABELS, &uid), (NAME_LABELS, &name)] {
        for key in keys {
            let value = labels.entry(key).or_insert_with(|| wanted.as_str().into());
            if value.as_str() != Some(wanted) {
                let field = format!("spec.template.metadata.labels[{key}]");
                errors.push(FieldError::invalid(
                    field,
                    value,
                    &format!("must be '{wanted}'"),
                ));
            }
        }
    }
    let expected = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    let selector = spec.entry("selector").or_insert_with(|| expected.clone());
    if selector.is_null() {
        *selector = expected;
    } else if *selector != expected {
        let detail = "`selector` not auto-generated";
        errors.push(FieldError::invalid("spec.selector", selector, detail));
    }
    errors
}

/// Selector, template and completions stay.
pub(super) fn update_job(old: &Object, new: &mut Object, _: &Context<'_>) -> Vec<FieldError> {
    [
        ["spec", "selector"],
        ["spec", "template"],
        ["spec", "completions"],
    ]
    .iter()
    .filter_map(|path| immutable(old, new, path, IMMUTABLE))
    .collect()
}
