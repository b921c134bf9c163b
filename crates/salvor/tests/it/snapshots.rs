//! CSI snapshots as users of the binary meet them, without a server. The driver is a stand-in.

use serde_json::{Value, json};

use crate::csi_driver::{Driver, definitions};
use crate::support::{Place, connect};

const DRIVER: &str = "disk.csi.example.io";

/// A cluster with snapshots, claim `shop/data` with a volume of the driver, and its stand-in.
fn place() -> (Place, Driver) {
    let place = Place::with_cluster();
    place.apply(&definitions());
    place.apply(&[
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": DRIVER},
            "provisioner": DRIVER, "volumeBindingMode": "Immediate"}),
        json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": {"name": "fast"},
            "driver": DRIVER, "deletionPolicy": "Delete"}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-1"},
            "spec": {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": DRIVER,
                "csi": {"driver": DRIVER, "volumeHandle": "v"}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": "shop", "name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": DRIVER, "volumeName": "pv-1",
                "resources": {"requests": {"storage": "2Gi"}}}}),
    ]);
    let kubeconfig = place.kubeconfig();
    let driver = place.block_on(async { Driver::start(&connect(&kubeconfig).await, DRIVER) });
    (place, driver)
}

#[test]
fn a_backup_with_snapshots_is_described_restored_and_deleted_with_them() {
    let (place, driver) = place();
    place
        .run("backup create b --include-namespaces shop --wait")
        .expect(0);
    let [handle] = <[String; 1]>::try_from(driver.handles()).expect("one snapshot");
    let described = place.run("backup describe b --details");
    let described = described.expect(0);
    let expected = format!(
        "shop/data (pv-1): protected by a CSI snapshot, crash-consistent, by driver {DRIVER}, handle {handle}"
    );
    assert!(described.contains(&expected), "{described}");
    let json = place.run("backup get b -o json");
    let json: Value = serde_json::from_str(json.expect(0)).expect("JSON");
    let status = json.pointer("/status").or(json.pointer("/items/0/status"));
    let status = status.expect("a status");
    let counts = (
        &status["csiVolumeSnapshotsAttempted"],
        &status["csiVolumeSnapshotsCompleted"],
    );
    assert_eq!(counts, (&json!(1), &json!(1)));
    let points = place.run("volume points shop/data");
    assert!(points.expect(0).contains("csi-snapshot"), "{}", points.out);

    let dry =
        place.run("restore create r --from-backup b --namespace-mappings shop:copy --dry-run");
    let dry = dry.expect(0);
    let row = format!("snapshot {handle} of driver {DRIVER}");
    assert!(dry.contains("fill") && dry.contains(&row), "{dry}");
    place
        .run("restore create r --from-backup b --namespace-mappings shop:copy --wait")
        .expect(0);
    let told = place.run("restore describe r --details");
    let told = told.expect(0);
    let id = format!("Storage Snapshot ID: {handle}");
    assert!(told.contains("copy/data:") && told.contains(&id), "{told}");
    let claim = place.get("persistentvolumeclaims", Some("copy"), "data");
    let claim = claim.expect("restored");
    let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
    assert_eq!(driver.made_of(volume).as_ref(), Some(&handle));

    // Of two backups that name it, the last takes it along; each has its own here.
    place
        .run("backup create b2 --include-namespaces shop --wait")
        .expect(0);
    assert_eq!(driver.handles().len(), 2);
    place.run("backup delete b --confirm").expect(0);
    assert_eq!(driver.handles().len(), 1);
    assert_ne!(driver.handles(), [handle]);

    // Without its cluster a backup can still be deleted, and what stays is said.
    let mut alone = place.command(&["backup", "delete", "b2", "--confirm"]);
    alone.env("KUBECONFIG", place.home.path().join("gone"));
    let alone: crate::support::Run = alone.output().expect("the binary runs").into();
    alone.expect(0);
    assert!(
        alone.err.contains("snapshots stay in the storage"),
        "{}",
        alone.err
    );
    assert!(alone.err.contains(&driver.handles()[0]), "{}", alone.err);
}

#[test]
fn a_driver_that_fails_is_quoted_and_the_backup_says_so_in_its_exit_code() {
    let (place, driver) = place();
    let words = "rpc error: code = InvalidArgument desc = the pool is full";
    driver.set(crate::csi_driver::Mood::Fails(words.to_owned()));
    let run = place.run("backup create b --include-namespaces shop --wait");
    assert_ne!(run.code, 0);
    let described = place.run("backup describe b --details");
    assert!(
        described.expect(0).contains("the pool is full"),
        "{}",
        described.out
    );
    assert_eq!(driver.handles(), Vec::<String>::new());
}
