//! `<name>.zst.age`: content that is compressed, closed with its own digest, and encrypted.
//!
//! ```text
//! age( zstd(content) · skippable zstd frame { "salvor-1", length, SHA-256 of the content } )
//! ```
//!
//! `age -d | zstd -d` gives the content: zstd passes over a skippable frame. The digest of the content stands inside,
//! where only those see it who can read the content: outside it would tell everybody when two contents are the same.
//! Read and written are bytes in pieces; memory is a few pieces and zstd's window, at most 128 MiB when it is read
//! and 8 MiB when it is written. The form is described in `docs/formats/sealed-objects.md`.

use zeroize::Zeroizing;
use zstd::stream::raw::{Decoder, Encoder, Operation};

use super::stream::{Opener, Sealer};
use super::{AgeError, Identity, Recipient};
use crate::{Digest, Hasher};

/// zstd's level. For dumps and databases level 1 is smaller and faster than 3, as measured.
const LEVEL: i32 = 1;
/// Of the skippable frames that zstd knows, ours.
const MAGIC: [u8; 4] = 0x184D_2A5E_u32.to_le_bytes();
/// What the frame begins with.
const NAME: &[u8; 8] = b"salvor-1";
/// Bytes of what is in the frame: name, length, digest.
const INSIDE: usize = 8 + 8 + 32;
/// Bytes of the frame.
const FRAME: usize = 8 + INSIDE;
/// Bytes of a step of zstd.
const STEP: usize = 64 << 10;

/// What was written, or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedDigests {
    /// Bytes of the content.
    pub content_size: u64,
    /// SHA-256 of the content.
    pub content: Digest,
    /// Bytes of the encrypted object.
    pub size: u64,
    /// SHA-256 of the encrypted object.
    pub object: Digest,
}

/// Makes an object. What goes out counts only when [`ObjectSealer::finish`] has succeeded.
pub struct ObjectSealer {
    zstd: Encoder<'static>,
    /// What one step of zstd gives.
    step: Zeroizing<Vec<u8>>,
    age: Sealer,
    content: Hasher,
    object: Hasher,
}

impl std::fmt::Debug for ObjectSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectSealer")
            .field("content", &self.content.length())
            .finish_non_exhaustive()
    }
}

impl ObjectSealer {
    /// Begins an object; its first bytes go to `out`.
    ///
    /// # Errors
    /// Without recipients or random numbers, or zstd cannot begin.
    pub fn begin(recipients: &[Recipient], out: &mut Vec<u8>) -> Result<Self, AgeError> {
        let from = out.len();
        let age = Sealer::begin(recipients, out)?;
        let mut sealer = Self {
            zstd: Encoder::new(LEVEL).map_err(AgeError::Compress)?,
            step: Zeroizing::new(vec![0; STEP]),
            age,
            content: Hasher::new(),
            object: Hasher::new(),
        };
        sealer.object.update(&out[from..]);
        Ok(sealer)
    }

    /// Takes content.
    ///
    /// # Errors
    /// zstd fails.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), AgeError> {
        let from = out.len();
        self.content.update(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let done = self.zstd.run_on_buffers(rest, &mut self.step);
            let done = done.map_err(AgeError::Compress)?;
            self.age.push(&self.step[..done.bytes_written], out);
            rest = &rest[done.bytes_read..];
        }
        self.object.update(&out[from..]);
        Ok(())
    }

    /// The end of the object.
    ///
    /// # Errors
    /// zstd fails.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<SealedDigests, AgeError> {
        let from = out.len();
        loop {
            let mut target = zstd::stream::raw::OutBuffer::around(self.step.as_mut_slice());
            let left = self
                .zstd
                .finish(&mut target, true)
                .map_err(AgeError::Compress)?;
            self.age.push(target.as_slice(), out);
            if left == 0 {
                break;
            }
        }
        let content_size = self.content.length();
        let content = self.content.finish();
        self.age.push(&frame(content_size, &content), out);
        self.age.finish(out);
        self.object.update(&out[from..]);
        let size = self.object.length();
        let object = self.object.finish();
        Ok(SealedDigests {
            content_size,
            content,
            size,
            object,
        })
    }
}

/// Reads an object. What goes out is complete only when [`ObjectOpener::finish`] has succeeded.
pub struct ObjectOpener {
    age: Opener,
    zstd: Decoder<'static>,
    /// What one step of zstd gives.
    step: Zeroizing<Vec<u8>>,
    /// The last bytes, which may be the frame with the digest.
    held: Zeroizing<Vec<u8>>,
    is_open: bool,
    content: Hasher,
    object: Hasher,
}

impl std::fmt::Debug for ObjectOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectOpener")
            .field("content", &self.content.length())
            .finish_non_exhaustive()
    }
}

impl ObjectOpener {
    /// Begins with an object's first byte.
    ///
    /// # Errors
    /// zstd cannot begin.
    pub fn new(identities: &[Identity]) -> Result<Self, AgeError> {
        Ok(Self {
            age: Opener::new(identities),
            zstd: Decoder::new().map_err(AgeError::Decompress)?,
            step: Zeroizing::new(vec![0; STEP]),
            held: Zeroizing::new(Vec::new()),
            is_open: false,
            content: Hasher::new(),
            object: Hasher::new(),
        })
    }

    /// Takes bytes of the object; content goes to `out`. Of hostile bytes a few can become many: pass few at a time.
    ///
    /// # Errors
    /// It is not for us, or damaged.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), AgeError> {
        self.object.update(bytes);
        self.age.push(bytes, &mut self.held)?;
        let ready = self.held.len().saturating_sub(FRAME);
        self.decompress(ready, out)
    }

    /// The end of the object. Objects that were made by `zstd | age` have no digest inside; theirs is the one that
    /// was read.
    ///
    /// # Errors
    /// It is cut off or damaged, or the content is not what its writer says it was.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<SealedDigests, AgeError> {
        let age = std::mem::replace(&mut self.age, Opener::new(&[]));
        age.finish(&mut self.held)?;
        let ready = self.held.len().saturating_sub(FRAME);
        self.decompress(ready, out)?;
        let is_frame = self.held.starts_with(&MAGIC) && self.held.len() == FRAME;
        let stated = is_frame.then(|| self.held.to_vec());
        if !is_frame {
            let rest = self.held.len();
            self.decompress(rest, out)?;
        }
        let content_size = self.content.length();
        let content = self.content.finish();
        if self.is_open || stated.is_some_and(|stated| stated != frame(content_size, &content)) {
            return Err(AgeError::Digest);
        }
        let size = self.object.length();
        let object = self.object.finish();
        Ok(SealedDigests {
            content_size,
            content,
            size,
            object,
        })
    }

    /// Decompresses the first of the bytes that are held.
    fn decompress(&mut self, ready: usize, out: &mut Vec<u8>) -> Result<(), AgeError> {
        let mut at = 0;
        loop {
            let done = self
                .zstd
                .run_on_buffers(&self.held[at..ready], &mut self.step)
                .map_err(AgeError::Decompress)?;
            at += done.bytes_read;
            self.content.update(&self.step[..done.bytes_written]);
            out.extend_from_slice(&self.step[..done.bytes_written]);
            if done.bytes_read > 0 || done.bytes_written > 0 {
                self.is_open = done.remaining > 0;
            }
            // A full step may have left more behind.
            if at == ready && done.bytes_written < STEP {
                break;
            }
        }
        self.held.drain(..ready);
        Ok(())
    }
}

/// The frame with the digest.
fn frame(size: u64, digest: &Digest) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME);
    frame.extend(MAGIC);
    frame.extend((INSIDE as u32).to_le_bytes());
    frame.extend(NAME);
    frame.extend(size.to_le_bytes());
    frame.extend(digest.as_bytes());
    frame
}
