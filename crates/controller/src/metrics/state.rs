//! What is read off the objects when somebody asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use salvor_api::labels::label_value;
use salvor_api::schedule::Cron;
use salvor_api::velero::{
    Backup, BackupPhase, DeleteBackupRequestPhase, LocationPhase, Restore, RestorePhase, Schedule,
};

use super::counts::{Counts, float, gauges, schedule_of};
use super::{Gauges, Label, by_location, by_schedule};
use crate::context::Context;

/// Runs without a success that are counted; more say nothing new.
const MOST_MISSED: usize = 100;

/// A figure without labels that may be absent.
type Single = Family<[(&'static str, String); 0], Gauge>;
type Seconds = Family<Label, Gauge<f64, AtomicU64>>;

/// Figures that exist while this server leads.
pub(super) struct State {
    leader: Gauge,
    backups: Single,
    restores: Single,
    /// Waiting and running, by `kind`.
    queued: Gauges,
    running: Gauges,
    failed_deletions: Single,
    newest: Newest,
    location: Locations,
    schedule: Schedules,
}

/// About the newest backups of each schedule.
struct Newest {
    last_success: Seconds,
    last_status: Gauges,
    items: Gauges,
    errors: Gauges,
}

struct Locations {
    velero_available: Gauges,
    available: Gauges,
    synced: Seconds,
    sync_stopped: Gauges,
}

struct Schedules {
    interval: Seconds,
    paused: Gauges,
    refused: Gauges,
    missed: Gauges,
}

impl State {
    pub(super) fn register(r: &mut Registry) -> Self {
        let leader = Gauge::default();
        r.register("salvor_leader", "1 while this server leads", leader.clone());
        Self {
            leader,
            backups: single(r, "velero_backup_total", "Backup objects in the cluster"),
            restores: single(r, "velero_restore_total", "Restore objects in the cluster"),
            queued: gauges(
                r,
                "salvor_queue_length",
                "Backups and restores that wait for their turn, by kind",
            ),
            running: gauges(
                r,
                "salvor_runs_in_progress",
                "Backups and restores under way, by kind",
            ),
            failed_deletions: single(
                r,
                "salvor_failed_delete_requests",
                "Requests to delete a backup that ended with an error; they stay for a day",
            ),
            newest: Newest {
                last_success: seconds(
                    r,
                    "velero_backup_last_successful_timestamp",
                    "When the newest complete backup ended, in seconds since 1970",
                ),
                last_status: gauges(
                    r,
                    "velero_backup_last_status",
                    "1 when the newest backup is complete, else 0",
                ),
                items: gauges(
                    r,
                    "velero_backup_items_total",
                    "Objects in the newest backup",
                ),
                errors: gauges(
                    r,
                    "velero_backup_items_errors",
                    "Errors of the newest backup",
                ),
            },
            location: Locations {
                velero_available: gauges(
                    r,
                    "velero_backup_location_status_gauge",
                    "1 when the location is available, else 0",
                ),
                available: gauges(
                    r,
                    "salvor_location_available",
                    "1 when the location is available, else 0",
                ),
                synced: seconds(
                    r,
                    "salvor_location_last_sync_timestamp_seconds",
                    "When the location was last followed",
                ),
                sync_stopped: gauges(
                    r,
                    "salvor_sync_stopped",
                    "1 when the guard against mass deletion stops the sync of the location",
                ),
            },
            schedule: Schedules {
                interval: seconds(
                    r,
                    "velero_schedule_expected_interval_seconds",
                    "Seconds between the next two runs; absent while paused",
                ),
                paused: gauges(r, "salvor_schedule_paused", "1 when the schedule is paused"),
                refused: gauges(
                    r,
                    "salvor_schedule_invalid",
                    "1 when the schedule is not valid and runs nothing",
                ),
                missed: gauges(
                    r,
                    "salvor_schedule_runs_since_success",
                    "Times of the schedule since its newest complete backup, or since its creation",
                ),
            },
        }
    }

    /// Brings everything up to date; `None` while this server does not lead.
    pub(super) fn update(&self, context: Option<&Context>, counts: &Counts) {
        self.clear();
        self.leader.set(context.is_some().into());
        counts.begin("");
        let Some(context) = context else {
            return;
        };
        let backups = context.backups.list();
        let restores = context.restores.list();
        self.backups.get_or_create(&[]).set(integer(backups.len()));
        self.restores
            .get_or_create(&[])
            .set(integer(restores.len()));
        self.queues(context, &backups, &restores);
        let failed = |request: &&Arc<salvor_api::velero::DeleteBackupRequest>| {
            request.status.phase == DeleteBackupRequestPhase::Processed
                && !request.status.errors.is_empty()
        };
        let failed = context.delete_requests.list().iter().filter(failed).count();
        self.failed_deletions
            .get_or_create(&[])
            .set(integer(failed));
        let newest = newest(&backups);
        for (schedule, newest) in &newest {
            self.newest(&by_schedule(schedule), newest);
        }
        for object in context.storage_locations.list() {
            let name = &object.metadata.name;
            let location = &self.location;
            let available = object.status.phase == LocationPhase::Available;
            let veleros: Label = [("backup_location_name", name.clone())];
            location
                .velero_available
                .get_or_create(&veleros)
                .set(available.into());
            let label = by_location(name);
            location
                .available
                .get_or_create(&label)
                .set(available.into());
            let stopped = context.stops.get(name).is_some();
            location
                .sync_stopped
                .get_or_create(&label)
                .set(stopped.into());
            if let Some(synced) = object.status.last_synced_time {
                set_time(&location.synced, &label, synced.timestamp());
            }
        }
        let now = context.now().timestamp();
        for schedule in context.schedules.list() {
            let name = label_value(&schedule.metadata.name);
            counts.begin(&name);
            let newest = newest.get(name.as_str());
            let zone = &context.options.schedules.zone;
            self.schedule(&by_schedule(&name), &schedule, newest, now, zone);
        }
    }

    fn clear(&self) {
        for family in [&self.backups, &self.restores, &self.failed_deletions] {
            family.clear();
        }
        let (newest, location, schedule) = (&self.newest, &self.location, &self.schedule);
        for family in [
            &self.queued,
            &self.running,
            &newest.last_status,
            &newest.items,
            &newest.errors,
            &location.velero_available,
            &location.available,
            &location.sync_stopped,
            &schedule.paused,
            &schedule.refused,
            &schedule.missed,
        ] {
            family.clear();
        }
        for family in [&newest.last_success, &location.synced, &schedule.interval] {
            family.clear();
        }
    }

    fn queues(&self, context: &Context, backups: &[Arc<Backup>], restores: &[Arc<Restore>]) {
        use BackupPhase::{New, Queued, ReadyToStart, Unset};
        let waits = |backup: &&Arc<Backup>| {
            matches!(backup.status.phase, Unset | New | Queued | ReadyToStart)
                && !context.backup_runs.contains(&backup.metadata.name)
        };
        let restore_waits = |restore: &&Arc<Restore>| {
            matches!(
                restore.status.phase,
                RestorePhase::Unset | RestorePhase::New
            ) && !context.restore_runs.contains(&restore.metadata.name)
        };
        for (kind, waiting, running) in [
            (
                "Backup",
                backups.iter().filter(waits).count(),
                context.backup_runs.count(),
            ),
            (
                "Restore",
                restores.iter().filter(restore_waits).count(),
                context.restore_runs.count(),
            ),
        ] {
            let label: Label = [("kind", kind.to_owned())];
            self.queued.get_or_create(&label).set(integer(waiting));
            self.running.get_or_create(&label).set(integer(running));
        }
    }

    fn newest(&self, label: &Label, newest: &Pair<'_>) {
        let figures = &self.newest;
        if let Some(complete) = newest.complete
            && let Some(ended) = complete.status.completion_timestamp
        {
            set_time(&figures.last_success, label, ended.timestamp());
        }
        let status = &newest.ended.status;
        let complete = status.phase == BackupPhase::Completed;
        figures
            .last_status
            .get_or_create(label)
            .set(complete.into());
        let items = status
            .progress
            .as_ref()
            .map_or(0, |progress| progress.items_backed_up);
        figures.items.get_or_create(label).set(items);
        figures.errors.get_or_create(label).set(status.errors);
    }

    fn schedule(
        &self,
        label: &Label,
        schedule: &Schedule,
        newest: Option<&Pair<'_>>,
        now: Timestamp,
        zone: &TimeZone,
    ) {
        let figures = &self.schedule;
        let spec = &schedule.spec;
        figures.paused.get_or_create(label).set(spec.paused.into());
        let refused = !salvor_api::schedule::validate(schedule).is_empty();
        figures.refused.get_or_create(label).set(refused.into());
        if newest.is_none() {
            // Velero's begins with good news as well: nothing has failed yet.
            self.newest.last_status.get_or_create(label).set(1);
        }
        let (false, Ok(cron)) = (spec.paused, spec.schedule.parse::<Cron>()) else {
            return;
        };
        let next = cron.next(now, zone);
        if let Some(next) = next
            && let Some(after) = cron.next(next, zone)
        {
            let between = after.as_second() - next.as_second();
            figures.interval.get_or_create(label).set(float(between));
        }
        let ended = newest.and_then(|newest| newest.complete?.status.completion_timestamp);
        let since = [
            schedule.metadata.creation_timestamp,
            schedule.status.last_skipped,
            ended,
        ];
        let Some(since) = since.into_iter().flatten().max() else {
            return;
        };
        let missed = runs_between(&cron, since.timestamp(), now, zone);
        figures.missed.get_or_create(label).set(integer(missed));
    }
}

/// Times of an expression after one moment and not after another, at most [`MOST_MISSED`].
fn runs_between(cron: &Cron, since: Timestamp, now: Timestamp, zone: &TimeZone) -> usize {
    let times = std::iter::successors(cron.next(since, zone), |at| cron.next(*at, zone));
    times.take(MOST_MISSED).take_while(|at| *at <= now).count()
}

/// The newest backups of one schedule.
struct Pair<'a> {
    /// The newest that came to an end.
    ended: &'a Backup,
    /// The newest that is complete.
    complete: Option<&'a Backup>,
}

fn newest(backups: &[Arc<Backup>]) -> BTreeMap<&str, Pair<'_>> {
    let mut newest: BTreeMap<&str, Pair<'_>> = BTreeMap::new();
    for backup in backups
        .iter()
        .filter(|backup| backup.status.phase.is_final())
    {
        // What was refused never began.
        let age = |backup: &Backup| {
            let status = &backup.status;
            status
                .completion_timestamp
                .or(backup.metadata.creation_timestamp)
        };
        let complete = (backup.status.phase == BackupPhase::Completed).then_some(&**backup);
        let pair = newest.entry(schedule_of(backup)).or_insert(Pair {
            ended: backup,
            complete,
        });
        if age(backup) > age(pair.ended) {
            pair.ended = backup;
        }
        if complete.map(age) > pair.complete.map(age) {
            pair.complete = complete;
        }
    }
    newest
}

fn single(registry: &mut Registry, name: &str, help: &str) -> Single {
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

fn seconds(registry: &mut Registry, name: &str, help: &str) -> Seconds {
    let family = Seconds::default();
    registry.register(name, help, family.clone());
    family
}

fn set_time(family: &Seconds, label: &Label, at: Timestamp) {
    family.get_or_create(label).set(float(at.as_second()));
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted_by_the_times_of_the_expression() {
        let at = |text: &str| text.parse::<Timestamp>().expect("time");
        let weekdays: Cron = "0 2 * * 1-5".parse().expect("cron");
        let zone = TimeZone::UTC;
        // 6 November 2026 is a Friday.
        for (since, now, runs) in [
            ("2026-11-06T02:10:00Z", "2026-11-09T01:59:59Z", 0),
            ("2026-11-06T02:10:00Z", "2026-11-09T02:00:00Z", 1),
            ("2026-11-06T02:10:00Z", "2026-11-10T02:00:00Z", 2),
            ("2026-11-06T02:10:00Z", "2027-11-10T02:00:00Z", MOST_MISSED),
            ("2026-11-06T02:10:00Z", "2026-11-01T00:00:00Z", 0),
        ] {
            assert_eq!(
                runs_between(&weekdays, at(since), at(now), &zone),
                runs,
                "{now}"
            );
        }
    }

    #[test]
    fn the_newest_of_each_schedule_counts() {
        let backup = |name: &str, schedule: &str, phase: BackupPhase, ended: &str| {
            let mut backup = Backup::named("velero", name);
            let key = salvor_api::labels::SCHEDULE_NAME.to_owned();
            if !schedule.is_empty() {
                backup.metadata.labels.insert(key, schedule.to_owned());
            }
            backup.status.phase = phase;
            backup.status.completion_timestamp = ended.parse().ok();
            Arc::new(backup)
        };
        use BackupPhase::{Completed, Failed, InProgress};
        let backups = [
            backup("a2", "a", Completed, "2026-11-02T00:00:00Z"),
            backup("a1", "a", Completed, "2026-11-01T00:00:00Z"),
            backup("a3", "a", Failed, "2026-11-03T00:00:00Z"),
            backup("a4", "a", InProgress, ""),
            backup("by-hand", "", Failed, "2026-11-01T00:00:00Z"),
        ];
        let newest = newest(&backups);
        let names = |schedule: &str| {
            let pair = &newest[schedule];
            let complete = pair.complete.map(|backup| backup.metadata.name.as_str());
            (pair.ended.metadata.name.as_str(), complete)
        };
        assert_eq!(names("a"), ("a3", Some("a2")));
        assert_eq!(names(""), ("by-hand", None));
    }
}
