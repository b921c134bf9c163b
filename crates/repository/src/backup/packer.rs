//! Sealed blobs become packs, packs become files of the store, and the index says so.
//!
//! Data blobs are dealt at random to two open packs, so that the size of a pack tells less about the lengths of
//! the pieces of one file.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::Failed;
use super::claimed::Claimed;
use crate::chunk::LONGEST;
use crate::error::{Error, Result};
use crate::files::Kind;
use crate::format::index_file::{BlobKind, IndexFile, IndexedPack};
use crate::format::pack::{PackWriter, SealedPack};
use crate::id::BlobId;
use crate::index::Index;
use crate::repository::Repository;

/// A pack is closed when it has so many bytes.
const PACK: usize = 16 << 20;
/// Longest pack, its header included, but for those of huge directories.
const FULL: usize = PACK + LONGEST + (5 << 20);
/// Or so many blobs, so that its header stays small.
const MOST_BLOBS: usize = 100_000;
/// An index file is written when so many blobs wait for it.
const INDEX_BLOBS: usize = 50_000;
/// Packs that wait for an uploader; the uploaders have two more.
const WAITING: usize = 1;

/// What was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) data_blobs: u64,
    pub(crate) tree_blobs: u64,
    /// Bytes of new blobs, before compression.
    pub(crate) plain: u64,
    /// Bytes that they take.
    pub(crate) sealed: u64,
}

/// Takes blobs of all workers.
pub(crate) struct Packer<'r> {
    repository: &'r Repository,
    index: &'r Index,
    /// Blobs that this run stores: who claims one stores it.
    claimed: Mutex<Claimed>,
    data: [Mutex<PackWriter>; 2],
    trees: Mutex<PackWriter>,
    stored: Mutex<Stored>,
    /// Nothing once it was closed.
    uploads: Mutex<Option<SyncSender<SealedPack>>>,
}

impl<'r> Packer<'r> {
    /// A packer, and where its packs come out.
    pub(crate) fn new(
        repository: &'r Repository,
        index: &'r Index,
    ) -> (Self, Receiver<SealedPack>) {
        let (uploads, packs) = sync_channel(WAITING);
        let packer = Self {
            repository,
            index,
            claimed: Mutex::new(Claimed::new(repository.scratch().clone())),
            data: Default::default(),
            trees: Mutex::default(),
            stored: Mutex::default(),
            uploads: Mutex::new(Some(uploads)),
        };
        (packer, packs)
    }

    /// Whether the caller must store this blob: it is in no index, and nobody else has it in hand.
    pub(crate) fn claim(&self, kind: BlobKind, id: &BlobId) -> Result<bool> {
        if self.index.has(kind, id)? {
            return Ok(false);
        }
        lock(&self.claimed).insert(kind, id).map_err(|source| {
            let scratch = self.repository.scratch();
            scratch.failed("note which blobs are stored in", source)
        })
    }

    /// Takes a sealed blob.
    pub(crate) fn add(
        &self,
        kind: BlobKind,
        id: BlobId,
        sealed: &super::seal::SealedBlob<'_>,
        plain_length: usize,
    ) -> Result<()> {
        {
            let mut stored = lock(&self.stored);
            match kind {
                BlobKind::Data => stored.data_blobs += 1,
                BlobKind::Tree => stored.tree_blobs += 1,
            }
            stored.plain += plain_length as u64;
            stored.sealed += sealed.bytes.len() as u64;
        }
        let open = match kind {
            // It begins with the random nonce: a fair coin.
            BlobKind::Data => &self.data[usize::from(sealed.bytes[0] & 1)],
            BlobKind::Tree => &self.trees,
        };
        let full = {
            let mut pack = lock(open);
            pack.add(id, kind, sealed.bytes, sealed.uncompressed)
                .map_err(|source| Error::Source {
                    what: format!("pack blob {id}"),
                    source,
                })?;
            (pack.len() >= PACK || pack.count() >= MOST_BLOBS).then(|| {
                std::mem::replace(
                    &mut *pack,
                    PackWriter::with_buffer(Vec::with_capacity(FULL)),
                )
            })
        };
        full.map_or(Ok(()), |pack| self.hand_over(pack))
    }

    /// Hands over what is open and says what was stored. Two small leftovers of data become one pack.
    pub(crate) fn finish(&self) -> Result<Stored> {
        let [first, second] = self
            .data
            .each_ref()
            .map(|pack| std::mem::take(&mut *lock(pack)));
        for pack in merge(first, second) {
            self.hand_over(pack)?;
        }
        let trees = std::mem::take(&mut *lock(&self.trees));
        self.hand_over(trees)?;
        Ok(*lock(&self.stored))
    }

    /// No pack comes any more; uploaders end when they have stored what came.
    pub(crate) fn close(&self) {
        lock(&self.uploads).take();
    }

    fn hand_over(&self, pack: PackWriter) -> Result<()> {
        if pack.count() == 0 {
            return Ok(());
        }
        let sealed = pack
            .seal(self.repository.key())
            .map_err(|source| Error::Source {
                what: "seal a pack".to_owned(),
                source,
            })?;
        let uploads = lock(&self.uploads).clone();
        // Uploaders take packs as long as there is a sender.
        uploads
            .and_then(|uploads| uploads.send(sealed).ok())
            .ok_or(Error::Cancelled)
    }
}

/// One pack of two when they fit.
fn merge(mut first: PackWriter, second: PackWriter) -> Vec<PackWriter> {
    if first.len() + second.len() > PACK + (1 << 20) {
        return vec![first, second];
    }
    first.append(second);
    vec![first]
}

/// Brings packs into the store and then into the index.
pub(crate) struct Uploader<'r> {
    repository: &'r Repository,
    packs: Mutex<Receiver<SealedPack>>,
    waiting: Mutex<Vec<IndexedPack>>,
}

impl<'r> Uploader<'r> {
    pub(crate) fn new(repository: &'r Repository, packs: Receiver<SealedPack>) -> Self {
        Self {
            repository,
            packs: Mutex::new(packs),
            waiting: Mutex::default(),
        }
    }

    /// Stores packs until there are no more. After a failure it still takes them, so that nobody is left
    /// waiting, and drops them.
    pub(crate) fn run(&self, failure: &Failed) {
        loop {
            let next = lock(&self.packs).recv();
            let Ok(pack) = next else {
                return;
            };
            if !failure.happened() {
                failure.note(self.store(pack));
            }
        }
    }

    fn store(&self, pack: SealedPack) -> Result<()> {
        self.repository
            .files()
            .write_named(Kind::Pack, pack.id, pack.bytes)?;
        let full = {
            let mut waiting = lock(&self.waiting);
            waiting.push(IndexedPack {
                id: pack.id,
                blobs: pack.blobs,
            });
            let blobs: usize = waiting.iter().map(|pack| pack.blobs.len()).sum();
            (blobs >= INDEX_BLOBS).then(|| std::mem::take(&mut *waiting))
        };
        full.map_or(Ok(()), |packs| self.write_index(packs))
    }

    /// Writes what no index file says yet.
    pub(crate) fn finish(self) -> Result<()> {
        let packs = std::mem::take(&mut *lock(&self.waiting));
        if packs.is_empty() {
            return Ok(());
        }
        self.write_index(packs)
    }

    fn write_index(&self, packs: Vec<IndexedPack>) -> Result<()> {
        let file = IndexFile {
            supersedes: Vec::new(),
            packs,
        };
        self.repository.write_document(Kind::Index, &file)?;
        Ok(())
    }
}

/// A lock whose holder panicked protects counters and buffers that the run gives up anyway.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
