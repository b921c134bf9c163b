//! Snapshots by a storage's own interface, with a stand-in for the storage: it keeps ids and no bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use salvor_objects::backup::{BackupOptions, BackupOutcome, BackupRequest, ProgressSink, run};
use salvor_storage::{Key, PutMode};
use salvor_volume::native::{
    MakeVolume, NativeError, SnapshotLocation, Snapshotter, Snapshotters, Take, Taken, VolumeKind,
};
use serde_json::{Value, json};

use crate::restore_world::{carried_out, complaints, hand_made, live, request};
use crate::world::{Stored, World, memory_location, namespace, request as backup_named};

/// How a snapshot ends that was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Ready,
    Pending,
    Lost,
}

/// A storage that is no storage.
#[derive(Clone, Debug, Default)]
struct StandIn(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    end: End,
    /// Snapshots and volumes by the token that made them.
    made: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
    zones: Vec<String>,
}

impl StandIn {
    fn with(end: End) -> Self {
        let storage = Self::default();
        storage.0.lock().expect("whole").end = end;
        storage
    }

    fn locations(&self) -> Snapshotters {
        Snapshotters::new([SnapshotLocation {
            name: "default".into(),
            provider: "example.com/stand-in".into(),
            snapshotter: Ok(Arc::new(self.clone())),
        }])
    }

    fn made(&self) -> Vec<String> {
        let kept = self.0.lock().expect("whole");
        kept.made.values().cloned().collect()
    }

    fn make(&self, token: &str, word: &str) -> String {
        let mut kept = self.0.lock().expect("whole");
        let next = format!("{word}-{}", kept.made.len() + 1);
        kept.made.entry(token.to_owned()).or_insert(next).clone()
    }
}

#[async_trait]
impl Snapshotter for StandIn {
    async fn volume_id(&self, volume: &Value) -> Result<Option<String>, NativeError> {
        let id = volume["spec"]["awsElasticBlockStore"]["volumeID"].as_str();
        Ok(id.map(str::to_owned))
    }

    async fn kind(&self, _volume: &str, _zone: &str) -> Result<VolumeKind, NativeError> {
        Ok(VolumeKind {
            volume_type: "fast".into(),
            iops: Some(100),
        })
    }

    async fn take(&self, ask: Take<'_>) -> Result<Taken, NativeError> {
        let id = self.make(ask.token, "snap");
        self.look(&id).await.or(Ok(Taken {
            id,
            ..Taken::default()
        }))
    }

    async fn look(&self, snapshot: &str) -> Result<Taken, NativeError> {
        let end = self.0.lock().expect("whole").end;
        let message = "it broke".to_owned();
        match end {
            End::Lost => Err(NativeError::Lost {
                what: format!("snapshot {snapshot}"),
                message,
            }),
            end => Ok(Taken {
                id: snapshot.to_owned(),
                ready: end == End::Ready,
                progress: "37%".into(),
                bytes: None,
            }),
        }
    }

    async fn make_volume(&self, ask: MakeVolume<'_>) -> Result<String, NativeError> {
        let mut kept = self.0.lock().expect("whole");
        kept.zones.push(ask.zone.to_owned());
        drop(kept);
        Ok(self.make(ask.token, "vol"))
    }

    async fn delete(&self, snapshot: &str) -> Result<(), NativeError> {
        let mut kept = self.0.lock().expect("whole");
        kept.deleted.insert(snapshot.to_owned());
        Ok(())
    }

    async fn set_volume_id(&self, volume: &Value, id: &str) -> Result<Value, NativeError> {
        let mut changed = volume.clone();
        changed["spec"]["awsElasticBlockStore"]["volumeID"] = json!(id);
        Ok(changed)
    }
}

fn volume() -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "pv-1", "labels": {"topology.kubernetes.io/zone": "z1"}},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Delete", "claimRef": {"namespace": "shop", "name": "data"},
            "awsElasticBlockStore": {"volumeID": "vol-old"}}})
}

fn claim() -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": "shop", "name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "pv-1",
            "resources": {"requests": {"storage": "1Gi"}}}})
}

async fn shop() -> World {
    let world = World::empty();
    for object in [namespace("shop"), volume(), claim()] {
        world.create(object).await;
    }
    world
}

async fn backed_up(world: &World, storage: &StandIn) -> (BackupOutcome, Stored) {
    let location = memory_location();
    let backup = backup_named("b", |backup| {
        backup.spec.csi_snapshot_timeout.0 = std::time::Duration::from_millis(1);
    });
    let request = BackupRequest {
        cluster: world.cluster.clone(),
        location: location.clone(),
        backup,
        options: BackupOptions {
            snapshotters: storage.locations(),
            ..BackupOptions::default()
        },
    };
    let outcome = run(request, ProgressSink::none()).await.expect("made");
    (outcome, Stored::read(&location, "b").await)
}

#[tokio::test]
async fn a_snapshot_is_listed_as_velero_does_and_what_is_wrong_with_it_is_told() {
    for (end, phase, result, completed, word) in [
        (End::Ready, "Completed", "succeeded", 1, ""),
        (End::Pending, "Completed", "succeeded", 1, "37%"),
        (End::Lost, "Failed", "", 0, "it broke"),
    ] {
        let (outcome, stored) = backed_up(&shop().await, &StandIn::with(end)).await;
        let status = &outcome.backup.status;
        assert_eq!(status.volume_snapshots_attempted, 1, "{end:?}");
        assert_eq!(status.volume_snapshots_completed, completed, "{end:?}");
        let told = format!("{:?}", outcome.results);
        assert!(told.contains(word), "{end:?}: {told}");
        let (errors, warnings) = match end {
            End::Ready => (0, 0),
            End::Pending => (0, 1),
            End::Lost => (1, 0),
        };
        assert_eq!(
            (status.errors, status.warnings),
            (errors, warnings),
            "{told}"
        );
        let list = stored.json("volumesnapshots.json.gz");
        let spec = &list[0]["spec"];
        assert_eq!(spec["location"], "default");
        assert_eq!(spec["providerVolumeID"], "vol-old");
        assert_eq!(
            (&spec["volumeAZ"], &spec["volumeIOPS"]),
            (&json!("z1"), &json!(100))
        );
        assert_eq!(list[0]["status"]["phase"], phase);
        let info = &stored.json("volumeinfo.json.gz")[0];
        assert_eq!(info["skipped"], end == End::Lost, "{info}");
        assert_eq!(
            info["result"].as_str().unwrap_or_default(),
            result,
            "{info}"
        );
    }
}

/// A backup of Velero with its plugin for AWS.
async fn of_velero() -> salvor_location::Location {
    let location = memory_location();
    let objects = [
        ("namespaces", namespace("shop")),
        ("persistentvolumes", volume()),
        ("persistentvolumeclaims", claim()),
    ];
    hand_made(&location, &objects).await;
    let infos = json!([{"pvcName": "data", "pvcNamespace": "shop", "pvName": "pv-1", "backupMethod": "NativeSnapshot",
        "skipped": false, "snapshotDataMoved": false, "preserveLocalSnapshot": false, "result": "succeeded",
        "nativeSnapshotInfo": {"snapshotHandle": "snap-v", "volumeType": "gp2", "volumeAZ": "z1", "iops": "", "Phase": "Completed"}}]);
    let list = json!([{"spec": {"backupName": "b", "backupUID": "u", "location": "default",
        "persistentVolumeName": "pv-1", "providerVolumeID": "vol-old", "volumeType": "gp2", "volumeAZ": "z1"},
        "status": {"providerSnapshotID": "snap-v", "phase": "Completed"}}]);
    for (file, value) in [("volumeinfo", infos), ("volumesnapshots", list)] {
        let key = Key::new(format!("backups/b/b-{file}.json.gz")).expect("valid");
        let bytes = salvor_archive::files::write_json_gz(&value).expect("memory");
        let put = location
            .store()
            .put(&key, bytes.into(), PutMode::Create)
            .await;
        put.expect("memory");
    }
    location
}

#[tokio::test]
async fn a_backup_of_velero_comes_back_with_a_new_volume_that_is_made_once() {
    let location = of_velero().await;
    let (world, storage) = (World::empty(), StandIn::default());
    let node = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z2"}}});
    world.create(node).await;
    let request = request(&world.cluster, &location, "r", |_, options| {
        options.snapshotters = storage.locations();
    })
    .await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("no node in zone z1") && !told.contains("error:"),
        "{told}"
    );
    let volume = live(&world, "persistentvolumes", None, "pv-1").await;
    let made = storage.made();
    assert_eq!(
        volume["spec"]["awsElasticBlockStore"]["volumeID"],
        json!(made[0])
    );
    assert_eq!(made.len(), 1);
    assert_eq!(
        volume["metadata"]["labels"]["topology.kubernetes.io/zone"],
        "z2"
    );
    let claim = live(&world, "persistentvolumeclaims", Some("shop"), "data").await;
    assert_eq!(claim["spec"]["volumeName"], "pv-1");

    // A second restore finds everything in place.
    let again = crate::restore_world::request(&world.cluster, &location, "r2", |_, options| {
        options.snapshotters = storage.locations();
    })
    .await;
    carried_out(&again, &location).await.expect("a restore");
    assert_eq!(storage.made(), made);
}

#[tokio::test]
async fn without_the_location_the_claim_waits_for_its_volume_and_never_comes_back_empty() {
    let location = of_velero().await;
    let world = World::empty();
    let request = request(&world.cluster, &location, "r", |_, _| ()).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    let told = complaints(&outcome).join("\n");
    assert!(
        told.contains("there is no volume snapshot location `default`"),
        "{told}"
    );
    assert!(world.get("persistentvolumes", None, "pv-1").await.is_none());
    let claim = live(&world, "persistentvolumeclaims", Some("shop"), "data").await;
    assert_eq!(
        claim["spec"]["volumeName"], "pv-1",
        "it waits for that volume"
    );
}
