//! Holds keep a backup, survive what is damaged, and end with their release.

use std::sync::Arc;

use bytes::Bytes;
use salvor_location::{Error, RunId};
use salvor_storage::{Key, MemoryStore, ObjectStore, PutMode};

use crate::world::{location, name, write_backup};

#[tokio::test]
async fn a_held_backup_is_not_deleted_until_every_hold_is_released() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let location = location(store);
    let backup = name("nightly");
    let missing = location.hold(&backup, "audit", "me").await;
    assert!(matches!(missing, Err(Error::BackupNotFound { .. })));
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    let audit = location.hold(&backup, "audit", "me").await.expect("held");
    let case = location.hold(&backup, "case 7", "me").await.expect("held");
    for left in [["audit", "case 7"].as_slice(), &["case 7"]] {
        let refused = location.delete_backup(&backup, &RunId::generate()).await;
        let error = refused.expect_err("held");
        assert!(
            matches!(&error, Error::Held { reasons, .. } if *reasons == left.join("; ")),
            "{error}"
        );
        location.backup(&backup).await.expect("whole");
        let released = if left.len() == 2 { &audit } else { &case };
        location
            .release(&backup, &released.id)
            .await
            .expect("released");
    }
    let holds = location.holds().await.expect("listed");
    assert_eq!(holds["nightly"].released, [audit, case]);
    location
        .delete_backup(&backup, &RunId::generate())
        .await
        .expect("deleted");
    assert!(location.holds().await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_hold_that_cannot_be_read_holds() {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let location = location(Arc::clone(&store));
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    for (id, contents) in [("torn", "{\"version\":1"), ("newer", "{\"version\":99}")] {
        let key = format!("plugins/salvor/holds/nightly/{id}.json");
        let key = Key::new(key).expect("key");
        store
            .put(&key, Bytes::from(contents), PutMode::Create)
            .await
            .expect("written");
    }
    let holds = location.holds_of(&name("nightly")).await.expect("listed");
    assert_eq!(holds.active.len(), 2, "{holds:?}");
    let refused = location
        .delete_backup(&name("nightly"), &RunId::generate())
        .await;
    assert!(matches!(refused, Err(Error::Held { .. })), "{refused:?}");
    for bad in ["", "../x", "a/b"] {
        let refused = location.release(&name("nightly"), bad).await;
        assert!(refused.is_err(), "{bad}");
    }
}
