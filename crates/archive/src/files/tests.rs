use expect_test::{Expect, expect};
use salvor_api::resource::{GroupResource, GroupVersion, GroupVersionKind, ObjectKey};
use serde_json::{Value, json};

use super::*;

fn check<T: Serialize + DeserializeOwned + Default + PartialEq + std::fmt::Debug>(
    value: &T,
    expected: &Expect,
) {
    let file = write_json_gz(value).expect("write");
    let text = read_text_gz(&file, 1 << 20).expect("gzip");
    expected.assert_eq(&String::from_utf8(text).expect("text"));
    assert_eq!(&read_json_gz::<T>(&file, 1 << 20).expect("read"), value);
}

fn gz(text: &str) -> Vec<u8> {
    write_text_gz(text.as_bytes()).expect("compress")
}

#[test]
fn results_leave_empty_parts_out() {
    let mut results = Results::default();
    check(
        &results,
        &expect![[r#"
        {"errors":{},"warnings":{}}
    "#]],
    );
    results.errors.add(Some("shop"), "denied");
    results.errors.add(None, "forbidden");
    results.warnings.add_velero("slow");
    assert_eq!((results.errors.count(), results.warnings.count()), (2, 1));
    check(
        &results,
        &expect![[r#"
        {"errors":{"cluster":["forbidden"],"namespaces":{"shop":["denied"]}},"warnings":{"velero":["slow"]}}
    "#]],
    );
    let nulls = gz(r#"{"errors":{"velero":null,"namespaces":null},"warnings":{"cluster":null}}"#);
    assert_eq!(
        read_json_gz::<Results>(&nulls, 1000).expect("nulls"),
        Results::default()
    );
}

#[test]
fn volume_infos_have_the_capitals_of_velero() {
    let volume = BackupVolumeInfo {
        pvc_name: "data".into(),
        pvc_namespace: "shop".into(),
        pv_name: "pv-1".into(),
        skipped: true,
        skipped_reason: "not built".into(),
        csi_snapshot_info: Some(CsiSnapshotInfo {
            ready_to_use: Some(true),
            ..Default::default()
        }),
        snapshot_data_movement_info: Some(Default::default()),
        native_snapshot_info: Some(Default::default()),
        pvb_info: Some(Default::default()),
        pv_info: Some(Default::default()),
        ..Default::default()
    };
    check(
        &vec![volume],
        &expect![[r#"
        [{"pvcName":"data","pvcNamespace":"shop","pvName":"pv-1","snapshotDataMoved":false,"preserveLocalSnapshot":false,"skipped":true,"skippedReason":"not built","csiSnapshotInfo":{"snapshotHandle":"","size":0,"driver":"","vscName":"","ReadyToUse":true},"snapshotDataMovementInfo":{"dataMover":"","uploaderType":"","snapshotHandle":"","operationID":"","size":0,"Phase":""},"nativeSnapshotInfo":{"snapshotHandle":"","volumeType":"","volumeAZ":"","iops":"","Phase":""},"pvbInfo":{"uploaderType":"","volumeName":"","podName":"","podNamespace":"","Phase":""},"pvInfo":{"reclaimPolicy":"","labels":{}}}]
    "#]],
    );
    let restored = RestoreVolumeInfo {
        restore_method: "PodVolumeRestore".into(),
        pvr_info: Some(PodVolumeInfo {
            phase: "Completed".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    check(
        &vec![restored],
        &expect![[r#"
        [{"restoreMethod":"PodVolumeRestore","snapshotDataMoved":false,"pvrInfo":{"uploaderType":"","volumeName":"","podName":"","podNamespace":"","Phase":"Completed"}}]
    "#]],
    );
}

#[test]
fn operations_are_read_in_both_spellings() {
    let operation = BackupOperation {
        spec: BackupOperationSpec {
            backup_name: "b".into(),
            backup_uid: "u".into(),
            operation_id: "o".into(),
            resource_identifier: ResourceIdentifier {
                resource: "pods".into(),
                ..Default::default()
            },
            ..Default::default()
        },
        status: OperationStatus {
            n_completed: 3,
            created: "2026-11-20T02:00:00Z".parse().ok(),
            ..Default::default()
        },
    };
    check(
        &vec![operation.clone()],
        &expect![[r#"
        [{"spec":{"backupName":"b","backupUID":"u","backupItemAction":"","ResourceIdentifier":{"Group":"","Resource":"pods","Namespace":"","Name":""},"OperationID":"o","PostOperationItems":[]},"status":{"nCompleted":3,"created":"2026-11-20T02:00:00Z"}}]
    "#]],
    );
    let lower = json!([{"spec": {"backupName": "b", "backupUID": "u", "operationID": "o",
        "resourceIdentifier": {"resource": "pods"}, "postOperationItems": null},
        "status": {"nCompleted": 3, "created": "2026-11-20T02:00:00Z", "started": null}}]);
    let read: Vec<BackupOperation> = read_json_gz(&gz(&lower.to_string()), 10_000).expect("read");
    assert_eq!(read, [operation]);
    let restored = RestoreOperation::default();
    check(
        &restored,
        &expect![[r#"
        {"spec":{"restoreName":"","restoreUID":"","restoreItemAction":"","ResourceIdentifier":{"Group":"","Resource":"","Namespace":"","Name":""},"OperationID":""},"status":{}}
    "#]],
    );
}

#[test]
fn empty_arrays_are_written_as_such_and_null_is_read_as_one() {
    let file = write_json_gz(&EMPTY).expect("write");
    assert_eq!(read_text_gz(&file, 100).expect("gzip"), b"[]\n");
    for text in ["[]", "null", " null\n"] {
        let list: Vec<Value> = read_json_gz(&gz(text), 100).expect(text);
        assert!(list.is_empty());
    }
}

#[test]
fn side_files_are_read_within_their_limit_only() {
    let bomb = write_text_gz(&vec![b' '; 1 << 20]).expect("compress");
    assert!(bomb.len() < 2000);
    assert_eq!(
        read_text_gz(&bomb, 1 << 20).expect("just fits").len(),
        1 << 20
    );
    let error = read_text_gz(&bomb, (1 << 20) - 1).expect_err("one too long");
    assert!(
        matches!(error, ArchiveError::SideFileTooLong { .. }),
        "{error}"
    );
    for bytes in [&b""[..], b"not gzip", &bomb[..bomb.len() - 1], &bomb[..5]] {
        let error = read_json_gz::<Results>(bytes, 1 << 30).expect_err("damaged");
        assert_eq!(error.to_string(), "decompress Results");
    }
    let error = read_json_gz::<Results>(&gz("{\"errors\":[1]}"), 100).expect_err("not results");
    assert_eq!(error.to_string(), "decode Results");
}

#[test]
fn resource_lists_are_sorted_whether_spooled_or_not() {
    let kind = |group: &str, kind: &str| GroupVersionKind {
        group_version: GroupVersion::new(group, "v1"),
        kind: kind.to_owned(),
    };
    let (pod, deployment) = (kind("", "Pod"), kind("apps", "Deployment"));
    let mut lists = Vec::new();
    for run_bytes in [1, 300, 1 << 20] {
        let mut builder = ResourceListBuilder::with_run_bytes(run_bytes);
        for n in [3, 1, 2, 3, 10] {
            builder.add(&pod, &format!("shop/web-{n}")).expect("add");
            builder
                .add(&deployment, &format!("shop/\"{n}"))
                .expect("add");
        }
        lists.push(read_text_gz(&builder.finish().expect("finish"), 10_000).expect("gzip"));
    }
    let text = String::from_utf8(lists[0].clone()).expect("text");
    expect![[r#"
        {"apps/v1/Deployment":["shop/\"1","shop/\"10","shop/\"2","shop/\"3"],"v1/Pod":["shop/web-1","shop/web-10","shop/web-2","shop/web-3"]}
    "#]]
    .assert_eq(&text);
    assert!(lists.iter().all(|list| *list == lists[0]));
    let list: ResourceList = read_json_gz(&gz(&text), 10_000).expect("read");
    assert_eq!(list["v1/Pod"].len(), 4);
    let empty = ResourceListBuilder::new().finish().expect("finish");
    assert_eq!(read_text_gz(&empty, 10).expect("gzip"), b"{}\n");
    let key = ObjectKey::namespaced(GroupResource::new("pods", ""), "shop", "web-1");
    assert_eq!(restored_entry(&key, "created"), "shop/web-1(created)");
}
