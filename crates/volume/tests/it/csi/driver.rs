//! A stand-in for the snapshot controller and a CSI driver with its sidecars: it speaks the objects of the published
//! definitions and keeps a storage that is a map. It is no driver: nothing is stored.
//!
//! It looks at everything of its driver again and again and does what there is to do, as controllers do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use salvor_cluster::{ApiResource, Cluster, DeleteOptions, ErrorKind, ListOptions, WriteOptions};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const FINALIZER: &str = "snapshot.storage.kubernetes.io/stand-in-protection";
const BOUND: &str = "snapshot.storage.kubernetes.io/volumesnapshotcontent-bound-protection";
const GROUP_FINALIZER: &str =
    "groupsnapshot.storage.kubernetes.io/volumesnapshot-in-group-protection";
pub(crate) const SIZE: u64 = 2 << 30;
/// When every snapshot was taken: contents say it in nanoseconds, snapshots as a date.
const TAKEN_NANOSECONDS: u64 = 1_700_000_000_000_000_000;
const TAKEN: &str = "2023-11-14T22:13:20Z";

/// How the driver answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Mood {
    #[default]
    Works,
    /// So many looks pass before a snapshot has a handle.
    Slow(u32),
    /// Has handles at once; so many looks pass before a snapshot can be used.
    SlowReady(u32),
    /// The first answer for each snapshot is this error.
    FailsOnce(String),
    /// Every answer is this error.
    Fails(String),
    /// There is no answer.
    Silent,
    /// Claims get no volumes, as under classes that wait for a pod.
    WaitsForPod,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    /// Snapshots of the storage: handle, and volume that it was taken of.
    storage: BTreeMap<String, String>,
    /// Volumes of the storage that were made of snapshots.
    volumes: BTreeMap<String, String>,
    looks: BTreeMap<String, u32>,
    failed: BTreeSet<String>,
    number: u32,
}

/// The driver. It stops when it is dropped.
pub(crate) struct Driver {
    pub(crate) name: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Driver {
    pub(crate) fn start(cluster: &Cluster, name: &str) -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let controller = Controller {
            cluster: cluster.clone(),
            driver: name.to_owned(),
            state: Arc::clone(&state),
        };
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(15));
            loop {
                tick.tick().await;
                // A conflict, or an object that went meanwhile: the next look sees.
                let _ = controller.look().await;
            }
        });
        Self {
            name: name.to_owned(),
            state,
            task,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it looks")
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Gives the storage a snapshot, as if an earlier cluster had taken it.
    pub(crate) fn keep(&self, handle: &str) {
        let mut state = self.state();
        state.storage.insert(handle.to_owned(), String::new());
    }

    /// Handles of the snapshots that the storage has.
    pub(crate) fn handles(&self) -> Vec<String> {
        self.state().storage.keys().cloned().collect()
    }

    /// The snapshot that a volume was made of.
    pub(crate) fn made_of(&self, volume: &str) -> Option<String> {
        self.state().volumes.get(volume).cloned()
    }

    /// Number of volumes that were made of snapshots and are there.
    pub(crate) fn volumes(&self) -> usize {
        self.state().volumes.len()
    }
}

pub(crate) fn resource(kind: &str) -> ApiResource {
    let (group, version, plural, namespaced) = match kind {
        "PersistentVolume" => ("", "v1", "persistentvolumes", false),
        "PersistentVolumeClaim" => ("", "v1", "persistentvolumeclaims", true),
        "Namespace" => ("", "v1", "namespaces", false),
        "StorageClass" => ("storage.k8s.io", "v1", "storageclasses", false),
        "CustomResourceDefinition" => (
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            false,
        ),
        "DataUpload" => ("velero.io", "v2alpha1", "datauploads", true),
        kind => {
            let plural = match kind.strip_suffix("Class") {
                Some(_) => format!("{}es", kind.to_lowercase()),
                None => format!("{}s", kind.to_lowercase()),
            };
            let (group, version) = match kind.contains("Group") {
                true => ("groupsnapshot.storage.k8s.io", "v1beta1"),
                false => ("snapshot.storage.k8s.io", "v1"),
            };
            let namespaced = matches!(kind, "VolumeSnapshot" | "VolumeGroupSnapshot");
            return ApiResource::known(group, version, kind, &plural, namespaced);
        }
    };
    ApiResource::known(group, version, kind, plural, namespaced)
}

/// Names a folder with the published definitions as JSON, for a run against a real API server, which checks objects by
/// them.
const PUBLISHED: &str = "SALVOR_SNAPSHOT_CRDS";

fn published() -> Option<Vec<Value>> {
    let folder = std::env::var_os(PUBLISHED)?;
    let files = std::fs::read_dir(&folder).expect("the folder of definitions");
    let paths = files.map(|file| file.expect("readable").path());
    let definitions = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let read = |path| std::fs::read(path).expect("readable");
    let parsed = definitions.map(|path| serde_json::from_slice(&read(path)).expect("JSON"));
    Some(parsed.collect())
}

/// The definitions of the snapshot kinds, as far as names, versions and subresources go; or those of [`PUBLISHED`].
pub(crate) fn definitions() -> Vec<Value> {
    if let Some(definitions) = published() {
        return definitions;
    }
    let kinds = [
        "VolumeSnapshot",
        "VolumeSnapshotContent",
        "VolumeSnapshotClass",
        "VolumeGroupSnapshot",
        "VolumeGroupSnapshotContent",
        "VolumeGroupSnapshotClass",
    ];
    let definition = |kind: &str| {
        let resource = resource(kind);
        let scope = if resource.namespaced {
            "Namespaced"
        } else {
            "Cluster"
        };
        let subresources = match kind.ends_with("Class") {
            true => json!({}),
            false => json!({"status": {}}),
        };
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{}", resource.resource, resource.group),
                // Groups that end in k8s.io are guarded: they say that their definitions were reviewed.
                "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in of a test"}},
            "spec": {"group": resource.group, "scope": scope,
                "names": {"plural": resource.resource, "singular": resource.singular, "kind": kind,
                    "listKind": format!("{kind}List")},
                "versions": [{"name": resource.version, "served": true, "storage": true, "subresources": subresources,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
    };
    kinds.into_iter().map(definition).collect()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

type Done = Result<(), salvor_cluster::Error>;

struct Controller {
    cluster: Cluster,
    driver: String,
    state: Arc<Mutex<State>>,
}

/// What the driver says to a request.
enum Answer {
    Yes,
    Error(String),
    Nothing,
}

impl Controller {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it looks")
    }

    async fn look(&self) -> Done {
        let classes = self.list("VolumeSnapshotClass").await?;
        let mut policies = BTreeMap::new();
        for class in classes
            .iter()
            .filter(|class| class["driver"] == self.driver)
        {
            policies.insert(text(class, "/metadata/name").to_owned(), class.clone());
        }
        for group in self.list("VolumeGroupSnapshot").await? {
            self.group(&group).await?;
        }
        let contents = self.list("VolumeSnapshotContent").await?;
        for content in contents
            .iter()
            .filter(|one| one["spec"]["driver"] == self.driver)
        {
            self.content(content).await?;
        }
        for snapshot in self.list("VolumeSnapshot").await? {
            self.snapshot(&snapshot, &policies).await?;
        }
        let volumes = self.list("PersistentVolume").await?;
        let claims = self.list("PersistentVolumeClaim").await?;
        for claim in &claims {
            self.claim(claim).await?;
        }
        for volume in &volumes {
            self.volume(volume, &claims).await?;
        }
        Ok(())
    }

    async fn snapshot(&self, snapshot: &Value, classes: &BTreeMap<String, Value>) -> Done {
        let metadata = &snapshot["metadata"];
        let uid = text(metadata, "/uid");
        let named = text(snapshot, "/spec/source/volumeSnapshotContentName");
        let content_name = match named {
            "" => format!("snapcontent-{uid}"),
            named => named.to_owned(),
        };
        let content = self
            .read("VolumeSnapshotContent", None, &content_name)
            .await?;
        let class = classes.get(text(snapshot, "/spec/volumeSnapshotClassName"));
        let ours = content
            .as_ref()
            .is_some_and(|one| one["spec"]["driver"] == self.driver);
        let ours = ours || (named.is_empty() && class.is_some());
        if is_going(snapshot) {
            return self.snapshot_goes(snapshot, content.as_ref()).await;
        }
        if !ours {
            return Ok(());
        }
        if metadata["finalizers"].as_array().is_none_or(Vec::is_empty) {
            let held = json!({"metadata": {"finalizers": [FINALIZER]}});
            self.patch("VolumeSnapshot", snapshot, None, &held).await?;
        }
        let reference = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
            "namespace": metadata["namespace"], "name": metadata["name"], "uid": uid});
        let Some(content) = content else {
            let (Some(class), true) = (class, named.is_empty()) else {
                return Ok(());
            };
            return self.begin(snapshot, class, &content_name, &reference).await;
        };
        if text(&content, "/spec/volumeSnapshotRef/uid").is_empty() {
            let bound = json!({"spec": {"volumeSnapshotRef": reference}});
            self.patch("VolumeSnapshotContent", &content, None, &bound)
                .await?;
        }
        let mut status = json!({"boundVolumeSnapshotContentName": content_name});
        for field in ["readyToUse", "error"] {
            status[field] = content["status"][field].clone();
        }
        if !content["status"]["creationTime"].is_null() {
            status["creationTime"] = TAKEN.into();
        }
        if let Some(size) = content["status"]["restoreSize"].as_u64() {
            status["restoreSize"] = size.to_string().into();
        }
        if !covers(&snapshot["status"], &status) {
            let status = json!({"status": status});
            self.patch("VolumeSnapshot", snapshot, Some("status"), &status)
                .await?;
        }
        Ok(())
    }

    async fn snapshot_goes(&self, snapshot: &Value, content: Option<&Value>) -> Done {
        let finalizers = snapshot["metadata"]["finalizers"].as_array();
        let ours = finalizers.is_some_and(|list| list.iter().any(|one| *one == FINALIZER));
        if let Some(content) = content
            && content["spec"]["driver"] == self.driver
            && content["spec"]["deletionPolicy"] == "Delete"
        {
            return self.delete("VolumeSnapshotContent", content).await;
        }
        match ours {
            true => {
                let free = json!({"metadata": {"finalizers": []}});
                self.patch("VolumeSnapshot", snapshot, None, &free).await
            }
            false => Ok(()),
        }
    }

    /// Makes the content of a new snapshot.
    async fn begin(&self, snapshot: &Value, class: &Value, name: &str, reference: &Value) -> Done {
        if self.state().mood == Mood::Silent {
            return Ok(());
        }
        let claim = text(snapshot, "/spec/source/persistentVolumeClaimName");
        let namespace = text(snapshot, "/metadata/namespace");
        let claim = self
            .read("PersistentVolumeClaim", Some(namespace), claim)
            .await?;
        let volume = claim
            .as_ref()
            .map_or("", |claim| text(claim, "/spec/volumeName"));
        let object = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent",
            "metadata": {"name": name, "finalizers": [BOUND]},
            "spec": {"driver": self.driver, "deletionPolicy": class["deletionPolicy"],
                "volumeSnapshotClassName": class["metadata"]["name"],
                "source": {"volumeHandle": volume}, "volumeSnapshotRef": reference}});
        self.create("VolumeSnapshotContent", &object).await
    }

    async fn content(&self, content: &Value) -> Done {
        let uid = text(content, "/metadata/uid").to_owned();
        if is_going(content) {
            if content["spec"]["deletionPolicy"] == "Delete" {
                let handle = match text(content, "/status/snapshotHandle") {
                    "" => text(content, "/spec/source/snapshotHandle"),
                    handle => handle,
                };
                self.state().storage.remove(handle);
            }
            let free = json!({"metadata": {"finalizers": []}});
            return self
                .patch("VolumeSnapshotContent", content, None, &free)
                .await;
        }
        if content["metadata"]["finalizers"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            let held = json!({"metadata": {"finalizers": [BOUND]}});
            return self
                .patch("VolumeSnapshotContent", content, None, &held)
                .await;
        }
        let given = text(content, "/spec/source/snapshotHandle");
        if content["status"]["readyToUse"] == true {
            return Ok(());
        }
        let status = if given.is_empty() {
            self.take(content, &uid)
        } else {
            let known = self.state().storage.contains_key(given);
            Some(match known {
                true => {
                    json!({"snapshotHandle": given, "readyToUse": true, "restoreSize": SIZE, "error": null})
                }
                false => json!({"readyToUse": false, "error": {"message":
                    format!("rpc error: code = NotFound desc = no snapshot {given}")}}),
            })
        };
        match status.filter(|status| !covers(&content["status"], status)) {
            Some(status) => {
                let status = json!({"status": status});
                self.patch("VolumeSnapshotContent", content, Some("status"), &status)
                    .await
            }
            None => Ok(()),
        }
    }

    /// The state of a content whose snapshot is to be taken, as the driver sees it now.
    fn take(&self, content: &Value, uid: &str) -> Option<Value> {
        let has_handle = !text(content, "/status/snapshotHandle").is_empty();
        let answer = self.answer(uid, has_handle);
        let mut state = self.state();
        match answer {
            Answer::Nothing => None,
            Answer::Error(message) => {
                Some(json!({"readyToUse": false, "error": {"message": message}}))
            }
            Answer::Yes => {
                let handle = match text(content, "/status/snapshotHandle") {
                    "" => {
                        state.number += 1;
                        format!("{}-snap-{}", self.driver, state.number)
                    }
                    handle => handle.to_owned(),
                };
                let volume = text(content, "/spec/source/volumeHandle").to_owned();
                state.storage.insert(handle.clone(), volume);
                let ready = match state.mood {
                    Mood::SlowReady(looks) => {
                        state.looks.get(uid).is_some_and(|seen| *seen > looks)
                    }
                    _ => true,
                };
                Some(
                    json!({"snapshotHandle": handle, "readyToUse": ready, "restoreSize": SIZE, "error": null,
                    "creationTime": TAKEN_NANOSECONDS}),
                )
            }
        }
    }

    fn answer(&self, uid: &str, has_handle: bool) -> Answer {
        let mut state = self.state();
        let looks = state.looks.entry(uid.to_owned()).or_default();
        *looks += 1;
        let looks = *looks;
        match state.mood.clone() {
            Mood::Silent => Answer::Nothing,
            Mood::Slow(until) if looks <= until => Answer::Nothing,
            Mood::Fails(message) => Answer::Error(message),
            Mood::FailsOnce(message) if !has_handle && state.failed.insert(uid.to_owned()) => {
                Answer::Error(message)
            }
            _ => Answer::Yes,
        }
    }

    /// Gives a claim its volume.
    async fn claim(&self, claim: &Value) -> Done {
        if is_going(claim) || text(claim, "/spec/storageClassName") != self.driver {
            return Ok(());
        }
        let (namespace, name) = (&claim["metadata"]["namespace"], &claim["metadata"]["name"]);
        let source = text(claim, "/spec/dataSource/name");
        if text(claim, "/spec/volumeName").is_empty() && !source.is_empty() {
            if self.state().mood == Mood::WaitsForPod {
                return Ok(());
            }
            let snapshot = self
                .read("VolumeSnapshot", namespace.as_str(), source)
                .await?;
            // As provisioners do, which wait until it can be used.
            let ready = snapshot.filter(|one| one["status"]["readyToUse"] == true);
            let content = ready.as_ref().map_or("", |one| {
                text(one, "/status/boundVolumeSnapshotContentName")
            });
            if content.is_empty() {
                return Ok(());
            }
            let content = self.read("VolumeSnapshotContent", None, content).await?;
            let handle = content
                .as_ref()
                .map_or("", |one| text(one, "/status/snapshotHandle"));
            let volume = format!("pvc-{}", text(claim, "/metadata/uid"));
            self.state()
                .volumes
                .insert(volume.clone(), handle.to_owned());
            let reference = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace,
                "name": name, "uid": claim["metadata"]["uid"]});
            let mode = claim["spec"]["volumeMode"].as_str().unwrap_or("Filesystem");
            let object = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
                "spec": {"capacity": claim["spec"]["resources"]["requests"], "accessModes": claim["spec"]["accessModes"],
                    "storageClassName": self.driver, "persistentVolumeReclaimPolicy": "Retain", "claimRef": reference,
                    "volumeMode": mode, "csi": {"driver": self.driver, "volumeHandle": volume}}});
            self.create("PersistentVolume", &object).await?;
            let bound = json!({"spec": {"volumeName": volume}});
            return self
                .patch("PersistentVolumeClaim", claim, None, &bound)
                .await;
        }
        if !text(claim, "/spec/volumeName").is_empty() && text(claim, "/status/phase") != "Bound" {
            let bound = json!({"status": {"phase": "Bound"}});
            return self
                .patch("PersistentVolumeClaim", claim, Some("status"), &bound)
                .await;
        }
        Ok(())
    }

    /// Removes the volume of a claim that is gone, where its policy says so.
    async fn volume(&self, volume: &Value, claims: &[Value]) -> Done {
        let claim = &volume["spec"]["claimRef"]["uid"];
        let lives = claims.iter().any(|one| one["metadata"]["uid"] == *claim);
        let ours = volume["spec"]["csi"]["driver"] == self.driver;
        if !ours
            || lives
            || claim.is_null()
            || volume["spec"]["persistentVolumeReclaimPolicy"] != "Delete"
        {
            return Ok(());
        }
        self.state().volumes.remove(text(volume, "/metadata/name"));
        self.delete("PersistentVolume", volume).await
    }

    async fn group(&self, group: &Value) -> Done {
        let class = text(group, "/spec/volumeGroupSnapshotClassName");
        let class = self.read("VolumeGroupSnapshotClass", None, class).await?;
        let Some(class) = class.filter(|class| class["driver"] == self.driver) else {
            return Ok(());
        };
        let metadata = &group["metadata"];
        let name = format!("groupsnapcontent-{}", text(metadata, "/uid"));
        let content = self.read("VolumeGroupSnapshotContent", None, &name).await?;
        if is_going(group) {
            return Ok(());
        }
        // A group that is there is not added to.
        if self.state().mood == Mood::Silent || group["status"]["readyToUse"] == true {
            return Ok(());
        }
        if content.is_none() {
            let object = json!({"apiVersion": "groupsnapshot.storage.k8s.io/v1beta1", "kind": "VolumeGroupSnapshotContent",
                "metadata": {"name": name},
                "spec": {"driver": self.driver, "deletionPolicy": class["deletionPolicy"],
                    "source": {"volumeHandles": []}, "volumeGroupSnapshotRef": {
                        "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}}});
            self.create("VolumeGroupSnapshotContent", &object).await?;
        }
        let members: Vec<Value> = self.list("VolumeSnapshot").await?;
        let members: Vec<Value> = members
            .into_iter()
            .filter(|one| one["metadata"]["ownerReferences"][0]["uid"] == metadata["uid"])
            .collect();
        let selector = group["spec"]["source"]["selector"]["matchLabels"].as_object();
        let mut missing = 0;
        for claim in self.list("PersistentVolumeClaim").await? {
            let labels = &claim["metadata"]["labels"];
            let selected =
                selector.is_some_and(|all| all.iter().all(|(key, value)| labels[key] == *value));
            let there = members.iter().any(|one| {
                one["spec"]["source"]["persistentVolumeClaimName"] == claim["metadata"]["name"]
            });
            if !selected || there || claim["metadata"]["namespace"] != metadata["namespace"] {
                continue;
            }
            missing += 1;
            let owner = json!({"apiVersion": "groupsnapshot.storage.k8s.io/v1beta1", "kind": "VolumeGroupSnapshot",
                "name": metadata["name"], "uid": metadata["uid"]});
            let short: String = text(&claim, "/metadata/uid").chars().take(8).collect();
            let snapshot = json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
                "metadata": {"namespace": metadata["namespace"], "name": format!("snapshot-{short}"),
                    "ownerReferences": [owner], "finalizers": [FINALIZER, GROUP_FINALIZER]},
                "spec": {"source": {"persistentVolumeClaimName": claim["metadata"]["name"]},
                    "volumeSnapshotClassName": text(&class, "/metadata/name")}});
            self.create("VolumeSnapshot", &snapshot).await?;
        }
        let ready = missing == 0
            && members
                .iter()
                .all(|one| one["status"]["readyToUse"] == true);
        if ready {
            let handle = json!({"status": {"volumeGroupSnapshotHandle": format!("{name}-handle")}});
            let content = json!({"metadata": {"name": name}});
            self.patch(
                "VolumeGroupSnapshotContent",
                &content,
                Some("status"),
                &handle,
            )
            .await?;
            let status = json!({"status": {"readyToUse": true, "boundVolumeGroupSnapshotContentName": name}});
            self.patch("VolumeGroupSnapshot", group, Some("status"), &status)
                .await?;
        }
        Ok(())
    }

    async fn list(&self, kind: &str) -> Result<Vec<Value>, salvor_cluster::Error> {
        let resource = resource(kind);
        let mut pager = self.cluster.pager(&resource, None, ListOptions::default());
        let mut all = Vec::new();
        while let Some(page) = pager.next_page().await? {
            all.extend(
                page.items()
                    .map(|one| serde_json::from_slice::<Value>(one).expect("JSON")),
            );
        }
        Ok(all)
    }

    async fn read(
        &self,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, salvor_cluster::Error> {
        if name.is_empty() {
            return Ok(None);
        }
        let body = self.cluster.get(&resource(kind), namespace, name).await?;
        Ok(body.map(|body| serde_json::from_slice(&body).expect("JSON")))
    }

    async fn create(&self, kind: &str, object: &Value) -> Done {
        let namespace = object["metadata"]["namespace"].as_str();
        let body = object.to_string();
        let options = WriteOptions::default();
        let made = self
            .cluster
            .create(&resource(kind), namespace, body.as_bytes(), &options)
            .await;
        match made {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    async fn patch(&self, kind: &str, object: &Value, sub: Option<&str>, patch: &Value) -> Done {
        let namespace = object["metadata"]["namespace"].as_str();
        let name = text(object, "/metadata/name");
        let (body, options) = (patch.to_string(), WriteOptions::default());
        self.cluster
            .merge_patch(
                &resource(kind),
                namespace,
                name,
                sub,
                body.as_bytes(),
                &options,
            )
            .await
            .map(drop)
    }

    async fn delete(&self, kind: &str, object: &Value) -> Done {
        let namespace = object["metadata"]["namespace"].as_str();
        let name = text(object, "/metadata/name");
        self.cluster
            .delete(&resource(kind), namespace, name, &DeleteOptions::default())
            .await
            .map(drop)
    }
}

/// Whether a status says everything of another.
fn covers(has: &Value, wanted: &Value) -> bool {
    let fields = wanted.as_object().into_iter().flatten();
    fields
        .into_iter()
        .all(|(field, value)| has[field] == *value)
}
