//! Segments: runs of about 1 MiB of tar that are compressed independently, mostly into one gzip member.
//!
//! Most items have two entries. The second one of a small item costs little, as deflate finds it again; that
//! of an item beyond [`REPEATED_BYTES`] is out of its sight. Such a body becomes a member of its own, which is
//! compressed once and stands in the archive twice.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::error::{ArchiveError, Result};
use crate::item::{EntryPath, ItemRef, VersionDir, check_item};
use crate::tar::write;

/// Tar bytes at which a segment is full. Large enough that members compress nearly as well as one stream,
/// small enough that reading one object costs little and eight workers hold 16 MiB.
pub const TARGET_BYTES: usize = 1 << 20;

/// Bytes of a body that is compressed once for both entries: deflate looks back 32 KiB, and three more members
/// have to be small beside what they save.
pub(crate) const REPEATED_BYTES: usize = 32 << 10;

/// Fast levels cost half the CPU of gzip's default for a tenth more bytes.
const COMPRESSION_LEVEL: i32 = 1;

/// First 16 bytes of the SHA-256 of an object's body.
pub type BodyDigest = [u8; 16];

/// The digest that an index holds for `body`.
#[must_use]
pub fn body_digest(body: &[u8]) -> BodyDigest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(body)[..16]);
    digest
}

/// Where an item ended up in its segment.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) key: salvor_api::resource::ObjectKey,
    pub(crate) version: String,
    pub(crate) preferred: bool,
    /// Index into the members of the segment.
    pub(crate) member: usize,
    /// In the decompressed member.
    pub(crate) body_offset: u32,
    pub(crate) body_len: u32,
    pub(crate) digest: BodyDigest,
}

/// What one gzip member of a segment holds.
#[derive(Clone, Copy, Debug)]
enum Piece {
    /// The tar from the end of the piece before up to here.
    Until(usize),
    /// The same as the piece with this number.
    Again(usize),
}

/// Collects items until a segment is full.
///
/// ```
/// # use salvor_api::resource::{GroupResource, ObjectKey};
/// # use salvor_archive::{item::ItemRef, segment::SegmentBuilder};
/// let key = ObjectKey::namespaced(GroupResource::new("pods", ""), "shop", "web-0");
/// let mut builder = SegmentBuilder::new();
/// builder.push(&ItemRef { key: &key, version: "v1", preferred: true, body: b"{}" }, 0)?;
/// let member = builder.finish().compress()?;
/// # let _ = member;
/// # Ok::<(), salvor_archive::ArchiveError>(())
/// ```
#[derive(Debug, Default)]
pub struct SegmentBuilder {
    tar: Vec<u8>,
    pieces: Vec<Piece>,
    /// Where the last, open piece begins.
    open: usize,
    placed: Vec<Placed>,
}

impl SegmentBuilder {
    /// An empty segment.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an item: its unversioned entry and, next to it, the one in the `-preferredversion`
    /// directory; of an item that is not of the preferred version, the entry in its version's directory
    /// alone. `mtime_unix` is the time of writing in seconds since 1970.
    ///
    /// # Errors
    /// [`ArchiveError::BadItem`]: names that do not make a safe archive path, a body beyond 4 GiB. The
    /// segment is unchanged then.
    pub fn push(&mut self, item: &ItemRef<'_>, mtime_unix: i64) -> Result<()> {
        check_item(item)?;
        let too_long = |_| ArchiveError::BadItem {
            key: item.key.clone(),
            reason: "its segment would be longer than 4 GiB".to_owned(),
        };
        u32::try_from(self.tar.len() + Self::entries_len(item)).map_err(too_long)?;
        let digest = body_digest(item.body);
        let (first, second) = paths(item);
        let (member, at) = match second {
            Some(second) if item.body.len() > REPEATED_BYTES => {
                write::append_header(&mut self.tar, &first, mtime_unix, size(item));
                self.cut();
                let body = self.pieces.len();
                write::append_contents(&mut self.tar, item.body);
                self.cut();
                write::append_header(&mut self.tar, &second, mtime_unix, size(item));
                self.cut();
                self.pieces.push(Piece::Again(body));
                (body, 0)
            }
            second => {
                let at = write::append(&mut self.tar, &first, mtime_unix, item.body);
                if let Some(second) = second {
                    write::append(&mut self.tar, &second, mtime_unix, item.body);
                }
                (self.pieces.len(), at - self.open)
            }
        };
        self.placed.push(Placed {
            key: item.key.clone(),
            version: item.version.to_owned(),
            preferred: item.preferred,
            member,
            body_offset: u32::try_from(at).map_err(too_long)?,
            body_len: u32::try_from(item.body.len()).map_err(too_long)?,
            digest,
        });
        Ok(())
    }

    /// Ends a piece: what follows is another gzip member.
    fn cut(&mut self) {
        self.pieces.push(Piece::Until(self.tar.len()));
        self.open = self.tar.len();
    }

    /// True when the segment holds at least [`TARGET_BYTES`] of tar and should be finished.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tar.len() >= TARGET_BYTES
    }

    /// True when `item` may still be added without going beyond [`TARGET_BYTES`], or when the segment is
    /// empty: an item longer than that is a segment alone.
    #[must_use]
    pub fn fits(&self, item: &ItemRef<'_>) -> bool {
        self.is_empty() || self.tar.len() + Self::entries_len(item) <= TARGET_BYTES
    }

    /// True when nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// Bytes of tar so far; about what the segment takes in memory.
    #[must_use]
    pub fn tar_len(&self) -> usize {
        self.tar.len()
    }

    /// The finished segment, to be compressed by any thread.
    #[must_use]
    pub fn finish(mut self) -> Segment {
        if self.open < self.tar.len() || self.pieces.is_empty() {
            self.cut();
        }
        Segment {
            tar: self.tar,
            pieces: self.pieces,
            placed: self.placed,
        }
    }

    fn entries_len(item: &ItemRef<'_>) -> usize {
        let (first, second) = paths(item);
        let len = |path: &String| write::entry_len(path, item.body.len());
        len(&first) + second.as_ref().map_or(0, len)
    }
}

/// A full run of tar entries.
#[derive(Debug)]
pub struct Segment {
    tar: Vec<u8>,
    pieces: Vec<Piece>,
    placed: Vec<Placed>,
}

impl Segment {
    /// Bytes of tar.
    #[must_use]
    pub fn tar_len(&self) -> usize {
        self.tar.len()
    }

    /// Compresses the segment into gzip members, mostly one. Costs about 2 ms of one core; call it on as many
    /// threads as there are cores.
    ///
    /// # Errors
    /// [`ArchiveError::Member`] when the compressor fails, which would be a fault of this program.
    pub fn compress(self) -> Result<Member> {
        let mut parts: Vec<Part> = Vec::with_capacity(self.pieces.len());
        let mut start = 0;
        for piece in self.pieces {
            parts.push(match piece {
                Piece::Until(end) => {
                    let tar = &self.tar[start..end];
                    start = end;
                    Part {
                        tar_len: tar.len() as u64,
                        bytes: gzip_member(tar)?.into(),
                    }
                }
                Piece::Again(number) => parts[number].clone(),
            });
        }
        Ok(Member {
            parts,
            placed: self.placed,
        })
    }
}

/// A compressed segment: gzip members, mostly one, and where its items are.
#[derive(Debug)]
pub struct Member {
    pub(crate) parts: Vec<Part>,
    pub(crate) placed: Vec<Placed>,
}

/// One gzip member of a segment. Those that repeat share their bytes.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(crate) tar_len: u64,
}

impl Member {
    /// Bytes of the gzip members.
    #[must_use]
    pub fn compressed_len(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }

    /// Items in it.
    #[must_use]
    pub fn item_count(&self) -> usize {
        self.placed.len()
    }
}

/// Compresses `data` as one gzip member without name and time, so that equal input gives equal output.
pub(crate) fn gzip_member(data: &[u8]) -> Result<Vec<u8>> {
    let level = libdeflater::CompressionLvl::new(COMPRESSION_LEVEL)
        .expect("level 1 is within libdeflate's range of 0 to 12");
    let mut compressor = libdeflater::Compressor::new(level);
    let mut out = vec![0; compressor.gzip_compress_bound(data.len())];
    let len = compressor
        .gzip_compress(data, &mut out)
        .map_err(|error| ArchiveError::Member {
            compressed_offset: 0,
            reason: format!("compress: {error}"),
        })?;
    out.truncate(len);
    out.shrink_to_fit();
    Ok(out)
}

fn size(item: &ItemRef<'_>) -> u64 {
    item.body.len() as u64
}

/// The path that holds the item, and the one that repeats it.
fn paths(item: &ItemRef<'_>) -> (String, Option<String>) {
    let path = |version| EntryPath {
        key: item.key.clone(),
        version,
    };
    let versioned = path(Some(VersionDir {
        version: item.version.to_owned(),
        preferred: item.preferred,
    }))
    .to_string();
    if item.preferred {
        (path(None).to_string(), Some(versioned))
    } else {
        (versioned, None)
    }
}
