//! What others can see of a run that wrote.

use std::time::Duration;

use salvor_location::claim::ClaimPolicy;
use salvor_location::{Location, RunId, RunState};
use salvor_storage::MemoryStore;
use std::sync::Arc;

use crate::world::{location, name, write_backup};

async fn state(location: &Location, run: &RunId) -> Option<RunState> {
    let state = location.backup_run(&name("nightly"), run.as_str()).await;
    state.expect("readable")
}

#[tokio::test]
async fn a_run_is_alive_until_it_commits_ends_or_is_silent_for_too_long() {
    let store = MemoryStore::new();
    let place = location(Arc::new(store.clone()));
    let [first, second, third] = [(); 3].map(|()| RunId::generate());
    assert_eq!(state(&place, &first).await, None, "nobody knows it");

    let writer = place.begin_backup(&name("nightly"), &first).await;
    let writer = writer.expect("begun");
    assert_eq!(state(&place, &first).await, Some(RunState::Alive));
    writer.abandon().await;
    assert_eq!(state(&place, &first).await, Some(RunState::Ended));

    // Killed: its claim is open, and silent.
    let killed = place.begin_backup(&name("nightly"), &second).await;
    std::mem::forget(killed.expect("begun"));
    let impatient = location(Arc::new(store)).with_claim_policy(ClaimPolicy {
        lease: Duration::ZERO,
        ..ClaimPolicy::default()
    });
    assert_eq!(state(&place, &second).await, Some(RunState::Alive));
    assert_eq!(state(&impatient, &second).await, Some(RunState::Ended));

    write_backup(&impatient, &third).await.expect("committed");
    // The record names its run in the annotations that the engine writes; the claim alone says that it has ended.
    assert_eq!(state(&impatient, &second).await, Some(RunState::Ended));
    let committed = impatient.backup(&name("nightly")).await.expect("there");
    let annotations = &committed.backup.metadata.annotations;
    let by = annotations.get(salvor_api::labels::RUN_ID);
    assert_eq!(by.map(String::as_str), Some(third.as_str()));
    assert_eq!(state(&impatient, &third).await, Some(RunState::Committed));
    assert_eq!(state(&impatient, &first).await, Some(RunState::Ended));
}
