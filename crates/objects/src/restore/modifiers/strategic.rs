//! Strategic merge for built-in kinds: lists of named things are merged by their key.
//!
//! The keys below are those of the Kubernetes API types. A custom resource has no such keys, and a list
//! that is not in the table is replaced whole, exactly as a server does it.

use salvor_api::resource::GroupResource;
use serde_json::{Map, Value};

/// Lists that are merged: (field, key of its entries). `ports` depends on where it stands, see
/// [`merge_key`].
const MERGED_LISTS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("initContainers", "name"),
    ("ephemeralContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey"),
    ("resourceClaims", "name"),
    ("schedulingGates", "name"),
    ("readinessGates", "conditionType"),
    ("secrets", "name"),
    ("webhooks", "name"),
    ("conditions", "type"),
    ("ownerReferences", "uid"),
];

/// Lists of plain values that are merged as sets.
const MERGED_SETS: &[&str] = &["finalizers"];

/// Applies a strategic merge patch to a built-in object.
///
/// # Errors
/// The resource is not built in, or the patch has a directive that is not known.
pub fn strategic_merge(
    resource: &GroupResource,
    object: &mut Value,
    patch: &Value,
) -> Result<(), String> {
    if !is_built_in(&resource.group) {
        return Err(format!(
            "a strategic merge patch needs a built-in kind, {resource} is a custom resource: use \
             mergePatches"
        ));
    }
    merge(object, patch, "")
}

/// Groups of the API server itself. Custom resources may live under `k8s.io` too, so the suffix alone
/// does not tell.
fn is_built_in(group: &str) -> bool {
    matches!(
        group,
        "" | "apps"
            | "batch"
            | "autoscaling"
            | "policy"
            | "extensions"
            | "networking.k8s.io"
            | "rbac.authorization.k8s.io"
            | "storage.k8s.io"
            | "scheduling.k8s.io"
            | "admissionregistration.k8s.io"
            | "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "coordination.k8s.io"
            | "discovery.k8s.io"
            | "node.k8s.io"
            | "certificates.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "events.k8s.io"
            | "resource.k8s.io"
    )
}

fn merge(target: &mut Value, patch: &Value, parent: &str) -> Result<(), String> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").map(|d| d.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("replace") => {
            let mut replaced = patch.clone();
            replaced.shift_remove("$patch");
            *target = Value::Object(replaced);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some(other) => return Err(format!("directive `$patch: {other}` is not known")),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else {
        return Ok(());
    };
    if let Some(retained) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| retained.iter().any(|r| r.as_str() == Some(key)));
    }
    for (field, value) in patch {
        if let Some(list) = field.strip_prefix("$deleteFromPrimitiveList/") {
            delete_values(map, list, value);
        } else if field.starts_with('$') {
            let known = field == "$patch"
                || field == "$retainKeys"
                || field.starts_with("$setElementOrder/");
            if !known {
                return Err(format!("directive `{field}` is not known"));
            }
        } else {
            merge_field(map, field, value, parent)?;
        }
    }
    Ok(())
}

fn merge_field(
    map: &mut Map<String, Value>,
    field: &str,
    value: &Value,
    parent: &str,
) -> Result<(), String> {
    match value {
        Value::Null => {
            map.shift_remove(field);
        }
        Value::Array(patch) => {
            let entry = map.entry(field).or_insert_with(|| Value::Array(Vec::new()));
            if let Some(key) = merge_key(field, parent) {
                merge_list(entry, patch, key, field)?;
            } else if MERGED_SETS.contains(&field) {
                let list = as_list(entry);
                for item in patch {
                    if !list.contains(item) {
                        list.push(item.clone());
                    }
                }
            } else {
                *entry = value.clone();
            }
        }
        Value::Object(_) => {
            let entry = map.entry(field).or_insert(Value::Null);
            merge(entry, value, field)?;
        }
        _ => {
            map.insert(field.to_owned(), value.clone());
        }
    }
    Ok(())
}

/// The key of a list's entries. Ports of a container are told apart by `containerPort`, ports of a
/// service by `port`.
fn merge_key(field: &str, parent: &str) -> Option<&'static str> {
    if field == "ports" {
        return match parent {
            "containers" | "initContainers" | "ephemeralContainers" => Some("containerPort"),
            "spec" => Some("port"),
            _ => None,
        };
    }
    MERGED_LISTS
        .iter()
        .find(|(list, _)| *list == field)
        .map(|(_, key)| *key)
}

fn merge_list(target: &mut Value, patch: &[Value], key: &str, field: &str) -> Result<(), String> {
    let list = as_list(target);
    if patch
        .iter()
        .any(|item| item.get("$patch").and_then(Value::as_str) == Some("replace"))
    {
        *list = patch
            .iter()
            .filter(|item| item.get("$patch").is_none())
            .cloned()
            .collect();
        return Ok(());
    }
    for item in patch {
        let Some(id) = item.get(key) else {
            return Err(format!("an entry of `{field}` has no `{key}` to merge by"));
        };
        let place = list.iter().position(|old| old.get(key) == Some(id));
        let deletes = item.get("$patch").and_then(Value::as_str) == Some("delete");
        match (place, deletes) {
            (Some(at), true) => {
                list.remove(at);
            }
            (None, true) => {}
            (Some(at), false) => merge(&mut list[at], item, field)?,
            (None, false) => {
                let mut fresh = Value::Object(Map::new());
                merge(&mut fresh, item, field)?;
                list.push(fresh);
            }
        }
    }
    Ok(())
}

fn delete_values(map: &mut Map<String, Value>, list: &str, values: &Value) {
    let values = values.as_array().map_or(&[][..], Vec::as_slice);
    if let Some(list) = map.get_mut(list).and_then(Value::as_array_mut) {
        list.retain(|item| !values.contains(item));
    }
}

fn as_list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut().expect("made a list above")
}
