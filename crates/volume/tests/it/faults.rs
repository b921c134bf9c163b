//! What is killed, stopped or hangs on the way.

use std::time::Duration;

use salvor_api::resource::GroupResource;
use salvor_apiserver::{Fault, FaultRule};
use salvor_cluster::WriteOptions;
use salvor_volume::{AgentMover, DataMover as _, Direction, MadeBy, MoveError};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::agents::at_once;
use crate::world::{Movers, NAMESPACE, World, backups, pods};

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_dies_leaves_a_failure_with_its_reason() {
    let world = World::new(Movers::Die).await;
    let failed = world
        .mover()
        .back_up(&world.back_up("b"), &CancellationToken::new())
        .await;
    let failed = failed.expect_err("nothing was stored");
    assert!(
        matches!(&failed, MoveError::Failed { message } if message.contains("OOMKilled")),
        "{failed}"
    );
    let gone = async |world: &World| {
        let left =
            world.list(&pods(), NAMESPACE).await.len() + world.list(&pods(), "shop").await.len();
        (left == 1).then_some(())
    };
    world.until("only the agent is left", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_pod_that_is_deleted_is_a_failure() {
    let world = World::new(Movers::Hang).await;
    let (mover, job) = (world.mover(), world.back_up("b"));
    let asked = tokio::spawn(async move { mover.back_up(&job, &CancellationToken::new()).await });
    let name = world.until_phase(Direction::Backup, "Prepared").await;
    world.delete(&pods(), NAMESPACE, &name).await;
    let failed = asked
        .await
        .expect("no panic")
        .expect_err("nothing was stored");
    assert!(failed.to_string().contains("gone"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_or_takes_too_long_is_stopped() {
    let world = World::new(Movers::Hang).await;
    let cancel = CancellationToken::new();
    let (mover, job, stop) = (world.mover(), world.back_up("b"), cancel.clone());
    let asked = tokio::spawn(async move { mover.back_up(&job, &stop).await });
    world.until_phase(Direction::Backup, "Prepared").await;
    cancel.cancel();
    let ended = asked.await.expect("no panic");
    assert!(matches!(ended, Err(MoveError::Cancelled)), "{ended:?}");
    world.until_phase(Direction::Backup, "Canceled").await;

    let mut job = world.back_up("slow");
    job.timeout = Duration::from_secs(3);
    let ended = world.mover().back_up(&job, &CancellationToken::new()).await;
    assert!(
        matches!(ended, Err(MoveError::TimedOut { .. })),
        "{ended:?}"
    );
    let gone = async |world: &World| {
        let left =
            world.list(&pods(), NAMESPACE).await.len() + world.list(&pods(), "shop").await.len();
        (left == 1).then_some(())
    };
    world.until("only the agent is left", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_killed_goes_on_where_it_was() {
    let mut world = World::new(Movers::Run).await;
    std::fs::write(world.folder().join("file"), "x").expect("written");
    world.kill_agent();
    let (mover, job) = (world.mover(), world.back_up("b"));
    let asked = tokio::spawn(async move { mover.back_up(&job, &CancellationToken::new()).await });
    // Accepted by the one that was killed, which did no more.
    let made = async |world: &World| world.list(&backups(), NAMESPACE).await.into_iter().next();
    let object = world.until("an object", made).await;
    let name = object["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let body = json!({"status": {"phase": "Accepted", "acceptedTimestamp": jiff::Timestamp::now().to_string()}});
    let options = WriteOptions::default();
    let body = body.to_string();
    let resource = backups();
    let accepted = world.cluster.merge_patch(
        &resource,
        Some(NAMESPACE),
        &name,
        None,
        body.as_bytes(),
        &options,
    );
    accepted.await.expect("accepted");
    world.start_agent(1).await;
    let stored = asked.await.expect("no panic").expect("stored");
    assert_eq!(stored.object, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_sweeps_what_one_before_left_and_a_commands_work_is_its_own() {
    let world = World::new(Movers::Hang).await;
    let begin = |by: MadeBy, name: &str| {
        let mover = AgentMover::new(&world.cluster, NAMESPACE, by);
        let job = world.back_up(name);
        tokio::spawn(async move { mover.back_up(&job, &CancellationToken::new()).await })
    };
    let (server, command) = (begin(MadeBy::Server, "s"), begin(MadeBy::Command, "c"));
    let both = async |world: &World| {
        let objects = world.list(&backups(), NAMESPACE).await;
        let prepared = objects
            .iter()
            .filter(|object| object["status"]["phase"] == "Prepared");
        (prepared.count() == 2).then_some(())
    };
    world.until("both wait", both).await;
    // Killed, so that it cleans nothing up: its process is forgotten.
    std::mem::forget(server);
    let swept = world.mover().sweep().await.expect("swept");
    assert_eq!(swept, 2, "a pod and an object");
    let canceled = world.until_phase(Direction::Backup, "Canceled").await;
    assert!(canceled.starts_with("s-"), "{canceled}");
    let holders = world.list(&pods(), "shop").await;
    let by: Vec<_> = holders
        .iter()
        .map(|pod| pod["metadata"]["annotations"]["salvor.dev/made-by"].clone())
        .collect();
    assert_eq!(by, [json!("command")]);
    command.abort();
}

/// Each kind of call of each of the three fails twice in each way: the volume is copied all the same, or the failure says
/// that it may be tried again; nothing is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_stumbles_stops_nothing_for_good() {
    let movements = || GroupResource::new("podvolumebackups", "velero.io");
    let of_pods = || GroupResource::new("pods", "");
    let calls = [
        ("create", movements()),
        ("patch", movements()),
        ("get", movements()),
        ("list", movements()),
        ("watch", movements()),
        ("create", of_pods()),
        ("get", of_pods()),
        ("delete", of_pods()),
        ("create", GroupResource::new("secrets", "")),
        ("get", GroupResource::new("daemonsets", "apps")),
    ];
    let faults = [
        Fault::ConnectionLost,
        Fault::LostAnswer,
        Fault::ServerError(500),
    ];
    for (verb, resource) in calls {
        let all = faults.iter().cloned();
        at_once(all.map(|fault| stumble(verb, resource.clone(), fault))).await;
    }
}

async fn stumble(verb: &'static str, resource: GroupResource, fault: Fault) {
    let world = World::new(Movers::Run).await;
    std::fs::write(world.folder().join("file"), "x").expect("written");
    let what = format!("{fault:?} {verb} {resource}");
    let rule = FaultRule::new(fault).verb(verb).resource(resource).times(2);
    world.api.faults().add(rule);
    let job = world.back_up("b");
    match world.mover().back_up(&job, &CancellationToken::new()).await {
        Ok(stored) => assert_eq!((stored.bytes, stored.unread), (1, 0), "{what}"),
        Err(MoveError::Cluster { source, .. }) => {
            assert!(source.is_retryable(), "{what}: {source}");
        }
        Err(error) => panic!("{what}: {error}"),
    }
    world.api.faults().clear();
    let settled = async |world: &World| {
        let objects = world.list(&backups(), NAMESPACE).await;
        let ends = ["Completed", "Canceled", "Failed"];
        let is_over =
            |object: &serde_json::Value| ends.iter().any(|end| object["status"]["phase"] == *end);
        let left = world.list(&pods(), "shop").await.len();
        // A holder that could not be deleted twice is taken by the next sweep.
        let is_clean = left == 0 || (verb == "delete" && left == 1);
        (objects.iter().all(is_over) && is_clean).then_some(())
    };
    world.until(&what, settled).await;
    world.mover().sweep().await.expect("swept");
    assert!(world.list(&pods(), "shop").await.is_empty(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_lost_is_given_up() {
    let world = World::new(Movers::Hang).await;
    let (mover, job) = (world.mover(), world.back_up("b"));
    let asked = tokio::spawn(async move { mover.back_up(&job, &CancellationToken::new()).await });
    world.until_phase(Direction::Backup, "Prepared").await;
    let nodes = salvor_cluster::ApiResource::known("", "v1", "Node", "nodes", false);
    let lost = json!({"conditions": [{"type": "Ready", "status": "Unknown", "message": "no word from the kubelet"}]});
    world.set_status(&nodes, "", "n1", lost).await;
    let failed = asked
        .await
        .expect("no panic")
        .expect_err("nothing was stored");
    assert!(
        failed.to_string().contains("no word from the kubelet"),
        "{failed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_restores_do_not_fill_one_claim_at_once() {
    let world = World::new(Movers::Hang).await;
    let stored = salvor_volume::Stored {
        domain: "ns-shop".to_owned(),
        snapshot: "a".repeat(64),
        ..Default::default()
    };
    // Without the key that the data was stored with, none is made up.
    let refused = world
        .mover()
        .fill(&world.fill("r0", &stored), &CancellationToken::new())
        .await;
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("salvor-repository-key"), "{refused}");
    let key = "0123456789abcdef".repeat(4);
    world
        .create(json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "salvor-repository-key", "namespace": NAMESPACE},
        "stringData": {"repository-key": key}}))
        .await;
    let (mover, first) = (world.mover(), world.fill("r1", &stored));
    let asked = tokio::spawn(async move { mover.fill(&first, &CancellationToken::new()).await });
    world.until_phase(Direction::Restore, "Prepared").await;
    let refused = world
        .mover()
        .fill(&world.fill("r2", &stored), &CancellationToken::new())
        .await;
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("fills the same claim"), "{refused}");
    // The same restore, gone on with by another server: the first attempt is ended, then it begins.
    let (mover, again) = (world.mover(), world.fill("r1", &stored));
    let second = tokio::spawn(async move { mover.fill(&again, &CancellationToken::new()).await });
    let ended = asked
        .await
        .expect("no panic")
        .expect_err("it was ended")
        .to_string();
    assert!(ended.contains("cancelled"), "{ended}");
    world.until_phase(Direction::Restore, "Prepared").await;
    second.abort();
}
