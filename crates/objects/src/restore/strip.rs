//! What an object loses and gains on its way back: fields that belong to the old incarnation go, the two
//! labels that say where it came from are added.

use salvor_api::labels::{BACKUP_NAME, BACKUP_UID, RESTORE_NAME, RESTORE_UID, label_value};
use serde_json::{Value, json};

use super::body;

/// Metadata that names the old incarnation. `finalizers`, labels and annotations stay. `managedFields`
/// go: the server refuses foreign ones on create and writes its own.
const OF_THE_OLD_INCARNATION: &[&str] = &[
    "generateName",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "managedFields",
    "clusterName",
];

/// Labels that a restore sets and a comparison ignores.
pub const RESTORE_LABELS: &[&str] = &[BACKUP_NAME, BACKUP_UID, RESTORE_NAME, RESTORE_UID];

/// Removes what belongs to the old incarnation, and the status, which is returned.
pub fn strip(body: &mut Value) -> Option<Value> {
    if let Some(metadata) = body::map_at_mut(body, &["metadata"]) {
        for field in OF_THE_OLD_INCARNATION {
            metadata.shift_remove(*field);
        }
    }
    body.as_object_mut()
        .and_then(|map| map.shift_remove("status"))
}

/// Sets `velero.io/backup-name` and `velero.io/restore-name`.
pub fn add_labels(body: &mut Value, backup: &str, restore: &str) {
    for (label, value) in [(BACKUP_NAME, backup), (RESTORE_NAME, restore)] {
        body::set_at(
            body,
            &["metadata", "labels", label],
            json!(label_value(value)),
        );
    }
}

/// Removes the labels that a restore sets.
pub fn drop_restore_labels(body: &mut Value) {
    body::drop_labels(body, RESTORE_LABELS);
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn strips_the_incarnation_and_keeps_finalizers_labels_and_annotations() {
        let mut body = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "a", "namespace": "n", "generateName": "a-", "selfLink": "/x", "uid": "u",
                "resourceVersion": "5", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": null, "deletionGracePeriodSeconds": 3,
                "ownerReferences": [{"uid": "o"}], "managedFields": [{}],
                "labels": {"app": "web"}, "annotations": {"note": "x"}, "finalizers": ["f"]
            },
            "data": {"k": "v"}, "status": {"phase": "x"}
        });
        let status = strip(&mut body);
        add_labels(&mut body, "nightly", &"r".repeat(70));
        assert_eq!(status, Some(json!({"phase": "x"})));
        expect![[r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"n","labels":{"app":"web","velero.io/backup-name":"nightly","velero.io/restore-name":"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr8e08f5"},"annotations":{"note":"x"},"finalizers":["f"]},"data":{"k":"v"}}"#]]
            .assert_eq(&body.to_string());
        drop_restore_labels(&mut body);
        assert_eq!(body["metadata"]["labels"], json!({"app": "web"}));
    }
}
