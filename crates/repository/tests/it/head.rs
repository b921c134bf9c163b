//! Without `config` and without a key nothing opens; nothing is made over what is there, and both come from a copy.

use std::path::PathBuf;
use std::sync::Arc;

use salvor_repository::check::{self, Depth};
use salvor_repository::{Error, Files, InitOptions, Kind, Progress, Repository, Work, head};
use salvor_seal::Secret;
use salvor_storage::FsStore;

use crate::support::{Place, back_up, copy, flip, make_tree, options, secret};

/// A repository with a snapshot, and a copy of it.
fn with_copy() -> (Place, Files) {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let _ = back_up(&place.init(false), &tree, &options());
    copy(&place.path("repository"), &place.path("copy"));
    let from = place.files_in(Arc::new(FsStore::new(place.path("copy"))));
    (place, from)
}

fn assert_whole(place: &Place) {
    let checked = check::run(&place.open(), Depth::Data, &Progress::new()).unwrap();
    assert_eq!(checked.findings, []);
    assert_eq!(checked.snapshots, 1);
}

fn key_of(place: &Place) -> PathBuf {
    let id = place.files().list(Kind::Key).unwrap()[0].id;
    place.path("repository").join(Kind::Key.path(&id))
}

fn init() -> InitOptions {
    InitOptions {
        work: Work::Machine,
        who: ("host".to_owned(), "user".to_owned()),
        restic_boundaries: false,
    }
}

#[test]
fn nothing_is_made_where_only_the_config_is_lost() {
    let (place, from) = with_copy();
    std::fs::remove_file(place.path("repository/config")).unwrap();
    let keys = place.files().list(Kind::Key).unwrap();
    let made = Repository::init(place.files(), &secret(), &init()).unwrap_err();
    assert!(matches!(made, Error::ConfigLost { .. }), "{made}");
    let opened = Repository::open(place.files(), &secret()).unwrap_err();
    assert!(matches!(opened, Error::ConfigLost { .. }), "{opened}");
    assert_eq!(place.files().list(Kind::Key).unwrap(), keys);

    assert_eq!(
        head::mend(&place.files(), &from, &secret()).unwrap(),
        ["config"]
    );
    assert_whole(&place);
    // A second time there is nothing to do.
    assert!(
        head::mend(&place.files(), &from, &secret())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_init_that_was_killed_before_the_config_is_repeated() {
    let place = Place::new();
    let _ = place.init(false);
    std::fs::remove_file(place.path("repository/config")).unwrap();
    let _ = place.init(false);
    let _ = place.open();
}

#[test]
fn a_damaged_config_and_a_damaged_or_lost_key_come_from_a_copy() {
    let damages: [&dyn Fn(&Place) -> usize; 4] = [
        &|place| {
            flip(&place.path("repository/config"));
            1
        },
        &|place| {
            flip(&key_of(place));
            1
        },
        &|place| {
            std::fs::remove_file(key_of(place)).unwrap();
            1
        },
        &|place| {
            std::fs::write(place.path("repository/config"), b"").unwrap();
            std::fs::write(key_of(place), b"").unwrap();
            2
        },
    ];
    for damage in damages {
        let (place, from) = with_copy();
        let expected = damage(&place);
        assert!(Repository::open(place.files(), &secret()).is_err());
        let brought = head::mend(&place.files(), &from, &secret()).unwrap();
        assert_eq!(brought.len(), expected, "{brought:?}");
        assert_whole(&place);
    }
}

#[test]
fn another_repository_and_a_password_that_was_taken_away_bring_nothing() {
    let (place, from) = with_copy();
    // The password of the copy opens nothing here any more.
    let other = Place::new();
    let tree = other.path("tree");
    make_tree(&tree);
    let _ = back_up(&other.init(false), &tree, &options());
    let error = head::mend(&other.files(), &from, &Secret::new("wrong".to_owned())).unwrap_err();
    assert!(matches!(error, Error::WrongPassword { .. }), "{error}");
    flip(&other.path("repository/config"));
    let error = head::mend(&other.files(), &from, &secret()).unwrap_err();
    assert!(error.to_string().contains("nothing was brought"), "{error}");

    // The slot that opens was removed, and another one is whole.
    let repository = place.open();
    let _ = repository
        .add_key(&Secret::new("new".to_owned()), &init())
        .unwrap();
    let keys = repository.keys().unwrap();
    let old = keys.iter().find(|key| key.is_current).unwrap().id;
    place.files().remove(Kind::Key, &old).unwrap();
    let before = place.files().list(Kind::Key).unwrap();
    assert!(
        head::mend(&place.files(), &from, &secret())
            .unwrap()
            .is_empty()
    );
    assert_eq!(place.files().list(Kind::Key).unwrap(), before);
}
