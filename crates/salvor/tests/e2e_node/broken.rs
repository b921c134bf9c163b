//! Data that is damaged and volumes that cannot be mounted: what comes of them is said, soon, and nothing is made worse.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{BUCKET, BUSYBOX, Installed};

const DAMAGED: &str = "node-damaged-shop";
const UNMOUNTED: &str = "node-unmounted-shop";
const RESUMED: &str = "node-resumed-shop";

/// A claim, its volume, and a deployment that mounts it.
fn application(namespace: &str, folder: &Path) -> Value {
    let labels = json!({"app": "web"});
    let claim = json!({"claimName": "data"});
    let mut items = volume(namespace, "data", json!({"hostPath": {"path": folder}}));
    items.push(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 1,
                "volumes": [{"name": "d", "persistentVolumeClaim": claim}],
                "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                    "command": ["sleep", "100000"],
                    "volumeMounts": [{"name": "d", "mountPath": "/data"}]}]}}}}));
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn volume(namespace: &str, claim: &str, source: Value) -> Vec<Value> {
    let name = format!("{namespace}-{claim}");
    let mut spec = json!({"storageClassName": "node-broken", "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": claim}});
    for (field, value) in source.as_object().into_iter().flatten() {
        spec[field] = value.clone();
    }
    vec![
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim, "namespace": namespace},
            "spec": {"storageClassName": "node-broken", "accessModes": ["ReadWriteOnce"],
                "volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}}),
    ]
}

fn ready(world: &Installed, namespace: &str) {
    let line = format!("rollout status deployment/web -n {namespace} --timeout=90s");
    world.kubectl(&line).expect(0);
}

fn agents(namespace: &str) -> Option<Installed> {
    let world = Installed::with_options(namespace, "--use-node-agent")?;
    let rolled = "rollout status daemonset/node-agent --timeout=90s";
    world.kubectl(rolled).expect(0);
    Some(world)
}

#[test]
fn a_damaged_point_leaves_the_files_and_the_application_as_they_were_left() {
    let Some(mut world) = agents("node-damaged") else {
        return;
    };
    world.namespace(DAMAGED);
    let folder = world.home.path().join("volume");
    fs::create_dir(&folder).expect("made");
    let large = |seed: u32| -> Vec<u8> {
        let words =
            (0..6_u32 << 20).map(|n| (n ^ seed).wrapping_mul(2_654_435_761).rotate_left(n % 31));
        words.flat_map(u32::to_le_bytes).collect()
    };
    fs::write(folder.join("large"), large(1)).expect("written");
    world.apply(&application(DAMAGED, &folder).to_string());
    ready(&world, DAMAGED);
    let backup = format!(
        "backup create nightly --include-namespaces {DAMAGED} --default-volumes-to-fs-backup --wait"
    );
    world.salvor(&backup).expect(0);
    let keys = world.store.keys(BUCKET, "plugins/salvor").expect("listed");
    let packs = keys.iter().filter(|(key, _)| key.contains("/data/"));
    let (pack, _) = packs.max_by_key(|(_, size)| size).expect("a pack");
    world
        .store
        .overwrite(BUCKET, pack, "damaged")
        .expect("written");
    fs::write(folder.join("large"), large(2)).expect("written");

    let line = format!("volume restore {DAMAGED}/data --point nightly --in-place --yes");
    let done = world.salvor(&line);
    assert_eq!(done.code, 5, "{}{}\n{}", done.out, done.err, world.log());
    let command = format!("kubectl scale --namespace {DAMAGED} deployment/web --replicas=1");
    assert!(
        done.err.contains(&command) && done.err.contains("large: "),
        "{}",
        done.err
    );
    assert!(
        fs::read(folder.join("large")).expect("there") == large(2),
        "every byte as it was"
    );
    let web = world.get(&format!("deployment web -n {DAMAGED}"));
    assert_eq!(web["spec"]["replicas"], 0, "{web}");
    let restores = world.get("podvolumerestores");
    let status = &restores["items"][0]["status"];
    assert_eq!(status["phase"], "Failed", "{status}");
    let message = status["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("1 entry does not have"), "{message}");

    // What it says starts it.
    world
        .kubectl(command.strip_prefix("kubectl ").unwrap_or(&command))
        .expect(0);
    ready(&world, DAMAGED);
    let volume = format!("delete pv {DAMAGED}-data --wait=false");
    world.kubectl(&volume).expect(0);
}

#[test]
fn a_volume_whose_directory_is_gone_fails_soon_and_with_what_the_node_says() {
    let Some(mut world) = agents("node-unmounted") else {
        return;
    };
    world.namespace(UNMOUNTED);
    let folder = world.home.path().join("volume");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("file"), "there").expect("written");
    world.apply(&application(UNMOUNTED, &folder).to_string());
    let gone = world.home.path().join("gone");
    let nodes = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}]}});
    let source = json!({"local": {"path": gone}, "nodeAffinity": nodes});
    let items = volume(UNMOUNTED, "lost", source);
    world.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    ready(&world, UNMOUNTED);
    let began = Instant::now();
    let backup = format!(
        "backup create nightly --include-namespaces {UNMOUNTED} --default-volumes-to-fs-backup --wait"
    );
    let done = world.salvor(&backup);
    let took = began.elapsed();
    assert_eq!(done.code, 5, "{}{}\n{}", done.out, done.err, world.log());
    assert!(took < Duration::from_secs(200), "{took:?}");
    let told = world.salvor("backup logs nightly");
    let line = told.out.lines().find(|line| line.contains("FailedMount"));
    let line = line.unwrap_or_else(|| panic!("{}", told.out));
    assert!(
        line.contains("does not exist") && line.contains("lost"),
        "{line}"
    );
    let copied = world.get("podvolumebackups");
    assert_eq!(
        copied["items"][0]["status"]["phase"], "Completed",
        "{copied}"
    );
    let volumes = format!("delete pv {UNMOUNTED}-data {UNMOUNTED}-lost --wait=false");
    world.kubectl(&volumes).expect(0);
}

#[test]
fn the_object_of_a_restore_says_what_going_on_with_it_came_to() {
    let Some(mut world) = agents("node-resumed") else {
        return;
    };
    world.namespace(RESUMED);
    let folder = world.home.path().join("volume");
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("file"), "there").expect("written");
    // Nothing listens there: it is left out, and said.
    drop(std::os::unix::net::UnixListener::bind(folder.join("app.sock")).expect("bound"));
    world.apply(&application(RESUMED, &folder).to_string());
    ready(&world, RESUMED);
    let backup = format!(
        "backup create nightly --include-namespaces {RESUMED} --default-volumes-to-fs-backup --wait"
    );
    world.salvor(&backup).expect(0);
    let copied = world.get("podvolumebackups");
    let message = copied["items"][0]["status"]["message"].as_str();
    assert!(
        message.is_some_and(
            |said| said.starts_with("1 socket is left out") && said.ends_with(": app.sock")
        ),
        "{copied}"
    );
    let described = world.salvor("backup describe nightly");
    let line = "Pod Volume Backups: 1 in a repository of Salvor's, see Salvor: Volumes";
    assert!(described.expect(0).contains(line), "{}", described.out);

    world.lose(RESUMED);
    let agent = world.get("daemonset node-agent");
    world
        .kubectl("delete daemonset node-agent --cascade=foreground --timeout=60s")
        .expect(0);
    let first = world.salvor("restore create back --from-backup nightly --wait");
    assert_eq!(first.code, 5, "{}{}\n{}", first.out, first.err, world.log());
    let before = world.get("restore back");
    assert_eq!(before["status"]["phase"], "PartiallyFailed");

    let mut again =
        json!({"apiVersion": agent["apiVersion"], "kind": agent["kind"], "spec": agent["spec"]});
    for field in ["name", "namespace", "labels"] {
        again["metadata"][field] = agent["metadata"][field].clone();
    }
    world.apply(&again.to_string());
    world
        .kubectl("rollout status daemonset/node-agent --timeout=90s")
        .expect(0);
    let resumed = world.salvor("restore create back --resume");
    assert_eq!(
        resumed.code,
        0,
        "{}{}\n{}",
        resumed.out,
        resumed.err,
        world.log()
    );
    let after = world.get("restore back");
    let status = &after["status"];
    assert_eq!(
        (&status["phase"], &status["errors"]),
        (&json!("Completed"), &Value::Null),
        "{status}"
    );
    assert_eq!(status["startTimestamp"], before["status"]["startTimestamp"]);
    let kept = after["metadata"]["annotations"]["salvor.dev/first-result"].as_str();
    let first: Value = serde_json::from_str(kept.unwrap_or_default()).expect("JSON");
    assert_eq!(first["phase"], "PartiallyFailed", "{first}");
    ready(&world, RESUMED);
    assert_eq!(
        fs::read_to_string(folder.join("file")).expect("there"),
        "there"
    );
    let volume = format!("delete pv {RESUMED}-data --wait=false");
    world.kubectl(&volume).expect(0);
}
