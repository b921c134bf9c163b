//! Whether a schedule runs now.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::cron::Cron;
use crate::go::Time;
use crate::labels;
use crate::meta::OwnerReference;
use crate::name::check_dns_subdomain;
use crate::velero::{Backup, BackupPhase, Kind, Schedule};

/// How far a time written by another machine, or before the clock was set, may lie in the future and
/// still be believed. Clocks that follow a time server agree within seconds; ten minutes also covers one
/// that does not, and is short against the interval of any schedule.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(600);

/// Annotation that `kubectl apply` keeps; it is the schedule's and means nothing on a backup.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What the server was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The clock of expressions without a zone of their own; Velero's image has UTC.
    pub zone: TimeZone,
    /// For schedules that do not say whether a run that is due at once is left out.
    pub skip_immediately: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            zone: TimeZone::UTC,
            skip_immediately: false,
        }
    }
}

/// What to do about a schedule now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Set the phase to `FailedValidation` with these errors. Once the schedule was corrected, ask again.
    Refuse {
        /// What is wrong, one sentence each.
        errors: Vec<String>,
    },
    /// It is paused: do nothing.
    Rest,
    /// Leave out what is due: set `spec.skipImmediately` to false and `status.lastSkipped` to now, then
    /// ask again.
    Skip,
    /// Nothing to do before this time. `None` when no run is in sight for five years.
    Wait {
        /// When the next run is due.
        until: Option<Time>,
    },
    /// A run is due, and another backup of this schedule is not far enough. Ask again when it is.
    HoldBack {
        /// Since when the run is due; `None` when it is due because the recorded time cannot be right.
        since: Option<Time>,
        /// The backup that is in the way.
        by: String,
    },
    /// Create this backup, and set `status.lastBackup` to now. However many runs were missed, this is
    /// the one that makes up for them.
    Run {
        /// Since when the run is due; `None` when it is due because the recorded time cannot be right.
        since: Option<Time>,
        /// Name of the backup.
        name: String,
    },
}

/// Decides what to do about `schedule` at `now`, given the backups in its namespace.
///
/// The next run is the first time of the expression after the last run, or after the creation when there
/// was none, or after a run that was left out, whichever is latest. A recorded run that lies in the
/// future by more than [`CLOCK_TOLERANCE`] was written by a clock that was wrong: it would keep the
/// schedule silent until then, so the run is due at once.
#[must_use]
pub fn decide<'a>(
    schedule: &Schedule,
    backups: impl IntoIterator<Item = &'a Backup>,
    now: Time,
    server: &Server,
) -> Decision {
    let errors = validate(schedule);
    let cron = match schedule.spec.schedule.parse::<Cron>() {
        Ok(cron) if errors.is_empty() => cron,
        _ => return Decision::Refuse { errors },
    };
    if schedule.spec.paused {
        return Decision::Rest;
    }
    if schedule
        .spec
        .skip_immediately
        .unwrap_or(server.skip_immediately)
    {
        return Decision::Skip;
    }
    let since = match last(schedule, now) {
        None => None,
        Some(last) => match cron.next(last.timestamp(), &server.zone).map(Time::new) {
            Some(due) if due <= now => Some(due),
            until => return Decision::Wait { until },
        },
    };
    let label = labels::label_value(&schedule.metadata.name);
    let blocking = backups.into_iter().find(|backup| {
        backup.metadata.labels.get(labels::SCHEDULE_NAME) == Some(&label)
            && backup.metadata.namespace == schedule.metadata.namespace
            && holds_back(&backup.status.phase)
    });
    match blocking {
        Some(backup) => Decision::HoldBack {
            since,
            by: backup.metadata.name.clone(),
        },
        None => Decision::Run {
            since,
            name: run_name(schedule, now),
        },
    }
}

/// The time that the next run is counted from; `None` when what is recorded cannot be right.
fn last(schedule: &Schedule, now: Time) -> Option<Time> {
    let credible = |time: &Time| *time <= now.plus(CLOCK_TOLERANCE);
    let skipped = schedule.status.last_skipped.filter(credible);
    let ran = match schedule.status.last_backup {
        Some(time) => Some(time).filter(credible),
        // The API server's clock: if it is ahead, it stays ahead, and the first run waits for it.
        None => schedule.metadata.creation_timestamp,
    };
    skipped.max(ran)
}

/// True for the phases in which a backup keeps its schedule from starting another.
///
/// As in Velero, one that is queued or ready to start does not: with few backups at a time, a schedule
/// may have several in the queue.
#[must_use]
pub fn holds_back(phase: &BackupPhase) -> bool {
    matches!(
        phase,
        BackupPhase::Unset | BackupPhase::New | BackupPhase::InProgress
    )
}

/// What is wrong with a schedule, one sentence each; empty when it can run. The template is looked at
/// when a backup is made from it.
#[must_use]
pub fn validate(schedule: &Schedule) -> Vec<String> {
    let mut errors = Vec::new();
    if let Err(error) = schedule.spec.schedule.parse::<Cron>() {
        errors.push(format!("spec.schedule: {error}"));
    }
    // Any time has a name of the same length.
    let name = format!("{}-20261120020000", schedule.metadata.name);
    if let Err(error) = check_dns_subdomain("backup", &name) {
        errors.push(format!("its backups cannot be named: {error}"));
    }
    errors
}

/// The name of the backup that a run at `now` makes: `nightly-20261120020012`, in UTC.
#[must_use]
pub fn run_name(schedule: &Schedule, now: Time) -> String {
    format!("{}-{}", schedule.metadata.name, now.compact())
}

/// The backup that a run at `now` makes, as it is sent to the API server.
///
/// Labels are those of the template or, when it has none, of the schedule; annotations are those of the
/// schedule, then of the template.
#[must_use]
pub fn backup_from(schedule: &Schedule, now: Time) -> Backup {
    let owner = &schedule.metadata;
    let template = &schedule.spec.template;
    let mut backup = Backup::named(&owner.namespace, &run_name(schedule, now));
    backup.spec = template.clone();
    backup.metadata.labels = match template.metadata.labels.is_empty() {
        true => owner.labels.clone(),
        false => template.metadata.labels.clone(),
    };
    backup.metadata.labels.insert(
        labels::SCHEDULE_NAME.to_owned(),
        labels::label_value(&owner.name),
    );
    backup.metadata.annotations = owner.annotations.clone();
    backup.metadata.annotations.remove(LAST_APPLIED);
    backup
        .metadata
        .annotations
        .extend(template.metadata.annotations.clone());
    if schedule.spec.use_owner_references_in_backup == Some(true) {
        backup.metadata.owner_references.push(OwnerReference {
            api_version: Schedule::API_VERSION.to_owned(),
            kind: Schedule::KIND.to_owned(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        });
    }
    backup
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().expect(text)
    }

    /// A schedule made on the evening before, at two every night.
    fn nightly() -> Schedule {
        let mut schedule = Schedule::named("velero", "nightly");
        schedule.metadata.creation_timestamp = Some(time("2026-11-19T20:00:00Z"));
        schedule.spec.schedule = "0 2 * * *".to_owned();
        schedule
    }

    fn at(schedule: &Schedule, now: &str) -> Decision {
        decide(schedule, [], time(now), &Server::default())
    }

    fn run(since: &str, name: &str) -> Decision {
        Decision::Run {
            since: Some(time(since)),
            name: name.to_owned(),
        }
    }

    fn wait(until: &str) -> Decision {
        Decision::Wait {
            until: Some(time(until)),
        }
    }

    #[test]
    fn a_run_is_due_from_its_second_on_and_once() {
        let mut schedule = nightly();
        assert_eq!(
            at(&schedule, "2026-11-20T01:59:59Z"),
            wait("2026-11-20T02:00:00Z")
        );
        let due = "2026-11-20T02:00:00Z";
        assert_eq!(at(&schedule, due), run(due, "nightly-20261120020000"));
        schedule.status.last_backup = Some(time(due));
        assert_eq!(at(&schedule, due), wait("2026-11-21T02:00:00Z"));
    }

    #[test]
    fn missed_runs_are_made_up_for_by_one() {
        let mut schedule = nightly();
        schedule.status.last_backup = Some(time("2026-11-01T02:00:10Z"));
        let now = "2026-11-20T13:30:00Z";
        assert_eq!(
            at(&schedule, now),
            run("2026-11-02T02:00:00Z", "nightly-20261120133000")
        );
        schedule.status.last_backup = Some(time(now));
        assert_eq!(at(&schedule, now), wait("2026-11-21T02:00:00Z"));
    }

    #[test]
    fn an_interval_waits_a_full_period_first() {
        let mut schedule = nightly();
        schedule.spec.schedule = "@every 6h".to_owned();
        assert_eq!(
            at(&schedule, "2026-11-19T20:00:01Z"),
            wait("2026-11-20T02:00:00Z")
        );
    }

    #[test]
    fn paused_skipped_and_refused_schedules_do_not_run() {
        let mut schedule = nightly();
        let now = "2026-11-20T03:00:00Z";
        schedule.spec.paused = true;
        schedule.spec.skip_immediately = Some(true);
        assert_eq!(at(&schedule, now), Decision::Rest);
        schedule.spec.paused = false;
        assert_eq!(at(&schedule, now), Decision::Skip);
        schedule.spec.skip_immediately = Some(false);
        schedule.status.last_skipped = Some(time(now));
        assert_eq!(at(&schedule, now), wait("2026-11-21T02:00:00Z"));
        // A later run counts more than an older skip.
        schedule.status.last_backup = Some(time("2026-11-21T02:00:05Z"));
        assert_eq!(
            at(&schedule, "2026-11-21T03:00:00Z"),
            wait("2026-11-22T02:00:00Z")
        );
        let server = Server {
            skip_immediately: true,
            ..Server::default()
        };
        schedule.spec.skip_immediately = None;
        assert_eq!(
            decide(&schedule, [], time(now), &server),
            Decision::Skip,
            "as the server is set"
        );
        schedule.spec.schedule = "0 25 * * *".to_owned();
        schedule.metadata.name = "n".repeat(240);
        let Decision::Refuse { errors } = at(&schedule, now) else {
            panic!("it is not valid");
        };
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("spec.schedule: hour `25`"));
    }

    #[test]
    fn a_phase_of_failed_validation_does_not_outlive_its_cause() {
        let mut schedule = nightly();
        schedule.status.phase = crate::velero::SchedulePhase::FailedValidation;
        schedule.status.validation_errors = vec!["old".to_owned()];
        assert!(matches!(
            at(&schedule, "2026-11-20T02:00:01Z"),
            Decision::Run { .. }
        ));
    }

    #[test]
    fn a_backup_that_runs_holds_the_next_one_back() {
        let schedule = nightly();
        let backup = |name: &str, label: &str, phase: BackupPhase| {
            let mut backup = Backup::named("velero", name);
            backup
                .metadata
                .labels
                .insert(labels::SCHEDULE_NAME.into(), label.into());
            backup.status.phase = phase;
            backup
        };
        let now = time("2026-11-20T02:00:00Z");
        let decision = |backups: &[Backup]| decide(&schedule, backups, now, &Server::default());
        let held = Decision::HoldBack {
            since: Some(now),
            by: "a".to_owned(),
        };
        for (phase, holds) in [
            (BackupPhase::Unset, true),
            (BackupPhase::New, true),
            (BackupPhase::InProgress, true),
            (BackupPhase::Queued, false),
            (BackupPhase::ReadyToStart, false),
            (BackupPhase::Finalizing, false),
            (BackupPhase::Completed, false),
            (BackupPhase::Failed, false),
        ] {
            let decided = decision(&[backup("a", "nightly", phase.clone())]);
            assert_eq!(decided == held, holds, "{phase}");
        }
        let other = backup("a", "hourly", BackupPhase::InProgress);
        assert!(matches!(decision(&[other]), Decision::Run { .. }));
        let mut elsewhere = backup("a", "nightly", BackupPhase::InProgress);
        elsewhere.metadata.namespace = "other".into();
        assert!(matches!(decision(&[elsewhere]), Decision::Run { .. }));
    }

    #[test]
    fn a_time_from_the_future_does_not_silence_a_schedule() {
        let mut schedule = nightly();
        let now = "2026-11-20T01:00:00Z";
        schedule.status.last_backup = Some(time("2027-11-20T02:00:00Z"));
        let at_once = Decision::Run {
            since: None,
            name: "nightly-20261120010000".to_owned(),
        };
        assert_eq!(at(&schedule, now), at_once);
        // Within the tolerance the record stands.
        schedule.status.last_backup = Some(time("2026-11-20T01:10:00Z"));
        assert_eq!(at(&schedule, now), wait("2026-11-20T02:00:00Z"));
        schedule.status.last_backup = Some(time("2026-11-19T02:00:00Z"));
        schedule.status.last_skipped = Some(time("2028-01-01T00:00:00Z"));
        assert_eq!(at(&schedule, now), wait("2026-11-20T02:00:00Z"));
    }

    #[test]
    fn the_zone_of_the_server_is_for_expressions_without_one() {
        let mut schedule = nightly();
        let server = Server {
            zone: TimeZone::get("Asia/Seoul").expect("the machine has time zones"),
            ..Server::default()
        };
        let next =
            |schedule: &Schedule| decide(schedule, [], time("2026-11-19T20:00:00Z"), &server);
        // 17:00 UTC is 02:00 in Seoul.
        assert_eq!(next(&schedule), wait("2026-11-20T17:00:00Z"));
        schedule.spec.schedule = "CRON_TZ=UTC 0 2 * * *".to_owned();
        assert_eq!(next(&schedule), wait("2026-11-20T02:00:00Z"));
    }

    #[test]
    fn a_backup_takes_after_its_schedule() {
        let mut schedule = nightly();
        schedule.metadata.uid = "u-1".into();
        schedule.metadata.labels.insert("team".into(), "a".into());
        for (key, value) in [(LAST_APPLIED, "{}"), ("note", "from the schedule")] {
            schedule
                .metadata
                .annotations
                .insert(key.into(), value.into());
        }
        schedule.spec.template.storage_location = "cold".into();
        let now = time("2026-11-20T02:00:07Z");
        let backup = backup_from(&schedule, now);
        assert_eq!(backup.metadata.name, "nightly-20261120020007");
        assert_eq!(backup.spec.storage_location, "cold");
        assert_eq!(backup.metadata.labels["team"], "a");
        assert_eq!(backup.metadata.labels[labels::SCHEDULE_NAME], "nightly");
        assert_eq!(backup.metadata.annotations.len(), 1);
        assert!(backup.metadata.owner_references.is_empty());

        let given = &mut schedule.spec.template.metadata;
        given.labels.insert("tier".into(), "gold".into());
        given.annotations.insert("note".into(), "own".into());
        schedule.spec.use_owner_references_in_backup = Some(true);
        let backup = backup_from(&schedule, now);
        assert!(!backup.metadata.labels.contains_key("team"));
        assert_eq!(backup.metadata.labels["tier"], "gold");
        assert_eq!(backup.metadata.annotations["note"], "own");
        let owner = &backup.metadata.owner_references[0];
        assert_eq!((owner.uid.as_str(), owner.controller), ("u-1", Some(true)));
    }
}
