//! Whether everything that the snapshots reach is there and whole. Findings are data, not errors.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::bits::Bits;
use crate::error::{Error, Result};
use crate::files::Kind;
use crate::format::index_file::{BlobKind, IndexedBlob};
use crate::format::node::NodeKind;
use crate::format::pack;
use crate::id::{BlobId, FileId};
use crate::index::{ByPack, Index};
use crate::progress::Progress;
use crate::repository::Repository;

/// Threads that read packs.
const READERS: usize = 2;

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
    let mut check = Check {
        repository,
        index: &index,
        progress,
        damaged: HashMap::new(),
        reached: Bits::new(index.len()),
        whole: Bits::new(index.len()),
        checked: Checked {
            packs: index.packs().len(),
            blobs: index.len(),
            ..Checked::default()
        },
    };
    let blobs = index.by_pack(|_, _, _, _| true)?;
    let mut readable = check.packs(&blobs)?;
    readable.retain(|number, _| share.has(&index.pack(*number)));
    if depth >= Depth::Data {
        check.data(&blobs, &readable)?;
    }
    drop(blobs);
    if depth >= Depth::Trees {
        check.snapshots()?;
    }
    check.checked.findings.sort();
    check.checked.findings.dedup();
    Ok(check.checked)
}

struct Check<'r> {
    repository: &'r Repository,
    index: &'r Index,
    progress: &'r Progress,
    /// Packs, and blobs in them, that are known to be damaged.
    damaged: HashMap<u32, Damage>,
    /// By the blob's ordinal.
    reached: Bits,
    /// Trees, by the same, that read and whose own files are all there.
    whole: Bits,
    checked: Checked,
}

/// What of a pack is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Damage {
    Whole,
    Blobs(Vec<BlobId>),
}

/// A pack with the blobs that the index says are in it.
struct PackOf {
    number: u32,
    id: FileId,
    size: u64,
    blobs: Vec<IndexedBlob>,
}

impl Check<'_> {
    fn find(&mut self, is_damage: bool, file: String, what: impl Into<String>) {
        self.checked.findings.push(Finding {
            is_damage,
            file,
            what: what.into(),
        });
    }

    /// Packs of the index against the packs of the store. Returns the sizes of those that can be read.
    fn packs(&mut self, blobs: &ByPack) -> Result<HashMap<u32, u64>> {
        let mut stored: HashMap<FileId, u64> = self
            .repository
            .files()
            .list(Kind::Pack)?
            .into_iter()
            .map(|file| (file.id, file.size))
            .collect();
        let mut needed = vec![0_u64; self.index.packs().len()];
        for blob in blobs.blobs() {
            let (number, blob) = blob?;
            let end = u64::from(blob.offset) + u64::from(blob.length);
            let longest = &mut needed[number as usize];
            *longest = end.max(*longest);
        }
        let mut readable = HashMap::new();
        for (number, (id, needed)) in (0..).zip(self.index.packs().iter().zip(needed)) {
            let path = Kind::Pack.path(id);
            match stored.remove(id) {
                None => {
                    self.damaged.insert(number, Damage::Whole);
                    self.find(true, path, "the index names it, and it is not there");
                }
                Some(size) if size < needed => {
                    self.damaged.insert(number, Damage::Whole);
                    self.find(
                        true,
                        path,
                        format!("it has {size} bytes, and the index says at least {needed}"),
                    );
                }
                Some(size) => {
                    readable.insert(number, size);
                }
            }
        }
        for (id, size) in stored {
            self.find(
                false,
                Kind::Pack.path(&id),
                format!("no index names it ({size} bytes): a backup that did not end, or one that is running"),
            );
        }
        Ok(readable)
    }

    /// Reads every pack.
    fn data(&mut self, blobs: &ByPack, readable: &HashMap<u32, u64>) -> Result<()> {
        self.progress.expect_bytes(readable.values().sum());
        let queue = Mutex::new(packs_of(self.index, blobs, readable));
        let results = Mutex::new(Vec::new());
        let failure = Mutex::new(None);
        let (repository, progress) = (self.repository, self.progress);
        std::thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    loop {
                        if lock(&failure).is_some() {
                            return;
                        }
                        let next = lock(&queue).next();
                        let Some(pack) = next else {
                            return;
                        };
                        let read = pack.and_then(|pack| {
                            progress.check()?;
                            let result = read_pack(repository, &pack)?;
                            progress.bytes_done(pack.size);
                            Ok((pack.number, pack.size, result))
                        });
                        match read {
                            Ok(result) => lock(&results).push(result),
                            Err(error) => *lock(&failure) = Some(error),
                        }
                    }
                });
            }
        });
        if let Some(error) = lock(&failure).take() {
            return Err(error);
        }
        for (number, size, (damage, findings)) in
            results.into_inner().unwrap_or_else(PoisonError::into_inner)
        {
            self.checked.bytes_read += size;
            self.checked.findings.extend(findings);
            if let Some(damage) = damage {
                self.damaged.insert(number, damage);
            }
        }
        Ok(())
    }

    /// Walks every snapshot.
    fn snapshots(&mut self) -> Result<()> {
        let listed = self.repository.files().list(Kind::Snapshot)?;
        for file in listed {
            self.checked.snapshots += 1;
            let snapshot = match self
                .repository
                .read_document::<crate::format::snapshot::Snapshot>(Kind::Snapshot, &file.id)
            {
                Ok(snapshot) => snapshot,
                Err(error) if error.is_damage() => {
                    self.checked.damaged_snapshots.push(file.id);
                    self.find(true, Kind::Snapshot.path(&file.id), error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !self.tree(&file.id, snapshot.tree)? {
                self.checked.damaged_snapshots.push(file.id);
            }
        }
        self.checked.unreachable_blobs = self.index.len() - self.reached.count();
        Ok(())
    }

    /// Walks everything below a tree, without recursion: a hostile depth costs heap, not stack. Trees that snapshots share
    /// are walked once, and every snapshot that has one that is not whole is damaged.
    fn tree(&mut self, snapshot: &FileId, root: BlobId) -> Result<bool> {
        let mut open: Vec<Open> = Vec::new();
        let mut next = Some(root);
        loop {
            self.progress.check()?;
            let done = match next.take() {
                Some(id) => self.directory(snapshot, &id, &mut open)?,
                None => open.pop().map(|open| {
                    if open.whole {
                        self.whole.set(open.ordinal);
                    }
                    open.whole
                }),
            };
            match (done, open.last_mut()) {
                (Some(whole), None) => return Ok(whole),
                (Some(whole), Some(above)) => above.whole &= whole,
                (None, _) => {}
            }
            next = open.last_mut().and_then(|open| open.children.pop());
        }
    }

    /// Looks at a directory and opens it for what is below. Answers whether it is whole where that is known at once.
    fn directory(
        &mut self,
        snapshot: &FileId,
        id: &BlobId,
        open: &mut Vec<Open>,
    ) -> Result<Option<bool>> {
        let name = Kind::Snapshot.path(snapshot);
        let ordinals = self.index.ordinals(BlobKind::Tree, id)?;
        if !ordinals.is_empty() && self.reached.get(ordinals.start) {
            return Ok(Some(self.whole.get(ordinals.start)));
        }
        if !self.reach(BlobKind::Tree, id)? {
            let what = format!("its tree {id} is in no index or damaged");
            self.find(true, name, what);
            return Ok(Some(false));
        }
        let mut here = Open {
            ordinal: ordinals.start,
            children: Vec::new(),
            whole: true,
        };
        match self.entries(snapshot, id, &mut here) {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                self.find(true, name, format!("its tree {id}: {error}"));
                here.whole = false;
            }
            Err(error) => return Err(error),
        }
        open.push(here);
        Ok(None)
    }

    fn entries(&mut self, snapshot: &FileId, id: &BlobId, here: &mut Open) -> Result<()> {
        for node in self.repository.entries(self.index, id)? {
            let node = node?;
            here.children.extend(node.subtree);
            if node.kind != NodeKind::File {
                continue;
            }
            let mut lost = 0;
            for piece in &node.content {
                lost += usize::from(!self.reach(BlobKind::Data, piece)?);
            }
            if lost > 0 {
                here.whole = false;
                self.find(
                    true,
                    Kind::Snapshot.path(snapshot),
                    format!(
                        "of its file {:?} {lost} of {} pieces are in no index or damaged",
                        String::from_utf8_lossy(&node.name),
                        node.content.len()
                    ),
                );
            }
        }
        Ok(())
    }

    /// Notes that a blob is needed; false when it is not there.
    fn reach(&mut self, kind: BlobKind, id: &BlobId) -> Result<bool> {
        for ordinal in self.index.ordinals(kind, id)? {
            self.reached.set(ordinal);
        }
        let Some(place) = self.index.find(kind, id)? else {
            return Ok(false);
        };
        Ok(match self.damaged.get(&place.pack) {
            None => true,
            Some(Damage::Whole) => false,
            Some(Damage::Blobs(blobs)) => !blobs.contains(id),
        })
    }
}

/// A directory whose subdirectories are being looked at.
struct Open {
    /// Of its tree.
    ordinal: usize,
    /// Those that are not looked at yet.
    children: Vec<BlobId>,
    whole: bool,
}

/// Blobs that are not what the index says, of all packs but those in `gone`. Every pack is read.
pub(crate) fn damaged_blobs(
    repository: &Repository,
    index: &Index,
    gone: &BTreeSet<FileId>,
    progress: &Progress,
) -> Result<BTreeSet<(FileId, BlobId)>> {
    let sizes: HashMap<FileId, u64> = repository
        .files()
        .list(Kind::Pack)?
        .into_iter()
        .map(|file| (file.id, file.size))
        .collect();
    let there: HashMap<u32, u64> = (0..)
        .zip(index.packs())
        .filter(|(_, id)| !gone.contains(id))
        .filter_map(|(number, id)| sizes.get(id).map(|size| (number, *size)))
        .collect();
    let mut damaged = BTreeSet::new();
    let blobs = index.by_pack(|_, _, _, _| true)?;
    for pack in packs_of(index, &blobs, &there) {
        let pack = pack?;
        progress.check()?;
        let read = || -> Result<BTreeSet<BlobId>> {
            Ok(match read_pack(repository, &pack)?.0 {
                None => BTreeSet::new(),
                Some(Damage::Blobs(blobs)) => blobs.into_iter().collect(),
                Some(Damage::Whole) => pack.blobs.iter().map(|blob| blob.id).collect(),
            })
        };
        let mut lost = read()?;
        if !lost.is_empty() {
            // What a line or a cache has garbled once must not be given up.
            let again = read()?;
            lost.retain(|id| again.contains(id));
        }
        damaged.extend(lost.into_iter().map(|id| (pack.id, id)));
        progress.bytes_done(pack.size);
    }
    Ok(damaged)
}

/// The packs of an index that have a size, with their blobs, one after the other.
fn packs_of<'i>(
    index: &'i Index,
    blobs: &'i ByPack,
    sizes: &'i HashMap<u32, u64>,
) -> impl Iterator<Item = Result<PackOf>> + 'i {
    blobs.packs().filter_map(|pack| match pack {
        Ok((number, blobs)) => sizes.get(&number).map(|size| {
            Ok(PackOf {
                number,
                id: index.pack(number),
                size: *size,
                blobs,
            })
        }),
        Err(error) => Some(Err(error)),
    })
}

/// Reads a pack and looks at each blob. An error is one of the store.
fn read_pack(repository: &Repository, pack: &PackOf) -> Result<(Option<Damage>, Vec<Finding>)> {
    let path = Kind::Pack.path(&pack.id);
    let mut findings = Vec::new();
    let mut find = |what: String| {
        findings.push(Finding {
            is_damage: true,
            file: path.clone(),
            what,
        });
    };
    let files = repository.files();
    let bytes = match files.read_range(Kind::Pack, &pack.id, 0, pack.size) {
        Ok(bytes) => bytes,
        Err(error) if error.is_damage() => {
            find(error.to_string());
            return Ok((Some(Damage::Whole), findings));
        }
        Err(error) => return Err(error),
    };
    let mut lost = Vec::new();
    for blob in &pack.blobs {
        let from = blob.offset as usize;
        let place = blob.place(pack.number);
        let sealed = bytes
            .get(from..from + blob.length as usize)
            .unwrap_or_default();
        if let Err(error) = repository.open_blob(&pack.id, &place, &blob.id, sealed) {
            lost.push(blob.id);
            find(match error {
                Error::Damaged { what, .. } => what,
                other => other.to_string(),
            });
        }
    }
    if let Err(what) = header(repository, pack, &bytes) {
        find(what);
    } else if FileId::of(&bytes) != pack.id && lost.is_empty() {
        find(
            "its bytes are not those that its name says, though every blob in it is whole"
                .to_owned(),
        );
    }
    let damage = (!lost.is_empty()).then_some(Damage::Blobs(lost));
    Ok((damage, findings))
}

/// Whether a pack's own header says what the index says.
fn header(repository: &Repository, pack: &PackOf, bytes: &[u8]) -> Result<(), String> {
    let last = bytes
        .last_chunk::<4>()
        .ok_or("it is shorter than the length of a header")?;
    let range = pack::header_range(bytes.len() as u64, *last)?;
    let sealed = &bytes[range.start as usize..range.end as usize];
    let header = repository
        .key()
        .open(sealed)
        .map_err(|_| "its header is not sealed with the repository's key")?;
    let blobs = pack::read_header(&header, range.start)?;
    let missing = pack
        .blobs
        .iter()
        .filter(|blob| !blobs.contains(blob))
        .count();
    if missing > 0 {
        return Err(format!(
            "its header does not have {missing} blobs that the index has"
        ));
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
