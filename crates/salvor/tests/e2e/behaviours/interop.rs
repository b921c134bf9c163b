//! Backups of Velero's in the bucket, and ours as Velero sees them.

use salvor_testkit::velero_check::check_backup;
use serde_json::{Value, json};

use super::cases;
use super::world::{SERVER, World, at, config_map};

cases! {
    1 backups_of_velero_are_listed_and_described,
    2 a_folder_without_a_record_is_ignored,
    3 a_backup_without_the_newer_files_is_restored,
    4 archives_with_and_without_preferred_folders_count_every_object_once,
    5 another_version_is_taken_when_the_preferred_one_is_not_served,
    7 an_archive_without_resources_restores_nothing_and_says_so,
    8 paths_that_lead_out_are_refused,
    9 backups_that_are_not_done_are_not_imported_and_expired_ones_are,
    11 what_is_written_is_as_a_sync_of_velero_wants_it,
    15 the_location_stays_valid_for_velero,
    16 the_record_is_in_veleros_words,
}

/// A ConfigMap as an archive holds it.
fn archived(namespace: &str, name: &str) -> Value {
    config_map(namespace, name, json!({}))
}

async fn synced(world: &World, name: &str) -> Value {
    world.until("backups", name, |_| true).await
}

async fn backups_of_velero_are_listed_and_described(world: &World) {
    let object = [(at("configmaps", "i1", "c"), archived("i1", "c"))];
    let files: Vec<(&str, Value)> = object
        .iter()
        .map(|(p, v)| (p.as_str(), v.clone()))
        .collect();
    // What releases from 1.10 to 1.18 write of the status.
    for (name, status) in [
        (
            "i1-v110",
            json!({"progress": {"totalItems": 1, "itemsBackedUp": 1}}),
        ),
        (
            "i1-v113",
            json!({"backupItemOperationsAttempted": 1, "warnings": 2}),
        ),
        (
            "i1-v116",
            json!({"hookStatus": {"hooksAttempted": 1, "hooksFailed": 0}}),
        ),
        (
            "i1-v118",
            json!({"phase": "PartiallyFailed", "errors": 3, "queuePosition": 0}),
        ),
    ] {
        world.by_hand(name, &files, json!({"status": status}));
        let seen = synced(world, name).await;
        assert_eq!(seen["spec"]["storageLocation"], "default");
        assert_eq!(
            seen["metadata"]["labels"]["velero.io/storage-location"],
            "default"
        );
        let run = world
            .real
            .run("", &format!("-n {SERVER} backup describe {name}"));
        let text = run.expect(if name == "i1-v118" { 0 } else { run.code });
        let phase = status["phase"].as_str().unwrap_or("Completed");
        for part in [
            phase,
            "2026-01-02 03:04:05 +0000 UTC",
            "2026-01-02 03:04:15 +0000 UTC",
            "2126-01-02 03:04:05 +0000 UTC",
        ] {
            assert!(text.contains(part), "{name}: {part}: {text}{}", run.err);
        }
        let run = world
            .real
            .run("", &format!("-n {SERVER} backup get {name}"));
        assert!(run.expect(0).contains(phase), "{}", run.out);
    }
}

async fn a_folder_without_a_record_is_ignored(world: &World) {
    let folder = world.stored("backups/i2-begun");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("i2-begun.tar.gz"), "half").expect("written");
    world.by_hand("i2-whole", &[], json!({}));
    synced(world, "i2-whole").await;
    assert_eq!(world.get("backups", Some(SERVER), "i2-begun").await, None);
    let location = world
        .get("backupstoragelocations", Some(SERVER), "default")
        .await;
    assert_eq!(location.expect("there")["status"]["phase"], "Available");
}

async fn a_backup_without_the_newer_files_is_restored(world: &World) {
    world.also_remove("i3");
    let path = at("configmaps", "i3", "c");
    world.by_hand("i3", &[(&path, archived("i3", "c"))], json!({}));
    synced(world, "i3").await;
    let status = world.restore("i3", json!({"backupName": "i3"})).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    assert!(world.get("configmaps", Some("i3"), "c").await.is_some());
}

async fn archives_with_and_without_preferred_folders_count_every_object_once(world: &World) {
    for namespace in ["i4-old", "i4-new"] {
        world.also_remove(namespace);
    }
    let old = at("configmaps", "i4-old", "c");
    world.by_hand("i4-old", &[(&old, archived("i4-old", "c"))], json!({}));
    let new = at("configmaps", "i4-new", "c");
    let preferred = new.replace("/namespaces/", "/v1-preferredversion/namespaces/");
    let object = archived("i4-new", "c");
    let files = [(new.as_str(), object.clone()), (preferred.as_str(), object)];
    world.by_hand("i4-new", &files, json!({}));
    let mut counts = Vec::new();
    for name in ["i4-old", "i4-new"] {
        synced(world, name).await;
        let status = world.restore(name, json!({"backupName": name})).await;
        assert_eq!(status["phase"], "Completed", "{name}: {status}");
        counts.push(status["progress"]["totalItems"].clone());
        assert!(world.get("configmaps", Some(name), "c").await.is_some());
    }
    // The object, and the namespace that it needs.
    assert_eq!(counts, [2, 2]);
}

async fn another_version_is_taken_when_the_preferred_one_is_not_served(world: &World) {
    world.also_remove("i5");
    // Of a newer cluster, whose preferred version this one does not know.
    let object = |version: &str, backend: Value| {
        json!({"apiVersion": format!("networking.k8s.io/{version}"), "kind": "Ingress",
            "metadata": {"name": "web", "namespace": "i5"}, "spec": backend})
    };
    let known = json!({"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}});
    let root = "resources/ingresses.networking.k8s.io";
    let files = [
        (
            format!("{root}/v9-preferredversion/namespaces/i5/web.json"),
            object("v9", json!({"new": true})),
        ),
        (
            format!("{root}/v1/namespaces/i5/web.json"),
            object("v1", known.clone()),
        ),
    ];
    let files: Vec<(&str, Value)> = files.iter().map(|(p, v)| (p.as_str(), v.clone())).collect();
    world.by_hand("i5", &files, json!({}));
    synced(world, "i5").await;
    let status = world.restore("i5", json!({"backupName": "i5"})).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let web = world
        .get("ingresses.networking.k8s.io", Some("i5"), "web")
        .await;
    let web = web.expect("restored");
    assert_eq!(web["spec"]["defaultBackend"], known["defaultBackend"]);
}

async fn an_archive_without_resources_restores_nothing_and_says_so(world: &World) {
    world.by_hand("i7", &[], json!({}));
    synced(world, "i7").await;
    let status = world.restore("i7", json!({"backupName": "i7"})).await;
    assert_eq!(status["phase"], "Completed", "{status}");
    assert!(status["warnings"].as_u64() >= Some(1), "{status}");
}

async fn paths_that_lead_out_are_refused(world: &World) {
    world.by_hand("i8", &[], json!({}));
    let archive = world.stored("backups/i8/i8.tar.gz");
    let tree = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(tree.path().join("a/b")).expect("made");
    std::fs::write(tree.path().join("escaped"), "{}").expect("written");
    let packed = std::process::Command::new("tar")
        .current_dir(tree.path().join("a/b"))
        .args([
            "-P",
            "-czf",
            archive.to_str().expect("a path"),
            "../../escaped",
        ])
        .status();
    assert!(packed.expect("tar runs").success());
    synced(world, "i8").await;
    let status = world.restore("i8", json!({"backupName": "i8"})).await;
    // What is refused is named, and nothing is made of it.
    assert_eq!(status["progress"].get("itemsRestored"), None, "{status}");
    let (warnings, _) = world.restore_results("i8");
    assert!(warnings.contains("../../escaped: refused"), "{warnings}");
}

async fn backups_that_are_not_done_are_not_imported_and_expired_ones_are(world: &World) {
    for (name, status) in [
        ("i9-waiting", json!({"phase": "WaitingForPluginOperations"})),
        ("i9-finalizing", json!({"phase": "Finalizing"})),
        ("i9-expired", json!({"expiration": "2126-01-01T00:00:00Z"})),
    ] {
        world.by_hand(name, &[], json!({"status": status}));
    }
    // Its expiration lies ahead, or the collection would be faster than this look.
    synced(world, "i9-expired").await;
    for name in ["i9-waiting", "i9-finalizing"] {
        assert_eq!(
            world.get("backups", Some(SERVER), name).await,
            None,
            "{name}"
        );
    }
}

async fn made(world: &World, name: &str) {
    world.namespace(name).await;
    world.create(config_map(name, "c", json!({}))).await;
    let status = world
        .backup(name, json!({"includedNamespaces": [name]}))
        .await;
    assert_eq!(status["phase"], "Completed", "{status}");
}

async fn what_is_written_is_as_a_sync_of_velero_wants_it(world: &World) {
    made(world, "i11").await;
    // Written from Velero's format, without code of ours.
    let wrong = check_backup(&world.stored("backups/i11"));
    assert_eq!(wrong, Vec::<String>::new());
}

async fn the_location_stays_valid_for_velero(world: &World) {
    made(world, "i15").await;
    let known = [
        "backups", "restores", "restic", "kopia", "metadata", "plugins",
    ];
    for entry in std::fs::read_dir(world.stored("")).expect("readable") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("text").to_owned();
        assert!(known.contains(&name.as_str()), "{name}");
    }
}

async fn the_record_is_in_veleros_words(world: &World) {
    made(world, "i16").await;
    let record = std::fs::read(world.stored("backups/i16/velero-backup.json"));
    let record: Value = serde_json::from_slice(&record.expect("written")).expect("JSON");
    assert_eq!(record["spec"]["ttl"], "720h0m0s");
    assert_eq!(record["spec"]["itemOperationTimeout"], "4h0m0s");
    let status = &record["status"];
    assert_eq!(
        (&status["version"], &status["formatVersion"]),
        (&json!(1), &json!("1.1.0"))
    );
    for field in ["startTimestamp", "completionTimestamp", "expiration"] {
        let time = status[field].as_str().unwrap_or_default();
        assert!(time.len() == 20 && time.ends_with('Z'), "{field}: {status}");
    }
}
