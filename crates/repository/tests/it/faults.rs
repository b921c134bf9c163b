//! Every call to the store fails, lies or is the last one before a crash, in turn.

use std::sync::Arc;

use bytes::Bytes;
use salvor_repository::backup::{self, BackupOptions};
use salvor_repository::check::{self, Depth};
use salvor_repository::keys::rotate;
use salvor_repository::lock::{Holder, Lock, unlock};
use salvor_repository::restore::RestoreOptions;
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{Error, FileId, Files, InitOptions, Progress, Repository, Work, prune};
use salvor_seal::Secret;
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{
    ErrorKind, Folder, GetOptions, Key, MemoryStore, MetaStream, Object, ObjectInfo, ObjectStore,
    PutMode, Result, Upload,
};

use crate::support::{Place, back_up, noise, options, restore_into, secret};

/// A few files: enough for packs of both kinds, an index and a snapshot, and few calls.
fn small_tree(place: &Place) -> std::path::PathBuf {
    let tree = place.path("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("a"), noise(1, 7_000)).unwrap();
    std::fs::write(tree.join("sub/b"), b"text ".repeat(500)).unwrap();
    tree
}

/// A place whose repository is in memory: hundreds of them are made.
struct World {
    place: Place,
    store: Arc<MemoryStore>,
}

impl World {
    fn new() -> (Self, Arc<Repository>) {
        let world = Self {
            place: Place::new(),
            store: Arc::new(MemoryStore::new()),
        };
        let options = InitOptions {
            work: Work::Machine,
            who: ("tester".to_owned(), "here".to_owned()),
            restic_boundaries: false,
        };
        let repository = Repository::init(world.files(), &secret(), &options).unwrap();
        (world, Arc::new(repository))
    }

    fn files(&self) -> Files {
        self.place
            .files_in(Arc::clone(&self.store) as Arc<dyn ObjectStore>)
    }

    /// The same store, failing.
    fn faulty(&self) -> (FaultStore, Files) {
        let store = FaultStore::new(Arc::clone(&self.store) as Arc<dyn ObjectStore>);
        let files = self.place.files_in(Arc::new(store.clone()));
        (store, files)
    }

    fn open(&self) -> Arc<Repository> {
        Arc::new(Repository::open(self.files(), &secret()).unwrap())
    }
}

fn holder() -> Holder {
    Holder {
        hostname: "here".to_owned(),
        username: "tester".to_owned(),
    }
}

fn work(files: Files, tree: &std::path::Path) -> Result<FileId, Error> {
    let repository = Arc::new(Repository::open(files, &secret())?);
    let lock = Lock::take(&repository, false, &holder())?;
    let mut source = TreeSource::open(tree, TreeOptions::default()).unwrap();
    let options = BackupOptions {
        workers: 1,
        ..options()
    };
    backup::run(&repository, &lock, &mut source, &options, &Progress::new())
        .map(|written| written.id)
}

/// What must hold whatever happened: everything that is listed is whole.
fn is_sound(world: &World, what: &str) -> usize {
    let repository = world.open();
    let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    assert!(checked.is_whole(), "{what}: {:?}", checked.findings);
    checked.snapshots
}

const FAULTS: [Fault; 6] = [
    Fault::Before(ErrorKind::Denied),
    Fault::Before(ErrorKind::Full),
    Fault::BeforeInDoubt,
    Fault::AfterWithError,
    Fault::CrashBefore,
    Fault::CrashAfter,
];

#[test]
fn whatever_call_of_a_backup_fails_nothing_is_lost_and_the_next_one_succeeds() {
    for fault in FAULTS {
        let mut operation = 0;
        loop {
            let (world, repository) = World::new();
            let tree = small_tree(&world.place);
            std::fs::write(tree.join("before"), b"before").unwrap();
            let _ = back_up(&repository, &tree, &options());
            std::fs::write(tree.join("new"), noise(7, 6_000)).unwrap();
            let (store, files) = world.faulty();
            store.at(operation, fault);
            let result = work(files, &tree);
            let what = format!("{fault:?} at {operation}: {:?}", store.log().get(operation));
            let snapshots = is_sound(&world, &what);
            match &result {
                Ok(_) => assert_eq!(snapshots, 2, "{what}"),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            let reached = store.operations() > operation;
            // The dead one's lock is of a dead process: restic's users say `unlock`, ours does not exclude writers.
            let again = work(world.files(), &tree);
            assert!(again.is_ok(), "{what}: {again:?}");
            is_sound(&world, &what);
            if !reached {
                assert!(result.is_ok(), "{what}: {result:?}");
                break;
            }
            operation += 1;
        }
        assert!(operation > 8, "only {operation} calls");
    }
}

#[test]
fn a_store_that_lies_about_a_pack_is_found_out_by_the_check() {
    let (world, _) = World::new();
    let tree = small_tree(&world.place);
    let (store, files) = world.faulty();
    store.on_key("data/", Fault::Lie);
    work(files, &tree).unwrap();
    let checked = check::run(&world.open(), Depth::Index, &Progress::new()).unwrap();
    assert!(!checked.is_whole());
}

#[test]
fn whatever_call_of_a_prune_fails_nothing_needed_is_lost() {
    for fault in FAULTS {
        let mut operation = 0;
        loop {
            let (world, repository) = World::new();
            let tree = small_tree(&world.place);
            let first = back_up(&repository, &tree, &options());
            std::fs::write(tree.join("a"), noise(8, 7_000)).unwrap();
            let _ = back_up(&repository, &tree, &options());
            let (store, files) = world.faulty();
            store.at(operation, fault);
            let result = pruned(files, first.id);
            let what = format!("{fault:?} at {operation}: {:?}", store.log().get(operation));
            assert!(is_sound(&world, &what) >= 1, "{what}");
            unlock(&world.open(), "elsewhere", true).unwrap();
            let again = pruned(world.files(), first.id);
            assert!(again.is_ok(), "{what}: {again:?}");
            assert_eq!(is_sound(&world, &what), 1, "{what}");
            if store.operations() <= operation {
                assert!(result.is_ok(), "{what}: {result:?}");
                break;
            }
            operation += 1;
        }
        assert!(operation > 12, "only {operation} calls");
    }
}

fn pruned(files: Files, forgotten: FileId) -> Result<(), Error> {
    let repository = Arc::new(Repository::open(files, &secret())?);
    {
        let lock = Lock::take(&repository, false, &holder())?;
        prune::forget(&repository, &lock, &[forgotten])?;
        prune::mark(&repository, &lock, &[], &Progress::new())?;
    }
    let lock = Lock::take(&repository, true, &holder())?;
    prune::sweep(
        &repository,
        &lock,
        &[],
        jiff::SignedDuration::ZERO,
        &Progress::new(),
    )?;
    Ok(())
}

/// Gives less of a range than was asked for, and says nothing.
#[derive(Debug)]
struct Short(Arc<MemoryStore>);

#[async_trait::async_trait]
impl ObjectStore for Short {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn excludes(&self) -> bool {
        self.0.excludes()
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        self.0.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        self.0.upload(key, mode).await
    }

    async fn get(&self, key: &Key, mut options: GetOptions) -> Result<Object> {
        if let Some(range) = &mut options.range {
            range.end = range.start + (range.end - range.start) / 2;
        }
        self.0.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.0.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        self.0.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        self.0.list_folder(folder).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.0.delete(key).await
    }
}

#[test]
fn a_store_that_gives_less_than_it_was_asked_for_is_damage_and_no_panic() {
    let (world, _) = World::new();
    let tree = small_tree(&world.place);
    work(world.files(), &tree).unwrap();
    let files = world
        .place
        .files_in(Arc::new(Short(Arc::clone(&world.store))));
    let repository = Repository::open(files, &secret()).unwrap();
    let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    assert!(!checked.is_whole());
    let target = world.place.path("back");
    let restored = restore_into(&repository, "latest", &target, &RestoreOptions::default());
    assert_eq!(restored.files, 0);
    assert_eq!(restored.failed, 2, "{:?}", restored.failures);
}

#[test]
fn whatever_call_of_a_rotation_fails_a_password_opens_and_the_next_one_ends_it() {
    let new = Secret::new("the new password".to_owned());
    let options = InitOptions {
        work: Work::Machine,
        who: ("tester".to_owned(), "there".to_owned()),
        restic_boundaries: false,
    };
    // Opening is slow on purpose: one fault of each kind.
    for fault in [FAULTS[0], FAULTS[3], FAULTS[5]] {
        let mut operation = 0;
        loop {
            let (world, repository) = World::new();
            let third = Secret::new("of somebody else".to_owned());
            repository.add_key(&third, &options).unwrap();
            let (store, files) = world.faulty();
            store.at(operation, fault);
            let result = rotate(&files, &secret(), &new, &options, false);
            let what = format!("{fault:?} at {operation}: {:?}", store.log().get(operation));
            let opens = |password: &Secret| Repository::open(world.files(), password).is_ok();
            assert!(opens(&secret()) || opens(&new), "{what}");
            let reached = store.operations() > operation;
            let ended = rotate(&world.files(), &secret(), &new, &options, false).unwrap();
            assert_eq!(ended.kept, [], "{what}");
            assert!(opens(&new) && opens(&third) && !opens(&secret()), "{what}");
            if !reached {
                assert_eq!(result.unwrap().removed.len(), 1, "{what}");
                assert_eq!(ended.removed, [], "{what}");
                break;
            }
            operation += 1;
        }
        assert!(operation > 6, "only {operation} calls");
    }
    let (world, _) = World::new();
    let files = world.files();
    let same = rotate(&files, &secret(), &secret(), &options, false);
    assert!(matches!(same, Err(Error::Invalid(_))), "{same:?}");
    let wrong = Secret::new("wrong".to_owned());
    let refused = rotate(&files, &wrong, &new, &options, false);
    assert!(
        matches!(refused, Err(Error::WrongPassword { .. })),
        "{refused:?}"
    );
    // Both open it until it is said that the old one is not needed any more.
    let first = rotate(&files, &secret(), &new, &options, true).unwrap();
    assert_eq!(first.removed, []);
    assert!(Repository::open(files.clone(), &secret()).is_ok());
    let second = rotate(&files, &secret(), &new, &options, false).unwrap();
    assert_eq!((second.key, second.removed.len()), (first.key, 1));
    assert!(Repository::open(files, &secret()).is_err());
}
