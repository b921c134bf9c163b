//! The server with the rights that `install` gives it, and none else, on a real API server with RBAC.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use salvor_cluster::{ApiResource, Look, WatchOptions, WriteOptions};
use serde_json::{Value, json};

use crate::clusters::{FIRST, Real, patience};
use crate::support::{Run, connect};

const NAMESPACE: &str = "install-e2e";
const SHOP: &str = "install-e2e-shop";

/// A running server; killed when dropped.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Of one that has ended already, both fail.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real API server, and a namespace of it with a server's kinds.
pub(crate) struct World {
    pub(crate) real: Real,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) namespace: &'static str,
}

pub(crate) fn known(api_version: &str, kind: &str, plural: &str, namespaced: bool) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::known(group, version, kind, plural, namespaced)
}

pub(crate) fn velero(kind: &str, plural: &str) -> ApiResource {
    known("velero.io/v1", kind, plural, true)
}

impl World {
    pub(crate) async fn create(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        object: Value,
    ) {
        let body = object.to_string();
        let options = WriteOptions::default();
        let made = self
            .real
            .cluster
            .create(resource, namespace, body.as_bytes(), &options)
            .await;
        made.expect("created");
    }

    pub(crate) async fn ask(&self, kind: &str, plural: &str, name: &str, spec: Value) {
        let object = json!({"apiVersion": "velero.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec});
        self.create(&velero(kind, plural), Some(self.namespace), object)
            .await;
    }

    pub(crate) async fn get(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Value {
        let found = self
            .real
            .cluster
            .get(resource, namespace, name)
            .await
            .expect("readable");
        found.map_or(Value::Null, |bytes| {
            serde_json::from_slice(&bytes).expect("JSON")
        })
    }

    /// Waits until an object is as `wanted`.
    pub(crate) async fn until(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let look = |object: Option<&Value>| match object {
            Some(object) if wanted(object) => Look::Done,
            seen => Look::NotYet(format!("{:?}", seen.map(|object| &object["status"]))),
        };
        self.wait(resource, Some(namespace), name, look).await
    }

    /// The same for what is in no namespace.
    pub(crate) async fn until_global(
        &self,
        resource: &ApiResource,
        name: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let look = |object: Option<&Value>| match object {
            Some(object) if wanted(object) => Look::Done,
            seen => Look::NotYet(format!("{seen:?}")),
        };
        self.wait(resource, None, name, look).await
    }

    async fn wait(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        look: impl Fn(Option<&Value>) -> Look,
    ) -> Value {
        let cluster = &self.real.cluster;
        let waited = cluster
            .wait_until(resource, namespace, name, &patience(), look)
            .await;
        let bytes = waited.expect("in time").expect("there");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Waits until a run has ended; its status.
    pub(crate) async fn ended(&self, kind: &str, plural: &str, name: &str) -> Value {
        let ends = ["Completed", "PartiallyFailed", "Failed", "FailedValidation"];
        let is_end = |object: &Value| ends.iter().any(|end| object["status"]["phase"] == *end);
        let object = self
            .until(&velero(kind, plural), self.namespace, name, is_end)
            .await;
        object["status"].clone()
    }

    /// A kubeconfig with the token that Kubernetes made for an account, and nothing else.
    pub(crate) async fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let accounts = known("v1", "ServiceAccount", "serviceaccounts", true);
        let has_secret = |account: &Value| account["secrets"][0]["name"].is_string();
        let account = self.until(&accounts, namespace, account, has_secret).await;
        let secrets = known("v1", "Secret", "secrets", true);
        let name = account["secrets"][0]["name"].as_str().expect("a name");
        let has_token = |secret: &Value| secret["data"]["token"].is_string();
        let secret = self.until(&secrets, namespace, name, has_token).await;
        let token = decode(secret["data"]["token"].as_str().expect("a token"));
        let text = std::fs::read_to_string(&self.real.kubeconfig).expect("a kubeconfig");
        let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
        config["users"][0]["user"] = json!({"token": token});
        let path = self
            .folder
            .path()
            .join(format!("kubeconfig-{namespace}-{name}"));
        std::fs::write(&path, config.to_string()).expect("written");
        path
    }

    /// `server` under another kubeconfig.
    pub(crate) fn server(&self, kubeconfig: &PathBuf, metrics: &str) -> Command {
        let line = format!("-n {} server --metrics-address={metrics}", self.namespace);
        let mut command = self.real.command("", &line);
        command.env("KUBECONFIG", kubeconfig).stdout(Stdio::null());
        command
    }

    async fn shop(&self) {
        let namespaces = ApiResource::namespaces();
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}});
        self.create(&namespaces, None, namespace).await;
        let config_maps = known("v1", "ConfigMap", "configmaps", true);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "settings"}, "data": {"k": "v"}});
        self.create(&config_maps, Some(SHOP), object).await;
        // It allows what no server may do.
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "strong"}, "rules": [
                {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate", "watch"]}]});
        self.create(&roles(), Some(SHOP), role).await;
    }

    async fn remove_shop(&self) {
        let (namespaces, cluster) = (ApiResource::namespaces(), &self.real.cluster);
        cluster
            .delete(&namespaces, None, SHOP, &Default::default())
            .await
            .expect("removable");
        cluster
            .wait_gone(&namespaces, None, SHOP, &patience())
            .await
            .expect("gone");
    }
}

fn roles() -> ApiResource {
    known("rbac.authorization.k8s.io/v1", "Role", "roles", true)
}

/// Base64 of a token is ASCII of ASCII.
fn decode(text: &str) -> String {
    let mut bits = 0u32;
    let (mut count, mut bytes) = (0, Vec::new());
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    String::from_utf8(bytes).expect("ASCII")
}

fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("metrics are served");
    let request = "GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_works_with_the_rights_that_install_gives_and_not_without() {
    let Some(real) = Real::connect(FIRST).await else {
        return;
    };
    let world = World {
        real,
        folder: tempfile::tempdir().expect("a folder"),
        namespace: NAMESPACE,
    };
    let store = world.folder.path().join("store");
    std::fs::create_dir(&store).expect("a folder");
    let install = |more: &str| {
        let path = store.display();
        let line = format!(
            "-n {NAMESPACE} install --provider salvor.dev/file --bucket backups \
             --backup-location-config path={path} --no-secret {more}"
        );
        world.real.run("", &line)
    };
    // With a second server there is a disruption budget, which 1.20 has in an older version only.
    let first = install("--replicas 2");
    assert!(
        first
            .expect(0)
            .contains(&format!("Deployment {NAMESPACE}/salvor created"))
    );
    // Nothing is created twice, and what may be somebody else's stays.
    let again = install("--replicas 2");
    assert!(!again.expect(0).contains("created"), "{}", again.out);
    let location = format!("BackupStorageLocation {NAMESPACE}/default is there already");
    assert!(again.out.contains(&location), "{}", again.out);
    world.shop().await;

    // An account without rights gets nothing.
    let nobody = world.kubeconfig_of(SHOP, "default").await;
    let refused: Run = world.server(&nobody, "").output().expect("runs").into();
    assert_ne!(refused.code, 0, "{}", refused.out);
    assert!(refused.err.contains("forbidden"), "{}", refused.err);
    let refused = world.real.command(
        "",
        "backup create b --include-namespaces default --location",
    );
    let refused: Run = { refused }
        .arg(format!("file://{}", store.join("nobody").display()))
        .env("KUBECONFIG", &nobody)
        .output()
        .expect("runs")
        .into();
    assert_ne!(refused.code, 0, "{}", refused.out);
    assert!(
        refused.err.contains("nothing could be read"),
        "{}",
        refused.err
    );

    let account = world.kubeconfig_of(NAMESPACE, "salvor").await;
    // Restore hooks follow pods in all namespaces.
    let pods = known("v1", "Pod", "pods", true);
    let as_server = connect(&account).await;
    let watched = as_server.watch(&pods, None, &WatchOptions::default()).await;
    drop(watched.expect("hooks may follow pods"));
    let metrics = free_address();
    let mut command = world.server(&account, &metrics.to_string());
    let _server = Server(command.stderr(Stdio::null()).spawn().expect("runs"));
    let locations = velero("BackupStorageLocation", "backupstoragelocations");
    let available = |object: &Value| object["status"]["phase"] == "Available";
    world
        .until(&locations, NAMESPACE, "default", available)
        .await;
    world
        .ask(
            "Backup",
            "backups",
            "shop",
            json!({"includedNamespaces": [SHOP]}),
        )
        .await;
    world.ask("Backup", "backups", "all", json!({})).await;
    for name in ["shop", "all"] {
        let status = world.ended("Backup", "backups", name).await;
        assert_eq!(status["phase"], "Completed", "{name}: {status}");
    }
    world.remove_shop().await;
    world
        .ask("Restore", "restores", "r1", json!({"backupName": "shop"}))
        .await;
    let status = world.ended("Restore", "restores", "r1").await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let role = world.get(&roles(), Some(SHOP), "strong").await;
    assert_eq!(role["rules"][0]["verbs"][0], "impersonate", "{role}");
    let text = scrape(metrics);
    assert!(
        text.contains("velero_restore_success_total{schedule=\"\"} 1"),
        "{text}"
    );
    assert!(!text.contains("code=\"403\""), "a right is missing: {text}");

    // With the smaller role the same server backs up and restores nothing.
    install("--role backup-only").expect(0);
    world.remove_shop().await;
    world
        .ask("Restore", "restores", "r2", json!({"backupName": "shop"}))
        .await;
    let status = world.ended("Restore", "restores", "r2").await;
    assert_ne!(status["phase"], "Completed", "{status}");
    let shop = world.get(&ApiResource::namespaces(), None, SHOP).await;
    assert_eq!(shop, Value::Null, "it was restored without the right to");
    world
        .ask(
            "Backup",
            "backups",
            "still",
            json!({"includedNamespaces": [NAMESPACE]}),
        )
        .await;
    let status = world.ended("Backup", "backups", "still").await;
    assert_eq!(status["phase"], "Completed", "{status}");

    let removed = world.real.run("", &format!("-n {NAMESPACE} uninstall"));
    assert_eq!(removed.code, 4, "it asks: {}", removed.err);
    let removed = world
        .real
        .run("", &format!("-n {NAMESPACE} uninstall --force"));
    assert!(
        removed
            .expect(0)
            .contains(&format!("Namespace {NAMESPACE} removed"))
    );
    for (resource, name) in [
        (ApiResource::namespaces(), NAMESPACE.to_owned()),
        (
            known(
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                "clusterroles",
                false,
            ),
            format!("salvor-{NAMESPACE}"),
        ),
        (
            known(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                "customresourcedefinitions",
                false,
            ),
            "backups.velero.io".to_owned(),
        ),
    ] {
        assert_eq!(
            world.get(&resource, None, &name).await,
            Value::Null,
            "{name}"
        );
    }
    let kept = store.join("backups/backups/shop/velero-backup.json");
    assert!(kept.exists(), "backups stay: {}", kept.display());
}
