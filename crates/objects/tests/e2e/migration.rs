//! Moving between clusters of different minor versions, in the directions that the guide speaks of beside that of
//! `restore.rs`: back to an older release, and definitions that only the older one accepts.

use salvor_api::velero::RestorePhase;
use salvor_cluster::{ApiResource, Cluster, DeleteOptions, WriteOptions};
use serde_json::{Value, json};

use crate::backup::{connect, location_in, patience, unique};
use crate::restore::{fill, remove, stored};
use crate::restore_world::{carried_out, complaints, live, request};
use crate::world::{Stored, World, back_up_cluster, request as backup_request};

fn definitions(version: &str) -> ApiResource {
    let group = "apiextensions.k8s.io";
    let kind = "CustomResourceDefinition";
    ApiResource::known(group, version, kind, "customresourcedefinitions", false)
}

async fn body(cluster: &Cluster, version: &str, name: &str) -> Value {
    let found = cluster.get(&definitions(version), None, name).await;
    let found = found.expect("readable").expect("there");
    serde_json::from_slice(&found).expect("JSON")
}

#[tokio::test]
async fn a_definition_that_only_v1beta1_accepts_comes_back() {
    let Some(cluster) = connect(None).await else {
        return;
    };
    let group = format!("{}.example.io", unique("old"));
    let name = format!("relics.{group}");
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {"group": group, "version": "v1", "scope": "Cluster",
            "names": {"plural": "relics", "singular": "relic", "kind": "Relic", "listKind": "RelicList"},
            "additionalPrinterColumns": [{"name": "Age", "type": "date", "JSONPath": ".metadata.creationTimestamp"}]}});
    let options = WriteOptions::default();
    let text = definition.to_string();
    let created = cluster
        .create(&definitions("v1beta1"), None, text.as_bytes(), &options)
        .await;
    created.expect("the real server is one of before 1.22");
    let established = cluster
        .wait_crd_established(&definitions("v1"), &name, &patience())
        .await;
    established.expect("established");
    let relic = json!({"apiVersion": format!("{group}/v1"), "kind": "Relic", "metadata": {"name": "grail"}, "age": 2000});
    let relics = ApiResource::known(&group, "v1", "Relic", "relics", false);
    let text = relic.to_string();
    cluster
        .create(&relics, None, text.as_bytes(), &options)
        .await
        .expect("created");

    let folder = tempfile::tempdir().expect("a folder");
    let location = location_in(folder.path());
    let backup = backup_request("b", |b| {
        b.spec.included_resources = vec![format!("relics.{group}")];
        b.spec.include_cluster_resources = Some(true);
    });
    back_up_cluster(&cluster, &location, backup)
        .await
        .expect("a backup");
    let archived = Stored::read(&location, "b").await;
    let path =
        format!("resources/customresourcedefinitions.apiextensions.k8s.io/cluster/{name}.json");
    let archived: Value = serde_json::from_slice(archived.body(&path)).expect("JSON");
    assert_eq!(archived["apiVersion"], "apiextensions.k8s.io/v1beta1");

    let before = body(&cluster, "v1beta1", &name).await;
    cluster
        .delete(&definitions("v1"), None, &name, &DeleteOptions::default())
        .await
        .expect("deleted");
    while cluster
        .get(&definitions("v1"), None, &name)
        .await
        .expect("readable")
        .is_some()
    {
        tokio::task::yield_now().await;
    }
    let again = request(&cluster, &location, "again", |_, _| ()).await;
    let outcome = Box::pin(carried_out(&again, &location))
        .await
        .expect("a restore");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    let after = body(&cluster, "v1beta1", &name).await;
    assert_eq!(after["spec"], before["spec"]);
    let grail = cluster
        .get(&relics, None, "grail")
        .await
        .expect("readable")
        .expect("back");
    let grail: Value = serde_json::from_slice(&grail).expect("JSON");
    assert_eq!(grail["age"], 2000);

    // A current release knows no v1beta1: the same archive is converted.
    let target = World::empty();
    let there = request(&target.cluster, &location, "there", |_, _| ()).await;
    let outcome = Box::pin(carried_out(&there, &location))
        .await
        .expect("a restore");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    assert_eq!(live(&target, "relics", None, "grail").await["age"], 2000);

    let removed = cluster
        .delete(&definitions("v1"), None, &name, &DeleteOptions::default())
        .await;
    removed.expect("removable");
}

#[tokio::test]
async fn objects_of_a_current_release_go_back_to_the_old_server_and_what_cannot_is_named() {
    let Some(cluster) = connect(None).await else {
        return;
    };
    let namespace = unique("downgrade");
    let source = World::empty();
    let created = fill(&source.cluster, &namespace).await;
    let folder = tempfile::tempdir().expect("a folder");
    let location = location_in(folder.path());
    stored(&source.cluster, &location, &namespace).await;
    let back = request(&cluster, &location, "back", |r, _| {
        r.spec.included_namespaces = vec![namespace.clone()];
    })
    .await;
    let outcome = Box::pin(carried_out(&back, &location))
        .await
        .expect("a restore");
    // Whatever the old server lacks is named with the version that it needs; nothing else goes wrong.
    let other: Vec<String> = complaints(&outcome)
        .into_iter()
        .filter(|line| !line.contains("the target has no") && !line.contains("needs"))
        .collect();
    assert_eq!(other, Vec::<String>::new());
    assert!(
        matches!(
            outcome.phase(),
            RestorePhase::Completed | RestorePhase::PartiallyFailed
        ),
        "{:?}",
        outcome.phase()
    );
    let done: u64 = outcome.counts.values().sum();
    assert!(
        done as usize > created / 2,
        "{:?} of {created}",
        outcome.counts
    );
    for (resource, kind, group) in [
        ("deployments", "Deployment", "apps"),
        ("statefulsets", "StatefulSet", "apps"),
        ("ingresses", "Ingress", "networking.k8s.io"),
    ] {
        let name = if resource == "statefulsets" {
            "db"
        } else {
            "web"
        };
        let resource = ApiResource::known(group, "v1", kind, resource, true);
        let found = cluster.get(&resource, Some(&namespace), name).await;
        assert!(found.expect("readable").is_some(), "{kind}");
    }
    remove(&cluster, &[&namespace]).await;
}
