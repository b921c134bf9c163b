//! The thread that reads the source: it cuts files into pieces and hands them to the workers.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::budget::Budget;
use super::directory::Directory;
use super::parent::Parent;
use super::worker::{FileInHand, Job, Piece};
use super::{Failed, NAMED_FAILURES};
use crate::chunk::{self, ChunkerKind};
use crate::error::{Error, Result};
use crate::format::node::{Node, NodeKind};
use crate::id::BlobId;
use crate::index::Index;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::source::{Content, Failure, Source, Step};

/// A batch is handed over when it has so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Or so many files.
const BATCH_PIECES: usize = 128;

/// Bytes that are read at a time.
const STEP: usize = 1 << 20;
/// The longest piece, what is read at a time, and room for a few of them, so that what is left is seldom moved to the front.
const WINDOW: usize = chunk::LONGEST + 4 * STEP;

/// What the reader saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) files_new: u64,
    pub(super) files_changed: u64,
    pub(super) files_unmodified: u64,
    pub(super) dirs_new: u64,
    pub(super) dirs_known: u64,
    pub(super) bytes: u64,
    pub(super) failed: u64,
    pub(super) failures: Vec<Failure>,
    pub(super) changed: Vec<Failure>,
}

pub(super) struct Reader<'r> {
    repository: &'r Repository,
    index: &'r Index,
    jobs: &'r SyncSender<Job>,
    budget: &'r Budget,
    failed: &'r Failed,
    progress: &'r Progress,
    batch: Vec<Piece>,
    batch_bytes: usize,
    window: Window,
    /// Names of the open directories, for messages.
    path: Vec<String>,
    counts: Counts,
}

/// How reading a file went wrong.
enum Trouble {
    /// This file; the others go on.
    Entry(io::Error),
    /// Everything.
    Whole(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Whole(error)
    }
}

impl<'r> Reader<'r> {
    pub(super) fn new(
        repository: &'r Repository,
        index: &'r Index,
        jobs: &'r SyncSender<Job>,
        budget: &'r Budget,
        failed: &'r Failed,
        progress: &'r Progress,
    ) -> Self {
        Self {
            repository,
            index,
            jobs,
            budget,
            failed,
            progress,
            batch: Vec::new(),
            batch_bytes: 0,
            window: Window::default(),
            path: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Reads the source to its end.
    pub(super) fn run(mut self, source: &mut dyn Source, parent: Option<BlobId>) -> Result<Counts> {
        let mut parent = Parent::new(self.repository, self.index, parent)?;
        let mut open = vec![Directory::root()];
        loop {
            self.progress.check()?;
            if self.failed.happened() {
                return Err(Error::Cancelled);
            }
            let step = source.next().map_err(|source| Error::Source {
                what: "go on to the next entry".to_owned(),
                source,
            })?;
            let Some(directory) = open.last().cloned() else {
                return Err(Error::Invalid("the source left its root".to_owned()));
            };
            match step {
                Step::Enter(node) => {
                    if parent.enter(&node.name)? {
                        self.counts.dirs_known += 1;
                    } else {
                        self.counts.dirs_new += 1;
                    }
                    self.path
                        .push(String::from_utf8_lossy(&node.name).into_owned());
                    let place = directory.reserve();
                    open.push(Directory::below(&directory, place, node));
                }
                Step::Leave => {
                    parent.leave();
                    open.pop();
                    self.path.pop();
                    self.send(Job::Close(directory))?;
                }
                Step::Leaf(node) => self.leaf(source, &mut parent, &directory, node)?,
                Step::Failed(failure) => self.fail(failure),
                Step::End => {
                    open.pop();
                    if !open.is_empty() {
                        return Err(Error::Invalid(
                            "the source ended within a directory".to_owned(),
                        ));
                    }
                    self.flush()?;
                    self.send(Job::Close(directory))?;
                    return Ok(self.counts);
                }
            }
        }
    }

    fn leaf(
        &mut self,
        source: &mut dyn Source,
        parent: &mut Parent<'_>,
        directory: &Arc<Directory>,
        mut node: Node,
    ) -> Result<()> {
        let before = parent.take(&node.name);
        let strict = source.keeps_inodes();
        if node.kind != NodeKind::File {
            // Nothing to read: what it is stands in the node.
            self.count(before.is_some(), before.as_ref() == Some(&node));
            let place = directory.reserve();
            return self.send(Job::Done(Arc::clone(directory), place, Box::new(node)));
        }
        let known = before.is_some();
        if let Some(before) = before
            && before.looks_like(&node, strict)
            && parent.has_content(&before)?
        {
            node.content = before.content;
            self.counts.bytes += node.size;
            self.count(true, true);
            self.progress.bytes_done(node.size);
            let place = directory.reserve();
            return self.send(Job::Done(Arc::clone(directory), place, Box::new(node)));
        }
        let name = self.path_of(&node);
        match self.file(source, directory, node) {
            Ok(()) => {
                self.count(known, false);
                Ok(())
            }
            Err(Trouble::Entry(error)) => {
                self.fail(Failure {
                    path: name,
                    why: error.to_string(),
                });
                Ok(())
            }
            Err(Trouble::Whole(error)) => Err(error),
        }
    }

    /// Reads a file. One that fails in the middle is left out whole.
    fn file(
        &mut self,
        source: &mut dyn Source,
        directory: &Arc<Directory>,
        node: Node,
    ) -> Result<(), Trouble> {
        let chunker = source.chunker();
        let mut content = source.open().map_err(Trouble::Entry)?;
        let name = self.path_of(&node);
        let file = FileInHand::new(directory, node);
        let read = self.pieces(&mut *content, chunker, &file);
        match read {
            Ok(bytes) => {
                if let Some(why) = content.changed()
                    && self.counts.changed.len() < NAMED_FAILURES
                {
                    self.counts.changed.push(Failure { path: name, why });
                }
                self.counts.bytes += bytes;
                file.read_to_end(bytes);
                self.send(Job::FileRead(file))?;
                Ok(())
            }
            Err(Trouble::Entry(source)) if content.is_whole_source() => {
                Err(Trouble::Whole(Error::Source { what: name, source }))
            }
            Err(trouble) => {
                file.give_up();
                self.send(Job::FileRead(file))?;
                Err(trouble)
            }
        }
    }

    /// Cuts a file's content and hands the pieces over. Returns its length.
    fn pieces(
        &mut self,
        content: &mut dyn Content,
        chunker: ChunkerKind,
        file: &Arc<FileInHand>,
    ) -> Result<u64, Trouble> {
        self.window.clear();
        let (mut known, mut total) = (0, 0_u64);
        loop {
            let rest = self.window.rest();
            let ended = self.window.ended;
            if ended && rest.is_empty() {
                return Ok(total);
            }
            let chunks = self.repository.chunker();
            match chunks.cut(rest, known, ended, chunker) {
                Some(length) => {
                    let bytes = rest[..length].to_vec();
                    self.window.start += length;
                    known = 0;
                    total += length as u64;
                    self.piece(file, bytes)?;
                }
                None => {
                    known = rest.len();
                    self.window.fill(content).map_err(Trouble::Entry)?;
                }
            }
        }
    }

    fn piece(&mut self, file: &Arc<FileInHand>, bytes: Vec<u8>) -> Result<()> {
        self.progress.check()?;
        self.batch_bytes += bytes.len();
        self.batch.push(Piece {
            file: Arc::clone(file),
            at: file.expect(),
            bytes,
        });
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_PIECES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.batch_bytes);
        self.budget.take(bytes);
        let batch = std::mem::take(&mut self.batch);
        self.send(Job::Pieces(batch, bytes))
    }

    fn send(&self, job: Job) -> Result<()> {
        // Workers take jobs until the channel closes, also after a failure.
        self.jobs.send(job).map_err(|_| Error::Cancelled)
    }

    fn path_of(&self, node: &Node) -> String {
        let mut path = self.path.join("/");
        path.push('/');
        path.push_str(&String::from_utf8_lossy(&node.name));
        path
    }

    fn count(&mut self, known: bool, unmodified: bool) {
        match (known, unmodified) {
            (_, true) => self.counts.files_unmodified += 1,
            (true, false) => self.counts.files_changed += 1,
            (false, false) => self.counts.files_new += 1,
        }
        self.progress.file_done();
    }

    fn fail(&mut self, failure: Failure) {
        tracing::warn!(
            path = failure.path,
            why = failure.why,
            "an entry could not be read"
        );
        self.counts.failed += 1;
        if self.counts.failures.len() < NAMED_FAILURES {
            self.counts.failures.push(failure);
        }
    }
}

/// What was read of a file and not cut yet.
#[derive(Default)]
struct Window {
    /// Made once, and never longer than [`WINDOW`].
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether there is no more of the file.
    ended: bool,
}

impl Window {
    fn clear(&mut self) {
        (self.start, self.end, self.ended) = (0, 0, false);
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Reads [`STEP`] bytes more, or up to the end.
    fn fill(&mut self, content: &mut dyn Content) -> io::Result<()> {
        if self.end + STEP > WINDOW {
            // Not for every piece: what is left would be moved again and again.
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let wanted = self.end + STEP;
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        while self.end < wanted {
            match content.read(&mut self.bytes[self.end..wanted]) {
                Ok(0) => {
                    self.ended = true;
                    return Ok(());
                }
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
