//! What a restore brings back, and how.

use expect_test::expect;
use salvor_api::meta::StringMap;
use salvor_api::velero::RestorePhase;
use salvor_objects::restore::apply::Done;
use salvor_objects::restore::plan::{Action, PlanForm};
use serde_json::{Value, json};

use crate::restore_world::{
    carried_out, compared, complaints, hand_made, live, planned, request, restore_all,
    restore_file, snapshot, stored, with_spec,
};
use crate::world::{
    World, back_up, config_map, group_resource, memory_location, namespace,
    request as backup_request,
};

pub(crate) fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

pub(crate) fn pod(name: &str) -> Value {
    with_spec(
        stored("v1", "Pod", "prod", name),
        json!({"containers": [{"name": "c", "image": "docker.io/app:1"}]}),
    )
}

#[tokio::test]
async fn an_emptied_cluster_is_the_same_after_a_restore_and_a_second_one_changes_nothing() {
    let source = World::platform().await;
    let before = snapshot(&source.cluster).await;
    let location = memory_location();
    back_up(&source, &location, backup_request("b", |_| ()))
        .await
        .expect("a backup");

    let target = World::empty();
    let first = restore_all(&target, &location, "first").await;
    assert_eq!(complaints(&first), Vec::<String>::new());
    assert_eq!(*first.phase(), RestorePhase::Completed);
    let comparison = compared(&before, &target).await;
    assert!(comparison.is_clean(), "{}", comparison.report);

    let after_first = snapshot(&target.cluster).await;
    target.server.requests().clear();
    let second = restore_all(&target, &location, "second").await;
    assert_eq!(complaints(&second), Vec::<String>::new());
    assert_eq!(second.counts.len(), 0, "{:?}", second.counts);
    let writes: Vec<_> = (target.server.requests().records().into_iter())
        .filter(|r| !matches!(r.verb.as_str(), "get" | "list" | "discovery"))
        .collect();
    assert_eq!(writes, [], "the second restore wrote");
    assert_eq!(snapshot(&target.cluster).await, after_first);
}

#[tokio::test]
async fn a_namespace_and_a_definition_that_were_deleted_come_back_into_the_same_cluster() {
    let world = World::platform().await;
    let before = snapshot(&world.cluster).await;
    let location = memory_location();
    back_up(&world, &location, backup_request("b", |_| ()))
        .await
        .expect("a backup");
    world.delete("namespaces", None, "shop").await;
    world
        .delete("customresourcedefinitions", None, "widgets.example.io")
        .await;
    let lost = compared(&before, &world).await;
    assert!(!lost.is_clean());

    let outcome = restore_all(&world, &location, "r").await;
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    let comparison = compared(&before, &world).await;
    assert!(comparison.is_clean(), "{}", comparison.report);
}

#[tokio::test]
async fn definitions_come_before_their_resources_and_webhooks_last() {
    let location = memory_location();
    let webhook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "checks"}, "webhooks": [{"name": "a.example.io", "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        "clientConfig": {"service": {"namespace": "prod", "name": "hooks"}}}]});
    let widget = with_spec(
        stored("example.io/v1", "Widget", "prod", "w"),
        json!({"a": 1}),
    );
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.io"}, "spec": {"group": "example.io", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
            {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let deployment = with_spec(
        stored("apps/v1", "Deployment", "prod", "web"),
        json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}}),
    );
    hand_made(
        &location,
        &[
            (
                "validatingwebhookconfigurations.admissionregistration.k8s.io",
                webhook,
            ),
            ("widgets.example.io", widget),
            ("deployments.apps", deployment),
            ("configmaps", config_map("prod", "a")),
            ("pods", pod("p")),
            ("customresourcedefinitions.apiextensions.k8s.io", crd),
        ],
    )
    .await;
    let world = World::empty();
    world.server.requests().clear();
    let outcome = restore_all(&world, &location, "r").await;
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    let mut created: Vec<String> = (world.server.requests().records().into_iter())
        .filter(|r| r.verb == "create" && r.code == 201)
        .filter_map(|r| r.resource.map(|r| r.resource))
        .collect();
    // These two are of one stage, where objects are created side by side.
    created[4..6].sort();
    assert_eq!(
        created,
        [
            "customresourcedefinitions",
            "namespaces",
            "configmaps",
            "pods",
            "deployments",
            "widgets",
            "validatingwebhookconfigurations",
        ]
    );
}

#[tokio::test]
async fn a_namespace_mapping_moves_objects_subjects_and_claim_references() {
    let source = World::platform().await;
    let location = memory_location();
    back_up(&source, &location, backup_request("b", |_| ()))
        .await
        .expect("a backup");
    let target = World::empty();
    let request = request(&target.cluster, &location, "r", |r, _| {
        r.spec.namespace_mapping = StringMap::from([("shop".to_owned(), "copy".to_owned())]);
    })
    .await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    assert!(target.get("namespaces", None, "shop").await.is_none());
    let map = live(&target, "configmaps", Some("copy"), "settings").await;
    assert_eq!(map["data"]["greeting"], "안녕하세요");
    let binding = live(&target, "clusterrolebindings", None, "shop-web").await;
    assert_eq!(binding["subjects"][0]["namespace"], "copy");
    let volume = live(&target, "persistentvolumes", None, "pv-data").await;
    assert_eq!(volume["spec"]["claimRef"]["namespace"], "copy");
    let namespace = live(&target, "namespaces", None, "copy").await;
    assert_eq!(
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"],
        "copy"
    );
}

/// The world of the policy tests: one map that is equal, one that differs, one that is missing.
async fn half_there() -> (World, salvor_location::Location) {
    let location = memory_location();
    let mut changed = config_map("prod", "changed");
    changed["data"] = json!({"key": "from the backup"});
    hand_made(
        &location,
        &[
            ("configmaps", config_map("prod", "equal")),
            ("configmaps", changed),
            ("configmaps", config_map("prod", "missing")),
        ],
    )
    .await;
    let world = World::empty();
    world.create(namespace("prod")).await;
    world.create(config_map("prod", "equal")).await;
    let mut in_cluster = config_map("prod", "changed");
    in_cluster["data"]["extra"] = json!("x");
    world.create(in_cluster).await;
    (world, location)
}

#[tokio::test]
async fn what_exists_and_differs_is_left_alone_with_a_warning_by_default() {
    let (world, location) = half_there().await;
    let outcome = restore_all(&world, &location, "r").await;
    expect![[r#"
        warning: configmaps prod/changed: could not restore, configmaps prod/changed already exists. Warning: the in-cluster version is different than the backed-up version"#]]
    .assert_eq(&complaints(&outcome).join("\n"));
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    let map = live(&world, "configmaps", Some("prod"), "changed").await;
    assert_eq!(map["data"], json!({"key": "value", "extra": "x"}));
    let list: Value = serde_json::from_slice(
        &restore_file(&location, "r", "restore-r-resource-list.json.gz").await,
    )
    .expect("JSON");
    assert_eq!(
        list["v1/ConfigMap"],
        json!([
            "prod/changed(skipped)",
            "prod/equal(skipped)",
            "prod/missing(created)"
        ])
    );
}

#[tokio::test]
async fn the_update_policy_patches_what_differs() {
    let (world, location) = half_there().await;
    let request = request(&world.cluster, &location, "r", |r, _| {
        r.spec.existing_resource_policy = "update".to_owned();
    })
    .await;
    let before = live(&world, "configmaps", Some("prod"), "changed").await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    assert_eq!(outcome.counts.get(&Done::Updated), Some(&1));
    let map = live(&world, "configmaps", Some("prod"), "changed").await;
    assert_eq!(map["data"], json!({"key": "from the backup"}));
    assert_eq!(map["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(map["metadata"]["labels"]["velero.io/restore-name"], "r");
}

#[tokio::test]
async fn the_recreate_policy_makes_what_differs_anew_but_nothing_that_holds_data() {
    let (world, location) = half_there().await;
    let request = request(&world.cluster, &location, "r", |r, _| {
        r.spec.existing_resource_policy = "recreate".to_owned();
    })
    .await;
    let before = live(&world, "configmaps", Some("prod"), "changed").await;
    carried_out(&request, &location).await.expect("a restore");
    let map = live(&world, "configmaps", Some("prod"), "changed").await;
    assert_eq!(map["data"], json!({"key": "from the backup"}));
    assert_ne!(map["metadata"]["uid"], before["metadata"]["uid"]);

    let other = memory_location();
    let claim = |size: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"namespace": "prod", "name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}})
    };
    hand_made(&other, &[("persistentvolumeclaims", claim("2Gi"))]).await;
    world.create(claim("1Gi")).await;
    let request = crate::restore_world::request(&world.cluster, &other, "r2", |r, _| {
        r.spec.existing_resource_policy = "recreate".to_owned();
    })
    .await;
    let plan = planned(&request).await.expect("a plan");
    assert_eq!(plan.entries.len(), 1);
    assert_eq!(plan.entries[0].action, Action::Conflict);
    let reason = plan.entries[0].reason.as_deref().unwrap_or_default();
    assert!(reason.contains("deleting a claim"), "{reason}");
}

#[tokio::test]
async fn what_has_ended_or_belongs_to_the_control_plane_stays_away_with_its_reason_in_the_log() {
    let location = memory_location();
    let mut done = pod("done");
    done["status"] = json!({"phase": "Succeeded"});
    let mut mirror = pod("mirror");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let mut job = with_spec(
        stored("batch/v1", "Job", "prod", "finished"),
        json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}),
    );
    job["status"] = json!({"completionTime": "2026-01-01T00:00:00Z"});
    let mut token = stored("v1", "Secret", "prod", "web-token-abcde");
    token["type"] = json!("kubernetes.io/service-account-token");
    token["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": "web"});
    let mut api_service = with_spec(
        stored("apiregistration.k8s.io/v1", "APIService", "", "v1.apps"),
        json!({}),
    );
    api_service["metadata"]["labels"] =
        json!({"kube-aggregator.kubernetes.io/automanaged": "onstart"});
    hand_made(
        &location,
        &[
            ("pods", done),
            ("pods", mirror),
            ("jobs.batch", job),
            ("secrets", token),
            ("apiservices.apiregistration.k8s.io", api_service),
            (
                "nodes",
                with_spec(stored("v1", "Node", "", "n1"), json!({})),
            ),
            ("events", stored("v1", "Event", "prod", "e")),
        ],
    )
    .await;
    let world = World::empty();
    let request = request(&world.cluster, &location, "r", |_, _| ()).await;
    let plan = planned(&request).await.expect("a plan");
    expect![[r#"
        STAGE         ACTION  RESOURCE                            NAME                  REASON
        settings      skip    secrets                             prod/web-token-abcde  the token of a service account is generated for each incarnation
        pods          skip    pods                                prod/done             the pod has run to its end
        pods          skip    pods                                prod/mirror           a mirror pod: its kubelet makes it from a file
        rest          skip    events                              prod/e                this resource is never restored: it belongs to one cluster
        rest          skip    jobs.batch                          prod/finished         the job has run to its end
        rest          skip    nodes                               n1                    this resource is never restored: it belongs to one cluster
        api-services  skip    apiservices.apiregistration.k8s.io  v1.apps               the API server registers it itself

        7 skip
    "#]]
    .assert_eq(&plan.render(PlanForm::Table));
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    let log =
        String::from_utf8(restore_file(&location, "r", "restore-r-logs.gz").await).expect("text");
    for entry in &plan.entries {
        let reason = entry.reason.as_deref().expect("every skip has a reason");
        let name = format!("\"name\":\"{}\"", entry.source().name);
        let told = log
            .lines()
            .any(|line| line.contains(reason) && line.contains(&name));
        assert!(told, "{} is not in the log: {log}", entry.source());
    }
}

#[tokio::test]
async fn broken_requests_are_refused_with_every_rule_that_they_break() {
    let location = memory_location();
    hand_made(&location, &[("configmaps", config_map("prod", "a"))]).await;
    let world = World::empty();
    let request = request(&world.cluster, &location, "r", |r, _| {
        r.spec.included_resources = strings(&["nodes"]);
        r.spec.existing_resource_policy = "overwrite".to_owned();
        r.spec.schedule_name = "nightly".to_owned();
        r.spec.namespace_mapping = StringMap::from([("prod".to_owned(), "Not_Valid".to_owned())]);
    })
    .await;
    let error = planned(&request).await.expect_err("four rules are broken");
    assert_eq!(error.validation_errors().len(), 4, "{error}");
}

#[tokio::test]
async fn one_object_is_restored_by_resource_and_name() {
    let source = World::platform().await;
    let location = memory_location();
    back_up(&source, &location, backup_request("b", |_| ()))
        .await
        .expect("a backup");
    let target = World::empty();
    let request = request(&target.cluster, &location, "r", |r, o| {
        r.spec.included_resources = strings(&["deployments.apps"]);
        o.names = strings(&["web"]);
    })
    .await;
    let plan = planned(&request).await.expect("a plan");
    let planned: Vec<String> = plan
        .entries
        .iter()
        .map(|e| format!("{} {}", e.action, e.source()))
        .collect();
    assert_eq!(
        planned,
        ["create namespaces shop", "create deployments.apps shop/web"]
    );
}

#[tokio::test]
async fn filters_take_related_volumes_and_definitions_along() {
    let source = World::platform().await;
    let location = memory_location();
    back_up(&source, &location, backup_request("b", |_| ()))
        .await
        .expect("a backup");
    let target = World::empty();
    let request = request(&target.cluster, &location, "r", |r, _| {
        r.spec.included_namespaces = strings(&["shop"]);
    })
    .await;
    let plan = planned(&request).await.expect("a plan");
    let mut created: Vec<String> = (plan.entries.iter())
        .filter(|e| e.action == Action::Create && e.source().namespace.is_none())
        .map(|e| e.source().to_string())
        .collect();
    created.sort();
    assert_eq!(
        created,
        [
            "customresourcedefinitions.apiextensions.k8s.io widgets.example.io",
            "namespaces shop",
            "persistentvolumes pv-data",
            "priorityclasses.scheduling.k8s.io high",
        ]
    );
}

#[tokio::test]
async fn an_archive_without_resources_restores_nothing_with_a_warning() {
    let location = memory_location();
    hand_made(&location, &[]).await;
    let world = World::empty();
    let outcome = restore_all(&world, &location, "r").await;
    assert_eq!(*outcome.phase(), RestorePhase::Completed);
    assert_eq!(outcome.results.errors.count(), 0);
    assert!(outcome.results.warnings.count() > 0);
}

#[tokio::test]
async fn the_plan_of_a_dry_run_names_every_object_and_what_does_not_fit() {
    let (world, location) = half_there().await;
    world
        .create(json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"namespace": "prod", "name": "few"},
            "spec": {"hard": {"configmaps": "0"}}, "status": {"hard": {"configmaps": "0"}}}))
        .await;
    let request = request(&world.cluster, &location, "r", |_, _| ()).await;
    let plan = planned(&request).await.expect("a plan");
    let before = snapshot(&world.cluster).await;
    expect![[r#"
        STAGE     ACTION     RESOURCE    NAME          REASON
        settings  conflict   configmaps  prod/changed  it exists and differs; existing-resource-policy none leaves it alone
        settings  unchanged  configmaps  prod/equal
        settings  create     configmaps  prod/missing

        1 create, 1 unchanged, 1 conflict
        problem: quota prod/few has 0 of configmaps left, the restore needs 1 (quota)
    "#]]
    .assert_eq(&plan.render(PlanForm::Table));
    let document: Value = serde_json::from_str(&plan.render(PlanForm::Json)).expect("JSON");
    assert_eq!(
        document["summary"],
        json!({"create": 1, "unchanged": 1, "conflict": 1})
    );
    assert!(plan.render(PlanForm::Yaml).contains("kind: RestorePlan"));
    let stored = plan.encode().expect("memory");
    let read = salvor_objects::restore::RestorePlan::decode(&stored).expect("what was written");
    assert_eq!(read, plan);
    assert_eq!(
        snapshot(&world.cluster).await,
        before,
        "planning changes nothing"
    );
}

#[tokio::test]
async fn what_changed_after_the_plan_is_left_alone_and_told() {
    let (world, location) = half_there().await;
    let request = request(&world.cluster, &location, "r", |r, _| {
        r.spec.existing_resource_policy = "update".to_owned();
    })
    .await;
    let plan = planned(&request).await.expect("a plan");
    let configmaps = world.resource("configmaps").await;
    let patch = json!({"data": {"key": "newer"}}).to_string();
    let options = salvor_cluster::WriteOptions::default();
    world
        .cluster
        .merge_patch(
            &configmaps,
            Some("prod"),
            "changed",
            None,
            patch.as_bytes(),
            &options,
        )
        .await
        .expect("patched");
    world.create(config_map("prod", "missing")).await;
    let outcome = salvor_objects::restore::apply(
        &request,
        &location,
        plan,
        &salvor_location::RunId::generate(),
        &salvor_objects::restore::Observer::none(),
        &tokio_util::sync::CancellationToken::new(),
    )
    .await
    .expect("a restore");
    expect![[r#"
        warning: configmaps prod/changed: configmaps prod/changed was changed after the plan was made; it is left alone"#]]
    .assert_eq(&complaints(&outcome).join("\n"));
    let map = live(&world, "configmaps", Some("prod"), "changed").await;
    assert_eq!(map["data"]["key"], "newer");
    assert!(group_resource("configmaps").group.is_empty());
}

#[tokio::test]
async fn an_undelete_brings_an_object_with_what_it_needs_and_a_namespace_with_everything() {
    let source = World::platform().await;
    let location = memory_location();
    back_up(&source, &location, backup_request("b", |_| ()))
        .await
        .expect("a backup");
    let name = salvor_api::name::BackupName::new("b").expect("valid");
    let backup = salvor_objects::restore::Source::open(&location, &name)
        .await
        .expect("open");
    let key = |resource: &str, namespace: &str, name: &str| {
        salvor_api::resource::ObjectKey::namespaced(group_resource(resource), namespace, name)
    };
    let one = salvor_objects::restore::closure(&backup.archive, &[key("pods", "shop", "db-0")])
        .expect("readable");
    let names: Vec<String> = one.keys.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "namespaces shop",
            "persistentvolumeclaims shop/data",
            "persistentvolumes pv-data",
            "pods shop/db-0",
            "priorityclasses.scheduling.k8s.io high",
            "serviceaccounts shop/web",
        ]
    );
    let shop = salvor_api::resource::ObjectKey::cluster(group_resource("namespaces"), "shop");
    let all = salvor_objects::restore::closure(&backup.archive, &[shop]).expect("readable");
    assert!(
        all.keys
            .contains(&key("widgets.example.io", "shop", "gear"))
    );
    assert!(all.keys.iter().any(|k| k.name == "widgets.example.io"));
    assert!(
        !all.keys
            .iter()
            .any(|k| k.namespace.as_deref() == Some("dev"))
    );

    let before = snapshot(&source.cluster).await;
    source.delete("namespaces", None, "shop").await;
    let request = request(&source.cluster, &location, "r", |_, o| {
        o.only = Some(all.keys.clone());
    })
    .await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    let comparison = compared(&before, &source).await;
    assert!(comparison.is_clean(), "{}", comparison.report);
}
