//! The server's pod is taken away while it works.

use serde_json::{Value, json};

use crate::world::{BUSYBOX, Installed};

const SHOP: &str = "node-killed-shop";
const DB: &str = "-n node-killed-shop db";

/// Before the capture the pod is frozen until the test says `go`: until then a backup is in its middle.
fn database() -> Value {
    let command = |script: &str| json!(["sh", "-c", script]).to_string();
    let freeze = "rm -f /tmp/go; echo frozen > /tmp/state; until [ -e /tmp/go ]; do sleep 1; done";
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "db", "namespace": SHOP, "annotations": {
            "pre.hook.backup.velero.io/command": command(freeze),
            "pre.hook.backup.velero.io/timeout": "5m",
            "post.hook.backup.velero.io/command": command("echo thawed > /tmp/state"),
        }},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": BUSYBOX,
            "imagePullPolicy": "Never", "command": ["sleep", "1000000"]}]}})
}

/// A pod that ends the processes of one container, as a node that is out of memory does: with a signal that
/// nobody sees coming. The image of the server has no shell to do that from.
fn killer(container: &str) -> Value {
    let script = format!(
        "for p in /proc/[0-9]*; do if grep -q {container} $p/cgroup 2>/dev/null; \
         then kill -9 ${{p#/proc/}}; fi; done"
    );
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "killer", "namespace": SHOP},
        "spec": {"hostPID": true, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                "securityContext": {"privileged": true}, "command": ["sh", "-c", script]}]}})
}

/// Waits in the pod until it is as wanted.
fn until_state(world: &Installed, state: &str) {
    let script = format!(
        "for i in $(seq 90); do grep -q {state} /tmp/state && exit 0; sleep 1; done; exit 1"
    );
    world.exec(DB, &["sh", "-c", &script]);
}

/// Begins a backup and returns while it is in its middle.
fn begin(world: &Installed, name: &str) {
    world.exec(DB, &["sh", "-c", "echo idle > /tmp/state"]);
    let line = format!("backup create {name} --include-namespaces {SHOP}");
    world.salvor(&line).expect(0);
    until_state(world, "frozen");
    let backup = world.get(&format!("backup {name}"));
    assert_eq!(backup["status"]["phase"], "InProgress", "{backup}");
}

/// Waits until the next server has ended the backup; the reason that it gives.
fn ended(world: &Installed, name: &str) -> String {
    world.wait(&format!("backup/{name}"), "{.status.phase}=Failed");
    // The pod is not left frozen.
    until_state(world, "thawed");
    let backup = world.get(&format!("backup {name}"));
    let reason = backup["status"]["failureReason"].as_str();
    reason.unwrap_or_default().to_owned()
}

#[test]
fn a_backup_whose_server_is_taken_away_is_ended_honestly() {
    let Some(mut world) = Installed::new("node-killed") else {
        return;
    };
    world.namespace(SHOP);
    world.apply(&database().to_string());
    let ready = format!("wait pod/db -n {SHOP} --for=condition=Ready --timeout=60s");
    world.kubectl(&ready).expect(0);

    // Deleted by force, it still is told and has two seconds: it says itself that it was stopped.
    let first = world.server_pod()["metadata"]["name"].clone();
    begin(&world, "deleted");
    let line = format!(
        "delete pod {} --force --grace-period=0",
        first.as_str().expect("a name")
    );
    world.kubectl(&line).expect(0);
    let reason = ended(&world, "deleted");
    assert!(
        reason.contains("stopped") && reason.contains("nothing was committed"),
        "{reason}"
    );
    let rolled = "rollout status deployment/salvor --timeout=60s";
    world.kubectl(rolled).expect(0);

    // Killed, it says nothing: the next one does.
    begin(&world, "killed");
    let pod = world.server_pod();
    assert_ne!(pod["metadata"]["name"], first);
    let container = pod["status"]["containerStatuses"][0]["containerID"].as_str();
    let container = container
        .expect("an id")
        .trim_start_matches("containerd://");
    world.apply(&killer(container).to_string());
    let reason = ended(&world, "killed");
    assert!(
        reason.contains("the server ended") && reason.contains("nothing was committed"),
        "{reason}"
    );
    let events = world.kubectl("get events -o jsonpath={.items[*].reason}");
    assert!(events.out.contains("PostHooksRun"), "{}", events.out);
    // The kubelet tells it a moment later than it does it.
    let pod = pod["metadata"]["name"].as_str().expect("a name");
    let restarts = "{.status.containerStatuses[0].restartCount}=1";
    world.wait(&format!("pod/{pod}"), restarts);

    // Nothing of either is in the way of the next one.
    begin(&world, "last");
    world.exec(DB, &["touch", "/tmp/go"]);
    world.wait("backup/last", "{.status.phase}=Completed");
    let listed = world.salvor("backup get");
    let phase = |name: &str| {
        let line = listed.out.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .map(str::to_owned)
    };
    let phases = ["deleted", "killed", "last"].map(|name| phase(name).unwrap_or_default());
    assert_eq!(phases, ["Failed", "Failed", "Completed"], "{}", listed.out);
}
