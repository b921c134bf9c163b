//! Services whose ports are taken, and endpoints that a controller keeps.

use salvor_api::velero::RestorePhase;
use serde_json::json;

use crate::restore_world::{
    carried_out, complaints, hand_made, live, planned, request, stored, with_spec,
};
use crate::world::{World, back_up, memory_location, namespace, request as backup};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A service of `shop` whose node port its author chose.
fn chosen() -> serde_json::Value {
    let applied = json!({"spec": {"ports": [{"port": 80, "nodePort": 30_080}]}});
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "shop", "name": "web",
            "annotations": {LAST_APPLIED: applied.to_string()}},
        "spec": {"type": "NodePort", "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30_080}]}})
}

#[tokio::test]
async fn a_copy_beside_its_original_gets_other_node_ports_and_says_so() {
    let (world, location) = (World::empty(), memory_location());
    world.create(namespace("shop")).await;
    world.create(chosen()).await;
    back_up(&world, &location, backup("b", |_| ()))
        .await
        .expect("a backup");
    let copy = request(&world.cluster, &location, "copy", |restore, _| {
        let mapping = ("shop".to_owned(), "rehearsal".to_owned());
        restore.spec.namespace_mapping = [mapping].into();
        restore.spec.included_namespaces = vec!["shop".into()];
    });
    let outcome = carried_out(&copy.await, &location).await.expect("restored");
    let told = complaints(&outcome);
    assert_eq!(*outcome.phase(), RestorePhase::Completed, "{told:?}");
    let is_told =
        |line: &String| line.starts_with("warning") && line.contains("30080 (of service shop/web)");
    assert!(told.len() == 1 && told.iter().any(is_told), "{told:?}");
    let service = live(&world, "services", Some("rehearsal"), "web").await;
    let port = service["spec"]["ports"][0]["nodePort"]
        .as_u64()
        .expect("given");
    assert_ne!(port, 30_080);
    let again = request(&world.cluster, &location, "again", |restore, _| {
        let mapping = ("shop".to_owned(), "rehearsal".to_owned());
        restore.spec.namespace_mapping = [mapping].into();
        restore.spec.included_namespaces = vec!["shop".into()];
    });
    assert!(
        planned(&again.await)
            .await
            .expect("planned")
            .changes_nothing()
    );
}

#[tokio::test]
async fn preserved_node_ports_that_are_taken_are_an_error_that_says_what_to_do() {
    let (world, location) = (World::empty(), memory_location());
    world.create(namespace("shop")).await;
    world.create(chosen()).await;
    back_up(&world, &location, backup("b", |_| ()))
        .await
        .expect("a backup");
    let copy = request(&world.cluster, &location, "copy", |restore, _| {
        let mapping = ("shop".to_owned(), "rehearsal".to_owned());
        restore.spec.namespace_mapping = [mapping].into();
        restore.spec.included_namespaces = vec!["shop".into()];
        restore.spec.preserve_node_ports = Some(true);
    });
    let outcome = carried_out(&copy.await, &location)
        .await
        .expect("carried out");
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    let told = complaints(&outcome).join("\n");
    for part in ["30080 (of service shop/web)", "--preserve-nodeports"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(
        world
            .get("services", Some("rehearsal"), "web")
            .await
            .is_none()
    );
}

#[tokio::test]
async fn endpoints_that_a_controller_keeps_are_no_conflict_and_those_of_people_are() {
    let service = |name: &str, spec| with_spec(stored("v1", "Service", "shop", name), spec);
    let ports = json!([{"port": 80, "protocol": "TCP"}]);
    let endpoints = |name: &str, ip: &str| {
        let mut object = stored("v1", "Endpoints", "shop", name);
        object["subsets"] =
            json!([{"addresses": [{"ip": ip}], "ports": [{"port": 80, "protocol": "TCP"}]}]);
        object
    };
    let location = memory_location();
    let selecting = json!({"selector": {"app": "web"}, "ports": ports});
    hand_made(
        &location,
        &[
            ("services", service("kept", selecting)),
            ("services", service("own", json!({"ports": ports}))),
            ("endpoints", endpoints("kept", "10.0.0.1")),
            ("endpoints", endpoints("own", "10.0.0.1")),
        ],
    )
    .await;
    let world = World::empty();
    world.create(namespace("shop")).await;
    for name in ["kept", "own"] {
        let mut object = endpoints(name, "10.0.0.9");
        object["metadata"] = json!({"namespace": "shop", "name": name});
        world.create(object).await;
    }
    for policy in ["none", "update"] {
        let request = request(&world.cluster, &location, policy, |restore, _| {
            policy.clone_into(&mut restore.spec.existing_resource_policy);
        })
        .await;
        let outcome = carried_out(&request, &location).await.expect("restored");
        let told = complaints(&outcome).join("\n");
        assert!(!told.contains("kept"), "{told}");
        assert_eq!(told.contains("own"), policy == "none", "{told}");
        let kept = live(&world, "endpoints", Some("shop"), "kept").await;
        assert_eq!(kept["subsets"][0]["addresses"][0]["ip"], "10.0.0.9");
    }
    let own = live(&world, "endpoints", Some("shop"), "own").await;
    assert_eq!(own["subsets"][0]["addresses"][0]["ip"], "10.0.0.1");
}
