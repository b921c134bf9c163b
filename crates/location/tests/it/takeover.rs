//! What happens when a claim is taken over at the worst moment, and what stands in the way of taking one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use salvor_location::claim::ClaimPolicy;
use salvor_location::{Error, Location, RunId};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{ErrorKind, GetOptions, Key, MemoryStore, ObjectStore, PutMode};

use crate::hook::HookStore;
use crate::world::{assert_whole_or_absent, fill, location, name, write_backup};

const CLAIMS: &str = "plugins/salvor/claims/backups/nightly";

/// Whoever is looked at is silent for long enough.
fn impatient(location: Location) -> Location {
    location.with_claim_policy(ClaimPolicy {
        lease: Duration::ZERO,
        ..ClaimPolicy::default()
    })
}

fn key(text: &str) -> Key {
    Key::new(text).expect("valid key")
}

/// `store`, with `meanwhile` done once, just before the commit record is written.
fn before_the_record<F>(
    store: &MemoryStore,
    meanwhile: impl Fn() -> F + Send + Sync + 'static,
) -> Location
where
    F: Future<Output = ()> + Send + 'static,
{
    let done = AtomicBool::new(false);
    let hook = move |operation: &'static str, key: &str| {
        let now = operation == "put"
            && key.ends_with("velero-backup.json")
            && !done.swap(true, Ordering::SeqCst);
        let work = now.then(&meanwhile);
        Box::pin(async move {
            if let Some(work) = work {
                work.await;
            }
        }) as futures::future::BoxFuture<'static, ()>
    };
    location(Arc::new(HookStore::new(
        Arc::new(store.clone()),
        Arc::new(hook),
    )))
}

#[tokio::test]
async fn a_commit_that_is_overtaken_by_a_new_writer_is_not_reported_as_done() {
    let store = MemoryStore::new();
    let (first, second) = (RunId::generate(), RunId::generate());
    let taken = Arc::new(Mutex::new(None));
    let overtaken = {
        let (store, second, taken) = (store.clone(), second.clone(), Arc::clone(&taken));
        before_the_record(&store.clone(), move || {
            let other = impatient(location(Arc::new(store.clone())));
            let (second, taken) = (second.clone(), Arc::clone(&taken));
            async move {
                let writer = other.begin_backup(&name("nightly"), &second).await;
                *taken.lock().expect("not poisoned") = Some(writer.expect("takes over"));
            }
        })
    };
    let error = write_backup(&overtaken, &first)
        .await
        .expect_err("its contents were removed");
    assert!(matches!(error, Error::CommitInDoubt { .. }), "{error}");
    assert!(error.may_have_happened());
    let writer = taken.lock().expect("not poisoned").take();
    fill(writer.expect("took over"))
        .await
        .expect("the newer claim prevails");
    let committed = assert_whole_or_absent(&location(Arc::new(store)), "overtaken").await;
    assert_eq!(committed, Some(second));
}

#[tokio::test]
async fn a_commit_that_is_overtaken_by_a_deletion_is_not_reported_as_done() {
    let store = MemoryStore::new();
    let overtaken = {
        let store = store.clone();
        before_the_record(&store.clone(), move || {
            let other = impatient(location(Arc::new(store.clone())));
            async move {
                let (name, run) = (name("nightly"), RunId::generate());
                let deleted = other.delete_backup(&name, &run).await;
                assert!(deleted.expect("deleted").objects > 0);
            }
        })
    };
    let error = write_backup(&overtaken, &RunId::generate())
        .await
        .expect_err("its contents were removed");
    assert!(matches!(error, Error::CommitInDoubt { .. }), "{error}");
}

#[tokio::test]
async fn a_commit_that_its_overtaker_has_seen_and_respected_is_done() {
    let store = MemoryStore::new();
    let first = RunId::generate();
    let overtaken = {
        let store = store.clone();
        before_the_record(&store.clone(), move || {
            let store = store.clone();
            async move {
                // A claim that was taken, and given back on the sight of the record.
                let held = key(&format!("{CLAIMS}/00000001.json"));
                let claim = store
                    .get(&held, GetOptions::default())
                    .await
                    .expect("claimed");
                let claim = claim.bytes(1 << 10).await.expect("small");
                for (file, body) in [("json", claim), ("closed", Bytes::new())] {
                    let next = key(&format!("{CLAIMS}/00000002.{file}"));
                    store
                        .put(&next, body, PutMode::Create)
                        .await
                        .expect("written");
                }
            }
        })
    };
    write_backup(&overtaken, &first).await.expect("whole");
    let committed = assert_whole_or_absent(&location(Arc::new(store)), "respected").await;
    assert_eq!(committed, Some(first));
}

#[tokio::test]
async fn only_the_record_of_an_earlier_holder_gives_way() {
    // A name that was used before, so that there are earlier claims.
    let store = MemoryStore::new();
    let plain = location(Arc::new(store.clone()));
    write_backup(&plain, &RunId::generate())
        .await
        .expect("written");
    let record = key("backups/nightly/velero-backup.json");
    let stranger = store
        .get(&record, GetOptions::default())
        .await
        .expect("there")
        .bytes(1 << 16)
        .await
        .expect("small");
    let stranger = String::from_utf8(stranger.to_vec()).expect("JSON");
    let (before, run) = stranger
        .split_once("run-id\": \"")
        .expect("it names its run");
    let (_, after) = run.split_once('"').expect("quoted");
    let stranger = Bytes::from(format!("{before}run-id\": \"copied-here\"{after}"));
    plain
        .delete_backup(&name("nightly"), &RunId::generate())
        .await
        .expect("deleted");
    let overtaken = {
        let (store, stranger, record) = (store.clone(), stranger.clone(), record.clone());
        before_the_record(&store.clone(), move || {
            let (store, stranger) = (store.clone(), stranger.clone());
            let record = record.clone();
            async move {
                let put = store.put(&record, stranger, PutMode::Create).await;
                put.expect("copied");
            }
        })
    };
    let error = write_backup(&overtaken, &RunId::generate())
        .await
        .expect_err("somebody else's backup is there");
    assert!(matches!(error, Error::BackupExists { .. }), "{error}");
    let kept = store.get(&record, GetOptions::default()).await;
    let kept = kept.expect("kept").bytes(1 << 16).await.expect("small");
    assert_eq!(kept, stranger);
}

#[tokio::test]
async fn a_stale_look_does_not_remove_a_committed_backup() {
    let fault = FaultStore::new(Arc::new(MemoryStore::new()));
    let location = location(Arc::new(fault.clone()));
    let first = RunId::generate();
    write_backup(&location, &first).await.expect("written");
    // The record is there and listed, but asked for by name the store has not heard of it.
    fault.on_key("velero-backup.json", Fault::Before(ErrorKind::NotFound));
    let error = location
        .begin_backup(&name("nightly"), &RunId::generate())
        .await
        .expect_err("the listing shows the record");
    assert!(matches!(error, Error::BackupExists { .. }), "{error}");
    fault.heal();
    let committed = assert_whole_or_absent(&location, "after a stale look").await;
    assert_eq!(committed, Some(first));
}

#[tokio::test]
async fn strange_files_among_the_claims_do_not_block_a_name() {
    for file in [
        "18446744073709551615.json",
        "99999999999999999999.json",
        "+0000005.json",
        "7.json",
        "x.json",
    ] {
        let store = MemoryStore::new();
        store
            .put(
                &key(&format!("{CLAIMS}/{file}")),
                Bytes::from_static(b"{}"),
                PutMode::Create,
            )
            .await
            .expect("written");
        let location = location(Arc::new(store));
        write_backup(&location, &RunId::generate())
            .await
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

#[tokio::test]
async fn a_claim_that_cannot_be_read_is_respected_for_its_lease_and_no_longer() {
    let store = MemoryStore::new();
    store
        .put(
            &key(&format!("{CLAIMS}/00000004.json")),
            Bytes::from_static(b"{ cut"),
            PutMode::Create,
        )
        .await
        .expect("written");
    let patient = location(Arc::new(store));
    let error = write_backup(&patient, &RunId::generate())
        .await
        .expect_err("somebody may be at work");
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    let run = RunId::generate();
    write_backup(&impatient(patient.clone()), &run)
        .await
        .expect("taken over");
    assert_eq!(
        assert_whole_or_absent(&patient, "taken over").await,
        Some(run)
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_exclude_as_it_says_has_one_writer_all_the_same() {
    let hook = |_: &'static str, _: &str| {
        Box::pin(tokio::task::yield_now()) as futures::future::BoxFuture<'static, ()>
    };
    let store = HookStore::new(Arc::new(MemoryStore::new()), Arc::new(hook)).careless();
    let location = location(Arc::new(store));
    assert!(!location.prepare().await.expect("prepared").create_only);
    let begin = || {
        let (location, run) = (location.clone(), RunId::generate());
        async move { location.begin_backup(&name("nightly"), &run).await }
    };
    let outcomes: [_; 3] = futures::future::join3(begin(), begin(), begin())
        .await
        .into();
    let mut writers = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(writer) => writers.push(writer),
            Err(error) => assert!(matches!(error, Error::Busy { .. }), "{error}"),
        }
    }
    assert_eq!(writers.len(), 1, "one goes on");
    let run = fill(writers.remove(0)).await.expect("written").backup;
    assert_eq!(run.metadata.name, "nightly");
    // Nobody's announcement stays behind to make the next one wait.
    location
        .delete_backup(&name("nightly"), &RunId::generate())
        .await
        .expect("deleted at once");
}
