//! Pods with hooks whose claims are in one group stand still together, so that the snapshots of one moment are of
//! applications that all stand still.

use salvor_api::velero::BackupPhase;
use salvor_archive::files::{Consistency, SalvorVolume};
use salvor_location::Location;
use salvor_objects::backup::{BackupOptions, BackupOutcome, BackupRequest, ProgressSink, run};
use serde_json::json;

use crate::csi_driver::Driver;
use crate::hook_world::{Hosts, set_status};
use crate::snapshot_world::{
    DRIVER, claim_and_volume, is_bound, snapshot_class, volumes, with_snapshots,
};
use crate::world::{World, memory_location, request};

/// Pods `a` and `b` of group `orders` and `c` of none, each with its claim; `a` runs this before it is captured.
async fn shop(before_a: &str) -> (World, Hosts, Driver) {
    let (world, hosts) = Hosts::new().await;
    let driver = with_snapshots(&world).await;
    world.create(snapshot_class("fast")).await;
    world
        .create(json!({"apiVersion": "groupsnapshot.storage.k8s.io/v1beta1", "kind": "VolumeGroupSnapshotClass",
            "metadata": {"name": "fast"}, "driver": DRIVER, "deletionPolicy": "Delete"}))
        .await;
    for (pod, group) in [("a", "orders"), ("b", "orders"), ("c", "")] {
        let claim = format!("{pod}-data");
        let [volume, mut object] = claim_and_volume(&claim, &format!("{pod}-volume"));
        object["metadata"]["labels"]["velero.io/volume-group"] = json!(group);
        world.create(volume).await;
        world.create(object).await;
        is_bound(&world, "shop", &claim).await;
        let before = if pod == "a" { before_a } else { "freeze" };
        let hooks = json!({"pre.hook.backup.velero.io/command": json!([before]).to_string(),
            "post.hook.backup.velero.io/command": "[\"thaw\"]"});
        world
            .create(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": "shop", "name": pod, "annotations": hooks},
                "spec": {"containers": [{"name": "main", "image": "i"}],
                    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}}))
            .await;
        set_status(&world, pod, json!({"phase": "Running"})).await;
    }
    (world, hosts, driver)
}

async fn backed_up(world: &World, location: &Location) -> BackupOutcome {
    let backup = request("b", |backup| {
        backup.metadata.uid = "uid-of-b".to_owned();
        backup.spec.included_namespaces = vec!["shop".to_owned()];
    });
    let request = BackupRequest {
        cluster: world.cluster.clone(),
        location: location.clone(),
        backup,
        options: BackupOptions::default(),
    };
    run(request, ProgressSink::none()).await.expect("a backup")
}

fn of<'a>(records: &'a [SalvorVolume], claim: &str) -> &'a SalvorVolume {
    let found = records.iter().find(|record| record.claim == claim);
    found.unwrap_or_else(|| panic!("{claim}: {records:?}"))
}

/// What the pods of the group ran, in order.
fn of_group(hosts: &Hosts) -> Vec<String> {
    let said = hosts.said();
    said.into_iter()
        .filter(|line| !line.starts_with("shop/c"))
        .collect()
}

#[tokio::test]
async fn all_of_them_stand_still_before_one_snapshot_is_taken() {
    let (world, hosts, driver) = shop("freeze").await;
    let location = memory_location();
    let outcome = backed_up(&world, &location).await;
    let results = &outcome.results;
    let phase = &outcome.backup.status.phase;
    assert_eq!(*phase, BackupPhase::Completed, "{results:?}");
    assert_eq!(
        of_group(&hosts),
        [
            "shop/a main freeze",
            "shop/b main freeze",
            "shop/a main thaw",
            "shop/b main thaw"
        ]
    );
    let records = volumes(&location).await;
    let group = |claim: &str| {
        let record = of(&records, claim);
        assert_eq!(
            record.consistency,
            Some(Consistency::Application),
            "{claim}"
        );
        record.csi.as_ref().expect("a snapshot").group.clone()
    };
    assert_ne!(group("a-data"), "");
    assert_eq!(group("a-data"), group("b-data"));
    assert_eq!(group("c-data"), "");
    assert_eq!(driver.handles().len(), 3);
}

#[tokio::test]
async fn one_that_fails_to_stand_still_is_told_and_all_go_on() {
    let (world, hosts, _driver) = shop("fail").await;
    let location = memory_location();
    let outcome = backed_up(&world, &location).await;
    let phase = &outcome.backup.status.phase;
    assert_eq!(*phase, BackupPhase::PartiallyFailed);
    assert_eq!(
        of_group(&hosts),
        [
            "shop/a main fail",
            "shop/b main freeze",
            "shop/a main thaw",
            "shop/b main thaw"
        ]
    );
    let records = volumes(&location).await;
    // What the other wrote stood still, what they share did not.
    assert_eq!(of(&records, "b-data").consistency, Some(Consistency::Crash));
    assert_eq!(
        of(&records, "c-data").consistency,
        Some(Consistency::Application)
    );
}
