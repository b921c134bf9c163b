//! Locks that cannot be read, and locks that somebody takes away.

use std::fs::{File, FileTimes};
use std::time::{Duration, SystemTime};

use salvor_repository::lock::{Holder, Lock, unlock};
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{Error, FileId, Kind, Progress, backup};

use crate::support::{Place, lock, make_tree, options};

fn holder() -> Holder {
    Holder {
        hostname: "host".to_owned(),
        username: "user".to_owned(),
    }
}

#[test]
fn one_that_cannot_be_read_is_a_lock_until_it_is_old_or_removed() {
    let place = Place::new();
    let repository = place.init(false);
    for bytes in [&b""[..], b"no document"] {
        let id = FileId::of(b"a name");
        let path = place.path("repository").join(Kind::Lock.path(&id));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let refused = Lock::take(&repository, false, &holder()).unwrap_err();
        assert!(matches!(refused, Error::Locked { .. }), "{refused}");
        assert!(refused.to_string().contains(&id.to_string()), "{refused}");

        // Whoever wrote it has not refreshed it for longer than the living do.
        let old = SystemTime::now() - Duration::from_secs(31 * 60);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_modified(old)).unwrap();
        drop(Lock::take(&repository, true, &holder()).unwrap());

        let now = SystemTime::now();
        file.set_times(FileTimes::new().set_modified(now)).unwrap();
        let left = unlock(&repository, "elsewhere", false).unwrap();
        assert_eq!((left.removed, left.left.len()), (0, 1));
        assert_eq!(unlock(&repository, "elsewhere", true).unwrap().removed, 1);
        assert!(!path.exists());
    }
}

#[test]
fn a_backup_whose_lock_was_removed_commits_nothing() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let held = lock(&repository);
    held.check_stored().unwrap();
    assert_eq!(unlock(&repository, "elsewhere", true).unwrap().removed, 1);
    let mut source = TreeSource::open(&tree, TreeOptions::default()).unwrap();
    let progress = Progress::new();
    let ended = backup::run(&repository, &held, &mut source, &options(), &progress);
    assert!(matches!(ended, Err(Error::LockRemoved { .. })), "{ended:?}");
    assert!(place.files().list(Kind::Snapshot).unwrap().is_empty());
    drop(held);
}
