//! Reads, writes, waits, and what happens when answers get lost.

use std::time::Duration;

use salvor_apiserver::{ApiServer, Fault, FaultRule, Options};
use salvor_cluster::{ApiResource, Cluster, DeleteOptions, ErrorKind, Wait, WriteOptions};
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

fn body(name: &str, run: &str) -> Vec<u8> {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"run": run}}})
        .to_string()
        .into_bytes()
}

fn is_of_run(run: &'static str) -> impl Fn(&[u8]) -> bool {
    move |found| {
        serde_json::from_slice::<Value>(found).is_ok_and(|o| o["metadata"]["labels"]["run"] == run)
    }
}

async fn create_once(cluster: &Cluster, name: &str, run: &'static str) -> Result<Value, ErrorKind> {
    let stored = cluster
        .create_once(
            &config_maps(),
            Some("default"),
            name,
            &body(name, run),
            &WriteOptions::default(),
            is_of_run(run),
        )
        .await;
    stored
        .map(|bytes| serde_json::from_slice(&bytes).expect("JSON"))
        .map_err(|error| error.kind())
}

fn patience(timeout: Duration) -> Wait {
    Wait {
        timeout,
        cancel: CancellationToken::new(),
    }
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_happens_once_and_is_known_to_be_ours() {
    for fault in [
        Fault::LostAnswer,
        Fault::ConnectionLost,
        Fault::ServerError(500),
    ] {
        let (server, cluster) = server();
        server
            .faults()
            .add(FaultRule::new(fault.clone()).verb("create").times(1));
        let created = create_once(&cluster, "a", "ours").await.expect("created");
        assert_eq!(created["metadata"]["name"], "a", "{fault:?}");
        let creates = server
            .requests()
            .count("create", &config_maps().group_resource());
        assert!(creates <= 2, "{fault:?}: {creates} creates");
        assert_eq!(
            create_once(&cluster, "a", "other").await,
            Err(ErrorKind::AlreadyExists)
        );
    }
}

#[tokio::test]
async fn a_plain_create_is_never_repeated_blindly() {
    let (server, cluster) = server();
    server
        .faults()
        .add(FaultRule::new(Fault::LostAnswer).verb("create").times(1));
    let error = cluster
        .create(
            &config_maps(),
            Some("default"),
            &body("a", "x"),
            &WriteOptions::default(),
        )
        .await
        .expect_err("its answer was lost");
    assert!(error.may_have_happened(), "{error}");
    let creates = server
        .requests()
        .count("create", &config_maps().group_resource());
    assert_eq!(creates, 1);
    let found = cluster
        .get(&config_maps(), Some("default"), "a")
        .await
        .expect("readable");
    assert!(found.is_some());
}

#[tokio::test]
async fn throttled_writes_and_failing_reads_are_repeated() {
    let (server, cluster) = server();
    let faults = server.faults();
    faults.add(
        FaultRule::new(Fault::TooManyRequests { retry_after: 0 })
            .verb("create")
            .times(2),
    );
    faults.add(FaultRule::new(Fault::ServerError(503)).verb("get").times(2));
    create_once(&cluster, "a", "x")
        .await
        .expect("after two refusals");
    assert!(
        cluster
            .get(&config_maps(), Some("default"), "a")
            .await
            .expect("third try")
            .is_some()
    );
    assert!(
        cluster.limiter().limit() < salvor_cluster::limiter::START,
        "429 lowered the limit"
    );
}

#[tokio::test]
async fn writes_go_through_with_preconditions_and_dry_runs() {
    let (_, cluster) = server();
    let resource = config_maps();
    let created = create_once(&cluster, "a", "x").await.expect("created");
    let dry = WriteOptions {
        dry_run: true,
        ..WriteOptions::default()
    };
    let patch = br#"{"data":{"k":"v"}}"#;
    let namespace = Some("default");
    let would = cluster
        .merge_patch(&resource, namespace, "a", None, patch, &dry)
        .await
        .expect("valid");
    assert_eq!(
        serde_json::from_slice::<Value>(&would).expect("JSON")["data"]["k"],
        "v"
    );
    let live = cluster
        .get(&resource, namespace, "a")
        .await
        .expect("readable")
        .expect("there");
    assert!(
        serde_json::from_slice::<Value>(&live).expect("JSON")["data"].is_null(),
        "a dry run"
    );
    let json_patch = br#"[{"op":"add","path":"/data","value":{"k":"w"}}]"#;
    let options = WriteOptions::default();
    cluster
        .json_patch(&resource, namespace, "a", None, json_patch, &options)
        .await
        .expect("patched");
    let stale = created.to_string();
    let conflict = cluster
        .replace(&resource, namespace, "a", None, stale.as_bytes(), &options)
        .await
        .expect_err("it has changed since");
    assert_eq!(conflict.kind(), ErrorKind::Conflict, "{conflict}");
    let other = DeleteOptions {
        uid: Some("not-this-one".to_owned()),
        ..DeleteOptions::default()
    };
    let refused = cluster
        .delete(&resource, namespace, "a", &other)
        .await
        .expect_err("another uid");
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let ours = DeleteOptions {
        uid: created["metadata"]["uid"].as_str().map(str::to_owned),
        ..DeleteOptions::default()
    };
    assert!(
        cluster
            .delete(&resource, namespace, "a", &ours)
            .await
            .expect("deleted")
    );
    assert!(
        !cluster
            .delete(&resource, namespace, "a", &ours)
            .await
            .expect("gone already")
    );
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (server, cluster) = server();
    let options = WriteOptions::default();
    let nowhere = cluster
        .create(&config_maps(), Some("nowhere"), &body("a", "x"), &options)
        .await
        .expect_err("no such namespace");
    assert_eq!(nowhere.kind(), ErrorKind::NamespaceMissing, "{nowhere}");
    let denied = Fault::DeniedByWebhook {
        webhook: "policy.example.io".to_owned(),
        message: "no".to_owned(),
        code: 403,
        until: None,
    };
    server.faults().add(FaultRule::new(denied).verb("create"));
    let denied = cluster
        .create(&config_maps(), Some("default"), &body("a", "x"), &options)
        .await
        .expect_err("denied");
    assert_eq!(denied.kind(), ErrorKind::WebhookDenied, "{denied}");
    assert!(!denied.may_have_happened());
}

#[tokio::test(start_paused = true)]
async fn waits_end_with_the_condition_the_limit_or_the_callers_word() {
    let (_, cluster) = server();
    let limit = patience(Duration::from_secs(5));
    cluster
        .wait_namespace_active("default", &limit)
        .await
        .expect("it is active");
    let never = cluster
        .wait_namespace_active("lost", &limit)
        .await
        .expect_err("never");
    assert_eq!(never.kind(), ErrorKind::Timeout);
    assert!(never.to_string().contains("it is not there"), "{never}");
    limit.cancel.cancel();
    let cancelled = cluster
        .wait_namespace_active("lost", &limit)
        .await
        .expect_err("cancelled");
    assert!(cancelled.is_cancelled());
    create_once(&cluster, "a", "x").await.expect("created");
    let limit = patience(Duration::from_secs(5));
    let held = cluster
        .wait_gone(&config_maps(), Some("default"), "a", &limit)
        .await;
    assert_eq!(held.expect_err("still there").kind(), ErrorKind::Timeout);
    cluster
        .delete(
            &config_maps(),
            Some("default"),
            "a",
            &DeleteOptions::default(),
        )
        .await
        .expect("deleted");
    cluster
        .wait_gone(&config_maps(), Some("default"), "a", &limit)
        .await
        .expect("gone");
}

#[tokio::test]
async fn the_identity_is_that_of_kube_system() {
    let (_, cluster) = server();
    let identity = cluster.identity().await.expect("identity");
    let namespaces = ApiResource::namespaces();
    let live = cluster
        .get(&namespaces, None, "kube-system")
        .await
        .expect("readable")
        .expect("there");
    let live: Value = serde_json::from_slice(&live).expect("JSON");
    assert_eq!(live["metadata"]["uid"], identity.uid.as_str());
    assert_eq!(identity.name, "test");
    assert!(identity.version.git_version.starts_with('v'));
}
