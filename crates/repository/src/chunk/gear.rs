//! The keyed gear hash: one shift and one addition per byte.
//!
//! The table is made of the master key, so that boundaries, which show in the sizes of packs, tell nothing of
//! the content to whoever has not the key. Version `gear-1`: a change of anything below is a new version.

use ring::hkdf;

use super::{LONGEST, SHORTEST};

/// Length that pieces tend to: before it a boundary needs more bits, behind it fewer.
const NORMAL: usize = 1 << 20;
/// Bits of a boundary before the normal length. The highest bits: they have seen the most bytes.
const HARD: u64 = !0 << (64 - 21);
/// Bits behind it.
const EASY: u64 = !0 << (64 - 18);

/// Bytes that a hash depends on: each moves one bit further up.
const SEEN: usize = 64;
/// Parts that are looked at side by side, and bytes of each: many times [`SEEN`], which are looked at twice.
const LANES: usize = 4;
const LANE: usize = 4 << 10;

/// The table of one repository.
#[derive(Clone)]
pub struct Gear([u64; 256]);

impl std::fmt::Debug for Gear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gear([redacted])")
    }
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        256 * 8
    }
}

impl Gear {
    /// The table of a key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        let mut bytes = [0; 256 * 8];
        hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
            .extract(key)
            .expand(&[b"salvor chunker 1"], Length)
            .and_then(|out| out.fill(&mut bytes))
            .expect("2048 bytes are less than HKDF's limit of 255 digests");
        Self(std::array::from_fn(|i| {
            u64::from_le_bytes(bytes[8 * i..8 * i + 8].try_into().expect("eight bytes"))
        }))
    }

    /// Where the first piece of `window` ends by its content, when the bytes before `from` were looked at before; `None` where no
    /// boundary is in it.
    #[must_use]
    pub fn boundary(&self, window: &[u8], from: usize) -> Option<usize> {
        let end = window.len().min(LONGEST);
        let normal = end.min(NORMAL);
        for (masked, first, to) in [(HARD, SHORTEST, normal), (EASY, normal, end)] {
            let from = from.max(first);
            if from < to
                && let Some(found) = self.scan(window, from, to, masked)
            {
                return Some(found);
            }
        }
        None
    }

    /// Length of the first piece of `window`, which holds [`LONGEST`] bytes or all that is left.
    #[must_use]
    pub fn cut(&self, window: &[u8]) -> usize {
        let end = window.len().min(LONGEST);
        self.boundary(window, 0).unwrap_or(end)
    }

    /// The first boundary behind `from` and up to `to`. The hash of a byte depends on it and the [`SEEN`] - 1 before it alone, so
    /// several parts are looked at side by side: one alone waits for its own hash at every byte.
    fn scan(&self, window: &[u8], from: usize, to: usize, masked: u64) -> Option<usize> {
        let mut at = from;
        while to - at >= LANES * LANE {
            let mut hashes: [u64; LANES] =
                std::array::from_fn(|lane| self.primed(window, at + lane * LANE));
            let group = &window[at..at + LANES * LANE];
            let (a, rest) = group.split_at(LANE);
            let (b, rest) = rest.split_at(LANE);
            let (c, d) = rest.split_at(LANE);
            // The mask is of the highest bits, so the lowest hash tells of all.
            let mut lowest = u64::MAX;
            for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
                for (hash, byte) in hashes.iter_mut().zip([a, b, c, d]) {
                    *hash = self.next(*hash, *byte);
                }
                let [a, b, c, d] = hashes;
                lowest = lowest.min(a.min(b).min(c.min(d)));
            }
            if lowest & masked == 0 {
                // Rare: once in a piece. Which of them is the first is found in order.
                return self.scan_in_order(window, at, at + LANES * LANE, masked);
            }
            at += LANES * LANE;
        }
        self.scan_in_order(window, at, to, masked)
    }

    fn scan_in_order(&self, window: &[u8], from: usize, to: usize, masked: u64) -> Option<usize> {
        let mut hash = self.primed(window, from);
        for (i, byte) in window[from..to].iter().enumerate() {
            hash = self.next(hash, *byte);
            if hash & masked == 0 {
                return Some(from + i + 1);
            }
        }
        None
    }

    /// The hash before the byte at `at`: what lies further before has left it.
    fn primed(&self, window: &[u8], at: usize) -> u64 {
        let seen = window[at - SEEN..at].iter();
        seen.fold(0, |hash, byte| self.next(hash, *byte))
    }

    #[inline(always)]
    fn next(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.0[usize::from(byte)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        (0..length)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect()
    }

    fn cuts(gear: &Gear, data: &[u8]) -> Vec<usize> {
        let mut at = 0;
        let mut cuts = Vec::new();
        while at < data.len() {
            at += gear.cut(&data[at..]);
            cuts.push(at);
        }
        cuts
    }

    /// Frozen: other boundaries would store every known file again.
    #[test]
    fn boundaries_stay_where_they_are() {
        let data = noise(12 << 20);
        let found = cuts(&Gear::new(&[7; 32]), &data);
        assert_eq!(found, GOLDEN, "{found:?}");
    }

    const GOLDEN: &[usize] = &[
        1_131_605, 2_467_367, 3_621_800, 4_800_337, 5_464_834, 6_512_512, 7_223_772, 8_403_218,
        9_784_429, 10_895_160, 12_149_188, 12_582_912,
    ];

    /// One byte after the other, as the definition says.
    fn plainly(gear: &Gear, window: &[u8]) -> usize {
        let end = window.len().min(LONGEST);
        let mut hash = 0_u64;
        for (i, byte) in window[..end].iter().enumerate() {
            hash = (hash << 1).wrapping_add(gear.0[usize::from(*byte)]);
            let masked = if i < NORMAL { HARD } else { EASY };
            if i >= SHORTEST && hash & masked == 0 {
                return i + 1;
            }
        }
        end
    }

    #[test]
    fn side_by_side_finds_what_one_after_the_other_does_wherever_it_is_gone_on() {
        for seed in 0..4 {
            let gear = Gear::new(&[seed; 32]);
            let data = noise(6 << 20);
            let mut at = 0;
            while at < data.len() {
                let window = &data[at..];
                let wanted = plainly(&gear, window);
                assert_eq!(gear.cut(window), wanted);
                // In steps, as a file is read.
                let step = 300_000 + 7 * usize::from(seed);
                let mut known = 0;
                let found = loop {
                    let seen = (known + step).min(window.len());
                    match gear.boundary(&window[..seen], known) {
                        Some(found) => break found,
                        None if seen == window.len() => break seen,
                        None => known = seen,
                    }
                };
                assert_eq!(found, wanted);
                at += wanted;
            }
        }
    }

    #[test]
    fn an_insertion_moves_no_boundary_behind_the_next() {
        let gear = Gear::new(&[1; 32]);
        let data = noise(16 << 20);
        let mut changed = data.clone();
        changed.splice(3_000_000..3_000_000, [1, 2, 3]);
        let (before, after) = (cuts(&gear, &data), cuts(&gear, &changed));
        let moved: Vec<usize> = after.iter().map(|cut| cut - 3).collect();
        let kept = before.iter().filter(|cut| moved.contains(cut)).count();
        assert!(kept + 5 >= before.len(), "{kept} of {}", before.len());
    }

    #[test]
    fn pieces_keep_their_limits_and_keys_differ() {
        let zeros = vec![0; 20 << 20];
        let gear = Gear::new(&[2; 32]);
        assert!(
            cuts(&gear, &zeros)[..2]
                .iter()
                .all(|cut| cut % SHORTEST == 0 || cut % LONGEST == 0 || *cut > SHORTEST)
        );
        let data = noise(12 << 20);
        assert_ne!(cuts(&gear, &data), cuts(&Gear::new(&[3; 32]), &data));
        assert_eq!(gear.cut(&[]), 0);
        assert_eq!(gear.cut(&[1; 10]), 10);
    }
}
