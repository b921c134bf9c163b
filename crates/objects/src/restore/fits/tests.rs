use expect_test::expect;
use salvor_api::resource::ObjectKey;
use serde_json::json;

use super::*;
use crate::restore::rules::{Rules, VolumeFate};
use crate::restore::transform::transform;
use crate::restore::version::Route;

fn created(resource: &str, namespace: &str, name: &str, api: &str, mut spec: Value) -> Transformed {
    let resource = resource.parse().expect("a resource");
    let key = if namespace.is_empty() {
        ObjectKey::cluster(resource, name)
    } else {
        ObjectKey::namespaced(resource, namespace, name)
    };
    let rules = Rules {
        volumes: [("local".to_owned(), VolumeFate::AsItIs)].into(),
        ..Rules::default()
    };
    let object = json!({"apiVersion": api, "kind": "K",
        "metadata": {"name": name, "namespace": (!namespace.is_empty()).then_some(namespace)}, "spec": spec.take()});
    transform(&key, &object, Route::Direct, &rules).expect("restorable")
}

#[test]
fn a_claim_that_comes_back_empty_is_a_warning_of_the_results() {
    let mut demands = Demands::default();
    assert_eq!(judge(&demands, &Facts::default()), Vec::<Finding>::new());
    for name in ["a", "b"] {
        demands.loses_data(&created(
            "persistentvolumeclaims",
            "prod",
            name,
            "v1",
            json!({}),
        ));
    }
    let findings = judge(&demands, &Facts::default());
    expect![[
        "warning: persistentvolumeclaims prod/a and 1 more comes back empty: the volume it had is not restored, and a new one has no data (volume-data)"
    ]]
    .assert_eq(&findings[0].to_string());
    assert!(findings[0].is_told_in_results());
    let class = Finding::new(
        Severity::Problem,
        "storage-class",
        "the target has no class",
    );
    assert!(
        !class.is_told_in_results(),
        "a claim that is bound to a volume needs none"
    );
}

#[test]
fn what_is_needed_is_compared_with_what_is_there() {
    let mut demands = Demands::default();
    for (name, class) in [
        ("a", json!("fast")),
        ("b", json!("gone")),
        ("c", json!("gone")),
        ("d", Value::Null),
    ] {
        let spec =
            json!({"storageClassName": class, "resources": {"requests": {"storage": "3Gi"}}});
        demands.observe(&created("persistentvolumeclaims", "prod", name, "v1", spec));
    }
    demands.observe(&created(
        "storageclasses.storage.k8s.io",
        "",
        "new",
        "storage.k8s.io/v1",
        json!({}),
    ));
    demands.observe(&created(
        "persistentvolumeclaims",
        "prod",
        "e",
        "v1",
        json!({"storageClassName": "new"}),
    ));
    demands.observe(&created(
        "ingresses.networking.k8s.io",
        "prod",
        "i",
        "networking.k8s.io/v1",
        json!({"ingressClassName": "nginx"}),
    ));
    demands.observe(&created(
        "services",
        "prod",
        "s",
        "v1",
        json!({"ipFamilies": ["IPv4", "IPv6"]}),
    ));
    demands.observe(&created(
        "pods",
        "prod",
        "p",
        "v1",
        json!({"nodeSelector": {"disk": "ssd"}, "priorityClassName": "high",
        "containers": [{"resources": {"requests": {"cpu": "1500m"}}}]}),
    ));
    demands.observe(&created("persistentvolumes", "", "local", "v1", json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["old-node"]}]}]}}})));
    let strings = |list: &[&str]| Some(list.iter().map(|s| (*s).to_owned()).collect());
    let facts = Facts {
        storage_classes: strings(&["fast"]),
        has_default_storage_class: Some(false),
        ingress_classes: strings(&[]),
        priority_classes: strings(&["high"]),
        ip_families: strings(&["IPv4"]),
        node_labels: Some(vec![
            [("kubernetes.io/hostname".to_owned(), "n1".to_owned())].into(),
        ]),
        quotas: vec![
            (
                "prod".into(),
                "q".into(),
                "persistentvolumeclaims".into(),
                4.0,
            ),
            ("prod".into(), "q".into(), "requests.storage".into(), 1e12),
            ("prod".into(), "q".into(), "requests.cpu".into(), 1.0),
            ("dev".into(), "q".into(), "pods".into(), 0.0),
        ],
        unready_webhooks: vec!["check.example.io of policies".into()],
        terminating_namespaces: ["prod".to_owned(), "dev".to_owned()].into(),
        ..Facts::default()
    };
    let shown: Vec<String> = judge(&demands, &facts)
        .iter()
        .map(ToString::to_string)
        .collect();
    expect![[r#"
        problem: the target has no ingress class nginx, which ingresses.networking.k8s.io prod/i needs (ingress-class)
        problem: the target seems to have no IPv6, which services prod/s asks for (ip-family)
        problem: no node fits the node affinity of persistentvolumes local (node-labels)
        problem: no node has the labels disk=ssd, which pods prod/p selects (node-labels)
        problem: quota prod/q has 1 of requests.cpu left, the restore needs 1.5 (quota)
        problem: quota prod/q has 4 of persistentvolumeclaims left, the restore needs 5 (quota)
        problem: the target has no storage class gone, which persistentvolumeclaims prod/b and 1 more needs (storage-class)
        warning: namespace prod is being deleted; the restore waits until it is gone (namespace)
        warning: the target has no default storage class, and persistentvolumeclaims prod/d names none (storage-class)
        warning: admission webhook check.example.io of policies refuses everything while its service has no ready endpoint; what it refuses is tried again until nothing moves (webhook)"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn a_target_that_has_everything_has_no_findings() {
    let mut demands = Demands::default();
    demands.observe(&created(
        "persistentvolumeclaims",
        "prod",
        "a",
        "v1",
        json!({"storageClassName": "fast"}),
    ));
    let facts = Facts {
        storage_classes: Some(["fast".to_owned()].into()),
        ..Facts::default()
    };
    assert_eq!(judge(&demands, &facts), []);
}
