//! Backup of a source into a snapshot.
//!
//! One thread reads the source, cuts files and recognises what the parent has; as many workers as there are cores
//! name, compress, seal and verify pieces and close directories bottom-up; two threads upload packs. Bytes between
//! reader and workers have a budget. The snapshot is written when everything it reaches is in the store and in
//! the index.

mod budget;
pub(crate) mod claimed;
pub(crate) mod description;
mod directory;
pub(crate) mod packer;
mod parent;
mod reader;
pub(crate) mod seal;
mod worker;

use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

use jiff::{Timestamp, Zoned};

use crate::damage;
use crate::error::{Error, Result};
use crate::files::Kind;
use crate::format::snapshot::{Root, Snapshot, Summary};
use crate::id::{BlobId, FileId};
use crate::index::Index;
use crate::lock::Lock;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::source::{Failure, Source};

use budget::Budget;
use packer::{Packer, Stored, Uploader};
use reader::Counts;

/// Bytes of file content between the reader and the workers.
const IN_FLIGHT: usize = 32 << 20;
/// Jobs between them; most are batches of a megabyte.
const JOBS: usize = 64;
/// Threads that upload packs.
const UPLOADERS: usize = 2;
/// Failures that are named; all are counted.
const NAMED_FAILURES: usize = 1000;

/// What a snapshot is of, and how it is made.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// What the snapshot says that it is of.
    pub paths: Vec<String>,
    /// Machine, pod, or what stands for it.
    pub hostname: String,
    /// User.
    pub username: String,
    /// `key=value` by convention.
    pub tags: Vec<String>,
    /// The snapshot by which unchanged files are recognised.
    pub parent: Option<FileId>,
    /// Open and compare what was sealed before it is stored.
    pub verify: bool,
    /// Threads that seal; zero for as many as there are cores.
    pub workers: usize,
    /// The program and its version, for the record.
    pub program: String,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            hostname: String::new(),
            username: String::new(),
            tags: Vec::new(),
            parent: None,
            verify: true,
            workers: 0,
            program: concat!("salvor ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A snapshot that was written.
#[derive(Clone, Debug)]
#[must_use = "entries may have failed: look at `failures`"]
pub struct Written {
    /// Its id.
    pub id: FileId,
    /// Its contents.
    pub snapshot: Snapshot,
    /// Entries that are missing from it, at most a thousand by name; `snapshot.summary.errors` counts all.
    pub failures: Vec<Failure>,
    /// Files that changed while they were read: what is stored may mix two states.
    pub changed: Vec<Failure>,
}

impl Written {
    /// Entries that are missing from the snapshot.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.snapshot.missing()
    }
}

/// Backs up a source. `lock` is a shared lock that the caller holds.
///
/// # Errors
/// The source as a whole or the store fails, the lock was lost, or it was cancelled. No snapshot is then
/// written; packs that were are found by the next backup.
pub fn run(
    repository: &Repository,
    lock: &Lock,
    source: &mut dyn Source,
    options: &BackupOptions,
    progress: &Progress,
) -> Result<Written> {
    let begin = Zoned::now();
    let known_damage = damage::known(repository)?;
    let index = repository.load_index_of_stored()?;
    let parent = options
        .parent
        .map(|id| repository.read_document::<Snapshot>(Kind::Snapshot, &id))
        .transpose()?;
    let before = parent.map(|parent| parent.tree);
    let own = source.root().map_err(|source| Error::Source {
        what: "read the directory itself".to_owned(),
        source,
    })?;
    let root = own.as_ref().map(Root::of);
    let (tree, counts, stored) = pipeline(repository, &index, source, before, options, progress)?;
    lock.check_stored()?;
    progress.check()?;
    let summary = summary(&begin, &counts, stored);
    let snapshot = Snapshot {
        time: rfc3339(&begin),
        parent: options.parent,
        tree,
        paths: options.paths.clone(),
        hostname: options.hostname.clone(),
        username: options.username.clone(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        excludes: Vec::new(),
        tags: (!options.tags.is_empty()).then(|| options.tags.clone()),
        original: None,
        program_version: options.program.clone(),
        root,
        summary: Some(summary),
    };
    // The commit point: everything that it reaches is stored.
    let id = repository.write_document(Kind::Snapshot, &snapshot)?;
    // Whoever notes damage lists the snapshots afterwards: one of us two sees the other.
    match damage::doubt(repository, &known_damage, &id) {
        Ok(false) => {}
        Ok(true) => tracing::warn!(
            snapshot = %id,
            "packs were found damaged meanwhile, and the snapshot may count on them: `salvor repo check --depth data` finds out"
        ),
        Err(error) => tracing::warn!(%error, "what was found damaged meanwhile cannot be read"),
    }
    Ok(Written {
        id,
        snapshot,
        failures: counts.failures,
        changed: counts.changed,
    })
}

/// The tree of the source, stored.
fn pipeline(
    repository: &Repository,
    index: &Index,
    source: &mut dyn Source,
    parent: Option<BlobId>,
    options: &BackupOptions,
    progress: &Progress,
) -> Result<(BlobId, Counts, Stored)> {
    let (packer, packs) = Packer::new(repository, index);
    let uploader = Uploader::new(repository, packs);
    let (jobs, queue) = sync_channel(JOBS);
    let queue = Mutex::new(queue);
    let budget = Budget::new(IN_FLIGHT);
    let failure = Failed::default();
    let root = Mutex::new(None);
    let crew = worker::Crew {
        repository,
        packer: &packer,
        budget: &budget,
        failure: &failure,
        root: &root,
        progress,
        verify: options.verify,
    };
    let read = std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..UPLOADERS)
            .map(|_| scope.spawn(|| uploader.run(&failure)))
            .collect();
        let workers: Vec<_> = (0..workers(options))
            .map(|_| scope.spawn(|| crew.run(&queue)))
            .collect();
        let reader = reader::Reader::new(repository, index, &jobs, &budget, &failure, progress);
        let read = reader.run(source, parent);
        drop(jobs);
        for worker in workers {
            join(worker, &failure);
        }
        let stored = failure.unless(|| packer.finish());
        packer.close();
        for upload in uploads {
            join(upload, &failure);
        }
        (read, stored)
    });
    let (counts, stored) = read;
    failure.take()?;
    let (counts, stored) = (counts?, stored?);
    uploader.finish()?;
    let tree = root
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .ok_or_else(|| Error::Invalid("the source ended within a directory".to_owned()))?;
    Ok((tree, counts, stored))
}

fn workers(options: &BackupOptions) -> usize {
    match options.workers {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        several => several,
    }
}

/// A thread that panics must not look like one that had nothing to say.
fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>, failure: &Failed) {
    if thread.join().is_err() {
        failure.note(Err(Error::Invalid(
            "a thread of the backup panicked; nothing was committed".to_owned(),
        )));
    }
}

/// The first failure of any thread; the others stop when there is one.
#[derive(Debug, Default)]
pub(crate) struct Failed(Mutex<Option<Error>>);

impl Failed {
    pub(crate) fn note(&self, result: Result<()>) {
        if let Err(error) = result {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // What was cancelled because of another failure must not hide it.
            if first.as_ref().is_none_or(Error::is_cancelled) {
                *first = Some(error);
            }
        }
    }

    pub(crate) fn happened(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    fn unless<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.happened() {
            return Err(Error::Cancelled);
        }
        act()
    }

    pub(crate) fn take(&self) -> Result<()> {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.map_or(Ok(()), Err)
    }
}

fn summary(begin: &Zoned, counts: &Counts, stored: Stored) -> Summary {
    Summary {
        backup_start: rfc3339(begin),
        backup_end: Timestamp::now().to_string(),
        files_new: counts.files_new,
        files_changed: counts.files_changed,
        files_unmodified: counts.files_unmodified,
        dirs_new: counts.dirs_new,
        dirs_changed: 0,
        dirs_unmodified: counts.dirs_known,
        data_blobs: i64::try_from(stored.data_blobs).unwrap_or(i64::MAX),
        tree_blobs: i64::try_from(stored.tree_blobs).unwrap_or(i64::MAX),
        data_added: stored.plain,
        data_added_packed: stored.sealed,
        total_files_processed: counts.files_new + counts.files_changed + counts.files_unmodified,
        total_bytes_processed: counts.bytes,
        errors: counts.failed,
    }
}

/// A time with the machine's offset, as restic writes it.
fn rfc3339(time: &Zoned) -> String {
    time.timestamp()
        .display_with_offset(time.offset())
        .to_string()
}
