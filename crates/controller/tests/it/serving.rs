//! What a user of the kinds sees.

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::{
    AccessMode, Backup, BackupPhase, BackupStorageLocation, LocationPhase, Restore, RestorePhase,
    Schedule, SchedulePhase,
};
use salvor_cluster::{ApiResource, DeleteOptions, ListOptions, Look, Wait, WriteOptions};
use salvor_location::RunId;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::world::{NAMESPACE, World, config_maps_resource, location};

fn ended(backup: &Backup) -> bool {
    backup.status.phase.is_final()
}

async fn delete_shop(world: &World) {
    world
        .cluster
        .delete(
            &ApiResource::namespaces(),
            None,
            "shop",
            &DeleteOptions::default(),
        )
        .await
        .expect("deleted");
    let wait = Wait {
        timeout: std::time::Duration::from_secs(30),
        cancel: CancellationToken::new(),
    };
    world
        .cluster
        .wait_until(
            &ApiResource::namespaces(),
            None,
            "shop",
            &wait,
            |object| match object {
                None => Look::Done,
                Some(_) => Look::NotYet("it is there".to_owned()),
            },
        )
        .await
        .expect("gone");
}

async fn config_maps(world: &World) -> usize {
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
    page.items().filter(ours).count()
}

async fn events(world: &World, name: &str) -> Vec<String> {
    let found = world.events(name).await;
    found.into_iter().map(|(reason, _)| reason).collect()
}

#[tokio::test]
async fn a_backup_is_made_and_restored() {
    let world = World::new().await;
    let server = world.serve();
    world.back_up("b1", |_| ()).await;
    let backup: Backup = world.until("b1", ended).await;
    assert_eq!(backup.status.phase, BackupPhase::Completed, "{backup:?}");
    assert_eq!(backup.spec.storage_location, "default");
    assert_eq!(backup.metadata.labels[labels::STORAGE_LOCATION], "default");
    let items = backup
        .status
        .progress
        .as_ref()
        .expect("progress")
        .items_backed_up;
    assert!(items >= 6, "{items}");
    let name = BackupName::new("b1").expect("name");
    let record = location(&world).backup(&name).await.expect("committed");
    assert_eq!(record.backup.status, backup.status);

    delete_shop(&world).await;
    world.restore("r1", "b1").await;
    let done = |restore: &Restore| restore.status.phase.is_final();
    let restore: Restore = world.until("r1", done).await;
    assert_eq!(restore.status.phase, RestorePhase::Completed, "{restore:?}");
    assert_eq!(config_maps(&world).await, 5);
    server.stop().await;
    assert_eq!(events(&world, "b1").await, ["Started", "Completed"]);
    assert_eq!(events(&world, "r1").await, ["Started", "Completed"]);
}

#[tokio::test]
async fn a_schedule_makes_a_backup_and_its_newest_one_is_restored() {
    let world = World::new().await;
    let mut schedule = Schedule::named(NAMESPACE, "often");
    schedule.spec.schedule = "@every 1s".to_owned();
    schedule.spec.template.included_namespaces = vec!["shop".to_owned()];
    world.kinds().create(&schedule).await.expect("created");
    let server = world.serve();
    let ran = |s: &Schedule| s.status.last_backup.is_some();
    let seen: Schedule = world.until("often", ran).await;
    assert_eq!(seen.status.phase, SchedulePhase::Enabled);
    let last = seen.status.last_backup.expect("ran");
    let name = format!("often-{}", last.compact());
    let backup: Backup = world.until(&name, ended).await;
    assert_eq!(backup.status.phase, BackupPhase::Completed, "{backup:?}");
    assert_eq!(backup.metadata.labels[labels::SCHEDULE_NAME], "often");
    let mut restore = Restore::named(NAMESPACE, "r1");
    restore.spec.schedule_name = "often".to_owned();
    world.kinds().create(&restore).await.expect("created");
    let restore: Restore = world
        .until("r1", |r: &Restore| r.status.phase.is_final())
        .await;
    assert_eq!(restore.status.phase, RestorePhase::Completed, "{restore:?}");
    assert!(restore.spec.backup_name.starts_with("often-"));
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_begin_is_refused_with_a_reason() {
    let world = World::new().await;
    world
        .locate("frozen", |o| o.spec.access_mode = AccessMode::ReadOnly)
        .await;
    let server = world.serve();
    for (name, storage, said) in [
        ("b1", "nowhere", "nowhere does not exist"),
        ("b2", "frozen", "frozen is read-only"),
    ] {
        world
            .back_up(name, |b| b.spec.storage_location = storage.to_owned())
            .await;
        let backup: Backup = world.until(name, ended).await;
        assert_eq!(backup.status.phase, BackupPhase::FailedValidation);
        let errors = backup.status.validation_errors.join("; ");
        assert!(errors.contains(said), "{errors}");
    }
    world
        .back_up("b3", |b| {
            b.spec.included_resources = vec!["pods".to_owned()];
            b.spec.included_namespace_scoped_resources = vec!["pods".to_owned()];
        })
        .await;
    let backup: Backup = world.until("b3", ended).await;
    assert_eq!(backup.status.phase, BackupPhase::FailedValidation);
    world.restore("r1", "nothing").await;
    let restore: Restore = world
        .until("r1", |r: &Restore| r.status.phase.is_final())
        .await;
    assert_eq!(restore.status.phase, RestorePhase::FailedValidation);
    let errors = restore.status.validation_errors.join("; ");
    assert!(errors.contains("nothing does not exist"), "{errors}");
    server.stop().await;
}

#[tokio::test]
async fn a_name_that_is_taken_in_the_store_fails_and_leaves_the_store_alone() {
    let world = World::new().await;
    let server = world.serve();
    world.back_up("b1", |_| ()).await;
    let first: Backup = world.until("b1", ended).await;
    world.kinds().delete(&first).await.expect("deleted");
    world.back_up("b1", |_| ()).await;
    let again: Backup = world.until("b1", ended).await;
    assert_eq!(again.status.phase, BackupPhase::Failed);
    let reason = &again.status.failure_reason;
    assert!(reason.contains("exists already"), "{reason}");
    let name = BackupName::new("b1").expect("name");
    let record = location(&world).backup(&name).await.expect("still there");
    assert_eq!(record.backup.status, first.status);
    server.stop().await;
}

#[tokio::test]
async fn backups_wait_in_order_and_one_that_waits_can_be_cancelled() {
    let world = World::new().await;
    for name in ["b1", "b2", "b3"] {
        world.back_up(name, |_| ()).await;
    }
    let server = world.serve_with(|options| options.concurrent_backups = 0);
    for (name, position) in [("b1", 1), ("b2", 2), ("b3", 3)] {
        let queued = |b: &Backup| b.status.phase == BackupPhase::Queued;
        let backup: Backup = world.until(name, queued).await;
        assert_eq!(backup.status.queue_position, position, "{name}");
    }
    let before: Backup = world.get("b1").await.expect("there");
    let mut after = before.clone();
    after
        .metadata
        .annotations
        .insert(labels::CANCEL.to_owned(), "true".to_owned());
    world
        .kinds()
        .update(&before, &after)
        .await
        .expect("written");
    let cancelled: Backup = world.until("b1", ended).await;
    assert_eq!(cancelled.status.phase, BackupPhase::Failed);
    assert!(cancelled.status.failure_reason.contains("cancelled"));
    let moved = |b: &Backup| b.status.queue_position == 1;
    world.until("b2", moved).await;
    server.stop().await;
}

#[tokio::test]
async fn locations_say_whether_they_can_be_used_and_one_is_the_default() {
    let world = World::new().await;
    world
        .locate("broken", |o| o.spec.provider = "ftp".to_owned())
        .await;
    world.locate("older", |o| o.spec.default = true).await;
    let server = world.serve();
    let known = |o: &BackupStorageLocation| !o.status.phase.is_unset();
    let good: BackupStorageLocation = world.until("default", known).await;
    assert_eq!(good.status.phase, LocationPhase::Available);
    let broken: BackupStorageLocation = world.until("broken", known).await;
    assert_eq!(broken.status.phase, LocationPhase::Unavailable);
    assert!(broken.status.message.contains("`ftp` is not one of"));
    world
        .back_up("b1", |b| b.spec.storage_location = "broken".to_owned())
        .await;
    let backup: Backup = world.until("b1", ended).await;
    assert_eq!(backup.status.phase, BackupPhase::FailedValidation);
    // The clock of objects counts seconds; names decide within one.
    world.locate("younger", |o| o.spec.default = true).await;
    world
        .until("older", |o: &BackupStorageLocation| !o.spec.default)
        .await;
    let younger: BackupStorageLocation = world.get("younger").await.expect("there");
    assert!(younger.spec.default);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_was_killed_leaves_no_backup_in_doubt() {
    let world = World::new().await;
    let server = world.serve();
    world.back_up("whole", |_| ()).await;
    let whole: Backup = world.until("whole", ended).await;
    server.stop().await;
    // As a server leaves them that is killed after the commit, and before it.
    let mut before = whole.clone();
    before.status.phase = BackupPhase::InProgress;
    world
        .kinds()
        .update(&whole, &before)
        .await
        .expect("written");
    let run = RunId::generate().to_string();
    world
        .back_up("torn", |b| {
            b.spec.storage_location = "default".to_owned();
            b.status.phase = BackupPhase::InProgress;
            b.metadata
                .annotations
                .insert(labels::RUN_ID.to_owned(), run);
        })
        .await;
    let server = world.serve();
    let whole: Backup = world.until("whole", ended).await;
    assert_eq!(whole.status.phase, BackupPhase::Completed);
    let torn: Backup = world.until("torn", ended).await;
    assert_eq!(torn.status.phase, BackupPhase::Failed);
    let reason = &torn.status.failure_reason;
    assert!(reason.contains("nothing was committed"), "{reason}");
    server.stop().await;
}

#[tokio::test]
async fn a_server_does_not_work_beside_veleros() {
    let world = World::new().await;
    let deployments = ApiResource::known("apps", "v1", "Deployment", "deployments", true);
    let deployment = |ready: u32| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "velero"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "velero",
                    "image": "velero/velero:v1.18.2", "command": ["/velero"], "args": ["server"]}]}}},
            "status": {"replicas": 1, "readyReplicas": ready}})
    };
    world
        .create(deployments.clone(), Some(NAMESPACE), deployment(0))
        .await;
    let status = deployment(1).to_string();
    let options = WriteOptions::default();
    let written = world
        .cluster
        .replace(
            &deployments,
            Some(NAMESPACE),
            "velero",
            Some("status"),
            status.as_bytes(),
            &options,
        )
        .await;
    written.expect("written");
    let server = world.server(&world.cluster, "late");
    let error = server
        .run(&CancellationToken::new())
        .await
        .expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("`velero` runs Velero's server"), "{text}");
}

#[tokio::test]
async fn of_two_servers_one_leads_and_the_other_takes_over() {
    let world = World::new().await;
    let cancel = CancellationToken::new();
    let first = world.server(&world.cluster, "first");
    let stop = cancel.clone();
    let leader = tokio::spawn(async move { first.run(&stop).await });
    world
        .until("default", |o: &BackupStorageLocation| {
            !o.status.phase.is_unset()
        })
        .await;
    let second = world.serve();
    world.back_up("b1", |_| ()).await;
    world.until("b1", ended).await;
    cancel.cancel();
    leader.await.expect("no panic").expect("served");
    world.back_up("b2", |_| ()).await;
    let backup: Backup = world.until("b2", ended).await;
    assert_eq!(backup.status.phase, BackupPhase::Completed);
    second.stop().await;
}
