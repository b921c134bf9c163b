//! Commands in containers, started by the kubelet: what they end with is what the backup says.

use serde_json::{Value, json};

use crate::world::{BUSYBOX, Installed};

const SHOP: &str = "node-hooks-shop";

/// A backup with one command before the pod is captured.
fn backup(name: &str, command: &[&str], more: &Value) -> String {
    let mut exec = json!({"command": command});
    let more = more.as_object().expect("an object").clone();
    exec.as_object_mut().expect("an object").extend(more);
    json!({"apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": name, "namespace": "node-hooks"},
        "spec": {"includedNamespaces": [SHOP], "hooks": {"resources": [
            {"name": "test", "includedNamespaces": [SHOP], "pre": [{"exec": exec}]}]}}})
    .to_string()
}

#[test]
fn a_backup_says_how_the_commands_in_pods_ended() {
    let Some(mut world) = Installed::new("node-hooks") else {
        return;
    };
    world.namespace(SHOP);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db", "namespace": SHOP},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": BUSYBOX,
            "imagePullPolicy": "Never", "command": ["sleep", "1000000"]}]}});
    world.apply(&pod.to_string());
    world
        .kubectl(&format!(
            "wait pod/db -n {SHOP} --for=condition=Ready --timeout=60s"
        ))
        .expect(0);

    let sh = |script| ["sh", "-c", script];
    let cases: [(&str, &[&str], Value, &str, &str); 5] = [
        ("exit-0", &sh("exit 0"), json!({}), "Completed", ""),
        (
            "exit-42",
            &sh("echo no space left >&2; exit 42"),
            json!({}),
            "PartiallyFailed",
            "exit code 42",
        ),
        (
            "exit-42-continue",
            &sh("exit 42"),
            json!({"onError": "Continue"}),
            "PartiallyFailed",
            "exit code 42",
        ),
        (
            "missing",
            &["/no/such/program"],
            json!({}),
            "PartiallyFailed",
            "/no/such/program",
        ),
        (
            "hangs",
            &["sleep", "345"],
            json!({"timeout": "2s"}),
            "PartiallyFailed",
            "2 s",
        ),
    ];
    // They take the same namespace, so one begins when another has ended.
    for (name, command, more, _, _) in &cases {
        world.apply(&backup(name, command, more));
    }
    for (name, _, more, phase, said) in &cases {
        world.wait(
            &format!("backup/{name}"),
            &format!("{{.status.phase}}={phase}"),
        );
        let status = world.get(&format!("backup {name}"))["status"].clone();
        let hooks = &status["hookStatus"];
        assert_eq!(hooks["hooksAttempted"], 1, "{name}: {status}");
        let described = world.salvor(&format!("backup describe {name} --details"));
        let log = world.salvor(&format!("backup logs {name}"));
        let (described, log) = (described.expect(0), log.expect(0));
        if said.is_empty() {
            assert_eq!(hooks["hooksFailed"], Value::Null, "{name}: {status}");
        } else {
            assert_eq!(hooks["hooksFailed"], 1, "{name}: {status}");
            assert_eq!(status["errors"], 1, "{name}: {status}");
            for text in [described, log] {
                assert!(text.contains(said) && text.contains("db"), "{name}: {text}");
            }
        }
        // A pod whose command failed is not in the backup, unless that was allowed.
        let is_in = said.is_empty() || more["onError"] == "Continue";
        let entry = format!("- {SHOP}/db");
        let listed = described.lines().any(|line| line.trim() == entry);
        assert_eq!(listed, is_in, "{name}: {described}");
    }
    // What its program printed is told too.
    let log = world.salvor("backup logs exit-42");
    assert!(log.out.contains("no space left"), "{}", log.out);
    // What hung was ended in the container, not merely left behind.
    let processes = world.exec(&format!("-n {SHOP} db"), &["ps"]);
    assert!(!processes.contains("sleep 345"), "{processes}");
    assert!(processes.contains("sleep 1000000"), "{processes}");
}
