//! Deleting on a full disk, leftovers, and what a check writes down.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use salvor_api::velero::{Restore, RestorePhase};
use salvor_location::{Location, RunId};
use salvor_storage::{
    Error, ErrorKind, Folder, FsStore, GetOptions, Key, MetaStream, Object, ObjectInfo,
    ObjectStore, PutMode, Result, Upload,
};

use crate::world::{location, name, write_backup};

const BLOCK: u64 = 4096;

/// A folder on a disk of so many blocks: each file takes whole ones.
#[derive(Debug)]
struct SmallDisk {
    inner: FsStore,
    root: PathBuf,
    blocks: AtomicU64,
}

impl SmallDisk {
    fn new(root: &Path) -> Arc<Self> {
        Arc::new(Self {
            inner: FsStore::new(root),
            root: root.to_owned(),
            blocks: AtomicU64::new(u64::MAX),
        })
    }

    /// From now on there is no free block.
    fn fill_up(&self) {
        self.blocks.store(used(&self.root), Ordering::SeqCst);
    }

    fn room_for(&self, key: &Key, bytes: usize) -> Result<()> {
        let needed = (bytes as u64).div_ceil(BLOCK).max(1);
        if used(&self.root).saturating_add(needed) > self.blocks.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Full, "create", key));
        }
        Ok(())
    }
}

fn used(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .map(|entry| {
            let entry = entry.expect("readable");
            let metadata = entry.metadata().expect("readable");
            if metadata.is_dir() {
                used(&entry.path())
            } else {
                metadata.len().div_ceil(BLOCK).max(1)
            }
        })
        .sum()
}

#[async_trait]
impl ObjectStore for SmallDisk {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn excludes(&self) -> bool {
        self.inner.excludes()
    }

    fn local_root(&self) -> Option<PathBuf> {
        self.inner.local_root()
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        self.room_for(key, body.len())?;
        self.inner.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        self.room_for(key, 1)?;
        self.inner.upload(key, mode).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.inner.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        self.inner.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        self.inner.list_folder(folder).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key).await
    }
}

/// A finished restore of backup `nightly`.
async fn record_restore(location: &Location, restore: &str) {
    let mut asked = Restore::named("velero", restore);
    asked.spec.backup_name = "nightly".to_owned();
    let writer = location.begin_restore(&asked, &RunId::generate()).await;
    let writer = writer.expect("begun");
    asked.status.phase = RestorePhase::Completed;
    writer.finish(&asked).await.expect("recorded");
}

#[tokio::test]
async fn a_backup_is_deleted_from_a_full_disk_and_the_reserve_comes_back() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = SmallDisk::new(folder.path());
    let location = location(disk.clone());
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    for restore in ["a", "b", "c"] {
        record_restore(&location, restore).await;
    }
    let reserve = folder.path().join("plugins/salvor/reserve");
    assert!(reserve.exists());
    disk.fill_up();
    let refused = write_backup(&location, &RunId::generate()).await;
    refused.expect_err("there is no room, and a backup gives up nothing");
    assert!(reserve.exists());
    let deleted = location
        .delete_backup(&name("nightly"), &RunId::generate())
        .await;
    let deleted = deleted.expect("deleted");
    assert_eq!(deleted.restores.len(), 3);
    assert!(location.backups().await.expect("listed").entries.is_empty());
    assert!(
        location
            .restores()
            .await
            .expect("listed")
            .entries
            .is_empty()
    );
    assert!(reserve.exists() || used(folder.path()) + 64 > disk.blocks.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_claim_on_a_full_disk_excludes_as_always() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = SmallDisk::new(folder.path());
    let location = location(disk.clone());
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    disk.fill_up();
    let (first, second) = (RunId::generate(), RunId::generate());
    let backup = name("nightly");
    let (one, other) = tokio::join!(
        location.delete_backup(&backup, &first),
        location.delete_backup(&backup, &second)
    );
    // Whoever loses is told that somebody is at work, that it is gone, or that there is no room.
    assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
    assert!(
        location
            .backup(&backup)
            .await
            .expect_err("gone")
            .is_not_found()
    );
}

#[tokio::test]
async fn without_a_reserve_the_full_disk_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let disk = SmallDisk::new(folder.path());
    let location = location(disk.clone());
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    std::fs::remove_file(folder.path().join("plugins/salvor/reserve")).expect("removed");
    disk.fill_up();
    let refused = location
        .delete_backup(&name("nightly"), &RunId::generate())
        .await;
    let error = refused.expect_err("there is nothing to give up");
    assert!(error.is_full(), "{error}");
    assert_eq!(location.backups().await.expect("listed").entries.len(), 1);
}

#[tokio::test]
async fn what_crashed_writers_left_is_swept_and_what_is_being_written_stays() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let location = location(Arc::new(FsStore::new(folder.path())));
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    let part = |name: &str, age_hours: u64| {
        let path = folder.path().join("backups/nightly").join(name);
        let file = std::fs::File::create(&path).expect("created");
        let age = std::time::Duration::from_secs(age_hours * 3600);
        let then = std::time::SystemTime::now() - age;
        file.set_modified(then).expect("set");
        path
    };
    let (old, new) = (part(".salvor-old.part", 25), part(".salvor-new.part", 1));
    let report = location.check().await.expect("checked");
    assert!(!old.exists() && new.exists());
    let told = report.steps.iter().any(|step| step.name == "leftovers");
    assert!(told && report.is_usable(), "{report:?}");
    let old = part(".salvor-old.part", 25);
    let deleted = location
        .delete_backup(&name("nightly"), &RunId::generate())
        .await;
    deleted.expect("deleted");
    assert!(!old.exists());
}

#[tokio::test]
async fn a_check_renews_what_is_recorded_of_create_only() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let location = location(Arc::new(FsStore::new(folder.path())));
    assert!(location.prepare().await.expect("prepared").create_only);
    let records = folder.path().join("plugins/salvor/location");
    let first = records.join("000001.json");
    let text = std::fs::read_to_string(&first).expect("readable");
    let said_no = text.replace("\"createOnly\":true", "\"createOnly\":false");
    let said_no = said_no.replace("\"createOnly\": true", "\"createOnly\": false");
    assert_ne!(text, said_no);
    std::fs::write(&first, said_no).expect("written");
    assert!(!location.prepare().await.expect("prepared").create_only);
    location.check().await.expect("checked");
    assert!(location.prepare().await.expect("prepared").create_only);
    assert!(records.join("000002.json").exists());
    location.check().await.expect("checked");
    assert!(!records.join("000003.json").exists(), "nothing new to say");
}

#[tokio::test]
async fn the_records_of_restores_are_read_once_for_many_deletions() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let location = location(Arc::new(FsStore::new(folder.path())));
    write_backup(&location, &RunId::generate())
        .await
        .expect("written");
    record_restore(&location, "known").await;
    let known = location.restores_by_backup().await.expect("listed");
    record_restore(&location, "later").await;
    let run = RunId::generate();
    let deleted = location
        .delete_backup_and(&name("nightly"), Some(&known["nightly"]), &run)
        .await
        .expect("deleted");
    assert_eq!(deleted.restores.len(), 1);
    assert_eq!(deleted.restores[0].as_str(), "known");
    let left = location.restores().await.expect("listed").entries;
    assert_eq!(left.len(), 1, "what was begun later keeps its record");
}
