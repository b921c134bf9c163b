//! Work to be done, by name: each name at most once at a time, now or at a later time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// First pause after a failure; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Names that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When each name is due, and the same the other way round.
    due: HashMap<String, Instant>,
    order: BTreeSet<(Instant, String)>,
    running: HashSet<String>,
    /// Names that became due again while they were worked on.
    again: HashMap<String, Instant>,
    failures: HashMap<String, u32>,
}

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing to do until something changes.
    Wait,
    /// Look again after this time at the latest.
    After(Duration),
    /// It failed: again, after a pause that grows.
    Retry,
}

impl Queue {
    /// Makes a name due now.
    pub(crate) fn add(&self, name: &str) {
        self.add_at(name, Instant::now());
    }

    /// Makes a name due after a pause. A turn that comes earlier takes the place of this one: a controller that
    /// still needs the later one asks for it again, by [`Next::After`].
    pub(crate) fn add_after(&self, name: &str, pause: Duration) {
        self.add_at(name, Instant::now() + pause);
    }

    fn add_at(&self, name: &str, at: Instant) {
        let mut state = self.lock();
        if state.running.contains(name) {
            let again = state.again.entry(name.to_owned()).or_insert(at);
            *again = (*again).min(at);
        } else {
            state.put(name, at);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The next name that is due; it is being worked on until [`Queue::done`].
    pub(crate) async fn next(&self) -> String {
        loop {
            let first = self.lock().order.first().cloned();
            match first {
                Some((at, name)) if at <= Instant::now() => {
                    let mut state = self.lock();
                    // Another worker may have taken it meanwhile.
                    if state.due.get(&name) == Some(&at) {
                        state.take(&name);
                        state.running.insert(name.clone());
                        drop(state);
                        // Somebody else may look at what comes after it.
                        self.changed.notify_one();
                        return name;
                    }
                }
                Some((at, _)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.changed.notified() => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// Ends the turn of a name.
    pub(crate) fn done(&self, name: &str, next: Next) {
        let mut state = self.lock();
        state.running.remove(name);
        let now = Instant::now();
        let at = match next {
            Next::Wait => {
                state.failures.remove(name);
                None
            }
            Next::After(pause) => {
                state.failures.remove(name);
                Some(now + pause)
            }
            Next::Retry => {
                let failures = state.failures.entry(name.to_owned()).or_default();
                *failures += 1;
                let doubled = FIRST_PAUSE.saturating_mul(1 << (*failures - 1).min(16));
                Some(now + doubled.min(LONGEST_PAUSE))
            }
        };
        let again = state.again.remove(name);
        if let Some(at) = again.into_iter().chain(at).min() {
            state.put(name, at);
        }
        drop(state);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, name: &str, at: Instant) {
        let at = self.due.get(name).map_or(at, |due| (*due).min(at));
        self.take(name);
        self.due.insert(name.to_owned(), at);
        self.order.insert((at, name.to_owned()));
    }

    fn take(&mut self, name: &str) {
        if let Some(at) = self.due.remove(name) {
            self.order.remove(&(at, name.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_waits_once_however_often_it_is_added() {
        let queue = Queue::default();
        for name in ["a", "b", "a"] {
            queue.add(name);
        }
        let mut seen = vec![queue.next().await, queue.next().await];
        seen.sort();
        assert_eq!(seen, ["a", "b"]);
        let nothing = tokio::time::timeout(Duration::from_secs(1), queue.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_changes_while_it_is_worked_on_comes_again_afterwards() {
        let queue = Queue::default();
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        let early = tokio::time::timeout(Duration::from_secs(1), queue.next()).await;
        assert!(early.is_err(), "two workers at once: {early:?}");
        queue.done("a", Next::Wait);
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_are_kept_and_failures_make_them_grow() {
        let queue = Queue::default();
        queue.add("a");
        let mut pauses = Vec::new();
        let outcomes = [
            Next::After(Duration::from_secs(60)),
            Next::Retry,
            Next::Retry,
            Next::Wait,
        ];
        for next in outcomes {
            let begun = Instant::now();
            let name = queue.next().await;
            pauses.push(begun.elapsed());
            queue.done(&name, next);
        }
        let millis = pauses.iter().map(Duration::as_millis).collect::<Vec<_>>();
        assert_eq!(millis, [0, 60_000, 500, 1_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_does_not_wait_for_a_later_time() {
        let queue = Queue::default();
        queue.add("a");
        let name = queue.next().await;
        queue.done(&name, Next::After(Duration::from_secs(3600)));
        queue.add("a");
        let begun = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
