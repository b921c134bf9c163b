//! Files without a name: where an index or a directory goes that is larger than the memory it may take.
//!
//! They have no name from the beginning on, so a process that dies leaves nothing behind, and nobody else can open them.
//! What stands in them is not sealed: ids of blobs, and entries of directories, compressed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A folder for such files.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    folder: PathBuf,
}

impl Default for Scratch {
    /// The system's temporary folder.
    fn default() -> Self {
        Self::new(std::env::temp_dir())
    }
}

impl Scratch {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new file.
    pub(crate) fn file(&self) -> io::Result<File> {
        tempfile::tempfile_in(&self.folder)
    }

    /// An error of such a file.
    pub(crate) fn failed(&self, action: &'static str, source: io::Error) -> Error {
        Error::Local {
            action,
            path: self.folder.clone(),
            source,
        }
    }
}
