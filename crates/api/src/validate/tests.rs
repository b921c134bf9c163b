use expect_test::expect;
use serde_json::{Value, json};

use super::*;
use crate::velero::{
    Backup, BackupPhase, BackupStorageLocation, LocationPhase, Restore, VolumeSnapshotLocation,
};

fn read<T: serde::de::DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("a valid object")
}

fn store(name: &str, more: Value) -> BackupStorageLocation {
    let mut spec = json!({"provider": "aws", "objectStorage": {"bucket": "b"}});
    for (key, value) in more.as_object().expect("fields") {
        spec[key] = value.clone();
    }
    let mut store: BackupStorageLocation = read(json!({"metadata": {"name": name}, "spec": spec}));
    store.status.phase = LocationPhase::Available;
    store
}

fn snapshots(name: &str, provider: &str) -> VolumeSnapshotLocation {
    read(json!({"metadata": {"name": name}, "spec": {"provider": provider}}))
}

fn backup_errors(spec: Value, facts: &BackupFacts) -> String {
    backup(&read::<Backup>(json!({"spec": spec})), facts).join("\n")
}

#[test]
fn a_backup_that_can_run_has_no_errors() {
    let locations = [store("default", json!({"default": true}))];
    let facts = BackupFacts {
        locations: &locations,
        default_location: "default",
        ..BackupFacts::default()
    };
    assert_eq!(backup_errors(json!({}), &facts), "");
    let full = json!({
        "includedNamespaces": ["prod-*"], "labelSelector": {"matchLabels": {"a": "b"}},
        "ttl": "24h", "resourcePolicy": {"kind": "ConfigMap", "name": "p"}, "backupType": "Full",
        "hooks": {"resources": [{"name": "freeze", "pre": [{"exec": {"command": ["sync"]}}]}]},
        "uploaderConfig": {"parallelFilesUpload": 4},
    });
    assert_eq!(backup_errors(full, &facts), "");
}

#[test]
fn every_broken_rule_of_a_backup_is_named() {
    let mut gone = store("gone", json!({}));
    gone.status.phase = LocationPhase::Unavailable;
    gone.status.message = "no such bucket".into();
    let locations = [
        store("default", json!({"default": true})),
        store("frozen", json!({"accessMode": "ReadOnly"})),
        gone,
    ];
    let facts = BackupFacts {
        locations: &locations,
        default_location: "default",
        ..BackupFacts::default()
    };
    let missing = BackupFacts {
        resource_policy: ConfigMapFound::Missing,
        ..facts.clone()
    };
    let broken = BackupFacts {
        resource_policy: ConfigMapFound::Broken {
            reason: "it has 2 keys, one is needed".into(),
        },
        policy_filters_resources: true,
        ..facts.clone()
    };
    let nowhere = BackupFacts {
        default_location: "default",
        ..BackupFacts::default()
    };
    let policy = json!({"kind": "configmap", "name": "p"});
    let errors = [
        backup_errors(
            json!({"includedResources": ["pods"], "includedClusterScopedResources": ["*"]}),
            &facts,
        ),
        backup_errors(
            json!({"includedNamespaces": ["a"], "excludedNamespaces": ["a"]}),
            &facts,
        ),
        backup_errors(json!({"excludedResources": ["*"]}), &facts),
        backup_errors(json!({"includedNamespaces": ["*", "a"]}), &facts),
        backup_errors(
            json!({"labelSelector": {}, "orLabelSelectors": [{}]}),
            &facts,
        ),
        backup_errors(json!({"storageLocation": "elsewhere"}), &facts),
        backup_errors(json!({"storageLocation": "frozen"}), &facts),
        backup_errors(json!({"storageLocation": "gone"}), &facts),
        backup_errors(json!({}), &nowhere),
        backup_errors(
            json!({"resourcePolicy": {"kind": "secret", "name": "p"}}),
            &facts,
        ),
        backup_errors(
            json!({"resourcePolicy": {"kind": "configmap", "name": ""}}),
            &facts,
        ),
        backup_errors(json!({"resourcePolicy": policy}), &missing),
        backup_errors(
            json!({"resourcePolicy": policy, "includedResources": ["pods"]}),
            &broken,
        ),
        backup_errors(
            json!({"uploaderConfig": {"parallelFilesUpload": -1}}),
            &facts,
        ),
        backup_errors(
            json!({"uploaderConfig": {"parallelFilesUpload": "4"}}),
            &facts,
        ),
        backup_errors(json!({"backupType": "Differential"}), &facts),
        backup_errors(
            json!({"hooks": {"resources": [
                {"name": "", "includedNamespaces": ["a", "["], "excludedNamespaces": ["a"]},
                {"name": "h", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]},
                 "pre": [{}], "post": [{"exec": {"command": [], "onError": "Retry"}}]},
            ]}}),
            &facts,
        ),
        backup_errors(
            json!({"hooks": {"resources": [{"name": "h", "pre": [{"exec": {"command": "sync"}}]}]}}),
            &facts,
        ),
    ];
    expect![[r#"
        includedResources, excludedResources and includeClusterResources are the older filters: they cannot stand beside the scoped ones (included and excluded cluster-scoped and namespace-scoped resources)
        --
        namespaces: `a` is both included and excluded
        --
        excluded resources: `*` would leave nothing
        --
        included namespaces: `*` must be the only entry
        --
        labelSelector and orLabelSelectors are both given: use one of them
        --
        backup storage location elsewhere does not exist: create it, or name another
        --
        backup storage location frozen is read-only, so no backup can be made there
        --
        backup storage location gone is unavailable: no such bucket
        --
        no backup storage location is named or set as default, and there is none called default
        --
        spec.resourcePolicy: it refers to a secret, and only a configmap can be used
        --
        spec.resourcePolicy: the name of the configmap is missing
        --
        spec.resourcePolicy: there is no configmap p in this namespace
        --
        spec.resourcePolicy: configmap p: it has 2 keys, one is needed
        includedResources, excludedResources and includeClusterResources cannot be used together with resource policies that filter resources: use the scoped filters
        --
        spec.uploaderConfig.parallelFilesUpload is negative
        --
        spec.uploaderConfig: invalid type: string "4", expected i64
        --
        spec.backupType is `Differential`: use Full or Incremental
        --
        hook ``: its name is missing
        hook ``: pattern `[` is not valid: `[` needs characters and a closing `]`
        hook ``: namespaces: `a` is both included and excluded
        hook `h`: label selector `a` is not valid: operator must be In, NotIn, Exists or DoesNotExist
        hook `h`: pre hook 1: exec is missing
        hook `h`: post hook 1: the command is missing
        hook `h`: post hook 1: onError is `Retry`: use Continue or Fail
        --
        read hook 1 (`h`) of spec.hooks.resources: invalid type: string "sync", expected a sequence"#]].assert_eq(&errors.join("\n--\n"));
}

#[test]
fn snapshot_locations_are_named_alone_or_the_default() {
    let locations = [
        snapshots("east", "aws"),
        snapshots("west", "aws"),
        snapshots("disk", "csi"),
    ];
    let choose = |names: &[&str], default: Option<&str>| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let defaults = default.map(|name| ("aws".to_owned(), name.to_owned()));
        match choose_snapshot_locations(&names, &locations, &defaults.into_iter().collect()) {
            Ok(chosen) => format!("{chosen:?}"),
            Err(errors) => errors.join("\n"),
        }
    };
    let answers = [
        choose(&["west"], None),
        choose(&[], Some("east")),
        choose(&["west"], Some("east")),
        choose(&[], None),
        choose(&[], Some("north")),
        choose(&["east", "west", "south"], None),
    ];
    expect![[r#"
        {"aws": "west", "csi": "disk"}
        {"aws": "east", "csi": "disk"}
        {"aws": "west", "csi": "disk"}
        provider aws has several volume snapshot locations and no default: name one
        volume snapshot location north, the default of provider aws, does not exist
        volume snapshot locations east and west are both of provider aws: name one
        volume snapshot location south does not exist"#]]
    .assert_eq(&answers.join("\n"));
    let facts = BackupFacts {
        snapshot_locations: &locations,
        ..BackupFacts::default()
    };
    let errors = |spec| backup(&read::<Backup>(json!({"spec": spec})), &facts).len();
    assert_eq!(
        errors(json!({})),
        2,
        "the location, and the snapshot location"
    );
    assert_eq!(errors(json!({"snapshotVolumes": false})), 1);
}

#[test]
fn a_restore_needs_one_source_that_is_there() {
    let locations = [store("default", json!({"accessMode": "ReadOnly"}))];
    let mut source = Backup::named("velero", "nightly-1");
    source.spec.storage_location = "default".into();
    source.status.phase = BackupPhase::Completed;
    let mut running = source.clone();
    running.status.phase = BackupPhase::InProgress;
    running.spec.storage_location = "elsewhere".into();
    let good = RestoreFacts {
        backup: Some(&source),
        locations: &locations,
        ..RestoreFacts::default()
    };
    let bad = RestoreFacts {
        backup: Some(&running),
        resource_modifier: ConfigMapFound::Missing,
        ..good.clone()
    };
    let none = RestoreFacts {
        backup: None,
        ..good.clone()
    };
    let errors = |spec: Value, facts: &RestoreFacts| {
        restore(&read::<Restore>(json!({"spec": spec})), facts).join("\n")
    };
    assert_eq!(
        errors(json!({"backupName": "nightly-1"}), &good),
        "",
        "reading needs no writing"
    );
    assert_eq!(errors(json!({"scheduleName": "nightly"}), &good), "");
    let all = [
        errors(json!({}), &good),
        errors(json!({"backupName": "a", "scheduleName": "b"}), &good),
        errors(json!({"backupName": "a"}), &none),
        errors(json!({"scheduleName": "b"}), &none),
        errors(
            json!({"backupName": "a", "resourceModifier": {"kind": "configmap", "name": "m"}}),
            &bad,
        ),
        errors(
            json!({"backupName": "a", "includedResources": ["nodes"]}),
            &good,
        ),
        errors(
            json!({"backupName": "a", "labelSelector": {}, "orLabelSelectors": [{}]}),
            &good,
        ),
        errors(
            json!({"backupName": "a", "namespaceMapping": {"a": "B_"}}),
            &good,
        ),
        errors(
            json!({"backupName": "a", "existingResourcePolicy": "replace"}),
            &good,
        ),
        errors(
            json!({"backupName": "a", "restoreStatus": {"includedResources": ["["]}}),
            &good,
        ),
        errors(
            json!({"backupName": "a", "uploaderConfig": {"writeSparseFiles": "yes"}}),
            &good,
        ),
        errors(
            json!({"backupName": "a", "hooks": {"resources": [{"name": "h", "postHooks": [
                {}, {"exec": {"command": []}}, {"init": {"initContainers": []}},
                {"init": {"initContainers": [{"name": "i", "command": ["a"]}, {"image": "x", "command": []}]}},
            ]}]}}),
            &good,
        ),
    ];
    expect![[r#"
        give a backupName or a scheduleName
        --
        give either a backupName or a scheduleName, not both
        --
        backup a does not exist
        --
        schedule b has no completed backup
        --
        backup nightly-1 is in phase InProgress: only Completed and PartiallyFailed ones can be restored
        backup storage location elsewhere does not exist: create it, or name another
        spec.resourceModifier: there is no configmap m in this namespace
        --
        nodes are never restored: take them out of includedResources
        --
        labelSelector and orLabelSelectors are both given: use one of them
        --
        spec.namespaceMapping: namespace name `B_` is not valid: use lower-case letters, digits, `-` and `.` only
        --
        spec.existingResourcePolicy is `replace`: use none, update or recreate
        --
        spec.restoreStatus: pattern `[` is not valid: `[` needs characters and a closing `]`
        --
        spec.uploaderConfig: invalid type: string "yes", expected a boolean
        --
        hook `h`: hook 1: give either exec or init
        hook `h`: hook 2: the command is missing
        hook `h`: hook 3: there is no init container
        hook `h`: hook 4: init container 1 has no image
        hook `h`: hook 4: init container 2 has no name
        hook `h`: hook 4: init container 2 has no command"#]].assert_eq(&all.join("\n--\n"));
}

#[test]
fn every_broken_rule_of_a_location_is_named() {
    let errors = |more: Value| location(&store("l", more).spec).join("\n");
    assert_eq!(errors(json!({"credential": {"name": "s", "key": "k"}})), "");
    let arn = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap";
    assert_eq!(errors(json!({"objectStorage": {"bucket": arn}})), "");
    let all = [
        errors(json!({"provider": "", "objectStorage": {"bucket": ""}})),
        errors(json!({"objectStorage": {"bucket": "b/path"}})),
        errors(json!({"objectStorage": {"bucket": "b", "prefix": "a/../.."}})),
        errors(
            json!({"objectStorage": {"bucket": "b", "caCert": "eA==", "caCertRef": {"name": "s", "key": "k"}}}),
        ),
        errors(json!({"objectStorage": {"bucket": "b", "caCert": "-----BEGIN"}})),
        errors(json!({"credential": {"key": "k"}})),
        errors(json!({"accessMode": "WriteOnly"})),
    ];
    expect![[r#"
        spec.provider is missing: use aws, azure, gcp or file
        spec.objectStorage.bucket is missing
        --
        spec.objectStorage.bucket `b/path` has a slash: a path in the bucket belongs into prefix
        --
        spec.objectStorage.prefix `a/../..` leads out of itself
        --
        spec.objectStorage has both caCert and caCertRef: give one
        --
        spec.objectStorage.caCert is not base64
        --
        spec.credential: name and key of the Secret are both needed
        --
        spec.accessMode is `WriteOnly`: use ReadWrite or ReadOnly"#]]
    .assert_eq(&all.join("\n--\n"));
}

#[test]
fn the_default_made_last_is_the_default() {
    let mut locations = [
        store("old", json!({"default": true})),
        store("new", json!({"default": true})),
        store("plain", json!({})),
    ];
    for (location, day) in locations.iter_mut().zip(["18", "19", "20"]) {
        let at = format!("2026-11-{day}T00:00:00Z");
        location.metadata.creation_timestamp = Some(at.parse().expect("time"));
    }
    assert_eq!(superfluous_defaults(&locations), ["old"]);
    let chosen = |name: &str, locations: &[BackupStorageLocation], flag: &str| {
        choose_location(name, locations, flag).map(|location| location.metadata.name.clone())
    };
    assert_eq!(chosen("", &locations, "plain").as_deref(), Ok("new"));
    assert_eq!(chosen("old", &locations, "plain").as_deref(), Ok("old"));
    assert_eq!(chosen("", &locations[2..], "plain").as_deref(), Ok("plain"));
    assert!(chosen("", &locations[2..], "default").is_err());
    assert!(chosen("other", &locations, "plain").is_err());
}
