//! Sync, deletion, collection, downloads: what happens to backups after they are made. Numbers are those of the
//! behaviours of Velero that each test shows.

use std::time::Duration;

use salvor_api::labels;
use salvor_api::name::{BackupName, RestoreName};
use salvor_api::velero::{
    AccessMode, Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest,
    DeleteBackupRequestPhase, Restore, RestorePhase,
};
use salvor_controller::CONFIRM_SYNC;
use serde_json::{Value, json};

use crate::world::{World, location};

fn ended(backup: &Backup) -> bool {
    backup.status.phase.is_final()
}

fn backup_name(name: &str) -> BackupName {
    BackupName::new(name).expect("name")
}

/// Writes a commit record as Velero does, with fields that nobody here knows.
async fn put_record(world: &World, name: &str, change: impl FnOnce(&mut Value)) {
    let mut record = json!({"kind": "Backup", "apiVersion": "velero.io/v1",
        "metadata": {"name": name, "namespace": "elsewhere", "uid": "foreign", "labels": {"team": "shop"},
            "ownerReferences": [{"apiVersion": "velero.io/v1", "kind": "Schedule", "name": "s", "uid": "x"}]},
        "spec": {"storageLocation": "theirs", "fieldOfVelero9": {"a": [1]}},
        "status": {"phase": "Completed", "formatVersion": "1.1.0", "expiration": "2099-01-01T00:00:00Z"}});
    change(&mut record);
    world
        .put(
            &format!("backups/{name}/velero-backup.json"),
            record.to_string(),
        )
        .await;
    world
        .put(
            &format!("backups/{name}/{name}.tar.gz"),
            "archive".to_owned(),
        )
        .await;
}

async fn remove_folder(world: &World, folder: &str) {
    let listed = world.store.list_folder(folder).await.expect("listed");
    for object in listed.objects {
        world.store.delete(&object.key).await.expect("deleted");
    }
}

async fn make(world: &World, name: &str) -> Backup {
    world.back_up(name, |_| ()).await;
    world.until(name, ended).await
}

async fn ask_to_delete(world: &World, request: &str, backup: &str) {
    let mut object = DeleteBackupRequest::named(crate::world::NAMESPACE, request);
    backup.clone_into(&mut object.spec.backup_name);
    world.kinds().create(&object).await.expect("created");
}

fn refused(request: &DeleteBackupRequest) -> bool {
    request.status.phase == DeleteBackupRequestPhase::Processed && !request.status.errors.is_empty()
}

#[tokio::test]
async fn backups_of_a_store_get_objects_and_damaged_neighbours_hide_none() {
    // 9, 11
    let world = World::new().await;
    put_record(&world, "whole", |_| ()).await;
    put_record(&world, "waits", |r| {
        r["status"]["phase"] = "Finalizing".into();
    })
    .await;
    put_record(&world, "runs", |r| {
        r["status"]["phase"] = "InProgress".into();
    })
    .await;
    put_record(&world, "expired", |r| {
        r["status"] =
            json!({"phase": "WaitingForPluginOperations", "expiration": "2020-01-01T00:00:00Z"});
    })
    .await;
    world
        .put("backups/torn/velero-backup.json", "{\"kind\":".to_owned())
        .await;
    world.put("backups/empty/note.txt", String::new()).await;
    put_record(&world, "bad-label", |r| {
        r["metadata"]["labels"] = json!({"team": "not a label!"});
    })
    .await;
    put_record(&world, "zz-last", |_| ()).await;
    let server = world.serve_with(|options| options.collect_every = Duration::ZERO);
    let whole: Backup = world.until("whole", ended).await;
    world.until("zz-last", ended).await;
    let expired: Backup = world.until("expired", ended).await;
    assert_eq!(expired.status.phase, BackupPhase::PartiallyFailed);
    assert_eq!(whole.metadata.labels[labels::STORAGE_LOCATION], "default");
    assert_eq!(whole.metadata.labels["team"], "shop");
    assert!(whole.metadata.owner_references.is_empty());
    assert_eq!(whole.spec.storage_location, "default");
    let synced = |o: &BackupStorageLocation| o.status.last_synced_time.is_some();
    world.until("default", synced).await;
    for name in ["waits", "runs", "torn", "empty", "bad-label"] {
        assert!(world.get::<Backup>(name).await.is_none(), "{name}");
    }
    let problems = world.events("default").await;
    let told = |name: &str| problems.iter().any(|(_, text)| text.contains(name));
    assert!(told("`torn`") && told("`bad-label`"), "{problems:?}");
    server.stop().await;
}

#[tokio::test]
async fn objects_go_when_their_files_are_gone_and_come_back_with_them() {
    // 60
    let world = World::new().await;
    let server = world.serve();
    make(&world, "stays").await;
    make(&world, "goes").await;
    world
        .back_up("failed", |b| b.spec.storage_location = "nowhere".to_owned())
        .await;
    world.until("failed", ended).await;
    remove_folder(&world, "backups/goes").await;
    world.until_gone::<Backup>("goes").await;
    assert!(world.get::<Backup>("stays").await.is_some());
    assert!(world.get::<Backup>("failed").await.is_some());
    // Without its location the object goes, and the files stay.
    let object: BackupStorageLocation = world.get("default").await.expect("there");
    world.kinds().delete(&object).await.expect("deleted");
    world.until_gone::<Backup>("stays").await;
    location(&world)
        .backup(&backup_name("stays"))
        .await
        .expect("in the store");
    world
        .locate("default", |o| o.spec.backup_sync_period = "1s".parse().ok())
        .await;
    let back: Backup = world.until("stays", ended).await;
    assert_eq!(back.status.phase, BackupPhase::Completed);
    server.stop().await;
}

#[tokio::test]
async fn a_store_that_lost_much_takes_no_objects_with_it_until_somebody_confirms() {
    let world = World::new().await;
    for number in 0..12 {
        put_record(&world, &format!("b{number}"), |_| ()).await;
    }
    let server = world.serve();
    for number in 0..12 {
        world.until(&format!("b{number}"), ended).await;
    }
    for number in 0..11 {
        remove_folder(&world, &format!("backups/b{number}")).await;
    }
    let stopped = |o: &BackupStorageLocation| o.status.message.contains("11 of 12");
    let object: BackupStorageLocation = world.until("default", stopped).await;
    assert!(world.get::<Backup>("b0").await.is_some());
    let (_, digest) = object.status.message.split_once('=').expect("a digest");
    world
        .annotate::<BackupStorageLocation>("default", CONFIRM_SYNC, "ffffffffffff")
        .await;
    let synced = object.status.last_synced_time;
    let again = |o: &BackupStorageLocation| o.status.last_synced_time > synced;
    world.until("default", again).await;
    assert!(world.get::<Backup>("b0").await.is_some());
    world
        .annotate::<BackupStorageLocation>("default", CONFIRM_SYNC, digest)
        .await;
    for number in 0..11 {
        world.until_gone::<Backup>(&format!("b{number}")).await;
    }
    assert!(world.get::<Backup>("b11").await.is_some());
    let quiet = |o: &BackupStorageLocation| o.status.message.is_empty();
    world.until("default", quiet).await;
    server.stop().await;
}

#[tokio::test]
async fn a_deletion_removes_files_restores_object_and_requests() {
    // 14
    let world = World::new().await;
    let server = world.serve();
    make(&world, "b1").await;
    make(&world, "other").await;
    world.restore("r1", "b1").await;
    let done = |r: &Restore| r.status.phase == RestorePhase::Completed;
    let restore: Restore = world.until("r1", done).await;
    assert_eq!(restore.metadata.finalizers, [labels::RESTORE_FINALIZER]);
    ask_to_delete(&world, "first", "b1").await;
    ask_to_delete(&world, "second", "b1").await;
    world.until_gone::<Backup>("b1").await;
    world.until_gone::<Restore>("r1").await;
    world.until_gone::<DeleteBackupRequest>("first").await;
    world.until_gone::<DeleteBackupRequest>("second").await;
    server.stop().await;
    for folder in ["backups/b1", "restores/r1"] {
        let listed = world.store.list_folder(folder).await.expect("listed");
        assert!(listed.objects.is_empty(), "{listed:?}");
    }
    location(&world)
        .backup(&backup_name("other"))
        .await
        .expect("untouched");
}

#[tokio::test]
async fn what_may_not_be_deleted_stays_with_a_reason() {
    let world = World::new().await;
    world
        .locate("frozen", |o| {
            o.spec.access_mode = AccessMode::ReadOnly;
            o.spec.backup_sync_period = "0s".parse().ok();
        })
        .await;
    let server = world.serve();
    make(&world, "held").await;
    make(&world, "lost").await;
    let hold = location(&world)
        .hold(&backup_name("held"), "case 7", "me")
        .await
        .expect("held");
    let mirrored =
        |b: &Backup| b.metadata.annotations.get(labels::HOLD).map(String::as_str) == Some("case 7");
    world.until("held", mirrored).await;
    for (name, storage, phase) in [
        (
            "running",
            "default",
            BackupPhase::WaitingForPluginOperations,
        ),
        ("cold", "frozen", BackupPhase::Completed),
    ] {
        world
            .back_up(name, |b| {
                storage.clone_into(&mut b.spec.storage_location);
                b.status.phase = phase;
            })
            .await;
    }
    let before: Backup = world.get("lost").await.expect("there");
    let mut after = before.clone();
    "nowhere".clone_into(&mut after.spec.storage_location);
    world
        .kinds()
        .update(&before, &after)
        .await
        .expect("written");
    for (name, said) in [
        ("held", "is held: case 7"),
        ("running", "still in progress"),
        ("cold", "is read-only"),
        ("lost", "`nowhere` does not exist"),
        ("missing", "`missing` does not exist"),
    ] {
        ask_to_delete(&world, name, name).await;
        let request: DeleteBackupRequest = world.until(name, refused).await;
        let errors = request.status.errors.join("; ");
        assert!(errors.contains(said), "{name}: {errors}");
    }
    for (name, phase) in [
        ("cold", BackupPhase::Completed),
        ("held", BackupPhase::Completed),
        ("running", BackupPhase::WaitingForPluginOperations),
        ("lost", BackupPhase::Completed),
    ] {
        let backup: Backup = world.get(name).await.expect("kept");
        assert_eq!(backup.status.phase, phase, "{name}");
    }
    location(&world)
        .release(&backup_name("held"), &hold.id)
        .await
        .expect("released");
    let free = |b: &Backup| !b.metadata.annotations.contains_key(labels::HOLD);
    world.until("held", free).await;
    ask_to_delete(&world, "again", "held").await;
    world.until_gone::<Backup>("held").await;
    server.stop().await;
}

#[tokio::test]
async fn a_hold_that_is_asked_for_by_annotation_becomes_a_record() {
    let world = World::new().await;
    let server = world.serve();
    make(&world, "b1").await;
    world.annotate::<Backup>("b1", labels::HOLD, "audit").await;
    ask_to_delete(&world, "at-once", "b1").await;
    let request: DeleteBackupRequest = world.until("at-once", refused).await;
    assert!(request.status.errors[0].contains("audit"), "{request:?}");
    let synced: BackupStorageLocation = world.get("default").await.expect("there");
    let next = |o: &BackupStorageLocation| {
        let (now, then) = (o.status.last_synced_time, synced.status.last_synced_time);
        matches!((now, then), (Some(now), Some(then)) if now.seconds_since(then) >= 3)
    };
    world.until("default", next).await;
    let holds = location(&world)
        .holds_of(&backup_name("b1"))
        .await
        .expect("listed");
    assert_eq!(holds.reasons().collect::<Vec<_>>(), ["audit"]);
    server.stop().await;
}

#[tokio::test]
async fn what_a_verification_found_is_shown_on_the_backup() {
    let world = World::new().await;
    let server = world.serve();
    make(&world, "b1").await;
    let location = location(&world);
    let record = location.backup(&backup_name("b1")).await.expect("there");
    let found = location.verify_files(&record).await.expect("read");
    let recorded = location.record_verification(&record, &found).await;
    recorded.expect("recorded");
    let shown = |b: &Backup| {
        let text = b.metadata.annotations.get(labels::VERIFIED);
        text.is_some_and(|text| text.starts_with("sound 20") && text.ends_with(" UTC"))
    };
    world.until("b1", shown).await;
    server.stop().await;
}

#[tokio::test]
async fn a_backup_that_failed_for_its_name_does_not_take_the_other_with_it() {
    let world = World::new().await;
    let server = world.serve_with(|options| options.sync_every = Duration::ZERO);
    let first = make(&world, "b1").await;
    world.kinds().delete(&first).await.expect("deleted");
    world.until_gone::<Backup>("b1").await;
    let again = make(&world, "b1").await;
    assert_eq!(again.status.phase, BackupPhase::Failed);
    ask_to_delete(&world, "d", "b1").await;
    world.until_gone::<Backup>("b1").await;
    world.until_gone::<DeleteBackupRequest>("d").await;
    location(&world)
        .backup(&backup_name("b1"))
        .await
        .expect("the first one");
    server.stop().await;
}

#[tokio::test]
async fn failed_requests_are_removed_after_a_day() {
    let world = World::new().await;
    let server = world.serve();
    ask_to_delete(&world, "d", "missing").await;
    world.until("d", refused).await;
    server.stop().await;
    let tomorrow = || jiff::Timestamp::now() + jiff::SignedDuration::from_hours(25);
    let server = world.serve_at(tomorrow, |_| ());
    world.until_gone::<DeleteBackupRequest>("d").await;
    server.stop().await;
}

#[tokio::test]
async fn the_records_of_a_restore_go_with_its_object() {
    let world = World::new().await;
    let server = world.serve();
    make(&world, "b1").await;
    world.restore("r1", "b1").await;
    let done = |r: &Restore| r.status.phase == RestorePhase::Completed;
    let restore: Restore = world.until("r1", done).await;
    let name = RestoreName::new("r1").expect("name");
    location(&world).restore(&name).await.expect("recorded");
    world.kinds().delete(&restore).await.expect("asked for");
    world.until_gone::<Restore>("r1").await;
    let gone = location(&world).restore(&name).await.expect_err("gone");
    assert!(gone.is_not_found(), "{gone}");
    location(&world)
        .backup(&backup_name("b1"))
        .await
        .expect("whole");
    server.stop().await;
}
