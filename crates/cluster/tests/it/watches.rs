//! Watches and leases.

use std::time::Duration;

use salvor_apiserver::{ApiServer, Fault, FaultRule, Options};
use salvor_cluster::{
    ApiResource, Cluster, ErrorKind, Lease, LeaseOptions, LeaseState, ListOptions, WatchEvent,
    WatchOptions, WriteOptions,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn server() -> (ApiServer, Cluster) {
    let server = ApiServer::memory(Options {
        seed: Some(1),
        ..Options::default()
    });
    let cluster = Cluster::from_service(server.clone(), "test");
    (server, cluster)
}

fn config_maps() -> ApiResource {
    ApiResource::known("", "v1", "ConfigMap", "configmaps", true)
}

async fn create(cluster: &Cluster, name: &str) {
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let options = WriteOptions::default();
    cluster
        .create(
            &config_maps(),
            Some("default"),
            body.to_string().as_bytes(),
            &options,
        )
        .await
        .expect("created");
}

fn name(event: &WatchEvent) -> (&'static str, String) {
    let (kind, bytes) = match event {
        WatchEvent::Added(bytes) => ("added", bytes),
        WatchEvent::Modified(bytes) => ("modified", bytes),
        WatchEvent::Deleted(bytes) => ("deleted", bytes),
        WatchEvent::Bookmark(_) => return ("bookmark", String::new()),
    };
    let object: Value = serde_json::from_slice(bytes).expect("JSON");
    let name = object["metadata"]["name"].as_str().expect("named");
    (kind, name.to_owned())
}

#[tokio::test]
async fn a_watch_sends_what_happens_after_the_list() {
    let (_, cluster) = server();
    create(&cluster, "before").await;
    let page = cluster
        .list_page(&config_maps(), Some("default"), &ListOptions::default())
        .await
        .expect("listed");
    let options = WatchOptions {
        resource_version: page.resource_version,
        ..WatchOptions::default()
    };
    let mut watch = cluster
        .watch(&config_maps(), Some("default"), &options)
        .await
        .expect("watched");
    create(&cluster, "a").await;
    let patch = br#"{"data":{"k":"v"}}"#;
    cluster
        .merge_patch(
            &config_maps(),
            Some("default"),
            "a",
            None,
            patch,
            &WriteOptions::default(),
        )
        .await
        .expect("patched");
    cluster
        .delete(&config_maps(), Some("default"), "a", &Default::default())
        .await
        .expect("deleted");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = watch.next().await.expect("good").expect("not ended");
        if !matches!(event, WatchEvent::Bookmark(_)) {
            seen.push(name(&event));
        }
    }
    let expected = ["added", "modified", "deleted"].map(|kind| (kind, "a".to_owned()));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_watch_that_is_refused_says_why() {
    let (server, cluster) = server();
    server
        .faults()
        .add(FaultRule::new(Fault::Forbidden).verb("watch"));
    let error = cluster
        .watch(&config_maps(), None, &WatchOptions::default())
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Forbidden, "{error}");
}

fn lease(cluster: &Cluster, who: &str) -> Lease {
    let options = LeaseOptions {
        lasts: Duration::from_secs(1),
        renew_within: Duration::from_millis(600),
        retry_every: Duration::from_millis(50),
        ..LeaseOptions::new("default", "leader", who)
    };
    Lease::new(cluster, options)
}

#[tokio::test]
async fn a_lease_is_one_holders_until_it_gives_it_up() {
    let (_, cluster) = server();
    let cancel = CancellationToken::new();
    let first = lease(&cluster, "a").acquire(&cancel).await;
    let first = first.expect("allowed").expect("not cancelled");
    assert_eq!(first.transitions, 0);
    let mut second = lease(&cluster, "b");
    let theirs = second.take().await.expect("read");
    assert_eq!(theirs, LeaseState::Theirs("a".to_owned()));
    first.release().await.expect("released");
    let ours = second.take().await.expect("taken");
    assert_eq!(ours, LeaseState::Ours(1));
}

#[tokio::test]
async fn a_lease_whose_holder_is_gone_is_taken_over_after_its_time() {
    let (_, cluster) = server();
    let gone = lease(&cluster, "gone").take().await.expect("taken");
    assert_eq!(gone, LeaseState::Ours(0));
    let cancel = CancellationToken::new();
    let begun = tokio::time::Instant::now();
    let held = lease(&cluster, "next").acquire(&cancel).await;
    let held = held.expect("allowed").expect("not cancelled");
    assert_eq!(held.transitions, 1);
    let lasts = Duration::from_secs(1);
    assert!(begun.elapsed() >= lasts, "taken over while it was alive");
}

#[tokio::test]
async fn a_holder_that_cannot_renew_stops_in_time() {
    let (server, cluster) = server();
    let cancel = CancellationToken::new();
    let held = lease(&cluster, "a").acquire(&cancel).await;
    let held = held.expect("allowed").expect("not cancelled");
    let begun = tokio::time::Instant::now();
    server.faults().add(FaultRule::new(Fault::ServerError(503)));
    held.lost.cancelled().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "too late");
}
