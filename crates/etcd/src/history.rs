//! Versions of keys in a snapshot and in the changes behind it, and what was there at a revision.
//!
//! A snapshot holds the versions since its compaction, and a chain all that came behind its base. They are read in the
//! order of their revisions, twice where values are wanted: once for which versions count, once for these. Memory is what
//! the caller keeps of them.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicBool;

use crate::chain::Found;
use crate::mvcc::{KeyValue, Revision};
use crate::restore::Changes;
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
    /// The changes behind the snapshot cannot be read.
    #[error("read the local file of the changes")]
    Changes {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Revisions that can be shown: from the compaction to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// First.
    pub from: u64,
    /// Last.
    pub to: u64,
}

/// A snapshot, and where changes were captured what came behind it.
pub struct Past {
    snapshot: Snapshot,
    captured: Option<Captured>,
}

/// What came behind a snapshot.
struct Captured {
    changes: Changes,
    /// The last revision that counts. The snapshot may be a later one.
    end: u64,
}

impl From<Snapshot> for Past {
    fn from(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            captured: None,
        }
    }
}

impl From<Found> for Past {
    fn from(found: Found) -> Self {
        Self {
            snapshot: found.snapshot,
            captured: Some(Captured {
                changes: found.changes,
                end: found.revision,
            }),
        }
    }
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
    /// What can be shown.
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
    past: &mut Past,
    stop: &AtomicBool,
    mut seen: impl FnMut(Version<'_>),
) -> Result<Reach, Error> {
    let Past { snapshot, captured } = past;
    let end = captured.as_ref().map(|captured| captured.end);
    let mut reach = Reach::default();
    let mut last = 0;
    let damaged = |source| snapshot.damaged(source);
    let mut walk = snapshot.database().walk();
    for bucket in walk.buckets().map_err(damaged)? {
        let mut cursor = walk.cursor(&bucket).map_err(damaged)?;
        while cursor.advance().map_err(damaged)? {
            not_stopped(stop)?;
            let (key, value) = (cursor.key(), cursor.value());
            match bucket.name.as_slice() {
                b"key" => {
                    let main = entry(snapshot, key, value, end, &mut seen)?;
                    last = last.max(main);
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
    reach.to = end.unwrap_or(last).max(reach.from);
    if let Some(Captured { changes, .. }) = captured {
        let failed = |source| Error::Changes { source };
        changes.each(failed, |key, value| {
            not_stopped(stop)?;
            // What the snapshot has already is dropped.
            let is_behind = Revision::from_key(key).is_none_or(|(at, _)| at.main > last);
            if is_behind {
                entry(snapshot, key, value, end, &mut seen)?;
            }
            Ok(())
        })?;
    }
    Ok(reach)
}

/// Shows an entry, where it is one that counts; gives its revision.
fn entry(
    snapshot: &Snapshot,
    key: &[u8],
    value: &[u8],
    end: Option<u64>,
    seen: &mut impl FnMut(Version<'_>),
) -> Result<u64, Error> {
    let (revision, deletion) = Revision::from_key(key).ok_or_else(|| {
        let why = format!("its key of {} bytes is no revision", key.len());
        unreadable(snapshot, Revision::default(), why)
    })?;
    // Without a value: the mark of a raised revision.
    let is_mark = value.is_empty() && !deletion;
    if !is_mark && end.is_none_or(|end| revision.main <= end) {
        let entry = KeyValue::decode(value)
            .map_err(|why| unreadable(snapshot, revision, why.to_string()))?;
        seen(Version {
            revision,
            deletion,
            entry,
        });
    }
    Ok(revision.main)
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
    past: &mut Past,
    at: Option<u64>,
    wanted: impl Fn(&[u8]) -> bool,
    stop: &AtomicBool,
) -> Result<State, Error> {
    let mut keys = BTreeMap::new();
    let reach = versions(past, stop, |version| {
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
            path: past.snapshot.path().display().to_string(),
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
    past: &mut Past,
    state: &State,
    stop: &AtomicBool,
    mut seen: impl FnMut(Version<'_>),
) -> Result<(), Error> {
    versions(past, stop, |version| {
        if state.keys.get(version.entry.key) == Some(&version.revision) {
            seen(version);
        }
    })?;
    Ok(())
}
