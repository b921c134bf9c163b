//! Repositories in temporary folders, trees with every kind of entry, and comparisons.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use salvor_repository::backup::{self, BackupOptions, Written};
use salvor_repository::files::Files;
use salvor_repository::lock::{Holder, Lock};
use salvor_repository::restore::{self, Complete, RestoreOptions, Restored};
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{InitOptions, Progress, Repository, Work};
use salvor_seal::Secret;
use salvor_storage::{FsStore, ObjectStore};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse";

/// A runtime for the store, and a folder.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    pub(crate) fn files(&self) -> Files {
        let path = self.path("repository");
        std::fs::create_dir_all(&path).unwrap();
        self.files_in(Arc::new(FsStore::new(path)))
    }

    pub(crate) fn files_in(&self, store: Arc<dyn ObjectStore>) -> Files {
        Files::new(store, self.runtime.handle().clone())
    }

    pub(crate) fn init(&self, restic_boundaries: bool) -> Arc<Repository> {
        let options = InitOptions {
            work: Work::Machine,
            who: ("tester".to_owned(), "here".to_owned()),
            restic_boundaries,
        };
        Arc::new(Repository::init(self.files(), &secret(), &options).unwrap())
    }

    pub(crate) fn open(&self) -> Arc<Repository> {
        Arc::new(Repository::open(self.files(), &secret()).unwrap())
    }

    /// restic on the repository. `None`, said aloud, where there is none.
    pub(crate) fn restic(&self, variable: &str, arguments: &[&str]) -> Option<Output> {
        let program = salvor_testkit::required_path(variable)?;
        let output = Command::new(program)
            .args(["--no-cache", "-r"])
            .arg(self.path("repository"))
            .args(arguments)
            .env("RESTIC_PASSWORD", PASSWORD)
            .output()
            .unwrap();
        Some(output)
    }
}

pub(crate) fn secret() -> Secret {
    Secret::new(PASSWORD.to_owned())
}

pub(crate) fn lock(repository: &Arc<Repository>) -> Lock {
    let holder = Holder {
        hostname: "here".to_owned(),
        username: "tester".to_owned(),
    };
    Lock::take(repository, false, &holder).unwrap()
}

/// The repository for one alone.
pub(crate) fn alone(repository: &Arc<Repository>) -> Lock {
    let holder = Holder {
        hostname: "here".to_owned(),
        username: "mender".to_owned(),
    };
    Lock::take(repository, true, &holder).unwrap()
}

/// A folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Changes a bit in the middle of a file.
pub(crate) fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

pub(crate) fn back_up(
    repository: &Arc<Repository>,
    tree: &Path,
    options: &BackupOptions,
) -> Written {
    let mut source = TreeSource::open(tree, TreeOptions::default()).unwrap();
    let lock = lock(repository);
    backup::run(repository, &lock, &mut source, options, &Progress::new()).unwrap()
}

pub(crate) fn options() -> BackupOptions {
    BackupOptions {
        paths: vec!["/data".to_owned()],
        hostname: "here".to_owned(),
        username: "tester".to_owned(),
        ..BackupOptions::default()
    }
}

/// Nothing is missing from the newest snapshot: what is extra may go.
pub(crate) fn complete(repository: &Repository) -> Option<Complete> {
    let (_, snapshot) = repository.snapshot("latest").unwrap();
    Some(Complete::of(&snapshot).unwrap())
}

pub(crate) fn restore_into(
    repository: &Repository,
    snapshot: &str,
    target: &Path,
    options: &RestoreOptions,
) -> Restored {
    let index = repository.load_index_for_reading().unwrap();
    let (_, snapshot) = repository.snapshot(snapshot).unwrap();
    restore::run(
        repository,
        &index,
        &snapshot.tree,
        target,
        options,
        &Progress::new(),
    )
    .unwrap()
}

pub(crate) fn expect(output: &Output) -> String {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

/// Bytes that do not compress and differ by seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A tree with every kind of entry that this user may make.
pub(crate) fn make_tree(root: &Path) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(root.join(name), bytes).unwrap();
    std::fs::create_dir_all(root.join("sub/deeper")).unwrap();
    std::fs::create_dir(root.join("empty")).unwrap();
    write("a text", "one line\n".repeat(1000).as_bytes());
    write("empty file", b"");
    write("large", &noise(1, 9 << 20));
    write("zeros", &vec![0; 5 << 20]);
    write("sub/same as large", &noise(1, 9 << 20));
    write("sub/deeper/한글 \"quoted\" \\ back\nline", b"x");
    write("set-uid", b"#!/bin/sh\n");
    std::fs::set_permissions(root.join("set-uid"), PermissionsExt::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(root.join("sub/deeper"), PermissionsExt::from_mode(0o500)).unwrap();
    std::fs::set_permissions(root.join("empty"), PermissionsExt::from_mode(0o1777)).unwrap();
    std::fs::write(
        root.join(std::ffi::OsStr::from_bytes(b"bytes \xff\xfe")),
        b"y",
    )
    .unwrap();
    std::os::unix::fs::symlink("../nowhere", root.join("sub/link")).unwrap();
    std::os::unix::fs::symlink(
        std::ffi::OsStr::from_bytes(b"to \xff"),
        root.join("strange link"),
    )
    .unwrap();
    std::fs::hard_link(root.join("a text"), root.join("sub/hard link")).unwrap();
    let fifo = std::ffi::CString::new(root.join("pipe").as_os_str().as_bytes()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let attribute = rustix::fs::setxattr(
        root.join("a text"),
        "user.salvor",
        b"\0value\xff",
        rustix::fs::XattrFlags::empty(),
    );
    assert!(matches!(
        attribute,
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP)
    ));
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec {
            tv_sec: 1,
            tv_nsec: 2,
        },
        last_modification: rustix::fs::Timespec {
            tv_sec: -1,
            tv_nsec: 123_456_789,
        },
    };
    rustix::fs::utimensat(
        rustix::fs::CWD,
        root.join("large"),
        &times,
        rustix::fs::AtFlags::empty(),
    )
    .unwrap();
}

/// Everything that a restore has to bring back, by path. Sockets are left out.
pub(crate) fn survey(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for path in entries {
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let kind = meta.file_type();
            if kind.is_socket() {
                continue;
            }
            let content = if kind.is_file() {
                let first = inodes.entry(meta.ino()).or_insert_with(|| path.clone());
                let linked =
                    (meta.nlink() > 1).then(|| first.strip_prefix(root).unwrap().to_owned());
                format!(
                    "{} {linked:?}",
                    salvor_seal::Digest::of(&std::fs::read(&path).unwrap())
                )
            } else if kind.is_symlink() {
                format!("{:?}", std::fs::read_link(&path).unwrap())
            } else {
                if kind.is_dir() {
                    open.push(path.clone());
                }
                String::new()
            };
            let mut value = [0; 64];
            let attribute = rustix::fs::lgetxattr(&path, "user.salvor", &mut value).ok();
            let attribute = attribute.map(|length| value[..length].to_vec());
            let mode = if kind.is_symlink() { 0 } else { meta.mode() };
            found.insert(
                path.strip_prefix(root).unwrap().to_owned(),
                format!(
                    "{mode:o} {}:{} {}.{:09} {attribute:?} {content}",
                    meta.uid(),
                    meta.gid(),
                    meta.mtime(),
                    meta.mtime_nsec()
                ),
            );
        }
    }
    found
}

/// Compares two surveys and shows only what differs.
pub(crate) fn assert_same(
    found: &BTreeMap<PathBuf, String>,
    wanted: &BTreeMap<PathBuf, String>,
    what: &str,
) {
    let paths: std::collections::BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    let different: Vec<_> = paths
        .into_iter()
        .filter(|path| found.get(*path) != wanted.get(*path))
        .map(|path| {
            format!(
                "{path:?}: {:?}, wanted {:?}",
                found.get(path),
                wanted.get(path)
            )
        })
        .collect();
    assert!(different.is_empty(), "{what}: {}", different.join("\n"));
}
