//! Directories that are not complete yet. A directory becomes a tree when it was read to its end and the last
//! of its entries is stored; its own node then completes an entry of its parent.
//!
//! Entries are written down in order as soon as those before them are there. What waits in memory is what the workers
//! have in hand, however many entries a directory has.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::description::{Description, Growing, NotAdded};
use crate::error::{Error, Result};
use crate::format::node::Node;
use crate::id::BlobId;
use crate::index::LONGEST_BLOB;
use crate::scratch::Scratch;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    /// Its parent and its place there; nothing for the root.
    parent: Option<(Arc<Directory>, usize)>,
    /// For messages.
    name: String,
    state: Mutex<State>,
}

struct State {
    node: Option<Node>,
    /// What is written down: all entries before `first`.
    growing: Growing,
    /// Place of the first that waits.
    first: usize,
    /// JSON of those that wait by place.
    waiting: VecDeque<Entry>,
    /// Entries that are not stored yet, and one more while it is being read.
    pending: usize,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("first", &self.first)
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

/// An entry of an open directory.
enum Entry {
    /// It is not stored yet.
    Pending,
    /// It failed and is left out.
    Missing,
    /// Its JSON.
    Stored(Box<[u8]>),
}

/// A directory whose entries are all there.
pub(super) struct Complete {
    pub(super) description: Description,
    node: Option<Node>,
    parent: Option<(Arc<Directory>, usize)>,
}

impl Directory {
    /// The root.
    pub(super) fn root() -> Arc<Self> {
        Self::new(None, None)
    }

    /// A directory at a place of another one.
    pub(super) fn below(parent: &Arc<Self>, place: usize, node: Node) -> Arc<Self> {
        Self::new(Some((Arc::clone(parent), place)), Some(node))
    }

    fn new(parent: Option<(Arc<Self>, usize)>, node: Option<Node>) -> Arc<Self> {
        let name = node.as_ref().map_or_else(String::new, |node| {
            String::from_utf8_lossy(&node.name).into_owned()
        });
        Arc::new(Self {
            parent,
            name,
            state: Mutex::new(State {
                node,
                growing: Growing::default(),
                first: 0,
                waiting: VecDeque::new(),
                pending: 1,
            }),
        })
    }

    /// Reserves the next place.
    pub(super) fn reserve(&self) -> usize {
        let mut state = self.lock();
        state.pending += 1;
        state.waiting.push_back(Entry::Pending);
        state.first + state.waiting.len() - 1
    }

    /// An entry is stored; `None` when it failed and is left out. Returns the directory when that was the last.
    pub(super) fn fill(
        &self,
        place: usize,
        node: Option<&Node>,
        scratch: &Scratch,
    ) -> Result<Option<Complete>> {
        let entry = node.map_or(Entry::Missing, |node| {
            let mut json = Vec::with_capacity(512);
            node.write_json(&mut json);
            Entry::Stored(json.into_boxed_slice())
        });
        let mut state = self.lock();
        let at = place - state.first;
        state.waiting[at] = entry;
        while !matches!(state.waiting.front(), None | Some(Entry::Pending)) {
            let entry = state.waiting.pop_front();
            state.first += 1;
            if let Some(Entry::Stored(json)) = entry {
                let added = state.growing.add(&json, scratch);
                added.map_err(|why| self.not_added(why, scratch))?;
            }
        }
        self.release(&mut state, scratch)
    }

    /// It was read to its end. Returns it when every entry is stored.
    pub(super) fn close(&self, scratch: &Scratch) -> Result<Option<Complete>> {
        self.release(&mut self.lock(), scratch)
    }

    fn release(&self, state: &mut State, scratch: &Scratch) -> Result<Option<Complete>> {
        state.pending -= 1;
        if state.pending > 0 {
            return Ok(None);
        }
        let description = std::mem::take(&mut state.growing)
            .finish()
            .map_err(|e| self.not_added(e.into(), scratch))?;
        Ok(Some(Complete {
            description,
            node: state.node.take(),
            parent: self.parent.clone(),
        }))
    }

    fn not_added(&self, why: NotAdded, scratch: &Scratch) -> Error {
        match why {
            NotAdded::Failed(source) => {
                scratch.failed("write the description of a large directory in", source)
            }
            NotAdded::TooLarge { entries } => Error::DirectoryTooLarge {
                path: self.path(),
                entries,
                megabytes: u64::from(LONGEST_BLOB) >> 20,
            },
        }
    }

    fn path(&self) -> String {
        match &self.parent {
            None => "/".to_owned(),
            Some((parent, _)) => format!("{}{}/", parent.path(), self.name),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a stored tree completes.
pub(super) enum Above {
    /// It is the root.
    Root(BlobId),
    /// It was an entry of a directory that still waits for others.
    Waits,
    /// It was the last entry of its parent.
    Parent(Box<Complete>),
}

impl Complete {
    /// Tells the parent which tree this directory became.
    pub(super) fn stored(self, tree: BlobId, scratch: &Scratch) -> Result<Above> {
        let (Some(mut node), Some((parent, place))) = (self.node, self.parent) else {
            return Ok(Above::Root(tree));
        };
        node.subtree = Some(tree);
        let complete = parent.fill(place, Some(&node), scratch)?;
        Ok(complete.map_or(Above::Waits, |parent| Above::Parent(Box::new(parent))))
    }
}
