//! Files of containers without tar, read by an ephemeral container that a real kubelet runs, and which ends by itself.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::command;
use crate::world::{BUSYBOX, Installed};

const SHOP: &str = "node-reader-shop";

/// What the init container writes: a file that is larger than all buffers on the way, a link and a folder.
const WRITE: &str = "mkdir -p /data/part/deep; echo one > /data/one; ln -s one /data/link; \
    echo hidden > /data/part/deep/two; head -c 80000000 /dev/zero > /data/large";

/// A pod of an image without shell and tar; its volume is mounted whole and in part.
fn without_tar(image: &str) -> Value {
    let mount = |at: &str, part: &str| json!({"name": "data", "mountPath": at, "subPath": part});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare", "namespace": SHOP}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532},
        "volumes": [{"name": "data", "emptyDir": {}}],
        "initContainers": [{"name": "write", "image": BUSYBOX, "imagePullPolicy": "Never",
            "command": ["sh", "-c", WRITE], "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "containers": [{"name": "main", "image": image, "imagePullPolicy": "Never", "args": ["hold"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, mount("/part", "part")]}]}})
}

/// A pod of root whose tar is gone.
fn of_root() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "root", "namespace": SHOP}, "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
            "command": ["sh", "-c", "rm -f $(which tar); sleep 1000000"]}]}})
}

fn listed(archive: &Path) -> Vec<String> {
    let tar = Command::new("tar").arg("-tf").arg(archive).output();
    let text = String::from_utf8(tar.expect("tar runs").stdout).expect("names");
    let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// Waits until as many ephemeral containers of a pod have ended.
fn until_ended(world: &Installed, pod: &str, expected: usize) {
    for at in 0..expected {
        let path =
            format!("{{.status.ephemeralContainerStatuses[{at}].state.terminated.exitCode}}=0");
        world.wait(&format!("pod/{pod} -n {SHOP}"), &path);
    }
    let pod = world.get(&format!("pod {pod} -n {SHOP}"));
    let added = pod["spec"]["ephemeralContainers"].as_array();
    assert_eq!(added.map_or(0, Vec::len), expected, "{pod}");
}

#[test]
fn files_of_a_container_without_tar_are_read_beside_it() {
    let Some(mut world) = Installed::prepared("node-reader") else {
        return;
    };
    world.namespace(SHOP);
    world.apply(&without_tar(world.image()).to_string());
    world.apply(&of_root().to_string());
    for pod in ["bare", "root"] {
        let line = format!("wait pod/{pod} -n {SHOP} --for=condition=Ready --timeout=90s");
        world.kubectl(&line).expect(0);
    }
    let with = format!("--debug-image {}", world.image());
    let home = world.home.path().to_owned();
    let out = |name: &str| home.join(name);
    let export = |from: &str, name: &str| {
        let output = out(name).display().to_string();
        world.salvor(&format!(
            "volume export {SHOP}/{from} --output {output} {with}"
        ))
    };

    // By the volume.
    export("bare:/data", "volume.tar").expect(0);
    assert_eq!(
        listed(&out("volume.tar")),
        [
            "./",
            "./large",
            "./link",
            "./one",
            "./part/",
            "./part/deep/",
            "./part/deep/two"
        ]
    );
    export("bare/main:/data/one", "one.tar").expect(0);
    assert_eq!(listed(&out("one.tar")), ["./one"]);
    // By the process, as a part of a volume cannot be mounted.
    export("bare:/part", "part.tar").expect(0);
    assert_eq!(listed(&out("part.tar")), ["./", "./deep/", "./deep/two"]);
    until_ended(&world, "bare", 3);

    // Another user's process is closed, and that is said. This server cannot be asked for another user.
    let run = export("root:/etc", "root.tar");
    assert_ne!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("only its own user may"), "{}", run.err);
    assert!(!out("root.tar").exists());

    // A reader that nobody listens to any more ends with its container.
    let mut exporting = command(&home);
    let mut exporting = exporting
        .env("KUBECONFIG", world.kubeconfig())
        .args([
            "volume",
            "export",
            &format!("{SHOP}/bare:/data"),
            "--output",
            "-",
            "--stall",
            "5s",
        ])
        .args(with.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut begun = [0; 512];
    let mut stdout = exporting.stdout.take().expect("a pipe");
    stdout.read_exact(&mut begun).expect("it begins");
    exporting.kill().expect("killed");
    exporting.wait().expect("ended");
    until_ended(&world, "bare", 4);
}
