//! What is stored is what the real server holds, in a layout that an independent checker accepts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use salvor_api::velero::BackupPhase;
use salvor_cluster::{
    ApiResource, Cluster, ConnectOptions, DeleteOptions, DiscoverOptions, Error, ErrorKind, Wait,
    WriteOptions,
};
use salvor_location::Location;
use salvor_storage::FsStore;
use salvor_testkit::velero_check::check_location;
use salvor_testkit::{required_path, required_var};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{Stored, back_up_cluster, find_kind, location_on, request};

const KUBECONFIG: &str = "SALVOR_E2E_KUBECONFIG";

pub(crate) async fn connect(context: Option<&str>) -> Option<Cluster> {
    let options = ConnectOptions {
        kubeconfig: Some(required_path(KUBECONFIG)?),
        context: context.map(str::to_owned),
        ..ConnectOptions::default()
    };
    Some(
        Cluster::connect(&options)
            .await
            .expect("a usable kubeconfig"),
    )
}

pub(crate) fn location_in(folder: &Path) -> Location {
    location_on(Arc::new(FsStore::new(folder.to_path_buf())))
}

/// Objects of this test, which its own namespace and names keep apart from those of others.
fn objects(namespace: &str) -> Vec<Value> {
    let group = format!("{namespace}.example.io");
    let crd = format!("rockbands.{group}");
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let meta = |name: &str| json!({"namespace": namespace, "name": name});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": crd},
            "spec": {"group": group, "scope": "Namespaced",
                "names": {"plural": "rockbands", "singular": "rockband", "kind": "RockBand", "listKind": "RockBandList"},
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": schema},
                    {"name": "v1alpha1", "served": true, "storage": false, "schema": schema}]}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("settings"), "data": {"greeting": "안녕 <&>\u{2028}"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("password"), "stringData": {"p": "x"}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"), "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("web")}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": namespace},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace},
            "subjects": [{"kind": "ServiceAccount", "namespace": namespace, "name": "web"}]}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"),
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "example.io/c:1"}]}}}}),
        json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": meta("nightly"),
            "spec": {"schedule": "0 2 * * *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "example.io/c:1"}]}}}}}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta("nightly"),
            "spec": {"schedule": "0 2 * * *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "c", "image": "example.io/c:1"}]}}}}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("data"),
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "volumeName": namespace,
                "resources": {"requests": {"storage": "1Gi"}}}}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "RockBand", "metadata": meta("beatles"), "genre": "pop"}),
    ]
}

/// Creates what the server knows; returns how many objects that were.
async fn fill(cluster: &Cluster, namespace: &str) -> usize {
    let mut created = 0;
    for object in objects(namespace) {
        let options = DiscoverOptions { all_versions: true };
        let discovery = cluster.discover(options).await.expect("discovery");
        // One of the two versions of CronJob is not known to each release.
        let Some(resource) = find_kind(&discovery, &object) else {
            continue;
        };
        let body = object.to_string();
        let place = object["metadata"]["namespace"].as_str();
        let answer = cluster
            .create(resource, place, body.as_bytes(), &WriteOptions::default())
            .await;
        match answer {
            Ok(_) => created += 1,
            Err(error)
                if error.kind() == ErrorKind::AlreadyExists && object["kind"] == "CronJob" => {}
            Err(error) => panic!("create {object}: {error}"),
        }
        if object["kind"] == "CustomResourceDefinition" {
            let name = object["metadata"]["name"].as_str().expect("named");
            cluster
                .wait_crd_established(resource, name, &patience())
                .await
                .expect("established");
        }
    }
    created
}

pub(crate) fn patience() -> Wait {
    Wait {
        timeout: Duration::from_secs(60),
        cancel: CancellationToken::new(),
    }
}

async fn remove(cluster: &Cluster, namespace: &str) {
    let discovery = cluster
        .discover(DiscoverOptions::default())
        .await
        .expect("discovery");
    let resource = |name: &str| discovery.resolve(name).expect("built in").clone();
    let crd = format!("rockbands.{namespace}.example.io");
    let names: [(ApiResource, &str); 5] = [
        (ApiResource::namespaces(), namespace),
        (resource("persistentvolumes"), namespace),
        (resource("clusterrolebindings"), namespace),
        (resource("clusterroles"), namespace),
        (resource("customresourcedefinitions"), &crd),
    ];
    for (resource, name) in names {
        let removed: Result<bool, Error> = cluster
            .delete(&resource, None, name, &DeleteOptions::default())
            .await;
        removed.expect("removable");
    }
}

/// Two runs of these tests may share a server.
pub(crate) fn unique(what: &str) -> String {
    format!("e2e-{what}-{}", std::process::id())
}

#[tokio::test]
async fn a_namespace_of_the_real_server_is_stored_as_it_is() {
    let Some(cluster) = connect(None).await else {
        return;
    };
    let namespace = unique("ns");
    let created = fill(&cluster, &namespace).await;
    let folder = tempfile::tempdir().expect("a folder");
    let location = location_in(folder.path());
    let backup = request("one", |b| {
        b.spec.included_namespaces = vec![namespace.clone()];
        b.spec.snapshot_volumes = Some(false);
    });
    let outcome = back_up_cluster(&cluster, &location, backup)
        .await
        .expect("a backup");
    assert_eq!(
        outcome.backup.status.phase,
        BackupPhase::Completed,
        "{:#?}",
        outcome.results
    );
    let stored = Stored::read(&location, "one").await;
    let ours = stored
        .objects()
        .iter()
        .filter(|o| o.contains(&namespace))
        .count();
    assert!(
        ours >= created,
        "{created} created, {:#?}",
        stored.objects()
    );
    for object in [
        format!("persistentvolumes {namespace}"),
        format!("clusterroles.rbac.authorization.k8s.io {namespace}"),
        format!("clusterrolebindings.rbac.authorization.k8s.io {namespace}"),
        format!("customresourcedefinitions.apiextensions.k8s.io rockbands.{namespace}.example.io"),
        format!("cronjobs.batch {namespace}/nightly"),
    ] {
        assert!(stored.has(&object), "{object} in {:#?}", stored.objects());
    }
    let discovery = cluster
        .discover(DiscoverOptions::default())
        .await
        .expect("discovery");
    let mut compared = 0;
    for (path, body) in &stored.entries {
        let parts: Vec<&str> = path.split('/').collect();
        let (resource, place, file) = match parts[..] {
            ["resources", resource, "namespaces", place, file] => (resource, Some(place), file),
            ["resources", resource, "cluster", file] => (resource, None, file),
            _ => continue,
        };
        let resource = discovery.resolve(resource).expect("a served resource");
        let name = file.strip_suffix(".json").expect("JSON");
        let live = cluster
            .get(resource, place, name)
            .await
            .expect("readable")
            .expect("live");
        let live: Value = serde_json::from_slice(&live).expect("JSON");
        let value: Value = serde_json::from_slice(body).expect("JSON");
        // Controllers go on writing status meanwhile; what was asked for does not change.
        for field in ["apiVersion", "kind", "spec", "data", "rules", "genre"] {
            assert_eq!(value[field], live[field], "{path} {field}");
        }
        assert_eq!(value["metadata"]["uid"], live["metadata"]["uid"], "{path}");
        compared += 1;
    }
    assert!(compared >= created);
    assert_eq!(check_location(folder.path()), Vec::<String>::new());
    remove(&cluster, &namespace).await;
}

#[tokio::test]
async fn everything_that_the_real_server_has_is_stored_without_an_error() {
    let Some(cluster) = connect(None).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let location = location_in(folder.path());
    let outcome = back_up_cluster(&cluster, &location, request("all", |_| ()))
        .await
        .expect("a backup");
    // Another test's claim is a volume in scope: a warning, never an error.
    assert_eq!(
        outcome.backup.status.phase,
        BackupPhase::Completed,
        "{:#?}",
        outcome.results
    );
    let stored = Stored::read(&location, "all").await;
    for object in [
        "namespaces kube-system",
        "services default/kubernetes",
        "clusterroles.rbac.authorization.k8s.io system:node",
    ] {
        assert!(stored.has(object), "{object}");
    }
    let groups = |group: &str| {
        stored
            .objects()
            .iter()
            .any(|o| o.split(' ').next().is_some_and(|r| r.ends_with(group)))
    };
    assert!(
        !groups(".extensions") || !stored.has("deployments.extensions"),
        "stored once"
    );
    assert_eq!(check_location(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_user_without_rights_gets_a_failed_backup_that_says_so() {
    let Some(cluster) = connect(Some("restricted")).await else {
        return;
    };
    assert!(required_var(KUBECONFIG).is_some());
    let folder = tempfile::tempdir().expect("a folder");
    let location = location_in(folder.path());
    let outcome = back_up_cluster(&cluster, &location, request("none", |_| ()))
        .await
        .expect("a record");
    assert_eq!(outcome.backup.status.phase, BackupPhase::Failed);
    let errors = &outcome.results.errors;
    assert!(
        errors.cluster.iter().any(|e| e.starts_with("secrets: ")),
        "{errors:#?}"
    );
    assert!(
        errors.cluster.iter().all(|e| e.contains("forbidden")),
        "{errors:#?}"
    );
    assert_eq!(check_location(folder.path()), Vec::<String>::new());
}
