//! The part of the tar format that archives need: POSIX ustar and pax headers, GNU long names for reading.

pub(crate) mod read;
pub(crate) mod write;

/// Headers and contents are padded to this many bytes.
pub(crate) const BLOCK: usize = 512;

/// `len` rounded up to whole blocks.
pub(crate) fn padded(len: u64) -> u64 {
    len.div_ceil(BLOCK as u64) * BLOCK as u64
}
