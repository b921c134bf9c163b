use expect_test::expect;
use salvor_api::selector::Selector;
use salvor_api::velero::{
    BackupProgress, DEFAULT_CSI_SNAPSHOT_TIMEOUT, DEFAULT_ITEM_OPERATION_TIMEOUT, DEFAULT_TTL,
    HookStatus,
};

use super::*;

fn completed() -> BackupView {
    let mut backup = Backup::named("velero", "nightly");
    backup
        .metadata
        .labels
        .insert("velero.io/storage-location".into(), "default".into());
    for (key, value) in [
        (labels::SOURCE_GIT_VERSION, "v1.32.1"),
        (labels::CLUSTER_UID, "8b7c"),
        (labels::CLUSTER_NAME, "seoul"),
        (labels::TOOL_VERSION, "salvor 0.1.0"),
        (labels::RUN_ID, "r1"),
    ] {
        backup
            .metadata
            .annotations
            .insert(key.to_owned(), value.to_owned());
    }
    backup.spec.included_namespaces = vec!["*".into()];
    backup.spec.storage_location = "default".into();
    backup.spec.snapshot_move_data = Some(false);
    backup.spec.ttl = DEFAULT_TTL;
    backup.spec.csi_snapshot_timeout = DEFAULT_CSI_SNAPSHOT_TIMEOUT;
    backup.spec.item_operation_timeout = DEFAULT_ITEM_OPERATION_TIMEOUT;
    backup.status.format_version = "1.1.0".into();
    backup.status.phase = BackupPhase::Completed;
    backup.status.start_timestamp = "2026-11-20T02:00:00Z".parse().ok();
    backup.status.completion_timestamp = "2026-11-20T02:00:09Z".parse().ok();
    backup.status.expiration = "2026-12-20T02:00:00Z".parse().ok();
    backup.status.progress = Some(BackupProgress {
        total_items: 512,
        items_backed_up: 512,
    });
    backup.status.hook_status = Some(HookStatus::default());
    BackupView {
        backup,
        origin: Origin {
            url: "file:///backups".into(),
            endpoint: None,
            temporary: true,
            durability: "temporary: lost with the cluster".into(),
            archive_bytes: Some(1536),
            ..Origin::default()
        },
        ..BackupView::default()
    }
}

#[test]
fn a_completed_backup_reads_as_in_velero() {
    expect![[r#"
        Name:         nightly
        Namespace:    velero
        Labels:       velero.io/storage-location=default
        Annotations:  salvor.dev/cluster-name=seoul
                      salvor.dev/cluster-uid=8b7c
                      salvor.dev/run-id=r1
                      salvor.dev/tool-version=salvor 0.1.0
                      velero.io/source-cluster-k8s-gitversion=v1.32.1

        Phase:  Completed


        Namespaces:
          Included:  *
          Excluded:  <none>

        Resources:
          Included:        *
          Excluded:        <none>
          Cluster-scoped:  auto

        Label selector:  <none>

        Or label selector:  <none>

        Storage Location:  default

        Velero-Native Snapshot PVs:  auto
        Snapshot Move Data:          false
        Data Mover:                  velero

        TTL:  720h0m0s

        CSISnapshotTimeout:    10m0s
        ItemOperationTimeout:  4h0m0s

        Hooks:  <none>

        Backup Format Version:  1.1.0

        Started:    2026-11-20 02:00:00 +0000 UTC
        Completed:  2026-11-20 02:00:09 +0000 UTC

        Expiration:  2026-12-20 02:00:00 +0000 UTC

        Total items to be backed up:  512
        Items backed up:              512

        Backup Volumes:
          Velero-Native Snapshots: <none included>

          CSI Snapshots: <none included>

          Pod Volume Backups: <none included>

        HooksAttempted:  0
        HooksFailed:     0

        Salvor:
          Cluster:               seoul (8b7c)
          Kubernetes:            v1.32.1
          Written by:            salvor 0.1.0, run r1
          Location:              file:///backups
          Kept:                  temporary: lost with the cluster
          Archive size:          1.5 KiB
          Volumes without data:  <none>
    "#]]
    .assert_eq(&text(&completed(), false, false));
}

#[test]
fn a_partial_backup_tells_what_is_missing() {
    let mut view = completed();
    let backup = &mut view.backup;
    backup.metadata.labels.clear();
    backup.metadata.annotations.clear();
    backup.spec.included_namespaces = vec!["production".into(), "staging".into()];
    backup.spec.included_cluster_scoped_resources = vec!["storageclasses".into()];
    backup.spec.excluded_namespace_scoped_resources = vec!["secrets".into()];
    backup.spec.or_label_selectors = ["app=shop", "tier in (a,b)"]
        .iter()
        .map(|text| Selector::parse(text).expect("selector").to_label_selector())
        .collect();
    backup
        .spec
        .ordered_resources
        .insert("pods".into(), "production/a".into());
    backup.spec.hooks.resources = vec![json!({
        "name": "freeze",
        "includedNamespaces": ["production"],
        "pre": [{"exec": {"container": "db", "command": ["/bin/sync", "now"], "onError": "Fail"}}],
    })];
    backup.status.phase = BackupPhase::PartiallyFailed;
    backup.status.warnings = 2;
    backup.status.errors = 1;
    backup.status.hook_status = None;
    let mut results = Results::default();
    results
        .warnings
        .add(Some("production"), "volume data-0 has no data");
    results.warnings.add(None, "node is left out");
    results
        .errors
        .add(Some("staging"), "list secrets: forbidden");
    view.results = Some(results);
    view.resource_list = Some(
        [("v1/Pod".to_owned(), vec!["production/a".to_owned()])]
            .into_iter()
            .collect(),
    );
    view.volumes = vec![
        BackupVolumeInfo {
            pvc_namespace: "production".into(),
            pvc_name: "data-0".into(),
            skipped: true,
            skipped_reason: "volume data is not captured".into(),
            ..BackupVolumeInfo::default()
        },
        BackupVolumeInfo {
            pv_name: "pv-1".into(),
            backup_method: "NativeSnapshot".into(),
            result: "succeeded".into(),
            ..BackupVolumeInfo::default()
        },
    ];
    expect![[r#"
        Name:         nightly
        Namespace:    velero
        Labels:       <none>
        Annotations:  <none>

        Phase:  PartiallyFailed (run `salvor backup logs nightly` for more information)


        Warnings:
          Velero:   <none>
          Cluster:  node is left out
          Namespaces:
            production:  volume data-0 has no data

        Errors:
          Velero:   <none>
          Cluster:  <none>
          Namespaces:
            staging:  list secrets: forbidden

        Namespaces:
          Included:  production, staging
          Excluded:  <none>

        Resources:
          Included cluster-scoped:    storageclasses
          Excluded cluster-scoped:    <none>
          Included namespace-scoped:  *
          Excluded namespace-scoped:  secrets

        Label selector:  <none>

        Or label selector:  app=shop or tier in (a,b)

        Storage Location:  default

        Velero-Native Snapshot PVs:  auto
        Snapshot Move Data:          false
        Data Mover:                  velero

        TTL:  720h0m0s

        CSISnapshotTimeout:    10m0s
        ItemOperationTimeout:  4h0m0s

        Hooks:
          Resources:
            freeze:
              Namespaces:
                Included:  production
                Excluded:  <none>

              Resources:
                Included:  *
                Excluded:  <none>

              Pre Exec Hook:
                Container:  db
                Command:    /bin/sync now
                On Error:   Fail
                Timeout:    <none>

        OrderedResources:
          pods: production/a

        Backup Format Version:  1.1.0

        Started:    2026-11-20 02:00:00 +0000 UTC
        Completed:  2026-11-20 02:00:09 +0000 UTC

        Expiration:  2026-12-20 02:00:00 +0000 UTC

        Total items to be backed up:  512
        Items backed up:              512

        Resource List:
          v1/Pod:
            - production/a

        Backup Volumes:
          Velero-Native Snapshots:
            pv-1:
              Result:  succeeded

          CSI Snapshots: <none included>

          Pod Volume Backups: <none included>

        Salvor:
          Cluster:               <unknown>
          Kubernetes:            <unknown>
          Location:              file:///backups
          Kept:                  temporary: lost with the cluster
          Archive size:          1.5 KiB
          Volumes without data:  production/data-0: volume data is not captured
    "#]]
    .assert_eq(&text(&view, true, false));
}

#[test]
fn counts_stand_in_for_results_that_are_not_there() {
    let mut view = completed();
    view.backup.status.phase = BackupPhase::PartiallyFailed;
    view.backup.status.errors = 3;
    let text = text(&view, false, false);
    assert!(text.contains("\nErrors:    3\nWarnings:  0\n"), "{text}");
}

#[test]
fn the_structured_form_has_the_same_facts() {
    let value = value(&completed(), true);
    expect![[r#"{"backupFormatVersion":"1.1.0","started":"2026-11-20 02:00:00 +0000 UTC","completed":"2026-11-20 02:00:09 +0000 UTC","expiration":"2026-12-20T02:00:00Z","totalItemsToBeBackedUp":512,"itemsBackedUp":512,"resourceList":null,"backupItemOperations":[],"backupVolumes":[],"hookStatus":{}}"#]]
    .assert_eq(&value["status"].to_string());
    assert_eq!(value["salvor"]["temporary"], json!(true));
    assert_eq!(value["phase"], json!("Completed"));
}

#[test]
fn every_volume_of_our_own_record_is_told_with_its_details() {
    use salvor_archive::files::{
        Consistency, RepositorySnapshot, SalvorVolume, VolumeMethod, VolumeOutcome,
    };
    let base = || SalvorVolume {
        namespace: "shop".into(),
        ..SalvorVolume::default()
    };
    let mut view = completed();
    view.own_volumes = Some(SalvorVolumes::new(vec![
        SalvorVolume {
            claim: "data".into(),
            persistent_volume: "pv-1".into(),
            pod: "db-0".into(),
            pod_volume: "data".into(),
            node: "node-1".into(),
            outcome: VolumeOutcome::Protected,
            method: Some(VolumeMethod::Files),
            consistency: Some(Consistency::Application),
            snapshot: Some(RepositorySnapshot {
                domain: "ns-shop".into(),
                id: "0123456789abcdef".repeat(4),
                bytes: 3 << 30,
                new_bytes: 10 << 20,
                entries: 42,
                unread: 1,
            }),
            reason: "1 entry could not be read and is not in the backup: a: gone".into(),
            ..base()
        },
        SalvorVolume {
            claim: "cache".into(),
            persistent_volume: "pv-2".into(),
            outcome: VolumeOutcome::Failed,
            reason: "the disk is on fire".into(),
            ..base()
        },
        SalvorVolume {
            pod: "db-0".into(),
            pod_volume: "scratch".into(),
            reason: "nothing asks for its files".into(),
            ..base()
        },
        SalvorVolume {
            namespace: String::new(),
            persistent_volume: "pv-3".into(),
            reason: "volume policy 1 says skip".into(),
            ..base()
        },
    ]));
    let own = |details| {
        let text = text(&view, details, false);
        let at = text.find("Archive size").expect("there");
        text[at..].to_owned()
    };
    expect![[r#"
        Archive size:  1.5 KiB
          Volumes:       pv-3: left out: volume policy 1 says skip
                         volume scratch of pod shop/db-0: left out: nothing asks for its files
                         shop/cache (pv-2): failed: the disk is on fire
                         shop/data (pv-1): protected by copied files, application-consistent, 3 GiB in 42 entries, 10 MiB new, snapshot 01234567 of ns-shop, through pod db-0, on node node-1: 1 entry could not be read and is not in the backup: a: gone
    "#]].assert_eq(&own(true));
    expect![[r#"
        Archive size:         1.5 KiB
          Volumes:              1 protected, 1 failed, 2 left out (specify --details for more information)
          Volumes that failed:  shop/cache (pv-2): failed: the disk is on fire
    "#]].assert_eq(&own(false));
    let value = value(&view, false);
    let volumes = &value["salvor"]["volumes"];
    assert_eq!(volumes[3]["outcome"], "protected");
    assert_eq!(volumes[3]["snapshot"]["bytes"], json!(3_u64 << 30));
}
