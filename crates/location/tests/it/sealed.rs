//! Sealed objects in a location: there whole or not at all, and readable by their recipients alone.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _, stream};
use salvor_location::trust::Trust;
use salvor_location::{Error, Location};
use salvor_seal::Digest;
use salvor_seal::age::{Identity, SealedDigests};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{ErrorKind, GetOptions, Key, MemoryStore, ObjectStore, PutMode};

use crate::world::location;

fn key() -> Key {
    Key::new("plugins/salvor/kit/vault.zst.age").expect("a key")
}

fn content() -> Vec<u8> {
    (0..400_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

fn pieces(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + use<> {
    let pieces: Vec<_> = bytes
        .chunks(70_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    stream::iter(pieces)
}

fn sealed_to(store: Arc<dyn ObjectStore>, identity: &Identity) -> Location {
    location(store).with_trust(Trust {
        recipients: vec![identity.recipient()],
        ..Trust::default()
    })
}

async fn write(location: &Location, bytes: &[u8]) -> Result<SealedDigests, Error> {
    location.write_sealed(&key(), pieces(bytes)).await
}

async fn read(location: &Location, identity: &Identity) -> Result<Vec<u8>, Error> {
    let stream = location
        .read_sealed(&key(), std::slice::from_ref(identity))
        .await?;
    let pieces: Vec<Bytes> = stream.try_collect().await?;
    Ok(pieces.concat())
}

async fn stored(store: &Arc<dyn ObjectStore>) -> Option<Bytes> {
    let object = store.get(&key(), GetOptions::default()).await.ok()?;
    Some(object.bytes(1 << 30).await.expect("read"))
}

#[tokio::test]
async fn an_object_is_written_once_and_read_by_its_recipient_alone() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let identity = Identity::generate().expect("random numbers");
    let location = sealed_to(Arc::clone(&store), &identity);
    let digests = write(&location, &content()).await.expect("written");
    let object = stored(&store).await.expect("there");
    assert_eq!(digests.object, Digest::of(&object));
    assert_eq!(digests.content, Digest::of(&content()));
    assert!(read(&location, &identity).await.expect("read") == content());
    let other = Identity::generate().expect("random numbers");
    let refused = read(&location, &other).await.expect_err("not for them");
    assert!(matches!(refused, Error::Sealed { .. }), "{refused}");
    let taken = write(&location, b"other").await.expect_err("taken");
    assert!(matches!(taken, Error::Store { .. }), "{taken}");
    assert_eq!(stored(&store).await, Some(object));
    let name = Key::new("plugins/salvor/kit/vault").expect("a key");
    let refused = location.write_sealed(&name, pieces(b"x")).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn content_that_fails_leaves_nothing() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let identity = Identity::generate().expect("random numbers");
    let location = sealed_to(Arc::clone(&store), &identity);
    let failing = stream::iter([
        Ok(Bytes::from(content())),
        Err(std::io::Error::other("the source is gone")),
    ]);
    let failed = location
        .write_sealed(&key(), failing)
        .await
        .expect_err("failed");
    assert!(matches!(failed, Error::Content { .. }), "{failed}");
    assert_eq!(stored(&store).await, None);
    write(&location, b"again").await.expect("the name is free");
}

#[tokio::test]
async fn every_operation_that_fails_leaves_the_whole_object_or_none() {
    let identity = Identity::generate().expect("random numbers");
    let bytes = content();
    let mut succeeded = 0;
    let refused = Fault::Before(ErrorKind::Denied);
    for fault in [refused, Fault::BeforeInDoubt, Fault::AfterWithError] {
        for at in 0.. {
            let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
            let faults = FaultStore::new(Arc::clone(&inner));
            faults.at(at, fault);
            let location = sealed_to(Arc::new(faults.clone()), &identity);
            let outcome = write(&location, &bytes).await;
            let sound = sealed_to(Arc::clone(&inner), &identity);
            match (&outcome, stored(&inner).await) {
                (Ok(digests), Some(object)) => {
                    assert_eq!(digests.object, Digest::of(&object));
                    assert!(read(&sound, &identity).await.expect("read") == bytes);
                }
                (Err(_), None) => {}
                (Err(error), Some(_)) => {
                    assert!(error.may_have_happened(), "{error}");
                    assert!(read(&sound, &identity).await.expect("whole") == bytes);
                }
                (Ok(_), None) => panic!("a wrong success with a fault at {at}"),
            }
            if faults.operations() <= at {
                assert!(outcome.is_ok());
                succeeded += 1;
                break;
            }
        }
    }
    assert_eq!(succeeded, 3);
}

#[tokio::test]
async fn cut_or_changed_objects_are_never_read_to_a_good_end() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let identity = Identity::generate().expect("random numbers");
    let location = sealed_to(Arc::clone(&store), &identity);
    write(&location, b"a few words").await.expect("written");
    let whole = stored(&store).await.expect("there");
    for at in 0..whole.len() {
        let mut changed = whole.to_vec();
        changed[at] ^= 1;
        for damaged in [whole.slice(..at), Bytes::from(changed)] {
            let key = key();
            let put = store.put(&key, damaged, PutMode::Overwrite);
            put.await.expect("written");
            assert!(read(&location, &identity).await.is_err(), "byte {at}");
        }
    }
}
