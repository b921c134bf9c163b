//! How long a transfer will take, by what was measured: of earlier runs before it begins ([`Measured`]), of itself
//! while it runs ([`Remaining`]). Amounts are bytes or objects, as the caller counts.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use salvor_api::go::Time;
use salvor_api::name::{BackupName, RestoreName};
use salvor_api::velero::{Backup, BackupSpec, Restore};

use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;

/// Earlier runs that are looked at: enough for a mean, few enough that looking costs less than a second.
const LOOKED_AT: usize = 8;
/// Over how long the rate of a running transfer is smoothed.
const SMOOTHED_OVER: Duration = Duration::from_secs(15);
/// Before that, a rate says more about how the transfer began than about how it goes on.
const SETTLED: Duration = Duration::from_secs(3);
/// Longest time that is worth telling; beyond it the transfer stands still.
const LONGEST: Duration = Duration::from_secs(100 * 24 * 3600);

/// What earlier runs got through in which time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Runs.
    pub runs: u64,
    /// What they moved, together.
    pub amount: u64,
    /// How long they took, together.
    pub took: Duration,
}

impl Measured {
    /// Adds a run. One that moved nothing measured nothing.
    pub fn add(&mut self, amount: u64, took: Duration) {
        if amount > 0 && !took.is_zero() {
            self.runs += 1;
            self.amount = self.amount.saturating_add(amount);
            self.took = self.took.saturating_add(took);
        }
    }

    /// The mean rate; `None` when nothing was measured.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        (self.runs > 0).then(|| self.amount as f64 / self.took.as_secs_f64())
    }

    /// How long `amount` will take at the mean rate, or at `limit` per second where that is slower. `None` when
    /// nothing was measured and nothing is limited.
    #[must_use]
    pub fn time_for(&self, amount: u64, limit: Option<u64>) -> Option<Duration> {
        let limit = limit.map(|limit| limit as f64);
        let rate = match (self.per_second(), limit) {
            (Some(rate), Some(limit)) => rate.min(limit),
            (Some(rate), None) => rate,
            (None, limit) => limit?,
        };
        time_at(rate, amount)
    }
}

fn time_at(rate: f64, amount: u64) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(amount as f64 / rate).ok()?;
    (time <= LONGEST).then_some(time)
}

/// How long a running transfer still takes, at a rate that is smoothed over a quarter of a minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remaining {
    /// Where it was seen last.
    seen: Option<(Duration, u64)>,
    rate: Option<f64>,
}

impl Remaining {
    /// Told after `at` of running that `done` of `total` are done: how long the rest takes. `None` while that cannot
    /// be said: in the first seconds, while the total is not known, and when the transfer stands still.
    pub fn update(&mut self, at: Duration, done: u64, total: u64) -> Option<Duration> {
        let (last_at, last_done) = *self.seen.get_or_insert((at, done));
        let step = at.saturating_sub(last_at);
        // Steps that are too short measure the clock.
        if step >= Duration::from_millis(200) {
            let now = done.saturating_sub(last_done) as f64 / step.as_secs_f64();
            let weight = 1.0 - (-step.as_secs_f64() / SMOOTHED_OVER.as_secs_f64()).exp();
            let rate = self.rate.map_or(now, |rate| rate + weight * (now - rate));
            self.rate = Some(rate);
            self.seen = Some((at, done));
        }
        let rate = self.rate.filter(|rate| *rate > 0.0)?;
        let left = total.checked_sub(done).filter(|left| *left > 0)?;
        (at >= SETTLED).then(|| time_at(rate, left)).flatten()
    }
}

/// An earlier backup, as far as an estimate needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastBackup {
    /// What it was asked for.
    pub spec: BackupSpec,
    /// When it ended.
    pub ended: Time,
    /// How long it took, one second at least, since times are told in seconds.
    pub took: Duration,
    /// Objects in it.
    pub items: u64,
    /// Bytes of its archive; zero when that is not known.
    pub bytes: u64,
}

impl PastBackup {
    /// What a backup that ended with something in it says of itself.
    #[must_use]
    pub fn of(backup: &Backup, bytes: u64) -> Option<Self> {
        let status = &backup.status;
        let (ended, took) = span(status.start_timestamp, status.completion_timestamp)?;
        let progress = status.progress.as_ref()?;
        let items = u64::try_from(progress.items_backed_up).ok()?;
        status.phase.is_restorable().then(|| Self {
            spec: backup.spec.clone(),
            ended,
            took,
            items,
            bytes,
        })
    }

    /// True when a backup of `spec` will hold the same kind of things.
    #[must_use]
    pub fn is_like(&self, spec: &BackupSpec) -> bool {
        let selection = |spec: &BackupSpec| {
            let lists = [
                &spec.included_namespaces,
                &spec.excluded_namespaces,
                &spec.included_resources,
                &spec.excluded_resources,
                &spec.included_cluster_scoped_resources,
                &spec.excluded_cluster_scoped_resources,
                &spec.included_namespace_scoped_resources,
                &spec.excluded_namespace_scoped_resources,
            ];
            // All namespaces are said in two ways, and a backup that was made has the long one.
            lists.map(|list| {
                let mut list = list.clone();
                list.retain(|name| name != "*");
                list.sort_unstable();
                list
            })
        };
        selection(&self.spec) == selection(spec)
            && self.spec.label_selector == spec.label_selector
            && self.spec.or_label_selectors == spec.or_label_selectors
            && self.spec.resource_policy == spec.resource_policy
    }
}

/// When a run ended and how long it took.
fn span(start: Option<Time>, end: Option<Time>) -> Option<(Time, Duration)> {
    let (start, end) = (start?, end?);
    let seconds = u64::try_from(end.seconds_since(start)).ok()?;
    Some((end, Duration::from_secs(seconds.max(1))))
}

/// What restores got through: objects, and the time that they took. Those that ended before they began to restore
/// say nothing.
#[must_use]
pub fn restored<'a>(restores: impl IntoIterator<Item = &'a Restore>) -> Measured {
    let mut measured = Measured::default();
    for restore in restores {
        let status = &restore.status;
        let span = span(status.start_timestamp, status.completion_timestamp);
        let items = status.progress.map(|progress| progress.items_restored);
        if let (Some((_, took)), Some(items)) = (span, items) {
            measured.add(items.unsigned_abs(), took);
        }
    }
    measured
}

/// The names that stand next to `name`: runs of one schedule, or of one series that people name, are neighbours.
fn neighbours(mut names: Vec<String>, name: &str) -> Vec<String> {
    names.retain(|other| other != name);
    let at = names.partition_point(|other| other.as_str() < name);
    // The newest of a series stand right before a new one.
    let first = at.saturating_sub(LOOKED_AT - 2);
    let last = names.len().min(first + LOOKED_AT);
    names.drain(first..last).collect()
}

impl Location {
    /// Earlier backups with names next to `name`, eight at most, newest first. What cannot be read is left out:
    /// an estimate is no reason to fail.
    ///
    /// # Errors
    /// The listing fails.
    pub async fn past_backups(&self, name: &BackupName) -> Result<Vec<PastBackup>> {
        let names = neighbours(self.backup_folders().await?, name.as_str());
        let mut found: Vec<PastBackup> = stream::iter(names)
            .map(|name| async move {
                let name = BackupName::new(name).ok()?;
                let record = self.backup(&name).await.ok()?;
                let archive = format!("{name}.tar.gz");
                let bytes = self.file_size(&name, &archive).await.ok()??;
                PastBackup::of(&record.backup, bytes)
            })
            .buffer_unordered(LOOKED_AT)
            .filter_map(std::future::ready)
            .collect()
            .await;
        found.sort_by_key(|past| std::cmp::Reverse(past.ended));
        Ok(found)
    }

    /// What restores with names next to `name` got through, eight at most. What cannot be read is left out.
    ///
    /// # Errors
    /// The listing fails.
    pub async fn past_restores(&self, name: &RestoreName) -> Result<Measured> {
        let listed = self.store.list_folder(layout::RESTORES).await;
        let listed = listed.map_err(Error::store(format!(
            "list restores in location `{}`",
            self.name()
        )))?;
        let names = neighbours(listed.folders, name.as_str());
        let found: Vec<Restore> = stream::iter(names)
            .map(|name| async move {
                let name = RestoreName::new(name).ok()?;
                Some(self.restore(&name).await.ok()?.restore)
            })
            .buffer_unordered(LOOKED_AT)
            .filter_map(std::future::ready)
            .collect()
            .await;
        Ok(restored(&found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_mean_is_told_once_something_was_measured() {
        let mut measured = Measured::default();
        assert_eq!(measured.time_for(100, None), None);
        assert_eq!(measured.time_for(100, Some(10)), Some(10 * SECOND));
        measured.add(0, SECOND);
        measured.add(5, Duration::ZERO);
        assert_eq!(measured.per_second(), None);
        measured.add(100, SECOND);
        measured.add(100, 3 * SECOND);
        assert_eq!(measured.time_for(500, None), Some(10 * SECOND));
        assert_eq!(measured.time_for(500, Some(10)), Some(50 * SECOND));
        assert_eq!(measured.time_for(500, Some(5000)), Some(10 * SECOND));
        assert_eq!(measured.time_for(u64::MAX, None), None);
    }

    #[test]
    fn a_steady_transfer_is_foretold_exactly_and_a_changed_rate_is_followed() {
        let mut remaining = Remaining::default();
        assert_eq!(remaining.update(Duration::ZERO, 0, 1000), None);
        for second in 1..=60u32 {
            let told = remaining.update(second * SECOND, u64::from(second) * 10, 1000);
            let exact = (1000 - second * 10) / 10;
            let expected = (second >= 3).then(|| exact * SECOND);
            assert_eq!(
                told.map(|told| told.as_secs()),
                expected.map(|e| e.as_secs())
            );
        }
        // Twice as fast from here: after a while it is believed.
        let mut last = None;
        for second in 61..=75u32 {
            let done = 600 + u64::from(second - 60) * 20;
            last = remaining.update(second * SECOND, done, 1000);
        }
        let told = last.expect("it runs").as_secs_f64();
        assert!((5.0..8.0).contains(&told), "{told}");
    }

    #[test]
    fn what_stands_still_or_has_no_known_end_is_not_foretold() {
        let mut remaining = Remaining::default();
        for second in 0..100_000u32 {
            let told = remaining.update(second * SECOND, 0, 10);
            assert_eq!(told, None);
        }
        let mut remaining = Remaining::default();
        for second in 0..10u32 {
            assert_eq!(
                remaining.update(second * SECOND, u64::from(second), 0),
                None
            );
            assert_eq!(remaining.update(second * SECOND, 9, 9), None);
        }
        let mut remaining = Remaining::default();
        remaining.update(SECOND, 0, u64::MAX);
        assert_eq!(remaining.update(9 * SECOND, 1, u64::MAX), None);
    }

    #[test]
    fn the_runs_before_a_new_one_are_its_neighbours() {
        let names =
            |series: &'static str, count: u32| (0..count).map(move |n| format!("{series}-{n:03}"));
        let all: Vec<String> = names("daily", 50).chain(names("weekly", 50)).collect();
        let found = neighbours(all.clone(), "daily-050");
        assert_eq!(found.len(), LOOKED_AT);
        let daily = found.iter().filter(|name| name.starts_with("daily"));
        assert_eq!(daily.count(), LOOKED_AT - 2);
        assert!(found.contains(&"daily-049".to_owned()), "{found:?}");
        assert_eq!(neighbours(all.clone(), "a").len(), LOOKED_AT);
        assert_eq!(neighbours(all, "z").len(), LOOKED_AT - 2);
        assert!(neighbours(vec!["b".to_owned()], "b").is_empty());
    }

    #[test]
    fn all_namespaces_are_the_same_however_they_are_said() {
        let mut backup = Backup::named("velero", "b");
        backup.status.phase = salvor_api::velero::BackupPhase::Completed;
        backup.spec.included_namespaces = vec!["*".to_owned()];
        backup.status.progress = Some(salvor_api::velero::BackupProgress {
            total_items: 7,
            items_backed_up: 7,
        });
        assert_eq!(PastBackup::of(&backup, 1), None, "it has no times");
        let at = |text: &str| Some(Time::new(text.parse().expect("a time")));
        backup.status.start_timestamp = at("2026-11-20T10:00:00Z");
        backup.status.completion_timestamp = at("2026-11-20T10:00:00Z");
        let past = PastBackup::of(&backup, 1).expect("measured");
        assert_eq!((past.took, past.items), (SECOND, 7));
        let mut other = BackupSpec::default();
        assert!(past.is_like(&other));
        other.included_namespaces = vec!["shop".to_owned()];
        assert!(!past.is_like(&other));
        backup.status.completion_timestamp = at("2026-11-20T09:00:00Z");
        assert_eq!(PastBackup::of(&backup, 1), None, "it ends before it begins");
    }
}
