//! Snapshot files: opened, checked, counted.
//!
//! Start with [`Snapshot::open`], then [`status()`] or [`verify()`].

mod release;
mod report;
mod revisions;
mod rows;
mod status;
mod verify;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use salvor_seal::{Digest, Hasher};

use crate::bolt::{self, Database};

pub use release::release;
pub use report::{Level, Outcome, Report};
pub(crate) use revisions::Revisions;
pub use status::{Status, status};
pub use verify::verify;

/// Length of the digest at the end.
const DIGEST: u64 = 32;
/// The tools take the digest to be there when the length leaves 32 here; pages never do.
const UNIT: u64 = 512;
/// Bytes that are read at once for the digest.
const PIECE: usize = 1 << 20;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be opened.
    #[error("open snapshot {}", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file could not be read.
    #[error("read snapshot {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its length is that of no snapshot.
    #[error(
        "{} has {length} bytes: neither a snapshot, which is pages and a digest, nor the database of a member, which \
         is pages; a part of it is missing, or something was added", .path.display()
    )]
    Length {
        /// Which.
        path: PathBuf,
        /// Its length.
        length: u64,
    },
    /// The database in it is damaged.
    #[error("read the database in {}", .path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: bolt::Error,
    },
    /// The digest is another one.
    #[error("{} is damaged: its SHA-256 is {found}, and its end says {expected}", .path.display())]
    Digest {
        /// Which.
        path: PathBuf,
        /// What stands at its end.
        expected: Digest,
        /// What its content has.
        found: Digest,
    },
    /// It was asked to stop.
    #[error("stopped before the end of the snapshot")]
    Stopped,
}

impl Error {
    /// True when it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// True when the bytes of the file are not those of a whole snapshot.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Length { .. } | Self::Digest { .. } => true,
            Self::Database { source, .. } => matches!(
                source,
                bolt::Error::NotBolt { .. } | bolt::Error::Damaged { .. }
            ),
            _ => false,
        }
    }
}

/// An open snapshot, or the database of a member that is not running.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    file: File,
    /// Bytes of the database.
    length: u64,
    digest: Option<Digest>,
    database: Database,
}

impl Snapshot {
    /// Opens a file. The digest is compared by [`Snapshot::check_digest`].
    ///
    /// # Errors
    /// There is no such file, or it holds no database.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::of_file(file, path)
    }

    /// Takes an open file, which may have no name; errors call it `path`.
    ///
    /// # Errors
    /// It holds no database.
    pub fn of_file(file: File, path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let total = file.metadata().map_err(read)?.len();
        let (length, digest) = match total % UNIT {
            0 => (total, None),
            DIGEST => {
                let mut digest = [0; DIGEST as usize];
                file.read_exact_at(&mut digest, total - DIGEST)
                    .map_err(read)?;
                (total - DIGEST, Some(Digest::from(digest)))
            }
            _ => {
                return Err(Error::Length {
                    path: path.to_owned(),
                    length: total,
                });
            }
        };
        let for_pages = file.try_clone().map_err(read)?;
        let database = Database::open(for_pages, length).map_err(|source| Error::Database {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            digest,
            database,
        })
    }

    /// The same snapshot once more, for work beside this one.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn try_clone(&self) -> Result<Self, Error> {
        let file = self.file.try_clone().map_err(|source| Error::Open {
            path: self.path.clone(),
            source,
        })?;
        Self::of_file(file, &self.path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database in it.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The digest that stands at its end.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Bytes that belong to no page: a file of a running member is longer than its database.
    #[must_use]
    pub fn unused(&self) -> u64 {
        self.length - self.database.layout().size()
    }

    /// Compares the digest at its end with its content; false when it has none. Reads the whole file.
    ///
    /// # Errors
    /// It is another one, or the file cannot be read.
    pub fn check_digest(&self, stop: &AtomicBool) -> Result<bool, Error> {
        let Some(expected) = self.digest else {
            return Ok(false);
        };
        let mut hasher = Hasher::new();
        let mut piece = vec![0; PIECE];
        while hasher.length() < self.length {
            not_stopped(stop)?;
            let left = self.length - hasher.length();
            let bytes = &mut piece[..left.min(PIECE as u64) as usize];
            self.file
                .read_exact_at(bytes, hasher.length())
                .map_err(|source| Error::Read {
                    path: self.path.clone(),
                    source,
                })?;
            hasher.update(bytes);
        }
        let found = hasher.finish();
        if found == expected {
            return Ok(true);
        }
        Err(Error::Digest {
            path: self.path.clone(),
            expected,
            found,
        })
    }

    /// An error of the database in this file.
    pub(crate) fn damaged(&self, source: bolt::Error) -> Error {
        Error::Database {
            path: self.path.clone(),
            source,
        }
    }
}

/// An error when it was asked to stop.
pub(crate) fn not_stopped(stop: &AtomicBool) -> Result<(), Error> {
    if stop.load(Ordering::Relaxed) {
        Err(Error::Stopped)
    } else {
        Ok(())
    }
}
