//! The snapshot before, walked beside the source: what it has under the same name.

use crate::error::Result;
use crate::format::index_file::BlobKind;
use crate::format::node::{Node, NodeKind};
use crate::format::tree::Tree;
use crate::id::BlobId;
use crate::index::Index;
use crate::repository::Repository;

/// Directories of the parent along the path that is being read; nothing where it has none.
pub(super) struct Parent<'r> {
    repository: &'r Repository,
    index: &'r Index,
    levels: Vec<Option<Tree>>,
}

impl<'r> Parent<'r> {
    /// At the root. A parent whose trees cannot be read is as good as none: every file is read again.
    pub(super) fn new(
        repository: &'r Repository,
        index: &'r Index,
        root: Option<BlobId>,
    ) -> Result<Self> {
        let mut parent = Self {
            repository,
            index,
            levels: Vec::new(),
        };
        let root = parent.tree(root)?;
        parent.levels.push(root);
        Ok(parent)
    }

    /// Goes into a directory. Says whether the parent has it.
    pub(super) fn enter(&mut self, name: &[u8]) -> Result<bool> {
        let subtree = self
            .find(name)
            .filter(|node| node.kind == NodeKind::Dir)
            .and_then(|node| node.subtree);
        let tree = self.tree(subtree)?;
        let known = tree.is_some();
        self.levels.push(tree);
        Ok(known)
    }

    /// Goes back.
    pub(super) fn leave(&mut self) {
        self.levels.pop();
    }

    /// What it has under this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&Node> {
        self.levels.last()?.as_ref()?.find(name)
    }

    /// Whether every piece of a file is still in the index.
    pub(super) fn has_content(&self, node: &Node) -> bool {
        node.content
            .iter()
            .all(|id| self.index.has(BlobKind::Data, id))
    }

    fn tree(&self, id: Option<BlobId>) -> Result<Option<Tree>> {
        let Some(id) = id else {
            return Ok(None);
        };
        match self.repository.read_tree(self.index, &id) {
            Ok(tree) => Ok(Some(tree)),
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, "a directory of the parent cannot be read; its files are read again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
