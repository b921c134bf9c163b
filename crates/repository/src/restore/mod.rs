//! Restore of a snapshot, or of a part of it, into a directory.
//!
//! The tree is walked once and makes directories, links and devices; files are gathered into batches. In a batch
//! every pack is read once, near pieces in one request, by several workers; each piece goes to every place that
//! wants it. A file gets its owner, mode and times when its last piece is there, a directory when everything in
//! it is.
//!
//! What stands in the target is only given up for what can be read: of a file that is there already, and of which several
//! pieces differ, all of those are read once before the first is written, so that damage leaves it as it was.

mod clear;
mod content;
mod extra;
mod ground;
mod metadata;
mod place;
mod walk;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use crate::error::{Error, Result};
use crate::format::node::Node;
use crate::format::snapshot::Root;
use crate::id::BlobId;
use crate::index::Index;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::source::Failure;

pub use extra::{Complete, Extra, extra};

/// Failures that are named, of which all are counted, and paths that stayed.
const NAMED_FAILURES: usize = 1000;

/// What happens with what stands in the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// The target must be empty or absent.
    #[default]
    Refuse,
    /// Files are brought to the state of the snapshot; only what differs is written.
    Overwrite,
}

/// How a restore is done.
#[derive(Clone, Copy, Debug)]
pub struct RestoreOptions {
    /// What happens with what stands there.
    pub existing: Existing,
    /// Remove what the snapshot does not have, on the file system of the target. Only with [`Existing::Overwrite`], and from a
    /// snapshot from which nothing is missing.
    pub delete_extra: Option<Complete>,
    /// Set owners. Without the right to, every file would be a failure.
    pub owners: bool,
    /// Leave holes where pieces are all zero.
    pub sparse: bool,
    /// Threads that read packs; zero for four.
    pub workers: usize,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            existing: Existing::Refuse,
            delete_extra: None,
            owners: true,
            sparse: true,
            workers: 0,
        }
    }
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "entries may have failed: look at `failed`"]
pub struct Restored {
    /// Files that were written.
    pub files: u64,
    /// Files that were there as they should be, whole or but for their metadata.
    pub unchanged: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic and hard links, devices and pipes.
    pub others: u64,
    /// Sockets, which only their owner can make.
    pub sockets: u64,
    /// Entries that were removed because the snapshot does not have them.
    pub deleted: u64,
    /// What the snapshot does not have and stayed, because it is on another file system than the target: at most a thousand of
    /// its mount points, or directories in it.
    pub kept: Vec<PathBuf>,
    /// Bytes that were written, holes included.
    pub bytes: u64,
    /// Entries that are missing or not as they were.
    pub failed: u64,
    /// Of those, entries whose content is not the snapshot's: missing, as it was before, or mixed. The others lack an owner, a
    /// mode, times or attributes only.
    pub missing: u64,
    /// Those, at most a thousand by name; first those without their content.
    pub failures: Vec<Failure>,
}

/// Restores the tree `tree` into `target`, which becomes that directory.
///
/// # Errors
/// The target cannot be written (full, no rights), the root tree is damaged, or it was cancelled. Damage below
/// is a failure of the entries that it hits; the others are restored.
pub fn run(
    repository: &Repository,
    index: &Index,
    tree: &BlobId,
    target: &Path,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<Restored> {
    let target = place::Target::open(target, options.existing)?;
    let tally = Tally::default();
    let walk = walk::Walk::new(repository, index, &target, options, progress, &tally);
    walk.run(tree)?;
    let restored = tally.0.into_inner();
    Ok(restored.unwrap_or_else(PoisonError::into_inner))
}

/// Gives the restored directory itself, once everything is in it, the owner, mode, times and attributes that it had. What could not
/// be set is a failure of one more entry.
///
/// # Errors
/// The target is no directory.
pub fn root(
    root: &Root,
    target: &Path,
    options: &RestoreOptions,
    restored: &mut Restored,
) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(target, flags, rustix::fs::Mode::empty());
    let fd = opened.map_err(|error| local("open", target, std::io::Error::from(error)))?;
    let refused = metadata::apply_to(&fd, &root.node(), options);
    if !refused.is_empty() {
        restored.failed += 1;
        restored.failures.push(Failure {
            path: ".".to_owned(),
            why: refused.join("; "),
        });
    }
    Ok(())
}

/// Restores one entry that is no directory into the directory `target`.
///
/// # Errors
/// As [`run`].
pub fn one(
    repository: &Repository,
    index: &Index,
    node: Node,
    target: &Path,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<Restored> {
    if options.delete_extra.is_some() {
        return Err(Error::Invalid(
            "one entry says nothing of what else should be in the directory: nothing extra can be removed".to_owned(),
        ));
    }
    let target = place::Target::open(target, options.existing)?;
    let tally = Tally::default();
    let walk = walk::Walk::new(repository, index, &target, options, progress, &tally);
    walk.run_one(node)?;
    let restored = tally.0.into_inner();
    Ok(restored.unwrap_or_else(PoisonError::into_inner))
}

/// Restores some entries of the tree `root` into `target`, which is the root's own directory: each goes to the place that
/// it has in the snapshot. Directories above them are made where they are missing, and left as they are otherwise;
/// `delete_extra` looks into those that are asked for only.
///
/// # Errors
/// As [`run`]; a path that the snapshot does not have, before anything is written.
pub fn some(
    repository: &Repository,
    index: &Index,
    root: &BlobId,
    paths: &[PathBuf],
    target: &Path,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<Restored> {
    let mut only = Vec::with_capacity(paths.len());
    for path in paths {
        crate::path::find(repository, index, root, path)?;
        // What was found has names only, but for the root and dots between them.
        let names = path.components().filter_map(|component| match component {
            std::path::Component::Normal(name) => Some(name),
            _ => None,
        });
        only.push(names.collect::<PathBuf>());
    }
    let target = place::Target::open(target, options.existing)?;
    let tally = Tally::default();
    let walk = walk::Walk::new(repository, index, &target, options, progress, &tally);
    walk.only(only).run(root)?;
    let restored = tally.0.into_inner();
    Ok(restored.unwrap_or_else(PoisonError::into_inner))
}

/// What was done so far, counted by several threads.
#[derive(Debug, Default)]
struct Tally(Mutex<Restored>);

impl Tally {
    fn count(&self, change: impl FnOnce(&mut Restored)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes what was removed, and what is extra and stays.
    fn removed(&self, count: u64, kept: Vec<PathBuf>) {
        for path in &kept {
            tracing::warn!(path = %path.display(), "it is on another file system and was not removed");
        }
        self.count(|restored| {
            restored.deleted += count;
            restored.kept.extend(kept);
            restored.kept.truncate(NAMED_FAILURES);
        });
    }

    /// Notes an entry that does not have its content.
    fn fail(&self, path: &Path, why: &dyn std::fmt::Display) {
        self.note(path, why, true);
    }

    /// Notes an entry that has its content and is not as it was otherwise.
    fn refuse(&self, path: &Path, why: &dyn std::fmt::Display) {
        self.note(path, why, false);
    }

    fn note(&self, path: &Path, why: &dyn std::fmt::Display, is_missing: bool) {
        let failure = Failure {
            path: path.display().to_string(),
            why: why.to_string(),
        };
        tracing::warn!(
            path = failure.path,
            why = failure.why,
            "an entry could not be restored"
        );
        self.count(|restored| {
            restored.failed += 1;
            // Those without their content are named first.
            let mut at = restored.failures.len();
            if is_missing {
                at = at.min(usize::try_from(restored.missing).unwrap_or(usize::MAX));
                restored.missing += 1;
            }
            if at < NAMED_FAILURES {
                restored.failures.insert(at, failure);
                restored.failures.truncate(NAMED_FAILURES);
            }
        });
    }
}

/// Whether an error of the target hits everything that comes: a full disk, or one that became read-only.
fn is_hopeless(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::NOSPC | Errno::ROFS | Errno::DQUOT | Errno::IO)
}

fn local(action: &'static str, path: &Path, source: impl Into<std::io::Error>) -> Error {
    Error::Local {
        action,
        path: path.to_owned(),
        source: source.into(),
    }
}
