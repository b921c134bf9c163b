//! Every point that touches the store is failed in turn: the process dies there, a new one starts on the
//! same store.

use std::sync::Arc;

use salvor_location::{Error, RunId};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{ErrorKind, MemoryStore};

use crate::hook::HookStore;
use crate::world::{LONG, assert_whole_or_absent, location, write_backup};

/// A store that is vouched for, or one that every process has to try first.
fn store(known: bool) -> FaultStore {
    let memory = Arc::new(MemoryStore::new());
    if known {
        return FaultStore::new(memory);
    }
    let nothing =
        |_: &'static str, _: &str| Box::pin(async {}) as futures::future::BoxFuture<'static, ()>;
    FaultStore::new(Arc::new(
        HookStore::new(memory, Arc::new(nothing)).unknown(),
    ))
}

async fn number_of_operations(known: bool) -> usize {
    let probe = store(known);
    write_backup(&location(Arc::new(probe.clone())), &RunId::generate())
        .await
        .expect("written");
    probe.operations()
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_point_leaves_no_half_backup_and_does_not_block_the_name() {
    for known in [true, false] {
        let operations = number_of_operations(known).await;
        assert!(
            operations > 20,
            "the protocol has that many steps: {operations}"
        );
        for operation in 0..operations {
            crash_at(known, operation).await;
        }
    }
}

async fn crash_at(known: bool, operation: usize) {
    for fault_kind in [
        Fault::CrashBefore,
        Fault::CrashAfter,
        Fault::Before(ErrorKind::Full),
    ] {
        let context = format!("{fault_kind:?} at {operation}, vouched for: {known}");
        let fault = store(known);
        fault.at(operation, fault_kind);
        let first = RunId::generate();
        let outcome = write_backup(&location(Arc::new(fault.clone())), &first).await;
        fault.heal();
        let location = location(Arc::new(fault));
        let committed = assert_whole_or_absent(&location, &context).await;
        if outcome.is_ok() {
            assert_eq!(
                committed.as_ref(),
                Some(&first),
                "{context}: success is a backup"
            );
        }
        // The next process: at once it is told to wait or finds the backup, never a mess.
        let second = RunId::generate();
        match write_backup(&location, &second).await {
            Ok(_) | Err(Error::Busy { .. } | Error::BackupExists { .. }) => {}
            Err(other) => panic!("{context}: the next writer fails: {other}"),
        }
        assert_whole_or_absent(&location, &context).await;
    }
}

#[tokio::test]
async fn a_silent_claim_is_taken_over_after_its_lease() {
    let policy = salvor_location::claim::ClaimPolicy {
        lease: std::time::Duration::ZERO,
        ..Default::default()
    };
    let points = |known, count| (0..count).map(move |operation| (known, operation));
    let vouched = points(true, number_of_operations(true).await);
    let tried = points(false, number_of_operations(false).await);
    for (known, operation) in vouched.chain(tried) {
        let context = format!("crash after {operation}, vouched for: {known}");
        let fault = store(known);
        // A lease of zero: whoever is not there any more is silent for long enough.
        let process = || location(Arc::new(fault.clone())).with_claim_policy(policy.clone());
        fault.at(operation, Fault::CrashAfter);
        let first = RunId::generate();
        let _ = write_backup(&process(), &first).await;
        fault.heal();
        let location = process();
        let before = assert_whole_or_absent(&location, &context).await;
        let second = RunId::generate();
        match (before, write_backup(&location, &second).await) {
            (Some(run), Err(Error::BackupExists { .. })) => assert_eq!(run, first, "{context}"),
            (None, Ok(_)) => {
                let now = assert_whole_or_absent(&location, &context).await;
                assert_eq!(now, Some(second), "{context}");
            }
            (before, outcome) => panic!("{context}: {before:?} then {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_writer_that_was_paused_and_taken_over_can_commit_nothing_and_spoil_nothing() {
    use bytes::Bytes;
    use salvor_api::velero::Backup;
    let location = location(Arc::new(MemoryStore::new())).with_claim_policy(
        salvor_location::claim::ClaimPolicy {
            lease: std::time::Duration::ZERO,
            heartbeat: LONG,
            ..Default::default()
        },
    );
    let (paused, second) = (RunId::generate(), RunId::generate());
    let name = crate::world::name("nightly");
    // Paused before its archive: the second writes all.
    let mut writer = location
        .begin_backup(&name, &paused)
        .await
        .expect("claimed");
    writer
        .put("nightly-logs.gz", Bytes::from_static(b"paused"))
        .await
        .expect("written");
    write_backup(&location, &second).await.expect("takes over");
    let error = writer
        .put("nightly-results.gz", Bytes::from_static(b"late"))
        .await;
    assert!(error.is_err(), "the name of the content is taken");
    let error = writer
        .commit(Backup::named("velero", "nightly"), Default::default())
        .await;
    assert!(error.is_err(), "a paused writer cannot commit");
    assert_eq!(
        assert_whole_or_absent(&location, "after the paused one").await,
        Some(second)
    );
}
