//! Hooks around a backup: what was captured was captured between them, and what was held still is let go.

use std::sync::{Arc, Mutex};

use salvor_api::velero::{Backup, BackupPhase};
use salvor_objects::backup::{
    BackupError, BackupOptions, BackupOutcome, BackupRequest, ProgressSink, run,
};
use salvor_objects::hooks::{OpenHooks, OpenPod, release};
use serde_json::{Value, json};

use crate::hook_world::{Hosts, pod_with_data, set_status};
use crate::world::{Stored, World, memory_location, request};

const PRE: &str = "pre.hook.backup.velero.io/command";
const POST: &str = "post.hook.backup.velero.io/command";

async fn backed_up(
    world: &World,
    hosts: &Hosts,
    open_hooks: OpenHooks,
    change: impl FnOnce(&mut Backup),
) -> (Result<BackupOutcome, BackupError>, Option<Stored>) {
    let location = memory_location();
    let backup = BackupRequest {
        cluster: world.cluster.clone(),
        location: location.clone(),
        backup: request("b", change),
        options: BackupOptions {
            open_hooks,
            cancel: hosts.cancel.clone(),
            ..BackupOptions::default()
        },
    };
    let outcome = run(backup, ProgressSink::none()).await;
    let stored = match &outcome {
        Ok(_) => Some(Stored::read(&location, "b").await),
        Err(_) => None,
    };
    (outcome, stored)
}

async fn good(
    world: &World,
    hosts: &Hosts,
    change: impl FnOnce(&mut Backup),
) -> (BackupOutcome, Stored) {
    let (outcome, stored) = backed_up(world, hosts, OpenHooks::forget(), change).await;
    (outcome.expect("a backup"), stored.expect("stored"))
}

fn state(stored: &Stored, path: &str) -> Value {
    let body = stored.body(&format!("resources/{path}.json"));
    let object: Value = serde_json::from_slice(body).expect("JSON");
    object["metadata"]["annotations"]["state"].clone()
}

fn counts(outcome: &BackupOutcome) -> (i64, i64, &BackupPhase) {
    let status = &outcome.backup.status;
    let hooks = status.hook_status.expect("always there");
    (hooks.hooks_attempted, hooks.hooks_failed, &status.phase)
}

fn errors(outcome: &BackupOutcome) -> Vec<String> {
    let errors = &outcome.results.errors;
    errors
        .namespaces
        .values()
        .flatten()
        .chain(&errors.velero)
        .cloned()
        .collect()
}

fn hook(name: &str, pre: Value, post: Value) -> Value {
    let exec = |list: Value| -> Vec<Value> {
        let list = list.as_array().cloned().unwrap_or_default();
        list.into_iter().map(|exec| json!({"exec": exec})).collect()
    };
    json!({"name": name, "pre": exec(pre), "post": exec(post)})
}

#[tokio::test]
async fn pod_claim_and_volume_are_captured_between_the_hooks() {
    let (world, hosts) = Hosts::new().await;
    pod_with_data(
        &world,
        "annotated",
        json!({PRE: "freeze", POST: "[\"thaw\", \"-f\"]"}),
    )
    .await;
    pod_with_data(&world, "chosen", json!({})).await;
    pod_with_data(&world, "plain", json!({})).await;
    pod_with_data(&world, "ended", json!({PRE: "freeze"})).await;
    set_status(&world, "ended", json!({"phase": "Succeeded"})).await;
    let (outcome, stored) = good(&world, &hosts, |backup| {
        let mut hook = hook(
            "spec",
            json!([{"command": ["freeze"], "container": "side"}]),
            json!([{"command": ["thaw"]}]),
        );
        hook["labelSelector"] = json!({"matchLabels": {"app": "chosen"}});
        backup.spec.hooks.resources = vec![hook];
        let order = ("pods".to_owned(), "shop/chosen".to_owned());
        backup.spec.ordered_resources = [order].into();
    })
    .await;
    assert_eq!(
        counts(&outcome),
        (4, 0, &BackupPhase::Completed),
        "{:?}",
        outcome.results
    );
    assert_eq!(
        hosts.said(),
        [
            "shop/chosen side freeze",
            "shop/chosen main thaw",
            "shop/annotated main freeze",
            "shop/annotated main thaw -f"
        ]
    );
    for pod in ["annotated", "chosen"] {
        for path in [
            format!("pods/namespaces/shop/{pod}"),
            format!("persistentvolumeclaims/namespaces/shop/{pod}-data"),
            format!("persistentvolumes/cluster/{pod}-volume"),
        ] {
            assert_eq!(state(&stored, &path), "freeze", "{path}");
        }
    }
    assert_eq!(state(&stored, "pods/namespaces/shop/plain"), Value::Null);
    assert!(
        stored.has("pods shop/ended"),
        "an ended pod is taken without its hooks"
    );
    assert_eq!(stored.objects_in_order()[0], "pods shop/chosen");
}

#[tokio::test]
async fn a_failed_pre_hook_keeps_the_pod_out_unless_it_may_go_on() {
    for (mode, kept) in [("Fail", false), ("Continue", true)] {
        let (world, hosts) = Hosts::new().await;
        pod_with_data(&world, "db", json!({})).await;
        let (outcome, stored) = good(&world, &hosts, |backup| {
            let pre = json!([{"command": ["freeze"]}, {"command": ["fail"], "onError": mode}, {"command": ["third"]}]);
            backup.spec.hooks.resources = vec![hook("a", pre, json!([{"command": ["thaw"]}]))];
        })
        .await;
        assert_eq!(stored.has("pods shop/db"), kept, "{mode}");
        assert!(stored.has("persistentvolumeclaims shop/db-data"));
        let said = hosts.said();
        // What was frozen is thawed in either case.
        assert_eq!(
            said.last().map(String::as_str),
            Some("shop/db main thaw"),
            "{said:?}"
        );
        assert_eq!(said.iter().any(|line| line.ends_with("third")), kept);
        let attempted = if kept { 4 } else { 3 };
        assert_eq!(
            counts(&outcome),
            (attempted, 1, &BackupPhase::PartiallyFailed)
        );
        assert_eq!(
            errors(&outcome),
            [
                "pods shop/db: pre hook `a` failed: run `fail` in container `main` of pod shop/db: it ended with exit code 3: no such device"
            ]
        );
    }
}

#[tokio::test]
async fn a_hook_whose_end_is_not_known_has_failed_and_is_undone() {
    for (word, text) in [
        ("cut", "it is not known whether the command ended"),
        ("hang", "did not end within 0.2 s"),
    ] {
        let (world, hosts) = Hosts::new().await;
        let pre = json!([word]).to_string();
        let annotations =
            json!({PRE: pre, POST: "thaw", "pre.hook.backup.velero.io/timeout": "200ms"});
        pod_with_data(&world, "db", annotations).await;
        let (outcome, stored) = good(&world, &hosts, |_| ()).await;
        assert!(!stored.has("pods shop/db"));
        assert_eq!(
            hosts.said().last().map(String::as_str),
            Some("shop/db main thaw")
        );
        assert_eq!(counts(&outcome), (2, 1, &BackupPhase::PartiallyFailed));
        assert!(errors(&outcome)[0].contains(text), "{:?}", errors(&outcome));
    }
}

#[tokio::test]
async fn nothing_is_undone_that_was_never_begun() {
    let (world, hosts) = Hosts::new().await;
    let annotations =
        json!({PRE: "freeze", POST: "thaw", "pre.hook.backup.velero.io/container": "other"});
    pod_with_data(&world, "db", annotations).await;
    let (outcome, stored) = good(&world, &hosts, |_| ()).await;
    assert!(!stored.has("pods shop/db"));
    assert_eq!(hosts.said(), Vec::<String>::new());
    assert_eq!(
        errors(&outcome),
        ["pods shop/db: pre hook `<from-annotation>` failed: the pod has no container `other`"]
    );
}

#[tokio::test]
async fn a_failed_post_hook_is_an_error_and_the_others_run() {
    let (world, hosts) = Hosts::new().await;
    pod_with_data(&world, "db", json!({})).await;
    let (outcome, stored) = good(&world, &hosts, |backup| {
        let post = json!([{"command": ["fail"]}, {"command": ["thaw"]}]);
        backup.spec.hooks.resources = vec![hook("a", json!([]), post)];
    })
    .await;
    assert!(stored.has("pods shop/db"));
    assert_eq!(hosts.said(), ["shop/db main fail", "shop/db main thaw"]);
    assert_eq!(counts(&outcome), (2, 1, &BackupPhase::PartiallyFailed));
}

#[tokio::test]
async fn post_hooks_run_when_the_backup_is_cancelled_in_between() {
    let (world, hosts) = Hosts::new().await;
    for name in ["a", "b", "c", "d", "e", "f"] {
        pod_with_data(&world, name, json!({})).await;
    }
    let open = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&open);
    let keep = OpenHooks::new(move |pods| {
        kept.lock().expect("no panic").push(pods);
        std::future::ready(Ok(()))
    });
    let (outcome, _) = backed_up(&world, &hosts, keep, |backup| {
        let pre = json!([{"command": ["freeze"]}, {"command": ["cancel"]}]);
        backup.spec.hooks.resources = vec![hook("a", pre, json!([{"command": ["thaw"]}]))];
    })
    .await;
    assert!(outcome.expect_err("cancelled").is_cancelled());
    let said = hosts.said();
    for name in ["a", "b", "c", "d", "e", "f"] {
        let count = |word: &str| {
            let line = format!("shop/{name} main {word}");
            said.iter().filter(|said| **said == line).count()
        };
        assert!(count("thaw") >= count("freeze"), "{said:?}");
    }
    assert!(said.iter().any(|line| line.ends_with("freeze")));
    let open = open.lock().expect("no panic");
    assert!(open.iter().all(|pods| pods.len() <= 4), "{open:?}");
    assert_eq!(open.last().map(Vec::len), Some(0), "nothing is left open");
}

#[tokio::test]
async fn hooks_do_not_begin_when_that_cannot_be_recorded() {
    let (world, hosts) = Hosts::new().await;
    pod_with_data(&world, "db", json!({PRE: "freeze", POST: "thaw"})).await;
    let keep = OpenHooks::new(|_| std::future::ready(Err("the object is gone".into())));
    let (outcome, stored) = backed_up(&world, &hosts, keep, |_| ()).await;
    let outcome = outcome.expect("a backup");
    assert_eq!(hosts.said(), Vec::<String>::new());
    assert!(!stored.expect("stored").has("pods shop/db"));
    assert_eq!(counts(&outcome), (0, 0, &BackupPhase::PartiallyFailed));
    assert_eq!(
        errors(&outcome),
        [
            "pods shop/db: it was not backed up: its hooks were not begun, as it could not be recorded that they begin: the object is gone"
        ]
    );
}

#[tokio::test]
async fn what_a_killed_backup_left_open_is_let_go() {
    let (world, hosts) = Hosts::new().await;
    let stored = pod_with_data(&world, "db", json!({POST: "thaw"})).await;
    pod_with_data(&world, "sick", json!({POST: "fail"})).await;
    let open = |name: &str, uid: &Value| OpenPod {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: uid.as_str().unwrap_or_default().to_owned(),
    };
    let sick: Value = serde_json::from_slice(
        &world
            .get("pods", Some("shop"), "sick")
            .await
            .expect("there"),
    )
    .expect("JSON");
    let open = [
        open("db", &stored["metadata"]["uid"]),
        open("db", &json!("another")),
        open("sick", &sick["metadata"]["uid"]),
    ];
    let released = release(&world.cluster, &Default::default(), &open).await;
    let said: Vec<(usize, usize)> = released.iter().map(|r| (r.ran, r.problems.len())).collect();
    assert_eq!(said, [(1, 0), (0, 1), (0, 1)], "{released:?}");
    assert!(released[1].problems[0].contains("the pod is gone"));
    let mut said = hosts.said();
    said.sort();
    assert_eq!(said, ["shop/db main thaw", "shop/sick main fail"]);
}

#[tokio::test]
async fn hooks_that_cannot_be_read_are_refused_before_anything_is_done() {
    let (world, hosts) = Hosts::new().await;
    let location = memory_location();
    let backup = request("b", |backup| {
        backup.spec.hooks.resources =
            vec![json!({"name": "a", "pre": [{"exec": {"command": []}}]})];
    });
    let outcome = crate::world::back_up(&world, &location, backup)
        .await
        .expect("an outcome");
    assert_eq!(outcome.backup.status.phase, BackupPhase::FailedValidation);
    assert_eq!(
        outcome.backup.status.validation_errors,
        ["hook `a`: pre hook 1: the command is missing"]
    );
    assert!(outcome.record.is_none() && hosts.said().is_empty());
}
