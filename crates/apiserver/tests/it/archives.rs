//! A backup's archive, browsed.

use std::sync::Arc;

use http_body_util::BodyExt;
use salvor_api::resource::GroupResource;
use salvor_apiserver::{ApiServer, Options};
use salvor_archive::archive::Archive;
use serde_json::{Value, json};

use crate::Api;
use crate::api::names;
use crate::stored::{Stored, archive};

fn browse(objects: &[Stored]) -> Api {
    let (index, file) = archive(objects);
    let archive = Archive::open(index, Arc::new(file));
    Api {
        server: ApiServer::archive(archive, Options::default()).expect("the archive is whole"),
    }
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    let mut metadata = json!({"name": name, "labels": {"app": name}, "resourceVersion": "77"});
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
}

fn sample() -> Api {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    browse(&[
        (
            "namespaces",
            "v1",
            true,
            object("v1", "Namespace", "", "shop", json!({})),
        ),
        (
            "pods",
            "v1",
            true,
            object("v1", "Pod", "shop", "a", json!({"nodeName": "n1"})),
        ),
        (
            "pods",
            "v1",
            true,
            object("v1", "Pod", "shop", "b", json!({"nodeName": "n2"})),
        ),
        (
            "pods",
            "v1",
            true,
            object("v1", "Pod", "store", "c", json!({"nodeName": "n1"})),
        ),
        (
            "horizontalpodautoscalers.autoscaling",
            "v2",
            true,
            object(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                "shop",
                "h",
                json!({"metrics": []}),
            ),
        ),
        (
            "horizontalpodautoscalers.autoscaling",
            "v1",
            false,
            object(
                "autoscaling/v1",
                "HorizontalPodAutoscaler",
                "shop",
                "h",
                json!({"old": 1}),
            ),
        ),
        (
            "ingresses.extensions",
            "v1beta1",
            true,
            object("extensions/v1beta1", "Ingress", "shop", "i", json!({})),
        ),
        (
            "customresourcedefinitions.apiextensions.k8s.io",
            "v1",
            true,
            definition,
        ),
        (
            "widgets.example.com",
            "v1",
            true,
            object("example.com/v1", "Widget", "shop", "w", json!({"size": 3})),
        ),
        (
            "oddities.unknown.io",
            "v3",
            true,
            object("unknown.io/v3", "Oddity", "", "o", json!({})),
        ),
    ])
}

#[tokio::test]
async fn objects_are_read_listed_and_chosen() {
    let api = sample();
    let pod = api.get("/api/v1/namespaces/shop/pods/a").await.body;
    assert_eq!(
        (&pod["kind"], &pod["metadata"]["resourceVersion"]),
        (&"Pod".into(), &"77".into())
    );
    for (query, expected) in [
        ("", vec!["shop/a", "shop/b", "store/c"]),
        ("?labelSelector=app%3Db", vec!["shop/b"]),
        (
            "?fieldSelector=spec.nodeName%3Dn1",
            vec!["shop/a", "store/c"],
        ),
        ("?fieldSelector=metadata.name%3Dc", vec!["store/c"]),
        (
            "?fieldSelector=metadata.namespace%3Dshop&limit=10",
            vec!["shop/a", "shop/b"],
        ),
    ] {
        assert_eq!(
            names(&api.get(&format!("/api/v1/pods{query}")).await.body),
            expected,
            "{query}"
        );
    }
    assert_eq!(
        names(&api.get("/api/v1/namespaces/store/pods").await.body),
        ["store/c"]
    );
    assert_eq!(api.get("/api/v1/namespaces/shop/pods/none").await.code, 404);
    assert_eq!(
        names(&api.get("/api/v1/nodes").await.body),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn pages_follow_each_other() {
    let api = sample();
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let page = api
            .get(&format!("/api/v1/pods?limit=1&continue={token}"))
            .await
            .body;
        seen.extend(names(&page));
        match page["metadata"]["continue"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!(seen, ["shop/a", "shop/b", "store/c"]);
}

#[tokio::test]
async fn every_stored_version_is_served_as_it_was_stored() {
    let api = sample();
    for (version, field) in [("v2", "metrics"), ("v1", "old")] {
        let root = format!("/apis/autoscaling/{version}/namespaces/shop/horizontalpodautoscalers");
        let one = api.get(&format!("{root}/h")).await.body;
        assert!(one["spec"].get(field).is_some(), "{version}: {one}");
        let list = api.get(&root).await.body;
        assert_eq!(names(&list), ["shop/h"]);
        assert!(
            list["items"][0]["spec"].get(field).is_some(),
            "{version}: {list}"
        );
    }
}

#[tokio::test]
async fn what_no_table_knows_is_served_too() {
    let api = sample();
    assert_eq!(
        names(&api.get("/apis/extensions/v1beta1/ingresses").await.body),
        ["shop/i"]
    );
    let odd = api.get("/apis/unknown.io/v3").await.body;
    assert_eq!(
        (
            &odd["resources"][0]["kind"],
            &odd["resources"][0]["namespaced"]
        ),
        (&"Oddity".into(), &false.into())
    );
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = api
        .call_with("GET", "/apis/example.com/v1/widgets", &accept, "")
        .await
        .body;
    assert_eq!(table["rows"][0]["cells"], json!(["w", 3]));
}

#[tokio::test]
async fn nothing_can_be_written() {
    let api = sample();
    let before = api.get("/api/v1/pods").await.text;
    for (method, path, body) in [
        (
            "POST",
            "/api/v1/namespaces/shop/pods",
            r#"{"metadata":{"name":"x"}}"#,
        ),
        (
            "PUT",
            "/api/v1/namespaces/shop/pods/a",
            r#"{"metadata":{"name":"a"}}"#,
        ),
        ("PATCH", "/api/v1/namespaces/shop/pods/a", "{}"),
        ("DELETE", "/api/v1/namespaces/shop/pods/a", ""),
        ("DELETE", "/api/v1/namespaces/shop/pods", ""),
    ] {
        let answer = api.call(method, path, body).await;
        assert_eq!(answer.code, 405, "{method} {path}");
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(message.contains("backup"), "{message}");
    }
    assert_eq!(api.get("/api/v1/pods").await.text, before);
}

#[tokio::test(start_paused = true)]
async fn a_watch_shows_everything_and_is_silent_then() {
    let api = sample();
    let path = "/api/v1/namespaces/shop/pods?watch=true&timeoutSeconds=60&allowWatchBookmarks=true";
    let events = api.get(path).await.text;
    let kinds: Vec<Value> = events
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("one event per line")["type"].clone()
        })
        .collect();
    assert_eq!(kinds, ["ADDED", "ADDED", "BOOKMARK"]);
}

#[tokio::test]
async fn damage_is_named_and_does_not_spread() {
    let (index, mut file) = archive(&[
        (
            "pods",
            "v1",
            true,
            object("v1", "Pod", "shop", "a", json!({})),
        ),
        (
            "secrets",
            "v1",
            true,
            object("v1", "Secret", "shop", "s", json!({})),
        ),
    ]);
    let secrets = GroupResource::new("secrets", "");
    let place = index
        .range(&secrets, None)
        .next()
        .expect("it is indexed")
        .member();
    let middle = usize::try_from(place.offset + place.compressed_len / 2).expect("a small file");
    file[middle] ^= 0xff;
    let archive = Archive::open(index, Arc::new(file));
    let server = ApiServer::archive(archive, Options::default()).expect("no definition is read");
    let api = Api { server };
    assert_eq!(api.get("/api/v1/namespaces/shop/pods/a").await.code, 200);
    for path in [
        "/api/v1/namespaces/shop/secrets/s",
        "/api/v1/secrets?limit=5",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.code, 500, "{path}");
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(message.contains("secrets shop/s"), "{message}");
    }
    let whole = api
        .send("GET", "/api/v1/secrets", &[], "")
        .await
        .expect("the answer starts");
    assert!(
        whole.into_body().collect().await.is_err(),
        "a list that breaks off is no list"
    );
}

#[tokio::test]
async fn kubectl_is_told_what_a_backup_may_be_asked_and_that_it_has_no_logs() {
    let api = sample();
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (verb, subresource, allowed) in [
        ("get", "", true),
        ("list", "", true),
        ("watch", "", true),
        ("create", "", false),
        ("delete", "", false),
        ("*", "", false),
        ("get", "log", false),
        ("create", "exec", false),
    ] {
        let asked = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": verb, "resource": "pods", "subresource": subresource}}});
        let answer = api.call("POST", reviews, &asked.to_string()).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
        assert_eq!(
            answer.body["status"]["allowed"], allowed,
            "{verb} {subresource}"
        );
        assert_eq!(answer.body["spec"], asked["spec"]);
        assert_ne!(answer.body["status"]["reason"], "");
    }
    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let asked = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": "shop"}});
    let answer = api.call("POST", rules, &asked.to_string()).await;
    let verbs = &answer.body["status"]["resourceRules"][0]["verbs"];
    assert_eq!(*verbs, json!(["get", "list", "watch"]), "{}", answer.text);
    assert_eq!(api.call("POST", reviews, "[]").await.code, 400);
    // As kubectl 1.36 asks: `create pods/exec` in protobuf.
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("short");
        [&[number << 3 | 2, length], bytes].concat()
    };
    let kind = [
        field(1, b"authorization.k8s.io/v1"),
        field(2, b"SelfSubjectAccessReview"),
    ];
    let attributes = [field(2, b"create"), field(5, b"pods"), field(6, b"exec")].concat();
    let review = field(2, &field(1, &attributes));
    let message = [field(1, &kind.concat()), field(2, &review)].concat();
    let message = String::from_utf8([b"k8s\0", message.as_slice()].concat()).expect("short fields");
    let media = [("content-type", "application/vnd.kubernetes.protobuf")];
    let answer = api.call_with("POST", reviews, &media, &message).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let asked = &answer.body["spec"]["resourceAttributes"];
    assert_eq!(
        (&asked["verb"], &asked["resource"]),
        (&json!("create"), &json!("pods"))
    );
    assert_eq!(answer.body["status"]["allowed"], false);
    assert_eq!(api.call("POST", reviews, "k8s\0\u{1}").await.code, 400);

    let logs = api.get("/api/v1/namespaces/shop/pods/a/log").await;
    assert_eq!(logs.code, 405);
    let message = logs.body["message"].as_str().expect("a Status");
    assert!(message.contains("a backup has no logs"), "{message}");
    let exec = api
        .call("POST", "/api/v1/namespaces/shop/pods/a/exec?command=ls", "")
        .await;
    assert!(
        exec.text.contains("nothing runs in a backup"),
        "{}",
        exec.text
    );
    let created = api.call("POST", "/api/v1/namespaces/shop/pods", "{}").await;
    assert!(
        created.text.contains("cannot be changed"),
        "{}",
        created.text
    );
}
