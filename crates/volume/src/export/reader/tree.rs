//! A path as a tar archive, as `tar -c` writes it, in memory that does not grow with the files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::resolve::{Place, resolve};
use super::tar_write::{BLOCK, Entry, Kind};

/// Bytes that are read at once.
const PIECE: usize = 128 << 10;
/// Lines that are kept of what was wrong; the others are counted.
const LINES: usize = 200;
/// Names of files with several names that are kept. Later ones come as files of their own: an archive of a million
/// linked files must not cost the pod its memory.
const LINKED: usize = 20_000;
/// File systems that hold no files but faces of the kernel, by the numbers of `statfs`: proc, sysfs, cgroup of both
/// kinds, devpts, securityfs, debugfs, tracefs, bpf. What is in them is left out below another file system.
const FACES: [u32; 9] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x7363_6673,
    0x6462_6720,
    0x7472_6163,
    0xcafe_4a11,
];

/// Why nothing was written, or not all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The path is not there, or cannot be reached.
    #[error("{path}: cannot be opened")]
    Path {
        /// The path in the container.
        path: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The archive cannot be written: whoever reads it is gone.
    #[error("write the archive")]
    Write(#[source] io::Error),
}

/// What became of an archive that was written to its end.
#[derive(Debug, Default)]
pub struct Packed {
    /// Files that changed or went away meanwhile, in the words of GNU tar.
    pub changed: Remarks,
    /// What could not be read: the archive lacks it.
    pub failed: Remarks,
}

/// Lines, of which the first ones are kept.
#[derive(Debug, Default)]
pub struct Remarks {
    /// The first ones.
    pub lines: Vec<String>,
    /// How many came after them.
    pub more: u64,
}

impl Remarks {
    fn add(&mut self, path: &[u8], what: &str) {
        if self.lines.len() == LINES {
            self.more += 1;
        } else {
            let path = String::from_utf8_lossy(path);
            self.lines.push(format!("{path}: {what}"));
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Writes the archive of a path in `root`, which stands for `/`. Of a directory it has what is in it (`./...`), else
/// the one entry.
///
/// # Errors
/// See [`PackError`]. That single files cannot be read is no error but told in what is returned.
pub fn pack(root: &Path, path: &str, to: &mut impl Write) -> Result<Packed, PackError> {
    let cannot = |errno: Errno| PackError::Path {
        path: path.to_owned(),
        source: errno.into(),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty()).map_err(cannot)?;
    let place = resolve(root, Path::new(path)).map_err(cannot)?;
    let mut packer = Packer {
        to,
        piece: vec![0; PIECE],
        linked: HashMap::new(),
        packed: Packed::default(),
    };
    match place {
        Place::Directory(found) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&found, ".", flags, Mode::empty()).map_err(cannot)?;
            let stat = rustix::fs::fstat(&fd).map_err(cannot)?;
            let level = Level::new(fd, &stat, b"./".to_vec()).map_err(cannot)?;
            packer.directory(&level, &stat).map_err(PackError::Write)?;
            packer.below(level).map_err(PackError::Write)?;
        }
        Place::Entry(parent, name) => {
            let shown = [b"./", name.as_bytes()].concat();
            let entered = packer.entry(parent.as_fd(), name.as_bytes(), shown, None);
            // A directory that has taken the file's place meanwhile is not entered: the file changed.
            entered.map_err(PackError::Write)?;
        }
    }
    packer.end()
}

/// A directory that is being read.
struct Level {
    fd: OwnedFd,
    entries: Dir,
    /// Its path in the archive, with a slash at the end.
    path: Vec<u8>,
    device: u64,
}

impl Level {
    fn new(fd: OwnedFd, stat: &Stat, path: Vec<u8>) -> Result<Self, Errno> {
        Ok(Self {
            entries: Dir::read_from(&fd)?,
            fd,
            path,
            device: stat.st_dev,
        })
    }
}

struct Packer<'a, W> {
    to: &'a mut W,
    piece: Vec<u8>,
    /// First names of files that have several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    packed: Packed,
}

impl<W: Write> Packer<'_, W> {
    fn failed(&mut self, path: &[u8], doing: &str, error: Errno) {
        let error = io::Error::from(error);
        self.packed.failed.add(path, &format!("{doing}: {error}"));
    }

    /// Everything below a directory. Errors are those of the writer only.
    fn below(&mut self, top: Level) -> io::Result<()> {
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut() {
            let entry = match level.entries.read() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => {
                    self.failed(&level.path, "cannot be read", error);
                    levels.pop();
                    continue;
                }
                None => {
                    levels.pop();
                    continue;
                }
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = [level.path.as_slice(), name].concat();
            let entered = self.entry(level.fd.as_fd(), name, path, Some(level.device))?;
            levels.extend(entered);
        }
        Ok(())
    }

    /// One entry; a directory that is to be gone through is returned. `device` is that of the directory around it.
    fn entry(
        &mut self,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: Vec<u8>,
        device: Option<u64>,
    ) -> io::Result<Option<Level>> {
        let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                self.removed(&path);
                return Ok(None);
            }
            Err(error) => {
                self.failed(&path, "cannot be looked at", error);
                return Ok(None);
            }
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return self.file(at, name, &path, &stat).map(|()| None),
            FileType::Directory => return self.enter(at, name, path, device),
            FileType::Symlink => {
                match rustix::fs::readlinkat(at, name, Vec::new()) {
                    Ok(link) => {
                        self.head(Kind::SymbolicLink, &path, &stat, link.as_bytes(), 0)?;
                    }
                    Err(error) => self.failed(&path, "cannot be read", error),
                }
                return Ok(None);
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::CharacterDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            // A socket means nothing to anybody but the process that made it; tar leaves it out, too.
            FileType::Socket => return Ok(None),
            FileType::Unknown => {
                self.packed.failed.add(&path, "is of an unknown kind");
                return Ok(None);
            }
        };
        self.head(kind, &path, &stat, b"", 0)?;
        Ok(None)
    }

    fn removed(&mut self, path: &[u8]) {
        self.packed
            .changed
            .add(path, "File removed before we read it");
    }

    fn enter(
        &mut self,
        at: BorrowedFd<'_>,
        name: &[u8],
        mut path: Vec<u8>,
        device: Option<u64>,
    ) -> io::Result<Option<Level>> {
        path.push(b'/');
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(at, name, flags, Mode::empty()).and_then(|fd| {
            let stat = rustix::fs::fstat(&fd)?;
            let is_face = device.is_some_and(|around| around != stat.st_dev) && {
                let kind = rustix::fs::fstatfs(&fd)?.f_type;
                // The numbers are 32 bits wide in fields of other widths.
                FACES.contains(&(kind as u32))
            };
            Ok((Level::new(fd, &stat, path.clone())?, stat, is_face))
        });
        match opened {
            Ok((level, stat, is_face)) => {
                self.directory(&level, &stat)?;
                Ok((!is_face && device.is_some()).then_some(level))
            }
            Err(Errno::NOENT) => {
                self.removed(&path);
                Ok(None)
            }
            Err(error) => {
                self.failed(&path, "cannot be opened", error);
                Ok(None)
            }
        }
    }

    fn directory(&mut self, level: &Level, stat: &Stat) -> io::Result<()> {
        self.head(Kind::Directory, &level.path, stat, b"", 0)
    }

    fn file(
        &mut self,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        seen: &Stat,
    ) -> io::Result<()> {
        let id = (seen.st_dev, seen.st_ino);
        if seen.st_nlink > 1
            && let Some(first) = self.linked.get(&id).cloned()
        {
            return self.head(Kind::HardLink, path, seen, &first, 0);
        }
        // Non-blocking, in case the file became a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = rustix::fs::openat(at, name, flags, Mode::empty())
            .and_then(|fd| Ok((rustix::fs::fstat(&fd)?, fd)));
        let (before, fd) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT) => {
                self.removed(path);
                return Ok(());
            }
            Err(error) => {
                self.failed(path, "cannot be opened", error);
                return Ok(());
            }
        };
        if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
            self.packed.changed.add(path, "file changed as we read it");
            return Ok(());
        }
        let size = u64::try_from(before.st_size).unwrap_or(0);
        self.head(Kind::File, path, &before, b"", size)?;
        let mut file = File::from(fd);
        self.content(&mut file, path, size)?;
        match rustix::fs::fstat(&file) {
            Ok(after) if is_same(&before, &after) => {}
            Ok(_) => self.packed.changed.add(path, "file changed as we read it"),
            Err(error) => self.failed(path, "cannot be looked at", error),
        }
        if before.st_nlink > 1 && self.linked.len() < LINKED {
            self.linked.insert(id, path.to_vec());
        }
        Ok(())
    }

    /// As many bytes as the header says, whatever comes, so that what follows stays readable.
    fn content(&mut self, file: &mut File, path: &[u8], size: u64) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
            let read = match file.read(&mut self.piece[..most]) {
                Ok(0) => {
                    let what = format!("file shrank by {left} bytes while it was read");
                    self.packed.failed.add(path, &what);
                    break;
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.packed
                        .failed
                        .add(path, &format!("cannot be read: {error}"));
                    break;
                }
            };
            self.to.write_all(&self.piece[..read])?;
            left -= read as u64;
        }
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        io::copy(&mut io::repeat(0).take(left + padding), self.to).map(drop)
    }

    fn head(
        &mut self,
        kind: Kind,
        path: &[u8],
        stat: &Stat,
        link: &[u8],
        size: u64,
    ) -> io::Result<()> {
        let entry = Entry {
            kind,
            path,
            link,
            mode: stat.st_mode & 0o7777,
            user: stat.st_uid,
            group: stat.st_gid,
            size,
            modified: stat.st_mtime,
            device: match kind {
                Kind::CharacterDevice | Kind::BlockDevice => (
                    rustix::fs::major(stat.st_rdev),
                    rustix::fs::minor(stat.st_rdev),
                ),
                _ => (0, 0),
            },
        };
        self.to.write_all(&entry.headers())
    }

    fn end(self) -> Result<Packed, PackError> {
        let ended = self.to.write_all(&[0; 2 * BLOCK]);
        ended
            .and_then(|()| self.to.flush())
            .map_err(PackError::Write)?;
        Ok(self.packed)
    }
}

/// Whether a file is what it was when it was opened.
fn is_same(before: &Stat, after: &Stat) -> bool {
    let of = |stat: &Stat| {
        (
            stat.st_size,
            (stat.st_mtime, stat.st_mtime_nsec),
            (stat.st_ctime, stat.st_ctime_nsec),
        )
    };
    of(before) == of(after)
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
