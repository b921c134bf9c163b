//! The engine of repositories, as a mover uses it. It blocks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags};
use salvor_repository::backup::{self, BackupOptions};
use salvor_repository::lock::{Holder, Lock};
use salvor_repository::restore::{self, Complete, Existing, RestoreOptions};
use salvor_repository::source::Failure;
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{Error, FileId, Files, InitOptions, Progress, Repository, Snapshot, Work};
use salvor_seal::Secret;
use salvor_storage::PrefixStore;
use tokio::runtime::Handle;

use super::left_out::Watched;
use super::{OpenLocation, WorkError};
use crate::objects::{Direction, Outcome};
use crate::{Domain, Part};

/// What snapshots of volumes say that they are from: the same on whatever node, so that parents are found.
pub(crate) const HOST: &str = "salvor";
/// Problems that are told by name; all are counted. They stand in an annotation, which has its limits.
const NAMED: usize = 20;
/// Bytes of one problem that are told.
const LONGEST: usize = 300;

pub(super) struct Engine {
    pub(super) direction: Direction,
    pub(super) domain: Domain,
    pub(super) location: OpenLocation,
    pub(super) password: Secret,
    pub(super) machine_made: bool,
    pub(super) directory: PathBuf,
    pub(super) source: String,
    pub(super) snapshot: String,
    /// Of the snapshot that is restored.
    pub(super) part: Part,
    pub(super) tags: Vec<String>,
    pub(super) marker: String,
    pub(super) progress: Arc<Progress>,
    /// Set before anything is written into the volume.
    pub(super) touched: Arc<AtomicBool>,
    pub(super) runtime: Handle,
}

impl Engine {
    pub(super) fn run(&self) -> Result<Outcome, WorkError> {
        match self.direction {
            Direction::Backup => self.back_up(),
            Direction::Restore => self.restore(),
        }
    }

    fn back_up(&self) -> Result<Outcome, WorkError> {
        if self.location.read_only {
            return Err(WorkError::Unfit(
                "the location is read-only (spec.accessMode): nothing can be stored there"
                    .to_owned(),
            ));
        }
        let source = TreeSource::open(&self.directory, TreeOptions::default())
            .map_err(|source| self.volume("read", source))?;
        let mut source = Watched::new(source);
        let repository = self.opened_or_made()?;
        let lock = self.lock(&repository)?;
        let mut options = BackupOptions {
            paths: vec![self.source.clone()],
            hostname: HOST.to_owned(),
            username: HOST.to_owned(),
            tags: self.tags.clone(),
            ..BackupOptions::default()
        };
        let doing = "back up the volume";
        options.parent = parent(&repository, &options).map_err(|e| failed(doing, e))?;
        let written = backup::run(&repository, &lock, &mut source, &options, &self.progress)
            .map_err(|e| failed(doing, e))?;
        let summary = written.snapshot.summary.clone().unwrap_or_default();
        let directories = summary.dirs_new + summary.dirs_changed + summary.dirs_unmodified;
        Ok(Outcome {
            domain: self.domain.to_string(),
            snapshot: written.id.to_string(),
            bytes: summary.total_bytes_processed,
            new_bytes: summary.data_added_packed,
            entries: summary.total_files_processed + directories,
            failed: written.missing(),
            missing: 0,
            problems: self.problems(&written.failures),
            sockets: source.sockets,
            some_sockets: source.named,
        })
    }

    fn restore(&self) -> Result<Outcome, WorkError> {
        let repository = Arc::new(
            self.opened()
                .map_err(|e| failed("open the repository", e))?,
        );
        // Where nothing may be written no lock can be, and nobody prunes either.
        let _lock = match self.location.read_only {
            true => None,
            false => Some(self.lock(&repository)?),
        };
        let doing = "fill the volume";
        let restored = (|| {
            let index = repository.load_index_for_reading()?;
            let (_, snapshot) = repository.snapshot(&self.snapshot)?;
            let delete_extra = self.part.delete_extra;
            let options = RestoreOptions {
                existing: Existing::Overwrite,
                delete_extra: delete_extra.then(|| Complete::of(&snapshot)).transpose()?,
                ..RestoreOptions::default()
            };
            let (tree, into) = (&snapshot.tree, self.directory.as_path());
            let (only, progress) = (&self.part.only, &self.progress);
            drop(repository.entries(&index, tree)?);
            self.touched.store(true, Ordering::Relaxed);
            if only.is_empty() {
                let mut restored =
                    restore::run(&repository, &index, tree, into, &options, progress)?;
                if let Some(root) = &snapshot.root {
                    restore::root(root, into, &options, &mut restored)?;
                }
                return Ok(restored);
            }
            let only: Vec<PathBuf> = only.iter().map(PathBuf::from).collect();
            restore::some(&repository, &index, tree, &only, into, &options, progress)
        })()
        .map_err(|e| failed(doing, e))?;
        self.flush()
            .map_err(|source| self.volume("flush", source))?;
        if !self.marker.is_empty() && restored.failed == 0 {
            mark(&self.directory, &self.marker).map_err(|source| self.volume("mark", source))?;
        }
        Ok(Outcome {
            domain: self.domain.to_string(),
            snapshot: self.snapshot.clone(),
            bytes: restored.bytes,
            new_bytes: 0,
            entries: restored.files + restored.unchanged + restored.directories + restored.others,
            failed: restored.failed,
            missing: restored.missing,
            problems: self.problems(&restored.failures),
            sockets: restored.sockets,
            some_sockets: Vec::new(),
        })
    }

    /// What was written is on the disk before anybody is told that it is there.
    fn flush(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&self.directory, flags, Mode::empty())?;
        Ok(rustix::fs::syncfs(&fd)?)
    }

    fn files(&self) -> Files {
        let store = PrefixStore::wrap(Arc::clone(&self.location.store), &self.domain.folder());
        Files::new(store, self.runtime.clone())
    }

    fn opened(&self) -> Result<Repository, Error> {
        Repository::open(self.files(), &self.password)
    }

    /// The first volume of a domain makes its repository; of several that try, one does.
    fn opened_or_made(&self) -> Result<Arc<Repository>, WorkError> {
        let opened = match self.opened() {
            Err(Error::NoRepository { .. }) => {
                let work = if self.machine_made {
                    Work::Machine
                } else {
                    Work::Passphrase
                };
                let options = InitOptions {
                    work,
                    who: (HOST.to_owned(), HOST.to_owned()),
                    restic_boundaries: false,
                };
                match Repository::init(self.files(), &self.password, &options) {
                    Err(Error::Exists { .. }) => self.opened(),
                    made => made,
                }
            }
            other => other,
        };
        opened
            .map(Arc::new)
            .map_err(|e| failed("open the repository", e))
    }

    fn lock(&self, repository: &Arc<Repository>) -> Result<Lock, WorkError> {
        let hostname = std::env::var("POD_NAME").unwrap_or_else(|_| HOST.to_owned());
        let holder = Holder {
            hostname,
            username: HOST.to_owned(),
        };
        Lock::take(repository, false, &holder).map_err(|e| failed("lock the repository", e))
    }

    fn volume(&self, doing: &'static str, source: io::Error) -> WorkError {
        WorkError::Volume {
            doing,
            path: self.directory.clone(),
            source,
        }
    }

    fn problems(&self, failures: &[Failure]) -> Vec<String> {
        let root = format!("{}/", self.directory.display());
        let told = |failure: &Failure| {
            let path = failure.path.strip_prefix(&root).unwrap_or(&failure.path);
            let mut text = format!("{path}: {}", failure.why);
            let end = (0..=LONGEST.min(text.len()))
                .rev()
                .find(|at| text.is_char_boundary(*at));
            text.truncate(end.unwrap_or(0));
            text
        };
        failures.iter().take(NAMED).map(told).collect()
    }
}

fn failed(doing: &'static str, source: Error) -> WorkError {
    WorkError::Repository {
        doing,
        source: Box::new(source),
    }
}

/// The newest snapshot of the same volume.
fn parent(repository: &Repository, options: &BackupOptions) -> Result<Option<FileId>, Error> {
    let same = |snapshot: &Snapshot| {
        snapshot.hostname == options.hostname && snapshot.paths == options.paths
    };
    let all = repository.snapshots_that_read()?;
    let found = all.into_iter().rev().find(|(_, snapshot)| same(snapshot));
    Ok(found.map(|(id, _)| id))
}

/// Makes an empty file in the volume, and the directory for it. No link is followed: what stands in the volume is
/// anybody's.
fn mark(volume: &Path, marker: &str) -> io::Result<()> {
    let refused = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("`{marker}` is no place in the volume"),
        )
    };
    let is_name = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
    let parts: Vec<&str> = marker.split('/').collect();
    let Some((file, folders)) = parts.split_last().filter(|_| parts.iter().all(is_name)) else {
        return Err(refused());
    };
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(volume, directory, Mode::empty())?;
    for folder in folders {
        match rustix::fs::mkdirat(&at, *folder, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = rustix::fs::openat(&at, *folder, directory | OFlags::NOFOLLOW, Mode::empty())?;
    }
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&at, *file, new, Mode::from_raw_mode(0o644))?;
    rustix::fs::fsync(&made)?;
    Ok(rustix::fs::fsync(&at)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_stays_in_the_volume() {
        let volume = tempfile::tempdir().expect("a folder");
        let outside = tempfile::tempdir().expect("a folder");
        mark(volume.path(), ".velero/0b7c").expect("made");
        assert!(volume.path().join(".velero/0b7c").is_file());
        // Again, after a crash.
        mark(volume.path(), ".velero/0b7c").expect("made");
        for hostile in ["", "/etc/x", "../x", "a/../../x", "a//b", "."] {
            assert!(mark(volume.path(), hostile).is_err(), "{hostile}");
        }
        std::os::unix::fs::symlink(outside.path(), volume.path().join("link")).expect("a link");
        assert!(mark(volume.path(), "link/x").is_err());
        assert!(!outside.path().join("x").exists());
    }
}
