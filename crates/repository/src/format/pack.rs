//! Packs: sealed blobs one after the other, then a sealed header that lists them, then its length in four
//! bytes, little-endian.

use std::io;

use bytes::Bytes;

use super::index_file::{BlobKind, IndexedBlob};
use crate::crypto::{MasterKey, OVERHEAD};
use crate::id::{BlobId, FileId};

/// Header bytes of a blob that is not compressed.
const PLAIN_ENTRY: usize = 37;
/// Header bytes of a compressed one.
const COMPRESSED_ENTRY: usize = 41;
/// Longest header that is taken: half a million blobs.
pub(crate) const LONGEST_HEADER: u64 = 20 << 20;

/// A pack that is being filled.
#[derive(Debug, Default)]
pub(crate) struct PackWriter {
    bytes: Vec<u8>,
    blobs: Vec<IndexedBlob>,
}

/// A pack that is ready for the store.
#[derive(Debug)]
pub(crate) struct SealedPack {
    pub(crate) id: FileId,
    pub(crate) bytes: Bytes,
    pub(crate) blobs: Vec<IndexedBlob>,
}

impl PackWriter {
    /// An empty one whose buffer was used before.
    pub(crate) fn with_buffer(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self {
            bytes,
            blobs: Vec::new(),
        }
    }

    /// Takes a sealed blob.
    ///
    /// # Errors
    /// The pack would be longer than its format can say.
    pub(crate) fn add(
        &mut self,
        id: BlobId,
        kind: BlobKind,
        sealed: &[u8],
        uncompressed_length: Option<u32>,
    ) -> io::Result<()> {
        let too_long = || io::Error::other("a pack cannot be longer than 4 GiB");
        self.blobs.push(IndexedBlob {
            id,
            kind,
            offset: u32::try_from(self.bytes.len()).map_err(|_| too_long())?,
            length: u32::try_from(sealed.len()).map_err(|_| too_long())?,
            uncompressed_length,
        });
        self.bytes.extend_from_slice(sealed);
        Ok(())
    }

    /// Takes the blobs of another one.
    pub(crate) fn append(&mut self, other: Self) {
        let shift = u32::try_from(self.bytes.len()).expect("open packs are far below 4 GiB");
        self.bytes.extend_from_slice(&other.bytes);
        self.blobs
            .extend(other.blobs.into_iter().map(|blob| IndexedBlob {
                offset: blob.offset + shift,
                ..blob
            }));
    }

    /// Bytes so far, without the header.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Blobs so far.
    pub(crate) fn count(&self) -> usize {
        self.blobs.len()
    }

    /// Writes the header and names the pack.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn seal(mut self, key: &MasterKey) -> io::Result<SealedPack> {
        let mut header = Vec::with_capacity(self.blobs.len() * COMPRESSED_ENTRY);
        for blob in &self.blobs {
            let kind = match blob.kind {
                BlobKind::Data => 0,
                BlobKind::Tree => 1,
            };
            match blob.uncompressed_length {
                None => {
                    header.push(kind);
                    header.extend_from_slice(&blob.length.to_le_bytes());
                }
                Some(plain) => {
                    header.push(kind + 2);
                    header.extend_from_slice(&blob.length.to_le_bytes());
                    header.extend_from_slice(&plain.to_le_bytes());
                }
            }
            header.extend_from_slice(blob.id.as_bytes());
        }
        let sealed = key.seal(&header)?;
        let length = u32::try_from(sealed.len())
            .map_err(|_| io::Error::other("a header cannot be longer than 4 GiB"))?;
        self.bytes.extend_from_slice(&sealed);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        let bytes = Bytes::from(self.bytes);
        Ok(SealedPack {
            id: FileId::of(&bytes),
            bytes,
            blobs: self.blobs,
        })
    }
}

/// Where the sealed header of a pack of `size` bytes stands, by the pack's last four bytes.
///
/// # Errors
/// What is wrong with the length.
pub(crate) fn header_range(size: u64, last: [u8; 4]) -> Result<std::ops::Range<u64>, String> {
    let length = u64::from(u32::from_le_bytes(last));
    if length < (OVERHEAD + PLAIN_ENTRY) as u64 || length > LONGEST_HEADER || length + 4 > size {
        return Err(format!("its header cannot have {length} bytes"));
    }
    Ok(size - 4 - length..size - 4)
}

/// The blobs that an opened header lists. They fill the pack from its beginning up to `end`, where the header
/// begins.
///
/// # Errors
/// What is wrong with the header.
pub(crate) fn read_header(header: &[u8], end: u64) -> Result<Vec<IndexedBlob>, String> {
    let mut blobs = Vec::new();
    let mut rest = header;
    let mut offset = 0_u32;
    while let Some(&first) = rest.first() {
        let (kind, compressed) = match first {
            0 => (BlobKind::Data, false),
            1 => (BlobKind::Tree, false),
            2 => (BlobKind::Data, true),
            3 => (BlobKind::Tree, true),
            other => return Err(format!("its header has a blob of the unknown type {other}")),
        };
        let size = if compressed {
            COMPRESSED_ENTRY
        } else {
            PLAIN_ENTRY
        };
        let Some((entry, after)) = rest.split_at_checked(size) else {
            return Err("its header ends within an entry".to_owned());
        };
        rest = after;
        let number =
            |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
        let id: [u8; 32] = entry[size - 32..].try_into().expect("32 bytes");
        let length = number(1);
        if (length as usize) < OVERHEAD {
            return Err("its header has a blob that is shorter than its seal".to_owned());
        }
        blobs.push(IndexedBlob {
            id: BlobId::from(id),
            kind,
            offset,
            length,
            uncompressed_length: compressed.then(|| number(5)),
        });
        offset = offset
            .checked_add(length)
            .ok_or("its header has more bytes than a pack can have")?;
    }
    if u64::from(offset) != end {
        return Err(format!(
            "its header tells of {offset} bytes of blobs, and there are {end}"
        ));
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_damage_is_named() {
        let key = MasterKey::from_bytes(&[3; 64]);
        let mut writer = PackWriter::default();
        for (i, kind) in [BlobKind::Data, BlobKind::Tree, BlobKind::Data]
            .into_iter()
            .enumerate()
        {
            let sealed = key.seal(&[i as u8; 100]).expect("seals");
            let plain = (i == 2).then_some(4000);
            writer
                .add(BlobId::of(&[i as u8]), kind, &sealed, plain)
                .expect("fits");
        }
        let pack = writer.seal(&key).expect("seals");
        let size = pack.bytes.len() as u64;
        let last = pack.bytes[pack.bytes.len() - 4..]
            .try_into()
            .expect("four bytes");
        let range = header_range(size, last).expect("its own header");
        let header = key
            .open(&pack.bytes[range.start as usize..range.end as usize])
            .expect("its own seal");
        assert_eq!(read_header(&header, range.start), Ok(pack.blobs));
        assert!(read_header(&header, range.start + 1).is_err());
        assert!(read_header(&header[..40], range.start).is_err());
        assert!(read_header(&[9; 37], 0).is_err());
        for hostile in [0, 3, u32::MAX, size as u32] {
            assert!(header_range(size, hostile.to_le_bytes()).is_err());
        }
    }
}
