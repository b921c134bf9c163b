//! A directory as a source.
//!
//! Every step goes from an open directory to an entry of it and follows no link, so that nobody who may write
//! into the tree can lead the reader out of it while it reads.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::owners::Owners;
use super::{Content, Failure, Source, Step};
use crate::chunk::ChunkerKind;
use crate::format::node::{Node, NodeKind, Xattr};

/// How a directory is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct TreeOptions {
    /// Leave out what lies on other file systems; the directories that they are mounted on are kept, empty.
    pub one_file_system: bool,
    /// Record when files were read last. Off, so that reading alone makes no directory new.
    pub access_times: bool,
    /// The tree is a copy (a clone of a volume) whose inodes and change times are always new.
    pub is_copy: bool,
    /// How its files are cut.
    pub chunker: ChunkerKind,
}

/// The entries below a directory.
pub struct TreeSource {
    root: PathBuf,
    options: TreeOptions,
    owners: Owners,
    device: u64,
    open: Vec<Level>,
    /// The file that was told last.
    current: Option<(CString, Stat)>,
}

/// A directory that is being read.
struct Level {
    fd: OwnedFd,
    /// Names that are left.
    names: Names,
    /// Of the directory in its parent; for messages.
    name: CString,
}

impl TreeSource {
    /// The entries below `root`, which may be a link to a directory.
    ///
    /// # Errors
    /// It is no directory that can be read.
    pub fn open(root: &Path, options: TreeOptions) -> io::Result<Self> {
        let fd = rustix::fs::open(
            root,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let device = rustix::fs::fstat(&fd)?.st_dev;
        let names = names_of(&fd)?;
        Ok(Self {
            root: root.to_owned(),
            options,
            owners: Owners::of_this_machine(),
            device,
            open: vec![Level {
                fd,
                names,
                name: CString::default(),
            }],
            current: None,
        })
    }

    fn path(&self, name: &CStr) -> String {
        let mut path = self.root.clone();
        for level in self.open.iter().skip(1) {
            path.push(OsStr::from_bytes(level.name.to_bytes()));
        }
        path.push(OsStr::from_bytes(name.to_bytes()));
        path.display().to_string()
    }

    fn failed(&self, name: &CStr, error: &io::Error) -> Step {
        Step::Failed(Failure {
            path: self.path(name),
            why: error.to_string(),
        })
    }

    /// The step of an entry; `None` when it is gone, which is no failure: it was removed before it was read.
    fn entry(&mut self, name: CString) -> io::Result<Option<Step>> {
        let Some(level) = self.open.last() else {
            return Ok(Some(Step::End));
        };
        let stat = match rustix::fs::statat(&level.fd, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Ok(Some(self.failed(&name, &error.into()))),
        };
        let mut node = match self.node(&level.fd, &name, &stat) {
            Ok(node) => node,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Ok(Some(self.failed(&name, &error))),
        };
        if node.kind != NodeKind::Dir {
            self.current = Some((name, stat));
            return Ok(Some(Step::Leaf(node)));
        }
        node.size = 0;
        let foreign = self.options.one_file_system && stat.st_dev != self.device;
        let opened = rustix::fs::openat(
            &level.fd,
            &name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(io::Error::from)
        .and_then(|fd| {
            let names = if foreign {
                Names::default()
            } else {
                names_of(&fd)?
            };
            Ok((fd, names))
        });
        match opened {
            Ok((fd, names)) => {
                self.open.push(Level { fd, names, name });
                Ok(Some(Step::Enter(node)))
            }
            Err(error) => Ok(Some(self.failed(&name, &error))),
        }
    }

    fn node(&self, parent: &OwnedFd, name: &CStr, stat: &Stat) -> io::Result<Node> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => NodeKind::File,
            FileType::Directory => NodeKind::Dir,
            FileType::Symlink => NodeKind::Symlink,
            FileType::BlockDevice => NodeKind::BlockDevice,
            FileType::CharacterDevice => NodeKind::CharDevice,
            FileType::Fifo => NodeKind::Fifo,
            FileType::Socket => NodeKind::Socket,
            FileType::Unknown => NodeKind::Irregular,
        };
        let mut node = Node::new(kind, name.to_bytes().to_vec());
        node.mode = stat.st_mode & 0o7777;
        node.mtime = timestamp(stat.st_mtime, stat.st_mtime_nsec);
        node.ctime = timestamp(stat.st_ctime, stat.st_ctime_nsec);
        node.atime = if self.options.access_times {
            timestamp(stat.st_atime, stat.st_atime_nsec)
        } else {
            node.mtime
        };
        (node.uid, node.gid) = (stat.st_uid, stat.st_gid);
        (node.user, node.group) = (self.owners.user(node.uid), self.owners.group(node.gid));
        (node.inode, node.device_id) = (stat.st_ino, stat.st_dev);
        node.links = stat.st_nlink;
        match kind {
            NodeKind::File => node.size = u64::try_from(stat.st_size).unwrap_or(0),
            NodeKind::BlockDevice | NodeKind::CharDevice => node.device = stat.st_rdev,
            NodeKind::Symlink => {
                node.link_target = rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes();
            }
            _ => {}
        }
        node.xattrs = xattrs(parent, name)?;
        Ok(node)
    }
}

impl Source for TreeSource {
    fn root(&self) -> io::Result<Option<Node>> {
        let Some(level) = self.open.first() else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&level.fd)?;
        self.node(&level.fd, c".", &stat).map(Some)
    }

    fn next(&mut self) -> io::Result<Step> {
        loop {
            self.current = None;
            let Some(level) = self.open.last_mut() else {
                return Ok(Step::End);
            };
            let Some(name) = level.names.pop() else {
                self.open.pop();
                return Ok(if self.open.is_empty() {
                    Step::End
                } else {
                    Step::Leave
                });
            };
            if let Some(step) = self.entry(name)? {
                return Ok(step);
            }
        }
    }

    fn open(&mut self) -> io::Result<Box<dyn Content + '_>> {
        let (Some(level), Some((name, stat))) = (self.open.last(), &self.current) else {
            return Err(io::Error::other("no file was told that could be opened"));
        };
        // Without the access time where we may: a backup should not look like a reader. Non-blocking, in case
        // the file became a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match rustix::fs::openat(&level.fd, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(rustix::io::Errno::PERM) => {
                rustix::fs::openat(&level.fd, name, flags, Mode::empty())?
            }
            other => other?,
        };
        let file = File::from(fd);
        let now = file.metadata()?;
        if !now.is_file() || now.ino() != stat.st_ino || now.dev() != stat.st_dev {
            return Err(io::Error::other(
                "it was replaced by another file while it was read",
            ));
        }
        Ok(Box::new(OpenFile {
            file,
            size: stat.st_size,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
        }))
    }

    fn keeps_inodes(&self) -> bool {
        !self.options.is_copy
    }

    fn chunker(&self) -> ChunkerKind {
        self.options.chunker
    }
}

struct OpenFile {
    file: File,
    size: i64,
    mtime: (i64, i64),
}

impl Read for OpenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Content for OpenFile {
    fn changed(&self) -> Option<String> {
        let Ok(now) = self.file.metadata() else {
            return Some("what it is now cannot be seen".to_owned());
        };
        let size = i64::try_from(now.size()).unwrap_or(i64::MAX);
        if size != self.size {
            return Some(format!("it had {} bytes and has {size}", self.size));
        }
        ((now.mtime(), now.mtime_nsec()) != self.mtime).then(|| "it was written to".to_owned())
    }
}

/// Names of a directory in one piece of memory: eight bytes a name and the name itself, so that a million of them is 30 MB.
#[derive(Default)]
struct Names {
    /// All names, each with its NUL.
    bytes: Vec<u8>,
    /// Where each begins, the last one first.
    starts: Vec<usize>,
}

impl Names {
    fn push(&mut self, name: &CStr) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
    }

    fn at(bytes: &[u8], start: usize) -> &CStr {
        CStr::from_bytes_until_nul(&bytes[start..]).unwrap_or_default()
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.starts
            .sort_unstable_by(|a, b| Self::at(bytes, *b).cmp(Self::at(bytes, *a)));
    }

    /// The next name.
    fn pop(&mut self) -> Option<CString> {
        let start = self.starts.pop()?;
        Some(Self::at(&self.bytes, start).to_owned())
    }
}

/// Names in a directory.
fn names_of(fd: &OwnedFd) -> io::Result<Names> {
    let mut names = Names::default();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// A time; one that no calendar has is the epoch.
fn timestamp(seconds: i64, nanos: impl TryInto<i32>) -> Timestamp {
    Timestamp::new(seconds, nanos.try_into().unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Extended attributes of an entry, by name. File systems without them have none.
fn xattrs(parent: &OwnedFd, name: &CStr) -> io::Result<Vec<Xattr>> {
    // By way of the open directory: no call takes a directory and a name, and a whole path could be led astray.
    let path = [
        format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(),
        name.to_bytes(),
    ]
    .concat();
    let mut list = vec![0_u8; 1024];
    let length = loop {
        match rustix::fs::llistxattr(path.as_slice(), list.as_mut_slice()) {
            Ok(length) => break length,
            Err(rustix::io::Errno::RANGE) if list.len() < 64 << 10 => list.resize(64 << 10, 0),
            Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let mut found = Vec::new();
    for name in list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0_u8; 64 << 10];
        let length = match rustix::fs::lgetxattr(path.as_slice(), name, value.as_mut_slice()) {
            Ok(length) => length,
            // Removed meanwhile, or not for us to see.
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => continue,
            Err(error) => return Err(error.into()),
        };
        value.truncate(length);
        found.push(Xattr {
            name: String::from_utf8_lossy(name).into_owned(),
            value,
        });
    }
    found.sort();
    Ok(found)
}
