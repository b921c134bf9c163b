//! Making a plan.

use std::collections::BTreeSet;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::archive;
use super::policy::Policy;
use super::rules::{Reason, keep_by_policy, sound};
use crate::go::{GoDuration, Time};
use crate::schedule::CLOCK_TOLERANCE;
use crate::velero::BackupPhase;

/// One backup as it lies in the location.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Name of the backup.
    pub name: String,
    /// When it was begun: what it is counted by.
    pub taken: Time,
    /// How it ended.
    pub phase: BackupPhase,
    /// When it may go, for series without a policy.
    pub expiration: Option<Time>,
    /// Whether a verification of this copy succeeded and none failed since.
    pub verified: bool,
    /// Whether the newest verification of this copy failed: it is no good one, and protects nothing.
    pub damaged: bool,
    /// Why it is held, one text per hold; empty when it is not.
    pub holds: Vec<String>,
    /// The storage class that it was archived in; `None` when it was not.
    pub archived: Option<String>,
    /// What uses it now, such as a restore; empty when nothing does.
    pub used_by: String,
}

/// Backups that are counted together: those of one schedule of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name for people.
    pub name: String,
    /// What is kept; without it, every backup goes at its expiration.
    pub policy: Option<Policy>,
    /// Whether the newest good one and the newest verified one stay, whatever else is said. Set for every
    /// series with a policy and for those whose schedule exists; not for backups that were made by hand
    /// under a TTL, each of which was meant to go.
    pub protected: bool,
    /// Whether another cluster made these backups: all of them stay.
    pub foreign: bool,
    /// The backups, in any order.
    pub points: Vec<Point>,
}

/// When a plan may not be carried out without being confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Percent of the backups of a series, or of all series together, that may go at once.
    pub share: u8,
    /// Numbers of backups up to this are not guarded: one of two is half.
    pub at_least: usize,
}

impl Default for Guard {
    /// More than half of more than ten.
    fn default() -> Self {
        Self {
            share: 50,
            at_least: 10,
        }
    }
}

impl Guard {
    /// True when so much would go at once that somebody must look first.
    #[must_use]
    pub fn trips(&self, removed: usize, of: usize) -> bool {
        of > self.at_least && removed * 100 > of * usize::from(self.share)
    }
}

/// For which location a plan is made, when, and under which guard.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Name of the location.
    pub location: String,
    /// The time here.
    pub now: Time,
    /// The time by the store's clock, when it is known.
    pub store_clock: Option<Time>,
    /// When to stop.
    pub guard: Guard,
}

/// What happens to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It stays.
    Keep,
    /// It stays, in a colder storage class.
    Archive,
    /// It goes.
    Remove,
}

/// What happens to one backup, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Name of the backup.
    pub name: String,
    /// When it was begun.
    pub taken: Time,
    /// What happens to it.
    pub action: Action,
    /// The storage class that it goes to, or lies in already.
    pub class: Option<String>,
    /// Every reason to keep it, or the one to remove it; never empty.
    pub reasons: Vec<Reason>,
}

/// The decisions for one series, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPlan {
    /// Name of the series.
    pub name: String,
    /// The policy as text; `expiration` without one.
    pub policy: String,
    /// One per backup.
    pub decisions: Vec<Decision>,
}

impl SeriesPlan {
    /// Names of what goes.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.decisions
            .iter()
            .filter(|decision| decision.action == Action::Remove)
            .map(|decision| decision.name.as_str())
    }
}

/// Why nothing may be removed before somebody looked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// More would go than the guard lets through.
    #[error("{removed} of {of} backups of {what} would go, more than {share} percent")]
    Share {
        /// How many would go.
        removed: usize,
        /// How many there are.
        of: usize,
        /// The series, or the location.
        what: String,
        /// The guard's share.
        share: u8,
    },
    /// The clocks differ, so ages cannot be trusted.
    #[error("the clock here says {here}, the store's says {store}: set the wrong one first")]
    Clock {
        /// The time here.
        here: Time,
        /// The time by the store's clock.
        store: Time,
    },
}

/// What goes from a location and what stays, with reasons. Prints as text.
#[derive(Clone, Debug, PartialEq)]
pub struct RetentionPlan {
    /// Name of the location.
    pub location: String,
    /// For which moment it was made.
    pub now: Time,
    /// By series, in the order of their names.
    pub series: Vec<SeriesPlan>,
    /// Why it may not be carried out as it is.
    pub stop: Option<Stop>,
}

impl RetentionPlan {
    /// Plans a location. Depends on nothing but its arguments, and not on their order.
    #[must_use]
    pub fn new(scope: &Scope, mut series: Vec<Series>) -> Self {
        series.sort_by(|a, b| a.name.cmp(&b.name));
        let plans: Vec<SeriesPlan> = series
            .into_iter()
            .map(|series| plan_series(series, scope.now))
            .collect();
        let stop = stop(scope, &plans);
        Self {
            location: scope.location.clone(),
            now: scope.now,
            series: plans,
            stop,
        }
    }

    /// Digest of what goes, to confirm this plan with: the first 12 hex digits of the SHA-256 of location
    /// and names.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.location);
        for name in self.removed() {
            // No name holds a line feed.
            hash.update("\n");
            hash.update(name);
        }
        let digest = hash.finalize();
        digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Backups that are to be archived, and in which storage class. None while the plan stops: ages may be wrong.
    pub fn to_archive(&self) -> impl Iterator<Item = (&str, &str)> {
        let stopped = self.stop.is_some();
        let decisions = self.series.iter().flat_map(|series| &series.decisions);
        decisions
            .filter(move |decision| !stopped && decision.action == Action::Archive)
            .filter_map(|decision| Some((decision.name.as_str(), decision.class.as_deref()?)))
    }

    fn removed(&self) -> BTreeSet<&str> {
        self.series.iter().flat_map(SeriesPlan::removed).collect()
    }

    /// Names of the backups to remove, when that may be done.
    ///
    /// # Errors
    /// The plan stops, and `confirmed` is not its [`digest`](Self::digest). Clocks that differ cannot be
    /// confirmed away.
    pub fn to_remove(&self, confirmed: Option<&str>) -> Result<Vec<&str>, Stop> {
        match &self.stop {
            Some(stop @ Stop::Clock { .. }) => Err(stop.clone()),
            Some(stop) if confirmed != Some(self.digest().as_str()) => Err(stop.clone()),
            _ => Ok(self.removed().into_iter().collect()),
        }
    }
}

fn stop(scope: &Scope, plans: &[SeriesPlan]) -> Option<Stop> {
    if let Some(store) = scope.store_clock {
        let apart = store.seconds_since(scope.now).unsigned_abs();
        let removes = plans.iter().any(|plan| plan.removed().next().is_some());
        if removes && Duration::from_secs(apart) > CLOCK_TOLERANCE {
            return Some(Stop::Clock {
                here: scope.now,
                store,
            });
        }
    }
    let counts = plans.iter().map(|plan| {
        let what = format!("series {}", plan.name);
        (what, plan.removed().count(), plan.decisions.len())
    });
    let whole = (
        format!("location {}", scope.location),
        plans.iter().map(|plan| plan.removed().count()).sum(),
        plans.iter().map(|plan| plan.decisions.len()).sum(),
    );
    counts
        .chain([whole])
        .find(|(_, removed, of)| scope.guard.trips(*removed, *of))
        .map(|(what, removed, of)| Stop::Share {
            removed,
            of,
            what,
            share: scope.guard.share,
        })
}

fn plan_series(series: Series, now: Time) -> SeriesPlan {
    let Series {
        name,
        policy,
        protected,
        foreign,
        mut points,
    } = series;
    // Newest first; names settle ties.
    points.sort_by(|a, b| (b.taken, &b.name).cmp(&(a.taken, &a.name)));
    let mut keep: Vec<Vec<Reason>> = points.iter().map(|point| always(point, now)).collect();
    if foreign {
        keep.iter_mut()
            .for_each(|reasons| reasons.push(Reason::Foreign));
    }
    if protected {
        let mut good = (0..points.len()).filter(|at| sound(&points[*at], now));
        if let Some(at) = good.clone().next() {
            keep[at].push(Reason::LastGood);
        }
        if let Some(at) = good.find(|at| points[*at].verified) {
            keep[at].push(Reason::LastVerified);
        }
    }
    match &policy {
        Some(policy) => keep_by_policy(policy, &points, now, &mut keep),
        None => {
            for (point, reasons) in points.iter().zip(&mut keep) {
                match point.expiration {
                    Some(expiration) if expiration > now => {
                        reasons.push(Reason::Expires { at: expiration });
                    }
                    Some(_) => {}
                    None => reasons.push(Reason::NoExpiration),
                }
            }
        }
    }
    let decisions = points
        .into_iter()
        .zip(keep)
        .map(|(point, reasons)| decide(point, reasons, policy.as_ref(), now))
        .collect();
    SeriesPlan {
        name,
        policy: policy.map_or_else(|| "expiration".to_owned(), |policy| policy.to_string()),
        decisions,
    }
}

/// Reasons that no policy and no expiration overrules.
fn always(point: &Point, now: Time) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = point
        .holds
        .iter()
        .map(|hold| Reason::Held { why: hold.clone() })
        .collect();
    if !point.used_by.is_empty() {
        reasons.push(Reason::InUse {
            by: point.used_by.clone(),
        });
    }
    if !point.phase.is_final() {
        reasons.push(Reason::Unfinished {
            phase: point.phase.to_string(),
        });
    }
    if point.taken > now.plus(CLOCK_TOLERANCE) {
        reasons.push(Reason::FromTheFuture);
    }
    reasons
}

fn decide(point: Point, keep: Vec<Reason>, policy: Option<&Policy>, now: Time) -> Decision {
    let (action, reasons) = if keep.is_empty() {
        let failed = matches!(
            point.phase,
            BackupPhase::Failed | BackupPhase::FailedValidation
        );
        let reason = match (policy, point.expiration) {
            (None, Some(expiration)) => Reason::Expired {
                ago: now.seconds_since(expiration),
            },
            (Some(_), _) if failed => Reason::FailedAge {
                age: now.seconds_since(point.taken),
            },
            _ => Reason::NoRule,
        };
        (Action::Remove, vec![reason])
    } else {
        (Action::Keep, keep)
    };
    let mut decision = Decision {
        name: point.name.clone(),
        taken: point.taken,
        action,
        class: point.archived.clone(),
        reasons,
    };
    if let Some(policy) = policy {
        archive::apply(&mut decision, &point, policy, now);
    }
    decision
}

/// The expiration that a new backup carries: none under a policy, since Velero would follow it on a
/// shared bucket; otherwise start and TTL.
#[must_use]
pub fn expiration(policy: Option<&Policy>, started: Time, ttl: GoDuration) -> Option<Time> {
    policy.is_none().then(|| started.plus(ttl.0))
}
