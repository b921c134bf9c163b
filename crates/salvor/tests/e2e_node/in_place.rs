//! A volume brought back in place: its application is stopped by itself, finds the old bytes, and comes back by itself,
//! also when the command is killed in the middle.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::command;
use crate::world::{BUSYBOX, Installed};

const SHOP: &str = "node-in-place-shop";

/// An application that spoils its data as soon as it finds a file that says so, and writes down what it found first.
const APP: &str = "cat /data/state >> /data/found; while true; do \
    [ ! -e /data/spoil ] || { echo spoiled > /data/state; echo x > /data/junk; rm -f /data/spoil; }; sleep 0.2; done";

fn application(folder: &Path) -> Value {
    let spec = json!({"storageClassName": "node-in-place", "accessModes": ["ReadWriteOnce"]});
    let with = |more: Value| {
        let mut spec = spec.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        spec
    };
    let labels = json!({"app": "web"});
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "node-in-place"},
            "spec": with(json!({"capacity": {"storage": "1Gi"}, "hostPath": {"path": folder},
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": SHOP, "name": "data"}}))},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": SHOP},
            "spec": with(json!({"resources": {"requests": {"storage": "1Gi"}}}))},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": SHOP},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1,
                    "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
                    "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                        "command": ["sh", "-c", APP],
                        "volumeMounts": [{"name": "d", "mountPath": "/data"}]}]}}}},
    ]})
}

impl Installed {
    /// The binary, begun.
    fn begun(&self, line: &str) -> Child {
        let mut binary = command(self.home.path());
        binary.env("KUBECONFIG", self.kubeconfig());
        binary.args(["-n", &self.namespace]);
        binary.args(line.split_whitespace());
        let binary = binary.stdin(Stdio::null()).stdout(Stdio::null());
        binary.stderr(Stdio::null()).spawn().expect("it runs")
    }
}

#[test]
fn a_volume_comes_back_in_place_under_its_application_even_after_a_kill() {
    let Some(mut world) = Installed::with_options("node-in-place", "--use-node-agent") else {
        return;
    };
    let rolled = "rollout status daemonset/node-agent --timeout=90s";
    world.kubectl(rolled).expect(0);
    world.namespace(SHOP);
    let folder = world.home.path().join("volume");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("state"), "good\n").expect("written");
    // Enough that the command can be killed while it comes back.
    let large: Vec<u8> = (0..48_u32 << 18)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(folder.join("large"), &large).expect("written");
    world.apply(&application(&folder).to_string());
    let until_up = |world: &Installed| {
        let line = format!("rollout status deployment/web -n {SHOP} --timeout=90s");
        world.kubectl(&line).expect(0);
    };
    until_up(&world);
    let backup = format!(
        "backup create nightly --include-namespaces {SHOP} --default-volumes-to-fs-backup --wait"
    );
    world.salvor(&backup).expect(0);
    let spoil = |world: &Installed| {
        fs::write(folder.join("large"), "nothing").expect("written");
        let script = "touch /data/spoil; until grep -q spoiled /data/state; do sleep 0.1; done";
        world.exec(&format!("-n {SHOP} deployment/web"), &["sh", "-c", script]);
    };
    let assert_back = |world: &Installed| {
        until_up(world);
        assert_eq!(
            fs::read_to_string(folder.join("state")).expect("there"),
            "good\n"
        );
        assert!(
            fs::read(folder.join("large")).expect("there") == large,
            "every byte"
        );
        let web = world.get(&format!("deployment web -n {SHOP}"));
        let annotations = &web["metadata"]["annotations"];
        assert_eq!(
            (
                &web["spec"]["replicas"],
                &annotations["salvor.dev/replicas-before"]
            ),
            (&json!(1), &Value::Null)
        );
        let ours = world.get(&format!(
            "pods -n {SHOP} -l app.kubernetes.io/managed-by=salvor"
        ));
        assert_eq!(ours["items"], json!([]), "nothing of ours is left");
    };

    spoil(&world);
    let line = format!("volume restore {SHOP}/data --point nightly --in-place --delete-extra");
    // What would happen is shown; without a terminal and --yes nothing does.
    let shown = world.salvor(&format!("{line} --dry-run"));
    shown.expect(0);
    assert!(
        shown.err.contains("Deployment web") && shown.err.contains("1 replica"),
        "{}",
        shown.err
    );
    world.salvor(&line).expect(4);
    assert_eq!(
        fs::read_to_string(folder.join("state")).expect("there"),
        "spoiled\n"
    );

    let done = world.salvor(&format!("{line} --yes"));
    assert_eq!(done.code, 0, "{}{}\n{}", done.out, done.err, world.log());
    assert_back(&world);
    assert!(
        !folder.join("junk").exists(),
        "what the point does not have is gone"
    );
    // What the application saw when it began: first at its first start, then what came back.
    assert_eq!(
        fs::read_to_string(folder.join("found")).expect("there"),
        "good\ngood\n"
    );

    // Killed in the middle, and repeated.
    spoil(&world);
    let mut killed = world.begun(&format!("{line} --yes"));
    let stopped = format!("deployment/web -n {SHOP}");
    world.wait(
        &stopped,
        "{.metadata.annotations.salvor\\.dev/replicas-before}=1",
    );
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    let web = world.get(&format!("deployment web -n {SHOP}"));
    assert_eq!(web["spec"]["replicas"], 0, "{web}");
    let done = world.salvor(&format!("{line} --yes"));
    assert_eq!(done.code, 0, "{}{}\n{}", done.out, done.err, world.log());
    assert_back(&world);

    // One file beside it, into a claim of its own, while the application runs.
    let spare = world.home.path().join("spare");
    fs::create_dir(&spare).expect("made");
    world.apply(&json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "node-in-place-spare"},
        "spec": {"storageClassName": "node-in-place", "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": spare}}}).to_string());
    let line = format!("volume restore {SHOP}/data state --point latest --into {SHOP}/copy");
    let done = world.salvor(&line);
    assert_eq!(done.code, 0, "{}{}\n{}", done.out, done.err, world.log());
    let names: Vec<_> = fs::read_dir(&spare)
        .expect("read")
        .map(|one| one.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["state"]);
    world
        .kubectl("delete pv node-in-place node-in-place-spare --wait=false")
        .expect(0);
}
