//! The snapshots that a storage keeps for a backup go with it, unless another backup names them.

use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase};
use salvor_archive::files::{CsiSnapshot, SalvorVolume, SalvorVolumes, VolumeMethod};
use salvor_cluster::ListOptions;
use salvor_storage::{Key, PutMode};
use serde_json::json;

use crate::csi_driver::{Driver, definitions, resource};
use crate::world::{NAMESPACE, World, until};

const DRIVER: &str = "disk.csi.example.io";

/// A world with snapshot kinds, a stand-in for the driver, and a class of it.
async fn world() -> (World, Driver) {
    let world = World::new().await;
    for definition in definitions() {
        world
            .create(resource("CustomResourceDefinition"), None, definition)
            .await;
    }
    let class = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
        "metadata": {"name": "fast"}, "driver": DRIVER, "deletionPolicy": "Delete"});
    world
        .create(resource("VolumeSnapshotClass"), None, class)
        .await;
    let driver = Driver::start(&world.cluster, DRIVER);
    (world, driver)
}

fn volumes(handles: &[&str]) -> Vec<u8> {
    let volume = |handle: &&str| SalvorVolume {
        claim: (*handle).to_owned(),
        method: Some(VolumeMethod::CsiSnapshot),
        csi: Some(CsiSnapshot {
            driver: DRIVER.to_owned(),
            handle: (*handle).to_owned(),
            ..CsiSnapshot::default()
        }),
        ..SalvorVolume::default()
    };
    let volumes = SalvorVolumes::new(handles.iter().map(volume).collect());
    volumes.encode().expect("encoded")
}

async fn put(world: &World, name: &str, volumes: Vec<u8>) {
    let key = Key::new(format!("backups/{name}/salvor-volumes.json.gz")).expect("a key");
    let stored = world.store.put(&key, volumes.into(), PutMode::Overwrite);
    stored.await.expect("written");
    let record = json!({"kind": "Backup", "apiVersion": "velero.io/v1",
        "metadata": {"name": name, "namespace": "elsewhere"}, "spec": {"storageLocation": "theirs"},
        "status": {"phase": "Completed", "formatVersion": "1.1.0", "expiration": "2099-01-01T00:00:00Z"}});
    for (file, text) in [
        (format!("{name}.tar.gz"), "archive".to_owned()),
        ("velero-backup.json".to_owned(), record.to_string()),
    ] {
        world.put(&format!("backups/{name}/{file}"), text).await;
    }
}

async fn ask_to_delete(world: &World, backup: &str) {
    let mut request = DeleteBackupRequest::named(NAMESPACE, &format!("delete-{backup}"));
    backup.clone_into(&mut request.spec.backup_name);
    world.kinds().create(&request).await.expect("created");
}

/// Claim `shop/data`, whose volume is one of the driver.
async fn volume(world: &World) {
    let [storage, pv, claim] = [
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": DRIVER},
            "provisioner": DRIVER, "volumeBindingMode": "Immediate"}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-1"},
            "spec": {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": DRIVER,
                "csi": {"driver": DRIVER, "volumeHandle": "v"}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": "shop", "name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": DRIVER, "volumeName": "pv-1",
                "resources": {"requests": {"storage": "2Gi"}}}}),
    ];
    world.create(resource("StorageClass"), None, storage).await;
    world.create(resource("PersistentVolume"), None, pv).await;
    world
        .create(resource("PersistentVolumeClaim"), Some("shop"), claim)
        .await;
}

/// How many objects of snapshots the cluster has.
async fn left(world: &World) -> usize {
    let mut count = 0;
    for kind in ["VolumeSnapshot", "VolumeSnapshotContent"] {
        let (kind, options) = (resource(kind), ListOptions::default());
        let page = world.cluster.list_page(&kind, None, &options).await;
        count += page.expect("listed").items().count();
    }
    count
}

/// Requests between two kills; see the tests of killed servers.
const STRIDE: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_a_server_is_killed_a_snapshot_is_left_only_for_a_backup_that_exists() {
    let mut at = 15;
    let mut kept = 0;
    loop {
        let (world, driver) = world().await;
        volume(&world).await;
        world.back_up("b1", |_| ()).await;
        let ended = |b: &Backup| b.status.phase.is_final();
        let done = async {
            world.until("b1", ended).await;
            until(async || (left(&world).await == 0).then_some(())).await;
        };
        let killed = world.serve_until_killed(at, done).await;
        let server = world.serve();
        let backup: Backup = world.until("b1", ended).await;
        until(async || (left(&world).await == 0).then_some(())).await;
        server.stop().await;
        let phase = &backup.status.phase;
        match driver.handles().as_slice() {
            [_] => assert_eq!(*phase, BackupPhase::Completed, "killed at {at}"),
            [] => assert_eq!(*phase, BackupPhase::Failed, "killed at {at}"),
            more => panic!("killed at {at}: {more:?}"),
        }
        kept += driver.handles().len();
        if !killed {
            assert!(at > 40 && kept > 0, "only {at} requests");
            return;
        }
        at += STRIDE;
    }
}

#[tokio::test]
async fn they_are_deleted_with_the_last_backup_that_names_them() {
    let (world, driver) = world().await;
    for handle in ["snap-1", "snap-2", "snap-of-nobody"] {
        driver.keep(handle);
    }
    put(&world, "b1", volumes(&["snap-1", "snap-2"])).await;
    put(&world, "b2", volumes(&["snap-2"])).await;
    let server = world.serve();
    for (backup, left) in [
        ("b1", &["snap-2", "snap-of-nobody"][..]),
        ("b2", &["snap-of-nobody"]),
    ] {
        let complete = |backup: &Backup| backup.status.phase == BackupPhase::Completed;
        world.until(backup, complete).await;
        ask_to_delete(&world, backup).await;
        world.until_gone::<Backup>(backup).await;
        assert_eq!(driver.handles(), left, "{backup}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_deleted_while_it_is_not_known_who_needs_it() {
    let (world, driver) = world().await;
    driver.keep("snap-1");
    put(&world, "b1", volumes(&["snap-1"])).await;
    let broken = volumes(&["snap-1"]);
    put(&world, "b2", broken[..broken.len() / 2].to_vec()).await;
    let server = world.serve();
    let complete = |backup: &Backup| backup.status.phase == BackupPhase::Completed;
    world.until("b1", complete).await;
    ask_to_delete(&world, "b1").await;
    let refused =
        |request: &DeleteBackupRequest| request.status.phase == DeleteBackupRequestPhase::Processed;
    let request: DeleteBackupRequest = world.until("delete-b1", refused).await;
    let errors = request.status.errors.join("; ");
    assert!(errors.contains("which snapshots backup `b2`"), "{errors}");
    assert_eq!(driver.handles(), ["snap-1"]);
    let name = BackupName::new("b1").expect("a name");
    let there = crate::world::location(&world).backup(&name).await;
    there.expect("the backup stays");
    server.stop().await;
}
