//! Many records of one length, sorted by their bytes: in memory while they are few, else in a file without a name, where
//! they are looked up with one read of a page.
//!
//! What stays in memory of a file is a filter ([`Bloom`], ten bits a record and never more than 64 MiB), which answers
//! nearly every question for something that is not there, and the first eight bytes of every page of 64 records.

mod bloom;
mod run;
mod sorter;

use std::io;

pub(crate) use run::{Run, Scan};
pub(crate) use sorter::{Sorter, merged};

/// Sorted records of `N` bytes.
pub(crate) enum Sorted<const N: usize> {
    Memory(Vec<[u8; N]>),
    Disk(Run<N>),
}

impl<const N: usize> Default for Sorted<N> {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl<const N: usize> Sorted<N> {
    /// Records.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(records) => records.len(),
            Self::Disk(run) => run.len(),
        }
    }

    /// The first record that begins with `key` (at least 24 bytes), and its number.
    pub(crate) fn first(&self, key: &[u8]) -> io::Result<Option<(usize, [u8; N])>> {
        let found = match self {
            Self::Memory(records) => {
                let at = records.partition_point(|record| record[..key.len()] < *key);
                records.get(at).map(|record| (at, *record))
            }
            Self::Disk(run) => run.first(key)?,
        };
        Ok(found.filter(|(_, record)| record[..key.len()] == *key))
    }

    /// All records from a number on.
    pub(crate) fn scan(&self, from: usize) -> Records<'_, N> {
        match self {
            Self::Memory(records) => {
                Records::Memory(records.get(from..).unwrap_or_default().iter())
            }
            Self::Disk(run) => Records::Disk(run.scan(from)),
        }
    }
}

/// Records in order.
pub(crate) enum Records<'a, const N: usize> {
    Memory(std::slice::Iter<'a, [u8; N]>),
    Disk(Scan<'a, N>),
}

impl<const N: usize> Iterator for Records<'_, N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Memory(records) => records.next().map(|record| Ok(*record)),
            Self::Disk(scan) => scan.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BlobId;
    use crate::scratch::Scratch;

    fn record(i: u32) -> [u8; 40] {
        let mut record = [0; 40];
        record[..32].copy_from_slice(BlobId::of(&i.to_le_bytes()).as_bytes());
        record[36..].copy_from_slice(&i.to_be_bytes());
        record
    }

    fn sorted(count: u32, in_memory: usize) -> Sorted<40> {
        let mut sorter = Sorter::<40>::new(Scratch::default(), in_memory);
        for i in 0..count {
            sorter.push(record(i)).expect("a temporary file");
            if i % 7 == 0 {
                sorter.push(record(i)).expect("a temporary file");
            }
        }
        sorter.finish().expect("a temporary file")
    }

    #[test]
    fn records_are_found_wherever_they_are_and_others_are_not() {
        for (count, in_memory) in [
            (0, 10),
            (9, 10),
            (300, 1000),
            (1, 1),
            (500, 64),
            (5000, 100),
        ] {
            let all = sorted(count, in_memory);
            assert_eq!(
                all.len(),
                count as usize,
                "those that stood twice stand once"
            );
            let pushed = (count + count.div_ceil(7)) as usize;
            assert_eq!(matches!(all, Sorted::Disk(_)), pushed > in_memory);
            let mut wanted: Vec<[u8; 40]> = (0..count).map(record).collect();
            wanted.sort_unstable();
            let found: Vec<[u8; 40]> = all.scan(0).map(|r| r.expect("readable")).collect();
            assert_eq!(found, wanted);
            for (at, one) in wanted.iter().enumerate() {
                let found = all.first(&one[..32]).expect("readable");
                assert_eq!(found, Some((at, *one)));
            }
            for i in count..count + 500 {
                assert_eq!(all.first(&record(i)[..32]).expect("readable"), None);
            }
            let rest = all.scan(count as usize / 2).count();
            assert_eq!(rest, count as usize - count as usize / 2);
        }
    }

    /// A hostile index may name whatever it likes.
    #[test]
    fn keys_that_are_nearly_the_same_are_told_apart() {
        let mut sorter = Sorter::<40>::new(Scratch::default(), 50);
        let mut all = Vec::new();
        for i in 0..1000_u32 {
            let mut record = [7; 40];
            record[28..32].copy_from_slice(&(i / 3).to_be_bytes());
            record[36..].copy_from_slice(&i.to_be_bytes());
            sorter.push(record).expect("a temporary file");
            all.push(record);
        }
        let sorted = sorter.finish().expect("a temporary file");
        for (i, record) in all.iter().enumerate() {
            let found = sorted.first(&record[..32]).expect("readable");
            assert_eq!(found.map(|(at, _)| at), Some(i / 3 * 3));
        }
        assert_eq!(sorted.first(&[6; 32]).expect("readable"), None);
        assert_eq!(sorted.first(&[8; 32]).expect("readable"), None);
    }
}
