//! Which blob is where: all index files together, in memory, 48 bytes a blob.

use std::collections::HashMap;

use crate::format::index_file::{BlobKind, IndexFile, IndexedBlob};
use crate::id::{BlobId, FileId};

/// Most blobs of an index that is held in memory: 4 million, 192 MiB.
pub const MOST_BLOBS: usize = 4 << 20;
/// Longest plaintext of a blob that is taken: restic's longest piece is 8 MiB, a tree of a huge directory is
/// more.
pub(crate) const LONGEST_BLOB: u32 = 512 << 20;
/// Marks a tree in [`Record::pack`].
const TREE: u32 = 1 << 31;

#[derive(Clone, Copy)]
struct Record {
    id: [u8; 32],
    /// Number of the pack; the highest bit says that it is a tree.
    pack: u32,
    offset: u32,
    length: u32,
    /// Length of the plaintext, or zero where it is not compressed.
    uncompressed: u32,
}

/// Where a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the pack in the index; see [`Index::pack`].
    pub pack: u32,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// How many there are.
    pub length: u32,
    /// Length of the plaintext where it is compressed.
    pub uncompressed: Option<u32>,
}

impl Place {
    /// Length of the plaintext in bytes.
    #[must_use]
    pub fn plain_length(&self) -> u64 {
        match self.uncompressed {
            Some(length) => u64::from(length),
            None => u64::from(self.length) - crate::crypto::OVERHEAD as u64,
        }
    }
}

/// All blobs of a repository.
#[derive(Default)]
pub struct Index {
    packs: Vec<FileId>,
    /// Sorted by id, then kind.
    records: Vec<Record>,
    /// The index files that it was made of.
    files: Vec<FileId>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("packs", &self.packs.len())
            .field("blobs", &self.records.len())
            .finish()
    }
}

impl Index {
    /// The place of a blob.
    #[must_use]
    pub fn find(&self, kind: BlobKind, id: &BlobId) -> Option<Place> {
        self.ordinal(kind, id).map(|i| self.records[i].place())
    }

    /// The same without blobs in packs that `keep` refuses.
    #[must_use]
    pub fn retain(mut self, keep: impl Fn(&FileId) -> bool) -> Self {
        let kept: Vec<bool> = self.packs.iter().map(keep).collect();
        self.records
            .retain(|record| kept[(record.pack & !TREE) as usize]);
        self
    }

    /// The same, with only the places in packs that `good` takes for blobs that have such a place.
    #[must_use]
    pub fn prefer(mut self, good: impl Fn(&FileId) -> bool) -> Self {
        let good: Vec<bool> = self.packs.iter().map(good).collect();
        let is_good = |record: &Record| good[(record.pack & !TREE) as usize];
        if good.iter().all(|good| *good) {
            return self;
        }
        let mut kept = Vec::with_capacity(self.records.len());
        for same in self
            .records
            .chunk_by(|a, b| (a.id, a.kind()) == (b.id, b.kind()))
        {
            let any = same.iter().any(is_good);
            kept.extend(same.iter().filter(|record| !any || is_good(record)));
        }
        self.records = kept;
        self
    }

    /// Whether it has a blob.
    #[must_use]
    pub fn has(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.find(kind, id).is_some()
    }

    /// The pack of a number.
    #[must_use]
    pub fn pack(&self, number: u32) -> FileId {
        self.packs[number as usize]
    }

    /// All packs, by number.
    #[must_use]
    pub fn packs(&self) -> &[FileId] {
        &self.packs
    }

    /// The index files that it was made of.
    #[must_use]
    pub fn files(&self) -> &[FileId] {
        &self.files
    }

    /// Blobs, those that stand twice counted twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Every blob with its place, by id.
    pub fn blobs(&self) -> impl Iterator<Item = (BlobKind, BlobId, Place)> {
        self.records
            .iter()
            .map(|record| (record.kind(), BlobId::from(record.id), record.place()))
    }

    /// The numbers of all places of a blob in [`Index::blobs`].
    pub fn ordinals(&self, kind: BlobKind, id: &BlobId) -> impl Iterator<Item = usize> {
        let first = self.ordinal(kind, id);
        first.into_iter().flat_map(move |first| {
            let of_the_same =
                move |record: &&Record| record.id == *id.as_bytes() && record.kind() == kind;
            first..first + self.records[first..].iter().take_while(of_the_same).count()
        })
    }

    /// The number of a blob in [`Index::blobs`], for tables beside the index.
    #[must_use]
    pub fn ordinal(&self, kind: BlobKind, id: &BlobId) -> Option<usize> {
        let from = self
            .records
            .partition_point(|record| record.id < *id.as_bytes());
        self.records[from..]
            .iter()
            .take_while(|record| record.id == *id.as_bytes())
            .position(|record| record.kind() == kind)
            .map(|i| from + i)
    }
}

impl Record {
    fn place(&self) -> Place {
        Place {
            pack: self.pack & !TREE,
            offset: self.offset,
            length: self.length,
            uncompressed: (self.uncompressed > 0).then_some(self.uncompressed),
        }
    }

    fn kind(&self) -> BlobKind {
        if self.pack & TREE == 0 {
            BlobKind::Data
        } else {
            BlobKind::Tree
        }
    }
}

/// Gathers index files.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    index: Index,
    numbers: HashMap<FileId, u32>,
}

impl IndexBuilder {
    /// Takes the contents of an index file.
    ///
    /// # Errors
    /// What is impossible in it.
    pub(crate) fn add(&mut self, id: FileId, file: &IndexFile) -> Result<(), String> {
        self.index.files.push(id);
        for pack in &file.packs {
            let number = self.number(pack.id)?;
            for blob in &pack.blobs {
                check_blob(blob).map_err(|what| format!("of pack {} it says: {what}", pack.id))?;
                let tree = if blob.kind == BlobKind::Tree { TREE } else { 0 };
                self.index.records.push(Record {
                    id: *blob.id.as_bytes(),
                    pack: number | tree,
                    offset: blob.offset,
                    length: blob.length,
                    uncompressed: blob.uncompressed_length.unwrap_or(0),
                });
            }
        }
        Ok(())
    }

    /// Blobs so far.
    pub(crate) fn len(&self) -> usize {
        self.index.records.len()
    }

    fn number(&mut self, pack: FileId) -> Result<u32, String> {
        if let Some(number) = self.numbers.get(&pack) {
            return Ok(*number);
        }
        let number = u32::try_from(self.index.packs.len())
            .ok()
            .filter(|number| number & TREE == 0)
            .ok_or("it has more packs than can be counted")?;
        self.index.packs.push(pack);
        self.numbers.insert(pack, number);
        Ok(number)
    }

    /// The index, without records that stand in several files.
    pub(crate) fn finish(mut self) -> Index {
        let key = |r: &Record| (r.id, r.kind(), r.pack, r.offset);
        self.index.records.sort_unstable_by_key(key);
        self.index.records.dedup_by_key(|r| key(r));
        self.index.records.shrink_to_fit();
        self.index
    }
}

/// What cannot be true of a blob.
fn check_blob(blob: &IndexedBlob) -> Result<(), String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::index_file::IndexedPack;

    fn blob(id: BlobId, kind: BlobKind, offset: u32) -> IndexedBlob {
        IndexedBlob {
            id,
            kind,
            offset,
            length: 100,
            uncompressed_length: None,
        }
    }

    fn built(blobs: Vec<IndexedBlob>) -> Index {
        let mut builder = IndexBuilder::default();
        let file = IndexFile {
            supersedes: vec![],
            packs: vec![IndexedPack {
                id: FileId::of(b"pack"),
                blobs,
            }],
        };
        builder.add(FileId::of(b"index"), &file).expect("possible");
        builder.finish()
    }

    #[test]
    fn every_blob_is_found_and_no_other() {
        for count in [0_u32, 1, 31, 33, 1000, 20_000] {
            let id = |i: u32| BlobId::of(&i.to_le_bytes());
            let index = built((0..count).map(|i| blob(id(i), BlobKind::Data, i)).collect());
            for i in 0..count {
                assert_eq!(
                    index.find(BlobKind::Data, &id(i)).map(|p| p.offset),
                    Some(i)
                );
                let ordinal = index.ordinal(BlobKind::Data, &id(i)).expect("there");
                assert_eq!(
                    index.blobs().nth(ordinal).map(|(_, found, _)| found),
                    Some(id(i))
                );
                if i > 50 {
                    break;
                }
            }
            assert!((0..count).all(|i| index.has(BlobKind::Data, &id(i))));
            assert!((count..count + 1000).all(|i| !index.has(BlobKind::Data, &id(i))));
            assert!(!index.has(BlobKind::Tree, &id(0)));
        }
    }

    #[test]
    fn a_blob_may_be_data_and_tree_and_stand_twice() {
        let id = BlobId::of(b"x");
        let index = built(vec![
            blob(id, BlobKind::Tree, 1),
            blob(id, BlobKind::Data, 2),
            blob(id, BlobKind::Data, 3),
            blob(id, BlobKind::Data, 3),
        ]);
        assert_eq!(index.len(), 3);
        assert_eq!(index.find(BlobKind::Tree, &id).map(|p| p.offset), Some(1));
        assert_eq!(index.find(BlobKind::Data, &id).map(|p| p.offset), Some(2));
    }

    #[test]
    fn impossible_blobs_are_refused() {
        let good = blob(BlobId::of(b"x"), BlobKind::Data, 0);
        for bad in [
            IndexedBlob { length: 3, ..good },
            IndexedBlob {
                offset: u32::MAX,
                ..good
            },
            IndexedBlob {
                length: u32::MAX,
                offset: 0,
                ..good
            },
            IndexedBlob {
                uncompressed_length: Some(u32::MAX),
                ..good
            },
            IndexedBlob {
                uncompressed_length: Some(0),
                ..good
            },
        ] {
            assert!(check_blob(&bad).is_err(), "{bad:?}");
        }
        assert_eq!(check_blob(&good), Ok(()));
    }
}
