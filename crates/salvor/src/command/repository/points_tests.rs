use expect_test::expect;
use salvor_archive::files::{
    Consistency, CsiSnapshotInfo, PodVolumeInfo, RepositorySnapshot, SnapshotDataMovementInfo,
};
use salvor_text::Language;

use super::*;

#[test]
fn a_point_says_how_it_was_made_and_whether_we_bring_it_back() {
    let ours = of_ours(&SalvorVolume {
        outcome: VolumeOutcome::Protected,
        method: Some(VolumeMethod::Files),
        consistency: Some(Consistency::Application),
        snapshot: Some(RepositorySnapshot {
            domain: "ns-shop".into(),
            id: "ab".repeat(32),
            bytes: 3 << 20,
            ..RepositorySnapshot::default()
        }),
        started: "2026-11-20T03:00:00Z".parse().ok(),
        ..SalvorVolume::default()
    });
    let left_out = of_ours(&SalvorVolume {
        reason: "the pod leaves it out by annotation".into(),
        ..SalvorVolume::default()
    });
    let kopia = of_velero(&BackupVolumeInfo {
        pvb_info: Some(PodVolumeInfo {
            uploader_type: "kopia".into(),
            size: 5,
            ..PodVolumeInfo::default()
        }),
        ..BackupVolumeInfo::default()
    });
    let moved = of_velero(&BackupVolumeInfo {
        snapshot_data_movement_info: Some(SnapshotDataMovementInfo {
            uploader_type: "kopia".into(),
            ..SnapshotDataMovementInfo::default()
        }),
        // It is there as well when the data was moved.
        csi_snapshot_info: Some(CsiSnapshotInfo::default()),
        ..BackupVolumeInfo::default()
    });
    let skipped = of_velero(&BackupVolumeInfo {
        skipped: true,
        skipped_reason: "hostPath".into(),
        ..BackupVolumeInfo::default()
    });
    let mut points = vec![ours, left_out, kopia, moved, skipped];
    for (at, point) in points.iter_mut().enumerate() {
        point.backup = format!("b{at}");
    }
    points[0].copies = vec![
        Copied {
            location: "offsite".into(),
            state: CopyState::Done,
            lag_seconds: 300,
        },
        Copied {
            location: "vault".into(),
            state: CopyState::Failed,
            lag_seconds: 7200,
        },
    ];
    let restorable: Vec<bool> = points.iter().map(|point| point.restorable).collect();
    assert_eq!(restorable, [true, false, false, false, false]);
    expect![[r#"
        BACKUP   TIME                   METHOD      CONSISTENCY   SIZE    COPIES                          NOTE
        b0       2026-11-20T03:00:00Z   files       application   3 MiB   offsite +5m, vault failed, 2h   
        b1       -                      -           -             -       -                               the pod leaves it out by annotation
        b2       -                      files       files         5 B     -                               not restorable by us: files in Velero's kopia repository, which only Velero reads
        b3       -                      csi-moved   crash         -       -                               not restorable by us: data of a snapshot in Velero's kopia repository, which only Velero reads
        b4       -                      -           -             -       -                               hostPath
    "#]]
    .assert_eq(&table(&points, Messages::new(Language::English)));
}

#[test]
fn the_lag_of_a_copy_counts_from_the_end_of_its_backup() {
    let time = |text: &str| text.parse::<Timestamp>().expect("a time");
    let record = |state: &str, finished: Option<&str>| -> CopyRecord {
        let value = serde_json::json!({
            "version": 1, "backup": "b", "identity": "i", "attempts": 1, "state": state,
            "target": {"name": "offsite", "url": "s3://x"}, "run": salvor_location::RunId::generate(),
            "first": "2026-11-20T03:01:00Z", "started": "2026-11-20T03:01:00Z",
            "finished": finished, "separation": {"is": "unknown"},
        });
        serde_json::from_value(value).expect("a record")
    };
    let ended = "2026-11-20T03:00:00Z".parse().ok();
    let now = time("2026-11-20T04:00:00Z");
    for (state, finished, expected) in [
        ("done", Some("2026-11-20T03:05:00Z"), 300),
        ("failed", None, 3600),
        ("running", None, 3600),
        // Clocks of two machines differ.
        ("done", Some("2026-11-20T02:59:00Z"), 0),
    ] {
        let copy = copied(&record(state, finished), ended, now);
        assert_eq!(copy.lag_seconds, expected, "{state} {finished:?}");
    }
}
