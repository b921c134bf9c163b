//! Resource policies and modifiers: refused where they are wrong, obeyed where they are right.

use expect_test::{Expect, expect};
use salvor_api::meta::TypedLocalObjectReference;
use salvor_api::resource_policy::Use;
use salvor_api::velero::{Backup, BackupPhase};
use salvor_objects::backup::{BackupOptions, BackupRequest, ProgressSink, run};
use salvor_objects::policy;
use serde_json::json;

use crate::restore_world::{planned, request as restore_request};
use crate::world::{Stored, World, back_up, memory_location, namespace, request};

fn reference(name: &str) -> Option<TypedLocalObjectReference> {
    Some(TypedLocalObjectReference {
        api_group: None,
        kind: "configmap".into(),
        name: name.into(),
    })
}

/// The platform, and a ConfigMap `policy` with these keys in the backup's namespace.
async fn with_policy(data: &[(&str, &str)]) -> World {
    let world = World::platform().await;
    keep_policy(&world, data).await;
    world
}

async fn keep_policy(world: &World, data: &[(&str, &str)]) {
    world.create(namespace("velero")).await;
    let data: serde_json::Map<_, _> = data
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "velero", "name": "policy"}, "data": data});
    world.create(map).await;
}

/// Backs up namespace `shop` under a policy, and compares its objects and what was said.
async fn check(yaml: &str, change: impl FnOnce(&mut Backup), expected: &Expect) {
    let world = with_policy(&[("policy.yaml", yaml)]).await;
    let location = memory_location();
    let backup = request("b", |b| {
        b.spec.included_namespaces = vec!["shop".into()];
        b.spec.resource_policy = reference("policy");
        change(b);
    });
    let outcome = back_up(&world, &location, backup).await.expect("a backup");
    let stored = Stored::read(&location, "b").await;
    let mut text = format!("{}\n", outcome.backup.status.phase);
    for object in stored.objects() {
        if !object.ends_with("/kube-root-ca.crt") && !object.ends_with("/default") {
            text.push_str(&format!("{object}\n"));
        }
    }
    for (weight, set) in [
        ("error", &outcome.results.errors),
        ("warning", &outcome.results.warnings),
    ] {
        let namespaced = set.namespaces.values().flatten();
        for message in set.velero.iter().chain(&set.cluster).chain(namespaced) {
            text.push_str(&format!("{weight}: {message}\n"));
        }
    }
    for volume in stored
        .json("volumeinfo.json.gz")
        .as_array()
        .expect("a list")
    {
        let field = |name: &str| volume[name].as_str().unwrap_or_default();
        text.push_str(&format!(
            "{}: {}\n",
            field("pvName"),
            field("skippedReason")
        ));
    }
    expected.assert_eq(&text);
}

#[tokio::test]
async fn policies_that_cannot_be_used_fail_validation_with_the_reason() {
    let good = "version: v1\nvolumePolicies: []\n";
    let lists =
        "version: v1\nincludeExcludePolicy: {excludedNamespaceScopedResources: [secrets]}\n";
    let mut said = String::new();
    for (data, old_filter) in [
        (&[][..], false),
        (&[("a", good), ("b", good)][..], false),
        (&[("a", "version: [")][..], false),
        (&[("a", "version: v2")][..], false),
        (&[("a", "version: v1\nvolumePolicy: []")][..], false),
        (
            &[(
                "a",
                "version: v1\nvolumePolicies: [{conditions: {}, action: {type: copy}}]",
            )][..],
            false,
        ),
        (&[("a", lists)][..], true),
    ] {
        let world = with_policy(data).await;
        let location = memory_location();
        let backup = request("b", |b| {
            b.spec.resource_policy = reference("policy");
            if old_filter {
                b.spec.included_resources = vec!["pods".into()];
            }
        });
        let outcome = back_up(&world, &location, backup)
            .await
            .expect("an outcome");
        assert_eq!(outcome.backup.status.phase, BackupPhase::FailedValidation);
        assert!(outcome.record.is_none());
        let errors = outcome.backup.status.validation_errors.join("\n");
        said.push_str(errors.lines().next().expect("a reason"));
        said.push('\n');
    }
    let world = World::platform().await;
    let backup = request("b", |b| b.spec.resource_policy = reference("policy"));
    let outcome = back_up(&world, &memory_location(), backup).await;
    let status = outcome.expect("an outcome").backup.status;
    said.push_str(&status.validation_errors.join("; "));
    expect![[r#"
        spec.resourcePolicy: configmap policy: it has 0 keys, and one is needed
        spec.resourcePolicy: configmap policy: it has 2 keys, and one is needed
        spec.resourcePolicy: configmap policy: it is not YAML: error: line 1 column 10: unclosed bracket '['
        spec.resourcePolicy: configmap policy: version is `v2`: write v1
        spec.resourcePolicy: configmap policy: it cannot be read: unknown field `volumePolicy`, expected one of `version`, `volumePolicies`, `includeExcludePolicy`, `clusterScopedFilterPolicy`, `namespacedFilterPolicies`
        spec.resourcePolicy: configmap policy: volume policy 1: action `copy` is not one of skip, fs-backup, snapshot, custom
        includedResources, excludedResources and includeClusterResources cannot be used together with resource policies that filter resources: use the scoped filters
        spec.resourcePolicy: there is no configmap policy in this namespace"#]].assert_eq(&said);
}

#[tokio::test]
async fn the_first_volume_policy_that_matches_decides_and_a_skip_is_no_warning() {
    check(
        "
version: v1
volumePolicies:
- {conditions: {storageClass: [slow]}, action: {type: snapshot}}
- {conditions: {csi: {driver: csi.example.io}, pvcLabels: {app: db}}, action: {type: skip}}
- {conditions: {capacity: '0,'}, action: {type: fs-backup}}
",
        |b| {
            b.spec.snapshot_volumes = Some(true);
            b.spec.included_namespace_scoped_resources = vec!["persistentvolumeclaims".into()];
        },
        &expect![[r#"
            Completed
            namespaces shop
            persistentvolumeclaims shop/data
            persistentvolumes pv-data
            pv-data: volume policy 2 says skip
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_volume_policy_that_asks_for_data_or_leaves_it_to_others_is_told() {
    let world = with_policy(&[(
        "p",
        "
version: v1
volumePolicies:
- {conditions: {volumeTypes: [hostPath]}, action: {type: custom}}
- {conditions: {storageClass: [fast]}, action: {type: snapshot}}
",
    )])
    .await;
    let location = memory_location();
    let backup = request("b", |b| b.spec.resource_policy = reference("policy"));
    let outcome = back_up(&world, &location, backup).await.expect("a backup");
    assert_eq!(outcome.backup.status.phase, BackupPhase::PartiallyFailed);
    let lines = |set: &salvor_archive::files::ResultSet| {
        let namespaced = set.namespaces.values().flatten();
        let all: Vec<String> = set.velero.iter().chain(namespaced).cloned().collect();
        all.join("\n")
    };
    expect!["namespace shop: volume pv-data of claim shop/data: its data was not backed up although volume policy 2 (snapshot) asks for it: the cluster serves no VolumeSnapshots, and no node agent is installed that could copy its files: see `salvor install --use-node-agent`"].assert_eq(&lines(&outcome.results.errors));
    expect!["volume pv-unused: its data was not backed up: volume policy 1 leaves it to somebody else (custom)"].assert_eq(&lines(&outcome.results.warnings));
}

#[tokio::test]
async fn the_lists_of_a_policy_stand_below_those_of_the_backup() {
    check(
        "
version: v1
includeExcludePolicy:
  includedNamespaceScopedResources: [cm, pods]
  excludedNamespaceScopedResources: [secrets]
",
        |_| (),
        &expect![[r#"
            Completed
            configmaps shop/settings
            namespaces shop
            pods shop/db-0
            priorityclasses.scheduling.k8s.io high
        "#]],
    )
    .await;
    check(
        "
version: v1
includeExcludePolicy:
  excludedNamespaceScopedResources: [cm, secrets, deploy, widgets, po, sa, pvc]
",
        |b| b.spec.included_namespace_scoped_resources = vec!["secrets".into(), "pods".into()],
        &expect![[r#"
            Completed
            namespaces shop
            pods shop/db-0
            priorityclasses.scheduling.k8s.io high
            secrets shop/password
        "#]],
    )
    .await;
}

#[tokio::test]
async fn fine_grained_filters_take_kinds_by_label_and_name_and_nothing_else_of_their_namespace() {
    check(
        "
version: v1
namespacedFilterPolicies:
- namespaces: ['sh*']
  resourceFilters: [{kinds: [Pod]}]
- namespaces: [shop]
  resourceFilters:
  - kinds: [ConfigMap, Widget, Nonsense]
    labelSelector: {matchLabels: {app: web}}
  - kinds: [Secret]
    names: ['pass*']
    excludedNames: ['*-tmp']
clusterScopedFilterPolicy:
  resourceFilters: [{kinds: [ClusterRole], names: ['shop-*']}]
",
        |b| {
            b.spec.included_namespaces = vec!["shop".into(), "dev".into()];
            b.spec.included_cluster_scoped_resources = vec!["clusterroles".into()];
            // What no filter is about follows the backup's own selector.
            b.spec.label_selector = Some(salvor_api::meta::LabelSelector {
                match_labels: [("no".to_owned(), "where".to_owned())].into(),
                ..Default::default()
            });
        },
        &expect![[r#"
            Completed
            clusterroles.rbac.authorization.k8s.io shop-reader
            configmaps shop/settings
            namespaces dev
            namespaces shop
            secrets shop/password
            warning: the cluster has no resource `Nonsense`, which the resource policies name
        "#]],
    )
    .await;
}

#[tokio::test]
async fn policies_of_a_file_take_the_place_of_a_config_map() {
    let world = World::platform().await;
    let location = memory_location();
    let text = "version: v1\nincludeExcludePolicy: {includedNamespaceScopedResources: [secrets]}";
    let request = BackupRequest {
        cluster: world.cluster.clone(),
        location: location.clone(),
        backup: request("b", |b| b.spec.included_namespaces = vec!["shop".into()]),
        options: BackupOptions {
            policies: Some(policy::parse(text, Use::Backup).expect("valid")),
            ..BackupOptions::default()
        },
    };
    let outcome = run(request, ProgressSink::none()).await.expect("a backup");
    assert_eq!(outcome.backup.status.phase, BackupPhase::Completed);
    let stored = Stored::read(&location, "b").await;
    expect![[r#"
        namespaces shop
        secrets shop/password"#]]
    .assert_eq(&stored.objects().join("\n"));
}

#[tokio::test]
async fn a_restore_follows_fine_grained_filters_and_refuses_broken_config_maps() {
    let location = memory_location();
    let source = World::platform().await;
    let backup = request("b", |b| b.spec.included_namespaces = vec!["shop".into()]);
    back_up(&source, &location, backup).await.expect("a backup");
    let world = World::empty();
    keep_policy(
        &world,
        &[(
            "p",
            "
version: v1
namespacedFilterPolicies:
- namespaces: [shop]
  resourceFilters:
  - {kinds: [Secret], names: [password]}
  - {kinds: [configmaps], labelSelector: {matchLabels: {tier: front}}}
",
        )],
    )
    .await;
    let asked = restore_request(&world.cluster, &location, "r", |r, _| {
        r.spec.resource_policy = reference("policy");
        r.spec.included_namespaces = vec!["shop".into()];
    })
    .await;
    let plan = planned(&asked).await.expect("a plan");
    let mut chosen: Vec<String> = plan
        .entries
        .iter()
        .map(|e| e.source().to_string())
        .collect();
    chosen.sort();
    expect![[r#"
        configmaps shop/settings
        customresourcedefinitions.apiextensions.k8s.io widgets.example.io
        namespaces shop
        persistentvolumes pv-data
        priorityclasses.scheduling.k8s.io high
        secrets shop/password"#]]
    .assert_eq(&chosen.join("\n"));
    let broken = restore_request(&world.cluster, &location, "r", |r, _| {
        r.spec.resource_policy = reference("nowhere");
        r.spec.resource_modifier = reference("policy");
    })
    .await;
    let error = planned(&broken).await.expect_err("refused");
    expect![[r#"
        spec.resourceModifier: configmap policy: parse resource modifiers: error: line 3 column 1: unknown field `namespacedFilterPolicies`, expected one of version, resourceModifierRules
        spec.resourcePolicy: there is no configmap nowhere in this namespace"#]].assert_eq(&error.validation_errors().join("\n"));
}
