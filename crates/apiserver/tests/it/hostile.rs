//! Bodies that are valid JSON and nothing else: every answer is an answer, never a panic.

use serde_json::{Value, json};

use crate::Api;

/// Whole bodies whose every node is replaced by something else.
fn corpus() -> Vec<(&'static str, Value)> {
    let pod = json!({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}],
        "tolerations": [{"key": "k"}], "volumes": [{"name": "v", "emptyDir": {}}]});
    let labels = json!({"a": "b"});
    let workload = json!({"metadata": {"name": "x", "labels": labels, "annotations": {"k": "v"},
            "finalizers": ["a.io/b"], "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "1"}]},
        "spec": {"replicas": 1, "serviceName": "s", "selector": {"matchLabels": labels,
                "matchExpressions": [{"key": "a", "operator": "Exists"}]},
            "template": {"metadata": {"labels": labels}, "spec": pod}}, "status": {"replicas": 1}});
    vec![
        (
            "/api/v1/namespaces/default/pods",
            json!({"metadata": {"name": "x"}, "spec": pod}),
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            workload.clone(),
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            workload.clone(),
        ),
        ("/apis/batch/v1/namespaces/default/jobs", workload),
        (
            "/api/v1/namespaces/default/services",
            json!({"metadata": {"name": "x"}, "spec": {"type": "LoadBalancer",
            "clusterIP": "10.96.5.5", "clusterIPs": ["10.96.5.5"], "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30001, "selector": labels,
            "ports": [{"name": "a", "port": 80, "targetPort": 80, "nodePort": 30002, "protocol": "TCP"}]}}),
        ),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            json!({"metadata": {"name": "x"}, "spec":
            {"accessModes": ["ReadWriteOnce"], "volumeName": "v", "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        (
            "/api/v1/persistentvolumes",
            json!({"metadata": {"name": "x"}, "spec": {"capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/"}, "claimRef": {"name": "c"}, "nodeAffinity": {}}}),
        ),
        (
            "/api/v1/namespaces/default/secrets",
            json!({"metadata": {"name": "x"}, "type": "kubernetes.io/tls",
            "data": {"tls.crt": "", "tls.key": ""}, "stringData": {"k": "v"}, "immutable": true}),
        ),
        (
            "/api/v1/namespaces",
            json!({"metadata": {"name": "x"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            json!({"metadata": {"name": "x"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}]}),
        ),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            json!({"metadata": {"name": "ws.x.io"}, "spec": {
            "group": "x.io", "scope": "Namespaced", "names": {"plural": "ws", "kind": "W", "shortNames": ["w"]},
            "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.r", "statusReplicasPath": ".status.r"}},
                "additionalPrinterColumns": [{"name": "S", "type": "integer", "jsonPath": ".spec.r"}],
                "selectableFields": [{"jsonPath": ".spec.r"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
                    "required": ["r"], "properties": {"r": {"type": "integer", "default": 1, "enum": [1], "pattern": "x"}}}}}}}]}}),
        ),
    ]
}

/// Every body that differs in one node.
fn mutations(value: &Value) -> Vec<Value> {
    let mut found: Vec<Value> = [
        json!(null),
        json!(-1),
        json!("-"),
        json!([]),
        json!([null]),
        json!({}),
        json!(true),
    ]
    .into();
    match value {
        Value::Object(object) => {
            for (key, inner) in object {
                for changed in mutations(inner) {
                    let mut copy = object.clone();
                    copy.insert(key.clone(), changed);
                    found.push(Value::Object(copy));
                }
                let mut without = object.clone();
                without.remove(key);
                found.push(Value::Object(without));
            }
        }
        Value::Array(list) => {
            for (at, inner) in list.iter().enumerate() {
                for changed in mutations(inner) {
                    let mut copy = list.clone();
                    copy[at] = changed;
                    found.push(Value::Array(copy));
                }
            }
        }
        _ => {}
    }
    found
}

#[tokio::test]
async fn no_body_makes_the_server_fail() {
    let mut answers = std::collections::BTreeMap::new();
    for (path, body) in corpus() {
        let name = body["metadata"]["name"]
            .as_str()
            .expect("the corpus is named")
            .to_owned();
        let one = format!("{path}/{name}");
        let api = Api::new();
        for mutation in mutations(&body) {
            let text = mutation.to_string();
            for (method, path, media) in [
                ("POST", path, "application/json"),
                ("PUT", one.as_str(), "application/json"),
                ("PATCH", one.as_str(), "application/merge-patch+json"),
                (
                    "PATCH",
                    one.as_str(),
                    "application/strategic-merge-patch+json",
                ),
                ("DELETE", one.as_str(), "application/json"),
            ] {
                let answer = api
                    .call_with(method, path, &[("content-type", media)], &text)
                    .await;
                *answers.entry(answer.code).or_insert(0) += 1;
            }
            let table = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
            assert_eq!(
                api.call_with("GET", path, &[table], "").await.code,
                200,
                "{text}"
            );
            // The next body finds its name free.
            api.call("DELETE", &one, "").await;
            api.call("PATCH", &one, r#"{"metadata":{"finalizers":null}}"#)
                .await;
        }
    }
    let known = [200, 201, 400, 404, 409, 422, 500];
    assert!(
        answers.keys().all(|code| known.contains(code)),
        "{answers:?}"
    );
    // 500 is what the real server answers to a resourceVersion on creation and to a missing merge key.
    assert!(
        answers[&201] > 100 && answers[&422] > 100 && answers[&400] > 100,
        "{answers:?}"
    );
}
