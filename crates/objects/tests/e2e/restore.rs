//! Restores into a real API server, and from it into a current release.

use std::collections::BTreeMap;

use salvor_api::resource::ObjectKey;
use salvor_api::velero::RestorePhase;
use salvor_cluster::{Cluster, DeleteOptions, DiscoverOptions, WriteOptions};
use salvor_location::Location;
use salvor_objects::diff::comparison::{Snapshot, compare};
use serde_json::{Value, json};

use crate::backup::{connect, location_in, patience, unique};
use crate::restore_world::{carried_out, complaints, live, request, snapshot};
use crate::world::{World, back_up_cluster, find_kind, request as backup_request};

/// One object of each kind that a server stores without anything else running.
fn objects(namespace: &str) -> Vec<Value> {
    let group = format!("{namespace}.example.io");
    // Not the name of the namespace, which the comparison of its copy renames.
    let wide = format!("{namespace}-wide");
    let meta = |name: &str| json!({"namespace": namespace, "name": name, "labels": {"app": "web"}});
    let template = json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "example.io/c:1", "ports": [{"containerPort": 80}]}]}});
    let once = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.io/c:1"}]}});
    let selector = json!({"matchLabels": {"app": "web"}});
    // Controllers of two kinds must not adopt each other's revisions.
    let of = |app: &str| {
        let mut template = template.clone();
        template["metadata"]["labels"]["app"] = json!(app);
        (json!({"matchLabels": {"app": app}}), template)
    };
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let rbac = "rbac.authorization.k8s.io";
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
    let role = json!({"apiGroup": rbac, "kind": "Role", "name": "reader"});
    let cluster_role = json!({"apiGroup": rbac, "kind": "ClusterRole", "name": wide});
    let subjects = json!([{"kind": "ServiceAccount", "namespace": namespace, "name": "web"}]);
    let claim = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": wide,
        "resources": {"requests": {"storage": "1Gi"}}});
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "annotations": {"team": "shop"}}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("rockbands.{group}")},
            "spec": {"group": group, "scope": "Namespaced",
                "names": {"plural": "rockbands", "singular": "rockband", "kind": "RockBand", "listKind": "RockBandList"},
                "versions": [
                    {"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}},
                    {"name": "v1alpha1", "served": true, "storage": false, "schema": schema, "subresources": {"status": {}}}]}}),
        json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": wide}, "provisioner": "example.io/none"}),
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": wide}, "value": 7}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": wide},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": wide,
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"}}}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": wide}, "rules": rules}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": wide}, "roleRef": cluster_role, "subjects": subjects}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("web")}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": meta("reader"), "rules": rules}),
        json!({"apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": meta("reader"), "roleRef": role, "subjects": subjects}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("settings"), "data": {"greeting": "안녕 <&>\u{2028}"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("password"), "stringData": {"p": "x"}}),
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta("limits"), "spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}}]}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("data"), "spec": claim}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta("alone"), "spec": template["spec"]}),
        json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": meta("old"), "spec": {"replicas": 0, "selector": {"app": "web"}, "template": template}}),
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta("web"), "spec": {"replicas": 0, "selector": selector, "template": template}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"), "spec": {"replicas": 0, "selector": selector, "template": template}}),
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta("agent"), "spec": {"selector": of("agent").0, "template": of("agent").1}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta("db"), "spec": {"replicas": 0, "serviceName": "db", "selector": of("db").0,
            "template": of("db").1, "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}]}}),
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("once"), "spec": {"parallelism": 0, "template": once}}),
        json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": meta("nightly"), "spec": {"schedule": "0 2 * * *", "suspend": true, "jobTemplate": {"spec": {"template": once}}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"), "spec": {"type": "NodePort", "ports": [{"port": 80}], "selector": {"app": "web"}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("db"), "spec": {"clusterIP": "None", "ports": [{"port": 5432}]}}),
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": meta("outside"), "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta("web"), "spec": {"rules": [{"host": "a.example.io", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta("closed"), "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
        json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": meta("web"), "spec": {"minAvailable": 1, "selector": selector}}),
        json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": meta("web"),
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta("leader"), "spec": {"holderIdentity": "a"}}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "RockBand", "metadata": meta("beatles"), "genre": "pop"}),
    ]
}

pub(crate) async fn fill(cluster: &Cluster, namespace: &str) -> usize {
    let mut created = 0;
    let mut discovery = None;
    for object in objects(namespace) {
        if discovery.is_none() {
            let options = DiscoverOptions { all_versions: true };
            discovery = Some(cluster.discover(options).await.expect("discovery"));
        }
        let known = discovery.as_ref().and_then(|d| find_kind(d, &object));
        let Some(resource) = known else { continue };
        let place = object["metadata"]["namespace"].as_str();
        let body = object.to_string();
        cluster
            .create(resource, place, body.as_bytes(), &WriteOptions::default())
            .await
            .unwrap_or_else(|error| panic!("create {object}: {error}: {}", error.reason()));
        created += 1;
        if object["kind"] == "CustomResourceDefinition" {
            let name = object["metadata"]["name"].as_str().expect("named");
            cluster
                .wait_crd_established(resource, name, &patience())
                .await
                .expect("established");
            discovery = None;
        }
    }
    created
}

/// Asks for the deletion of everything that the test made.
pub(crate) async fn remove(cluster: &Cluster, namespaces: &[&str]) {
    let options = DiscoverOptions::default();
    let discovery = cluster.discover(options).await.expect("discovery");
    let wide = format!("{}-wide", namespaces[0]);
    let crd = format!("rockbands.{}.example.io", namespaces[0]);
    let mut names: Vec<(&str, &str)> = namespaces.iter().map(|n| ("namespaces", *n)).collect();
    for resource in [
        "persistentvolumes",
        "storageclasses",
        "priorityclasses",
        "clusterrolebindings",
        "clusterroles",
    ] {
        names.push((resource, &wide));
    }
    names.push(("customresourcedefinitions", &crd));
    for (resource, name) in names {
        let api = discovery.resolve(resource).expect("built in");
        let removed = cluster
            .delete(api, None, name, &DeleteOptions::default())
            .await;
        removed.expect("removable");
    }
}

pub(crate) async fn stored(cluster: &Cluster, location: &Location, namespace: &str) {
    let backup = backup_request("b", |b| {
        b.spec.included_namespaces = vec![namespace.to_owned()];
        b.spec.include_cluster_resources = Some(true);
        b.spec.snapshot_volumes = Some(false);
    });
    back_up_cluster(cluster, location, backup)
        .await
        .expect("a backup");
}

/// The objects of one namespace, as if it were called `name`.
fn part(of: &Snapshot, namespace: &str, name: &str) -> Snapshot {
    let objects: BTreeMap<ObjectKey, Value> = of
        .objects
        .iter()
        .filter(|(key, _)| key.namespace.as_deref() == Some(namespace))
        .map(|(key, object)| {
            let text = object.to_string();
            let renamed = text.replace(&format!("\"{namespace}\""), &format!("\"{name}\""));
            let key = ObjectKey {
                namespace: Some(name.to_owned()),
                ..key.clone()
            };
            (key, serde_json::from_str(&renamed).expect("still JSON"))
        })
        .collect();
    Snapshot { objects }
}

#[tokio::test]
async fn a_namespace_comes_back_beside_itself_equal_and_a_second_restore_changes_nothing() {
    let Some(cluster) = connect(None).await else {
        return;
    };
    let namespace = unique("restore");
    let copy = format!("{namespace}-copy");
    let created = fill(&cluster, &namespace).await;
    let folder = tempfile::tempdir().expect("a folder");
    let location = location_in(folder.path());
    stored(&cluster, &location, &namespace).await;
    for name in ["first", "second"] {
        let request = request(&cluster, &location, name, |r, _| {
            r.spec.included_namespaces = vec![namespace.clone()];
            // The volumes exist and, once the controller has bound them, belong to the first claims: a
            // restore beside them rightly warns about that, and whether it has is a matter of time.
            r.spec.include_cluster_resources = Some(false);
            r.spec
                .namespace_mapping
                .insert(namespace.clone(), copy.clone());
        })
        .await;
        let outcome = Box::pin(carried_out(&request, &location))
            .await
            .expect("a restore");
        // Whether the volume is the first claim's already is a matter of time, too.
        let mut other = complaints(&outcome);
        other.retain(|line| !line.contains("belongs to claim"));
        assert_eq!(other, Vec::<String>::new(), "{name}");
        let changed: u64 = outcome.counts.values().sum();
        if name == "first" {
            assert!(changed as usize > created / 2, "{:?}", outcome.counts);
        } else {
            assert_eq!(changed, 0, "{:?}", outcome.counts);
        }
    }
    let all = snapshot(&cluster).await;
    let before = part(&all, &namespace, &copy);
    let after = part(&all, &copy, &copy);
    let comparison = compare(&before, &after);
    assert!(before.objects.len() > 20);
    assert!(comparison.is_clean(), "{}", comparison.report);
    remove(&cluster, &[&namespace, &copy]).await;
}

#[tokio::test]
async fn objects_of_the_old_server_are_restored_into_a_current_release() {
    let Some(cluster) = connect(None).await else {
        return;
    };
    let namespace = unique("upgrade");
    fill(&cluster, &namespace).await;
    let folder = tempfile::tempdir().expect("a folder");
    let location = location_in(folder.path());
    stored(&cluster, &location, &namespace).await;
    let target = World::empty();
    let request = request(&target.cluster, &location, "r", |r, _| {
        r.spec.included_namespaces = vec![namespace.clone()];
    })
    .await;
    let outcome = Box::pin(carried_out(&request, &location))
        .await
        .expect("a restore");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    for (resource, name) in [
        ("cronjobs", "nightly"),
        ("poddisruptionbudgets", "web"),
        ("horizontalpodautoscalers", "web"),
        ("ingresses", "web"),
        ("statefulsets", "db"),
    ] {
        live(&target, resource, Some(&namespace), name).await;
    }
    remove(&cluster, &[&namespace]).await;
}
