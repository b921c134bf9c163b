//! Strict mode on a real API server, which asks the server's webhook and decides by RBAC: who may only create
//! Restores does not become cluster-admin through the server.

use std::net::SocketAddr;
use std::process::Stdio;

use salvor_cluster::{Cluster, ErrorKind, WriteOptions};
use serde_json::{Value, json};

use crate::clusters::{FIRST, Real};
use crate::install::{Server, World, free_address, known, velero};
use crate::support::connect;

const NAMESPACE: &str = "tenancy-e2e";
const SHOP: &str = "tenancy-e2e-shop";
/// The binding that makes the tenant mighty; it is in the backup.
const MIGHTY: &str = "tenancy-e2e-mighty";
const REQUESTED_BY: &str = "salvor.dev/requested-by";
const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn bindings() -> salvor_cluster::ApiResource {
    known(RBAC, "ClusterRoleBinding", "clusterrolebindings", false)
}

fn webhooks() -> salvor_cluster::ApiResource {
    let version = "admissionregistration.k8s.io/v1";
    known(
        version,
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    )
}

/// Gives the tenant everything.
fn binding(name: &str) -> Value {
    json!({"apiVersion": RBAC, "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": {"e2e": "tenancy"}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": SHOP}]})
}

/// Namespace, account and rights of a tenant who may ask the server for restores, and for nothing else.
async fn tenant(world: &World) {
    let namespaces = salvor_cluster::ApiResource::namespaces();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP}});
    world.create(&namespaces, None, namespace).await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tenant"}});
    let accounts = known("v1", "ServiceAccount", "serviceaccounts", true);
    world.create(&accounts, Some(SHOP), account).await;
    let role = json!({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": "tenant"}, "rules": [
        {"apiGroups": ["velero.io"], "resources": ["restores"],
         "verbs": ["get", "list", "watch", "create", "update", "patch"]}]});
    world
        .create(&known(RBAC, "Role", "roles", true), Some(NAMESPACE), role)
        .await;
    let bound = json!({"apiVersion": RBAC, "kind": "RoleBinding", "metadata": {"name": "tenant"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant"},
        "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": SHOP}]});
    let role_bindings = known(RBAC, "RoleBinding", "rolebindings", true);
    world.create(&role_bindings, Some(NAMESPACE), bound).await;
}

fn restore(name: &str) -> Value {
    json!({"apiVersion": "velero.io/v1", "kind": "Restore", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"backupName": "b1"}})
}

async fn ask(cluster: &Cluster, object: &Value) -> Result<Value, salvor_cluster::Error> {
    let restores = velero("Restore", "restores");
    let body = object.to_string();
    let options = WriteOptions::default();
    let made = cluster
        .create(&restores, Some(NAMESPACE), body.as_bytes(), &options)
        .await?;
    Ok(serde_json::from_slice(&made).expect("JSON"))
}

async fn patch(cluster: &Cluster, name: &str, patch: Value) -> Result<(), salvor_cluster::Error> {
    let (restores, options) = (velero("Restore", "restores"), WriteOptions::default());
    let body = patch.to_string();
    let patched = cluster.merge_patch(
        &restores,
        Some(NAMESPACE),
        name,
        None,
        body.as_bytes(),
        &options,
    );
    patched.await.map(drop)
}

struct Ports {
    admission: SocketAddr,
    downloads: SocketAddr,
    metrics: SocketAddr,
}

/// A server with the generated account, outside of the cluster.
async fn serve(world: &World, ports: &Ports) -> Server {
    let account = world.kubeconfig_of(NAMESPACE, "salvor").await;
    let mut command = world.server(&account, &ports.metrics.to_string());
    command
        .args(["--tls=generated", "--authorize-requests=strict"])
        .arg(format!(
            "--server-user=system:serviceaccount:{NAMESPACE}:salvor"
        ))
        .arg(format!("--admission-address={}", ports.admission))
        .arg(format!("--download-address={}", ports.downloads))
        .stderr(Stdio::null());
    Server(command.spawn().expect("runs"))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_only_create_restores_does_not_become_cluster_admin() {
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
    let installed = world.real.run(
        "",
        &format!(
            "-n {NAMESPACE} install --authorize-requests strict --provider salvor.dev/file --bucket backups \
             --backup-location-config path={} --no-secret",
            store.display()
        ),
    );
    installed.expect(0);
    let ports = Ports {
        admission: free_address(),
        downloads: free_address(),
        metrics: free_address(),
    };
    // No pod runs here: the API server asks a server outside.
    let name = format!("salvor-{NAMESPACE}");
    let mut configuration = world.get(&webhooks(), None, &name).await;
    configuration["webhooks"][0]["clientConfig"] =
        json!({"url": format!("https://{}", ports.admission)});
    let change = json!({"webhooks": configuration["webhooks"]}).to_string();
    let options = WriteOptions::default();
    let resource = webhooks();
    let changed =
        world
            .real
            .cluster
            .merge_patch(&resource, None, &name, None, change.as_bytes(), &options);
    changed.await.expect("changed");
    tenant(&world).await;
    let account = world.kubeconfig_of(SHOP, "tenant").await;
    let as_tenant = connect(&account).await;

    // While nobody records who asks, nothing can be asked for.
    let early = ask(&as_tenant, &restore("early"))
        .await
        .expect_err("refused");
    assert!(early.to_string().contains("webhook"), "{early}");

    let server = serve(&world, &ports).await;
    let filled = |object: &Value| {
        let config = &object["webhooks"][0]["clientConfig"];
        config["caBundle"].is_string() && config["url"].to_string().contains("/admission/")
    };
    world.until_global(&webhooks(), &name, filled).await;
    let available = |object: &Value| object["status"]["phase"] == "Available";
    let locations = velero("BackupStorageLocation", "backupstoragelocations");
    world
        .until(&locations, NAMESPACE, "default", available)
        .await;
    world.create(&bindings(), None, binding(MIGHTY)).await;
    let chosen = json!({"includeClusterResources": true, "labelSelector": {"matchLabels": {"e2e": "tenancy"}}});
    world.ask("Backup", "backups", "b1", chosen).await;
    let status = world.ended("Backup", "backups", "b1").await;
    assert_eq!(status["phase"], "Completed", "{status}");
    let removed = world
        .real
        .cluster
        .delete(&bindings(), None, MIGHTY, &Default::default())
        .await;
    removed.expect("removed");

    // The administrator's annotation is worth nothing on another's request.
    let mut harmless = restore("root");
    harmless["spec"]["includedResources"] = json!(["configmaps"]);
    let made = ask(&world.real.cluster, &harmless).await.expect("created");
    world.ended("Restore", "restores", "root").await;
    let stolen = made["metadata"]["annotations"][REQUESTED_BY].clone();
    assert!(stolen.is_string(), "{made}");
    let mut forged = restore("forged");
    forged["metadata"]["annotations"] = json!({REQUESTED_BY: stolen});
    forged["status"] = json!({"phase": "InProgress"});
    for object in [restore("plain"), forged] {
        let made = ask(&as_tenant, &object).await.expect("it may be asked");
        let user = format!("system:serviceaccount:{SHOP}:tenant");
        let says = made["metadata"]["annotations"][REQUESTED_BY]
            .as_str()
            .unwrap_or_default();
        assert!(says.contains(&user), "{made}");
        let name = object["metadata"]["name"].as_str().expect("a name");
        let status = world.ended("Restore", "restores", name).await;
        assert_eq!(status["phase"], "FailedValidation", "{status}");
        let said = status["validationErrors"].to_string();
        let lacks =
            format!("user `{user}` may not create clusterrolebindings.rbac.authorization.k8s.io");
        assert!(said.contains(&lacks), "{said}");
        let annotate = json!({"metadata": {"annotations": {REQUESTED_BY: stolen}}});
        let refused = patch(&as_tenant, name, annotate)
            .await
            .expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::WebhookDenied, "{refused}");
    }
    // What another asked for is one's own as soon as one changes it.
    let change =
        json!({"spec": {"includedResources": ["clusterrolebindings"]}, "status": {"phase": "New"}});
    patch(&as_tenant, "root", change)
        .await
        .expect("it may be changed");
    let ended = |object: &Value| object["status"]["phase"] == "FailedValidation";
    world
        .until(&velero("Restore", "restores"), NAMESPACE, "root", ended)
        .await;
    let found = world.get(&bindings(), None, MIGHTY).await;
    assert_eq!(found, Value::Null, "the tenant is cluster-admin now");

    // With the rights it works, and files come by a certificate that the client can check.
    world
        .create(&bindings(), None, binding("tenancy-e2e-given"))
        .await;
    ask(&as_tenant, &restore("allowed")).await.expect("created");
    let status = world.ended("Restore", "restores", "allowed").await;
    assert_eq!(status["phase"], "Completed", "{status}");
    assert_ne!(world.get(&bindings(), None, MIGHTY).await, Value::Null);
    let logs = world
        .real
        .run("", &format!("-n {NAMESPACE} --server backup logs b1"));
    assert!(logs.expect(0).contains("backup started"), "{}", logs.out);

    // Nothing gets past a dead server either.
    drop(server);
    let late = ask(&as_tenant, &restore("late"))
        .await
        .expect_err("refused");
    assert!(late.to_string().contains("webhook"), "{late}");
    for name in [MIGHTY, "tenancy-e2e-given"] {
        let cluster = &world.real.cluster;
        cluster
            .delete(&bindings(), None, name, &Default::default())
            .await
            .expect("removed");
    }
    let removed = world
        .real
        .run("", &format!("-n {NAMESPACE} uninstall --force"));
    removed.expect(0);
    assert_eq!(world.get(&webhooks(), None, &name).await, Value::Null);
    let namespaces = salvor_cluster::ApiResource::namespaces();
    let gone = world
        .real
        .cluster
        .delete(&namespaces, None, SHOP, &Default::default())
        .await;
    gone.expect("removed");
}
