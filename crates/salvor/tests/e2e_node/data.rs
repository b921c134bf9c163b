//! Data of volumes under write load: backed up between hooks, lost with the namespace and the directories of the
//! node, and brought back byte by byte, into the same namespace and into another.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::world::{BUSYBOX, Installed};

const SHOP: &str = "node-data-shop";
const CLONE: &str = "node-data-clone";
const CLASS: &str = "node-data";

/// Writes, overwrites and deletes without a pause; when it is told to hold, it writes down the digest of every file
/// and waits.
const WRITER: &str = "mkdir -p /data/files; n=0; while true; do \
    if [ -e /data/hold ]; then \
      (cd /data/files && sha256sum * > /data/SUMS.new && mv /data/SUMS.new /data/SUMS); sync; \
      touch /data/held; while [ -e /data/hold ]; do sleep 0.1; done; rm -f /data/held; \
    fi; \
    n=$(((n + 1) % 40)); head -c $((n * 4001)) /dev/urandom > /data/files/f$n; \
    [ $((n % 7)) -ne 0 ] || rm -f /data/files/f$(((n + 13) % 40)); done";
const HOLD: &str = "touch /data/hold; i=0; until [ -e /data/held ]; do i=$((i + 1)); \
    [ $i -lt 300 ] || exit 1; sleep 0.1; done";
const GO: &str = "rm -f /data/hold";
/// Before its first start an application finds what it wrote before: this is what an init container of its own sees.
const LOOK: &str = "if [ -e /data/SUMS ]; then cd /data/files && sha256sum -c /data/SUMS > /data/seen 2>&1 \
    && mv /data/seen /data/whole; fi; rm -f /data/hold /data/held";

fn template(app: &str, claim: Option<&str>) -> Value {
    let shell = |script: &str| json!(["sh", "-c", script]);
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    let mut volumes = vec![json!({"name": "scratch", "emptyDir": {}})];
    volumes.extend(
        claim.map(|name| json!({"name": "data", "persistentVolumeClaim": {"claimName": name}})),
    );
    json!({
        "metadata": {"labels": {"app": app}, "annotations": {
            "backup.velero.io/backup-volumes-excludes": "scratch",
            "pre.hook.backup.velero.io/command": shell(HOLD).to_string(),
            "pre.hook.backup.velero.io/timeout": "60s",
            "post.hook.backup.velero.io/command": shell(GO).to_string(),
        }},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "volumes": volumes,
            "initContainers": [{"name": "look", "image": BUSYBOX, "imagePullPolicy": "Never",
                "command": shell(LOOK), "volumeMounts": mount}],
            "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                "command": shell(WRITER), "volumeMounts": mount,
                "readinessProbe": {"exec": {"command": shell("ls /data/files | grep -q f9")}, "periodSeconds": 1}}],
        },
    })
}

/// A volume in a directory of the node, as local-path provisioners make them.
fn volume(name: &str, directory: &Path, claim: Option<(&str, &str)>) -> Value {
    let reference = claim.map(|(namespace, name)| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name})
    });
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": CLASS,
            "hostPath": {"path": directory, "type": "DirectoryOrCreate"}, "claimRef": reference}})
}

fn claim(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": CLASS,
            "resources": {"requests": {"storage": "1Gi"}}}})
}

/// The application: a stateful set with claims of its own, a deployment, and what is special about volumes.
fn shop(home: &Path) -> Vec<Value> {
    let directory = |name: &str| home.join("volumes").join(name);
    let pod = |name: &str, annotations: Value, volumes: Value, mount: &str| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": SHOP, "annotations": annotations},
            "spec": {"terminationGracePeriodSeconds": 0, "volumes": volumes,
                "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                    "command": ["sh", "-c", format!("[ -e /data/note ] || echo {name} > /data/note; sleep 1000000")],
                    "volumeMounts": [{"name": mount, "mountPath": "/data"}]}]}})
    };
    let mut objects = vec![
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": CLASS}, "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate"}),
    ];
    for (name, claim) in [
        ("db-0", "data-db-0"),
        ("db-1", "data-db-1"),
        ("web", "web"),
        ("idle", "idle"),
        ("left-out", "left-out"),
    ] {
        let path = directory(name);
        objects.push(volume(
            &format!("node-data-{name}"),
            &path,
            Some((SHOP, claim)),
        ));
    }
    objects.extend(["web", "idle", "left-out"].map(|name| claim(SHOP, name)));
    objects.extend([
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": "db", "namespace": SHOP},
            "spec": {"replicas": 2, "serviceName": "db", "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": {"app": "db"}}, "template": template("db", None),
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim(SHOP, "data")["spec"]}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": SHOP},
            "spec": {"replicas": 1, "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {"app": "web"}}, "template": template("web", Some("web"))}}),
        pod(
            "excludes",
            json!({"backup.velero.io/backup-volumes-excludes": "data"}),
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "left-out"}}]),
            "data",
        ),
        pod("empty-dir", json!({}), json!([{"name": "cache", "emptyDir": {}}]), "cache"),
        pod(
            "host-path",
            json!({}),
            json!([{"name": "host", "hostPath": {"path": directory("host"), "type": "DirectoryOrCreate"}}]),
            "host",
        ),
    ]);
    objects
}

fn applied(world: &Installed, objects: Vec<Value>) {
    world.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string());
}

/// Waits until the application runs in a namespace.
fn until_running(world: &Installed, namespace: &str) {
    for workload in ["statefulset/db", "deployment/web"] {
        let line = format!("rollout status {workload} -n {namespace} --timeout=90s");
        let rolled = world.kubectl(&line);
        if rolled.code != 0 {
            let objects = world
                .kubectl(&format!("get pods,pvc,pv -n {namespace} -o wide"))
                .out;
            let events = world.kubectl(&format!("get events -n {namespace}")).out;
            let whole = world
                .kubectl(&format!("get {workload} -n {namespace} -o yaml"))
                .out;
            panic!(
                "{}{}\n{whole}\n{objects}\n{events}\n{}",
                rolled.out,
                rolled.err,
                world.log()
            );
        }
    }
}

/// The directory on the node of the volume that a claim is bound to.
fn directory_of(world: &Installed, namespace: &str, claim: &str) -> PathBuf {
    let claim = world.get(&format!("pvc {claim} -n {namespace}"));
    assert_eq!(claim["status"]["phase"], "Bound", "{claim}");
    let volume = claim["spec"]["volumeName"]
        .as_str()
        .expect("bound")
        .to_owned();
    let volume = world.get(&format!("pv {volume}"));
    volume["spec"]["hostPath"]["path"]
        .as_str()
        .expect("a path")
        .into()
}

/// The application's init containers found every file whole before it began to write.
fn assert_back(world: &Installed, namespace: &str, sums: &BTreeMap<&str, String>) {
    for claim in sums.keys() {
        let directory = directory_of(world, namespace, claim);
        let seen = fs::read_to_string(directory.join("whole"));
        let seen = seen.unwrap_or_else(|error| {
            let now = fs::read_to_string(directory.join("seen"));
            panic!("{namespace}/{claim}: the application did not find its data: {error}; {now:?}")
        });
        assert_eq!(seen.lines().count(), sums[claim].lines().count(), "{seen}");
        let restored = fs::read_to_string(directory.join("SUMS")).expect("restored");
        assert_eq!(restored, sums[claim], "{namespace}/{claim}");
    }
}

const WITH_DATA: [&str; 3] = ["data-db-0", "data-db-1", "web"];

#[test]
fn an_application_under_load_comes_back_with_every_byte_here_and_elsewhere() {
    let Some(mut world) = Installed::with_options("node-data", "--use-node-agent") else {
        return;
    };
    world
        .kubectl("rollout status daemonset/node-agent --timeout=90s")
        .expect(0);
    world.namespace(SHOP);
    let home = world.home.path().to_owned();
    applied(&world, shop(&home));
    until_running(&world, SHOP);
    for name in ["excludes", "empty-dir", "host-path"] {
        let line = format!("wait pod/{name} -n {SHOP} --for=condition=Ready --timeout=60s");
        world.kubectl(&line).expect(0);
    }
    fs::create_dir_all(home.join("volumes/idle")).expect("made");
    fs::write(home.join("volumes/idle/note"), "nobody mounts me\n").expect("written");

    world
        .salvor(&format!(
            "backup create shop --include-namespaces {SHOP} --default-volumes-to-fs-backup --wait"
        ))
        .expect(0);
    let backup = world.get("backup shop");
    assert_eq!(
        backup["status"]["phase"],
        "Completed",
        "{backup}\n{}",
        world.log()
    );
    let hooks = json!({"hooksAttempted": 6});
    assert_eq!(backup["status"]["hookStatus"], hooks, "{backup}");
    assert_described(&world);

    // What the application wrote down while it was held still; it has gone on since.
    let sums: BTreeMap<&str, String> = WITH_DATA
        .map(|claim| {
            let directory = directory_of(&world, SHOP, claim);
            (
                claim,
                fs::read_to_string(directory.join("SUMS")).expect("held"),
            )
        })
        .into();

    world.lose(SHOP);
    for name in ["db-0", "db-1", "web", "idle", "left-out"] {
        fs::remove_dir_all(home.join("volumes").join(name)).expect("wiped");
    }
    let restored = world.salvor("restore create back --from-backup shop --wait");
    assert_eq!(
        restored.code,
        0,
        "{}{}\n{}",
        restored.out,
        restored.err,
        world.log()
    );
    assert_claims_are_sound(&world, "back");
    until_running(&world, SHOP);
    assert_back(&world, SHOP, &sums);
    let idle = directory_of(&world, SHOP, "idle").join("note");
    assert_eq!(
        fs::read_to_string(idle).expect("restored"),
        "nobody mounts me\n"
    );
    let note = |pod: &str| world.exec(&format!("-n {SHOP} {pod}"), &["cat", "/data/note"]);
    assert_eq!(note("empty-dir"), "empty-dir\n");

    // A clone with volumes of its own, while the original runs.
    let spares = ["a", "b", "c", "d", "e"].map(|name| {
        volume(
            &format!("node-data-spare-{name}"),
            &home.join("volumes/spare").join(name),
            None,
        )
    });
    applied(&world, spares.into());
    let cloned = world.salvor(&format!(
        "restore create clone --from-backup shop --namespace-mappings {SHOP}:{CLONE} --wait"
    ));
    assert_eq!(
        cloned.code,
        0,
        "{}{}\n{}",
        cloned.out,
        cloned.err,
        world.log()
    );
    assert_claims_are_sound(&world, "clone");
    until_running(&world, CLONE);
    assert_back(&world, CLONE, &sums);
    for claim in WITH_DATA {
        let (here, there) = (
            directory_of(&world, SHOP, claim),
            directory_of(&world, CLONE, claim),
        );
        assert_ne!(here, there, "{claim}: two applications share a directory");
    }

    // Nothing of ours is left behind.
    for namespace in [SHOP, CLONE] {
        let ours = world.get(&format!(
            "pods -n {namespace} -l app.kubernetes.io/managed-by=salvor"
        ));
        assert_eq!(ours["items"], json!([]), "{namespace}");
    }
    world
        .kubectl(&format!("delete namespace {CLONE} --wait=false"))
        .expect(0);
    world
        .kubectl(&format!("delete storageclass {CLASS}"))
        .expect(0);
    let volumes = world.get("pv");
    for volume in volumes["items"].as_array().expect("a list") {
        let name = volume["metadata"]["name"].as_str().expect("a name");
        if name.starts_with("node-data-") {
            world
                .kubectl(&format!("delete pv {name} --wait=false"))
                .expect(0);
        }
    }
}

/// The last look of a restore has nothing to say of claims that are bound to what they should be.
fn assert_claims_are_sound(world: &Installed, restore: &str) {
    let described = world.salvor(&format!("restore describe {restore} --details"));
    let described = described.expect(0);
    for word in [
        "waits for a volume",
        "earlier claims",
        "was not looked at",
        "belongs to",
    ] {
        let mut lines = described.lines().filter(|line| line.contains(word));
        // The volume that the backup left out is still the lost claim's: that is said.
        assert!(lines.all(|line| line.contains("left-out")), "{described}");
    }
}

/// Every volume is told: protected, or not and why.
fn assert_described(world: &Installed) {
    let details = world.salvor("backup describe shop --details");
    let details = details.expect(0);
    for claim in ["data-db-0", "data-db-1", "web", "idle", "left-out"] {
        assert!(details.contains(claim), "{claim}: {details}");
    }
    let value = world.salvor("backup describe shop --details -o json");
    let value: Value = serde_json::from_str(value.expect(0)).expect("JSON");
    let volumes = value["salvor"]["volumes"]
        .as_array()
        .unwrap_or_else(|| panic!("{value:#}"));
    let of = |claim: &str, pod: &str| {
        let found = volumes.iter().find(|volume| {
            volume["claim"].as_str().unwrap_or_default() == claim
                && (pod.is_empty() || volume["pod"] == pod)
        });
        found.unwrap_or_else(|| panic!("{claim} {pod}: {value:#}"))
    };
    for claim in WITH_DATA {
        let volume = of(claim, "");
        assert_eq!(volume["outcome"], "protected", "{volume}");
        assert_eq!(volume["consistency"], "application", "{volume}");
    }
    let idle = of("idle", "");
    assert_eq!(idle["outcome"], "protected", "{idle}");
    assert_eq!(of("", "empty-dir")["outcome"], "protected");
    let out = of("left-out", "");
    assert_eq!(out["outcome"], "skipped", "{out}");
    assert!(
        !out["reason"].as_str().unwrap_or_default().is_empty(),
        "{out}"
    );
}
