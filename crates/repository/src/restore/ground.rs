//! The file system of the target: the only one on which anything is removed.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, StatxFlags};
use rustix::io::Errno;

/// Where the target stands. What stands elsewhere was mounted below it, or is a volume of its own, as a subvolume of btrfs:
/// a snapshot of one file system says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ground {
    pub(super) device: u64,
    /// Its mount, where the kernel tells (since 5.8): another directory of the same file system may be mounted below it.
    pub(super) mount: Option<u64>,
}

/// What stands at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: FileType,
    pub(super) is_elsewhere: bool,
}

impl Ground {
    pub(super) fn of(target: &OwnedFd) -> Result<Self, Errno> {
        Ok(Self {
            device: rustix::fs::fstat(target)?.st_dev,
            mount: mount_of(target, Path::new("")),
        })
    }

    pub(super) fn look(self, parent: &OwnedFd, name: &Path) -> Result<Seen, Errno> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        Ok(Seen {
            kind,
            is_elsewhere: self.differs(kind, stat.st_dev, mount_of(parent, name)),
        })
    }

    /// Whether an open directory stands elsewhere.
    pub(super) fn is_left_by(self, directory: &OwnedFd) -> Result<bool, Errno> {
        let device = rustix::fs::fstat(directory)?.st_dev;
        let mount = mount_of(directory, Path::new(""));
        Ok(self.differs(FileType::Directory, device, mount))
    }

    fn differs(self, kind: FileType, device: u64, mount: Option<u64>) -> bool {
        // Of directories only: a file of an overlay has the device of the file system below.
        let has_other_device = kind == FileType::Directory && device != self.device;
        let mounts = self.mount.zip(mount);
        has_other_device || mounts.is_some_and(|(own, other)| own != other)
    }
}

/// The mount that an entry is in; `None` where the kernel, or a sandbox, does not tell.
fn mount_of(parent: &OwnedFd, name: &Path) -> Option<u64> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(parent, name, flags, StatxFlags::MNT_ID).ok()?;
    let is_told = found.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    is_told.then_some(found.stx_mnt_id)
}
