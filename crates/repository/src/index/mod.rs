//! Which blob is where: all index files together, sorted by id.
//!
//! Up to half a million blobs are in memory, 48 bytes each. More are in a file without a name in the repository's scratch
//! folder (twice 48 bytes a blob while it is made), where a blob is found with one read; in memory are then ten bits a blob,
//! at most 64 MiB, eight bytes for 64 blobs, and 32 bytes a pack.

mod builder;
mod record;

use std::io;
use std::ops::Range;

pub(crate) use builder::{IndexBuilder, LONGEST_BLOB, NotTaken};

use crate::error::{Error, Result};
use crate::format::index_file::{BlobKind, IndexedBlob};
use crate::id::{BlobId, FileId};
use crate::scratch::Scratch;
use crate::sorted::{Sorted, Sorter};

/// Blobs that are sorted in memory when they are wanted by pack.
const IN_MEMORY: usize = 256 << 10;

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
    records: Sorted<{ record::BY_ID }>,
    /// The index files that it was made of.
    files: Vec<FileId>,
    scratch: Scratch,
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
    /// The place of a blob; the first, where it stands several times.
    ///
    /// # Errors
    /// The file of a large index cannot be read.
    pub fn find(&self, kind: BlobKind, id: &BlobId) -> Result<Option<Place>> {
        Ok(self.first(kind, id)?.map(|(_, place)| place))
    }

    /// Whether it has a blob.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn has(&self, kind: BlobKind, id: &BlobId) -> Result<bool> {
        Ok(self.first(kind, id)?.is_some())
    }

    /// The numbers of all places of a blob in [`Index::blobs`], for tables beside the index.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn ordinals(&self, kind: BlobKind, id: &BlobId) -> Result<Range<usize>> {
        let Some((first, _)) = self.first(kind, id)? else {
            return Ok(0..0);
        };
        let mut end = first;
        for record in self.records.scan(first) {
            let (other, same, _) = record::read_by_id(&record.map_err(|e| self.failed(e))?);
            if (other, same) != (kind, *id) {
                break;
            }
            end += 1;
        }
        Ok(first..end)
    }

    /// The first record of a blob, and its number.
    fn first(&self, kind: BlobKind, id: &BlobId) -> Result<Option<(usize, Place)>> {
        let found = self.records.first(&record::key(id));
        let Some((first, found)) = found.map_err(|e| self.failed(e))? else {
            return Ok(None);
        };
        let (found_kind, _, place) = record::read_by_id(&found);
        if found_kind == kind {
            return Ok(Some((first, place)));
        }
        // Data stands before trees of the same id.
        for (at, record) in (first..).zip(self.records.scan(first)) {
            let (other, same, place) = record::read_by_id(&record.map_err(|e| self.failed(e))?);
            if same != *id {
                break;
            }
            if other == kind {
                return Ok(Some((at, place)));
            }
        }
        Ok(None)
    }

    /// All places of a blob, the one that [`Index::find`] gives first.
    ///
    /// # Errors
    /// As [`Index::find`].
    pub fn places(&self, kind: BlobKind, id: &BlobId) -> Result<Vec<Place>> {
        let Some((first, _)) = self.first(kind, id)? else {
            return Ok(Vec::new());
        };
        let mut places = Vec::new();
        for record in self.records.scan(first) {
            let (other, same, place) = record::read_by_id(&record.map_err(|e| self.failed(e))?);
            if (other, same) != (kind, *id) {
                break;
            }
            places.push(place);
        }
        Ok(places)
    }

    /// The same without blobs in packs that `keep` refuses.
    ///
    /// # Errors
    /// The file of a large index cannot be read, or another one not written.
    pub fn retain(self, keep: impl Fn(&FileId) -> bool) -> Result<Self> {
        let kept: Vec<bool> = self.packs.iter().map(keep).collect();
        if kept.iter().all(|kept| *kept) {
            return Ok(self);
        }
        let mut sorter = Sorter::new(self.scratch.clone(), IN_MEMORY);
        for blob in self.blobs() {
            let (kind, id, place) = blob?;
            if kept[place.pack as usize] {
                let pushed = sorter.push(record::by_id(kind, &id, &place));
                pushed.map_err(|e| self.failed(e))?;
            }
        }
        let records = sorter.finish().map_err(|e| self.failed(e))?;
        Ok(Self { records, ..self })
    }

    /// The same, in which of a blob that stands several times the place in the pack with the least `badness` is found first.
    ///
    /// # Errors
    /// As [`Index::retain`].
    pub fn prefer(self, badness: impl Fn(&FileId) -> u8) -> Result<Self> {
        let badness: Vec<u8> = self.packs.iter().map(badness).collect();
        if badness.iter().all(|badness| *badness == 0) {
            return Ok(self);
        }
        // Places are sorted by the numbers of their packs: the good ones get the lowest.
        let mut order: Vec<u32> = (0..).take(badness.len()).collect();
        order.sort_by_key(|number| badness[*number as usize]);
        let mut renumbered = vec![0_u32; order.len()];
        for (new, old) in (0..).zip(&order) {
            renumbered[*old as usize] = new;
        }
        let mut sorter = Sorter::new(self.scratch.clone(), IN_MEMORY);
        for blob in self.blobs() {
            let (kind, id, mut place) = blob?;
            place.pack = renumbered[place.pack as usize];
            let pushed = sorter.push(record::by_id(kind, &id, &place));
            pushed.map_err(|e| self.failed(e))?;
        }
        let records = sorter.finish().map_err(|e| self.failed(e))?;
        let packs = order.iter().map(|old| self.pack(*old)).collect();
        Ok(Self {
            records,
            packs,
            ..self
        })
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
        self.len() == 0
    }

    /// Whether it is in a file and not in memory.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        matches!(self.records, Sorted::Disk(_))
    }

    /// Every blob with its place, by id. An item is an error when the file of a large index cannot be read; it is then
    /// the last.
    pub fn blobs(&self) -> impl Iterator<Item = Result<(BlobKind, BlobId, Place)>> {
        self.records.scan(0).map(|record| match record {
            Ok(record) => Ok(record::read_by_id(&record)),
            Err(error) => Err(self.failed(error)),
        })
    }

    /// The blobs that `wanted` takes (by number in [`Index::blobs`]), by pack and offset.
    ///
    /// # Errors
    /// The file of a large index cannot be read, or another one not written.
    pub(crate) fn by_pack(
        &self,
        wanted: impl Fn(usize, BlobKind, &BlobId, &Place) -> bool,
    ) -> Result<ByPack> {
        let mut sorter = Sorter::new(self.scratch.clone(), IN_MEMORY).only_in_order();
        for (ordinal, blob) in self.blobs().enumerate() {
            let (kind, id, place) = blob?;
            if wanted(ordinal, kind, &id, &place) {
                let pushed = sorter.push(record::by_pack(kind, &id, &place));
                pushed.map_err(|e| self.failed(e))?;
            }
        }
        Ok(ByPack {
            records: sorter.finish().map_err(|e| self.failed(e))?,
            scratch: self.scratch.clone(),
        })
    }

    fn failed(&self, source: io::Error) -> Error {
        no_place(&self.scratch, source)
    }
}

pub(crate) fn no_place(scratch: &Scratch, source: io::Error) -> Error {
    Error::IndexTooLarge {
        folder: scratch.folder().to_owned(),
        source,
    }
}

/// Blobs by pack and offset.
pub(crate) struct ByPack {
    records: Sorted<{ record::BY_PACK }>,
    scratch: Scratch,
}

impl ByPack {
    /// Blobs.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Every blob with the number of its pack.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Result<(u32, IndexedBlob)>> {
        self.records.scan(0).map(|record| match record {
            Ok(record) => Ok(record::read_by_pack(&record)),
            Err(error) => Err(no_place(&self.scratch, error)),
        })
    }

    /// The blobs of one pack after the other; packs without blobs are left out.
    pub(crate) fn packs(&self) -> impl Iterator<Item = Result<(u32, Vec<IndexedBlob>)>> {
        let mut blobs = self.blobs().peekable();
        std::iter::from_fn(move || {
            let (pack, first) = match blobs.next()? {
                Ok(blob) => blob,
                Err(error) => return Some(Err(error)),
            };
            let mut all = vec![first];
            while let Some(Ok((_, blob))) =
                blobs.next_if(|next| matches!(next, Ok((number, _)) if *number == pack))
            {
                all.push(blob);
            }
            Some(Ok((pack, all)))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

    use super::builder::check_blob;
    use super::*;
    use crate::format::index_file::{IndexFile, IndexedPack};

    fn blob(id: BlobId, kind: BlobKind, offset: u32) -> IndexedBlob {
        IndexedBlob {
            id,
            kind,
            offset,
            length: 100,
            uncompressed_length: None,
        }
    }

    fn built(blobs: Vec<IndexedBlob>, in_memory: usize) -> Index {
        let mut builder = IndexBuilder::with_limit(Scratch::default(), in_memory);
        let file = |name: &[u8], blobs: &[IndexedBlob]| IndexFile {
            supersedes: vec![],
            packs: vec![IndexedPack {
                id: FileId::of(name),
                blobs: blobs.to_vec(),
            }],
        };
        let (first, second) = blobs.split_at(blobs.len() / 2);
        for (name, blobs) in [(b"one", first), (b"two", second)] {
            assert!(builder.add(FileId::of(name), &file(name, blobs)).is_ok());
        }
        builder.finish().expect("a temporary file")
    }

    fn id(i: u32) -> BlobId {
        BlobId::of(&i.to_le_bytes())
    }

    #[test]
    fn every_blob_is_found_and_no_other_in_memory_and_on_disk() {
        for (count, in_memory) in [
            (0_u32, 9),
            (1, 9),
            (33, 100),
            (20_000, 100_000),
            (20_000, 700),
        ] {
            let blobs = (0..count).map(|i| blob(id(i), BlobKind::Data, i));
            let index = built(blobs.collect(), in_memory);
            assert_eq!(index.is_on_disk(), count as usize > in_memory);
            for i in 0..count {
                let place = index.find(BlobKind::Data, &id(i)).unwrap();
                assert_eq!(place.map(|p| p.offset), Some(i));
            }
            assert!((count..count + 1000).all(|i| !index.has(BlobKind::Data, &id(i)).unwrap()));
            assert!(!index.has(BlobKind::Tree, &id(0)).unwrap());
            let ordinals: Vec<BlobId> = index.blobs().map(|blob| blob.unwrap().1).collect();
            for i in (0..count).step_by(97) {
                let found = index.ordinals(BlobKind::Data, &id(i)).unwrap();
                assert_eq!(ordinals[found.clone()], vec![id(i)][..], "{found:?}");
            }
            let by_pack = index
                .by_pack(|_, _, _, place| place.offset % 2 == 0)
                .unwrap();
            assert_eq!(by_pack.len(), count.div_ceil(2) as usize);
            let offsets: Vec<u32> = by_pack.blobs().map(|b| b.unwrap().1.offset).collect();
            assert_eq!(
                offsets,
                (0..count).filter(|i| i % 2 == 0).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn places_in_lost_packs_go_or_are_the_last_resort() {
        for in_memory in [10, 100_000] {
            // The first thousand stand in both packs.
            let mut blobs: Vec<_> = (0..3000).map(|i| blob(id(i), BlobKind::Data, i)).collect();
            blobs.extend((0..3000).map(|i| blob(id(i % 1000 + 5000), BlobKind::Tree, i)));
            blobs.splice(
                0..0,
                (0..1000).map(|i| blob(id(i + 5000), BlobKind::Tree, i)),
            );
            let one = FileId::of(b"one");
            let index = built(blobs.clone(), in_memory);
            let both = index.ordinals(BlobKind::Tree, &id(5000)).unwrap();
            assert!(both.len() > 1);
            let without = index.retain(|pack| *pack != one).unwrap();
            assert!(
                without
                    .blobs()
                    .all(|blob| without.pack(blob.unwrap().2.pack) != one)
            );
            let plain = built(blobs.clone(), in_memory);
            let index = built(blobs, in_memory)
                .prefer(|pack| u8::from(*pack == one))
                .unwrap();
            assert_eq!(index.len(), plain.len());
            let mut only_in_one = 0;
            for blob in index.blobs() {
                let (kind, id, _) = blob.unwrap();
                let named = |index: &Index| -> Vec<FileId> {
                    let places = index.places(kind, &id).unwrap();
                    places.iter().map(|place| index.pack(place.pack)).collect()
                };
                let (mut before, after) = (named(&plain), named(&index));
                // Those in the pack that is avoided come last, and none is lost.
                assert!(after.is_sorted_by_key(|pack| *pack == one));
                before.sort_by_key(|pack| *pack == one);
                assert_eq!(before, after);
                only_in_one += usize::from(after[0] == one);
            }
            assert!(only_in_one > 0, "what stands nowhere else is found there");
        }
    }

    #[test]
    fn a_blob_may_be_data_and_tree_and_stand_twice() {
        let id = BlobId::of(b"x");
        for in_memory in [1, 100] {
            let blobs = vec![
                blob(id, BlobKind::Tree, 1),
                blob(id, BlobKind::Data, 2),
                blob(id, BlobKind::Data, 3),
                blob(id, BlobKind::Data, 3),
            ];
            let mut builder = IndexBuilder::with_limit(Scratch::default(), in_memory);
            let packs = vec![IndexedPack {
                id: FileId::of(b"pack"),
                blobs,
            }];
            let file = IndexFile {
                supersedes: vec![],
                packs,
            };
            assert!(builder.add(FileId::of(b"index"), &file).is_ok());
            let index = builder.finish().expect("a temporary file");
            assert_eq!(index.len(), 3);
            let at = |kind| index.find(kind, &id).unwrap().map(|p| p.offset);
            assert_eq!(at(BlobKind::Tree), Some(1));
            assert_eq!(at(BlobKind::Data), Some(2));
            assert_eq!(index.ordinals(BlobKind::Data, &id).unwrap(), 0..2);
            assert_eq!(index.ordinals(BlobKind::Tree, &id).unwrap(), 2..3);
        }
    }

    #[test]
    fn an_index_that_finds_no_place_says_where_it_looked() {
        let mut builder = IndexBuilder::with_limit(Scratch::new("/nowhere/at all".into()), 100);
        let file = IndexFile {
            supersedes: vec![],
            packs: vec![IndexedPack {
                id: FileId::of(b"pack"),
                blobs: (0..200).map(|i| blob(id(i), BlobKind::Data, i)).collect(),
            }],
        };
        let refused = builder.add(FileId::of(b"index"), &file);
        assert!(matches!(refused, Err(NotTaken::NoPlace(_))));
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
