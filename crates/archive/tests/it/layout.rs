//! A whole backup folder, written with this crate, passes the checker that shares no code with it; and the
//! checker sees what it is meant to see.

use std::fs;
use std::path::Path;

use salvor_api::name::{BackupName, RestoreName};
use salvor_api::resource::{GroupVersion, GroupVersionKind, ObjectKey};
use salvor_archive::files::{
    BackupOperation, BackupVolumeInfo, CsiSnapshotInfo, EMPTY, NativeSnapshotInfo, PodVolumeInfo,
    PvInfo, ResourceListBuilder, RestoreVolumeInfo, Results, SnapshotDataMovementInfo,
    restored_entry, write_json_gz, write_text_gz,
};
use salvor_archive::names::{BackupFile, RestoreFile};
use salvor_testkit::velero_check::{check_backup, check_location};
use serde_json::{Value, json};

use crate::handmade::{Tar, gzip};
use crate::written::{Item, write};

const KINDS: [(&str, Option<&str>, &str, &str, &str); 5] = [
    ("pods", Some("shop"), "web-0", "v1", "Pod"),
    ("namespaces", None, "shop", "v1", "Namespace"),
    (
        "deployments.apps",
        Some("shop"),
        "web",
        "apps/v1",
        "Deployment",
    ),
    (
        "vines.example.io",
        Some("shop"),
        "red",
        "example.io/v1beta1",
        "Vine",
    ),
    (
        "customresourcedefinitions.apiextensions.k8s.io",
        None,
        "vines.example.io",
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
    ),
];

fn body(namespace: Option<&str>, name: &str, api_version: &str, kind: &str) -> Value {
    let mut body = json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "uid": "u", "resourceVersion": "1",
                     "creationTimestamp": "2026-11-20T02:00:00Z"},
        "text": "a \" b",
    });
    if let Some(namespace) = namespace {
        body["metadata"]["namespace"] = namespace.into();
    }
    body
}

fn backup_object() -> Value {
    json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": "b1", "namespace": "velero"},
        "spec": {"ttl": "720h0m0s", "includedNamespaces": ["*"], "csiSnapshotTimeout": "10m0s"},
        "status": {"version": 1, "formatVersion": "1.1.0", "phase": "Completed",
                   "startTimestamp": "2026-11-20T02:00:00Z", "expiration": "2026-12-20T02:00:00Z"},
    })
}

/// Writes a location with one backup and one restore.
fn write_location(root: &Path) {
    let backup = BackupName::new("b1").expect("valid name");
    let restore = RestoreName::new("r1").expect("valid name");
    let put = |key: String, bytes: &[u8]| {
        let path = root.join(key);
        fs::create_dir_all(path.parent().expect("a folder")).expect("create");
        fs::write(path, bytes).expect("write");
    };
    let mut items = Vec::new();
    let mut backed_up = ResourceListBuilder::new();
    let mut restored = ResourceListBuilder::new();
    for (resource, namespace, name, api_version, kind) in KINDS {
        let key = ObjectKey {
            resource: resource.parse().expect("resource"),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        let group_version = GroupVersion::parse(api_version);
        let version = group_version.version.clone();
        let kind_id = GroupVersionKind {
            group_version,
            kind: kind.to_owned(),
        };
        backed_up.add(&kind_id, &key.scoped_name()).expect("add");
        let entry = restored_entry(&key, "created");
        restored.add(&kind_id, &entry).expect("add");
        let body = body(namespace, name, api_version, kind)
            .to_string()
            .into_bytes();
        items.push(Item {
            key,
            version,
            preferred: true,
            body,
        });
    }
    let (archive, index) = write(&items, 2);
    let volumes = vec![BackupVolumeInfo {
        backup_method: "CSISnapshot".into(),
        csi_snapshot_info: Some(CsiSnapshotInfo::default()),
        snapshot_data_movement_info: Some(SnapshotDataMovementInfo::default()),
        native_snapshot_info: Some(NativeSnapshotInfo::default()),
        pvb_info: Some(PodVolumeInfo::default()),
        pv_info: Some(PvInfo::default()),
        ..BackupVolumeInfo::default()
    }];
    let mut operation = BackupOperation::default();
    operation.status.phase = "Completed".into();
    let mut results = Results::default();
    results
        .warnings
        .add(Some("shop"), "a volume was not backed up");
    results.errors.add_velero("discovery");
    let results = write_json_gz(&results).expect("write");
    let empty = write_json_gz(&EMPTY).expect("write");
    let log = write_text_gz(b"level=info msg=\"done\"\n").expect("write");
    for (file, bytes) in [
        (BackupFile::Archive, archive),
        (BackupFile::SalvorIndex, index.encode()),
        (BackupFile::SalvorManifest, b"{}".to_vec()),
        (BackupFile::Logs, log.clone()),
        (BackupFile::Results, results.clone()),
        (
            BackupFile::ResourceList,
            backed_up.finish().expect("finish"),
        ),
        (
            BackupFile::VolumeInfo,
            write_json_gz(&volumes).expect("write"),
        ),
        (
            BackupFile::ItemOperations,
            write_json_gz(&[operation]).expect("write"),
        ),
        (BackupFile::VolumeSnapshots, empty.clone()),
        (BackupFile::PodVolumeBackups, empty),
        (
            BackupFile::Metadata,
            backup_object().to_string().into_bytes(),
        ),
    ] {
        put(file.key(&backup), &bytes);
    }
    let volumes = vec![RestoreVolumeInfo {
        restore_method: "PodVolumeRestore".into(),
        pvr_info: Some(PodVolumeInfo::default()),
        ..RestoreVolumeInfo::default()
    }];
    for (file, bytes) in [
        (RestoreFile::Logs, log),
        (RestoreFile::Results, results),
        (
            RestoreFile::ResourceList,
            restored.finish().expect("finish"),
        ),
        (
            RestoreFile::VolumeInfo,
            write_json_gz(&volumes).expect("write"),
        ),
    ] {
        put(file.key(&restore), &bytes);
    }
    put("plugins/salvor/location/1.json".to_owned(), b"{}");
    put(
        "backups/unfinished/unfinished.tar.gz".to_owned(),
        b"not read",
    );
}

#[test]
fn what_is_written_is_laid_out_as_velero_lays_it_out() {
    let root = tempfile::tempdir().expect("temporary folder");
    write_location(root.path());
    assert_eq!(check_location(root.path()), Vec::<String>::new());
}

#[test]
fn the_checker_sees_every_kind_of_violation() {
    let gz = |value: Value| gzip(value.to_string().as_bytes());
    let with = |pointer: &str, value: Value| {
        let mut object = backup_object();
        *object.pointer_mut(pointer).expect(pointer) = value;
        object.to_string().into_bytes()
    };
    let replaced: Vec<(&str, Vec<u8>, &str)> = vec![
        ("stray/file", b"".to_vec(), "no top-level directory"),
        (
            "backups/b1/b1-extra.gz",
            gz(json!(1)),
            "b1-extra.gz is no file of a backup",
        ),
        (
            "backups/b1/b2.tar.gz",
            gz(json!(1)),
            "b2.tar.gz is no file of a backup",
        ),
        (
            "backups/b1/velero-backup.json",
            gz(json!({})),
            "velero-backup.json is not JSON",
        ),
        (
            "backups/b1/velero-backup.json",
            with("/status/phase", json!("InProgress")),
            "phase",
        ),
        (
            "backups/b1/velero-backup.json",
            with("/metadata/name", json!("b2")),
            "the folder's",
        ),
        (
            "backups/b1/velero-backup.json",
            with("/spec/ttl", json!("720h")),
            "ttl",
        ),
        (
            "backups/b1/velero-backup.json",
            with("/status/startTimestamp", json!("2026-11-20T02:00:00.5Z")),
            "startTimestamp is not a time",
        ),
        (
            "backups/b1/b1-logs.gz",
            b"plain".to_vec(),
            "b1-logs.gz is not gzip",
        ),
        (
            "backups/b1/b1-results.gz",
            gz(json!({"errors": {}})),
            "not errors and warnings",
        ),
        (
            "backups/b1/b1-results.gz",
            gz(json!({"errors": {"cluster": "x"}, "warnings": {}})),
            "`cluster` is not as it should be",
        ),
        (
            "backups/b1/b1-resource-list.json.gz",
            gz(json!({"v1/Pod": ["shop/web-0", "shop/a"]})),
            "is not sorted",
        ),
        (
            "backups/b1/b1-resource-list.json.gz",
            gz(json!({"v1/Pod": ["shop/none"]})),
            "v1/Pod shop/none is in the resource list but not in the archive",
        ),
        (
            "backups/b1/b1-resource-list.json.gz",
            gz(json!({})),
            "v1/Namespace shop is in the archive but not in the resource list",
        ),
        (
            "backups/b1/b1-volumeinfo.json.gz",
            gz(
                json!([{"snapshotDataMoved": false, "backupMethod": "CSISnapshot",
                       "csiSnapshotInfo": {"readyToUse": true}}]),
            ),
            "`csiSnapshotInfo.readyToUse` is unknown",
        ),
        (
            "backups/b1/b1-volumeinfo.json.gz",
            gz(json!({})),
            "is not an array",
        ),
        (
            "backups/b1/b1-itemoperations.json.gz",
            gz(json!([{"spec": {"resourceIdentifier": {"group": ""}}, "status": {}}])),
            "resourceIdentifier is not as it should be",
        ),
        (
            "restores/r1/restore-r1-resource-list.json.gz",
            gz(json!({"v1/Pod": ["shop/web-0(eaten)"]})),
            "has no action",
        ),
        (
            "restores/r1/restore-r1-volumeinfo.json.gz",
            gz(json!([])),
            "no file of a restore",
        ),
    ];
    for (key, bytes, expected) in replaced {
        let root = tempfile::tempdir().expect("temporary folder");
        write_location(root.path());
        let path = root.path().join(key);
        fs::create_dir_all(path.parent().expect("a folder")).expect("create");
        fs::write(path, bytes).expect("write");
        let violations = check_location(root.path());
        let seen = violations
            .iter()
            .any(|violation| violation.contains(expected));
        assert!(seen, "{key}, {expected}: {violations:#?}");
    }
}

#[test]
fn the_checker_sees_what_is_wrong_with_an_archive() {
    let pod = body(Some("shop"), "web-0", "v1", "Pod");
    let compact = pod.to_string().into_bytes();
    let plain = "resources/pods/namespaces/shop/web-0.json";
    let twin = "resources/pods/v1-preferredversion/namespaces/shop/web-0.json";
    let pair = |tar: Tar| tar.file(plain, &compact).file(twin, &compact);
    let good = pair(Tar::velero());
    let changed = |pointer: &str, value: Value| {
        let mut body = pod.clone();
        *body.pointer_mut(pointer).expect(pointer) = value;
        let text = body.to_string().into_bytes();
        Tar::velero().file(plain, &text).file(twin, &text)
    };
    let pretty = serde_json::to_vec_pretty(&pod).expect("JSON");
    let vine = body(Some("shop"), "red", "example.io/v1", "Vine")
        .to_string()
        .into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (gzip(&good.0), "two blocks of zeros"),
        (
            pair(Tar::default().file("metadata/version", b"1\n")).gz(),
            "is not 1.1.0",
        ),
        (
            pair(Tar::default())
                .file("metadata/version", b"1.1.0\n")
                .gz(),
            "begin with",
        ),
        (Tar::velero().file(plain, &compact).gz(), "no equal twin"),
        (
            Tar::velero().file(plain, &compact).file(twin, &vine).gz(),
            "no equal twin",
        ),
        (
            Tar::velero().file(twin, &compact).gz(),
            "no unversioned entry",
        ),
        (pair(good.clone()).gz(), "occurs twice"),
        (
            good.clone().entry("resources/", b'5', b"").gz(),
            "not a regular file",
        ),
        (
            good.clone().file("../evil.json", b"{}").gz(),
            "no item's path",
        ),
        (
            good.clone()
                .file("resources/pods/cluster/x.yaml", b"{}")
                .gz(),
            "end in .json",
        ),
        (
            good.clone()
                .file("resources/pods/cluster/x.json", b"x")
                .gz(),
            "is not JSON",
        ),
        (
            Tar::velero().file(plain, &pretty).file(twin, &pretty).gz(),
            "is not compact",
        ),
        (changed("/metadata/uid", Value::Null).gz(), "lost its uid"),
        (
            changed("/metadata/name", json!("other")).gz(),
            "another object",
        ),
        (
            changed("/metadata/namespace", json!("other")).gz(),
            "another object",
        ),
        (changed("/apiVersion", json!("apps/v1")).gz(), "is of group"),
        (changed("/apiVersion", json!("v2")).gz(), "is of version v2"),
        (
            good.clone()
                .file("resources/vines.example.io/namespaces/shop/red.json", &vine)
                .gz(),
            "the definition of vines.example.io is missing",
        ),
    ];
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = root.path().join("b1");
    fs::create_dir(&folder).expect("create");
    fs::write(
        folder.join("velero-backup.json"),
        backup_object().to_string(),
    )
    .expect("write");
    let check = |archive: &[u8]| {
        fs::write(folder.join("b1.tar.gz"), archive).expect("write");
        check_backup(&folder)
    };
    assert_eq!(check(&good.gz()), Vec::<String>::new());
    for (archive, expected) in cases {
        let violations = check(&archive);
        let seen = violations
            .iter()
            .any(|violation| violation.contains(expected));
        assert!(seen, "{expected}: {violations:#?}");
    }
    fs::remove_file(folder.join("b1.tar.gz")).expect("remove");
    assert!(
        check_backup(&folder)
            .iter()
            .any(|v| v.contains("b1.tar.gz is missing"))
    );
}
