//! The directory that is restored into. Everything in it is opened relative to it, beneath it and through no
//! link: what stands there must not lead a write elsewhere.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::ground::Ground;
use super::{Existing, local};
use crate::error::{Error, Result};

/// The target directory.
#[derive(Debug)]
pub(super) struct Target {
    fd: OwnedFd,
    path: PathBuf,
    /// Where it stands.
    pub(super) ground: Ground,
    /// It was empty: every file in it is ours.
    pub(super) is_fresh: bool,
}

impl Target {
    /// Opens the target and makes it when it is not there.
    pub(super) fn open(path: &Path, existing: Existing) -> Result<Self> {
        // Whoever may write beside the target could otherwise have another directory overwritten.
        if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) {
            return Err(Error::Invalid(format!(
                "{} is a link: name the directory that it leads to",
                path.display()
            )));
        }
        std::fs::create_dir_all(path).map_err(|e| local("make", path, e))?;
        let mut entries = std::fs::read_dir(path).map_err(|e| local("read", path, e))?;
        // A file system of its own has this one, empty and not ours to remove.
        let is_fresh =
            entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found"));
        if existing == Existing::Refuse && !is_fresh {
            return Err(Error::Invalid(format!(
                "{} is not empty: name another directory, or pass --in-place to have what stands there brought to the state of the snapshot",
                path.display()
            )));
        }
        let fd = rustix::fs::open(
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| local("open", path, e))?;
        let ground = Ground::of(&fd).map_err(|e| local("open", path, e))?;
        Ok(Self {
            fd,
            path: path.to_owned(),
            ground,
            is_fresh,
        })
    }

    /// The path of an entry, for messages.
    pub(super) fn show(&self, relative: &Path) -> PathBuf {
        self.path.join(relative)
    }

    /// Opens an entry; the last component may be a link only with `O_PATH`.
    pub(super) fn open_at(
        &self,
        relative: &Path,
        flags: OFlags,
    ) -> std::result::Result<OwnedFd, Errno> {
        let relative = if relative.as_os_str().is_empty() {
            Path::new(".")
        } else {
            relative
        };
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = if flags.contains(OFlags::CREATE) {
            Mode::RUSR | Mode::WUSR
        } else {
            Mode::empty()
        };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.fd, relative, flags, mode, resolve) {
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS) => rustix::fs::openat(&self.fd, relative, flags, mode),
            other => other,
        }
    }

    /// The directory that an entry stands in, and its name there.
    pub(super) fn parent<'p>(
        &self,
        relative: &'p Path,
    ) -> std::result::Result<(OwnedFd, &'p Path), Errno> {
        let parent = relative.parent().unwrap_or(Path::new(""));
        let name = relative.file_name().map_or(relative, Path::new);
        let fd = self.open_at(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((fd, name))
    }

    /// A file to write to, made when it is not there.
    pub(super) fn file(&self, relative: &Path) -> std::result::Result<File, Errno> {
        self.open_at(relative, OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK)
            .map(File::from)
    }
}
