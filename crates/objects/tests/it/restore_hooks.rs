//! Hooks of a restore: each runs once, in a pod that the restore made, when its container is there.

use std::time::Duration;

use salvor_api::name::RestoreName;
use salvor_api::velero::{Restore, RestorePhase};
use salvor_location::claim::ClaimPolicy;
use salvor_location::{Location, RunId};
use salvor_objects::restore::plan::Action;
use salvor_objects::restore::{Observer, RestoreOptions, RestoreOutcome, apply, plan, resume};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::hook_world::{Hosts, pod_with_data, set_status};
use crate::restore_world::{carried_out, complaints, live, planned, request};
use crate::world::{World, back_up, memory_location};

const COMMAND: &str = "post.hook.restore.velero.io/command";

/// A location whose claims count as given up at once, as minutes after their writer has died.
fn location() -> Location {
    memory_location().with_claim_policy(ClaimPolicy {
        lease: Duration::ZERO,
        heartbeat: Duration::from_secs(3600),
        settle: Duration::ZERO,
    })
}

/// Looks until something is there.
async fn until<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        loop {
            looks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found)
        .await
        .expect("in time")
}

async fn until_said(hosts: &Hosts, line: &str) {
    until(async || hosts.said().iter().any(|said| said == line).then_some(())).await;
}

fn running(ready: bool) -> Value {
    let state = |name: &str| json!({"name": name, "ready": ready, "state": {"running": {}}});
    json!({"phase": "Running", "containerStatuses": [state("main"), state("side")]})
}

/// Starts a pod's containers once it is there, as a node does.
async fn start(world: &World, pod: &str, ready: bool) {
    until(async || world.get("pods", Some("shop"), pod).await).await;
    set_status(world, pod, running(ready)).await;
}

/// Backs up these pods of `shop` as `b`, and destroys them.
async fn lost(world: &World, location: &Location, pods: &[(&str, Value)]) {
    for (name, annotations) in pods {
        pod_with_data(world, name, annotations.clone()).await;
    }
    let backup = crate::world::request("b", |_| ());
    back_up(world, location, backup).await.expect("a backup");
    for (name, _) in pods {
        world.delete("pods", Some("shop"), name).await;
    }
}

async fn restored(
    world: &World,
    location: &Location,
    change: impl FnOnce(&mut Restore, &mut RestoreOptions),
) -> RestoreOutcome {
    let request = request(&world.cluster, location, "r", change).await;
    carried_out(&request, location).await.expect("a restore")
}

fn counts(outcome: &RestoreOutcome) -> (i64, i64, &RestorePhase) {
    let hooks = outcome.restore.status.hook_status.expect("always there");
    (hooks.hooks_attempted, hooks.hooks_failed, outcome.phase())
}

fn spec(hooks: Value) -> Vec<Value> {
    vec![json!({"name": "a", "postHooks": hooks})]
}

#[tokio::test]
async fn a_hook_waits_for_its_container_and_runs_in_the_order_of_the_spec() {
    let (world, hosts) = Hosts::new().await;
    let location = location();
    let annotated = json!({COMMAND: "load", "post.hook.restore.velero.io/container": "side"});
    lost(
        &world,
        &location,
        &[("db", json!({})), ("annotated", annotated)],
    )
    .await;
    let restoring = restored(&world, &location, |restore, _| {
        restore.spec.hooks.resources = spec(json!([
            {"exec": {"command": ["first"]}},
            {"exec": {"command": ["second"], "waitForReady": true, "container": "side"}},
            {"exec": {"command": ["third"]}}]));
    });
    let node = async {
        start(&world, "annotated", false).await;
        until_said(&hosts, "shop/annotated side load").await;
        assert_eq!(hosts.said().len(), 1, "the other pod does not run yet");
        start(&world, "db", false).await;
        until_said(&hosts, "shop/db main first").await;
        set_status(&world, "db", running(true)).await;
    };
    let (outcome, ()) = tokio::join!(restoring, node);
    assert_eq!(
        hosts.said(),
        [
            "shop/annotated side load",
            "shop/db main first",
            "shop/db side second",
            "shop/db main third"
        ]
    );
    assert_eq!(
        counts(&outcome),
        (4, 0, &RestorePhase::Completed),
        "{:?}",
        complaints(&outcome)
    );
    // Pods that are there are not made, so nothing runs in them again.
    let again = request(&world.cluster, &location, "r2", |restore, _| {
        restore.spec.hooks.resources = spec(json!([{"exec": {"command": ["first"]}}]));
    })
    .await;
    let again = carried_out(&again, &location).await.expect("a restore");
    assert_eq!(
        (counts(&again), hosts.said().len()),
        ((0, 0, &RestorePhase::Completed), 4)
    );
}

#[tokio::test]
async fn a_failed_hook_makes_the_restore_partial_unless_it_may_fail() {
    for (mode, phase, said, word) in [
        ("Fail", RestorePhase::PartiallyFailed, 1, "error"),
        ("Continue", RestorePhase::Completed, 2, "warning"),
    ] {
        let (world, hosts) = Hosts::new().await;
        let location = location();
        lost(&world, &location, &[("db", json!({}))]).await;
        let restoring = restored(&world, &location, |restore, _| {
            restore.spec.hooks.resources = spec(json!([
                {"exec": {"command": ["fail"], "onError": mode}}, {"exec": {"command": ["second"]}}]));
        });
        let (outcome, ()) = tokio::join!(restoring, start(&world, "db", true));
        assert_eq!(counts(&outcome), (said, 1, &phase));
        assert_eq!(hosts.said().len() as i64, said);
        assert_eq!(
            complaints(&outcome),
            [format!(
                "{word}: pods shop/db: hook `a` failed: run `fail` in container `main` of pod shop/db: it ended with exit code 3: no such device"
            )]
        );
    }
}

#[tokio::test]
async fn a_container_that_does_not_come_is_waited_for_as_long_as_is_said() {
    for (wait, expected) in [("200ms", "0.2 s"), ("0s", "1 s")] {
        let (world, hosts) = Hosts::new().await;
        let location = location();
        lost(&world, &location, &[("db", json!({}))]).await;
        let outcome = restored(&world, &location, |restore, options| {
            options.resource_timeout = Duration::from_secs(1);
            restore.spec.hooks.resources =
                spec(json!([{"exec": {"command": ["load"], "waitTimeout": wait}}]));
        })
        .await;
        assert_eq!(counts(&outcome), (1, 1, &RestorePhase::PartiallyFailed));
        let text = format!(
            "error: pods shop/db: hook `a` failed: its container was not running within {expected}"
        );
        assert_eq!(complaints(&outcome), [text]);
        assert_eq!(hosts.said(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_pod_that_goes_away_ends_the_wait() {
    let (world, _hosts) = Hosts::new().await;
    let location = location();
    lost(
        &world,
        &location,
        &[("db", json!({})), ("other", json!({}))],
    )
    .await;
    let restoring = restored(&world, &location, |restore, options| {
        options.resource_timeout = Duration::from_secs(60);
        restore.spec.hooks.resources = spec(json!([{"exec": {"command": ["load"]}}]));
    });
    let node = async {
        start(&world, "other", true).await;
        until_said(&_hosts, "shop/other main load").await;
        world.delete("pods", Some("shop"), "db").await;
    };
    let (outcome, ()) = tokio::join!(restoring, node);
    assert_eq!(counts(&outcome), (2, 1, &RestorePhase::PartiallyFailed));
    assert!(complaints(&outcome)[0].ends_with("the pod was deleted before the hook could run"));
}

#[tokio::test]
async fn a_resumed_restore_does_not_run_again_what_has_ended() {
    let (world, hosts) = Hosts::new().await;
    let location = location();
    lost(&world, &location, &[("db", json!({}))]).await;
    let request = request(&world.cluster, &location, "r", |restore, _| {
        restore.spec.hooks.resources = spec(json!([
            {"exec": {"command": ["first"]}}, {"exec": {"command": ["fail"], "onError": "Continue"}},
            {"exec": {"command": ["hang"], "execTimeout": "1m"}}, {"exec": {"command": ["last"]}}]));
    })
    .await;
    let cancel = CancellationToken::new();
    let made = plan(&request, &cancel).await.expect("a plan");
    let killed = tokio::spawn({
        let (location, cancel) = (location.clone(), cancel.clone());
        async move {
            let (run, observer) = (RunId::generate(), Observer::none());
            apply(&request, &location, made, &run, &observer, &cancel).await
        }
    });
    start(&world, "db", true).await;
    until_said(&hosts, "shop/db main hang").await;
    killed.abort();
    assert!(killed.await.expect_err("killed").is_cancelled());

    hosts.let_go();
    let name = RestoreName::new("r").expect("valid");
    let outcome = resume(
        &world.cluster,
        &location,
        &name,
        RestoreOptions::default(),
        &RunId::generate(),
        &Observer::none(),
        &cancel,
    )
    .await
    .expect("resumed");
    let count = |word: &str| {
        let line = format!("shop/db main {word}");
        hosts.said().iter().filter(|said| **said == line).count()
    };
    assert_eq!(
        ["first", "fail", "hang", "last"].map(count),
        [1, 1, 2, 1],
        "{:?}",
        hosts.said()
    );
    assert_eq!(
        counts(&outcome),
        (4, 1, &RestorePhase::Completed),
        "{:?}",
        complaints(&outcome)
    );
    let complaints = complaints(&outcome);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(
        complaints[0].ends_with("no such device (by an earlier run)"),
        "{complaints:?}"
    );
}

#[tokio::test]
async fn init_containers_come_with_the_pod_and_a_second_restore_changes_nothing() {
    let (world, _hosts) = Hosts::new().await;
    let location = location();
    let annotated = json!({"init.hook.restore.velero.io/container-image": "busybox",
        "init.hook.restore.velero.io/command": "[\"/bin/sync\"]"});
    lost(
        &world,
        &location,
        &[("db", json!({})), ("annotated", annotated)],
    )
    .await;
    let hooks = |restore: &mut Restore| {
        let inits = json!([{"name": "load", "image": "loader:1", "command": ["/load"], "env": [{"name": "A", "value": "b"}]},
            {"name": "check", "image": "loader:1", "command": ["/check"]}]);
        restore.spec.hooks.resources =
            spec(json!([{"init": {"initContainers": inits, "timeout": "5m"}}]));
    };
    let outcome = restored(&world, &location, |restore, _| hooks(restore)).await;
    assert_eq!(
        outcome.phase(),
        &RestorePhase::Completed,
        "{:?}",
        complaints(&outcome)
    );
    for (pod, expected) in [
        ("db", vec!["load", "check"]),
        ("annotated", vec!["velero-restore-init"]),
    ] {
        let found = live(&world, "pods", Some("shop"), pod).await;
        let containers = found["spec"]["initContainers"].as_array().cloned();
        let containers = containers.unwrap_or_default();
        let names: Vec<&str> = containers
            .iter()
            .filter_map(|c| c["name"].as_str())
            .collect();
        assert_eq!(names, expected);
    }
    let again = request(&world.cluster, &location, "r2", |restore, _| hooks(restore)).await;
    let again = planned(&again).await.expect("a plan");
    let pods = |entry: &&salvor_objects::restore::plan::PlanEntry| {
        entry.source().resource.resource == "pods"
    };
    let actions: Vec<Action> = again
        .entries
        .iter()
        .filter(pods)
        .map(|entry| entry.action)
        .collect();
    assert_eq!(actions, [Action::Unchanged, Action::Unchanged]);
}

#[tokio::test]
async fn hooks_that_cannot_be_read_are_refused_before_anything_is_done() {
    let (world, _hosts) = Hosts::new().await;
    let location = location();
    lost(&world, &location, &[("db", json!({}))]).await;
    let request = request(&world.cluster, &location, "r", |restore, _| {
        restore.spec.hooks.resources = spec(json!([{"init": {"initContainers": [{"name": "x"}]}}]));
    })
    .await;
    let error = planned(&request).await.expect_err("refused");
    assert_eq!(
        error.validation_errors(),
        [
            "hook `a`: hook 1: init container 1 has no image",
            "hook `a`: hook 1: init container 1 has no command"
        ]
    );
}
