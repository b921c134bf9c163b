//! What a bucket does by itself, told by the server.

use std::sync::Arc;

use salvor_api::labels;
use salvor_api::velero::{Backup, BackupStorageLocation, LocationPhase, Schedule};
use salvor_storage::{Key, ObjectStore, StoreUrl, open_url};
use salvor_testkit::process::or_skip;
use salvor_testkit::s3_server::S3Server;

use crate::world::{NAMESPACE, World};

/// An empty bucket, and the keys to it.
struct Bucket {
    s3: S3Server,
    folder: tempfile::TempDir,
}

impl Bucket {
    fn start() -> Option<Self> {
        let s3 = or_skip(S3Server::start())?;
        s3.create_bucket("shared", true).expect("a bucket");
        let folder = tempfile::tempdir().expect("a folder");
        let text = "[default]\naws_access_key_id=test\naws_secret_access_key=hunter2\n";
        std::fs::write(folder.path().join("credentials"), text).expect("written");
        Some(Self { s3, folder })
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        let url = format!(
            "s3://shared/clusters?endpoint=http://{}&credentialsFile={}",
            self.s3.address(),
            self.folder.path().join("credentials").display()
        );
        open_url(&StoreUrl::parse(&url).expect("valid")).expect("opened")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifecycle_that_would_delete_backups_is_told_while_there_are_backups() {
    let Some(bucket) = Bucket::start() else {
        return;
    };
    let document = "<LifecycleConfiguration><Rule><ID>clean</ID><Filter><Prefix></Prefix></Filter>\
        <Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
    let done = bucket.s3.configure("shared", "?lifecycle", document);
    done.expect("configured");
    let mut world = World::new().await;
    world.store = bucket.store();
    let running = world.serve();
    let told = world
        .until_event("default", "BucketRuleDangerous", |_| true)
        .await;
    assert!(
        told.contains("rule `clean` deletes everything in this location after 30 days"),
        "{told}"
    );
    let location = world
        .until("default", |location: &BackupStorageLocation| {
            location.status.phase == LocationPhase::Available
        })
        .await;
    let rules = &location.metadata.annotations[labels::BUCKET_RULES];
    assert!(rules.contains("versioning: on"), "{rules}");
    assert!(rules.contains("error: lifecycle: rule `clean`"), "{rules}");
    assert!(rules.contains("default retention: none"), "{rules}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_policy_archives_is_moved_and_says_so() {
    let Some(bucket) = Bucket::start() else {
        return;
    };
    let mut world = World::new().await;
    world.store = bucket.store();
    let mut schedule = Schedule::named(NAMESPACE, "nightly");
    schedule.spec.schedule = "@every 100h".to_owned();
    schedule.spec.paused = true;
    let policy = "last=9,archive=0h:STANDARD_IA".to_owned();
    let annotations = &mut schedule.metadata.annotations;
    annotations.insert(labels::RETENTION.to_owned(), policy);
    world.kinds().create(&schedule).await.expect("created");
    let running = world.serve();
    for name in ["b1", "b2"] {
        world
            .back_up(name, |backup| {
                let labels = &mut backup.metadata.labels;
                labels.insert(labels::SCHEDULE_NAME.to_owned(), "nightly".to_owned());
            })
            .await;
        let done = |backup: &Backup| backup.status.phase.is_final();
        let _: Backup = world.until(name, done).await;
    }
    let archived: Backup = world
        .until("b1", |backup: &Backup| {
            backup.metadata.annotations.contains_key(labels::ARCHIVED)
        })
        .await;
    let mark = &archived.metadata.annotations[labels::ARCHIVED];
    assert_eq!(mark, "STANDARD_IA, read at once");
    world.until_event("b1", "Archived", |_| true).await;
    let key = Key::new("backups/b1/b1.tar.gz").expect("a key");
    let tier = world.store.tier(&key).await.expect("looked up");
    assert_eq!(tier.class, "STANDARD_IA");
    let newest: Backup = world.get("b2").await.expect("there");
    assert!(!newest.metadata.annotations.contains_key(labels::ARCHIVED));
    running.stop().await;
}
