//! Every call of a check, a prune, a restore and a repair goes wrong in every way, in turn; and what shares a repository
//! does its worst at the same time.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::SignedDuration;
use salvor_repository::backup;
use salvor_repository::check::{self, Depth};
use salvor_repository::lock::{Holder, Lock, unlock};
use salvor_repository::restore::{self, RestoreOptions};
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{Error, FileId, InitOptions, Progress, Repository, Work, prune, repair};
use salvor_storage::{
    ErrorKind, Folder, GetOptions, Key, MemoryStore, MetaStream, Object, ObjectInfo, ObjectStore,
    PutMode, Result as Stored, Upload,
};

use crate::support::{
    Place, assert_same, back_up, expect, noise, options, restore_into, secret, survey,
};

/// What is wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// It fails.
    Fail(ErrorKind),
    /// A read gives other bytes.
    Flip,
    /// A read gives half of the bytes, a listing half of the names, and says nothing.
    Cut,
    /// A write or a removal does not happen and says that it did.
    Lie,
    /// It does not answer before somebody has seen that it does not.
    Stall,
}

const TRICKS: [Trick; 6] = [
    Trick::Fail(ErrorKind::Transient),
    Trick::Fail(ErrorKind::Denied),
    Trick::Flip,
    Trick::Cut,
    Trick::Lie,
    Trick::Stall,
];

/// Behind a call that was made once more after it went wrong.
const AGAIN: &str = ", and again";

/// A store one call of which goes wrong.
#[derive(Debug)]
struct Tricky {
    store: MemoryStore,
    calls: AtomicUsize,
    at: usize,
    trick: Trick,
    /// What the call that went wrong was.
    hit: Mutex<Option<String>>,
    stalled: Condvar,
    go_on: tokio::sync::Notify,
}

impl Tricky {
    fn new(store: &MemoryStore, at: usize, trick: Trick) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            calls: AtomicUsize::new(0),
            at,
            trick,
            hit: Mutex::new(None),
            stalled: Condvar::new(),
            go_on: tokio::sync::Notify::new(),
        })
    }

    /// The trick that this call is played.
    async fn trick(&self, name: &'static str, key: &str) -> Stored<Option<Trick>> {
        if self.calls.fetch_add(1, Ordering::Relaxed) != self.at {
            let mut hit = self.hit.lock().unwrap();
            if let Some(hit) = hit.as_mut().filter(|hit| **hit == format!("{name} {key}")) {
                hit.push_str(AGAIN);
            }
            return Ok(None);
        }
        *self.hit.lock().unwrap() = Some(format!("{name} {key}"));
        self.stalled.notify_all();
        match self.trick {
            Trick::Fail(kind) => Err(salvor_storage::Error::new(kind, name, key)),
            Trick::Stall => {
                self.go_on.notified().await;
                Ok(None)
            }
            other => Ok(Some(other)),
        }
    }

    /// Waits until the call has come or the work has ended, and lets the call go on.
    fn release(&self, ended: &AtomicUsize) {
        let mut hit = self.hit.lock().unwrap();
        while hit.is_none() && ended.load(Ordering::Relaxed) == 0 {
            hit = self.stalled.wait(hit).unwrap();
        }
        self.go_on.notify_one();
    }

    fn was_hit(&self) -> Option<String> {
        self.hit.lock().unwrap().clone()
    }
}

#[async_trait]
impl ObjectStore for Tricky {
    fn describe(&self) -> String {
        "a tricky store".to_owned()
    }

    fn excludes(&self) -> bool {
        self.store.excludes()
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Stored<ObjectInfo> {
        if self.trick("put", key.as_str()).await? == Some(Trick::Lie) {
            return Ok(ObjectInfo {
                key: key.clone(),
                size: body.len() as u64,
                modified: None,
                etag: None,
                version: None,
            });
        }
        self.store.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Stored<Box<dyn Upload>> {
        self.store.upload(key, mode).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Stored<Object> {
        let trick = self.trick("get", key.as_str()).await?;
        let object = self.store.get(key, options).await?;
        let info = object.info.clone();
        let mut bytes = object.bytes(u64::MAX).await?.to_vec();
        match trick {
            Some(Trick::Flip) if !bytes.is_empty() => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 16;
            }
            Some(Trick::Cut) => bytes.truncate(bytes.len() / 2),
            _ => {}
        }
        let body = stream::iter([Ok(Bytes::from(bytes))]).boxed();
        Ok(Object { info, body })
    }

    async fn head(&self, key: &Key) -> Stored<ObjectInfo> {
        self.trick("head", key.as_str()).await?;
        self.store.head(key).await
    }

    async fn list(&self, prefix: &str) -> Stored<MetaStream> {
        let trick = self.trick("list", prefix).await?;
        let mut all: Vec<ObjectInfo> = self.store.list(prefix).await?.try_collect().await?;
        if trick == Some(Trick::Cut) {
            all.truncate(all.len() / 2);
        }
        Ok(stream::iter(all.into_iter().map(Ok)).boxed())
    }

    async fn list_folder(&self, folder: &str) -> Stored<Folder> {
        self.store.list_folder(folder).await
    }

    async fn delete(&self, key: &Key) -> Stored<()> {
        if self.trick("delete", key.as_str()).await? == Some(Trick::Lie) {
            return Ok(());
        }
        self.store.delete(key).await
    }
}

fn holder() -> Holder {
    Holder {
        hostname: "here".to_owned(),
        username: "tester".to_owned(),
    }
}

/// Two snapshots in memory, the first of which nobody will miss.
struct World {
    place: Place,
    store: MemoryStore,
    first: FileId,
    second: FileId,
}

impl World {
    fn new() -> Self {
        let (place, store) = (Place::new(), MemoryStore::new());
        let tree = place.path("tree");
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        std::fs::write(tree.join("a"), noise(1, 30_000)).unwrap();
        std::fs::write(tree.join("sub/b"), b"text ".repeat(500)).unwrap();
        let options_of_init = InitOptions {
            work: Work::Machine,
            who: ("tester".to_owned(), "here".to_owned()),
            restic_boundaries: false,
        };
        let files = place.files_in(Arc::new(store.clone()));
        let repository = Arc::new(Repository::init(files, &secret(), &options_of_init).unwrap());
        let first = back_up(&repository, &tree, &options()).id;
        std::fs::write(tree.join("a"), noise(2, 7_000)).unwrap();
        let second = back_up(&repository, &tree, &options()).id;
        Self {
            place,
            store,
            first,
            second,
        }
    }

    fn over(&self, store: Arc<dyn ObjectStore>) -> Result<Arc<Repository>, Error> {
        Repository::open(self.place.files_in(store), &secret()).map(Arc::new)
    }

    fn well(&self) -> Arc<Repository> {
        self.over(Arc::new(self.store.clone())).unwrap()
    }

    /// The second snapshot comes back as it was.
    fn assert_restores(&self, what: &str) {
        let back = self.place.path("well back");
        let _ = std::fs::remove_dir_all(&back);
        let snapshot = self.second.to_string();
        let restored = restore_into(&self.well(), &snapshot, &back, &RestoreOptions::default());
        assert_eq!(restored.failures, [], "{what}");
        assert_same(&survey(&back), &survey(&self.place.path("tree")), what);
    }
}

/// Does work on a new world with every trick at every call; `after` sees what came of it.
fn everywhere<T: Send>(
    least: usize,
    work: impl Fn(&World, Arc<dyn ObjectStore>) -> Result<T, Error> + Sync,
    after: impl Fn(&World, Trick, &str, Result<T, Error>),
) {
    for trick in TRICKS {
        let mut at = 0;
        loop {
            let world = World::new();
            let store = Tricky::new(&world.store, at, trick);
            let ended = AtomicUsize::new(0);
            let result = std::thread::scope(|scope| {
                if trick == Trick::Stall {
                    scope.spawn(|| store.release(&ended));
                }
                let result = work(&world, Arc::clone(&store) as Arc<dyn ObjectStore>);
                ended.store(1, Ordering::Relaxed);
                drop(store.hit.lock().unwrap());
                store.stalled.notify_all();
                result
            });
            if let Err(error) = &result {
                assert!(!error.to_string().is_empty());
            }
            let Some(call) = store.was_hit() else {
                let what = format!("{trick:?} after the last call");
                assert!(result.is_ok(), "{what}: {:?}", result.err());
                after(&world, trick, "", result);
                break;
            };
            if trick == Trick::Stall {
                let error = result.as_ref().err();
                assert!(error.is_none(), "{call} was late, no more: {error:?}");
            }
            after(&world, trick, &call, result);
            at += 1;
        }
        assert!(at >= least, "{trick:?}: only {at} calls");
    }
}

#[test]
fn whatever_call_of_a_check_goes_wrong_damage_is_never_called_whole() {
    everywhere(
        8,
        |world, store| check::run(&*world.over(store)?, Depth::Data, &Progress::new()),
        |world, trick, call, result| {
            let what = format!("{trick:?} at {call:?}: {result:?}");
            let garbled = matches!(trick, Trick::Flip | Trick::Cut) && call.starts_with("get");
            // What was garbled on its way, and right when it was read again, is no damage.
            let garbled = garbled && !call.ends_with(AGAIN);
            if let Ok(checked) = &result {
                // A key that does not read is no matter as long as another opens.
                assert!(!garbled || !checked.is_whole(), "{what}");
                assert!(checked.is_whole() || trick != Trick::Stall, "{what}");
            }
            if matches!(trick, Trick::Fail(_)) && !call.is_empty() {
                assert!(result.is_err(), "{what}");
            }
            world.assert_restores(&what);
        },
    );
}

#[test]
fn whatever_call_of_a_restore_goes_wrong_what_is_missing_is_counted() {
    everywhere(
        8,
        |world, store| {
            let repository = world.over(store)?;
            let index = repository.load_index_for_reading()?;
            let (_, snapshot) = repository.snapshot(&world.second.to_string())?;
            let target = world.place.path("back");
            let options = RestoreOptions::default();
            let tree = &snapshot.tree;
            restore::run(
                &repository,
                &index,
                tree,
                &target,
                &options,
                &Progress::new(),
            )
        },
        |world, trick, call, result| {
            let what = format!("{trick:?} at {call:?}: {result:?}");
            if let Ok(restored) = &result {
                let found = survey(&world.place.path("back"));
                let wanted = survey(&world.place.path("tree"));
                // Files that are there are right, whatever else failed.
                let wrong = |path: &Path| {
                    let (found, wanted) = (found.get(path), wanted.get(path));
                    found.is_some() && found != wanted && path != Path::new("sub")
                };
                assert!(!found.keys().any(|path| wrong(path)), "{what}");
                let whole = found == wanted;
                assert_eq!(whole, restored.failed == 0, "{what}");
                assert!(whole || matches!(trick, Trick::Flip | Trick::Cut), "{what}");
            }
            world.assert_restores(&what);
        },
    );
}

fn pruned(world: &World, store: Arc<dyn ObjectStore>) -> Result<(), Error> {
    let repository = world.over(store)?;
    let known = [world.second];
    {
        let shared = Lock::take(&repository, false, &holder())?;
        prune::forget(&repository, &shared, &[world.first])?;
        prune::mark(&repository, &shared, &known, &Progress::new())?;
    }
    let alone = Lock::take(&repository, true, &holder())?;
    let now = SignedDuration::ZERO;
    prune::sweep(&repository, &alone, &known, now, &Progress::new()).map(|_| ())
}

#[test]
fn whatever_call_of_a_prune_goes_wrong_what_is_needed_can_be_had() {
    everywhere(12, pruned, |world, trick, call, result| {
        let what = format!("{trick:?} at {call:?}: {result:?}");
        let repository = world.well();
        unlock(&repository, "elsewhere", true).unwrap();
        // An index file that a store has only said to have is made again from the packs.
        let alone = Lock::take(&repository, true, &holder()).unwrap();
        if trick == Trick::Lie {
            repair::index(&repository, &alone, false, &Progress::new()).unwrap();
        }
        let index = repository.load_index().unwrap();
        drop((index, alone));
        world.assert_restores(&what);
        pruned(world, Arc::new(world.store.clone())).unwrap();
        world.assert_restores(&what);
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert!(checked.is_whole(), "{what}: {:?}", checked.findings);
    });
}

#[test]
fn whatever_call_of_a_repair_goes_wrong_another_one_ends_well() {
    let repaired = |world: &World, store| {
        let repository = world.over(store)?;
        let alone = Lock::take(&repository, true, &holder())?;
        repair::index(&repository, &alone, true, &Progress::new())
    };
    everywhere(10, repaired, |world, trick, call, result| {
        let what = format!("{trick:?} at {call:?}: {result:?}");
        let repository = world.well();
        unlock(&repository, "elsewhere", true).unwrap();
        let again = repaired(world, Arc::new(world.store.clone()));
        assert!(again.is_ok(), "{what}: {again:?}");
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert!(checked.is_whole(), "{what}: {:?}", checked.findings);
        world.assert_restores(&what);
    });
}

/// A lock as soon as it can be had.
fn waited_for(repository: &Arc<Repository>, exclusive: bool) -> Lock {
    loop {
        match Lock::take(repository, exclusive, &holder()) {
            Ok(lock) => return lock,
            Err(Error::Locked { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn two_writers_and_a_pruner_at_once_lose_nothing() {
    let place = Place::new();
    place.init(false);
    let writing = AtomicUsize::new(2);
    let snapshots = Mutex::new(Vec::new());
    let writer = |number: u64| {
        let repository = place.open();
        let tree = place.path(&format!("tree {number}"));
        std::fs::create_dir_all(&tree).unwrap();
        for turn in 0..5 {
            // Something new, something that both have, and something that had been given up.
            std::fs::write(tree.join("own"), noise(100 * number + turn, 40_000)).unwrap();
            std::fs::write(tree.join("both"), noise(turn, 40_000)).unwrap();
            std::fs::write(tree.join("again"), noise(900 + turn % 2, 40_000)).unwrap();
            let held = waited_for(&repository, false);
            let mut source = TreeSource::open(&tree, TreeOptions::default()).unwrap();
            let written = backup::run(
                &repository,
                &held,
                &mut source,
                &options(),
                &Progress::new(),
            );
            snapshots
                .lock()
                .unwrap()
                .push((number, written.unwrap().id));
        }
        writing.fetch_sub(1, Ordering::Relaxed);
    };
    let pruner = || {
        let repository = place.open();
        let mut swept = 0;
        while writing.load(Ordering::Relaxed) > 0 || swept == 0 {
            let shared = waited_for(&repository, false);
            // All but the last of each writer.
            let mut kept = snapshots.lock().unwrap();
            let last = |number| kept.iter().rev().find(|(of, _)| *of == number).copied();
            let (one, two) = (last(1), last(2));
            let gone: Vec<FileId> = kept
                .iter()
                .filter(|snapshot| Some(**snapshot) != one && Some(**snapshot) != two)
                .map(|(_, id)| *id)
                .collect();
            kept.retain(|(_, id)| !gone.contains(id));
            drop(kept);
            prune::forget(&repository, &shared, &gone).unwrap();
            prune::mark(&repository, &shared, &[], &Progress::new()).unwrap();
            drop(shared);
            if let Ok(alone) = Lock::take(&repository, true, &holder()) {
                let now = SignedDuration::ZERO;
                prune::sweep(&repository, &alone, &[], now, &Progress::new()).unwrap();
                swept += 1;
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| writer(1));
        scope.spawn(|| writer(2));
        scope.spawn(pruner);
    });
    let repository = place.open();
    let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    assert!(checked.is_whole(), "{:?}", checked.findings);
    assert!(checked.snapshots >= 2);
    for number in [1, 2] {
        let last = snapshots
            .lock()
            .unwrap()
            .iter()
            .rev()
            .find(|(of, _)| *of == number)
            .copied();
        let (_, id) = last.unwrap();
        let back = place.path(&format!("back {number}"));
        let restored = restore_into(
            &repository,
            &id.to_string(),
            &back,
            &RestoreOptions::default(),
        );
        assert_eq!(restored.failures, []);
        let tree = place.path(&format!("tree {number}"));
        assert_same(&survey(&back), &survey(&tree), "restored");
    }
    if let Some(output) = place.restic("SALVOR_RESTIC_0_14", &["check", "--read-data"]) {
        let said = expect(&output);
        assert!(said.contains("no errors were found"), "{said}");
    }
}
