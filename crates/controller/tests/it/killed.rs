//! A server that is killed at any of its requests: the next one ends everything honestly.

use salvor_api::name::BackupName;
use salvor_api::velero::{
    Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, Restore, RestorePhase,
};
use salvor_cluster::{ApiResource, DeleteOptions, ListOptions};

use crate::world::{World, config_maps_resource, location};

/// Requests between two kills: every point in turn would take minutes; over all runs of the loop the points
/// are spread over the whole life of a backup and a restore.
const STRIDE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_survives_the_death_of_its_server() {
    let mut at = 3;
    loop {
        let world = World::new().await;
        world.back_up("b1", |_| ()).await;
        let done = async {
            let ended = |b: &Backup| b.status.phase.is_final();
            world.until("b1", ended).await;
        };
        let killed = world.serve_until_killed(at, done).await;
        let server = world.serve();
        let ended = |b: &Backup| b.status.phase.is_final();
        let backup: Backup = world.until("b1", ended).await;
        server.stop().await;
        let name = BackupName::new("b1").expect("name");
        match (&backup.status.phase, location(&world).backup(&name).await) {
            (BackupPhase::Completed, Ok(record)) => {
                assert_eq!(record.backup.status, backup.status, "killed at {at}");
            }
            (BackupPhase::Failed, Err(error)) if error.is_not_found() => {}
            other => panic!("killed at {at}: {other:?}"),
        }
        if !killed {
            assert!(at > 20, "only {at} requests");
            return;
        }
        at += STRIDE;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_goes_on_after_the_death_of_its_server() {
    let mut at = 5;
    loop {
        let world = World::new().await;
        let server = world.serve();
        world.back_up("b1", |_| ()).await;
        let ended = |b: &Backup| b.status.phase.is_final();
        world.until("b1", ended).await;
        server.stop().await;
        for number in 0..5 {
            world
                .cluster
                .delete(
                    &config_maps_resource(),
                    Some("shop"),
                    &format!("c{number}"),
                    &DeleteOptions::default(),
                )
                .await
                .expect("deleted");
        }
        world.restore("r1", "b1").await;
        let done = |r: &Restore| r.status.phase.is_final();
        let idle = async {
            world.until("r1", done).await;
        };
        let killed = world.serve_until_killed(at, idle).await;
        let server = world.serve();
        let restore: Restore = world.until("r1", done).await;
        server.stop().await;
        assert_eq!(
            restore.status.phase,
            RestorePhase::Completed,
            "killed at {at}: {restore:?}"
        );
        let page = world
            .cluster
            .list_page(
                &config_maps_resource(),
                Some("shop"),
                &ListOptions::default(),
            )
            .await
            .expect("listed");
        let ours = |item: &&[u8]| String::from_utf8_lossy(item).contains(r#""name":"c"#);
        assert_eq!(page.items().filter(ours).count(), 5, "killed at {at}");
        let namespaces = ApiResource::namespaces();
        let shop = world.cluster.get(&namespaces, None, "shop").await;
        assert!(shop.expect("read").is_some());
        if !killed {
            assert!(at > 20, "only {at} requests");
            return;
        }
        at += STRIDE;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_goes_on_after_the_death_of_its_server() {
    let mut at = 5;
    loop {
        let world = World::new().await;
        let server = world.serve();
        for name in ["b1", "b2"] {
            world.back_up(name, |_| ()).await;
            let ended = |b: &Backup| b.status.phase.is_final();
            world.until(name, ended).await;
        }
        world.restore("r1", "b1").await;
        let done = |r: &Restore| r.status.phase.is_final();
        world.until("r1", done).await;
        server.stop().await;
        let mut request = DeleteBackupRequest::named(crate::world::NAMESPACE, "d");
        "b1".clone_into(&mut request.spec.backup_name);
        world.kinds().create(&request).await.expect("created");
        let idle = world.until_gone::<DeleteBackupRequest>("d");
        let killed = world.serve_until_killed(at, idle).await;
        // Whatever was done: it is a backup as long as it is whole.
        let name = BackupName::new("b1").expect("name");
        let before: Option<Backup> = world.get("b1").await;
        let record = location(&world).backup(&name).await;
        match (before.map(|b| b.status.phase), record) {
            (Some(BackupPhase::Completed), Err(error)) => panic!("killed at {at}: {error}"),
            (None, Ok(_)) => panic!("killed at {at}: the object went before the files"),
            _ => {}
        }
        let server = world.serve();
        world.until_gone::<DeleteBackupRequest>("d").await;
        world.until_gone::<Backup>("b1").await;
        world.until_gone::<Restore>("r1").await;
        server.stop().await;
        for folder in ["backups/b1", "restores/r1"] {
            let left = world.store.list_folder(folder).await.expect("listed");
            assert!(left.objects.is_empty(), "killed at {at}: {left:?}");
        }
        let other: Backup = world.get("b2").await.expect("there");
        assert_eq!(other.status.phase, BackupPhase::Completed, "killed at {at}");
        if !killed {
            assert!(at > 20, "only {at} requests");
            return;
        }
        at += STRIDE;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_loses_nothing_by_the_death_of_its_server() {
    let mut at = 5;
    loop {
        let world = World::new().await;
        let server = world.serve();
        let ended = |b: &Backup| b.status.phase.is_final();
        for name in ["goes", "stays", "comes"] {
            world.back_up(name, |_| ()).await;
            world.until(name, ended).await;
        }
        server.stop().await;
        // One is in the store only, one in the cluster only.
        let comes: Backup = world.get("comes").await.expect("there");
        world.kinds().delete(&comes).await.expect("deleted");
        let files = world
            .store
            .list_folder("backups/goes")
            .await
            .expect("listed");
        for object in files.objects {
            world.store.delete(&object.key).await.expect("deleted");
        }
        let idle = async {
            world.until_gone::<Backup>("goes").await;
            world.until("comes", ended).await;
        };
        let killed = world.serve_until_killed(at, idle).await;
        let server = world.serve();
        world.until_gone::<Backup>("goes").await;
        let comes: Backup = world.until("comes", ended).await;
        assert_eq!(comes.status.phase, BackupPhase::Completed, "killed at {at}");
        let synced = |o: &BackupStorageLocation| o.status.last_synced_time.is_some();
        world.until("default", synced).await;
        server.stop().await;
        let stays: Backup = world.get("stays").await.expect("there");
        assert_eq!(stays.status.phase, BackupPhase::Completed, "killed at {at}");
        for name in ["stays", "comes"] {
            let name = BackupName::new(name).expect("name");
            location(&world).backup(&name).await.expect("whole");
        }
        if !killed {
            assert!(at > 20, "only {at} requests");
            return;
        }
        at += STRIDE;
    }
}
