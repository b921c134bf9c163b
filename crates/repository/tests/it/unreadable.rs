//! A file that cannot be read among snapshots, indexes, keys and notes stops nothing but what removes.

use std::sync::Arc;

use salvor_repository::check::{self, Depth};
use salvor_repository::restore::RestoreOptions;
use salvor_repository::{Error, FileId, Kind, Progress, Repository, mend, prune, repair};
use salvor_storage::FsStore;

use crate::support::{
    Place, alone, assert_same, back_up, copy, lock, make_tree, options, restore_into, secret,
    survey,
};

/// Damages a file that is there, in each way that happens, or puts one there that nobody wrote.
const DAMAGES: [&str; 4] = ["changed", "cut", "empty", "foreign"];

fn damage(place: &Place, kind: Kind, id: &FileId, how: &str) -> FileId {
    let of = |id: &FileId| place.path("repository").join(kind.path(id));
    let whole = std::fs::read(of(id)).unwrap();
    let half = whole.len() / 2;
    match how {
        "changed" => {
            let mut bytes = whole;
            bytes[half] ^= 1;
            std::fs::write(of(id), bytes).unwrap();
        }
        "cut" => std::fs::write(of(id), &whole[..half]).unwrap(),
        "empty" => std::fs::write(of(id), b"").unwrap(),
        _ => {
            // Its name is right, and it is not sealed with the repository's key.
            let foreign = FileId::of(b"no document");
            std::fs::write(of(&foreign), b"no document").unwrap();
            return foreign;
        }
    }
    *id
}

fn restores(place: &Place, repository: &Repository, id: &FileId, what: &str) {
    let target = place.path(&format!("back {what} {id}"));
    let restored = restore_into(
        repository,
        &id.to_string(),
        &target,
        &RestoreOptions::default(),
    );
    assert_eq!(restored.failures, [], "{what}");
    assert_same(&survey(&target), &survey(&place.path("tree")), what);
}

fn sweep(repository: &Arc<Repository>) -> Result<prune::Swept, Error> {
    let shared = lock(repository);
    let _ = prune::mark(repository, &shared, &[], &Progress::new())?;
    drop(shared);
    let held = alone(repository);
    let grace = jiff::SignedDuration::ZERO;
    prune::sweep(repository, &held, &[], grace, &Progress::new())
}

#[test]
fn a_snapshot_that_cannot_be_read_is_named_and_stops_only_what_removes() {
    for how in DAMAGES {
        let place = Place::new();
        make_tree(&{
            std::fs::create_dir_all(place.path("tree")).unwrap();
            place.path("tree")
        });
        let repository = place.init(false);
        let first = back_up(&repository, &place.path("tree"), &options());
        let second = back_up(&repository, &place.path("tree"), &options());
        copy(&place.path("repository"), &place.path("copy"));
        let damaged = damage(&place, Kind::Snapshot, &first.id, how);
        let found = repository.readable_snapshots().unwrap();
        let ids: Vec<FileId> = found.all.iter().map(|(id, _)| *id).collect();
        assert!(ids.contains(&second.id), "{how}");
        assert_eq!(found.damaged.len(), 1, "{how}");
        assert_eq!(found.damaged[0].0, damaged, "{how}");
        assert!(!found.damaged[0].1.is_empty());
        assert_eq!(repository.snapshot("latest").unwrap().0, second.id);
        let third = back_up(&repository, &place.path("tree"), &options());
        restores(&place, &repository, &third.id, how);
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert_eq!(checked.unreadable_snapshots, [damaged], "{how}");
        assert_eq!(checked.damaged_snapshots, [damaged], "{how}");
        // What it needs is not known: nothing goes, and the message says what to do.
        let refused = sweep(&repository).unwrap_err();
        assert!(matches!(refused, Error::UnreadableSnapshot { id, .. } if id == damaged));
        assert!(refused.to_string().contains("repo repair"), "{refused}");
        let shared = lock(&repository);
        prune::forget(&repository, &shared, &[third.id]).unwrap();
        drop(shared);
        // Given up, it is out of the way, and a copy still brings it back.
        let held = alone(&repository);
        let aside = repair::set_aside_snapshots(&repository, &held).unwrap();
        assert_eq!(aside, [damaged], "{how}");
        drop(held);
        assert!(sweep(&repository).is_ok(), "{how}");
        let kept = place.path("repository").join(Kind::SetAside.path(&damaged));
        assert!(kept.exists(), "{how}");
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert!(checked.is_whole(), "{how}: {:?}", checked.findings);
        if how == "foreign" {
            continue;
        }
        let from = place.files_in(Arc::new(FsStore::new(place.path("copy"))));
        let held = alone(&repository);
        let brought = mend::snapshots(&repository, &held, &from).unwrap();
        assert_eq!(brought, [first.id], "{how}");
        drop(held);
        assert!(!kept.exists(), "{how}");
        restores(&place, &repository, &first.id, "brought");
    }
}

#[test]
fn a_damaged_snapshot_comes_back_from_a_copy_in_its_place() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    copy(&place.path("repository"), &place.path("copy"));
    damage(&place, Kind::Snapshot, &first.id, "cut");
    let from = place.files_in(Arc::new(FsStore::new(place.path("copy"))));
    let held = alone(&repository);
    let brought = mend::snapshots(&repository, &held, &from).unwrap();
    assert_eq!(brought, [first.id]);
    assert_eq!(mend::snapshots(&repository, &held, &from).unwrap(), []);
    drop(held);
    restores(&place, &repository, &first.id, "brought");
    assert!(sweep(&repository).is_ok());
}

#[test]
fn a_damaged_index_file_is_left_out_until_a_repair_and_backups_store_again() {
    for how in DAMAGES {
        let place = Place::new();
        let tree = place.path("tree");
        make_tree(&tree);
        let repository = place.init(false);
        let first = back_up(&repository, &tree, &options());
        let index = place.files().list(Kind::Index).unwrap()[0].id;
        let damaged = damage(&place, Kind::Index, &index, how);
        let is_foreign = how == "foreign";
        let second = back_up(&repository, &tree, &options());
        let stored = second.snapshot.summary.clone().unwrap();
        assert_eq!(stored.data_blobs > 0, !is_foreign, "{how}: {stored:?}");
        // What was stored again is enough for both.
        for id in [first.id, second.id] {
            restores(&place, &repository, &id, how);
        }
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert_eq!(checked.damaged_indexes, [damaged], "{how}");
        assert!(!checked.is_whole(), "{how}");
        assert_eq!(checked.damaged_snapshots, [], "{how}");
        assert!(sweep(&repository).unwrap_err().is_damage(), "{how}");
        let held = alone(&repository);
        let repaired = repair::index(&repository, &held, false, &Progress::new()).unwrap();
        assert_eq!(repaired.unreadable, 1, "{how}");
        drop(held);
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert!(checked.is_whole(), "{how}: {:?}", checked.findings);
        assert!(sweep(&repository).is_ok(), "{how}");
        restores(&place, &repository, &first.id, "repaired");
    }
}

#[test]
fn a_damaged_key_is_listed_as_such_and_can_be_removed() {
    for how in DAMAGES {
        let place = Place::new();
        let repository = place.init(false);
        let other = salvor_seal::Secret::new("another one".to_owned());
        let made = salvor_repository::InitOptions {
            work: salvor_repository::Work::Machine,
            who: ("tester".to_owned(), "here".to_owned()),
            restic_boundaries: false,
        };
        let second = repository.add_key(&other, &made).unwrap();
        let damaged = damage(&place, Kind::Key, &second, how);
        let repository = Arc::new(Repository::open(place.files(), &secret()).unwrap());
        let slots = repository.keys().unwrap();
        let hit: Vec<FileId> = slots
            .iter()
            .filter(|slot| slot.damage.is_some())
            .map(|slot| slot.id)
            .collect();
        assert_eq!(hit, [damaged], "{how}");
        assert!(slots.iter().any(|slot| slot.is_current), "{how}");
        repository.remove_key(&damaged).unwrap();
        assert!(
            repository
                .keys()
                .unwrap()
                .iter()
                .all(|s| s.damage.is_none())
        );
    }
}

#[test]
fn marks_and_notes_that_cannot_be_read_say_nothing() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    let name = FileId::of(b"some bytes");
    for kind in [Kind::Mark, Kind::Damage] {
        let path = place.path("repository").join(kind.path(&name));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"others").unwrap();
    }
    let _ = back_up(&repository, &tree, &options());
    assert!(sweep(&repository).is_ok());
    restores(&place, &repository, &first.id, "as before");
}
