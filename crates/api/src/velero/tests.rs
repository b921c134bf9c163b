use expect_test::expect;

use super::*;

#[test]
fn a_backup_is_written_as_velero_writes_it() {
    let mut backup = Backup::named("velero", "nightly-1");
    backup
        .metadata
        .labels
        .insert("velero.io/storage-location".into(), "default".into());
    backup.spec.included_namespaces = vec!["*".into()];
    backup.spec.ttl = DEFAULT_TTL;
    backup.spec.csi_snapshot_timeout = DEFAULT_CSI_SNAPSHOT_TIMEOUT;
    backup.spec.item_operation_timeout = DEFAULT_ITEM_OPERATION_TIMEOUT;
    backup.spec.storage_location = "default".into();
    backup.status.version = BACKUP_VERSION;
    backup.status.format_version = FORMAT_VERSION.into();
    backup.status.phase = BackupPhase::PartiallyFailed;
    backup.status.start_timestamp = Some("2026-11-20T02:00:00Z".parse().expect("time"));
    expect![[r#"{"kind":"Backup","apiVersion":"velero.io/v1","metadata":{"name":"nightly-1","namespace":"velero","creationTimestamp":null,"labels":{"velero.io/storage-location":"default"}},"spec":{"metadata":{},"includedNamespaces":["*"],"ttl":"720h0m0s","hooks":{},"storageLocation":"default","csiSnapshotTimeout":"10m0s","itemOperationTimeout":"4h0m0s"},"status":{"version":1,"formatVersion":"1.1.0","phase":"PartiallyFailed","startTimestamp":"2026-11-20T02:00:00Z"}}"#]]
    .assert_eq(&serde_json::to_string(&backup).expect("plain data"));
}

#[test]
fn unknown_fields_nulls_and_phases_are_read() {
    let text = r#"{"apiVersion":"velero.io/v1","kind":"Backup",
        "metadata":{"name":"x","creationTimestamp":null,"managedFields":[]},
        "spec":{"includedNamespaces":null,"ttl":"1h","fromTheFuture":{},"hooks":null},
        "status":{"phase":"Hibernating"}}"#;
    let backup: Backup = serde_json::from_str(text).expect("lenient");
    assert_eq!(
        backup.status.phase,
        BackupPhase::Other("Hibernating".into())
    );
    assert_eq!(backup.spec.ttl, GoDuration::from_hours(1));
    assert_eq!(BackupPhase::Unset.to_string(), "New");
    let again: Backup =
        serde_json::from_str(&serde_json::to_string(&backup).expect("plain")).expect("ours");
    assert_eq!(again, backup);
}

#[test]
fn every_kind_is_written_as_go_writes_it() {
    fn empty<T: Kind>() -> String {
        let object = T::named("velero", "x");
        assert_eq!(object.metadata().name, "x");
        let text = serde_json::to_string(&object).expect("plain data");
        let start = r#","metadata":{"name":"x","namespace":"velero","creationTimestamp":null},"#;
        assert!(text.contains(start), "{text}");
        let again: T = serde_json::from_str(&text).expect("ours");
        assert_eq!(again, object);
        assert_eq!(
            T::group_resource().to_string(),
            format!("{}.velero.io", T::PLURAL)
        );
        text.replace(start, " ")
    }
    let texts = [
        empty::<Schedule>(),
        empty::<BackupStorageLocation>(),
        empty::<VolumeSnapshotLocation>(),
        empty::<DeleteBackupRequest>(),
        empty::<DownloadRequest>(),
        empty::<ServerStatusRequest>(),
        empty::<BackupRepository>(),
        empty::<PodVolumeBackup>(),
        empty::<PodVolumeRestore>(),
        empty::<DataUpload>(),
        empty::<DataDownload>(),
    ];
    expect![[r#"
        {"kind":"Schedule","apiVersion":"velero.io/v1" "spec":{"template":{"metadata":{},"ttl":"0s","hooks":{},"csiSnapshotTimeout":"0s","itemOperationTimeout":"0s"},"schedule":""},"status":{}}
        {"kind":"BackupStorageLocation","apiVersion":"velero.io/v1" "spec":{"provider":"","objectStorage":{"bucket":""}},"status":{}}
        {"kind":"VolumeSnapshotLocation","apiVersion":"velero.io/v1" "spec":{"provider":""},"status":{}}
        {"kind":"DeleteBackupRequest","apiVersion":"velero.io/v1" "spec":{"backupName":""},"status":{}}
        {"kind":"DownloadRequest","apiVersion":"velero.io/v1" "spec":{"target":{"kind":"","name":""}},"status":{}}
        {"kind":"ServerStatusRequest","apiVersion":"velero.io/v1" "spec":{},"status":{}}
        {"kind":"BackupRepository","apiVersion":"velero.io/v1" "spec":{"volumeNamespace":"","backupStorageLocation":"","repositoryType":"","maintenanceFrequency":"0s"},"status":{}}
        {"kind":"PodVolumeBackup","apiVersion":"velero.io/v1" "spec":{"node":"","pod":{},"volume":"","backupStorageLocation":"","repoIdentifier":"","uploaderType":""},"status":{"progress":{}}}
        {"kind":"PodVolumeRestore","apiVersion":"velero.io/v1" "spec":{"pod":{},"volume":"","backupStorageLocation":"","repoIdentifier":"","uploaderType":"","snapshotID":"","sourceNamespace":""},"status":{"progress":{}}}
        {"kind":"DataUpload","apiVersion":"velero.io/v2alpha1" "spec":{"snapshotType":"","csiSnapshot":null,"sourcePVC":"","backupStorageLocation":"","sourceNamespace":"","operationTimeout":"0s"},"status":{"progress":{}}}
        {"kind":"DataDownload","apiVersion":"velero.io/v2alpha1" "spec":{"targetVolume":{"pvc":"","pv":"","namespace":""},"backupStorageLocation":"","snapshotID":"","sourceNamespace":"","operationTimeout":"0s"},"status":{"progress":{}}}"#]].assert_eq(&texts.join("\n"));
}

#[test]
fn words_that_are_not_known_are_kept() {
    let text = r#"{"spec":{"repositoryType":"tape"},"status":{"phase":"Napping"}}"#;
    let repository: BackupRepository = serde_json::from_str(text).expect("lenient");
    assert_eq!(repository.spec.repository_type.as_str(), "tape");
    let again = serde_json::to_value(&repository).expect("plain");
    assert_eq!(again["spec"]["repositoryType"], "tape");
    assert_eq!(again["status"]["phase"], "Napping");
    assert_eq!(NodeOs::WORDS, ["auto", "linux", "windows"]);
    let os: NodeOs = serde_json::from_str(r#""windows""#).expect("known");
    assert_eq!(os, NodeOs::Windows);
}

#[test]
fn a_merge_patch_holds_what_differs_and_nothing_else() {
    let text =
        r#"{"metadata":{"name":"x"},"spec":{"fromTheFuture":1,"schedule":"@daily","paused":true}}"#;
    let before: Schedule = serde_json::from_str(text).expect("lenient");
    assert_eq!(merge_patch(&before, &before), None);
    let mut after = before.clone();
    after.spec.paused = false;
    after.status.phase = SchedulePhase::Enabled;
    let patch = merge_patch(&before, &after).expect("they differ");
    expect![[r#"{"spec":{"paused":null},"status":{"phase":"Enabled"}}"#]]
        .assert_eq(&patch.to_string());
}

#[test]
fn hooks_are_read_one_by_one() {
    let hooks: Hooks = serde_json::from_value(serde_json::json!({"resources": [
        {"name": "freeze", "includedNamespaces": ["db"], "labelSelector": null,
         "pre": [{"exec": {"command": ["/bin/sync"], "onError": "Continue", "timeout": "1m"}}]},
    ]}))
    .expect("any JSON");
    let typed = hooks.for_backup().expect("valid");
    let exec = typed[0].pre[0].exec.as_ref().expect("a command");
    assert_eq!(exec.on_error, HookErrorMode::Continue);
    assert_eq!(exec.timeout, GoDuration::from_minutes(1));

    let hooks: Hooks = serde_json::from_value(serde_json::json!({"resources": [
        {"name": "wait", "postHooks": [
            {"exec": {"command": ["true"], "waitForReady": true, "execTimeout": "5s"}},
            {"init": {"initContainers": [{"name": "i", "image": "x", "anything": [1]}], "timeout": "2m"}},
        ]},
        {"name": "odd", "postHooks": [{"exec": {"command": "true"}}]},
    ]}))
    .expect("any JSON");
    let error = hooks.for_restore().expect_err("a command is a list");
    assert_eq!(
        error.to_string(),
        "read hook 2 (`odd`) of spec.hooks.resources"
    );
    let first = Hooks {
        resources: hooks.resources[..1].to_vec(),
    };
    let typed = first.for_restore().expect("valid");
    assert_eq!(typed[0].post_hooks.len(), 2);
    let init = typed[0].post_hooks[1].init.as_ref().expect("containers");
    assert_eq!(init.init_containers[0]["anything"][0], 1);
}

#[test]
fn uploader_settings_are_typed_on_demand() {
    let mut spec = RestoreSpec::default();
    assert_eq!(
        spec.uploader().expect("absent"),
        UploaderConfigForRestore::default()
    );
    spec.uploader_config = Some(serde_json::json!({"writeSparseFiles": true}));
    assert_eq!(
        spec.uploader().expect("valid").write_sparse_files,
        Some(true)
    );
    spec.uploader_config = Some(serde_json::json!({"parallelFilesDownload": "many"}));
    assert!(spec.uploader().is_err());
}

#[test]
fn a_cancelled_restore_is_a_failed_one_in_a_cluster() {
    assert_eq!(RestorePhase::Cancelled.in_cluster(), RestorePhase::Failed);
    assert_eq!(
        RestorePhase::Completed.in_cluster(),
        RestorePhase::Completed
    );
}
