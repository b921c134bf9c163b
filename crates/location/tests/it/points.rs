//! Recovery points: committed last, read only when they are what was written, and one writer at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{TryStreamExt as _, stream};
use jiff::Timestamp;
use salvor_location::points::PointObject;
use salvor_location::trust::Trust;
use salvor_location::{Digest, Error, Location, Point, RunId};
use salvor_seal::age::Identity;
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{ErrorKind, GetOptions, Key, MemoryStore, ObjectStore, PutMode};

use crate::world::location;

const OBJECT: &str = "plugins/salvor/etcd/0000000000000001/one/full-7.db.zst.age";

fn sealed_to(store: Arc<dyn ObjectStore>, identity: &Identity) -> Location {
    location(store).with_trust(Trust {
        recipients: vec![identity.recipient()],
        ..Trust::default()
    })
}

async fn write(location: &Location, content: &[u8]) -> Result<Point, Error> {
    let piece: Result<Bytes, std::io::Error> = Ok(Bytes::copy_from_slice(content));
    let content = stream::iter([piece]);
    let object = location.write_point_object(OBJECT, content).await?;
    let mut point = Point::new(RunId::generate(), "etcd-1", "etcd", Timestamp::now());
    point.objects = vec![object];
    location.commit_point(&point).await?;
    Ok(point)
}

async fn read(
    location: &Location,
    object: &PointObject,
    identity: &Identity,
) -> Result<Vec<u8>, Error> {
    let stream = location.read_point_object(object, std::slice::from_ref(identity));
    let pieces: Vec<Bytes> = stream.await?.try_collect().await?;
    Ok(pieces.concat())
}

#[tokio::test]
async fn a_point_counts_when_it_is_committed_and_is_read_when_it_is_whole() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let identity = Identity::generate().expect("random numbers");
    let location = sealed_to(Arc::clone(&store), &identity);
    let point = write(&location, b"content").await.expect("committed");
    let listed = location.points(Some("etcd-1")).await.expect("listed");
    assert_eq!(
        (&listed.entries[..], listed.damaged.len()),
        (&[point.clone()][..], 0)
    );
    assert!(
        location
            .points(Some("etcd-2"))
            .await
            .expect("listed")
            .entries
            .is_empty()
    );
    let object = &point.objects[0];
    assert_eq!(
        read(&location, object, &identity).await.expect("read"),
        b"content"
    );
    location.check_point_object(object).await.expect("whole");

    // What opens to more than its record says ends there.
    let mut shorter = object.clone();
    shorter.content_size -= 1;
    let error = read(&location, &shorter, &identity)
        .await
        .expect_err("longer");
    assert!(error.to_string().contains("more than 6"), "{error}");

    // Every byte of the object counts.
    let key = Key::new(OBJECT).expect("a key");
    let sound = store.get(&key, GetOptions::default()).await.expect("there");
    let sound = sound.bytes(1 << 20).await.expect("read");
    for at in (0..sound.len()).step_by(7) {
        let mut bytes = sound.to_vec();
        bytes[at] ^= 1;
        store
            .put(&key, bytes.into(), PutMode::Overwrite)
            .await
            .expect("changed");
        let error = location
            .check_point_object(object)
            .await
            .expect_err("changed");
        assert!(matches!(error, Error::BadRecord { .. }), "{error}");
        assert!(read(&location, object, &identity).await.is_err());
    }
    // A whole object of somebody else is not this one.
    store.delete(&key).await.expect("gone");
    let piece: Result<Bytes, std::io::Error> = Ok(Bytes::from_static(b"another"));
    location
        .write_point_object(OBJECT, stream::iter([piece]))
        .await
        .expect("written");
    let error = read(&location, object, &identity)
        .await
        .expect_err("another");
    assert!(error.to_string().contains("its SHA-256 is"), "{error}");
}

#[tokio::test]
async fn a_point_without_its_object_is_not_committed() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let identity = Identity::generate().expect("random numbers");
    let location = sealed_to(Arc::clone(&store), &identity);
    let point = write(&location, b"content").await.expect("committed");
    let mut other = point.clone();
    other.id = RunId::generate();
    store
        .delete(&Key::new(OBJECT).expect("a key"))
        .await
        .expect("gone");
    let error = location.commit_point(&other).await.expect_err("gone");
    assert!(matches!(error, Error::ContentsChanged { .. }), "{error}");
    assert_eq!(
        location.points(None).await.expect("listed").entries,
        [point]
    );
}

#[tokio::test]
async fn a_fault_at_every_operation_leaves_a_whole_point_or_none() {
    let identity = Identity::generate().expect("random numbers");
    let mut ended = 0;
    let faults = [
        Fault::Before(ErrorKind::Denied),
        Fault::BeforeInDoubt,
        Fault::AfterWithError,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ];
    for fault in faults {
        for at in 0.. {
            let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
            let store = FaultStore::new(Arc::clone(&inner));
            store.at(at, fault);
            let outcome = write(&sealed_to(Arc::new(store.clone()), &identity), b"content").await;
            let sound = sealed_to(inner, &identity);
            let listed = sound.points(None).await.expect("listed");
            assert!(listed.damaged.is_empty(), "{:?}", listed.damaged);
            if outcome.is_ok() {
                assert_eq!(
                    listed.entries.len(),
                    1,
                    "a wrong success with {fault:?} at {at}"
                );
            }
            for point in &listed.entries {
                let content = read(&sound, &point.objects[0], &identity).await;
                assert_eq!(content.expect("whole"), b"content");
            }
            if store.operations() <= at {
                assert!(outcome.is_ok());
                ended += 1;
                break;
            }
        }
    }
    assert_eq!(ended, 5);
}

#[tokio::test]
async fn a_damaged_record_hides_no_other_and_a_copy_is_no_second_point() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let identity = Identity::generate().expect("random numbers");
    let location = sealed_to(Arc::clone(&store), &identity);
    let point = write(&location, b"content").await.expect("committed");
    let put = |key: &str, body: Bytes| {
        let key = Key::new(key).expect("a key");
        let store = Arc::clone(&store);
        async move {
            store
                .put(&key, body, PutMode::Create)
                .await
                .expect("written")
        }
    };
    put(
        "plugins/salvor/points/etcd-1/2026-11/x/point.json",
        Bytes::from_static(b"{"),
    )
    .await;
    let copy = serde_json::to_vec(&point).expect("JSON");
    put(
        "plugins/salvor/points/etcd-1/2026-11/y/point.json",
        copy.into(),
    )
    .await;
    let listed = location.points(None).await.expect("listed");
    assert_eq!(listed.entries, [point]);
    assert_eq!(listed.damaged.len(), 2, "{:?}", listed.damaged);
}

#[tokio::test]
async fn a_segment_has_the_digest_of_its_name() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let identity = Identity::generate().expect("random numbers");
    let location = sealed_to(Arc::clone(&store), &identity);
    let recipients = [identity.recipient()];
    let name = |digest: &Digest| format!("plugins/salvor/etcd/1/one/1-2-{digest}.seg.age");
    let content = Bytes::from(vec![7; 100_000]);
    let created = location
        .create_segment(&recipients, content.clone(), name)
        .await;
    let (key, digest, size) = created.expect("created");
    let identities = [identity];
    let read = location
        .read_segment(&key, digest, &identities, 100_000)
        .await;
    assert_eq!(read.expect("read"), content);
    let error = location
        .read_segment(&key, digest, &identities, 99_999)
        .await;
    assert!(error.is_err(), "it opens to more");
    let error = location
        .read_segment(&key, Digest::of(b"x"), &identities, 100_000)
        .await;
    assert!(matches!(error, Err(Error::BadRecord { .. })));
    let listed = location
        .list_below("plugins/salvor/etcd/1")
        .await
        .expect("listed");
    assert_eq!(
        (listed[0].key.as_str(), listed[0].size),
        (key.as_str(), size)
    );
}

#[tokio::test]
async fn one_writer_at_a_time_with_a_number_that_grows() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let identity = Identity::generate().expect("random numbers");
    let location = sealed_to(store, &identity);
    let lease = Duration::from_secs(60);
    let become_writer = || {
        let (location, run) = (location.clone(), RunId::generate());
        async move { location.become_writer("etcd-1", &run, lease).await }
    };
    let first = become_writer().await.expect("free");
    let refused = become_writer().await.expect_err("held");
    assert!(refused.is_busy(), "{refused}");
    first.assert_held().await.expect("held");
    let number = first.number();
    first.close().await;
    let second = become_writer().await.expect("given up");
    assert!(second.number() > number);
    second.close().await;
    // Without recipients nothing could be encrypted, and nobody takes the place.
    let bare = location.clone().with_trust(Trust::default());
    let refused = bare
        .become_writer("etcd-1", &RunId::generate(), lease)
        .await;
    assert!(matches!(refused, Err(Error::NoRecipients { .. })));
}
