//! Who may write under a name, and what a reader sees.

use std::sync::Arc;

use bytes::Bytes;
use salvor_api::velero::Restore;
use salvor_location::{Error, Location, RunId, Severity};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{Key, MemoryStore, ObjectStore, PutMode, RetryPolicy, RetryStore};

use crate::world::{assert_whole_or_absent, location, name, write_backup};

fn key(text: &str) -> Key {
    Key::new(text).expect("valid key")
}

#[tokio::test(start_paused = true)]
async fn a_committed_backup_is_listed_verified_and_cannot_be_written_again() {
    let location = location(Arc::new(MemoryStore::new()));
    let run = RunId::generate();
    write_backup(&location, &run).await.expect("written");
    assert_eq!(
        assert_whole_or_absent(&location, "after commit").await,
        Some(run)
    );
    let error = write_backup(&location, &RunId::generate())
        .await
        .expect_err("name is taken");
    assert!(matches!(error, Error::BackupExists { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn of_two_writers_of_one_name_one_is_told_to_wait() {
    let location = location(Arc::new(MemoryStore::new()));
    let (first, second) = (RunId::generate(), RunId::generate());
    let mut writer = location
        .begin_backup(&name("nightly"), &first)
        .await
        .expect("claimed");
    writer
        .put("nightly-logs.gz", Bytes::from_static(b"x"))
        .await
        .expect("written");
    match location
        .begin_backup(&name("nightly"), &second)
        .await
        .expect_err("claimed by another")
    {
        Error::Busy { run, .. } => assert_eq!(run, first),
        other => panic!("unexpected: {other}"),
    }
    writer.abandon().await;
    write_backup(&location, &second)
        .await
        .expect("free again, leftovers gone");
    assert_eq!(
        assert_whole_or_absent(&location, "after the second").await,
        Some(second)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_leave_exactly_one_backup() {
    for _ in 0..10 {
        let location = location(Arc::new(MemoryStore::new()));
        let writers: Vec<_> = (0..6)
            .map(|_| {
                let (location, run) = (location.clone(), RunId::generate());
                tokio::spawn(async move {
                    let outcome = write_backup(&location, &run).await;
                    (run, outcome.map(drop))
                })
            })
            .collect();
        let mut winners = Vec::new();
        for writer in writers {
            let (run, outcome) = writer.await.expect("no panic");
            if outcome.is_ok() {
                winners.push(run);
            }
        }
        assert_eq!(winners.len(), 1, "one winner");
        assert_eq!(
            assert_whole_or_absent(&location, "race").await,
            winners.pop()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lying_store_is_noticed_before_the_commit() {
    for lie in [
        "nightly-logs.gz",
        "nightly.tar.gz",
        "nightly-results.gz",
        "salvor-manifest.json",
    ] {
        let fault = FaultStore::new(Arc::new(MemoryStore::new()));
        fault.on_key(lie, Fault::Lie);
        let location = location(Arc::new(fault.clone()));
        let error = write_backup(&location, &RunId::generate())
            .await
            .expect_err("noticed");
        assert!(
            matches!(error, Error::ContentsChanged { .. }),
            "{lie}: {error}"
        );
        fault.heal();
        assert_eq!(assert_whole_or_absent(&location, lie).await, None);
        let next = RunId::generate();
        write_backup(&location, &next)
            .await
            .expect("the name is free at once");
        assert_eq!(assert_whole_or_absent(&location, lie).await, Some(next));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_at_any_write_does_not_spoil_the_backup() {
    let probe = FaultStore::new(Arc::new(MemoryStore::new()));
    write_backup(&location(Arc::new(probe.clone())), &RunId::generate())
        .await
        .expect("written");
    for operation in 0..probe.operations() {
        let fault = FaultStore::new(Arc::new(MemoryStore::new()));
        fault.at(operation, Fault::AfterWithError);
        let retry = RetryStore::new(Arc::new(fault.clone()), RetryPolicy::default());
        let location = location(Arc::new(retry));
        let run = RunId::generate();
        let context = format!("operation {operation}, {:?}", probe.log()[operation]);
        let outcome = write_backup(&location, &run).await;
        // A piece of an upload cannot be sent twice; everything else heals.
        let is_piece = probe.log()[operation].name == "write";
        assert_eq!(outcome.is_err(), is_piece, "{context}: {outcome:?}");
        let committed = assert_whole_or_absent(&location, &context).await;
        assert_eq!(committed, (!is_piece).then_some(run), "{context}");
    }
}

#[tokio::test(start_paused = true)]
async fn damage_is_found_and_named() {
    let store = MemoryStore::new();
    let location = location(Arc::new(store.clone()));
    let record = write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    let put = |file: &str, body: &'static [u8]| {
        let (store, key) = (store.clone(), key(&format!("backups/nightly/{file}")));
        async move {
            store
                .put(&key, Bytes::from_static(body), PutMode::Overwrite)
                .await
        }
    };
    put("nightly-logs.gz", b"shorter").await.expect("damaged");
    put("stranger", b"?").await.expect("added");
    store
        .delete(&key("backups/nightly/nightly-results.gz"))
        .await
        .expect("deleted");
    let report = location.verify_files(&record).await.expect("runs");
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|f| (f.severity, f.file.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (Severity::Error, "nightly-logs.gz"),
            (Severity::Error, "nightly-results.gz"),
            (Severity::Warning, "stranger"),
        ]
    );
    put("salvor-manifest.json", b"{}").await.expect("damaged");
    let report = location.verify_files(&record).await.expect("runs");
    assert!(
        !report.is_sound(),
        "a forged manifest does not match the record: {report:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_record_does_not_hide_its_neighbours() {
    let store = MemoryStore::new();
    let location = location(Arc::new(store.clone()));
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    for (file, body) in [
        ("backups/broken/velero-backup.json", "{ not json"),
        (
            "backups/other-kind/velero-backup.json",
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
        ),
        ("backups/no-record/x.tar.gz", "x"),
        ("backups/Bad_Name/velero-backup.json", "{}"),
    ] {
        store
            .put(&key(file), Bytes::from(body), PutMode::Create)
            .await
            .expect("written");
    }
    let listing = location.backups().await.expect("listed");
    assert_eq!(listing.entries.len(), 1);
    let damaged: Vec<_> = listing.damaged.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(damaged, ["Bad_Name", "broken", "other-kind"]);
}

#[tokio::test(start_paused = true)]
async fn a_newer_location_is_refused_not_guessed_at() {
    let store = MemoryStore::new();
    let body = Bytes::from_static(br#"{"version": 9, "id": "x", "future": true}"#);
    store
        .put(
            &key("plugins/salvor/location/000007.json"),
            body,
            PutMode::Create,
        )
        .await
        .expect("written");
    let location = location(Arc::new(store));
    for error in [
        location.backups().await.map(drop).expect_err("refused"),
        location.prepare().await.map(drop).expect_err("refused"),
    ] {
        assert!(
            matches!(
                error,
                Error::NewerFormat {
                    found: 9,
                    known: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(!location.check().await.expect("runs").is_usable());
}

#[tokio::test(start_paused = true)]
async fn a_backup_can_be_written_by_whoever_may_not_delete() {
    let probe = FaultStore::new(Arc::new(MemoryStore::new()));
    write_backup(&location(Arc::new(probe.clone())), &RunId::generate())
        .await
        .expect("written");
    let fault = FaultStore::new(Arc::new(MemoryStore::new()));
    let mut deletions = 0;
    for (number, operation) in probe.log().iter().enumerate() {
        if operation.name == "delete" {
            fault.at(number, Fault::Before(salvor_storage::ErrorKind::Denied));
            deletions += 1;
        }
    }
    assert!(deletions > 0, "the trial is removed");
    let location = location(Arc::new(fault));
    let run = RunId::generate();
    write_backup(&location, &run).await.expect("written");
    let committed = assert_whole_or_absent(&location, "no right to delete").await;
    assert_eq!(committed, Some(run));
}

/// A finished restore called `restore` from backup `backup`.
async fn restored(location: &Location, restore: &str, backup: &str) {
    let mut restore = Restore::named("velero", restore);
    restore.spec.backup_name = backup.to_owned();
    let writer = location.begin_restore(&restore, &RunId::generate()).await;
    let finished = writer.expect("begun").finish(&restore).await;
    finished.expect("finished");
}

async fn restores(location: &Location) -> Vec<String> {
    let listing = location.restores().await.expect("listed");
    assert_eq!(listing.damaged, []);
    listing
        .entries
        .iter()
        .map(|record| record.name.to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_deleted_with_the_restores_that_were_made_from_it() {
    let location = location(Arc::new(MemoryStore::new()));
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    for (restore, backup) in [("r1", "nightly"), ("r2", "other"), ("r3", "nightly")] {
        restored(&location, restore, backup).await;
    }
    let run = RunId::generate();
    let deleted = location.delete_backup(&name("nightly"), &run).await;
    let deleted = deleted.expect("deleted");
    let names: Vec<_> = deleted.restores.iter().map(ToString::to_string).collect();
    assert_eq!(
        (deleted.objects, names),
        (5, vec!["r1".into(), "r3".into()])
    );
    assert_eq!(restores(&location).await, ["r2"]);
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_is_being_restored_is_not_deleted_nor_any_of_its_restores() {
    let location = location(Arc::new(MemoryStore::new()));
    let first = RunId::generate();
    write_backup(&location, &first).await.expect("written");
    restored(&location, "a-done", "nightly").await;
    let mut restore = Restore::named("velero", "b-at-work");
    restore.spec.backup_name = "nightly".to_owned();
    let at_work = RunId::generate();
    let writer = location.begin_restore(&restore, &at_work).await;
    let writer = writer.expect("begun");
    // Twice: the refusal leaves nothing that would make the next one wait.
    for _ in 0..2 {
        let error = location
            .delete_backup(&name("nightly"), &RunId::generate())
            .await
            .expect_err("it is being restored");
        match error {
            Error::Busy { kind, run, .. } => assert_eq!((kind, run), ("restore", at_work.clone())),
            other => panic!("unexpected: {other}"),
        }
    }
    assert_eq!(
        assert_whole_or_absent(&location, "refused").await,
        Some(first)
    );
    assert_eq!(restores(&location).await, ["a-done", "b-at-work"]);
    writer.suspend().await;
    location
        .delete_backup(&name("nightly"), &RunId::generate())
        .await
        .expect("nobody is at work any more");
    assert_eq!(restores(&location).await, [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn deletion_removes_the_record_before_the_contents_and_may_be_repeated() {
    let probe = FaultStore::new(Arc::new(MemoryStore::new()));
    let at_probe = location(Arc::new(probe.clone()));
    write_backup(&at_probe, &RunId::generate())
        .await
        .expect("written");
    restored(&at_probe, "r", "nightly").await;
    let before = probe.operations();
    at_probe
        .delete_backup(&name("nightly"), &RunId::generate())
        .await
        .expect("deleted");
    for operation in before..probe.operations() {
        let fault = FaultStore::new(Arc::new(MemoryStore::new()));
        let location = location(Arc::new(fault.clone()));
        write_backup(&location, &RunId::generate())
            .await
            .expect("written");
        restored(&location, "r", "nightly").await;
        fault.at(operation, Fault::CrashAfter);
        let run = RunId::generate();
        let _ = location.delete_backup(&name("nightly"), &run).await;
        fault.heal();
        assert_whole_or_absent(&location, &format!("crash after {operation}")).await;
        match location.delete_backup(&name("nightly"), &run).await {
            Ok(_) | Err(Error::BackupNotFound { .. }) => {}
            Err(other) => panic!("repeat after crash at {operation}: {other}"),
        }
        assert_eq!(assert_whole_or_absent(&location, "deleted").await, None);
        assert_eq!(restores(&location).await, [] as [&str; 0]);
        assert!(
            fault
                .list_folder("backups")
                .await
                .expect("listed")
                .folders
                .is_empty()
        );
    }
}

#[tokio::test]
async fn a_check_names_what_is_missing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let root = folder.path().join("backups");
    let good = location(Arc::new(salvor_storage::FsStore::new(&root)));
    let report = good.check().await.expect("runs");
    assert!(report.is_usable(), "{report:?}");
    assert!(
        report.steps.iter().all(|step| step.problem.is_none()),
        "{report:?}"
    );
    assert!(
        good.store()
            .list_folder("")
            .await
            .expect("listed")
            .folders
            .is_empty(),
        "cleans up"
    );

    let fault = FaultStore::new(Arc::new(MemoryStore::new()));
    fault.on_key("probe", Fault::Before(salvor_storage::ErrorKind::Denied));
    let report = location(Arc::new(fault)).check().await.expect("runs");
    assert!(!report.is_usable());
    let step = report
        .steps
        .iter()
        .find(|step| step.name == "write")
        .expect("tried");
    let (_, text) = step.problem.as_ref().expect("denied");
    assert!(
        text.contains("access denied") && text.contains("credentials"),
        "{text}"
    );
}

#[tokio::test]
async fn a_folder_that_others_can_read_is_pointed_out() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let location = location(Arc::new(salvor_storage::FsStore::new(folder.path())));
    let report = location.check().await.expect("runs");
    assert!(report.is_usable());
    let step = report
        .steps
        .iter()
        .find(|step| step.name == "permissions")
        .expect("looked");
    assert!(matches!(&step.problem, Some((Severity::Warning, text)) if text.contains("0755")));
}

#[test]
fn every_operation_can_run_on_another_thread() {
    fn send<T: Send>(_: impl FnOnce(salvor_location::Location) -> T) {}
    let (run, name) = (RunId::generate(), name("nightly"));
    send(|l| async move { l.backups().await.map(drop) });
    send(|l| async move { l.restores().await.map(drop) });
    send(|l| async move { l.check().await.map(drop) });
    send(|l| async move { l.delete_backup(&name, &run).await.map(drop) });
    send(|l| async move {
        let record = l.backup(&crate::world::name("x")).await?;
        l.verify_files(&record).await.map(drop)
    });
    send(|l| async move {
        let mut writer = l
            .begin_restore(
                &salvor_api::velero::Restore::named("velero", "r"),
                &RunId::generate(),
            )
            .await?;
        writer.append_journal(Bytes::new()).await?;
        writer.finish(&salvor_api::velero::Restore::default()).await
    });
}
