//! Actions that break the contract: each is a clear error about the object, in time and in bounded memory.

use std::time::{Duration, Instant};

use expect_test::expect;
use salvor_api::resource::ObjectKey;
use salvor_extension::{ActionKind, Actions, Occasion, Origin, Outcome, Subject};
use salvor_testkit::webhook::{Reply, Webhook};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

fn object() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "shop"}})
}

fn actions(kind: &str, transport: &str, more: &str) -> Actions {
    let text = format!(
        "version: v1\nactions:\n- name: example.com/a\n  kind: {kind}\n  timeout: 300ms\n  {transport}\n  {more}\n"
    );
    Actions::parse(&text, Origin::File).expect("valid")
}

async fn ask_until(
    actions: &Actions,
    kind: ActionKind,
    cancel: &CancellationToken,
) -> Result<Outcome, String> {
    let subject = Subject {
        kind,
        occasion: &Occasion::default(),
        key: &ObjectKey::namespaced("configmaps".parse().expect("a resource"), "shop", "a"),
    };
    let asked = actions.ask(&subject, object(), None, cancel);
    asked.await.map_err(|failed| failed.chain())
}

async fn ask(actions: &Actions, kind: ActionKind) -> Result<Outcome, String> {
    ask_until(actions, kind, &CancellationToken::new()).await
}

#[tokio::test]
async fn answers_that_break_the_contract_are_errors_that_say_how() {
    let changed = |pointer: &str, value: Value| {
        let mut object = object();
        *object.pointer_mut(pointer).expect("a field") = value;
        Reply::Json(json!({"version": "v1", "object": object}))
    };
    let replies = [
        Reply::Never,
        Reply::Endless,
        Reply::Status(500, "panic:\nat line 3".to_owned()),
        Reply::Status(302, String::new()),
        Reply::Text("<html>".to_owned()),
        Reply::Text(String::new()),
        Reply::Json(json!({"version": "v2"})),
        Reply::Json(json!({"version": "v1", "objekt": {}})),
        Reply::Json(json!({"version": "v1", "object": "text"})),
        Reply::Json(json!({"version": "v1", "object": {}})),
        changed("/kind", json!("Secret")),
        changed("/apiVersion", json!("v2")),
        changed("/metadata/name", json!("b")),
        changed("/metadata/namespace", json!(null)),
        Reply::Json(
            json!({"version": "v1", "additionalItems": [{"resource": "pods", "name": ""}]}),
        ),
        Reply::Json(json!({"version": "v1", "error": "no such ticket"})),
    ];
    let mut said = String::new();
    for reply in replies {
        let webhook = Webhook::start(move |_| reply.clone());
        let transport = format!("webhook: {{url: '{}'}}", webhook.url());
        let began = Instant::now();
        let actions = actions("BackupItemAction", &transport, "");
        let error = ask(&actions, ActionKind::BackupItemAction)
            .await
            .expect_err("refused");
        assert!(began.elapsed() < Duration::from_secs(20), "{error}");
        said.push_str(&error);
        said.push('\n');
    }
    expect![[r#"
        item action `example.com/a`: no answer within 0.3s
        item action `example.com/a`: its answer is longer than 8388608 bytes
        item action `example.com/a`: it answered with status 500: panic: at line 3
        item action `example.com/a`: it answered with status 302: it said nothing
        item action `example.com/a`: its answer is not JSON of the contract: expected value at line 1 column 1
        item action `example.com/a`: its answer is not JSON of the contract: EOF while parsing a value at line 1 column 0
        item action `example.com/a`: its answer has version `v2`, v1 is needed
        item action `example.com/a`: its answer is not JSON of the contract: unknown field `objekt`, expected one of `version`, `object`, `skip`, `additionalItems`, `warnings`, `error` at line 1 column 24
        item action `example.com/a`: its answer has an object that is none
        item action `example.com/a`: its answer changes apiVersion from `v1` to ``
        item action `example.com/a`: its answer changes kind from `ConfigMap` to `Secret`
        item action `example.com/a`: its answer changes apiVersion from `v1` to `v2`
        item action `example.com/a`: its answer changes metadata.name from `a` to `b`
        item action `example.com/a`: its answer changes metadata.namespace from `shop` to ``
        item action `example.com/a`: its answer has an additional item without a resource or name
        item action `example.com/a`: it says: no such ticket
    "#]].assert_eq(&said);
}

#[tokio::test]
async fn an_endpoint_that_hangs_up_or_is_not_there_is_an_error() {
    let webhook = Webhook::start(|_| Reply::HangUp);
    let transport = format!("webhook: {{url: '{}'}}", webhook.url());
    let hung_up = actions("BackupItemAction", &transport, "");
    let error = ask(&hung_up, ActionKind::BackupItemAction)
        .await
        .expect_err("refused");
    assert!(error.contains("reach http://127.0.0.1"), "{error}");
    drop(webhook);
    let error = ask(&hung_up, ActionKind::BackupItemAction)
        .await
        .expect_err("refused");
    assert!(error.contains("reach http://127.0.0.1"), "{error}");
}

#[tokio::test]
async fn a_deletion_takes_no_object() {
    let webhook =
        Webhook::start(|ask| Reply::Json(json!({"version": "v1", "object": ask["object"]})));
    let transport = format!("webhook: {{url: '{}'}}", webhook.url());
    let actions = actions("DeleteItemAction", &transport, "");
    let error = ask(&actions, ActionKind::DeleteItemAction)
        .await
        .expect_err("refused");
    assert!(error.contains("mean nothing for a deletion"), "{error}");
}

#[tokio::test]
async fn a_failure_that_may_be_continued_leaves_the_object_and_warns() {
    let webhook = Webhook::start(|_| Reply::Status(503, "busy".to_owned()));
    let transport = format!("webhook: {{url: '{}'}}", webhook.url());
    let actions = actions("BackupItemAction", &transport, "onFailure: Continue");
    let outcome = ask(&actions, ActionKind::BackupItemAction)
        .await
        .expect("an outcome");
    assert_eq!(outcome.object, object());
    assert_eq!(
        outcome.warnings,
        ["item action `example.com/a`: it answered with status 503: busy"]
    );
}

#[tokio::test]
async fn programs_that_fail_hang_or_talk_for_ever_are_ended() {
    let mut said = String::new();
    for script in [
        "echo oops >&2; exit 3",
        "sleep 60 & sleep 60",
        "cat /dev/zero",
        "echo '{\"version\": \"v1\"} trailing'",
        "exec </dev/null; true",
    ] {
        let transport = format!(
            "exec: {{command: [/bin/sh, -c, \"{}\"]}}",
            script.replace('"', "\\\"")
        );
        let slow = actions("BackupItemAction", &transport, "");
        let began = Instant::now();
        let error = ask(&slow, ActionKind::BackupItemAction)
            .await
            .expect_err("refused");
        assert!(began.elapsed() < Duration::from_secs(20), "{error}");
        said.push_str(&error);
        said.push('\n');
    }
    let absent = actions("BackupItemAction", "exec: {command: [/does/not/exist]}", "");
    said.push_str(
        &ask(&absent, ActionKind::BackupItemAction)
            .await
            .expect_err("refused"),
    );
    expect![[r#"
        item action `example.com/a`: the program ended with exit status: 3: oops
        item action `example.com/a`: no answer within 0.3s
        item action `example.com/a`: its answer is longer than 8388608 bytes
        item action `example.com/a`: its answer is not JSON of the contract: trailing characters at line 1 column 19
        item action `example.com/a`: its answer is not JSON of the contract: EOF while parsing a value at line 1 column 0
        item action `example.com/a`: start `/does/not/exist`: No such file or directory (os error 2)"#]].assert_eq(&said);
}

#[tokio::test]
async fn a_caller_who_gives_up_is_not_kept_waiting() {
    let webhook = Webhook::start(|_| Reply::Never);
    let text = format!(
        "version: v1\nactions: [{{name: e.com/a, kind: BackupItemAction, timeout: 5m, onFailure: Continue, webhook: {{url: '{}'}}}}]",
        webhook.url()
    );
    let actions = Actions::parse(&text, Origin::File).expect("valid");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = ask_until(&actions, ActionKind::BackupItemAction, &cancel).await;
    assert_eq!(
        error.expect_err("cancelled"),
        "item action `e.com/a`: cancelled"
    );
}

#[tokio::test]
async fn actions_run_in_the_order_of_their_names_each_on_what_the_one_before_made() {
    let webhook = Webhook::start(|ask| {
        let mut object = ask["object"].clone();
        let seen = object["data"]["seen"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let name = ask["action"].as_str().unwrap_or_default();
        object["data"]["seen"] = json!(format!("{seen}{name} "));
        let skip = (name == "c.com/x").then(|| json!({"reason": "enough"}));
        Reply::Json(json!({"version": "v1", "object": object, "skip": skip}))
    });
    let one = |name: &str| {
        let text = format!(
            "version: v1\nactions: [{{name: {name}, kind: BackupItemAction, webhook: {{url: '{}'}}}}]",
            webhook.url()
        );
        Actions::parse(&text, Origin::Cluster).expect("valid")
    };
    let all = ["d.com/x", "b.com/x", "c.com/x", "a.com/x"]
        .iter()
        .try_fold(Actions::default(), |all, name| all.with(&one(name)))
        .expect("different names");
    assert_eq!(
        all.with(&one("a.com/x")),
        Err(vec!["action `a.com/x` is defined twice".to_owned()])
    );
    let outcome = ask(&all, ActionKind::BackupItemAction)
        .await
        .expect("an outcome");
    assert_eq!(outcome.object["data"]["seen"], "a.com/x b.com/x c.com/x ");
    assert_eq!(
        outcome.skip.as_deref(),
        Some("item action `c.com/x` leaves it out: enough")
    );
}
