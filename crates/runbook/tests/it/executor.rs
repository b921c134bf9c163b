use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use salvor_location::RunId;
use salvor_runbook::testing::{World, prove};
use salvor_runbook::{
    Approver, Check, Decision, End, Error, Event, Executor, Gate, Granted, Journal, Phase, Runbook,
    StepError,
};
use salvor_storage::MemoryStore;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::world::{Files, Flaw};

fn granted() -> Granted {
    let by = "a test".to_owned();
    Granted { by }
}

async fn journal(store: &Arc<MemoryStore>, run: &RunId) -> Journal {
    Journal::open(store.clone(), "journal", run.clone())
        .await
        .unwrap()
}

fn executor<'a>(
    runbook: &'a Runbook,
    journal: Journal,
    approver: &'a dyn Approver,
) -> Executor<'a> {
    Executor::new(
        runbook,
        journal,
        approver,
        &|_| {},
        CancellationToken::new(),
    )
}

#[tokio::test]
async fn every_step_fails_and_is_killed_in_turn_is_resumed_and_undone_twice() {
    let held = prove(async || Files::new(Flaw::None)).await.unwrap();
    // Four steps, four faults, resumed and undone, besides an undisturbed run and a killed undoing of each.
    assert_eq!(held, 1 + 4 * 4 * 2 + 4);
}

#[tokio::test]
async fn the_suite_notices_a_step_that_may_not_be_repeated() {
    let error = prove(async || Files::new(Flaw::NotRepeatable))
        .await
        .unwrap_err();
    assert!(error.contains("step count"), "{error}");
}

#[tokio::test]
async fn the_suite_notices_a_step_that_forgets_what_it_put_aside() {
    let error = prove(async || Files::new(Flaw::NoNote)).await.unwrap_err();
    assert!(error.contains("undone"), "{error}");
}

#[tokio::test]
async fn what_is_found_done_is_not_undone() {
    let world = Files::new(Flaw::None);
    std::fs::write(world.folder.path().join("count"), "2").unwrap();
    let (store, run) = (Arc::new(MemoryStore::new()), RunId::generate());
    let (runbook, granted) = (world.runbook(), granted());
    let executor = executor(&runbook, journal(&store, &run).await, &granted);
    assert!(matches!(executor.run().await.unwrap(), End::Succeeded));
    assert!(matches!(executor.undo().await.unwrap(), End::Undone(_)));
    let journal = executor.into_journal();
    assert_eq!(journal.history().step("count").phase, Phase::Found);
    assert_eq!(world.state().await, json!({"count": "2", "data": "old"}));
}

#[tokio::test]
async fn of_two_executors_of_a_run_the_one_that_was_overtaken_stops_before_it_changes_anything() {
    let world = Files::new(Flaw::None);
    let (store, run) = (Arc::new(MemoryStore::new()), RunId::generate());
    let (runbook, granted) = (world.runbook(), granted());
    let first = executor(&runbook, journal(&store, &run).await, &granted);
    let second = executor(&runbook, journal(&store, &run).await, &granted);
    assert!(matches!(second.run().await.unwrap(), End::Succeeded));
    let before = world.state().await;
    let error = first.run().await.unwrap_err();
    assert!(matches!(error, Error::Fenced { number: 1, .. }), "{error}");
    assert_eq!(world.state().await, before);
}

/// Answers what it is told to, and remembers what it was asked.
struct Answers {
    granted: bool,
    asked: Mutex<Vec<Gate>>,
}

#[async_trait]
impl Approver for Answers {
    async fn decide(&self, gate: &Gate) -> Result<Decision, StepError> {
        self.asked.lock().unwrap().push(gate.clone());
        Ok(Decision {
            granted: self.granted,
            by: "somebody".to_owned(),
            comment: "as discussed".to_owned(),
        })
    }
}

#[tokio::test]
async fn nothing_behind_a_refusal_happens_and_an_agreement_holds_for_the_same_question_only() {
    let world = Files::new(Flaw::None);
    let (store, run) = (Arc::new(MemoryStore::new()), RunId::generate());
    let runbook = world.runbook();
    let first = world.state().await;
    let asked = Mutex::default();
    let refuses = Answers {
        granted: false,
        asked,
    };
    let end = executor(&runbook, journal(&store, &run).await, &refuses)
        .run()
        .await
        .unwrap();
    let End::Refused { step, decision } = end else {
        panic!("{end:?}")
    };
    assert_eq!(
        (step.as_str(), decision.by.as_str()),
        ("put-aside", "somebody")
    );
    assert_eq!(world.state().await, first);

    let agrees = Answers {
        granted: true,
        asked: Mutex::default(),
    };
    let mut disturbed = runbook.clone();
    disturbed.steps.truncate(2);
    let other = executor(&disturbed, journal(&store, &run).await, &agrees)
        .run()
        .await
        .unwrap_err();
    assert!(
        matches!(
            other,
            Error::AnotherPlan {
                what: "list of steps",
                ..
            }
        ),
        "{other}"
    );
    for _ in 0..2 {
        let end = executor(&runbook, journal(&store, &run).await, &agrees)
            .run()
            .await
            .unwrap();
        assert!(matches!(end, End::Succeeded), "{end:?}");
    }
    assert_eq!(agrees.asked.lock().unwrap().len(), 1);
    let records = journal(&store, &run).await.records().await.unwrap();
    let decided = records
        .iter()
        .filter(|record| matches!(record.event, Event::Decided { .. }));
    assert_eq!(decided.count(), 2);
}

#[tokio::test]
async fn a_run_that_was_undone_does_not_go_on() {
    let world = Files::new(Flaw::None);
    let (store, run) = (Arc::new(MemoryStore::new()), RunId::generate());
    let (runbook, granted) = (world.runbook(), granted());
    let executor = executor(&runbook, journal(&store, &run).await, &granted);
    executor.run().await.unwrap();
    executor.undo().await.unwrap();
    let error = executor.run().await.unwrap_err();
    assert!(matches!(error, Error::Undone { .. }), "{error}");
}

#[tokio::test]
async fn a_preview_changes_nothing_and_writes_nothing() {
    let world = Files::new(Flaw::None);
    let (store, run) = (Arc::new(MemoryStore::new()), RunId::generate());
    let (runbook, granted) = (world.runbook(), granted());
    let before = world.state().await;
    let found = executor(&runbook, journal(&store, &run).await, &granted)
        .preview()
        .await;
    assert!(
        found
            .iter()
            .all(|(_, check)| matches!(check, Ok(Check::ToDo))),
        "{found:?}"
    );
    assert_eq!(world.state().await, before);
    assert!(
        journal(&store, &run)
            .await
            .records()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_cancelled_run_stops_where_it_is_and_is_gone_on_with() {
    let world = Files::new(Flaw::None);
    let (store, run) = (Arc::new(MemoryStore::new()), RunId::generate());
    let (runbook, granted) = (world.runbook(), granted());
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let stops = move |record: &salvor_runbook::Record| {
        if matches!(&record.event, Event::Verified { step } if step == "put-aside") {
            stop.cancel();
        }
    };
    let journal_of = journal(&store, &run).await;
    let end = Executor::new(&runbook, journal_of, &granted, &stops, cancel)
        .run()
        .await
        .unwrap();
    assert!(matches!(end, End::Cancelled), "{end:?}");
    assert!(!world.folder.path().join("data").exists());
    let end = executor(&runbook, journal(&store, &run).await, &granted)
        .run()
        .await
        .unwrap();
    assert!(matches!(end, End::Succeeded), "{end:?}");
}
