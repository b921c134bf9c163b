//! Trying a failed run again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::go::{GoDuration, Time};
use crate::velero::BackupPhase;

/// How often a failed or partial run of a schedule is tried again, and after how long.
///
/// Written `attempts=3,backoff=10m,max=2h`: up to three backups for one run; the second begins ten minutes
/// after the first ended, the third twenty after the second, no wait being longer than two hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Backups for one run, the first included; at least 2.
    pub attempts: u32,
    /// Wait before the second; doubles with each further one.
    pub backoff: GoDuration,
    /// Longest wait.
    pub max: GoDuration,
}

/// Default for [`Retry::backoff`]: long enough for a node or a store to come back.
const BACKOFF: GoDuration = GoDuration::from_minutes(10);
/// Default for [`Retry::max`]: well under the day that most schedules have between runs.
const MAX: GoDuration = GoDuration::from_hours(2);
/// More attempts than that are a schedule of their own.
const MOST_ATTEMPTS: u32 = 20;

/// Why a retry rule was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// A part that is not `name=value`.
    #[error("`{0}` is not of the form name=value, such as attempts=3")]
    Form(String),
    /// A name that is not known.
    #[error("`{0}` is not known: use attempts, backoff or max")]
    Name(String),
    /// A rule that is given twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A value that does not fit.
    #[error("{name}: {reason}")]
    Value {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// No attempts are given.
    #[error("attempts is missing: write how many backups a run may take, such as attempts=3")]
    Attempts,
}

impl FromStr for Retry {
    type Err = RetryError;

    fn from_str(text: &str) -> Result<Self, RetryError> {
        let (mut attempts, mut backoff, mut max) = (None, None, None);
        let parts = text.split(',').map(str::trim);
        for part in parts.filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .map(|(name, value)| (name.trim(), value.trim()))
                .ok_or_else(|| RetryError::Form(part.to_owned()))?;
            let twice = match name {
                "attempts" => attempts.replace(count(value)?).is_some(),
                "backoff" => backoff.replace(wait("backoff", value)?).is_some(),
                "max" => max.replace(wait("max", value)?).is_some(),
                _ => return Err(RetryError::Name(name.to_owned())),
            };
            if twice {
                return Err(RetryError::Twice(name.to_owned()));
            }
        }
        let backoff = backoff.unwrap_or(BACKOFF);
        Ok(Self {
            attempts: attempts.ok_or(RetryError::Attempts)?,
            backoff,
            max: max.unwrap_or(MAX.max(backoff)),
        })
    }
}

fn count(value: &str) -> Result<u32, RetryError> {
    let count = value.parse().ok();
    count
        .filter(|count| (2..=MOST_ATTEMPTS).contains(count))
        .ok_or_else(|| RetryError::Value {
            name: "attempts",
            reason: format!("`{value}` is no number from 2 to {MOST_ATTEMPTS}"),
        })
}

fn wait(name: &'static str, value: &str) -> Result<GoDuration, RetryError> {
    match value.parse::<GoDuration>() {
        Ok(wait) if wait.0 >= Duration::from_secs(1) => Ok(wait),
        Ok(_) => Err(RetryError::Value {
            name,
            reason: format!("`{value}` is shorter than a second"),
        }),
        Err(reason) => Err(RetryError::Value { name, reason }),
    }
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            attempts,
            backoff,
            max,
        } = self;
        write!(f, "attempts={attempts},backoff={backoff},max={max}")
    }
}

impl Retry {
    /// When the run is tried again after its attempt number `attempt` (from 1) ended in `phase`; `None`
    /// when it is not: it succeeded, was refused, still runs, or was the last attempt.
    ///
    /// The next regular run takes the place of a retry that would come after it; the caller, who knows
    /// when that is, asks [`super::decide`] first.
    #[must_use]
    pub fn again_at(&self, attempt: u32, phase: &BackupPhase, ended: Time) -> Option<Time> {
        let worth = matches!(phase, BackupPhase::Failed | BackupPhase::PartiallyFailed);
        if !worth || attempt == 0 || attempt >= self.attempts {
            return None;
        }
        let doubled = 2u32.saturating_pow(attempt - 1);
        let wait = self.backoff.0.saturating_mul(doubled).min(self.max.0);
        Some(ended.plus(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_round_trip_through_their_text() {
        for (text, printed) in [
            ("attempts=3", "attempts=3,backoff=10m0s,max=2h0m0s"),
            (
                " max=1h , backoff=1m,attempts=5,",
                "attempts=5,backoff=1m0s,max=1h0m0s",
            ),
            (
                "attempts=2,backoff=6h",
                "attempts=2,backoff=6h0m0s,max=6h0m0s",
            ),
        ] {
            let retry: Retry = text.parse().expect(text);
            assert_eq!(retry.to_string(), printed);
            assert_eq!(printed.parse(), Ok(retry));
        }
    }

    #[test]
    fn what_is_wrong_with_a_rule_is_said() {
        for (text, error) in [
            (
                "",
                "attempts is missing: write how many backups a run may take, such as attempts=3",
            ),
            ("3", "`3` is not of the form name=value, such as attempts=3"),
            ("attempts=1", "attempts: `1` is no number from 2 to 20"),
            (
                "attempts=3,tries=3",
                "`tries` is not known: use attempts, backoff or max",
            ),
            ("attempts=3,attempts=4", "`attempts` is given twice"),
            (
                "attempts=3,backoff=0s",
                "backoff: `0s` is shorter than a second",
            ),
            (
                "attempts=3,max=1d",
                "max: `1d` is not a duration such as 30m, 720h or 1h30m0s",
            ),
        ] {
            let found = text.parse::<Retry>().expect_err(text);
            assert_eq!(found.to_string(), error, "{text}");
        }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let retry: Retry = "attempts=6,backoff=10m,max=1h".parse().expect("valid");
        let ended: Time = "2026-11-20T02:00:00Z".parse().expect("time");
        let minutes = |attempt, phase: BackupPhase| {
            let at = retry.again_at(attempt, &phase, ended)?;
            Some(at.seconds_since(ended) / 60)
        };
        let waits: Vec<_> = (0..=6).map(|n| minutes(n, BackupPhase::Failed)).collect();
        assert_eq!(
            waits,
            [None, Some(10), Some(20), Some(40), Some(60), Some(60), None]
        );
        assert_eq!(minutes(1, BackupPhase::PartiallyFailed), Some(10));
        for phase in [
            BackupPhase::Completed,
            BackupPhase::FailedValidation,
            BackupPhase::InProgress,
        ] {
            assert_eq!(minutes(1, phase), None);
        }
    }
}
