//! The snapshots that a storage keeps for a backup go with it, unless another backup names them.

use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase};
use salvor_archive::files::{CsiSnapshot, SalvorVolume, SalvorVolumes, VolumeMethod};
use salvor_storage::{Key, PutMode};
use serde_json::json;

use crate::csi_driver::{Driver, definitions, resource};
use crate::world::{NAMESPACE, World};

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
