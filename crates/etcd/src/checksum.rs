//! CRC-32C as Go computes it, over bytes that pass by.

use crc_fast::{CrcAlgorithm, Digest};

/// A running CRC-32C.
#[derive(Clone)]
pub(crate) struct Crc32c(Digest);

impl Crc32c {
    /// Of no bytes: 0.
    pub(crate) fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Goes on from a value.
    pub(crate) fn from(value: u32) -> Self {
        // What runs is the complement.
        Self(Digest::new_with_init_state(
            CrcAlgorithm::Crc32Iscsi,
            (!value).into(),
        ))
    }

    /// Takes more bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The value so far.
    pub(crate) fn value(&self) -> u32 {
        // The upper half of a 32-bit sum is zero.
        self.0.finalize() as u32
    }
}

/// FNV-1a of 64 bits.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_published_examples() {
        let mut crc = Crc32c::new();
        assert_eq!(crc.value(), 0);
        crc.update(b"1234");
        crc.update(b"56789");
        assert_eq!(crc.value(), 0xe306_9283);
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
