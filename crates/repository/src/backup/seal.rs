//! What a worker does to a piece: name, compress, seal, verify.

use std::io::{self, Read as _};

use salvor_seal::Hasher;

use super::description::Large;
use crate::crypto::{MasterKey, NONCE};
use crate::error::{Error, Result};
use crate::id::BlobId;

/// zstd's level: the one that is faster than the disk and still smaller than the next (`docs/decisions`).
const LEVEL: i32 = 1;
/// What is tried before a large piece is compressed whole.
const PROBE: usize = 64 << 10;
/// A buffer that grew beyond this for one large directory is given back.
const KEPT: usize = 32 << 20;

/// A sealed blob.
pub(crate) struct SealedBlob<'a> {
    pub(crate) bytes: &'a [u8],
    /// Length of the plaintext, where it is compressed.
    pub(crate) uncompressed: Option<u32>,
}

/// Buffers and contexts that one worker uses again and again.
pub(crate) struct Sealer<'k> {
    key: &'k MasterKey,
    compresses: bool,
    verifies: bool,
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
    sealed: Vec<u8>,
    opened: Vec<u8>,
    plain: Vec<u8>,
}

impl<'k> Sealer<'k> {
    pub(crate) fn new(key: &'k MasterKey, compresses: bool, verifies: bool) -> io::Result<Self> {
        Ok(Self {
            key,
            compresses,
            verifies,
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            decompressor: zstd::bulk::Decompressor::new()?,
            sealed: Vec::new(),
            opened: Vec::new(),
            plain: Vec::new(),
        })
    }

    /// Seals a blob. `must_compress` is for trees, which always gain by it.
    pub(crate) fn seal(&mut self, id: &BlobId, plain: &[u8]) -> Result<SealedBlob<'_>> {
        let failed = |source| Error::Source {
            what: format!("seal blob {id}"),
            source,
        };
        self.sealed.clear();
        self.sealed.shrink_to(KEPT);
        self.sealed.resize(NONCE, 0);
        let compressed = self.compresses && self.compress(plain).map_err(failed)?;
        if !compressed {
            self.sealed.truncate(NONCE);
            self.sealed.extend_from_slice(plain);
        }
        self.key.seal_tail(&mut self.sealed, 0).map_err(failed)?;
        if self.verifies {
            self.verify(id, plain, compressed)?;
        }
        let uncompressed = compressed
            .then(|| u32::try_from(plain.len()))
            .transpose()
            .map_err(|_| failed(io::Error::other("a blob cannot have more than 4 GiB")))?;
        Ok(SealedBlob {
            bytes: &self.sealed,
            uncompressed,
        })
    }

    /// Seals the description of a large directory, which is compressed already.
    pub(crate) fn seal_large(&mut self, tree: &mut Large) -> Result<SealedBlob<'_>> {
        let id = tree.id;
        let failed = |source| Error::Source {
            what: format!("seal tree {id}"),
            source,
        };
        self.sealed.clear();
        self.sealed.resize(NONCE, 0);
        let compressed = self.compresses;
        tree.append(&mut self.sealed, compressed).map_err(failed)?;
        self.key.seal_tail(&mut self.sealed, 0).map_err(failed)?;
        if self.verifies {
            self.verify_large(&id, compressed)?;
        }
        let uncompressed = compressed
            .then(|| u32::try_from(tree.length))
            .transpose()
            .map_err(|_| failed(io::Error::other("a blob cannot have more than 4 GiB")))?;
        Ok(SealedBlob {
            bytes: &self.sealed,
            uncompressed,
        })
    }

    /// Opens what was sealed and looks whether it has its id, without ever having it in memory whole and plain.
    fn verify_large(&mut self, id: &BlobId, compressed: bool) -> Result<()> {
        let unfaithful = || Error::Unfaithful {
            what: format!("tree {id}"),
        };
        self.key
            .open_into(&self.sealed, &mut self.opened)
            .map_err(|_| unfaithful())?;
        let mut hasher = Hasher::new();
        if compressed {
            let mut decoder = zstd::stream::read::Decoder::new(self.opened.as_slice())
                .map_err(|_| unfaithful())?;
            let mut buffer = vec![0; 128 << 10];
            loop {
                match decoder.read(&mut buffer).map_err(|_| unfaithful())? {
                    0 => break,
                    length => hasher.update(&buffer[..length]),
                }
            }
        } else {
            hasher.update(&self.opened);
        }
        if BlobId::from(hasher.finish()) != *id {
            return Err(unfaithful());
        }
        self.opened.clear();
        self.opened.shrink_to(KEPT);
        Ok(())
    }

    /// Appends the compressed plaintext to the nonce; false when it is not worth it.
    fn compress(&mut self, plain: &[u8]) -> io::Result<bool> {
        if plain.is_empty() {
            return Ok(false);
        }
        if plain.len() > 2 * PROBE {
            let probed = self.append(&plain[..PROBE])?;
            self.sealed.truncate(NONCE);
            if probed > PROBE - PROBE / 32 {
                return Ok(false);
            }
        }
        Ok(self.append(plain)? < plain.len())
    }

    fn append(&mut self, plain: &[u8]) -> io::Result<usize> {
        let bound = zstd::zstd_safe::compress_bound(plain.len());
        // Behind the nonce, into room that nobody has to clear first.
        let mut out = io::Cursor::new(std::mem::take(&mut self.sealed));
        out.get_mut().reserve(bound);
        out.set_position(NONCE as u64);
        let length = self.compressor.compress_to_buffer(plain, &mut out);
        self.sealed = out.into_inner();
        length
    }

    /// Opens what was sealed and compares: cheaper than what a blob that cannot be read costs later.
    fn verify(&mut self, id: &BlobId, plain: &[u8], compressed: bool) -> Result<()> {
        let unfaithful = || Error::Unfaithful {
            what: format!("blob {id}"),
        };
        self.key
            .open_into(&self.sealed, &mut self.opened)
            .map_err(|_| unfaithful())?;
        let same = if compressed {
            self.plain.resize(plain.len(), 0);
            let length = self
                .decompressor
                .decompress_to_buffer(&self.opened, self.plain.as_mut_slice());
            length.is_ok_and(|length| length == plain.len()) && self.plain == plain
        } else {
            self.opened == plain
        };
        if same { Ok(()) } else { Err(unfaithful()) }
    }
}
