//! A backup on its way to a colder storage class: every point that touches the store is failed in turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use salvor_location::RunId;
use salvor_location::claim::ClaimPolicy;
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{
    Access, ErrorKind, Folder, GetOptions, Key, MemoryStore, MetaStream, Object, ObjectInfo,
    ObjectStore, PutMode, Result, Tier, Upload,
};

use crate::world::{assert_whole_or_absent, location, name, write_backup};

/// A store with storage classes, all of which are read at once.
#[derive(Debug, Default)]
struct Classes {
    memory: MemoryStore,
    classes: Mutex<BTreeMap<Key, String>>,
}

#[async_trait]
impl ObjectStore for Classes {
    fn describe(&self) -> String {
        self.memory.describe()
    }

    fn excludes(&self) -> bool {
        self.memory.excludes()
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        self.memory.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        self.memory.upload(key, mode).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.memory.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.memory.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        self.memory.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        self.memory.list_folder(folder).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.memory.delete(key).await
    }

    async fn tier(&self, key: &Key) -> Result<Tier> {
        self.memory.head(key).await?;
        let classes = self.classes.lock().expect("no panic");
        Ok(Tier {
            class: classes.get(key).cloned().unwrap_or_default(),
            access: Access::Now,
        })
    }

    async fn set_class(&self, key: &Key, class: &str) -> Result<()> {
        self.memory.head(key).await?;
        let mut classes = self.classes.lock().expect("no panic");
        classes.insert(key.clone(), class.to_owned());
        Ok(())
    }
}

async fn written() -> FaultStore {
    let store = FaultStore::new(Arc::new(Classes::default()));
    let run = RunId::generate();
    let location = location(Arc::new(store.clone()));
    write_backup(&location, &run).await.expect("written");
    store
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_point_is_made_up_for_by_the_next_run() {
    let nightly = name("nightly");
    let probe = written().await;
    let before = probe.operations();
    let archived = location(Arc::new(probe.clone()))
        .archive_backup(&nightly, "COLD")
        .await;
    assert_eq!(archived.expect("archived").class, "COLD");
    let operations = before..probe.operations();
    assert!(operations.len() > 5, "{operations:?}");
    for operation in operations {
        for kind in [
            Fault::CrashBefore,
            Fault::CrashAfter,
            Fault::Before(ErrorKind::Denied),
            Fault::AfterWithError,
        ] {
            let context = format!("{kind:?} at {operation}");
            let fault = written().await;
            fault.at(operation, kind);
            let first = location(Arc::new(fault.clone()));
            let _ = first.archive_backup(&nightly, "COLD").await;
            fault.heal();
            // A lease of zero: whoever died is silent for long enough.
            let policy = ClaimPolicy {
                lease: Duration::ZERO,
                ..ClaimPolicy::default()
            };
            let location = location(Arc::new(fault)).with_claim_policy(policy);
            assert!(assert_whole_or_absent(&location, &context).await.is_some());
            let again = location.archive_backup(&nightly, "COLD").await;
            let again = again.unwrap_or_else(|error| panic!("{context}: {error}"));
            let known = location.archived().await.expect("listed");
            assert_eq!(known.get("nightly"), Some(&again), "{context}");
            let tier = location.tier(&nightly).await.expect("looked up");
            assert_eq!(tier.class, "COLD", "{context}");
            assert!(assert_whole_or_absent(&location, &context).await.is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_of_a_later_name_is_not_taken_for_archived() {
    let nightly = name("nightly");
    let store = written().await;
    let location = location(Arc::new(store));
    location
        .archive_backup(&nightly, "COLD")
        .await
        .expect("archived");
    let run = RunId::generate();
    location
        .delete_backup(&nightly, &run)
        .await
        .expect("deleted");
    assert!(location.archived().await.expect("listed").is_empty());
    let gone = location.archive_backup(&nightly, "COLD").await;
    assert!(gone.expect_err("there is none").is_not_found());
}
