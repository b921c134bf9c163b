//! Volumes whose snapshots stay in the storage: taken by a backup, made volumes of by a restore. The driver is a
//! stand-in that knows which snapshot a volume was made of.

use std::time::Duration;

use salvor_api::go::GoDuration;
use salvor_api::resource_policy::Use;
use salvor_api::velero::{Backup, BackupPhase, RestorePhase};
use salvor_archive::files::{Consistency, VolumeMethod, VolumeOutcome};
use salvor_location::claim::ClaimPolicy;
use salvor_location::{Location, RunId};
use salvor_objects::backup::{BackupOptions, BackupOutcome, BackupRequest, ProgressSink, run};
use salvor_objects::policy;
use salvor_objects::restore::{Observer, RestoreOptions, RestoreOutcome, resume};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::csi_driver::{Driver, Mood, SIZE};
use crate::restore_world::{carried_out, complaints, planned, request, restore_file};
use crate::snapshot_world::{
    DRIVER, claim_and_volume, empty, is_bound, lose, object, snapshot_class, snapshot_objects,
    storage_class, until, volumes, world,
};
use crate::world::{self, Stored, World, back_up, memory_location};

const NONE: [String; 0] = [];

/// A location in which a run that is over holds nothing.
fn location() -> Location {
    memory_location().with_claim_policy(ClaimPolicy {
        lease: Duration::ZERO,
        heartbeat: Duration::from_secs(3600),
        settle: Duration::ZERO,
    })
}

fn of_shop(change: impl FnOnce(&mut Backup)) -> Backup {
    world::request("b", |backup| {
        backup.metadata.uid = "uid-of-b".to_owned();
        backup.spec.included_namespaces = vec!["shop".to_owned()];
        change(backup);
    })
}

async fn backed_up(world: &World, location: &Location) -> BackupOutcome {
    let outcome = back_up(world, location, of_shop(|_| ())).await;
    outcome.expect("a backup")
}

fn said(outcome: &BackupOutcome) -> String {
    let results = &outcome.results;
    format!("{:?}{:?}", results.warnings, results.errors)
}

async fn restored(
    world: &World,
    location: &Location,
    name: &str,
    namespace: &str,
    options: impl FnOnce(&mut RestoreOptions),
) -> RestoreOutcome {
    let request = request(&world.cluster, location, name, |restore, given| {
        restore.metadata.uid = format!("uid-of-{name}");
        let mapping = &mut restore.spec.namespace_mapping;
        mapping.insert("shop".to_owned(), namespace.to_owned());
        options(given);
    });
    carried_out(&request.await, location)
        .await
        .expect("a restore")
}

#[tokio::test]
async fn a_volume_comes_back_from_the_snapshot_that_the_storage_keeps() {
    let (world, driver) = world().await;
    let location = location();
    let outcome = backed_up(&world, &location).await;
    let status = &outcome.backup.status;
    assert_eq!(status.phase, BackupPhase::Completed, "{}", said(&outcome));
    let counts = (
        status.csi_volume_snapshots_attempted,
        status.csi_volume_snapshots_completed,
    );
    assert_eq!(counts, (1, 1));
    let [handle] = <[String; 1]>::try_from(driver.handles()).expect("one snapshot");
    assert_eq!(snapshot_objects(&world).await, NONE, "of the cluster");

    let [record] = <[_; 1]>::try_from(volumes(&location).await).expect("one volume");
    let csi = record.csi.clone().expect("a snapshot");
    assert_eq!(
        (record.outcome, record.method, record.consistency),
        (
            VolumeOutcome::Protected,
            Some(VolumeMethod::CsiSnapshot),
            Some(Consistency::Crash)
        )
    );
    assert_eq!(
        (&*csi.driver, &csi.handle, &*csi.class, csi.restore_size),
        (DRIVER, &handle, "fast", SIZE)
    );
    is_as_velero_has_it(&Stored::read(&location, "b").await, &csi.snapshot, &handle);

    lose(&world, "shop", "data").await;
    for (restore, namespace) in [("r1", "shop"), ("r2", "copy")] {
        let outcome = restored(&world, &location, restore, namespace, |_| ()).await;
        assert_eq!(complaints(&outcome), NONE);
        assert_eq!(*outcome.phase(), RestorePhase::Completed);
        let volume = is_bound(&world, namespace, "data").await;
        assert_eq!(driver.made_of(&volume).as_ref(), Some(&handle));
        assert_eq!(snapshot_objects(&world).await, NONE, "after {restore}");
        let claims = "persistentvolumeclaims";
        let claim = object(&world, claims, Some(namespace), "data").await;
        let metadata = &claim["metadata"];
        assert_eq!(metadata["labels"]["app"], "shop");
        assert_eq!(
            metadata["labels"]["velero.io/volume-snapshot-name"],
            Value::Null
        );
        assert_eq!(
            metadata["annotations"]["salvor.dev/unfilled-by"],
            Value::Null
        );
        let file = format!("{restore}-volumeinfo.json.gz");
        let info = restore_file(&location, restore, &file).await;
        let info: Value = serde_json::from_slice(&info).expect("JSON");
        assert_eq!(info[0]["restoreMethod"], "CSISnapshot");
        assert_eq!(info[0]["pvName"], json!(volume));
        assert_eq!(info[0]["csiSnapshotInfo"]["snapshotHandle"], json!(handle));
    }
    assert_eq!(driver.handles(), [handle], "it stays for the next restore");

    // What is there is left alone, and told.
    let outcome = restored(&world, &location, "r3", "shop", |_| ()).await;
    assert_eq!(driver.volumes(), 2);
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("a snapshot comes back only as a new volume"),
        "{told}"
    );
}

/// What a Velero looks for that restores such a backup.
fn is_as_velero_has_it(stored: &Stored, snapshot: &str, handle: &str) {
    let body =
        |path: String| -> Value { serde_json::from_slice(stored.body(&path)).expect("JSON") };
    let claim = body("resources/persistentvolumeclaims/namespaces/shop/data.json".to_owned());
    assert_eq!(
        claim["metadata"]["annotations"]["velero.io/volume-snapshot-name"],
        json!(snapshot)
    );
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "2Gi");
    let group = "snapshot.storage.k8s.io";
    for version in ["", "v1-preferredversion/"] {
        let path =
            format!("resources/volumesnapshots.{group}/{version}namespaces/shop/{snapshot}.json");
        let object = body(path);
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(
            annotations["velero.io/csi-volumesnapshot-handle"],
            json!(handle)
        );
        assert_eq!(annotations["velero.io/csi-driver-name"], DRIVER);
        assert_eq!(object["status"]["readyToUse"], true);
    }
    assert!(stored.has(&format!("volumesnapshotclasses.{group} fast")));
    let contents = format!("volumesnapshotcontents.{group} ");
    let contents = stored
        .objects()
        .into_iter()
        .filter(|one| one.starts_with(&contents));
    assert_eq!(contents.count(), 1);
    let info = &stored.json("volumeinfo.json.gz")[0];
    for (field, expected) in [
        ("backupMethod", json!("CSISnapshot")),
        ("skipped", json!(false)),
        ("snapshotDataMoved", json!(false)),
        ("preserveLocalSnapshot", json!(true)),
        ("result", json!("succeeded")),
    ] {
        assert_eq!(info[field], expected, "{field}");
    }
    let csi = &info["csiSnapshotInfo"];
    assert_eq!(
        (&csi["snapshotHandle"], &csi["ReadyToUse"]),
        (&json!(handle), &json!(true))
    );
    assert_eq!(
        (&csi["driver"], &csi["size"]),
        (&json!(DRIVER), &json!(SIZE))
    );
}

#[tokio::test]
async fn a_driver_that_fails_or_is_silent_is_quoted_and_nothing_is_left() {
    let (world, driver) = world().await;
    let refused = "rpc error: code = InvalidArgument desc = the pool is full";
    for (mood, expected) in [
        (Mood::Fails(refused.to_owned()), "the pool is full"),
        (
            Mood::Fails("rpc error: code = Internal desc = try later".to_owned()),
            "try later",
        ),
        (Mood::Silent, "the snapshot controller has not taken it up"),
        (Mood::SlowReady(u32::MAX), "it is not ready to be used yet"),
    ] {
        driver.set(mood.clone());
        let location = location();
        let backup = of_shop(|backup| {
            backup.spec.csi_snapshot_timeout = GoDuration(Duration::from_secs(3));
            backup.spec.item_operation_timeout = GoDuration(Duration::from_secs(3));
        });
        let outcome = back_up(&world, &location, backup).await.expect("a backup");
        let status = &outcome.backup.status;
        assert_eq!(status.phase, BackupPhase::PartiallyFailed, "{mood:?}");
        let counts = (
            status.csi_volume_snapshots_attempted,
            status.csi_volume_snapshots_completed,
        );
        assert_eq!(counts, (1, 0), "{mood:?}");
        let errors = format!("{:?}", outcome.results.errors);
        assert!(
            errors.contains("volume pv-1 of claim shop/data"),
            "{errors}"
        );
        assert!(errors.contains(expected), "{mood:?}: {errors}");
        let records = volumes(&location).await;
        assert_eq!(records[0].outcome, VolumeOutcome::Failed);
        assert_eq!(records[0].csi, None);
        // The claim is in the backup all the same.
        let stored = Stored::read(&location, "b").await;
        assert!(stored.has("persistentvolumeclaims shop/data"), "{mood:?}");
        assert_eq!(snapshot_objects(&world).await, NONE, "{mood:?}");
        assert_eq!(driver.handles(), NONE, "{mood:?}");
    }
}

#[tokio::test]
async fn a_run_that_ends_without_a_backup_keeps_no_snapshot() {
    let (world, driver) = world().await;
    driver.set(Mood::SlowReady(u32::MAX));
    let cancel = CancellationToken::new();
    let request = BackupRequest {
        cluster: world.cluster.clone(),
        location: location(),
        backup: of_shop(|_| ()),
        options: BackupOptions {
            cancel: cancel.clone(),
            ..BackupOptions::default()
        },
    };
    let run = run(request, ProgressSink::none());
    let stopped = async {
        until("the storage has a snapshot", async || {
            !driver.handles().is_empty()
        })
        .await;
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(run, stopped);
    assert!(ended.expect_err("cancelled").is_cancelled());
    assert_eq!(snapshot_objects(&world).await, NONE);
    assert_eq!(driver.handles(), NONE);
}

#[tokio::test]
async fn what_a_killed_run_left_goes_when_the_next_one_begins() {
    let (world, driver) = world().await;
    let location = location();
    driver.set(Mood::SlowReady(u32::MAX));
    let killed = back_up(&world, &location, of_shop(|b| b.metadata.uid.clear()));
    let taken = until("the storage has a snapshot", async || {
        !driver.handles().is_empty()
    });
    tokio::select! {
        ended = killed => panic!("it waits for its snapshot: {ended:?}"),
        () = taken => {}
    }
    assert_ne!(snapshot_objects(&world).await, NONE);

    driver.set(Mood::Works);
    let next = of_shop(|backup| {
        backup.metadata.uid.clear();
        "b2".clone_into(&mut backup.metadata.name);
    });
    let outcome = back_up(&world, &location, next).await.expect("a backup");
    assert_eq!(outcome.backup.status.phase, BackupPhase::Completed);
    assert_eq!(snapshot_objects(&world).await, NONE);
    assert_eq!(driver.handles().len(), 1, "that of the backup that exists");
}

#[tokio::test]
async fn the_class_is_chosen_as_policy_and_labels_say_and_none_is_told() {
    let (world, driver) = empty().await;
    for object in claim_and_volume("data", "pv-1") {
        world.create(object).await;
    }
    is_bound(&world, "shop", "data").await;
    let place = location();
    let outcome = backed_up(&world, &place).await;
    assert_eq!(outcome.backup.status.phase, BackupPhase::Completed);
    assert_eq!(outcome.backup.status.csi_volume_snapshots_attempted, 0);
    let told = said(&outcome);
    let expected = "claim shop/data: its data was not backed up: choose a VolumeSnapshotClass for claim shop/data: no \
                    VolumeSnapshotClass is for driver disk.csi.example.io: create one, and no node agent";
    assert!(told.contains(expected), "{told}");

    for name in ["fast", "gold"] {
        world.create(snapshot_class(name)).await;
    }
    let place = location();
    let text = "version: v1\nvolumePolicies:\n- {conditions: {storageClass: [disk.csi.example.io]}, \
                  action: {type: snapshot, parameters: {snapshotClass: gold}}}\n";
    // Whether snapshots are wanted is for the policy to say.
    let backup = of_shop(|backup| backup.spec.snapshot_volumes = Some(false));
    let request = BackupRequest {
        cluster: world.cluster.clone(),
        location: place.clone(),
        backup,
        options: BackupOptions {
            policies: Some(policy::parse(text, Use::Backup).expect("valid")),
            ..BackupOptions::default()
        },
    };
    let outcome = run(request, ProgressSink::none()).await.expect("a backup");
    assert_eq!(
        outcome.backup.status.phase,
        BackupPhase::Completed,
        "{}",
        said(&outcome)
    );
    let csi = volumes(&place).await.remove(0).csi.expect("a snapshot");
    assert_eq!(csi.class, "gold");
    assert_eq!(driver.handles(), [csi.handle]);
}

#[tokio::test]
async fn claims_of_a_group_are_snapshotted_together_where_the_cluster_can() {
    let (world, driver) = world().await;
    for (claim, volume, group) in [
        ("db", "pv-2", "orders"),
        ("log", "pv-3", "orders"),
        ("other", "pv-4", "lone"),
    ] {
        let [volume, mut object] = claim_and_volume(claim, volume);
        object["metadata"]["labels"]["velero.io/volume-group"] = json!(group);
        world.create(volume).await;
        world.create(object).await;
        is_bound(&world, "shop", claim).await;
    }
    // Without a class for groups they are taken all the same, which is told.
    let place = location();
    let outcome = backed_up(&world, &place).await;
    assert_eq!(outcome.backup.status.phase, BackupPhase::Completed);
    let told = said(&outcome);
    assert!(
        told.contains("one after the other, not at one moment") && told.contains("claim shop/log"),
        "{told}"
    );
    assert_eq!(driver.handles().len(), 4);

    // The stand-in takes the snapshots of a group with the class of the same name.
    world
        .create(json!({"apiVersion": "groupsnapshot.storage.k8s.io/v1beta1", "kind": "VolumeGroupSnapshotClass",
            "metadata": {"name": "fast"}, "driver": DRIVER, "deletionPolicy": "Delete"}))
        .await;
    let place = location();
    let outcome = backed_up(&world, &place).await;
    let status = &outcome.backup.status;
    assert_eq!(status.phase, BackupPhase::Completed, "{}", said(&outcome));
    assert_eq!(status.csi_volume_snapshots_completed, 4);
    let records = volumes(&place).await;
    let of = |claim: &str| {
        let record = records.iter().find(|record| record.claim == claim);
        let csi = record.and_then(|record| record.csi.clone());
        csi.unwrap_or_else(|| panic!("{claim}: {records:?}"))
    };
    assert_ne!(of("db").group, "");
    assert_eq!(of("db").group, of("log").group);
    assert_ne!(of("db").handle, of("log").handle);
    assert_eq!(
        (of("other").group, of("data").group),
        (String::new(), String::new())
    );
    assert_eq!(driver.handles().len(), 8);
    assert_eq!(snapshot_objects(&world).await, NONE);
    assert!(world.list("volumegroupsnapshots").await.is_empty());
}

#[tokio::test]
async fn without_its_data_a_claim_comes_back_empty_with_a_warning() {
    let (world, driver) = world().await;
    let location = location();
    backed_up(&world, &location).await;
    lose(&world, "shop", "data").await;
    // Its volume is gone with it, as under the policy Delete.
    world.delete("persistentvolumes", None, "pv-1").await;
    until("the volume is gone", async || {
        object(&world, "persistentvolumes", None, "pv-1")
            .await
            .is_null()
    })
    .await;
    let request = request(&world.cluster, &location, "r", |restore, _| {
        restore.spec.restore_pvs = Some(false);
    })
    .await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("warning: ") && told.contains("empty"),
        "{told}"
    );
    let claim = object(&world, "persistentvolumeclaims", Some("shop"), "data").await;
    assert_eq!(claim["spec"]["dataSource"], Value::Null);
    assert_eq!(driver.volumes(), 0);
    assert_eq!(snapshot_objects(&world).await, NONE);
}

#[tokio::test]
async fn a_restore_that_is_gone_on_with_makes_no_second_volume() {
    let (world, driver) = world().await;
    let location = location();
    backed_up(&world, &location).await;
    lose(&world, "shop", "data").await;
    driver.set(Mood::WaitsForPod);
    let outcome = restored(&world, &location, "r", "copy", |options| {
        options.data_timeout = Duration::from_millis(300);
    })
    .await;
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    let told = complaints(&outcome).join("\n");
    assert!(told.contains("the claim got no volume"), "{told}");
    assert_eq!(
        snapshot_objects(&world).await.len(),
        2,
        "the claim may still need them"
    );

    driver.set(Mood::Works);
    let name = salvor_api::name::RestoreName::new("r").expect("valid");
    let outcome = Box::pin(resume(
        &world.cluster,
        &location,
        &name,
        RestoreOptions::default(),
        &RunId::generate(),
        &Observer::none(),
        &CancellationToken::new(),
    ))
    .await
    .expect("a restore");
    assert_eq!(complaints(&outcome), NONE);
    let volume = is_bound(&world, "copy", "data").await;
    assert_eq!(driver.made_of(&volume), driver.handles().pop());
    assert_eq!(driver.volumes(), 1);
    assert_eq!(snapshot_objects(&world).await, NONE);
}

#[tokio::test]
async fn a_claim_that_waits_for_its_pod_keeps_the_way_to_its_snapshot() {
    let (world, driver) = world().await;
    let location = location();
    backed_up(&world, &location).await;
    lose(&world, "shop", "data").await;
    world.delete("storageclasses", None, DRIVER).await;
    world.create(storage_class("WaitForFirstConsumer")).await;
    driver.set(Mood::WaitsForPod);
    let outcome = restored(&world, &location, "r", "copy", |_| ()).await;
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("its volume is made when its first pod runs"),
        "{told}"
    );
    assert_eq!(snapshot_objects(&world).await.len(), 2);
    // The pod comes.
    driver.set(Mood::Works);
    let volume = is_bound(&world, "copy", "data").await;
    assert_eq!(driver.made_of(&volume), driver.handles().pop());
}

#[tokio::test]
async fn nothing_is_made_where_no_volume_can_be_made_of_the_snapshot() {
    let (world, driver) = world().await;
    let location = location();
    let backup = of_shop(|backup| {
        backup.spec.csi_snapshot_timeout = GoDuration(Duration::from_secs(3));
    });
    back_up(&world, &location, backup).await.expect("a backup");
    lose(&world, "shop", "data").await;
    world.delete("storageclasses", None, DRIVER).await;
    let mut class = storage_class("Immediate");
    class["provisioner"] = json!("nfs.example.io");
    world.create(class).await;
    let request = request(&world.cluster, &location, "r", |_, _| ()).await;
    let plan = planned(&request).await.expect("a plan");
    let text = plan.render(salvor_objects::restore::plan::PlanForm::Table);
    assert!(
        text.contains("its storage class `disk.csi.example.io` is of nfs.example.io"),
        "{text}"
    );
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    let claim = object(&world, "persistentvolumeclaims", Some("shop"), "data").await;
    assert_eq!(claim, Value::Null, "an empty one would be the worst");

    // A snapshot that the storage does not know any more.
    world.delete("storageclasses", None, DRIVER).await;
    world.create(storage_class("Immediate")).await;
    forget(&world, &driver).await;
    let outcome = restored(&world, &location, "r2", "copy", |_| ()).await;
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("no snapshot disk.csi.example.io-snap-"),
        "{told}"
    );
    assert_eq!(driver.volumes(), 0);
}

/// Deletes what the storage has, by its own means.
async fn forget(world: &World, driver: &Driver) {
    for handle in driver.handles() {
        let content = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": "gone", "finalizers": ["example.io/x"]},
            "spec": {"driver": DRIVER, "deletionPolicy": "Delete", "source": {"snapshotHandle": handle},
                "volumeSnapshotRef": {"namespace": "shop", "name": "gone"}}});
        world.create(content).await;
        world.delete("volumesnapshotcontents", None, "gone").await;
    }
    until("the storage has nothing", async || {
        driver.handles().is_empty()
    })
    .await;
}
