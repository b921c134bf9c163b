use salvor_apiserver::{ApiServer, Options};
use salvor_cluster::DeleteOptions;

use super::*;

async fn create(cluster: &Cluster, kind: &str, object: Value) -> Value {
    let resource = match kind {
        "Pod" => ApiResource::known("", "v1", "Pod", "pods", true),
        "Job" => ApiResource::known("batch", "v1", "Job", "jobs", true),
        kind => scalable(kind).expect("known"),
    };
    let body = object.to_string();
    let options = WriteOptions::default();
    let made = cluster.create(&resource, Some("default"), body.as_bytes(), &options);
    serde_json::from_slice(&made.await.expect("created")).expect("JSON")
}

fn owned(api: &str, owner: &Value) -> Value {
    json!([{"apiVersion": api, "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true}])
}

fn pod(name: &str, claim: &str, owners: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "ownerReferences": owners},
        "spec": {"containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": claim}}]}})
}

fn workload(kind: &str, name: &str, owners: Value, replicas: u64) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "ownerReferences": owners},
        "spec": {"replicas": replicas, "serviceName": name, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

async fn replicas(cluster: &Cluster, kind: &str, name: &str) -> (Value, Value) {
    let resource = scalable(kind).expect("known");
    let found = cluster.get(&resource, Some("default"), name).await;
    let object: Value =
        serde_json::from_slice(&found.expect("read").expect("there")).expect("JSON");
    let noted = object["metadata"]["annotations"][REPLICAS_BEFORE].clone();
    (object["spec"]["replicas"].clone(), noted)
}

/// A deployment with a replica set and two pods that mount claim `data`.
async fn shop() -> (ApiServer, Cluster) {
    let server = ApiServer::memory(Options {
        seed: Some(1),
        ..Options::default()
    });
    let cluster = Cluster::from_service(server.clone(), "test");
    let web = create(
        &cluster,
        "Deployment",
        workload("Deployment", "web", json!([]), 2),
    )
    .await;
    let set = workload("ReplicaSet", "web-1", owned("apps/v1", &web), 2);
    let set = create(&cluster, "ReplicaSet", set).await;
    for name in ["web-1-a", "web-1-b"] {
        let pod = pod(name, "data", owned("apps/v1", &set));
        create(&cluster, "Pod", pod).await;
    }
    create(&cluster, "Pod", pod("other", "logs", json!([]))).await;
    (server, cluster)
}

/// What the controllers of a cluster would do.
async fn end_pods(cluster: &Cluster) {
    let pods = ApiResource::known("", "v1", "Pod", "pods", true);
    for name in ["web-1-a", "web-1-b"] {
        let options = DeleteOptions::default();
        let ended = cluster.delete(&pods, Some("default"), name, &options).await;
        ended.expect("deleted");
    }
}

#[tokio::test]
async fn a_deployment_stands_still_and_gets_its_replicas_back() {
    let (_server, cluster) = shop().await;
    let cancel = CancellationToken::new();
    let patience = Duration::from_secs(20);
    let (stopped, ()) = tokio::join!(
        stop(&cluster, "default", "data", patience, &cancel),
        async {
            while replicas(&cluster, "Deployment", "web").await.0 != 0 {
                tokio::task::yield_now().await;
            }
            end_pods(&cluster).await;
        }
    );
    let stopped = stopped.expect("stopped");
    let web = Workload {
        kind: "Deployment".into(),
        name: "web".into(),
        replicas: 2,
    };
    assert_eq!(stopped.workloads, [web]);
    assert_eq!(
        replicas(&cluster, "Deployment", "web").await,
        (0.into(), "2".into())
    );

    // As the controller of deployments does, on those of earlier rollouts too.
    let sets = scalable("ReplicaSet").expect("known");
    let notes = json!({"metadata": {"annotations": {REPLICAS_BEFORE: "2", STOPPED_FOR: "data"}}});
    let options = WriteOptions::default();
    let body = notes.to_string();
    let noted = cluster.merge_patch(
        &sets,
        Some("default"),
        "web-1",
        None,
        body.as_bytes(),
        &options,
    );
    noted.await.expect("patched");

    // Whoever comes after a kill finds it, though no pod is left.
    let again = users_of(&cluster, "default", "data").await.expect("found");
    assert_eq!(again.workloads, stopped.workloads);
    assert_eq!(again.pods, Vec::<String>::new());
    start(&cluster, "default", &again).await.expect("started");
    assert_eq!(
        replicas(&cluster, "Deployment", "web").await,
        (2.into(), Value::Null)
    );
    // A second time there is nothing to do.
    start(&cluster, "default", &again).await.expect("started");
    assert_eq!(
        replicas(&cluster, "Deployment", "web").await,
        (2.into(), Value::Null)
    );
}

#[tokio::test]
async fn pods_that_cannot_be_scaled_are_named_and_nothing_is_touched() {
    let (_server, cluster) = shop().await;
    create(&cluster, "Pod", pod("alone", "data", json!([]))).await;
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "sync"},
        "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "c", "image": "i"}]}}}});
    let job = create(&cluster, "Job", job).await;
    let job = owned("batch/v1", &job);
    create(&cluster, "Pod", pod("sync-1", "data", job)).await;
    let cancel = CancellationToken::new();
    let refused = stop(&cluster, "default", "data", Duration::from_secs(1), &cancel).await;
    let text = refused.expect_err("refused").to_string();
    assert!(
        text.contains("pod alone (made by hand), pod sync-1 (Job sync)"),
        "{text}"
    );
    assert_eq!(
        replicas(&cluster, "Deployment", "web").await,
        (2.into(), Value::Null)
    );
}

#[tokio::test]
async fn pods_that_do_not_end_in_time_leave_a_note_to_go_on_with() {
    let (_server, cluster) = shop().await;
    let cancel = CancellationToken::new();
    let late = stop(
        &cluster,
        "default",
        "data",
        Duration::from_millis(200),
        &cancel,
    )
    .await;
    let text = late.expect_err("late").to_string();
    assert!(
        text.contains("wait until pod default/web-1-a has ended"),
        "{text}"
    );
    let users = users_of(&cluster, "default", "data").await.expect("found");
    assert_eq!(users.workloads[0].replicas, 2);
    start(&cluster, "default", &users).await.expect("started");
    assert_eq!(
        replicas(&cluster, "Deployment", "web").await,
        (2.into(), Value::Null)
    );
}
