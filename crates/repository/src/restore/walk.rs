//! The walk over the snapshot's trees.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::clear::{Removed, clear, kind_of, may_clear, names_in};
use super::content::{Batch, Before, Chain, Site, complete};
use super::place::Target;
use super::{RestoreOptions, Tally, metadata};
use crate::entries::Entries;
use crate::error::{Error, Result};
use crate::format::index_file::BlobKind;
use crate::format::node::{Node, NodeKind};
use crate::format::tree::Tree;
use crate::id::BlobId;
use crate::index::{Index, Place};
use crate::progress::Progress;
use crate::repository::Repository;

/// Deepest directory: a path of the system has at most 4096 bytes.
const DEEPEST: usize = 2048;
/// Directories that wait for their files: each holds its node.
const MOST_LEFT: usize = 50_000;

pub(super) struct Walk<'r> {
    site: Site<'r>,
    batch: Batch,
    /// Directories whose entries are all in hand, with what they get when those are written.
    left: Vec<(PathBuf, Node)>,
    /// First paths of files with several hard links.
    linked: HashMap<(u64, u64), PathBuf>,
    /// Further links, made when the first path is whole.
    links: Vec<(PathBuf, PathBuf)>,
    /// First paths that do not have their content: their further links are not made of what stands there.
    broken: HashSet<PathBuf>,
    /// Entries that are wanted, with what is in them; empty for all.
    only: Vec<PathBuf>,
}

/// How an entry is to what is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// It is wanted, or in something that is.
    Yes,
    /// Something that is wanted is in it.
    Above,
    No,
}

/// A directory that is being restored.
struct Level {
    path: PathBuf,
    /// Its entries that are still to come.
    entries: Entries,
    /// What it gets when they are done; the root has none.
    node: Option<Node>,
}

impl<'r> Walk<'r> {
    pub(super) fn new(
        repository: &'r Repository,
        index: &'r Index,
        target: &'r Target,
        options: &'r RestoreOptions,
        progress: &'r Progress,
        tally: &'r Tally,
    ) -> Self {
        Self {
            site: Site {
                repository,
                index,
                target,
                options,
                progress,
                tally,
            },
            batch: Batch::default(),
            left: Vec::new(),
            linked: HashMap::new(),
            links: Vec::new(),
            broken: HashSet::new(),
            only: Vec::new(),
        }
    }

    /// Leaves out everything but these entries and what is in them.
    pub(super) fn only(self, only: Vec<PathBuf>) -> Self {
        Self { only, ..self }
    }

    fn wanted(&self, path: &Path) -> Wanted {
        if self.only.is_empty() || self.only.iter().any(|only| path.starts_with(only)) {
            return Wanted::Yes;
        }
        match self.only.iter().any(|only| only.starts_with(path)) {
            true => Wanted::Above,
            false => Wanted::No,
        }
    }

    /// Restores everything below the root.
    pub(super) fn run(mut self, root: &BlobId) -> Result<()> {
        let root = self.level(PathBuf::new(), root, None)?;
        self.tree(root)?;
        self.flush()
    }

    /// Restores one entry into the root.
    pub(super) fn run_one(mut self, node: Node) -> Result<()> {
        let root = Level {
            path: PathBuf::new(),
            entries: Entries::whole(Tree { nodes: vec![node] }),
            node: None,
        };
        self.tree(root)?;
        self.flush()
    }

    /// Without recursion: how deep a tree goes is up to whoever wrote it, and a stack is small.
    fn tree(&mut self, root: Level) -> Result<()> {
        let mut open = vec![root];
        while let Some(level) = open.last_mut() {
            self.site.progress.check()?;
            let node = match level.entries.next() {
                Some(Ok(node)) => node,
                // What stands before it was restored; what stands behind it cannot be told.
                Some(Err(error)) => {
                    let path = level.path.clone();
                    self.fail(&path, &Chain(&error));
                    continue;
                }
                None => {
                    let left = open.pop().and_then(|level| Some((level.path, level.node?)));
                    self.left.extend(left);
                    if self.left.len() >= MOST_LEFT {
                        self.flush()?;
                    }
                    continue;
                }
            };
            let path = level.path.join(OsStr::from_bytes(&node.name));
            let wanted = self.wanted(&path);
            match node.kind {
                _ if wanted == Wanted::No => {}
                NodeKind::Dir if open.len() > DEEPEST => {
                    return Err(Error::Invalid(format!("{} is too deep", path.display())));
                }
                NodeKind::Dir => open.extend(self.enter(path, node)?),
                NodeKind::File => self.file(path, node)?,
                NodeKind::Socket | NodeKind::Irregular => {
                    self.site.tally.count(|restored| restored.sockets += 1);
                }
                NodeKind::Symlink
                | NodeKind::BlockDevice
                | NodeKind::CharDevice
                | NodeKind::Fifo => {
                    self.other(&path, &node)?;
                }
            }
        }
        Ok(())
    }

    fn level(&self, path: PathBuf, tree: &BlobId, node: Option<Node>) -> Result<Level> {
        self.delete_extra(&path, tree)?;
        let entries = self.site.repository.entries(self.site.index, tree)?;
        Ok(Level {
            path,
            entries,
            node,
        })
    }

    /// Makes a directory; what is to be restored in it, if it is known.
    fn enter(&mut self, path: PathBuf, mut node: Node) -> Result<Option<Level>> {
        let leads = self.wanted(&path) == Wanted::Above;
        let stood = |flags| {
            leads
                && self
                    .site
                    .target
                    .open_at(&path, OFlags::PATH | flags)
                    .is_ok()
        };
        let stays = stood(OFlags::DIRECTORY);
        if !stays && stood(OFlags::empty()) {
            let why = "it is no directory here, and what stands there is not to be replaced";
            self.fail(&path, &why);
            return Ok(None);
        }
        // What stands there goes for a directory that can be read only.
        let is_replaced = !self.site.target.is_fresh
            && self.site.target.open_at(&path, OFlags::PATH).is_ok()
            && self
                .site
                .target
                .open_at(&path, OFlags::PATH | OFlags::DIRECTORY)
                .is_err();
        if let Some(subtree) = node.subtree.as_ref().filter(|_| is_replaced)
            && let Err(error) = self.site.repository.entries(self.site.index, subtree)
        {
            if !error.is_damage() {
                return Err(error);
            }
            self.site.fail_and_keep(&path, &Chain(&error));
            return Ok(None);
        }
        let made = self.make(&path, |parent, name| {
            match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
                Err(Errno::EXIST) if kind_of(parent, name)? == FileType::Directory => Ok(()),
                other => other,
            }
        })?;
        let Some(subtree) = node.subtree.take().filter(|_| made) else {
            return Ok(None);
        };
        // A directory that only leads to what is wanted stays as it is.
        let gets = (!stays).then(|| node.clone());
        match self.level(path.clone(), &subtree, gets) {
            Ok(level) => Ok(Some(level)),
            Err(error) if error.is_damage() => {
                self.fail(&path, &Chain(&error));
                self.left.push((path, node));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn file(&mut self, path: PathBuf, mut node: Node) -> Result<()> {
        if node.links > 1 {
            let key = (node.device_id, node.inode);
            if let Some(first) = self.linked.get(&key) {
                self.links.push((first.clone(), path));
                return Ok(());
            }
            self.linked.insert(key, path.clone());
        }
        let content = std::mem::take(&mut node.content);
        let pieces = match self.pieces(&content, node.size) {
            Ok(pieces) => pieces,
            Err(error) => {
                self.site.fail_and_keep(&path, &Chain(&error));
                self.broken.extend((node.links > 1).then_some(path));
                return Ok(());
            }
        };
        let compared = self.compare(&path, &pieces)?;
        let Some((before, wanted)) = compared else {
            self.broken.extend((node.links > 1).then_some(path));
            return Ok(());
        };
        if wanted.is_empty() {
            if before == Before::InTheWay && !clear(self.site, &path)? {
                return Ok(());
            }
            let existed = before == Before::File;
            return self.without_content(&path, &node, existed, pieces.is_empty());
        }
        self.batch.add(path, node, before, &wanted)?;
        if self.batch.is_full() {
            self.flush()?;
        }
        Ok(())
    }

    /// A file that is empty, or whose content is there already.
    fn without_content(
        &mut self,
        path: &Path,
        node: &Node,
        existed: bool,
        empty: bool,
    ) -> Result<()> {
        let file = self.site.target.file(path).and_then(|file| {
            file.set_len(node.size)
                .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
            Ok(file)
        });
        match file {
            Ok(file) => {
                if complete(self.site, path, node, Some(file)) {
                    self.site.tally.count(|restored| {
                        if existed && !empty {
                            restored.unchanged += 1;
                        } else {
                            restored.files += 1;
                        }
                    });
                }
                Ok(())
            }
            Err(error) => self.site.trouble(path, error),
        }
    }

    /// Places of all pieces, with their offsets in the file.
    fn pieces(&self, content: &[BlobId], size: u64) -> Result<Vec<(BlobId, Place, u64)>> {
        let mut pieces = Vec::with_capacity(content.len());
        let mut at = 0_u64;
        for id in content {
            let place = self
                .site
                .index
                .find(BlobKind::Data, id)?
                .ok_or_else(|| Error::NoBlob {
                    kind: BlobKind::Data.noun(),
                    id: *id,
                    place: self.site.repository.files().place(),
                })?;
            pieces.push((*id, place, at));
            at += place.plain_length();
        }
        if at != size {
            return Err(Error::Invalid(format!(
                "its pieces have {at} bytes and it should have {size}"
            )));
        }
        Ok(pieces)
    }

    /// What stands there, and which pieces have to be written. `None` when the entry failed. Nothing is changed yet.
    #[expect(clippy::type_complexity, reason = "said in the line above")]
    fn compare(
        &self,
        path: &Path,
        pieces: &[(BlobId, Place, u64)],
    ) -> Result<Option<(Before, Vec<(BlobId, Place, u64)>)>> {
        if self.site.target.is_fresh {
            return Ok(Some((Before::Nothing, pieces.to_vec())));
        }
        let in_the_way = || {
            let may = may_clear(self.site, path)?;
            Ok(may.then(|| (Before::InTheWay, pieces.to_vec())))
        };
        let opened = self
            .site
            .target
            .open_at(path, OFlags::RDONLY | OFlags::NONBLOCK)
            .map(File::from);
        let file = match opened {
            Ok(file) if file.metadata().is_ok_and(|meta| meta.is_file()) => file,
            Err(Errno::NOENT) => return Ok(Some((Before::Nothing, pieces.to_vec()))),
            // A link, a directory or something else stands in the way.
            _ => return in_the_way(),
        };
        // A file with other names would change under those names, too.
        if file.metadata().is_ok_and(|meta| meta.nlink() > 1) {
            return in_the_way();
        }
        let mut wanted = Vec::new();
        let mut buffer = Vec::new();
        for piece in pieces {
            let length = usize::try_from(piece.1.plain_length()).unwrap_or(usize::MAX);
            buffer.resize(length, 0);
            let same =
                file.read_exact_at(&mut buffer, piece.2).is_ok() && BlobId::of(&buffer) == piece.0;
            if same {
                self.site.progress.bytes_done(buffer.len() as u64);
            } else {
                wanted.push(*piece);
            }
        }
        Ok(Some((Before::File, wanted)))
    }

    fn other(&mut self, path: &Path, node: &Node) -> Result<()> {
        let made = self.make(path, |parent, name| match node.kind {
            NodeKind::Symlink => {
                rustix::fs::symlinkat(OsStr::from_bytes(&node.link_target), parent, name)
            }
            kind => {
                let file_type = match kind {
                    NodeKind::BlockDevice => FileType::BlockDevice,
                    NodeKind::CharDevice => FileType::CharacterDevice,
                    _ => FileType::Fifo,
                };
                rustix::fs::mknodat(
                    parent,
                    name,
                    file_type,
                    Mode::RUSR | Mode::WUSR,
                    node.device,
                )
            }
        })?;
        if made {
            let refused = metadata::apply(self.site.target, path, node, self.site.options);
            if refused.is_empty() {
                self.site.tally.count(|restored| restored.others += 1);
            } else {
                self.site.refuse(path, &refused.join("; "));
            }
        }
        Ok(())
    }

    /// Makes an entry; what stands in its way is removed first. False when that failed, which is then noted.
    fn make(
        &self,
        path: &Path,
        act: impl Fn(&std::os::fd::OwnedFd, &Path) -> std::result::Result<(), Errno>,
    ) -> Result<bool> {
        let attempt = || {
            let (parent, name) = self.site.target.parent(path)?;
            act(&parent, name)
        };
        let made = match attempt() {
            Err(Errno::EXIST) if !self.site.target.is_fresh => {
                if !clear(self.site, path)? {
                    return Ok(false);
                }
                attempt()
            }
            other => other,
        };
        match made {
            Ok(()) => Ok(true),
            Err(error) => self.site.trouble(path, error).map(|()| false),
        }
    }

    /// Removes what a directory has and its tree has not, where that is wanted. Nothing goes by a tree that does not read to
    /// its end, and nothing from another file system.
    fn delete_extra(&self, path: &Path, tree: &BlobId) -> Result<()> {
        let is_chosen = self.wanted(path) == Wanted::Yes;
        if self.site.options.delete_extra.is_none() || self.site.target.is_fresh || !is_chosen {
            return Ok(());
        }
        let entries = self.site.repository.entries(self.site.index, tree)?;
        let keep: HashSet<Vec<u8>> = entries
            .map(|node| node.map(|node| node.name))
            .collect::<Result<_>>()?;
        let ground = self.site.target.ground;
        let found = self
            .site
            .target
            .open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .and_then(|fd| Ok((names_in(&fd)?, ground.is_left_by(&fd)?, fd)));
        let (names, is_elsewhere, fd) = match found {
            Ok(found) => found,
            Err(error) => return self.site.trouble(path, error),
        };
        let is_root_lost = |name: &OsStr| path.as_os_str().is_empty() && name == "lost+found";
        let mut removed = Removed::default();
        for name in names {
            if keep.contains(name.as_bytes()) || is_root_lost(&name) {
                continue;
            }
            if is_elsewhere {
                removed.keep(path);
                break;
            }
            let inside = path.join(&name);
            if let Err(error) = removed.remove(ground, &fd, &inside) {
                self.site.trouble(&inside, error)?;
            }
        }
        let kept = removed.kept.iter().map(|path| self.site.target.show(path));
        self.site.tally.removed(removed.count, kept.collect());
        Ok(())
    }

    /// Writes what is gathered, then makes further links to it, then completes the directories that were left.
    fn flush(&mut self) -> Result<()> {
        self.broken.extend(self.batch.write(self.site)?);
        for (first, link) in std::mem::take(&mut self.links) {
            if self.broken.contains(&first) {
                let why = format!(
                    "it is the same file as {}, which could not be restored",
                    first.display()
                );
                self.site.fail_and_keep(&link, &why);
                continue;
            }
            let made = self.make(&link, |parent, name| {
                let first = self.site.target.open_at(&first, OFlags::PATH)?;
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&first));
                rustix::fs::linkat(rustix::fs::CWD, path, parent, name, AtFlags::SYMLINK_FOLLOW)
            })?;
            if made {
                self.site.tally.count(|restored| restored.others += 1);
            }
        }
        for (path, node) in std::mem::take(&mut self.left) {
            let refused = metadata::apply(self.site.target, &path, &node, self.site.options);
            if refused.is_empty() {
                self.site.tally.count(|restored| restored.directories += 1);
            } else {
                self.site.refuse(&path, &refused.join("; "));
            }
        }
        Ok(())
    }

    fn fail(&self, path: &Path, why: &dyn std::fmt::Display) {
        self.site.fail(path, why);
    }
}
