//! What can go wrong with an archive, with the place where it went wrong.

use std::io;

use salvor_api::resource::ObjectKey;

/// Result of this crate's functions.
pub type Result<T, E = ArchiveError> = std::result::Result<T, E>;

/// A failure to write or read an archive, its index or the files beside it.
///
/// Offsets are in bytes from the beginning: `tar_offset` of the decompressed archive,
/// `compressed_offset` of the file in the location (rounded up to what was read so far).
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A path in an archive that must not be followed.
    #[error("refuse archive path `{path}`: {reason}")]
    UnsafePath {
        /// The path, cut to a printable length.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An item that cannot be written to an archive.
    #[error("write {key} to an archive: {reason}")]
    BadItem {
        /// The item.
        key: ObjectKey,
        /// What is wrong with it.
        reason: String,
    },
    /// The compressed stream is damaged or ends too early.
    #[error(
        "decompress archive near byte {compressed_offset} (byte {tar_offset} of the tar, in {within})"
    )]
    Decompress {
        /// Compressed bytes read so far.
        compressed_offset: u64,
        /// Decompressed bytes produced so far.
        tar_offset: u64,
        /// The entry being read, or `the headers`.
        within: String,
        /// What the decoder said.
        source: io::Error,
    },
    /// The archive cannot be read from where it is.
    #[error("read archive near byte {compressed_offset}")]
    Read {
        /// Compressed bytes read so far, or the offset that was asked for.
        compressed_offset: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// The tar ends inside an entry.
    #[error(
        "archive ends at byte {tar_offset} of the tar inside {within}: it was cut off while being written or copied"
    )]
    Truncated {
        /// Decompressed bytes produced so far.
        tar_offset: u64,
        /// The entry being read, or `a header`.
        within: String,
    },
    /// The tar is not a tar.
    #[error("read tar header at byte {tar_offset}: {reason}")]
    Tar {
        /// Where the header begins.
        tar_offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit was reached; the archive may be hostile.
    #[error(
        "archive exceeds the limit {limit} of {allowed} at byte {tar_offset} of the tar: raise the limit if this archive is trusted"
    )]
    Limit {
        /// Which limit, as named in [`crate::limits::Limits`].
        limit: &'static str,
        /// Its value.
        allowed: u64,
        /// Decompressed bytes produced so far.
        tar_offset: u64,
    },
    /// The archive is of a format that this release does not know.
    #[error("archive has format version `{found}`: this release reads 1 to 1.x, use a newer one")]
    UnsupportedFormat {
        /// What `metadata/version` says.
        found: String,
    },
    /// The whole file differs from what its manifest promises.
    #[error("archive has SHA-256 {found}, expected {expected}: it was damaged or replaced")]
    ArchiveDigest {
        /// Hexadecimal digest that was expected.
        expected: String,
        /// Hexadecimal digest of what was read.
        found: String,
    },
    /// One object differs from what the index promises.
    #[error(
        "read {key} from the archive: its bytes do not match the index, the archive or the index is damaged"
    )]
    ItemDigest {
        /// The object.
        key: ObjectKey,
    },
    /// A member of the archive cannot be decompressed or is not where the index says.
    #[error("read archive member at byte {compressed_offset}: {reason}")]
    Member {
        /// Where the member begins.
        compressed_offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The index cannot be decoded.
    #[error("decode archive index: {reason}")]
    Index {
        /// What is wrong with it, and where.
        reason: String,
    },
    /// The index was written by a newer release.
    #[error(
        "archive index has format version {found}, this release reads up to {supported}: use a newer release, or read the archive without its index"
    )]
    IndexNewer {
        /// Version in the file.
        found: u32,
        /// Highest version that is understood.
        supported: u32,
    },
    /// Too much to index.
    #[error("index archive: more than {allowed} {what}")]
    IndexFull {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        allowed: u64,
    },
    /// A temporary file failed.
    #[error("{operation} in the temporary directory")]
    Spill {
        /// What was being done.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A JSON file beside the archive cannot be encoded.
    #[error("encode {what}")]
    Encode {
        /// Rust's name of what was being written.
        what: &'static str,
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// A JSON file beside the archive cannot be decoded.
    #[error("decode {what}")]
    Decode {
        /// Rust's name of what was expected.
        what: &'static str,
        /// What the decoder said, with line and column.
        source: serde_json::Error,
    },
    /// A file beside the archive is not gzip, damaged or cut off.
    #[error("decompress {what}")]
    SideFile {
        /// Rust's name of what was expected.
        what: &'static str,
        /// What the decoder said.
        source: io::Error,
    },
    /// A file beside the archive was written by a newer release.
    #[error(
        "{what} has format version {found}, this release reads up to {supported}: use a newer release"
    )]
    SideFileNewer {
        /// The file's name.
        what: &'static str,
        /// Version in the file.
        found: u32,
        /// Highest version that is understood.
        supported: u32,
    },
    /// A file beside the archive is too long.
    #[error("{what} is longer than {allowed} bytes when decompressed")]
    SideFileTooLong {
        /// Rust's name of what was expected.
        what: &'static str,
        /// How long it may be, in bytes.
        allowed: u64,
    },
}

impl ArchiveError {
    /// True when the same call may succeed later: the bytes could not be had, or there was no room for a
    /// temporary file. Damage and refusals stay.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Spill { .. })
    }

    /// True when bytes of an archive are not what was written, so that another part of it may still be read.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Decompress { .. }
                | Self::Truncated { .. }
                | Self::Tar { .. }
                | Self::ItemDigest { .. }
                | Self::Member { .. }
        )
    }

    /// True when the work was given up on request; never, as nothing here can be cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        false
    }

    /// True when something may have been written that outlives the call; never, as everything here is
    /// written to memory or to anonymous files.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        false
    }
}

/// Text from an archive, made fit to be shown: control characters replaced, at most 200 characters.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    let mut out: String = text
        .chars()
        .take(200)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().count() > 200 || bytes.len() > 1024 {
        out.push('…');
    }
    out
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}
