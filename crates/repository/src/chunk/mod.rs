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
    /// Pieces of one length, for block devices and databases, whose changes move nothing.
    Fixed(usize),
}

impl Chunker {
    /// Length of the first piece of `window`, which holds [`LONGEST`] bytes or all that is left.
    #[must_use]
    pub fn cut(&self, window: &[u8]) -> usize {
        match self {
            Self::Gear(gear) => gear.cut(window),
            Self::Rabin(rabin) => rabin.cut(window),
            Self::Fixed(length) => window.len().min(*length),
        }
    }
}
