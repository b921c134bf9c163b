//! Reading packs: whether every blob in them is what its id says.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use super::{Damage, Damaged, Finding};
use crate::error::Result;
use crate::files::Kind;
use crate::format::index_file::IndexedBlob;
use crate::format::pack;
use crate::id::{BlobId, FileId};
use crate::index::{ByPack, Index};
use crate::opener::Opener;
use crate::progress::Progress;
use crate::repository::Repository;

/// Threads beyond one for each core: some wait for the store while others compute.
const WAITING: usize = 2;
/// Most threads that are for cores: each holds a pack and its largest blob, 24 MiB.
const MOST: usize = 6;

/// Packs of an index that have a size in the store, by number.
#[derive(Clone, Copy)]
pub(super) struct Packs<'i> {
    pub(super) index: &'i Index,
    pub(super) blobs: &'i ByPack,
    pub(super) sizes: &'i HashMap<u32, u64>,
}

/// What was read and found.
#[derive(Default)]
pub(super) struct Read {
    pub(super) bytes: u64,
    pub(super) damaged: Damaged,
    pub(super) findings: Vec<Finding>,
}

/// A pack with the blobs that the index says are in it.
struct PackOf {
    number: u32,
    id: FileId,
    size: u64,
    blobs: Vec<IndexedBlob>,
}

/// What of a pack is damaged, and how that is said.
type Looked = (Option<Damage>, Vec<Finding>);

/// Reads every pack once, and does something else meanwhile. The first error of either ends both.
pub(super) fn read<T>(
    repository: &Repository,
    packs: Packs<'_>,
    progress: &Progress,
    beside: impl FnOnce() -> Result<T>,
) -> Result<(Read, T)> {
    progress.expect_bytes(packs.sizes.values().sum());
    let queue = Mutex::new(packs.each());
    let found = Mutex::new(Ok(Read::default()));
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let other = std::thread::scope(|scope| {
        for _ in 0..cores.min(MOST) + WAITING {
            scope.spawn(|| {
                let mut reader = Reader::new(repository);
                while lock(&found).is_ok() {
                    let Some(pack) = lock(&queue).next() else {
                        return;
                    };
                    let read = pack.and_then(|pack| {
                        progress.check()?;
                        let found = reader.read(&pack)?;
                        progress.bytes_done(pack.size);
                        Ok((pack, found))
                    });
                    note(&mut lock(&found), read);
                }
            });
        }
        let other = beside();
        if other.is_err() {
            // The readers look at it between two packs.
            *lock(&found) = Err(crate::error::Error::Cancelled);
        }
        other
    })?;
    let read = found.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    Ok((read, other))
}

/// Adds what was found in a pack. The first error stays.
fn note(all: &mut Result<Read>, read: Result<(PackOf, Looked)>) {
    match (all, read) {
        (Ok(all), Ok((pack, (damage, findings)))) => {
            all.bytes += pack.size;
            all.findings.extend(findings);
            all.damaged
                .extend(damage.map(|damage| (pack.number, damage)));
        }
        (all @ Ok(_), Err(error)) => *all = Err(error),
        (Err(_), _) => {}
    }
}

impl<'i> Packs<'i> {
    /// One after the other, with their blobs.
    fn each(self) -> impl Iterator<Item = Result<PackOf>> + 'i {
        self.blobs.packs().filter_map(move |pack| match pack {
            Ok((number, blobs)) => self.sizes.get(&number).map(|size| {
                Ok(PackOf {
                    number,
                    id: self.index.pack(number),
                    size: *size,
                    blobs,
                })
            }),
            Err(error) => Some(Err(error)),
        })
    }
}

/// Reads packs one after the other, in memory that it has from the system once.
struct Reader<'r> {
    repository: &'r Repository,
    bytes: Vec<u8>,
    opener: Opener,
}

impl<'r> Reader<'r> {
    fn new(repository: &'r Repository) -> Self {
        Self {
            repository,
            bytes: Vec::new(),
            opener: Opener::default(),
        }
    }

    /// Reads a pack and looks at each blob. An error is one of the store.
    fn read(&mut self, pack: &PackOf) -> Result<Looked> {
        let path = Kind::Pack.path(&pack.id);
        let mut findings = Vec::new();
        let mut find = |what: String| {
            findings.push(Finding {
                is_damage: true,
                file: path.clone(),
                what,
            });
        };
        let files = self.repository.files();
        match files.read_range_into(Kind::Pack, &pack.id, 0..pack.size, &mut self.bytes) {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                find(error.to_string());
                return Ok((Some(Damage::WHOLE), findings));
            }
            Err(error) => return Err(error),
        }
        let lost = self.look(pack, &mut find);
        let header = header(self.repository, pack, &self.bytes);
        let mut damage = (!lost.is_empty() || header.is_err()).then(|| Damage {
            header: header.is_err(),
            lost: Some(lost.clone()),
        });
        if let Err(what) = header {
            find(what);
        } else if lost.is_empty() && FileId::of(&self.bytes) != pack.id {
            find(
                "its bytes are not those that its name says, though every blob in it is whole"
                    .to_owned(),
            );
            damage = Some(Damage {
                lost: Some(BTreeSet::new()),
                header: false,
            });
        }
        Ok((damage, findings))
    }

    /// The blobs of the pack that was read that are not what the index says.
    fn look(&mut self, pack: &PackOf, find: &mut impl FnMut(String)) -> BTreeSet<BlobId> {
        let mut lost = BTreeSet::new();
        for blob in &pack.blobs {
            let from = blob.offset as usize;
            let sealed = self.bytes.get(from..from + blob.length as usize);
            let opened = self.opener.open(
                self.repository.key(),
                blob.uncompressed_length,
                &blob.id,
                sealed.unwrap_or_default(),
            );
            if let Err(what) = opened {
                lost.insert(blob.id);
                find(format!("blob {} in it {what}", blob.id));
            }
        }
        lost
    }
}

/// A pack that is not what its name says.
pub(crate) struct DamagedPack {
    pub(crate) id: FileId,
    /// Blobs that should be in it and cannot be read.
    pub(crate) lost: Vec<IndexedBlob>,
    /// Those that can.
    pub(crate) whole: Vec<IndexedBlob>,
}

/// Of all packs of the index that are not in `gone`, those that are damaged. Every pack is read, damaged ones twice.
pub(crate) fn damaged_packs(
    repository: &Repository,
    index: &Index,
    gone: &BTreeSet<FileId>,
    progress: &Progress,
) -> Result<Vec<DamagedPack>> {
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
    let blobs = index.by_pack(|_, _, _, _| true)?;
    let packs = Packs {
        index,
        blobs: &blobs,
        sizes: &there,
    };
    let mut reader = Reader::new(repository);
    let mut damaged = Vec::new();
    for pack in packs.each() {
        let pack = pack?;
        progress.check()?;
        damaged.extend(reader.confirm(pack)?);
    }
    Ok(damaged)
}

impl Reader<'_> {
    /// Reads a pack, and once more when it is damaged: what a line or a cache has garbled once must not be given up.
    fn confirm(&mut self, pack: PackOf) -> Result<Option<DamagedPack>> {
        let Some(first) = self.read(&pack)?.0 else {
            return Ok(None);
        };
        let Some(again) = self.read(&pack)?.0 else {
            return Ok(None);
        };
        let is_lost = |blob: &IndexedBlob| first.hits(&blob.id) && again.hits(&blob.id);
        let (lost, whole) = pack.blobs.into_iter().partition(is_lost);
        Ok(Some(DamagedPack {
            id: pack.id,
            lost,
            whole,
        }))
    }
}

/// Looks the same way at a pack that no index names, of which its own header lists the blobs.
pub(crate) fn look_at_unindexed(
    repository: &Repository,
    id: FileId,
    size: u64,
    blobs: Vec<IndexedBlob>,
) -> Result<Option<DamagedPack>> {
    Reader::new(repository).confirm(PackOf {
        number: 0,
        id,
        size,
        blobs,
    })
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
