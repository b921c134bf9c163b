//! A path within a root that is not ours: links are followed as the container's own processes would follow them.
//!
//! An absolute link below `/proc/PID/root` leads to our own files when the kernel follows it, so it is followed here.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Links that are followed in one path; as many as Linux follows.
const LINKS: usize = 40;

/// What a path leads to.
pub(super) enum Place {
    /// A directory.
    Directory(OwnedFd),
    /// Anything else: the directory that it is in, and its name there.
    Entry(OwnedFd, OsString),
}

/// Finds what a path leads to in `root`, a directory. Nothing is opened on the way but directories.
///
/// # Errors
/// A part of the path is missing, is no directory or may not be entered, or links lead in circles.
pub(super) fn resolve(root: OwnedFd, path: &Path) -> Result<Place, Errno> {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/')
            .rev()
            .map(<[u8]>::to_vec)
            .collect()
    };
    let mut left = parts(path.as_os_str().as_bytes());
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut at = root;
    let mut links = 0;
    while let Some(name) = left.pop() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                // Nothing is above the root.
                if let Some(parent) = above.pop() {
                    at = parent;
                }
                continue;
            }
            _ => {}
        }
        let stat = rustix::fs::statat(&at, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&at, name.as_slice(), Vec::new())?.into_bytes();
                if target.first() == Some(&b'/')
                    && let Some(root) = std::mem::take(&mut above).into_iter().next()
                {
                    at = root;
                }
                left.extend(parts(&target));
            }
            FileType::Directory => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let next = rustix::fs::openat(&at, name.as_slice(), flags, Mode::empty())?;
                above.push(std::mem::replace(&mut at, next));
            }
            _ if left.iter().all(Vec::is_empty) => {
                return Ok(Place::Entry(at, OsString::from_vec(name)));
            }
            _ => return Err(Errno::NOTDIR),
        }
    }
    Ok(Place::Directory(at))
}
