//! Volumes are copied by node agents and movers, on a real node: what lies in them is the same afterwards, whatever was
//! killed meanwhile.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use salvor_cluster::{Cluster, ConnectOptions};
use salvor_volume::{
    AgentMover, BackUpVolume, Claim, DataMover as _, Domain, FillVolume, MadeBy, MoveError,
    OnBehalfOf, Part, Placement, Stored, VolumePlace,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{BUSYBOX, Installed};

const PATIENCE: Duration = Duration::from_secs(300);

/// A server with node agents, a namespace with claims, and the folders of the node that they are bound to.
struct World {
    installed: Installed,
    shop: String,
    host: tempfile::TempDir,
    cluster: Cluster,
}

impl World {
    async fn new(name: &str) -> Option<Self> {
        let mut installed = Installed::with_options(name, "--use-node-agent")?;
        let rolled = "rollout status daemonset/node-agent --timeout=90s";
        installed.kubectl(rolled).expect(0);
        let shop = format!("{name}-shop");
        installed.namespace(&shop);
        let options = ConnectOptions {
            kubeconfig: salvor_testkit::required_path("SALVOR_E2E_NODE_KUBECONFIG"),
            ..ConnectOptions::default()
        };
        Some(Self {
            installed,
            shop,
            host: tempfile::tempdir().expect("a folder"),
            cluster: Cluster::connect(&options).await.expect("connected"),
        })
    }

    fn mover(&self) -> AgentMover {
        AgentMover::new(&self.cluster, &self.installed.namespace, MadeBy::Command)
    }

    /// A claim that is bound to a folder of the node.
    fn claim(&self, name: &str) -> (Claim, PathBuf) {
        let folder = self.host.path().join(name);
        std::fs::create_dir(&folder).expect("made");
        let volume = format!("{}-{name}", self.shop);
        let spec = |more: Value| {
            let mut spec = json!({"storageClassName": "by-hand", "accessModes": ["ReadWriteOnce"]});
            for (key, value) in more.as_object().into_iter().flatten() {
                spec[key] = value.clone();
            }
            spec
        };
        let objects = [
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
                "spec": spec(json!({"capacity": {"storage": "1Gi"}, "hostPath": {"path": folder},
                    "persistentVolumeReclaimPolicy": "Retain"}))}),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": self.shop},
                "spec": spec(json!({"volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}))}),
        ];
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.installed.apply(&list.to_string());
        let bound = format!(
            "wait pvc/{name} -n {} --for=jsonpath={{.status.phase}}=Bound --timeout=60s",
            self.shop
        );
        self.installed.kubectl(&bound).expect(0);
        let found = self.installed.get(&format!("pvc {name} -n {}", self.shop));
        let claim = Claim {
            namespace: self.shop.clone(),
            name: name.to_owned(),
            uid: found["metadata"]["uid"].as_str().expect("a UID").to_owned(),
            volume,
        };
        (claim, folder)
    }

    fn pod(&self, name: &str, volume: Value) -> Value {
        let mut volume = volume;
        volume["name"] = json!("data");
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": self.shop},
            "spec": {"terminationGracePeriodSeconds": 0, "volumes": [volume],
                "containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never",
                    "command": ["sleep", "1000000"],
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}});
        self.installed.apply(&pod.to_string());
        let ready = format!(
            "wait pod/{name} -n {} --for=condition=Ready --timeout=60s",
            self.shop
        );
        self.installed.kubectl(&ready).expect(0);
        self.installed.get(&format!("pod {name} -n {}", self.shop))
    }

    fn of(&self, name: &str) -> OnBehalfOf {
        OnBehalfOf {
            name: name.to_owned(),
            uid: String::new(),
            run: format!("run-{name}"),
            location: "default".to_owned(),
        }
    }

    fn back_up(&self, name: &str, place: VolumePlace) -> BackUpVolume {
        BackUpVolume {
            of: self.of(name),
            place,
            data_of: None,
            timeout: PATIENCE,
        }
    }

    fn fill(&self, name: &str, place: VolumePlace, stored: &Stored) -> FillVolume {
        FillVolume {
            of: self.of(name),
            place,
            domain: Domain::of_namespace(&self.shop),
            snapshot: stored.snapshot.clone(),
            source_namespace: self.shop.clone(),
            bytes: stored.bytes,
            part: Part::default(),
            done_marker: None,
            timeout: PATIENCE,
        }
    }

    /// A failed test shows what agents and movers have said.
    fn told<T>(&self, result: Result<T, MoveError>) -> T {
        result.unwrap_or_else(|error| {
            let log = self.installed.kubectl("logs -l name=node-agent --tail=60");
            let objects = self.installed.kubectl("get pods,pvb,pvr -o yaml");
            panic!(
                "{error}: {:?}\n{}\n{}",
                std::error::Error::source(&error),
                log.out,
                objects.out
            )
        })
    }

    /// Waits until the only PodVolumeBackup that has not ended is in a phase; its name.
    async fn until(&self, kind: &str, phase: &str) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(Duration::from_millis(300));
        loop {
            look.tick().await;
            let found = self.installed.get(kind);
            let items = found["items"].as_array().cloned().unwrap_or_default();
            let is_it = |object: &&Value| object["status"]["phase"] == phase;
            if let Some(object) = items.iter().find(is_it) {
                return object["metadata"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned();
            }
            assert!(tokio::time::Instant::now() < deadline, "{kind}: {found}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let name = format!("salvor-{}", self.installed.namespace);
        let names = format!("{name}-volumes {name}-node-agent");
        let clean = format!("delete clusterrole,clusterrolebinding {names}");
        self.installed.kubectl(&clean);
        self.installed.kubectl(&format!(
            "delete pod,pvc -n {} --all --timeout=60s",
            self.shop
        ));
        let volumes = self.installed.kubectl("get pv -o name");
        for volume in volumes.out.lines().filter(|line| line.contains(&self.shop)) {
            self.installed
                .kubectl(&format!("delete {volume} --timeout=30s"));
        }
    }
}

fn held(claim: &Claim) -> VolumePlace {
    VolumePlace::Claim {
        claim: claim.clone(),
        placement: Placement::default(),
    }
}

fn mounted(pod: &Value, claim: Option<&Claim>) -> VolumePlace {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    VolumePlace::Pod {
        namespace: text(&pod["metadata"]["namespace"]),
        name: text(&pod["metadata"]["name"]),
        uid: text(&pod["metadata"]["uid"]),
        node: text(&pod["spec"]["nodeName"]),
        volume: "data".to_owned(),
        claim: claim.cloned(),
    }
}

/// Files of several owners, modes and kinds.
fn make_files(folder: &Path) {
    std::fs::create_dir(folder.join("private")).expect("made");
    std::fs::write(folder.join("private/secret"), "only its owner reads it").expect("written");
    std::os::unix::fs::chown(folder.join("private/secret"), Some(1234), Some(5678)).expect("given");
    std::os::unix::fs::chown(folder.join("private"), Some(1234), Some(5678)).expect("given");
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(folder.join("private/secret"), mode(0o600)).expect("set");
    std::fs::set_permissions(folder.join("private"), mode(0o700)).expect("set");
    std::fs::write(folder.join("large"), noise(7, 3 << 20)).expect("written");
    std::fs::write(folder.join("empty"), "").expect("written");
    symlink("large", folder.join("link")).expect("linked");
    std::fs::hard_link(folder.join("large"), folder.join("again")).expect("linked");
}

/// Bytes that no compression makes fewer.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next)
        .flatten()
        .take(length)
        .collect()
}

/// Everything below a folder: kind, mode, owner, links and contents.
fn survey(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).expect("read") {
            let path = entry.expect("an entry").path();
            let meta = std::fs::symlink_metadata(&path).expect("its metadata");
            let contents = if meta.is_symlink() {
                format!("{:?}", std::fs::read_link(&path).expect("a target"))
            } else if meta.is_dir() {
                open.push(path.clone());
                String::new()
            } else {
                let bytes = std::fs::read(&path).expect("read");
                format!("{:?} {}", salvor_seal::Digest::of(&bytes), meta.nlink())
            };
            let times = if meta.is_symlink() {
                (0, 0)
            } else {
                (meta.mtime(), meta.mtime_nsec())
            };
            let said = format!(
                "{:o} {}:{} {times:?} {contents}",
                meta.mode(),
                meta.uid(),
                meta.gid()
            );
            found.insert(path.strip_prefix(folder).expect("below").to_owned(), said);
        }
    }
    found
}

fn wipe(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("read") {
        let path = entry.expect("an entry").path();
        let is_folder = std::fs::symlink_metadata(&path).expect("metadata").is_dir();
        if is_folder {
            std::fs::remove_dir_all(&path).expect("removed");
        } else {
            std::fs::remove_file(&path).expect("removed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_claims_and_pods_come_back_as_they_were() {
    let Some(world) = World::new("node-volumes").await else {
        return;
    };
    let (mover, cancel) = (world.mover(), CancellationToken::new());

    // A claim that no pod mounts, of a folder of the node.
    let (claim, folder) = world.claim("data");
    make_files(&folder);
    let before = survey(&folder);
    let job = world.back_up("alone", held(&claim));
    let stored = world.told(mover.back_up(&job, &cancel).await);
    assert_eq!(stored.unread, 0, "{stored:?}");
    assert_eq!(stored.node, "node1");
    assert!(stored.bytes >= 3 << 20, "{stored:?}");
    wipe(&folder);
    let filled = world.told(
        mover
            .fill(&world.fill("back", held(&claim), &stored), &cancel)
            .await,
    );
    assert_eq!(
        (filled.failed, &filled.volume),
        (0, &claim.volume),
        "{filled:?}"
    );
    assert_eq!(survey(&folder), before);

    // The same claim through a pod: what is known is not stored again.
    let source = json!({"persistentVolumeClaim": {"claimName": "data"}});
    let pod = world.pod("reader", source);
    let job = world.back_up("mounted", mounted(&pod, Some(&claim)));
    let again = world.told(mover.back_up(&job, &cancel).await);
    assert_eq!(again.bytes, stored.bytes);
    assert!(again.new_bytes < 100_000, "{again:?}");

    // A volume that lives with its pod, into the one of another pod.
    let pod = world.pod("scratch", json!({"emptyDir": {}}));
    let place = format!("-n {} scratch", world.shop);
    world.installed.exec(
        &place,
        &["sh", "-c", "echo kept > /data/file; chown 77:88 /data/file"],
    );
    let stored = world.told(
        mover
            .back_up(&world.back_up("empty", mounted(&pod, None)), &cancel)
            .await,
    );
    let pod = world.pod("other", json!({"emptyDir": {}}));
    let mut job = world.fill("empty-back", mounted(&pod, None), &stored);
    job.done_marker = Some(".velero/here".to_owned());
    world.told(mover.fill(&job, &cancel).await);
    let place = format!("-n {} other", world.shop);
    let seen = world.installed.exec(
        &place,
        &[
            "sh",
            "-c",
            "cat /data/file; stat -c %u:%g /data/file; ls /data/.velero",
        ],
    );
    assert_eq!(seen, "kept\n77:88\nhere\n");

    // Nothing is left behind but the records.
    let pods = world.installed.get(&format!("pods -n {}", world.shop));
    let left = pods["items"].as_array().map_or(0, Vec::len);
    assert_eq!(left, 3, "{pods}");
    let secrets = world.installed.get("secret salvor-repository-key");
    let key = secrets["data"]["repository-key"]
        .as_str()
        .unwrap_or_default();
    assert!(key.len() > 40, "a key was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_killed_half_way_ends_as_it_should() {
    let Some(world) = World::new("node-movers").await else {
        return;
    };
    let cancel = CancellationToken::new();
    let (claim, folder) = world.claim("data");
    // What is stored already need not be uploaded again, so each run has bytes of its own, and most of a minute to
    // upload them.
    let renew =
        |seed| std::fs::write(folder.join("large"), noise(seed, 40 << 20)).expect("written");
    let limit = |rate: &str| {
        let line = format!("annotate bsl default --overwrite salvor.dev/upload-limit={rate}");
        world.installed.kubectl(&line).expect(0);
    };
    limit("1Mi");
    let begin = |name: &'static str| {
        let (mover, job, cancel) = (
            world.mover(),
            world.back_up(name, held(&claim)),
            cancel.child_token(),
        );
        let stop = cancel.clone();
        (
            tokio::spawn(async move { mover.back_up(&job, &cancel).await }),
            stop,
        )
    };

    // Stopped by whoever asked.
    renew(3);
    let (asked, stop) = begin("stopped");
    let object = world.until("pvb", "InProgress").await;
    stop.cancel();
    let ended = asked.await.expect("no panic");
    assert!(matches!(ended, Err(MoveError::Cancelled)), "{ended:?}");
    world
        .installed
        .wait(&format!("pvb/{object}"), "{.status.phase}=Canceled");

    // The mover is killed.
    renew(4);
    let (asked, _) = begin("killed");
    let object = world.until("pvb", "InProgress").await;
    let kill = format!("delete pod {object} --force --grace-period=0");
    world.installed.kubectl(&kill).expect(0);
    let ended = asked.await.expect("no panic");
    let said = ended.expect_err("nothing was stored").to_string();
    assert!(
        said.contains("gone") || said.contains("cancelled"),
        "{said}"
    );

    // The agent is killed: the mover does not care, and the next agent goes on with it.
    renew(5);
    limit("4Mi");
    let (asked, _) = begin("orphan");
    let object = world.until("pvb", "InProgress").await;
    world
        .installed
        .kubectl("delete pod -l name=node-agent --force --grace-period=0")
        .expect(0);
    let stored = world.told(asked.await.expect("no panic"));
    assert_eq!((stored.object, stored.unread), (object, 0));

    // Whoever asked is gone: dropping cancels.
    renew(6);
    limit("1Mi");
    let (asked, _) = begin("dropped");
    let object = world.until("pvb", "InProgress").await;
    asked.abort();
    world
        .installed
        .wait(&format!("pvb/{object}"), "{.status.phase}=Canceled");
    let gone = format!(
        "wait pod -n {} --all --for=delete --timeout=60s",
        world.shop
    );
    world.installed.kubectl(&gone);
    let pods = world.installed.get(&format!("pods -n {}", world.shop));
    assert_eq!(pods["items"], json!([]), "the claim is let go");
}
