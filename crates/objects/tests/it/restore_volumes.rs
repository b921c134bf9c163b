//! Data of volumes put back: before the pods that mount it, or behind their init container, and never half.

use expect_test::expect;
use salvor_api::velero::RestorePhase;
use salvor_archive::files::{SalvorVolume, VolumeOutcome};
use salvor_cluster::WriteOptions;
use salvor_objects::restore::modifiers::Modifiers;
use salvor_objects::restore::plan::PlanForm;
use salvor_volume::VolumePlace;
use serde_json::{Value, json};

use crate::restore_world::{
    carried_out, complaints, live, planned, restore_file, stored, with_spec,
};
use crate::volume_world::{
    Behaviour, Mover, backup_with, claim, class, host_path, mounting, put, restoring, resumed,
    saved, stateful_set,
};
use crate::world::{World, config_map};

const NONE: [String; 0] = [];

/// A stateful set with its pod and filled claim, an operator's object that owns the set, and a settings map.
fn database() -> Vec<(&'static str, Value)> {
    let mut set = stateful_set("db");
    set["metadata"]["ownerReferences"] = json!([{"apiVersion": "shop.example/v1", "kind": "Database",
        "name": "main", "uid": "uid-of-main", "controller": true}]);
    let mut pod = mounting("db-0", "data-db-0");
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db",
        "uid": "uid-of-db", "controller": true}]);
    let mut main = with_spec(
        stored("shop.example/v1", "Database", "prod", "main"),
        json!({"size": 1}),
    );
    main["metadata"]["uid"] = json!("uid-of-main");
    vec![
        (
            "customresourcedefinitions.apiextensions.k8s.io",
            databases(),
        ),
        ("storageclasses.storage.k8s.io", class("fast")),
        (
            "persistentvolumes",
            host_path("pv-db", "fast", "data-db-0", "/srv/db"),
        ),
        (
            "persistentvolumeclaims",
            claim("data-db-0", "fast", "pv-db"),
        ),
        ("pods", pod),
        ("statefulsets.apps", set),
        ("databases.shop.example", main),
        ("configmaps", config_map("prod", "settings")),
    ]
}

fn databases() -> Value {
    with_spec(
        stored(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "",
            "databases.shop.example",
        ),
        json!({"group": "shop.example", "scope": "Namespaced",
            "names": {"kind": "Database", "plural": "databases", "singular": "database", "listKind": "DatabaseList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}),
    )
}

#[tokio::test]
async fn a_claim_is_filled_before_anything_that_mounts_it_is_made() {
    let location = backup_with(&database(), vec![saved("prod", "data-db-0", "pv-db")]).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    let mut request = restoring(&world, &location, "r", &mover).await;
    request
        .restore
        .spec
        .namespace_mapping
        .insert("prod".into(), "copy".into());
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(complaints(&outcome), NONE);
    assert_eq!(*outcome.phase(), RestorePhase::Completed);

    let asked = mover.asked().remove(0);
    assert_eq!(asked.there, NONE, "nothing stood that could mount it");
    assert_eq!(asked.annotations, json!({"salvor.dev/unfilled-by": "r"}));
    let job = asked.job.expect("a job");
    let VolumePlace::Claim { claim, placement } = &job.place else {
        panic!("{job:?}")
    };
    assert_eq!(
        (claim.namespace.as_str(), claim.volume.as_str()),
        ("copy", ""),
        "another volume, another namespace"
    );
    assert_eq!(
        placement.node_selector,
        json!({"disk": "ssd"}),
        "where the pod can run"
    );
    assert_eq!(
        (job.domain.as_str(), job.source_namespace.as_str()),
        ("ns-prod", "prod")
    );
    assert_eq!(
        (job.of.uid.as_str(), job.of.location.as_str()),
        ("restore-uid", "default")
    );
    assert_eq!(job.done_marker, None);

    let claim = live(&world, "persistentvolumeclaims", Some("copy"), "data-db-0").await;
    assert_eq!(
        claim["metadata"]["annotations"]["salvor.dev/unfilled-by"],
        Value::Null
    );
    for (resource, name) in [
        ("pods", "db-0"),
        ("statefulsets", "db"),
        ("databases", "main"),
    ] {
        assert!(
            world.get(resource, Some("copy"), name).await.is_some(),
            "{resource}"
        );
    }
    let info: Value =
        serde_json::from_slice(&restore_file(&location, "r", "r-volumeinfo.json.gz").await)
            .expect("JSON");
    assert_eq!(info[0]["pvcName"], "data-db-0");
    assert_eq!(
        (&info[0]["pvName"], &info[0]["restoreMethod"]),
        (&json!("pv-new"), &json!("PodVolumeRestore"))
    );
    assert_eq!(info[0]["pvrInfo"]["Phase"], "Completed");
}

#[tokio::test]
async fn the_plan_names_each_volume_with_its_data() {
    let mut skipped = SalvorVolume {
        outcome: VolumeOutcome::Skipped,
        reason: "its pod does not run".into(),
        ..saved("prod", "cold", "pv-cold")
    };
    skipped.snapshot = None;
    let mut objects = database();
    objects.push(("persistentvolumeclaims", claim("cold", "fast", "pv-cold")));
    let location = backup_with(&objects, vec![saved("prod", "data-db-0", "pv-db"), skipped]).await;
    let world = World::empty();
    let request = restoring(&world, &location, "r", &Mover::of(&world)).await;
    let plan = planned(&request).await.expect("a plan");
    expect![[r#"
        STAGE        ACTION  RESOURCE                                        NAME                    REASON
        definitions  create  customresourcedefinitions.apiextensions.k8s.io  databases.shop.example
        namespaces   create  namespaces                                      prod                    needed by the objects in it
        volumes      create  storageclasses.storage.k8s.io                   fast
        volumes      skip    persistentvolumes                               pv-db                   its claim gets a new volume, which is filled from the backup
        claims       create  persistentvolumeclaims                          prod/cold
        claims       create  persistentvolumeclaims                          prod/data-db-0
        settings     create  configmaps                                      prod/settings
        data         leave   persistentvolumeclaims                          prod/cold               no data of it is in the backup: its pod does not run
        data         fill    persistentvolumeclaims                          prod/data-db-0          4096 bytes of snapshot 01234567 in ns-prod
        pods         create  pods                                            prod/db-0
        rest         create  databases.shop.example                          prod/main
        rest         create  statefulsets.apps                               prod/db

        9 create, 1 skip, 1 volume filled
    "#]]
    .assert_eq(&plan.render(PlanForm::Table));
    let json: Value = serde_json::from_str(&plan.render(PlanForm::Json)).expect("JSON");
    let before = json!([
        "pods prod/db-0",
        "databases.shop.example prod/main",
        "statefulsets.apps prod/db"
    ]);
    assert_eq!(json["volumes"][1]["before"], before);
    let stored = plan.encode().expect("memory");
    assert_eq!(
        salvor_objects::restore::RestorePlan::decode(&stored).expect("what was written"),
        plan
    );
}

#[tokio::test]
async fn what_uses_a_volume_that_is_not_filled_is_held_back_until_a_resumed_run_fills_it() {
    let mut objects = database();
    objects.push(("persistentvolumeclaims", claim("logs", "fast", "pv-logs")));
    objects.push(("pods", mounting("web", "logs")));
    let volumes = vec![
        saved("prod", "data-db-0", "pv-db"),
        saved("prod", "logs", "pv-logs"),
    ];
    let location = backup_with(&objects, volumes).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    mover.behave(
        "prod/data-db-0",
        Some(Behaviour::Fails("the node is full".into())),
    );
    let request = restoring(&world, &location, "r", &mover).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    let reason = outcome.restore.status.failure_reason.as_str();
    assert!(reason.contains("restore create r --resume"), "{reason}");
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("prod/data-db-0: not filled: the node is full"),
        "{told}"
    );
    for held in [
        "pods prod/db-0",
        "statefulsets.apps prod/db",
        "databases.shop.example prod/main",
    ] {
        let line = told
            .lines()
            .find(|line| line.contains(held) || line.contains("held back"));
        assert!(line.is_some(), "{held}: {told}");
    }
    for (resource, name) in [
        ("pods", "db-0"),
        ("statefulsets", "db"),
        ("databases", "main"),
    ] {
        assert!(
            world.get(resource, Some("prod"), name).await.is_none(),
            "{resource} would begin empty"
        );
    }
    for (resource, name) in [("pods", "web"), ("configmaps", "settings")] {
        assert!(
            world.get(resource, Some("prod"), name).await.is_some(),
            "{resource}"
        );
    }

    mover.behave("prod/data-db-0", None);
    let outcome = resumed(&world, &location, "r", &mover)
        .await
        .expect("a restore");
    assert_eq!(complaints(&outcome), NONE);
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    let mut targets = mover.targets();
    assert_eq!(
        targets.pop().as_deref(),
        Some("prod/data-db-0"),
        "only that one, again"
    );
    assert_eq!(targets.len(), 2);
    for (resource, name) in [
        ("pods", "db-0"),
        ("statefulsets", "db"),
        ("databases", "main"),
    ] {
        assert!(
            world.get(resource, Some("prod"), name).await.is_some(),
            "{resource}"
        );
    }
    let again = resumed(&world, &location, "r", &mover).await;
    assert!(again.is_err(), "it is finished now");
}

#[tokio::test]
async fn a_restore_killed_while_a_claim_is_filled_fills_it_again() {
    let location = backup_with(&database(), vec![saved("prod", "data-db-0", "pv-db")]).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    mover.behave("prod/data-db-0", Some(Behaviour::Hangs));
    let request = restoring(&world, &location, "r", &mover).await;
    tokio::select! {
        ended = carried_out(&request, &location) => panic!("{ended:?}"),
        () = mover.was_asked(1) => {}
    }
    assert!(world.get("pods", Some("prod"), "db-0").await.is_none());
    mover.behave("prod/data-db-0", None);
    let outcome = resumed(&world, &location, "r", &mover)
        .await
        .expect("a restore");
    assert_eq!(complaints(&outcome), NONE);
    assert_eq!(mover.targets(), ["prod/data-db-0", "prod/data-db-0"]);
    assert!(world.get("pods", Some("prod"), "db-0").await.is_some());
}

#[tokio::test]
async fn the_most_important_application_is_up_before_the_last_byte_is_copied() {
    let mut urgent = claim("urgent", "fast", "pv-u");
    urgent["metadata"]["annotations"]["salvor.dev/restore-priority"] = json!("10");
    let objects = [
        ("storageclasses.storage.k8s.io", class("fast")),
        ("persistentvolumeclaims", claim("archive", "fast", "pv-a")),
        ("persistentvolumeclaims", urgent),
        ("pods", mounting("archive-0", "archive")),
        ("pods", mounting("urgent-0", "urgent")),
    ];
    let volumes = vec![
        saved("prod", "archive", "pv-a"),
        saved("prod", "urgent", "pv-u"),
    ];
    let location = backup_with(&objects, volumes).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    mover.behave(
        "prod/archive",
        Some(Behaviour::UntilPod("prod/urgent-0".into())),
    );
    let request = restoring(&world, &location, "r", &mover).await;
    let plan = planned(&request).await.expect("a plan");
    let order: Vec<&str> = plan
        .header
        .data
        .iter()
        .map(|data| data.claim.as_str())
        .collect();
    assert_eq!(order, ["urgent", "archive"]);
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(complaints(&outcome), NONE);
    assert!(world.get("pods", Some("prod"), "archive-0").await.is_some());
}

#[tokio::test]
async fn entries_that_are_not_as_they_were_are_an_error_and_the_application_comes_up() {
    let location = backup_with(&database(), vec![saved("prod", "data-db-0", "pv-db")]).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    mover.behave("prod/data-db-0", Some(Behaviour::Imperfect));
    let request = restoring(&world, &location, "r", &mover).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    expect!["error: persistentvolumeclaims prod/data-db-0: 2 entries are missing or not as they were: etc/shadow: owner: not permitted"]
        .assert_eq(&complaints(&outcome).join("\n"));
    assert!(world.get("pods", Some("prod"), "db-0").await.is_some());
}

/// Plays the kubelet: the first container of the pod runs.
async fn begins_to_wait(world: &World, name: &str) {
    let api = world.resource("pods").await;
    let pod = loop {
        if let Some(pod) = world.get("pods", Some("prod"), name).await {
            break serde_json::from_slice::<Value>(&pod).expect("JSON");
        }
        tokio::task::yield_now().await;
    };
    let container = &pod["spec"]["initContainers"][0]["name"];
    let patch = json!({"status": {"phase": "Pending", "initContainerStatuses": [{"name": container,
        "ready": false, "restartCount": 0, "image": "i", "imageID": "i",
        "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}});
    let (patch, options) = (patch.to_string(), WriteOptions::default());
    let sent = world.cluster.merge_patch(
        &api,
        Some("prod"),
        name,
        Some("status"),
        patch.as_bytes(),
        &options,
    );
    sent.await.expect("patched");
}

#[tokio::test]
async fn a_volume_that_lives_with_its_pod_is_filled_behind_an_init_container() {
    let pod = with_spec(
        stored("v1", "Pod", "prod", "web"),
        json!({"nodeName": "node-1", "volumes": [{"name": "cache", "emptyDir": {}}],
            "initContainers": [{"name": "restore-wait", "image": "old"}, {"name": "first", "image": "f:1"}],
            "containers": [{"name": "web", "image": "web:1", "securityContext": {"runAsUser": 1000},
                "volumeMounts": [{"name": "cache", "mountPath": "/c"}]}]}),
    );
    let cache = SalvorVolume {
        pod: "web".into(),
        pod_volume: "cache".into(),
        ..saved("prod", "", "")
    };
    let location = backup_with(&[("pods", pod)], vec![cache]).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    let mut request = restoring(&world, &location, "r", &mover).await;
    // Plays the scheduler.
    let node = "version: v1\nresourceModifierRules:\n- conditions: {groupResource: pods}\n  mergePatches:\n  - patchData: '{\"spec\": {\"nodeName\": \"node-7\"}}'\n";
    request.options.modifiers = Some(Modifiers::parse(node).expect("valid"));
    let (outcome, ()) = tokio::join!(
        carried_out(&request, &location),
        begins_to_wait(&world, "web")
    );
    let outcome = outcome.expect("a restore");
    assert_eq!(complaints(&outcome), NONE);
    let job = mover.asked().remove(0).job.expect("a job");
    assert_eq!(job.done_marker.as_deref(), Some(".velero/restore-uid"));
    let VolumePlace::Pod { node, volume, .. } = &job.place else {
        panic!("{job:?}")
    };
    assert_eq!((node.as_str(), volume.as_str()), ("node-7", "cache"));
    let pod = live(&world, "pods", Some("prod"), "web").await;
    let containers = &pod["spec"]["initContainers"];
    assert_eq!(
        containers.as_array().map(Vec::len),
        Some(2),
        "the old one is replaced: {containers}"
    );
    assert_eq!(
        containers[0]["args"],
        json!([
            "restore-wait",
            ".velero/restore-uid",
            "--seconds",
            "28800",
            "--below",
            "/restores"
        ])
    );
    assert_eq!(containers[0]["image"], "salvor:test");
    assert_eq!(
        containers[0]["securityContext"],
        json!({"runAsUser": 1000, "allowPrivilegeEscalation": false})
    );
    assert_eq!(containers[1]["name"], "first");
    let second = restoring(&world, &location, "r2", &mover).await;
    let plan = planned(&second).await.expect("a plan");
    assert!(
        plan.changes_nothing(),
        "the restored pod is the pod of the backup: {}",
        plan.render(PlanForm::Table)
    );
}

#[tokio::test]
async fn a_pods_own_volume_that_was_wanted_and_not_copied_is_a_warning() {
    let pod = with_spec(
        stored("v1", "Pod", "prod", "web"),
        json!({"volumes": [{"name": "cache", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}],
            "containers": [{"name": "web", "image": "web:1"}]}),
    );
    let of_pod = |name: &str, outcome: VolumeOutcome, reason: &str| SalvorVolume {
        namespace: "prod".into(),
        pod: "web".into(),
        pod_volume: name.into(),
        outcome,
        reason: reason.into(),
        ..SalvorVolume::default()
    };
    let volumes = vec![
        of_pod(
            "cache",
            VolumeOutcome::Failed,
            "its annotation asks for it, but the node was away",
        ),
        of_pod("scratch", VolumeOutcome::Skipped, "nobody asked for it"),
    ];
    let location = backup_with(&[("pods", pod)], volumes).await;
    let world = World::empty();
    let request = restoring(&world, &location, "r", &Mover::of(&world)).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    let told = "warning: pods prod/web: volume cache: comes back empty: no data of it is in the backup: its annotation asks \
                for it, but the node was away";
    assert_eq!(complaints(&outcome), [told]);
}

#[tokio::test]
async fn a_volume_whose_data_velero_has_is_named_and_everything_else_comes_back() {
    let location = backup_with(&[], vec![]).await;
    drop(location);
    let location = crate::world::memory_location();
    crate::restore_world::hand_made(&location, &database()).await;
    let infos = json!([{"pvcName": "data-db-0", "pvcNamespace": "prod", "pvName": "pv-db", "backupMethod": "PodVolumeBackup",
        "skipped": false, "snapshotDataMoved": false, "preserveLocalSnapshot": false,
        "pvbInfo": {"snapshotHandle": "k1", "uploaderType": "kopia", "volumeName": "data", "podName": "db-0",
            "podNamespace": "prod", "Phase": "Completed"}}]);
    let bytes = salvor_archive::files::write_json_gz(&infos).expect("memory");
    put(&location, "backups/b/b-volumeinfo.json.gz", bytes).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    let request = restoring(&world, &location, "r", &mover).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(mover.targets(), NONE);
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("comes back empty: its data is in a kopia repository of Velero"),
        "{told}"
    );
    assert!(!told.contains("error:"), "{told}");
    assert!(world.get("pods", Some("prod"), "db-0").await.is_some());
}
