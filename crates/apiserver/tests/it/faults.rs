//! Injected faults and the record of requests.

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_apiserver::{Fault, FaultRule};
use serde_json::json;

use crate::Api;

const PATH: &str = "/api/v1/namespaces/default/configmaps";

fn config_maps() -> GroupResource {
    GroupResource::new("configmaps", "")
}

#[tokio::test]
async fn refusals_are_counted_and_end() {
    for (fault, code, reason) in [
        (
            Fault::TooManyRequests { retry_after: 3 },
            429,
            "TooManyRequests",
        ),
        (Fault::ServerError(500), 500, "InternalError"),
        (Fault::ServerError(503), 503, "ServiceUnavailable"),
        (Fault::Conflict, 409, "Conflict"),
        (Fault::Forbidden, 403, "Forbidden"),
        (Fault::Expired, 410, "Expired"),
    ] {
        let api = Api::new();
        let rule = FaultRule::new(fault)
            .verb("create")
            .resource(config_maps())
            .name("b");
        api.server.faults().add(rule.after(1).times(2));
        let body = |name: &str| json!({"metadata": {"name": name}}).to_string();
        let mut codes = Vec::new();
        for name in ["a", "b", "b", "b", "b"] {
            let answer = api.call("POST", PATH, &body(name)).await;
            if answer.code == code && answer.body["reason"] != "AlreadyExists" {
                assert_eq!(answer.body["reason"], reason);
            }
            codes.push(answer.code);
        }
        assert_eq!(codes, [201, 201, code, code, 409], "{reason}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_the_change() {
    let api = Api::new();
    api.server
        .faults()
        .add(FaultRule::new(Fault::LostAnswer).verb("create").times(1));
    let body = r#"{"metadata":{"name":"a"}}"#;
    let lost = api
        .send("POST", PATH, &[("content-type", "application/json")], body)
        .await;
    assert!(lost.is_err());
    assert_eq!(api.get(&format!("{PATH}/a")).await.code, 200);

    api.server.faults().add(
        FaultRule::new(Fault::ConnectionLost)
            .verb("delete")
            .times(1),
    );
    assert!(
        api.send("DELETE", &format!("{PATH}/a"), &[], "")
            .await
            .is_err()
    );
    assert_eq!(api.get(&format!("{PATH}/a")).await.code, 200);
}

#[tokio::test]
async fn a_webhook_denies_until_what_it_needs_exists() {
    let api = Api::new();
    let until = ObjectKey::namespaced(config_maps(), "default", "policy");
    api.server.faults().add(
        FaultRule::new(Fault::DeniedByWebhook {
            webhook: "check.example.com".to_owned(),
            message: "no policy".to_owned(),
            code: 403,
            until: Some(until),
        })
        .resource(GroupResource::new("secrets", "")),
    );
    let secrets = "/api/v1/namespaces/default/secrets";
    let denied = api
        .call("POST", secrets, r#"{"metadata":{"name":"s"}}"#)
        .await;
    assert_eq!(denied.code, 403);
    assert_eq!(
        denied.body["message"],
        "admission webhook \"check.example.com\" denied the request: no policy"
    );
    api.create(PATH, &json!({"metadata": {"name": "policy"}}))
        .await;
    api.create(secrets, &json!({"metadata": {"name": "s"}}))
        .await;
}

#[tokio::test]
async fn a_broken_aggregated_api_is_stale_and_the_rest_is_not() {
    let api = Api::new();
    api.server
        .faults()
        .add(FaultRule::new(Fault::GroupUnavailable).group("policy"));
    assert_eq!(api.get("/apis/policy/v1").await.code, 503);
    assert_eq!(
        api.get("/apis/policy/v1/poddisruptionbudgets").await.code,
        503
    );
    assert_eq!(api.get("/apis/apps/v1").await.code, 200);
    let groups = api.get("/apis").await.body;
    assert!(
        groups["groups"]
            .as_array()
            .is_some_and(|all| all.iter().any(|g| g["name"] == "policy"))
    );
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = api
        .call_with("GET", "/apis", &[("accept", accept)], "")
        .await
        .body;
    for group in all["items"].as_array().expect("groups") {
        let wanted = if group["metadata"]["name"] == "policy" {
            "Stale"
        } else {
            "Current"
        };
        assert_eq!(group["versions"][0]["freshness"], wanted);
    }
}

#[tokio::test]
async fn requests_are_recorded() {
    let api = Api::new();
    api.create(PATH, &json!({"metadata": {"name": "a"}})).await;
    api.get(&format!("{PATH}/a")).await;
    api.get(&format!("{PATH}/b")).await;
    api.get("/version").await;
    let requests = api.server.requests();
    assert_eq!(requests.count("create", &config_maps()), 1);
    assert_eq!(requests.count("get", &config_maps()), 2);
    let codes: Vec<u16> = requests.records().iter().map(|one| one.code).collect();
    assert_eq!(codes, [201, 200, 404, 200]);
    assert_eq!(requests.records()[0].name.as_deref(), Some("a"));
    assert_eq!(requests.most_in_flight(), 1);
    requests.clear();
    assert!(requests.records().is_empty());
}
