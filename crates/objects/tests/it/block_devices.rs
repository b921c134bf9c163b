//! Volumes without a file system (`volumeMode: Block`): their driver takes a snapshot that stays in the storage, whatever
//! was asked for that takes files; where nobody can, that is told.

use std::sync::Arc;

use salvor_api::velero::{BackupPhase, BackupSpec};
use salvor_archive::files::{SalvorVolume, VolumeMethod, VolumeOutcome};
use salvor_location::Location;
use salvor_objects::backup::{BackupOptions, BackupOutcome, BackupRequest, ProgressSink, run};
use salvor_volume::DataMover;
use serde_json::json;

use crate::csi_driver::Driver;
use crate::movers::Movers;
use crate::restore_world::{carried_out, complaints, request};
use crate::snapshot_world::{
    claim_and_volume, empty, is_bound, lose, object, snapshot_class, volumes,
};
use crate::world::{self, World, memory_location};

/// Claim `shop/disk`, which is a block device.
async fn disk() -> (World, Driver) {
    let (world, driver) = empty().await;
    for mut object in claim_and_volume("disk", "pv-disk") {
        object["spec"]["volumeMode"] = "Block".into();
        world.create(object).await;
    }
    is_bound(&world, "shop", "disk").await;
    (world, driver)
}

struct Ended {
    outcome: BackupOutcome,
    record: SalvorVolume,
    copied: usize,
    told: String,
}

async fn backed_up(
    world: &World,
    location: &Location,
    asks: impl FnOnce(&mut BackupSpec),
) -> Ended {
    let mover = Movers::good();
    let backup = world::request("b", |backup| {
        backup.metadata.uid = "uid-of-b".to_owned();
        backup.spec.included_namespaces = vec!["shop".to_owned()];
        asks(&mut backup.spec);
    });
    let request = BackupRequest {
        cluster: world.cluster.clone(),
        location: location.clone(),
        backup,
        options: BackupOptions {
            data_mover: Some(Arc::new(mover.clone()) as Arc<dyn DataMover>),
            ..BackupOptions::default()
        },
    };
    let outcome = run(request, ProgressSink::none()).await.expect("a backup");
    let [record] = <[_; 1]>::try_from(volumes(location).await).expect("one volume");
    let results = &outcome.results;
    Ended {
        told: format!("{:?}{:?}", results.warnings, results.errors),
        outcome,
        record,
        copied: mover.jobs().len(),
    }
}

#[tokio::test]
async fn a_block_device_is_snapshotted_also_where_files_are_asked_for_and_comes_back() {
    type Asks = fn(&mut BackupSpec);
    let cases: [(&str, Asks, bool); 3] = [
        ("nothing", |_| (), false),
        (
            "files by default",
            |spec| spec.default_volumes_to_fs_backup = Some(true),
            false,
        ),
        (
            "moved data",
            |spec| spec.snapshot_move_data = Some(true),
            true,
        ),
    ];
    for (asked, asks, warns) in cases {
        let (world, driver) = disk().await;
        world.create(snapshot_class("fast")).await;
        let location = memory_location();
        let ended = backed_up(&world, &location, asks).await;
        let phase = &ended.outcome.backup.status.phase;
        assert_eq!(*phase, BackupPhase::Completed, "{asked}: {}", ended.told);
        assert_eq!(ended.record.outcome, VolumeOutcome::Protected, "{asked}");
        assert_eq!(
            ended.record.method,
            Some(VolumeMethod::CsiSnapshot),
            "{asked}"
        );
        assert_eq!(ended.copied, 0, "{asked}");
        let says_so = ended.told.contains("its snapshot stays in the storage");
        assert_eq!(says_so, warns, "{asked}: {}", ended.told);
        let [handle] = <[String; 1]>::try_from(driver.handles()).expect("one snapshot");

        lose(&world, "shop", "disk").await;
        let request = request(&world.cluster, &location, "r", |restore, _| {
            restore.metadata.uid = "uid-of-r".to_owned();
        });
        let outcome = carried_out(&request.await, &location)
            .await
            .expect("a restore");
        assert_eq!(complaints(&outcome), Vec::<String>::new(), "{asked}");
        let volume = is_bound(&world, "shop", "disk").await;
        assert_eq!(driver.made_of(&volume), Some(handle), "{asked}");
        let claim = object(&world, "persistentvolumeclaims", Some("shop"), "disk").await;
        assert_eq!(claim["spec"]["volumeMode"], "Block", "{asked}");
    }
}

#[tokio::test]
async fn a_block_device_that_nobody_can_snapshot_is_told_with_the_reason() {
    type Asks = fn(&mut BackupSpec);
    let cases: [Asks; 3] = [
        |_| (),
        |spec| spec.default_volumes_to_fs_backup = Some(true),
        |spec| spec.snapshot_move_data = Some(true),
    ];
    for asks in cases {
        // A class of snapshots is missing.
        let (world, driver) = disk().await;
        let ended = backed_up(&world, &memory_location(), asks).await;
        assert_eq!(driver.handles(), Vec::<String>::new());
        assert_ne!(ended.record.outcome, VolumeOutcome::Protected);
        let said = "it is a block device, which has no files to copy";
        assert!(ended.record.reason.contains(said), "{:?}", ended.record);
        assert!(ended.told.contains(said), "{}", ended.told);
        assert!(
            !ended.told.contains("have its files copied"),
            "{}",
            ended.told
        );
    }
    // Nobody wants snapshots: files by default cannot be had of it.
    let (world, _driver) = disk().await;
    world.create(snapshot_class("fast")).await;
    let ended = backed_up(&world, &memory_location(), |spec| {
        spec.default_volumes_to_fs_backup = Some(true);
        spec.snapshot_volumes = Some(false);
    })
    .await;
    assert_eq!(
        ended.record.outcome,
        VolumeOutcome::Skipped,
        "{json:?}",
        json = json!(ended.record)
    );
    assert!(ended.told.contains("it needs a snapshot"), "{}", ended.told);
}
