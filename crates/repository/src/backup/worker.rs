//! The threads that name, compress, seal and store, and complete files and directories.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use super::Failed;
use super::budget::Budget;
use super::description::Description;
use super::directory::{Above, Complete, Directory};
use super::packer::Packer;
use super::seal::Sealer;
use crate::error::{Error, Result};
use crate::format::index_file::BlobKind;
use crate::format::node::Node;
use crate::id::BlobId;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::scratch::Scratch;

/// What a worker is asked to do.
pub(super) enum Job {
    /// Pieces of files, and the bytes of the budget that they hold.
    Pieces(Vec<Piece>, usize),
    /// A file was handed over whole.
    FileRead(Arc<FileInHand>),
    /// An entry that needs no reading.
    Done(Arc<Directory>, usize, Box<Node>),
    /// A directory was read to its end.
    Close(Arc<Directory>),
}

/// A piece of a file.
pub(super) struct Piece {
    pub(super) file: Arc<FileInHand>,
    pub(super) at: usize,
    pub(super) bytes: Vec<u8>,
}

/// A file whose pieces are on their way.
pub(super) struct FileInHand {
    directory: Arc<Directory>,
    place: usize,
    state: Mutex<FileState>,
}

struct FileState {
    node: Option<Node>,
    content: Vec<Option<BlobId>>,
    /// Pieces that are not stored yet, and one more while it is being read.
    pending: usize,
}

impl FileInHand {
    pub(super) fn new(directory: &Arc<Directory>, node: Node) -> Arc<Self> {
        Arc::new(Self {
            directory: Arc::clone(directory),
            place: directory.reserve(),
            state: Mutex::new(FileState {
                node: Some(node),
                content: Vec::new(),
                pending: 1,
            }),
        })
    }

    /// A further piece will come; its place in the content.
    pub(super) fn expect(&self) -> usize {
        let mut state = self.lock();
        state.pending += 1;
        state.content.push(None);
        state.content.len() - 1
    }

    /// It was read whole and has so many bytes: those that were read, whatever the file system said before.
    pub(super) fn read_to_end(&self, bytes: u64) {
        if let Some(node) = &mut self.lock().node {
            node.size = bytes;
        }
    }

    /// It could not be read; it is left out.
    pub(super) fn give_up(&self) {
        self.lock().node = None;
    }

    fn stored(&self, at: usize, id: BlobId, scratch: &Scratch) -> Result<Option<Complete>> {
        let mut state = self.lock();
        state.content[at] = Some(id);
        self.release(state, scratch)
    }

    fn read(&self, scratch: &Scratch) -> Result<Option<Complete>> {
        self.release(self.lock(), scratch)
    }

    fn release(
        &self,
        mut state: std::sync::MutexGuard<'_, FileState>,
        scratch: &Scratch,
    ) -> Result<Option<Complete>> {
        state.pending -= 1;
        if state.pending > 0 {
            return Ok(None);
        }
        let content = std::mem::take(&mut state.content);
        let node = state.node.take().map(|mut node| {
            node.content = content.into_iter().flatten().collect();
            node
        });
        drop(state);
        self.directory.fill(self.place, node.as_ref(), scratch)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all workers share.
pub(super) struct Crew<'r> {
    pub(super) repository: &'r Repository,
    pub(super) packer: &'r Packer<'r>,
    pub(super) budget: &'r Budget,
    pub(super) failure: &'r Failed,
    pub(super) root: &'r Mutex<Option<BlobId>>,
    pub(super) progress: &'r Progress,
    pub(super) verify: bool,
}

impl Crew<'_> {
    /// Does jobs until there are no more. After a failure it still takes them, so that the reader is not left
    /// waiting, and does nothing.
    pub(super) fn run(&self, queue: &Mutex<Receiver<Job>>) {
        let sealer = Sealer::new(
            self.repository.key(),
            self.repository.compresses(),
            self.verify,
        )
        .map_err(|source| Error::Source {
            what: "make a compressor".to_owned(),
            source,
        });
        let mut sealer = match sealer {
            Ok(sealer) => Some(sealer),
            Err(error) => {
                self.failure.note(Err(error));
                None
            }
        };
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = next else {
                return;
            };
            let bytes = if let Job::Pieces(_, bytes) = &job {
                *bytes
            } else {
                0
            };
            if let Some(sealer) = sealer.as_mut().filter(|_| !self.failure.happened()) {
                self.failure.note(self.act(job, sealer));
            }
            self.budget.give(bytes);
        }
    }

    fn act(&self, job: Job, sealer: &mut Sealer<'_>) -> Result<()> {
        let scratch = self.repository.scratch();
        let complete = match job {
            Job::Pieces(pieces, _) => {
                for piece in pieces {
                    let id = self.store(BlobKind::Data, &piece.bytes, sealer)?;
                    self.progress.bytes_done(piece.bytes.len() as u64);
                    let complete = piece.file.stored(piece.at, id, scratch)?;
                    self.complete(complete, sealer)?;
                }
                None
            }
            Job::FileRead(file) => file.read(scratch)?,
            Job::Done(directory, place, node) => directory.fill(place, Some(&node), scratch)?,
            Job::Close(directory) => directory.close(scratch)?,
        };
        self.complete(complete, sealer)
    }

    /// Stores a directory that is complete, and those above it that are complete by it.
    fn complete(&self, mut complete: Option<Complete>, sealer: &mut Sealer<'_>) -> Result<()> {
        while let Some(mut directory) = complete {
            let tree = match &mut directory.description {
                Description::Small(json) => self.store(BlobKind::Tree, json, sealer)?,
                Description::Large(large) => {
                    if self.packer.claim(BlobKind::Tree, &large.id)? {
                        let (length, sealed) = (large.length, sealer.seal_large(large)?);
                        let length = usize::try_from(length).unwrap_or(usize::MAX);
                        self.packer.add(BlobKind::Tree, large.id, &sealed, length)?;
                    }
                    large.id
                }
            };
            complete = match directory.stored(tree, self.repository.scratch())? {
                Above::Waits => None,
                Above::Parent(parent) => Some(*parent),
                Above::Root(tree) => {
                    *self.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(tree);
                    None
                }
            };
        }
        Ok(())
    }

    fn store(&self, kind: BlobKind, plain: &[u8], sealer: &mut Sealer<'_>) -> Result<BlobId> {
        let id = BlobId::of(plain);
        if self.packer.claim(kind, &id)? {
            let sealed = sealer.seal(&id, plain)?;
            self.packer.add(kind, id, &sealed, plain.len())?;
        }
        Ok(id)
    }
}
