//! Every change of a phase is told by an Event, where `kubectl describe` shows it.

use salvor_api::velero::{
    Backup, BackupStorageLocation, DeleteBackupRequest, LocationPhase, Restore, Schedule,
};

use crate::world::{NAMESPACE, World, until};

/// Waits until these reasons stand in the events about an object, in this order, others between them.
async fn until_told(world: &World, name: &str, reasons: &[&str]) {
    until(async || {
        let told = world.events(name).await;
        let mut told = told.iter().map(|(reason, _)| reason.as_str());
        reasons
            .iter()
            .all(|wanted| told.any(|reason| reason == *wanted))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_life_of_a_backup_is_told_from_its_place_in_the_queue_to_its_deletion() {
    let world = World::new().await;
    let server = world.serve();
    until_told(&world, "default", &["Available"]).await;
    // The second may not run beside the first.
    for name in ["first", "second"] {
        world.back_up(name, |_| ()).await;
    }
    for name in ["first", "second"] {
        world
            .until(name, |backup: &Backup| backup.status.phase.is_final())
            .await;
    }
    until_told(&world, "first", &["Started", "Completed"]).await;
    until_told(&world, "second", &["Queued", "Started", "Completed"]).await;
    let wrong = |backup: &mut Backup| backup.spec.storage_location = "nowhere".to_owned();
    world.back_up("wrong", wrong).await;
    until_told(&world, "wrong", &["FailedValidation"]).await;
    world.restore("back", "first").await;
    world
        .until("back", |restore: &Restore| restore.status.phase.is_final())
        .await;
    until_told(&world, "back", &["Started", "Completed"]).await;

    let mut request = DeleteBackupRequest::named(NAMESPACE, "delete-first");
    request.spec.backup_name = "first".to_owned();
    world.kinds().create(&request).await.expect("created");
    world.until_gone::<Backup>("first").await;
    until_told(&world, "first", &["Deleting", "Deleted"]).await;
    server.stop().await;
}

#[tokio::test]
async fn schedules_and_locations_tell_what_they_become() {
    let world = World::new().await;
    let server = world.serve();
    let mut schedule = Schedule::named(NAMESPACE, "nightly");
    schedule.spec.schedule = "never".to_owned();
    world.kinds().create(&schedule).await.expect("created");
    until_told(&world, "nightly", &["FailedValidation"]).await;
    let before: Schedule = world.get("nightly").await.expect("there");
    let mut after = before.clone();
    after.spec.schedule = "0 2 * * *".to_owned();
    world
        .kinds()
        .update(&before, &after)
        .await
        .expect("written");
    until_told(&world, "nightly", &["FailedValidation", "Enabled"]).await;

    let broken = |location: &mut BackupStorageLocation| {
        location.spec.credential = Some(salvor_api::meta::SecretKeySelector {
            name: "missing".to_owned(),
            key: "cloud".to_owned(),
            ..Default::default()
        });
    };
    world.locate("broken", broken).await;
    let is_out =
        |location: &BackupStorageLocation| location.status.phase == LocationPhase::Unavailable;
    world.until("broken", is_out).await;
    until_told(&world, "broken", &["Unavailable"]).await;
    server.stop().await;
}
