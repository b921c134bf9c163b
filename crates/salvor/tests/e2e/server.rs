//! The server against a real API server: installed, killed, followed by another, stopped.

use std::process::{Child, Command, Stdio};

use salvor_cluster::{ApiResource, Look, WriteOptions};
use serde_json::{Value, json};

use crate::clusters::{FIRST, Real, patience};

const NAMESPACE: &str = "server-e2e";
const SHOP: &str = "server-e2e-shop";

/// A running `salvor server`; killed when dropped.
struct Server(Child);

impl Server {
    fn start(real: &Real) -> Self {
        let mut command = real.command("", &format!("-n {NAMESPACE} server"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the binary runs"))
    }

    /// Ends it as a node that lost power does.
    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }

    /// Ends it as a kubelet does; its exit code.
    fn terminate(mut self) -> Option<i32> {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill runs").success());
        self.0.wait().expect("ended").code()
    }
}

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

fn config_maps() -> ApiResource {
    ApiResource::known("", "v1", "ConfigMap", "configmaps", true)
}

async fn create(real: &Real, resource: &ApiResource, namespace: Option<&str>, object: Value) {
    let made = real
        .cluster
        .create(
            resource,
            namespace,
            object.to_string().as_bytes(),
            &WriteOptions::default(),
        )
        .await;
    made.expect("created");
}

/// Creates one of Velero's kinds.
async fn ask(real: &Real, resource: &ApiResource, name: &str, spec: Value) {
    let object = json!({"apiVersion": "velero.io/v1", "kind": resource.kind,
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
    create(real, resource, Some(NAMESPACE), object).await;
}

/// Waits until the status of an object has this phase.
async fn until(real: &Real, resource: &ApiResource, name: &str, phase: &str) {
    let look = |object: Option<&Value>| {
        let status = object.map(|object| &object["status"]);
        match status.and_then(|status| status["phase"].as_str()) {
            Some(found) if found == phase => Look::Done,
            _ => Look::NotYet(format!("{status:?}")),
        }
    };
    let waited = real
        .cluster
        .wait_until(resource, Some(NAMESPACE), name, &patience(), look)
        .await;
    waited.expect("in time");
}

async fn remove(real: &Real, resource: &ApiResource, name: &str) {
    let removed = real
        .cluster
        .delete(resource, None, name, &Default::default())
        .await;
    removed.expect("removable");
    let gone = real
        .cluster
        .wait_gone(resource, None, name, &patience())
        .await;
    gone.expect("gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_veleros_place_and_another_takes_over_when_it_dies() {
    let Some(real) = Real::connect(FIRST).await else {
        return;
    };
    let installed = real.run("", "install --crds-only");
    let definitions = installed.expect(0).lines().count();
    assert_eq!(definitions, salvor_api::crds::all().len());
    let again = real.run("", "install --crds-only");
    assert!(!again.expect(0).contains("created"), "{}", again.out);

    let namespaces = ApiResource::namespaces();
    for name in [NAMESPACE, SHOP] {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        create(&real, &namespaces, None, namespace).await;
    }
    for number in 0..20 {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("c{number}")}, "data": {"k": "v"}});
        create(&real, &config_maps(), Some(SHOP), object).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let locations = velero("BackupStorageLocation", "backupstoragelocations");
    let spec = json!({"provider": "salvor.dev/file", "default": true,
        "objectStorage": {"bucket": "backups"}, "config": {"path": folder.path()}});
    ask(&real, &locations, "folder", spec).await;

    let backups = velero("Backup", "backups");
    let server = Server::start(&real);
    until(&real, &locations, "folder", "Available").await;
    ask(&real, &backups, "b1", json!({"includedNamespaces": [SHOP]})).await;
    until(&real, &backups, "b1", "Completed").await;

    // Nobody gives the lease up: the next one waits until it is nobody's.
    server.kill();
    ask(&real, &backups, "b2", json!({"includedNamespaces": [SHOP]})).await;
    let server = Server::start(&real);
    until(&real, &backups, "b2", "Completed").await;

    remove(&real, &namespaces, SHOP).await;
    let restores = velero("Restore", "restores");
    ask(&real, &restores, "r1", json!({"backupName": "b2"})).await;
    until(&real, &restores, "r1", "Completed").await;
    for number in 0..20 {
        let name = format!("c{number}");
        let found = real.cluster.get(&config_maps(), Some(SHOP), &name).await;
        assert!(found.expect("readable").is_some(), "{name} is not back");
    }
    // Its finalizer takes its records out of the location: without a server it would stay.
    let deleted = real
        .cluster
        .delete(&restores, Some(NAMESPACE), "r1", &Default::default())
        .await;
    deleted.expect("removable");
    let gone = real
        .cluster
        .wait_gone(&restores, Some(NAMESPACE), "r1", &patience())
        .await;
    gone.expect("gone");
    assert_eq!(server.terminate(), Some(0));

    for name in [SHOP, NAMESPACE] {
        remove(&real, &namespaces, name).await;
    }
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
