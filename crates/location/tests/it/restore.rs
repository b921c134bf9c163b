//! Records of restores: interruption, resumption, read-only locations, hostile neighbours.

use std::sync::Arc;

use bytes::Bytes;
use salvor_api::name::RestoreName;
use salvor_api::velero::{BackupPhase, Restore};
use salvor_location::{Error, Location, Profile, RunId, Severity};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{ErrorKind, Key, MemoryStore, ObjectStore, PutMode};

use crate::world::{location, write_backup};

fn restore_name() -> RestoreName {
    RestoreName::new("r").expect("valid name")
}

fn key(text: &str) -> Key {
    Key::new(text).expect("valid key")
}

async fn suspended(location: &Location, parts: usize) {
    let mut writer = location
        .begin_restore(&Restore::named("velero", "r"), &RunId::generate())
        .await
        .expect("begun");
    writer
        .put("salvor-plan.zst", Bytes::from_static(b"plan"))
        .await
        .expect("planned");
    for _ in 0..parts {
        writer
            .append_journal(Bytes::from_static(b"part"))
            .await
            .expect("appended");
    }
    writer.suspend().await;
}

#[tokio::test]
async fn a_resumed_restore_goes_on_after_the_last_part_and_may_repeat_its_plan() {
    let store = MemoryStore::new();
    let location = location(Arc::new(store.clone()));
    suspended(&location, 3).await;
    let mut writer = location
        .resume_restore(&restore_name(), &RunId::generate())
        .await
        .expect("resumed");
    writer
        .put("salvor-plan.zst", Bytes::from_static(b"plan"))
        .await
        .expect("the same plan");
    let error = writer
        .put("salvor-plan.zst", Bytes::from_static(b"another"))
        .await;
    assert!(error.is_err(), "another plan is refused");
    assert_eq!(writer.journals().await.expect("read").len(), 3);
    writer
        .append_journal(Bytes::from_static(b"fourth"))
        .await
        .expect("appended");
    let fourth = key("restores/r/salvor-journal-000004.zst");
    assert_eq!(store.head(&fourth).await.expect("there").size, 6);
    writer
        .finish(&Restore::named("velero", "r"))
        .await
        .expect("finished");
    let error = location
        .resume_restore(&restore_name(), &RunId::generate())
        .await
        .expect_err("finished");
    assert!(matches!(error, Error::RestoreExists { .. }), "{error}");
}

#[tokio::test]
async fn a_journal_with_a_gap_is_not_gone_on_with() {
    for strange in [
        "salvor-journal-000005.zst",
        "salvor-journal-18446744073709551615.zst",
    ] {
        let store = MemoryStore::new();
        let location = location(Arc::new(store.clone()));
        suspended(&location, 2).await;
        store
            .put(
                &key(&format!("restores/r/{strange}")),
                Bytes::new(),
                PutMode::Create,
            )
            .await
            .expect("written");
        // Twice: the refusal leaves nothing that would make the next one wait.
        for _ in 0..2 {
            let error = location
                .resume_restore(&restore_name(), &RunId::generate())
                .await
                .expect_err("part 3 is missing");
            assert!(
                matches!(&error, Error::BadRecord { key, .. } if key.ends_with("000003.zst")),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_deletion_that_is_interrupted_leaves_no_restore_that_could_be_resumed() {
    let finish = |location: Location| async move {
        let restore = Restore::named("velero", "r");
        let writer = location.begin_restore(&restore, &RunId::generate()).await;
        writer
            .expect("begun")
            .finish(&restore)
            .await
            .expect("finished");
    };
    let probe = FaultStore::new(Arc::new(MemoryStore::new()));
    finish(location(Arc::new(probe.clone()))).await;
    let before = probe.operations();
    location(Arc::new(probe.clone()))
        .delete_restore(&restore_name(), &RunId::generate())
        .await
        .expect("deleted");
    for operation in before..probe.operations() {
        let fault = FaultStore::new(Arc::new(MemoryStore::new()));
        let location = location(Arc::new(fault.clone()));
        finish(location.clone()).await;
        fault.at(operation, Fault::CrashAfter);
        let run = RunId::generate();
        let _ = location.delete_restore(&restore_name(), &run).await;
        fault.heal();
        match location.restore(&restore_name()).await {
            Ok(record) => assert!(record.finished, "after {:?}", probe.log()[operation]),
            Err(error) => assert!(error.is_not_found(), "{error}"),
        }
        match location.delete_restore(&restore_name(), &run).await {
            Ok(_) | Err(Error::RestoreNotFound { .. }) => {}
            Err(other) => panic!("repeat after crash at {operation}: {other}"),
        }
        assert!(location.restore(&restore_name()).await.is_err());
    }
}

#[tokio::test]
async fn a_read_only_location_lists_unfinished_restores_without_writing() {
    let fault = FaultStore::new(Arc::new(MemoryStore::new()));
    let writable = location(Arc::new(fault.clone()));
    let writer = writable
        .begin_restore(&Restore::named("velero", "r"), &RunId::generate())
        .await
        .expect("begun");
    let read_only = Location::new(
        Arc::new(fault.clone()),
        Profile {
            read_only: true,
            ..writable.profile().clone()
        },
    );
    let before = fault.operations();
    let listing = read_only.restores().await.expect("listed");
    assert!(listing.entries[0].active && !listing.entries[0].finished);
    let wrote = fault.log()[before..]
        .iter()
        .any(|operation| ["put", "upload", "delete"].contains(&operation.name));
    assert!(!wrote, "{:?}", fault.log());
    // Credentials that may only read, without anybody having said so.
    fault.on_key("/now", Fault::Before(ErrorKind::Denied));
    assert!(writable.restores().await.expect("listed").entries[0].active);
    writer.suspend().await;
}

#[tokio::test]
async fn a_record_that_is_too_long_or_out_of_reach_does_not_hide_its_neighbours() {
    let fault = FaultStore::new(Arc::new(MemoryStore::new()));
    let location = location(Arc::new(fault.clone()));
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    for file in ["backups/huge", "backups/locked"] {
        let body = Bytes::from(vec![b' '; (16 << 20) + 1]);
        fault
            .put(
                &key(&format!("{file}/velero-backup.json")),
                body,
                PutMode::Create,
            )
            .await
            .expect("written");
    }
    fault.on_key("backups/locked/", Fault::Before(ErrorKind::Denied));
    let listing = location.backups().await.expect("listed");
    assert_eq!(listing.entries.len(), 1);
    let damaged: Vec<_> = listing.damaged.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(damaged, ["huge", "locked"]);
    // A store that is out of reach is no reason to call a backup damaged.
    fault.on_key("backups/nightly/", Fault::Before(ErrorKind::Transient));
    assert!(location.backups().await.expect_err("fails").is_retryable());
}

#[tokio::test]
async fn a_backup_of_velero_without_its_archive_is_not_sound() {
    let store = MemoryStore::new();
    let location = location(Arc::new(store.clone()));
    let mut record = write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    record.backup.metadata.annotations.clear();
    record.backup.status.phase = BackupPhase::Completed;
    let manifest = key("backups/nightly/salvor-manifest.json");
    store.delete(&manifest).await.expect("deleted");
    let report = location.verify_files(&record).await.expect("runs");
    assert!(report.is_sound(), "{report:?}");
    let archive = key("backups/nightly/nightly.tar.gz");
    store.delete(&archive).await.expect("deleted");
    let report = location.verify_files(&record).await.expect("runs");
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.severity == Severity::Error && f.file == "nightly.tar.gz"),
        "{report:?}"
    );
}
