//! Collection by expiration and by policy, retries, downloads, status, and the pause switch.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use jiff::{SignedDuration, Timestamp};
use salvor_api::labels;
use salvor_api::velero::{
    AccessMode, Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, DownloadRequest,
    DownloadRequestPhase, DownloadTargetKind, Restore, RestorePhase, Schedule, ServerStatusRequest,
    ServerStatusRequestPhase,
};
use salvor_cluster::{ApiResource, WriteOptions};
use salvor_controller::Downloads;
use serde_json::json;

use crate::world::{NAMESPACE, World, location, until};

fn ended(backup: &Backup) -> bool {
    backup.status.phase.is_final()
}

/// A finished backup with files in the store, as one of a schedule.
async fn past(world: &World, name: &str, days: i64, change: impl FnOnce(&mut serde_json::Value)) {
    let at = Timestamp::now() - SignedDuration::from_hours(24 * days);
    let at = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut record = json!({"kind": "Backup", "apiVersion": "velero.io/v1",
        "metadata": {"name": name, "labels": {labels::SCHEDULE_NAME: "nightly"}},
        "spec": {}, "status": {"phase": "Completed", "startTimestamp": at, "completionTimestamp": at}});
    change(&mut record);
    world
        .put(
            &format!("backups/{name}/velero-backup.json"),
            record.to_string(),
        )
        .await;
}

async fn schedule(world: &World, annotations: &[(&str, &str)], change: impl FnOnce(&mut Schedule)) {
    let mut object = Schedule::named(NAMESPACE, "nightly");
    "0 2 1 1 *".clone_into(&mut object.spec.schedule);
    object.spec.template.included_namespaces = vec!["shop".to_owned()];
    let more = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    object.metadata.annotations.extend(more);
    change(&mut object);
    world.kinds().create(&object).await.expect("created");
}

#[tokio::test]
async fn expired_backups_are_collected_where_that_is_possible() {
    // 38
    let world = World::new().await;
    world
        .locate("frozen", |o| o.spec.access_mode = AccessMode::ReadOnly)
        .await;
    let server = world.serve();
    world.back_up("b1", |_| ()).await;
    world
        .back_up("b2", |b| b.spec.ttl = "8760h".parse().expect("duration"))
        .await;
    let backup: Backup = world.until("b1", ended).await;
    world.until("b2", ended).await;
    let (start, end) = (backup.status.start_timestamp, backup.status.expiration);
    let kept = end.expect("expires").seconds_since(start.expect("began"));
    assert_eq!(kept, 720 * 3600);
    server.stop().await;
    for (name, storage) in [("cold", "frozen"), ("lost", "nowhere")] {
        world
            .back_up(name, |b| {
                storage.clone_into(&mut b.spec.storage_location);
                b.status.phase = BackupPhase::Failed;
                b.status.expiration = "2020-01-01T00:00:00Z".parse().ok();
            })
            .await;
    }
    let later = || Timestamp::now() + SignedDuration::from_hours(721);
    let server = world.serve_at(later, |_| ());
    world.until_gone::<Backup>("b1").await;
    for (name, why) in [("cold", "BSLReadOnly"), ("lost", "BSLNotFound")] {
        let marked = |b: &Backup| {
            b.metadata
                .labels
                .get(labels::GC_FAILURE)
                .is_some_and(|l| l == why)
        };
        world.until(name, marked).await;
    }
    server.stop().await;
    let files = world.store.list_folder("backups").await.expect("listed");
    assert_eq!(files.folders, ["b2"]);
    assert!(world.get::<Backup>("b2").await.is_some());
}

#[tokio::test]
async fn a_policy_takes_the_place_of_the_expiration_and_holds_outlast_it() {
    let world = World::new().await;
    schedule(&world, &[(labels::RETENTION, "last=2")], |_| ()).await;
    for day in 1..=5 {
        past(&world, &format!("nightly-{day}"), day, |_| ()).await;
    }
    let held = "nightly-4".parse().expect("name");
    location(&world)
        .hold(&held, "audit", "me")
        .await
        .expect("held");
    let server = world.serve();
    for gone in ["nightly-3", "nightly-5"] {
        world.until_files_gone(gone).await;
    }
    world.until_gone::<Backup>("nightly-5").await;
    // A new one makes room by the oldest that is counted, and carries no expiration.
    world
        .back_up("nightly-now", |b| {
            b.metadata
                .labels
                .insert(labels::SCHEDULE_NAME.to_owned(), "nightly".to_owned());
            b.metadata
                .annotations
                .insert(labels::RETENTION.to_owned(), "last=2".to_owned());
        })
        .await;
    let now: Backup = world.until("nightly-now", ended).await;
    assert_eq!(now.status.expiration, None);
    world.until_files_gone("nightly-2").await;
    world.until_gone::<Backup>("nightly-2").await;
    server.stop().await;
    let left = world.store.list_folder("backups").await.expect("listed");
    assert_eq!(left.folders, ["nightly-1", "nightly-4", "nightly-now"]);
}

#[tokio::test]
async fn a_collection_that_would_take_much_waits_for_somebody() {
    let world = World::new().await;
    for number in 0..12 {
        past(&world, &format!("b{number}"), 40 + number, |r| {
            r["metadata"]["labels"] = json!({});
            r["status"]["expiration"] = "2020-01-01T00:00:00Z".into();
        })
        .await;
    }
    let server = world.serve_with(|options| options.collect_every = Duration::from_secs(1));
    let text = world
        .until_event("default", "CollectionStopped", |text| {
            text.contains("12 of 12")
        })
        .await;
    assert!(world.get::<Backup>("b0").await.is_some());
    let (_, digest) = text.rsplit_once('=').expect("a digest");
    world
        .annotate::<BackupStorageLocation>("default", labels::CONFIRM_RETENTION, digest)
        .await;
    for number in 0..12 {
        world.until_gone::<Backup>(&format!("b{number}")).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_failed_run_is_tried_again_as_often_as_the_schedule_says() {
    let world = World::new().await;
    let due = "2026-01-01T00:00:00Z";
    world
        .back_up("nightly-1", |b| {
            b.metadata
                .labels
                .insert(labels::SCHEDULE_NAME.to_owned(), "nightly".to_owned());
            b.metadata
                .annotations
                .insert(labels::SCHEDULED_FOR.to_owned(), due.to_owned());
            b.status.phase = BackupPhase::Failed;
            let ended = Timestamp::now() + SignedDuration::from_secs(1);
            b.status.completion_timestamp = Some(salvor_api::go::Time::new(ended));
        })
        .await;
    schedule(&world, &[(labels::RETRY, "attempts=3,backoff=1s")], |_| ()).await;
    let server = world.serve();
    let second: Backup = world.until("nightly-1-2", ended).await;
    let said = |key: &str| second.metadata.annotations[key].clone();
    let annotations = [labels::RETRY_OF, labels::ATTEMPT, labels::SCHEDULED_FOR].map(said);
    assert_eq!(annotations, ["nightly-1", "2", due]);
    assert_eq!(second.status.phase, BackupPhase::Completed);
    server.stop().await;
}

async fn fetch(url: &str) -> (u16, Vec<u8>) {
    let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client
        .get(url.parse().expect("URL"))
        .await
        .expect("answered");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("whole");
    (status, body.to_bytes().to_vec())
}

async fn ask_for_file(world: &World, request: &str, kind: DownloadTargetKind, name: &str) {
    let mut object = DownloadRequest::named(NAMESPACE, request);
    object.spec.target.kind = kind;
    name.clone_into(&mut object.spec.target.name);
    world.kinds().create(&object).await.expect("created");
}

fn answered(request: &DownloadRequest) -> bool {
    !request.status.phase.is_unset()
}

#[tokio::test]
async fn files_are_served_until_their_address_expires() {
    // 12
    let world = World::new().await;
    let served = |port: u16| Downloads {
        listen: ([127, 0, 0, 1], port).into(),
        public_url: String::new(),
    };
    let server = world.serve_with(|options| options.downloads = Some(served(0)));
    world.back_up("b1", |_| ()).await;
    world.until("b1", ended).await;
    world.restore("r1", "b1").await;
    world
        .until("r1", |r: &Restore| {
            r.status.phase == RestorePhase::Completed
        })
        .await;
    let mut log = String::new();
    for (request, kind, name, key) in [
        (
            "log",
            DownloadTargetKind::BackupLog,
            "b1",
            "backups/b1/b1-logs.gz",
        ),
        (
            "archive",
            DownloadTargetKind::BackupContents,
            "b1",
            "backups/b1/b1.tar.gz",
        ),
        (
            "results",
            DownloadTargetKind::RestoreResults,
            "r1",
            "restores/r1/restore-r1-results.gz",
        ),
    ] {
        ask_for_file(&world, request, kind, name).await;
        let request: DownloadRequest = world.until(request, answered).await;
        assert_eq!(
            request.status.phase,
            DownloadRequestPhase::Processed,
            "{request:?}"
        );
        let url = request.status.download_url;
        let (status, body) = fetch(&url).await;
        assert_eq!(status, 200, "{key}");
        assert_eq!(body, world.read(key).await, "{key}");
        log = url;
    }
    // What Velero wrote in old releases is not there, as a signed address would say.
    ask_for_file(
        &world,
        "csi",
        DownloadTargetKind::CSIBackupVolumeSnapshots,
        "b1",
    )
    .await;
    let request: DownloadRequest = world.until("csi", answered).await;
    assert_eq!(fetch(&request.status.download_url).await.0, 404);
    let (known, last) = log.split_at(log.len() - 1);
    let guessed = format!("{known}{}", if last == "0" { "1" } else { "0" });
    assert_eq!(fetch(&guessed).await.0, 404);
    ask_for_file(&world, "none", DownloadTargetKind::BackupLog, "missing").await;
    let request: DownloadRequest = world.until("none", answered).await;
    assert_eq!(request.status.phase, DownloadRequestPhase::Failed);
    assert!(request.status.message.contains("`missing` does not exist"));
    server.stop().await;

    // The next server knows the addresses of the one before; after ten minutes nobody does.
    let address = log.strip_prefix("http://127.0.0.1:").expect("ours");
    let (port, _) = address.split_once('/').expect("a path");
    let port = port.parse().expect("a port");
    let server = world.serve_with(|options| options.downloads = Some(served(port)));
    let served_again = async || (fetch_status(&log).await == Some(200)).then_some(());
    until(served_again).await;
    server.stop().await;
    let later = || Timestamp::now() + SignedDuration::from_mins(11);
    let server = world.serve_at(later, |options| options.downloads = Some(served(port)));
    for request in ["log", "archive", "results", "csi", "none"] {
        world.until_gone::<DownloadRequest>(request).await;
    }
    assert_eq!(fetch(&log).await.0, 404);
    server.stop().await;
}

/// Status of an address; `None` while nobody listens there.
async fn fetch_status(url: &str) -> Option<u16> {
    let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.get(url.parse().expect("URL")).await.ok()?;
    Some(response.status().as_u16())
}

#[tokio::test]
async fn a_server_without_an_endpoint_says_what_to_set() {
    let world = World::new().await;
    let server = world.serve();
    world.back_up("b1", |_| ()).await;
    world.until("b1", ended).await;
    ask_for_file(&world, "log", DownloadTargetKind::BackupLog, "b1").await;
    let request: DownloadRequest = world.until("log", answered).await;
    assert_eq!(request.status.phase, DownloadRequestPhase::Failed);
    assert!(
        request.status.message.contains("address for downloads"),
        "{request:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn the_server_says_what_it_is_for_a_minute() {
    let world = World::new().await;
    let server = world.serve();
    let object = ServerStatusRequest::named(NAMESPACE, "s");
    world.kinds().create(&object).await.expect("created");
    let done = |s: &ServerStatusRequest| s.status.phase == ServerStatusRequestPhase::Processed;
    let status = world.until("s", done).await.status;
    assert!(status.server_version.starts_with("salvor v"), "{status:?}");
    let plugins: Vec<_> = status
        .plugins
        .iter()
        .map(|p| (&*p.name, &*p.kind))
        .collect();
    assert!(
        plugins.contains(&("velero.io/aws", "ObjectStore")),
        "{plugins:?}"
    );
    server.stop().await;
    let later = || Timestamp::now() + SignedDuration::from_secs(61);
    let server = world.serve_at(later, |_| ());
    world.until_gone::<ServerStatusRequest>("s").await;
    server.stop().await;
}

#[tokio::test]
async fn while_the_server_is_paused_nothing_begins() {
    let world = World::new().await;
    let pause = |value: serde_json::Value| {
        let patch = json!({"metadata": {"annotations": {labels::PAUSE: value}}}).to_string();
        let cluster = world.cluster.clone();
        async move {
            let (namespaces, options) = (ApiResource::namespaces(), WriteOptions::default());
            let patched = cluster.merge_patch(
                &namespaces,
                None,
                NAMESPACE,
                None,
                patch.as_bytes(),
                &options,
            );
            patched.await.expect("patched");
        }
    };
    let server = world.serve();
    world.back_up("b1", |_| ()).await;
    world.until("b1", ended).await;
    pause("true".into()).await;
    world.back_up("b2", |_| ()).await;
    world.restore("r1", "b1").await;
    let mut request = DeleteBackupRequest::named(NAMESPACE, "d");
    "b1".clone_into(&mut request.spec.backup_name);
    world.kinds().create(&request).await.expect("created");
    let queued = |b: &Backup| b.status.phase == BackupPhase::Queued;
    world.until("b2", queued).await;
    // A request that is answered at once shows that the server has had its turns.
    let object = ServerStatusRequest::named(NAMESPACE, "s");
    world.kinds().create(&object).await.expect("created");
    let done = |s: &ServerStatusRequest| s.status.phase == ServerStatusRequestPhase::Processed;
    world.until("s", done).await;
    let restore: Restore = world.get("r1").await.expect("there");
    assert!(restore.status.phase.is_unset());
    let backup: Backup = world.get("b1").await.expect("there");
    assert_eq!(backup.status.phase, BackupPhase::Completed);
    world.kinds().delete(&request).await.expect("deleted");
    pause(serde_json::Value::Null).await;
    world.until("b2", ended).await;
    world
        .until("r1", |r: &Restore| {
            r.status.phase == RestorePhase::Completed
        })
        .await;
    server.stop().await;
}
