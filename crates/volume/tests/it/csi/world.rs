//! A cluster with snapshot kinds, a driver, and claims of it. Names of one world are no others'.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use salvor_api::go::Time;
use salvor_cluster::{Cluster, ErrorKind, ListOptions, Wait, WriteOptions};
use salvor_volume::csi::{CsiTaken, Snapshots, TakeSnapshot};
use salvor_volume::{
    BackUpVolume, DataMover, FillVolume, Filled, MoveError, OnBehalfOf, Stored, VolumePlace,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::backing;
use super::driver::{Driver, definitions, resource};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
static NUMBER: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) driver: Driver,
    pub(crate) namespace: String,
    pub(crate) server: String,
}

impl World {
    /// `None` when there is no cluster.
    pub(crate) async fn new(what: &str) -> Option<Self> {
        Some(Self::on(backing::cluster().await?, what).await)
    }

    pub(crate) async fn on(cluster: Cluster, what: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{what}-{}-{number}", std::process::id());
        for definition in definitions() {
            create(&cluster, "CustomResourceDefinition", &definition).await;
        }
        for definition in definitions() {
            let name = definition["metadata"]["name"].as_str().expect("a name");
            let crds = resource("CustomResourceDefinition");
            let served = cluster.wait_crd_established(&crds, name, &patience()).await;
            served.expect("served");
        }
        let driver = Driver::start(&cluster, &format!("{id}.csi.example.io"));
        let server = format!("{id}-velero");
        for namespace in [&id, &server] {
            let object =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            create(&cluster, "Namespace", &object).await;
        }
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": driver.name}, "provisioner": driver.name});
        create(&cluster, "StorageClass", &class).await;
        let world = Self {
            cluster,
            driver,
            namespace: id,
            server,
        };
        world.class("VolumeSnapshotClass", "Delete").await;
        world
    }

    /// Makes a class of the driver, with its name.
    pub(crate) async fn class(&self, kind: &str, policy: &str) {
        let resource = resource(kind);
        let object = json!({"apiVersion": resource.api_version(), "kind": kind, "metadata": {"name": self.driver.name},
            "driver": self.driver.name, "deletionPolicy": policy});
        create(&self.cluster, kind, &object).await;
    }

    pub(crate) async fn snapshots(&self) -> Snapshots {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            // A real server tells of new kinds a moment after it serves them.
            let found = Snapshots::find(&self.cluster).await.expect("discovery");
            match found {
                Some(found) if found.serves_groups() => return found,
                _ => assert!(tokio::time::Instant::now() < deadline, "no snapshot kinds"),
            }
        }
    }

    /// A claim with a volume of the driver, as they are stored.
    pub(crate) async fn claim(&self, name: &str, labels: Value) -> (Value, Value) {
        let id = format!("{}-{name}", self.namespace);
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": id},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "storageClassName": self.driver.name, "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": self.namespace, "name": name},
                "csi": {"driver": self.driver.name, "volumeHandle": id}}});
        let volume = create(&self.cluster, "PersistentVolume", &volume).await;
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": self.namespace, "name": name, "labels": labels},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": self.driver.name, "volumeName": id,
                "resources": {"requests": {"storage": "1Gi"}}}});
        (
            create(&self.cluster, "PersistentVolumeClaim", &claim).await,
            volume,
        )
    }

    pub(crate) async fn ask(&self, claim: &str) -> TakeSnapshot {
        let (claim, volume) = self.claim(claim, json!({"app": "shop"})).await;
        TakeSnapshot {
            of: of("nightly"),
            claim,
            volume,
            timeout: PATIENCE,
            ..TakeSnapshot::default()
        }
    }

    pub(crate) async fn list(&self, kind: &str) -> Vec<Value> {
        let resource = resource(kind);
        let mut pager = self.cluster.pager(&resource, None, ListOptions::default());
        let mut all = Vec::new();
        while let Some(page) = pager.next_page().await.expect("listable") {
            let items = page.items();
            all.extend(items.map(|one| serde_json::from_slice::<Value>(one).expect("JSON")));
        }
        all
    }

    pub(crate) async fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let body = self
            .cluster
            .get(&resource(kind), Some(namespace), name)
            .await;
        let body = body.expect("readable");
        body.map(|body| serde_json::from_slice(&body).expect("JSON"))
    }

    /// Names of the snapshot objects of this world, of both kinds and of groups.
    pub(crate) async fn objects(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let here = |object: &Value| {
            let namespace = object["metadata"]["namespace"].as_str();
            namespace.is_some_and(|one| one == self.namespace || one == self.server)
                || object["spec"]["driver"] == self.driver.name.as_str()
        };
        for kind in [
            "VolumeSnapshot",
            "VolumeSnapshotContent",
            "VolumeGroupSnapshot",
            "VolumeGroupSnapshotContent",
        ] {
            let found = self.list(kind).await;
            let found = found.iter().filter(|object| here(object));
            names.extend(found.map(|object| format!("{kind} {}", object["metadata"]["name"])));
        }
        names
    }

    /// Asserts that neither the cluster nor the storage has any snapshot.
    pub(crate) async fn is_clean(&self, when: &str) {
        let objects = self.objects().await;
        assert!(objects.is_empty(), "{when}: {objects:?}");
        assert_eq!(self.driver.handles(), Vec::<String>::new(), "{when}");
    }
}

pub(crate) fn patience() -> Wait {
    Wait {
        timeout: PATIENCE,
        cancel: CancellationToken::new(),
    }
}

pub(crate) fn of(name: &str) -> OnBehalfOf {
    OnBehalfOf {
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        run: format!("run-of-{name}"),
        location: "default".to_owned(),
    }
}

/// Creates an object; one that is there already stays.
pub(crate) async fn create(cluster: &Cluster, kind: &str, object: &Value) -> Value {
    let namespace = object["metadata"]["namespace"].as_str();
    let (body, options) = (object.to_string(), WriteOptions::default());
    let made = cluster
        .create(&resource(kind), namespace, body.as_bytes(), &options)
        .await;
    match made {
        Ok(stored) => serde_json::from_slice(&stored).expect("JSON"),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => object.clone(),
        Err(error) => panic!("create {object}: {error}"),
    }
}

/// The snapshot as a record has it.
pub(crate) fn reference(taken: &CsiTaken) -> salvor_volume::csi::SnapshotRef {
    salvor_volume::csi::SnapshotRef {
        driver: taken.driver.clone(),
        handle: taken.handle.clone(),
        class: taken.class.clone(),
    }
}

/// A mover that sees whether the claim that it reads is there, and answers as it is told.
#[derive(Debug)]
pub(crate) struct Mover {
    pub(crate) cluster: Cluster,
    pub(crate) fails: bool,
}

#[async_trait::async_trait]
impl DataMover for Mover {
    async fn back_up(
        &self,
        job: &BackUpVolume,
        cancel: &CancellationToken,
    ) -> Result<Stored, MoveError> {
        let VolumePlace::Claim { claim, .. } = &job.place else {
            panic!("a snapshot's data is read through a claim");
        };
        let claims = resource("PersistentVolumeClaim");
        let body = self
            .cluster
            .get(&claims, Some(&claim.namespace), &claim.name);
        let body = body.await.expect("readable").expect("the claim is there");
        let found: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(found["metadata"]["uid"], claim.uid.as_str());
        if self.fails {
            return Err(MoveError::Failed {
                message: "the disk caught fire".to_owned(),
            });
        }
        if cancel.is_cancelled() {
            return Err(MoveError::Cancelled);
        }
        Ok(Stored {
            domain: format!("ns-{}", job.source_namespace()),
            snapshot: "ab".repeat(32),
            bytes: 7,
            new_bytes: 5,
            node: "node1".to_owned(),
            started: None::<Time>,
            ..Stored::default()
        })
    }

    async fn fill(&self, _: &FillVolume, _: &CancellationToken) -> Result<Filled, MoveError> {
        panic!("nothing is filled here")
    }
}

/// Waits for something to be so.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let waiting = async {
        while !is_so().await {
            tick.tick().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}
