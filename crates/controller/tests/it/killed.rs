//! A server that is killed at any of its requests: the next one ends everything honestly.

use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase, Restore, RestorePhase};
use salvor_cluster::{ApiResource, DeleteOptions, ListOptions};
use salvor_location::{Location, Profile};
use salvor_storage::StoreUrl;

use crate::world::{World, config_maps_resource};

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
        let profile = Profile {
            name: "default".to_owned(),
            url: StoreUrl::parse("file:///in/memory").expect("URL"),
            read_only: false,
        };
        let location = Location::new(world.store.clone(), profile);
        let name = BackupName::new("b1").expect("name");
        match (&backup.status.phase, location.backup(&name).await) {
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
