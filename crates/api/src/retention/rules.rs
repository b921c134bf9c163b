//! The rules of a policy, and the reasons that they give.

use std::collections::BTreeSet;
use std::fmt;

use jiff::tz::TimeZone;

use super::plan::Point;
use super::policy::{Count, Policy};
use crate::go::Time;
use crate::schedule::CLOCK_TOLERANCE;
use crate::velero::BackupPhase;

/// What backups are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// By hour.
    Hourly,
    /// By day.
    Daily,
    /// By ISO week.
    Weekly,
    /// By month.
    Monthly,
    /// By year.
    Yearly,
}

impl Period {
    const ALL: [Self; 5] = [
        Self::Hourly,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::Yearly,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    fn count(self, policy: &Policy) -> Count {
        match self {
            Self::Hourly => policy.hourly,
            Self::Daily => policy.daily,
            Self::Weekly => policy.weekly,
            Self::Monthly => policy.monthly,
            Self::Yearly => policy.yearly,
        }
    }

    /// The hour, day and so on that the clock of `zone` shows, as text: equal within a period, different
    /// between two. Hours carry their offset, since a clock shows one hour twice when it is set back.
    fn of(self, at: Time, zone: &TimeZone) -> String {
        let shown = at.timestamp().to_zoned(zone.clone());
        let form = match self {
            Self::Hourly => "%Y-%m-%dT%H%:z",
            Self::Daily => "%Y-%m-%d",
            Self::Weekly => "%G-W%V",
            Self::Monthly => "%Y-%m",
            Self::Yearly => "%Y",
        };
        shown.strftime(form).to_string()
    }
}

/// Why a backup stays or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Stays: somebody holds it.
    Held {
        /// Who and why.
        why: String,
    },
    /// Stays: another cluster made it.
    Foreign,
    /// Stays: it is being read.
    InUse {
        /// By what.
        by: String,
    },
    /// Stays: it has not come to its end.
    Unfinished {
        /// Its phase.
        phase: String,
    },
    /// Stays, and is not counted: the clock that dated it was wrong.
    FromTheFuture,
    /// Stays: the newest good one.
    LastGood,
    /// Stays: the newest good one that was verified.
    LastVerified,
    /// Stays: one of the newest.
    Last {
        /// Which one, from 1.
        rank: usize,
    },
    /// Stays: the newest of a period.
    Newest {
        /// What is counted.
        period: Period,
        /// Which one.
        label: String,
        /// It is partial, and the period has no complete one.
        partial: bool,
    },
    /// Stays: partial, but newer than the newest complete one.
    PartialButNewer,
    /// Stays: young enough.
    Within {
        /// The policy's span, as written.
        span: String,
    },
    /// Stays: failed, and its log may still be wanted.
    FailedRecently,
    /// Stays: its time has not come.
    Expires {
        /// When it will.
        at: Time,
    },
    /// Stays: nothing says when it should go.
    NoExpiration,
    /// Goes: its time is over.
    Expired {
        /// For how many seconds.
        ago: i64,
    },
    /// Goes: no rule of the policy keeps it.
    NoRule,
    /// Goes: failed, and long ago.
    FailedAge {
        /// How many seconds ago it was begun.
        age: i64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { why } => write!(f, "held: {why}"),
            Self::Foreign => f.write_str("of another cluster"),
            Self::InUse { by } => write!(f, "in use by {by}"),
            Self::Unfinished { phase } => write!(f, "not finished: {phase}"),
            Self::FromTheFuture => f.write_str("dated in the future"),
            Self::LastGood => f.write_str("last good one"),
            Self::LastVerified => f.write_str("last verified one"),
            Self::Last { rank } => write!(f, "last {rank}"),
            Self::Newest {
                period,
                label,
                partial,
            } => {
                write!(f, "{} {label}", period.name())?;
                f.write_str(if *partial {
                    " (partial, none complete)"
                } else {
                    ""
                })
            }
            Self::PartialButNewer => f.write_str("partial, newer than the last good one"),
            Self::Within { span } => write!(f, "within {span}"),
            Self::FailedRecently => f.write_str("failed recently"),
            Self::Expires { at } => write!(f, "expires {at}"),
            Self::NoExpiration => f.write_str("no expiration"),
            Self::Expired { ago } => write!(f, "expired {} ago", Seconds(*ago)),
            Self::NoRule => f.write_str("no rule keeps it"),
            Self::FailedAge { age } => write!(f, "failed {} ago", Seconds(*age)),
        }
    }
}

/// A length of time by its largest unit: `3d`.
struct Seconds(i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s >= 86_400 => write!(f, "{}d", s / 86_400),
            s if s >= 3_600 => write!(f, "{}h", s / 3_600),
            s if s >= 60 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

/// Complete, and dated by a clock that can be believed.
pub(super) fn sound(point: &Point, now: Time) -> bool {
    point.phase == BackupPhase::Completed && !point.damaged && is_past(point, now)
}

fn is_past(point: &Point, now: Time) -> bool {
    point.taken <= now.plus(CLOCK_TOLERANCE)
}

/// Adds the reasons that a policy gives. `points` are sorted, newest first.
///
/// Complete backups are counted. Partial ones never take a place from them: one stays for a period that
/// has none complete, in at most as many periods as the rule counts and none before those, and where it is
/// newer than the newest complete one. Failed ones stay for a while.
pub(super) fn keep_by_policy(
    policy: &Policy,
    points: &[Point],
    now: Time,
    keep: &mut [Vec<Reason>],
) {
    let complete: Vec<usize> = (0..points.len())
        .filter(|at| sound(&points[*at], now))
        .collect();
    let partial: Vec<usize> = (0..points.len())
        .filter(|at| {
            points[*at].phase == BackupPhase::PartiallyFailed && is_past(&points[*at], now)
        })
        .collect();
    for (rank, at) in (1..=policy.last.get()).zip(&complete) {
        keep[*at].push(Reason::Last { rank });
    }
    let newest = complete.first().map_or(points.len(), |at| *at);
    let newer = partial.iter().take_while(|at| **at < newest);
    for at in newer.take(policy.last.get().max(1)) {
        keep[*at].push(Reason::PartialButNewer);
    }
    for period in Period::ALL {
        let label = |at: usize| period.of(points[at].taken, &policy.zone);
        let count = period.count(policy).get();
        if count == 0 {
            continue;
        }
        let mut seen = BTreeSet::new();
        let counted = newest_of_each(&complete, label, &mut seen, count);
        // Once all places are taken, older periods are not looked at: there, complete ones go too.
        let oldest = counted.last().map_or(points.len(), |(at, _)| *at);
        let full = counted.len() == count;
        let eligible: Vec<usize> = partial
            .iter()
            .copied()
            .filter(|at| !full || *at < oldest)
            .collect();
        let stopgaps = newest_of_each(&eligible, label, &mut seen, count);
        let reasons = |partial| {
            move |(at, label)| {
                (
                    at,
                    Reason::Newest {
                        period,
                        label,
                        partial,
                    },
                )
            }
        };
        let kept = counted.into_iter().map(reasons(false));
        for (at, reason) in kept.chain(stopgaps.into_iter().map(reasons(true))) {
            keep[at].push(reason);
        }
    }
    for (point, reasons) in points.iter().zip(keep) {
        let age = now.seconds_since(point.taken);
        let younger = |span: super::Span| age < span.duration().as_secs() as i64;
        let usable = point.phase.is_restorable();
        if let Some(span) = policy.within.filter(|span| usable && younger(*span)) {
            reasons.push(Reason::Within {
                span: span.to_string(),
            });
        }
        if point.phase.is_final() && !usable && younger(policy.failed) {
            reasons.push(Reason::FailedRecently);
        }
    }
}

/// The first, hence newest, of each of the first `count` periods that were not seen before.
fn newest_of_each(
    points: &[usize],
    label: impl Fn(usize) -> String,
    seen: &mut BTreeSet<String>,
    count: usize,
) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in points {
        if found.len() == count {
            break;
        }
        let label = label(*at);
        if seen.insert(label.clone()) {
            found.push((*at, label));
        }
    }
    found
}
