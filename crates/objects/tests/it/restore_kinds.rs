//! What single kinds of objects need on their way back.

use expect_test::expect;
use salvor_api::meta::TypedLocalObjectReference;
use salvor_api::velero::{RestorePhase, RestoreStatusSpec};
use salvor_apiserver::{Fault, FaultRule};
use serde_json::{Value, json};

use crate::restore::{pod, strings};
use crate::restore_world::{
    carried_out, complaints, hand_made, live, planned, request, restore_all, stored, with_spec,
};
use crate::world::{World, config_map, memory_location, namespace, request as backup_request};

#[tokio::test]
async fn owners_and_status_go_finalizers_stay_and_two_labels_are_added() {
    let location = memory_location();
    let mut map = config_map("prod", "a");
    map["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "gone"}]);
    map["metadata"]["finalizers"] = json!(["example.io/keep"]);
    map["metadata"]["annotations"] = json!({"note": "x"});
    map["metadata"]["uid"] = json!("old-uid");
    let mut ready = pod("p");
    ready["status"] = json!({"phase": "Running", "podIP": "10.0.0.9"});
    hand_made(&location, &[("configmaps", map), ("pods", ready)]).await;
    let world = World::empty();
    restore_all(&world, &location, "r").await;
    let map = live(&world, "configmaps", Some("prod"), "a").await;
    assert_eq!(map["metadata"].get("ownerReferences"), None);
    assert_eq!(map["metadata"]["finalizers"], json!(["example.io/keep"]));
    assert_eq!(
        map["metadata"]["labels"],
        json!({"velero.io/backup-name": "b", "velero.io/restore-name": "r"})
    );
    assert_ne!(map["metadata"]["uid"], "old-uid");
    let pod = live(&world, "pods", Some("prod"), "p").await;
    assert_eq!(pod["status"].get("podIP"), None);
}

#[tokio::test]
async fn owner_references_are_relinked_to_owners_that_were_just_read() {
    let location = memory_location();
    let mut child = config_map("prod", "child");
    child["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "old", "controller": true},
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "lost", "uid": "old"}]);
    hand_made(
        &location,
        &[
            ("configmaps", child),
            ("configmaps", config_map("prod", "owner")),
        ],
    )
    .await;
    let world = World::empty();
    // A controller that adopts what was just restored is faster, twice.
    let adopted = FaultRule::new(Fault::Conflict).verb("patch").times(2);
    world.server.faults().add(adopted);
    let request = request(&world.cluster, &location, "r", |_, o| {
        o.relink_owners = true;
    })
    .await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(
        complaints(&outcome),
        [
            "warning: configmaps prod/child: its owner ConfigMap lost is not in the target; it stands without it"
        ]
    );
    let owner = live(&world, "configmaps", Some("prod"), "owner").await;
    let child = live(&world, "configmaps", Some("prod"), "child").await;
    assert_eq!(
        child["metadata"]["ownerReferences"],
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "controller": true,
            "uid": owner["metadata"]["uid"]}])
    );
}

#[tokio::test]
async fn service_accounts_are_merged_whatever_the_policy() {
    let location = memory_location();
    let mut account = stored("v1", "ServiceAccount", "prod", "web");
    account["secrets"] = json!([{"name": "web-token-old01"}, {"name": "mine"}]);
    account["imagePullSecrets"] = json!([{"name": "registry"}]);
    account["metadata"]["annotations"] = json!({"role": "reader"});
    hand_made(&location, &[("serviceaccounts", account)]).await;
    let world = World::empty();
    world.create(namespace("prod")).await;
    world
        .create(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "prod", "name": "web"},
            "imagePullSecrets": [{"name": "other"}]}))
        .await;
    let outcome = restore_all(&world, &location, "r").await;
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    let merged = live(&world, "serviceaccounts", Some("prod"), "web").await;
    assert_eq!(merged["secrets"], json!([{"name": "mine"}]));
    assert_eq!(
        merged["imagePullSecrets"],
        json!([{"name": "other"}, {"name": "registry"}])
    );
    assert_eq!(merged["metadata"]["annotations"]["role"], "reader");
    let again = request(&world.cluster, &location, "r2", |_, _| ()).await;
    assert!(planned(&again).await.expect("a plan").changes_nothing());
}

#[tokio::test]
async fn status_comes_back_where_the_restore_or_the_item_says_so() {
    let location = memory_location();
    let budget = |name: &str, annotation: Option<&str>| {
        let mut budget = with_spec(
            stored("policy/v1", "PodDisruptionBudget", "prod", name),
            json!({"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}),
        );
        budget["status"] = json!({"currentHealthy": 4, "desiredHealthy": 1, "disruptionsAllowed": 3,
            "expectedPods": 4, "observedGeneration": 1});
        if let Some(value) = annotation {
            budget["metadata"]["annotations"] = json!({"velero.io/restore-status": value});
        }
        budget
    };
    let rg = "poddisruptionbudgets.policy";
    hand_made(
        &location,
        &[
            (rg, budget("plain", None)),
            (rg, budget("never", Some("false"))),
            (rg, budget("always", Some("true"))),
        ],
    )
    .await;
    for (included, plain, never, always) in [
        (vec![], false, false, true),
        (vec![rg.to_owned()], true, false, true),
    ] {
        let world = World::empty();
        let name = format!("r{}", included.len());
        let request = request(&world.cluster, &location, &name, |r, _| {
            if !included.is_empty() {
                r.spec.restore_status = Some(RestoreStatusSpec {
                    included_resources: included.clone(),
                    excluded_resources: vec![],
                });
            }
        })
        .await;
        carried_out(&request, &location).await.expect("a restore");
        for (name, expected) in [("plain", plain), ("never", never), ("always", always)] {
            let found = live(&world, rg, Some("prod"), name).await;
            let has = found["status"]["currentHealthy"] == json!(4);
            assert_eq!(has, expected, "{name} with {included:?}");
        }
    }
}

#[tokio::test]
async fn addresses_are_allocated_anew_unless_a_user_chose_or_keeps_them() {
    let location = memory_location();
    let mut chosen = with_spec(
        stored("v1", "Service", "prod", "chosen"),
        json!({"type": "NodePort", "clusterIP": "10.96.7.7", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}),
    );
    chosen["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration":
        "{\"spec\":{\"ports\":[{\"port\":80,\"nodePort\":30080}]}}"});
    let given = with_spec(
        stored("v1", "Service", "prod", "given"),
        json!({"type": "NodePort", "clusterIP": "10.96.7.8", "ports": [{"port": 81, "protocol": "TCP", "nodePort": 31777}]}),
    );
    let headless = with_spec(
        stored("v1", "Service", "prod", "headless"),
        json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 82, "protocol": "TCP"}]}),
    );
    hand_made(
        &location,
        &[
            ("services", chosen),
            ("services", given),
            ("services", headless),
        ],
    )
    .await;
    for preserve in [false, true] {
        let world = World::empty();
        let request = request(
            &world.cluster,
            &location,
            &format!("r-{preserve}"),
            |r, _| {
                r.spec.preserve_node_ports = Some(preserve);
            },
        )
        .await;
        let outcome = carried_out(&request, &location).await.expect("a restore");
        assert_eq!(complaints(&outcome), Vec::<String>::new());
        let port = |service: &Value| service["spec"]["ports"][0]["nodePort"].clone();
        let chosen = live(&world, "services", Some("prod"), "chosen").await;
        let given = live(&world, "services", Some("prod"), "given").await;
        let headless = live(&world, "services", Some("prod"), "headless").await;
        assert_eq!(port(&chosen), 30080);
        assert_eq!(port(&given) == json!(31777), preserve, "{given}");
        assert_ne!(chosen["spec"]["clusterIP"], "10.96.7.7");
        assert_eq!(headless["spec"]["clusterIP"], "None");
    }
}

#[tokio::test]
async fn a_node_port_that_another_service_took_meanwhile_is_replaced_by_a_free_one() {
    let location = memory_location();
    let service = |name: &str| {
        let mut service = with_spec(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "prod", "name": name}}),
            json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}),
        );
        service["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration":
            "{\"spec\":{\"ports\":[{\"port\":80,\"nodePort\":30080}]}}"});
        service
    };
    hand_made(&location, &[("services", service("web"))]).await;
    let world = World::empty();
    world.create(namespace("prod")).await;
    world.create(service("other")).await;
    let outcome = restore_all(&world, &location, "r").await;
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    let complaints = complaints(&outcome);
    assert!(
        complaints.len() == 1 && complaints[0].contains("30080 (of service prod/other)"),
        "{complaints:?}"
    );
}

#[tokio::test]
async fn jobs_are_made_without_the_selector_of_their_old_incarnation() {
    let location = memory_location();
    let labels = json!({"controller-uid": "old", "job-name": "j"});
    let job = with_spec(
        stored("batch/v1", "Job", "prod", "j"),
        json!({"selector": {"matchLabels": {"controller-uid": "old"}}, "template": {"metadata": {"labels": labels},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}),
    );
    hand_made(&location, &[("jobs.batch", job)]).await;
    let world = World::empty();
    let outcome = restore_all(&world, &location, "r").await;
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    let job = live(&world, "jobs", Some("prod"), "j").await;
    assert!(!job["spec"].to_string().contains("\"old\""), "{job}");
}

/// A volume that an earlier claim of the name left behind.
async fn left_over(world: &World) {
    world
        .create(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "left-over"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/y"},
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": "prod", "name": "fresh", "uid": "earlier"}}}))
        .await;
    let volumes = world.resource("persistentvolumes").await;
    let patch = json!({"status": {"phase": "Released"}}).to_string();
    let options = salvor_cluster::WriteOptions::default();
    let patched = world.cluster.merge_patch(
        &volumes,
        None,
        "left-over",
        Some("status"),
        patch.as_bytes(),
        &options,
    );
    patched.await.expect("patched");
}

#[tokio::test]
async fn volumes_without_data_are_restored_or_provisioned_by_their_reclaim_policy() {
    let location = memory_location();
    let volume = |name: &str, policy: &str| {
        with_spec(
            stored("v1", "PersistentVolume", "", name),
            json!({"persistentVolumeReclaimPolicy": policy, "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"},
                "claimRef": {"namespace": "prod", "name": name, "uid": "old", "resourceVersion": "4"}}),
        )
    };
    let claim = |name: &str| {
        let mut claim = with_spec(
            stored("v1", "PersistentVolumeClaim", "prod", name),
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": name}),
        );
        claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes", "volume.kubernetes.io/selected-node": "n1"});
        claim
    };
    hand_made(
        &location,
        &[
            ("persistentvolumes", volume("kept", "Retain")),
            ("persistentvolumes", volume("fresh", "Delete")),
            ("persistentvolumeclaims", claim("kept")),
            ("persistentvolumeclaims", claim("fresh")),
        ],
    )
    .await;
    let world = World::empty();
    left_over(&world).await;
    let outcome = restore_all(&world, &location, "r").await;
    // The claim that can have no volume is told, with the one that an earlier claim of its name left.
    expect![[r#"
        warning: persistentvolumeclaims prod/fresh comes back empty: the volume it had is not restored, and a new one has no data
        warning: persistentvolumeclaims prod/fresh: the claim waits for a volume: it names no storage class, none is the default, and no free volume without one fits
        warning: persistentvolumeclaims prod/fresh: earlier claims of this name left volumes left-over: `salvor pv rebind` brings one back"#]]
        .assert_eq(&complaints(&outcome).join("\n"));
    let kept = live(&world, "persistentvolumes", None, "kept").await;
    let reference = &kept["spec"]["claimRef"];
    assert_eq!(
        (reference.get("uid"), &reference["name"]),
        (None, &json!("kept"))
    );
    assert!(
        world
            .get("persistentvolumes", None, "fresh")
            .await
            .is_none()
    );
    let kept = live(&world, "persistentvolumeclaims", Some("prod"), "kept").await;
    let fresh = live(&world, "persistentvolumeclaims", Some("prod"), "fresh").await;
    assert_eq!(kept["spec"]["volumeName"], "kept");
    assert_eq!(fresh["spec"].get("volumeName"), None);
    assert_eq!(fresh["metadata"].get("annotations"), None);
}

/// A ConfigMap in the restore's namespace, with labels.
async fn setting(world: &World, name: &str, labels: Value, data: Value) {
    if world.get("namespaces", None, "velero").await.is_none() {
        world.create(namespace("velero")).await;
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "velero", "name": name, "labels": labels}, "data": data});
    world.create(map).await;
}

#[tokio::test]
async fn class_and_image_mappings_come_from_labelled_config_maps() {
    let location = memory_location();
    let claim = |name: &str, class: &str| {
        with_spec(
            stored("v1", "PersistentVolumeClaim", "prod", name),
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": class}),
        )
    };
    hand_made(
        &location,
        &[
            ("persistentvolumeclaims", claim("a", "slow")),
            ("persistentvolumeclaims", claim("b", "old")),
            ("pods", pod("p")),
        ],
    )
    .await;
    let world = World::empty();
    world
        .create(
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "fast"}, "provisioner": "example.io"}),
        )
        .await;
    let config = |action: &str| json!({"velero.io/plugin-config": "", action: "RestoreItemAction"});
    let classes = json!({"slow": "fast", "old": "missing"});
    setting(
        &world,
        "classes",
        config("velero.io/change-storage-class"),
        classes,
    )
    .await;
    let images = json!({"one": "docker.io/,mirror.local/"});
    setting(
        &world,
        "images",
        config("velero.io/change-image-name"),
        images,
    )
    .await;
    let outcome = restore_all(&world, &location, "r").await;
    expect![[r#"
        error: persistentvolumeclaims prod/b: not restored: storage class old is mapped to missing, which the target does not have: create it or change the mapping"#]]
    .assert_eq(&complaints(&outcome).join("\n"));
    let a = live(&world, "persistentvolumeclaims", Some("prod"), "a").await;
    assert_eq!(a["spec"]["storageClassName"], "fast");
    let pod = live(&world, "pods", Some("prod"), "p").await;
    assert_eq!(pod["spec"]["containers"][0]["image"], "mirror.local/app:1");
}

#[tokio::test]
async fn resource_modifiers_of_a_config_map_are_applied_and_a_failing_patch_is_told() {
    let location = memory_location();
    hand_made(
        &location,
        &[
            ("configmaps", config_map("prod", "a")),
            ("configmaps", config_map("dev", "b")),
        ],
    )
    .await;
    let world = World::empty();
    let rules = "version: v1
resourceModifierRules:
- conditions: {groupResource: configmaps, namespaces: [prod]}
  patches: [{operation: add, path: /data/added, value: '1'}]
- conditions: {groupResource: configmaps, resourceNameRegex: '^b$'}
  patches: [{operation: replace, path: /data/key, value: x}]
- conditions: {groupResource: configmaps, resourceNameRegex: '^b$'}
  patches: [{operation: remove, path: /data/none}]
";
    let rules = rules.replace("value: '1'", "value: '\"1\"'");
    setting(&world, "rules", json!({}), json!({"rules.yaml": rules})).await;
    let request = request(&world.cluster, &location, "r", |r, _| {
        r.spec.resource_modifier = Some(TypedLocalObjectReference {
            kind: "configmap".into(),
            name: "rules".into(),
            ..TypedLocalObjectReference::default()
        });
    })
    .await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    expect![[r#"
        error: configmaps dev/b: resource modifier rule 3: operation 1 at `/data/none`: path is invalid"#]]
    .assert_eq(&complaints(&outcome).join("\n"));
    let a = live(&world, "configmaps", Some("prod"), "a").await;
    assert_eq!(a["data"], json!({"key": "value", "added": "1"}));
    let b = live(&world, "configmaps", Some("dev"), "b").await;
    assert_eq!(b["data"]["key"], "x");
}

#[tokio::test]
async fn objects_of_removed_versions_are_converted_and_what_has_no_successor_is_blocked() {
    let location = memory_location();
    let ingress = with_spec(
        stored("networking.k8s.io/v1beta1", "Ingress", "prod", "web"),
        json!({"rules": [{"host": "example.io", "http": {"paths": [{"path": "/", "backend": {"serviceName": "web", "servicePort": 80}}]}}]}),
    );
    let cron = with_spec(
        stored("batch/v1beta1", "CronJob", "prod", "nightly"),
        json!({"schedule": "0 2 * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}}}),
    );
    let old = with_spec(
        stored("extensions/v1beta1", "Deployment", "prod", "old"),
        json!({"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}),
    );
    let policy = with_spec(
        stored("policy/v1beta1", "PodSecurityPolicy", "", "restricted"),
        json!({}),
    );
    let custom = with_spec(
        stored("gone.example.io/v1", "Thing", "prod", "t"),
        json!({}),
    );
    hand_made(
        &location,
        &[
            ("ingresses.networking.k8s.io", ingress),
            ("cronjobs.batch", cron),
            ("deployments.extensions", old),
            ("podsecuritypolicies.policy", policy),
            ("things.gone.example.io", custom),
        ],
    )
    .await;
    let world = World::empty();
    let outcome = restore_all(&world, &location, "r").await;
    expect![[r#"
        error: podsecuritypolicies.policy restricted: not restored: the target has no podsecuritypolicies.policy; it needs policy/v1beta1
        error: things.gone.example.io prod/t: not restored: the target has no things.gone.example.io; it needs gone.example.io/v1"#]]
    .assert_eq(&complaints(&outcome).join("\n"));
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    let web = live(&world, "ingresses", Some("prod"), "web").await;
    let backend = &web["spec"]["rules"][0]["http"]["paths"][0]["backend"];
    assert_eq!(backend["service"]["name"], "web");
    live(&world, "cronjobs", Some("prod"), "nightly").await;
    let old = live(&world, "deployments", Some("prod"), "old").await;
    assert_eq!(old["spec"]["selector"]["matchLabels"], json!({"a": "b"}));
}

#[tokio::test]
async fn another_stored_version_is_taken_where_the_target_lacks_the_preferred_one() {
    let source = World::empty();
    let versions = |served: &[&str]| {
        let list: Vec<Value> = ["v1", "v2"]
            .iter()
            .filter(|v| served.contains(v))
            .map(|v| {
                json!({"name": v, "served": true, "storage": *v == served[0], "schema": {"openAPIV3Schema":
                    {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
            })
            .collect();
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "bands.music.example.io"}, "spec": {"group": "music.example.io", "scope": "Namespaced",
            "names": {"plural": "bands", "singular": "band", "kind": "Band", "listKind": "BandList"}, "versions": list}})
    };
    source.create(versions(&["v1", "v2"])).await;
    source.create(namespace("prod")).await;
    source
        .create(json!({"apiVersion": "music.example.io/v2", "kind": "Band",
            "metadata": {"namespace": "prod", "name": "b"}, "spec": {"members": 4}}))
        .await;
    let location = memory_location();
    salvor_objects::backup::run(
        salvor_objects::backup::BackupRequest {
            cluster: source.cluster.clone(),
            location: location.clone(),
            backup: backup_request("b", |_| ()),
            options: salvor_objects::backup::BackupOptions {
                all_versions: true,
                ..salvor_objects::backup::BackupOptions::default()
            },
        },
        salvor_objects::backup::ProgressSink::none(),
    )
    .await
    .expect("a backup");
    let target = World::empty();
    target.create(versions(&["v1"])).await;
    let request = request(&target.cluster, &location, "r", |r, _| {
        r.spec.included_resources = strings(&["bands.music.example.io"]);
    })
    .await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    let band = live(&target, "bands", Some("prod"), "b").await;
    assert_eq!(band["apiVersion"], "music.example.io/v1");
    assert_eq!(band["spec"]["members"], 4);
}

#[tokio::test]
async fn an_object_that_is_stored_under_two_groups_is_restored_once() {
    let location = memory_location();
    let web = |version: &str| {
        with_spec(
            stored(version, "Ingress", "prod", "web"),
            json!({"backend": {"serviceName": "web", "servicePort": 80}}),
        )
    };
    let mut other = web("networking.k8s.io/v1beta1");
    other["metadata"]["uid"] = json!("another");
    other["metadata"]["name"] = json!("other");
    let mut clash = other.clone();
    clash["apiVersion"] = json!("extensions/v1beta1");
    clash["metadata"]["uid"] = json!("a third");
    hand_made(
        &location,
        &[
            (
                "ingresses.networking.k8s.io",
                web("networking.k8s.io/v1beta1"),
            ),
            ("ingresses.networking.k8s.io", other),
            ("ingresses.extensions", web("extensions/v1beta1")),
            ("ingresses.extensions", clash),
        ],
    )
    .await;
    let world = World::empty();
    let outcome = restore_all(&world, &location, "r").await;
    expect![[r#"
        error: ingresses.networking.k8s.io prod/other: not restored: another object of the backup goes to ingresses.networking.k8s.io prod/other too"#]]
    .assert_eq(&complaints(&outcome).join("\n"));
    let web = live(&world, "ingresses", Some("prod"), "web").await;
    assert_eq!(web["spec"]["defaultBackend"]["service"]["name"], "web");
}
