//! How many do something at once, when that number may change meanwhile.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, Semaphore};

/// At most so many places are taken at once; further users wait in order.
#[derive(Debug)]
pub(super) struct Places {
    /// Whoever holds it waits for a place; the others wait for it, in order.
    turn: Semaphore,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    most: Option<usize>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            state: Mutex::default(),
            freed: Notify::new(),
        }
    }
}

/// A place that is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a Places);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state().taken -= 1;
        self.0.freed.notify_waiters();
    }
}

impl Places {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another number. Those that have a place keep it.
    pub(super) fn set(&self, most: Option<usize>) {
        self.state().most = most.map(|most| most.max(1));
        self.freed.notify_waiters();
    }

    /// Waits for a place. Cancel safe.
    pub(super) async fn take(&self) -> Place<'_> {
        // The semaphore is never closed; if it were, too many at once beats none.
        let _turn = self.turn.acquire().await.ok();
        loop {
            // Before the look, so that a place that is freed after it wakes us.
            let freed = self.freed.notified();
            if self.try_take() {
                return Place(self);
            }
            freed.await;
        }
    }

    fn try_take(&self) -> bool {
        let mut state = self.state();
        let free = state.most.is_none_or(|most| state.taken < most);
        state.taken += usize::from(free);
        free
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn places_are_given_in_order_and_their_number_may_change() {
        let places = Places::default();
        places.set(Some(2));
        let first = places.take().await;
        let _second = places.take().await;
        let mut third = Box::pin(places.take());
        assert!((&mut third).now_or_never().is_none());
        let mut fourth = Box::pin(places.take());
        assert!((&mut fourth).now_or_never().is_none());
        drop(first);
        assert!((&mut fourth).now_or_never().is_none(), "the third is next");
        let _third = third.await;
        places.set(Some(3));
        let _fourth = fourth.await;
        places.set(Some(1));
        let mut fifth = Box::pin(places.take());
        assert!((&mut fifth).now_or_never().is_none());
        places.set(None);
        let _fifth = fifth.await;
    }

    #[tokio::test]
    async fn who_gives_up_takes_no_place() {
        let places = Places::default();
        places.set(Some(1));
        let first = places.take().await;
        assert!(places.take().now_or_never().is_none());
        drop(first);
        assert!(places.take().now_or_never().is_some());
    }
}
