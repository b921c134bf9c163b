//! Copies of finished backups, as their annotations ask for.

use std::sync::Arc;

use salvor_api::labels;
use salvor_api::velero::BackupStorageLocation;
use salvor_api::velero::{AccessMode, Backup, BackupPhase, LocationPhase, Restore, RestorePhase};
use salvor_location::copy::state::CopyState;
use salvor_location::{Location, Profile, Severity, Verification};
use salvor_storage::testing::Fault;
use salvor_storage::{ErrorKind, StoreUrl};

use crate::world::{ELSEWHERE, World, location};

async fn world() -> World {
    let world = World::new().await;
    world
        .locate("offsite", |object| {
            object
                .spec
                .config
                .insert("path".to_owned(), ELSEWHERE.to_owned());
        })
        .await;
    world
}

/// What is behind `offsite`, as a command line opens it.
fn offsite(world: &World) -> Location {
    let profile = Profile {
        name: "offsite".to_owned(),
        url: StoreUrl::parse("file:///in/elsewhere").expect("URL"),
        read_only: false,
    };
    Location::new(Arc::new(world.elsewhere.clone()), profile)
}

async fn back_up(world: &World, name: &str, annotations: &[(&str, &str)]) {
    world
        .back_up(name, |backup| {
            for (key, value) in annotations {
                backup
                    .metadata
                    .annotations
                    .insert((*key).to_owned(), (*value).to_owned());
            }
        })
        .await;
}

fn status(backup: &Backup) -> &str {
    backup
        .metadata
        .annotations
        .get(labels::COPY_STATUS)
        .map_or("", String::as_str)
}

async fn until_status(world: &World, name: &str, wanted: &str) -> Backup {
    world
        .until::<Backup>(name, |backup| status(backup) == wanted)
        .await
}

#[tokio::test]
async fn a_finished_backup_is_copied_and_its_phase_stays() {
    let world = world().await;
    let server = world.serve();
    back_up(
        &world,
        "b1",
        &[(labels::COPY_TO, "offsite"), (labels::COPY_TTL, "48h")],
    )
    .await;
    let backup = until_status(&world, "b1", "satisfied 1/1").await;
    assert_eq!(backup.status.phase, BackupPhase::Completed);
    assert_eq!(
        backup.metadata.annotations[labels::COPIES],
        r#"{"offsite":{"state":"done"}}"#
    );
    world
        .until_event("b1", "Copied", |text| text.contains("`offsite`"))
        .await;
    world.until_event("b1", "CopiesSatisfied", |_| true).await;
    let name = salvor_api::name::BackupName::new("b1").expect("a name");
    let copy = offsite(&world).backup(&name).await.expect("copied");
    assert!(
        offsite(&world)
            .verify_files(&copy)
            .await
            .expect("read")
            .is_sound()
    );
    let (ours, theirs) = (backup.status.expiration, copy.backup.status.expiration);
    assert!(
        theirs < ours,
        "the copy expires by its own rule: {theirs:?}"
    );
    let original = location(&world).backup(&name).await.expect("there");
    let records = location(&world).copies_of(&original).await.expect("read");
    assert_eq!(
        (records[0].state, records[0].target.name.as_str()),
        (CopyState::Done, "offsite")
    );
    server.stop().await;
    // The next server finds it done.
    let seen = world.elsewhere.operations();
    let server = world.serve();
    back_up(&world, "b2", &[(labels::COPY_TO, "offsite")]).await;
    until_status(&world, "b2", "satisfied 1/1").await;
    let log = world.elsewhere.log();
    let again = log[seen..]
        .iter()
        .filter(|operation| operation.name == "upload");
    let again: Vec<_> = again
        .filter(|operation| operation.key.contains("backups/b1/"))
        .collect();
    assert!(again.is_empty(), "{again:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_copy_that_fails_is_tried_again_also_by_the_next_server() {
    let world = world().await;
    world
        .elsewhere
        .on_key("backups/b1", Fault::Before(ErrorKind::Transient));
    let server = world.serve();
    back_up(&world, "b1", &[(labels::COPY_TO, "offsite,default")]).await;
    let backup = world
        .until::<Backup>("b1", |backup| {
            backup
                .metadata
                .annotations
                .get(labels::COPIES)
                .is_some_and(|text| text.contains("injected"))
        })
        .await;
    assert_eq!(
        status(&backup),
        "pending 0/1",
        "its own location is none to copy to"
    );
    world
        .until_event("b1", "CopyFailed", |text| text.contains("tried again"))
        .await;
    server.stop().await;
    world.elsewhere.heal();
    let server = world.serve();
    until_status(&world, "b1", "satisfied 1/1").await;
    server.stop().await;
}

#[tokio::test]
async fn the_rule_decides_what_is_enough_and_what_cannot_be_is_said() {
    let world = world().await;
    world
        .locate("frozen", |object| {
            object
                .spec
                .config
                .insert("path".to_owned(), format!("{ELSEWHERE}/frozen"));
            object.spec.access_mode = AccessMode::ReadOnly;
        })
        .await;
    let server = world.serve();
    world
        .until::<BackupStorageLocation>("frozen", |object| {
            object.status.phase == LocationPhase::Available
        })
        .await;
    back_up(
        &world,
        "any",
        &[
            (labels::COPY_TO, "frozen,offsite"),
            (labels::COPY_RULE, "any"),
        ],
    )
    .await;
    back_up(&world, "all", &[(labels::COPY_TO, "frozen,offsite")]).await;
    back_up(
        &world,
        "odd",
        &[(labels::COPY_TO, "offsite"), (labels::COPY_RULE, "most")],
    )
    .await;
    until_status(&world, "any", "satisfied 1/2").await;
    let all = until_status(&world, "all", "failed 1/2").await;
    assert_eq!(all.status.phase, BackupPhase::Completed);
    world.until_event("all", "CopiesFailed", |_| true).await;
    world
        .until_event("odd", "InvalidCopies", |text| text.contains("`most`"))
        .await;
    server.stop().await;
}

#[tokio::test]
async fn nobody_copies_what_is_cancelled() {
    let world = world().await;
    world
        .elsewhere
        .on_key("backups/b1", Fault::Before(ErrorKind::Transient));
    let server = world.serve();
    back_up(&world, "b1", &[(labels::COPY_TO, "offsite")]).await;
    until_status(&world, "b1", "pending 0/1").await;
    world.annotate::<Backup>("b1", labels::CANCEL, "true").await;
    until_status(&world, "b1", "cancelled, was pending 0/1").await;
    world.elsewhere.heal();
    server.stop().await;
    let server = world.serve();
    back_up(&world, "b2", &[(labels::COPY_TO, "offsite")]).await;
    until_status(&world, "b2", "satisfied 1/1").await;
    let backup: Backup = world.get("b1").await.expect("there");
    assert_eq!(status(&backup), "cancelled, was pending 0/1");
    server.stop().await;
}

#[tokio::test]
async fn a_damaged_backup_is_not_the_latest_of_its_schedule() {
    let world = world().await;
    let server = world.serve();
    for name in ["old", "new"] {
        world
            .back_up(name, |backup| {
                let labels = &mut backup.metadata.labels;
                labels.insert(labels::SCHEDULE_NAME.to_owned(), "nightly".to_owned());
            })
            .await;
        world
            .until::<Backup>(name, |backup| backup.status.phase == BackupPhase::Completed)
            .await;
    }
    let name = salvor_api::name::BackupName::new("new").expect("a name");
    let record = location(&world).backup(&name).await.expect("there");
    let mut found = Verification::default();
    found.findings.push(salvor_location::Finding {
        severity: Severity::Error,
        file: "new.tar.gz".to_owned(),
        message: "it is missing".to_owned(),
    });
    location(&world)
        .record_verification(&record, &found)
        .await
        .expect("written");
    let mut restore = Restore::named("velero", "back");
    restore.spec.schedule_name = "nightly".to_owned();
    world.kinds().create(&restore).await.expect("created");
    let done = world
        .until::<Restore>("back", |restore| {
            restore.status.phase == RestorePhase::Completed
        })
        .await;
    assert_eq!(done.spec.backup_name, "old");
    server.stop().await;
}

#[tokio::test]
async fn a_copy_goes_by_its_own_rule_while_the_original_stays() {
    let world = world().await;
    let server = world.serve();
    let short = [(labels::COPY_TO, "offsite"), (labels::COPY_TTL, "1h")];
    back_up(&world, "short", &short).await;
    back_up(&world, "held", &short).await;
    back_up(&world, "long", &[(labels::COPY_TO, "offsite")]).await;
    for name in ["short", "held", "long"] {
        until_status(&world, name, "satisfied 1/1").await;
    }
    // A backup of a name that is ours here, and that nothing says to be a copy: nobody's to collect.
    back_up(&world, "foreign", &short).await;
    until_status(&world, "foreign", "satisfied 1/1").await;
    let named = |name: &str| salvor_api::name::BackupName::new(name).expect("a name");
    offsite(&world)
        .hold(&named("held"), "audit", "tester")
        .await
        .expect("held");
    let store: Arc<dyn salvor_storage::ObjectStore> = Arc::new(world.elsewhere.clone());
    let listed = store.list("plugins/salvor").await.expect("listed");
    let listed: Vec<_> = futures::TryStreamExt::try_collect(listed)
        .await
        .expect("listed");
    let from = listed
        .iter()
        .find(|object| object.key.as_str().ends_with("copied/foreign.json"));
    let from = from.expect("it says where it comes from");
    store.delete(&from.key).await.expect("deleted");
    server.stop().await;
    let later = || jiff::Timestamp::now() + jiff::SignedDuration::from_hours(3);
    let server = world.serve_at(later, |options| {
        options.collect_every = std::time::Duration::from_secs(1);
    });
    world
        .until_event("short", "CopyCollected", |text| text.contains("`offsite`"))
        .await;
    assert!(offsite(&world).backup(&named("short")).await.is_err());
    for name in ["held", "long", "foreign"] {
        assert!(offsite(&world).backup(&named(name)).await.is_ok(), "{name}");
    }
    for name in ["short", "held", "long", "foreign"] {
        assert!(
            location(&world).backup(&named(name)).await.is_ok(),
            "{name}"
        );
        assert!(world.get::<Backup>(name).await.is_some(), "{name}");
    }
    server.stop().await;
}
