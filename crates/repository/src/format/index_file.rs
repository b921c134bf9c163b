//! Index files: which blob stands where in which pack.

use serde::{Deserialize, Serialize};

use crate::id::{BlobId, FileId};
use crate::index::Place;

/// An index file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFile {
    /// Index files that this one replaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<FileId>,
    /// The packs.
    pub packs: Vec<IndexedPack>,
}

/// The blobs of one pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedPack {
    /// The pack.
    pub id: FileId,
    /// Its blobs.
    pub blobs: Vec<IndexedBlob>,
}

/// A blob in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedBlob {
    /// Which.
    pub id: BlobId,
    /// What it holds.
    #[serde(rename = "type")]
    pub kind: BlobKind,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// How many there are.
    pub length: u32,
    /// Length of the plaintext where it is compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncompressed_length: Option<u32>,
}

impl IndexedBlob {
    /// Its place, in the pack of this number.
    pub(crate) fn place(&self, pack: u32) -> Place {
        Place {
            pack,
            offset: self.offset,
            length: self.length,
            uncompressed: self.uncompressed_length,
        }
    }
}

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A piece of a file.
    Data,
    /// A directory.
    Tree,
}

impl BlobKind {
    /// For messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Data => "data blob",
            Self::Tree => "tree",
        }
    }
}
