//! Gathering index files.

use std::collections::HashMap;

use super::{Index, record};
use crate::error::{Error, Result};
use crate::format::index_file::{IndexFile, IndexedBlob};
use crate::id::FileId;
use crate::scratch::Scratch;
use crate::sorted::Sorter;

/// Longest plaintext of a blob that is taken: restic's longest piece is 8 MiB, a tree of a huge directory is
/// more.
pub(crate) const LONGEST_BLOB: u32 = 512 << 20;
/// Blobs that are held in memory, 24 MiB of them; with more, they are sorted in a file.
const IN_MEMORY: usize = 512 << 10;

/// Gathers index files.
pub(crate) struct IndexBuilder {
    packs: Vec<FileId>,
    files: Vec<FileId>,
    numbers: HashMap<FileId, u32>,
    sorter: Sorter<{ record::BY_ID }>,
    scratch: Scratch,
}

/// Why an index file was not taken.
pub(crate) enum NotTaken {
    /// It says what cannot be.
    Impossible(String),
    /// There is no place for what it says.
    NoPlace(std::io::Error),
}

impl IndexBuilder {
    pub(crate) fn new(scratch: Scratch) -> Self {
        Self::with_limit(scratch, IN_MEMORY)
    }

    /// The same with another number of blobs that are held in memory.
    pub(super) fn with_limit(scratch: Scratch, in_memory: usize) -> Self {
        Self {
            packs: Vec::new(),
            files: Vec::new(),
            numbers: HashMap::new(),
            sorter: Sorter::new(scratch.clone(), in_memory),
            scratch,
        }
    }

    /// Takes the contents of an index file.
    ///
    /// # Errors
    /// What is impossible in it, of which nothing was then taken, or the place for large indexes fails.
    pub(crate) fn add(&mut self, id: FileId, file: &IndexFile) -> Result<(), NotTaken> {
        for pack in &file.packs {
            for blob in &pack.blobs {
                check_blob(blob).map_err(|what| {
                    NotTaken::Impossible(format!("of pack {} it says: {what}", pack.id))
                })?;
            }
        }
        self.files.push(id);
        for pack in &file.packs {
            let number = self.number(pack.id).map_err(NotTaken::Impossible)?;
            for blob in &pack.blobs {
                let place = blob.place(number);
                self.sorter
                    .push(record::by_id(blob.kind, &blob.id, &place))
                    .map_err(NotTaken::NoPlace)?;
            }
        }
        Ok(())
    }

    fn number(&mut self, pack: FileId) -> Result<u32, String> {
        if let Some(number) = self.numbers.get(&pack) {
            return Ok(*number);
        }
        let number = u32::try_from(self.packs.len())
            .ok()
            .filter(|number| *number < record::MOST_PACKS)
            .ok_or("it has more packs than can be counted")?;
        self.packs.push(pack);
        self.numbers.insert(pack, number);
        Ok(number)
    }

    /// The index, without records that stand in several files.
    ///
    /// # Errors
    /// The place for large indexes fails.
    pub(crate) fn finish(self) -> std::io::Result<Index> {
        drop(self.numbers);
        Ok(Index {
            packs: self.packs,
            files: self.files,
            records: self.sorter.finish()?,
            scratch: self.scratch,
        })
    }
}

impl NotTaken {
    /// As an error of an index file.
    pub(crate) fn error(self, file: &FileId, repository: &crate::Repository) -> Error {
        match self {
            Self::Impossible(what) => repository
                .files()
                .damaged(crate::Kind::Index.path(file), what),
            Self::NoPlace(source) => repository.no_place_for_index(source),
        }
    }
}

/// What cannot be true of a blob.
pub(super) fn check_blob(blob: &IndexedBlob) -> Result<(), String> {
    if (blob.length as usize) < crate::crypto::OVERHEAD {
        return Err(format!("blob {} is shorter than its seal", blob.id));
    }
    if blob.offset.checked_add(blob.length).is_none() {
        return Err(format!("blob {} lies behind the end of any pack", blob.id));
    }
    let plain = blob.uncompressed_length.unwrap_or(blob.length);
    if plain > LONGEST_BLOB || blob.length > LONGEST_BLOB || blob.uncompressed_length == Some(0) {
        return Err(format!("blob {} cannot have {plain} bytes", blob.id));
    }
    Ok(())
}
