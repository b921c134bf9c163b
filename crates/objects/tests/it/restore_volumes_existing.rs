//! Data of volumes where the target has something already: claims, hand-made volumes, no node agent.

use salvor_api::velero::RestorePhase;
use serde_json::{Value, json};

use crate::restore_world::{carried_out, complaints, live};
use crate::volume_world::{
    Behaviour, Mover, backup_with, claim, class, host_path, mounting, restoring, saved,
};
use crate::world::{World, config_map};

const NONE: [String; 0] = [];

fn small() -> Vec<(&'static str, Value)> {
    vec![
        ("storageclasses.storage.k8s.io", class("fast")),
        ("persistentvolumeclaims", claim("data", "fast", "pv-d")),
        ("pods", mounting("db", "data")),
    ]
}

/// What a target has of namespace `prod`, as its user made it.
async fn target_with(objects: &[Value]) -> World {
    let world = World::empty();
    world
        .create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "prod"}}))
        .await;
    for object in objects {
        let mut object = object.clone();
        let metadata = object["metadata"].as_object_mut().expect("an object");
        for field in ["uid", "resourceVersion", "generation", "creationTimestamp"] {
            metadata.remove(field);
        }
        world.create(object).await;
    }
    world
}

#[tokio::test]
async fn a_claim_that_exists_is_filled_only_when_updates_are_asked_for() {
    for (policy, filled, word) in [
        ("", false, "keeps what it holds"),
        ("recreate", false, "keeps what it holds"),
        ("update", true, "filled in place"),
    ] {
        let location = backup_with(&small(), vec![saved("prod", "data", "pv-d")]).await;
        let world = target_with(&[claim("data", "fast", "pv-own")]).await;
        let mover = Mover::of(&world);
        let mut request = restoring(&world, &location, "r", &mover).await;
        request.restore.spec.existing_resource_policy = policy.to_owned();
        let outcome = carried_out(&request, &location).await.expect("a restore");
        assert_eq!(!mover.targets().is_empty(), filled, "{policy}");
        let told = complaints(&outcome).join("\n");
        assert!(told.contains(word), "{policy}: {told}");
        assert!(
            world.get("pods", Some("prod"), "db").await.is_some(),
            "{policy}"
        );
    }
}

#[tokio::test]
async fn a_claim_that_a_pod_mounts_is_never_written_into() {
    let location = backup_with(&small(), vec![saved("prod", "data", "pv-d")]).await;
    let world = target_with(&[claim("data", "fast", "pv-own"), mounting("other", "data")]).await;
    let mover = Mover::of(&world);
    let mut request = restoring(&world, &location, "r", &mover).await;
    request.restore.spec.existing_resource_policy = "update".to_owned();
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(mover.targets(), NONE);
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("error: persistentvolumeclaims prod/data: not filled: pod prod/other mounts"),
        "{told}"
    );
    assert!(world.get("pods", Some("prod"), "db").await.is_none());
}

#[tokio::test]
async fn a_claim_that_another_restore_made_and_did_not_fill_is_filled_by_the_next() {
    let location = backup_with(&small(), vec![saved("prod", "data", "pv-d")]).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    mover.behave("prod/data", Some(Behaviour::Fails("gone".into())));
    let first = restoring(&world, &location, "r1", &mover).await;
    let outcome = carried_out(&first, &location).await.expect("a restore");
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    let claim = live(&world, "persistentvolumeclaims", Some("prod"), "data").await;
    assert_eq!(
        claim["metadata"]["annotations"]["salvor.dev/unfilled-by"],
        "r1"
    );
    mover.behave("prod/data", None);
    let second = restoring(&world, &location, "r2", &mover).await;
    let outcome = carried_out(&second, &location).await.expect("a restore");
    assert_eq!(complaints(&outcome), NONE);
    assert_eq!(mover.targets().len(), 2);
    assert!(world.get("pods", Some("prod"), "db").await.is_some());
    let claim = live(&world, "persistentvolumeclaims", Some("prod"), "data").await;
    assert_eq!(
        claim["metadata"]["annotations"]["salvor.dev/unfilled-by"],
        Value::Null
    );
}

/// Claim and pod on a hand-made volume.
fn by_hand() -> Vec<(&'static str, Value)> {
    vec![
        (
            "persistentvolumes",
            host_path("pv-d", "manual", "data", "/srv/d"),
        ),
        ("persistentvolumeclaims", claim("data", "manual", "pv-d")),
        ("pods", mounting("db", "data")),
        ("configmaps", config_map("prod", "settings")),
    ]
}

#[tokio::test]
async fn a_hand_made_volume_comes_back_for_its_claim_and_is_filled() {
    let location = backup_with(&by_hand(), vec![saved("prod", "data", "pv-d")]).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    let request = restoring(&world, &location, "r", &mover).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(
        *outcome.phase(),
        RestorePhase::Completed,
        "{:?}",
        complaints(&outcome)
    );
    assert_eq!(mover.targets(), ["prod/data"]);
    let volume = live(&world, "persistentvolumes", None, "pv-d").await;
    assert_eq!(volume["spec"]["claimRef"]["name"], "data", "reserved");
    assert_eq!(volume["spec"]["claimRef"]["uid"], Value::Null);
    let claim = live(&world, "persistentvolumeclaims", Some("prod"), "data").await;
    assert_eq!(claim["spec"]["volumeName"], "pv-d");
}

#[tokio::test]
async fn a_released_volume_is_offered_to_the_claim_of_its_name_again() {
    let location = backup_with(&by_hand(), vec![saved("prod", "data", "pv-d")]).await;
    let mut volume = host_path("pv-d", "manual", "data", "/srv/d");
    volume["status"] = json!({"phase": "Released"});
    let world = target_with(&[volume]).await;
    let patch = json!({"status": {"phase": "Released"}}).to_string();
    let api = world.resource("persistentvolumes").await;
    let options = salvor_cluster::WriteOptions::default();
    let sent = world.cluster.merge_patch(
        &api,
        None,
        "pv-d",
        Some("status"),
        patch.as_bytes(),
        &options,
    );
    sent.await.expect("patched");
    let mover = Mover::of(&world);
    let request = restoring(&world, &location, "r", &mover).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(
        *outcome.phase(),
        RestorePhase::Completed,
        "{:?}",
        complaints(&outcome)
    );
    let volume = live(&world, "persistentvolumes", None, "pv-d").await;
    assert_eq!(volume["spec"]["claimRef"]["uid"], Value::Null);
    assert_eq!(volume["spec"]["claimRef"]["name"], "data");
    assert_eq!(mover.targets(), ["prod/data"]);
}

#[tokio::test]
async fn a_hand_made_volume_that_serves_another_claim_blocks_its_own_and_says_what_to_do() {
    let mut other = host_path("pv-x", "manual", "elsewhere", "/srv/d");
    other["spec"]["claimRef"]["namespace"] = json!("bank");
    let location = backup_with(&by_hand(), vec![saved("prod", "data", "pv-d")]).await;
    let world = target_with(&[other]).await;
    let mover = Mover::of(&world);
    let request = restoring(&world, &location, "r", &mover).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    assert_eq!(mover.targets(), NONE);
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("the target's volume pv-x is of the same place: free it"),
        "{told}"
    );
    assert!(
        world.get("pods", Some("prod"), "db").await.is_none(),
        "it would wait for ever, or begin empty"
    );
    assert!(
        world
            .get("configmaps", Some("prod"), "settings")
            .await
            .is_some()
    );
}

#[tokio::test]
async fn without_a_node_agent_what_uses_the_data_waits_unless_the_data_is_not_wanted() {
    let location = backup_with(&small(), vec![saved("prod", "data", "pv-d")]).await;
    let world = World::empty();
    let mover = Mover::of(&world);
    let mut request = restoring(&world, &location, "r1", &mover).await;
    request.options.data_mover = None;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    let told = complaints(&outcome).join("\n");
    assert!(told.contains("install --use-node-agent"), "{told}");
    assert!(world.get("pods", Some("prod"), "db").await.is_none());

    let world = World::empty();
    let mut request = restoring(&world, &location, "r2", &mover).await;
    request.options.data_mover = None;
    request.restore.spec.restore_pvs = Some(false);
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(
        *outcome.phase(),
        RestorePhase::Completed,
        "{:?}",
        complaints(&outcome)
    );
    assert!(world.get("pods", Some("prod"), "db").await.is_some());
    let claim = live(&world, "persistentvolumeclaims", Some("prod"), "data").await;
    assert_eq!(
        claim["metadata"]["annotations"]["salvor.dev/unfilled-by"],
        Value::Null
    );
    assert_eq!(mover.targets(), NONE);
}

#[tokio::test]
async fn what_a_backup_copied_is_what_a_restore_fills() {
    let source = World::platform().await;
    let location = crate::world::memory_location();
    let copied = crate::movers::Movers::good();
    let options = salvor_objects::backup::BackupOptions {
        data_mover: Some(std::sync::Arc::new(copied.clone())),
        ..Default::default()
    };
    let backup = crate::world::request("b", |backup| {
        backup.spec.included_namespaces = vec!["shop".to_owned()];
        backup.spec.default_volumes_to_fs_backup = Some(true);
    });
    let request = salvor_objects::backup::BackupRequest {
        cluster: source.cluster.clone(),
        location: location.clone(),
        backup,
        options,
    };
    let sink = salvor_objects::backup::ProgressSink::none();
    salvor_objects::backup::run(request, sink)
        .await
        .expect("a backup");
    assert_eq!(copied.places(), ["shop/data by itself"]);

    let world = World::empty();
    let mover = Mover::of(&world);
    let request = restoring(&world, &location, "r", &mover).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(complaints(&outcome), NONE);
    assert_eq!(mover.targets(), ["shop/data"]);
    let job = mover.asked().remove(0).job.expect("a job");
    assert_eq!(
        (job.domain.as_str(), job.snapshot, job.bytes),
        ("ns-shop", "ab".repeat(32), 1000)
    );
}
