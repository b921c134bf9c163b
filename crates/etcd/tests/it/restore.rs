//! Data directories: what is in them, and what happens to what was there.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rustix::fs::{FlockOperation, flock};
use salvor_etcd::membership::Cluster;
use salvor_etcd::mvcc::Revision;
use salvor_etcd::restore::{Error, Options, Restored, Revisions, restore};
use salvor_etcd::snapshot::{Snapshot, status};
use salvor_etcd::wal;

use crate::support::{GO_ON, read, seal, store, write};

struct Bench {
    folder: tempfile::TempDir,
    snapshot: PathBuf,
}

impl Bench {
    fn new(prefix: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let snapshot = folder.path().join("snapshot.db");
        write(&snapshot, 4096, &store(300, prefix)).expect("written");
        seal(&snapshot);
        Self { folder, snapshot }
    }

    fn options(&self) -> Options {
        let members = "m1=http://10.0.0.1:2380,m2=http://10.0.0.2:2380,m3=http://10.0.0.3:2380";
        Options {
            cluster: Cluster::new(members, "after").expect("valid"),
            name: "m2".to_owned(),
            peer_urls: "http://10.0.0.2:2380".parse().expect("valid"),
            data_dir: self.folder.path().join("etcd"),
            wal_dir: None,
            skip_digest: false,
            revisions: Revisions::RaiseForKubernetes(1000),
            replace: false,
            owner: None,
        }
    }

    fn restore(&self, options: &Options) -> Result<Restored, Error> {
        restore(&self.snapshot, options, &GO_ON)
    }

    /// Names in the folder beside the snapshot.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("there");
        let names = entries.map(|entry| {
            entry
                .expect("listed")
                .file_name()
                .to_string_lossy()
                .into_owned()
        });
        let mut names: Vec<String> = names.filter(|name| name != "snapshot.db").collect();
        names.sort();
        names
    }
}

fn database(data: &Path) -> PathBuf {
    data.join("member/snap/db")
}

#[test]
fn the_database_has_the_new_members_and_everything_else_of_the_old_one() {
    let bench = Bench::new("k");
    let options = bench.options();
    let restored = bench.restore(&options).expect("restored");
    assert_eq!((restored.revision, restored.raised_to), (401, None));
    assert_eq!((restored.versions, restored.alarms), (400, 1));
    assert_eq!(restored.findings, Vec::<String>::new());

    let mut expected = store(300, "k");
    let mut bucket = |name: &str| std::mem::take(expected.get_mut(name.as_bytes()).expect("there"));
    drop([
        bucket("members"),
        bucket("members_removed"),
        bucket("alarm"),
    ]);
    let members = options.cluster.members();
    let rows = members
        .iter()
        .map(|member| (member.row_key().into_bytes(), member.to_json()));
    expected.insert(b"members".to_vec(), rows.collect());
    let meta = expected.get_mut(&b"meta"[..]).expect("there");
    meta.insert(b"consistent_index".to_vec(), 3_u64.to_be_bytes().to_vec());
    meta.insert(b"term".to_vec(), 1_u64.to_be_bytes().to_vec());
    let ids: Vec<String> = members.iter().map(|member| member.id.to_string()).collect();
    let configuration = format!(r#"{{"voters":[{}],"auto_leave":false}}"#, ids.join(","));
    meta.insert(b"confState".to_vec(), configuration.into_bytes());
    let path = database(&options.data_dir);
    assert_eq!(read(&path).expect("read"), expected);
    let counted = status(&Snapshot::open(&path).expect("opened"), true, &GO_ON).expect("counted");
    assert_eq!(
        (counted.hash, counted.total_size),
        (restored.hash, restored.size)
    );
    assert!(!counted.has_digest);
}

#[test]
fn folders_and_files_are_for_their_owner_and_the_log_has_its_length() {
    let bench = Bench::new("k");
    let options = bench.options();
    bench.restore(&options).expect("restored");
    let log = options.data_dir.join("member/wal").join(wal::FIRST_FILE);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    for folder in ["", "member", "member/snap", "member/wal"] {
        assert_eq!(mode(&options.data_dir.join(folder)), 0o700, "{folder}");
    }
    for file in [&log, &database(&options.data_dir)] {
        assert_eq!(mode(file), 0o600);
    }
    let log = fs::read(log).expect("there");
    assert_eq!(log.len() as u64, wal::FILE_LENGTH);
    assert_eq!(wal::read(&log).expect("well formed").len(), 8);
    assert_eq!(bench.names(), ["etcd"]);
}

#[test]
fn revisions_are_raised_for_kubernetes_unless_told_otherwise() {
    let bench = Bench::new("/registry/pods/");
    for (name, revisions, raised) in [
        ("default", Revisions::RaiseForKubernetes(1000), Some(1401)),
        ("exact", Revisions::Exact, None),
        ("asked", Revisions::Raise(7), Some(408)),
    ] {
        let options = Options {
            revisions,
            data_dir: bench.folder.path().join(name),
            ..bench.options()
        };
        let restored = bench.restore(&options).expect("restored");
        assert_eq!(restored.raised_to, raised, "{name}");
        let contents = read(&database(&options.data_dir)).expect("read");
        let mark = raised.map(|main| Revision { main, sub: 0 }.to_key().to_vec());
        let compacted = contents[&b"meta"[..]].get(&b"scheduledCompactRev"[..]);
        assert_eq!(compacted, mark.as_ref(), "{name}");
        let last = contents[&b"key"[..]].last_key_value().expect("entries");
        assert_eq!(last.1.is_empty(), raised.is_some(), "{name}");
        assert_eq!(Some(last.0) == mark.as_ref(), raised.is_some(), "{name}");
    }
}

#[test]
fn a_compaction_that_took_the_last_deletions_away_still_counts() {
    let bench = Bench::new("k");
    let mut contents = store(300, "k");
    let compacted = Revision { main: 5000, sub: 0 }.to_key().to_vec();
    let meta = contents.get_mut(&b"meta"[..]).expect("there");
    meta.insert(b"finishedCompactRev".to_vec(), compacted);
    write(&bench.snapshot, 4096, &contents).expect("written");
    seal(&bench.snapshot);
    let options = Options {
        revisions: Revisions::Raise(10),
        ..bench.options()
    };
    let restored = bench.restore(&options).expect("restored");
    assert_eq!((restored.revision, restored.raised_to), (5000, Some(5010)));
}

#[test]
fn a_revision_beyond_what_etcd_counts_is_refused() {
    let bench = Bench::new("k");
    for by in [u64::MAX, i64::MAX as u64] {
        let options = Options {
            revisions: Revisions::Raise(by),
            ..bench.options()
        };
        assert!(matches!(
            bench.restore(&options),
            Err(Error::TooHigh { .. })
        ));
        assert_eq!(bench.names(), Vec::<String>::new());
    }
}

#[test]
fn an_existing_directory_is_refused_or_kept_under_the_time() {
    let bench = Bench::new("k");
    let mut options = bench.options();
    fs::create_dir_all(options.data_dir.join("member/snap")).expect("a folder");
    fs::write(database(&options.data_dir), "old").expect("a file");
    assert!(matches!(bench.restore(&options), Err(Error::Exists { .. })));
    assert_eq!(
        fs::read(database(&options.data_dir)).expect("there"),
        b"old"
    );

    options.replace = true;
    let restored = bench.restore(&options).expect("restored");
    let [kept] = &restored.kept[..] else {
        panic!("{restored:?}")
    };
    assert_eq!(fs::read(database(kept)).expect("kept"), b"old");
    assert!(read(&database(&options.data_dir)).is_ok());
    let names = bench.names();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[1].starts_with("etcd.before-restore-20"), "{names:?}");
    // A second time within the same second gets a name of its own.
    let again = bench.restore(&options).expect("restored");
    assert_ne!(again.kept, restored.kept);
}

#[test]
fn an_empty_directory_is_taken_with_its_owner() {
    let bench = Bench::new("k");
    let options = bench.options();
    fs::create_dir(&options.data_dir).expect("a folder");
    let before = fs::metadata(&options.data_dir).expect("there");
    let root = before.uid() == 0;
    if root {
        std::os::unix::fs::chown(&options.data_dir, Some(12_345), Some(23_456)).expect("root may");
    }
    let restored = bench.restore(&options).expect("restored");
    assert_eq!(restored.kept, Vec::<PathBuf>::new());
    let expected = if root {
        (12_345, 23_456)
    } else {
        (before.uid(), before.gid())
    };
    for path in [&options.data_dir, &database(&options.data_dir)] {
        let now = fs::metadata(path).expect("there");
        assert_eq!((now.uid(), now.gid()), expected, "{}", path.display());
    }
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let bench = Bench::new("k");
    let options = Options {
        replace: true,
        ..bench.options()
    };
    fs::create_dir_all(options.data_dir.join("member/snap")).expect("a folder");
    let held = fs::File::create(database(&options.data_dir)).expect("a file");
    flock(&held, FlockOperation::LockExclusive).expect("ours");
    assert!(matches!(bench.restore(&options), Err(Error::InUse { .. })));
    assert_eq!(bench.names(), ["etcd"]);
    drop(held);
    bench.restore(&options).expect("nobody has it now");
}

#[test]
fn a_log_of_its_own_folder_goes_there() {
    let bench = Bench::new("k");
    let options = Options {
        wal_dir: Some(bench.folder.path().join("fast/wal")),
        ..bench.options()
    };
    bench.restore(&options).expect("restored");
    assert!(!options.data_dir.join("member/wal").exists());
    assert!(
        bench
            .folder
            .path()
            .join("fast/wal")
            .join(wal::FIRST_FILE)
            .is_file()
    );
    let again = Options {
        data_dir: bench.folder.path().join("other"),
        ..options
    };
    assert!(matches!(bench.restore(&again), Err(Error::Exists { .. })));
    assert_eq!(bench.names(), ["etcd", "fast"]);
}

#[test]
fn a_file_without_its_digest_is_taken_only_when_asked() {
    let bench = Bench::new("k");
    let mut bytes = fs::read(&bench.snapshot).expect("there");
    let length = bytes.len();
    bytes[length - 1] ^= 1;
    fs::write(&bench.snapshot, &bytes).expect("written");
    assert!(matches!(
        bench.restore(&bench.options()),
        Err(Error::Snapshot(_))
    ));
    bytes.truncate(length - 32);
    fs::write(&bench.snapshot, &bytes).expect("written");
    assert!(matches!(
        bench.restore(&bench.options()),
        Err(Error::NoDigest { .. })
    ));
    assert_eq!(bench.names(), Vec::<String>::new());
    let options = Options {
        skip_digest: true,
        ..bench.options()
    };
    bench.restore(&options).expect("asked for");
}

#[test]
fn a_wrong_digest_that_is_skipped_is_told_with_what_was_restored() {
    let bench = Bench::new("k");
    let mut bytes = fs::read(&bench.snapshot).expect("there");
    *bytes.last_mut().expect("a digest") ^= 1;
    fs::write(&bench.snapshot, &bytes).expect("written");
    let refused = bench.restore(&bench.options());
    assert!(refused.is_err_and(|error| error.to_string().contains("is damaged")));
    let options = Options {
        skip_digest: true,
        ..bench.options()
    };
    let restored = bench.restore(&options).expect("asked for");
    let [finding] = restored.findings.as_slice() else {
        panic!("{:?}", restored.findings);
    };
    assert!(finding.contains("is damaged: its SHA-256 is"), "{finding}");
}

#[test]
fn a_damaged_page_or_a_stop_leaves_nothing_behind() {
    let bench = Bench::new("k");
    let stop = AtomicBool::new(true);
    let stopped = restore(&bench.snapshot, &bench.options(), &stop);
    assert!(stopped.is_err_and(|error| error.is_cancelled()));
    let mut bytes = fs::read(&bench.snapshot).expect("there");
    bytes[4 * 4096 + 8] = 0x40;
    fs::write(&bench.snapshot, &bytes).expect("written");
    let options = Options {
        skip_digest: true,
        ..bench.options()
    };
    assert!(matches!(bench.restore(&options), Err(Error::Snapshot(_))));
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn what_a_killed_run_left_is_told_and_not_touched() {
    let bench = Bench::new("k");
    let left = bench.folder.path().join("etcd.restoring-abc");
    fs::create_dir(&left).expect("a folder");
    let restored = bench.restore(&bench.options()).expect("restored");
    assert_eq!(restored.leftovers, [left]);
    assert_eq!(bench.names(), ["etcd", "etcd.restoring-abc"]);
}

#[test]
fn wrong_members_are_refused_before_anything_is_read() {
    let bench = Bench::new("k");
    let options = Options {
        name: "m9".to_owned(),
        ..bench.options()
    };
    let missing = restore(Path::new("/nowhere"), &options, &GO_ON);
    assert!(matches!(missing, Err(Error::Members { .. })));
}

#[test]
fn a_link_to_the_directory_stays_a_link() {
    let bench = Bench::new("k");
    let real = bench.folder.path().join("real");
    fs::create_dir_all(real.join("member")).expect("a folder");
    let options = Options {
        replace: true,
        ..bench.options()
    };
    std::os::unix::fs::symlink(&real, &options.data_dir).expect("a link");
    let restored = bench.restore(&options).expect("restored");
    assert!(options.data_dir.is_symlink());
    assert!(database(&real).is_file());
    let kept = restored.kept[0]
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert!(kept.starts_with("real.before-restore-"), "{kept}");
}

#[test]
fn an_empty_store_has_revision_one() {
    let bench = Bench::new("k");
    write(&bench.snapshot, 4096, &store(0, "k")).expect("written");
    seal(&bench.snapshot);
    let options = Options {
        revisions: Revisions::Raise(10),
        ..bench.options()
    };
    let restored = bench.restore(&options).expect("restored");
    assert_eq!((restored.revision, restored.raised_to), (1, Some(11)));
}
