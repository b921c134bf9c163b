//! Putting a folder in its place in one step.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, lchown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with, statvfs};
use tempfile::TempDir;

use super::{Error, Result, io_error};
use crate::wal;

/// What unfinished folders have in their names.
const UNFINISHED: &str = ".restoring-";
/// What folders that were put aside have behind their names, before the time.
const ASIDE: &str = ".before-restore-";

/// A folder that is being made, and the place it will have.
pub(super) struct Place {
    path: PathBuf,
    parent: PathBuf,
    temporary: TempDir,
    /// User and group of what is there.
    owner: Option<(u32, u32)>,
    /// Whether what is there must be kept.
    occupied: bool,
    /// Keeps a member from starting on what is there.
    _lock: Option<File>,
}

impl Place {
    /// Looks at a place and makes a folder beside it. The folder goes when this is dropped.
    pub(super) fn prepare(path: &Path, replace: bool, needed: u64) -> Result<Self> {
        // A link to a folder on another disk stays a link.
        let path = match fs::canonicalize(path) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::path::absolute(path).map_err(io_error("find", path))?
            }
            Err(error) => return Err(io_error("find", path)(error)),
        };
        let parent = match path.parent() {
            Some(parent) if path.file_name().is_some() => parent.to_owned(),
            _ => return Err(Error::MountPoint { path }),
        };
        let there = match fs::symlink_metadata(&path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("look at", &path)(error)),
        };
        if there.is_none() {
            fs::create_dir_all(&parent).map_err(io_error("create", &parent))?;
        }
        let beside = fs::metadata(&parent).map_err(io_error("look at", &parent))?;
        let mut occupied = false;
        if let Some(there) = &there {
            if there.is_dir() && there.dev() != beside.dev() {
                return Err(Error::MountPoint { path });
            }
            occupied = !there.is_dir() || !is_empty(&path)?;
            if occupied && !replace {
                return Err(Error::Exists { path });
            }
        }
        let lock = if occupied { lock(&path)? } else { None };
        check_room(&parent, needed)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = tempfile::Builder::new()
            .prefix(&format!("{name}{UNFINISHED}"))
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir_in(&parent)
            .map_err(io_error("create a folder in", &parent))?;
        Ok(Self {
            path,
            parent,
            temporary,
            owner: there.map(|there| (there.uid(), there.gid())),
            occupied,
            _lock: lock,
        })
    }

    /// The folder that is being made.
    pub(super) fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    /// Makes a folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        create(&self.temporary().join(name))
    }

    /// Unfinished folders of others for the same place.
    pub(super) fn leftovers(&self) -> Vec<PathBuf> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!("{name}{UNFINISHED}");
        let Ok(entries) = fs::read_dir(&self.parent) else {
            return Vec::new();
        };
        entries
            .filter_map(std::result::Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .map(|entry| entry.path())
            .filter(|path| path != self.temporary())
            .collect()
    }

    /// Puts the folder in its place, everything in it being on the disk.
    pub(super) fn commit(self, owner: Option<(u32, u32)>) -> Result<Placed> {
        finish(self.temporary(), owner.or(self.owner))?;
        // From here on what has the temporary name may be the old folder: it is not removed by a drop.
        let temporary = self.temporary.keep();
        let failed = |error: io::Error| {
            // Nothing has moved yet, and what cannot be removed is told by the next run.
            let _ = fs::remove_dir_all(&temporary);
            io_error("put the new folder at", &self.path)(error)
        };
        if !self.occupied {
            fs::rename(&temporary, &self.path).map_err(failed)?;
            sync(&self.parent)?;
            return Ok(Placed {
                path: self.path,
                kept: None,
            });
        }
        let aside = aside(&self.path);
        match renameat_with(CWD, &temporary, CWD, &self.path, RenameFlags::EXCHANGE) {
            // The old folder has the temporary name now.
            Ok(()) => fs::rename(&temporary, &aside)
                .map_err(io_error("keep the old folder as", &aside))?,
            // The file system cannot exchange: for a moment there is nothing at the place.
            Err(
                rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP,
            ) => {
                fs::rename(&self.path, &aside).map_err(failed)?;
                if let Err(error) = fs::rename(&temporary, &self.path) {
                    let back = fs::rename(&aside, &self.path);
                    back.map_err(io_error("put back the old folder from", &aside))?;
                    return Err(failed(error));
                }
            }
            Err(error) => return Err(failed(error.into())),
        }
        sync(&self.parent)?;
        Ok(Placed {
            path: self.path,
            kept: Some(aside),
        })
    }
}

/// A folder in its place.
pub(super) struct Placed {
    path: PathBuf,
    /// Where the old one is.
    pub(super) kept: Option<PathBuf>,
}

impl Placed {
    /// Takes the folder away again and puts the old one back.
    pub(super) fn undo(self) -> Result<()> {
        fs::remove_dir_all(&self.path).map_err(io_error("take away", &self.path))?;
        match &self.kept {
            Some(kept) => {
                fs::rename(kept, &self.path).map_err(io_error("put back the old folder from", kept))
            }
            None => Ok(()),
        }
    }
}

/// A free name for what was at a place.
fn aside(path: &Path) -> PathBuf {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let names = (1..).map(|number| match number {
        1 => format!("{name}{ASIDE}{time}"),
        _ => format!("{name}{ASIDE}{time}-{number}"),
    });
    let mut free = names
        .map(|name| path.with_file_name(name))
        .filter(|path| fs::symlink_metadata(path).is_err());
    free.next().unwrap_or_else(|| path.to_owned())
}

fn is_empty(folder: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(folder).map_err(io_error("list", folder))?;
    Ok(entries.next().is_none())
}

/// Takes the lock that a member holds on its database, where there is one.
fn lock(data: &Path) -> Result<Option<File>> {
    let path = data.join("member/snap/db");
    let file = match OpenOptions::new().read(true).open(&path) {
        Ok(file) => file,
        // No database, no member. A place that is no folder has none either.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(io_error("open", &path)(error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse { path }),
        Err(error) => Err(io_error("lock", &path)(error.into())),
    }
}

/// Refuses a disk with less room than may be needed.
pub(super) fn check_room(parent: &Path, needed: u64) -> Result<()> {
    let disk =
        statvfs(parent).map_err(|error| io_error("look at the disk of", parent)(error.into()))?;
    let available = disk.f_bavail.saturating_mul(disk.f_frsize);
    if available >= needed {
        return Ok(());
    }
    Err(Error::NoRoom {
        path: parent.to_owned(),
        available,
        needed,
    })
}

/// Makes a folder that only its owner may enter.
pub(super) fn create(folder: &Path) -> Result<PathBuf> {
    DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(io_error("create", folder))?;
    Ok(folder.to_owned())
}

/// Writes the first file of a log at the length that etcd gives it, and waits for the disk.
pub(super) fn write_log(path: &Path, log: &[u8]) -> Result<()> {
    write(path, log, wal::FILE_LENGTH)
}

/// Writes a small file, and waits for the disk.
pub(super) fn write_small(path: &Path, bytes: &[u8]) -> Result<()> {
    write(path, bytes, 0)
}

/// Writes a file of at least so many bytes.
fn write(path: &Path, bytes: &[u8], least: u64) -> Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("create", path))?;
    file.write_all(bytes)
        .and_then(|()| file.set_len(least.max(bytes.len() as u64)))
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))
}

/// Gives everything its owner, and waits until all folders are on the disk.
fn finish(folder: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(io_error("list", folder))?;
    for entry in entries {
        let entry = entry.map_err(io_error("list", folder))?;
        let path = entry.path();
        if entry
            .file_type()
            .map_err(io_error("look at", &path))?
            .is_dir()
        {
            finish(&path, owner)?;
        } else {
            own(&path, owner)?;
        }
    }
    own(folder, owner)?;
    sync(folder)
}

fn own(path: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let Some((user, group)) = owner else {
        return Ok(());
    };
    let now = fs::symlink_metadata(path).map_err(io_error("look at", path))?;
    if (now.uid(), now.gid()) == (user, group) {
        return Ok(());
    }
    lchown(path, Some(user), Some(group)).map_err(io_error("change the owner of", path))
}

/// Waits until what a folder lists is on the disk.
pub(super) fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error("wait for the disk for", folder))
}
