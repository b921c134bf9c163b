//! What is served, and how it is shown.

use expect_test::expect;
use salvor_apiserver::Options;
use serde_json::Value;

use crate::{Api, check};

#[tokio::test]
async fn both_discoveries_say_the_same() {
    let api = Api::new();
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    for root in ["/api", "/apis"] {
        let answer = api.call_with("GET", root, &[("accept", accept)], "").await;
        assert!(
            answer.content_type.contains("as=APIGroupDiscoveryList"),
            "{}",
            answer.content_type
        );
        for group in answer.body["items"].as_array().expect("groups") {
            let prefix = match group["metadata"]["name"].as_str() {
                Some(name) => format!("/apis/{name}"),
                None => "/api".to_owned(),
            };
            for version in group["versions"].as_array().expect("versions") {
                let path = format!(
                    "{prefix}/{}",
                    version["version"].as_str().expect("a version")
                );
                let legacy = api.get(&path).await.body;
                let legacy: Vec<&str> = legacy["resources"]
                    .as_array()
                    .expect("resources")
                    .iter()
                    .filter_map(|one| one["name"].as_str())
                    .filter(|name| !name.contains('/'))
                    .collect();
                let aggregated: Vec<&str> = version["resources"]
                    .as_array()
                    .expect("resources")
                    .iter()
                    .filter_map(|one| one["resource"].as_str())
                    .collect();
                assert_eq!(aggregated, legacy, "{path}");
                assert!(!legacy.is_empty(), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn an_old_server_has_no_aggregated_discovery() {
    let api = Api::with(Options {
        aggregated_discovery: false,
        version: "v1.20.2".to_owned(),
        ..Options::default()
    });
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = api
        .call_with("GET", "/apis", &[("accept", accept)], "")
        .await;
    assert_eq!(
        (answer.content_type.as_str(), &answer.body["kind"]),
        ("application/json", &"APIGroupList".into())
    );
    let version = api.get("/version").await.body;
    assert_eq!(
        (&version["major"], &version["minor"]),
        (&"1".into(), &"20".into())
    );
}

#[tokio::test]
async fn documents_beside_the_resources() {
    let api = Api::new();
    for path in ["/healthz", "/readyz", "/livez"] {
        assert_eq!(api.get(path).await.text, "ok");
    }
    assert_eq!(api.get("/openapi/v3").await.code, 404);
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let answer = api
        .send("GET", "/openapi/v2", &[("accept", accept)], "")
        .await
        .expect("no fault is injected");
    assert_eq!(
        answer.headers()["content-type"],
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    );
    check(
        r#"
        GET /apis/apps -> .name .versions .preferredVersion
        GET /apis/autoscaling -> .versions[].version
        GET /api -> .versions
        "#,
        expect![[r#"
            200 .name="apps" .versions=[{"groupVersion":"apps/v1","version":"v1"}] .preferredVersion={"groupVersion":"apps/v1","version":"v1"}
            200 .versions[].version=["v2","v1"]
            200 .versions=["v1"]
        "#]],
    )
    .await;
}

#[tokio::test]
async fn tables_have_the_columns_that_kubectl_prints() {
    let api = Api::new();
    let path = "/api/v1/namespaces/default/services";
    let table = (
        "accept",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
    );
    let answer = api.call_with("GET", path, &[table], "").await.body;
    let names: Vec<&str> = answer["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "Name",
            "Type",
            "Cluster-IP",
            "External-IP",
            "Port(s)",
            "Age",
            "Selector"
        ]
    );
    let row = &answer["rows"][0];
    assert_eq!(
        row["cells"].as_array().expect("cells")[..5].to_vec_of_text(),
        ["kubernetes", "ClusterIP", "10.96.0.1", "<none>", "443/TCP"]
    );
    assert_eq!(row["object"]["kind"], "PartialObjectMetadata");
    let whole = api
        .call_with("GET", &format!("{path}?includeObject=Object"), &[table], "")
        .await;
    assert_eq!(
        whole.body["rows"][0]["object"]["spec"]["clusterIP"],
        "10.96.0.1"
    );
}

trait Texts {
    fn to_vec_of_text(&self) -> Vec<&str>;
}

impl Texts for [Value] {
    fn to_vec_of_text(&self) -> Vec<&str> {
        self.iter().filter_map(Value::as_str).collect()
    }
}

#[tokio::test]
async fn metadata_alone_can_be_asked_for() {
    let api = Api::new();
    let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = api
        .call_with("GET", "/api/v1/namespaces", &[("accept", partial)], "")
        .await
        .body;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(list["items"][0]["metadata"]["name"], "default");
    assert_eq!(list["items"][0]["spec"], Value::Null);
}

#[tokio::test]
async fn members_of_built_in_lists_carry_no_kind() {
    let api = Api::new();
    let list = api.get("/api/v1/namespaces").await.body;
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&"NamespaceList".into(), &"v1".into())
    );
    assert_eq!(list["items"][0]["kind"], Value::Null);
}

#[tokio::test]
async fn every_listable_resource_lists() {
    let api = Api::with(Options {
        all_versions: true,
        ..Options::default()
    });
    let mut listed = 0;
    let groups = api.get("/apis").await.body;
    let mut paths = vec!["/api/v1".to_owned()];
    for group in groups["groups"].as_array().expect("groups") {
        for version in group["versions"].as_array().expect("versions") {
            paths.push(format!(
                "/apis/{}",
                version["groupVersion"].as_str().expect("text")
            ));
        }
    }
    for path in paths {
        let resources = api.get(&path).await.body;
        for resource in resources["resources"].as_array().expect("resources") {
            let verbs = resource["verbs"].as_array().expect("verbs");
            if verbs.iter().any(|verb| verb == "list") {
                let path = format!("{path}/{}", resource["name"].as_str().expect("a name"));
                let list = api.get(&path).await;
                assert_eq!(list.code, 200, "{path}");
                let kind = format!("{}List", resource["kind"].as_str().expect("a kind"));
                assert_eq!(list.body["kind"], kind, "{path}");
                listed += 1;
            }
        }
    }
    assert!(listed > 60, "{listed}");
}
