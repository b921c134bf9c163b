//! Sorting more than memory takes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write as _};

use super::Sorted;
use super::run::{Run, Scan};
use crate::scratch::Scratch;

/// Bytes that all parts together are read ahead while they are merged.
const AHEAD: usize = 16 << 20;

/// Takes records in any order. So many are kept in memory; more go, sorted, into a file.
pub(crate) struct Sorter<const N: usize> {
    scratch: Scratch,
    in_memory: usize,
    records: Vec<[u8; N]>,
    spilled: Option<File>,
    /// Where each sorted part ends in the file, in records.
    parts: Vec<usize>,
    /// Whether records will be looked up, and not only gone through.
    looked_up: bool,
}

impl<const N: usize> Sorter<N> {
    pub(crate) fn new(scratch: Scratch, in_memory: usize) -> Self {
        Self {
            scratch,
            in_memory: in_memory.max(1),
            records: Vec::new(),
            spilled: None,
            parts: Vec::new(),
            looked_up: true,
        }
    }

    /// For records that are only gone through in order.
    pub(crate) fn only_in_order(mut self) -> Self {
        self.looked_up = false;
        self
    }

    /// Takes a record.
    pub(crate) fn push(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.records.len() >= self.in_memory {
            self.spill()?;
        }
        self.records.push(record);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.records.sort_unstable();
        self.records.dedup();
        let file = match &mut self.spilled {
            Some(file) => file,
            none => none.insert(self.scratch.file()?),
        };
        file.write_all(self.records.as_flattened())?;
        self.parts
            .push(self.parts.last().unwrap_or(&0) + self.records.len());
        self.records.clear();
        Ok(())
    }

    /// All of them, sorted, those that came twice once.
    pub(crate) fn finish(mut self) -> io::Result<Sorted<N>> {
        if self.parts.is_empty() {
            self.records.sort_unstable();
            self.records.dedup();
            self.records.shrink_to_fit();
            return Ok(Sorted::Memory(self.records));
        }
        self.spill()?;
        self.records = Vec::new();
        let Some(file) = &self.spilled else {
            return Ok(Sorted::default());
        };
        let all = self.parts.last().copied().unwrap_or(0);
        let bytes = AHEAD / self.parts.len();
        let starts = std::iter::once(&0).chain(&self.parts);
        let parts = starts
            .zip(&self.parts)
            .map(|(from, end)| Scan::new(file, *from, *end, bytes))
            .collect();
        let looked_up = self.looked_up.then_some(all);
        Run::write(&self.scratch, looked_up, Merge::new(parts)).map(Sorted::Disk)
    }
}

/// Several runs as one.
pub(crate) fn merged<const N: usize>(scratch: &Scratch, runs: &[Run<N>]) -> io::Result<Run<N>> {
    let all = runs.iter().map(Run::len).sum();
    let parts = runs.iter().map(|run| run.scan(0)).collect();
    Run::write(scratch, Some(all), Merge::new(parts))
}

/// Several sorted parts as one.
struct Merge<'a, const N: usize> {
    parts: Vec<Scan<'a, N>>,
    /// The next record of every part that has one.
    next: BinaryHeap<Reverse<([u8; N], usize)>>,
    failed: Option<io::Error>,
}

impl<'a, const N: usize> Merge<'a, N> {
    fn new(parts: Vec<Scan<'a, N>>) -> Self {
        let mut merge = Self {
            parts,
            next: BinaryHeap::new(),
            failed: None,
        };
        (0..merge.parts.len()).for_each(|part| merge.advance(part));
        merge
    }

    fn advance(&mut self, part: usize) {
        match self.parts[part].next() {
            Some(Ok(record)) => self.next.push(Reverse((record, part))),
            Some(Err(error)) => self.failed = Some(error),
            None => {}
        }
    }
}

impl<const N: usize> Iterator for Merge<'_, N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.next.clear();
            return Some(Err(error));
        }
        let Reverse((record, part)) = self.next.pop()?;
        self.advance(part);
        Some(Ok(record))
    }
}
