//! What a check found damaged nobody counts on: the next backup stores it again, readers take it from where it is whole,
//! and a repair takes the pack away.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use salvor_repository::backup::{self, BackupOptions, Written};
use salvor_repository::check::{self, Checked, Depth};
use salvor_repository::restore::RestoreOptions;
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::source::{Content, Source, Step};
use salvor_repository::{FileId, Kind, Node, Progress, Repository, damage, prune, repair};

use crate::support::{
    Place, alone, assert_same, back_up, expect, flip, lock, make_tree, options, restore_into,
    survey,
};

const RESTIC: [&str; 2] = ["SALVOR_RESTIC_0_14", "SALVOR_RESTIC_0_19"];

fn check_data(repository: &Repository) -> Checked {
    check::run(repository, Depth::Data, &Progress::new()).unwrap()
}

/// A check of everything that writes down what it found, as the command does.
fn checked_and_noted(repository: &Repository) -> Checked {
    let checked = check_data(repository);
    damage::note(repository, &checked, true).unwrap();
    checked
}

fn path_of(place: &Place, pack: &FileId) -> PathBuf {
    place.path("repository").join(Kind::Pack.path(pack))
}

/// Packs by what is in them: those of directories, and those of data.
fn packs_by_kind(place: &Place, repository: &Repository) -> BTreeMap<bool, FileId> {
    let index = repository.load_index().unwrap();
    let mut found = BTreeMap::new();
    for blob in index.blobs() {
        let (kind, _, at) = blob.unwrap();
        let pack = index.pack(at.pack);
        let is_tree = kind == salvor_repository::format::index_file::BlobKind::Tree;
        let size = |pack: &FileId| path_of(place, pack).metadata().unwrap().len();
        let largest = found.entry(is_tree).or_insert(pack);
        if size(&pack) > size(largest) {
            *largest = pack;
        }
    }
    found
}

fn restores(place: &Place, repository: &Repository, id: &FileId, tree: &Path, what: &str) {
    let target = place.path(&format!("{what} {id}"));
    let restored = restore_into(
        repository,
        &id.to_string(),
        &target,
        &RestoreOptions::default(),
    );
    assert_eq!(restored.failures, [], "{what}");
    assert_same(&survey(&target), &survey(tree), what);
}

fn restic_restores(place: &Place, restic: &str, id: &FileId, tree: &Path) -> bool {
    let back = place.path(&format!("{restic} {id}"));
    let arguments = [
        "restore",
        &id.to_string(),
        "--target",
        back.to_str().unwrap(),
    ];
    let Some(restored) = place.restic(restic, &arguments) else {
        return false;
    };
    expect(&restored);
    let (mut found, mut wanted) = (survey(&back), survey(tree));
    // restic 0.14 knows only the text of a link, in which bytes that are no UTF-8 are lost.
    if restic == RESTIC[0] {
        found.remove(Path::new("strange link"));
        wanted.remove(Path::new("strange link"));
    }
    assert_same(&found, &wanted, restic);
    true
}

fn after(parent: &Written) -> BackupOptions {
    BackupOptions {
        parent: Some(parent.id),
        ..options()
    }
}

#[test]
fn a_backup_after_damage_was_found_is_whole_and_heals_the_one_before() {
    for is_tree in [false, true] {
        let place = Place::new();
        let tree = place.path("tree");
        make_tree(&tree);
        let repository = place.init(false);
        let first = back_up(&repository, &tree, &options());
        let pack = packs_by_kind(&place, &repository)[&is_tree];
        flip(&path_of(&place, &pack));
        let found = checked_and_noted(&repository);
        assert!(!found.is_whole());
        assert_eq!(found.damaged_packs, [pack]);
        assert_eq!(found.damaged_snapshots, [first.id]);
        let second = back_up(&repository, &tree, &after(&first));
        let stored = second.snapshot.summary.clone().unwrap();
        assert!(stored.data_blobs + stored.tree_blobs > 0, "{stored:?}");
        // Everything that a snapshot needs is whole now. The damaged pack is told of, and costs nothing.
        for depth in [Depth::Trees, Depth::Data] {
            let checked = check::run(&repository, depth, &Progress::new()).unwrap();
            assert!(checked.is_whole(), "{:?}", checked.findings);
            assert_eq!(checked.damaged_snapshots, []);
            assert_eq!(checked.damaged_packs, [pack]);
            let told = checked.findings.iter();
            assert!(told.into_iter().any(|f| f.file == Kind::Pack.path(&pack)));
        }
        restores(
            &place,
            &repository,
            &second.id,
            &tree,
            "with the damaged pack",
        );
        restores(&place, &repository, &first.id, &tree, "healed");
        // A check that reads no other pack knows that the first snapshot is whole again.
        let trees = check::run(&repository, Depth::Trees, &Progress::new()).unwrap();
        damage::note(&repository, &trees, false).unwrap();
        let known = damage::known(&repository).unwrap();
        assert_eq!(known.snapshots, BTreeSet::new());
        assert_eq!(known.packs, BTreeSet::from([pack]));
        // Another backup finds everything.
        let third = back_up(&repository, &tree, &after(&second));
        let stored = third.snapshot.summary.unwrap();
        assert_eq!((stored.data_blobs, stored.tree_blobs), (0, 0));
        if !restic_restores(&place, RESTIC[1], &second.id, &tree) {
            continue;
        }
        let held = alone(&repository);
        let _ = repair::index(&repository, &held, true, &Progress::new()).unwrap();
        drop(held);
        for restic in RESTIC {
            assert!(restic_restores(&place, restic, &third.id, &tree));
            expect(&place.restic(restic, &["check", "--read-data"]).unwrap());
        }
    }
}

#[test]
fn a_file_that_looks_unchanged_is_read_again_when_its_pieces_are_damaged() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    let again = back_up(&repository, &tree, &after(&first));
    let whole = again.snapshot.summary.unwrap();
    assert!(whole.files_unmodified > 0);
    flip(&path_of(
        &place,
        &packs_by_kind(&place, &repository)[&false],
    ));
    let _ = checked_and_noted(&repository);
    let read = back_up(&repository, &tree, &after(&first));
    let read = read.snapshot.summary.unwrap();
    assert!(
        read.files_unmodified < whole.files_unmodified,
        "{read:?} and {whole:?}"
    );
}

#[test]
fn what_is_damaged_in_one_pack_is_read_from_another_without_any_note() {
    for is_tree in [false, true] {
        let place = Place::new();
        let tree = place.path("tree");
        make_tree(&tree);
        let repository = place.init(false);
        let _ = back_up(&repository, &tree, &options());
        let pack = packs_by_kind(&place, &repository)[&is_tree];
        // Not there while the second backup runs: everything in it is stored again.
        let aside = place.path("aside");
        std::fs::rename(path_of(&place, &pack), &aside).unwrap();
        let second = back_up(&repository, &tree, &options());
        std::fs::rename(&aside, path_of(&place, &pack)).unwrap();
        flip(&path_of(&place, &pack));
        let repository = place.open();
        restores(&place, &repository, &second.id, &tree, "from elsewhere");
        assert!(check_data(&repository).is_whole());
    }
}

/// A directory that is damaged in the repository when its first entry is told.
struct Meanwhile<'t> {
    tree: TreeSource,
    happens: Option<Box<dyn FnOnce() + Send + 't>>,
}

impl Source for Meanwhile<'_> {
    fn next(&mut self) -> io::Result<Step> {
        if let Some(happens) = self.happens.take() {
            happens();
        }
        self.tree.next()
    }

    fn open(&mut self) -> io::Result<Box<dyn Content + '_>> {
        self.tree.open()
    }

    fn root(&self) -> io::Result<Option<Node>> {
        self.tree.root()
    }

    fn keeps_inodes(&self) -> bool {
        self.tree.keeps_inodes()
    }
}

#[test]
fn a_backup_that_ran_while_damage_was_found_is_not_taken_for_whole() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    let pack = packs_by_kind(&place, &repository)[&false];
    let checking = Arc::clone(&repository);
    let damaged = path_of(&place, &pack);
    let mut source = Meanwhile {
        tree: TreeSource::open(&tree, TreeOptions::default()).unwrap(),
        happens: Some(Box::new(move || {
            flip(&damaged);
            let _ = checked_and_noted(&checking);
        })),
    };
    let held = lock(&repository);
    let second = backup::run(
        &repository,
        &held,
        &mut source,
        &after(&first),
        &Progress::new(),
    )
    .unwrap();
    drop(held);
    let known = damage::known(&repository).unwrap();
    assert_eq!(known.snapshots, BTreeSet::from([first.id, second.id]));
    // The other way round: what was committed after a check had looked, before it wrote down what it found.
    let checked = check_data(&repository);
    damage::note(&repository, &Checked::default(), true).unwrap();
    let third = back_up(&repository, &tree, &after(&first));
    damage::note(&repository, &checked, true).unwrap();
    let known = damage::known(&repository).unwrap();
    assert!(known.snapshots.contains(&third.id), "{known:?}");
}

#[test]
fn after_a_repair_the_damaged_pack_is_out_of_sight_and_a_prune_removes_it() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    let pack = packs_by_kind(&place, &repository)[&false];
    flip(&path_of(&place, &pack));
    let repaired = |read_data| {
        let held = alone(&repository);
        repair::index(&repository, &held, read_data, &Progress::new()).unwrap()
    };
    let done = repaired(true);
    assert_eq!(done.taken_out, [pack]);
    assert_eq!(done.lost_blobs, 1, "{done:?}");
    assert!(done.saved_bytes > 0, "{done:?}");
    // The file is there for readers that began before, and no index names it. What was lost hits the snapshot.
    let checked = checked_and_noted(&repository);
    assert!(checked.unindexed.contains(&pack));
    assert_eq!(checked.damaged_snapshots, [first.id]);
    assert_eq!(checked.damaged_packs, []);
    assert!(!checked.is_whole());
    // No repair takes it in again.
    for read_data in [false, true] {
        let again = repaired(read_data);
        assert_eq!((again.added, again.lost_blobs), (0, 0), "{again:?}");
        assert_eq!((again.taken_out, again.saved_bytes), (vec![], 0));
    }
    let second = back_up(&repository, &tree, &after(&first));
    let checked = checked_and_noted(&repository);
    assert!(checked.is_whole(), "{:?}", checked.findings);
    assert_eq!(
        damage::known(&repository).unwrap().snapshots,
        BTreeSet::new()
    );
    restores(&place, &repository, &first.id, &tree, "healed");
    let shared = lock(&repository);
    let marked = prune::mark(&repository, &shared, &[], &Progress::new()).unwrap();
    assert!(marked.packs >= 1);
    drop(shared);
    let held = alone(&repository);
    let swept = prune::sweep(
        &repository,
        &held,
        &[],
        jiff::SignedDuration::ZERO,
        &Progress::new(),
    )
    .unwrap();
    assert!(swept.packs >= 1);
    drop(held);
    assert!(!path_of(&place, &pack).exists());
    let checked = checked_and_noted(&repository);
    assert_eq!(checked.findings, []);
    assert!(damage::known(&repository).unwrap().is_empty());
    restores(&place, &repository, &second.id, &tree, "pruned");
}

#[test]
fn a_snapshot_that_lost_a_piece_keeps_what_may_still_have_it_and_stops_no_prune() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    let pack = packs_by_kind(&place, &repository)[&false];
    flip(&path_of(&place, &pack));
    let held = alone(&repository);
    let _ = repair::index(&repository, &held, true, &Progress::new()).unwrap();
    drop(held);
    let sweep = || {
        let shared = lock(&repository);
        let _ = prune::mark(&repository, &shared, &[], &Progress::new()).unwrap();
        drop(shared);
        let held = alone(&repository);
        prune::sweep(
            &repository,
            &held,
            &[],
            jiff::SignedDuration::ZERO,
            &Progress::new(),
        )
        .unwrap()
    };
    // Whoever mends the file by hand brings the piece back.
    assert_eq!(sweep().packs, 0);
    assert!(path_of(&place, &pack).exists());
    let shared = lock(&repository);
    prune::forget(&repository, &shared, &[first.id]).unwrap();
    drop(shared);
    assert!(sweep().packs >= 1);
    assert!(!path_of(&place, &pack).exists());
}
