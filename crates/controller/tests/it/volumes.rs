//! PodVolumeBackups come with the backup that they belong to, whole, once, and without touching others.

use salvor_api::labels;
use salvor_api::velero::{Backup, BackupPhase, DataPhase, PodVolumeBackup};
use salvor_archive::files::write_json_gz;
use salvor_storage::{Key, PutMode};
use serde_json::{Value, json};

use crate::world::{NAMESPACE, World};

const MARK: &str = "salvor.dev/import-volumes";

fn volume(name: &str, backup: &str, phase: &str) -> Value {
    json!({"kind": "PodVolumeBackup", "apiVersion": "velero.io/v1",
        "metadata": {"name": name, "namespace": "elsewhere", "uid": "foreign",
            "labels": {"velero.io/backup-name": backup, "velero.io/backup-uid": "foreign"}},
        "spec": {"node": "n1", "volume": "data", "backupStorageLocation": "theirs", "repoIdentifier": "s3:x",
            "uploaderType": "restic", "pod": {"kind": "Pod", "namespace": "shop", "name": "db-0"}},
        "status": {"phase": phase, "snapshotID": "abc"}})
}

/// A backup as Velero leaves it, with what it records of volumes.
async fn put(world: &World, name: &str, volumes: Vec<u8>) {
    let record = json!({"kind": "Backup", "apiVersion": "velero.io/v1",
        "metadata": {"name": name, "namespace": "elsewhere"}, "spec": {"storageLocation": "theirs"},
        "status": {"phase": "Completed", "formatVersion": "1.1.0", "expiration": "2099-01-01T00:00:00Z"}});
    let file = format!("backups/{name}/{name}-podvolumebackups.json.gz");
    let key = Key::new(file).expect("a key");
    let stored = world.store.put(&key, volumes.into(), PutMode::Overwrite);
    stored.await.expect("written");
    world
        .put(
            &format!("backups/{name}/{name}.tar.gz"),
            "archive".to_owned(),
        )
        .await;
    world
        .put(
            &format!("backups/{name}/velero-backup.json"),
            record.to_string(),
        )
        .await;
}

fn complete(backup: &Backup) -> bool {
    backup.status.phase == BackupPhase::Completed && !backup.metadata.annotations.contains_key(MARK)
}

#[tokio::test]
async fn they_are_created_with_their_backup_and_what_is_there_stays() {
    let world = World::new().await;
    let mut mine = PodVolumeBackup::named(NAMESPACE, "b1-taken");
    mine.spec.volume = "mine".to_owned();
    world.kinds().create(&mine).await.expect("created");
    let volumes = json!([
        volume("b1-x", "b1", "Completed"),
        volume("b1-taken", "b1", "Completed"),
        volume("b1-order", "b1", "New"),
        volume("other", "b2", "Completed"),
    ]);
    put(&world, "b1", write_json_gz(&volumes).expect("packed")).await;
    let server = world.serve();
    let backup: Backup = world.until("b1", complete).await;
    let imported: PodVolumeBackup = world.get("b1-x").await.expect("imported");
    assert_eq!(imported.status.phase, DataPhase::Completed);
    assert_eq!(imported.status.snapshot_id, "abc");
    assert_eq!(imported.spec.backup_storage_location, "default");
    assert_eq!(
        imported.metadata.owner_references[0].uid,
        backup.metadata.uid
    );
    assert_eq!(
        imported.metadata.labels[labels::BACKUP_UID],
        backup.metadata.uid
    );
    let mine: PodVolumeBackup = world.get("b1-taken").await.expect("still there");
    assert_eq!(mine.spec.volume, "mine", "somebody's object is left alone");
    for name in ["b1-order", "other"] {
        assert!(world.get::<PodVolumeBackup>(name).await.is_none(), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_a_server_that_died_left_undone_the_next_one_finishes() {
    let world = World::new().await;
    let volumes = json!([
        volume("b1-x", "b1", "Completed"),
        volume("b1-y", "b1", "Failed")
    ]);
    put(&world, "b1", write_json_gz(&volumes).expect("packed")).await;
    // As it stands between the creation of the Backup and that of the last of its volumes.
    let mut half = Backup::named(NAMESPACE, "b1");
    half.metadata
        .annotations
        .insert(MARK.to_owned(), "true".to_owned());
    let labels = &mut half.metadata.labels;
    labels.insert(labels::STORAGE_LOCATION.to_owned(), "default".to_owned());
    half.spec.storage_location = "default".to_owned();
    half.status.phase = BackupPhase::Completed;
    world.kinds().create(&half).await.expect("created");
    let server = world.serve();
    world.until::<Backup>("b1", complete).await;
    for name in ["b1-x", "b1-y"] {
        assert!(world.get::<PodVolumeBackup>(name).await.is_some(), "{name}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_told_of_and_keeps_no_backup_away() {
    let world = World::new().await;
    put(&world, "b1", b"not gzip".to_vec()).await;
    let server = world.serve();
    world.until::<Backup>("b1", complete).await;
    let told = async {
        loop {
            let problems = world.events("default").await;
            if problems
                .iter()
                .any(|(_, text)| text.contains("podvolumebackups"))
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    told.await;
    server.stop().await;
}
