//! Clusters with snapshots: the published kinds, a stand-in for the snapshot controller and a CSI driver, and a claim.

use std::time::{Duration, Instant};

use salvor_archive::files::{SalvorVolume, SalvorVolumes};
use salvor_location::Location;
use serde_json::{Value, json};

use crate::csi_driver::{Driver, definitions};
use crate::world::{World, namespace};

pub(crate) const DRIVER: &str = "disk.csi.example.io";

/// For what a driver and controllers do on two busy cores.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster with the kinds, namespaces `shop` and `velero`, and claim `shop/data`, which has volume `pv-1`.
pub(crate) async fn world() -> (World, Driver) {
    let (world, driver) = empty().await;
    world.create(snapshot_class("fast")).await;
    for object in claim_and_volume("data", "pv-1") {
        world.create(object).await;
    }
    is_bound(&world, "shop", "data").await;
    (world, driver)
}

/// A cluster with the kinds, the namespaces and the storage class, and no class of snapshots.
pub(crate) async fn empty() -> (World, Driver) {
    let world = World::empty();
    world.create(namespace("shop")).await;
    let driver = with_snapshots(&world).await;
    (world, driver)
}

/// Adds the kinds, the driver, its storage class and namespace `velero`.
pub(crate) async fn with_snapshots(world: &World) -> Driver {
    for definition in definitions() {
        world.create(definition).await;
    }
    world.create(namespace("velero")).await;
    let driver = Driver::start(&world.cluster, DRIVER);
    world.create(storage_class("Immediate")).await;
    driver
}

pub(crate) fn storage_class(binding: &str) -> Value {
    json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": DRIVER},
        "provisioner": DRIVER, "volumeBindingMode": binding})
}

pub(crate) fn snapshot_class(name: &str) -> Value {
    json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": {"name": name},
        "driver": DRIVER, "deletionPolicy": "Delete"})
}

pub(crate) fn claim_and_volume(claim: &str, volume: &str) -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": DRIVER,
                "persistentVolumeReclaimPolicy": "Retain",
                "csi": {"driver": DRIVER, "volumeHandle": format!("handle-of-{volume}")}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": "shop", "name": claim, "labels": {"app": "shop"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": DRIVER, "volumeName": volume,
                "resources": {"requests": {"storage": "1Gi"}}}}),
    ]
}

/// Waits until a claim has its volume, and tells which.
pub(crate) async fn is_bound(world: &World, namespace: &str, name: &str) -> String {
    let mut volume = String::new();
    until("the claim has its volume", async || {
        let claim = object(world, "persistentvolumeclaims", Some(namespace), name).await;
        volume = claim["spec"]["volumeName"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        claim["status"]["phase"] == "Bound"
    })
    .await;
    volume
}

/// The object as it is now; null when it is not there.
pub(crate) async fn object(
    world: &World,
    resource: &str,
    namespace: Option<&str>,
    name: &str,
) -> Value {
    let found = world.get(resource, namespace, name).await;
    found.map_or(Value::Null, |body| {
        serde_json::from_slice(&body).expect("JSON")
    })
}

/// Deletes a claim and waits until it is gone.
pub(crate) async fn lose(world: &World, namespace: &str, claim: &str) {
    let claims = "persistentvolumeclaims";
    world.delete(claims, Some(namespace), claim).await;
    until("the claim is gone", async || {
        object(world, claims, Some(namespace), claim)
            .await
            .is_null()
    })
    .await;
}

/// VolumeSnapshots and their contents, `<kind> <name>`.
pub(crate) async fn snapshot_objects(world: &World) -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["volumesnapshots", "volumesnapshotcontents"] {
        for one in world.list(kind).await {
            names.push(format!("{kind} {}", one["metadata"]["name"]));
        }
    }
    names
}

pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::task::yield_now().await;
    }
}

/// The record of the volumes of backup `b`.
pub(crate) async fn volumes(location: &Location) -> Vec<SalvorVolume> {
    let name = salvor_api::name::BackupName::new("b").expect("valid");
    let file = location.read_file(&name, "salvor-volumes.json.gz", 1 << 20);
    let file = file.await.expect("readable").expect("there");
    SalvorVolumes::decode(&file).expect("ours").volumes
}
