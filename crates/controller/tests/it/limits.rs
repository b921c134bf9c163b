//! How fast a location is used, while the annotations that say so change.

use std::sync::Arc;

use bytes::Bytes;
use salvor_api::labels;
use salvor_api::velero::BackupStorageLocation;
use salvor_apiserver::{ApiServer, Options};
use salvor_cluster::Cluster;
use salvor_controller::Locations;
use salvor_location::Location;
use salvor_storage::{GetOptions, Key, MemoryStore, ObjectStore, PutMode};
use tokio::time::Instant;

use crate::world::NAMESPACE;

const SIZE: u64 = 64 << 20;

fn object(download_limit: Option<&str>) -> BackupStorageLocation {
    let mut object = BackupStorageLocation::named(NAMESPACE, "default");
    object.spec.provider = "file".to_owned();
    let config = &mut object.spec.config;
    config.insert("path".to_owned(), "/in/memory".to_owned());
    if let Some(limit) = download_limit {
        let annotations = &mut object.metadata.annotations;
        annotations.insert(labels::DOWNLOAD_LIMIT.to_owned(), limit.to_owned());
    }
    object
}

fn locations() -> Locations {
    let cluster = Cluster::from_service(ApiServer::memory(Options::default()), "test");
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    Locations::with_stores(
        &cluster,
        NAMESPACE,
        Arc::new(move |_| Ok(Arc::clone(&store))),
    )
}

/// Seconds that it takes to read an object of 64 MiB.
async fn read(location: Location) -> u64 {
    let began = Instant::now();
    let key = Key::new("object").expect("a key");
    let object = location.store().get(&key, GetOptions::default()).await;
    let read = object.expect("there").bytes(SIZE).await.expect("read");
    assert_eq!(read.len() as u64, SIZE);
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_counts_at_once_also_for_what_is_being_read() {
    let locations = locations();
    let limited = object(Some("1Mi"));
    let location = locations.open(&limited).await.expect("opened");
    let key = Key::new("object").expect("a key");
    let body = Bytes::from(vec![7; SIZE as usize]);
    let put = location.store().put(&key, body, PutMode::Create).await;
    put.expect("written");
    let took = read(location.clone()).await;
    assert!((63..=64).contains(&took), "{took} s");

    let mut reading = tokio::spawn(read(location.clone()));
    let early = tokio::time::timeout(std::time::Duration::from_secs(10), &mut reading).await;
    early.expect_err("it takes a minute");
    locations.adjust(&object(Some("1000Gi")));
    let took = reading.await.expect("read");
    assert!((10..=11).contains(&took), "{took} s");

    // A limit that cannot be read is told, and the one before stays.
    let error = locations.open(&object(Some("slow"))).await;
    let error = error.expect_err("no amount").to_string();
    assert!(error.contains("salvor.dev/download-limit"), "{error}");
    locations.adjust(&object(Some("slow")));
    assert_eq!(read(location.clone()).await, 0);

    locations.adjust(&object(None));
    assert_eq!(read(location).await, 0);
}
