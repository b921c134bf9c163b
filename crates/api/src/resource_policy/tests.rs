use expect_test::expect;
use serde_json::{Value, json};

use super::*;

fn policies(yaml: &str) -> Result<ResourcePolicies, Vec<String>> {
    let json: Value = serde_saphyr::from_str(yaml).expect("valid YAML");
    ResourcePolicies::read(json, Use::Backup)
}

#[test]
fn the_first_policy_whose_conditions_all_hold_decides() {
    let policies = policies(
        r#"
version: v1
volumePolicies:
- conditions: {capacity: "0,1Gi", storageClass: [gp2, gp3]}
  action: {type: skip}
- conditions: {nfs: {server: filer}}
  action: {type: fs-backup}
- conditions: {csi: {driver: d, volumeAttributes: {tier: gold}}}
  action: {type: snapshot, parameters: {dataMover: velero-block, snapshotClass: fast}}
- conditions: {volumeTypes: [hostPath, storageOS]}
  action: {type: custom}
- conditions: {pvcLabels: {app: db}, pvcPhase: [Pending, Lost]}
  action: {type: skip}
- conditions: {pvcVolumeMode: Block, pvcAccessModes: [ReadWriteOnce, ReadOnlyMany]}
  action: {type: fs-backup}
- conditions: {capacity: "100Gi,"}
  action: {type: snapshot}
"#,
    )
    .expect("valid");
    let pv = |spec: Value, claim: Value| {
        let facts = VolumeFacts::of_persistent_volume(&json!({"spec": spec}), Some(&claim));
        policies
            .volume_action(&facts)
            .map(|(_, action)| format!("{:?}", action.kind))
    };
    let size = |size: &str| json!({"storage": size});
    let answers = [
        pv(json!({"capacity": size("1Gi"), "storageClassName": "gp3", "csi": {"driver": "d"}}), json!({})),
        pv(json!({"capacity": size("1025Mi"), "storageClassName": "gp3", "csi": {"driver": "d"}}), json!({})),
        pv(json!({"capacity": size("5Gi"), "nfs": {"server": "filer", "path": "/x"}}), json!({})),
        pv(json!({"capacity": size("5Gi"), "nfs": {"server": "other", "path": "/x"}}), json!({})),
        pv(json!({"capacity": size("5Gi"), "csi": {"driver": "d", "volumeAttributes": {"tier": "gold"}}}), json!({})),
        pv(json!({"capacity": size("5Gi"), "storageos": {}}), json!({})),
        pv(json!({"capacity": size("5Gi")}), json!({"metadata": {"labels": {"app": "db", "x": "y"}}, "status": {"phase": "Lost"}})),
        pv(json!({"capacity": size("5Gi")}), json!({"metadata": {"labels": {"app": "db"}}, "status": {"phase": "Bound"}})),
        pv(json!({"capacity": size("5Gi")}), json!({"spec": {"volumeMode": "Block", "accessModes": ["ReadOnlyMany", "ReadWriteOnce"]}})),
        pv(json!({"capacity": size("5Gi")}), json!({"spec": {"volumeMode": "Block", "accessModes": ["ReadWriteOnce"]}})),
        pv(json!({"capacity": size("100Gi")}), json!({})),
    ]
    .map(|answer| answer.unwrap_or_else(|| "none".to_owned()));
    expect!["Skip none FsBackup none Snapshot Custom Skip none FsBackup none Snapshot"]
        .assert_eq(&answers.join(" "));
    let action = &policies.volume_policies[2].action;
    assert_eq!(
        (action.data_mover(), action.snapshot_class()),
        (Some("velero-block"), Some("fast"))
    );
    let host = VolumeFacts::of_pod_volume(&json!({"name": "v", "hostPath": {"path": "/"}}), None);
    let action = policies.volume_action(&host).expect("it matches");
    assert_eq!(action.1.kind, ActionType::Custom);
}

#[test]
fn namespaces_with_a_policy_give_only_what_it_names() {
    let policies = policies(
        r#"
version: v1
clusterScopedFilterPolicy:
  resourceFilters:
  - kinds: [ClusterRole]
    names: ["app-*"]
    excludedNames: ["*-debug"]
namespacedFilterPolicies:
- namespaces: ["team-*"]
  resourceFilters:
  - kinds: [deployments.apps, ConfigMap]
    labelSelector: {matchLabels: {app: web}}
  - kinds: ["*"]
    orLabelSelectors: [{matchExpressions: [{key: keep, operator: Exists}]}, {matchLabels: {a: b}}]
- namespaces: [team-a]
  resourceFilters:
  - kinds: [Secret]
    labelSelector: {}
"#,
    )
    .expect("valid");
    let filters = FilterPolicies::compile(&policies).expect("checked");
    let judge = |namespace: &str, names: &[&str], name: &str, labels: Value| {
        let labels = serde_json::from_value(labels).expect("labels");
        filters.judge(namespace, names, name, &labels)
    };
    let deployment = ["deployments", "deployments.apps", "Deployment"];
    for (namespace, names, name, labels, wanted) in [
        (
            "team-b",
            &deployment[..],
            "x",
            json!({"app": "web"}),
            Verdict::Take,
        ),
        (
            "team-b",
            &deployment[..],
            "x",
            json!({"keep": "1"}),
            Verdict::Leave,
        ),
        (
            "team-b",
            &["pods", "Pod"][..],
            "x",
            json!({"keep": "1"}),
            Verdict::Take,
        ),
        (
            "team-b",
            &["pods", "Pod"][..],
            "x",
            json!({"a": "b"}),
            Verdict::Take,
        ),
        (
            "team-b",
            &["pods", "Pod"][..],
            "x",
            json!({}),
            Verdict::Leave,
        ),
        // Named beats matched, wherever it stands.
        (
            "team-a",
            &["secrets", "Secret"][..],
            "x",
            json!({}),
            Verdict::Take,
        ),
        (
            "team-a",
            &deployment[..],
            "x",
            json!({"app": "web"}),
            Verdict::Leave,
        ),
        ("other", &deployment[..], "x", json!({}), Verdict::NoFilter),
        (
            "",
            &["clusterroles", "ClusterRole"][..],
            "app-1",
            json!({}),
            Verdict::Take,
        ),
        (
            "",
            &["clusterroles", "ClusterRole"][..],
            "app-debug",
            json!({}),
            Verdict::Leave,
        ),
        (
            "",
            &["clusterroles", "ClusterRole"][..],
            "other",
            json!({}),
            Verdict::Leave,
        ),
        (
            "",
            &["persistentvolumes"][..],
            "other",
            json!({}),
            Verdict::NoFilter,
        ),
    ] {
        assert_eq!(
            judge(namespace, names, name, labels),
            wanted,
            "{namespace} {names:?} {name}"
        );
    }
}

#[test]
fn what_is_wrong_with_policies_is_said() {
    let errors = [
        "version: v2",
        "version: v1\nvolumePolicy: []",
        "version: v1\nvolumePolicies: [{conditions: {storageClas: [a]}, action: {type: skip}}]",
        "version: v1\nvolumePolicies: [{conditions: {capacity: '10Gi'}, action: {type: burn}}]",
        "version: v1\nvolumePolicies: [{conditions: {capacity: '2Gi,1Gi'}}]",
        "version: v1\nvolumePolicies: [{conditions: {capacity: 'a,'}, action: {type: skip}}]",
        "version: v1\nvolumePolicies: [{conditions: {csi: {volumeAttributes: {a: b}}}, action: {type: snapshot, parameters: {dataMover: x, snapshotClass: 1}}}]",
        "version: v1\nincludeExcludePolicy: {includedClusterScopedResources: ['*', a], excludedClusterScopedResources: [a]}",
        "version: v1\nclusterScopedFilterPolicy: {resourceFilters: []}",
        "version: v1\nclusterScopedFilterPolicy: {resourceFilters: [{labelSelector: {matchLabels: {a: b}}}]}",
        "version: v1\nnamespacedFilterPolicies: [{namespaces: [], resourceFilters: [{kinds: [Pod]}, {kinds: [pod]}]}]",
        "version: v1\nnamespacedFilterPolicies: [{namespaces: ['a**', b, b], resourceFilters: [{}, {kinds: ['*'], names: [x]}]}]",
        "version: v1\nnamespacedFilterPolicies: [{namespaces: [a], resourceFilters: [{kinds: [Pod], names: ['['], labelSelector: {matchLabels: {a: b}}, orLabelSelectors: [{matchExpressions: [{key: k, operator: Is}]}]}]}]",
        "version: v1\nnamespacedFilterPolicies: [{namespaces: [a], resourceFilters: [{kinds: [Pod], labelSelector: {app: web}}]}]",
    ]
    .map(|yaml| policies(yaml).expect_err(yaml).join("\n"));
    expect![[r#"
        version is `v2`: write v1
        --
        it cannot be read: unknown field `volumePolicy`, expected one of `version`, `volumePolicies`, `includeExcludePolicy`, `clusterScopedFilterPolicy`, `namespacedFilterPolicies`
        --
        it cannot be read: unknown field `storageClas`, expected one of `capacity`, `storageClass`, `nfs`, `csi`, `volumeTypes`, `pvcLabels`, `pvcPhase`, `pvcVolumeMode`, `pvcAccessModes`
        --
        volume policy 1: action `burn` is not one of skip, fs-backup, snapshot, custom
        volume policy 1: capacity: `10Gi` is not of the form `10Gi,100Gi`
        --
        volume policy 1: its action has no type
        volume policy 1: capacity `2Gi,1Gi` begins above its end
        --
        volume policy 1: capacity: `a` is no quantity such as 10Gi, 500M or 1.5Ti
        --
        volume policy 1: parameter snapshotClass is no text
        volume policy 1: data mover `x` is not one of velero, velero-fs, velero-block
        volume policy 1: csi: volumeAttributes need a driver
        --
        includeExcludePolicy: `*` cannot be used here
        includeExcludePolicy: `a` is both included and excluded
        --
        cluster-scoped filter policy: it has no resource filter
        --
        cluster-scoped filter policy: every filter needs kinds
        --
        namespaced filter policy 1: it has no namespace
        namespaced filter policy 1, filter 2: `pod` has a filter already
        --
        namespaced filter policy 1: pattern `a**` is not valid: `**` is not supported, use `*`
        namespaced filter policy 1: namespace `b` has a policy already
        namespaced filter policy 1, filter 2: names need kinds
        namespaced filter policy 1, filter 2: there is a filter for all other kinds already
        --
        namespaced filter policy 1, filter 1: labelSelector and orLabelSelectors are both given: use one of them
        namespaced filter policy 1, filter 1: label selector `k` is not valid: operator must be In, NotIn, Exists or DoesNotExist
        namespaced filter policy 1, filter 1: pattern `[` is not valid: `[` needs characters and a closing `]`
        --
        it cannot be read: unknown field `app`, expected `matchLabels` or `matchExpressions`"#]].assert_eq(&errors.join("\n--\n"));
    let both = json!({"version": "v1", "volumePolicies": [{"action": {"type": "skip"}}], "includeExcludePolicy": {}});
    assert!(ResourcePolicies::read(both.clone(), Use::Backup).is_ok());
    let errors = ResourcePolicies::read(both, Use::Restore).expect_err("not for a restore");
    assert_eq!(errors.len(), 2);
}

#[test]
fn a_config_map_has_one_key() {
    let data = |keys: &[&str]| {
        keys.iter()
            .map(|key| ((*key).to_owned(), "x".to_owned()))
            .collect()
    };
    assert_eq!(only_value(&data(&["a"])), Ok("x"));
    assert_eq!(
        only_value(&data(&[])),
        Err("it has 0 keys, and one is needed".to_owned())
    );
    assert!(only_value(&data(&["a", "b"])).is_err());
}

#[test]
fn the_lists_of_a_policy_count_below_those_of_the_backup() {
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let policy = IncludeExcludePolicy {
        included_namespace_scoped_resources: strings(&["deploy", "secrets"]),
        excluded_namespace_scoped_resources: strings(&["pods", "events"]),
        excluded_cluster_scoped_resources: strings(&["nodes"]),
        ..IncludeExcludePolicy::default()
    };
    let spec = BackupSpec {
        included_namespace_scoped_resources: strings(&["deployments.apps", "pods"]),
        excluded_namespace_scoped_resources: strings(&["secrets"]),
        ..BackupSpec::default()
    };
    let names = |entry: &str| match entry {
        "deploy" => strings(&["deploy", "deployments", "deployments.apps"]),
        other => strings(&[other]),
    };
    let whole = policy.below(&spec, names);
    assert_eq!(
        whole.included_namespace_scoped_resources,
        ["deployments.apps", "pods"]
    );
    assert_eq!(
        whole.excluded_namespace_scoped_resources,
        ["secrets", "events"]
    );
    assert_eq!(whole.excluded_cluster_scoped_resources, ["nodes"]);
    let alone = policy.below(&BackupSpec::default(), names);
    assert_eq!(
        alone.included_namespace_scoped_resources,
        ["deploy", "secrets"]
    );
}
