//! Repair of the index: what the packs themselves say, when index files were lost or name what is gone.

use std::collections::BTreeSet;

use crate::check;
use crate::error::{Error, Result};
use crate::files::{Kind, Listed};
use crate::format::index_file::{IndexFile, IndexedBlob, IndexedPack};
use crate::format::pack;
use crate::id::FileId;
use crate::index::{Index, IndexBuilder, NotTaken};
use crate::lock::Lock;
use crate::progress::Progress;
use crate::prune::drop_blobs;
use crate::repository::Repository;

/// Blobs of an index file that is written.
const INDEX_BLOBS: usize = 50_000;

/// What a repair of the index did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairedIndex {
    /// Packs that no index named and now one does.
    pub added: usize,
    /// Packs that the index named and that are not there; it names them no more.
    pub dropped: usize,
    /// Index files that could not be read and were removed, after everything in them was found in the packs.
    pub unreadable: usize,
    /// Damaged blobs that the index named and names no more.
    pub lost_blobs: usize,
    /// Packs that could not be read; they are left as they are.
    pub damaged: Vec<FileId>,
}

/// Makes the index say what the packs say. `lock` must be exclusive. Nothing but index files is removed.
///
/// With `read_data` every pack is read, and blobs that are damaged are taken out of the index: a later backup that
/// meets the same content stores it again, and every snapshot that needs it is whole again.
///
/// # Errors
/// The lock was lost or the store fails.
pub fn index(
    repository: &Repository,
    lock: &Lock,
    read_data: bool,
    progress: &Progress,
) -> Result<RepairedIndex> {
    if !lock.is_exclusive() {
        return Err(Error::Invalid(
            "a repair needs the repository for itself".to_owned(),
        ));
    }
    // What a cache has says nothing of what the store has.
    let repository = &repository.uncached();
    let stored = repository.files().list(Kind::Pack)?;
    let (index, unreadable) = readable_index(repository)?;
    let mut repaired = RepairedIndex::default();
    let indexed: BTreeSet<&FileId> = index.packs().iter().collect();
    let mut waiting = Vec::new();
    let mut blobs = 0;
    for listed in stored.iter().filter(|listed| !indexed.contains(&listed.id)) {
        progress.check()?;
        match read_header(repository, listed) {
            Ok(found) => {
                blobs += found.len();
                repaired.added += 1;
                waiting.push(IndexedPack {
                    id: listed.id,
                    blobs: found,
                });
            }
            Err(error) if error.is_damage() => {
                tracing::warn!(pack = %listed.id, %error, "a pack cannot be read");
                repaired.damaged.push(listed.id);
            }
            Err(error) => return Err(error),
        }
        if blobs >= INDEX_BLOBS {
            lock.check()?;
            write(repository, std::mem::take(&mut waiting))?;
            blobs = 0;
        }
    }
    lock.check()?;
    write(repository, waiting)?;
    let there: BTreeSet<&FileId> = stored.iter().map(|listed| &listed.id).collect();
    let gone: BTreeSet<FileId> = index
        .packs()
        .iter()
        .filter(|id| !there.contains(id))
        .copied()
        .collect();
    let lost = if read_data {
        check::damaged_blobs(repository, &index, &gone, progress)?
    } else {
        BTreeSet::new()
    };
    lock.check()?;
    drop_blobs(repository, &index, |pack, blob| {
        gone.contains(pack) || lost.contains(&(*pack, *blob))
    })?;
    repaired.dropped = gone.len();
    repaired.lost_blobs = lost.len();
    for id in &unreadable {
        repository.files().remove(Kind::Index, id)?;
    }
    repaired.unreadable = unreadable.len();
    Ok(repaired)
}

/// What can be read of the index, and the files that cannot.
fn readable_index(repository: &Repository) -> Result<(Index, Vec<FileId>)> {
    let mut builder = IndexBuilder::new(repository.scratch().clone());
    let mut unreadable = Vec::new();
    for file in repository.files().list(Kind::Index)? {
        let read = || repository.read_document::<IndexFile>(Kind::Index, &file.id);
        // What a line or a cache has garbled once must not be given up.
        match read().or_else(|error| {
            if error.is_damage() {
                read()
            } else {
                Err(error)
            }
        }) {
            Ok(index) => match builder.add(file.id, &index) {
                Ok(()) => {}
                Err(NotTaken::Impossible(what)) => {
                    tracing::warn!(index = %file.id, what, "an index file says what cannot be");
                    unreadable.push(file.id);
                }
                Err(no_place) => return Err(no_place.error(&file.id, repository)),
            },
            Err(error) if error.is_damage() => unreadable.push(file.id),
            Err(error) => return Err(error),
        }
    }
    let index = builder
        .finish()
        .map_err(|e| repository.no_place_for_index(e))?;
    Ok((index, unreadable))
}

/// The blobs of a pack, as its own header lists them.
fn read_header(repository: &Repository, listed: &Listed) -> Result<Vec<IndexedBlob>> {
    let files = repository.files();
    let damaged = |what: String| files.damaged(Kind::Pack.path(&listed.id), what);
    if listed.size < 4 {
        return Err(damaged(
            "it is shorter than the length of a header".to_owned(),
        ));
    }
    let last = files.read_range(Kind::Pack, &listed.id, listed.size - 4, 4)?;
    let last: [u8; 4] = last
        .as_ref()
        .try_into()
        .map_err(|_| damaged("its end cannot be read".to_owned()))?;
    let range = pack::header_range(listed.size, last).map_err(damaged)?;
    let sealed = files.read_range(Kind::Pack, &listed.id, range.start, range.end - range.start)?;
    let header = repository
        .key()
        .open(&sealed)
        .map_err(|_| damaged("its header is not sealed with the repository's key".to_owned()))?;
    pack::read_header(&header, range.start).map_err(damaged)
}

fn write(repository: &Repository, packs: Vec<IndexedPack>) -> Result<()> {
    if packs.is_empty() {
        return Ok(());
    }
    let file = IndexFile {
        supersedes: Vec::new(),
        packs,
    };
    repository.write_document(Kind::Index, &file).map(|_| ())
}
