//! Reading and writing objects.

use serde_json::json;

use crate::Api;
use crate::api::names;

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let api = Api::new();
    let made = api
        .create(
            "/api/v1/namespaces/default/configmaps",
            &json!({"metadata": {"name": "a"}, "data": {"k": "1"}}),
        )
        .await;
    assert_eq!(made["kind"], "ConfigMap");
    assert_eq!(made["metadata"]["namespace"], "default");
    assert!(
        made["metadata"]["uid"]
            .as_str()
            .is_some_and(|uid| uid.len() == 36)
    );

    let path = "/api/v1/namespaces/default/configmaps/a";
    let patched = api.call("PATCH", path, r#"{"data":{"k":"2"}}"#).await;
    assert_eq!(
        (patched.code, &patched.body["data"]["k"]),
        (200, &json!("2"))
    );
    assert_ne!(
        patched.body["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );

    let stale = api.call("PUT", path, &made.to_string()).await;
    assert_eq!(
        (stale.code, &stale.body["reason"]),
        (409, &json!("Conflict"))
    );

    let again = api.call("PUT", path, &patched.body.to_string()).await;
    assert_eq!(
        again.body["metadata"]["resourceVersion"],
        patched.body["metadata"]["resourceVersion"]
    );

    let gone = api.call("DELETE", path, "").await;
    assert_eq!((gone.code, &gone.body["status"]), (200, &json!("Success")));
    let missing = api.get(path).await;
    assert_eq!(missing.code, 404);
    assert_eq!(missing.body["message"], "configmaps \"a\" not found");
}

#[tokio::test]
async fn pages_of_one_list_show_one_moment() {
    let api = Api::new();
    let path = "/api/v1/namespaces/kube-public/secrets";
    for name in ["a", "b", "c", "d"] {
        api.create(path, &json!({"metadata": {"name": name}})).await;
    }
    let first = api.get(&format!("{path}?limit=2")).await.body;
    assert_eq!(names(&first), ["kube-public/a", "kube-public/b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    api.call("DELETE", &format!("{path}/c"), "").await;
    api.create(path, &json!({"metadata": {"name": "bb"}})).await;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let second = api
        .get(&format!("{path}?limit=2&continue={token}"))
        .await
        .body;
    assert_eq!(names(&second), ["kube-public/c", "kube-public/d"]);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );

    api.server.compact();
    let expired = api.get(&format!("{path}?limit=2&continue={token}")).await;
    assert_eq!(
        (expired.code, &expired.body["reason"]),
        (410, &json!("Expired"))
    );
}
