//! What a repository has: its index and its snapshots, also where some of their files are damaged.
//!
//! Whoever removes something needs all of them and stops at the first that cannot be read. Whoever adds or reads goes on
//! with the others, and says which are missing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::PoisonError;

use crate::damage;
use crate::error::{Error, Result};
use crate::files::Kind;
use crate::format::index_file::IndexFile;
use crate::format::snapshot::Snapshot;
use crate::id::FileId;
use crate::index::{Index, IndexBuilder, NotTaken};
use crate::repository::Repository;

/// How often a listing is repeated of which files vanished while they were read: whoever rewrites an index writes the new
/// file before the old one goes, so the next listing has it.
const LISTINGS: usize = 3;

/// The snapshots of a repository.
#[derive(Clone, Debug, Default)]
#[must_use = "look at `damaged`: what cannot be read is not among those that can"]
pub struct Snapshots {
    /// Those that can be read, oldest first.
    pub all: Vec<(FileId, Snapshot)>,
    /// Files in the folder of snapshots that cannot be read, and why.
    pub damaged: Vec<(FileId, String)>,
}

/// The index as far as it can be read.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) index: Index,
    /// Index files that cannot be read, and why.
    pub(crate) damaged: Vec<(FileId, String)>,
}

/// Packs that an index names and nobody should count on.
struct Bad {
    /// The store has them not, or not in full length.
    lost: HashSet<FileId>,
    /// A check found them damaged.
    noted: BTreeSet<FileId>,
}

impl Repository {
    /// All index files together.
    ///
    /// # Errors
    /// Damage, [`Error::IndexTooLarge`], or the store fails.
    pub fn load_index(&self) -> Result<Index> {
        let listed = self.files().list(Kind::Index)?;
        self.files().keep_cached(Kind::Index, &listed);
        let mut builder = IndexBuilder::new(self.scratch().clone());
        for file in listed {
            let index: IndexFile = self.read_document(Kind::Index, &file.id)?;
            builder
                .add(file.id, &index)
                .map_err(|what| what.error(&file.id, self))?;
        }
        builder.finish().map_err(|e| self.no_place_for_index(e))
    }

    /// All index files that can be read.
    ///
    /// # Errors
    /// [`Error::IndexTooLarge`], or the store fails.
    pub(crate) fn load_readable_index(&self) -> Result<Readable> {
        for _ in 1..LISTINGS {
            let (readable, vanished) = self.load_once()?;
            if !vanished {
                return Ok(readable);
            }
        }
        self.load_once().map(|(readable, _)| readable)
    }

    /// One listing, and whether a file of it was gone when it was read.
    fn load_once(&self) -> Result<(Readable, bool)> {
        let listed = self.files().list(Kind::Index)?;
        self.files().keep_cached(Kind::Index, &listed);
        let mut builder = IndexBuilder::new(self.scratch().clone());
        let mut damaged = Vec::new();
        let mut vanished = false;
        for file in listed {
            let read = || self.read_document::<IndexFile>(Kind::Index, &file.id);
            // What a line or a cache has garbled once must not be given up.
            let index = read().or_else(|error| match error.is_damage() {
                true => read(),
                false => Err(error),
            });
            match index {
                Ok(index) => match builder.add(file.id, &index) {
                    Ok(()) => {}
                    Err(NotTaken::Impossible(what)) => damaged.push((file.id, what)),
                    Err(no_place) => return Err(no_place.error(&file.id, self)),
                },
                Err(error) if error.is_damage() => {
                    vanished |= is_gone(&error);
                    damaged.push((file.id, error.reason()));
                }
                Err(error) => return Err(error),
            }
        }
        let index = builder.finish().map_err(|e| self.no_place_for_index(e))?;
        Ok((Readable { index, damaged }, vanished))
    }

    /// The index for writers, without blobs in packs that nobody should count on: those that the store has not, or not in
    /// full length, and those that a check found damaged. What was in them must be stored again and not be taken for
    /// there; so must what an index file named that cannot be read.
    ///
    /// # Errors
    /// [`Error::IndexTooLarge`], a note of a newer version, or the store fails.
    pub fn load_index_of_stored(&self) -> Result<Index> {
        let (index, bad) = self.load_index_and_bad()?;
        if !bad.lost.is_empty() || !bad.noted.is_empty() {
            tracing::warn!(
                lost = bad.lost.len(),
                damaged = bad.noted.len(),
                "packs are gone, cut off or known to be damaged; what was in them is stored again where it is met"
            );
        }
        index.retain(|id| !bad.lost.contains(id) && !bad.noted.contains(id))
    }

    /// The index for readers. Of a blob that stands several times, the place that is found first is one in a pack that is
    /// there and not known to be damaged; what is lost is still named with its pack.
    ///
    /// # Errors
    /// As [`Repository::load_index_of_stored`].
    pub fn load_index_for_reading(&self) -> Result<Index> {
        let (index, bad) = self.load_index_and_bad()?;
        index.prefer(|id| match (bad.lost.contains(id), bad.noted.contains(id)) {
            (true, _) => 2,
            (false, true) => 1,
            (false, false) => 0,
        })
    }

    fn load_index_and_bad(&self) -> Result<(Index, Bad)> {
        // Before the index: a pack that is written meanwhile is in neither, and is stored once more at worst.
        let stored: HashMap<FileId, u64> = self
            .files()
            .list(Kind::Pack)?
            .into_iter()
            .map(|file| (file.id, file.size))
            .collect();
        let noted = damage::known(self)?.packs;
        let Readable { index, damaged } = self.load_readable_index()?;
        for (id, why) in damaged {
            tracing::warn!(
                index = %id, why,
                "an index file cannot be read and is left out: make it again with `salvor repo repair`"
            );
            self.leave_out(Kind::Index, &id, why);
        }
        let lost = lost(&index, |id| stored.get(id).copied())?;
        Ok((index, Bad { lost, noted }))
    }

    /// All snapshots, oldest first, for whoever removes something: what cannot be read may need anything.
    ///
    /// # Errors
    /// [`Error::UnreadableSnapshot`] where one cannot be read, or the store fails.
    pub fn snapshots(&self) -> Result<Vec<(FileId, Snapshot)>> {
        let Snapshots { all, damaged } = self.readable_snapshots()?;
        match damaged.into_iter().next() {
            None => Ok(all),
            Some((id, what)) => Err(Error::UnreadableSnapshot {
                id,
                place: self.files().place(),
                what,
            }),
        }
    }

    /// All snapshots, and those that cannot be read. One that is removed meanwhile is in neither.
    ///
    /// # Errors
    /// The store fails.
    pub fn readable_snapshots(&self) -> Result<Snapshots> {
        let mut found = Snapshots::default();
        let listed = self.files().list(Kind::Snapshot)?;
        self.files().keep_cached(Kind::Snapshot, &listed);
        for file in listed {
            let read = || self.read_document(Kind::Snapshot, &file.id);
            // What a line has garbled once is read again.
            let snapshot = read().or_else(|error| match error.is_damage() {
                true => read(),
                false => Err(error),
            });
            match snapshot {
                Ok(snapshot) => found.all.push((file.id, snapshot)),
                Err(error) if is_gone(&error) => {}
                Err(error) if error.is_damage() => {
                    found.damaged.push((file.id, error.reason()));
                }
                Err(error) => return Err(error),
            }
        }
        found
            .all
            .sort_by_key(|(id, snapshot): &(FileId, Snapshot)| (snapshot.begun(), *id));
        Ok(found)
    }

    /// The snapshots that can be read, oldest first, for whoever reads or adds. A warning names those that cannot.
    ///
    /// # Errors
    /// The store fails.
    pub fn snapshots_that_read(&self) -> Result<Vec<(FileId, Snapshot)>> {
        let Snapshots { all, damaged } = self.readable_snapshots()?;
        for (id, why) in damaged {
            tracing::warn!(
                snapshot = %id, why,
                "a snapshot cannot be read and is passed over: bring it from a copy with `salvor repo repair --from`, or give it up with `--set-aside-snapshots`"
            );
            self.leave_out(Kind::Snapshot, &id, why);
        }
        Ok(all)
    }

    /// The snapshot whose id begins with `prefix`, or the newest that can be read for `latest`.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], damage, or the store fails.
    pub fn snapshot(&self, prefix: &str) -> Result<(FileId, Snapshot)> {
        if prefix == "latest" {
            let newest = self.snapshots_that_read()?.pop();
            return newest.ok_or_else(|| self.no_snapshot(prefix, 0));
        }
        let id = self.snapshot_id(prefix)?;
        Ok((id, self.read_document(Kind::Snapshot, &id)?))
    }

    /// The id that begins with `prefix`, also of a snapshot that cannot be read.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], or the store fails.
    pub fn snapshot_id(&self, prefix: &str) -> Result<FileId> {
        let matching: Vec<FileId> = self
            .files()
            .list(Kind::Snapshot)?
            .into_iter()
            .map(|file| file.id)
            .filter(|id| id.to_string().starts_with(prefix))
            .collect();
        match matching.as_slice() {
            [id] if !prefix.is_empty() => Ok(*id),
            several => Err(self.no_snapshot(prefix, several.len())),
        }
    }

    /// Index files and snapshots that could not be read and were passed over since this was opened: path and reason.
    #[must_use]
    pub fn left_out(&self) -> Vec<(String, String)> {
        let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let each = left_out.iter();
        each.map(|(path, why)| (path.clone(), why.clone()))
            .collect()
    }

    fn leave_out(&self, kind: Kind, id: &FileId, why: String) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        left_out.insert(kind.path(id), why);
    }

    fn no_snapshot(&self, prefix: &str, count: usize) -> Error {
        Error::NoSnapshot {
            prefix: prefix.to_owned(),
            count,
            place: self.files().place(),
        }
    }
}

/// Whether a file was listed and is not there.
fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Store { source, .. } if source.is_not_found())
}

/// Packs that an index names and that a store has not, or not in full length.
pub(crate) fn lost<B: FromIterator<FileId>>(
    index: &Index,
    size: impl Fn(&FileId) -> Option<u64>,
) -> Result<B> {
    let mut needed = vec![0_u64; index.packs().len()];
    for blob in index.blobs() {
        let (_, _, place) = blob?;
        let end = u64::from(place.offset) + u64::from(place.length);
        let longest = &mut needed[place.pack as usize];
        *longest = end.max(*longest);
    }
    let lost = index
        .packs()
        .iter()
        .zip(needed)
        .filter(|(_, end)| *end > 0)
        .filter(|(id, end)| size(id).is_none_or(|size| size < *end))
        .map(|(id, _)| *id)
        .collect();
    Ok(lost)
}
