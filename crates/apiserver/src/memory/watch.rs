//! Watches of a memory store: each follows the history at its own pace and holds nothing of its own.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::Shared;
use super::history::Change;
use super::state::State;
use crate::status::Failure;
use crate::store::{WatchEvent, WatchQuery};

/// How many events are taken from the history at once.
const BATCH: usize = 512;
/// The real server sends a bookmark about once a minute.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

struct Follower {
    shared: Arc<Shared>,
    query: WatchQuery,
    position: u64,
    queue: VecDeque<WatchEvent>,
    signal: tokio::sync::watch::Receiver<u64>,
    deadline: Option<Instant>,
    finished: bool,
}

/// Starts a watch.
pub(crate) fn watch(
    shared: &Arc<Shared>,
    query: WatchQuery,
) -> Result<BoxStream<'static, WatchEvent>, Failure> {
    let signal = shared.signal.subscribe();
    let mut queue = VecDeque::new();
    let state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    let position = match query.after {
        Some(revision) if !query.send_initial_events => {
            if state.history.after(revision).is_none() {
                return Err(too_old(revision, state.revision));
            }
            revision
        }
        _ => {
            let entries = state.entries(&query.resource.name, query.namespace.as_deref());
            let chosen = entries.filter(|entry| query.selection.matches(entry));
            queue.extend(chosen.map(|entry| WatchEvent::Added(Arc::clone(entry))));
            if query.send_initial_events {
                queue.push_back(WatchEvent::Bookmark {
                    revision: state.revision,
                    end_of_initial_events: true,
                });
            }
            state.revision
        }
    };
    drop(state);
    let deadline = query.timeout.map(|timeout| Instant::now() + timeout);
    let follower = Follower {
        shared: Arc::clone(shared),
        query,
        position,
        queue,
        signal,
        deadline,
        finished: false,
    };
    Ok(
        futures::stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            Some((event, follower))
        })
        .boxed(),
    )
}

fn too_old(revision: u64, current: u64) -> Failure {
    Failure::expired(format!("too old resource version: {revision} ({current})"))
}

impl Follower {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.finished {
                return None;
            }
            self.signal.mark_unchanged();
            self.take_changes();
            if !self.queue.is_empty() || self.finished {
                continue;
            }
            let bookmark = Instant::now() + BOOKMARK_PERIOD;
            let wake = self
                .deadline
                .map_or(bookmark, |deadline| deadline.min(bookmark));
            tokio::select! {
                changed = self.signal.changed() => self.finished = changed.is_err(),
                () = tokio::time::sleep_until(wake) => {
                    self.finished = self.deadline.is_some_and(|deadline| deadline <= wake);
                    if self.query.bookmarks {
                        let revision = self.position;
                        let bookmark = WatchEvent::Bookmark { revision, end_of_initial_events: false };
                        self.queue.push_back(bookmark);
                    }
                }
            }
        }
    }

    fn take_changes(&mut self) {
        let shared = Arc::clone(&self.shared);
        let state: &State = &shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(changes) = state.history.after(self.position) else {
            self.queue
                .push_back(WatchEvent::Failed(too_old(self.position, state.revision)));
            self.finished = true;
            return;
        };
        for change in changes {
            self.position = change.revision;
            let event = self.event(change);
            self.queue.extend(event);
            if self.queue.len() >= BATCH {
                return;
            }
        }
        self.position = self.position.max(state.revision);
    }

    /// The event that this watch sees: an object that leaves the selection is deleted for it.
    fn event(&self, change: &Change) -> Option<WatchEvent> {
        let Change {
            revision: _,
            resource,
            before,
            entry,
            deleted,
        } = change;
        let namespace = self.query.namespace.as_deref();
        if *resource != self.query.resource.name
            || namespace.is_some_and(|namespace| namespace != entry.meta.namespace)
        {
            return None;
        }
        let was = before
            .as_ref()
            .is_some_and(|before| self.query.selection.matches(before));
        let is = !deleted && self.query.selection.matches(entry);
        let entry = Arc::clone(entry);
        match (was, is) {
            (false, false) => None,
            (false, true) => Some(WatchEvent::Added(entry)),
            (true, true) => Some(WatchEvent::Modified(entry)),
            (true, false) => Some(WatchEvent::Deleted(entry)),
        }
    }
}
