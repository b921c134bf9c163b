//! Pods that run are backed up, lost, and run again.

use serde_json::{Value, json};

use crate::http;
use crate::world::{BUSYBOX, Installed};

const SHOP: &str = "node-pods-shop";

/// A deployment whose pods say what was done to them in `/data`, and a pod on its own.
fn shop() -> String {
    let hook = |what: &str| json!(["sh", "-c", format!("echo {what} >> /data/log")]).to_string();
    let pod = json!({
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "data", "emptyDir": {}}],
        "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
            "command": ["sleep", "1000000"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "readinessProbe": {"exec": {"command": ["test", "-d", "/data"]}, "periodSeconds": 1}}],
    });
    let template = json!({
        "metadata": {"labels": {"app": "web"}, "annotations": {
            "pre.hook.backup.velero.io/command": hook("before"),
            "post.hook.backup.velero.io/command": hook("after"),
        }},
        "spec": pod,
    });
    let objects = [
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": SHOP},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone", "namespace": SHOP},
            "spec": pod}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": SHOP},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string()
}

/// An init container that fills the volume, and a command that finds there what it filled in.
fn restore(namespace: &str) -> String {
    let fill = json!({"name": "fill", "image": BUSYBOX, "imagePullPolicy": "Never",
        "command": ["sh", "-c", "echo filled > /data/init"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let look = json!({"container": "main", "waitTimeout": "60s", "execTimeout": "20s",
        "command": ["sh", "-c", "cat /data/init > /data/after"]});
    let hooks = json!({"resources": [{"name": "refill", "includedNamespaces": [SHOP],
        "postHooks": [{"init": {"initContainers": [fill]}}, {"exec": look}]}]});
    json!({"apiVersion": "velero.io/v1", "kind": "Restore",
        "metadata": {"name": "back", "namespace": namespace},
        "spec": {"backupName": "shop", "hooks": hooks}})
    .to_string()
}

#[test]
fn pods_come_back_running_through_a_server_that_is_a_pod_itself() {
    let Some(mut world) = Installed::new("node-pods") else {
        return;
    };
    world.namespace(SHOP);
    world.apply(&shop());
    let rolled = format!("rollout status deployment/web -n {SHOP} --timeout=60s");
    world.kubectl(&rolled).expect(0);
    world
        .kubectl(&format!(
            "wait pod/alone -n {SHOP} --for=condition=Ready --timeout=60s"
        ))
        .expect(0);

    world
        .salvor(&format!(
            "backup create shop --include-namespaces {SHOP} --wait"
        ))
        .expect(0);
    let backup = world.get("backup shop");
    assert_eq!(backup["status"]["phase"], "Completed", "{backup}");
    let hooks = json!({"hooksAttempted": 4});
    assert_eq!(backup["status"]["hookStatus"], hooks, "{backup}");
    let pods = world.get(&format!("pods -n {SHOP} -l app=web"));
    for pod in pods["items"].as_array().expect("a list") {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let log = world.exec(&format!("-n {SHOP} {name}"), &["cat", "/data/log"]);
        assert_eq!(log, "before\nafter\n", "{name}");
    }
    // What the store signs is fetched without its credentials.
    let log = world.salvor("backup logs shop");
    assert!(!log.expect(0).is_empty(), "a log is there");

    world.lose(SHOP);
    world.apply(&restore("node-pods"));
    world.wait("restore/back", "{.status.phase}=Completed");
    let restore = world.get("restore back");
    // Init containers are Kubernetes' to run: only commands are counted.
    let hooks = json!({"hooksAttempted": 3});
    assert_eq!(restore["status"]["hookStatus"], hooks, "{restore}");
    world.kubectl(&rolled).expect(0);
    let pods = world.get(&format!("pods -n {SHOP}"));
    let pods: Vec<&Value> = pods["items"].as_array().expect("a list").iter().collect();
    assert_eq!(pods.len(), 3, "{pods:#?}");
    for pod in pods {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        assert_eq!(
            pod["status"]["phase"], "Running",
            "{name}: {}",
            pod["status"]
        );
        let found = world.exec(
            &format!("-n {SHOP} {name} -c main"),
            &["cat", "/data/after"],
        );
        assert_eq!(found, "filled\n", "{name}");
    }

    // All of that by the same server, with no right missing.
    let pod = world.server_pod();
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(container["ready"], true, "{container}");
    assert_eq!(container["restartCount"], 0, "{container}");
    let address = pod["status"]["podIP"].as_str().expect("an address");
    for path in ["healthz", "readyz"] {
        let answer = http::get(&format!("http://{address}:8085/{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let metrics = http::get(&format!("http://{address}:8085/metrics")).text();
    assert!(
        metrics.contains("velero_restore_success_total{schedule=\"\"} 1"),
        "{metrics}"
    );
    assert!(
        !metrics.contains("code=\"403\""),
        "a right is missing: {metrics}"
    );
}
