//! The time of day, and what becomes of it where it jumps.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// What a clock may be set at once without being said to jump: daemons that keep the time stay far below.
pub(crate) const JUMP: Duration = Duration::from_secs(10);

/// Tells the time of day.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// One that asks a function.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0()
    }
}

impl Default for Clock {
    /// That of the system.
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Times that never go back. They follow a clock that is set a little, and go on without one that jumps.
#[derive(Debug)]
pub(crate) struct Steady {
    clock: Clock,
    /// The last time that was told, and when.
    last: (Timestamp, Instant),
    jumped: Option<SignedDuration>,
}

impl Steady {
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            last: (clock.now(), Instant::now()),
            jumped: None,
        }
    }

    /// The time.
    pub(crate) fn now(&mut self) -> Timestamp {
        let (last, since) = self.last;
        let (clock, now) = (self.clock.now(), Instant::now());
        let expected = after(last, now - since);
        let off = clock.duration_since(expected);
        let time = if off.unsigned_abs() > JUMP {
            self.jumped = Some(off);
            expected
        } else {
            clock.max(last)
        };
        self.last = (time, now);
        time
    }

    /// How far the clock jumped, as of the last time that was asked for.
    pub(crate) fn jumped(&self) -> Option<SignedDuration> {
        self.jumped
    }

    /// A clock that goes on from here as time does.
    pub(crate) fn onward(&self) -> Clock {
        let (last, since) = self.last;
        Clock::new(move || after(last, since.elapsed()))
    }
}

fn after(time: Timestamp, span: Duration) -> Timestamp {
    let later = SignedDuration::try_from(span).ok();
    let later = later.and_then(|span| time.checked_add(span).ok());
    later.unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn times_follow_a_clock_that_is_set_a_little_and_not_one_that_jumps() {
        let (set, begun) = (Arc::new(AtomicI64::new(0)), Instant::now());
        let offset = Arc::clone(&set);
        let origin: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a time");
        let clock = Clock::new(move || {
            let offset = SignedDuration::from_secs(offset.load(Ordering::Relaxed));
            after(origin, begun.elapsed()) + offset
        });
        let mut steady = Steady::new(&clock);
        let mut after_seconds = Vec::new();
        // Seconds that pass, and by how many the clock is off then.
        for (pass, offset) in [(1, 0), (1, 5), (1, 0), (9, 0), (1, -3600), (1, -3600)] {
            tokio::time::advance(Duration::from_secs(pass)).await;
            set.store(offset, Ordering::Relaxed);
            let time = steady.now().duration_since(origin).as_secs();
            after_seconds.push((time, steady.jumped().is_some()));
        }
        // Set 5 s ahead and back again: it stands still until the clock has come there.
        let (before, behind) = (
            [(1, false), (7, false), (7, false), (12, false)],
            [(13, true), (14, true)],
        );
        assert_eq!(after_seconds, [&before[..], &behind[..]].concat());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(steady.onward().now().duration_since(origin).as_secs(), 20);

        let mut ahead = Steady::new(&clock);
        set.store(86_400, Ordering::Relaxed);
        ahead.now();
        assert_eq!(ahead.jumped().map(|off| off.as_secs()), Some(90_000));
    }
}
