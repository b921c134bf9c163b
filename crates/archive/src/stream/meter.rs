//! Decompression that counts on both sides and stops at the limits.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::limits::{Limits, RATIO_GRACE};

/// Compressed bytes read at once.
const READ_BYTES: usize = 128 << 10;

/// The decompressed bytes of a gzip file of one or many members.
pub(super) struct Metered<R: Read> {
    decoder: MultiGzDecoder<BufReader<Source<R>>>,
    tar_bytes: u64,
    max_total: u64,
    max_ratio: u64,
    limit_hit: Option<(&'static str, u64)>,
}

struct Source<R> {
    reader: R,
    bytes: u64,
    digest: Sha256,
    failed: bool,
}

impl<R: Read> Metered<R> {
    pub(super) fn new(reader: R, limits: &Limits) -> Self {
        let source = Source {
            reader,
            bytes: 0,
            digest: Sha256::new(),
            failed: false,
        };
        Self {
            decoder: MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, source)),
            tar_bytes: 0,
            max_total: limits.max_total_uncompressed,
            max_ratio: limits.max_ratio,
            limit_hit: None,
        }
    }

    fn source(&self) -> &Source<R> {
        self.decoder.get_ref().get_ref()
    }

    /// Compressed bytes read so far, which may be some more than were decompressed.
    pub(super) fn compressed_bytes(&self) -> u64 {
        self.source().bytes
    }

    /// Decompressed bytes handed out so far.
    pub(super) fn tar_bytes(&self) -> u64 {
        self.tar_bytes
    }

    /// SHA-256 of the compressed bytes so far.
    pub(super) fn sha256(&self) -> [u8; 32] {
        self.source().digest.clone().finalize().into()
    }

    /// True when the last error came from the reader, not from the decoder.
    pub(super) fn source_failed(&self) -> bool {
        self.source().failed
    }

    /// Name and value of the limit that ended the reading.
    pub(super) fn limit_hit(&self) -> Option<(&'static str, u64)> {
        self.limit_hit
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.tar_bytes += read as u64;
        let ratio_limit = self.compressed_bytes().saturating_mul(self.max_ratio);
        if self.tar_bytes > self.max_total {
            self.limit_hit = Some(("max_total_uncompressed", self.max_total));
        } else if self.tar_bytes > RATIO_GRACE && self.tar_bytes > ratio_limit {
            self.limit_hit = Some(("max_ratio", self.max_ratio));
        }
        if self.limit_hit.is_some() {
            return Err(io::Error::other("a limit was reached"));
        }
        Ok(read)
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer).inspect_err(|error| {
            self.failed = error.kind() != io::ErrorKind::Interrupted;
        })?;
        self.bytes += read as u64;
        self.digest.update(&buffer[..read]);
        Ok(read)
    }
}
