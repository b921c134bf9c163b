//! Writing a database in one pass: entries come in order, pages go out in order, from the leaves up.
//!
//! Nothing is kept but one unfinished page for each level. The two metas are written last, after everything else is on
//! the disk: a file without them is no database.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use super::page::{BRANCH, BUCKET, BUCKET_FLAG, HEADER, Header, LEAF, Meta, NO_FREELIST};
use super::{Error, Result};

/// bbolt's limit.
const LONGEST_KEY: usize = 32_768;
/// bbolt's limit.
const LONGEST_VALUE: usize = (1 << 31) - 2;
/// A page counts its elements in 16 bits, and all ones have a meaning of their own.
const MOST_ELEMENTS: usize = 0xfffe;
/// Bytes that are collected before they go to the file.
const BUFFER: usize = 1 << 20;

/// A database that is being written.
pub struct Writer {
    out: BufWriter<File>,
    page_size: usize,
    /// Number of the next page.
    next: u64,
    /// The tree of buckets.
    root: Tree,
}

impl Writer {
    /// Starts a database in an empty file.
    ///
    /// # Errors
    /// The page size is no power of two from 1 KiB to 16 MiB, or the file cannot be written.
    pub fn create(file: File, page_size: u32) -> Result<Self> {
        if !page_size.is_power_of_two() || !(1 << 10..=1 << 24).contains(&page_size) {
            return Err(Error::Unfit(format!("pages of {page_size} bytes")));
        }
        let mut out = BufWriter::with_capacity(BUFFER, file);
        // The metas come last.
        out.seek(SeekFrom::Start(2 * u64::from(page_size)))
            .map_err(|source| Error::Write { offset: 0, source })?;
        Ok(Self {
            out,
            page_size: page_size as usize,
            next: 2,
            root: Tree::new(BUCKET_FLAG),
        })
    }

    /// Starts a bucket. Buckets come in the order of their names.
    pub fn bucket(&mut self, name: &[u8]) -> BucketWriter<'_> {
        BucketWriter {
            writer: self,
            name: name.to_vec(),
            tree: Tree::new(0),
        }
    }

    /// Writes what is left, waits for the disk, and makes a database of the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> Result<File> {
        let tree = std::mem::replace(&mut self.root, Tree::new(BUCKET_FLAG));
        let root = tree.finish(&mut self)?;
        let length = self.next * self.page_size as u64;
        let failed = |source| Error::Write {
            offset: length,
            source,
        };
        let file = self
            .out
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        file.sync_data().map_err(failed)?;
        for transaction in [0, 1] {
            let meta = Meta {
                // Checked to be at most 16 MiB.
                page_size: self.page_size as u32,
                root,
                freelist: NO_FREELIST,
                high_water: self.next,
                transaction,
            };
            let mut page = meta.to_bytes(transaction).to_vec();
            page.resize(self.page_size, 0);
            let offset = transaction * self.page_size as u64;
            file.write_all_at(&page, offset)
                .map_err(|source| Error::Write { offset, source })?;
        }
        file.sync_all().map_err(failed)?;
        Ok(file)
    }

    /// Writes a page with its overflow and gives its number.
    fn page(&mut self, kind: u16, count: usize, parts: &[&[u8]]) -> Result<u64> {
        let length = HEADER + parts.iter().map(|part| part.len()).sum::<usize>();
        let pages = length.div_ceil(self.page_size);
        let id = self.next;
        let unfit = || Error::Unfit(format!("a page of {count} elements and {length} bytes"));
        let header = Header {
            id,
            kind,
            count: u16::try_from(count).map_err(|_| unfit())?,
            overflow: u32::try_from(pages - 1).map_err(|_| unfit())?,
        };
        let offset = id * self.page_size as u64;
        let rest = pages * self.page_size - length;
        let write = |out: &mut BufWriter<File>| -> io::Result<()> {
            out.write_all(&header.to_bytes())?;
            parts.iter().try_for_each(|part| out.write_all(part))?;
            io::copy(&mut io::Read::take(io::repeat(0), rest as u64), out)?;
            Ok(())
        };
        write(&mut self.out).map_err(|source| Error::Write { offset, source })?;
        self.next += pages as u64;
        Ok(id)
    }
}

/// A bucket that is being written.
pub struct BucketWriter<'a> {
    writer: &'a mut Writer,
    name: Vec<u8>,
    tree: Tree,
}

impl BucketWriter<'_> {
    /// Adds an entry.
    ///
    /// # Errors
    /// Its key is empty, too long or not behind the last one, or the file cannot be written.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.tree.push(self.writer, key, value)
    }

    /// Ends the bucket.
    ///
    /// # Errors
    /// Its name is not behind the last one's, or the file cannot be written.
    pub fn finish(self) -> Result<()> {
        let Self { writer, name, tree } = self;
        let value = match tree.inline(writer.page_size) {
            Some(page) => [&[0; BUCKET][..], &page].concat(),
            None => {
                let root = tree.finish(writer)?;
                let mut value = vec![0; BUCKET];
                value[..8].copy_from_slice(&root.to_le_bytes());
                value
            }
        };
        let mut root = std::mem::replace(&mut writer.root, Tree::new(BUCKET_FLAG));
        let pushed = root.push(writer, &name, &value);
        writer.root = root;
        pushed
    }
}

/// A tree that grows at its end.
struct Tree {
    /// Flags of its entries.
    flags: u32,
    leaf: Leaf,
    /// Unfinished branches, from the one above the leaves up.
    branches: Vec<Branch>,
    last_key: Option<Vec<u8>>,
}

#[derive(Default)]
struct Leaf {
    /// Lengths of keys and values.
    lengths: Vec<(usize, usize)>,
    data: Vec<u8>,
}

#[derive(Default)]
struct Branch {
    /// First keys and numbers of the pages below.
    children: Vec<(Vec<u8>, u64)>,
    /// Bytes of the page.
    length: usize,
}

impl Tree {
    fn new(flags: u32) -> Self {
        Self {
            flags,
            leaf: Leaf::default(),
            branches: Vec::new(),
            last_key: None,
        }
    }

    fn push(&mut self, writer: &mut Writer, key: &[u8], value: &[u8]) -> Result<()> {
        if key.is_empty() || key.len() > LONGEST_KEY || value.len() > LONGEST_VALUE {
            let (key, value) = (key.len(), value.len());
            return Err(Error::Unfit(format!(
                "a key of {key} bytes with a value of {value} bytes"
            )));
        }
        if self.last_key.as_deref().is_some_and(|last| key <= last) {
            return Err(Error::Unfit("keys that do not ascend".to_owned()));
        }
        let length = self.leaf.length() + HEADER + key.len() + value.len();
        let count = self.leaf.lengths.len();
        if count > 0 && (length > writer.page_size || count == MOST_ELEMENTS) {
            self.flush_leaf(writer)?;
        }
        self.leaf.lengths.push((key.len(), value.len()));
        self.leaf.data.extend_from_slice(key);
        self.leaf.data.extend_from_slice(value);
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }

    fn flush_leaf(&mut self, writer: &mut Writer) -> Result<()> {
        let leaf = std::mem::take(&mut self.leaf);
        let first = leaf.first_key().to_vec();
        let id = leaf.write(self.flags, writer)?;
        self.add_child(writer, 0, first, id)
    }

    fn add_child(
        &mut self,
        writer: &mut Writer,
        level: usize,
        key: Vec<u8>,
        id: u64,
    ) -> Result<()> {
        if self.branches.len() == level {
            self.branches.push(Branch::default());
        }
        let branch = &mut self.branches[level];
        let added = HEADER + key.len();
        let full = branch.length + added > writer.page_size - HEADER
            || branch.children.len() == MOST_ELEMENTS;
        // The last child moves on to the next page, so that no branch is left with a single one: bbolt stops at that
        // when it deletes.
        let split = if full && branch.children.len() > 2 {
            let mut whole = std::mem::take(branch);
            whole.children.pop().map(|last| (whole, last))
        } else {
            None
        };
        if let Some((whole, last)) = split {
            branch.add(last.0, last.1);
            branch.add(key, id);
            let (first, id) = whole.write(writer)?;
            return self.add_child(writer, level + 1, first, id);
        }
        branch.add(key, id);
        Ok(())
    }

    /// The whole tree as the page inside of a bucket, when it is small enough.
    fn inline(&self, page_size: usize) -> Option<Vec<u8>> {
        if !self.branches.is_empty() || self.leaf.length() > page_size / 4 {
            return None;
        }
        let header = Header {
            id: 0,
            kind: LEAF,
            // A quarter of a page has room for far less than 2^16 elements of 16 bytes; else it is no inline page.
            count: u16::try_from(self.leaf.lengths.len()).ok()?,
            overflow: 0,
        };
        let elements = self.leaf.elements(self.flags).ok()?;
        Some([&header.to_bytes()[..], &elements, &self.leaf.data].concat())
    }

    /// Writes what is left and gives the number of the root page.
    fn finish(mut self, writer: &mut Writer) -> Result<u64> {
        if self.branches.is_empty() {
            return self.leaf.write(self.flags, writer);
        }
        self.flush_leaf(writer)?;
        let mut level = 0;
        loop {
            let branch = std::mem::take(&mut self.branches[level]);
            let (first, id) = branch.write(writer)?;
            level += 1;
            if level == self.branches.len() {
                return Ok(id);
            }
            self.add_child(writer, level, first, id)?;
        }
    }
}

impl Leaf {
    fn length(&self) -> usize {
        HEADER * (1 + self.lengths.len()) + self.data.len()
    }

    fn first_key(&self) -> &[u8] {
        self.lengths
            .first()
            .map_or(&[], |(length, _)| &self.data[..*length])
    }

    fn elements(&self, flags: u32) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(HEADER * self.lengths.len());
        let mut offset = 0;
        for (index, (key, value)) in self.lengths.iter().enumerate() {
            let position = HEADER * (self.lengths.len() - index) + offset;
            let fields = [position, *key, *value].map(u32::try_from);
            let [Ok(position), Ok(key_length), Ok(value_length)] = fields else {
                return Err(Error::Unfit(format!("an entry at {position} of a page")));
            };
            for field in [flags, position, key_length, value_length] {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
            offset += key + value;
        }
        Ok(bytes)
    }

    fn write(&self, flags: u32, writer: &mut Writer) -> Result<u64> {
        let elements = self.elements(flags)?;
        writer.page(LEAF, self.lengths.len(), &[&elements, &self.data])
    }
}

impl Branch {
    fn add(&mut self, key: Vec<u8>, id: u64) {
        self.length += HEADER + key.len();
        self.children.push((key, id));
    }

    /// Writes it; its first key and number.
    fn write(self, writer: &mut Writer) -> Result<(Vec<u8>, u64)> {
        let mut elements = Vec::with_capacity(HEADER * self.children.len());
        let mut data = Vec::with_capacity(self.length);
        for (index, (key, id)) in self.children.iter().enumerate() {
            let position = HEADER * (self.children.len() - index) + data.len();
            let fields = [position, key.len()].map(u32::try_from);
            let [Ok(position), Ok(length)] = fields else {
                return Err(Error::Unfit(format!("a key at {position} of a page")));
            };
            elements.extend_from_slice(&position.to_le_bytes());
            elements.extend_from_slice(&length.to_le_bytes());
            elements.extend_from_slice(&id.to_le_bytes());
            data.extend_from_slice(key);
        }
        let id = writer.page(BRANCH, self.children.len(), &[&elements, &data])?;
        let first = self.children.into_iter().next();
        Ok((first.map(|(key, _)| key).unwrap_or_default(), id))
    }
}
