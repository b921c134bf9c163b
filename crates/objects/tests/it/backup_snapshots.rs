//! With `snapshotMoveData` volumes are snapshotted, the snapshots' files are copied, and nothing else is left of them.

use std::sync::Arc;

use salvor_api::velero::BackupPhase;
use salvor_archive::files::{Consistency, VolumeMethod, VolumeOutcome};
use salvor_objects::backup::{BackupOptions, BackupRequest, ProgressSink, run};
use salvor_volume::{DataMover, VolumePlace};

use crate::movers::{Fate, Movers};
use crate::restore_world::{carried_out, complaints};
use crate::snapshot_world::{DRIVER, lose, volumes, world};
use crate::volume_world::{Mover, restoring};
use crate::world::{World, memory_location, request};

#[tokio::test]
async fn files_of_a_snapshot_are_copied_and_the_snapshot_goes_whatever_came_of_it() {
    let (world, driver) = world().await;
    for fails in [false, true] {
        let location = memory_location();
        let mover = Movers::new(move |_| if fails { Fate::Fails } else { Fate::Done });
        let backup = request("b", |backup| {
            backup.metadata.uid = "uid-of-b".to_owned();
            backup.spec.included_namespaces = vec!["shop".to_owned()];
            backup.spec.snapshot_move_data = Some(true);
        });
        let outcome = run(
            BackupRequest {
                cluster: world.cluster.clone(),
                location: location.clone(),
                backup,
                options: BackupOptions {
                    data_mover: Some(Arc::new(mover.clone()) as Arc<dyn DataMover>),
                    ..BackupOptions::default()
                },
            },
            ProgressSink::none(),
        );
        let outcome = outcome.await.expect("a backup");
        let volumes = volumes(&location).await;
        let [record] = volumes.as_slice() else {
            panic!("one volume: {volumes:?}");
        };
        if fails {
            assert_eq!(outcome.backup.status.phase, BackupPhase::PartiallyFailed);
            assert_eq!(record.outcome, VolumeOutcome::Failed);
        } else {
            assert_eq!(
                outcome.backup.status.phase,
                BackupPhase::Completed,
                "{volumes:?}"
            );
            assert_eq!(record.outcome, VolumeOutcome::Protected);
            assert_eq!(record.method, Some(VolumeMethod::CsiMoved));
            assert_eq!(record.consistency, Some(Consistency::Crash));
            let csi = record.csi.as_ref().expect("a snapshot");
            assert_eq!((csi.driver.as_str(), csi.handle.as_str()), (DRIVER, ""));
        }
        let jobs = mover.jobs();
        let [job] = jobs.as_slice() else {
            panic!("one copy: {jobs:?}");
        };
        let VolumePlace::Claim { claim, .. } = &job.place else {
            panic!("through a claim: {job:?}");
        };
        assert_eq!(claim.namespace, "velero");
        assert_eq!(job.source_namespace(), "shop");
        assert_eq!(driver.handles(), Vec::<String>::new());
        for kind in ["volumesnapshots", "volumesnapshotcontents"] {
            assert!(world.list(kind).await.is_empty(), "{kind}");
        }
        assert_eq!(world.list("persistentvolumeclaims").await.len(), 1);
    }
}

#[tokio::test]
async fn moved_data_is_filled_like_copied_files() {
    let (world, driver) = world().await;
    let location = memory_location();
    let backup = request("b", |backup| {
        backup.metadata.uid = "uid-of-b".to_owned();
        backup.spec.included_namespaces = vec!["shop".to_owned()];
        backup.spec.snapshot_move_data = Some(true);
    });
    let outcome = run(
        BackupRequest {
            cluster: world.cluster.clone(),
            location: location.clone(),
            backup,
            options: BackupOptions {
                data_mover: Some(Arc::new(Movers::good()) as Arc<dyn DataMover>),
                ..BackupOptions::default()
            },
        },
        ProgressSink::none(),
    );
    outcome.await.expect("a backup");
    lose(&world, "shop", "data").await;
    let mover = Mover::of(&world);
    let request = restoring(&world, &location, "r", &mover).await;
    let outcome = carried_out(&request, &location).await.expect("a restore");
    assert_eq!(complaints(&outcome), Vec::<String>::new());
    let asked = mover.asked();
    let job = asked[0].job.as_ref().expect("a job");
    let stored = volumes(&location).await.remove(0).snapshot;
    assert_eq!(Some(&job.snapshot), stored.as_ref().map(|one| &one.id));
    assert_eq!(mover.targets(), ["shop/data"]);
    assert_eq!(driver.handles(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cluster_without_snapshots_says_so() {
    let world = World::platform().await;
    let backup = request("b", |backup| backup.spec.snapshot_move_data = Some(true));
    let outcome = run(
        BackupRequest {
            cluster: world.cluster.clone(),
            location: memory_location(),
            backup,
            options: BackupOptions {
                data_mover: Some(Arc::new(Movers::good()) as Arc<dyn DataMover>),
                ..BackupOptions::default()
            },
        },
        ProgressSink::none(),
    );
    let outcome = outcome.await.expect("a backup");
    assert_eq!(outcome.backup.status.phase, BackupPhase::PartiallyFailed);
    let errors = format!("{:?}", outcome.results.errors);
    assert!(
        errors.contains("the cluster serves no VolumeSnapshots"),
        "{errors}"
    );
}
