//! restic's boundaries: a rolling Rabin fingerprint of the last 64 bytes, modulo the repository's polynomial.

use super::polynomial::Polynomial;
use super::{LONGEST, SHORTEST};

/// Bytes that the fingerprint looks at.
const WINDOW: usize = 64;
/// A boundary is where these bits are zero: one in a million.
const MASK: u64 = (1 << 20) - 1;

/// Tables of one polynomial.
#[derive(Clone, Debug)]
pub struct Rabin {
    /// What a byte contributes when it leaves the window.
    leaves: [u64; 256],
    /// What the bits above the degree reduce to.
    reduces: [u64; 256],
    /// How far the top byte of a fingerprint is from the bottom.
    shift: u32,
}

impl Rabin {
    /// Tables of an irreducible polynomial of degree 9 to 55; `None` for others.
    #[must_use]
    pub fn new(polynomial: Polynomial) -> Option<Self> {
        let degree = polynomial
            .degree()
            .filter(|degree| (9..=55).contains(degree))?;
        if !polynomial.is_irreducible() {
            return None;
        }
        let append =
            |hash: u64, byte: u8| Polynomial(hash << 8 | u64::from(byte)).modulo(polynomial).0;
        let mut leaves = [0; 256];
        let mut reduces = [0; 256];
        for byte in 0..=255_u8 {
            leaves[usize::from(byte)] =
                (1..WINDOW).fold(append(0, byte), |hash, _| append(hash, 0));
            let high = u64::from(byte) << degree;
            reduces[usize::from(byte)] = Polynomial(high).modulo(polynomial).0 | high;
        }
        Some(Self {
            leaves,
            reduces,
            shift: degree - 8,
        })
    }

    /// Length of the first piece of `window`.
    #[must_use]
    pub fn cut(&self, window: &[u8]) -> usize {
        let end = window.len().min(LONGEST);
        if end <= SHORTEST {
            return end;
        }
        // A fresh window of zeros has one byte 1 slid in; what comes before the shortest length by more than
        // a window is out of it again.
        let mut ring = [0_u8; WINDOW];
        let mut at = 0;
        let mut hash = self.slide(0, &mut ring, &mut at, 1);
        for (i, byte) in window[..end].iter().enumerate().skip(SHORTEST - WINDOW) {
            hash = self.slide(hash, &mut ring, &mut at, *byte);
            if i + 1 >= SHORTEST && hash & MASK == 0 {
                return i + 1;
            }
        }
        end
    }

    fn slide(&self, hash: u64, ring: &mut [u8; WINDOW], at: &mut usize, byte: u8) -> u64 {
        let out = std::mem::replace(&mut ring[*at % WINDOW], byte);
        *at += 1;
        let hash = hash ^ self.leaves[usize::from(out)];
        let top = (hash >> self.shift) as usize & 0xff;
        (hash << 8 | u64::from(byte)) ^ self.reduces[top]
    }
}
