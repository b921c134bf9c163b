//! Repositories of volume data: created when they are needed, usable or not, and looked after.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::TryStreamExt as _;
use salvor_api::velero::{
    AccessMode, Backup, BackupPhase, BackupRepository, BackupRepositoryPhase,
    BackupStorageLocation, DataPhase, DeleteBackupRequest, MaintenanceResult, PodVolumeBackup,
};
use salvor_cluster::ApiResource;
use salvor_controller::ServerOptions;
use salvor_controller::repositories::{DAMAGED, ensure, ready, repository_name};
use salvor_repository::backup::{self, BackupOptions};
use salvor_repository::check::Checked;
use salvor_repository::lock::{Holder, Lock};
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{FileId, Files, Kind, Progress, Repository, damage};
use salvor_seal::{KeyMaterial, RepositoryKey};
use salvor_storage::{ObjectStore as _, PrefixStore};
use salvor_volume::Domain;
use salvor_volume::cluster_key;
use serde_json::json;

use crate::world::{NAMESPACE, World, until};

/// The object for namespace `shop` in a location.
async fn ensured(world: &World, location: &str) -> BackupRepository {
    let every = Duration::from_secs(1);
    let made = ensure(&world.cluster, NAMESPACE, "shop", location, every).await;
    made.expect("made")
}

async fn until_phase(world: &World, name: &str, phase: BackupRepositoryPhase) -> BackupRepository {
    world
        .until(name, |object: &BackupRepository| {
            object.status.phase == phase
        })
        .await
}

async fn put_key(world: &World, key: &RepositoryKey) {
    let text = BASE64.encode(key.to_text().expose());
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "salvor-repository-key"}, "data": {"repository-key": text}});
    let secrets = ApiResource::known("", "v1", "Secret", "secrets", true);
    world.create(secrets, Some(NAMESPACE), secret).await;
}

fn files(world: &World) -> Files {
    let folder = Domain::of_namespace("shop").folder();
    let store = PrefixStore::wrap(Arc::clone(&world.store), &folder);
    Files::new(store, tokio::runtime::Handle::current())
}

/// Runs work of the engine.
async fn engine<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

async fn opened(world: &World) -> Arc<Repository> {
    let material = cluster_key::find(&world.cluster, NAMESPACE)
        .await
        .expect("read");
    let password = material.expect("a key").password_of("ns-shop");
    let files = files(world);
    Arc::new(
        engine(move || Repository::open(files, &password))
            .await
            .expect("opens"),
    )
}

/// Writes a snapshot as the node agent does for a backup.
async fn snapshot_for(world: &World, backup: &str) -> FileId {
    let repository = opened(world).await;
    let options = BackupOptions {
        hostname: "shop".to_owned(),
        tags: vec![
            format!("backup={backup}"),
            "backup-uid=u".to_owned(),
            "volume=v".to_owned(),
        ],
        ..BackupOptions::default()
    };
    let text = format!("data of {backup}");
    engine(move || {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), text).expect("a file");
        let holder = Holder {
            hostname: "node".to_owned(),
            username: "agent".to_owned(),
        };
        let lock = Lock::take(&repository, false, &holder).expect("a lock");
        let mut source = TreeSource::open(folder.path(), TreeOptions::default()).expect("a tree");
        let written = backup::run(&repository, &lock, &mut source, &options, &Progress::new());
        written.expect("written").id
    })
    .await
}

async fn snapshots(world: &World) -> BTreeSet<FileId> {
    let files = files(world);
    let listed = engine(move || files.list(Kind::Snapshot))
        .await
        .expect("listed");
    listed.into_iter().map(|file| file.id).collect()
}

/// Everything at once, so that a test need not wait for days.
fn hasty(options: &mut ServerOptions) {
    options.upkeep.orphan_grace = Duration::ZERO;
    options.upkeep.prune_every = Duration::ZERO;
    options.upkeep.prune_grace = Duration::ZERO;
    options.upkeep.scrub_every = Duration::ZERO;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_ask_at_once_get_one_repository_with_a_key_that_is_made_for_it() {
    let world = World::new().await;
    let running = world.serve();
    let (one, two) = tokio::join!(ensured(&world, "default"), ensured(&world, "default"));
    assert_eq!(one.metadata.name, two.metadata.name);
    let name = &one.metadata.name;
    assert!(name.starts_with("shop-default-restic-"), "{name}");
    assert_eq!(one.metadata.labels["velero.io/volume-namespace"], "shop");
    assert_eq!(one.metadata.labels["velero.io/storage-location"], "default");
    let wait = salvor_cluster::Wait {
        timeout: Duration::from_secs(60),
        cancel: tokio_util::sync::CancellationToken::new(),
    };
    let object = ready(&world.cluster, NAMESPACE, &one, &wait)
        .await
        .expect("ready");
    assert_eq!(object.status.message, "");
    let told = world
        .until_event("default", "RepositoryKeyMade", |_| true)
        .await;
    assert!(
        told.contains("keep a copy outside of this cluster"),
        "{told}"
    );
    let material = cluster_key::find(&world.cluster, NAMESPACE)
        .await
        .expect("read");
    assert!(matches!(material, Some(KeyMaterial::Key(_))));
    let _ = opened(&world).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_says_why_and_is_ready_when_that_is_mended() {
    let world = World::new().await;
    // A repository that a cluster made which is gone, with its key.
    let key = RepositoryKey::generate().expect("random numbers");
    let password = key.password_of_domain("ns-shop");
    let made = files(&world);
    let options = salvor_repository::InitOptions {
        work: salvor_repository::Work::Machine,
        who: ("salvor".to_owned(), "before".to_owned()),
        restic_boundaries: false,
    };
    engine(move || Repository::init(made, &password, &options).map(drop))
        .await
        .expect("made");
    let running = world.serve();
    let object = ensured(&world, "default").await;
    let name = object.metadata.name;
    let not = until_phase(&world, &name, BackupRepositoryPhase::NotReady).await;
    assert!(
        not.status
            .message
            .contains("Secret `salvor-repository-key`"),
        "{}",
        not.status.message
    );
    let none = cluster_key::find(&world.cluster, NAMESPACE)
        .await
        .expect("read");
    assert!(none.is_none(), "no key is made where one is missing");
    put_key(&world, &key).await;
    // Looked at again when anything changes.
    world
        .annotate::<BackupRepository>(&name, "looked", "at")
        .await;
    until_phase(&world, &name, BackupRepositoryPhase::Ready).await;
    // Another store is another repository.
    let before: BackupStorageLocation = world.get("default").await.expect("there");
    let mut after = before.clone();
    after
        .spec
        .config
        .insert("path".to_owned(), crate::world::ELSEWHERE.to_owned());
    after.spec.access_mode = AccessMode::ReadOnly;
    world
        .kinds()
        .update(&before, &after)
        .await
        .expect("changed");
    let not = until_phase(&world, &name, BackupRepositoryPhase::NotReady).await;
    assert!(
        not.status.message.contains("read-only"),
        "{}",
        not.status.message
    );
    // With its location it goes, and the store keeps everything.
    let location: BackupStorageLocation = world.get("default").await.expect("there");
    world.kinds().delete(&location).await.expect("deleted");
    world.until_gone::<BackupRepository>(&name).await;
    let files = files(&world);
    assert!(
        engine(move || files.config())
            .await
            .expect("read")
            .is_some()
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_go_with_their_backup_and_no_others() {
    let world = World::new().await;
    let running = world.serve_with(hasty);
    let name = ensured(&world, "default").await.metadata.name;
    until_phase(&world, &name, BackupRepositoryPhase::Ready).await;
    for backup in ["stays", "goes"] {
        world.back_up(backup, |_| ()).await;
        let done = |object: &Backup| object.status.phase == BackupPhase::Completed;
        world.until(backup, done).await;
    }
    let stays = snapshot_for(&world, "stays").await;
    let goes = snapshot_for(&world, "goes").await;
    assert_eq!(snapshots(&world).await, BTreeSet::from([stays, goes]));
    let mut request = DeleteBackupRequest::named(NAMESPACE, "goes-now");
    request.spec.backup_name = "goes".to_owned();
    world.kinds().create(&request).await.expect("created");
    world.until_files_gone("goes").await;
    let look = async || (snapshots(&world).await == BTreeSet::from([stays])).then_some(());
    until(look).await;
    world
        .until_event(&name, "SnapshotsRemoved", |text| text.starts_with("1 "))
        .await;
    // What was its alone is given back.
    world.until_event(&name, "SpaceGivenBack", |_| true).await;
    assert_eq!(snapshots(&world).await, BTreeSet::from([stays]));
    let object: BackupRepository = world.get(&name).await.expect("there");
    let runs = &object.status.recent_maintenance;
    assert!((1..=3).contains(&runs.len()), "{runs:?}");
    assert!(
        runs.iter()
            .all(|run| run.result == MaintenanceResult::Succeeded),
        "{runs:?}"
    );
    assert!(object.status.last_maintenance_time.is_some());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_by_reading_shares_and_shown_until_it_is_mended() {
    let world = World::new().await;
    let running = world.serve_with(|options| {
        options.upkeep.orphan_grace = Duration::from_secs(3600);
        options.upkeep.scrub_every = Duration::from_millis(1);
        options.upkeep.scrub_parts = 2;
    });
    let name = ensured(&world, "default").await.metadata.name;
    until_phase(&world, &name, BackupRepositoryPhase::Ready).await;
    let snapshot = snapshot_for(&world, "of-nobody").await;
    let pack = {
        let files = files(&world);
        let packs = engine(move || files.list(Kind::Pack))
            .await
            .expect("listed");
        packs[0].id
    };
    let folder = Domain::of_namespace("shop").folder();
    let key = format!("{folder}/{}", Kind::Pack.path(&pack));
    let whole = world.read(&key).await;
    world.put(&key, "damaged".to_owned()).await;
    let told = world
        .until_event(&name, "RepositoryDamaged", |_| true)
        .await;
    assert!(told.contains(&pack.to_string()), "{told}");
    let shown = |object: &BackupRepository| object.metadata.annotations.contains_key(DAMAGED);
    let object = world.until(&name, shown).await;
    assert_eq!(object.metadata.annotations[DAMAGED], "1");
    assert!(
        object.status.message.contains("repo repair"),
        "{}",
        object.status.message
    );
    assert_eq!(object.status.phase, BackupRepositoryPhase::Ready);
    let repository = opened(&world).await;
    let known = engine(move || damage::known(&repository))
        .await
        .expect("read");
    assert_eq!(known.snapshots, BTreeSet::from([snapshot]));
    assert_eq!(known.packs, BTreeSet::from([pack]));
    // As a repair does: the pack is whole, and a check of everything says so.
    let store = Arc::clone(&world.store);
    let key = salvor_storage::Key::new(key).expect("key");
    let put = store.put(&key, whole.into(), salvor_storage::PutMode::Overwrite);
    put.await.expect("written");
    let repository = opened(&world).await;
    engine(move || damage::note(&repository, &Checked::default(), true))
        .await
        .expect("noted");
    let mended = |object: &BackupRepository| {
        !object.metadata.annotations.contains_key(DAMAGED) && object.status.message.is_empty()
    };
    world.until(&name, mended).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_comes_from_a_copy_in_another_location() {
    let world = World::new().await;
    let running = world.serve_with(|options| {
        options.upkeep.orphan_grace = Duration::from_secs(3600);
        options.upkeep.scrub_every = Duration::from_millis(1);
        options.upkeep.scrub_parts = 2;
    });
    let name = ensured(&world, "default").await.metadata.name;
    until_phase(&world, &name, BackupRepositoryPhase::Ready).await;
    let _ = snapshot_for(&world, "of-nobody").await;
    // Without a copy it is found and noted, and can no more be mended.
    let folder = Domain::of_namespace("shop").folder();
    let listed = world.store.list(&folder).await.expect("listed");
    let objects: Vec<salvor_storage::ObjectInfo> = listed.try_collect().await.expect("whole");
    let packs: Vec<&str> = objects
        .iter()
        .map(|object| object.key.as_str())
        .filter(|key| key.contains("/data/"))
        .collect();
    let mut whole = Vec::new();
    for object in &objects {
        let key = object.key.as_str();
        if !key.contains("/locks/") {
            whole.push((key.to_owned(), world.read(key).await));
        }
    }
    world.put(packs[0], "damaged".to_owned()).await;
    let shown = |object: &BackupRepository| object.metadata.annotations.contains_key(DAMAGED);
    world.until(&name, shown).await;
    // A copy of the whole folder, and beside it another name of the damaged one.
    for (key, bytes) in &whole {
        let key = salvor_storage::Key::new(key.clone()).expect("key");
        let put = salvor_storage::PutMode::Overwrite;
        let written = world.elsewhere.put(&key, bytes.clone().into(), put);
        written.await.expect("written");
    }
    world.locate("a-itself", |_| ()).await;
    world
        .locate("b-copy", |location| {
            let path = crate::world::ELSEWHERE.to_owned();
            location.spec.config.insert("path".to_owned(), path);
        })
        .await;
    let told = world.until_event(&name, "RepositoryMended", |_| true).await;
    assert!(told.contains("1 packs"), "{told}");
    let mended = |object: &BackupRepository| {
        !object.metadata.annotations.contains_key(DAMAGED) && object.status.message.is_empty()
    };
    world.until(&name, mended).await;
    let before = whole.iter().find(|(key, _)| key == packs[0]);
    assert_eq!(
        before.map(|(_, bytes)| bytes),
        Some(&world.read(packs[0]).await)
    );
    let repository = opened(&world).await;
    let known = engine(move || damage::known(&repository)).await;
    assert!(known.expect("read").is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_to_a_location_that_is_read_only() {
    let world = World::new().await;
    let running = world.serve_with(hasty);
    let name = ensured(&world, "default").await.metadata.name;
    until_phase(&world, &name, BackupRepositoryPhase::Ready).await;
    let before: BackupStorageLocation = world.get("default").await.expect("there");
    let mut after = before.clone();
    after.spec.access_mode = AccessMode::ReadOnly;
    world
        .kinds()
        .update(&before, &after)
        .await
        .expect("changed");
    // The second one's maintenance tells that time passes.
    world
        .locate("second", |object| {
            let path = crate::world::ELSEWHERE.to_owned();
            object.spec.config.insert("path".to_owned(), path);
        })
        .await;
    let second = ensured(&world, "second").await.metadata.name;
    let ran = |object: &BackupRepository| {
        let last = object.status.recent_maintenance.last();
        last.and_then(|run| run.start_timestamp)
    };
    let object = world.until(&second, |object| ran(object).is_some()).await;
    let first: BackupRepository = world.get(&name).await.expect("there");
    let orphan = snapshot_for(&world, "never-was").await;
    for _ in 0..2 {
        let before = ran(&object);
        world.until(&second, |object| ran(object) != before).await;
    }
    let object: BackupRepository = world.get(&name).await.expect("there");
    assert_eq!(ran(&object), ran(&first));
    assert!(snapshots(&world).await.contains(&orphan));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_volume_that_was_backed_up_makes_the_object() {
    let world = World::new().await;
    let running = world.serve();
    let mut volume = PodVolumeBackup::named(NAMESPACE, "b-1");
    volume.spec.backup_storage_location = "default".to_owned();
    volume.spec.repo_identifier = Domain::of_namespace("shop").folder();
    volume.status.phase = DataPhase::Completed;
    let mut veleros = volume.clone();
    veleros.metadata.name = "b-2".to_owned();
    veleros.spec.repo_identifier = "s3:s3.amazonaws.com/bucket/restic/other".to_owned();
    for volume in [veleros, volume] {
        world.kinds().create(&volume).await.expect("created");
    }
    let name = repository_name("shop", "default", 0);
    until_phase(&world, &name, BackupRepositoryPhase::Ready).await;
    let all = world
        .kinds::<BackupRepository>()
        .list(None)
        .await
        .expect("listed");
    assert_eq!(all.len(), 1);
    running.stop().await;
}
