//! Whether everything that the snapshots reach is there and whole. Findings are data, not errors.

mod data;
mod walk;

use std::collections::{BTreeSet, HashMap, HashSet};

pub(crate) use self::data::{DamagedPack, damaged_packs, look_at_unindexed};
use crate::damage::{self, Known};
use crate::error::Result;
use crate::files::Kind;
use crate::id::{BlobId, FileId};
use crate::index::{ByPack, Index};
use crate::loading::Readable;
use crate::progress::Progress;
use crate::repository::Repository;

/// How much is looked at; each level includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Every pack that the index names is there, with enough bytes.
    Index,
    /// Every directory of every snapshot reads, and every piece of every file is in the index. Of the packs, those are
    /// read that an earlier check found damaged.
    Trees,
    /// Every byte of every pack is read, and every blob is what its id says.
    Data,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Data is lost or in danger. Otherwise it costs space at most.
    pub is_damage: bool,
    /// Which file, or which snapshot.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

/// What was looked at and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "look at `findings`"]
pub struct Checked {
    /// Packs that the index names.
    pub packs: usize,
    /// Blobs in it.
    pub blobs: usize,
    /// Snapshots.
    pub snapshots: usize,
    /// Bytes of packs that were read.
    pub bytes_read: u64,
    /// Blobs that no snapshot reaches; counted from [`Depth::Trees`] on.
    pub unreachable_blobs: usize,
    /// What was found, sorted.
    pub findings: Vec<Finding>,
    /// Snapshots that damage hits.
    pub damaged_snapshots: Vec<FileId>,
    /// Packs that are damaged, cut off or gone, sorted; also those by which nothing is lost.
    pub damaged_packs: Vec<FileId>,
    /// Index files that cannot be read.
    pub damaged_indexes: Vec<FileId>,
    /// Snapshots that cannot be read; they are among the damaged ones.
    pub unreadable_snapshots: Vec<FileId>,
    /// Packs that are there and that no index names.
    pub unindexed: BTreeSet<FileId>,
    /// The snapshots that were there, from [`Depth::Trees`] on.
    pub walked: Option<BTreeSet<FileId>>,
    /// What was known to be damaged at the beginning and was looked at again.
    pub looked_at: Known,
}

impl Checked {
    /// Whether every snapshot restores, as far as was looked.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.findings.iter().any(|finding| finding.is_damage)
    }
}

/// A share of the packs, for checks that read some of the data each day. Which packs a share has depends on their
/// names alone, so the shares of one cycle together are all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Which, from 0.
    pub part: u8,
    /// Of how many; 0 and 1 mean all packs.
    pub of: u8,
}

impl Share {
    /// All packs.
    pub const ALL: Self = Self { part: 0, of: 1 };

    fn has(self, pack: &FileId) -> bool {
        self.of <= 1 || pack.as_bytes()[31] % self.of == self.part % self.of
    }
}

/// Checks a repository.
///
/// # Errors
/// The store fails in a way that says nothing about the data, or it was cancelled.
pub fn run(repository: &Repository, depth: Depth, progress: &Progress) -> Result<Checked> {
    run_share(repository, depth, Share::ALL, progress)
}

/// The same, where of the data only a share is read. Everything else is looked at whole.
///
/// # Errors
/// As [`run`].
pub fn run_share(
    repository: &Repository,
    depth: Depth,
    share: Share,
    progress: &Progress,
) -> Result<Checked> {
    // What a cache has says nothing of what the store has.
    let repository = &repository.uncached();
    let (known, explained) = damage::explained(repository)?;
    let noted = known.packs;
    let Readable { index, damaged } = repository.load_readable_index()?;
    let mut checked = Checked {
        packs: index.packs().len(),
        blobs: index.len(),
        ..Checked::default()
    };
    let blobs = index.by_pack(|_, _, _, _| true)?;
    let mut packs = packs(repository, &index, &blobs, &noted)?;
    checked.damaged_indexes = damaged.iter().map(|(id, _)| *id).collect();
    checked.findings = unreadable_indexes(damaged);
    checked.findings.append(&mut packs.findings);
    checked.unindexed = std::mem::take(&mut packs.unindexed);
    // What is known to be damaged is looked at each time: it may be mended.
    packs.readable.retain(|number, _| {
        let pack = index.pack(*number);
        noted.contains(&pack) || (depth == Depth::Data && share.has(&pack))
    });
    if depth > Depth::Index {
        let mut walked = look(
            repository,
            &index,
            &blobs,
            &mut packs,
            &mut checked,
            progress,
        )?;
        checked.snapshots = walked.snapshots.len();
        checked.unreachable_blobs = walked.unreachable_blobs;
        checked.damaged_snapshots = walked.damaged_snapshots;
        checked.unreadable_snapshots = walked.unreadable_snapshots;
        checked.findings.append(&mut walked.findings);
        checked.walked = Some(walked.snapshots);
        checked.looked_at = explained;
        let needed = walked.needed_packs.iter().map(|number| index.pack(*number));
        soften(
            &mut checked.findings,
            &packs.damaged,
            &index,
            &needed.collect(),
        );
    }
    let damaged = packs.damaged.keys();
    checked.damaged_packs = damaged.map(|number| index.pack(*number)).collect();
    checked.damaged_packs.sort_unstable();
    checked.findings.sort();
    checked.findings.dedup();
    Ok(checked)
}

/// Reads the packs that are to be read, and walks the snapshots.
fn look(
    repository: &Repository,
    index: &Index,
    blobs: &ByPack,
    packs: &mut Listed,
    checked: &mut Checked,
    progress: &Progress,
) -> Result<walk::Walked> {
    let walk = |damaged: &Damaged| walk::run(repository, index, damaged, progress);
    if packs.readable.is_empty() {
        return walk(&packs.damaged);
    }
    let of = data::Packs {
        index,
        blobs,
        sizes: &packs.readable,
    };
    let (read, walked) = data::read(repository, of, progress, || walk(&packs.damaged))?;
    checked.bytes_read = read.bytes;
    checked.findings.extend(read.findings);
    if read.damaged.is_empty() {
        return Ok(walked);
    }
    // Which files that hits, only a walk that knows of it can say.
    packs.damaged.extend(read.damaged);
    walk(&packs.damaged)
}

fn unreadable_indexes(damaged: Vec<(FileId, String)>) -> Vec<Finding> {
    damaged
        .into_iter()
        .map(|(id, what)| Finding {
            is_damage: true,
            file: Kind::Index.path(&id),
            what: format!("{what}; `salvor repo repair` makes it again from the packs"),
        })
        .collect()
}

/// By a damaged pack nothing is lost when every snapshot has what it needs of it from elsewhere.
fn soften(findings: &mut [Finding], damaged: &Damaged, index: &Index, needed: &HashSet<FileId>) {
    let harmless: HashSet<String> = damaged
        .keys()
        .map(|number| index.pack(*number))
        .filter(|pack| !needed.contains(pack))
        .map(|pack| Kind::Pack.path(&pack))
        .collect();
    for finding in findings
        .iter_mut()
        .filter(|finding| harmless.contains(&finding.file))
    {
        finding.is_damage = false;
        finding.what.push_str(
            "; no snapshot needs what is damaged in it, or it stands whole elsewhere: `salvor repo repair --read-data` takes the pack out of the index",
        );
    }
}

/// What of a pack is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Damage {
    /// Blobs that cannot be had from it; `None` for all of them.
    lost: Option<BTreeSet<BlobId>>,
    /// Its own header is damaged: what is whole in it is found by the index alone.
    header: bool,
}

impl Damage {
    /// Everything.
    const WHOLE: Self = Self {
        lost: None,
        header: true,
    };

    /// Whether a blob of the pack cannot be had from it.
    fn hits(&self, blob: &BlobId) -> bool {
        self.lost.as_ref().is_none_or(|lost| lost.contains(blob))
    }

    /// Whether a blob of the pack is lost, or would be with the index.
    fn endangers(&self, blob: &BlobId) -> bool {
        self.header || self.hits(blob)
    }
}

/// What is damaged, by the number of the pack.
type Damaged = HashMap<u32, Damage>;

/// The packs of the index, as the store lists them.
#[derive(Default)]
struct Listed {
    /// Sizes of those that can be read, by number.
    readable: HashMap<u32, u64>,
    damaged: Damaged,
    unindexed: BTreeSet<FileId>,
    findings: Vec<Finding>,
}

impl Listed {
    fn lost(&mut self, number: u32, file: String, what: String) {
        self.damaged.insert(number, Damage::WHOLE);
        self.findings.push(Finding {
            is_damage: true,
            file,
            what,
        });
    }
}

/// Packs of the index against the packs of the store.
fn packs(
    repository: &Repository,
    index: &Index,
    blobs: &ByPack,
    noted: &BTreeSet<FileId>,
) -> Result<Listed> {
    let mut stored: HashMap<FileId, u64> = repository
        .files()
        .list(Kind::Pack)?
        .into_iter()
        .map(|file| (file.id, file.size))
        .collect();
    let mut needed = vec![0_u64; index.packs().len()];
    for blob in blobs.blobs() {
        let (number, blob) = blob?;
        let end = u64::from(blob.offset) + u64::from(blob.length);
        let longest = &mut needed[number as usize];
        *longest = end.max(*longest);
    }
    let mut packs = Listed::default();
    for (number, (id, needed)) in (0..).zip(index.packs().iter().zip(needed)) {
        let path = Kind::Pack.path(id);
        match stored.remove(id) {
            None => packs.lost(
                number,
                path,
                "the index names it, and it is not there".to_owned(),
            ),
            Some(size) if size < needed => packs.lost(
                number,
                path,
                format!("it has {size} bytes, and the index says at least {needed}"),
            ),
            Some(size) => {
                packs.readable.insert(number, size);
            }
        }
    }
    for (id, size) in stored {
        let why = if noted.contains(&id) {
            "it is damaged, and what was whole in it stands elsewhere: `salvor repo prune` removes it"
        } else {
            "a backup that did not end, or one that is running"
        };
        packs.findings.push(Finding {
            is_damage: false,
            file: Kind::Pack.path(&id),
            what: format!("no index names it ({size} bytes): {why}"),
        });
        packs.unindexed.insert(id);
    }
    Ok(packs)
}
