//! What stands in the way of an entry, and how it goes.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::content::Site;
use super::ground::Ground;
use crate::error::Result;

type Done<T> = std::result::Result<T, Errno>;

/// Said of what stays for the file system that it is on.
const MOUNTED: &str = "what stands in its place is on another file system than the target, or has one mounted in it, and \
                       nothing is removed from there: move it away, or unmount it";

/// Whether what stands at a path may be removed. False notes a failure: a directory with something in it stays where nothing
/// extra is to be removed, and one with another file system in it always.
pub(super) fn may_clear(site: Site<'_>, path: &Path) -> Result<bool> {
    match standing(site, path) {
        Ok(below) if below.is_held => site.fail(path, &MOUNTED),
        Ok(below) if below.count > 0 && site.options.delete_extra.is_none() => {
            let why = "a directory with something in it is in its place: move it away, or have what is not in the \
                       snapshot removed (--delete-extra)";
            site.fail(path, &why);
        }
        // Or it went by itself.
        Ok(_) | Err(Errno::NOENT) => return Ok(true),
        Err(error) => site.trouble(path, error)?,
    }
    Ok(false)
}

/// What is below an entry, which may be no directory. Held are what is mounted there, and full directories elsewhere; anything
/// else may be replaced on whatever file system its directory is.
fn standing(site: Site<'_>, path: &Path) -> Done<Below> {
    let (parent, name) = site.target.parent(path)?;
    let mut below = below_entry(Ground::of(&parent)?, &parent, name)?;
    below.is_held |= below.count > 0 && site.target.ground.is_left_by(&parent)?;
    Ok(below)
}

/// What is below an entry of a directory.
fn below_entry(ground: Ground, parent: &OwnedFd, name: &Path) -> Done<Below> {
    let seen = ground.look(parent, name)?;
    let mut below = Below {
        is_held: seen.is_elsewhere,
        ..Below::default()
    };
    if seen.kind == FileType::Directory && !seen.is_elsewhere {
        below.add(ground, &open_directory(parent, name)?, u64::MAX)?;
    }
    Ok(below)
}

/// Removes what stands at a path. False when that failed, which is then noted.
pub(super) fn clear(site: Site<'_>, path: &Path) -> Result<bool> {
    if !may_clear(site, path)? {
        return Ok(false);
    }
    let mut removed = Removed::default();
    let is_gone = site
        .target
        .parent(path)
        .and_then(|(parent, _)| removed.remove(Ground::of(&parent)?, &parent, path));
    match is_gone {
        Ok(true) | Err(Errno::NOENT) => return Ok(true),
        // It was mounted just now.
        Ok(false) => site.fail(path, &MOUNTED),
        Err(error) => site.trouble(path, error)?,
    }
    Ok(false)
}

pub(super) fn kind_of(parent: &OwnedFd, name: &Path) -> Done<FileType> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

pub(super) fn names_in(fd: &OwnedFd) -> Done<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

pub(super) fn open_directory(parent: &OwnedFd, name: &Path) -> Done<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// What is below a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Below {
    /// Entries that a removal of the directory takes.
    pub(super) count: u64,
    /// Something stands elsewhere: it stays, and every directory above it.
    pub(super) is_held: bool,
}

impl Below {
    /// Counts what is below a directory, until there are more than `most`.
    pub(super) fn add(&mut self, ground: Ground, directory: &OwnedFd, most: u64) -> Done<()> {
        let mut is_held = ground.is_left_by(directory)?;
        let names = if is_held {
            Vec::new()
        } else {
            names_in(directory)?
        };
        for name in names {
            if self.count > most {
                break;
            }
            let name = Path::new(&name);
            let seen = ground.look(directory, name)?;
            let mut below = Self {
                is_held: seen.is_elsewhere,
                ..Self::default()
            };
            if seen.kind == FileType::Directory && !seen.is_elsewhere {
                below.add(ground, &open_directory(directory, name)?, most - self.count)?;
            }
            self.count += below.count + u64::from(!below.is_held);
            is_held |= below.is_held;
        }
        self.is_held |= is_held;
        Ok(())
    }
}

/// What removals did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) count: u64,
    /// What stands elsewhere, and stays.
    pub(super) kept: Vec<PathBuf>,
}

impl Removed {
    /// Removes the entry at `path`, which stands in `parent`, and everything below it that stands where the target does,
    /// without following a link. False when something stays.
    pub(super) fn remove(&mut self, ground: Ground, parent: &OwnedFd, path: &Path) -> Done<bool> {
        let name = path.file_name().map_or(path, Path::new);
        let seen = ground.look(parent, name)?;
        if seen.is_elsewhere {
            return Ok(self.keep(path));
        }
        let mut flags = AtFlags::empty();
        if seen.kind == FileType::Directory {
            if !self.empty(ground, &open_directory(parent, name)?, path)? {
                return Ok(false);
            }
            flags = AtFlags::REMOVEDIR;
        }
        match rustix::fs::unlinkat(parent, name, flags) {
            Ok(()) => self.count += 1,
            // Mounted just now, or by a kernel that does not tell.
            Err(Errno::BUSY) => return Ok(self.keep(path)),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Removes what is in a directory.
    fn empty(&mut self, ground: Ground, directory: &OwnedFd, path: &Path) -> Done<bool> {
        // What was opened is what counts: it may have been mounted since it was seen.
        if ground.is_left_by(directory)? {
            return Ok(self.keep(path));
        }
        let mut is_empty = true;
        for name in names_in(directory)? {
            is_empty &= self.remove(ground, directory, &path.join(name))?;
        }
        Ok(is_empty)
    }

    /// Notes what stays.
    pub(super) fn keep(&mut self, path: &Path) -> bool {
        self.kept.push(path.to_owned());
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

    use super::*;

    /// A folder with `gone/{a,b/c}` in it, open.
    fn folder() -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("gone/b")).unwrap();
        std::fs::write(folder.path().join("gone/a"), "a").unwrap();
        std::fs::write(folder.path().join("gone/b/c"), "c").unwrap();
        let fd = open_directory(
            &OwnedFd::from(std::fs::File::open("/").unwrap()),
            folder.path(),
        );
        (folder, fd.unwrap())
    }

    #[test]
    fn what_is_counted_is_what_is_removed() {
        let (folder, fd) = folder();
        let ground = Ground::of(&fd).unwrap();
        let below = below_entry(ground, &fd, Path::new("gone")).unwrap();
        assert_eq!((below.count, below.is_held), (3, false));
        let mut removed = Removed::default();
        assert!(removed.remove(ground, &fd, Path::new("gone")).unwrap());
        assert_eq!((removed.count, removed.kept), (4, Vec::new()));
        assert!(!folder.path().join("gone").exists());
    }

    #[test]
    fn what_stands_elsewhere_is_neither_entered_nor_removed() {
        let (folder, fd) = folder();
        let own = Ground::of(&fd).unwrap();
        // As if the folder were mounted into a target of another file system, and of another mount of this one.
        let grounds = [
            Ground {
                device: own.device + 1,
                ..own
            },
            Ground {
                mount: own.mount.map(|mount| mount + 1),
                ..own
            },
        ];
        for ground in grounds.into_iter().filter(|ground| *ground != own) {
            let below = below_entry(ground, &fd, Path::new("gone")).unwrap();
            assert_eq!((below.count, below.is_held), (0, true), "{ground:?}");
            let mut removed = Removed::default();
            assert!(!removed.remove(ground, &fd, Path::new("gone")).unwrap());
            assert_eq!(removed.count, 0, "{ground:?}");
            assert_eq!(removed.kept, [PathBuf::from("gone")], "{ground:?}");
            assert!(folder.path().join("gone/b/c").exists(), "{ground:?}");
        }
    }
}
