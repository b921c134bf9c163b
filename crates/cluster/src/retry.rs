//! When a call is made again, and after how long.

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// Attempts of one call, the first included.
pub(crate) const ATTEMPTS: u32 = 6;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Whether a call may be repeated after an answer that leaves open whether it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// A read: any number of times.
    Always,
    /// A write: only when the server certainly did nothing.
    WhenRefused,
}

/// True when `error` allows another attempt. A 429 is a refusal before any work; so is a connection that
/// was never made.
pub(crate) fn may_repeat(repeat: Repeat, error: &Error) -> bool {
    match repeat {
        Repeat::Always => matches!(
            error.kind(),
            ErrorKind::TooManyRequests
                | ErrorKind::Unavailable
                | ErrorKind::Server
                | ErrorKind::Timeout
                | ErrorKind::Transport
        ),
        Repeat::WhenRefused => {
            matches!(
                error.kind(),
                ErrorKind::TooManyRequests | ErrorKind::Transport
            ) && !error.may_have_happened()
        }
    }
}

/// The pause before attempt `attempt + 1`: exponential with full jitter, never less than what the server
/// asked for. `random` is uniform over all of `u32`.
pub(crate) fn delay(attempt: u32, asked: Option<Duration>, random: u32) -> Duration {
    let ceiling = FIRST_DELAY
        .saturating_mul(1 << attempt.min(10))
        .min(LONGEST_DELAY);
    let jittered = ceiling.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0);
    asked.map_or(jittered, |asked| {
        asked.min(Duration::from_secs(60)) + jittered / 4
    })
}

/// Randomness for jitter only: the hasher's per-process keys and a counter, no dependency needed.
pub(crate) fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_are_capped_and_obey_the_server() {
        assert_eq!(delay(0, None, u32::MAX), Duration::from_millis(100));
        assert_eq!(delay(0, None, 0), Duration::from_millis(50));
        assert_eq!(delay(3, None, u32::MAX), Duration::from_millis(800));
        assert_eq!(delay(40, None, u32::MAX), LONGEST_DELAY);
        assert!(delay(0, Some(Duration::from_secs(3)), 0) >= Duration::from_secs(3));
    }

    #[test]
    fn a_write_is_repeated_only_when_it_certainly_did_not_happen() {
        let transport =
            |doubt| Error::local(ErrorKind::Transport, "create", "broken").with_doubt(doubt);
        assert!(may_repeat(Repeat::WhenRefused, &transport(false)));
        assert!(!may_repeat(Repeat::WhenRefused, &transport(true)));
        assert!(may_repeat(Repeat::Always, &transport(true)));
        let unavailable = Error::local(ErrorKind::Unavailable, "create", "503");
        assert!(!may_repeat(Repeat::WhenRefused, &unavailable));
        let forbidden = Error::local(ErrorKind::Forbidden, "list", "no");
        assert!(!may_repeat(Repeat::Always, &forbidden));
    }
}
