//! The scale subresource: `autoscaling/v1 Scale` as a view on another object.

use salvor_api::meta::LabelSelector;
use serde_json::{Map, Value, json};

use crate::crd::{ScalePaths, at_json_path};
use crate::entry::{Entry, child_mut};

/// The scale of an object; `paths` are a custom resource's.
pub(crate) fn read(entry: &Entry, paths: Option<&ScalePaths>) -> Map<String, Value> {
    let object = Value::Object(entry.object());
    let (spec, status) = match paths {
        Some(paths) => (paths.spec.as_str(), paths.status.as_str()),
        None => (".spec.replicas", ".status.replicas"),
    };
    let count = |path: &str| {
        at_json_path(&object, path)
            .cloned()
            .unwrap_or_else(|| json!(0))
    };
    let selector = match paths {
        Some(paths) => paths
            .selector
            .as_deref()
            .and_then(|path| at_json_path(&object, path)?.as_str())
            .unwrap_or_default()
            .to_owned(),
        None => selector_text(&object["spec"]["selector"]),
    };
    // Go leaves out a zero here.
    let replicas = count(spec);
    let mut metadata = Map::new();
    for key in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object["metadata"].get(key) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    let scale = json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) },
        "status": if selector.is_empty() {
            json!({"replicas": count(status)})
        } else {
            json!({"replicas": count(status), "selector": selector})
        },
    });
    match scale {
        Value::Object(scale) => scale,
        _ => Map::new(),
    }
}

fn selector_text(selector: &Value) -> String {
    let structured = match selector
        .get("matchLabels")
        .or(selector.get("matchExpressions"))
    {
        Some(_) => selector.clone(),
        // ReplicationControllers select by a plain map.
        None => json!({"matchLabels": selector}),
    };
    serde_json::from_value::<LabelSelector>(structured)
        .map(|selector| {
            if selector == LabelSelector::default() {
                String::new()
            } else {
                selector.display()
            }
        })
        .unwrap_or_default()
}

/// Writes a replica count to where the object keeps it.
pub(crate) fn set_replicas(
    object: &mut Map<String, Value>,
    paths: Option<&ScalePaths>,
    replicas: Value,
) {
    let path = paths.map_or(".spec.replicas", |paths| paths.spec.as_str());
    let mut keys: Vec<&str> = path.split('.').filter(|key| !key.is_empty()).collect();
    let Some(last) = keys.pop() else { return };
    let mut inner = object;
    for key in keys {
        inner = child_mut(inner, key);
    }
    inner.insert(last.to_owned(), replicas);
}
