//! One backup from one location into another.

use std::sync::Arc;
use std::time::Duration;

use salvor_location::claim::ClaimPolicy;
use salvor_location::copy::state::CopyState;
use salvor_location::copy::{CopyOptions, Expiry, Separation};
use salvor_location::{Error, Location, RunId};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{ErrorKind, Key, MemoryStore, ObjectStore as _, PutMode};

use crate::world::{
    assert_whole_or_absent, damage, dump, location_called, name, velero_backup, write_backup,
};

const FOLDER: &str = "backups/nightly";

/// Whoever is not there any more is silent for long enough.
fn impatient(location: Location) -> Location {
    location.with_claim_policy(ClaimPolicy {
        lease: Duration::ZERO,
        ..ClaimPolicy::default()
    })
}

/// A location with one backup.
async fn original() -> Location {
    let source = location_called("here", Arc::new(MemoryStore::new()));
    write_backup(&source, &RunId::generate())
        .await
        .expect("written");
    source
}

fn elsewhere() -> Location {
    location_called("there", Arc::new(MemoryStore::new()))
}

#[tokio::test]
async fn a_copy_has_the_bytes_of_its_original_and_says_where_it_comes_from() {
    let (source, target) = (original().await, elsewhere());
    let options = CopyOptions::default();
    let copied = source
        .copy_backup(&name("nightly"), &target, &options)
        .await
        .expect("copied");
    assert!(!copied.already);
    assert_eq!(copied.separation, Separation::Machine);
    assert_eq!(dump(&target, FOLDER).await, dump(&source, FOLDER).await);
    assert_whole_or_absent(&target, "a copy")
        .await
        .expect("committed");
    let from = target
        .copied_from(&name("nightly"))
        .await
        .expect("read")
        .expect("a copy");
    assert_eq!(from.from.name, "here");
    assert_eq!(from.objects.len(), 3);
    let record = source.backup(&name("nightly")).await.expect("there");
    let copies = source.copies_of(&record).await.expect("read");
    assert_eq!(copies.len(), 1);
    assert_eq!((copies[0].state, copies[0].attempts), (CopyState::Done, 1));
    assert_eq!(copies[0].target.name, "there");
    let sent = options.transfer.sent();
    assert_eq!(sent, copies[0].bytes);
    let again = source
        .copy_backup(&name("nightly"), &target, &options)
        .await
        .expect("there");
    assert!(again.already);
    assert_eq!(options.transfer.sent(), sent, "nothing is sent twice");
}

#[tokio::test]
async fn a_copy_killed_at_any_operation_of_either_store_is_completed_by_the_next() {
    for at_target in [true, false] {
        let stores = || {
            let (ours, theirs) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
            (FaultStore::new(ours), FaultStore::new(theirs))
        };
        let (ours, theirs) = stores();
        let source = location_called("here", Arc::new(ours.clone()));
        write_backup(&source, &RunId::generate())
            .await
            .expect("written");
        let before = ours.operations();
        let target = location_called("there", Arc::new(theirs.clone()));
        let copied = source
            .copy_backup(&name("nightly"), &target, &CopyOptions::default())
            .await;
        copied.expect("copied");
        let (first, operations) = match at_target {
            true => (0, theirs.operations()),
            false => (before, ours.operations()),
        };
        assert!(operations - first > 8, "{operations}");
        for operation in first..operations {
            for fault in [
                Fault::CrashBefore,
                Fault::CrashAfter,
                Fault::Before(ErrorKind::Full),
                Fault::AfterWithError,
            ] {
                let (ours, theirs) = stores();
                let source = location_called("here", Arc::new(ours.clone()));
                write_backup(&source, &RunId::generate())
                    .await
                    .expect("written");
                let wanted = dump(&source, FOLDER).await;
                let shift = dump_operations(&ours, before);
                let faulty = if at_target { &theirs } else { &ours };
                faulty.at(operation + if at_target { 0 } else { shift }, fault);
                let context = format!("{fault:?} at {operation}, of the target: {at_target}");
                let target = impatient(location_called("there", Arc::new(theirs.clone())));
                let copy = async |target: &Location| {
                    let options = CopyOptions::default();
                    source.copy_backup(&name("nightly"), target, &options).await
                };
                let first = copy(&target).await;
                faulty.heal();
                let found = assert_whole_or_absent(&target, &context).await;
                if first.is_ok() {
                    assert!(found.is_some(), "{context}: success is a copy");
                }
                let second = copy(&target).await;
                second.unwrap_or_else(|error| panic!("{context}: the next copy fails: {error}"));
                assert_eq!(dump(&target, FOLDER).await, wanted, "{context}");
                let record = source.backup(&name("nightly")).await.expect("there");
                let copies = source.copies_of(&record).await.expect("read");
                assert_eq!(copies[0].state, CopyState::Done, "{context}");
            }
        }
    }
}

/// How many operations looking at the original took since `before`.
fn dump_operations(store: &FaultStore, before: usize) -> usize {
    store.operations() - before
}

#[tokio::test]
async fn what_an_interrupted_copy_left_is_not_sent_again_and_what_is_wrong_is() {
    let source = original().await;
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    let target = impatient(location_called("there", Arc::new(store.clone())));
    store.on_key("nightly/nightly.tar.gz", Fault::Before(ErrorKind::Full));
    let options = CopyOptions::default();
    let error = source
        .copy_backup(&name("nightly"), &target, &options)
        .await;
    assert!(error.expect_err("full").is_full());
    let record = source.backup(&name("nightly")).await.expect("there");
    let copies = source.copies_of(&record).await.expect("read");
    assert_eq!(copies[0].state, CopyState::Failed);
    assert!(
        copies[0].message.contains("nightly.tar.gz"),
        "{}",
        copies[0].message
    );
    store.heal();
    let wrong = format!("{FOLDER}/nightly-logs.gz");
    damage(&target, &wrong, b"half of it").await;
    damage(&target, &format!("{FOLDER}/a-stranger"), b"?").await;
    let seen = store.operations();
    source
        .copy_backup(&name("nightly"), &target, &options)
        .await
        .expect("copied");
    let uploads: Vec<String> = store.log()[seen..]
        .iter()
        .filter(|operation| operation.name == "upload")
        .map(|operation| operation.key.clone())
        .collect();
    assert_eq!(uploads, [wrong, format!("{FOLDER}/nightly.tar.gz")]);
    assert_eq!(dump(&target, FOLDER).await, dump(&source, FOLDER).await);
    let copies = source.copies_of(&record).await.expect("read");
    assert_eq!((copies[0].state, copies[0].attempts), (CopyState::Done, 2));
}

#[tokio::test]
async fn a_damaged_original_is_never_copied() {
    for (file, bytes) in [
        ("nightly.tar.gz", b"short".as_slice()),
        (
            "nightly-logs.gz",
            b"log of 20261120t020000-9f86d081884c7d6X".as_slice(),
        ),
        ("salvor-manifest.json", b"{}".as_slice()),
        ("velero-backup.json", b"{".as_slice()),
    ] {
        let (source, target) = (original().await, elsewhere());
        damage(&source, &format!("{FOLDER}/{file}"), bytes).await;
        let options = CopyOptions::default();
        let error = source
            .copy_backup(&name("nightly"), &target, &options)
            .await;
        let error = error.expect_err(file);
        assert!(
            matches!(error, Error::SourceDamaged { .. } | Error::BadRecord { .. }),
            "{file}: {error}"
        );
        let left = dump(&target, FOLDER).await;
        assert!(
            !left.contains_key(&format!("{FOLDER}/{file}")),
            "{file}: it is visible"
        );
        assert!(
            !left.contains_key(&format!("{FOLDER}/velero-backup.json")),
            "{file}"
        );
    }
}

#[tokio::test]
async fn a_store_that_lies_about_a_write_has_no_copy() {
    let source = original().await;
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    store.on_key("nightly/nightly.tar.gz", Fault::Lie);
    let target = location_called("there", Arc::new(store.clone()));
    let copied = source
        .copy_backup(&name("nightly"), &target, &CopyOptions::default())
        .await;
    copied.expect_err("the archive is not there");
    store.heal();
    assert_eq!(assert_whole_or_absent(&target, "a lie").await, None);
}

#[tokio::test]
async fn another_backup_of_the_name_stays_as_it_is() {
    let (source, target) = (original().await, elsewhere());
    write_backup(&target, &RunId::generate())
        .await
        .expect("written");
    let before = dump(&target, "").await;
    let copied = source
        .copy_backup(&name("nightly"), &target, &CopyOptions::default())
        .await;
    let error = copied.expect_err("another one");
    assert!(matches!(error, Error::CopyDiffers { .. }), "{error}");
    assert_eq!(dump(&target, "").await, before);
    let same = source
        .copy_backup(&name("nightly"), &source, &CopyOptions::default())
        .await;
    assert!(matches!(same, Err(Error::SamePlace { .. })));
}

#[tokio::test]
async fn a_backup_of_veleros_is_copied_with_the_digests_that_it_had_on_the_way() {
    let (source, target) = (
        elsewhere(),
        location_called("copy", Arc::new(MemoryStore::new())),
    );
    velero_backup(&source, "old").await;
    let options = CopyOptions::default();
    source
        .copy_backup(&name("old"), &target, &options)
        .await
        .expect("copied");
    assert_eq!(
        dump(&target, "backups").await,
        dump(&source, "backups").await
    );
    let from = target
        .copied_from(&name("old"))
        .await
        .expect("read")
        .expect("a copy");
    assert_eq!(from.objects.len(), 2);
    // The digests travel on, and show damage in a place where nothing else would.
    let third = location_called("third", Arc::new(MemoryStore::new()));
    damage(&target, "backups/old/old-logs.gz", b"a lot").await;
    let error = target
        .copy_backup(&name("old"), &third, &options)
        .await
        .expect_err("damaged");
    assert!(matches!(error, Error::SourceDamaged { .. }), "{error}");
    let key = salvor_storage::Key::new("backups/old/old.tar.gz").expect("a key");
    source.store().delete(&key).await.expect("deleted");
    let error = source
        .copy_backup(&name("old"), &third, &options)
        .await
        .expect_err("no archive");
    assert!(matches!(error, Error::SourceDamaged { .. }), "{error}");
}

#[tokio::test]
async fn the_rule_of_the_copy_decides_when_it_may_go_and_nothing_else_of_the_record_changes() {
    let source = elsewhere();
    velero_backup(&source, "old").await;
    for (expiry, expiration, ttl) in [
        (
            Expiry::AsOriginal,
            Some("2026-02-01T03:04:05Z"),
            Some("720h0m0s"),
        ),
        (Expiry::Never, None, None),
        (
            Expiry::After(Duration::from_secs(48 * 3600)),
            Some("2026-01-04T03:04:05Z"),
            Some("48h0m0s"),
        ),
    ] {
        let target = location_called("copy", Arc::new(MemoryStore::new()));
        let options = CopyOptions {
            expiry,
            ..CopyOptions::default()
        };
        let copied = source
            .copy_backup(&name("old"), &target, &options)
            .await
            .expect("copied");
        let record = &dump(&target, "backups").await["backups/old/velero-backup.json"];
        let record: serde_json::Value = serde_json::from_slice(record).expect("JSON");
        assert_eq!(
            record["status"]["expiration"].as_str(),
            expiration,
            "{expiry:?}"
        );
        assert_eq!(record["spec"]["ttl"].as_str(), ttl, "{expiry:?}");
        assert_eq!(
            record["spec"]["new"]["field"], 1,
            "{expiry:?}: unknown fields stay"
        );
        let at = copied
            .record
            .backup
            .status
            .expiration
            .map(|at| at.to_string());
        assert_eq!(at.as_deref(), expiration, "{expiry:?}");
    }
}

#[tokio::test]
async fn a_hold_holds_every_copy_and_its_release_follows_with_the_next_one() {
    let (source, target) = (original().await, elsewhere());
    let hold = source
        .hold(&name("nightly"), "audit", "alice")
        .await
        .expect("held");
    let options = CopyOptions::default();
    let copy = async || {
        source
            .copy_backup(&name("nightly"), &target, &options)
            .await
    };
    copy().await.expect("copied");
    let error = target
        .delete_backup(&name("nightly"), &RunId::generate())
        .await;
    assert!(matches!(error, Err(Error::Held { .. })));
    let own = target
        .hold(&name("nightly"), "kept here", "bob")
        .await
        .expect("held");
    source
        .release(&name("nightly"), &hold.id)
        .await
        .expect("released");
    assert!(copy().await.expect("there").already);
    let holds = target.holds_of(&name("nightly")).await.expect("read");
    assert_eq!(holds.active, [own], "its own hold stays");
}

#[tokio::test]
async fn nothing_that_was_said_of_a_deleted_backup_speaks_for_the_next_of_its_name() {
    let (source, target) = (original().await, elsewhere());
    let options = CopyOptions::default();
    source
        .copy_backup(&name("nightly"), &target, &options)
        .await
        .expect("copied");
    let kept = dump(&source, "plugins/salvor/copies").await;
    assert_eq!(kept.len(), 1);
    for place in [&source, &target] {
        place
            .delete_backup(&name("nightly"), &RunId::generate())
            .await
            .expect("deleted");
        assert!(dump(place, "plugins/salvor/copies").await.is_empty());
        assert!(dump(place, "plugins/salvor/copied").await.is_empty());
    }
    write_backup(&source, &RunId::generate())
        .await
        .expect("written");
    // As a deletion that died would have left it.
    for (key, bytes) in kept {
        let key = salvor_storage::Key::new(key).expect("a key");
        let mode = salvor_storage::PutMode::Create;
        source
            .store()
            .put(&key, bytes, mode)
            .await
            .expect("written");
    }
    let record = source.backup(&name("nightly")).await.expect("there");
    assert_eq!(source.copies_of(&record).await.expect("read"), []);
}

#[tokio::test]
async fn a_copy_that_is_stopped_leaves_the_name_free_and_what_it_has_done() {
    let (source, target) = (original().await, elsewhere());
    let options = CopyOptions::default();
    options.transfer.stop();
    let error = source
        .copy_backup(&name("nightly"), &target, &options)
        .await;
    assert!(error.expect_err("stopped").is_cancelled());
    let copied = source
        .copy_backup(&name("nightly"), &target, &CopyOptions::default())
        .await;
    copied.expect("at once");
}

#[tokio::test]
async fn a_copy_that_is_known_to_be_broken_is_not_called_there_and_is_brought_again() {
    let source = original().await;
    let name = crate::world::name("nightly");
    let store = Arc::new(MemoryStore::new());
    let target = location_called("there", store.clone());
    let options = CopyOptions::default();
    source
        .copy_backup(&name, &target, &options)
        .await
        .expect("copied");
    let whole = dump(&target, "backups").await;
    let (key, bytes) = whole
        .iter()
        .find(|(key, _)| key.ends_with(".tar.gz"))
        .expect("an archive");
    let key = Key::new(key.clone()).expect("a key");
    let put = |bytes: bytes::Bytes| {
        let (store, key) = (store.clone(), key.clone());
        async move {
            store
                .put(&key, bytes, PutMode::Overwrite)
                .await
                .expect("written")
        }
    };
    let record = || async { target.backup(&name).await.expect("there") };
    // Gone, cut off, and changed in a way that only a verification sees.
    for damage in 0..3 {
        match damage {
            0 => store.delete(&key).await.expect("deleted"),
            1 => drop(put(bytes.slice(..bytes.len() - 1)).await),
            _ => {
                let mut changed = bytes.to_vec();
                changed[10] ^= 1;
                put(changed.into()).await;
                assert_eq!(
                    target.known_damage(&record().await).await.expect("looked"),
                    None
                );
                let found = target.verify_files(&record().await).await.expect("read");
                target
                    .record_verification(&record().await, &found)
                    .await
                    .expect("written");
            }
        }
        let known = target.known_damage(&record().await).await.expect("looked");
        assert!(known.is_some(), "damage {damage}");
        let plan = salvor_location::copy::mirror::plan(&source, &target, false)
            .await
            .expect("planned");
        assert_eq!(plan.steps(), 1, "{plan}");
        let copied = source
            .copy_backup(&name, &target, &options)
            .await
            .expect("copied");
        assert!(!copied.already);
        assert_eq!(dump(&target, "backups").await, whole);
        let known = target.known_damage(&record().await).await.expect("looked");
        assert_eq!(known, None, "damage {damage}");
        let again = source
            .copy_backup(&name, &target, &options)
            .await
            .expect("copied");
        assert!(again.already);
    }
}
