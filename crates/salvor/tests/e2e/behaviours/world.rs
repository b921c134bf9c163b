//! A real API server with the definitions, a server at work, and a folder that is its default location.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use salvor_api::resource::GroupVersion;
use salvor_cluster::{ApiResource, DeleteOptions, Discovery, Look, WriteOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clusters::{Real, patience};
use crate::fixture::discover;

/// Namespace of the server.
pub(super) const SERVER: &str = "behaviours";

pub(super) struct World {
    pub(super) real: Real,
    /// What the location `default` is in.
    pub(super) folder: TempDir,
    known: tokio::sync::Mutex<Option<Discovery>>,
    server: Mutex<Option<Child>>,
    namespaces: Mutex<Vec<String>>,
}

impl World {
    /// Installs the definitions and starts a server.
    pub(super) async fn begin(real: Real) -> Self {
        real.run("", "install --crds-only").expect(0);
        let this = Self {
            real,
            folder: tempfile::tempdir().expect("a folder"),
            known: tokio::sync::Mutex::default(),
            server: Mutex::default(),
            namespaces: Mutex::default(),
        };
        this.namespace(SERVER).await;
        this.start();
        this.location("default", "default", true).await;
        this
    }

    pub(super) fn start(&self) {
        let line = format!(
            "-n {SERVER} server --concurrent-backups 4 --concurrent-restores 4 \
             --download-address 127.0.0.1:0 --backup-sync-period 1s --store-validation-frequency 1s --metrics-address 127.0.0.1:0"
        );
        let mut command = self.real.command("", &line);
        // For whoever looks for the reason of a failure.
        let log = std::env::var_os("SALVOR_E2E_SERVER_LOG").map_or_else(Stdio::null, |path| {
            Stdio::from(std::fs::File::create(path).expect("a log"))
        });
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("the binary runs");
        *self.server.lock().expect("not poisoned") = Some(child);
    }

    /// Ends the server as a node that lost power does.
    pub(super) fn kill(&self) {
        let child = self.server.lock().expect("not poisoned").take();
        if let Some(mut child) = child {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }

    /// Removes everything, also what cases have left.
    pub(super) async fn end(&self) {
        let kinds = ["restores", "backups", "schedules", "deletebackuprequests"];
        for plural in kinds {
            let names = self.names(plural).await;
            for name in &names {
                self.delete(plural, Some(SERVER), name).await;
            }
            if plural == "restores" {
                // Their finalizer is the server's.
                for name in &names {
                    self.gone(plural, Some(SERVER), name).await;
                }
            }
        }
        self.kill();
        let namespaces = self.namespaces.lock().expect("not poisoned").clone();
        for name in &namespaces {
            self.delete("namespaces", None, name).await;
        }
        for name in &namespaces {
            self.gone("namespaces", None, name).await;
        }
        for crd in salvor_api::crds::all() {
            self.delete("customresourcedefinitions", None, crd.name)
                .await;
            self.gone("customresourcedefinitions", None, crd.name).await;
        }
    }

    async fn names(&self, plural: &str) -> Vec<String> {
        let list = self.list(plural, Some(SERVER)).await;
        list.iter()
            .map(|object| {
                object["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    }

    /// Everything of a resource.
    pub(super) async fn list(&self, plural: &str, namespace: Option<&str>) -> Vec<Value> {
        let resource = self.resource(plural).await;
        let mut pager = self
            .real
            .cluster
            .pager(&resource, namespace, Default::default());
        let mut objects = Vec::new();
        while let Some(page) = pager.next_page().await.expect("listed") {
            objects.extend(
                page.items()
                    .map(|item| serde_json::from_slice::<Value>(item).expect("JSON")),
            );
        }
        objects
    }

    /// What is found among the resources of the cluster, which are asked for anew when it is not there.
    async fn found(&self, find: impl Fn(&Discovery) -> Option<ApiResource>) -> Option<ApiResource> {
        let mut known = self.known.lock().await;
        if let Some(resource) = known.as_ref().and_then(&find) {
            return Some(resource);
        }
        let discovery = discover(&self.real.cluster).await;
        find(known.insert(discovery))
    }

    pub(super) async fn resource(&self, name: &str) -> ApiResource {
        let velero = salvor_api::crds::all()
            .iter()
            .any(|crd| crd.name == format!("{name}.velero.io"));
        let name = match velero {
            true => format!("{name}.velero.io"),
            false => name.to_owned(),
        };
        let found = self.found(|known| known.resolve(&name).cloned()).await;
        found.unwrap_or_else(|| panic!("no {name}"))
    }

    /// A namespace that goes at the end.
    pub(super) async fn namespace(&self, name: &str) {
        self.labelled_namespace(name, json!({})).await;
    }

    pub(super) async fn labelled_namespace(&self, name: &str, labels: Value) {
        self.also_remove(name);
        let object = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": labels}});
        self.create(object).await;
    }

    /// Removes a namespace at the end that a restore makes.
    pub(super) fn also_remove(&self, name: &str) {
        let mut namespaces = self.namespaces.lock().expect("not poisoned");
        namespaces.push(name.to_owned());
    }

    /// Creates an object as it is; its status too when it has one.
    pub(super) async fn create(&self, object: Value) -> Value {
        let cluster = &self.real.cluster;
        let (version, kind) = (&object["apiVersion"], &object["kind"]);
        let version = GroupVersion::parse(version.as_str().expect("a version"));
        let kind = kind.as_str().expect("a kind");
        let resource = self.found(|known| known.find_kind(&version, kind).cloned());
        let resource = resource.await.unwrap_or_else(|| panic!("no {kind}"));
        let namespace = object["metadata"]["namespace"].as_str();
        let options = WriteOptions::default();
        let body = object.to_string();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        let made = loop {
            ticks.tick().await;
            let made = cluster.create(&resource, namespace, body.as_bytes(), &options);
            match made.await {
                Ok(made) => break made,
                // A pod right after its namespace, on old API servers.
                Err(error) if error.to_string().contains("retry after the token") => {}
                Err(error) => panic!("{error}: {object}"),
            }
        };
        let is_ours = resource.group == "velero.io";
        if let Some(status) = object.get("status").filter(|_| !is_ours) {
            let patch = json!({"status": status}).to_string();
            let name = object["metadata"]["name"].as_str().expect("a name");
            let written = cluster.merge_patch(
                &resource,
                namespace,
                name,
                Some("status"),
                patch.as_bytes(),
                &options,
            );
            written.await.expect("status written");
        }
        serde_json::from_slice(&made).expect("JSON")
    }

    pub(super) async fn patch(
        &self,
        plural: &str,
        namespace: Option<&str>,
        name: &str,
        patch: Value,
    ) {
        let resource = self.resource(plural).await;
        let options = WriteOptions::default();
        let text = patch.to_string();
        let cluster = &self.real.cluster;
        let done = cluster.merge_patch(&resource, namespace, name, None, text.as_bytes(), &options);
        done.await.expect("patched");
    }

    pub(super) async fn get(
        &self,
        plural: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Value> {
        let resource = self.resource(plural).await;
        let found = self.real.cluster.get(&resource, namespace, name).await;
        let bytes = found.expect("readable")?;
        Some(serde_json::from_slice(&bytes).expect("JSON"))
    }

    pub(super) async fn delete(&self, plural: &str, namespace: Option<&str>, name: &str) {
        let resource = self.resource(plural).await;
        let cluster = &self.real.cluster;
        let options = DeleteOptions::default();
        let done = cluster.delete(&resource, namespace, name, &options);
        done.await.expect("deleted");
    }

    pub(super) async fn gone(&self, plural: &str, namespace: Option<&str>, name: &str) {
        let resource = self.resource(plural).await;
        let cluster = &self.real.cluster;
        let patience = patience();
        let gone = cluster.wait_gone(&resource, namespace, name, &patience);
        gone.await.expect("gone");
    }

    /// Deletes a namespace and waits until it and all in it are gone.
    pub(super) async fn lose(&self, namespace: &str) {
        self.delete("namespaces", None, namespace).await;
        self.gone("namespaces", None, namespace).await;
    }

    /// Waits until an object of the server's is as wanted.
    pub(super) async fn until(
        &self,
        plural: &str,
        name: &str,
        done: impl Fn(&Value) -> bool,
    ) -> Value {
        let resource = self.resource(plural).await;
        let look = |object: Option<&Value>| match object {
            Some(object) if done(object) => Look::Done,
            other => Look::NotYet(format!("{:?}", other.map(|object| &object["status"]))),
        };
        let cluster = &self.real.cluster;
        let patience = patience();
        let found = cluster.wait_until(&resource, Some(SERVER), name, &patience, look);
        let bytes = found.await.expect("in time").expect("there");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Asks for one of Velero's kinds.
    pub(super) async fn ask(&self, kind: &str, name: &str, spec: Value) {
        let object = json!({"apiVersion": "velero.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": SERVER}, "spec": spec});
        self.create(object).await;
    }

    /// Makes a backup; its status at its end.
    pub(super) async fn backup(&self, name: &str, spec: Value) -> Value {
        self.ask("Backup", name, spec).await;
        self.ended("backups", name).await
    }

    /// Carries a restore out; its status at its end.
    pub(super) async fn restore(&self, name: &str, spec: Value) -> Value {
        self.ask("Restore", name, spec).await;
        self.ended("restores", name).await
    }

    pub(super) async fn ended(&self, plural: &str, name: &str) -> Value {
        let ended = self.until(plural, name, |object| {
            let phase = object["status"]["phase"].as_str().unwrap_or_default();
            ["Completed", "PartiallyFailed", "Failed", "FailedValidation"].contains(&phase)
        });
        ended.await["status"].clone()
    }

    /// A location in a folder of its own.
    pub(super) async fn location(&self, name: &str, folder: &str, default: bool) {
        let path = self.folder.path().join(folder);
        std::fs::create_dir_all(&path).expect("a folder");
        let spec = json!({"provider": "salvor.dev/file", "default": default,
            "objectStorage": {"bucket": folder}, "config": {"path": self.folder.path()}});
        self.ask("BackupStorageLocation", name, spec).await;
        self.until("backupstoragelocations", name, |object| {
            object["status"]["phase"] == "Available"
        })
        .await;
    }

    /// A file or folder of the default location.
    pub(super) fn stored(&self, path: &str) -> PathBuf {
        self.folder.path().join("default").join(path)
    }

    /// The archive of a backup as any other program sees it: path to content.
    pub(super) fn archive(&self, name: &str) -> BTreeMap<String, Value> {
        let into = tempfile::tempdir().expect("a folder");
        let archive = self.stored(&format!("backups/{name}/{name}.tar.gz"));
        tar(&["-xzf", &text(&archive), "-C", &text(into.path())]);
        let mut found = BTreeMap::new();
        collect(into.path(), into.path(), &mut found);
        found
    }

    /// Paths in the archive, in their order.
    pub(super) fn paths(&self, name: &str) -> Vec<String> {
        let archive = self.stored(&format!("backups/{name}/{name}.tar.gz"));
        let listed = tar(&["-tzf", &text(&archive)]);
        listed.lines().map(str::to_owned).collect()
    }

    /// A gzipped JSON file.
    pub(super) fn gzipped(&self, path: &str) -> Value {
        let output = Command::new("gzip")
            .arg("-dc")
            .arg(self.stored(path))
            .output()
            .expect("gzip runs");
        assert!(output.status.success(), "{path}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What was warned of and what failed in a restore or backup, in one text.
    pub(super) fn results(&self, path: &str) -> (String, String) {
        let results = self.gzipped(path);
        (
            results["warnings"].to_string(),
            results["errors"].to_string(),
        )
    }

    pub(super) fn restore_results(&self, name: &str) -> (String, String) {
        self.results(&format!("restores/{name}/restore-{name}-results.gz"))
    }

    pub(super) fn backup_results(&self, name: &str) -> (String, String) {
        self.results(&format!("backups/{name}/{name}-results.gz"))
    }

    /// A backup in Velero's format, made by hand: the archive's files, and changes to its record.
    pub(super) fn by_hand(&self, name: &str, files: &[(&str, Value)], record: Value) {
        let tree = tempfile::tempdir().expect("a folder");
        let mut contents = vec![("metadata/version", json!("1.1.0"))];
        contents.extend(files.iter().cloned());
        for (path, value) in &contents {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            std::fs::write(path, text).expect("written");
        }
        let folder = self.stored(&format!("backups/{name}"));
        std::fs::create_dir_all(&folder).expect("made");
        let archive = folder.join(format!("{name}.tar.gz"));
        let mut arguments = vec!["-czf".to_owned(), text(&archive)];
        arguments.extend(["-C".to_owned(), text(tree.path())]);
        let mut tops: Vec<String> = contents
            .iter()
            .map(|(path, _)| path.split('/').next().unwrap_or_default().to_owned())
            .collect();
        tops.sort();
        tops.dedup();
        arguments.extend(tops);
        tar(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let mut written = json!({
            "kind": "Backup", "apiVersion": "velero.io/v1",
            "metadata": {"name": name, "namespace": "velero",
                "labels": {"velero.io/storage-location": "default"}},
            "spec": {"includedNamespaces": ["*"], "ttl": "720h0m0s", "storageLocation": "default",
                "hooks": {}},
            "status": {"version": 1, "formatVersion": "1.1.0", "phase": "Completed",
                "startTimestamp": "2026-01-02T03:04:05Z",
                "completionTimestamp": "2026-01-02T03:04:15Z",
                "expiration": "2126-01-02T03:04:05Z"},
        });
        merge(&mut written, &record);
        // Written last, as Velero does.
        let path = folder.join("velero-backup.json");
        std::fs::write(path, written.to_string()).expect("written");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path").to_owned()
}

fn tar(arguments: &[&str]) -> String {
    let output = Command::new("tar")
        .args(arguments)
        .output()
        .expect("tar runs");
    assert!(
        output.status.success(),
        "tar {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, Value>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, found);
            continue;
        }
        let name = text(path.strip_prefix(root).expect("below"));
        let bytes = std::fs::read(&path).expect("readable");
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        found.insert(name, value);
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// A ConfigMap.
pub(super) fn config_map(namespace: &str, name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels}, "data": {"k": "v"}})
}

/// Where an object is in an archive.
pub(super) fn at(resource: &str, namespace: &str, name: &str) -> String {
    match namespace {
        "" => format!("resources/{resource}/cluster/{name}.json"),
        _ => format!("resources/{resource}/namespaces/{namespace}/{name}.json"),
    }
}
