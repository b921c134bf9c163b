//! What stands in the target and the snapshot does not have: whether it may go, and what it is.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::clear::{Below, names_in, open_directory};
use super::ground::Ground;
use super::local;
use crate::error::{Error, Result};
use crate::format::node::{Node, NodeKind};
use crate::format::snapshot::Snapshot;
use crate::id::BlobId;
use crate::index::Index;
use crate::repository::Repository;

/// Entries below a directory that are counted before it goes: more are not waited for.
const MOST_COUNTED: u64 = 10_000;

/// A snapshot from which nothing is missing: what it does not have was not there. Nothing extra is removed without this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete(());

impl Complete {
    /// That it is one.
    ///
    /// # Errors
    /// Entries are missing from it. It says how many and not which: any that it does not have may be one of them.
    pub fn of(snapshot: &Snapshot) -> Result<Self> {
        match snapshot.missing() {
            0 => Ok(Self(())),
            missing => Err(Error::Invalid(format!(
                "entries that could not be read when the snapshot was made are missing from it ({missing}), and what it does \
                 not have may be those: nothing was changed; restore without --delete-extra, or another snapshot"
            ))),
        }
    }
}

/// Something that a restore which removes what is extra takes away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extra {
    /// Where it stands in the target.
    pub path: PathBuf,
    /// Entries below it that go with it; `None` when there are too many to be counted before.
    pub below: Option<u64>,
}

/// What stands in `target` and the tree has not, or has as something else than the full directory that it is: what a restore
/// that removes what is extra takes away, by path. A directory that goes whole is named once. What stands on another file
/// system stays, and is not named.
///
/// # Errors
/// The target cannot be read, damage, or the store fails.
pub fn extra(
    repository: &Repository,
    index: &Index,
    tree: &BlobId,
    target: &Path,
) -> Result<Vec<Extra>> {
    let Some(root) = opened(target)? else {
        return Ok(Vec::new());
    };
    let ground = Ground::of(&root).map_err(|e| local("read", target, e))?;
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::new(), *tree)];
    while let Some((folder, tree)) = open.pop() {
        let tree = repository.read_tree(index, &tree)?;
        let path = target.join(&folder);
        let Some(fd) = opened(&path)? else {
            continue;
        };
        let unreadable = |error: Errno| local("read", &path, error);
        let stays = ground.is_left_by(&fd).map_err(unreadable)?;
        for name in names_in(&fd).map_err(unreadable)? {
            let node = tree.find(name.as_bytes());
            let inside = folder.join(&name);
            let name = Path::new(&name);
            let is_root_lost = folder.as_os_str().is_empty() && name == Path::new("lost+found");
            let subtree = node.filter(|node| node.kind == NodeKind::Dir);
            if let Some(subtree) = subtree.and_then(|node| node.subtree) {
                let seen = ground.look(&fd, name).map_err(unreadable)?;
                let is_folder = seen.kind == FileType::Directory;
                open.extend(is_folder.then_some((inside, subtree)));
            } else if !(stays || node.is_none() && is_root_lost) {
                found.extend(going(ground, &fd, name, node, inside).map_err(unreadable)?);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A directory of the target; `None` where there is none.
fn opened(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(local("read", path, error)),
    }
}

/// What goes with an entry in whose place the snapshot has `node`, which is no directory; `None` when nothing is lost.
fn going(
    ground: Ground,
    parent: &OwnedFd,
    name: &Path,
    node: Option<&Node>,
    path: PathBuf,
) -> std::result::Result<Option<Extra>, Errno> {
    // What no restore makes takes nobody's place, and a file that gives way is one that is overwritten.
    let is_made = |node: &Node| {
        !matches!(
            node.kind,
            NodeKind::Dir | NodeKind::Socket | NodeKind::Irregular
        )
    };
    let seen = match ground.look(parent, name) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    let is_folder = seen.kind == FileType::Directory;
    if seen.is_elsewhere || node.is_some_and(|node| !is_made(node) || !is_folder) {
        return Ok(None);
    }
    let mut below = Below::default();
    let counted = match is_folder {
        true => open_directory(parent, name)
            .and_then(|fd| below.add(ground, &fd, MOST_COUNTED))
            .is_ok(),
        false => true,
    };
    // A full directory that cannot go whole gives way to nothing; an extra one loses what is not held.
    let stays = match node {
        Some(_) => below.is_held || below.count == 0,
        None => below.is_held && below.count == 0,
    };
    let all = counted && below.count <= MOST_COUNTED;
    Ok((!all || !stays).then_some(Extra {
        path,
        below: all.then_some(below.count),
    }))
}
