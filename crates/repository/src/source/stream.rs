//! One stream as a source: a dump, or whatever a peer sends.

use std::io::{self, Read};

use jiff::Timestamp;

use super::{Content, Source, Step};
use crate::chunk::ChunkerKind;
use crate::format::node::{Node, NodeKind};

/// A stream that becomes one file of a snapshot.
///
/// The reader's `Ok(0)` must mean that the producer ended well: whoever reads a child's output looks at its exit
/// status inside `read`, at the end, and gives an error for a bad one. There is no other place for it.
pub struct StreamSource<R> {
    node: Option<Node>,
    reader: R,
    chunker: ChunkerKind,
}

impl<R: Read + Send> StreamSource<R> {
    /// A stream that is stored as the file `name`, with this time.
    pub fn new(name: &str, time: Timestamp, reader: R) -> Self {
        let mut node = Node::new(NodeKind::File, name.as_bytes().to_vec());
        (node.mtime, node.atime, node.ctime) = (time, time, time);
        node.mode = 0o600;
        Self {
            node: Some(node),
            reader,
            chunker: ChunkerKind::default(),
        }
    }

    /// The same, cut in another way: images of disks and files of databases in pieces of one length.
    #[must_use]
    pub fn with_chunker(mut self, chunker: ChunkerKind) -> Self {
        self.chunker = chunker;
        self
    }
}

impl<R: Read + Send> Source for StreamSource<R> {
    fn next(&mut self) -> io::Result<Step> {
        Ok(self.node.take().map_or(Step::End, Step::Leaf))
    }

    fn open(&mut self) -> io::Result<Box<dyn Content + '_>> {
        Ok(Box::new(Stream(&mut self.reader)))
    }

    fn chunker(&self) -> ChunkerKind {
        self.chunker
    }
}

struct Stream<'a, R>(&'a mut R);

impl<R: Read> Read for Stream<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Content for Stream<'_, R> {
    fn is_whole_source(&self) -> bool {
        true
    }
}
