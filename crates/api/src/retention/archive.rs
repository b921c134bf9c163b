//! Archiving: backups that stay, and are read so rarely that they may lie in a colder storage class.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::plan::{Action, Decision, Point};
use super::policy::{Policy, Span};
use super::rules::Reason;
use crate::go::Time;

const HOUR: u64 = 3600;

/// From when on backups lie in which storage class, as `90d:DEEP_ARCHIVE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// How old a backup is when it is moved.
    pub after: Span,
    /// The store's name for the class.
    pub class: String,
}

impl FromStr for Archive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (after, class) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` is not AGE:CLASS, such as 90d:DEEP_ARCHIVE"))?;
        let named = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
        if class.is_empty() || !class.bytes().all(named) {
            return Err(format!(
                "`{class}` is no storage class such as STANDARD_IA, GLACIER or DEEP_ARCHIVE"
            ));
        }
        Ok(Self {
            after: after.parse()?,
            class: class.to_owned(),
        })
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.after, self.class)
    }
}

/// How long it takes, as the provider says, until an object of a storage class can be read; zero for classes that are
/// read at once.
#[must_use]
pub fn retrieval(class: &str) -> Duration {
    Duration::from_secs(match class {
        "GLACIER" => 5 * HOUR,
        "DEEP_ARCHIVE" => 12 * HOUR,
        _ => 0,
    })
}

/// What a backup says of having been archived: `DEEP_ARCHIVE, retrieval 12h`.
#[must_use]
pub fn mark(class: &str) -> String {
    match retrieval(class).as_secs() / HOUR {
        0 => format!("{class}, read at once"),
        hours => format!("{class}, retrieval {hours}h"),
    }
}

/// The class in such a mark.
#[must_use]
pub fn marked_class(mark: &str) -> &str {
    mark.split(',').next().unwrap_or_default().trim()
}

/// Turns the decision to keep a backup into one to archive it, where the policy says so. What may be needed at any
/// moment, or is not ours to move, stays where it is.
pub(super) fn apply(decision: &mut Decision, point: &Point, policy: &Policy, now: Time) {
    let Some(archive) = &policy.archive else {
        return;
    };
    let stays_at_hand = decision.reasons.iter().any(|reason| {
        matches!(
            reason,
            Reason::Held { .. }
                | Reason::Foreign
                | Reason::InUse { .. }
                | Reason::Unfinished { .. }
                | Reason::FromTheFuture
                | Reason::LastGood
                | Reason::LastVerified
        )
    });
    let age = now.seconds_since(point.taken);
    let old = u64::try_from(age).is_ok_and(|age| age >= archive.after.duration().as_secs());
    if decision.action == Action::Keep
        && !stays_at_hand
        && old
        && point.archived.is_none()
        && point.phase.is_restorable()
    {
        decision.action = Action::Archive;
        decision.class = Some(archive.class.clone());
    }
}
