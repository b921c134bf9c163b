//! What a backup holds.

use serde_json::{Value, json};

use super::cases;
use super::world::{World, at, config_map};

cases! {
    18 an_included_namespace_comes_with_its_object_and_volumes_and_nothing_else,
    19 cluster_resources_are_left_out_or_taken_as_told,
    20 exclusion_beats_inclusion_and_globs_work_in_both,
    21 old_and_new_filters_together_are_refused,
    22 what_is_labelled_to_be_left_out_is,
    23 a_label_selector_keeps_what_matches_and_what_belongs_to_it,
    24 or_selectors_are_a_union_and_exclude_the_other_kind,
    25 a_named_namespace_that_is_missing_makes_the_backup_partial,
    26 what_is_being_deleted_is_skipped,
    27 the_definition_of_every_custom_resource_is_saved,
    28 a_service_account_brings_its_cluster_roles,
    29 resources_of_two_groups_are_stored_once,
    30 ordered_resources_hold_in_the_archive,
    31 objects_are_stored_as_the_server_gave_them,
    34 volume_policies_take_the_first_match_and_say_why,
    36 a_name_that_the_store_has_fails_before_anything_is_written,
}

fn has(paths: &[String], path: &str) -> bool {
    paths.iter().any(|found| found == path)
}

fn any(paths: &[String], part: &str) -> bool {
    paths.iter().any(|path| path.contains(part))
}

fn volume(name: &str, namespace: &str, claim: &str) -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "",
                "hostPath": {"path": format!("/tmp/{name}")},
                "claimRef": {"namespace": namespace, "name": claim}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": name,
                "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}}),
    ]
}

async fn an_included_namespace_comes_with_its_object_and_volumes_and_nothing_else(world: &World) {
    for namespace in ["b18", "b18-other"] {
        world.namespace(namespace).await;
        world.create(config_map(namespace, "c", json!({}))).await;
    }
    for object in volume("b18-volume", "b18", "data") {
        world.create(object).await;
    }
    world.create(class("b18-class")).await;
    let status = world
        .backup("b18", json!({"includedNamespaces": ["b18"]}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let paths = world.paths("b18");
    for path in [
        at("namespaces", "", "b18"),
        at("configmaps", "b18", "c"),
        at("persistentvolumeclaims", "b18", "data"),
        at("persistentvolumes", "", "b18-volume"),
    ] {
        assert!(has(&paths, &path), "{path}");
    }
    assert!(!any(&paths, "b18-other"), "{paths:?}");
    assert!(!any(&paths, "b18-class"), "{paths:?}");
    world.delete("persistentvolumes", None, "b18-volume").await;
    world.delete("storageclasses", None, "b18-class").await;
}

fn class(name: &str) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": name}, "provisioner": "example.com/none"})
}

async fn cluster_resources_are_left_out_or_taken_as_told(world: &World) {
    world.namespace("b19").await;
    world.create(config_map("b19", "c", json!({}))).await;
    for object in volume("b19-volume", "b19", "data") {
        world.create(object).await;
    }
    world.create(class("b19-class")).await;
    for (name, include, volume, class) in [
        ("b19-without", false, false, false),
        ("b19-with", true, true, true),
    ] {
        let spec = json!({"includedNamespaces": ["b19"], "includeClusterResources": include});
        let status = world.backup(name, spec).await;
        assert_eq!(status["phase"], "Completed", "{name}: {status}");
        let paths = world.paths(name);
        assert_eq!(any(&paths, "b19-volume"), volume, "{name}");
        assert_eq!(any(&paths, "b19-class"), class, "{name}");
        assert!(has(&paths, &at("configmaps", "b19", "c")), "{name}");
    }
    world.delete("persistentvolumes", None, "b19-volume").await;
    world.delete("storageclasses", None, "b19-class").await;
}

async fn exclusion_beats_inclusion_and_globs_work_in_both(world: &World) {
    for namespace in ["b20-in", "b20-out"] {
        world.namespace(namespace).await;
        world.create(config_map(namespace, "c", json!({}))).await;
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "s", "namespace": namespace}});
        world.create(secret).await;
    }
    let spec = json!({
        "includedNamespaces": ["b20-*"], "excludedNamespaces": ["*-out"],
        "includedResources": ["*"], "excludedResources": ["secrets"],
    });
    let status = world.backup("b20", spec).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let paths = world.paths("b20");
    assert!(has(&paths, &at("configmaps", "b20-in", "c")));
    assert!(
        !any(&paths, "/secrets/") && !any(&paths, "b20-out"),
        "{paths:?}"
    );
}

async fn old_and_new_filters_together_are_refused(world: &World) {
    let spec = json!({"includedResources": ["pods"],
        "includedNamespaceScopedResources": ["configmaps"]});
    let status = world.backup("b21", spec).await;
    assert_eq!(status["phase"], "FailedValidation");
    let errors = status["validationErrors"].to_string();
    assert!(errors.contains("older filters"), "{errors}");
    assert!(!world.stored("backups/b21").exists());
}

async fn what_is_labelled_to_be_left_out_is(world: &World) {
    let out = || json!({"velero.io/exclude-from-backup": "true"});
    world.namespace("b22").await;
    world.labelled_namespace("b22-hidden", out()).await;
    world.create(config_map("b22", "kept", json!({}))).await;
    world.create(config_map("b22", "left-out", out())).await;
    world.create(config_map("b22-hidden", "c", json!({}))).await;
    let spec = json!({"includedNamespaces": ["b22", "b22-hidden"]});
    let status = world.backup("b22", spec).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let paths = world.paths("b22");
    assert!(has(&paths, &at("configmaps", "b22", "kept")));
    assert!(
        !any(&paths, "left-out") && !any(&paths, "b22-hidden"),
        "{paths:?}"
    );
}

async fn a_label_selector_keeps_what_matches_and_what_belongs_to_it(world: &World) {
    world.namespace("b23").await;
    world
        .create(config_map("b23", "red", json!({"color": "red"})))
        .await;
    world
        .create(config_map("b23", "blue", json!({"color": "blue"})))
        .await;
    let [volume, mut claim] = volume("b23-volume", "b23", "data");
    claim["metadata"]["labels"] = json!({"color": "red"});
    world.create(volume).await;
    world.create(claim).await;
    let spec = json!({"includedNamespaces": ["b23"],
        "labelSelector": {"matchLabels": {"color": "red"}}});
    let status = world.backup("b23", spec).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let paths = world.paths("b23");
    for path in [
        at("namespaces", "", "b23"),
        at("configmaps", "b23", "red"),
        at("persistentvolumeclaims", "b23", "data"),
        at("persistentvolumes", "", "b23-volume"),
    ] {
        assert!(has(&paths, &path), "{path}");
    }
    assert!(!any(&paths, "/blue.json"), "{paths:?}");
    world.delete("persistentvolumes", None, "b23-volume").await;
}

async fn or_selectors_are_a_union_and_exclude_the_other_kind(world: &World) {
    world.namespace("b24").await;
    for color in ["red", "blue", "green"] {
        world
            .create(config_map("b24", color, json!({"color": color})))
            .await;
    }
    let selectors = json!([{"matchLabels": {"color": "red"}}, {"matchLabels": {"color": "blue"}}]);
    let spec = json!({"includedNamespaces": ["b24"], "orLabelSelectors": selectors});
    let status = world.backup("b24", spec).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let paths = world.paths("b24");
    assert!(
        any(&paths, "/red.json") && any(&paths, "/blue.json"),
        "{paths:?}"
    );
    assert!(!any(&paths, "/green.json"), "{paths:?}");
    let spec = json!({"orLabelSelectors": selectors,
        "labelSelector": {"matchLabels": {"color": "red"}}});
    let status = world.backup("b24-both", spec).await;
    assert_eq!(status["phase"], "FailedValidation");
}

async fn a_named_namespace_that_is_missing_makes_the_backup_partial(world: &World) {
    world.namespace("b25").await;
    let spec = json!({"includedNamespaces": ["b25", "b25-missing"]});
    let status = world.backup("b25", spec).await;
    assert_eq!(
        (&status["phase"], &status["errors"]),
        (&json!("PartiallyFailed"), &json!(1))
    );
    let (_, errors) = world.backup_results("b25");
    assert!(errors.contains("b25-missing"), "{errors}");
}

async fn what_is_being_deleted_is_skipped(world: &World) {
    world.namespace("b26").await;
    let mut leaving = config_map("b26", "leaving", json!({}));
    leaving["metadata"]["finalizers"] = json!(["example.com/wait"]);
    world.create(leaving).await;
    world.create(config_map("b26", "kept", json!({}))).await;
    world.delete("configmaps", Some("b26"), "leaving").await;
    let status = world
        .backup("b26", json!({"includedNamespaces": ["b26"]}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let paths = world.paths("b26");
    assert!(
        any(&paths, "/kept.json") && !any(&paths, "/leaving.json"),
        "{paths:?}"
    );
    let free = json!({"metadata": {"finalizers": null}});
    world
        .patch("configmaps", Some("b26"), "leaving", free)
        .await;
}

/// A definition of a kind of its own, established.
pub(super) async fn define(world: &World, group: &str) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    world
        .create(
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("gadgets.{group}")},
            "spec": {"group": group, "scope": "Namespaced",
                "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": schema}}]}}),
        )
        .await;
    let cluster = &world.real.cluster;
    let definitions = world.resource("customresourcedefinitions").await;
    let name = format!("gadgets.{group}");
    let patience = crate::clusters::patience();
    let established = cluster.wait_crd_established(&definitions, &name, &patience);
    established.await.expect("established");
}

pub(super) fn gadget(group: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": format!("{group}/v1"), "kind": "Gadget",
        "metadata": {"name": name, "namespace": namespace}, "spec": {"size": 3}})
}

async fn the_definition_of_every_custom_resource_is_saved(world: &World) {
    let group = "b27.example.com";
    define(world, group).await;
    world.namespace("b27").await;
    world.create(gadget(group, "b27", "g")).await;
    let status = world
        .backup("b27", json!({"includedNamespaces": ["b27"]}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let paths = world.paths("b27");
    assert!(has(&paths, &at(&format!("gadgets.{group}"), "b27", "g")));
    let definition = at(
        "customresourcedefinitions.apiextensions.k8s.io",
        "",
        &format!("gadgets.{group}"),
    );
    assert!(has(&paths, &definition), "{paths:?}");
    let name = format!("gadgets.{group}");
    world.delete("customresourcedefinitions", None, &name).await;
}

async fn a_service_account_brings_its_cluster_roles(world: &World) {
    world.namespace("b28").await;
    let rbac = "rbac.authorization.k8s.io";
    world
        .create(json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "worker", "namespace": "b28"}}))
        .await;
    world
        .create(
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole",
            "metadata": {"name": "b28-role"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        )
        .await;
    world
        .create(
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": "b28-binding"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "b28-role"},
            "subjects": [{"kind": "ServiceAccount", "name": "worker", "namespace": "b28"}]}),
        )
        .await;
    let status = world
        .backup("b28", json!({"includedNamespaces": ["b28"]}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let paths = world.paths("b28");
    for (resource, name) in [
        ("clusterroles", "b28-role"),
        ("clusterrolebindings", "b28-binding"),
    ] {
        let path = at(&format!("{resource}.{rbac}"), "", name);
        assert!(has(&paths, &path), "{path}");
        world.delete(resource, None, name).await;
    }
}

async fn resources_of_two_groups_are_stored_once(world: &World) {
    world.namespace("b29").await;
    world
        .create(
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "web", "namespace": "b29"},
            "spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}}),
        )
        .await;
    let status = world
        .backup("b29", json!({"includedNamespaces": ["b29"]}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let groups: std::collections::BTreeSet<String> = world
        .paths("b29")
        .iter()
        .filter(|path| path.ends_with("/web.json"))
        .filter_map(|path| path.split('/').nth(1).map(str::to_owned))
        .collect();
    assert_eq!(groups.len(), 1, "{groups:?}");
}

async fn ordered_resources_hold_in_the_archive(world: &World) {
    world.namespace("b30").await;
    for name in ["a", "b", "c"] {
        world.create(config_map("b30", name, json!({}))).await;
    }
    let spec = json!({"includedNamespaces": ["b30"],
        "orderedResources": {"configmaps": "b30/c,b30/a"}});
    let status = world.backup("b30", spec).await;
    assert_eq!(
        status["phase"],
        "Completed",
        "{:?}",
        world.backup_results("b30")
    );
    let wanted = ["c", "a", "b"].map(|name| at("configmaps", "b30", name));
    let order: Vec<String> = world
        .paths("b30")
        .into_iter()
        .filter(|path| wanted.contains(path))
        .collect();
    assert_eq!(order, wanted);
}

async fn objects_are_stored_as_the_server_gave_them(world: &World) {
    world.namespace("b31").await;
    world
        .create(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "b31"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}}))
        .await;
    let status = world
        .backup("b31", json!({"includedNamespaces": ["b31"]}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let archive = world.archive("b31");
    let stored = &archive[&at("deployments.apps", "b31", "web")];
    for field in ["uid", "managedFields", "resourceVersion"] {
        assert!(stored["metadata"].get(field).is_some(), "{field}: {stored}");
    }
    assert!(stored["status"].is_object(), "{stored}");
}

async fn volume_policies_take_the_first_match_and_say_why(world: &World) {
    world.namespace("b34").await;
    for object in volume("b34-volume", "b34", "data") {
        world.create(object).await;
    }
    let policies = "version: v1\nvolumePolicies:\n\
        - conditions: {capacity: \"0,2Gi\"}\n  action: {type: skip}\n\
        - conditions: {capacity: \"0,\"}\n  action: {type: fs-backup}\n";
    world
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "b34", "namespace": super::world::SERVER},
            "data": {"policies.yaml": policies}}))
        .await;
    let spec = json!({"includedNamespaces": ["b34"],
        "resourcePolicy": {"kind": "configmap", "name": "b34"}});
    let status = world.backup("b34", spec).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let infos = world.gzipped("backups/b34/b34-volumeinfo.json.gz");
    let info = infos
        .as_array()
        .and_then(|infos| infos.iter().find(|info| info["pvName"] == "b34-volume"));
    let info = info.unwrap_or_else(|| panic!("{infos}"));
    assert_eq!(info["skipped"], true, "{info}");
    let reason = info["skippedReason"].as_str().unwrap_or_default();
    assert!(reason.contains("polic"), "{info}");
    world.delete("persistentvolumes", None, "b34-volume").await;
}

async fn a_name_that_the_store_has_fails_before_anything_is_written(world: &World) {
    world.namespace("b36").await;
    let folder = world.stored("backups/b36");
    std::fs::create_dir_all(&folder).expect("made");
    // As a Velero of another cluster would leave it, before this one has seen it.
    std::fs::write(folder.join("velero-backup.json"), "{").expect("written");
    let status = world
        .backup("b36", json!({"includedNamespaces": ["b36"]}))
        .await;
    let phase = status["phase"].as_str().unwrap_or_default();
    assert!(["Failed", "FailedValidation"].contains(&phase), "{status}");
    let files: Vec<_> = std::fs::read_dir(&folder).expect("readable").collect();
    assert_eq!(files.len(), 1, "{files:?}");
    std::fs::remove_dir_all(&folder).expect("removed");
}
