//! Stores that let nobody remove what was written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use salvor_repository::check::{self, Depth};
use salvor_repository::lock::{self, Holder, Lock};
use salvor_repository::{Error, InitOptions, Kind, Progress, Repository, Work, prune, retain};
use salvor_storage::bucket::DefaultRetention;
use salvor_storage::{
    BucketRules, ErrorKind, Folder, GetOptions, Key, Known, MemoryStore, MetaStream, Object,
    ObjectInfo, ObjectStore, PutMode, Result, StoreUrl, Upload, open_url,
};
use salvor_testkit::process::or_skip;
use salvor_testkit::s3_server::S3Server;

use crate::support::{Place, back_up, noise, options, secret};

/// A store under a retention rule of so many days, which it says or keeps to itself.
#[derive(Debug)]
struct Retaining {
    store: Arc<dyn ObjectStore>,
    says: Option<&'static str>,
    /// What lies in this folder was written long ago, and may be removed.
    old: &'static str,
    /// `None` for a store that keeps objects itself.
    kept: Option<Kept>,
}

/// What was kept for longer than the rule says, and until when.
#[derive(Clone, Debug, Default)]
struct Kept {
    until: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    /// The store refuses to keep anything more once it keeps so many.
    most: Option<usize>,
}

impl Kept {
    fn of(&self, folder: &str) -> Vec<String> {
        let until = self.until.lock().unwrap();
        let names = until.keys().filter(|name| name.starts_with(folder));
        names.cloned().collect()
    }
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

    async fn retained_until(&self, key: &Key) -> Result<Option<Timestamp>> {
        match &self.kept {
            Some(kept) => Ok(kept.until.lock().unwrap().get(key.as_str()).copied()),
            None => self.store.retained_until(key).await,
        }
    }

    async fn retain(&self, key: &Key, mode: &str, until: Timestamp) -> Result<()> {
        assert_eq!(mode, "COMPLIANCE");
        let Some(ours) = &self.kept else {
            return self.store.retain(key, mode, until).await;
        };
        self.store.head(key).await?;
        let mut kept = ours.until.lock().unwrap();
        if ours.most.is_some_and(|most| kept.len() >= most) {
            let denied = ErrorKind::Denied;
            return Err(salvor_storage::Error::new(denied, "retain", key));
        }
        let before = kept.insert(key.as_str().to_owned(), until);
        assert!(before.is_none_or(|before| before <= until));
        Ok(())
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
        store: Arc::new(MemoryStore::new()),
        says: None,
        old: "nothing/",
        kept: Some(Kept::default()),
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
    with_waste_in(place, Arc::new(store.clone()))
}

fn with_waste_in(place: &Place, store: Arc<dyn ObjectStore>) -> Arc<Repository> {
    let tree = place.path("tree");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("a"), noise(1, 9000)).unwrap();
    let repository = made(place, store);
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
        store: Arc::new(memory),
        says: Some("30 days"),
        old: "nothing/",
        kept: Some(Kept::default()),
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
        store: Arc::new(memory),
        says: Some("a while"),
        old: "nothing/",
        kept: Some(Kept::default()),
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
            store: Arc::new(memory.clone()),
            says: Some("30 days"),
            old,
            kept: Some(Kept::default()),
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

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(days * 24)
}

#[test]
fn what_is_needed_is_kept_for_longer_and_what_is_to_go_is_not() {
    let place = Place::new();
    let memory = MemoryStore::new();
    let bare = with_waste(&place, &memory);
    let kept = Kept::default();
    let over = |old| {
        let store = Arc::new(Retaining {
            store: Arc::new(memory.clone()),
            says: Some("30 days"),
            old,
            kept: Some(kept.clone()),
        });
        Arc::new(Repository::open(place.files_in(store), &secret()).unwrap())
    };
    let repository = over("nothing/");
    let extend = |since, now| {
        let held = Lock::take(&repository, false, &holder()).unwrap();
        let extended = retain::extend(&repository, &held, &[], since, now, &Progress::new());
        let extended = extended.unwrap();
        assert_eq!(extended.refused, None);
        extended.files
    };
    let now = Timestamp::now();
    assert_eq!(extend(None, now + days(14)), 0);
    let first = extend(None, now + days(16));
    let packs = bare.files().list(Kind::Pack).unwrap();
    let needed = kept.of("data/");
    assert!(!needed.is_empty() && needed.len() < packs.len());
    // The index files that are there name a pack that is to go, or do not.
    let indexes = bare.files().list(Kind::Index).unwrap();
    assert!(kept.of("index/").len() < indexes.len());
    assert_eq!(kept.of("snapshots/").len(), 1);
    assert_eq!((kept.of("keys/").len(), kept.of("config").len()), (1, 1));
    assert_eq!(kept.of("").len(), first);
    for until in kept.until.lock().unwrap().values() {
        assert_eq!(*until, now + days(46));
    }
    // Once in each half of the period.
    assert_eq!(extend(Some(now + days(16)), now + days(17)), 0);
    assert_eq!(extend(Some(now + days(17)), now + days(31)), first);

    // All is older than the rule; what was kept for longer is not what goes, and the rest does.
    let repository = over("");
    let alone = Lock::take(&repository, true, &holder()).unwrap();
    let sweep = || {
        let grace = SignedDuration::ZERO;
        prune::sweep(&repository, &alone, &[], grace, &Progress::new()).unwrap()
    };
    let gone: Vec<String> = packs
        .iter()
        .map(|pack| Kind::Pack.path(&pack.id))
        .filter(|path| !needed.contains(path))
        .collect();
    let far = Timestamp::now() + days(1);
    kept.until.lock().unwrap().insert(gone[0].clone(), far);
    let swept = sweep();
    assert_eq!(swept.retained, 1, "{swept:?}");
    assert_eq!(swept.packs, gone.len() - 1);
    kept.until.lock().unwrap().remove(&gone[0]);
    let swept = sweep();
    assert_eq!((swept.retained, swept.packs), (0, 1), "{swept:?}");
    let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    assert_eq!(checked.findings, []);
}

#[test]
fn a_store_that_refuses_to_keep_is_named_and_whoever_tries_again_goes_on() {
    let place = Place::new();
    let memory = MemoryStore::new();
    drop(with_waste(&place, &memory));
    let mut kept = Kept::default();
    for most in [Some(0), Some(2), None] {
        kept.most = most;
        let store = Arc::new(Retaining {
            store: Arc::new(memory.clone()),
            says: Some("30 days"),
            old: "",
            kept: Some(kept.clone()),
        });
        let repository = Arc::new(Repository::open(place.files_in(store), &secret()).unwrap());
        let held = Lock::take(&repository, false, &holder()).unwrap();
        let now = Timestamp::now();
        let known = [];
        let extended = retain::extend(&repository, &held, &known, None, now, &Progress::new());
        let extended = extended.unwrap();
        assert_eq!(extended.refused.is_some(), most.is_some(), "{extended:?}");
        let all = kept.until.lock().unwrap().len();
        assert!(most.is_none_or(|most| all == most), "{all}");
    }
    assert!(!kept.of("data/").is_empty() && !kept.of("keys/").is_empty());
}

#[test]
fn on_s3_what_is_needed_is_kept_by_the_bucket_itself() {
    let Some(server) = or_skip(S3Server::start()) else {
        return;
    };
    server.create_bucket("kept", true).unwrap();
    // moto takes writes into a bucket with a default retention from Amazon's own client only: the rule is said by us, and
    // the objects are kept by the server.
    let locks = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    server.configure("kept", "?object-lock", locks).unwrap();
    let place = Place::new();
    let credentials = place.path("credentials");
    let text = "[default]\naws_access_key_id=test\naws_secret_access_key=hunter2\n";
    std::fs::write(&credentials, text).unwrap();
    let url = format!(
        "s3://kept/some/prefix?endpoint=http://{}&credentialsFile={}",
        server.address(),
        credentials.display()
    );
    let store = open_url(&StoreUrl::parse(&url).unwrap()).unwrap();
    drop(with_waste_in(&place, Arc::clone(&store)));
    let kept = Arc::new(Retaining {
        store: Arc::clone(&store),
        says: Some("30 days"),
        old: "nothing/",
        kept: None,
    });
    let repository = Arc::new(Repository::open(place.files_in(kept), &secret()).unwrap());
    let held = Lock::take(&repository, false, &holder()).unwrap();
    let now = Timestamp::now() + days(16);
    let extended = retain::extend(&repository, &held, &[], None, now, &Progress::new()).unwrap();
    assert_eq!(extended.refused, None);
    let mut until = Vec::new();
    for kind in [Kind::Pack, Kind::Index, Kind::Snapshot, Kind::Key] {
        for file in repository.files().list(kind).unwrap() {
            let key = Key::new(kind.path(&file.id)).unwrap();
            until.extend(place.block_on(store.retained_until(&key)).unwrap());
        }
    }
    // And `config`.
    assert_eq!(until.len() + 1, extended.files);
    assert!(until.len() >= 4, "{until:?}");
    let wanted = (now + days(30)).as_second();
    assert!(
        until.iter().all(|until| until.as_second() == wanted),
        "{until:?}"
    );
}
