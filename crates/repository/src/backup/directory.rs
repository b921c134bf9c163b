//! Directories that are not complete yet. A directory becomes a tree when it was read to its end and the last
//! of its entries is stored; its own node then completes an entry of its parent.

use std::sync::{Arc, Mutex, PoisonError};

use crate::format::node::Node;
use crate::format::tree::TreeWriter;
use crate::id::BlobId;

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    /// Its parent and its place there; nothing for the root.
    parent: Option<(Arc<Directory>, usize)>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    node: Option<Node>,
    /// JSON of the entries by place; nothing where an entry is missing (not stored yet, or failed).
    entries: Vec<Option<Box<[u8]>>>,
    /// Entries that are not stored yet, and one more while it is being read.
    pending: usize,
}

/// A directory whose entries are all there.
pub(super) struct Complete {
    pub(super) json: Vec<u8>,
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
        Arc::new(Self {
            parent,
            state: Mutex::new(State {
                node,
                entries: Vec::new(),
                pending: 1,
            }),
        })
    }

    /// Reserves the next place.
    pub(super) fn reserve(&self) -> usize {
        let mut state = self.lock();
        state.pending += 1;
        state.entries.push(None);
        state.entries.len() - 1
    }

    /// An entry is stored; `None` when it failed and is left out. Returns the directory when that was the last.
    pub(super) fn fill(&self, place: usize, node: Option<&Node>) -> Option<Complete> {
        let json = node.map(|node| {
            let mut json = Vec::with_capacity(512);
            node.write_json(&mut json);
            json.into_boxed_slice()
        });
        let mut state = self.lock();
        state.entries[place] = json;
        self.release(&mut state)
    }

    /// It was read to its end. Returns it when every entry is stored.
    pub(super) fn close(&self) -> Option<Complete> {
        self.release(&mut self.lock())
    }

    fn release(&self, state: &mut State) -> Option<Complete> {
        state.pending -= 1;
        if state.pending > 0 {
            return None;
        }
        let mut tree = TreeWriter::default();
        for entry in std::mem::take(&mut state.entries).into_iter().flatten() {
            tree.add(&entry);
        }
        Some(Complete {
            json: tree.finish(),
            node: state.node.take(),
            parent: self.parent.clone(),
        })
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
    pub(super) fn stored(self, tree: BlobId) -> Above {
        let (Some(mut node), Some((parent, place))) = (self.node, self.parent) else {
            return Above::Root(tree);
        };
        node.subtree = Some(tree);
        parent
            .fill(place, Some(&node))
            .map_or(Above::Waits, |parent| Above::Parent(Box::new(parent)))
    }
}
