//! Movements from beginning to end.

use std::time::Duration;

use salvor_cluster::ApiResource;
use salvor_volume::{DataMover as _, Direction, MoveError};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{Movers, NAMESPACE, PATIENCE, World, backups, by_hand, pods};

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_a_pod_is_held_copied_let_go_and_filled_again() {
    let world = World::new(Movers::Run).await;
    let file = world.folder().join("file");
    std::fs::write(&file, "the first").expect("written");
    let (mover, cancel) = (world.mover(), CancellationToken::new());
    let stored = mover
        .back_up(&world.back_up("b1"), &cancel)
        .await
        .expect("stored");
    assert_eq!(
        (stored.unread, stored.bytes, stored.domain.as_str()),
        (0, 9, "ns-shop")
    );
    assert_eq!(stored.snapshot.len(), 64);
    assert!(stored.started.is_some() && stored.ended.is_some());
    let object = world
        .get(&backups(), NAMESPACE, &stored.object)
        .await
        .expect("a record");
    assert_eq!(object["status"]["snapshotID"], stored.snapshot);
    assert_eq!(object["metadata"]["labels"]["velero.io/backup-name"], "b1");
    assert_eq!(
        object["metadata"]["annotations"]["velero.io/pvc-name"],
        "data"
    );
    assert_eq!(object["spec"]["tags"]["volume"], "data");
    assert_eq!(object["spec"]["uploaderType"], "restic");
    world
        .until("the holder is gone", async |world: &World| {
            world.list(&pods(), "shop").await.is_empty().then_some(())
        })
        .await;

    // What differs is brought back, what is extra stays.
    std::fs::write(&file, "something else").expect("written");
    std::fs::write(world.folder().join("extra"), "mine").expect("written");
    std::fs::create_dir(world.folder().join("lost+found")).expect("made");
    let mut job = world.fill("r1", &stored);
    job.done_marker = Some(".velero/u1".to_owned());
    let filled = mover.fill(&job, &cancel).await.expect("filled");
    assert_eq!((filled.failed, filled.volume.as_str()), (0, "pv-data"));
    let read = |name: &str| std::fs::read_to_string(world.folder().join(name)).expect("there");
    assert_eq!(
        (read("file").as_str(), read("extra").as_str()),
        ("the first", "mine")
    );
    assert!(world.folder().join(".velero/u1").is_file());

    // The parent is found: nothing is stored twice.
    let again = mover
        .back_up(&world.back_up("b2"), &cancel)
        .await
        .expect("stored");
    assert!(again.new_bytes < 5000, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_volumes_of_one_namespace_make_one_repository() {
    let world = World::new(Movers::Run).await;
    std::fs::write(world.folder().join("file"), "x").expect("written");
    let (mover, cancel) = (world.mover(), CancellationToken::new());
    let jobs = ["a", "b", "c", "d"].map(|name| world.back_up(name));
    let stored = at_once(jobs.iter().map(|job| mover.back_up(job, &cancel))).await;
    let snapshots: std::collections::BTreeSet<String> = stored
        .into_iter()
        .map(|stored| stored.expect("stored").snapshot)
        .collect();
    assert_eq!(snapshots.len(), 4);
}

/// All of them, at once.
pub(crate) async fn at_once<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_others_are_left_alone_and_bad_ones_say_what_is_wrong() {
    let world = World::new(Movers::Run).await;
    let mut kopia = by_hand(Direction::Backup, "kopia");
    kopia["spec"]["uploaderType"] = json!("kopia");
    kopia["spec"]["repoIdentifier"] = json!("");
    let mut elsewhere = by_hand(Direction::Backup, "elsewhere");
    elsewhere["spec"]["node"] = json!("n2");
    for object in [kopia, elsewhere, by_hand(Direction::Backup, "gone")] {
        world.create(object).await;
    }
    world.until_phase(Direction::Backup, "Failed").await;
    let phase = async |name: &str| {
        let object = world.get(&backups(), NAMESPACE, name).await.expect("there");
        (
            object["status"]["phase"].clone(),
            object["status"]["message"].clone(),
        )
    };
    assert_eq!(
        phase("gone").await,
        (json!("Failed"), json!("pod shop/db is gone"))
    );
    for name in ["kopia", "elsewhere"] {
        assert_eq!(phase(name).await.0, Value::Null, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_location_takes_nothing() {
    let world = World::new(Movers::Run).await;
    let locations = ApiResource::known(
        "velero.io",
        "v1",
        "BackupStorageLocation",
        "backupstoragelocations",
        true,
    );
    let body = json!({"spec": {"accessMode": "ReadOnly"}}).to_string();
    let options = salvor_cluster::WriteOptions::default();
    let patched = world.cluster.merge_patch(
        &locations,
        Some(NAMESPACE),
        "default",
        None,
        body.as_bytes(),
        &options,
    );
    patched.await.expect("patched");
    let refused = world
        .mover()
        .back_up(&world.back_up("b"), &CancellationToken::new())
        .await;
    let refused = refused.expect_err("refused");
    assert!(
        matches!(&refused, MoveError::Failed { message } if message.contains("read-only")),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_agent_is_that_is_said() {
    let mut world = World::new(Movers::Run).await;
    let cancel = CancellationToken::new();
    let not_ready =
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]});
    world
        .set_status(&pods(), NAMESPACE, "node-agent-1", not_ready)
        .await;
    let refused = world
        .mover()
        .back_up(&world.back_up("b"), &cancel)
        .await
        .expect_err("refused");
    assert!(
        matches!(&refused, MoveError::NoAgent { node, .. } if node == "n1"),
        "{refused}"
    );
    world.kill_agent();
    let sets = ApiResource::known("apps", "v1", "DaemonSet", "daemonsets", true);
    world.delete(&sets, NAMESPACE, "node-agent").await;
    let refused = world
        .mover()
        .back_up(&world.back_up("b"), &cancel)
        .await
        .expect_err("refused");
    assert!(
        refused.to_string().contains("--use-node-agent"),
        "{refused}"
    );
    assert!(!world.mover().is_installed().await.expect("asked"));
    assert_eq!(world.list(&backups(), NAMESPACE).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_cannot_be_held_says_why() {
    let world = World::new(Movers::Run).await;
    let cancel = CancellationToken::new();
    let claims = ApiResource::known(
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        true,
    );

    // A folder of some node, of which there are several.
    world
        .create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}))
        .await;
    let refused = world
        .mover()
        .back_up(&world.back_up("b"), &cancel)
        .await
        .expect_err("refused");
    assert!(
        refused.to_string().contains("there are several"),
        "{refused}"
    );

    world.delete(&claims, "shop", "data").await;
    let refused = world
        .mover()
        .back_up(&world.back_up("b"), &cancel)
        .await
        .expect_err("refused");
    assert!(
        matches!(&refused, MoveError::NotHeld { claim, reason } if claim == "shop/data" && reason.contains("not exist")),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_cannot_be_mounted_by_waiting_is_given_up_soon_with_its_event() {
    let world = World::new(Movers::NoMount).await;
    let mover = world
        .mover()
        .with_patience(PATIENCE * 10, PATIENCE)
        .with_patience_for_stuck(Duration::from_millis(50));
    let began = std::time::Instant::now();
    let job = salvor_volume::BackUpVolume {
        timeout: PATIENCE * 20,
        ..world.back_up("b")
    };
    let refused = mover.back_up(&job, &CancellationToken::new()).await;
    let refused = refused.expect_err("it is not mounted");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(
        matches!(&refused, MoveError::NotHeld { claim, reason } if claim == "shop/data"
            && reason.starts_with("FailedMount: MountVolume.NewMounter") && reason.ends_with("does not exist")),
        "{refused}"
    );
    assert_eq!(world.list(&pods(), "shop").await, Vec::<Value>::new());
}
