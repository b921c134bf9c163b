//! What a restore makes of a backup.

use serde_json::{Value, json};

use super::backup::{define, gadget};
use super::cases;
use super::world::{World, at, config_map};

cases! {
    39 definitions_are_ready_before_their_objects,
    40 an_emptied_namespace_comes_back_equal_but_for_two_labels,
    41 owners_are_gone_finalizers_stay_and_status_is_not_taken,
    42 a_deployment_adopts_its_old_replica_set,
    43 a_namespace_is_mapped_with_what_refers_to_it,
    44 what_exists_is_left_with_a_warning_patched_or_passed_in_silence,
    45 service_accounts_are_merged_whatever_the_policy,
    46 status_is_restored_where_it_is_asked_for,
    47 node_ports_are_dropped_unless_they_are_to_be_kept,
    48 cluster_addresses_are_dropped_and_headless_stays,
    49 what_is_done_or_made_by_others_is_not_restored,
}

pub(super) async fn backed_up(world: &World, name: &str) {
    let status = world
        .backup(name, json!({"includedNamespaces": [name]}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
}

/// Restores a backup of the same name and expects success.
pub(super) async fn restored(world: &World, name: &str, spec: Value) -> Value {
    let mut full = json!({"backupName": name});
    for (key, value) in spec.as_object().expect("a spec") {
        full[key] = value.clone();
    }
    let status = world.restore(name, full).await;
    assert_eq!(
        status["phase"],
        "Completed",
        "{status}: {:?}",
        world.restore_results(name)
    );
    status
}

async fn definitions_are_ready_before_their_objects(world: &World) {
    let group = "r39.example.com";
    define(world, group).await;
    world.namespace("r39").await;
    world.create(gadget(group, "r39", "g")).await;
    backed_up(world, "r39").await;
    world.lose("r39").await;
    let name = format!("gadgets.{group}");
    world.delete("customresourcedefinitions", None, &name).await;
    world.gone("customresourcedefinitions", None, &name).await;
    restored(world, "r39", json!({})).await;
    let back = world.get(&name, Some("r39"), "g").await;
    assert_eq!(back.expect("restored")["spec"]["size"], 3);
    world.delete("customresourcedefinitions", None, &name).await;
}

async fn an_emptied_namespace_comes_back_equal_but_for_two_labels(world: &World) {
    world.namespace("r40").await;
    let mut object = config_map("r40", "c", json!({"app": "web"}));
    object["metadata"]["annotations"] = json!({"note": "kept"});
    world.create(object).await;
    let before = world
        .get("configmaps", Some("r40"), "c")
        .await
        .expect("there");
    backed_up(world, "r40").await;
    world.lose("r40").await;
    restored(world, "r40", json!({})).await;
    let after = world
        .get("configmaps", Some("r40"), "c")
        .await
        .expect("restored");
    assert_eq!(after["data"], before["data"]);
    assert_eq!(
        after["metadata"]["annotations"],
        before["metadata"]["annotations"]
    );
    let labels = json!({"app": "web", "velero.io/backup-name": "r40",
        "velero.io/restore-name": "r40"});
    assert_eq!(after["metadata"]["labels"], labels);
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
}

async fn owners_are_gone_finalizers_stay_and_status_is_not_taken(world: &World) {
    world.namespace("r41").await;
    let owner = world.create(config_map("r41", "owner", json!({}))).await;
    let mut owned = config_map("r41", "owned", json!({}));
    owned["metadata"]["finalizers"] = json!(["example.com/wait"]);
    owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap",
        "name": "owner", "uid": owner["metadata"]["uid"]}]);
    world.create(owned).await;
    backed_up(world, "r41").await;
    let free = || json!({"metadata": {"finalizers": null}});
    world
        .patch("configmaps", Some("r41"), "owned", free())
        .await;
    world.lose("r41").await;
    restored(world, "r41", json!({})).await;
    let back = world
        .get("configmaps", Some("r41"), "owned")
        .await
        .expect("restored");
    assert_eq!(back["metadata"].get("ownerReferences"), None);
    assert_eq!(back["metadata"]["finalizers"], json!(["example.com/wait"]));
    world
        .patch("configmaps", Some("r41"), "owned", free())
        .await;
}

async fn a_deployment_adopts_its_old_replica_set(world: &World) {
    world.namespace("r42").await;
    world
        .create(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "r42"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}}))
        .await;
    let ready = |sets: &[Value]| sets.len() == 1 && sets[0]["status"]["replicas"] == 1;
    let sets = settled(world, "r42", ready).await;
    let name = sets[0]["metadata"]["name"].clone();
    backed_up(world, "r42").await;
    world.lose("r42").await;
    restored(world, "r42", json!({})).await;
    // Adopted: the old name, owned again, no second one.
    let sets = settled(world, "r42", |sets| {
        sets.iter()
            .all(|set| set["metadata"]["ownerReferences"].is_array())
    })
    .await;
    let names: Vec<&Value> = sets.iter().map(|set| &set["metadata"]["name"]).collect();
    assert_eq!(names, [&name]);
}

/// The replica sets of a namespace once they are as wanted.
async fn settled(world: &World, namespace: &str, done: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
    for _ in 0..300 {
        ticks.tick().await;
        let sets = world.list("replicasets", Some(namespace)).await;
        if !sets.is_empty() && done(&sets) {
            return sets;
        }
    }
    panic!("{:?}", world.list("replicasets", Some(namespace)).await);
}

async fn a_namespace_is_mapped_with_what_refers_to_it(world: &World) {
    world.namespace("r43").await;
    world.also_remove("r43-copy");
    world.create(config_map("r43", "c", json!({}))).await;
    let rbac = "rbac.authorization.k8s.io";
    world
        .create(
            json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding",
            "metadata": {"name": "b", "namespace": "r43"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "r43"}]}),
        )
        .await;
    backed_up(world, "r43").await;
    restored(
        world,
        "r43",
        json!({"namespaceMapping": {"r43": "r43-copy"}}),
    )
    .await;
    assert!(
        world
            .get("configmaps", Some("r43-copy"), "c")
            .await
            .is_some()
    );
    let binding = world.get("rolebindings", Some("r43-copy"), "b").await;
    assert_eq!(
        binding.expect("restored")["subjects"][0]["namespace"],
        "r43-copy"
    );
}

async fn what_exists_is_left_with_a_warning_patched_or_passed_in_silence(world: &World) {
    world.namespace("r44").await;
    world.create(config_map("r44", "same", json!({}))).await;
    world
        .create(config_map("r44", "different", json!({})))
        .await;
    backed_up(world, "r44").await;
    let change = json!({"data": {"k": "changed"}});
    world
        .patch("configmaps", Some("r44"), "different", change)
        .await;
    restored(world, "r44", json!({})).await;
    let (warnings, _) = world.restore_results("r44");
    assert!(warnings.contains("different already exists"), "{warnings}");
    assert!(!warnings.contains("same already exists"), "{warnings}");
    let value = async || {
        let found = world.get("configmaps", Some("r44"), "different").await;
        found.expect("there")["data"]["k"].clone()
    };
    assert_eq!(value().await, "changed");
    let spec = json!({"backupName": "r44", "existingResourcePolicy": "update"});
    let status = world.restore("r44-update", spec).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    assert_eq!(value().await, "v");
}

async fn service_accounts_are_merged_whatever_the_policy(world: &World) {
    world.namespace("r45").await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "worker", "namespace": "r45"},
        "imagePullSecrets": [{"name": "saved"}]});
    world.create(account).await;
    backed_up(world, "r45").await;
    let change = json!({"imagePullSecrets": [{"name": "newer"}]});
    world
        .patch("serviceaccounts", Some("r45"), "worker", change)
        .await;
    restored(world, "r45", json!({})).await;
    let merged = world.get("serviceaccounts", Some("r45"), "worker").await;
    let secrets = merged.expect("there")["imagePullSecrets"].to_string();
    assert!(
        secrets.contains("saved") && secrets.contains("newer"),
        "{secrets}"
    );
}

async fn status_is_restored_where_it_is_asked_for(world: &World) {
    let group = "r46.example.com";
    let name = format!("gadgets.{group}");
    define(world, group).await;
    let subresource = json!([{"name": "v1", "served": true, "storage": true,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object",
            "x-kubernetes-preserve-unknown-fields": true}}}]);
    let patch = json!({"spec": {"versions": subresource}});
    world
        .patch("customresourcedefinitions", None, &name, patch)
        .await;
    world.namespace("r46").await;
    for (object, annotation) in [("plain", None), ("not", Some("false"))] {
        let mut gadget = gadget(group, "r46", object);
        gadget["status"] = json!({"seen": 1});
        if let Some(value) = annotation {
            gadget["metadata"]["annotations"] = json!({"velero.io/restore-status": value});
        }
        created_with_status(world, gadget).await;
    }
    backed_up(world, "r46").await;
    for plain in ["plain", "not"] {
        world.delete(&name, Some("r46"), plain).await;
        world.gone(&name, Some("r46"), plain).await;
    }
    restored(
        world,
        "r46",
        json!({"restoreStatus": {"includedResources": [name]}}),
    )
    .await;
    let plain = world
        .get(&name, Some("r46"), "plain")
        .await
        .expect("restored");
    assert_eq!(plain["status"], json!({"seen": 1}));
    let not = world
        .get(&name, Some("r46"), "not")
        .await
        .expect("restored");
    assert_eq!(not.get("status"), None, "{not}");
    world.delete("customresourcedefinitions", None, &name).await;
}

/// The status subresource of a definition that was changed a moment ago may not be served yet.
async fn created_with_status(world: &World, gadget: Value) {
    let resource = gadget["apiVersion"].as_str().expect("a version");
    let plural = format!("gadgets.{}", resource.split('/').next().unwrap_or_default());
    let (namespace, name) = ("r46", gadget["metadata"]["name"].as_str().expect("a name"));
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
    for _ in 0..100 {
        ticks.tick().await;
        let discovery = crate::fixture::discover(&world.real.cluster).await;
        if discovery.resolve(&plural).is_some() {
            break;
        }
    }
    let status = gadget["status"].clone();
    let mut bare = gadget.clone();
    bare.as_object_mut().expect("an object").remove("status");
    world.create(bare).await;
    let resource = world.resource(&plural).await;
    let patch = json!({"status": status}).to_string();
    let options = salvor_cluster::WriteOptions::default();
    for _ in 0..100 {
        let cluster = &world.real.cluster;
        let written = cluster.merge_patch(
            &resource,
            Some(namespace),
            name,
            Some("status"),
            patch.as_bytes(),
            &options,
        );
        if written.await.is_ok() {
            return;
        }
        ticks.tick().await;
    }
    panic!("the status of {name} cannot be written");
}

fn service(namespace: &str, name: &str, spec: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec});
    object["spec"]["selector"] = json!({"app": "web"});
    object
}

async fn node_ports_are_dropped_unless_they_are_to_be_kept(world: &World) {
    world.namespace("r47").await;
    let ports = json!({"type": "NodePort", "ports": [{"port": 80}]});
    let made = world.create(service("r47", "web", ports)).await;
    let port = made["spec"]["ports"][0]["nodePort"].clone();
    assert!(port.is_u64());
    backed_up(world, "r47").await;
    world.delete("services", Some("r47"), "web").await;
    world.gone("services", Some("r47"), "web").await;
    restored(world, "r47", json!({"preserveNodePorts": true})).await;
    let back = world
        .get("services", Some("r47"), "web")
        .await
        .expect("restored");
    assert_eq!(back["spec"]["ports"][0]["nodePort"], port);
    // Another service has the port: without the wish to keep it, a new one is given.
    world.delete("services", Some("r47"), "web").await;
    world.gone("services", Some("r47"), "web").await;
    let taken = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
    world.create(service("r47", "thief", taken)).await;
    let status = world
        .restore("r47-again", json!({"backupName": "r47"}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let back = world
        .get("services", Some("r47"), "web")
        .await
        .expect("restored");
    assert_ne!(back["spec"]["ports"][0]["nodePort"], port);
}

async fn cluster_addresses_are_dropped_and_headless_stays(world: &World) {
    world.namespace("r48").await;
    let ports = json!([{"port": 80}]);
    let web = service("r48", "web", json!({"ports": ports.clone()}));
    let old = world.create(web).await["spec"]["clusterIP"].clone();
    let headless = service(
        "r48",
        "headless",
        json!({"clusterIP": "None", "ports": ports.clone()}),
    );
    world.create(headless).await;
    backed_up(world, "r48").await;
    world.lose("r48").await;
    // The address is somebody else's now.
    world.namespace("r48-other").await;
    let thief = json!({"clusterIP": old, "ports": ports});
    world.create(service("r48-other", "thief", thief)).await;
    restored(world, "r48", json!({})).await;
    let web = world
        .get("services", Some("r48"), "web")
        .await
        .expect("restored");
    assert_ne!(web["spec"]["clusterIP"], old);
    let headless = world.get("services", Some("r48"), "headless").await;
    assert_eq!(headless.expect("restored")["spec"]["clusterIP"], "None");
}

async fn what_is_done_or_made_by_others_is_not_restored(world: &World) {
    world.namespace("r49").await;
    let pod = |name: &str, annotations: Value| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "r49", "annotations": annotations},
            "spec": {"containers": [{"name": "c", "image": "c:1"}]}})
    };
    let mut done = pod("done", json!({}));
    done["status"] = json!({"phase": "Succeeded"});
    world.create(done).await;
    let mut mirror = pod("mirror", json!({"kubernetes.io/config.mirror": "x"}));
    // Only a kubelet may make one in a cluster, and only for its node: the archive has it.
    mirror["spec"]["nodeName"] = json!("node-1");
    world.create(pod("plain", json!({}))).await;
    backed_up(world, "r49").await;
    world.lose("r49").await;
    restored(world, "r49", json!({})).await;
    assert!(world.get("pods", Some("r49"), "plain").await.is_some());
    assert_eq!(world.get("pods", Some("r49"), "done").await, None);
    let path = at("pods", "r49", "mirror");
    world.by_hand("r49-mirror", &[(&path, mirror)], json!({}));
    world.until("backups", "r49-mirror", |_| true).await;
    let status = world
        .restore("r49-mirror", json!({"backupName": "r49-mirror"}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
    assert_eq!(world.get("pods", Some("r49"), "mirror").await, None);
    // Tokens are made anew for the accounts that are restored.
    let names: Vec<String> = world
        .paths("r49")
        .into_iter()
        .filter(|path| path.contains("/secrets/namespaces/") && path.contains("-token-"))
        .filter_map(|path| {
            Some(
                path.rsplit('/')
                    .next()?
                    .trim_end_matches(".json")
                    .to_owned(),
            )
        })
        .collect();
    for name in names {
        assert_eq!(
            world.get("secrets", Some("r49"), &name).await,
            None,
            "{name}"
        );
    }
}
