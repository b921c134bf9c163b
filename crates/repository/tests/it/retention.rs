//! Stores that let nobody remove what was written.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use salvor_repository::check::{self, Depth};
use salvor_repository::lock::{self, Holder, Lock};
use salvor_repository::{Error, InitOptions, Kind, Progress, Repository, Work, prune};
use salvor_storage::bucket::DefaultRetention;
use salvor_storage::{
    BucketRules, ErrorKind, Folder, GetOptions, Key, Known, MemoryStore, MetaStream, Object,
    ObjectInfo, ObjectStore, PutMode, Result, Upload,
};

use crate::support::{Place, back_up, noise, options, secret};

/// A store under a retention rule of so many days, which it says or keeps to itself.
#[derive(Debug)]
struct Retaining {
    store: MemoryStore,
    says: Option<&'static str>,
    /// What lies in this folder was written long ago, and may be removed.
    old: &'static str,
}

#[async_trait]
impl ObjectStore for Retaining {
    fn describe(&self) -> String {
        "a store with a retention rule".to_owned()
    }

    fn excludes(&self) -> bool {
        self.store.excludes()
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        self.store.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        self.store.upload(key, mode).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.store.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.store.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        let old = self.old;
        let aged = self.store.list(prefix).await?.map_ok(move |mut object| {
            if object.key.as_str().starts_with(old) {
                object.modified = Some(Timestamp::UNIX_EPOCH);
            }
            object
        });
        Ok(aged.boxed())
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        self.store.list_folder(folder).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        if key.as_str().starts_with(self.old) {
            return self.store.delete(key).await;
        }
        Err(salvor_storage::Error::new(ErrorKind::Locked, "remove", key))
    }

    async fn rules(&self) -> Result<Option<BucketRules>> {
        Ok(self.says.map(|period| BucketRules {
            default_retention: Known::Is(Some(DefaultRetention {
                mode: "COMPLIANCE".to_owned(),
                period: period.to_owned(),
            })),
            ..BucketRules::default()
        }))
    }
}

fn holder() -> Holder {
    Holder {
        hostname: "here".to_owned(),
        username: "tester".to_owned(),
    }
}

fn made(place: &Place, store: Arc<dyn ObjectStore>) -> Arc<Repository> {
    let options = InitOptions {
        work: Work::Machine,
        who: ("tester".to_owned(), "here".to_owned()),
        restic_boundaries: false,
    };
    Arc::new(Repository::init(place.files_in(store), &secret(), &options).unwrap())
}

#[test]
fn locks_that_nobody_may_remove_are_given_back_beside_them() {
    let place = Place::new();
    let store = Arc::new(Retaining {
        store: MemoryStore::new(),
        says: None,
        old: "nothing/",
    });
    let repository = made(&place, store);
    for round in 1..=3 {
        let alone = Lock::take(&repository, true, &holder()).unwrap();
        let refused = Lock::take(&repository, false, &holder());
        assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
        drop(alone);
        // The file is still there, and it holds nothing: nor does the one of the try that was refused.
        assert_eq!(repository.files().list(Kind::Lock).unwrap().len(), round);
        assert_eq!(lock::all(&repository).unwrap().len(), 0);
    }
    let shared = Lock::take(&repository, false, &holder()).unwrap();
    assert_eq!(lock::all(&repository).unwrap().len(), 1);
    let unlocked = lock::unlock(&repository, "elsewhere", true).unwrap();
    assert_eq!(unlocked.removed, 1);
    assert_eq!(lock::all(&repository).unwrap().len(), 0);
    drop(shared);
}

/// Two snapshots, the first of which is forgotten by whoever may.
fn with_waste(place: &Place, store: &MemoryStore) -> Arc<Repository> {
    let tree = place.path("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("a"), noise(1, 9000)).unwrap();
    let repository = made(place, Arc::new(store.clone()));
    let first = back_up(&repository, &tree, &options());
    std::fs::write(tree.join("a"), noise(2, 9000)).unwrap();
    let _ = back_up(&repository, &tree, &options());
    let held = Lock::take(&repository, true, &holder()).unwrap();
    prune::forget(&repository, &held, &[first.id]).unwrap();
    let marked = prune::mark(&repository, &held, &[], &Progress::new()).unwrap();
    assert!(marked.packs > 0);
    repository
}

#[test]
fn a_sweep_waits_for_the_retention_and_loses_nothing() {
    let place = Place::new();
    let memory = MemoryStore::new();
    let bare = with_waste(&place, &memory);
    let packs = bare.files().list(Kind::Pack).unwrap();
    let store = Arc::new(Retaining {
        store: memory,
        says: Some("30 days"),
        old: "nothing/",
    });
    let repository = Arc::new(Repository::open(place.files_in(store), &secret()).unwrap());
    let sweep = |repository: &Arc<Repository>| {
        let alone = Lock::take(repository, true, &holder()).unwrap();
        prune::sweep(
            repository,
            &alone,
            &[],
            SignedDuration::ZERO,
            &Progress::new(),
        )
        .unwrap()
    };
    for _ in 0..2 {
        let swept = sweep(&repository);
        assert!(swept.packs == 0 && swept.retained > 0, "{swept:?}");
        assert_eq!(repository.files().list(Kind::Pack).unwrap(), packs);
        assert_eq!(repository.files().list(Kind::Mark).unwrap().len(), 1);
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert_eq!(checked.findings, []);
    }
    // When the rule is gone, the marks are still there.
    let swept = sweep(&bare);
    assert!(swept.packs > 0 && swept.retained == 0, "{swept:?}");
    let checked = check::run(&bare, Depth::Data, &Progress::new()).unwrap();
    assert_eq!(checked.findings, []);
}

#[test]
fn a_retention_that_is_not_understood_stops_the_sweep() {
    let place = Place::new();
    let memory = MemoryStore::new();
    drop(with_waste(&place, &memory));
    let store = Arc::new(Retaining {
        store: memory,
        says: Some("a while"),
        old: "nothing/",
    });
    let repository = Arc::new(Repository::open(place.files_in(store), &secret()).unwrap());
    let alone = Lock::take(&repository, true, &holder()).unwrap();
    let now = SignedDuration::ZERO;
    let refused = prune::sweep(&repository, &alone, &[], now, &Progress::new());
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}

#[test]
fn a_pack_stays_as_long_as_an_index_file_that_names_it_must_stay() {
    let place = Place::new();
    let memory = MemoryStore::new();
    drop(with_waste(&place, &memory));
    let over = |old| {
        let store = Arc::new(Retaining {
            store: memory.clone(),
            says: Some("30 days"),
            old,
        });
        Arc::new(Repository::open(place.files_in(store), &secret()).unwrap())
    };
    for (old, goes) in [("data/", false), ("", true)] {
        let repository = over(old);
        let alone = Lock::take(&repository, true, &holder()).unwrap();
        let now = SignedDuration::ZERO;
        let swept = prune::sweep(&repository, &alone, &[], now, &Progress::new()).unwrap();
        assert_eq!(
            (swept.packs > 0, swept.retained == 0),
            (goes, goes),
            "{swept:?}"
        );
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert_eq!(checked.findings, []);
    }
}
