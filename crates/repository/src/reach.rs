//! What the snapshots reach.

use crate::bits::Bits;
use crate::error::Result;
use crate::format::index_file::BlobKind;
use crate::format::node::NodeKind;
use crate::format::snapshot::Snapshot;
use crate::id::{BlobId, FileId};
use crate::index::Index;
use crate::progress::Progress;
use crate::repository::Repository;

/// Which blobs of an index some snapshot needs: one bit a blob.
#[derive(Debug)]
pub struct Reached {
    needed: Bits,
    /// The snapshots that were walked.
    pub snapshots: Vec<FileId>,
    /// A file of theirs lacks a piece that is in no index: it may be in a pack that none names.
    pub lacks_data: bool,
}

impl Reached {
    /// Walks snapshots. All their directories must be readable: what cannot be walked cannot be said to be unneeded. Beside writers they are
    /// listed before the index is loaded, which then has everything that they need.
    ///
    /// # Errors
    /// Damage, a directory that is in no index, or the store fails.
    pub fn walk(
        repository: &Repository,
        index: &Index,
        snapshots: Vec<(FileId, Snapshot)>,
        progress: &Progress,
    ) -> Result<Self> {
        let mut reached = Self {
            needed: Bits::new(index.len()),
            snapshots: Vec::new(),
            lacks_data: false,
        };
        for (id, snapshot) in snapshots {
            reached.snapshots.push(id);
            reached.tree(repository, index, snapshot.tree, progress)?;
        }
        Ok(reached)
    }

    /// Whether the blob of this ordinal ([`Index::blobs`]) is needed. Where it stands several times, all say so.
    #[must_use]
    pub fn needs(&self, ordinal: usize) -> bool {
        self.needed.get(ordinal)
    }

    fn tree(
        &mut self,
        repository: &Repository,
        index: &Index,
        root: BlobId,
        progress: &Progress,
    ) -> Result<()> {
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            progress.check()?;
            if self.note(repository, index, BlobKind::Tree, &id)? {
                continue;
            }
            for node in repository.entries(index, &id)? {
                let node = node?;
                open.extend(node.subtree);
                if node.kind == NodeKind::File {
                    for id in &node.content {
                        self.note(repository, index, BlobKind::Data, id)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes that a blob is needed; true when that was known.
    fn note(
        &mut self,
        repository: &Repository,
        index: &Index,
        kind: BlobKind,
        id: &BlobId,
    ) -> Result<bool> {
        let ordinals = index.ordinals(kind, id)?;
        if ordinals.is_empty() && kind == BlobKind::Data {
            // Nothing hangs from it, and what else the snapshot has is still needed.
            self.lacks_data = true;
            return Ok(true);
        }
        if ordinals.is_empty() {
            return Err(repository.no_blob(kind, id));
        }
        let known = self.needed.get(ordinals.start);
        for ordinal in ordinals {
            self.needed.set(ordinal);
        }
        Ok(known)
    }
}
