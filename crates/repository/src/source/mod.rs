//! What is backed up: anything that can be told as entries in order, or as one stream.
//!
//! [`tree::TreeSource`] reads a directory, [`stream::StreamSource`] what a program or a network peer sends.

pub mod owners;
pub mod stream;
pub mod tree;

use std::io::{self, Read};

use crate::chunk::ChunkerKind;
use crate::format::node::Node;

/// What a source tells next.
#[derive(Debug)]
pub enum Step {
    /// A directory begins; its entries follow, by name.
    Enter(Node),
    /// The directory that began last ends.
    Leave,
    /// Anything that is no directory. A file's content is had by [`Source::open`] before the next step.
    Leaf(Node),
    /// An entry that cannot be read. It is missing from the snapshot, and counted.
    Failed(Failure),
    /// There is no more.
    End,
}

/// An entry that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its path in the source, for humans.
    pub path: String,
    /// Why.
    pub why: String,
}

/// Something to back up: a depth-first walk, entries of a directory strictly ascending by the bytes of their
/// names. The root itself is not told; its entries are.
pub trait Source: Send {
    /// The next step.
    ///
    /// # Errors
    /// The source as a whole cannot be read on: no snapshot is written.
    fn next(&mut self) -> io::Result<Step>;

    /// The content of the file that [`Source::next`] told last. Its end is `Ok(0)` only when it was read
    /// whole: a producer that failed is an error of the reader.
    ///
    /// # Errors
    /// The file cannot be opened; it is then counted as failed.
    fn open(&mut self) -> io::Result<Box<dyn Content + '_>>;

    /// The directory that is backed up, where it is one; no step tells it.
    ///
    /// # Errors
    /// It cannot be read: no snapshot is written.
    fn root(&self) -> io::Result<Option<Node>> {
        Ok(None)
    }

    /// Whether an unchanged file keeps its change time and inode from one backup to the next. Not so for
    /// copies of a volume.
    fn keeps_inodes(&self) -> bool {
        false
    }

    /// How its files are cut. The same every time, or what is stored is not found again.
    fn chunker(&self) -> ChunkerKind {
        ChunkerKind::default()
    }
}

/// The bytes of a file.
pub trait Content: Read {
    /// Called after the end: whether the file is still what [`Source::next`] said. An answer says what changed
    /// while it was read.
    fn changed(&self) -> Option<String> {
        None
    }

    /// Whether a failure of this content is one of the source as a whole, as of a stream that breaks off.
    fn is_whole_source(&self) -> bool {
        false
    }
}
