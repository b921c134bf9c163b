//! The window of past changes, from which watches catch up and later pages of a list are answered.

use std::collections::VecDeque;
use std::sync::Arc;

use salvor_api::resource::GroupResource;

use crate::entry::Entry;

/// One change of one object.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) resource: GroupResource,
    /// The object before; `None` when it was created.
    pub(crate) before: Option<Arc<Entry>>,
    /// The object after; for a deletion its last state with the deletion's revision.
    pub(crate) entry: Arc<Entry>,
    pub(crate) deleted: bool,
}

/// Changes in order of revision, bounded in number and bytes.
#[derive(Debug)]
pub(crate) struct History {
    changes: VecDeque<Change>,
    /// Revision of the newest change that was forgotten.
    floor: u64,
    bytes: usize,
    max_changes: usize,
    max_bytes: usize,
}

impl History {
    pub(crate) fn new(max_changes: usize, max_bytes: usize) -> Self {
        Self {
            changes: VecDeque::new(),
            floor: 0,
            bytes: 0,
            max_changes,
            max_bytes,
        }
    }

    pub(crate) fn push(&mut self, change: Change) {
        self.bytes += change.entry.body.len();
        self.changes.push_back(change);
        while self.changes.len() > self.max_changes || self.bytes > self.max_bytes {
            let Some(oldest) = self.changes.pop_front() else {
                break;
            };
            self.bytes -= oldest.entry.body.len();
            self.floor = oldest.revision;
        }
    }

    /// Changes after a revision; `None` when some of them are forgotten.
    pub(crate) fn after(
        &self,
        revision: u64,
    ) -> Option<impl DoubleEndedIterator<Item = &Change> + '_> {
        if revision < self.floor {
            return None;
        }
        let start = self
            .changes
            .partition_point(|change| change.revision <= revision);
        Some(self.changes.range(start..))
    }

    /// Forgets everything up to a revision, as the real server does when it compacts.
    pub(crate) fn compact(&mut self, revision: u64) {
        while self
            .changes
            .front()
            .is_some_and(|change| change.revision <= revision)
        {
            if let Some(oldest) = self.changes.pop_front() {
                self.bytes -= oldest.entry.body.len();
            }
        }
        self.floor = self.floor.max(revision);
    }
}
