//! Ways to an entry of a snapshot.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use crate::error::{Error, Result};
use crate::format::index_file::BlobKind;
use crate::format::node::{Node, NodeKind};
use crate::format::tree::Tree;
use crate::id::BlobId;
use crate::index::Index;
use crate::progress::Progress;
use crate::repository::Repository;

/// What a path of a snapshot leads to.
#[derive(Clone, Debug)]
pub enum Found {
    /// The root, or a directory: its tree.
    Directory(BlobId),
    /// Anything else, with the tree of the directory that it stands in.
    Entry(Box<Node>),
}

/// Finds an entry. Links are not followed.
///
/// # Errors
/// There is no such entry, damage, or the store fails.
pub fn find(repository: &Repository, index: &Index, root: &BlobId, path: &Path) -> Result<Found> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name),
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::Invalid(format!(
                    "{}: `..` means nothing in a snapshot",
                    path.display()
                )));
            }
        }
    }
    let missing = |name: &OsStr| {
        Error::Invalid(format!(
            "the snapshot has no {} (looked for {:?})",
            path.display(),
            name.display()
        ))
    };
    let mut tree = *root;
    for (i, name) in names.iter().enumerate() {
        let directory: Tree = repository.read_tree(index, &tree)?;
        let node = directory
            .find(name.as_bytes())
            .ok_or_else(|| missing(name))?;
        match node.subtree.filter(|_| node.kind == NodeKind::Dir) {
            Some(subtree) => tree = subtree,
            None if i + 1 == names.len() => return Ok(Found::Entry(Box::new(node.clone()))),
            None => return Err(missing(name)),
        }
    }
    Ok(Found::Directory(tree))
}

/// Writes the content of a file, piece by piece.
///
/// # Errors
/// Damage, the store or the writer fails, or it was cancelled.
pub fn dump(
    repository: &Repository,
    index: &Index,
    node: &Node,
    out: &mut dyn Write,
    progress: &Progress,
) -> Result<()> {
    for id in &node.content {
        progress.check()?;
        let piece = repository.read_blob(index, BlobKind::Data, id)?;
        out.write_all(&piece).map_err(|source| Error::Local {
            action: "write",
            path: "standard output".into(),
            source,
        })?;
        progress.bytes_done(piece.len() as u64);
    }
    Ok(())
}
