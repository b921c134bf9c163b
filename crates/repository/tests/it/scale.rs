//! What is larger than the memory that it may take, and what is not fetched twice.

use std::io::Cursor;
use std::sync::Arc;

use jiff::Timestamp;
use salvor_repository::backup::{self, BackupOptions};
use salvor_repository::cache::CacheOptions;
use salvor_repository::check::{self, Depth};
use salvor_repository::chunk::{ChunkerKind, FixedLength};
use salvor_repository::restore::{Existing, RestoreOptions};
use salvor_repository::source::stream::StreamSource;
use salvor_repository::{Files, Progress, Repository};
use salvor_storage::FsStore;
use salvor_storage::testing::FaultStore;

use crate::support::{
    Place, assert_same, back_up, complete, expect, lock, noise, options, restore_into, secret,
    survey,
};
use crate::synthetic::{Discard, LargeFile, TinyFiles};

/// Its description has 10 MB, which go into a file.
#[test]
fn a_directory_with_a_long_description_is_stored_found_again_and_restored() {
    let place = Place::new();
    let tree = place.path("tree");
    std::fs::create_dir_all(tree.join("many")).unwrap();
    for i in 0..32_000 {
        std::fs::write(tree.join(format!("many/{i:06}")), b"").unwrap();
    }
    std::fs::write(tree.join("many/000500"), b"not empty").unwrap();
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    let again = BackupOptions {
        parent: Some(first.id),
        ..options()
    };
    let second = back_up(&repository, &tree, &again);
    let summary = second.snapshot.summary.clone().unwrap();
    assert_eq!(summary.files_unmodified, 32_000);
    assert_eq!((summary.tree_blobs, summary.data_blobs), (0, 0));
    assert_eq!(second.snapshot.tree, first.snapshot.tree);
    let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    assert_eq!(checked.findings, []);
    let back = place.path("back");
    let restored = restore_into(&repository, "latest", &back, &RestoreOptions::default());
    assert_eq!((restored.failed, restored.files), (0, 32_000));
    assert_same(&survey(&back), &survey(&tree), "restored");
    // In place: what is there is left alone, what is too much goes.
    std::fs::write(back.join("many/too much"), b"x").unwrap();
    std::fs::write(back.join("many/000500"), b"is empty?").unwrap();
    let in_place = RestoreOptions {
        existing: Existing::Overwrite,
        delete_extra: complete(&repository),
        ..RestoreOptions::default()
    };
    let restored = restore_into(&repository, "latest", &back, &in_place);
    assert_eq!((restored.failed, restored.deleted), (0, 1));
    assert_same(&survey(&back), &survey(&tree), "restored in place");
    if let Some(output) = place.restic("SALVOR_RESTIC_0_14", &["check", "--read-data"]) {
        let said = expect(&output);
        assert!(said.contains("no errors were found"), "{said}");
        let listed = expect(
            &place
                .restic("SALVOR_RESTIC_0_14", &["ls", "latest"])
                .unwrap(),
        );
        assert_eq!(
            listed
                .lines()
                .filter(|line| line.starts_with("/many/"))
                .count(),
            32_000
        );
    }
}

#[test]
fn sources_that_are_made_up_are_counted_to_the_last_file_and_byte() {
    let place = Place::new();
    let store = Arc::new(Discard::default());
    let init = salvor_repository::InitOptions {
        work: salvor_repository::Work::Machine,
        who: ("tester".to_owned(), "here".to_owned()),
        restic_boundaries: false,
    };
    let repository = Arc::new(Repository::init(place.files_in(store), &secret(), &init).unwrap());
    let held = lock(&repository);
    let mut tiny = TinyFiles::new(2500, 1000);
    let written = backup::run(&repository, &held, &mut tiny, &options(), &Progress::new()).unwrap();
    let summary = written.snapshot.summary.unwrap();
    assert_eq!(
        (summary.files_new, summary.dirs_new, summary.tree_blobs),
        (2500, 3, 4)
    );
    assert_eq!(summary.data_blobs, 2500);
    let mut large = LargeFile::new(5_000_001);
    let written =
        backup::run(&repository, &held, &mut large, &options(), &Progress::new()).unwrap();
    let summary = written.snapshot.summary.unwrap();
    assert_eq!(
        (summary.files_new, summary.total_bytes_processed),
        (1, 5_000_001)
    );
}

/// The calls of one kind below a folder that a store saw.
fn calls(store: &FaultStore, name: &str, folder: &str) -> usize {
    let log = store.log();
    let those = log
        .iter()
        .filter(|call| call.name == name && call.key.starts_with(folder));
    those.count()
}

#[test]
fn a_cache_saves_calls_and_is_never_believed() {
    let place = Place::new();
    let tree = place.path("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("sub/a"), noise(1, 3000)).unwrap();
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    let cache = CacheOptions {
        folder: place.path("cache"),
        limit: 1 << 20,
    };
    let opened = || {
        let store = FaultStore::new(Arc::new(FsStore::new(place.path("repository"))));
        let files: Files = place.files_in(Arc::new(store.clone()));
        let repository = Repository::open(files, &secret())
            .unwrap()
            .with_cache(&cache);
        (store, repository)
    };
    let list = |repository: &Repository| {
        let index = repository.load_index_for_reading().unwrap();
        let (_, snapshot) = repository.snapshot("latest").unwrap();
        repository.entries(&index, &snapshot.tree).unwrap().count()
    };
    let gets = |store: &FaultStore| {
        ["index", "snapshots", "data"].map(|folder| calls(store, "get", folder))
    };
    let (store, repository) = opened();
    assert_eq!(list(&repository), 1);
    assert_eq!(gets(&store), [1, 1, 1]);
    let (store, repository) = opened();
    assert_eq!(list(&repository), 1);
    assert_eq!(gets(&store), [0, 0, 0], "everything is in the cache");
    // A check looks at the store.
    let checked = check::run(&repository, Depth::Trees, &Progress::new()).unwrap();
    assert_eq!(checked.findings, []);
    assert_eq!(gets(&store), [1, 1, 1]);
    // What is damaged in the cache is fetched anew.
    let mut damaged = 0;
    for entry in std::fs::read_dir(&cache.folder)
        .unwrap()
        .flatten()
        .filter(|e| e.path().is_dir())
    {
        for kind in ["index", "snapshots", "data"] {
            for file in std::fs::read_dir(entry.path().join(kind)).unwrap() {
                std::fs::write(file.unwrap().path(), b"damaged").unwrap();
                damaged += 1;
            }
        }
    }
    assert_eq!(damaged, 3);
    let (store, repository) = opened();
    assert_eq!(list(&repository), 1);
    assert_eq!(gets(&store), [1, 1, 1]);
    // Without a folder it goes on without a cache.
    let nowhere = CacheOptions {
        folder: place.path("tree/sub/a/no folder"),
        limit: 1 << 20,
    };
    let (store, repository) = opened();
    assert_eq!(list(&repository.with_cache(&nowhere)), 1);
    assert_eq!(calls(&store, "get", "config"), 1);
}

#[test]
fn a_change_in_a_file_of_fixed_pieces_costs_one_of_them() {
    let place = Place::new();
    let repository = place.init(false);
    let length = FixedLength::new(128 << 10).unwrap();
    let back_up = |bytes: &[u8]| {
        let held = lock(&repository);
        let time = Timestamp::UNIX_EPOCH;
        let mut source = StreamSource::new("disk", time, Cursor::new(bytes.to_vec()))
            .with_chunker(ChunkerKind::Fixed(length));
        backup::run(
            &repository,
            &held,
            &mut source,
            &options(),
            &Progress::new(),
        )
        .unwrap()
    };
    let mut disk = noise(3, 3_000_000);
    let first = back_up(&disk).snapshot.summary.unwrap();
    assert_eq!(first.data_blobs, 23);
    disk[1_000_000] ^= 1;
    let second = back_up(&disk).snapshot.summary.unwrap();
    assert_eq!(second.data_blobs, 1);
    let restored = restore_into(
        &repository,
        "latest",
        &place.path("back"),
        &RestoreOptions::default(),
    );
    assert_eq!(restored.failed, 0);
    assert!(std::fs::read(place.path("back/disk")).unwrap() == disk);
    if let Some(output) = place.restic("SALVOR_RESTIC_0_14", &["check", "--read-data"]) {
        expect(&output);
    }
}
