//! Item actions of users in backups, restores and deletions.

use expect_test::expect;
use salvor_api::name::{BackupName, RestoreName};
use salvor_api::velero::{Backup, BackupPhase, RestorePhase};
use salvor_extension::{Actions, Origin};
use salvor_location::{Location, RunId};
use salvor_objects::backup::{BackupOptions, BackupOutcome, BackupRequest, ProgressSink, run};
use salvor_objects::extension::{LABEL, before_deletion};
use salvor_objects::restore::{Observer, RestoreOptions, apply, resume};
use salvor_testkit::webhook::{Reply, Webhook};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::restore_world::{
    carried_out, complaints, live, planned, request as restore_request, restore_all,
};
use crate::world::{Stored, World, back_up, memory_location, namespace, request};

/// A document with one action, reached by a webhook.
fn document(kind: &str, resources: &str, webhook: &Webhook) -> String {
    format!(
        "version: v1\nactions:\n- name: example.com/a\n  kind: {kind}\n  timeout: 5s\n  appliesTo: {{includedResources: [{resources}]}}\n  webhook: {{url: '{}'}}\n",
        webhook.url()
    )
}

/// Defines actions in the cluster.
async fn define(world: &World, text: &str) {
    if world.get("namespaces", None, "velero").await.is_none() {
        world.create(namespace("velero")).await;
    }
    world
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"namespace": "velero", "name": "actions", "labels": {LABEL: "v1"}},
            "data": {"actions.yaml": text}}))
        .await;
}

fn shop(backup: &mut Backup) {
    backup.spec.included_namespaces = vec!["shop".into()];
}

fn said(outcome: &BackupOutcome) -> String {
    let mut lines = Vec::new();
    for (weight, set) in [
        ("error", &outcome.results.errors),
        ("warning", &outcome.results.warnings),
    ] {
        let all = set.cluster.iter().chain(set.namespaces.values().flatten());
        lines.extend(
            all.filter(|m| !m.contains("volume"))
                .map(|m| format!("{weight}: {m}")),
        );
    }
    // Lists are read side by side.
    lines.sort();
    lines.join("\n")
}

#[tokio::test]
async fn a_backup_holds_what_the_actions_of_the_cluster_made_of_its_objects() {
    let webhook = Webhook::start(|ask| {
        let mut object = ask["object"].clone();
        match ask["item"]["name"].as_str() {
            Some("password") => object["data"]["password"] = json!("bWFza2Vk"),
            Some("settings") => {
                return Reply::Json(json!({"version": "v1", "skip": {"reason": "made anew"}}));
            }
            Some("gear") => {
                return Reply::Json(
                    json!({"version": "v1", "warnings": ["worn"], "additionalItems": [
                    {"resource": "priorityclasses.scheduling.k8s.io", "name": "high"},
                    {"resource": "configmaps", "namespace": "dev", "name": "notes"},
                    {"resource": "persistentvolumes", "name": "nowhere"}]}),
                );
            }
            _ => {}
        }
        Reply::Json(json!({"version": "v1", "object": object}))
    });
    let world = World::platform().await;
    let before = world
        .get("deployments.apps", Some("shop"), "web")
        .await
        .expect("there");
    define(
        &world,
        &document("BackupItemAction", "secrets, configmaps, widgets", &webhook),
    )
    .await;
    let location = memory_location();
    let backup = request("b", |b| {
        shop(b);
        // The pod that refers to the priority class stays out.
        b.spec.excluded_resources = vec!["pods".into()];
    });
    let outcome = back_up(&world, &location, backup).await.expect("a backup");
    assert_eq!(outcome.backup.status.phase, BackupPhase::Completed);
    let stored = Stored::read(&location, "b").await;
    let secret: Value =
        serde_json::from_slice(stored.body("resources/secrets/namespaces/shop/password.json"))
            .expect("JSON");
    assert_eq!(secret["data"]["password"], "bWFza2Vk");
    assert!(!stored.has("configmaps shop/settings"), "left out");
    assert!(
        !stored.has("configmaps dev/notes"),
        "the filters count for additional items, too"
    );
    assert!(
        stored.has("priorityclasses.scheduling.k8s.io high"),
        "additional"
    );
    let untouched = stored.body("resources/deployments.apps/namespaces/shop/web.json");
    assert_eq!(untouched, &before[..], "no action is about it");
    expect!["warning: widgets.example.io shop/gear: worn"].assert_eq(&said(&outcome));
    let asked = webhook.asked();
    let gear = asked
        .iter()
        .find(|ask| ask["item"]["name"] == "gear")
        .expect("asked");
    assert_eq!(gear["run"], json!({"backup": "b"}));
    assert_eq!(
        gear["item"],
        json!({"resource": "widgets.example.io", "namespace": "shop", "name": "gear"})
    );
    let log = stored.log();
    let reason = log
        .iter()
        .any(|line| line.to_string().contains("leaves it out: made anew"));
    assert!(reason, "the log says why");
}

#[tokio::test]
async fn an_action_that_fails_costs_its_object_and_no_other() {
    let webhook = Webhook::start(|ask| match ask["item"]["name"].as_str() {
        Some("settings") => Reply::Status(500, "oops".to_owned()),
        Some("password") => Reply::Json(json!({"version": "v1", "object": {"kind": "Pod"}})),
        _ => Reply::Json(json!({"version": "v1"})),
    });
    let world = World::platform().await;
    let text = document("BackupItemAction", "secrets, configmaps", &webhook);
    define(&world, &text).await;
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", shop))
        .await
        .expect("a backup");
    assert_eq!(outcome.backup.status.phase, BackupPhase::PartiallyFailed);
    expect![[r#"
        error: configmaps shop/settings: it was not backed up: item action `example.com/a`: it answered with status 500: oops
        error: secrets shop/password: it was not backed up: item action `example.com/a`: its answer changes apiVersion from `v1` to ``"#]].assert_eq(&said(&outcome));
    let stored = Stored::read(&location, "b").await;
    assert!(stored.has("deployments.apps shop/web") && !stored.has("secrets shop/password"));
}

#[tokio::test]
async fn definitions_that_cannot_be_used_let_nothing_begin() {
    let world = World::platform().await;
    define(
        &world,
        "version: v1\nactions: [{name: e.com/a, kind: BackupItemAction, exec: {command: [x]}}]",
    )
    .await;
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", shop))
        .await
        .expect("an outcome");
    assert_eq!(outcome.backup.status.phase, BackupPhase::FailedValidation);
    expect!["item actions in configmap actions: action `e.com/a`: exec starts a program where Salvor runs: only a file that its operator names may say so, use a webhook"].assert_eq(&outcome.backup.status.validation_errors.join("\n"));
    crate::restore_world::hand_made(&location, &[]).await;
    let asked = restore_request(&world.cluster, &location, "r", |_, _| ()).await;
    let error = planned(&asked).await.expect_err("refused");
    assert_eq!(
        error.validation_errors(),
        outcome.backup.status.validation_errors
    );
}

#[tokio::test]
async fn a_program_of_a_file_acts_as_well() {
    let world = World::platform().await;
    let location = memory_location();
    let script = r#"cat >/dev/null; echo '{"version":"v1","skip":{"reason":"no secrets"}}'"#;
    let text = json!({"version": "v1", "actions": [{"name": "e.com/a", "kind": "BackupItemAction",
        "appliesTo": {"includedResources": ["secrets"]}, "exec": {"command": ["/bin/sh", "-c", script]}}]});
    let asked = BackupRequest {
        cluster: world.cluster.clone(),
        location: location.clone(),
        backup: request("b", shop),
        options: BackupOptions {
            actions: Actions::parse(&text.to_string(), Origin::File).expect("valid"),
            ..BackupOptions::default()
        },
    };
    let outcome = run(asked, ProgressSink::none()).await.expect("a backup");
    assert_eq!(outcome.stats.skipped["an item action leaves it out"], 1);
    assert!(
        !Stored::read(&location, "b")
            .await
            .has("secrets shop/password")
    );
}

/// A backup of the shop.
async fn stored_shop() -> Location {
    let location = memory_location();
    back_up(&World::platform().await, &location, request("b", shop))
        .await
        .expect("a backup");
    location
}

#[tokio::test]
async fn a_restore_brings_back_what_the_actions_made_and_a_second_one_changes_nothing() {
    let location = stored_shop().await;
    let webhook = Webhook::start(|ask| {
        let mut object = ask["object"].clone();
        assert!(
            object["metadata"].get("uid").is_none(),
            "it is prepared already"
        );
        assert!(
            ask["backedUp"]["metadata"].get("uid").is_some(),
            "and as it stands in the backup"
        );
        match ask["item"]["name"].as_str() {
            Some("settings") => {
                object["data"]["from"] = ask["run"]["restore"].clone();
                object["data"]["from"] = json!("a restore");
            }
            Some("password") => {
                return Reply::Json(json!({"version": "v1", "skip": {"reason": "from the vault"}}));
            }
            _ => {}
        }
        Reply::Json(
            json!({"version": "v1", "object": object, "additionalItems": [
            {"resource": "widgets.example.io", "namespace": "shop", "name": "gear"},
            {"resource": "secrets", "namespace": "shop", "name": "lost"}]}),
        )
    });
    let world = World::empty();
    define(
        &world,
        &document("RestoreItemAction", "configmaps, secrets", &webhook),
    )
    .await;
    let asked = restore_request(&world.cluster, &location, "r", |r, _| {
        // The widget has no such label: an action wants it.
        r.spec.label_selector = Some(salvor_api::meta::LabelSelector {
            match_labels: [("app".to_owned(), "web".to_owned())].into(),
            ..Default::default()
        });
    })
    .await;
    let outcome = carried_out(&asked, &location).await.expect("a restore");
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    expect!["warning: secrets shop/lost: an item action wants it, but the backup does not hold it"]
        .assert_eq(&complaints(&outcome).join("\n"));
    let settings = live(&world, "configmaps", Some("shop"), "settings").await;
    assert_eq!(settings["data"]["from"], "a restore");
    let gear = live(&world, "widgets.example.io", Some("shop"), "gear").await;
    assert_eq!(gear["spec"]["teeth"], 12);
    let all = restore_all(&world, &location, "all").await;
    assert!(
        world
            .get("secrets", Some("shop"), "password")
            .await
            .is_none()
    );
    assert_eq!(
        *all.phase(),
        RestorePhase::Completed,
        "{:?}",
        complaints(&all)
    );
    let again = restore_request(&world.cluster, &location, "again", |_, _| ()).await;
    let plan = planned(&again).await.expect("a plan");
    let changes: Vec<String> = plan
        .entries
        .iter()
        .filter(|entry| entry.action.changes())
        .map(|entry| entry.source().to_string())
        .collect();
    assert_eq!(changes, [""; 0]);
}

#[tokio::test]
async fn an_action_that_fails_or_changes_its_mind_stops_its_object() {
    let location = stored_shop().await;
    let count = std::sync::atomic::AtomicU32::new(0);
    let webhook = Webhook::start(move |ask| match ask["item"]["name"].as_str() {
        Some("password") => Reply::Status(500, "oops".to_owned()),
        Some("settings") => {
            let mut object = ask["object"].clone();
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            object["data"]["number"] = json!(number.to_string());
            Reply::Json(json!({"version": "v1", "object": object}))
        }
        _ => Reply::Json(json!({"version": "v1"})),
    });
    let world = World::empty();
    define(
        &world,
        &document("RestoreItemAction", "configmaps, secrets", &webhook),
    )
    .await;
    let outcome = restore_all(&world, &location, "r").await;
    assert_eq!(*outcome.phase(), RestorePhase::PartiallyFailed);
    expect![[r#"
        error: secrets shop/password: not restored: item action `example.com/a`: it answered with status 500: oops
        error: configmaps shop/settings: the object made now is not the one that was planned: the backup, the program or the answer of an item action changed in between; plan again"#]].assert_eq(&complaints(&outcome).join("\n"));
    live(&world, "deployments.apps", Some("shop"), "web").await;
}

#[tokio::test]
async fn a_restore_is_gone_on_with_under_the_same_actions_only() {
    let location = stored_shop().await;
    let webhook =
        Webhook::start(|ask| Reply::Json(json!({"version": "v1", "object": ask["object"]})));
    let world = World::empty();
    define(
        &world,
        &document("RestoreItemAction", "configmaps", &webhook),
    )
    .await;
    let asked = restore_request(&world.cluster, &location, "r", |_, _| ()).await;
    let plan = planned(&asked).await.expect("a plan");
    let stopped = CancellationToken::new();
    stopped.cancel();
    let (run, observer) = (RunId::generate(), Observer::none());
    let outcome = Box::pin(apply(&asked, &location, plan, &run, &observer, &stopped)).await;
    assert_eq!(
        *outcome.expect("cancelled").phase(),
        RestorePhase::Cancelled
    );
    let go_on = || {
        let (world, location) = (&world, &location);
        async move {
            let (run, cancel) = (RunId::generate(), CancellationToken::new());
            let name = RestoreName::new("r").expect("valid");
            let options = RestoreOptions::default();
            let observer = Observer::none();
            let resumed = resume(
                &world.cluster,
                location,
                &name,
                options,
                &run,
                &observer,
                &cancel,
            );
            Box::pin(resumed).await
        }
    };
    world.delete("configmaps", Some("velero"), "actions").await;
    let error = go_on().await.expect_err("refused").to_string();
    assert!(error.contains("the item actions are not those"), "{error}");
    define(
        &world,
        &document("RestoreItemAction", "configmaps", &webhook),
    )
    .await;
    let outcome = go_on().await.expect("gone on with");
    assert_eq!(
        *outcome.phase(),
        RestorePhase::Completed,
        "{:?}",
        complaints(&outcome)
    );
}

#[tokio::test]
async fn a_delete_item_action_is_asked_about_its_objects_and_may_refuse() {
    let location = stored_shop().await;
    let webhook =
        Webhook::start(|_| Reply::Json(json!({"version": "v1", "error": "the audit needs it"})));
    let text = document("DeleteItemAction", "secrets", &webhook);
    let actions = Actions::parse(&text, Origin::File).expect("valid");
    let (name, cancel) = (
        BackupName::new("b").expect("valid"),
        CancellationToken::new(),
    );
    let refusals = before_deletion(&location, &name, &actions, &cancel)
        .await
        .expect("readable");
    assert_eq!(
        refusals,
        ["secrets shop/password: item action `example.com/a`: it says: the audit needs it"]
    );
    assert_eq!(
        webhook.asked().len(),
        1,
        "of the objects that it is about only"
    );
    let none = Actions::default();
    let refusals = before_deletion(&location, &name, &none, &cancel).await;
    assert!(refusals.expect("nothing is read").is_empty());
}
