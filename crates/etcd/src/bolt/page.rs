//! Pages as bytes: headers, metas, elements.

use super::{Result, damaged};
use crate::checksum::fnv1a;

/// Length of the header of a page, and of an element of a leaf or branch.
pub(super) const HEADER: usize = 16;
/// Length of a bucket in a leaf, without an inline page.
pub(super) const BUCKET: usize = 16;
/// Length of a meta without its checksum.
const META: usize = 56;
/// Bytes that hold a header and a meta.
pub(super) const META_PAGE: usize = HEADER + META + 8;
const MAGIC: u32 = 0xed0c_daed;
const VERSION: u32 = 2;
/// Page number that says that the freelist is not stored.
pub(super) const NO_FREELIST: u64 = u64::MAX;
/// Flag of a leaf element that holds a bucket.
pub(super) const BUCKET_FLAG: u32 = 1;

pub(super) const BRANCH: u16 = 1;
pub(super) const LEAF: u16 = 2;
pub(super) const META_KIND: u16 = 4;
pub(super) const FREELIST: u16 = 0x10;

/// `N` bytes at an offset, as an array; `None` past the end.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// Header of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u64,
    pub(super) kind: u16,
    pub(super) count: u16,
    pub(super) overflow: u32,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(bytes, 0)?,
            kind: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.kind.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..].copy_from_slice(&self.overflow.to_le_bytes());
        bytes
    }
}

/// A meta: where everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_size: u32,
    pub(super) root: u64,
    pub(super) freelist: u64,
    pub(super) high_water: u64,
    pub(super) transaction: u64,
}

impl Meta {
    /// Reads a page that should hold a meta.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn read(page: &[u8]) -> std::result::Result<Self, &'static str> {
        let meta = page
            .get(HEADER..META_PAGE)
            .ok_or("the file is too short for it")?;
        // The slice is as long as every field of it.
        let number = |at| u32_at(meta, at).unwrap_or_default();
        let long = |at| u64_at(meta, at).unwrap_or_default();
        if number(0) != MAGIC {
            return Err("it does not begin with bbolt's number");
        }
        if number(4) != VERSION {
            return Err("its version is not 2");
        }
        if fnv1a(&meta[..META]) != long(META) {
            return Err("its checksum is wrong");
        }
        Ok(Self {
            page_size: number(8),
            root: long(16),
            freelist: long(32),
            high_water: long(40),
            transaction: long(48),
        })
    }

    /// The whole page, without what fills it up.
    pub(super) fn to_bytes(self, id: u64) -> [u8; META_PAGE] {
        let mut meta = [0; META];
        meta[..4].copy_from_slice(&MAGIC.to_le_bytes());
        meta[4..8].copy_from_slice(&VERSION.to_le_bytes());
        meta[8..12].copy_from_slice(&self.page_size.to_le_bytes());
        meta[16..24].copy_from_slice(&self.root.to_le_bytes());
        meta[32..40].copy_from_slice(&self.freelist.to_le_bytes());
        meta[40..48].copy_from_slice(&self.high_water.to_le_bytes());
        meta[48..56].copy_from_slice(&self.transaction.to_le_bytes());
        let header = Header {
            id,
            kind: META_KIND,
            count: 0,
            overflow: 0,
        };
        let mut page = [0; META_PAGE];
        page[..HEADER].copy_from_slice(&header.to_bytes());
        page[HEADER..HEADER + META].copy_from_slice(&meta);
        page[HEADER + META..].copy_from_slice(&fnv1a(&meta).to_le_bytes());
        page
    }
}

/// Where a key and a value, or the page below, stand in a page.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Element {
    pub(super) flags: u32,
    pub(super) key: (usize, usize),
    pub(super) value: (usize, usize),
    pub(super) child: u64,
}

/// A leaf or branch with its overflow, or the leaf inside a bucket.
pub(super) struct Page {
    /// The page it stands in, for errors.
    pub(super) id: u64,
    pub(super) is_leaf: bool,
    pub(super) count: usize,
    bytes: Vec<u8>,
    /// End of what the elements read so far took: data stands in the order of the elements.
    taken: usize,
}

impl Page {
    /// Takes bytes that begin with `header`.
    ///
    /// # Errors
    /// It is neither leaf nor branch, or its elements do not fit.
    pub(super) fn new(id: u64, header: Header, bytes: Vec<u8>) -> Result<Self> {
        let is_leaf = match header.kind {
            LEAF => true,
            BRANCH => false,
            kind => {
                return Err(damaged(
                    id,
                    format!("a leaf or branch was expected, and its kind is {kind:#x}"),
                ));
            }
        };
        let count = usize::from(header.count);
        let taken = HEADER * (count + 1);
        if taken > bytes.len() {
            return Err(damaged(
                id,
                format!("its {count} elements do not fit into {} bytes", bytes.len()),
            ));
        }
        if count == 0 && !is_leaf {
            return Err(damaged(id, "a branch without children"));
        }
        Ok(Self {
            id,
            is_leaf,
            count,
            bytes,
            taken,
        })
    }

    /// Where element `index` has its parts. Elements are asked for in order.
    pub(super) fn element(&mut self, index: usize) -> Result<Element> {
        let at = HEADER * (index + 1);
        let bad = |what: &str| damaged(self.id, format!("element {index} {what}"));
        let field = |offset| {
            u32_at(&self.bytes, at + offset).ok_or_else(|| bad("lies outside of the page"))
        };
        let (flags, position, key_length, value_length, child) = if self.is_leaf {
            (field(0)?, field(4)?, field(8)?, field(12)?, 0)
        } else {
            let child = u64_at(&self.bytes, at + 8).ok_or_else(|| bad("has no page"))?;
            (0, field(0)?, field(4)?, 0, child)
        };
        // Three 32-bit numbers and an offset in a page do not overflow 64 bits.
        let start = at as u64 + u64::from(position);
        let middle = start + u64::from(key_length);
        let end = middle + u64::from(value_length);
        if end > self.bytes.len() as u64 {
            return Err(bad("reaches out of the page"));
        }
        let (start, middle, end) = (start as usize, middle as usize, end as usize);
        if start < self.taken {
            return Err(bad("lies over what stands before it"));
        }
        self.taken = end;
        if self.is_leaf && start == middle {
            return Err(bad("has an empty key"));
        }
        Ok(Element {
            flags,
            key: (start, middle),
            value: (middle, end),
            child,
        })
    }

    /// The bytes of a range that [`Page::element`] gave.
    pub(super) fn slice(&self, (start, end): (usize, usize)) -> &[u8] {
        &self.bytes[start..end]
    }
}
