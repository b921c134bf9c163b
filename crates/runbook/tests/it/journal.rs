use std::sync::Arc;

use bytes::Bytes;
use salvor_location::RunId;
use salvor_runbook::{Error, Event, Journal};
use salvor_storage::{FsStore, GetOptions, Key, MemoryStore, ObjectStore, PutMode};

fn found(step: &str) -> Event {
    let step = step.to_owned();
    Event::Found { step }
}

async fn written(store: &Arc<MemoryStore>, run: &RunId) -> Journal {
    let mut journal = Journal::open(store.clone(), "journal", run.clone())
        .await
        .unwrap();
    for step in ["one", "two", "three"] {
        journal.append(found(step)).await.unwrap();
    }
    journal
}

fn key(run: &RunId, number: u64) -> Key {
    Key::new(format!("journal/{run}/{number:08}.json")).unwrap()
}

async fn text(store: &MemoryStore, key: &Key) -> String {
    let object = store.get(key, GetOptions::default()).await.unwrap();
    String::from_utf8(object.bytes(1 << 20).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_record_that_was_changed_or_taken_out_is_noticed() {
    let run = RunId::generate();
    for (number, damage) in [
        (1, "changed"),
        (2, "changed"),
        (2, "removed"),
        (3, "cut"),
        (3, "newer"),
    ] {
        let store = Arc::new(MemoryStore::new());
        written(&store, &run).await;
        let key = key(&run, number);
        let before = text(&store, &key).await;
        let after = match damage {
            "changed" => before.replace("\"step\": \"", "\"step\": \"not-"),
            "cut" => before[..before.len() / 2].to_owned(),
            _ => before.replace("\"version\": 1", "\"version\": 2"),
        };
        store.delete(&key).await.unwrap();
        if damage != "removed" {
            store
                .put(&key, Bytes::from(after), PutMode::Create)
                .await
                .unwrap();
        }
        let error = Journal::open(store, "journal", run.clone())
            .await
            .unwrap_err();
        let Error::Damaged { number: at, .. } = &error else {
            panic!("{error}")
        };
        // What was changed is noticed by what stands behind it.
        let expected = if damage == "changed" {
            number + 1
        } else {
            number
        };
        assert_eq!(*at, expected, "{damage}: {error}");
    }
}

#[tokio::test]
async fn a_run_that_never_began_is_named_with_its_place() {
    let store = Arc::new(MemoryStore::new());
    let run = RunId::from("20261122t000000-0000000000000000".to_owned());
    let error = Journal::open_begun(store, "journal", run)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoRun { .. }), "{error}");
    assert!(error.to_string().contains("20261122t000000"), "{error}");
}

#[tokio::test]
async fn a_name_that_is_none_of_a_run_is_refused_with_the_reason() {
    let long = "x".repeat(1020);
    for name in [
        "", ".", "..", "../other", "a/b", "a//b", "/a", "a\\b", "a\nb", &long,
    ] {
        let store = Arc::new(MemoryStore::new());
        let run = RunId::from(name.to_owned());
        let error = Journal::open_begun(store, "journal", run)
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::InvalidName { .. }),
            "{name:?}: {error}"
        );
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
}

#[tokio::test]
async fn a_copy_that_could_not_be_reached_is_filled_and_holds_up_what_destroys() {
    let folder = tempfile::tempdir().unwrap();
    let (store, run) = (Arc::new(MemoryStore::new()), RunId::generate());
    // A file where the copy's folder should be: nothing can be written below it.
    let place = folder.path().join("copy");
    let copy = Arc::new(FsStore::new(&place));
    std::fs::write(&place, "in the way").unwrap();
    let journal = written(&store, &run).await;
    let mut journal = journal.with_copy(copy.clone(), "").unwrap();
    journal.append(found("four")).await.unwrap();
    let error = journal.assert_copied("five").await.unwrap_err();
    assert!(matches!(error, Error::CopyBehind { .. }), "{error}");

    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    journal.assert_copied("five").await.unwrap();
    let copied = Journal::open_begun(copy.clone(), "", run.clone())
        .await
        .unwrap_err();
    // These records have no beginning; all four are there.
    assert!(matches!(copied, Error::NoRun { .. }), "{copied}");
    let copied = Journal::open(copy, "", run).await.unwrap();
    assert_eq!(
        copied.records().await.unwrap(),
        journal.records().await.unwrap()
    );
}
