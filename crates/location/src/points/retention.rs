//! Which points of a source stay, by the pure plan that decides for backups.

use std::collections::BTreeMap;

use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_api::retention::{Guard, Point as Planned, Scope, Series};
use salvor_api::velero::BackupPhase;

pub use salvor_api::retention::{Policy, RetentionPlan, SeriesPlan, Stop};

use super::{Additions, Point};

/// Plans the points of one source. Without a policy nothing goes. `used_by` says, by id, what needs a point whatever the
/// policy says.
#[must_use]
pub fn plan(
    location: &str,
    source: &str,
    points: &[&Point],
    additions: &BTreeMap<String, Additions>,
    policy: Option<&Policy>,
    used_by: &BTreeMap<String, String>,
    now: Timestamp,
) -> RetentionPlan {
    let planned = points.iter().map(|point| {
        let said = additions.get(point.id.as_str());
        let holds = said.into_iter().flat_map(|said| &said.holds);
        Planned {
            name: point.id.to_string(),
            taken: Time::new(point.created),
            phase: BackupPhase::Completed,
            expiration: None,
            verified: said.and_then(|said| said.sound) == Some(true),
            damaged: said.and_then(|said| said.sound) == Some(false),
            holds: holds.map(|hold| hold.reason.clone()).collect(),
            archived: None,
            used_by: used_by.get(point.id.as_str()).cloned().unwrap_or_default(),
        }
    });
    let series = Series {
        name: source.to_owned(),
        policy: policy.cloned(),
        protected: true,
        foreign: false,
        points: planned.collect(),
    };
    let scope = Scope {
        location: location.to_owned(),
        now: Time::new(now),
        store_clock: None,
        guard: Guard::default(),
    };
    RetentionPlan::new(&scope, vec![series])
}
