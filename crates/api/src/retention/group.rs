//! From the backups of a location to the series that a plan is made of.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::archive::marked_class;
use super::plan::{Point, Series};
use super::policy::{Policy, PolicyError, policy_for};
use crate::go::Time;
use crate::labels;
use crate::meta::StringMap;
use crate::velero::{Backup, Schedule};

/// What is known of a location and its backups.
#[derive(Clone, Debug)]
pub struct Inventory<'a> {
    /// Name of the location.
    pub location: &'a str,
    /// Identity of this cluster; empty when it is not known, and then nothing is another cluster's.
    pub cluster: &'a str,
    /// The backups, as their records in the location say.
    pub backups: &'a [Backup],
    /// The schedules of this cluster.
    pub schedules: &'a [Schedule],
    /// Names of the backups that were verified here.
    pub verified: &'a BTreeSet<String>,
    /// Names of the backups whose newest verification here found damage.
    pub damaged: &'a BTreeSet<String>,
    /// Holds, by name of the backup.
    pub holds: &'a BTreeMap<String, Vec<String>>,
    /// What uses a backup now, by its name.
    pub used_by: &'a StringMap,
}

/// A series that is left alone because its policy cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the retention of series {series}: nothing of it is removed")]
pub struct Unreadable {
    /// Name of the series.
    pub series: String,
    /// What is wrong.
    #[source]
    pub source: PolicyError,
}

/// Which series a backup belongs to: the cluster that made it, and the label of its schedule.
type Key<'a> = (&'a str, Option<&'a str>);

/// The series of a location.
///
/// Backups of one schedule and cluster are one series; those made by hand are another, unprotected one per
/// cluster. The policy is that of the schedule; once the schedule is gone, that of its newest backup, which
/// carries the schedule's annotations.
#[must_use]
pub fn group(inventory: &Inventory) -> (Vec<Series>, Vec<Unreadable>) {
    let mut groups: BTreeMap<Key, Vec<&Backup>> = BTreeMap::new();
    for backup in inventory.backups {
        let cluster = match backup.metadata.annotations.get(labels::CLUSTER_UID) {
            Some(cluster) => cluster.as_str(),
            // Velero does not say; what it made is treated as it would.
            None => inventory.cluster,
        };
        let schedule = backup.metadata.labels.get(labels::SCHEDULE_NAME);
        let key = (cluster, schedule.map(String::as_str));
        groups.entry(key).or_default().push(backup);
    }
    let (mut series, mut unreadable) = (Vec::new(), Vec::new());
    for ((cluster, label), mut backups) in groups {
        let foreign = !inventory.cluster.is_empty() && cluster != inventory.cluster;
        let schedule = inventory
            .schedules
            .iter()
            .filter(|_| !foreign)
            .find(|schedule| Some(labels::label_value(&schedule.metadata.name).as_str()) == label);
        backups.sort_by_key(|backup| taken(backup));
        let name = name(label, foreign.then_some(cluster));
        match policy(label, schedule, &backups, inventory.location) {
            Err(source) => unreadable.push(Unreadable {
                series: name,
                source,
            }),
            Ok(policy) => series.push(Series {
                name,
                protected: policy.is_some() || schedule.is_some(),
                foreign,
                policy,
                points: backups
                    .into_iter()
                    .map(|backup| point(backup, inventory))
                    .collect(),
            }),
        }
    }
    (series, unreadable)
}

fn name(label: Option<&str>, foreign: Option<&str>) -> String {
    let name = label.unwrap_or("(by hand)");
    match foreign {
        None => name.to_owned(),
        Some(cluster) => format!("{name} of cluster {cluster}"),
    }
}

fn policy(
    label: Option<&str>,
    schedule: Option<&Schedule>,
    backups: &[&Backup],
    location: &str,
) -> Result<Option<Policy>, PolicyError> {
    let Some(_) = label else {
        return Ok(None);
    };
    let annotations = match (schedule, backups.last()) {
        (Some(schedule), _) => &schedule.metadata.annotations,
        (None, Some(newest)) => &newest.metadata.annotations,
        (None, None) => return Ok(None),
    };
    policy_for(annotations, location)
}

/// When a backup was begun. One that does not say is dated as late as can be, so that it stays.
fn taken(backup: &Backup) -> Time {
    backup
        .status
        .start_timestamp
        .or(backup.metadata.creation_timestamp)
        .unwrap_or_else(|| Time::new(Timestamp::MAX))
}

fn point(backup: &Backup, inventory: &Inventory) -> Point {
    let name = &backup.metadata.name;
    Point {
        name: name.clone(),
        taken: taken(backup),
        phase: backup.status.phase.clone(),
        expiration: backup.status.expiration,
        verified: inventory.verified.contains(name),
        damaged: inventory.damaged.contains(name),
        holds: inventory.holds.get(name).cloned().unwrap_or_default(),
        archived: backup
            .metadata
            .annotations
            .get(labels::ARCHIVED)
            .map(|mark| marked_class(mark).to_owned()),
        used_by: inventory.used_by.get(name).cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::retention::{Guard, RetentionPlan, Scope};
    use crate::velero::BackupPhase;

    fn backup(name: &str, day: u32, schedule: &str, annotations: &[(&str, &str)]) -> Backup {
        let mut backup = Backup::named("velero", name);
        let at = format!("2026-11-{day:02}T02:00:00Z");
        backup.status.start_timestamp = Some(at.parse().expect("time"));
        backup.status.phase = BackupPhase::Completed;
        let labels = &mut backup.metadata.labels;
        if !schedule.is_empty() {
            labels.insert(labels::SCHEDULE_NAME.into(), schedule.into());
        }
        for (key, value) in annotations {
            let annotations = &mut backup.metadata.annotations;
            annotations.insert((*key).into(), (*value).into());
        }
        backup
    }

    #[test]
    fn backups_are_grouped_by_cluster_and_schedule() {
        let ours = (labels::CLUSTER_UID, "us");
        let theirs = (labels::CLUSTER_UID, "them");
        let one = (labels::RETENTION, "last=1");
        let mut expired = backup("hand-1", 1, "", &[ours]);
        expired.status.expiration = Some("2026-11-02T00:00:00Z".parse().expect("time"));
        let mut undated = backup("undated", 1, "nightly", &[]);
        undated.status.start_timestamp = None;
        let backups = [
            backup(
                "nightly-1",
                1,
                "nightly",
                &[ours, (labels::RETENTION, "last=9")],
            ),
            backup("nightly-2", 2, "nightly", &[]),
            backup("nightly-3", 3, "nightly", &[ours]),
            undated,
            backup("gone-1", 1, "gone", &[ours]),
            backup("gone-2", 2, "gone", &[ours, one]),
            backup("broken-1", 1, "broken", &[ours]),
            backup("foreign-1", 1, "nightly", &[theirs, one]),
            backup("foreign-2", 2, "nightly", &[theirs, one]),
            expired,
            backup("hand-2", 2, "", &[ours, one]),
        ];
        let schedule = |name: &str, retention: &str| {
            let mut schedule = Schedule::named("velero", name);
            let annotations = &mut schedule.metadata.annotations;
            annotations.insert(labels::RETENTION.into(), retention.into());
            schedule
        };
        let schedules = [schedule("nightly", "last=1"), schedule("broken", "last")];
        let inventory = Inventory {
            location: "default",
            cluster: "us",
            backups: &backups,
            schedules: &schedules,
            verified: &["nightly-1".to_owned()].into(),
            damaged: &BTreeSet::new(),
            holds: &[("gone-1".to_owned(), vec!["audit".to_owned()])].into(),
            used_by: &StringMap::new(),
        };
        let (series, unreadable) = group(&inventory);
        let errors: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            ["read the retention of series broken: nothing of it is removed"]
        );
        let scope = Scope {
            location: "default".to_owned(),
            now: "2026-11-20T00:00:00Z".parse().expect("time"),
            store_clock: None,
            guard: Guard::default(),
        };
        expect![[r#"
            location default at 2026-11-20T00:00:00Z
            series (by hand): expiration
              hand-2 keep: no expiration
              hand-1 remove: expired 18d ago
            series gone: last=1
              gone-2 keep: last good one, last 1
              gone-1 keep: held: audit
            series nightly: last=1
              undated keep: dated in the future
              nightly-3 keep: last good one, last 1
              nightly-2 remove: no rule keeps it
              nightly-1 keep: last verified one
            series nightly of cluster them: last=1
              foreign-2 keep: of another cluster, last good one, last 1
              foreign-1 keep: of another cluster
            keep 8, remove 2 of 10
        "#]]
        .assert_eq(&RetentionPlan::new(&scope, series).to_string());
    }
}
