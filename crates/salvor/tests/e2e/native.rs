//! Snapshots by a storage's own interface: the server against a real API server and moto's EC2, a protocol server that
//! keeps no bytes. What is shown is that the right volume is named everywhere.

use std::process::{Child, Stdio};

use salvor_cluster::{ApiResource, DeleteOptions, Look, WriteOptions};
use salvor_testkit::ec2_server::Ec2Server;
use salvor_testkit::process::or_skip;
use serde_json::{Value, json};

use crate::clusters::{FIRST, Real, patience};
use crate::support::read;

const NAMESPACE: &str = "native-e2e";
const SHOP: &str = "native-e2e-shop";
const CLONE: &str = "native-e2e-clone";
const VOLUME: &str = "native-e2e-pv";
const NODE: &str = "native-e2e-node";
const BEFORE: &str = "eu-west-1a";
const AFTER: &str = "eu-west-1b";
const DRIVER_ZONE: &str = "topology.ebs.csi.aws.com/zone";

/// A running `salvor server`; killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Of one that has ended already, both fail.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn velero(kind: &str, plural: &str) -> ApiResource {
    ApiResource::known("velero.io", "v1", kind, plural, true)
}

fn core(kind: &str, plural: &str, namespaced: bool) -> ApiResource {
    ApiResource::known("", "v1", kind, plural, namespaced)
}

fn claims() -> ApiResource {
    core("PersistentVolumeClaim", "persistentvolumeclaims", true)
}

fn volumes() -> ApiResource {
    core("PersistentVolume", "persistentvolumes", false)
}

async fn create(real: &Real, resource: &ApiResource, namespace: Option<&str>, object: Value) {
    let (body, options) = (object.to_string(), WriteOptions::default());
    let cluster = &real.cluster;
    let made = cluster.create(resource, namespace, body.as_bytes(), &options);
    made.await.expect("created");
}

async fn ask(real: &Real, resource: &ApiResource, name: &str, spec: Value) {
    let object = json!({"apiVersion": "velero.io/v1", "kind": resource.kind,
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
    create(real, resource, Some(NAMESPACE), object).await;
}

async fn until(
    real: &Real,
    resource: &ApiResource,
    namespace: &str,
    name: &str,
    phase: &str,
) -> Value {
    let look = |object: Option<&Value>| match object.map(|object| &object["status"]) {
        Some(status) if status["phase"] == phase => Look::Done,
        status => Look::NotYet(format!("{status:?}")),
    };
    let (cluster, wait) = (&real.cluster, patience());
    let waited = cluster.wait_until(resource, Some(namespace), name, &wait, look);
    waited.await.expect("in time");
    let found = cluster.get(resource, Some(namespace), name).await;
    let found = found.expect("readable").expect("it is there");
    serde_json::from_slice(&found).expect("JSON")
}

async fn remove(real: &Real, resource: &ApiResource, name: &str) {
    let (cluster, options) = (&real.cluster, DeleteOptions::default());
    let removed = cluster.delete(resource, None, name, &options).await;
    removed.expect("removable");
    let gone = cluster.wait_gone(resource, None, name, &patience()).await;
    gone.expect("gone");
}

async fn make_shop(real: &Real, handle: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}});
    create(real, &ApiResource::namespaces(), None, namespace).await;
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": VOLUME, "labels": {"topology.kubernetes.io/zone": BEFORE}},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "storageClassName": "", "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": SHOP, "name": "data"},
            "csi": {"driver": "ebs.csi.aws.com", "volumeHandle": handle, "fsType": "ext4"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": DRIVER_ZONE, "operator": "In", "values": [BEFORE]}]}]}}}});
    create(real, &volumes(), None, volume).await;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": VOLUME,
            "resources": {"requests": {"storage": "1Gi"}}}});
    create(real, &claims(), Some(SHOP), claim).await;
    until(real, &claims(), SHOP, "data", "Bound").await;
}

/// The volume that a claim is bound to.
async fn bound(real: &Real, namespace: &str) -> Value {
    let claim = until(real, &claims(), namespace, "data", "Bound").await;
    let name = claim["spec"]["volumeName"].as_str().expect("bound");
    let found = read(&real.cluster, "persistentvolume", None, name).await;
    found.expect("it is there")
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_come_back_out_of_snapshots_in_a_zone_that_has_nodes() {
    let (Some(real), Some(ec2)) = (
        Real::connect(FIRST).await,
        or_skip(Ec2Server::start("eu-west-1")),
    ) else {
        return;
    };
    real.run("", "install --crds-only").expect(0);
    let namespaces = ApiResource::namespaces();
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    create(&real, &namespaces, None, namespace).await;
    let folder = tempfile::tempdir().expect("a folder");
    let locations = velero("BackupStorageLocation", "backupstoragelocations");
    let spec = json!({"provider": "salvor.dev/file", "default": true,
        "objectStorage": {"bucket": "backups"}, "config": {"path": folder.path()}});
    ask(&real, &locations, "folder", spec).await;
    let snapshots = velero("VolumeSnapshotLocation", "volumesnapshotlocations");
    let endpoint = format!("http://{}", ec2.address());
    let spec = json!({"provider": "velero.io/aws", "config": {"region": "eu-west-1", "endpoint": endpoint}});
    ask(&real, &snapshots, "default", spec).await;

    let handle = ec2.create_volume(BEFORE, 1, "gp3").expect("a volume");
    make_shop(&real, &handle).await;
    let mut command = real.command("", &format!("-n {NAMESPACE} server"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(command.spawn().expect("the binary runs"));
    until(&real, &locations, NAMESPACE, "folder", "Available").await;

    // Two backups, each with a snapshot of its own.
    let backups = velero("Backup", "backups");
    for name in ["b1", "b2"] {
        let spec = json!({"includedNamespaces": [SHOP]});
        ask(&real, &backups, name, spec).await;
        let backup = until(&real, &backups, NAMESPACE, name, "Completed").await;
        assert_eq!(backup["status"]["volumeSnapshotsAttempted"], 1, "{backup}");
        assert_eq!(backup["status"]["volumeSnapshotsCompleted"], 1, "{backup}");
        assert_eq!(
            backup["spec"]["volumeSnapshotLocations"],
            json!(["default"])
        );
    }
    let taken = ec2.snapshots().expect("listed");
    assert_eq!(taken.len(), 2, "{taken:?}");
    let tags = ec2.tags(&taken[0]).expect("listed");
    assert_eq!(tags["velero.io/pv"], VOLUME);
    let location = format!("file://{}/backups", folder.path().display());
    let described = real.run(&location, "backup describe b1 --details --direct");
    assert!(
        described
            .expect(0)
            .contains("Availability Zone:  eu-west-1a"),
        "{}",
        described.out
    );

    // The zone is lost, and the volume with it.
    let nodes = core("Node", "nodes", false);
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": NODE, "labels": {"topology.kubernetes.io/zone": AFTER}}});
    create(&real, &nodes, None, node).await;
    remove(&real, &namespaces, SHOP).await;
    remove(&real, &volumes(), VOLUME).await;
    let restores = velero("Restore", "restores");
    ask(&real, &restores, "r1", json!({"backupName": "b1"})).await;
    until(&real, &restores, NAMESPACE, "r1", "Completed").await;
    let volume = bound(&real, SHOP).await;
    assert_eq!(volume["metadata"]["name"], VOLUME);
    let made = volume["spec"]["csi"]["volumeHandle"].as_str().expect("one");
    assert_ne!(made, handle);
    assert_eq!(ec2.zone_of(made).expect("described"), AFTER);
    let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
    assert_eq!(terms[0]["matchExpressions"][0]["values"], json!([AFTER]));
    assert_eq!(
        volume["metadata"]["labels"]["topology.kubernetes.io/zone"],
        AFTER
    );

    // A clone beside it gets a volume of its own.
    let spec = json!({"backupName": "b2", "namespaceMapping": {SHOP: CLONE}});
    ask(&real, &restores, "r2", spec).await;
    until(&real, &restores, NAMESPACE, "r2", "Completed").await;
    let clone = bound(&real, CLONE).await;
    let name = clone["metadata"]["name"].as_str().expect("named");
    assert!(name.starts_with("velero-clone-"), "{name}");
    assert_eq!(
        clone["metadata"]["annotations"]["velero.io/original-pv-name"],
        VOLUME
    );
    let other = clone["spec"]["csi"]["volumeHandle"].as_str().expect("one");
    assert!(other != made && other != handle, "{other}");

    // A snapshot goes with its backup, and only that one.
    let requests = velero("DeleteBackupRequest", "deletebackuprequests");
    ask(&real, &requests, "d1", json!({"backupName": "b1"})).await;
    let (cluster, wait) = (&real.cluster, patience());
    let gone = cluster.wait_gone(&backups, Some(NAMESPACE), "b1", &wait);
    gone.await.expect("gone");
    let left = ec2.snapshots().expect("listed");
    assert_eq!(left.len(), 1, "{left:?}");

    // Their finalizer needs a server.
    for restore in ["r1", "r2"] {
        let options = DeleteOptions::default();
        let deleted = cluster.delete(&restores, Some(NAMESPACE), restore, &options);
        deleted.await.expect("removable");
        let gone = cluster.wait_gone(&restores, Some(NAMESPACE), restore, &wait);
        gone.await.expect("gone");
    }
    drop(server);
    for namespace in [SHOP, CLONE, NAMESPACE] {
        remove(&real, &namespaces, namespace).await;
    }
    for volume in [VOLUME, name] {
        remove(&real, &volumes(), volume).await;
    }
    remove(&real, &nodes, NODE).await;
    let definitions = ApiResource::known(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
    );
    for crd in salvor_api::crds::all() {
        remove(&real, &definitions, crd.name).await;
    }
}
