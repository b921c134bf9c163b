//! The form in which two objects are compared: what a server writes is left out, so that a live object
//! and what a restore would send differ only where a user would say that they differ.
//!
//! The source of a restore was a live object too, so defaults are present on both sides; what is left are
//! allocations (addresses, node ports, nodes, tokens), bookkeeping metadata, the status and the labels
//! that a restore sets.

use salvor_api::resource::GroupResource;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{body, item_action, strip};

/// The first 16 bytes of a SHA-256: enough to tell objects of one cluster apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 16]);

impl Digest {
    /// Digest of a JSON value; the order of object keys does not matter.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        let mut hasher = Sha256::new();
        feed(&mut hasher, value);
        let full = hasher.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        Self(short)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a digest of 32 hex digits");
        if text.len() != 32 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

/// Feeds a value with its type and length before it, so that no two values share an encoding.
fn feed(hasher: &mut Sha256, value: &Value) {
    let text = |hasher: &mut Sha256, tag: u8, text: &str| {
        hasher.update([tag]);
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    match value {
        Value::Null => hasher.update([0]),
        Value::Bool(flag) => hasher.update([1, u8::from(*flag)]),
        Value::Number(number) => text(hasher, 2, &number.to_string()),
        Value::String(string) => text(hasher, 3, string),
        Value::Array(list) => {
            hasher.update([4]);
            hasher.update((list.len() as u64).to_le_bytes());
            list.iter().for_each(|item| feed(hasher, item));
        }
        Value::Object(map) => {
            hasher.update([5]);
            hasher.update((map.len() as u64).to_le_bytes());
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            for key in keys {
                text(hasher, 3, key);
                feed(hasher, &map[key]);
            }
        }
    }
}

/// Brings an object into the form in which it is compared.
pub fn normalise(resource: &GroupResource, object: &mut Value, keep_node_ports: bool) {
    drop_nulls(object);
    strip::strip(object);
    strip::drop_restore_labels(object);
    item_action::drop_server_owned(&resource.to_string(), object, keep_node_ports);
    for field in ["labels", "annotations", "finalizers"] {
        let empty = match body::at(object, &["metadata", field]) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            _ => false,
        };
        if empty {
            body::remove_at(object, &["metadata", field]);
        }
    }
}

/// Digest of an object in its normal form.
#[must_use]
pub fn digest(resource: &GroupResource, mut object: Value, keep_node_ports: bool) -> Digest {
    normalise(resource, &mut object, keep_node_ports);
    Digest::of(&object)
}

/// `creationTimestamp: null` of a pod template and its like mean the same as absence.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn digests_ignore_key_order_and_nothing_else() {
        let digest = Digest::of(&json!({"a": 1, "b": [1, 2]}));
        assert_eq!(digest, Digest::of(&json!({"b": [1, 2], "a": 1})));
        for other in [
            json!({"a": 1, "b": [2, 1]}),
            json!({"a": "1", "b": [1, 2]}),
            json!({"a": 1, "b": [1, [2]]}),
            json!({"a": 1, "b": [1, 2], "c": null}),
        ] {
            assert_ne!(digest, Digest::of(&other), "{other}");
        }
        let text = String::from(digest);
        assert_eq!(Digest::try_from(text), Ok(digest));
        assert!(Digest::try_from("ä".repeat(16)).is_err());
    }

    #[test]
    fn a_live_object_equals_its_backed_up_form_where_only_the_server_wrote() {
        let cases = [
            (
                "services",
                json!({"metadata": {"uid": "u"}, "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
                    "ports": [{"port": 80, "nodePort": 30000}]}}),
                json!({"metadata": {"labels": {"velero.io/restore-name": "r"}},
                    "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 80}]}, "status": {"x": 1}}),
                true,
            ),
            (
                "services",
                json!({"spec": {"clusterIP": "None"}}),
                json!({"spec": {"clusterIP": "10.0.0.9"}}),
                false,
            ),
            (
                "pods",
                json!({"spec": {"nodeName": "n1", "volumes": [{"name": "kube-api-access-x"}],
                    "containers": [{"name": "c", "volumeMounts": [{"name": "kube-api-access-x"}]}]}}),
                json!({"spec": {"containers": [{"name": "c"}]}}),
                true,
            ),
            (
                "deployments.apps",
                json!({"metadata": {"labels": {}},
                    "spec": {"template": {"metadata": {"creationTimestamp": null}}}}),
                json!({"metadata": {}, "spec": {"template": {"metadata": {}}}}),
                true,
            ),
            (
                "horizontalpodautoscalers.autoscaling",
                json!({"metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/conditions": "[]"}}}),
                json!({"metadata": {}}),
                true,
            ),
            (
                "configmaps",
                json!({"data": {"a": "1"}}),
                json!({"data": {"a": "2"}}),
                false,
            ),
        ];
        for (resource, one, other, equal) in cases {
            let resource = resource.parse().expect("a resource");
            assert_eq!(
                digest(&resource, one.clone(), false) == digest(&resource, other.clone(), false),
                equal,
                "{one} {other}"
            );
        }
    }
}
