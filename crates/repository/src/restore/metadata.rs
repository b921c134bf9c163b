//! Owner, extended attributes, mode and times. In this order: a change of the owner clears set-uid, and
//! everything changes the time.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::RestoreOptions;
use super::place::Target;
use crate::format::node::{Node, NodeKind};
use rustix::fs::OFlags;

/// What could not be set, in words.
pub(super) type Refused = Vec<String>;

/// Sets what a node says on the entry at `path`.
pub(super) fn apply(
    target: &Target,
    path: &Path,
    node: &Node,
    options: &RestoreOptions,
) -> Refused {
    match target.open_at(path, OFlags::PATH) {
        Ok(fd) => apply_to(&fd, node, options),
        Err(error) => vec![format!("it cannot be opened: {error}")],
    }
}

/// The same on an entry that is open (with or without `O_PATH`).
pub(super) fn apply_to(fd: &OwnedFd, node: &Node, options: &RestoreOptions) -> Refused {
    let mut refused = Refused::new();
    let mut note = |what: &str, result: Result<(), Errno>| {
        if let Err(error) = result {
            refused.push(format!("{what} could not be set: {error}"));
        }
    };
    if options.owners {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        note(
            "owner",
            rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH),
        );
    }
    // The descriptor's own name in /proc works for every kind of entry, links included, and goes through no
    // directory that somebody could exchange.
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    for xattr in &node.xattrs {
        let set = if node.kind == NodeKind::Symlink {
            // Only the system sets attributes on links.
            continue;
        } else {
            rustix::fs::setxattr(&path, &xattr.name, &xattr.value, XattrFlags::empty())
        };
        note(&xattr.name, set);
    }
    if node.kind != NodeKind::Symlink {
        note(
            "mode",
            rustix::fs::chmod(&path, Mode::from_raw_mode(node.mode & 0o7777)),
        );
    }
    let times = Timestamps {
        last_access: timespec(node.atime),
        last_modification: timespec(node.mtime),
    };
    let set = if node.kind == NodeKind::Symlink {
        rustix::fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH)
    } else {
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty())
    };
    note("times", set);
    refused
}

fn timespec(time: jiff::Timestamp) -> Timespec {
    let (mut seconds, mut nanos) = (time.as_second(), i64::from(time.subsec_nanosecond()));
    if nanos < 0 {
        seconds -= 1;
        nanos += 1_000_000_000;
    }
    Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    }
}
