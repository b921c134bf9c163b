//! What snapshots do to a cluster and a storage. Runs against the server in this process and against a real one.

use std::time::Duration;

use salvor_api::labels;
use salvor_cluster::Wait;
use salvor_volume::Placement;
use salvor_volume::csi::{
    Bound, CsiError, Fate, LeftoverKind, MoveSnapshot, RestoreSnapshot, SnapshotRef, Storage,
    TakeGroup,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::driver::{Mood, SIZE};
use super::world::{Mover, PATIENCE, World, create, of, patience, reference, until};

fn never() -> CancellationToken {
    CancellationToken::new()
}

#[tokio::test]
async fn a_snapshot_is_taken_archived_and_released_while_the_storage_keeps_it() {
    let Some(world) = World::new("takes").await else {
        return;
    };
    let snapshots = world.snapshots().await;
    let ask = world.ask("data").await;
    let taken = snapshots.take(&ask, &never()).await.expect("taken");
    assert!(
        taken.snapshot.starts_with("velero-data-"),
        "{}",
        taken.snapshot
    );
    assert_eq!(taken.driver, world.driver.name);
    assert_eq!(taken.class, world.driver.name);
    assert_eq!(taken.restore_size, SIZE);
    assert_eq!(world.driver.handles(), [taken.handle.as_str()]);

    let [snapshot, content, class] = taken.objects.as_slice() else {
        panic!("three objects: {:?}", taken.objects);
    };
    let metadata = &snapshot["metadata"];
    assert_eq!(metadata["labels"][labels::BACKUP_NAME], "nightly");
    assert_eq!(metadata["labels"]["app"], "shop", "the claim's labels");
    let annotations = &metadata["annotations"];
    assert_eq!(
        annotations["velero.io/csi-volumesnapshot-handle"],
        taken.handle.as_str()
    );
    assert_eq!(
        annotations["velero.io/csi-volumesnapshot-restore-size"],
        "2Gi"
    );
    assert_eq!(
        annotations["velero.io/csi-driver-name"],
        world.driver.name.as_str()
    );
    assert_eq!(annotations["velero.io/csi-vsc-deletion-policy"], "Delete");
    assert_eq!(content["status"]["snapshotHandle"], taken.handle.as_str());
    assert_eq!(class["kind"], "VolumeSnapshotClass");

    let mut claim = ask.claim.clone();
    taken.adjust_claim(&mut claim, "nightly");
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "2Gi");
    assert_eq!(
        claim["metadata"]["labels"]["velero.io/volume-snapshot-name"],
        taken.snapshot.as_str()
    );

    // A repeated call of the same run takes no second one.
    let again = snapshots.take(&ask, &never()).await.expect("taken");
    assert_eq!(again.handle, taken.handle);

    snapshots
        .release(&taken, Storage::Kept)
        .await
        .expect("released");
    assert!(world.objects().await.is_empty());
    assert_eq!(world.driver.handles(), [taken.handle.as_str()], "kept");
    snapshots
        .release(&taken, Storage::Kept)
        .await
        .expect("released twice");
}

#[tokio::test]
async fn transient_errors_are_waited_for_and_others_are_told_and_nothing_is_left() {
    let Some(world) = World::new("fails").await else {
        return;
    };
    let snapshots = world.snapshots().await;
    let busy = "rpc error: code = Aborted desc = busy";
    for mood in [Mood::Slow(8), Mood::FailsOnce(busy.to_owned())] {
        world.driver.set(mood.clone());
        let ask = world.ask("waits").await;
        let taken = snapshots.take(&ask, &never()).await;
        let taken = taken.unwrap_or_else(|error| panic!("{mood:?}: {error}"));
        snapshots
            .release(&taken, Storage::Deleted)
            .await
            .expect("released");
        world.is_clean("after a release").await;
    }
    // Enough for the driver to have looked at it once on a machine that has other work.
    let short = Duration::from_secs(5);
    let never_ready = "rpc error: code = Unimplemented desc = no snapshots here";
    for (mood, timeout, expected) in [
        (
            Mood::Fails(never_ready.to_owned()),
            PATIENCE,
            "no snapshots here",
        ),
        (Mood::Fails(busy.to_owned()), short, "desc = busy"),
        (
            Mood::Silent,
            Duration::from_millis(500),
            "has not taken it up",
        ),
        (Mood::Slow(u32::MAX), short, "has not made the snapshot"),
    ] {
        world.driver.set(mood.clone());
        let mut ask = world.ask("never").await;
        ask.timeout = timeout;
        let error = snapshots
            .take(&ask, &never())
            .await
            .expect_err("no snapshot");
        assert!(error.to_string().contains(expected), "{mood:?}: {error}");
        let in_time = matches!(error, CsiError::Refused { .. });
        assert_eq!(in_time, timeout == PATIENCE, "{mood:?}: {error:?}");
        world.is_clean(&format!("{mood:?}")).await;
    }
}

#[tokio::test]
async fn a_cancelled_snapshot_leaves_nothing() {
    let Some(world) = World::new("cancels").await else {
        return;
    };
    let snapshots = world.snapshots().await;
    world.driver.set(Mood::Slow(u32::MAX));
    let ask = world.ask("data").await;
    let cancel = CancellationToken::new();
    let taking = snapshots.take(&ask, &cancel);
    let stopping = async {
        // Once the driver has begun.
        until("the driver begins", async || {
            !world.list("VolumeSnapshotContent").await.is_empty()
        })
        .await;
        cancel.cancel();
    };
    let (taken, ()) = tokio::join!(taking, stopping);
    assert!(taken.expect_err("cancelled").is_cancelled());
    world.is_clean("cancelled").await;
}

#[tokio::test]
async fn readiness_is_waited_for_by_itself() {
    let Some(world) = World::new("ready").await else {
        return;
    };
    let snapshots = world.snapshots().await;
    world.driver.set(Mood::SlowReady(12));
    let ask = world.ask("data").await;
    let mut taken = snapshots.take(&ask, &never()).await.expect("taken");
    snapshots
        .ready(&mut taken, &patience())
        .await
        .expect("ready");
    assert!(taken.ready);
    assert_eq!(taken.objects[0]["status"]["readyToUse"], true);
    snapshots
        .release(&taken, Storage::Deleted)
        .await
        .expect("released");
    world.is_clean("after a release").await;
}

#[tokio::test]
async fn a_claim_is_made_of_a_snapshot_in_another_namespace() {
    let Some(world) = World::new("restores").await else {
        return;
    };
    let snapshots = world.snapshots().await;
    let ask = world.ask("data").await;
    let taken = snapshots.take(&ask, &never()).await.expect("taken");
    snapshots
        .release(&taken, Storage::Kept)
        .await
        .expect("released");

    let mut claim = ask.claim.clone();
    claim["metadata"] = json!({"namespace": world.server, "name": "data"});
    let restore = RestoreSnapshot {
        made_as: String::new(),
        of: of("back"),
        claim,
        snapshot: reference(&taken),
        name: taken.snapshot.clone(),
        restore_size: taken.restore_size,
        timeout: PATIENCE,
    };
    let (prepared, bound) = snapshots
        .restore_objects(&restore, &never())
        .await
        .expect("restored");
    let Bound::To(volume) = bound else {
        panic!("not bound: {bound:?}")
    };
    assert_eq!(prepared.snapshot.len(), 64, "a digest names it");
    assert_eq!(world.driver.made_of(&volume), Some(taken.handle.clone()));
    let claim = world
        .get("PersistentVolumeClaim", &world.server, "data")
        .await
        .expect("there");
    assert_eq!(
        claim["spec"]["dataSource"]["name"],
        prepared.snapshot.as_str()
    );
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "2Gi");
    assert!(world.objects().await.is_empty(), "what led to it is gone");
    assert_eq!(
        world.driver.handles(),
        [taken.handle.as_str()],
        "the storage keeps it"
    );

    // A snapshot that the storage does not have.
    let missing = RestoreSnapshot {
        snapshot: SnapshotRef {
            handle: "gone".to_owned(),
            ..reference(&taken)
        },
        name: "velero-other".to_owned(),
        timeout: Duration::from_millis(900),
        ..restore
    };
    let error = snapshots
        .restore_objects(&missing, &never())
        .await
        .expect_err("no snapshot");
    assert!(error.to_string().contains("no snapshot gone"), "{error}");
    assert!(world.objects().await.is_empty());
}

#[tokio::test]
async fn a_claim_that_waits_for_its_pod_keeps_the_way_to_its_snapshot() {
    let Some(world) = World::new("waits").await else {
        return;
    };
    let snapshots = world.snapshots().await;
    let ask = world.ask("data").await;
    let taken = snapshots.take(&ask, &never()).await.expect("taken");
    snapshots
        .release(&taken, Storage::Kept)
        .await
        .expect("released");
    world.driver.set(Mood::WaitsForPod);
    let mut claim = ask.claim.clone();
    claim["metadata"]["name"] = "again".into();
    let restore = RestoreSnapshot {
        made_as: String::new(),
        of: of("back"),
        claim,
        snapshot: reference(&taken),
        name: taken.snapshot.clone(),
        restore_size: taken.restore_size,
        timeout: PATIENCE,
    };
    let prepared = snapshots
        .prepare(&restore, &never())
        .await
        .expect("prepared");
    create(&world.cluster, "PersistentVolumeClaim", &prepared.claim).await;
    let short = Wait {
        timeout: Duration::from_millis(300),
        cancel: never(),
    };
    let bound = snapshots.finish(&prepared, &short).await.expect("no error");
    assert!(matches!(bound, Bound::NotYet(_)), "{bound:?}");

    // The restore is over, or was killed: what it left goes when the claim has its volume, not before.
    let left = ours(&world, &snapshots).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        (left[0].kind, left[0].of.as_str()),
        (LeftoverKind::Restore, "back")
    );
    let fate = left[0].fate(false, None);
    assert!(
        !snapshots.settle(&left[0], fate).await.expect("settled"),
        "awaited"
    );
    world.driver.set(Mood::Works);
    let bound = snapshots
        .finish(&prepared, &patience())
        .await
        .expect("bound");
    assert!(matches!(bound, Bound::To(_)), "{bound:?}");
    assert!(world.objects().await.is_empty());
    assert_eq!(world.driver.handles().len(), 1);
}

async fn ours(
    world: &World,
    snapshots: &salvor_volume::csi::Snapshots,
) -> Vec<salvor_volume::csi::Leftover> {
    let mut left = snapshots.leftovers().await.expect("listed");
    let here = |namespace: &str| namespace == world.namespace || namespace == world.server;
    left.retain(|one| here(&one.namespace));
    left
}

#[tokio::test]
async fn a_snapshot_is_deleted_with_its_backup_unless_another_needs_it() {
    let Some(world) = World::new("deletes").await else {
        return;
    };
    let snapshots = world.snapshots().await;
    let ask = world.ask("data").await;
    let taken = snapshots.take(&ask, &never()).await.expect("taken");
    snapshots
        .release(&taken, Storage::Kept)
        .await
        .expect("released");
    let snapshot = reference(&taken);
    let needed = snapshots
        .delete(
            &snapshot,
            &of("nightly"),
            &world.server,
            Some("copy in vault"),
        )
        .await;
    let error = needed.expect_err("needed").to_string();
    assert!(error.contains("copy in vault depends on it"), "{error}");
    assert_eq!(world.driver.handles(), [taken.handle.as_str()]);
    // Twice: a deletion that was killed is repeated.
    for _ in 0..2 {
        let deleted = snapshots
            .delete(&snapshot, &of("nightly"), &world.server, None)
            .await;
        deleted.expect("deleted");
        world.is_clean("deleted").await;
    }

    // Its handle is enough, also for one that an earlier cluster took.
    world.driver.keep("from-before");
    let earlier = SnapshotRef {
        handle: "from-before".to_owned(),
        ..snapshot.clone()
    };
    let deleted = snapshots
        .delete(&earlier, &of("nightly"), &world.server, None)
        .await;
    deleted.expect("deleted");
    world.is_clean("deleted by its handle").await;

    // Where nobody serves the driver, nothing is said to be deleted.
    let unserved = SnapshotRef {
        driver: "nobody.example.io".to_owned(),
        handle: "x".to_owned(),
        class: String::new(),
    };
    let hasty = snapshots
        .clone()
        .with_removal_time(Duration::from_millis(400));
    let error = hasty
        .delete(&unserved, &of("nightly"), &world.server, None)
        .await;
    let error = error.expect_err("nobody").to_string();
    assert!(
        error.contains("no snapshot controller takes it up"),
        "{error}"
    );
}

#[tokio::test]
async fn data_is_moved_through_a_claim_of_the_servers_and_everything_goes() {
    let Some(world) = World::new("moves").await else {
        return;
    };
    let snapshots = world.snapshots().await;
    let claim = world.ask("data").await;
    for fails in [false, true] {
        let taken = snapshots.take(&claim, &never()).await.expect("taken");
        let mover = Mover {
            cluster: world.cluster.clone(),
            fails,
        };
        let ask = MoveSnapshot {
            of: of("nightly"),
            taken: &taken,
            claim: &claim.claim,
            server_namespace: &world.server,
            placement: Placement::default(),
            prepare: PATIENCE,
            timeout: PATIENCE,
        };
        let moved = snapshots.move_data(&mover, &ask, &never()).await;
        match moved {
            Ok(moved) => {
                assert!(!fails);
                assert_eq!(moved.stored.domain, format!("ns-{}", world.namespace));
                assert_eq!(moved.notes, Vec::<String>::new());
            }
            Err(error) => {
                assert!(fails, "{error:?}");
                let source = std::error::Error::source(&error).expect("a cause");
                assert_eq!(source.to_string(), "the disk caught fire");
            }
        }
        world.is_clean("moved").await;
        let claims = world.list("PersistentVolumeClaim").await;
        let left = claims
            .iter()
            .filter(|one| one["metadata"]["namespace"] == world.server.as_str());
        assert_eq!(left.count(), 0);
        // Its class keeps volumes; this one goes all the same.
        until("its volume goes", async || world.driver.volumes() == 0).await;
    }
    let mut block = claim.claim.clone();
    block["spec"]["volumeMode"] = "Block".into();
    let taken = snapshots.take(&claim, &never()).await.expect("taken");
    let ask = MoveSnapshot {
        of: of("nightly"),
        taken: &taken,
        claim: &block,
        server_namespace: &world.server,
        placement: Placement::default(),
        prepare: PATIENCE,
        timeout: PATIENCE,
    };
    let mover = Mover {
        cluster: world.cluster.clone(),
        fails: false,
    };
    let error = snapshots
        .move_data(&mover, &ask, &never())
        .await
        .expect_err("no files");
    assert!(error.to_string().contains("block mode"), "{error}");
    world.is_clean("block mode").await;
}

#[tokio::test]
async fn claims_of_a_group_are_snapshotted_together() {
    let Some(world) = World::new("groups").await else {
        return;
    };
    world.class("VolumeGroupSnapshotClass", "Delete").await;
    let snapshots = world.snapshots().await;
    let label = json!({labels::VOLUME_GROUP: "database"});
    let mut claims = Vec::new();
    for name in ["data", "log"] {
        claims.push(world.claim(name, label.clone()).await);
    }
    // It has the label, and is not in the backup.
    world.claim("other", label.clone()).await;
    let mut ask = TakeGroup {
        of: of("nightly"),
        claims,
        timeout: PATIENCE,
        ..TakeGroup::default()
    };
    let taken = snapshots.take_group(&ask, &never()).await.expect("taken");
    let names: Vec<&str> = taken.iter().map(|one| one.claim.name.as_str()).collect();
    assert_eq!(names, ["data", "log"]);
    assert!(taken.iter().all(|one| !one.group_handle.is_empty()));
    assert_eq!(taken[0].group_handle, taken[1].group_handle);
    assert_eq!(
        world.driver.handles().len(),
        2,
        "the third claim's snapshot is gone"
    );
    let objects = world.objects().await;
    assert!(
        !objects.iter().any(|name| name.contains("Group")),
        "{objects:?}"
    );
    for one in &taken {
        snapshots
            .release(one, Storage::Kept)
            .await
            .expect("released");
    }
    assert!(world.objects().await.is_empty());
    assert_eq!(world.driver.handles().len(), 2);

    for one in &taken {
        let deleted = snapshots
            .delete(&reference(one), &ask.of, &world.server, None)
            .await;
        deleted.expect("deleted");
    }
    world.driver.set(Mood::Silent);
    ask.timeout = Duration::from_millis(500);
    ask.of = of("weekly");
    snapshots
        .take_group(&ask, &never())
        .await
        .expect_err("no answer");
    world.is_clean("a group that nobody made").await;
}

#[tokio::test]
async fn what_a_killed_backup_left_is_kept_or_deleted_by_whether_the_backup_exists() {
    let Some(world) = World::new("killed").await else {
        return;
    };
    let snapshots = world.snapshots().await;
    for (committed, handles) in [(Some(true), 1), (Some(false), 0)] {
        let taken = snapshots
            .take(&world.ask("data").await, &never())
            .await
            .expect("taken");
        let left = ours(&world, &snapshots).await;
        assert_eq!(left.len(), 1, "{left:?}");
        let left = &left[0];
        assert_eq!(
            (left.kind, left.of.as_str()),
            (LeftoverKind::Backup, "nightly")
        );
        assert_eq!(left.run, "run-of-nightly");
        assert_eq!(left.fate(true, Some(true)), Fate::Left, "its run lives");
        assert_eq!(left.fate(false, None), Fate::Left, "nobody knows");
        let gone = snapshots.settle(left, left.fate(false, committed)).await;
        assert!(gone.expect("settled"));
        assert!(world.objects().await.is_empty(), "{committed:?}");
        assert_eq!(world.driver.handles().len(), handles, "{committed:?}");
        if handles > 0 {
            let (snapshot, of) = (reference(&taken), of("nightly"));
            let deleted = snapshots.delete(&snapshot, &of, &world.server, None);
            deleted.await.expect("deleted");
        }
    }
}
