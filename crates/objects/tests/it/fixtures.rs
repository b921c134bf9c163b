//! What a release wrote is read by every later one: `tests/fixtures/v<release>/location` is a location as that release
//! left it, with a backup, a held one, a finished restore. Nothing of it is ever written again.
//!
//! A new minor release adds its own: `UPDATE=1 cargo test -p salvor-objects --test it fixtures`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use salvor_api::labels;
use salvor_api::name::{BackupName, RestoreName};
use salvor_api::velero::{Backup, BackupPhase, RestorePhase};
use salvor_archive::index::Index;
use salvor_archive::limits::Limits;
use salvor_location::Location;
use salvor_seal::Digest;
use salvor_storage::FsStore;
use serde_json::Value;

use crate::restore_world::{complaints, restore_all};
use crate::world::{World, back_up, config_map, location_on, namespace, request};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// The folder of the release that this is.
fn own() -> PathBuf {
    let version = env!("CARGO_PKG_VERSION");
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    Path::new(FIXTURES).join(format!("v{minor}/location"))
}

fn name(text: &str) -> BackupName {
    BackupName::new(text).expect("a name")
}

fn open(folder: &Path) -> Location {
    location_on(Arc::new(FsStore::new(folder)))
}

/// A cluster with a handful of objects, some of each sort that is stored in its own way.
async fn small() -> World {
    let world = World::empty();
    let definition = crate::world::platform()
        .into_iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition");
    for object in definition {
        world.create(object).await;
    }
    world.create(namespace("shop")).await;
    for index in 0..3 {
        world
            .create(config_map("shop", &format!("settings-{index}")))
            .await;
    }
    world
}

async fn write(folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    let (location, world) = (open(folder), small().await);
    for backup in ["b", "held"] {
        let spec = |backup: &mut Backup| backup.spec.included_namespaces = vec!["shop".to_owned()];
        back_up(&world, &location, request(backup, spec))
            .await
            .expect("made");
    }
    location
        .hold(&name("held"), "audit of 2026", "auditor")
        .await
        .expect("held");
    restore_all(&World::empty(), &location, "r").await;
}

/// Every release whose fixtures are there, as a copy that may be written.
fn releases() -> Vec<(String, tempfile::TempDir)> {
    let folders = std::fs::read_dir(FIXTURES).expect("fixtures");
    let mut names: Vec<String> = folders
        .map(|folder| {
            folder
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    let copied = names.into_iter().map(|name| {
        let copy = tempfile::tempdir().expect("a folder");
        copy_folder(
            &Path::new(FIXTURES).join(&name).join("location"),
            copy.path(),
        );
        (name, copy)
    });
    copied.collect()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("fixtures") {
        let (path, target) = entry
            .map(|e| (e.path(), to.join(e.file_name())))
            .expect("an entry");
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

#[tokio::test]
async fn what_every_release_wrote_is_read_and_restored() {
    let own = own();
    if std::env::var_os("UPDATE").is_some() && !own.exists() {
        write(&own).await;
    }
    assert!(
        own.exists(),
        "this release has no fixtures: run this test with UPDATE=1"
    );
    for (release, folder) in releases() {
        let location = open(folder.path());
        location
            .record()
            .await
            .expect("readable")
            .expect("a record of the location");
        let listing = location.backups().await.expect("listed");
        assert!(
            listing.damaged.is_empty(),
            "{release}: {:?}",
            listing.damaged
        );
        let names: Vec<&str> = listing
            .entries
            .iter()
            .map(|record| record.name.as_str())
            .collect();
        assert_eq!(names, ["b", "held"], "{release}");
        for record in &listing.entries {
            assert_eq!(
                record.backup.status.phase,
                BackupPhase::Completed,
                "{release}"
            );
            let verification = location.verify_files(record).await.expect("verified");
            assert!(verification.is_sound(), "{release}: {verification:?}");
        }
        let held = location.holds_of(&name("held")).await.expect("readable");
        assert_eq!(
            held.reasons().collect::<Vec<_>>(),
            ["audit of 2026"],
            "{release}"
        );
        let restore = location
            .restore(&RestoreName::new("r").expect("a name"))
            .await;
        let restore = restore.expect("a record");
        assert!(restore.finished, "{release}");
        assert_eq!(
            restore.restore.status.phase,
            RestorePhase::Completed,
            "{release}"
        );
        let world = World::empty();
        let outcome = restore_all(&world, &location, "again").await;
        assert_eq!(complaints(&outcome), Vec::<String>::new(), "{release}");
        let settings = world.get("configmaps", Some("shop"), "settings-2").await;
        assert!(settings.is_some(), "{release}");
    }
}

/// Raises the `version` of a JSON record.
fn raise(path: &Path) {
    let text = std::fs::read_to_string(path).expect("a record");
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    assert!(
        value["version"].is_u64(),
        "{} has a version",
        path.display()
    );
    value["version"] = 99.into();
    // Later formats hold what nobody knows yet.
    value["ofALaterVersion"] = true.into();
    std::fs::write(path, value.to_string()).expect("written");
}

/// The records of ours below a folder that are JSON.
fn records(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            records(&path, found);
        } else if path.extension().is_some_and(|end| end == "json") {
            found.push(path);
        }
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_with_what_to_do() {
    for (release, folder) in releases() {
        let root = folder.path();
        let manifest = root.join("backups/b/salvor-manifest.json");
        raise(&manifest);
        let digest = Digest::of(&std::fs::read(&manifest).expect("a manifest")).to_string();
        let commit = root.join("backups/b/velero-backup.json");
        let text = std::fs::read_to_string(&commit).expect("a record");
        let mut value: Value = serde_json::from_str(&text).expect("JSON");
        value["metadata"]["annotations"][labels::MANIFEST_DIGEST] = digest.into();
        std::fs::write(&commit, value.to_string()).expect("written");
        let location = open(root);
        let record = location
            .backup(&name("b"))
            .await
            .expect("Velero's file is as it was");
        let error = location
            .manifest(&record)
            .await
            .expect_err("refused")
            .to_string();
        let says = |error: &str| error.contains("99") && error.contains("newer");
        assert!(says(&error), "{release}: {error}");

        let index = root.join("backups/held/salvor-index.zst");
        let mut packed = std::fs::read(index).expect("an index");
        // Behind the frame's head and the eight bytes that name the format.
        packed[16] = 99;
        let error = Index::decode(&packed, Limits::default())
            .expect_err("refused")
            .to_string();
        assert!(says(&error), "{release}: {error}");

        let mut ours = Vec::new();
        records(&root.join("plugins/salvor"), &mut ours);
        for path in ours
            .iter()
            .filter(|path| path.to_string_lossy().contains("/location/"))
        {
            raise(path);
        }
        let error = location.record().await.expect_err("refused").to_string();
        assert!(says(&error), "{release}: {error}");
        let error = location
            .hold(&name("b"), "x", "y")
            .await
            .expect_err("not written to");
        assert!(says(&chain(&error)), "{release}: {}", chain(&error));
        for path in ours
            .iter()
            .filter(|path| path.to_string_lossy().contains("hold"))
        {
            raise(path);
        }
        // What cannot be read is held all the same.
        let held = location.holds_of(&name("held")).await.expect("readable");
        let reasons: Vec<&str> = held.reasons().collect();
        assert!(says(&reasons.join("; ")), "{release}: {reasons:?}");
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
