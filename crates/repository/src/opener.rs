//! Opening blobs one after the other, into buffers that are used again: memory that a blob gives back to the system costs
//! more to get anew than most blobs cost to decrypt.

use zstd::bulk::Decompressor;

use crate::crypto::MasterKey;
use crate::id::BlobId;

/// Longer buffers are given back: few blobs are longer, and every thread keeps its own.
const KEPT: usize = 16 << 20;

/// Opens blobs. What is in it when one could not be opened is of no use.
#[derive(Default)]
pub(crate) struct Opener {
    opened: Vec<u8>,
    plain: Vec<u8>,
    decompressor: Option<Decompressor<'static>>,
}

impl Opener {
    /// The plaintext of sealed bytes that should be the blob `id`, whose plaintext has `uncompressed` bytes where it is
    /// compressed.
    ///
    /// # Errors
    /// What is wrong with the blob, to be said behind its name.
    pub(crate) fn open(
        &mut self,
        key: &MasterKey,
        uncompressed: Option<u32>,
        id: &BlobId,
        sealed: &[u8],
    ) -> Result<&[u8], &'static str> {
        for buffer in [&mut self.opened, &mut self.plain] {
            buffer.clear();
            buffer.shrink_to(KEPT);
        }
        key.open_into(sealed, &mut self.opened)
            .map_err(|_| "is not sealed with the repository's key")?;
        let plain = match uncompressed {
            None => &self.opened,
            Some(length) => {
                self.decompress(length as usize)
                    .map_err(|_| "does not decompress")?;
                &self.plain
            }
        };
        if BlobId::of(plain) != *id {
            return Err("is another than its id says");
        }
        Ok(plain)
    }

    /// The plaintext of the blob that was opened last, which was compressed or was not.
    pub(crate) fn into_plain(self, compressed: bool) -> Vec<u8> {
        if compressed { self.plain } else { self.opened }
    }

    fn decompress(&mut self, length: usize) -> std::io::Result<()> {
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new()?),
        };
        self.plain.reserve(length);
        decompressor.decompress_to_buffer(&self.opened, &mut self.plain)?;
        Ok(())
    }
}
