//! What stands in the way of an entry, and how it goes.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::content::Site;
use crate::error::Result;

/// Whether what stands at a path may be removed. False notes a failure: a directory with something in it stays where nothing
/// extra is to be removed.
pub(super) fn may_clear(site: Site<'_>, path: &Path) -> Result<bool> {
    if site.options.delete_extra {
        return Ok(true);
    }
    let is_full = site.target.parent(path).and_then(|(parent, name)| {
        Ok(kind_of(&parent, name)? == FileType::Directory && {
            let fd = open_directory(&parent, name)?;
            !names_in(&fd)?.is_empty()
        })
    });
    match is_full {
        Ok(false) => Ok(true),
        Ok(true) => {
            let why = "a directory with something in it is in its place: move it away, or have what is not in the \
                       snapshot removed (--delete-extra)";
            site.fail(path, &why);
            Ok(false)
        }
        // It went by itself.
        Err(Errno::NOENT) => Ok(true),
        Err(error) => site.trouble(path, error).map(|()| false),
    }
}

/// Removes what stands at a path. False when that failed, which is then noted.
pub(super) fn clear(site: Site<'_>, path: &Path) -> Result<bool> {
    if !may_clear(site, path)? {
        return Ok(false);
    }
    let removed = site
        .target
        .parent(path)
        .and_then(|(parent, name)| remove(&parent, name));
    match removed {
        Ok(_) | Err(Errno::NOENT) => Ok(true),
        Err(error) => site.trouble(path, error).map(|()| false),
    }
}

pub(super) fn kind_of(parent: &OwnedFd, name: &Path) -> std::result::Result<FileType, Errno> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

pub(super) fn names_in(fd: &OwnedFd) -> std::result::Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn open_directory(parent: &OwnedFd, name: &Path) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Removes an entry and everything below it, without following a link. Returns how many entries.
pub(super) fn remove(parent: &OwnedFd, name: &Path) -> std::result::Result<u64, Errno> {
    if kind_of(parent, name)? != FileType::Directory {
        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
        return Ok(1);
    }
    let fd = open_directory(parent, name)?;
    let mut count = 1;
    for name in names_in(&fd)? {
        count += remove(&fd, Path::new(&name))?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(count)
}
