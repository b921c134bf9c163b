//! Repair of the index: what the packs themselves say, when index files were lost or name what is gone.
//!
//! A damaged pack goes out of the index as a whole: what can be read of it is copied into new packs first. The file itself
//! stays for a while, for readers that have an older index in hand and for whoever knows how to mend it; a note says that
//! it is damaged, so that no later repair takes it in again, and a prune removes it in its two steps.

use std::collections::BTreeSet;

use crate::check::{self, DamagedPack};
use crate::copying;
use crate::damage;
use crate::error::{Error, Result};
use crate::files::{Kind, Listed};
use crate::format::index_file::{IndexFile, IndexedBlob, IndexedPack};
use crate::format::pack;
use crate::id::FileId;
use crate::index::Index;
use crate::loading::Readable;
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
    /// Blobs that were in damaged packs, cannot be read and stand nowhere else.
    pub lost_blobs: usize,
    /// Damaged packs that no index names any more.
    pub taken_out: Vec<FileId>,
    /// Bytes of what was whole in them and stood nowhere else; it is in new packs.
    pub saved_bytes: u64,
    /// Packs that could not be read; they are left as they are.
    pub damaged: Vec<FileId>,
}

/// Makes the index say what the packs say. `lock` must be exclusive. Nothing but index files is removed.
///
/// With `read_data` every pack is read, and those that are damaged are taken out of the index, after what is whole in them
/// was copied: a later backup that meets the content of the rest stores it again, and every snapshot that needs it is
/// whole again.
///
/// # Errors
/// The lock was lost or the store fails.
pub fn index(
    repository: &Repository,
    lock: &Lock,
    read_data: bool,
    progress: &Progress,
) -> Result<RepairedIndex> {
    assert_alone(lock)?;
    // What a cache has says nothing of what the store has.
    let repository = &repository.uncached();
    let stored = repository.files().list(Kind::Pack)?;
    let Readable {
        index,
        damaged: unreadable,
    } = repository.load_readable_index()?;
    let mut repaired = RepairedIndex::default();
    let mut damaged = add_unindexed(
        repository,
        lock,
        &stored,
        &index,
        read_data,
        &mut repaired,
        progress,
    )?;
    let there: BTreeSet<&FileId> = stored.iter().map(|listed| &listed.id).collect();
    let gone: BTreeSet<FileId> = index
        .packs()
        .iter()
        .filter(|id| !there.contains(id))
        .copied()
        .collect();
    if read_data {
        damaged.extend(check::damaged_packs(repository, &index, &gone, progress)?);
    }
    lock.check()?;
    take_out(
        repository,
        lock,
        index,
        &gone,
        damaged,
        &mut repaired,
        progress,
    )?;
    repaired.dropped = gone.len();
    for (id, why) in &unreadable {
        tracing::warn!(index = %id, why, "an index file that cannot be read is removed");
        repository.files().remove(Kind::Index, id)?;
    }
    repaired.unreadable = unreadable.len();
    Ok(repaired)
}

/// Puts files in the folder of snapshots that cannot be read aside, byte for byte: what only they needed is then needed by
/// nothing. `lock` must be exclusive. Returned are those that were.
///
/// # Errors
/// The lock was lost or the store fails. A copy that was written before a crash is found by the next call.
pub fn set_aside_snapshots(repository: &Repository, lock: &Lock) -> Result<Vec<FileId>> {
    assert_alone(lock)?;
    let repository = &repository.uncached();
    let files = repository.files();
    let mut done = Vec::new();
    for (id, _) in repository.readable_snapshots()?.damaged {
        lock.check()?;
        let bytes = files.read_as_it_is(Kind::Snapshot, &id)?;
        files.write_named(Kind::SetAside, id, bytes)?;
        files.remove(Kind::Snapshot, &id)?;
        done.push(id);
    }
    Ok(done)
}

fn assert_alone(lock: &Lock) -> Result<()> {
    if lock.is_exclusive() {
        return Ok(());
    }
    Err(Error::Invalid(
        "a repair needs the repository for itself".to_owned(),
    ))
}

/// Writes index files for packs that none names. Answers those that are damaged: known ones are read, with `read_data` all.
fn add_unindexed(
    repository: &Repository,
    lock: &Lock,
    stored: &[Listed],
    index: &Index,
    read_data: bool,
    repaired: &mut RepairedIndex,
    progress: &Progress,
) -> Result<Vec<DamagedPack>> {
    let known = damage::known(repository)?.packs;
    let indexed: BTreeSet<&FileId> = index.packs().iter().collect();
    let mut damaged = Vec::new();
    let mut waiting = Vec::new();
    let mut count = 0;
    for listed in stored.iter().filter(|listed| !indexed.contains(&listed.id)) {
        progress.check()?;
        let is_known = known.contains(&listed.id);
        let blobs = match read_header(repository, listed) {
            Ok(blobs) => blobs,
            Err(error) if error.is_damage() && is_known => continue,
            Err(error) if error.is_damage() => {
                tracing::warn!(pack = %listed.id, %error, "a pack cannot be read");
                repaired.damaged.push(listed.id);
                continue;
            }
            Err(error) => return Err(error),
        };
        if read_data || is_known {
            let blobs = blobs.clone();
            let found = check::look_at_unindexed(repository, listed.id, listed.size, blobs)?;
            if let Some(found) = found {
                damaged.push(found);
                continue;
            }
        }
        count += blobs.len();
        repaired.added += 1;
        waiting.push(IndexedPack {
            id: listed.id,
            blobs,
        });
        if count >= INDEX_BLOBS {
            lock.check()?;
            write(repository, std::mem::take(&mut waiting))?;
            count = 0;
        }
    }
    lock.check()?;
    write(repository, waiting)?;
    Ok(damaged)
}

/// Takes packs that are gone or damaged out of the index, after what is whole in them was copied.
fn take_out(
    repository: &Repository,
    lock: &Lock,
    index: Index,
    gone: &BTreeSet<FileId>,
    damaged: Vec<DamagedPack>,
    repaired: &mut RepairedIndex,
    progress: &Progress,
) -> Result<()> {
    let indexed: BTreeSet<FileId> = index.packs().iter().copied().collect();
    let bad: BTreeSet<FileId> = damaged.iter().map(|pack| pack.id).collect();
    // First: whatever happens from here on, nobody counts on them.
    damage::note_packs(repository, &bad)?;
    let index = index.retain(|id| !gone.contains(id) && !bad.contains(id))?;
    let mut saved = BTreeSet::new();
    let mut whole = Vec::new();
    for pack in &damaged {
        for blob in &pack.whole {
            if !index.has(blob.kind, &blob.id)? && saved.insert(blob.id) {
                whole.push((pack.id, *blob));
            }
        }
    }
    if !whole.is_empty() {
        let blobs = whole.into_iter().map(Ok);
        repaired.saved_bytes = copying::copy(repository, &index, blobs, progress)?;
    }
    let mut lost = BTreeSet::new();
    for pack in damaged.iter().filter(|pack| indexed.contains(&pack.id)) {
        for blob in &pack.lost {
            if !index.has(blob.kind, &blob.id)? && !saved.contains(&blob.id) {
                lost.insert(blob.id);
            }
        }
        repaired.taken_out.push(pack.id);
    }
    repaired.lost_blobs = lost.len();
    lock.check()?;
    drop_blobs(repository, &index, |pack, _| {
        gone.contains(pack) || bad.contains(pack)
    })
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
