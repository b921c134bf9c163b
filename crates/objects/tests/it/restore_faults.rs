//! Restores against a cluster and a store that misbehave, and restores that are killed.

use std::sync::Arc;
use std::time::Duration;

use salvor_api::name::RestoreName;
use salvor_api::resource::ObjectKey;
use salvor_api::velero::RestorePhase;
use salvor_apiserver::{Fault, FaultRule};
use salvor_location::claim::ClaimPolicy;
use salvor_location::{Error as LocationError, Location, RunId};
use salvor_objects::diff::comparison::{Snapshot, compare};
use salvor_objects::restore::error::Cause;
use salvor_objects::restore::{
    Observer, RestoreError, RestoreOptions, RestoreOutcome, apply, plan, resume,
};
use salvor_storage::testing::{Fault as StoreFault, FaultStore};
use salvor_storage::{ErrorKind, MemoryStore};
use tokio_util::sync::CancellationToken;

use crate::restore_world::{
    carried_out, complaints, hand_made, planned, request, restore_all, snapshot, stored, with_spec,
};
use crate::world::{
    World, back_up, config_map, group_resource, location_on, memory_location,
    request as backup_request,
};

/// A location whose dead runs count as dead at once.
fn impatient(location: Location) -> Location {
    location.with_claim_policy(ClaimPolicy {
        lease: Duration::ZERO,
        heartbeat: Duration::from_secs(3600),
        settle: Duration::ZERO,
    })
}

/// What a cluster looks like after the small backup was restored undisturbed.
async fn undisturbed() -> Snapshot {
    let location = memory_location();
    small_backup(&location).await;
    let world = World::empty();
    let outcome = restore_all(&world, &location, "undisturbed").await;
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    snapshot(&world.cluster).await
}

/// Four objects in one namespace.
async fn small_backup(location: &Location) {
    let service = with_spec(
        stored("v1", "Service", "prod", "web"),
        serde_json::json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}),
    );
    hand_made(
        location,
        &[
            ("configmaps", config_map("prod", "a")),
            ("configmaps", config_map("prod", "b")),
            ("services", service),
            (
                "serviceaccounts",
                stored("v1", "ServiceAccount", "prod", "web"),
            ),
        ],
    )
    .await;
}

fn options() -> RestoreOptions {
    RestoreOptions {
        resource_timeout: Duration::from_secs(2),
        ..RestoreOptions::default()
    }
}

/// Resumes the restore, or starts it when it had not begun; an end result that was written is fine too.
async fn bring_to_an_end(
    world: &World,
    location: &Location,
) -> Result<Option<RestoreOutcome>, RestoreError> {
    let name = RestoreName::new("r").expect("valid");
    let resumed = resume(
        &world.cluster,
        location,
        &name,
        options(),
        &RunId::generate(),
        &Observer::none(),
        &CancellationToken::new(),
    )
    .await;
    match resumed {
        Ok(outcome) => Ok(Some(outcome)),
        Err(error) => match error.cause() {
            Cause::Location(LocationError::RestoreNotFound { .. }) => {
                let request = request(&world.cluster, location, "r", |_, _| ()).await;
                carried_out(&request, location).await.map(Some)
            }
            Cause::Location(LocationError::RestoreExists { .. }) => Ok(None),
            _ => Err(error),
        },
    }
}

#[tokio::test]
async fn a_restore_killed_at_any_request_to_the_cluster_resumes_to_the_same_end() {
    let expected = undisturbed().await;
    let mut killed = 0;
    for requests in 0.. {
        let world = World::empty();
        // A location of its own for each run: the names of restores are taken once.
        let location = impatient(memory_location());
        small_backup(&location).await;
        let hang = FaultRule::new(Fault::Delay(Duration::from_secs(86_400))).after(requests);
        let request = request(&world.cluster, &location, "r", |_, _| ()).await;
        world.server.requests().clear();
        world.server.faults().add(hang);
        let mut restore = Box::pin(carried_out(&request, &location));
        let finished = loop {
            tokio::select! {
                biased;
                _ = &mut restore => break true,
                () = tokio::task::yield_now() => {}
            }
            if world.server.requests().records().len() >= requests {
                break false;
            }
        };
        // What is dropped here stops where it stands, as a killed process does.
        drop(restore);
        world.server.faults().clear();
        let outcome = bring_to_an_end(&world, &location).await;
        let outcome =
            outcome.unwrap_or_else(|error| panic!("killed at request {requests}: {error}"));
        if let Some(outcome) = outcome {
            assert_eq!(
                complaints(&outcome),
                Vec::<String>::new(),
                "killed at request {requests}"
            );
        }
        let comparison = compare(&expected, &snapshot(&world.cluster).await);
        assert!(
            comparison.is_clean(),
            "killed at request {requests}: {}",
            comparison.report
        );
        if finished {
            break;
        }
        killed += 1;
    }
    assert!(killed > 10, "only {killed} points were tried");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_at_any_request_changes_nothing_about_the_end() {
    let expected = undisturbed().await;
    for requests in 0.. {
        let world = World::empty();
        let location = memory_location();
        small_backup(&location).await;
        world.server.requests().clear();
        let lost = FaultRule::new(Fault::LostAnswer).after(requests).times(1);
        world.server.faults().add(lost);
        let request = request(&world.cluster, &location, "r", |_, _| ()).await;
        let outcome = carried_out(&request, &location)
            .await
            .unwrap_or_else(|error| panic!("answer {requests} lost: {error}"));
        assert_eq!(
            complaints(&outcome),
            Vec::<String>::new(),
            "answer {requests} lost"
        );
        let comparison = compare(&expected, &snapshot(&world.cluster).await);
        assert!(
            comparison.is_clean(),
            "answer {requests} lost: {}",
            comparison.report
        );
        if world.server.requests().records().len() <= requests {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_at_any_operation_leaves_a_restore_that_can_be_finished() {
    let expected = undisturbed().await;
    for fault in [
        StoreFault::Before(ErrorKind::Transient),
        StoreFault::AfterWithError,
        StoreFault::CrashBefore,
        StoreFault::CrashAfter,
    ] {
        for operation in 0.. {
            let store = FaultStore::new(Arc::new(MemoryStore::new()));
            let location = impatient(location_on(Arc::new(store.clone())));
            small_backup(&location).await;
            let world = World::empty();
            let request = request(&world.cluster, &location, "r", |_, _| ()).await;
            let before = store.operations();
            store.at(before + operation, fault);
            let result = carried_out(&request, &location).await;
            let reached = store.operations() > before + operation;
            store.heal();
            let at = store.log().get(before + operation).cloned();
            if result.is_err() || !reached {
                let ended = bring_to_an_end(&world, &location).await;
                assert!(ended.is_ok(), "{fault:?} at {at:?}: {:?}", ended.err());
            }
            let comparison = compare(&expected, &snapshot(&world.cluster).await);
            assert!(
                comparison.is_clean(),
                "{fault:?} at {at:?}: {}",
                comparison.report
            );
            if !reached {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_cancelled_restore_says_so_and_resumes() {
    let location = memory_location();
    small_backup(&location).await;
    let expected = undisturbed().await;
    let world = World::empty();
    let request = request(&world.cluster, &location, "r", |_, _| ()).await;
    let cancel = CancellationToken::new();
    let planned = plan(&request, &cancel).await.expect("a plan");
    let stop = cancel.clone();
    let observer = Observer::new(move |progress| {
        if progress.done >= 1 {
            stop.cancel();
        }
    });
    let outcome = apply(
        &request,
        &location,
        planned,
        &RunId::generate(),
        &observer,
        &cancel,
    )
    .await
    .expect("a clean stop");
    assert_eq!(*outcome.phase(), RestorePhase::Cancelled);
    let name = RestoreName::new("r").expect("valid");
    let record = location.restore(&name).await.expect("recorded");
    assert!(!record.finished && !record.active);
    assert!(!compare(&expected, &snapshot(&world.cluster).await).is_clean());

    let outcome = bring_to_an_end(&world, &location).await.expect("resumed");
    let outcome = outcome.expect("it was not finished");
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    let comparison = compare(&expected, &snapshot(&world.cluster).await);
    assert!(comparison.is_clean(), "{}", comparison.report);
}

#[tokio::test(start_paused = true)]
async fn what_a_webhook_denies_is_tried_again_once_its_backend_stands() {
    let location = memory_location();
    let deployment = with_spec(
        stored("apps/v1", "Deployment", "prod", "hooks"),
        serde_json::json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}),
    );
    hand_made(
        &location,
        &[
            ("configmaps", config_map("prod", "a")),
            ("deployments.apps", deployment),
        ],
    )
    .await;
    let world = World::empty();
    let backend = ObjectKey::namespaced(group_resource("deployments.apps"), "prod", "hooks");
    let denied = Fault::DeniedByWebhook {
        webhook: "check.example.io".into(),
        message: "not ready".into(),
        code: 403,
        until: Some(backend),
    };
    let rule = FaultRule::new(denied)
        .verb("create")
        .resource(group_resource("configmaps"));
    world.server.faults().add(rule);
    let outcome = restore_all(&world, &location, "r").await;
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    assert!(world.get("configmaps", Some("prod"), "a").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_stays_denied_fails_with_the_reason_when_the_time_is_up() {
    let location = memory_location();
    hand_made(
        &location,
        &[
            ("configmaps", config_map("prod", "a")),
            ("secrets", {
                let mut secret = stored("v1", "Secret", "prod", "s");
                secret["type"] = "Opaque".into();
                secret
            }),
        ],
    )
    .await;
    let world = World::empty();
    let denied = Fault::DeniedByWebhook {
        webhook: "check.example.io".into(),
        message: "never".into(),
        code: 403,
        until: None,
    };
    let rule = FaultRule::new(denied)
        .verb("create")
        .resource(group_resource("configmaps"));
    world.server.faults().add(rule);
    let outcome = restore_all(&world, &location, "r").await;
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    let complaints = complaints(&outcome);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("never"), "{complaints:?}");
    assert!(world.get("secrets", Some("prod"), "s").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_busy_and_stumbling_server_only_takes_longer() {
    let source = World::platform().await;
    let before = snapshot(&source.cluster).await;
    let location = memory_location();
    back_up(&source, &location, backup_request("b", |_| ()))
        .await
        .expect("a backup");
    let target = World::empty();
    for (fault, after, times) in [
        (Fault::TooManyRequests { retry_after: 1 }, 20, 5),
        (Fault::ServerError(503), 35, 3),
        (Fault::ServerError(500), 45, 2),
        (Fault::ConnectionLost, 55, 2),
    ] {
        let rule = FaultRule::new(fault).after(after).times(times);
        target.server.faults().add(rule);
    }
    let conflict = FaultRule::new(Fault::Conflict)
        .verb("create")
        .after(3)
        .times(2);
    target.server.faults().add(conflict);
    let outcome = restore_all(&target, &location, "r").await;
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    let comparison = compare(&before, &snapshot(&target.cluster).await);
    assert!(comparison.is_clean(), "{}", comparison.report);
}

#[tokio::test]
async fn a_plan_is_not_applied_to_another_cluster_or_under_another_name() {
    let location = memory_location();
    small_backup(&location).await;
    let world = World::empty();
    let request = request(&world.cluster, &location, "r", |_, _| ()).await;
    let mut made = planned(&request).await.expect("a plan");
    made.header.cluster.uid = "another".to_owned();
    let run = RunId::generate();
    let cancel = CancellationToken::new();
    let refused = apply(
        &request,
        &location,
        made.clone(),
        &run,
        &Observer::none(),
        &cancel,
    )
    .await;
    let error = refused.expect_err("another cluster").to_string();
    assert!(error.contains("plan again"), "{error}");
    made.header.rules.restore = "other".to_owned();
    let refused = apply(&request, &location, made, &run, &Observer::none(), &cancel).await;
    assert!(refused.is_err());
    let name = RestoreName::new("r").expect("valid");
    assert!(location.restore(&name).await.is_err(), "nothing was begun");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_deleted_meanwhile_is_told_at_once_and_the_rest_goes_on() {
    let location = memory_location();
    hand_made(
        &location,
        &[
            ("configmaps", config_map("lost", "a")),
            ("configmaps", config_map("prod", "b")),
        ],
    )
    .await;
    let world = World::empty();
    let request = request(&world.cluster, &location, "r", |_, o| {
        o.resource_timeout = Duration::from_secs(600);
    })
    .await;
    let mut made = planned(&request).await.expect("a plan");
    // The namespace stood when the plan was made and is gone now.
    made.entries
        .retain(|entry| entry.source().to_string() != "namespaces lost");
    let started = tokio::time::Instant::now();
    let outcome = apply(
        &request,
        &location,
        made,
        &RunId::generate(),
        &Observer::none(),
        &CancellationToken::new(),
    )
    .await
    .expect("a restore");
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    assert_eq!(
        complaints(&outcome),
        ["error: configmaps lost/a: namespace lost was deleted during the restore"]
    );
    assert!(world.get("configmaps", Some("prod"), "b").await.is_some());
    assert!(started.elapsed() < Duration::from_secs(600));
}

#[tokio::test]
async fn a_namespace_that_is_still_going_is_waited_for() {
    let location = memory_location();
    hand_made(&location, &[("configmaps", config_map("prod", "a"))]).await;
    let world = World::empty();
    world.create(crate::world::namespace("prod")).await;
    let mut held = config_map("prod", "held");
    held["metadata"]["finalizers"] = serde_json::json!(["example.io/slow"]);
    world.create(held).await;
    world.delete("namespaces", None, "prod").await;
    let request = request(&world.cluster, &location, "r", |_, o| {
        o.resource_timeout = Duration::from_secs(60);
    })
    .await;
    let made = planned(&request).await.expect("a plan");
    let warned = made.header.findings.iter().any(|f| f.code == "namespace");
    assert!(warned, "{:?}", made.header.findings);
    let configmaps = world.resource("configmaps").await;
    let free = async {
        // The finalizer goes once the restore has met the namespace.
        while world
            .server
            .requests()
            .count("create", &group_resource("configmaps"))
            < 2
        {
            tokio::task::yield_now().await;
        }
        let patch = br#"{"metadata":{"finalizers":null}}"#;
        let options = salvor_cluster::WriteOptions::default();
        world
            .cluster
            .merge_patch(&configmaps, Some("prod"), "held", None, patch, &options)
            .await
            .expect("patched");
    };
    let run = RunId::generate();
    let cancel = CancellationToken::new();
    let observer = Observer::none();
    let restore = apply(&request, &location, made, &run, &observer, &cancel);
    let (outcome, ()) = tokio::join!(restore, free);
    let outcome = outcome.expect("a restore");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    assert!(world.get("configmaps", Some("prod"), "a").await.is_some());
}

#[tokio::test]
async fn a_restore_of_one_object_that_was_killed_before_its_plan_was_stored_stays_one_of_one_object()
 {
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    let location = impatient(location_on(Arc::new(store.clone())));
    small_backup(&location).await;
    let world = World::empty();
    let request = request(&world.cluster, &location, "r", |_, o| {
        o.names = vec!["a".to_owned()];
    })
    .await;
    store.on_key("salvor-plan.zst", StoreFault::CrashBefore);
    let killed = carried_out(&request, &location).await;
    assert!(killed.is_err());
    assert!(world.get("namespaces", None, "prod").await.is_none());
    store.heal();
    let outcome = bring_to_an_end(&world, &location).await.expect("resumed");
    let outcome = outcome.expect("it was not finished");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    assert!(world.get("configmaps", Some("prod"), "a").await.is_some());
    assert!(world.get("configmaps", Some("prod"), "b").await.is_none());
}
