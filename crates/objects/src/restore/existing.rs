//! What happens to an object that the target has already.

use std::fmt;
use std::str::FromStr;

use salvor_api::resource::GroupResource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{body, normalise, strip};

/// `existingResourcePolicy` of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExistingPolicy {
    /// Objects that exist are left alone; a warning says where they differ.
    #[default]
    None,
    /// Objects that differ are patched.
    Update,
    /// Objects that differ are deleted and created again, except those that hold data.
    Recreate,
}

impl FromStr for ExistingPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "none" => Ok(Self::None),
            "update" => Ok(Self::Update),
            "recreate" => Ok(Self::Recreate),
            other => Err(format!(
                "existing-resource-policy `{other}` is not one of none, update, recreate"
            )),
        }
    }
}

impl fmt::Display for ExistingPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Update => "update",
            Self::Recreate => "recreate",
        })
    }
}

/// Why objects of a resource are never deleted to be made again; `None` when they may be.
#[must_use]
pub fn holds_data(resource: &GroupResource) -> Option<&'static str> {
    match resource.to_string().as_str() {
        "persistentvolumes" => Some("deleting a volume can delete its data"),
        "persistentvolumeclaims" => Some("deleting a claim can delete its volume and the data"),
        "namespaces" => Some("deleting a namespace deletes everything in it"),
        "customresourcedefinitions.apiextensions.k8s.io" => {
            Some("deleting a definition deletes all its resources")
        }
        _ => None,
    }
}

/// The merge patch that brings a live object to the restored form, labels of the restore included.
/// Fields that a server owns are neither compared nor patched.
#[must_use]
pub fn update_patch(
    resource: &GroupResource,
    live: &Value,
    sent: &Value,
    keep_node_ports: bool,
) -> Value {
    let normal = |object: &Value| {
        let mut object = object.clone();
        normalise::normalise(resource, &mut object, keep_node_ports);
        object
    };
    let mut patch = merge_patch(&normal(live), &normal(sent)).unwrap_or_else(empty);
    for label in strip::RESTORE_LABELS {
        let path = ["metadata", "labels", *label];
        if let Some(value) = body::at(sent, &path) {
            body::set_at(&mut patch, &path, value.clone());
        }
    }
    patch
}

/// A patch that only sets the labels of the restore.
#[must_use]
pub fn labels_patch(sent: &Value) -> Value {
    let mut patch = empty();
    for label in strip::RESTORE_LABELS {
        let path = ["metadata", "labels", *label];
        if let Some(value) = body::at(sent, &path) {
            body::set_at(&mut patch, &path, value.clone());
        }
    }
    patch
}

/// The patch that merges a restored service account into the live one: missing secrets, pull secrets,
/// labels and annotations are added, nothing is taken away. `None` when nothing is missing.
#[must_use]
pub fn service_account_patch(live: &Value, sent: &Value) -> Option<Value> {
    let mut patch = empty();
    for list in ["secrets", "imagePullSecrets"] {
        let mut merged = body::list_at(live, &[list]).to_vec();
        let before = merged.len();
        for entry in body::list_at(sent, &[list]) {
            let name = body::text_at(entry, &["name"]);
            if !merged
                .iter()
                .any(|old| body::text_at(old, &["name"]) == name)
            {
                merged.push(entry.clone());
            }
        }
        if merged.len() > before {
            body::set_at(&mut patch, &[list], Value::Array(merged));
        }
    }
    for field in ["labels", "annotations"] {
        let wanted = body::at(sent, &["metadata", field]).and_then(Value::as_object);
        for (key, value) in wanted.into_iter().flatten() {
            let path = ["metadata", field, key.as_str()];
            if !strip::RESTORE_LABELS.contains(&key.as_str()) && body::at(live, &path).is_none() {
                body::set_at(&mut patch, &path, value.clone());
            }
        }
    }
    (patch != empty()).then_some(patch)
}

/// The RFC 7386 patch that turns `from` into `to`; `None` when they are equal.
#[must_use]
pub fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(before) => {
                if let Some(inner) = merge_patch(before, value) {
                    patch.insert(key.clone(), inner);
                }
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn empty() -> Value {
    Value::Object(Map::new())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patches_turn_one_object_into_another() {
        for (from, to, patch) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (
                json!({"a": 1, "b": 2}),
                json!({"b": 3}),
                Some(json!({"b": 3, "a": null})),
            ),
            (
                json!({"a": {"b": 1, "c": [1]}}),
                json!({"a": {"b": 1, "c": [1, 2]}, "d": {}}),
                Some(json!({"a": {"c": [1, 2]}, "d": {}})),
            ),
        ] {
            assert_eq!(merge_patch(&from, &to), patch, "{from} {to}");
            let mut patched = from.clone();
            if let Some(patch) = patch {
                json_patch::merge(&mut patched, &patch);
            }
            assert_eq!(patched, to);
        }
    }

    #[test]
    fn an_update_leaves_alone_what_the_server_owns() {
        let live = json!({"metadata": {"uid": "u", "resourceVersion": "9", "labels": {"a": "old"}},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30000}]}, "status": {"x": 1}});
        let sent = json!({"metadata": {"labels": {"a": "new", "velero.io/restore-name": "r"}},
            "spec": {"ports": [{"port": 80}]}});
        let services = "services".parse().expect("a resource");
        assert_eq!(
            update_patch(&services, &live, &sent, false),
            json!({"metadata": {"labels": {"a": "new", "velero.io/restore-name": "r"}}})
        );
    }

    #[test]
    fn service_accounts_only_ever_gain() {
        let live = json!({"metadata": {"name": "a", "labels": {"x": "live"}},
            "secrets": [{"name": "a-token-1"}], "imagePullSecrets": [{"name": "pull"}]});
        let sent = json!({"metadata": {"name": "a", "labels": {"x": "backup", "y": "1", "velero.io/restore-name": "r"}},
            "secrets": [{"name": "mine"}], "imagePullSecrets": [{"name": "pull"}]});
        let patch = service_account_patch(&live, &sent);
        assert_eq!(
            patch,
            Some(
                json!({"secrets": [{"name": "a-token-1"}, {"name": "mine"}], "metadata": {"labels": {"y": "1"}}})
            )
        );
        let mut merged = live.clone();
        json_patch::merge(&mut merged, &patch.expect("something is missing"));
        assert_eq!(service_account_patch(&merged, &sent), None);
    }
}
