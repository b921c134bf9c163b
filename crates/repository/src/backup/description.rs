//! The description of a directory while it grows. Most fit into memory. One that does not goes, compressed, into a file
//! without a name and is hashed on its way.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, Write as _};

use salvor_seal::Hasher;

use crate::format::tree::TreeWriter;
use crate::id::BlobId;
use crate::index::LONGEST_BLOB;
use crate::scratch::Scratch;

/// Bytes of JSON that stay in memory.
pub(super) const IN_MEMORY: usize = 8 << 20;
/// zstd's level, as of everything else.
const LEVEL: i32 = 1;

/// A description that grows, entry by entry.
#[derive(Default)]
pub(super) struct Growing {
    small: TreeWriter,
    large: Option<Box<Spill>>,
    entries: usize,
}

struct Spill {
    hasher: Hasher,
    encoder: zstd::stream::write::Encoder<'static, BufWriter<File>>,
}

/// A description that is complete.
pub(super) enum Description {
    /// Its JSON.
    Small(Vec<u8>),
    /// In a file.
    Large(Large),
}

/// A description in a file.
pub(crate) struct Large {
    /// Of the JSON.
    pub(crate) id: BlobId,
    /// Bytes of the JSON.
    pub(crate) length: u64,
    file: File,
    /// Bytes of the file.
    compressed: usize,
}

/// Why an entry could not be added.
pub(super) enum NotAdded {
    /// The description would be longer than can be stored.
    TooLarge {
        /// Entries so far.
        entries: usize,
    },
    /// The file cannot be written.
    Failed(io::Error),
}

impl From<io::Error> for NotAdded {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Growing {
    /// Takes the JSON of the next entry.
    pub(super) fn add(&mut self, entry: &[u8], scratch: &Scratch) -> Result<(), NotAdded> {
        self.entries += 1;
        if let Some(large) = &mut self.large {
            large.write(b",")?;
            large.write(entry)?;
            // With the end of the JSON.
            if large.hasher.length() + 3 > u64::from(LONGEST_BLOB) {
                return Err(NotAdded::TooLarge {
                    entries: self.entries,
                });
            }
            return Ok(());
        }
        self.small.add(entry);
        if self.small.len() > IN_MEMORY {
            let mut large = Spill {
                hasher: Hasher::new(),
                encoder: zstd::stream::write::Encoder::new(
                    BufWriter::with_capacity(128 << 10, scratch.file()?),
                    LEVEL,
                )?,
            };
            large.write(&std::mem::take(&mut self.small).so_far())?;
            self.large = Some(Box::new(large));
        }
        Ok(())
    }

    /// The whole description.
    pub(super) fn finish(self) -> io::Result<Description> {
        let Some(mut large) = self.large else {
            return Ok(Description::Small(self.small.finish()));
        };
        large.write(b"]}\n")?;
        let length = large.hasher.length();
        let out = large.encoder.finish()?;
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        let compressed = usize::try_from(file.stream_position()?).unwrap_or(usize::MAX);
        Ok(Description::Large(Large {
            id: BlobId::from(large.hasher.finish()),
            length,
            file,
            compressed,
        }))
    }
}

impl Spill {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.encoder.write_all(bytes)
    }
}

impl Large {
    /// Appends the description to `out`: compressed, or as it is.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, compressed: bool) -> io::Result<()> {
        self.file.rewind()?;
        if compressed {
            out.reserve_exact(self.compressed);
            self.file.read_to_end(out)?;
        } else {
            out.reserve_exact(usize::try_from(self.length).unwrap_or(usize::MAX));
            zstd::stream::read::Decoder::new(&mut self.file)?.read_to_end(out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_description_is_the_same_in_a_file() {
        let mut growing = Growing::default();
        let mut wanted = TreeWriter::default();
        for i in 0..40_000 {
            let entry = format!("{{\"name\":\"{i:06}{}\"}}", "x".repeat(250));
            assert!(growing.add(entry.as_bytes(), &Scratch::default()).is_ok());
            wanted.add(entry.as_bytes());
        }
        let wanted = wanted.finish();
        let Description::Large(mut large) = growing.finish().expect("a temporary file") else {
            panic!("{} bytes should be in a file", wanted.len());
        };
        assert_eq!(large.length, wanted.len() as u64);
        assert_eq!(large.id, BlobId::of(&wanted));
        for compressed in [true, false] {
            let mut found = vec![1, 2];
            large.append(&mut found, compressed).expect("readable");
            let plain = if compressed {
                zstd::bulk::decompress(&found[2..], wanted.len()).expect("zstd")
            } else {
                found[2..].to_vec()
            };
            assert!(plain == wanted);
        }
    }

    #[test]
    fn a_description_that_cannot_be_stored_is_refused_with_its_entries() {
        let mut growing = Growing::default();
        let entry = vec![b' '; 1 << 20];
        let refused = (0..600).find_map(|_| growing.add(&entry, &Scratch::default()).err());
        assert!(matches!(refused, Some(NotAdded::TooLarge { entries: 512 })));
    }
}
