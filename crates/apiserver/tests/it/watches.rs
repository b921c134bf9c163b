//! Watches, and the faults that break them.

use futures::StreamExt;
use http_body_util::BodyExt;
use salvor_apiserver::{Fault, FaultRule, Options, ResponseBody};
use serde_json::{Value, json};

use crate::Api;

const PATH: &str = "/api/v1/namespaces/kube-public/secrets";

/// A running watch.
struct Watch {
    body: http_body_util::BodyStream<ResponseBody>,
}

impl Watch {
    async fn start(api: &Api, query: &str) -> Self {
        let response = api
            .send("GET", &format!("{PATH}?watch=true&{query}"), &[], "")
            .await
            .expect("no fault breaks the start");
        assert_eq!(response.status(), 200, "{query}");
        Self {
            body: http_body_util::BodyStream::new(response.into_body()),
        }
    }

    /// The next event as `TYPE name`; `end` when the stream ends, `cut` when it breaks.
    async fn next(&mut self) -> String {
        match self.body.next().await {
            None => "end".to_owned(),
            Some(Err(_)) => "cut".to_owned(),
            Some(Ok(frame)) => {
                let data = frame.into_data().expect("watches send data only");
                let event: Value = serde_json::from_slice(&data).expect("one document per frame");
                let object = &event["object"];
                let kind = event["type"].as_str().unwrap_or_default();
                let what = match kind {
                    "BOOKMARK" => object["metadata"]["annotations"].to_string(),
                    "ERROR" => object["code"].to_string(),
                    _ => object["metadata"]["name"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                };
                format!("{kind} {what}")
            }
        }
    }
}

async fn revision(api: &Api) -> String {
    let list = api.get(PATH).await.body;
    list["metadata"]["resourceVersion"]
        .as_str()
        .expect("lists have a revision")
        .to_owned()
}

async fn secret(api: &Api, name: &str, label: &str) {
    api.create(
        PATH,
        &json!({"metadata": {"name": name, "labels": {"l": label}}}),
    )
    .await;
}

#[tokio::test]
async fn a_watch_shows_what_happens_after_its_revision() {
    let api = Api::new();
    secret(&api, "a", "x").await;
    let start = revision(&api).await;
    secret(&api, "b", "x").await;
    let mut watch = Watch::start(&api, &format!("resourceVersion={start}")).await;
    assert_eq!(watch.next().await, "ADDED b");
    api.call("PATCH", &format!("{PATH}/a"), r#"{"data":{"k":"dg=="}}"#)
        .await;
    assert_eq!(watch.next().await, "MODIFIED a");
    api.call("DELETE", &format!("{PATH}/a"), "").await;
    assert_eq!(watch.next().await, "DELETED a");
}

#[tokio::test]
async fn without_a_revision_the_present_objects_come_first() {
    let api = Api::new();
    secret(&api, "a", "x").await;
    let mut watch = Watch::start(&api, "").await;
    assert_eq!(watch.next().await, "ADDED a");
    secret(&api, "b", "x").await;
    assert_eq!(watch.next().await, "ADDED b");
}

#[tokio::test]
async fn initial_events_end_with_an_annotated_bookmark() {
    let api = Api::new();
    secret(&api, "a", "x").await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Watch::start(&api, query).await;
    assert_eq!(watch.next().await, "ADDED a");
    assert_eq!(
        watch.next().await,
        r#"BOOKMARK {"k8s.io/initial-events-end":"true"}"#
    );
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let api = Api::new();
    let start = revision(&api).await;
    let query = format!("resourceVersion={start}&labelSelector=l%3Dx");
    let mut watch = Watch::start(&api, &query).await;
    secret(&api, "a", "y").await;
    secret(&api, "b", "x").await;
    assert_eq!(watch.next().await, "ADDED b");
    api.call(
        "PATCH",
        &format!("{PATH}/a"),
        r#"{"metadata":{"labels":{"l":"x"}}}"#,
    )
    .await;
    assert_eq!(watch.next().await, "ADDED a");
    api.call(
        "PATCH",
        &format!("{PATH}/b"),
        r#"{"metadata":{"labels":{"l":"y"}}}"#,
    )
    .await;
    assert_eq!(watch.next().await, "DELETED b");
}

#[tokio::test]
async fn a_position_that_was_compacted_is_expired() {
    let api = Api::with(Options {
        history_events: 2,
        ..Options::default()
    });
    let start = revision(&api).await;
    let mut slow = Watch::start(&api, &format!("resourceVersion={start}")).await;
    for name in ["a", "b", "c"] {
        secret(&api, name, "x").await;
    }
    assert_eq!(slow.next().await, "ERROR 410");
    assert_eq!(slow.next().await, "end");
    let late = api
        .get(&format!("{PATH}?watch=true&resourceVersion={start}"))
        .await;
    assert_eq!(
        (late.code, late.body["reason"].as_str()),
        (410, Some("Expired"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_at_its_timeout_and_says_how_far_it_was() {
    let api = Api::new();
    let start = revision(&api).await;
    let query = format!("resourceVersion={start}&timeoutSeconds=30&allowWatchBookmarks=true");
    let mut watch = Watch::start(&api, &query).await;
    assert_eq!(watch.next().await, "BOOKMARK null");
    assert_eq!(watch.next().await, "end");
}

#[tokio::test]
async fn a_watch_can_be_cut() {
    let api = Api::new();
    api.server
        .faults()
        .add(FaultRule::new(Fault::CutAfter(1)).verb("watch"));
    secret(&api, "a", "x").await;
    secret(&api, "b", "x").await;
    let mut watch = Watch::start(&api, "").await;
    assert_eq!(watch.next().await, "ADDED a");
    assert_eq!(watch.next().await, "cut");
}

#[tokio::test]
async fn a_list_can_be_cut() {
    let api = Api::new();
    secret(&api, "a", "x").await;
    secret(&api, "b", "x").await;
    api.server
        .faults()
        .add(FaultRule::new(Fault::CutAfter(1)).verb("list").times(1));
    let response = api
        .send("GET", PATH, &[], "")
        .await
        .expect("the answer starts");
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(api.get(PATH).await.code, 200);
}

#[tokio::test]
async fn a_table_can_be_watched() {
    let api = Api::new();
    secret(&api, "a", "x").await;
    let accept = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let response = api
        .send("GET", &format!("{PATH}?watch=true"), &[accept], "")
        .await
        .expect("no fault is injected");
    let mut body = http_body_util::BodyStream::new(response.into_body());
    let frame = body.next().await.expect("an event").expect("a whole event");
    let event: Value =
        serde_json::from_slice(&frame.into_data().expect("data")).expect("one document");
    assert_eq!(event["object"]["kind"], "Table");
    assert_eq!(event["object"]["rows"][0]["cells"][0], "a");
}
