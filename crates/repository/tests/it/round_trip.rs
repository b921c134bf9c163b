//! Backup, loss, restore, comparison.

use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;

use salvor_repository::backup;
use salvor_repository::check::{self, Depth};
use salvor_repository::restore::{Existing, RestoreOptions};
use salvor_repository::source::stream::StreamSource;
use salvor_repository::{Error, InitOptions, Kind, Progress, Repository, Work};
use salvor_seal::Secret;

use crate::support::{
    Place, assert_same, back_up, complete, lock, make_tree, noise, options, restore_into, secret,
    survey,
};

#[test]
fn every_kind_of_entry_comes_back() {
    for restic_boundaries in [false, true] {
        let place = Place::new();
        let tree = place.path("tree");
        make_tree(&tree);
        let repository = place.init(restic_boundaries);
        let written = back_up(&repository, &tree, &options());
        assert_eq!((written.missing(), written.changed.len()), (0, 0));
        let restored = restore_into(
            &place.open(),
            "latest",
            &place.path("back"),
            &RestoreOptions::default(),
        );
        assert_eq!(restored.failures, []);
        assert_eq!((restored.failed, restored.sockets), (0, 1));
        assert_same(&survey(&place.path("back")), &survey(&tree), "restored");
        let zeros = std::fs::metadata(place.path("back/zeros")).unwrap();
        assert!(
            zeros.blocks() < 100,
            "a file of zeros takes {} blocks",
            zeros.blocks()
        );
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert_eq!(checked.findings, []);
        assert_eq!(checked.unreachable_blobs, 0);
    }
}

#[test]
fn the_directory_itself_comes_back_as_it_was() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let (tree, back) = (place.path("tree"), place.path("back"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("a"), "a").unwrap();
    rustix::fs::setxattr(
        &tree,
        "user.root",
        b"of it",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o2710)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&tree, Some(1000), Some(2000)).unwrap();
        std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(0o2710)).unwrap();
    }
    let repository = place.init(false);
    let written = back_up(&repository, &tree, &options());
    let mut restored = restore_into(&repository, "latest", &back, &RestoreOptions::default());
    let root = written.snapshot.root.unwrap();
    salvor_repository::restore::root(&root, &back, &RestoreOptions::default(), &mut restored)
        .unwrap();
    assert_eq!(restored.failures, []);
    let of = |path: &std::path::Path| {
        let found = std::fs::metadata(path).unwrap();
        (found.mode(), found.uid(), found.gid(), found.mtime_nsec())
    };
    assert_eq!(of(&back), of(&tree));
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&back, "user.root", &mut value).unwrap();
    assert_eq!(&value[..length], b"of it");
}

#[test]
fn a_full_directory_in_the_place_of_a_file_stays_unless_extra_is_to_go() {
    let place = Place::new();
    let (tree, back) = (place.path("tree"), place.path("back"));
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("a"), "a").unwrap();
    let repository = place.init(false);
    let _written = back_up(&repository, &tree, &options());
    std::fs::create_dir_all(back.join("a/b")).unwrap();
    std::fs::write(back.join("a/b/keep"), "kept").unwrap();
    let mut wanted = RestoreOptions {
        existing: Existing::Overwrite,
        ..RestoreOptions::default()
    };
    let restored = restore_into(&repository, "latest", &back, &wanted);
    assert_eq!(restored.failed, 1, "{restored:?}");
    assert!(
        restored.failures[0].why.contains("delete-extra"),
        "{restored:?}"
    );
    assert_eq!(
        std::fs::read_to_string(back.join("a/b/keep")).unwrap(),
        "kept"
    );
    wanted.delete_extra = complete(&repository);
    let restored = restore_into(&repository, "latest", &back, &wanted);
    assert_eq!(restored.failed, 0, "{restored:?}");
    assert_eq!(std::fs::read_to_string(back.join("a")).unwrap(), "a");
}

#[test]
fn an_unchanged_tree_stores_nothing_and_a_change_stores_little() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    let again = backup::BackupOptions {
        parent: Some(first.id),
        ..options()
    };
    let second = back_up(&repository, &tree, &again);
    assert_eq!(second.snapshot.tree, first.snapshot.tree);
    let summary = second.snapshot.summary.unwrap();
    assert_eq!((summary.data_blobs, summary.tree_blobs), (0, 0));
    assert_eq!((summary.files_new, summary.files_changed), (0, 0));
    let mut large = noise(1, 9 << 20);
    large[4 << 20] ^= 1;
    std::fs::write(tree.join("large"), &large).unwrap();
    let third = back_up(&repository, &tree, &again);
    let summary = third.snapshot.summary.unwrap();
    assert_eq!((summary.files_new, summary.files_changed), (0, 1));
    assert!(
        summary.data_blobs <= 2,
        "{} blobs for one changed byte",
        summary.data_blobs
    );
    // The same content without a parent: every file is read, nothing is stored.
    let fourth = back_up(&repository, &tree, &options());
    assert_eq!(fourth.snapshot.summary.unwrap().data_blobs, 0);
}

#[test]
fn in_place_only_what_differs_is_written_and_what_is_extra_goes_when_asked() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    let wanted = survey(&tree);
    let refused = {
        let index = repository.load_index().unwrap();
        let (_, snapshot) = repository.snapshot("latest").unwrap();
        salvor_repository::restore::run(
            &repository,
            &index,
            &snapshot.tree,
            &tree,
            &RestoreOptions::default(),
            &Progress::new(),
        )
    };
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_same(&survey(&tree), &wanted, "a refused restore changes nothing");
    let mut large = noise(1, 9 << 20);
    large[100] ^= 1;
    std::fs::write(tree.join("large"), &large).unwrap();
    std::fs::write(tree.join("a text"), b"short").unwrap();
    std::fs::remove_dir(tree.join("empty")).unwrap();
    std::fs::write(tree.join("empty"), b"a file where a directory was").unwrap();
    std::fs::remove_file(tree.join("zeros")).unwrap();
    // A link that leads out must not be written through.
    std::fs::write(place.path("outside"), b"precious").unwrap();
    std::os::unix::fs::symlink(place.path("outside"), tree.join("zeros")).unwrap();
    std::fs::create_dir(tree.join("extra")).unwrap();
    std::fs::write(tree.join("extra/file"), b"extra").unwrap();
    let overwrite = RestoreOptions {
        existing: Existing::Overwrite,
        delete_extra: complete(&repository),
        ..RestoreOptions::default()
    };
    let restored = restore_into(&repository, "latest", &tree, &overwrite);
    assert_eq!(restored.failures, []);
    assert_same(&survey(&tree), &wanted, "overwritten");
    assert_eq!(std::fs::read(place.path("outside")).unwrap(), b"precious");
    assert!(restored.deleted >= 2, "{restored:?}");
    assert!(
        restored.bytes < 15 << 20,
        "{} bytes written for a few changes",
        restored.bytes
    );
}

#[test]
fn some_entries_come_back_to_their_places_and_nothing_else_changes() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    let before = survey(&tree);
    std::fs::write(tree.join("large"), b"newer, and to be kept").unwrap();
    std::fs::write(tree.join("a text"), b"spoiled").unwrap();
    std::fs::remove_dir_all(tree.join("sub/deeper")).unwrap();
    std::fs::write(tree.join("sub/new"), b"made later").unwrap();
    std::fs::create_dir(tree.join("sub/deeper")).unwrap();
    std::fs::write(tree.join("sub/deeper/extra"), b"made later").unwrap();
    let spoiled = survey(&tree);
    let some = |paths: &[&str], target: &std::path::Path, delete_extra| {
        let paths: Vec<std::path::PathBuf> = paths.iter().map(Into::into).collect();
        let index = repository.load_index().unwrap();
        let (_, snapshot) = repository.snapshot("latest").unwrap();
        let options = RestoreOptions {
            existing: Existing::Overwrite,
            delete_extra: complete(&repository).filter(|_| delete_extra),
            ..RestoreOptions::default()
        };
        let (tree, progress) = (&snapshot.tree, Progress::new());
        salvor_repository::restore::some(
            &repository,
            &index,
            tree,
            &paths,
            target,
            &options,
            &progress,
        )
    };

    // Before anything is written.
    let refused = some(&["a text", "not there"], &tree, false);
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_same(&survey(&tree), &spoiled, "refused");

    let restored = some(&["/a text", "./sub/deeper"], &tree, true).unwrap();
    assert_eq!(restored.failures, []);
    assert_eq!(restored.deleted, 1, "{restored:?}");
    let now = survey(&tree);
    let deeper = std::path::Path::new("sub/deeper");
    for (path, entry) in &now {
        let is_asked = path == std::path::Path::new("a text") || path.starts_with(deeper);
        let wanted = if is_asked { &before } else { &spoiled };
        // Hard links that were one file are two now, as one of them only came back.
        let is_link = path.ends_with("hard link") || path.ends_with("a text");
        assert!(
            is_link || wanted.get(path) == Some(entry),
            "{path:?}: {entry:?}"
        );
    }
    let text = std::fs::read_to_string(tree.join("a text")).unwrap();
    assert_eq!(text, "one line\n".repeat(1000));
    assert_eq!(
        std::fs::read(tree.join("sub/hard link")).unwrap(),
        b"spoiled"
    );
    assert!(tree.join("sub/new").exists() && !tree.join("sub/deeper/extra").exists());

    // Into an empty place with the directories above; and through no link that leads out of it.
    let back = place.path("back");
    assert_eq!(some(&["sub/deeper"], &back, false).unwrap().failed, 0);
    assert_eq!(survey(&back).get(deeper), before.get(deeper));
    let (trap, outside) = (place.path("trap"), place.path("outside"));
    std::fs::create_dir(&trap).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, trap.join("sub")).unwrap();
    let trapped = some(&["sub/deeper"], &trap, false).unwrap();
    assert_eq!(trapped.failed, 1, "{trapped:?}");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(
        trap.join("sub").is_symlink(),
        "what stands there is not ours to replace"
    );
}

/// Gives some bytes, then fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the dump ended with status 3"));
        }
        let length = buffer.len().min(self.0);
        self.0 -= length;
        buffer[..length].fill(7);
        Ok(length)
    }
}

#[test]
fn a_stream_is_one_file_and_one_that_fails_is_no_snapshot() {
    let place = Place::new();
    let repository = place.init(false);
    let held = lock(&repository);
    let data = noise(3, 3 << 20);
    let now = jiff::Timestamp::now();
    let mut source = StreamSource::new("dump.sql", now, data.as_slice());
    let written = backup::run(
        &repository,
        &held,
        &mut source,
        &options(),
        &Progress::new(),
    )
    .unwrap();
    assert_eq!(written.missing(), 0);
    let _ = restore_into(
        &repository,
        "latest",
        &place.path("back"),
        &RestoreOptions::default(),
    );
    assert_eq!(std::fs::read(place.path("back/dump.sql")).unwrap(), data);
    for length in [0, 1, 20 << 20] {
        let mut source = StreamSource::new("dump.sql", now, Failing(length));
        let failed = backup::run(
            &repository,
            &held,
            &mut source,
            &options(),
            &Progress::new(),
        );
        assert!(matches!(failed, Err(Error::Source { .. })), "{failed:?}");
    }
    assert_eq!(repository.snapshots().unwrap().len(), 1);
}

#[test]
fn a_stopped_backup_leaves_no_snapshot_and_the_next_one_is_whole() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let stopped = Progress::new();
    stopped.stop();
    let mut source =
        salvor_repository::source::tree::TreeSource::open(&tree, Default::default()).unwrap();
    let held = lock(&repository);
    let result = backup::run(&repository, &held, &mut source, &options(), &stopped);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(repository.snapshots().unwrap(), []);
    drop(held);
    let _ = back_up(&repository, &tree, &options());
    assert!(
        check::run(&repository, Depth::Data, &Progress::new())
            .unwrap()
            .is_whole()
    );
}

#[test]
fn keys_are_added_listed_and_removed_and_a_wrong_password_opens_nothing() {
    let place = Place::new();
    let repository = place.init(false);
    assert!(matches!(
        Repository::init(place.files(), &secret(), &key_options()),
        Err(Error::Exists { .. })
    ));
    let second = Secret::new("another".to_owned());
    assert!(matches!(
        Repository::open(place.files(), &second),
        Err(Error::WrongPassword { slots: 1, .. })
    ));
    repository.add_key(&second, &key_options()).unwrap();
    let other = Repository::open(place.files(), &second).unwrap();
    let slots = other.keys().unwrap();
    assert_eq!(slots.iter().filter(|slot| slot.is_current).count(), 1);
    let first = slots.iter().find(|slot| !slot.is_current).unwrap();
    other.remove_key(&first.id).unwrap();
    assert!(Repository::open(place.files(), &secret()).is_err());
    let last = other.keys().unwrap().remove(0);
    assert!(
        other.remove_key(&last.id).is_err(),
        "the last key opened it"
    );
    assert_eq!(place.files().list(Kind::Key).unwrap().len(), 1);
}

fn key_options() -> salvor_repository::InitOptions {
    salvor_repository::InitOptions {
        work: salvor_repository::Work::Machine,
        who: ("tester".to_owned(), "here".to_owned()),
        restic_boundaries: false,
    }
}

/// Each level of a walk has its frames and its descriptor: neither the stack nor the limit of open files may end it.
#[test]
fn a_directory_of_a_thousand_levels_comes_back() {
    let place = Place::new();
    let tree = place.path("tree");
    let mut deepest = tree.clone();
    for _ in 0..900 {
        deepest.push("d");
    }
    std::fs::create_dir_all(&deepest).unwrap();
    std::fs::write(deepest.join("treasure"), b"deep").unwrap();
    let repository = place.init(false);
    let written = back_up(&repository, &tree, &options());
    assert_eq!(written.missing(), 0);
    let restored = restore_into(
        &repository,
        "latest",
        &place.path("back"),
        &RestoreOptions::default(),
    );
    assert_eq!(restored.failures, []);
    assert_same(&survey(&place.path("back")), &survey(&tree), "restored");
}

#[test]
fn of_several_that_make_a_repository_at_once_one_does_and_all_can_open_it() {
    let place = Place::new();
    let options = InitOptions {
        work: Work::Machine,
        who: ("tester".to_owned(), "here".to_owned()),
        restic_boundaries: false,
    };
    let made: Vec<bool> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Repository::init(place.files(), &secret(), &options)))
            .collect();
        let made = makers.into_iter().map(|maker| maker.join().unwrap());
        made.map(|made| match made {
            Ok(_) => true,
            Err(Error::Exists { .. }) => false,
            Err(error) => panic!("{error}"),
        })
        .collect()
    });
    assert_eq!(made.iter().filter(|made| **made).count(), 1);
    assert_eq!(place.open().keys().unwrap().len(), 1);

    // A maker that was killed in between left its key, which opens with the same password.
    let other = Place::new();
    other.init(false);
    for key in std::fs::read_dir(other.path("repository/keys")).unwrap() {
        let key = key.unwrap();
        let to = place.path("repository/keys").join(key.file_name());
        std::fs::copy(key.path(), to).unwrap();
    }
    assert_eq!(place.open().keys().unwrap().len(), 2);
}
