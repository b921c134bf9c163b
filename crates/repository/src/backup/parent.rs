//! The snapshot before, walked beside the source: what it has under the same name.

use crate::entries::Entries;
use crate::error::{Error, Result};
use crate::format::index_file::BlobKind;
use crate::format::node::{Node, NodeKind};
use crate::id::BlobId;
use crate::index::Index;
use crate::repository::Repository;

/// Directories of the parent along the path that is being read; nothing where it has none.
pub(super) struct Parent<'r> {
    repository: &'r Repository,
    index: &'r Index,
    levels: Vec<Option<Level>>,
}

/// A directory of the parent. Both it and the source tell their entries in ascending order, so one look at each is enough.
struct Level {
    entries: Entries,
    /// The entry that was come to.
    current: Option<Node>,
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
            .take(name)
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

    /// What it has under this name, which is greater than all that were asked for in this directory.
    pub(super) fn take(&mut self, name: &[u8]) -> Option<Node> {
        let level = self.levels.last_mut()?.as_mut()?;
        while level
            .current
            .as_ref()
            .is_some_and(|node| node.name.as_slice() < name)
        {
            level.advance();
        }
        let found = level.current.take_if(|node| node.name.as_slice() == name);
        if found.is_some() {
            level.advance();
        }
        found
    }

    /// Whether every piece of a file is still in the index.
    pub(super) fn has_content(&self, node: &Node) -> Result<bool> {
        for id in &node.content {
            if !self.index.has(BlobKind::Data, id)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn tree(&self, id: Option<BlobId>) -> Result<Option<Level>> {
        let Some(id) = id else {
            return Ok(None);
        };
        match self.repository.entries(self.index, &id) {
            Ok(entries) => {
                let mut level = Level {
                    entries,
                    current: None,
                };
                level.advance();
                Ok(Some(level))
            }
            Err(error) if error.is_damage() => {
                warn(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Level {
    fn advance(&mut self) {
        self.current = self
            .entries
            .next()
            .and_then(|next| next.inspect_err(warn).ok());
    }
}

fn warn(error: &Error) {
    tracing::warn!(%error, "a directory of the parent cannot be read; its files are read again");
}
