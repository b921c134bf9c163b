//! Whether everything that the snapshots reach is there and whole. Findings are data, not errors.

mod data;
mod walk;

use std::collections::HashMap;

pub(crate) use self::data::damaged_blobs;
use crate::error::Result;
use crate::files::Kind;
use crate::id::{BlobId, FileId};
use crate::index::{ByPack, Index};
use crate::progress::Progress;
use crate::repository::Repository;

/// How much is looked at; each level includes those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Every pack that the index names is there, with enough bytes.
    Index,
    /// Every directory of every snapshot reads, and every piece of every file is in the index.
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
    let index = repository.load_index()?;
    let mut checked = Checked {
        packs: index.packs().len(),
        blobs: index.len(),
        ..Checked::default()
    };
    let blobs = index.by_pack(|_, _, _, _| true)?;
    let mut packs = packs(repository, &index, &blobs)?;
    checked.findings = std::mem::take(&mut packs.findings);
    let walk = |damaged: &Damaged| walk::run(repository, &index, damaged, progress);
    let walked = match depth {
        Depth::Index => None,
        Depth::Trees => Some(walk(&packs.damaged)?),
        Depth::Data => {
            packs
                .readable
                .retain(|pack, _| share.has(&index.pack(*pack)));
            let of = data::Packs {
                index: &index,
                blobs: &blobs,
                sizes: &packs.readable,
            };
            let (read, walked) = data::read(repository, of, progress, || walk(&packs.damaged))?;
            checked.bytes_read = read.bytes;
            checked.findings.extend(read.findings);
            Some(if read.damaged.is_empty() {
                walked
            } else {
                // Which files that hits, only a walk that knows of it can say.
                packs.damaged.extend(read.damaged);
                walk(&packs.damaged)?
            })
        }
    };
    if let Some(walked) = walked {
        checked.snapshots = walked.snapshots;
        checked.unreachable_blobs = walked.unreachable_blobs;
        checked.damaged_snapshots = walked.damaged_snapshots;
        checked.findings.extend(walked.findings);
    }
    checked.findings.sort();
    checked.findings.dedup();
    Ok(checked)
}

/// What of a pack is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Damage {
    Whole,
    Blobs(Vec<BlobId>),
}

/// What is damaged, by the number of the pack.
type Damaged = HashMap<u32, Damage>;

/// The packs of the index, as the store lists them.
#[derive(Default)]
struct Listed {
    /// Sizes of those that can be read, by number.
    readable: HashMap<u32, u64>,
    damaged: Damaged,
    findings: Vec<Finding>,
}

impl Listed {
    fn lost(&mut self, number: u32, file: String, what: String) {
        self.damaged.insert(number, Damage::Whole);
        self.findings.push(Finding {
            is_damage: true,
            file,
            what,
        });
    }
}

/// Packs of the index against the packs of the store.
fn packs(repository: &Repository, index: &Index, blobs: &ByPack) -> Result<Listed> {
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
    packs
        .findings
        .extend(stored.into_iter().map(|(id, size)| Finding {
        is_damage: false,
        file: Kind::Pack.path(&id),
        what: format!(
            "no index names it ({size} bytes): a backup that did not end, or one that is running"
        ),
    }));
    Ok(packs)
}
