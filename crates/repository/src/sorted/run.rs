//! Sorted records in a file.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

use super::bloom::Bloom;
use crate::scratch::Scratch;

/// Records of a page.
const PAGE: usize = 64;
/// Bytes that are read at a time when all records are wanted.
const READ: usize = 256 << 10;

/// Records in a file, sorted and each different.
pub(crate) struct Run<const N: usize> {
    file: File,
    count: usize,
    /// The first eight bytes of every page, as a number.
    fences: Vec<u64>,
    /// Nothing where records are not looked up.
    bloom: Option<Bloom>,
}

fn fence(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = key.len().min(8);
    first[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(first)
}

impl<const N: usize> Run<N> {
    /// Writes records that come sorted; those that come twice are written once. `most` is how many there are at most, and
    /// `None` when none will be looked up.
    pub(crate) fn write(
        scratch: &Scratch,
        most: Option<usize>,
        records: impl Iterator<Item = io::Result<[u8; N]>>,
    ) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(READ, scratch.file()?);
        let mut fences = Vec::with_capacity(most.unwrap_or(0) / PAGE + 1);
        let mut bloom = most.map(Bloom::new);
        let (mut count, mut last) = (0, None);
        for record in records {
            let record = record?;
            if last == Some(record) {
                continue;
            }
            if count % PAGE == 0 {
                fences.push(fence(&record));
            }
            if let Some(bloom) = &mut bloom {
                bloom.add(&record);
            }
            out.write_all(&record)?;
            count += 1;
            last = Some(record);
        }
        fences.shrink_to_fit();
        Ok(Self {
            file: out.into_inner().map_err(io::IntoInnerError::into_error)?,
            count,
            fences,
            bloom,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The first record that is not less than `key`, and its number. `None` also when the filter knows that no record
    /// begins with `key`.
    pub(crate) fn first(&self, key: &[u8]) -> io::Result<Option<(usize, [u8; N])>> {
        if self
            .bloom
            .as_ref()
            .is_some_and(|bloom| !bloom.may_have(key))
        {
            return Ok(None);
        }
        let wanted = fence(key);
        // Of the pages in which the record can be, the first whose last record is not less.
        let mut low = self
            .fences
            .partition_point(|first| *first < wanted)
            .saturating_sub(1);
        let mut high = self.fences.partition_point(|first| *first <= wanted);
        while low + 1 < high {
            let middle = low.midpoint(high);
            if self.record(middle * PAGE)?[..key.len()] < *key {
                low = middle;
            } else {
                high = middle;
            }
        }
        let from = low * PAGE;
        let records = self.page(from)?;
        let at = records.partition_point(|record| record[..key.len()] < *key);
        match records.get(at) {
            Some(record) => Ok(Some((from + at, *record))),
            // It may begin the next page.
            None if from + at < self.count => self
                .record(from + at)
                .map(|record| Some((from + at, record))),
            None => Ok(None),
        }
    }

    fn page(&self, from: usize) -> io::Result<Vec<[u8; N]>> {
        let mut records = vec![[0; N]; PAGE.min(self.count.saturating_sub(from))];
        self.file
            .read_exact_at(records.as_flattened_mut(), (from * N) as u64)?;
        Ok(records)
    }

    fn record(&self, at: usize) -> io::Result<[u8; N]> {
        let mut record = [0; N];
        self.file.read_exact_at(&mut record, (at * N) as u64)?;
        Ok(record)
    }

    /// All records from a number on.
    pub(crate) fn scan(&self, from: usize) -> Scan<'_, N> {
        Scan::new(&self.file, from, self.count, READ)
    }
}

/// Records of a part of a file, in order.
pub(crate) struct Scan<'a, const N: usize> {
    file: &'a File,
    next: usize,
    end: usize,
    buffer: Vec<[u8; N]>,
    used: usize,
    at_once: usize,
}

impl<'a, const N: usize> Scan<'a, N> {
    /// Records from a number up to another, read in steps of `bytes`.
    pub(super) fn new(file: &'a File, from: usize, end: usize, bytes: usize) -> Self {
        Self {
            file,
            next: from.min(end),
            end,
            buffer: Vec::new(),
            used: 0,
            at_once: (bytes / N).max(1),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer
            .resize(self.at_once.min(self.end - self.next), [0; N]);
        self.file
            .read_exact_at(self.buffer.as_flattened_mut(), (self.next * N) as u64)?;
        self.next += self.buffer.len();
        self.used = 0;
        Ok(())
    }
}

impl<const N: usize> Iterator for Scan<'_, N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.used == self.buffer.len() {
            if self.next == self.end {
                return None;
            }
            if let Err(error) = self.fill() {
                self.next = self.end;
                self.buffer.clear();
                self.used = 0;
                return Some(Err(error));
            }
        }
        self.used += 1;
        Some(Ok(self.buffer[self.used - 1]))
    }
}
