//! Space is given back, and only what nobody needs.

use jiff::SignedDuration;
use salvor_repository::check::{self, Depth};
use salvor_repository::lock::{Holder, Lock};
use salvor_repository::restore::RestoreOptions;
use salvor_repository::{Error, Kind, Progress, prune, repair};

use crate::support::{
    Place, assert_same, back_up, expect, lock, make_tree, noise, options, restore_into, survey,
};

fn exclusive(repository: &std::sync::Arc<salvor_repository::Repository>) -> Result<Lock, Error> {
    let holder = Holder {
        hostname: "here".to_owned(),
        username: "pruner".to_owned(),
    };
    Lock::take(repository, true, &holder)
}

const NOW: SignedDuration = SignedDuration::ZERO;

#[test]
fn what_nobody_needs_goes_after_its_grace_and_the_rest_stays_whole() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    std::fs::write(tree.join("soon gone"), noise(5, 40 << 20)).unwrap();
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    std::fs::remove_file(tree.join("soon gone")).unwrap();
    let second = back_up(&repository, &tree, &options());
    let wanted = survey(&tree);
    let before = place.files().list(Kind::Pack).unwrap();
    let held = lock(&repository);
    prune::forget(&repository, &held, &[first.id]).unwrap();
    let marked = prune::mark(&repository, &held, &[second.id], &Progress::new()).unwrap();
    assert!(marked.packs > 0 && marked.bytes > 5 << 20, "{marked:?}");
    assert!(exclusive(&repository).is_err(), "a writer holds a lock");
    drop(held);
    let alone = exclusive(&repository).unwrap();
    let early = prune::sweep(&repository, &alone, &[], prune::GRACE, &Progress::new()).unwrap();
    assert_eq!((early.packs, early.waiting), (0, marked.packs));
    let swept = prune::sweep(&repository, &alone, &[second.id], NOW, &Progress::new()).unwrap();
    assert_eq!((swept.packs, swept.needed_again), (marked.packs, 0));
    assert_eq!(place.files().list(Kind::Mark).unwrap(), []);
    drop(alone);
    let bytes =
        |files: &[salvor_repository::files::Listed]| files.iter().map(|f| f.size).sum::<u64>();
    assert!(bytes(&place.files().list(Kind::Pack).unwrap()) + (10 << 20) < bytes(&before));
    let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    assert_eq!(checked.findings, []);
    let _ = restore_into(
        &repository,
        "latest",
        &place.path("back"),
        &RestoreOptions::default(),
    );
    assert_same(&survey(&place.path("back")), &wanted, "restored");
    if let Some(output) = place.restic("SALVOR_RESTIC_0_14", &["check", "--read-data"]) {
        expect(&output);
    }
}

#[test]
fn what_a_later_backup_uses_is_kept_although_it_was_marked() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    let held = lock(&repository);
    prune::forget(&repository, &held, &[first.id]).unwrap();
    let marked = prune::mark(&repository, &held, &[], &Progress::new()).unwrap();
    assert!(marked.packs > 0);
    drop(held);
    // The index still has everything: nothing is stored again, and the marked packs are needed again.
    let again = back_up(&repository, &tree, &options());
    assert_eq!(again.snapshot.summary.unwrap().data_blobs, 0);
    let alone = exclusive(&repository).unwrap();
    let swept = prune::sweep(&repository, &alone, &[again.id], NOW, &Progress::new()).unwrap();
    assert_eq!((swept.packs, swept.needed_again), (0, marked.packs));
    assert!(
        check::run(&repository, Depth::Data, &Progress::new())
            .unwrap()
            .is_whole()
    );
}

#[test]
fn a_listing_without_a_known_snapshot_stops_everything() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    let file = place
        .path("repository")
        .join(Kind::Snapshot.path(&first.id));
    let hidden = place.path("hidden");
    std::fs::rename(&file, &hidden).unwrap();
    let held = lock(&repository);
    let refused = prune::mark(&repository, &held, &[first.id], &Progress::new());
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    // Without a witness the mark believes the listing; the sweep that sees the whole one again does not.
    let marked = prune::mark(&repository, &held, &[], &Progress::new()).unwrap();
    assert!(marked.packs > 0);
    drop(held);
    std::fs::rename(&hidden, &file).unwrap();
    let alone = exclusive(&repository).unwrap();
    let swept = prune::sweep(&repository, &alone, &[first.id], NOW, &Progress::new()).unwrap();
    assert_eq!(swept.packs, 0);
    assert!(
        check::run(&repository, Depth::Data, &Progress::new())
            .unwrap()
            .is_whole()
    );
}

#[test]
fn a_lost_index_is_made_again_from_the_packs() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    std::fs::write(tree.join("more"), noise(9, 1 << 20)).unwrap();
    let _ = back_up(&repository, &tree, &options());
    let indexes = place.files().list(Kind::Index).unwrap();
    assert!(indexes.len() >= 2);
    std::fs::remove_file(
        place
            .path("repository")
            .join(Kind::Index.path(&indexes[0].id)),
    )
    .unwrap();
    std::fs::write(
        place
            .path("repository")
            .join(Kind::Index.path(&indexes[1].id)),
        b"nonsense",
    )
    .unwrap();
    let alone = exclusive(&repository).unwrap();
    let repaired = repair::index(&repository, &alone, false, &Progress::new()).unwrap();
    assert!(repaired.added > 0, "{repaired:?}");
    assert_eq!(
        (
            repaired.unreadable,
            repaired.damaged.len(),
            repaired.dropped
        ),
        (1, 0, 0)
    );
    drop(alone);
    assert_eq!(
        check::run(&repository, Depth::Data, &Progress::new())
            .unwrap()
            .findings,
        []
    );
    let _ = restore_into(
        &repository,
        "latest",
        &place.path("back"),
        &RestoreOptions::default(),
    );
    assert_same(&survey(&place.path("back")), &survey(&tree), "restored");
}

#[test]
fn what_is_left_of_a_wasted_pack_is_copied_once_and_the_pack_goes() {
    let place = Place::new();
    let tree = place.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let file = |i: u64| tree.join(format!("file {i}"));
    for i in 0..10 {
        std::fs::write(file(i), noise(i, 300_000)).unwrap();
    }
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    for i in 0..8 {
        std::fs::remove_file(file(i)).unwrap();
    }
    let second = back_up(&repository, &tree, &options());
    let held = lock(&repository);
    prune::forget(&repository, &held, &[first.id]).unwrap();
    let marked = prune::mark(&repository, &held, &[second.id], &Progress::new()).unwrap();
    assert_eq!(marked.copied, 1, "{marked:?}");
    assert!(
        (600_000..700_000).contains(&marked.copied_bytes),
        "{marked:?}"
    );
    let again = prune::mark(&repository, &held, &[second.id], &Progress::new()).unwrap();
    assert_eq!(
        again.copied, 0,
        "what an earlier mark copied was copied again"
    );
    drop(held);
    let alone = exclusive(&repository).unwrap();
    let swept = prune::sweep(&repository, &alone, &[second.id], NOW, &Progress::new()).unwrap();
    assert_eq!((swept.packs, swept.needed_again), (marked.packs, 0));
    drop(alone);
    let packs = place.files().list(Kind::Pack).unwrap();
    assert!(packs.iter().map(|pack| pack.size).sum::<u64>() < 700_000);
    assert_eq!(
        check::run(&repository, Depth::Data, &Progress::new())
            .unwrap()
            .findings,
        []
    );
    let _ = restore_into(
        &repository,
        "latest",
        &place.path("back"),
        &RestoreOptions::default(),
    );
    assert_same(&survey(&place.path("back")), &survey(&tree), "restored");
}
