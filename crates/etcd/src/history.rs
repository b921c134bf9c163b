//! Versions of keys in a snapshot, and what was there at a revision.
//!
//! A snapshot holds the versions since its compaction. They are read in the order of their revisions, twice where values
//! are wanted: once for which versions count, once for these. Memory is what the caller keeps of them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use crate::mvcc::{KeyValue, Revision};
use crate::snapshot::{Error as SnapshotError, Snapshot, not_stopped};

/// Why the past cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The revision is not in it.
    #[error("revision {wanted} is not in {path}, which has revisions {from} to {to}")]
    OutOfReach {
        /// Which file.
        path: String,
        /// The revision that was asked for.
        wanted: u64,
        /// First revision that it can show.
        from: u64,
        /// Last one.
        to: u64,
    },
    /// An entry is none.
    #[error("read the entry of revision {revision} in {path}: {why}")]
    Entry {
        /// Which file.
        path: String,
        /// The entry.
        revision: Revision,
        /// What is wrong.
        why: String,
    },
}

/// Revisions that a snapshot can show: from its compaction to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// First.
    pub from: u64,
    /// Last.
    pub to: u64,
}

/// A version of a key, or its deletion.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// When it was made.
    pub revision: Revision,
    /// Whether the key is gone from then on.
    pub deletion: bool,
    /// The entry; of a deletion only the key.
    pub entry: KeyValue<'a>,
}

/// Keys that were there at a revision, each with the revision of its version then.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The revision.
    pub revision: u64,
    /// What the snapshot can show.
    pub reach: Reach,
    /// The keys.
    pub keys: BTreeMap<Vec<u8>, Revision>,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            from: Revision::FIRST,
            to: Revision::FIRST,
        }
    }
}

/// Reads every version in the order of revisions.
///
/// # Errors
/// The snapshot is damaged, or it was asked to stop.
pub fn versions(
    snapshot: &Snapshot,
    stop: &AtomicBool,
    mut seen: impl FnMut(Version<'_>),
) -> Result<Reach, Error> {
    let mut reach = Reach::default();
    let damaged = |source| snapshot.damaged(source);
    let mut walk = snapshot.database().walk();
    for bucket in walk.buckets().map_err(damaged)? {
        let mut cursor = walk.cursor(&bucket).map_err(damaged)?;
        while cursor.advance().map_err(damaged)? {
            not_stopped(stop)?;
            let (key, value) = (cursor.key(), cursor.value());
            match bucket.name.as_slice() {
                b"key" => {
                    let (revision, deletion) = Revision::from_key(key).ok_or_else(|| {
                        let why = format!("its key of {} bytes is no revision", key.len());
                        unreadable(snapshot, Revision::default(), why)
                    })?;
                    reach.to = reach.to.max(revision.main);
                    // The mark of a raised revision.
                    if value.is_empty() && !deletion {
                        continue;
                    }
                    let entry = KeyValue::decode(value)
                        .map_err(|why| unreadable(snapshot, revision, why.to_string()))?;
                    seen(Version {
                        revision,
                        deletion,
                        entry,
                    });
                }
                b"meta" if matches!(key, b"scheduledCompactRev" | b"finishedCompactRev") => {
                    let compacted =
                        Revision::from_key(value).map_or(0, |(revision, _)| revision.main);
                    reach.from = reach.from.max(compacted);
                }
                _ => {}
            }
        }
    }
    reach.to = reach.to.max(reach.from);
    Ok(reach)
}

fn unreadable(snapshot: &Snapshot, revision: Revision, why: String) -> Error {
    Error::Entry {
        path: snapshot.path().display().to_string(),
        revision,
        why,
    }
}

/// What was there at a revision, or at the end: of the keys that are wanted.
///
/// # Errors
/// The revision is not in the snapshot any more or not yet, the snapshot is damaged, or it was asked to stop.
pub fn state(
    snapshot: &Snapshot,
    at: Option<u64>,
    wanted: impl Fn(&[u8]) -> bool,
    stop: &AtomicBool,
) -> Result<State, Error> {
    let mut keys = BTreeMap::new();
    let reach = versions(snapshot, stop, |version| {
        let later = at.is_some_and(|at| version.revision.main > at);
        if later || !wanted(version.entry.key) {
            return;
        }
        if version.deletion {
            keys.remove(version.entry.key);
        } else if let Some(revision) = keys.get_mut(version.entry.key) {
            *revision = version.revision;
        } else {
            keys.insert(version.entry.key.to_vec(), version.revision);
        }
    })?;
    let revision = at.unwrap_or(reach.to);
    if revision < reach.from || revision > reach.to {
        return Err(Error::OutOfReach {
            path: snapshot.path().display().to_string(),
            wanted: revision,
            from: reach.from,
            to: reach.to,
        });
    }
    Ok(State {
        revision,
        reach,
        keys,
    })
}

/// Reads the versions of a state, in the order of their revisions.
///
/// # Errors
/// As [`versions`].
pub fn values(
    snapshot: &Snapshot,
    state: &State,
    stop: &AtomicBool,
    mut seen: impl FnMut(Version<'_>),
) -> Result<(), Error> {
    versions(snapshot, stop, |version| {
        if state.keys.get(version.entry.key) == Some(&version.revision) {
            seen(version);
        }
    })?;
    Ok(())
}
