//! A cluster in this process with a node agent, and a kubelet of the test's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use salvor_api::velero::{Kind as _, PodVolumeBackup, PodVolumeRestore};
use salvor_apiserver::{ApiServer, ConnectionCut, Options, ResponseBody};
use salvor_cluster::{ApiResource, Body, Cluster, DeleteOptions, ListOptions, WriteOptions};
use salvor_seal::Secret;
use salvor_storage::{GetOptions, Key, MemoryStore, ObjectInfo, ObjectStore, PutMode};
use salvor_volume::agent::{AgentOptions, COMPONENT, MoverResources, NodeAgent};
use salvor_volume::work::{OpenLocation, Work};
use salvor_volume::{
    AgentMover, BackUpVolume, Claim, Direction, Domain, FillVolume, MadeBy, OnBehalfOf, Part,
    Placement, Stored, VolumePlace,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::Service;

pub(crate) const NAMESPACE: &str = "velero";
pub(crate) const NODE: &str = "n1";
/// Longest wait of a test for something that takes a second.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the kubelet does with mover pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Movers {
    /// They run.
    Run,
    /// They are started and do nothing, as a process that hangs.
    Hang,
    /// They end at once, as one that has no memory left.
    Die,
    /// They run; the volumes of pods that hold claims cannot be mounted.
    NoMount,
}

pub(crate) struct World {
    pub(crate) api: ApiServer,
    pub(crate) cluster: Cluster,
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Where the volumes are.
    pub(crate) host: TempDir,
    kubelet: Option<JoinHandle<()>>,
    agent: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Drop for World {
    fn drop(&mut self) {
        for task in self
            .kubelet
            .take()
            .into_iter()
            .chain(self.agent.take().map(|agent| agent.1))
        {
            task.abort();
        }
    }
}

pub(crate) fn pods() -> ApiResource {
    ApiResource::known("", "v1", "Pod", "pods", true)
}

pub(crate) fn backups() -> ApiResource {
    Direction::Backup.resource()
}

impl World {
    /// A namespace `shop` with a claim `data`, a location, a node, and an agent there.
    pub(crate) async fn new(movers: Movers) -> Self {
        let api = ApiServer::memory(Options {
            seed: Some(5),
            ..Options::default()
        });
        let cluster = Cluster::from_service(scheduling(api.clone()), "test");
        let mut world = Self {
            api,
            cluster,
            store: Arc::new(MemoryStore::new()),
            host: tempfile::tempdir().expect("a folder"),
            kubelet: None,
            agent: None,
        };
        for crd in salvor_api::crds::all() {
            let crd: Value = serde_saphyr::from_str(crd.yaml).expect("YAML");
            world.create(crd).await;
        }
        for namespace in [NAMESPACE, "shop"] {
            world
                .create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
                .await;
        }
        world
            .create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}))
            .await;
        world
            .create(
                json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
                "metadata": {"name": "default", "namespace": NAMESPACE},
                "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}}}),
            )
            .await;
        world
            .create(json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": "salvor-mover", "namespace": NAMESPACE}}))
            .await;
        world.create(daemon_set()).await;
        world.create(agent_pod()).await;
        world
            .set_status(
                &pods(),
                NAMESPACE,
                "node-agent-1",
                json!({"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}]}),
            )
            .await;
        world.claim("data").await;
        world.kubelet = Some(tokio::spawn(
            Kubelet {
                cluster: world.cluster.clone(),
                store: Arc::clone(&world.store),
                movers,
            }
            .run(),
        ));
        world.start_agent(2).await;
        world
    }

    pub(crate) async fn start_agent(&mut self, concurrency: usize) {
        let options = AgentOptions {
            namespace: NAMESPACE.to_owned(),
            node: NODE.to_owned(),
            pod: "node-agent-1".to_owned(),
            concurrency,
            kubelet_root: "/var/lib/kubelet".to_owned(),
            resources: MoverResources::default(),
            privileged: false,
        };
        let agent = NodeAgent::new(&self.cluster, options)
            .await
            .expect("its own pod");
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let task = tokio::spawn(async move { agent.run(&stop).await });
        self.agent = Some((cancel, task));
    }

    /// As by kill -9.
    pub(crate) fn kill_agent(&mut self) {
        if let Some((_, task)) = self.agent.take() {
            task.abort();
        }
    }

    pub(crate) async fn create(&self, object: Value) {
        let resource = resource_of(&object);
        let namespace = object["metadata"]["namespace"].as_str();
        let body = object.to_string();
        let done = self
            .cluster
            .create(
                &resource,
                namespace,
                body.as_bytes(),
                &WriteOptions::default(),
            )
            .await;
        done.expect("written");
    }

    pub(crate) async fn set_status(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        status: Value,
    ) {
        let namespace = (!namespace.is_empty()).then_some(namespace);
        let body = json!({ "status": status }).to_string();
        let done = self
            .cluster
            .merge_patch(
                resource,
                namespace,
                name,
                Some("status"),
                body.as_bytes(),
                &WriteOptions::default(),
            )
            .await;
        done.expect("written");
    }

    pub(crate) async fn get(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> Option<Value> {
        let found = self
            .cluster
            .get(resource, Some(namespace), name)
            .await
            .expect("read");
        found.map(|bytes| serde_json::from_slice(&bytes).expect("JSON"))
    }

    pub(crate) async fn list(&self, resource: &ApiResource, namespace: &str) -> Vec<Value> {
        list(&self.cluster, resource, Some(namespace)).await
    }

    pub(crate) async fn delete(&self, resource: &ApiResource, namespace: &str, name: &str) {
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            ..DeleteOptions::default()
        };
        self.cluster
            .delete(resource, Some(namespace), name, &options)
            .await
            .expect("deleted");
    }

    /// Waits until `is_so` has an answer.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut is_so: impl AsyncFnMut(&Self) -> Option<T>,
    ) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            if let Some(answer) = is_so(self).await {
                return answer;
            }
            if tokio::time::Instant::now() > deadline {
                let objects = self.list(&backups(), NAMESPACE).await;
                panic!(
                    "{what}: not within a minute: {objects:?} {:?}",
                    self.list(&pods(), NAMESPACE).await
                );
            }
        }
    }

    /// Waits until the only movement is in a phase; its name.
    pub(crate) async fn until_phase(&self, direction: Direction, phase: &str) -> String {
        let resource = direction.resource();
        self.until(phase, async |world: &Self| {
            let objects = world.list(&resource, NAMESPACE).await;
            let found = objects
                .iter()
                .find(|object| object["status"]["phase"] == phase)?;
            found["metadata"]["name"].as_str().map(str::to_owned)
        })
        .await
    }

    /// A claim that is bound to a folder; the folder.
    pub(crate) async fn claim(&self, name: &str) -> PathBuf {
        let folder = self.host.path().join(name);
        std::fs::create_dir_all(&folder).expect("made");
        let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand",
            "volumeName": format!("pv-{name}"), "resources": {"requests": {"storage": "1Gi"}}});
        self.create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec}))
            .await;
        let claims = ApiResource::known(
            "",
            "v1",
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            true,
        );
        let claim = self.get(&claims, "shop", name).await.expect("a claim");
        self.create(json!({"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": format!("pv-{name}")},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "storageClassName": "by-hand", "hostPath": {"path": folder},
                "claimRef": {"namespace": "shop", "name": name, "uid": claim["metadata"]["uid"]}}}))
            .await;
        folder
    }

    /// Flips a bit in the pack of most bytes; its key, and what it was.
    pub(crate) async fn damage_largest_pack(&self) -> (Key, Bytes) {
        let all = self.store.list("").await.expect("listed");
        let all: Vec<ObjectInfo> = all.try_collect().await.expect("listed");
        let packs = all
            .into_iter()
            .filter(|info| info.key.as_str().contains("/data/"));
        let largest = packs.max_by_key(|info| info.size).expect("a pack");
        let found = self.store.get(&largest.key, GetOptions::default()).await;
        let whole = found
            .expect("there")
            .bytes(largest.size)
            .await
            .expect("read");
        let mut bytes = whole.to_vec();
        bytes[whole.len() / 2] ^= 4;
        self.overwrite(&largest.key, bytes.into()).await;
        (largest.key, whole)
    }

    pub(crate) async fn overwrite(&self, key: &Key, bytes: Bytes) {
        let done = self.store.put(key, bytes, PutMode::Overwrite).await;
        done.expect("written");
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.host.path().join("data")
    }

    pub(crate) fn mover(&self) -> AgentMover {
        AgentMover::new(&self.cluster, NAMESPACE, MadeBy::Server)
            .with_patience(Duration::from_secs(20), Duration::from_millis(100))
    }

    pub(crate) fn back_up(&self, name: &str) -> BackUpVolume {
        BackUpVolume {
            of: of(name),
            place: held(),
            data_of: None,
            timeout: PATIENCE,
        }
    }

    pub(crate) fn fill(&self, name: &str, stored: &Stored) -> FillVolume {
        FillVolume {
            of: of(name),
            place: held(),
            domain: Domain::named(&stored.domain).expect("a domain"),
            snapshot: stored.snapshot.clone(),
            source_namespace: "shop".to_owned(),
            bytes: stored.bytes,
            part: Part::default(),
            done_marker: None,
            timeout: PATIENCE,
        }
    }
}

pub(crate) fn of(name: &str) -> OnBehalfOf {
    OnBehalfOf {
        name: name.to_owned(),
        uid: String::new(),
        run: format!("run-{name}"),
        location: "default".to_owned(),
    }
}

pub(crate) fn held() -> VolumePlace {
    let claim = Claim {
        namespace: "shop".to_owned(),
        name: "data".to_owned(),
        ..Claim::default()
    };
    VolumePlace::Claim {
        claim,
        placement: Placement::default(),
    }
}

/// The API server with a scheduler before it: a pod is on the node when it is created.
fn scheduling(
    api: ApiServer,
) -> impl Service<Request<Body>, Response = Response<ResponseBody>, Error = ConnectionCut, Future: Send>
+ Send
+ 'static {
    tower::service_fn(move |request: Request<Body>| {
        let mut api = api.clone();
        async move {
            let (parts, body) = request.into_parts();
            let mut bytes = body.collect().await.expect("a body").to_bytes();
            if parts.method == Method::POST && parts.uri.path().ends_with("/pods") {
                let mut pod: Value = serde_json::from_slice(&bytes).expect("JSON");
                pod["spec"]["nodeName"] = json!(NODE);
                bytes = pod.to_string().into();
            }
            let request = Request::from_parts(parts, Body::from(bytes));
            api.call(request).await
        }
    })
}

fn daemon_set() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "node-agent", "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"name": "node-agent"}}, "template": {
            "metadata": {"labels": {"name": "node-agent"}},
            "spec": {"containers": [{"name": "node-agent", "image": "salvor:1"}]}}}})
}

fn agent_pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "node-agent-1", "namespace": NAMESPACE, "labels": {"name": "node-agent"}},
        "spec": {"nodeName": NODE, "containers": [{"name": "node-agent", "image": "salvor:1"}]}})
}

fn resource_of(object: &Value) -> ApiResource {
    let kind = object["kind"].as_str().expect("a kind");
    let (group, version) = object["apiVersion"]
        .as_str()
        .expect("a version")
        .split_once('/')
        .unwrap_or(("", "v1"));
    let namespaced = !matches!(
        kind,
        "Namespace" | "Node" | "PersistentVolume" | "CustomResourceDefinition"
    );
    let plural = format!("{}s", kind.to_lowercase());
    ApiResource::known(group, version, kind, &plural, namespaced)
}

async fn list(cluster: &Cluster, resource: &ApiResource, namespace: Option<&str>) -> Vec<Value> {
    let page = cluster
        .list_page(resource, namespace, &ListOptions::default())
        .await;
    let page = page.expect("listed");
    page.items()
        .map(|item| serde_json::from_slice(item).expect("JSON"))
        .collect()
}

/// Starts pods where they are to be, and does in this process what movers do in theirs.
struct Kubelet {
    cluster: Cluster,
    store: Arc<dyn ObjectStore>,
    movers: Movers,
}

impl Kubelet {
    async fn run(self) {
        let mut started = BTreeSet::new();
        let mut running: BTreeMap<String, CancellationToken> = BTreeMap::new();
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            let Ok(page) = self
                .cluster
                .list_page(&pods(), None, &ListOptions::default())
                .await
            else {
                continue;
            };
            let found: Vec<Value> = page
                .items()
                .filter_map(|item| serde_json::from_slice(item).ok())
                .collect();
            let uid = |pod: &Value| {
                pod["metadata"]["uid"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            };
            // Processes of pods that are to go are told.
            running.retain(|one, stop| {
                let stays = found
                    .iter()
                    .any(|pod| uid(pod) == *one && pod["metadata"]["deletionTimestamp"].is_null());
                if !stays {
                    stop.cancel();
                }
                stays
            });
            for pod in &found {
                if pod["metadata"]["name"] == "node-agent-1" || !started.insert(uid(pod)) {
                    continue;
                }
                let stop = CancellationToken::new();
                running.insert(uid(pod), stop.clone());
                self.start(pod, stop).await;
            }
        }
    }

    async fn start(&self, pod: &Value, stop: CancellationToken) {
        let (namespace, name) = names(pod);
        let is_mover = pod["metadata"]["labels"][COMPONENT.0] == COMPONENT.1;
        if self.movers == Movers::NoMount && !is_mover {
            return self.no_mount(&namespace, &name).await;
        }
        let status = match self.movers {
            Movers::Die if is_mover => json!({"phase": "Failed", "containerStatuses": [
                {"name": "mover", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]}),
            _ => json!({"phase": "Running"}),
        };
        status_of(&self.cluster, &namespace, &name, status).await;
        if is_mover && self.movers == Movers::Run {
            let work = self.work(pod).await;
            let (cluster, store) = (self.cluster.clone(), Arc::clone(&self.store));
            tokio::spawn(async move {
                let location = OpenLocation {
                    store,
                    read_only: false,
                };
                let done = work.carry_out(Ok(location), &stop).await;
                let phase = if done.is_ok() { "Succeeded" } else { "Failed" };
                status_of(&cluster, &namespace, &name, json!({ "phase": phase })).await;
            });
        }
    }

    async fn no_mount(&self, namespace: &str, name: &str) {
        status_of(&self.cluster, namespace, name, json!({"phase": "Pending"})).await;
        let said = [
            (
                "FailedMount",
                "MountVolume.NewMounter initialization failed: path \"/disk\" does not exist",
            ),
            ("FailedScheduling", "0/1 nodes are available"),
        ];
        let events = ApiResource::known("", "v1", "Event", "events", true);
        for (number, (reason, message)) in said.into_iter().enumerate() {
            let event = json!({"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": reason,
                "metadata": {"name": format!("{name}.{number}"), "namespace": namespace}, "message": message,
                "lastTimestamp": format!("2026-11-22T08:00:0{number}Z"),
                "involvedObject": {"kind": "Pod", "namespace": namespace, "name": name}});
            let options = WriteOptions::default();
            let body = event.to_string();
            let made = self
                .cluster
                .create(&events, Some(namespace), body.as_bytes(), &options);
            made.await.expect("written");
        }
    }

    /// What the mover pod's arguments and volumes say.
    async fn work(&self, pod: &Value) -> Work {
        let (namespace, name) = names(pod);
        let spec = &pod["spec"];
        let arguments = &spec["containers"][0]["args"];
        let direction = match arguments[1].as_str() {
            Some("backup") => Direction::Backup,
            _ => Direction::Restore,
        };
        let volumes = spec["volumes"].as_array().expect("volumes");
        let data = volumes
            .iter()
            .find(|volume| volume["name"] == "salvor-volume")
            .expect("the volume");
        let directory = Path::new(data["hostPath"]["path"].as_str().expect("a path")).to_owned();
        let secrets = ApiResource::known("", "v1", "Secret", "secrets", true);
        let secret = self
            .cluster
            .get(&secrets, Some(&namespace), &name)
            .await
            .expect("read")
            .expect("a Secret");
        let secret: Value = serde_json::from_slice(&secret).expect("JSON");
        Work {
            cluster: self.cluster.clone(),
            namespace,
            direction,
            name,
            directory,
            // Any text is a password: as it is encoded, too.
            password: Secret::new(
                secret["data"]["password"]
                    .as_str()
                    .expect("a password")
                    .to_owned(),
            ),
            machine_made: true,
        }
    }
}

fn names(pod: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&pod["metadata"]["namespace"]),
        text(&pod["metadata"]["name"]),
    )
}

async fn status_of(cluster: &Cluster, namespace: &str, name: &str, status: Value) {
    let body = json!({ "status": status }).to_string();
    let options = WriteOptions::default();
    // A pod may be gone by then.
    let _ = cluster
        .merge_patch(
            &pods(),
            Some(namespace),
            name,
            Some("status"),
            body.as_bytes(),
            &options,
        )
        .await;
}

/// A movement as a person would write it.
pub(crate) fn by_hand(direction: Direction, name: &str) -> Value {
    let kind = match direction {
        Direction::Backup => PodVolumeBackup::KIND,
        Direction::Restore => PodVolumeRestore::KIND,
    };
    json!({"apiVersion": "velero.io/v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"node": NODE, "pod": {"namespace": "shop", "name": "db"}, "volume": "data",
            "backupStorageLocation": "default", "uploaderType": "restic", "snapshotID": "x",
            "sourceNamespace": "shop", "repoIdentifier": "plugins/salvor/repository/ns-shop"}})
}
