//! Blobs that a backup has in hand: whoever claims one stores it.

use std::collections::HashSet;
use std::io;

use crate::format::index_file::BlobKind;
use crate::id::BlobId;
use crate::scratch::Scratch;
use crate::sorted::{Run, merged};

/// Blobs that are kept in memory, about 18 MiB; more go into files.
const IN_MEMORY: usize = 256 << 10;
/// Files that are looked through before they become one: each has a filter.
const MOST_RUNS: usize = 32;
/// Id and kind.
const LENGTH: usize = 33;

/// A growing set, of which only the newest part is in memory.
pub(crate) struct Claimed {
    scratch: Scratch,
    in_memory: usize,
    recent: HashSet<[u8; LENGTH]>,
    runs: Vec<Run<LENGTH>>,
}

impl Claimed {
    pub(crate) fn new(scratch: Scratch) -> Self {
        Self::with_limit(scratch, IN_MEMORY)
    }

    fn with_limit(scratch: Scratch, in_memory: usize) -> Self {
        Self {
            scratch,
            in_memory,
            recent: HashSet::new(),
            runs: Vec::new(),
        }
    }

    /// Adds a blob; false when it was there.
    pub(crate) fn insert(&mut self, kind: BlobKind, id: &BlobId) -> io::Result<bool> {
        let mut key = [0; LENGTH];
        key[..32].copy_from_slice(id.as_bytes());
        key[32] = u8::from(kind == BlobKind::Tree);
        if self.recent.contains(&key) {
            return Ok(false);
        }
        for run in &self.runs {
            if run.first(&key)?.is_some_and(|(_, found)| found == key) {
                return Ok(false);
            }
        }
        if self.recent.len() >= self.in_memory {
            self.spill()?;
        }
        self.recent.insert(key);
        Ok(true)
    }

    fn spill(&mut self) -> io::Result<()> {
        let mut keys: Vec<[u8; LENGTH]> = self.recent.drain().collect();
        keys.sort_unstable();
        let records = keys.iter().map(|key| Ok(*key));
        self.runs
            .push(Run::write(&self.scratch, Some(keys.len()), records)?);
        if self.runs.len() >= MOST_RUNS {
            let one = merged(&self.scratch, &self.runs)?;
            self.runs = vec![one];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_was_claimed_is_claimed_wherever_it_went() {
        let mut claimed = Claimed::with_limit(Scratch::default(), 50);
        let id = |i: u32| BlobId::of(&i.to_le_bytes());
        let mut insert = |kind, i| claimed.insert(kind, &id(i)).expect("a temporary file");
        assert!((0..4000).all(|i| insert(BlobKind::Data, i)));
        assert!((0..4000).all(|i| !insert(BlobKind::Data, i)));
        assert!((0..4000).all(|i| insert(BlobKind::Tree, i)));
        assert!((0..4000).all(|i| !insert(BlobKind::Tree, i)));
        assert!(insert(BlobKind::Data, 4000));
        assert!(claimed.runs.len() < MOST_RUNS);
    }
}
