//! A data directory for a member, made of a snapshot.
//!
//! The directory is made beside its place and put there last, by one rename (or one exchange with what was there). A
//! run that is killed leaves its unfinished folder beside the place and nothing else; the next one says so.
//!
//! Start with [`restore()`].

mod content;
mod folder;
mod history;
mod merged;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::membership::{self, Cluster, PeerUrls};
use crate::snapshot::{self, Snapshot};
use crate::{bolt, wal};

use content::Content;
use folder::Place;
use history::Prepared;

pub use history::{Changes, History, UNKNOWN_TTL};
pub use merged::{Merged, merge};

/// By how much revisions are raised where nobody says otherwise: etcd's own advice, more than a week of 1,500 writes a
/// second.
pub const DEFAULT_RAISE: u64 = 1_000_000_000;

/// Bytes that a restore needs beside the pages: the log, and folders.
const BESIDES: u64 = 64 << 20;

/// What becomes of revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revisions {
    /// They stay as they are in the snapshot.
    Exact,
    /// The next one is that much higher, and everything before counts as compacted.
    Raise(u64),
    /// [`Revisions::Raise`] when the snapshot holds objects of Kubernetes, whose clients cache by revision.
    RaiseForKubernetes(u64),
}

/// What should be made.
#[derive(Clone, Debug)]
pub struct Options {
    /// All members of the new cluster.
    pub cluster: Cluster,
    /// Name of the member whose directory this is.
    pub name: String,
    /// Its addresses for peers, which are those in the list.
    pub peer_urls: PeerUrls,
    /// The directory.
    pub data_dir: PathBuf,
    /// Directory of the log, when it is not in the data directory.
    pub wal_dir: Option<PathBuf>,
    /// Take a file without a digest, or with a wrong one.
    pub skip_digest: bool,
    /// What becomes of revisions.
    pub revisions: Revisions,
    /// Put a directory that is there aside, under a name with the time.
    pub replace: bool,
    /// User and group of the directory; without them those of the directory that was there, else of this process.
    pub owner: Option<(u32, u32)>,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The directory.
    pub data_dir: PathBuf,
    /// Id of the member.
    pub member: u64,
    /// Id of the cluster.
    pub cluster: u64,
    /// Last revision of the snapshot.
    pub revision: u64,
    /// The revision it was raised to.
    pub raised_to: Option<u64>,
    /// Versions of keys.
    pub versions: u64,
    /// Bytes of the pages.
    pub size: u64,
    /// The hash that etcd's tools print for the new database.
    pub hash: u32,
    /// Alarms of the old members, which were left out.
    pub alarms: u64,
    /// Entries that are not what etcd writes; they were copied as they are.
    pub findings: Vec<String>,
    /// Where the directories that were there are now.
    pub kept: Vec<PathBuf>,
    /// Folders that restores which did not end left beside the place.
    pub leftovers: Vec<PathBuf>,
}

/// Why no directory was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The members are none.
    #[error("the members of the new cluster")]
    Members {
        /// What is wrong.
        #[from]
        source: membership::Error,
    },
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// There is no digest, and nobody said that this is right.
    #[error(
        "{} has no digest at its end: a copy of a member's database may lack its last changes; take it all the same \
         with --skip-hash-check", .path.display()
    )]
    NoDigest {
        /// The file.
        path: PathBuf,
    },
    /// Something is there already.
    #[error(
        "{} is there already and not empty; nothing was changed: name another directory, or keep this one aside with \
         --replace", .path.display()
    )]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A member works with the directory.
    #[error("{} is in use: stop the etcd that works with it first; nothing was changed", .path.display())]
    InUse {
        /// Its database.
        path: PathBuf,
    },
    /// A directory cannot be put in its place in one step.
    #[error(
        "{} is a mount point and cannot be put in place in one step: name a directory inside of it; nothing was \
         changed", .path.display()
    )]
    MountPoint {
        /// Which.
        path: PathBuf,
    },
    /// There is not enough room.
    #[error("{} has room for {available} bytes, and {needed} may be needed; nothing was changed", .path.display())]
    NoRoom {
        /// Folder on the disk in question.
        path: PathBuf,
        /// Bytes that are free.
        available: u64,
        /// Bytes that may be needed.
        needed: u64,
    },
    /// The revision would be higher than etcd can count.
    #[error("revision {revision} cannot be raised by {by}: it would leave the range of etcd")]
    TooHigh {
        /// The last revision.
        revision: u64,
        /// By how much.
        by: u64,
    },
    /// The new database would be larger than its members take.
    #[error(
        "the database would have at least {needed} bytes, and its members take {quota}: give their quota with \
         --quota-backend-bytes, and start them with it; nothing was changed"
    )]
    OverQuota {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that members take.
        quota: u64,
    },
    /// The new database could not be written.
    #[error("write {}", .path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: bolt::Error,
    },
    /// What was written reads otherwise.
    #[error("{} reads otherwise than it was written: its hash is {found:08x} and should be {expected:08x}", .path.display())]
    ReadsOtherwise {
        /// Which file.
        path: PathBuf,
        /// The hash of what was written.
        expected: u32,
        /// The hash of what is read.
        found: u32,
    },
    /// The system refused.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What we were doing, a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// Result of a restore.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// True when it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Snapshot(error) if error.is_cancelled())
    }
}

/// An error of the system as one of ours.
fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io {
        doing,
        path,
        source,
    }
}

/// Makes the data directory of a member.
///
/// Everything that can be refused is refused before anything is written. After an error the place is as it was.
///
/// # Errors
/// The snapshot is damaged, the options contradict each other, the place is taken, or the disk refuses.
pub fn restore(snapshot: &Path, options: &Options, stop: &AtomicBool) -> Result<Restored> {
    // What is wrong with the members is said before the file is looked for.
    options.cluster.member(&options.name, &options.peer_urls)?;
    restore_snapshot(&Snapshot::open(snapshot)?, options, stop)
}

/// The same from a snapshot that is open.
///
/// # Errors
/// As [`restore()`].
pub fn restore_snapshot(
    snapshot: &Snapshot,
    options: &Options,
    stop: &AtomicBool,
) -> Result<Restored> {
    let own = options.cluster.member(&options.name, &options.peer_urls)?;
    made(snapshot, None, own, options, stop)
}

/// The same from a snapshot and what changed behind it, up to a revision. Older versions than those of
/// [`History::compact_at`] are left out.
///
/// # Errors
/// As [`restore()`]; [`Error::OverQuota`].
pub fn restore_history(
    snapshot: &Snapshot,
    history: &mut History,
    options: &Options,
    stop: &AtomicBool,
) -> Result<Restored> {
    let own = options.cluster.member(&options.name, &options.peer_urls)?;
    made(snapshot, Some(history), own, options, stop)
}

/// Compares the digest of a snapshot. With `skip` a file without one is taken, and one with a wrong one too, which is
/// given as a finding: whoever restores the last file that is left has to know.
fn digest_of(snapshot: &Snapshot, skip: bool, stop: &AtomicBool) -> Result<Option<String>> {
    if snapshot.digest().is_none() {
        return match skip {
            true => Ok(None),
            false => Err(Error::NoDigest {
                path: snapshot.path().to_owned(),
            }),
        };
    }
    match snapshot.check_digest(stop) {
        Err(error) if skip && error.is_damage() => Ok(Some(format!(
            "{error}; what was restored from it is not what was saved"
        ))),
        checked => checked.map(|_| None).map_err(Error::from),
    }
}

fn made(
    snapshot: &Snapshot,
    mut history: Option<&mut History>,
    own: &membership::Member,
    options: &Options,
    stop: &AtomicBool,
) -> Result<Restored> {
    let wrong_digest = digest_of(snapshot, options.skip_digest, stop)?;
    let most = match &mut history {
        Some(history) => history.most(snapshot)?,
        None => snapshot.database().layout().size(),
    };
    let needed = most + BESIDES;
    let data = Place::prepare(&options.data_dir, options.replace, needed)?;
    let wal = match &options.wal_dir {
        Some(folder) => Some(Place::prepare(folder, options.replace, BESIDES)?),
        None => None,
    };
    let leftovers = [Some(&data), wal.as_ref()];
    let leftovers = leftovers.into_iter().flatten().flat_map(Place::leftovers);
    let leftovers = leftovers.collect();

    let history = history
        .map(|history| Prepared::new(history, snapshot, stop))
        .transpose()?;
    let member = data.folder("member")?;
    let content = Content::write(snapshot, history, &member.join("snap"), options, stop)?;
    let (name, first) = wal::first_snapshot(&options.cluster);
    folder::write_small(&member.join("snap").join(name), &first)?;
    folder::sync(&member.join("snap"))?;
    let wal_folder = match &wal {
        Some(place) => place.temporary().to_owned(),
        None => folder::create(&member.join("wal"))?,
    };
    folder::write_log(
        &wal_folder.join(wal::FIRST_FILE),
        &wal::initial(&options.cluster, own),
    )?;
    snapshot::not_stopped(stop)?;
    let owner = options.owner;
    // The log first: with the data in place the member is whole.
    let log = wal.map(|place| place.commit(owner)).transpose()?;
    let data = match (data.commit(owner), log) {
        (Ok(data), None) => vec![data],
        (Ok(data), Some(log)) => vec![data, log],
        (Err(error), None) => return Err(error),
        (Err(error), Some(log)) => {
            // A new log beside the old data would be worse than either.
            log.undo()?;
            return Err(error);
        }
    };
    let kept = data.into_iter().filter_map(|placed| placed.kept);
    Ok(Restored {
        data_dir: options.data_dir.clone(),
        member: own.id,
        cluster: options.cluster.id(),
        revision: content.revision,
        raised_to: content.raised_to,
        versions: content.versions,
        size: content.size,
        hash: content.hash,
        alarms: content.alarms,
        findings: wrong_digest.into_iter().chain(content.findings).collect(),
        kept: kept.collect(),
        leftovers,
    })
}
