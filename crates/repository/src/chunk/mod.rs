//! Where files are cut: at boundaries that their content decides, so that a change in the middle moves no
//! boundary behind it.
//!
//! Two ways: [`gear`] in repositories made here (four times as fast), [`rabin`] in those that restic made,
//! because there every file is already stored in pieces that only it finds again.

pub mod gear;
pub mod polynomial;
pub mod rabin;

use gear::Gear;
use rabin::Rabin;

/// Shortest piece, but for the last of a file: 512 KiB, as restic's.
pub const SHORTEST: usize = 512 << 10;
/// Longest piece: 8 MiB, as restic's.
pub const LONGEST: usize = 8 << 20;

/// A way to cut.
#[derive(Clone, Debug)]
pub enum Chunker {
    /// Keyed gear hash.
    Gear(Box<Gear>),
    /// restic's.
    Rabin(Box<Rabin>),
}

/// How the files of a source are cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkerKind {
    /// Where their content says, as the repository does it.
    #[default]
    ByContent,
    /// In pieces of one length: for images of disks and files of databases, which change in place and never move what is
    /// behind a change. A small change then costs a small piece.
    Fixed(FixedLength),
}

/// Length of pieces in bytes: a multiple of 64 KiB, at most 8 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedLength(usize);

/// Fixed pieces begin at multiples of this.
pub const BLOCK: usize = 64 << 10;

impl Default for FixedLength {
    /// 256 KiB: a change costs a quarter of what it costs in pieces by content, and the index grows fourfold.
    fn default() -> Self {
        Self(4 * BLOCK)
    }
}

impl FixedLength {
    /// This length; `None` when it is none of the lengths that pieces may have.
    #[must_use]
    pub fn new(bytes: usize) -> Option<Self> {
        (bytes > 0 && bytes <= LONGEST && bytes.is_multiple_of(BLOCK)).then_some(Self(bytes))
    }

    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.0
    }
}

impl Chunker {
    /// Length of the first piece of what is left of a file, of which `window` is what was read so far, and of that `known` bytes
    /// were looked at before without finding its end. `None` where more has to be read; never with [`LONGEST`] bytes, nor when
    /// `ended` says that there is no more.
    #[must_use]
    pub fn cut(
        &self,
        window: &[u8],
        known: usize,
        ended: bool,
        kind: ChunkerKind,
    ) -> Option<usize> {
        let last = ended || window.len() >= LONGEST;
        let longest = window.len().min(LONGEST);
        if let ChunkerKind::Fixed(length) = kind {
            let length = length.bytes();
            return (last || window.len() >= length).then(|| longest.min(length));
        }
        match self {
            Self::Gear(gear) => gear
                .boundary(window, known)
                .or_else(|| last.then_some(longest)),
            // It goes on from its beginning only.
            Self::Rabin(rabin) => last.then(|| rabin.cut(window)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_pieces_have_lengths_that_fit_blocks() {
        for bad in [0, 1, BLOCK - 1, BLOCK + 1, LONGEST + BLOCK, usize::MAX] {
            assert_eq!(FixedLength::new(bad), None, "{bad}");
        }
        let gear = Chunker::Gear(Box::new(Gear::new(&[1; 32])));
        for bytes in [BLOCK, 3 * BLOCK, LONGEST] {
            let length = FixedLength::new(bytes).expect("a multiple of a block");
            let kind = ChunkerKind::Fixed(length);
            assert_eq!(gear.cut(&vec![0; LONGEST], 0, false, kind), Some(bytes));
            assert_eq!(gear.cut(&[0; 7], 0, true, kind), Some(7));
            assert_eq!(gear.cut(&[0; 7], 0, false, kind), None);
        }
    }
}
