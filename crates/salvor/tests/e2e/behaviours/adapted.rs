//! What a restore adapts to the cluster that it restores into, and what it is asked for.

use serde_json::{Value, json};

use super::cases;
use super::restore::{backed_up, restored};
use super::world::{SERVER, World, at, config_map};

cases! {
    50 jobs_are_created_without_their_controllers_labels,
    51 a_retained_volume_without_data_binds_again,
    52 marks_of_the_binding_are_taken_from_claims,
    53 storage_classes_and_images_are_mapped,
    54 resource_modifiers_change_what_they_match,
    56 the_newest_completed_backup_of_a_schedule_is_taken,
    57 what_is_never_restored_cannot_be_asked_for,
}

async fn jobs_are_created_without_their_controllers_labels(world: &World) {
    world.namespace("r50").await;
    let made = world
        .create(json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": "j", "namespace": "r50"},
            "spec": {"template": {"spec": {"restartPolicy": "Never",
                "containers": [{"name": "c", "image": "c:1"}]}}}}))
        .await;
    backed_up(world, "r50").await;
    world.lose("r50").await;
    restored(world, "r50", json!({})).await;
    let back = world.get("jobs", Some("r50"), "j").await.expect("restored");
    let label = "controller-uid";
    let of = |job: &Value| job["spec"]["selector"]["matchLabels"][label].clone();
    assert_eq!(of(&back), back["metadata"]["uid"]);
    assert_ne!(of(&back), of(&made));
}

fn volume(name: &str, namespace: &str) -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "",
                "hostPath": {"path": format!("/tmp/{name}")}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": name, "storageClassName": "",
                "resources": {"requests": {"storage": "1Gi"}}}}),
    ]
}

async fn bound(world: &World, namespace: &str) {
    let claims = world.resource("persistentvolumeclaims").await;
    let look = |object: Option<&Value>| match object.map(|o| &o["status"]["phase"]) {
        Some(phase) if phase == "Bound" => salvor_cluster::Look::Done,
        other => salvor_cluster::Look::NotYet(format!("{other:?}")),
    };
    let patience = crate::clusters::patience();
    let cluster = &world.real.cluster;
    let done = cluster.wait_until(&claims, Some(namespace), "data", &patience, look);
    done.await.expect("bound");
}

async fn a_retained_volume_without_data_binds_again(world: &World) {
    world.namespace("r51").await;
    for object in volume("r51-volume", "r51") {
        world.create(object).await;
    }
    bound(world, "r51").await;
    backed_up(world, "r51").await;
    world.lose("r51").await;
    world.delete("persistentvolumes", None, "r51-volume").await;
    world.gone("persistentvolumes", None, "r51-volume").await;
    restored(world, "r51", json!({})).await;
    bound(world, "r51").await;
    world.delete("persistentvolumes", None, "r51-volume").await;
}

async fn marks_of_the_binding_are_taken_from_claims(world: &World) {
    world.also_remove("r52");
    let path = at("persistentvolumeclaims", "r52", "data");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "r52", "annotations": {
            "volume.kubernetes.io/selected-node": "node-1",
            "pv.kubernetes.io/bind-completed": "yes",
            "pv.kubernetes.io/bound-by-controller": "yes",
            "note": "kept"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none-such",
            "resources": {"requests": {"storage": "1Gi"}}}});
    world.by_hand("r52", &[(&path, claim)], json!({}));
    world.until("backups", "r52", |_| true).await;
    let status = world.restore("r52", json!({"backupName": "r52"})).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let back = world
        .get("persistentvolumeclaims", Some("r52"), "data")
        .await;
    let back = back.expect("restored");
    assert_eq!(back["metadata"]["annotations"], json!({"note": "kept"}));
}

async fn storage_classes_and_images_are_mapped(world: &World) {
    let class = |name: &str| {
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": name}, "provisioner": "example.com/none"})
    };
    world.create(class("r53-new")).await;
    for (name, plugin, data) in [
        (
            "r53-classes",
            "velero.io/change-storage-class",
            json!({"r53-old": "r53-new"}),
        ),
        (
            "r53-images",
            "velero.io/change-image-name",
            json!({"case1": "registry.old/r53,registry.new/r53"}),
        ),
    ] {
        world
            .create(json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": SERVER,
                    "labels": {"velero.io/plugin-config": "", plugin: "RestoreItemAction"}},
                "data": data}))
            .await;
    }
    world.namespace("r53").await;
    world
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "r53"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "r53-old",
                "resources": {"requests": {"storage": "1Gi"}}}}))
        .await;
    world
        .create(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": "r53"},
            "spec": {"containers": [{"name": "c", "image": "registry.old/r53/web:1"}]}}))
        .await;
    backed_up(world, "r53").await;
    world.lose("r53").await;
    restored(world, "r53", json!({})).await;
    let claim = world
        .get("persistentvolumeclaims", Some("r53"), "data")
        .await;
    assert_eq!(
        claim.expect("restored")["spec"]["storageClassName"],
        "r53-new"
    );
    let pod = world
        .get("pods", Some("r53"), "web")
        .await
        .expect("restored");
    assert_eq!(
        pod["spec"]["containers"][0]["image"],
        "registry.new/r53/web:1"
    );
    for name in ["r53-classes", "r53-images"] {
        world.delete("configmaps", Some(SERVER), name).await;
    }
    world.delete("storageclasses", None, "r53-new").await;
}

async fn resource_modifiers_change_what_they_match(world: &World) {
    world.namespace("r54").await;
    for name in ["first", "second", "other", "broken"] {
        world.create(config_map("r54", name, json!({}))).await;
    }
    let rules = r#"
version: v1
resourceModifierRules:
- conditions: {groupResource: configmaps, resourceNameRegex: "^(first|second)$", namespaces: [r54]}
  patches: [{operation: replace, path: /data/k, value: patched}]
- conditions: {groupResource: configmaps, resourceNameRegex: "^second$"}
  mergePatches: [{patchData: '{"data": {"merged": "yes"}}'}]
- conditions: {groupResource: configmaps, resourceNameRegex: "^other$"}
  patches: [{operation: test, path: /data/k, value: not-this}]
- conditions: {groupResource: configmaps, resourceNameRegex: "^broken$"}
  patches: [{operation: remove, path: /data/none}]
"#;
    world
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "r54", "namespace": SERVER}, "data": {"rules.yaml": rules}}))
        .await;
    backed_up(world, "r54").await;
    world.lose("r54").await;
    let spec = json!({"backupName": "r54",
        "resourceModifier": {"kind": "configmap", "name": "r54"}});
    let status = world.restore("r54", spec).await;
    let value = async |name: &str, key: &str| {
        let found = world.get("configmaps", Some("r54"), name).await;
        found.unwrap_or_else(|| panic!("{name}: {status}"))["data"][key].clone()
    };
    assert_eq!(value("first", "k").await, "patched");
    assert_eq!(value("second", "k").await, "patched");
    assert_eq!(value("second", "merged").await, "yes");
    // A test that fails makes its rule one of no effect.
    assert_eq!(value("other", "k").await, "v");
    // What cannot be patched is restored as it was, with the reason among the errors.
    assert_eq!(value("broken", "k").await, "v");
    assert_eq!(status["phase"], "PartiallyFailed", "{status}");
    let (_, errors) = world.restore_results("r54");
    assert!(errors.contains("broken"), "{errors}");
    assert!(!errors.contains("other"), "{errors}");
}

async fn the_newest_completed_backup_of_a_schedule_is_taken(world: &World) {
    world.also_remove("r56");
    let path = at("configmaps", "r56", "c");
    for (name, phase, begun, value) in [
        ("r56-1", "Completed", "2026-01-01T00:00:00Z", "old"),
        ("r56-2", "Completed", "2026-01-02T00:00:00Z", "newest whole"),
        (
            "r56-3",
            "PartiallyFailed",
            "2026-01-03T00:00:00Z",
            "partial",
        ),
    ] {
        let mut object = config_map("r56", "c", json!({}));
        object["data"]["k"] = json!(value);
        let record = json!({"metadata": {"labels": {"velero.io/schedule-name": "r56"}},
            "status": {"phase": phase, "startTimestamp": begun}});
        world.by_hand(name, &[(&path, object)], record);
        world.until("backups", name, |_| true).await;
    }
    restored_of_schedule(
        world,
        "r56",
        "r56-2",
        "newest whole",
        &["--from-schedule", "r56"],
    )
    .await;
    let words = ["--from-schedule", "r56", "--allow-partially-failed"];
    restored_of_schedule(world, "r56-partial", "r56-3", "partial", &words).await;
}

async fn restored_of_schedule(
    world: &World,
    name: &str,
    backup: &str,
    value: &str,
    words: &[&str],
) {
    let words = words.join(" ");
    let line = format!(
        "-n {SERVER} restore create {name} {words} --existing-resource-policy update --wait"
    );
    world.real.run("", &line).expect(0);
    let restore = world
        .get("restores", Some(SERVER), name)
        .await
        .expect("there");
    assert_eq!(restore["spec"]["backupName"], backup, "{restore}");
    let found = world.get("configmaps", Some("r56"), "c").await;
    assert_eq!(found.expect("restored")["data"]["k"], value);
}

async fn what_is_never_restored_cannot_be_asked_for(world: &World) {
    world.by_hand("r57", &[], json!({}));
    world.until("backups", "r57", |_| true).await;
    let spec = json!({"backupName": "r57", "includedResources": ["nodes"]});
    let status = world.restore("r57", spec).await;
    assert_eq!(status["phase"], "FailedValidation", "{status}");
    assert!(
        status["validationErrors"].to_string().contains("nodes"),
        "{status}"
    );
}
