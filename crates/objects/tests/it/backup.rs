//! What a backup holds, for the filters and kinds of objects that there are.

use expect_test::{Expect, expect};
use salvor_api::meta::LabelSelector;
use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase};
use salvor_objects::backup::BackupError;
use serde_json::{Value, json};

use crate::world::{Stored, World, back_up, config_map, memory_location, namespace, request};

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn labels(pairs: &[(&str, &str)]) -> LabelSelector {
    LabelSelector {
        match_labels: pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        ..LabelSelector::default()
    }
}

/// Objects that every namespace of a cluster has, and that say nothing about a filter.
fn is_of_every_namespace(object: &str) -> bool {
    object.ends_with("/kube-root-ca.crt") || object.ends_with("/default")
}

/// Backs the platform up with `change` and compares the archive's objects, and what was said.
async fn check(change: impl FnOnce(&mut Backup), expected: &Expect) {
    let world = World::platform().await;
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", change))
        .await
        .expect("a backup");
    let stored = Stored::read(&location, "b").await;
    let mut text = format!("{}\n", outcome.backup.status.phase);
    for object in stored
        .objects()
        .iter()
        .filter(|o| !is_of_every_namespace(o))
    {
        text.push_str(&format!("{object}\n"));
    }
    for (weight, set) in [
        ("error", &outcome.results.errors),
        ("warning", &outcome.results.warnings),
    ] {
        let namespaced = set.namespaces.values().flatten();
        for message in set.velero.iter().chain(&set.cluster).chain(namespaced) {
            text.push_str(&format!("{weight}: {message}\n"));
        }
    }
    expected.assert_eq(&text);
}

#[tokio::test]
async fn an_included_namespace_brings_its_object_and_what_it_refers_to_and_nothing_else() {
    check(
        |b| b.spec.included_namespaces = strings(&["shop"]),
        &expect![[r#"
            Completed
            clusterrolebindings.rbac.authorization.k8s.io shop-web
            clusterroles.rbac.authorization.k8s.io shop-reader
            configmaps shop/settings
            customresourcedefinitions.apiextensions.k8s.io widgets.example.io
            deployments.apps shop/web
            namespaces shop
            persistentvolumeclaims shop/data
            persistentvolumes pv-data
            pods shop/db-0
            priorityclasses.scheduling.k8s.io high
            secrets shop/password
            serviceaccounts shop/web
            widgets.example.io shop/gear
            warning: namespace shop: volume pv-data of claim shop/data: its data was not backed up: the cluster serves no VolumeSnapshots, and no node agent is installed that could copy its files: see `salvor install --use-node-agent`
        "#]],
    )
    .await;
}

#[tokio::test]
async fn no_cluster_resources_leaves_out_even_volumes_but_keeps_definitions() {
    check(
        |b| {
            b.spec.included_namespaces = strings(&["shop"]);
            b.spec.include_cluster_resources = Some(false);
            b.spec.snapshot_volumes = Some(false);
        },
        &expect![[r#"
            Completed
            configmaps shop/settings
            customresourcedefinitions.apiextensions.k8s.io widgets.example.io
            deployments.apps shop/web
            namespaces shop
            persistentvolumeclaims shop/data
            pods shop/db-0
            secrets shop/password
            serviceaccounts shop/web
            widgets.example.io shop/gear
        "#]],
    )
    .await;
}

#[tokio::test]
async fn all_cluster_resources_come_along_with_one_namespace_when_asked() {
    let world = World::platform().await;
    let location = memory_location();
    let backup = request("b", |b| {
        b.spec.included_namespaces = strings(&["dev"]);
        b.spec.include_cluster_resources = Some(true);
    });
    back_up(&world, &location, backup).await.expect("a backup");
    let stored = Stored::read(&location, "b").await;
    for object in [
        "persistentvolumes pv-unused",
        "clusterroles.rbac.authorization.k8s.io unused",
        "customresourcedefinitions.apiextensions.k8s.io widgets.example.io",
        "namespaces dev",
        "configmaps dev/notes",
    ] {
        assert!(stored.has(object), "{object} in {:#?}", stored.objects());
    }
    assert!(!stored.has("namespaces shop"));
    assert!(!stored.has("configmaps shop/settings"));
}

#[tokio::test]
async fn excludes_beat_includes_with_patterns_in_both() {
    check(
        |b| {
            b.spec.included_namespaces = strings(&["s*", "d*"]);
            b.spec.excluded_namespaces = strings(&["?ev"]);
            b.spec.included_resources = strings(&["config*", "deploy", "secrets"]);
            b.spec.excluded_resources = strings(&["secret*"]);
        },
        &expect![[r#"
            Completed
            configmaps shop/settings
            deployments.apps shop/web
        "#]],
    )
    .await;
}

#[tokio::test]
async fn scoped_filters_take_cluster_scoped_objects_only_when_named() {
    check(
        |b| {
            b.spec.included_namespace_scoped_resources = strings(&["configmaps"]);
            b.spec.included_cluster_scoped_resources =
                strings(&["priorityclasses.scheduling.k8s.io"]);
            b.spec.included_namespaces = strings(&["dev"]);
        },
        &expect![[r#"
            Completed
            configmaps dev/notes
            namespaces dev
            priorityclasses.scheduling.k8s.io high
            priorityclasses.scheduling.k8s.io system-cluster-critical
            priorityclasses.scheduling.k8s.io system-node-critical
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_label_selector_keeps_related_volumes_and_the_namespace() {
    check(
        |b| {
            b.spec.label_selector = Some(labels(&[("app", "db")]));
            b.spec.excluded_namespaces = strings(&["kube-*"]);
        },
        &expect![[r#"
            Completed
            namespaces shop
            persistentvolumeclaims shop/data
            persistentvolumes pv-data
            pods shop/db-0
            priorityclasses.scheduling.k8s.io high
            warning: namespace shop: volume pv-data of claim shop/data: its data was not backed up: the cluster serves no VolumeSnapshots, and no node agent is installed that could copy its files: see `salvor install --use-node-agent`
        "#]],
    )
    .await;
}

#[tokio::test]
async fn or_selectors_are_a_union_without_doubles() {
    check(
        |b| {
            b.spec.or_label_selectors =
                vec![labels(&[("app", "web")]), labels(&[("tier", "front")])];
        },
        &expect![[r#"
            Completed
            configmaps shop/settings
            deployments.apps shop/web
            namespaces shop
        "#]],
    )
    .await;
}

#[tokio::test]
async fn filters_that_contradict_each_other_fail_validation_and_write_nothing() {
    let world = World::platform().await;
    let location = memory_location();
    let both = |b: &mut Backup| {
        b.spec.label_selector = Some(labels(&[("a", "b")]));
        b.spec.or_label_selectors = vec![labels(&[("a", "b")])];
    };
    let mixed = |b: &mut Backup| {
        b.spec.included_resources = strings(&["pods"]);
        b.spec.included_cluster_scoped_resources = strings(&["nodes"]);
    };
    for change in [both as fn(&mut Backup), mixed] {
        let outcome = back_up(&world, &location, request("b", change))
            .await
            .expect("an outcome");
        assert_eq!(outcome.backup.status.phase, BackupPhase::FailedValidation);
        assert_eq!(
            outcome.backup.status.validation_errors.len(),
            1,
            "{:?}",
            outcome.backup.status
        );
        assert!(outcome.record.is_none());
    }
    assert!(
        location
            .backups()
            .await
            .expect("readable")
            .entries
            .is_empty()
    );
}

#[tokio::test]
async fn the_exclude_label_omits_an_object_and_everything_in_a_labelled_namespace() {
    let world = World::platform().await;
    let exclude = json!({"velero.io/exclude-from-backup": "true"});
    let mut object = config_map("dev", "private");
    object["metadata"]["labels"] = exclude.clone();
    world.create(object).await;
    let mut hidden = namespace("hidden");
    hidden["metadata"]["labels"] = exclude;
    world.create(hidden).await;
    world.create(config_map("hidden", "inside")).await;
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a backup");
    let stored = Stored::read(&location, "b").await;
    assert!(stored.has("configmaps dev/notes"));
    for object in [
        "configmaps dev/private",
        "configmaps hidden/inside",
        "namespaces hidden",
    ] {
        assert!(!stored.has(object), "{object}");
    }
    assert_eq!(outcome.backup.spec.excluded_namespaces, ["hidden"]);
    // Every skipped object has its reason in the log.
    let log = stored.log();
    let reason = |name: &str| {
        let line = log.iter().find(|l| l["name"] == name);
        line.unwrap_or_else(|| panic!("{name} is not in the log"))["msg"].to_string()
    };
    assert!(reason("private").contains("exclude-from-backup"));
    assert!(reason("inside").contains("exclude-from-backup"));
    assert!(
        log.iter()
            .all(|line| line["run"] == log[0]["run"] && line["run"].is_string())
    );
}

#[tokio::test]
async fn events_of_pods_that_held_claims_are_left_out_and_others_are_not() {
    let world = World::platform().await;
    for pod in ["salvor-hold-1a2b3c", "web-1"] {
        world
            .create(
                json!({"apiVersion": "v1", "kind": "Event", "type": "Normal", "reason": "Scheduled",
                "metadata": {"name": format!("{pod}.17b2c3"), "namespace": "dev"},
                "involvedObject": {"kind": "Pod", "namespace": "dev", "name": pod}}),
            )
            .await;
    }
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", |_| ())).await;
    assert_eq!(
        outcome.expect("a backup").backup.status.phase,
        BackupPhase::Completed
    );
    let stored = Stored::read(&location, "b").await;
    assert!(stored.has("events dev/web-1.17b2c3"));
    assert!(!stored.has("events dev/salvor-hold-1a2b3c.17b2c3"));
}

#[tokio::test]
async fn a_named_namespace_that_is_missing_is_one_error_and_a_partial_failure() {
    let world = World::platform().await;
    let location = memory_location();
    let backup = request("b", |b| {
        b.spec.included_namespaces = strings(&["dev", "lost"]);
    });
    let outcome = back_up(&world, &location, backup).await.expect("a backup");
    assert_eq!(outcome.backup.status.phase, BackupPhase::PartiallyFailed);
    assert_eq!(outcome.backup.status.errors, 1);
    assert_eq!(outcome.results.errors.namespaces["lost"].len(), 1);
    let stored = Stored::read(&location, "b").await;
    assert!(stored.has("configmaps dev/notes"));
    assert_eq!(
        stored.json("results.gz")["errors"]["namespaces"]["lost"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn a_backup_of_nothing_but_a_missing_namespace_is_partially_failed_as_well() {
    check(
        |b| b.spec.included_namespaces = strings(&["lost"]),
        &expect![[r#"
            PartiallyFailed
            error: namespace lost: the backup names it, but it does not exist
        "#]],
    )
    .await;
}

#[tokio::test]
async fn objects_that_are_being_deleted_are_left_out() {
    let world = World::platform().await;
    let mut object = config_map("dev", "going");
    object["metadata"]["finalizers"] = json!(["example.io/hold"]);
    world.create(object).await;
    world.delete("configmaps", Some("dev"), "going").await;
    assert!(
        world
            .get("configmaps", Some("dev"), "going")
            .await
            .is_some(),
        "held by its finalizer"
    );
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a backup");
    assert!(
        !Stored::read(&location, "b")
            .await
            .has("configmaps dev/going")
    );
    assert_eq!(outcome.stats.skipped["it is being deleted"], 1);
}

#[tokio::test]
async fn objects_of_two_groups_are_stored_once() {
    let world = World::platform().await;
    world
        .create(json!({"apiVersion": "v1", "kind": "Event",
            "metadata": {"namespace": "dev", "name": "e1"},
            "involvedObject": {"kind": "ConfigMap", "namespace": "dev", "name": "notes"},
            "reason": "Test", "message": "m", "type": "Normal"}))
        .await;
    let location = memory_location();
    back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a backup");
    let objects = Stored::read(&location, "b").await.objects();
    let events: Vec<&String> = objects.iter().filter(|o| o.starts_with("events")).collect();
    assert_eq!(events, ["events dev/e1"]);
    let mut unique = objects.clone();
    unique.dedup();
    assert_eq!(unique, objects);
}

#[tokio::test]
async fn a_namespace_of_argo_cd_is_a_warning() {
    let world = World::platform().await;
    let mut managed = namespace("managed");
    managed["metadata"]["labels"] = json!({"argocd.argoproj.io/managed-by": "argocd"});
    world.create(managed).await;
    let location = memory_location();
    let backup = request("b", |b| {
        b.spec.included_namespaces = strings(&["managed", "dev"]);
    });
    let outcome = back_up(&world, &location, backup).await.expect("a backup");
    assert_eq!(outcome.backup.status.phase, BackupPhase::Completed);
    let warned: Vec<&String> = outcome.results.warnings.namespaces.keys().collect();
    assert_eq!(warned, ["managed"]);
}

#[tokio::test]
async fn ordered_resources_come_first_in_their_order() {
    let world = World::platform().await;
    for name in ["a", "b", "c"] {
        world.create(config_map("dev", name)).await;
    }
    let location = memory_location();
    let backup = request("b", |b| {
        b.spec.ordered_resources =
            [("configmaps".to_owned(), "dev/c,dev/lost,dev/a".to_owned())].into();
    });
    back_up(&world, &location, backup).await.expect("a backup");
    let stored = Stored::read(&location, "b").await;
    assert_eq!(
        stored.objects_in_order()[..2],
        ["configmaps dev/c", "configmaps dev/a"]
    );
    assert_eq!(
        stored
            .objects()
            .iter()
            .filter(|o| *o == "configmaps dev/c")
            .count(),
        1
    );
}

#[tokio::test]
async fn stored_objects_are_the_live_ones_byte_for_byte() {
    let world = World::platform().await;
    let location = memory_location();
    back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a backup");
    let stored = Stored::read(&location, "b").await;
    for object in world.list("configmaps").await {
        let text = |field: &str| object["metadata"][field].as_str().expect("it has one");
        let name = format!("configmaps {}/{}", text("namespace"), text("name"));
        assert!(stored.has(&name), "{name}");
    }
    assert_eq!(
        stored.entries[0],
        ("metadata/version".to_owned(), b"1.1.0\n".to_vec())
    );
    for (resource, version, namespace, name) in [
        ("pods", "v1", Some("shop"), "db-0"),
        ("deployments.apps", "v1", Some("shop"), "web"),
        ("widgets.example.io", "v1", Some("shop"), "gear"),
        ("configmaps", "v1", Some("shop"), "settings"),
        (
            "clusterroles.rbac.authorization.k8s.io",
            "v1",
            None,
            "unused",
        ),
    ] {
        let place = match namespace {
            Some(namespace) => format!("namespaces/{namespace}/{name}.json"),
            None => format!("cluster/{name}.json"),
        };
        let body = stored.body(&format!("resources/{resource}/{place}"));
        let twin = stored.body(&format!(
            "resources/{resource}/{version}-preferredversion/{place}"
        ));
        assert_eq!(body, twin, "{resource}");
        let live = world.get(resource, namespace, name).await.expect("live");
        let value: Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!(
            value,
            serde_json::from_slice::<Value>(&live).expect("JSON"),
            "{resource}"
        );
        assert!(!body.contains(&b'\n'), "{resource} is compact");
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            assert!(value["metadata"][field].is_string(), "{resource} {field}");
        }
        assert!(value["apiVersion"].is_string() && value["kind"].is_string());
    }
}

#[tokio::test]
async fn a_name_that_exists_is_refused_before_anything_is_written() {
    let world = World::platform().await;
    let location = memory_location();
    back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("the first");
    let before = Stored::read(&location, "b")
        .await
        .json("velero-backup.json");
    let error = back_up(&world, &location, request("b", |_| ()))
        .await
        .expect_err("the second");
    assert!(matches!(error, BackupError::Location { .. }), "{error}");
    assert_eq!(
        Stored::read(&location, "b")
            .await
            .json("velero-backup.json"),
        before
    );
}

#[tokio::test]
async fn the_record_and_the_files_beside_it_are_what_veleros_readers_expect() {
    let world = World::platform().await;
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a backup");
    let stored = Stored::read(&location, "b").await;
    let record = stored.json("velero-backup.json");
    assert_eq!(record["kind"], "Backup");
    assert_eq!(record["spec"]["ttl"], "720h0m0s");
    assert_eq!(record["status"]["version"], 1);
    assert_eq!(record["status"]["formatVersion"], "1.1.0");
    assert_eq!(record["status"]["phase"], "Completed");
    assert_eq!(
        record["metadata"]["labels"]["velero.io/storage-location"],
        "default"
    );
    let annotations = &record["metadata"]["annotations"];
    for key in [
        "velero.io/source-cluster-k8s-gitversion",
        "velero.io/source-cluster-k8s-major-version",
        "velero.io/source-cluster-k8s-minor-version",
        "salvor.dev/cluster-uid",
        "salvor.dev/manifest-sha256",
        "salvor.dev/run-id",
    ] {
        assert!(annotations[key].is_string(), "{key}");
    }
    let uid = world.cluster.identity().await.expect("identity").uid;
    assert_eq!(annotations["salvor.dev/cluster-uid"], Value::from(uid));
    let (backup, status) = (&outcome.backup, &outcome.backup.status);
    let (Some(start), Some(end)) = (status.start_timestamp, status.expiration) else {
        panic!("{status:?}");
    };
    assert_eq!(end.seconds_since(start), 720 * 3600);
    assert_eq!(
        backup.status.progress.map(|p| p.total_items as u64),
        Some(outcome.stats.items)
    );
    for empty in [
        "podvolumebackups.json.gz",
        "volumesnapshots.json.gz",
        "itemoperations.json.gz",
    ] {
        assert_eq!(stored.json(empty), json!([]), "{empty}");
    }
    let list = stored.json("resource-list.json.gz");
    assert!(
        list["v1/ConfigMap"]
            .as_array()
            .is_some_and(|l| l.contains(&json!("shop/settings")))
    );
    assert_eq!(list["example.io/v1/Widget"], json!(["shop/gear"]));
    assert!(list["apps/v1/Deployment"].is_array());
    let listed: usize = list
        .as_object()
        .expect("a map")
        .values()
        .map(|l| l.as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(listed, stored.objects().len());
    let volumes = stored.json("volumeinfo.json.gz");
    let volume = &volumes.as_array().expect("an array")[0];
    assert_eq!(volume["pvcName"], "data");
    assert_eq!(volume["pvName"], "pv-data");
    assert_eq!(volume["skipped"], true);
    assert_eq!(volume["pvInfo"]["reclaimPolicy"], "Retain");
    let revisions = &stored.json("salvor-manifest.json")["list_revisions"];
    let revisions = if revisions.is_null() {
        stored.json("salvor-manifest.json")["listRevisions"].clone()
    } else {
        revisions.clone()
    };
    assert!(revisions["pods"].is_string(), "{revisions}");
    let log = stored.log();
    assert!(log.iter().all(|l| l["level"] != "error"), "{log:#?}");
    assert!(
        !log.iter().any(|l| l.to_string().contains("s3cret-value")),
        "no content in the log"
    );
}

#[tokio::test]
async fn volume_data_that_was_asked_for_makes_a_partial_failure() {
    for change in [
        (|b: &mut Backup| b.spec.snapshot_volumes = Some(true)) as fn(&mut Backup),
        |b| b.spec.default_volumes_to_fs_backup = Some(true),
        |b| b.spec.snapshot_move_data = Some(true),
    ] {
        let world = World::platform().await;
        let location = memory_location();
        let outcome = back_up(&world, &location, request("b", change))
            .await
            .expect("a backup");
        assert_eq!(outcome.backup.status.phase, BackupPhase::PartiallyFailed);
        let errors = &outcome.results.errors.namespaces["shop"];
        assert!(errors.iter().any(|e| e.contains("pv-data")), "{errors:?}");
        assert!(
            Stored::read(&location, "b")
                .await
                .has("persistentvolumeclaims shop/data")
        );
    }
}

#[tokio::test]
async fn every_served_version_is_kept_when_asked() {
    let world = World::platform().await;
    let mut crd = crate::world::platform().swap_remove(2);
    crd["metadata"]["name"] = json!("gadgets.example.io");
    crd["spec"]["names"] = json!({"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"});
    let mut old = crd["spec"]["versions"][0].clone();
    old["name"] = json!("v1beta1");
    old["storage"] = json!(false);
    crd["spec"]["versions"]
        .as_array_mut()
        .expect("versions")
        .push(old);
    world.create(crd).await;
    world
        .create(json!({"apiVersion": "example.io/v1", "kind": "Gadget",
            "metadata": {"namespace": "dev", "name": "g"}}))
        .await;
    let location = memory_location();
    let request = salvor_objects::backup::BackupRequest {
        cluster: world.cluster.clone(),
        location: location.clone(),
        backup: request("b", |_| ()),
        options: salvor_objects::backup::BackupOptions {
            all_versions: true,
            ..Default::default()
        },
    };
    let progress = salvor_objects::backup::ProgressSink::none();
    let outcome = salvor_objects::backup::run(request, progress)
        .await
        .expect("a backup");
    let stored = Stored::read(&location, "b").await;
    let old = stored.body("resources/gadgets.example.io/v1beta1/namespaces/dev/g.json");
    let value: Value = serde_json::from_slice(old).expect("JSON");
    assert_eq!(value["apiVersion"], "example.io/v1beta1");
    assert!(stored.has("gadgets.example.io dev/g"));
    assert_eq!(
        outcome.stats.items as usize,
        stored.objects().len(),
        "each object counts once"
    );
    let name = BackupName::new("b").expect("valid");
    let index = location
        .read_file(&name, "salvor-index.zst", 1 << 20)
        .await
        .expect("readable");
    let index = salvor_archive::index::Index::decode(&index.expect("there"), Default::default());
    assert_eq!(index.expect("sound").object_count(), outcome.stats.items);
}
