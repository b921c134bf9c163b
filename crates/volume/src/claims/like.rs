//! A claim like another one.

use serde_json::{Value, json};

/// What a claim asks of its volume; the rest says which volume, or is history.
const ASKED: [&str; 5] = [
    "accessModes",
    "resources",
    "storageClassName",
    "volumeMode",
    "volumeAttributesClassName",
];

/// A new claim that asks for a volume like that of `model`, and for none in particular.
#[must_use]
pub fn like(model: &Value, namespace: &str, name: &str) -> Value {
    let mut spec = json!({});
    for field in ASKED {
        let value = &model["spec"][field];
        if !value.is_null() {
            spec[field] = value.clone();
        }
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_for_the_same_and_for_no_volume_in_particular() {
        let model = json!({
            "metadata": {"name": "data", "namespace": "shop", "uid": "u",
                "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeName": "pv-1",
                "resources": {"requests": {"storage": "8Gi"}},
                "dataSource": {"kind": "VolumeSnapshot", "name": "gone"}},
            "status": {"phase": "Bound"},
        });
        let made = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data-old", "namespace": "shop"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                "resources": {"requests": {"storage": "8Gi"}}},
        });
        assert_eq!(like(&model, "shop", "data-old"), made);
    }
}
