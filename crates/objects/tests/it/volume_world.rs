//! Volumes in tests: a backup whose record names data, and a mover that fills nothing but says what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use salvor_api::name::RestoreName;
use salvor_archive::files::{
    RepositorySnapshot, SalvorVolume, SalvorVolumes, VolumeMethod, VolumeOutcome,
};
use salvor_cluster::Cluster;
use salvor_location::claim::ClaimPolicy;
use salvor_location::{Location, RunId};
use salvor_objects::restore::{
    Observer, RestoreError, RestoreOptions, RestoreOutcome, RestoreRequest, resume,
};
use salvor_storage::{Key, PutMode};
use salvor_volume::{BackUpVolume, DataMover, FillVolume, Filled, MoveError, Stored, VolumePlace};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::restore_world::{hand_made, request, stored, with_spec};
use crate::world::{World, memory_location};

/// What the mover does with the claims or pods of these names, `<namespace>/<name>`.
#[derive(Clone, Debug)]
pub(crate) enum Behaviour {
    Fails(String),
    /// Ends with entries that are not as they were.
    Imperfect,
    /// Never ends, until it is cancelled.
    Hangs,
    /// Ends when this pod of the target is there.
    UntilPod(String),
}

/// What the target had when a volume was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) job: Option<FillVolume>,
    /// Pods and stateful sets, `<namespace>/<name>`.
    pub(crate) there: Vec<String>,
    /// Annotations of the claim.
    pub(crate) annotations: Value,
}

/// A mover that moves nothing.
#[derive(Debug)]
pub(crate) struct Mover {
    cluster: Cluster,
    asked: watch::Sender<Vec<Asked>>,
    behaviours: Mutex<BTreeMap<String, Behaviour>>,
}

impl Mover {
    pub(crate) fn of(world: &World) -> Arc<Self> {
        Arc::new(Self {
            cluster: world.cluster.clone(),
            asked: watch::Sender::default(),
            behaviours: Mutex::default(),
        })
    }

    pub(crate) fn behave(&self, target: &str, behaviour: Option<Behaviour>) {
        let mut all = self.behaviours.lock().expect("no test panics in it");
        match behaviour {
            Some(behaviour) => all.insert(target.to_owned(), behaviour),
            None => all.remove(target),
        };
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// The targets that were asked for, in order.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.asked()
            .iter()
            .map(|asked| target(asked.job.as_ref().expect("a job")))
            .collect()
    }

    /// Waits until so many volumes were asked for.
    pub(crate) async fn was_asked(&self, times: usize) {
        let mut seen = self.asked.subscribe();
        let waited = seen.wait_for(|asked| asked.len() >= times).await;
        waited.expect("the mover lives");
    }

    async fn list(&self, plural: &str, kind: &str, group: &str) -> Vec<String> {
        let api = salvor_cluster::ApiResource::known(group, "v1", kind, plural, true);
        let mut pager = self
            .cluster
            .pager(&api, None, salvor_cluster::ListOptions::default());
        let mut names = Vec::new();
        while let Some(page) = pager.next_page().await.expect("listable") {
            for item in page.items() {
                let object: Value = serde_json::from_slice(item).expect("JSON");
                let text = |field: &str| {
                    object["metadata"][field]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned()
                };
                names.push(format!("{}/{}", text("namespace"), text("name")));
            }
        }
        names
    }
}

/// `<namespace>/<name>` of the claim or pod.
pub(crate) fn target(job: &FillVolume) -> String {
    match &job.place {
        VolumePlace::Claim { claim, .. } => format!("{}/{}", claim.namespace, claim.name),
        VolumePlace::Pod {
            namespace, name, ..
        } => format!("{namespace}/{name}"),
    }
}

#[async_trait]
impl DataMover for Mover {
    async fn back_up(&self, _: &BackUpVolume, _: &CancellationToken) -> Result<Stored, MoveError> {
        panic!("a restore backs nothing up")
    }

    async fn fill(
        &self,
        job: &FillVolume,
        cancel: &CancellationToken,
    ) -> Result<Filled, MoveError> {
        let mut there = self.list("pods", "Pod", "").await;
        there.extend(self.list("statefulsets", "StatefulSet", "apps").await);
        let mut annotations = Value::Null;
        if let VolumePlace::Claim { claim, .. } = &job.place {
            let api = salvor_cluster::ApiResource::known(
                "",
                "v1",
                "PersistentVolumeClaim",
                "persistentvolumeclaims",
                true,
            );
            let live = self
                .cluster
                .get(&api, Some(&claim.namespace), &claim.name)
                .await;
            let live = live.expect("readable").expect("the claim is there");
            let live: Value = serde_json::from_slice(&live).expect("JSON");
            assert_eq!(live["metadata"]["uid"], json!(claim.uid));
            annotations = live["metadata"]["annotations"].clone();
        }
        let asked = Asked {
            job: Some(job.clone()),
            there,
            annotations,
        };
        self.asked.send_modify(|all| all.push(asked));
        let behaviour = self
            .behaviours
            .lock()
            .expect("no test panics in it")
            .get(&target(job))
            .cloned();
        let filled = Filled {
            bytes: job.bytes,
            entries: 3,
            node: "node-1".to_owned(),
            volume: "pv-new".to_owned(),
            object: "r-abcde".to_owned(),
            ..Filled::default()
        };
        match behaviour {
            None => Ok(filled),
            Some(Behaviour::Fails(message)) => Err(MoveError::Failed { message }),
            Some(Behaviour::Imperfect) => Ok(Filled {
                failed: 2,
                problems: vec!["etc/shadow: owner: not permitted".to_owned()],
                ..filled
            }),
            Some(Behaviour::Hangs) => {
                cancel.cancelled().await;
                Err(MoveError::Cancelled)
            }
            Some(Behaviour::UntilPod(pod)) => loop {
                if self.list("pods", "Pod", "").await.contains(&pod) {
                    return Ok(filled);
                }
                tokio::task::yield_now().await;
            },
        }
    }

    async fn image(&self) -> Option<String> {
        Some("salvor:test".to_owned())
    }
}

/// A volume whose files are in the backup.
pub(crate) fn saved(namespace: &str, claim: &str, volume: &str) -> SalvorVolume {
    SalvorVolume {
        namespace: namespace.into(),
        claim: claim.into(),
        persistent_volume: volume.into(),
        outcome: VolumeOutcome::Protected,
        method: Some(VolumeMethod::Files),
        snapshot: Some(RepositorySnapshot {
            domain: format!("ns-{namespace}"),
            id: "0123456789abcdef".repeat(4),
            bytes: 4096,
            ..RepositorySnapshot::default()
        }),
        ..SalvorVolume::default()
    }
}

/// Stores backup `b` with these objects and this record of its volumes.
pub(crate) async fn backup_with(objects: &[(&str, Value)], volumes: Vec<SalvorVolume>) -> Location {
    let location = memory_location().with_claim_policy(ClaimPolicy {
        lease: std::time::Duration::ZERO,
        heartbeat: std::time::Duration::from_secs(3600),
        settle: std::time::Duration::ZERO,
    });
    hand_made(&location, objects).await;
    let bytes = SalvorVolumes::new(volumes).encode().expect("memory");
    put(&location, "backups/b/salvor-volumes.json.gz", bytes).await;
    location
}

/// Puts a file into the location.
pub(crate) async fn put(location: &Location, key: &str, bytes: Vec<u8>) {
    let key = Key::new(key).expect("valid");
    let store = location.store();
    store
        .put(&key, bytes.into(), PutMode::Create)
        .await
        .expect("memory");
}

/// A claim as the backup has it, bound to a volume.
pub(crate) fn claim(name: &str, class: &str, volume: &str) -> Value {
    let mut claim = with_spec(
        stored("v1", "PersistentVolumeClaim", "prod", name),
        json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class, "volumeName": volume,
            "volumeMode": "Filesystem", "resources": {"requests": {"storage": "1Gi"}}}),
    );
    claim["metadata"]["annotations"] = json!({"pv.kubernetes.io/bind-completed": "yes"});
    claim
}

/// A storage class that provisions.
pub(crate) fn class(name: &str) -> Value {
    let mut class = stored("storage.k8s.io/v1", "StorageClass", "", name);
    class["provisioner"] = json!("csi.example.com");
    class["reclaimPolicy"] = json!("Delete");
    class["volumeBindingMode"] = json!("Immediate");
    class
}

/// A volume of a path of its node, for a claim of `prod`.
pub(crate) fn host_path(name: &str, class: &str, claim: &str, path: &str) -> Value {
    with_spec(
        stored("v1", "PersistentVolume", "", name),
        json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "storageClassName": class,
            "hostPath": {"path": path},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "prod", "name": claim,
                "uid": "old-uid", "resourceVersion": "3"}}),
    )
}

/// A pod that mounts this claim as volume `data`.
pub(crate) fn mounting(name: &str, claim: &str) -> Value {
    with_spec(
        stored("v1", "Pod", "prod", name),
        json!({"containers": [{"name": "db", "image": "db:1", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}],
            "nodeName": "node-1", "nodeSelector": {"disk": "ssd"},
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}),
    )
}

/// A stateful set `name` that makes claims `data-<name>-<n>`.
pub(crate) fn stateful_set(name: &str) -> Value {
    let mut set = with_spec(
        stored("apps/v1", "StatefulSet", "prod", name),
        json!({"serviceName": name, "selector": {"matchLabels": {"app": name}}, "replicas": 1,
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "db", "image": "db:1"}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}}}}]}),
    );
    set["metadata"]["uid"] = json!(format!("uid-of-{name}"));
    set
}

/// A restore of the backup with this mover, into `copy` when mapped.
pub(crate) async fn restoring(
    world: &World,
    location: &Location,
    name: &str,
    mover: &Arc<Mover>,
) -> RestoreRequest {
    let options = options(mover);
    request(&world.cluster, location, name, |restore, given| {
        restore.metadata.uid = "restore-uid".to_owned();
        *given = options;
    })
    .await
}

pub(crate) fn options(mover: &Arc<Mover>) -> RestoreOptions {
    RestoreOptions {
        resource_timeout: std::time::Duration::from_secs(2),
        data_mover: Some(mover.clone()),
        data_location: "default".to_owned(),
        ..RestoreOptions::default()
    }
}

/// Goes on with restore `name`.
pub(crate) async fn resumed(
    world: &World,
    location: &Location,
    name: &str,
    mover: &Arc<Mover>,
) -> Result<RestoreOutcome, RestoreError> {
    let name = RestoreName::new(name).expect("valid");
    let (run, observer, cancel) = (
        RunId::generate(),
        Observer::none(),
        CancellationToken::new(),
    );
    Box::pin(resume(
        &world.cluster,
        location,
        &name,
        options(mover),
        &run,
        &observer,
        &cancel,
    ))
    .await
}
