//! An archive opened for reading: any object by its entry, or all of them front to back.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::error::{ArchiveError, Result};
use crate::findings::Findings;
use crate::index::{Entry, Index, MemberPlace};
use crate::limits::Limits;
use crate::segment::body_digest;
use crate::stream;

/// Decompressed members that an archive keeps at hand, in bytes: about sixteen.
const DEFAULT_CACHE_BYTES: usize = 16 << 20;

/// Deflate cannot compress better than 1032 to 1.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// Bytes that can be read from anywhere: a local file, a buffer, an object in a store.
///
/// Reads of the same range give the same bytes for as long as the archive is open.
pub trait ReadAt: Send + Sync {
    /// Exactly `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the range is not inside; otherwise as the source fails.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// True when there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let inside = offset
            .checked_add(len as u64)
            .is_some_and(|end| end <= ReadAt::len(self));
        if !inside {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut buffer = vec![0; len];
        self.read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    }

    fn len(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..start.checked_add(len)?))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }
}

/// An index and the bytes that it indexes. Clones share both and a cache of decompressed members.
#[derive(Clone)]
pub struct Archive(Arc<Inner>);

struct Inner {
    index: Index,
    data: Arc<dyn ReadAt>,
    cache: Mutex<Cache>,
    /// Members that are damaged give what they have; the digests of bodies say what that is worth.
    salvages: bool,
}

impl Archive {
    /// Opens an archive that has an index. Nothing is read yet.
    #[must_use]
    pub fn open(index: Index, data: Arc<dyn ReadAt>) -> Self {
        Self::with_cache(index, data, DEFAULT_CACHE_BYTES)
    }

    /// As [`Archive::open`], keeping at most `cache_bytes` of decompressed members.
    #[must_use]
    pub fn with_cache(index: Index, data: Arc<dyn ReadAt>, cache_bytes: usize) -> Self {
        Self::new(index, data, cache_bytes, false)
    }

    fn new(index: Index, data: Arc<dyn ReadAt>, cache_bytes: usize, salvages: bool) -> Self {
        Self(Arc::new(Inner {
            salvages,
            index,
            data,
            cache: Mutex::new(Cache {
                members: VecDeque::new(),
                bytes: 0,
                capacity: cache_bytes,
            }),
        }))
    }

    /// Opens any Velero archive by one pass over `reader`, which ends at the archive's end. Bodies are
    /// compressed again into `spool`, an empty file or buffer, so that they can be read in any order; memory
    /// is that of the index and one item. They hold Secrets: what a spool puts on a disk should be encrypted.
    ///
    /// # Errors
    /// Damage, a tar that ends too early, a limit, a format of the future, or a reader or spool that fails.
    /// What can be left out without harm is a finding instead.
    pub fn from_stream<S>(
        reader: impl Read,
        limits: Limits,
        mut spool: S,
    ) -> Result<(Self, Findings)>
    where
        S: Write + ReadAt + 'static,
    {
        let (index, findings) = stream::transcode(reader, &limits, &mut spool)?;
        Ok((Self::open(index, Arc::new(spool)), findings))
    }

    /// As [`Archive::from_stream`] for an archive that is damaged somewhere: what comes before the damage is
    /// kept, and the error that ended the reading is returned beside it. Checksums stand at the end of what
    /// they protect, so the last objects before it may be damaged as well without looking so.
    ///
    /// # Errors
    /// A reader or spool that fails, a limit, a format of the future.
    pub fn from_readable<S>(
        reader: impl Read,
        limits: Limits,
        mut spool: S,
    ) -> Result<(Self, Findings, Option<ArchiveError>)>
    where
        S: Write + ReadAt + 'static,
    {
        let (index, findings, cut) = stream::transcode_readable(reader, &limits, &mut spool)?;
        Ok((Self::open(index, Arc::new(spool)), findings, cut))
    }

    /// What the archive holds.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.0.index
    }

    /// The body of an entry of this archive's index, checked against its digest.
    ///
    /// # Errors
    /// The bytes cannot be read, cannot be decompressed, or are not those that were indexed.
    pub fn get(&self, entry: &Entry<'_>) -> Result<Bytes> {
        let place = entry.member();
        let cached = self.cache().get(place.offset);
        let tar = match cached {
            Some(tar) => tar,
            None => {
                // Not under the lock: two readers of one member may both decompress it.
                let tar = self.read_member(place)?;
                self.cache().put(place.offset, tar.clone());
                tar
            }
        };
        body(entry, &tar)
    }

    /// All bodies in the order of the archive; each member is read and decompressed once. Memory is that
    /// of one member and 4 bytes for each entry.
    pub fn get_all_in_order(&self) -> impl Iterator<Item = Result<(Entry<'_>, Bytes)>> {
        let mut current: Option<(u64, Bytes)> = None;
        self.0.index.in_archive_order().map(move |entry| {
            let place = entry.member();
            let tar = match &current {
                Some((offset, tar)) if *offset == place.offset => tar,
                _ => {
                    current = None;
                    &current.insert((place.offset, self.read_member(place)?)).1
                }
            };
            Ok((entry, body(&entry, tar)?))
        })
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // The cache is consistent after every statement, so a panic elsewhere does not spoil it.
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same bytes under an index of what can be read of them, damaged members included.
    pub(crate) fn salvaging(&self, index: Index) -> Self {
        Self::new(index, Arc::clone(&self.0.data), DEFAULT_CACHE_BYTES, true)
    }

    fn read_member(&self, place: MemberPlace) -> Result<Bytes> {
        match self.sound_member(place) {
            Err(ArchiveError::Member { .. }) if self.0.salvages => Ok(self.salvaged_member(place)),
            read => read,
        }
    }

    /// What can be decompressed of a member that is damaged or cut off, filled up with zeros to its length.
    /// Deflate goes on after many a wrong bit, so more than the bytes before it may be right: the digests
    /// of the bodies decide.
    pub(crate) fn salvaged_member(&self, place: MemberPlace) -> Bytes {
        let MemberPlace {
            offset,
            compressed_len,
            tar_len,
        } = place;
        let there = self.0.data.len().saturating_sub(offset).min(compressed_len);
        let length = (tar_len <= compressed_len.saturating_mul(MAX_DEFLATE_RATIO))
            .then(|| usize::try_from(tar_len).ok())
            .flatten();
        let (Some(length), Ok(there)) = (length, usize::try_from(there)) else {
            return Bytes::new();
        };
        let mut tar = vec![0; length];
        if let Ok(compressed) = self.0.data.read_at(offset, there) {
            inflate_what_is_right(compressed.get(GZIP_HEADER..).unwrap_or_default(), &mut tar);
        }
        tar.into()
    }

    /// A member whose checksum is right.
    pub(crate) fn sound_member(&self, place: MemberPlace) -> Result<Bytes> {
        let MemberPlace {
            offset,
            compressed_len,
            tar_len,
        } = place;
        let bad = |reason: String| ArchiveError::Member {
            compressed_offset: offset,
            reason,
        };
        let within = offset
            .checked_add(compressed_len)
            .is_some_and(|end| end <= self.0.data.len());
        if !within {
            return Err(bad(format!(
                "the archive is {} bytes long, shorter than its index says: it was cut off or replaced",
                self.0.data.len()
            )));
        }
        if tar_len > compressed_len.saturating_mul(MAX_DEFLATE_RATIO) {
            return Err(bad(format!(
                "{compressed_len} bytes cannot decompress to {tar_len}, the index is damaged"
            )));
        }
        let too_long = |_| bad("it is too long for this machine".to_owned());
        let len = usize::try_from(compressed_len).map_err(too_long)?;
        let compressed =
            (self.0.data)
                .read_at(offset, len)
                .map_err(|source| ArchiveError::Read {
                    compressed_offset: offset,
                    source,
                })?;
        let mut tar = vec![0; usize::try_from(tar_len).map_err(too_long)?];
        let written = libdeflater::Decompressor::new()
            .gzip_decompress(&compressed, &mut tar)
            .map_err(|_| bad("it does not decompress, its bytes are damaged".to_owned()))?;
        if written != tar.len() {
            return Err(bad(format!(
                "it has {written} bytes, the index says {tar_len}"
            )));
        }
        Ok(tar.into())
    }
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("index", &self.0.index)
            .finish_non_exhaustive()
    }
}

/// Length of the header of a member of ours: no name, no comment.
const GZIP_HEADER: usize = 10;
/// Bytes that are decompressed at once: what comes in one piece with an error is lost.
const SALVAGED_AT_ONCE: usize = 256;

fn inflate_what_is_right(deflated: &[u8], out: &mut [u8]) {
    let mut inflater = flate2::Decompress::new(false);
    let mut rest = deflated;
    for chunk in out.chunks_mut(SALVAGED_AT_ONCE) {
        let mut filled = 0;
        while filled < chunk.len() {
            let (read, written) = (inflater.total_in(), inflater.total_out());
            let step =
                inflater.decompress(rest, &mut chunk[filled..], flate2::FlushDecompress::None);
            let Ok(status) = step else { return };
            // Both fit: they are lengths within slices.
            let read = (inflater.total_in() - read) as usize;
            let written = (inflater.total_out() - written) as usize;
            rest = rest.get(read..).unwrap_or_default();
            filled += written;
            if status == flate2::Status::StreamEnd || (read == 0 && written == 0) {
                return;
            }
        }
    }
}

/// A copy of the entry's part of its member: a slice would keep the whole member in memory.
pub(crate) fn body(entry: &Entry<'_>, tar: &[u8]) -> Result<Bytes> {
    let range = usize::try_from(entry.body_offset())
        .ok()
        .zip(usize::try_from(entry.body_len()).ok())
        .and_then(|(start, len)| tar.get(start..start.checked_add(len)?));
    match range {
        Some(body) if body_digest(body) == entry.digest() => Ok(Bytes::copy_from_slice(body)),
        _ => Err(ArchiveError::ItemDigest { key: entry.key() }),
    }
}

/// The members used last, newest first. At most sixteen or so, hence no map.
struct Cache {
    members: VecDeque<(u64, Bytes)>,
    bytes: usize,
    capacity: usize,
}

impl Cache {
    fn get(&mut self, offset: u64) -> Option<Bytes> {
        let at = self.members.iter().position(|(o, _)| *o == offset)?;
        let member = self.members.remove(at)?;
        let tar = member.1.clone();
        self.members.push_front(member);
        Some(tar)
    }

    fn put(&mut self, offset: u64, tar: Bytes) {
        if tar.len() > self.capacity || self.get(offset).is_some() {
            return;
        }
        self.bytes += tar.len();
        self.members.push_front((offset, tar));
        while self.bytes > self.capacity {
            let Some((_, oldest)) = self.members.pop_back() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }
}
