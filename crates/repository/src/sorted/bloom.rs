//! A filter that knows what is certainly not there.

/// Bits for each record.
const BITS: usize = 10;
/// Most bytes that a filter takes; with more records than fit into it, it errs more often.
const MOST_BYTES: usize = 64 << 20;
/// Words of a block: one line of the processor's cache.
const BLOCK: usize = 8;
/// Bits that a key sets in its block.
const MARKS: u32 = 7;

/// A blocked Bloom filter over keys whose bytes are evenly distributed, as digests are. With others it errs more often,
/// and only in the direction that costs time.
pub(crate) struct Bloom(Vec<u64>);

impl Bloom {
    /// A filter for so many keys.
    pub(crate) fn new(keys: usize) -> Self {
        let bytes = (keys.saturating_mul(BITS) / 8).min(MOST_BYTES);
        let blocks = bytes.div_ceil(BLOCK * 8).max(1);
        Self(vec![0; blocks * BLOCK])
    }

    pub(crate) fn add(&mut self, key: &[u8]) {
        let (block, mut marks) = self.place(key);
        for _ in 0..MARKS {
            let bit = (marks & 511) as usize;
            self.0[block + bit / 64] |= 1 << (bit % 64);
            marks >>= 9;
        }
    }

    /// False when the key was certainly not added.
    pub(crate) fn may_have(&self, key: &[u8]) -> bool {
        let (block, mut marks) = self.place(key);
        for _ in 0..MARKS {
            let bit = (marks & 511) as usize;
            if self.0[block + bit / 64] >> (bit % 64) & 1 == 0 {
                return false;
            }
            marks >>= 9;
        }
        true
    }

    /// Where the block of a key begins, and the bits that it sets there, nine bits each.
    fn place(&self, key: &[u8]) -> (usize, u64) {
        let word = |at: usize| {
            key.get(at..at + 8).map_or(0, |bytes| {
                u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
            })
        };
        let blocks = (self.0.len() / BLOCK) as u64;
        ((word(8) % blocks) as usize * BLOCK, word(16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BlobId;

    #[test]
    fn what_was_added_is_never_denied_and_others_seldom_believed() {
        let id = |i: u32| BlobId::of(&i.to_le_bytes());
        let mut bloom = Bloom::new(10_000);
        (0..10_000).for_each(|i| bloom.add(id(i).as_bytes()));
        assert!((0..10_000).all(|i| bloom.may_have(id(i).as_bytes())));
        let wrong = (10_000..20_000)
            .filter(|i| bloom.may_have(id(*i).as_bytes()))
            .count();
        assert!(wrong < 500, "{wrong} of 10000");
    }
}
