//! The blobs of a repository: pieces of files, and directories.
//!
//! A blob that stands in several packs is read from the next one where the first is damaged or gone.

use bytes::Bytes;

use crate::entries::Entries;
use crate::error::{Error, Result};
use crate::files::Kind;
use crate::format::index_file::BlobKind;
use crate::format::tree::Tree;
use crate::id::{BlobId, FileId};
use crate::index::{Index, Place};
use crate::opener::Opener;
use crate::repository::Repository;

/// Bytes of tree packs that are kept: trees of one directory and its neighbours stand in one pack, and a
/// store is asked once for all of them.
const TREE_PACKS: usize = 48 << 20;
/// Tree packs longer than this are read blob by blob.
const LARGE_PACK: u64 = 20 << 20;

/// Directories with a longer description are read entry by entry.
const WHOLE_TREE: u64 = 8 << 20;

impl Repository {
    /// The plaintext of a blob, which is what its id says.
    ///
    /// # Errors
    /// [`Error::NoBlob`], damage, or the store fails.
    pub fn read_blob(&self, index: &Index, kind: BlobKind, id: &BlobId) -> Result<Vec<u8>> {
        self.anywhere(index, kind, id, |place| self.blob_at(index, id, place))
    }

    /// The plaintext of a blob from another place than one where it is damaged; nothing where no other has it whole.
    ///
    /// # Errors
    /// The store fails in a way that says nothing about the data.
    pub(crate) fn read_elsewhere(
        &self,
        index: &Index,
        kind: BlobKind,
        id: &BlobId,
        damaged: &Place,
    ) -> Result<Option<Vec<u8>>> {
        for place in index.places(kind, id)? {
            if place == *damaged {
                continue;
            }
            match self.blob_at(index, id, &place) {
                Err(error) if error.is_damage() => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }

    /// The entries of a directory, one by one: of a large one, little more than its compressed bytes is in memory.
    ///
    /// # Errors
    /// [`Error::NoBlob`], damage, or the store fails. An entry that cannot be is an error where it stands.
    pub fn entries(&self, index: &Index, id: &BlobId) -> Result<Entries> {
        self.anywhere(index, BlobKind::Tree, id, |place| {
            if place.plain_length() <= WHOLE_TREE {
                return self.tree_at(index, id, place).map(Entries::whole);
            }
            self.large_tree_at(index, id, place)
        })
    }

    /// A directory.
    ///
    /// # Errors
    /// [`Error::NoBlob`], damage, or the store fails.
    pub fn read_tree(&self, index: &Index, id: &BlobId) -> Result<Tree> {
        self.anywhere(index, BlobKind::Tree, id, |place| {
            self.tree_at(index, id, place)
        })
    }

    /// Reads a blob where it stands, or where else it stands when it is damaged there. When it is damaged everywhere, the
    /// error is of the first place.
    fn anywhere<T>(
        &self,
        index: &Index,
        kind: BlobKind,
        id: &BlobId,
        read: impl Fn(&Place) -> Result<T>,
    ) -> Result<T> {
        let first = index
            .find(kind, id)?
            .ok_or_else(|| self.no_blob(kind, id))?;
        let damage = match read(&first) {
            Err(error) if error.is_damage() => error,
            other => return other,
        };
        for place in index.places(kind, id)? {
            if place == first {
                continue;
            }
            match read(&place) {
                Err(error) if error.is_damage() => {}
                other => return other,
            }
        }
        Err(damage)
    }

    fn blob_at(&self, index: &Index, id: &BlobId, place: &Place) -> Result<Vec<u8>> {
        let pack = index.pack(place.pack);
        let sealed = self.sealed_at(&pack, place)?;
        self.open_blob(&pack, place, id, &sealed)
    }

    fn tree_at(&self, index: &Index, id: &BlobId, place: &Place) -> Result<Tree> {
        let pack = index.pack(place.pack);
        let sealed = self.tree_bytes(&pack, place)?;
        let json = self.open_blob(&pack, place, id, &sealed)?;
        Tree::parse(&json).map_err(|what| self.files().damaged(format!("tree {id}"), what))
    }

    fn large_tree_at(&self, index: &Index, id: &BlobId, place: &Place) -> Result<Entries> {
        let pack = index.pack(place.pack);
        let sealed = self.sealed_at(&pack, place)?;
        let damaged = |what: String| {
            let what = format!("tree {id} in it {what}");
            self.files().damaged(Kind::Pack.path(&pack), what)
        };
        let plain = self
            .key()
            .open(&sealed)
            .map_err(|_| damaged("is not sealed with the repository's key".to_owned()))?;
        drop(sealed);
        let is_compressed = place.uncompressed.is_some();
        Entries::large(plain, is_compressed, id, self.files().place()).map_err(damaged)
    }

    fn sealed_at(&self, pack: &FileId, place: &Place) -> Result<Bytes> {
        let (from, length) = (u64::from(place.offset), u64::from(place.length));
        self.files().read_range(Kind::Pack, pack, from, length)
    }

    pub(crate) fn no_blob(&self, kind: BlobKind, id: &BlobId) -> Error {
        Error::NoBlob {
            kind: kind.noun(),
            id: *id,
            place: self.files().place(),
        }
    }

    /// Sealed bytes of a tree. The whole pack is fetched and kept for a while: its neighbours are wanted next.
    fn tree_bytes(&self, pack: &FileId, place: &Place) -> Result<Bytes> {
        let range = place.offset as usize..(place.offset as usize + place.length as usize);
        {
            let mut kept = self.tree_packs.lock().expect("no holder panics");
            if let Some(at) = kept.iter().position(|(id, _)| id == pack) {
                let found = kept.remove(at).expect("it was found there");
                if found.1.is_empty() {
                    kept.push_front(found);
                    drop(kept);
                    return self.sealed_at(pack, place);
                }
                let bytes = found
                    .1
                    .get(range.clone())
                    .map(|_| found.1.slice(range.clone()));
                kept.push_front(found);
                return bytes.ok_or_else(|| {
                    self.files()
                        .damaged(Kind::Pack.path(pack), "it is shorter than the index says")
                });
            }
        }
        // The end of the pack is not known; a tree that lies far behind is read alone.
        if u64::from(place.offset) + u64::from(place.length) > LARGE_PACK {
            return self.sealed_at(pack, place);
        }
        let bytes = match self.files().read(Kind::Pack, pack) {
            // What is damaged in it may be another tree. Noted by no bytes, so that it is not fetched whole again.
            Err(Error::Damaged { .. }) => {
                let mut kept = self.tree_packs.lock().expect("no holder panics");
                kept.push_front((*pack, Bytes::new()));
                drop(kept);
                return self.sealed_at(pack, place);
            }
            other => other?,
        };
        let tree = bytes
            .get(range.clone())
            .map(|_| bytes.slice(range))
            .ok_or_else(|| {
                self.files()
                    .damaged(Kind::Pack.path(pack), "it is shorter than the index says")
            })?;
        let mut kept = self.tree_packs.lock().expect("no holder panics");
        kept.push_front((*pack, bytes));
        let mut sum = 0;
        kept.retain(|(_, bytes)| {
            sum += bytes.len();
            sum <= TREE_PACKS
        });
        Ok(tree)
    }

    /// The plaintext of sealed bytes that should be a blob. Whoever opens many has an [`Opener`].
    pub(crate) fn open_blob(
        &self,
        pack: &FileId,
        place: &Place,
        id: &BlobId,
        sealed: &[u8],
    ) -> Result<Vec<u8>> {
        let mut opener = Opener::default();
        match opener.open(self.key(), place.uncompressed, id, sealed) {
            Ok(_) => Ok(opener.into_plain(place.uncompressed.is_some())),
            Err(what) => Err(self.damaged_blob(pack, id, what)),
        }
    }

    pub(crate) fn damaged_blob(&self, pack: &FileId, id: &BlobId, what: &str) -> Error {
        let what = format!("blob {id} in it {what}");
        self.files().damaged(Kind::Pack.path(pack), what)
    }
}
