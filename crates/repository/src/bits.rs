//! One bit for each of many things that are numbered.

/// So many bits, all unset at first.
#[derive(Clone, Debug)]
pub(crate) struct Bits {
    words: Vec<u64>,
    length: usize,
}

impl Bits {
    pub(crate) fn new(length: usize) -> Self {
        Self {
            words: vec![0; length.div_ceil(64)],
            length,
        }
    }

    pub(crate) fn get(&self, at: usize) -> bool {
        assert!(at < self.length, "bit {at} of {}", self.length);
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    /// Sets a bit; true when it was set.
    pub(crate) fn set(&mut self, at: usize) -> bool {
        let was = self.get(at);
        self.words[at / 64] |= 1 << (at % 64);
        was
    }

    /// How many are set.
    pub(crate) fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_set_once() {
        let mut bits = Bits::new(130);
        for at in [0, 63, 64, 129] {
            assert!(!bits.get(at));
            assert!(!bits.set(at));
            assert!(bits.set(at) && bits.get(at));
        }
        assert!(!bits.get(65));
        assert_eq!(bits.count(), 4);
    }
}
