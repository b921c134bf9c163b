//! Plain folders of other tools, into a location and back.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;

use salvor_location::copy::Transfer;
use salvor_location::copy::tree::{TreeRecord, measure, mirror_folder};
use salvor_location::{Error, Location};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{Key, MemoryStore, PutMode};

use crate::world::{damage, dump, location};

const NEWEST: &str = "dumps/mysql.sql";

/// A folder as a set of cron jobs leaves it.
fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let at = root.path();
    fs::create_dir_all(at.join("dumps/empty")).expect("made");
    fs::write(at.join(NEWEST), b"INSERT 1;").expect("written");
    fs::write(at.join("dumps/same.sql"), b"INSERT 1;").expect("written");
    fs::write(at.join("large.db"), vec![7; 3 << 20]).expect("written");
    fs::write(at.join(OsStr::from_bytes(b"odd-\xff")), b"odd").expect("written");
    fs::write(at.join("nothing"), b"").expect("written");
    symlink("dumps/mysql.sql", at.join("latest")).expect("linked");
    fs::set_permissions(at.join(NEWEST), fs::Permissions::from_mode(0o640)).expect("set");
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 5);
    let file = fs::File::open(at.join(NEWEST)).expect("there");
    file.set_modified(old).expect("set");
    let made = std::process::Command::new("mkfifo")
        .arg(at.join("pipe"))
        .status();
    assert!(made.expect("coreutils").success());
    root
}

async fn mirrored(place: &Location, root: &Path) -> (TreeRecord, Transfer) {
    let transfer = Transfer::default();
    let record = mirror_folder(root, place, "cron", &transfer)
        .await
        .expect("mirrored");
    (record, transfer)
}

#[tokio::test]
async fn a_folder_comes_back_as_it_was() {
    let (root, place) = (folder(), location(Arc::new(MemoryStore::new())));
    let size = measure(root.path()).await.expect("counted");
    assert_eq!(size.files, 5);
    let (record, transfer) = mirrored(&place, root.path()).await;
    assert_eq!((record.files, record.folders, record.links), (5, 2, 1));
    assert_eq!(record.bytes, size.bytes);
    assert_eq!(
        (record.missing, record.missing_paths.len()),
        (1, 1),
        "a pipe has no bytes"
    );
    assert!(transfer.sent() < size.bytes, "equal contents are sent once");
    let again = Transfer::default();
    let second = mirror_folder(root.path(), &place, "cron", &again)
        .await
        .expect("mirrored");
    assert_eq!(again.sent(), 0, "what is there is not sent again");
    assert_eq!(second.list_sha256, record.list_sha256);
    assert_eq!(place.trees().await.expect("listed").len(), 2);
    let newest = place.tree("cron", None).await.expect("there");
    let report = place
        .verify_tree(&newest, &Transfer::default())
        .await
        .expect("read");
    assert!(report.is_sound());
    assert_eq!(report.files, 5);

    let back = tempfile::tempdir().expect("a folder");
    let to = back.path().join("new");
    let report = place
        .extract_tree(&record, &to, &[], &Transfer::default())
        .await;
    let report = report.expect("written");
    assert_eq!(report.findings, []);
    assert_eq!(
        fs::read(to.join(OsStr::from_bytes(b"odd-\xff"))).expect("there"),
        b"odd"
    );
    assert_eq!(fs::read(to.join("large.db")).expect("there").len(), 3 << 20);
    assert_eq!(
        fs::read_link(to.join("latest")).expect("a link"),
        Path::new("dumps/mysql.sql")
    );
    assert!(to.join("dumps/empty").is_dir());
    for path in [NEWEST, "dumps", "dumps/empty", "large.db"] {
        let of = |root: &Path| fs::metadata(root.join(path)).expect("there");
        let (was, is) = (of(root.path()), of(&to));
        assert_eq!(is.mode() & 0o777, was.mode() & 0o777, "{path}");
        assert_eq!(
            (is.mtime(), is.mtime_nsec()),
            (was.mtime(), was.mtime_nsec()),
            "{path}"
        );
    }
    let full = place
        .extract_tree(&record, &to, &[], &Transfer::default())
        .await;
    assert!(
        matches!(full, Err(Error::File { .. })),
        "never into what is there"
    );

    let part = back.path().join("part");
    let only = ["dumps".to_owned()];
    let report = place
        .extract_tree(&record, &part, &only, &Transfer::default())
        .await;
    assert_eq!(report.expect("written").files, 2);
    assert!(!part.join("large.db").exists());

    assert!(place.delete_tree("cron").await.expect("deleted") > 6);
    assert!(dump(&place, "plugins/salvor/trees").await.is_empty());
}

#[tokio::test]
async fn a_folder_whose_mirror_was_killed_is_completed_by_the_next() {
    let root = folder();
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    let (whole, _) = mirrored(&location(Arc::new(store.clone())), root.path()).await;
    for operation in 0..store.operations() {
        let store = FaultStore::new(Arc::new(MemoryStore::new()));
        let place = location(Arc::new(store.clone()));
        store.at(operation, Fault::CrashAfter);
        drop(mirror_folder(root.path(), &place, "cron", &Transfer::default()).await);
        store.heal();
        let (record, _) = mirrored(&place, root.path()).await;
        assert_eq!(record.list_sha256, whole.list_sha256, "after {operation}");
        let report = place
            .verify_tree(&record, &Transfer::default())
            .await
            .expect("read");
        assert!(
            report.is_sound(),
            "after {operation}: {:?}",
            report.findings
        );
    }
}

#[tokio::test]
async fn damage_is_found_and_never_written_back() {
    let (root, place) = (folder(), location(Arc::new(MemoryStore::new())));
    let (record, _) = mirrored(&place, root.path()).await;
    let objects = dump(&place, "plugins/salvor/trees/cron/objects").await;
    let (large, _) = objects
        .iter()
        .find(|(_, bytes)| bytes.len() == 3 << 20)
        .expect("there");
    damage(&place, large, b"?").await;
    let report = place
        .verify_tree(&record, &Transfer::default())
        .await
        .expect("read");
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].file, "large.db");
    let back = tempfile::tempdir().expect("a folder");
    let report = place
        .extract_tree(&record, back.path(), &[], &Transfer::default())
        .await;
    let report = report.expect("the rest is written");
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert!(!back.path().join("large.db").exists());
    assert_eq!(report.files, 4);
}

#[tokio::test]
async fn a_hostile_list_writes_nothing_outside_the_folder() {
    let (root, place) = (folder(), location(Arc::new(MemoryStore::new())));
    let (mut record, _) = mirrored(&place, root.path()).await;
    let line = |path: &str, kind: &str| {
        format!(
            "{{\"path\":\"{path}\",{kind},\"mode\":511,\"modified\":\"2026-01-01T00:00:00Z\",\"uid\":0,\"gid\":0}}\n"
        )
    };
    let file = format!(
        "\"type\":\"file\",\"size\":9,\"sha256\":\"{}\"",
        salvor_location::Digest::of(b"INSERT 1;")
    );
    let back = tempfile::tempdir().expect("a folder");
    let outside = back.path().join("outside");
    fs::create_dir(&outside).expect("made");
    let link = format!("\"type\":\"link\",\"target\":\"{}\"", outside.display());
    let list = [
        line("../escaped", &file),
        line("/tmp/escaped-by-salvor", &file),
        line("a", &link),
        line("a/through", &file),
        line("a", "\"type\":\"folder\""),
        line("b", &link),
        line("b", "\"type\":\"folder\""),
    ]
    .concat();
    record.list_sha256 = salvor_location::Digest::of(list.as_bytes());
    let generation = &record.generation;
    let key = Key::new(format!(
        "plugins/salvor/trees/cron/{generation}/files.jsonl"
    ));
    let key = key.expect("a key");
    let put = place.store().put(&key, list.into(), PutMode::Overwrite);
    put.await.expect("written");
    let to = back.path().join("new");
    let report = place
        .extract_tree(&record, &to, &[], &Transfer::default())
        .await;
    let report = report.expect("looked at");
    assert!(report.findings.len() >= 3, "{:?}", report.findings);
    assert_eq!(
        fs::read_dir(&outside).expect("there").count(),
        0,
        "nothing went through a link"
    );
    assert!(!back.path().join("escaped").exists());
    assert!(!Path::new("/tmp/escaped-by-salvor").exists());
    let before = fs::metadata(&outside).expect("there").mode() & 0o777;
    assert_ne!(before, 0o777, "nor its permissions");
    for bad in ["", "../x", "a b", ".hidden", "x/y"] {
        let made = mirror_folder(root.path(), &place, bad, &Transfer::default()).await;
        assert!(made.is_err(), "{bad}");
    }
}
