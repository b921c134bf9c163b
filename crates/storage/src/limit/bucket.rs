//! A token bucket whose users wait in line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep_until};

/// What an idle bucket saves up: enough that short work is not slowed, too little to be seen in a graph by seconds.
const SAVED: Duration = Duration::from_millis(250);
/// A slice is what flows in an eighth of a second, so that with N users each has its turn every N/8 seconds.
const SLICES_PER_SECOND: u64 = 8;

/// So many units per second, for everybody together.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Whoever holds it waits for the clock; the others wait for it, in order.
    turn: Semaphore,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    per_second: Option<u64>,
    /// When all that was taken will have flowed.
    flowed: Option<Instant>,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

impl Bucket {
    /// Another rate, from now on. What was taken at the old one is not charged again.
    pub(super) fn set(&self, per_second: Option<u64>) {
        let per_second = per_second.map(|rate| rate.max(1));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.per_second != per_second {
            *state = State {
                per_second,
                flowed: None,
            };
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Waits until `amount` may flow. Cancel safe: what was not waited for is not taken.
    pub(super) async fn take(&self, amount: u64) {
        let mut left = amount;
        while left > 0 {
            let Some(rate) = self.rate() else { return };
            let slice = left.min((rate / SLICES_PER_SECOND).max(1));
            // The semaphore is never closed; if it were, an unlimited transfer beats none.
            let Ok(_turn) = self.turn.acquire().await else {
                return;
            };
            self.wait(slice).await;
            left -= slice;
        }
    }

    fn rate(&self) -> Option<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.per_second
    }

    async fn wait(&self, slice: u64) {
        loop {
            // Before the look, so that a change after it wakes us.
            let changed = self.changed.notified();
            let Err(due) = self.book(slice) else { return };
            tokio::select! {
                () = sleep_until(due) => {}
                () = changed => {}
            }
        }
    }

    /// Takes a slice, or says when it can be had.
    fn book(&self, slice: u64) -> Result<(), Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = state.per_second else {
            return Ok(());
        };
        let now = Instant::now();
        // A clock that has just begun has nothing to go back to.
        let oldest = now.checked_sub(SAVED).unwrap_or(now);
        let due = state.flowed.map_or(oldest, |flowed| flowed.max(oldest));
        if due > now {
            return Err(due);
        }
        state.flowed = Some(due + Duration::from_secs_f64(slice as f64 / rate as f64));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt as _;

    use super::*;

    fn bucket(rate: u64) -> Arc<Bucket> {
        let bucket = Bucket::default();
        bucket.set(Some(rate));
        Arc::new(bucket)
    }

    async fn seconds_for(bucket: &Bucket, amount: u64) -> f64 {
        let began = Instant::now();
        bucket.take(amount).await;
        began.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn what_flows_in_any_time_is_the_rate_and_what_was_saved() {
        for (rate, amount) in [(1, 3), (8, 80), (1 << 20, 10 << 20), (1 << 40, 1 << 40)] {
            let bucket = bucket(rate);
            let took = seconds_for(&bucket, amount).await;
            let exact = amount as f64 / rate as f64;
            // Short by what was saved and by the last slice, which need not have flowed.
            let slice = (rate / SLICES_PER_SECOND).max(1) as f64 / rate as f64;
            let least = exact - SAVED.as_secs_f64() - slice;
            assert!(
                took <= exact && took >= least - 0.01,
                "{amount} at {rate}: {took} s, exact {exact}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_bucket_saves_up_a_quarter_of_a_second_and_no_more() {
        let bucket = bucket(1000);
        bucket.take(5000).await;
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(seconds_for(&bucket, 250).await < 0.001);
        let after = seconds_for(&bucket, 1000).await;
        assert!(after > 0.7, "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_user_does_not_wait_for_the_end_of_a_large_one() {
        let bucket = bucket(1000);
        let large = Arc::clone(&bucket);
        let mut large = tokio::spawn(async move { large.take(100_000).await });
        let early = tokio::time::timeout(Duration::from_secs(1), &mut large).await;
        early.expect_err("it takes minutes");
        let waited = seconds_for(&bucket, 100).await;
        assert!(waited <= 0.5, "{waited}");
        assert!(!large.is_finished());
        large.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn two_users_get_the_same_but_for_what_was_saved() {
        let bucket = bucket(1000);
        let began = Instant::now();
        let ends = [0, 1].map(|_| {
            let bucket = Arc::clone(&bucket);
            tokio::spawn(async move {
                bucket.take(10_000).await;
                began.elapsed().as_secs_f64()
            })
        });
        let [first, second] = ends.map(|end| end.map(|end| end.expect("it ends")));
        let (first, second) = (first.await, second.await);
        assert!((first - second).abs() < 0.6, "{first} {second}");
        assert!(first.max(second) > 19.0, "{first} {second}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_rate_counts_at_once_for_who_waits() {
        let bucket = bucket(1);
        let waiting = Arc::clone(&bucket);
        let began = Instant::now();
        let mut waiting = tokio::spawn(async move { waiting.take(1_000_000).await });
        let early = tokio::time::timeout(Duration::from_secs(10), &mut waiting).await;
        early.expect_err("it takes days");
        bucket.set(None);
        waiting.await.expect("it ends");
        assert!(began.elapsed() < Duration::from_secs(11));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_takes_nothing_with_it() {
        let bucket = bucket(8);
        bucket.take(8).await;
        let given_up = tokio::time::timeout(Duration::from_millis(10), bucket.take(1_000_000));
        given_up.await.expect_err("it takes days");
        let waited = seconds_for(&bucket, 2).await;
        assert!(waited < 0.6, "{waited}");
    }
}
