//! What becomes of backups and schedules over time.

use serde_json::json;

use super::cases;
use super::world::{SERVER, World, config_map};

cases! {
    14 deleting_a_backup_removes_every_file_of_it,
    17 a_record_is_never_there_without_its_archive,
    38 a_backup_without_a_ttl_is_kept_for_thirty_days,
    59 a_schedule_names_labels_pauses_and_owns_its_backups,
    60 deleting_a_location_removes_objects_only_and_sync_brings_them_back,
}

async fn deleting_a_backup_removes_every_file_of_it(world: &World) {
    world.namespace("l14").await;
    world.create(config_map("l14", "c", json!({}))).await;
    let status = world
        .backup("l14", json!({"includedNamespaces": ["l14"]}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let folder = world.stored("backups/l14");
    assert!(folder.exists());
    let run = world
        .real
        .run("", &format!("-n {SERVER} backup delete l14 --confirm"));
    run.expect(0);
    world.gone("backups", Some(SERVER), "l14").await;
    let left: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn a_record_is_never_there_without_its_archive(world: &World) {
    for entry in std::fs::read_dir(world.stored("backups")).expect("readable") {
        let folder = entry.expect("an entry").path();
        let name = folder.file_name().and_then(|name| name.to_str());
        let archive = folder.join(format!("{}.tar.gz", name.expect("text")));
        // The record is looked for first: a backup under way may get both in between.
        if folder.join("velero-backup.json").exists() && name != Some("b36") {
            assert!(archive.exists(), "{}", archive.display());
        }
    }
}

async fn a_backup_without_a_ttl_is_kept_for_thirty_days(world: &World) {
    world.namespace("l38").await;
    let status = world
        .backup("l38", json!({"includedNamespaces": ["l38"]}))
        .await;
    let time = |field: &str| -> jiff::Timestamp {
        let text = status[field].as_str().unwrap_or_else(|| panic!("{status}"));
        text.parse().expect("a time")
    };
    let kept = time("expiration").as_second() - time("startTimestamp").as_second();
    assert_eq!(kept, 720 * 3600);
    let backup = world
        .get("backups", Some(SERVER), "l38")
        .await
        .expect("there");
    assert_eq!(backup["spec"]["ttl"], "720h0m0s");
}

async fn a_schedule_names_labels_pauses_and_owns_its_backups(world: &World) {
    world.namespace("l59").await;
    let long_ago = json!({"phase": "Enabled", "lastBackup": "2026-01-01T00:00:00Z"});
    for (name, more) in [
        ("l59", json!({"useOwnerReferencesInBackup": true})),
        ("l59-paused", json!({"paused": true})),
        ("l59-skips", json!({"skipImmediately": true})),
    ] {
        let mut spec = more;
        spec["schedule"] = json!("@every 720h");
        spec["template"] = json!({"includedNamespaces": ["l59"]});
        world
            .create(json!({"apiVersion": "velero.io/v1", "kind": "Schedule",
                "metadata": {"name": name, "namespace": SERVER},
                "spec": spec, "status": long_ago}))
            .await;
    }
    // However many runs were missed, one makes up for them.
    let schedule = world
        .until("schedules", "l59", |schedule| {
            schedule["status"]["lastBackup"] != long_ago["lastBackup"]
        })
        .await;
    let made: Vec<_> = of(world, "l59").await;
    assert_eq!(made.len(), 1, "{made:?}");
    let metadata = &made[0]["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let time = name.strip_prefix("l59-").unwrap_or_default();
    assert!(
        time.len() == 14 && time.bytes().all(|c| c.is_ascii_digit()),
        "{name}"
    );
    assert_eq!(
        metadata["ownerReferences"][0]["uid"],
        schedule["metadata"]["uid"]
    );
    world.ended("backups", name).await;
    world
        .until("schedules", "l59-skips", |schedule| {
            schedule["status"]["lastSkipped"].is_string()
        })
        .await;
    for name in ["l59-paused", "l59-skips"] {
        assert_eq!(of(world, name).await.len(), 0, "{name}");
    }
}

async fn of(world: &World, schedule: &str) -> Vec<serde_json::Value> {
    let mut backups = world.list("backups", Some(SERVER)).await;
    backups.retain(|backup| backup["metadata"]["labels"]["velero.io/schedule-name"] == schedule);
    backups
}

async fn deleting_a_location_removes_objects_only_and_sync_brings_them_back(world: &World) {
    world.namespace("l60").await;
    world.location("l60", "second", false).await;
    let spec = json!({"includedNamespaces": ["l60"], "storageLocation": "l60"});
    let status = world.backup("l60", spec).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    world
        .delete("backupstoragelocations", Some(SERVER), "l60")
        .await;
    world.gone("backups", Some(SERVER), "l60").await;
    let record = world
        .folder
        .path()
        .join("second/backups/l60/velero-backup.json");
    assert!(record.exists());
    world.location("l60", "second", false).await;
    let back = world.until("backups", "l60", |_| true).await;
    assert_eq!(back["status"]["phase"], "Completed", "{back}");
    // Files that are gone take their object with them.
    std::fs::remove_dir_all(world.folder.path().join("second/backups/l60")).expect("removed");
    world.gone("backups", Some(SERVER), "l60").await;
    world
        .delete("backupstoragelocations", Some(SERVER), "l60")
        .await;
}
