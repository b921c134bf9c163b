//! What a bucket does by itself, told by the server.

use salvor_api::labels;
use salvor_api::velero::{BackupStorageLocation, LocationPhase};
use salvor_storage::{StoreUrl, open_url};
use salvor_testkit::process::or_skip;
use salvor_testkit::s3_server::S3Server;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_lifecycle_that_would_delete_backups_is_told_while_there_are_backups() {
    let Some(s3) = or_skip(S3Server::start()) else {
        return;
    };
    s3.create_bucket("shared", true).expect("a bucket");
    let document = "<LifecycleConfiguration><Rule><ID>clean</ID><Filter><Prefix></Prefix></Filter>\
        <Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
    s3.configure("shared", "?lifecycle", document)
        .expect("configured");
    let folder = tempfile::tempdir().expect("a folder");
    let credentials = folder.path().join("credentials");
    let text = "[default]\naws_access_key_id=test\naws_secret_access_key=hunter2\n";
    std::fs::write(&credentials, text).expect("written");
    let url = format!(
        "s3://shared/clusters?endpoint=http://{}&credentialsFile={}",
        s3.address(),
        credentials.display()
    );
    let url = StoreUrl::parse(&url).expect("valid");

    let mut world = World::new().await;
    world.store = open_url(&url).expect("opened");
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
