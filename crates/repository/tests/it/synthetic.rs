//! Sources that are made up while they are read, and a store that keeps nothing of what they become.

use std::io::{self, Read};

use async_trait::async_trait;
use bytes::Bytes;
use salvor_repository::source::{Content, Source, Step};
use salvor_repository::{Node, NodeKind};
use salvor_storage::{
    Folder, GetOptions, Key, MemoryStore, MetaStream, Object, ObjectInfo, ObjectStore, PutMode,
    Result, Upload,
};

/// So many files, each with a few bytes that no other has, so many in each directory.
pub(crate) struct TinyFiles {
    count: u64,
    in_each: u64,
    /// Number of the next file.
    next: u64,
    /// Files that the open directory still has.
    left: Option<u64>,
}

impl TinyFiles {
    pub(crate) fn new(count: u64, in_each: u64) -> Self {
        Self {
            count,
            in_each,
            next: 0,
            left: None,
        }
    }
}

fn node(kind: NodeKind, name: String, size: u64) -> Node {
    let mut node = Node::new(kind, name.into_bytes());
    (node.mode, node.links, node.size) = (0o644, 1, size);
    node
}

fn content(number: u64) -> String {
    format!("this is file {number}\n")
}

impl Source for TinyFiles {
    fn next(&mut self) -> io::Result<Step> {
        match self.left {
            None if self.next == self.count => Ok(Step::End),
            None => {
                self.left = Some(self.in_each.min(self.count - self.next));
                let name = format!("folder {:09}", self.next / self.in_each);
                Ok(Step::Enter(node(NodeKind::Dir, name, 0)))
            }
            Some(0) => {
                self.left = None;
                Ok(Step::Leave)
            }
            Some(left) => {
                self.left = Some(left - 1);
                let size = content(self.next).len() as u64;
                let name = format!("file {:09}", self.next);
                self.next += 1;
                Ok(Step::Leaf(node(NodeKind::File, name, size)))
            }
        }
    }

    fn open(&mut self) -> io::Result<Box<dyn Content + '_>> {
        let text = content(self.next - 1).into_bytes();
        Ok(Box::new(Made(io::Cursor::new(text))))
    }
}

/// One file of so many bytes; of every two mebibytes one compresses.
pub(crate) struct LargeFile {
    bytes: u64,
    told: bool,
}

impl LargeFile {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { bytes, told: false }
    }
}

impl Source for LargeFile {
    fn next(&mut self) -> io::Result<Step> {
        if std::mem::replace(&mut self.told, true) {
            return Ok(Step::End);
        }
        let name = "large".to_owned();
        Ok(Step::Leaf(node(NodeKind::File, name, self.bytes)))
    }

    fn open(&mut self) -> io::Result<Box<dyn Content + '_>> {
        let noise = Noise { state: 1, at: 0 };
        Ok(Box::new(Made(noise.take(self.bytes))))
    }
}

struct Noise {
    state: u64,
    at: u64,
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for chunk in buffer.chunks_mut(8) {
            if self.at >> 20 & 1 == 0 || self.at.is_multiple_of(64) {
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
            }
            chunk.copy_from_slice(&self.state.to_le_bytes()[..chunk.len()]);
            self.at += chunk.len() as u64;
        }
        Ok(buffer.len())
    }
}

struct Made<R>(R);

impl<R: Read> Read for Made<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Content for Made<R> {}

/// A store that takes packs and index files and keeps nothing of them.
#[derive(Debug, Default)]
pub(crate) struct Discard(MemoryStore);

#[async_trait]
impl ObjectStore for Discard {
    fn describe(&self) -> String {
        "a store that keeps nothing".to_owned()
    }

    fn excludes(&self) -> bool {
        self.0.excludes()
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        if key.as_str().starts_with("data/") || key.as_str().starts_with("index/") {
            return Ok(ObjectInfo {
                key: key.clone(),
                size: body.len() as u64,
                modified: None,
                etag: None,
                version: None,
            });
        }
        self.0.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        self.0.upload(key, mode).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.0.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.0.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        self.0.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        self.0.list_folder(folder).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.0.delete(key).await
    }
}
