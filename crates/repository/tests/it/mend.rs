//! What is damaged comes from a copy; what is known to be damaged is written down; checks of a share add up.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use salvor_repository::check::{self, Checked, Depth, Share};
use salvor_repository::damage::Known;
use salvor_repository::{Error, FileId, Files, Kind, Progress, Repository, damage, mend};
use salvor_storage::FsStore;

use crate::support::{Place, alone, back_up, copy, flip, lock, noise, options, secret};

/// A repository with several packs, and a copy of it.
fn with_copy() -> (Place, Arc<Repository>, Files) {
    let place = Place::new();
    let tree = place.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let repository = place.init(false);
    // Each backup ends its packs.
    for round in 0..4 {
        std::fs::write(tree.join(format!("file {round}")), noise(round, 5000)).unwrap();
        let _ = back_up(&repository, &tree, &options());
    }
    copy(&place.path("repository"), &place.path("copy"));
    let files = place.files_in(Arc::new(FsStore::new(place.path("copy"))));
    (place, repository, files)
}

fn pack(place: &Place, folder: &str, id: &FileId) -> PathBuf {
    place.path(folder).join(Kind::Pack.path(id))
}

#[test]
fn damaged_and_lost_packs_and_indexes_come_from_a_copy() {
    let (place, repository, from) = with_copy();
    let packs: Vec<FileId> = place
        .files()
        .list(Kind::Pack)
        .unwrap()
        .iter()
        .map(|f| f.id)
        .collect();
    assert!(packs.len() > 3, "{}", packs.len());
    flip(&pack(&place, "repository", &packs[0]));
    std::fs::remove_file(pack(&place, "repository", &packs[1])).unwrap();
    // This one is damaged in both.
    flip(&pack(&place, "repository", &packs[2]));
    flip(&pack(&place, "copy", &packs[2]));
    let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    assert!(!checked.damaged_snapshots.is_empty());
    let damaged = checked.damaged_packs.clone();
    assert_eq!(damaged, packs[..3]);
    let held = lock(&repository);
    let shared = mend::packs(&repository, &held, &from, &damaged, &Progress::new());
    assert!(matches!(shared, Err(Error::Invalid(_))), "{shared:?}");
    drop(held);
    let held = alone(&repository);
    let mended = mend::packs(&repository, &held, &from, &damaged, &Progress::new()).unwrap();
    assert_eq!(mended.packs, packs[..2]);
    assert_eq!(mended.missing.len(), 1);
    assert_eq!(mended.missing[0].0, packs[2]);
    assert!(mended.missing[0].1.contains("damaged"), "{mended:?}");
    flip(&pack(&place, "copy", &packs[2]));
    let index = place.files().list(Kind::Index).unwrap()[0].id;
    flip(&place.path("repository").join(Kind::Index.path(&index)));
    assert_eq!(mend::indexes(&repository, &held, &from).unwrap(), 1);
    let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    let damaged = checked.damaged_packs.clone();
    assert_eq!(damaged, packs[2..3]);
    let mended = mend::packs(&repository, &held, &from, &damaged, &Progress::new()).unwrap();
    assert_eq!(mended.missing, []);
    let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    assert_eq!(checked.findings, []);
}

#[test]
fn only_a_copy_of_the_same_repository_is_taken_from() {
    let (place, repository, _) = with_copy();
    let held = alone(&repository);
    let try_from = |folder: &str| {
        let path = place.path(folder);
        std::fs::create_dir_all(&path).unwrap();
        let from = place.files_in(Arc::new(FsStore::new(path)));
        mend::packs(&repository, &held, &from, &[], &Progress::new()).unwrap_err()
    };
    assert!(matches!(try_from("empty"), Error::NoRepository { .. }));
    assert!(try_from("repository").to_string().contains("itself"));
    let other = Place::new();
    let _ = other.init(false);
    copy(&other.path("repository"), &place.path("other"));
    assert!(try_from("other").to_string().contains("no copy"));
}

#[test]
fn the_shares_of_a_check_are_all_packs_and_each_damage_is_in_one() {
    let (place, repository, _) = with_copy();
    let packs: Vec<FileId> = place
        .files()
        .list(Kind::Pack)
        .unwrap()
        .iter()
        .map(|f| f.id)
        .collect();
    flip(&pack(&place, "repository", &packs[0]));
    let all = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
    let mut bytes = 0;
    let mut found = Vec::new();
    for part in 0..7 {
        let share = Share { part, of: 7 };
        let checked = check::run_share(&repository, Depth::Data, share, &Progress::new()).unwrap();
        bytes += checked.bytes_read;
        found.extend(checked.damaged_packs.clone());
    }
    assert_eq!(bytes, all.bytes_read);
    assert_eq!(found, packs[..1]);
}

#[test]
fn what_is_known_to_be_damaged_stays_known_until_a_whole_check_finds_it_whole() {
    let place = Place::new();
    let repository = place.init(false);
    let id = |byte: u8| FileId::from([byte; 32]);
    let known = || damage::known(&repository).unwrap();
    let found = |snapshots: &[u8], packs: &[u8]| Checked {
        damaged_snapshots: snapshots.iter().map(|byte| id(*byte)).collect(),
        damaged_packs: packs.iter().map(|byte| id(*byte)).collect(),
        ..Checked::default()
    };
    let wanted = |snapshots: &[u8], packs: &[u8]| Known {
        snapshots: snapshots.iter().map(|byte| id(*byte)).collect(),
        packs: packs.iter().map(|byte| id(*byte)).collect(),
    };
    let note = |found: &Checked, all| damage::note(&repository, found, all).unwrap();
    assert!(known().is_empty());
    note(&found(&[], &[]), true);
    assert_eq!(place.files().list(Kind::Damage).unwrap(), []);
    note(&found(&[1], &[7]), false);
    note(&found(&[2], &[8]), false);
    note(&found(&[], &[]), false);
    assert_eq!(known(), wanted(&[1, 2], &[7, 8]));
    assert_eq!(place.files().list(Kind::Damage).unwrap().len(), 1);
    // A pack that no index names was not looked at.
    let unindexed = Checked {
        unindexed: BTreeSet::from([id(8), id(9)]),
        ..found(&[2], &[])
    };
    note(&unindexed, true);
    assert_eq!(known(), wanted(&[2], &[8]));
    // A document that cannot be read hides no other, and goes when everything was looked at.
    let folder = place.path("repository/salvor/damage");
    std::fs::write(folder.join("ab".repeat(32)), b"no document").unwrap();
    assert_eq!(known(), wanted(&[2], &[8]));
    note(&found(&[3], &[]), false);
    assert_eq!(known(), wanted(&[2, 3], &[8]));
    assert_eq!(place.files().list(Kind::Damage).unwrap().len(), 2);
    note(&found(&[], &[]), true);
    assert!(known().is_empty());
    assert_eq!(place.files().list(Kind::Damage).unwrap(), []);
}

#[test]
fn a_key_of_a_creation_that_was_killed_does_not_stand_in_the_way() {
    let place = Place::new();
    for _ in 0..6 {
        // Killed before its config was written: only its key is there.
        let _ = place.init(false);
        std::fs::remove_file(place.path("repository").join("config")).unwrap();
    }
    let made = place.init(false);
    assert_eq!(place.files().list(Kind::Key).unwrap().len(), 7);
    let opened = Repository::open(place.files(), &secret()).unwrap();
    assert_eq!(opened.config().id, made.config().id);
}
