//! A small cluster in this process, a location in memory, and an archive reader that shares no code with
//! the writer.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use salvor_api::name::BackupName;
use salvor_api::resource::{GroupResource, GroupVersion};
use salvor_api::velero::Backup;
use salvor_apiserver::{ApiServer, Options, ServerHandle};
use salvor_cluster::{
    ApiResource, Cluster, ConnectOptions, DeleteOptions, DiscoverOptions, Discovery, ListOptions,
    WriteOptions,
};
use salvor_location::{Location, Profile};
use salvor_objects::backup::{
    BackupError, BackupOptions, BackupOutcome, BackupRequest, ProgressSink, run,
};
use salvor_storage::{MemoryStore, ObjectStore, StoreUrl};
use serde_json::{Value, json};

use crate::backing::{self, Lease};

/// An in-process cluster and a client of it.
pub(crate) struct World {
    pub(crate) server: ApiServer,
    pub(crate) cluster: Cluster,
    /// What was discovered last; read anew when something is not in it.
    known: Mutex<Arc<Discovery>>,
    /// Keeps the server at its port where it is reached over one.
    _served: Option<(ServerHandle, tempfile::TempDir)>,
    lease: Lease,
}

impl World {
    /// An empty cluster, as a new one is.
    pub(crate) fn empty() -> Self {
        Self::with(Options {
            seed: Some(7),
            ..Options::default()
        })
    }

    /// An empty cluster with these settings.
    pub(crate) fn with(options: Options) -> Self {
        let server = ApiServer::memory(options);
        let (cluster, lease) = backing::cluster(&server);
        Self {
            server,
            cluster,
            known: Mutex::default(),
            _served: None,
            lease,
        }
    }

    /// An empty cluster that is reached over a port, for commands in pods.
    pub(crate) async fn served(options: Options) -> Self {
        let world = Self::with(options);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
        let handle = world.server.serve(listener.await.expect("a port"));
        let handle = handle.expect("an address");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config");
        std::fs::write(&path, handle.kubeconfig("test")).expect("a file");
        let options = ConnectOptions {
            kubeconfig: Some(path),
            ..ConnectOptions::default()
        };
        Self {
            cluster: Cluster::connect(&options).await.expect("connected"),
            _served: Some((handle, folder)),
            ..world
        }
    }

    /// A cluster with two applications, their RBAC, volumes, a CRD with custom resources; see
    /// [`platform`].
    pub(crate) async fn platform() -> Self {
        let world = Self::empty();
        for object in platform() {
            world.create(object).await;
        }
        world
    }

    pub(crate) async fn discovery(&self) -> Discovery {
        let options = DiscoverOptions { all_versions: true };
        self.cluster.discover(options).await.expect("discovery")
    }

    async fn look_up(
        &self,
        find: impl Fn(&Discovery) -> Option<&ApiResource>,
    ) -> Option<ApiResource> {
        let known = Arc::clone(&self.known.lock().expect("no test panics while it looks"));
        if let Some(found) = find(&known) {
            return Some(found.clone());
        }
        let fresh = Arc::new(self.discovery().await);
        let found = find(&fresh).cloned();
        *self.known.lock().expect("no test panics while it looks") = fresh;
        found
    }

    async fn resource_of(&self, object: &Value) -> ApiResource {
        let found = self.look_up(|known| find_kind(known, object)).await;
        found.unwrap_or_else(|| panic!("no such kind: {object}"))
    }

    /// A resource by any of its names.
    pub(crate) async fn resource(&self, name: &str) -> ApiResource {
        let found = self.look_up(|known| known.resolve(name)).await;
        found.unwrap_or_else(|| panic!("no resource {name}"))
    }

    /// Creates an object and returns it as stored.
    pub(crate) async fn create(&self, object: Value) -> Value {
        let resource = self.resource_of(&object).await;
        let namespace = object["metadata"]["namespace"].as_str();
        let body = object.to_string();
        let stored = self
            .cluster
            .create(
                &resource,
                namespace,
                body.as_bytes(),
                &WriteOptions::default(),
            )
            .await
            .unwrap_or_else(|error| panic!("create {object}: {error}"));
        backing::settled(&self.lease, &self.cluster, &object).await;
        serde_json::from_slice(&stored).expect("servers answer JSON")
    }

    /// The live object's bytes; `None` when it is not there.
    pub(crate) async fn get(
        &self,
        resource: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Bytes> {
        let resource = self.resource(resource).await;
        self.cluster
            .get(&resource, namespace, name)
            .await
            .expect("readable")
    }

    /// Asks for an object's deletion.
    pub(crate) async fn delete(&self, resource: &str, namespace: Option<&str>, name: &str) -> bool {
        let resource = self.resource(resource).await;
        self.cluster
            .delete(&resource, namespace, name, &DeleteOptions::default())
            .await
            .expect("deletable")
    }

    /// Every object of a resource, as the list shows them.
    pub(crate) async fn list(&self, resource: &str) -> Vec<Value> {
        let resource = self.resource(resource).await;
        let mut pager = self.cluster.pager(&resource, None, ListOptions::default());
        let mut all = Vec::new();
        while let Some(page) = pager.next_page().await.expect("listable") {
            all.extend(
                page.items()
                    .map(|i| serde_json::from_slice::<Value>(i).expect("JSON")),
            );
        }
        all
    }
}

/// The resource that an object is of.
pub(crate) fn find_kind<'a>(discovery: &'a Discovery, object: &Value) -> Option<&'a ApiResource> {
    let text = |field: &str| object[field].as_str().expect("objects have a type");
    discovery.find_kind(&GroupVersion::parse(text("apiVersion")), text("kind"))
}

/// A location in memory.
pub(crate) fn memory_location() -> Location {
    location_on(Arc::new(MemoryStore::new()))
}

/// A location on a store.
pub(crate) fn location_on(store: Arc<dyn ObjectStore>) -> Location {
    let profile = Profile {
        name: "default".to_owned(),
        url: StoreUrl::parse("memory://test").expect("a store in memory"),
        read_only: false,
    };
    Location::new(store, profile)
}

/// A backup of this name, changed by `change`.
pub(crate) fn request(name: &str, change: impl FnOnce(&mut Backup)) -> Backup {
    let mut backup = Backup::named("velero", name);
    change(&mut backup);
    backup
}

/// Makes a backup of the world.
pub(crate) async fn back_up(
    world: &World,
    location: &Location,
    backup: Backup,
) -> Result<BackupOutcome, BackupError> {
    back_up_cluster(&world.cluster, location, backup).await
}

/// Makes a backup of any cluster.
pub(crate) async fn back_up_cluster(
    cluster: &Cluster,
    location: &Location,
    backup: Backup,
) -> Result<BackupOutcome, BackupError> {
    let request = BackupRequest {
        cluster: cluster.clone(),
        location: location.clone(),
        backup,
        options: BackupOptions::default(),
    };
    run(request, ProgressSink::none()).await
}

/// A stored backup, read without our archive code.
pub(crate) struct Stored {
    /// Tar entries in order.
    pub(crate) entries: Vec<(String, Vec<u8>)>,
    files: BTreeMap<String, Bytes>,
    name: String,
}

impl Stored {
    pub(crate) async fn read(location: &Location, name: &str) -> Self {
        let backup = BackupName::new(name).expect("valid name");
        let mut files = BTreeMap::new();
        for file in [
            "velero-backup.json".to_owned(),
            "salvor-manifest.json".to_owned(),
            "salvor-index.zst".to_owned(),
            format!("{name}.tar.gz"),
            format!("{name}-logs.gz"),
            format!("{name}-results.gz"),
            format!("{name}-resource-list.json.gz"),
            format!("{name}-volumeinfo.json.gz"),
            format!("{name}-podvolumebackups.json.gz"),
            format!("{name}-volumesnapshots.json.gz"),
            format!("{name}-itemoperations.json.gz"),
        ] {
            let bytes = location
                .read_file(&backup, &file, 64 << 20)
                .await
                .expect("readable");
            files.insert(
                file.clone(),
                bytes.unwrap_or_else(|| panic!("{file} is missing")),
            );
        }
        let entries = untar(&gunzip(&files[&format!("{name}.tar.gz")]));
        Self {
            entries,
            files,
            name: name.to_owned(),
        }
    }

    /// Names of the objects in the archive, from the unversioned paths: `pods shop/web`, sorted.
    pub(crate) fn objects(&self) -> Vec<String> {
        let mut names: Vec<String> = self.objects_in_order();
        names.sort();
        names
    }

    /// The same, in the order of the archive.
    pub(crate) fn objects_in_order(&self) -> Vec<String> {
        let paths = self
            .entries
            .iter()
            .map(|(path, _)| path.split('/').collect::<Vec<_>>());
        paths
            .filter_map(|parts| match parts[..] {
                ["resources", resource, "cluster", file] => {
                    Some(format!("{resource} {}", file.strip_suffix(".json")?))
                }
                ["resources", resource, "namespaces", namespace, file] => Some(format!(
                    "{resource} {namespace}/{}",
                    file.strip_suffix(".json")?
                )),
                _ => None,
            })
            .collect()
    }

    /// True when the object is there.
    pub(crate) fn has(&self, object: &str) -> bool {
        self.objects().iter().any(|o| o == object)
    }

    /// Bytes of an entry.
    pub(crate) fn body(&self, path: &str) -> &[u8] {
        let found = self.entries.iter().find(|(p, _)| p == path);
        &found.unwrap_or_else(|| panic!("{path} is missing")).1
    }

    /// A JSON file beside the archive, without the backup's name: `resource-list.json.gz`.
    pub(crate) fn json(&self, file: &str) -> Value {
        let full = match file {
            "velero-backup.json" | "salvor-manifest.json" => file.to_owned(),
            _ => format!("{}-{file}", self.name),
        };
        let bytes = &self.files[&full];
        let text = if file.ends_with(".gz") {
            gunzip(bytes)
        } else {
            bytes.to_vec()
        };
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Lines of the log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = gunzip(&self.files[&format!("{}-logs.gz", self.name)]);
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).expect("a JSON line"))
            .collect()
    }
}

/// Gunzips all members.
pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .read_to_end(&mut out)
        .expect("sound gzip");
    out
}

/// Entries of a tar of plain files; long names come as PAX or GNU headers.
fn untar(mut tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = |field: &[u8]| {
        let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
        String::from_utf8(field[..end].to_vec()).expect("names are text")
    };
    let mut entries = Vec::new();
    let mut long_name: Option<String> = None;
    while tar.len() >= 512 && tar[..512].iter().any(|b| *b != 0) {
        let (header, rest) = tar.split_at(512);
        let size = usize::from_str_radix(text(&header[124..136]).trim(), 8).expect("octal size");
        let (body, after) = rest.split_at(size);
        tar = &after[size.next_multiple_of(512) - size..];
        let prefix = text(&header[345..500]);
        let short = text(&header[..100]);
        match header[156] {
            b'x' => {
                let records = String::from_utf8(body.to_vec()).expect("text");
                long_name = records
                    .lines()
                    .find_map(|line| line.split_once(" path=").map(|(_, path)| path.to_owned()));
            }
            b'L' => long_name = Some(text(body)),
            b'0' | 0 => {
                let name = long_name.take().unwrap_or(match prefix.as_str() {
                    "" => short,
                    prefix => format!("{prefix}/{short}"),
                });
                entries.push((name, body.to_vec()));
            }
            other => panic!("unexpected entry type {other}"),
        }
    }
    entries
}

/// The resource that `text` names.
pub(crate) fn group_resource(text: &str) -> GroupResource {
    text.parse().expect("a resource")
}

/// A ConfigMap.
pub(crate) fn config_map(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name},
        "data": {"key": "value"}})
}

/// A Namespace.
pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// The objects of [`World::platform`]: `shop` (a web application with a database, its service account and
/// roles, a claim bound to a volume, a custom resource) and `dev` (a ConfigMap), a CRD, and a cluster role
/// that nothing uses.
pub(crate) fn platform() -> Vec<Value> {
    let rbac = "rbac.authorization.k8s.io/v1";
    vec![
        namespace("shop"),
        namespace("dev"),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.io"},
            "spec": {"group": "example.io", "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": "high"}, "value": 1000}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-data"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "fast",
                "csi": {"driver": "csi.example.io", "volumeHandle": "h1"},
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "shop", "name": "data"}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-unused"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/tmp/x"}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": "shop", "name": "data", "labels": {"app": "db"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": "fast", "volumeName": "pv-data"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "shop", "name": "web"}}),
        json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": "shop-reader"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        json!({"apiVersion": rbac, "kind": "ClusterRole", "metadata": {"name": "unused"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        json!({"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": "shop-web"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "shop-reader"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "shop", "name": "web"}]}),
        json!({"apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": {"name": "others"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "unused"},
            "subjects": [{"kind": "ServiceAccount", "namespace": "elsewhere", "name": "web"}]}),
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": "db-0", "labels": {"app": "db"}},
            "spec": {"priorityClassName": "high", "serviceAccountName": "web",
                "containers": [{"name": "db", "image": "example.io/db:1"}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "example.io/web:1"}]}}}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "shop", "name": "settings", "labels": {"app": "web", "tier": "front"}},
            "data": {"greeting": "안녕하세요"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "password"},
            "stringData": {"password": "s3cret-value"}}),
        json!({"apiVersion": "example.io/v1", "kind": "Widget",
            "metadata": {"namespace": "shop", "name": "gear"}, "spec": {"teeth": 12}}),
        config_map("dev", "notes"),
    ]
}
