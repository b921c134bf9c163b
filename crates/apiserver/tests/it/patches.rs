//! Patches, case by case: object, patch, result.

use serde_json::{Value, json};

use crate::Api;

/// Patches a Deployment whose Pod spec is `before` and compares that spec with `after`.
async fn strategic(name: &str, before: Value, patch: Value, after: Value) {
    let api = Api::new();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let labels = json!({"a": "b"});
    api.create(
        path,
        &json!({"metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": before},
        }}),
    )
    .await;
    let body = json!({"spec": {"template": {"spec": patch}}}).to_string();
    let media = [("content-type", "application/strategic-merge-patch+json")];
    let answer = api
        .call_with("PATCH", &format!("{path}/d"), &media, &body)
        .await;
    assert_eq!(answer.code, 200, "{name}: {}", answer.text);
    assert_eq!(answer.body["spec"]["template"]["spec"], after, "{name}");
}

#[tokio::test]
async fn strategic_merge_knows_keyed_lists() {
    let two = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]});
    strategic(
        "an element is merged by its key",
        two.clone(),
        json!({"containers": [{"name": "b", "image": "3", "tty": true}]}),
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "3", "tty": true}]}),
    )
    .await;
    strategic(
        "a new element is appended",
        two.clone(),
        json!({"containers": [{"name": "c", "image": "3"}]}),
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}]}),
    )
    .await;
    strategic(
        "an element is deleted",
        two.clone(),
        json!({"containers": [{"name": "a", "$patch": "delete"}]}),
        json!({"containers": [{"name": "b", "image": "2"}]}),
    )
    .await;
    strategic(
        "an element is replaced",
        two.clone(),
        json!({"containers": [{"name": "a", "$patch": "replace", "tty": true}]}),
        json!({"containers": [{"name": "a", "tty": true}, {"name": "b", "image": "2"}]}),
    )
    .await;
    strategic(
        "the list is replaced",
        two.clone(),
        json!({"containers": [{"$patch": "replace"}, {"name": "z", "image": "9"}]}),
        json!({"containers": [{"name": "z", "image": "9"}]}),
    )
    .await;
    strategic(
        "the order is set",
        two,
        json!({
            "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "3"}],
        }),
        json!({"containers": [{"name": "b", "image": "2"}, {"name": "c", "image": "3"}, {"name": "a", "image": "1"}]}),
    )
    .await;
}

#[tokio::test]
async fn strategic_merge_knows_the_other_directives() {
    let containers = json!([{"name": "a", "image": "1"}]);
    strategic(
        "null removes a field",
        json!({"containers": containers, "hostname": "h"}),
        json!({"hostname": null}),
        json!({"containers": containers}),
    )
    .await;
    strategic(
        "an object is replaced",
        json!({"containers": containers, "securityContext": {"runAsUser": 1, "runAsGroup": 2}}),
        json!({"securityContext": {"$patch": "replace", "fsGroup": 3}}),
        json!({"containers": containers, "securityContext": {"fsGroup": 3}}),
    )
    .await;
    strategic(
        "an object is deleted",
        json!({"containers": containers, "securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {"$patch": "delete"}}),
        json!({"containers": containers}),
    )
    .await;
    strategic(
        "only the kept keys of a volume stay",
        json!({"containers": containers, "volumes": [{"name": "v", "emptyDir": {}}]}),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}),
        json!({"containers": containers, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
    )
    .await;
    strategic(
        "a list without a key is replaced",
        json!({"containers": [{"name": "a", "args": ["x", "y"]}]}),
        json!({"containers": [{"name": "a", "args": ["z"]}]}),
        json!({"containers": [{"name": "a", "args": ["z"]}]}),
    )
    .await;
    strategic(
        "a map is merged",
        json!({"containers": containers, "nodeSelector": {"a": "1", "b": "2"}}),
        json!({"nodeSelector": {"b": null, "c": "3"}}),
        json!({"containers": containers, "nodeSelector": {"a": "1", "c": "3"}}),
    )
    .await;
}

#[tokio::test]
async fn finalizers_are_a_set_in_strategic_patches() {
    let api = Api::new();
    let path = "/api/v1/namespaces/default/configmaps";
    api.create(
        path,
        &json!({"metadata": {"name": "a", "finalizers": ["x.io/a", "x.io/b"]}}),
    )
    .await;
    let media = [("content-type", "application/strategic-merge-patch+json")];
    for (patch, expected) in [
        (
            json!({"finalizers": ["x.io/b", "x.io/c"]}),
            json!(["x.io/a", "x.io/b", "x.io/c"]),
        ),
        (
            json!({"$deleteFromPrimitiveList/finalizers": ["x.io/a"]}),
            json!(["x.io/b", "x.io/c"]),
        ),
    ] {
        let body = json!({"metadata": patch}).to_string();
        let answer = api
            .call_with("PATCH", &format!("{path}/a"), &media, &body)
            .await;
        assert_eq!(answer.body["metadata"]["finalizers"], expected, "{patch}");
    }
}

#[tokio::test]
async fn json_patches_apply_whole_or_not_at_all() {
    let api = Api::new();
    let path = "/api/v1/namespaces/default/configmaps/kube-root-ca.crt";
    let media = [("content-type", "application/json-patch+json")];
    let bad =
        r#"[{"op":"add","path":"/data/a","value":"1"},{"op":"test","path":"/data/a","value":"2"}]"#;
    assert_eq!(api.call_with("PATCH", path, &media, bad).await.code, 422);
    assert_eq!(api.get(path).await.body["data"]["a"], Value::Null);
    let good =
        r#"[{"op":"add","path":"/data/a","value":"1"},{"op":"remove","path":"/data/ca.crt"}]"#;
    let answer = api.call_with("PATCH", path, &media, good).await;
    assert_eq!(answer.body["data"], json!({"a": "1"}));
}
