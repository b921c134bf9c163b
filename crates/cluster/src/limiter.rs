//! How many calls run at once: additive increase, multiplicative decrease.
//!
//! One limiter is shared by all calls to a cluster. It starts at 8, adds one after 32 good answers while
//! the median latency stays under [`CALM`] times the best median seen, and halves when the server says 429 or
//! the median passes [`SLOW`] times the best. A `Retry-After` holds back every new call.
//!
//! On two cores an API server takes 380 creates a second from 4 calls at once, 490 from 8, 600 from 16 and 650
//! from 64, while a create takes 10, 16, 27 and 99 ms: up to three times the best latency buys throughput, beyond
//! that only waiting.
//!
//! Slowness alone never pushes the limit below [`FLOOR`], and the best median fades: work gets harder as a
//! restore goes on (later objects are larger and the server busier), and that must not read as distress for
//! ever. Only a 429, which is the server's own word, goes down to one.
//!
//! Latencies are compared within a class only: a read of one object and a create are different work, and
//! the time of a list follows its size, so lists count for 429s but not for latency.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Calls that run at once when nothing is known of the server yet.
pub const START: usize = 8;
/// Calls that run at once at most, unless raised.
pub const MOST: usize = 64;
/// Calls that run at once at least while the server is only slow.
pub const FLOOR: usize = 4;
/// Median latency, as a multiple of the best, up to which the limit is raised.
const CALM: f64 = 2.0;
/// Median latency, as a multiple of the best, beyond which the limit is halved.
const SLOW: f64 = 3.0;
/// Good answers between two looks at the limit.
const WINDOW: usize = 32;
/// A `Retry-After` longer than this is cut: a server that asks for more is treated as failing instead.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Kind of work, for comparing latencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Reads one object.
    Read,
    /// Reads a collection.
    List,
    /// Changes one object.
    Write,
}

/// How a call ended, as far as pacing is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answered, whatever the answer.
    Good,
    /// 429, with the pause that was asked for.
    Throttled(Option<Duration>),
    /// No answer, or 5xx.
    Failed,
}

/// Shared, adaptive concurrency limit.
#[derive(Clone, Debug)]
pub struct Limiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    most: usize,
    running: usize,
    /// Most calls at once since the last look: an unused limit is not raised.
    peak: usize,
    paused_until: Option<Instant>,
    /// Calls that began before this do not count: they were measured under another limit.
    since: Instant,
    reads: Latencies,
    writes: Latencies,
    good: usize,
}

#[derive(Debug, Default)]
struct Latencies {
    window: Vec<Duration>,
    best: Option<Duration>,
}

/// A running call's place; it is given back when dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    work: Work,
    began: Instant,
}

impl Limiter {
    /// A limiter that starts at `start` and never passes `most`; both at least 1.
    #[must_use]
    pub fn new(start: usize, most: usize) -> Self {
        let most = most.max(1);
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    limit: start.clamp(1, most),
                    most,
                    running: 0,
                    peak: 0,
                    paused_until: None,
                    since: Instant::now(),
                    reads: Latencies::default(),
                    writes: Latencies::default(),
                    good: 0,
                }),
                changed: Notify::new(),
            }),
        }
    }

    /// Calls that may run at once just now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.lock().limit
    }

    /// Calls that are under way.
    #[must_use]
    pub fn running(&self) -> usize {
        self.shared.lock().running
    }

    /// Waits for a place. Cancel safe.
    pub async fn acquire(&self, work: Work) -> Permit {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that a change in between is not missed.
            changed.as_mut().enable();
            let pause = {
                let mut state = self.shared.lock();
                let now = Instant::now();
                match state.paused_until {
                    Some(until) if until > now => Some(until),
                    _ => {
                        state.paused_until = None;
                        if state.running < state.limit {
                            state.running += 1;
                            state.peak = state.peak.max(state.running);
                            return Permit {
                                shared: Arc::clone(&self.shared),
                                work,
                                began: now,
                            };
                        }
                        None
                    }
                }
            };
            match pause {
                Some(until) => tokio::time::sleep_until(until).await,
                None => changed.await,
            }
        }
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new(START, MOST)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain numbers that are never left half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Gives the place back and says how it went.
    pub fn finish(self, answer: Answer) {
        let mut state = self.shared.lock();
        match answer {
            Answer::Good => state.good_answer(self.work, self.began),
            Answer::Throttled(pause) => {
                if let Some(pause) = pause {
                    let until = Instant::now() + pause.min(LONGEST_PAUSE);
                    state.paused_until = state.paused_until.max(Some(until));
                }
                state.halve(self.began, 1);
            }
            Answer::Failed => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.running = state.running.saturating_sub(1);
        drop(state);
        // All, because a raised limit may have room for several.
        self.shared.changed.notify_waiters();
    }
}

impl State {
    fn good_answer(&mut self, work: Work, began: Instant) {
        if began < self.since {
            return;
        }
        self.good += 1;
        let latencies = match work {
            Work::Read => Some(&mut self.reads),
            Work::Write => Some(&mut self.writes),
            Work::List => None,
        };
        let ratio = latencies.and_then(|l| l.record(began.elapsed()));
        if ratio.is_some_and(|ratio| ratio > SLOW) {
            self.halve(began, FLOOR.min(self.limit));
        } else if self.good >= WINDOW {
            self.good = 0;
            if ratio.is_none_or(|ratio| ratio < CALM) && self.peak >= self.limit {
                self.limit = (self.limit + 1).min(self.most);
            }
            self.peak = self.running;
        }
    }

    /// Once for all calls that were under way: they suffered together.
    fn halve(&mut self, began: Instant, floor: usize) {
        if began < self.since {
            return;
        }
        self.limit = (self.limit / 2).max(floor);
        self.since = Instant::now();
        self.good = 0;
        self.reads.window.clear();
        self.writes.window.clear();
    }
}

impl Latencies {
    /// After a full window: its median against the best one.
    fn record(&mut self, latency: Duration) -> Option<f64> {
        self.window.push(latency);
        if self.window.len() < WINDOW {
            return None;
        }
        self.window.sort_unstable();
        // A millisecond at least: below that, noise would decide.
        let median = self.window[WINDOW / 2].max(Duration::from_millis(1));
        self.window.clear();
        // A sixteenth for each window: twice as slow for good is the new measure after some 350 calls.
        let best = self
            .best
            .map_or(median, |best| (best + best / 16).min(median));
        self.best = Some(best);
        Some(median.as_secs_f64() / best.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn calls(limiter: &Limiter, count: usize, latency: Duration) {
        let mut left = count;
        while left > 0 {
            let batch = limiter.limit().min(left);
            let mut permits = Vec::new();
            for _ in 0..batch {
                permits.push(limiter.acquire(Work::Write).await);
            }
            tokio::time::advance(latency).await;
            for permit in permits {
                permit.finish(Answer::Good);
            }
            left -= batch;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn good_answers_raise_the_limit_and_slow_ones_halve_it() {
        let limiter = Limiter::new(8, 12);
        calls(&limiter, 32 * 12, Duration::from_millis(10)).await;
        assert_eq!(limiter.limit(), 12, "raised to the most");
        calls(&limiter, 40, Duration::from_millis(25)).await;
        assert_eq!(limiter.limit(), 12, "kept while it is a little slower");
        calls(&limiter, 40, Duration::from_millis(45)).await;
        assert_eq!(
            limiter.limit(),
            6,
            "halved once the median more than tripled"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stays_slow_is_not_throttled_for_ever() {
        let limiter = Limiter::new(8, 16);
        calls(&limiter, 64, Duration::from_millis(10)).await;
        calls(&limiter, 400, Duration::from_millis(40)).await;
        assert!(limiter.limit() >= FLOOR, "slowness alone keeps {FLOOR}");
        calls(&limiter, 3000, Duration::from_millis(40)).await;
        assert_eq!(limiter.limit(), 16, "what is usual now is the measure now");
    }

    #[tokio::test(start_paused = true)]
    async fn one_burst_of_429_halves_once_and_retry_after_holds_new_calls() {
        let limiter = Limiter::new(8, 64);
        let mut permits = Vec::new();
        for _ in 0..8 {
            permits.push(limiter.acquire(Work::Read).await);
        }
        tokio::time::advance(Duration::from_millis(5)).await;
        for permit in permits {
            permit.finish(Answer::Throttled(Some(Duration::from_secs(2))));
        }
        assert_eq!(limiter.limit(), 4);
        let before = Instant::now();
        drop(limiter.acquire(Work::Read).await);
        assert!(before.elapsed() >= Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_limiter_makes_callers_wait_until_a_place_is_given_back() {
        let limiter = Limiter::new(1, 1);
        let held = limiter.acquire(Work::List).await;
        let waiting = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.acquire(Work::List).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        waiting
            .await
            .expect("the waiter gets the place")
            .finish(Answer::Good);
    }
}
