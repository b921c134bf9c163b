//! A database in a file, opened: which meta counts, and pages by number.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::page::{FREELIST, HEADER, Header, META_PAGE, Meta, NO_FREELIST, Page};
use super::{Error, Result, Walk, damaged};

/// bbolt tries page sizes from 1 KiB to 16 MiB when the first meta is unreadable.
const SMALLEST_PAGE: u32 = 1 << 10;
const LARGEST_PAGE: u32 = 1 << 24;

/// Bytes of one page with its overflow. The largest one that etcd can make holds two requests of the largest size that
/// gRPC lets through in practice; without a bound a hostile file would decide how much memory is taken.
pub(super) const LARGEST_READ: u64 = 512 << 20;

/// What the valid meta with the higher transaction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a page.
    pub page_size: u32,
    /// Page of the root bucket.
    pub root: u64,
    /// Number of pages, free ones included.
    pub high_water: u64,
    /// Page of the freelist, where it is stored.
    pub freelist: Option<u64>,
    /// Number of the last transaction.
    pub transaction: u64,
    /// Number of valid metas: 2, or 1 after a crash in a commit.
    pub valid_metas: u8,
}

impl Layout {
    /// Bytes of the database: high water mark times page size.
    #[must_use]
    pub fn size(&self) -> u64 {
        // Opening compared it with the length of the file.
        self.high_water * u64::from(self.page_size)
    }
}

/// A database that can be read.
#[derive(Debug)]
pub struct Database {
    file: File,
    layout: Layout,
}

impl Database {
    /// Opens the database in the first `length` bytes of a file.
    ///
    /// # Errors
    /// [`Error::NotBolt`] when neither meta is valid, [`Error::Damaged`] when the valid one does not fit the file.
    pub fn open(file: File, length: u64) -> Result<Self> {
        let (meta, valid_metas) = find_meta(&file, length)?;
        let page_size = meta.page_size;
        if !page_size.is_power_of_two() || !(SMALLEST_PAGE..=LARGEST_PAGE).contains(&page_size) {
            let why = format!(
                "its pages have {page_size} bytes, which is no power of two from 1 KiB to 16 MiB"
            );
            return Err(Error::NotBolt { why });
        }
        let pages = length / u64::from(page_size);
        if meta.high_water > pages {
            let what = format!(
                "the database has {} pages of {page_size} bytes and the file holds {pages}: its end is missing",
                meta.high_water
            );
            return Err(damaged(0, what));
        }
        let layout = Layout {
            page_size,
            root: meta.root,
            high_water: meta.high_water,
            freelist: Some(meta.freelist).filter(|page| *page != NO_FREELIST),
            transaction: meta.transaction,
            valid_metas,
        };
        Ok(Self { file, layout })
    }

    /// Where things are.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Starts reading; each page can be reached once in a walk.
    #[must_use]
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(self)
    }

    /// The header of a page, checked against its number.
    pub(super) fn header(&self, id: u64, bytes: &[u8]) -> Result<Header> {
        let header = Header::read(bytes).ok_or_else(|| damaged(id, "it has no header"))?;
        if header.id != id {
            return Err(damaged(
                id,
                format!("it says that it is page {}", header.id),
            ));
        }
        let end = id + 1 + u64::from(header.overflow);
        if end > self.layout.high_water {
            let what = format!(
                "it goes on to page {}, and the last one is {}",
                end - 1,
                self.layout.high_water - 1
            );
            return Err(damaged(id, what));
        }
        Ok(header)
    }

    /// Reads a leaf or branch with its overflow; `id` is below the high water mark.
    pub(super) fn page(&self, id: u64) -> Result<(Page, Header)> {
        let page_size = u64::from(self.layout.page_size);
        let mut bytes = vec![0; self.layout.page_size as usize];
        self.read(&mut bytes, id * page_size)?;
        let header = self.header(id, &bytes)?;
        let length = (1 + u64::from(header.overflow)) * page_size;
        if length > LARGEST_READ {
            let what = format!("it has {length} bytes, more than any that etcd makes");
            return Err(damaged(id, what));
        }
        if header.overflow > 0 {
            // At most LARGEST_READ.
            bytes.resize(length as usize, 0);
            self.read(&mut bytes[page_size as usize..], (id + 1) * page_size)?;
        }
        Ok((Page::new(id, header, bytes)?, header))
    }

    /// The header of the stored freelist, where there is one.
    pub(super) fn freelist(&self) -> Result<Option<Header>> {
        let Some(id) = self.layout.freelist else {
            return Ok(None);
        };
        if id < 2 || id >= self.layout.high_water {
            return Err(damaged(
                0,
                format!("its freelist is page {id}, which is not there"),
            ));
        }
        let mut bytes = [0; HEADER];
        self.read(&mut bytes, id * u64::from(self.layout.page_size))?;
        let header = self.header(id, &bytes)?;
        if header.kind == FREELIST {
            return Ok(Some(header));
        }
        let what = format!(
            "a freelist was expected, and its kind is {:#x}",
            header.kind
        );
        Err(damaged(id, what))
    }

    fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        read(&self.file, bytes, offset)
    }
}

fn read(file: &File, bytes: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(bytes, offset)
        .map_err(|source| Error::Read {
            length: bytes.len() as u64,
            offset,
            source,
        })
}

/// The meta that counts, and how many are valid.
fn find_meta(file: &File, length: u64) -> Result<(Meta, u8)> {
    let at = |offset: u64| -> Result<std::result::Result<Meta, &'static str>> {
        if offset + META_PAGE as u64 > length {
            return Ok(Err("the file is too short for it"));
        }
        let mut bytes = [0; META_PAGE];
        match read(file, &mut bytes, offset) {
            Ok(()) => Ok(Meta::read(&bytes)),
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                Ok(Err("the file is too short for it"))
            }
            Err(error) => Err(error),
        }
    };
    let first = match at(0)? {
        Ok(first) => first,
        Err(why) => {
            let mut size = SMALLEST_PAGE;
            while size <= LARGEST_PAGE {
                if let Ok(second) = at(u64::from(size))?
                    && second.page_size == size
                {
                    return Ok((second, 1));
                }
                size *= 2;
            }
            let why = format!("page 0 is no meta page ({why}), and no second one was found");
            return Err(Error::NotBolt { why });
        }
    };
    // A page size that is no good is refused by who asks.
    match at(u64::from(first.page_size))? {
        Ok(second) if second.page_size == first.page_size => {
            let newer = if second.transaction > first.transaction {
                second
            } else {
                first
            };
            Ok((newer, 2))
        }
        _ => Ok((first, 1)),
    }
}
