//! Forgetting snapshots and giving back their space.
//!
//! In two phases. **Mark**, beside running backups (shared lock): packs that no snapshot needs are written down,
//! and what is still needed of packs that are mostly waste is copied into new ones. Nothing is removed. **Sweep**,
//! alone (exclusive lock), a grace period later: what is needed is found out anew, and of the packs that were marked
//! long enough ago those go that still nobody needs; first from the index, then from the store.
//!
//! One listing never decides: a pack goes when two walks, a grace period apart, did not reach it, and no walk
//! counts in which a snapshot was missing that the caller knows of.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use salvor_storage::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::copying;
use crate::damage;
use crate::error::{Error, Result};
use crate::files::{Kind, Listed};
use crate::format::index_file::IndexFile;
use crate::format::snapshot::Snapshot;
use crate::id::{BlobId, FileId};
use crate::index::Index;
use crate::loading::lost;
use crate::lock::Lock;
use crate::progress::Progress;
use crate::reach::Reached;
use crate::repository::Repository;

/// A pack is copied when more than this share of it is waste, in percent.
const WASTE: u64 = 50;

/// Least time between a mark and the sweep: longer than any backup runs.
pub const GRACE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a mark writes down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    version: u32,
    time: Timestamp,
    packs: BTreeSet<FileId>,
}

/// Marks with their files.
type Marks = Vec<(FileId, Mark)>;

/// Version of [`Mark`].
const VERSION: u32 = 1;

/// What marking found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marked {
    /// Packs that may go.
    pub packs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Packs of which the needed rest was copied; they are among those that may go.
    pub copied: usize,
    /// Bytes of needed blobs that were copied.
    pub copied_bytes: u64,
}

/// What sweeping did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Packs that were removed.
    pub packs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Marked packs that a snapshot needs again.
    pub needed_again: usize,
    /// Marked packs whose grace period is not over.
    pub waiting: usize,
    /// Marked packs that a retention rule of the store still keeps. They stay marked and in the index.
    pub retained: usize,
}

/// Removes snapshots. Their data stays until a sweep.
///
/// # Errors
/// The store fails; those before the one that failed are gone.
pub fn forget(repository: &Repository, lock: &Lock, snapshots: &[FileId]) -> Result<()> {
    for id in snapshots {
        lock.check()?;
        repository.files().remove(Kind::Snapshot, id)?;
    }
    Ok(())
}

/// What is known of a pack.
#[derive(Clone, Debug, Default)]
struct Use {
    needed: u64,
    wasted: u64,
}

/// Marks what no snapshot needs. `known` are snapshots that must be there (those of recovery points).
///
/// # Errors
/// A known snapshot is missing, damage, the lock was lost, or the store fails.
pub fn mark(
    repository: &Repository,
    lock: &Lock,
    known: &[FileId],
    progress: &Progress,
) -> Result<Marked> {
    // Packs first: one that is uploaded after this is in no mark.
    let stored = packs(repository)?;
    let snapshots = repository.snapshots()?;
    let index = repository.load_index()?;
    let reached = walk(repository, &index, snapshots, known, progress)?;
    let bad = Bad::of(repository, &index, &stored, &marks(repository)?.0)?;
    let uses = uses(&index, &reached, &bad)?;
    let mut marked = Marked::default();
    let mut gone = BTreeSet::new();
    let mut copy = Vec::new();
    for (number, (id, used)) in index.packs().iter().zip(&uses).enumerate() {
        let Some(listed) = stored.get(id) else {
            continue;
        };
        let all = used.needed + used.wasted;
        // Out of a damaged pack nothing is copied: it stays as it is while a snapshot needs something of it.
        let mostly_waste = used.wasted * 100 > all * WASTE && !bad.damaged.contains(id);
        if used.needed == 0 || mostly_waste {
            marked.packs += 1;
            marked.bytes += listed.size;
            gone.insert(*id);
        }
        if used.needed > 0 && mostly_waste {
            marked.copied += 1;
            copy.push(number as u32);
        }
    }
    // Packs that no index names: of backups that did not end, or that have not written their index yet. The
    // grace period tells them apart. Where a snapshot lacks something, it may be in one of them.
    let indexed: BTreeSet<&FileId> = index.packs().iter().collect();
    for (id, listed) in &stored {
        if !indexed.contains(id) && !reached.lacks_data {
            marked.packs += 1;
            marked.bytes += listed.size;
            gone.insert(*id);
        }
    }
    marked.copied_bytes = copy_needed(repository, &index, &reached, &copy, progress)?;
    lock.check_stored()?;
    if !gone.is_empty() {
        let mark = Mark {
            version: VERSION,
            time: Timestamp::now(),
            packs: gone,
        };
        repository.write_document(Kind::Mark, &mark)?;
    }
    Ok(marked)
}

/// Removes what was marked at least `grace` ago and is still not needed. `lock` must be exclusive.
///
/// # Errors
/// A known snapshot is missing, damage, the lock was lost, or the store fails. What was not removed is by the
/// next sweep.
pub fn sweep(
    repository: &Repository,
    lock: &Lock,
    known: &[FileId],
    grace: SignedDuration,
    progress: &Progress,
) -> Result<Swept> {
    if !lock.is_exclusive() {
        return Err(Error::Invalid(
            "a sweep needs the repository for itself".to_owned(),
        ));
    }
    let stored = packs(repository)?;
    let snapshots = repository.snapshots()?;
    let index = repository.load_index()?;
    let reached = walk(repository, &index, snapshots, known, progress)?;
    let (marks, unreadable) = marks(repository)?;
    let mut needed = needed_packs(repository, &index, &reached, &stored, &marks)?;
    if reached.lacks_data {
        // It may be in a pack that no index names.
        let indexed: BTreeSet<&FileId> = index.packs().iter().collect();
        needed.extend(stored.keys().filter(|id| !indexed.contains(id)));
    }
    let now = Timestamp::now();
    let mut swept = Swept::default();
    let mut gone = BTreeSet::new();
    let mut done = Vec::new();
    let mut waiting = BTreeSet::new();
    for (file, mark) in marks {
        if now.duration_since(mark.time) < grace {
            waiting.extend(mark.packs.difference(&needed).copied());
            continue;
        }
        swept.needed_again += mark.packs.intersection(&needed).count();
        gone.extend(mark.packs.difference(&needed).copied());
        done.push(file);
    }
    waiting.retain(|pack| !gone.contains(pack));
    swept.waiting = waiting.len();
    let retained = retained(repository, &stored, &gone, now)?;
    swept.retained = retained.len();
    if !retained.is_empty() {
        // Those marks are needed for what stays.
        done.clear();
        gone.retain(|pack| !retained.contains(pack));
    }
    lock.check_stored()?;
    drop_blobs(repository, &index, |pack, _| gone.contains(pack))?;
    for id in &gone {
        progress.check()?;
        lock.check()?;
        if let Some(listed) = stored.get(id) {
            repository.files().remove(Kind::Pack, id)?;
            swept.packs += 1;
            swept.bytes += listed.size;
        }
    }
    for file in done.iter().chain(&unreadable) {
        unmark(repository, file)?;
    }
    Ok(swept)
}

/// Packs that hold what the snapshots need; of a blob that stands several times, one that is not marked.
fn needed_packs(
    repository: &Repository,
    index: &Index,
    reached: &Reached,
    stored: &BTreeMap<FileId, Listed>,
    marks: &[(FileId, Mark)],
) -> Result<BTreeSet<FileId>> {
    let bad = Bad::of(repository, index, stored, marks)?;
    Ok(index
        .packs()
        .iter()
        .zip(uses(index, reached, &bad)?)
        .filter(|(_, used)| used.needed > 0)
        .map(|(id, _)| *id)
        .collect())
}

fn marked_packs(marks: &[(FileId, Mark)]) -> BTreeSet<FileId> {
    marks
        .iter()
        .flat_map(|(_, mark)| mark.packs.iter().copied())
        .collect()
}

/// What must be kept for what the snapshots need.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    /// Packs.
    pub(crate) packs: BTreeSet<FileId>,
    /// Index files without those that name a pack which is to go: it goes when they do.
    pub(crate) indexes: BTreeSet<FileId>,
}

/// Finds out what is needed. `known` are snapshots that must be there.
///
/// # Errors
/// As [`mark`].
pub(crate) fn needed(
    repository: &Repository,
    known: &[FileId],
    progress: &Progress,
) -> Result<Needed> {
    let stored = packs(repository)?;
    let snapshots = repository.snapshots()?;
    let index = repository.load_index()?;
    let reached = walk(repository, &index, snapshots, known, progress)?;
    let (marks, _) = marks(repository)?;
    let packs = needed_packs(repository, &index, &reached, &stored, &marks)?;
    let goes: BTreeSet<FileId> = marked_packs(&marks).difference(&packs).copied().collect();
    let mut indexes = BTreeSet::new();
    for id in index.files() {
        let file: IndexFile = repository.read_document(Kind::Index, id)?;
        if !file.packs.iter().any(|pack| goes.contains(&pack.id)) {
            indexes.insert(*id);
        }
    }
    Ok(Needed { packs, indexes })
}

/// Of packs that may go, those that a retention rule of the store keeps, or that an index file names which it keeps: removed
/// now, they would be hidden and not gone, and on other stores the removal is refused half-way.
fn retained(
    repository: &Repository,
    stored: &BTreeMap<FileId, Listed>,
    gone: &BTreeSet<FileId>,
    now: Timestamp,
) -> Result<BTreeSet<FileId>> {
    if gone.is_empty() {
        return Ok(BTreeSet::new());
    }
    let Some(retention) = repository.files().retention()? else {
        return Ok(BTreeSet::new());
    };
    let is_kept = |kind: Kind, listed: &Listed| -> Result<bool> {
        let ends = listed
            .modified
            .and_then(|written| written.checked_add(retention.period).ok());
        // What nobody knows the age of is taken for new; and while it was needed, it may have been extended.
        if ends.is_none_or(|ends| ends > now) {
            return Ok(true);
        }
        let until = repository.files().retained_until(&kind.path(&listed.id))?;
        Ok(until.is_some_and(|until| until > now))
    };
    let mut kept = BTreeSet::new();
    for listed in gone.iter().filter_map(|id| stored.get(id)) {
        if is_kept(Kind::Pack, listed)? {
            kept.insert(listed.id);
        }
    }
    for listed in repository.files().list(Kind::Index)? {
        let file: IndexFile = repository.read_document(Kind::Index, &listed.id)?;
        let named: Vec<FileId> = file
            .packs
            .iter()
            .map(|pack| pack.id)
            .filter(|id| gone.contains(id) && !kept.contains(id))
            .collect();
        if !named.is_empty() && is_kept(Kind::Index, &listed)? {
            kept.extend(named);
        }
    }
    Ok(kept)
}

/// Removes a mark whose packs are gone. One that the store keeps says nothing any more, and the next sweep tries again.
fn unmark(repository: &Repository, mark: &FileId) -> Result<()> {
    match repository.files().remove(Kind::Mark, mark) {
        Err(Error::Store { source, .. }) if source.kind == ErrorKind::Locked => {
            tracing::debug!(%mark, "the store keeps a mark that is done with");
            Ok(())
        }
        other => other,
    }
}

fn packs(repository: &Repository) -> Result<BTreeMap<FileId, Listed>> {
    let listed = repository.files().list(Kind::Pack)?;
    Ok(listed.into_iter().map(|file| (file.id, file)).collect())
}

/// What the snapshots need; refused when a known one is missing: the listing cannot be trusted then.
fn walk(
    repository: &Repository,
    index: &Index,
    snapshots: Vec<(FileId, Snapshot)>,
    known: &[FileId],
    progress: &Progress,
) -> Result<Reached> {
    let reached = Reached::walk(repository, index, snapshots, progress)?;
    let listed: BTreeSet<&FileId> = reached.snapshots.iter().collect();
    let missing: Vec<String> = known
        .iter()
        .filter(|id| !listed.contains(id))
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return Ok(reached);
    }
    Err(Error::Invalid(format!(
        "the repository at {} does not list snapshots that recovery points need ({}); nothing was removed: either the listing is cut off, or they were removed by another program",
        repository.files().place(),
        missing.join(", ")
    )))
}

/// Packs that must not be what a needed blob is kept by while another has it.
struct Bad {
    /// The index names them and the store has them not, or not in full length.
    lost: BTreeSet<FileId>,
    /// A check found them damaged.
    damaged: BTreeSet<FileId>,
    /// They are to go. What an earlier mark copied is so not copied again.
    marked: BTreeSet<FileId>,
}

impl Bad {
    fn of(
        repository: &Repository,
        index: &Index,
        stored: &BTreeMap<FileId, Listed>,
        marks: &[(FileId, Mark)],
    ) -> Result<Self> {
        Ok(Self {
            lost: lost(index, |id| stored.get(id).map(|listed| listed.size))?,
            damaged: damage::known(repository)?.packs,
            marked: marked_packs(marks),
        })
    }

    /// How bad it is that a blob stands in a pack.
    fn badness(&self, id: &FileId) -> u8 {
        if self.lost.contains(id) {
            3
        } else if self.damaged.contains(id) {
            2
        } else {
            u8::from(self.marked.contains(id))
        }
    }
}

/// Needed and wasted bytes of every pack, by number. Of a blob that stands several times, the one in the best pack is needed.
fn uses(index: &Index, reached: &Reached, bad: &Bad) -> Result<Vec<Use>> {
    let badness: Vec<u8> = index.packs().iter().map(|id| bad.badness(id)).collect();
    let mut uses = vec![Use::default(); index.packs().len()];
    let mut blobs = index.blobs().enumerate().peekable();
    while let Some((first, blob)) = blobs.next() {
        let (kind, id, place) = blob?;
        let mut places = vec![place];
        let mut needed = reached.needs(first);
        while let Some((ordinal, Ok((_, _, place)))) = blobs.next_if(
            |(_, next)| matches!(next, Ok((other, same, _)) if (*other, *same) == (kind, id)),
        ) {
            places.push(place);
            needed |= reached.needs(ordinal);
        }
        let kept = (0..places.len()).min_by_key(|at| badness[places[*at].pack as usize]);
        for (i, place) in places.iter().enumerate() {
            let used = &mut uses[place.pack as usize];
            if needed && Some(i) == kept {
                used.needed += u64::from(place.length);
            } else {
                used.wasted += u64::from(place.length);
            }
        }
    }
    Ok(uses)
}

/// All marks, and those that cannot be read.
fn marks(repository: &Repository) -> Result<(Marks, Vec<FileId>)> {
    let (mut marks, mut unreadable) = (Marks::new(), Vec::new());
    for file in repository.files().list(Kind::Mark)? {
        let mark: Mark = match repository.read_document(Kind::Mark, &file.id) {
            // What it named is marked again, and waits once more.
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "a mark cannot be read and is passed over");
                unreadable.push(file.id);
                continue;
            }
            other => other?,
        };
        if mark.version != VERSION {
            return Err(Error::Invalid(format!(
                "{} has version {} and this program knows {VERSION}: use a newer one",
                Kind::Mark.path(&file.id),
                mark.version
            )));
        }
        marks.push((file.id, mark));
    }
    Ok((marks, unreadable))
}

/// Copies what is needed of some packs into new ones, as it is sealed. Returns how many bytes.
fn copy_needed(
    repository: &Repository,
    index: &Index,
    reached: &Reached,
    from: &[u32],
    progress: &Progress,
) -> Result<u64> {
    let wanted: BTreeSet<u32> = from.iter().copied().collect();
    let blobs = index
        .by_pack(|ordinal, _, _, place| wanted.contains(&place.pack) && reached.needs(ordinal))?;
    if blobs.len() == 0 {
        return Ok(0);
    }
    let named = blobs
        .blobs()
        .map(|blob| blob.map(|(number, blob)| (index.pack(number), blob)));
    copying::copy(repository, index, named, progress)
}

/// Writes index files anew that name blobs which go: the new ones first, so that no needed blob is ever in none.
pub(crate) fn drop_blobs(
    repository: &Repository,
    index: &Index,
    goes: impl Fn(&FileId, &BlobId) -> bool,
) -> Result<()> {
    let mut old = Vec::new();
    for id in index.files() {
        let mut file: IndexFile = repository.read_document(Kind::Index, id)?;
        let before: usize = file.packs.iter().map(|pack| pack.blobs.len()).sum();
        for pack in &mut file.packs {
            let number = pack.id;
            pack.blobs.retain(|blob| !goes(&number, &blob.id));
        }
        file.packs.retain(|pack| !pack.blobs.is_empty());
        let after: usize = file.packs.iter().map(|pack| pack.blobs.len()).sum();
        if after == before {
            continue;
        }
        old.push(*id);
        if after > 0 {
            file.supersedes = vec![*id];
            repository.write_document(Kind::Index, &file)?;
        }
    }
    for id in old {
        repository.files().remove(Kind::Index, &id)?;
    }
    Ok(())
}
