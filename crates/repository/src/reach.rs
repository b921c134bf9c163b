//! What the snapshots reach.

use crate::error::Result;
use crate::format::index_file::BlobKind;
use crate::format::node::NodeKind;
use crate::id::{BlobId, FileId};
use crate::index::Index;
use crate::progress::Progress;
use crate::repository::Repository;

/// Which blobs of an index some snapshot needs: one bit's worth a blob.
#[derive(Debug)]
pub struct Reached {
    needed: Vec<bool>,
    /// The snapshots that were walked.
    pub snapshots: Vec<FileId>,
}

impl Reached {
    /// Walks every snapshot. All must be readable: what cannot be walked cannot be said to be unneeded.
    ///
    /// # Errors
    /// Damage, a blob that is in no index, or the store fails.
    pub fn walk(repository: &Repository, index: &Index, progress: &Progress) -> Result<Self> {
        let mut reached = Self {
            needed: vec![false; index.len()],
            snapshots: Vec::new(),
        };
        for (id, snapshot) in repository.snapshots()? {
            reached.snapshots.push(id);
            reached.tree(repository, index, snapshot.tree, progress)?;
        }
        Ok(reached)
    }

    /// Whether the blob of this ordinal ([`Index::blobs`]) is needed. Where it stands several times, all say so.
    #[must_use]
    pub fn needs(&self, ordinal: usize) -> bool {
        self.needed[ordinal]
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
            for node in repository.read_tree(index, &id)?.nodes {
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
        let mut known = None;
        for ordinal in index.ordinals(kind, id) {
            known.get_or_insert(self.needed[ordinal]);
            self.needed[ordinal] = true;
        }
        known.ok_or_else(|| repository.no_blob(kind, id))
    }
}
