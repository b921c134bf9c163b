//! What is counted when it happens.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use salvor_api::labels;
use salvor_api::velero::{Backup, BackupPhase, BackupStatus, HookStatus, Restore, RestorePhase};

use super::{Counters, Gauges, Label, by_location, by_schedule};

/// Velero's bounds, in seconds: 1, 5, 10, 15 and 30 minutes, 1 to 4 hours.
const DURATIONS: [f64; 9] = [
    60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 14_400.0,
];

type Histograms = Family<Label, Histogram, fn() -> Histogram>;

/// Counters, and figures that stand in no object.
pub(crate) struct Counts {
    /// Times that this server began to lead.
    pub(super) terms: Counter,
    /// When the certificate ends; 0 while there is none.
    pub(super) certificate: Gauge,
    refused: Counters,
    backup: Backups,
    deletion: Deletions,
    snapshots: Snapshots,
    restore: Restores,
    retention: Retention,
}

struct Backups {
    attempts: Counters,
    successes: Counters,
    partial_failures: Counters,
    failures: Counters,
    validation_failures: Counters,
    warnings: Counters,
    hooks_attempted: Counters,
    hooks_failed: Counters,
    durations: Histograms,
    archive_bytes: Gauges,
}

struct Deletions {
    attempts: Counters,
    successes: Counters,
    failures: Counters,
}

/// Snapshots by volume snapshotters, and by CSI drivers.
struct Snapshots {
    attempts: Counters,
    successes: Counters,
    failures: Counters,
    csi_attempts: Counters,
    csi_successes: Counters,
    csi_failures: Counters,
}

struct Restores {
    attempts: Counters,
    successes: Counters,
    partial_failures: Counters,
    failures: Counters,
    validation_failures: Counters,
    hooks_attempted: Counters,
    hooks_failed: Counters,
    interruptions: Counters,
}

struct Retention {
    planned: Gauges,
    stopped: Gauges,
    removed: Counters,
}

fn counters(registry: &mut Registry, name: &str, help: &str) -> Counters {
    let family = Counters::default();
    registry.register(name, help, family.clone());
    family
}

pub(super) fn gauges(registry: &mut Registry, name: &str, help: &str) -> Gauges {
    let family = Gauges::default();
    registry.register(name, help, family.clone());
    family
}

impl Snapshots {
    fn register(r: &mut Registry) -> Self {
        Self {
            attempts: counters(
                r,
                "velero_volume_snapshot_attempt",
                "Snapshots that volume snapshotters were asked for",
            ),
            successes: counters(
                r,
                "velero_volume_snapshot_success",
                "Snapshots that volume snapshotters took",
            ),
            failures: counters(
                r,
                "velero_volume_snapshot_failure",
                "Snapshots that volume snapshotters did not take",
            ),
            csi_attempts: counters(
                r,
                "velero_csi_snapshot_attempt",
                "Snapshots that CSI drivers were asked for",
            ),
            csi_successes: counters(
                r,
                "velero_csi_snapshot_success",
                "Snapshots that CSI drivers took",
            ),
            csi_failures: counters(
                r,
                "velero_csi_snapshot_failure",
                "Snapshots that CSI drivers did not take",
            ),
        }
    }

    fn ended(&self, label: &Label, status: &BackupStatus) {
        for (attempts, successes, failures, attempted, completed) in [
            (
                &self.attempts,
                &self.successes,
                &self.failures,
                status.volume_snapshots_attempted,
                status.volume_snapshots_completed,
            ),
            (
                &self.csi_attempts,
                &self.csi_successes,
                &self.csi_failures,
                status.csi_volume_snapshots_attempted,
                status.csi_volume_snapshots_completed,
            ),
        ] {
            add(attempts, label, attempted);
            add(successes, label, completed);
            add(failures, label, attempted.saturating_sub(completed));
        }
    }
}

impl Counts {
    /// Names are without `_total`, which the text format appends to a counter's.
    pub(super) fn register(r: &mut Registry) -> Self {
        let terms = Counter::default();
        let help = "Times that this server began to lead";
        r.register("salvor_leader_terms", help, terms.clone());
        let certificate = Gauge::default();
        let help = "When the certificate of this server ends, in seconds since 1970; 0 without one";
        let name = "salvor_certificate_expiry_timestamp_seconds";
        r.register(name, help, certificate.clone());
        let planned = "Backups that the last pass of the collection would remove";
        let stopped = "1 when the guard against mass deletion stops the collection in a location";
        Self {
            terms,
            certificate,
            refused: counters(
                r,
                "salvor_requests_refused",
                "Requests whose requester is not known or may not do what they ask for",
            ),
            backup: Backups::register(r),
            deletion: Deletions {
                attempts: counters(
                    r,
                    "velero_backup_deletion_attempt",
                    "Deletions of backups that began",
                ),
                successes: counters(
                    r,
                    "velero_backup_deletion_success",
                    "Backups that were deleted",
                ),
                failures: counters(
                    r,
                    "velero_backup_deletion_failure",
                    "Deletions of backups that failed",
                ),
            },
            snapshots: Snapshots::register(r),
            restore: Restores::register(r),
            retention: Retention {
                planned: gauges(r, "salvor_retention_planned", planned),
                stopped: gauges(r, "salvor_retention_stopped", stopped),
                removed: counters(
                    r,
                    "salvor_retention_removed",
                    "Backups whose deletion the collection asked for",
                ),
            },
        }
    }

    /// Makes the counters of a schedule begin at zero, so that its first failure is an increase.
    pub(super) fn begin(&self, schedule: &str) {
        let label = by_schedule(schedule);
        let Self {
            backup,
            deletion,
            snapshots,
            restore,
            ..
        } = self;
        for family in [
            &backup.attempts,
            &backup.successes,
            &backup.partial_failures,
            &backup.failures,
            &backup.validation_failures,
            &backup.warnings,
            &backup.hooks_attempted,
            &backup.hooks_failed,
            &deletion.attempts,
            &deletion.successes,
            &deletion.failures,
            &snapshots.attempts,
            &snapshots.successes,
            &snapshots.failures,
            &snapshots.csi_attempts,
            &snapshots.csi_successes,
            &snapshots.csi_failures,
            &restore.attempts,
            &restore.successes,
            &restore.partial_failures,
            &restore.failures,
            &restore.validation_failures,
            &restore.hooks_attempted,
            &restore.hooks_failed,
            &restore.interruptions,
        ] {
            drop(family.get_or_create(&label));
        }
    }

    /// Forgets what only a leader knows.
    pub(super) fn forget_state(&self) {
        self.retention.planned.clear();
        self.retention.stopped.clear();
    }

    /// A backup came to a new phase.
    pub(crate) fn backup(&self, backup: &Backup) {
        let label = by_schedule(schedule_of(backup));
        let (counts, status) = (&self.backup, &backup.status);
        let family = match status.phase {
            BackupPhase::InProgress => &counts.attempts,
            BackupPhase::Completed => &counts.successes,
            BackupPhase::PartiallyFailed => &counts.partial_failures,
            BackupPhase::Failed => &counts.failures,
            BackupPhase::FailedValidation => &counts.validation_failures,
            _ => return,
        };
        family.get_or_create(&label).inc();
        if let (Some(began), Some(ended)) = (status.start_timestamp, status.completion_timestamp) {
            let seconds = ended.seconds_since(began).max(0);
            counts
                .durations
                .get_or_create(&label)
                .observe(float(seconds));
            add(&counts.warnings, &label, status.warnings);
            self.snapshots.ended(&label, status);
            hooks(
                &counts.hooks_attempted,
                &counts.hooks_failed,
                &label,
                status.hook_status,
            );
        }
    }

    /// The archive of a backup was written, with this many bytes.
    pub(crate) fn archive(&self, backup: &Backup, bytes: u64) {
        let label = by_schedule(schedule_of(backup));
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.backup.archive_bytes.get_or_create(&label).set(bytes);
    }

    /// The deletion of a backup begins.
    pub(crate) fn deletion_begins(&self, backup: &Backup) {
        let label = by_schedule(schedule_of(backup));
        self.deletion.attempts.get_or_create(&label).inc();
    }

    /// It came to its end; `None` for a backup that is not there.
    pub(crate) fn deletion_ends(&self, backup: Option<&Backup>, well: bool) {
        let label = by_schedule(backup.map_or("", schedule_of));
        let family = match well {
            true => &self.deletion.successes,
            false => &self.deletion.failures,
        };
        family.get_or_create(&label).inc();
    }

    /// A restore came to a new phase.
    pub(crate) fn restore(&self, restore: &Restore) {
        let label = by_schedule(&restore.spec.schedule_name);
        let (counts, status) = (&self.restore, &restore.status);
        let family = match status.phase {
            RestorePhase::InProgress => &counts.attempts,
            RestorePhase::Completed => &counts.successes,
            RestorePhase::PartiallyFailed => &counts.partial_failures,
            RestorePhase::Failed => &counts.failures,
            RestorePhase::FailedValidation => &counts.validation_failures,
            _ => return,
        };
        family.get_or_create(&label).inc();
        if status.phase.is_final() {
            hooks(
                &counts.hooks_attempted,
                &counts.hooks_failed,
                &label,
                status.hook_status,
            );
        }
    }

    /// A restore was interrupted and goes on later.
    pub(crate) fn restore_interrupted(&self, restore: &Restore) {
        let label = by_schedule(&restore.spec.schedule_name);
        self.restore.interruptions.get_or_create(&label).inc();
    }

    /// Counts requests of a kind that are refused for want of rights.
    pub(crate) fn refused(&self, kind: &'static str) -> Counter {
        self.refused
            .get_or_create(&[("kind", kind.to_owned())])
            .clone()
    }

    /// A pass of the collection would remove this many backups of a location, and may or may not.
    pub(crate) fn retention(&self, location: &str, planned: usize, stopped: bool) {
        let label = by_location(location);
        let planned = i64::try_from(planned).unwrap_or(i64::MAX);
        self.retention.planned.get_or_create(&label).set(planned);
        self.retention
            .stopped
            .get_or_create(&label)
            .set(stopped.into());
    }

    /// The collection asked for the deletion of a backup.
    pub(crate) fn retention_removed(&self, backup: &Backup) {
        let label = by_location(&backup.spec.storage_location);
        self.retention.removed.get_or_create(&label).inc();
    }
}

impl Backups {
    fn register(r: &mut Registry) -> Self {
        let durations = Histograms::new_with_constructor(|| Histogram::new(DURATIONS));
        let help = "How long backups took";
        r.register("velero_backup_duration_seconds", help, durations.clone());
        let archive = "Bytes of the archive of the newest backup that this server made";
        Self {
            attempts: counters(r, "velero_backup_attempt", "Backups that began"),
            successes: counters(r, "velero_backup_success", "Backups that are complete"),
            partial_failures: counters(
                r,
                "velero_backup_partial_failure",
                "Backups that lack something",
            ),
            failures: counters(r, "velero_backup_failure", "Backups that failed"),
            validation_failures: counters(
                r,
                "velero_backup_validation_failure",
                "Backups that were refused",
            ),
            warnings: counters(r, "velero_backup_warning", "Warnings of backups"),
            hooks_attempted: counters(
                r,
                "salvor_backup_hooks_attempted",
                "Hooks of backups that were run",
            ),
            hooks_failed: counters(
                r,
                "salvor_backup_hooks_failed",
                "Hooks of backups that failed",
            ),
            durations,
            archive_bytes: gauges(r, "velero_backup_tarball_size_bytes", archive),
        }
    }
}

impl Restores {
    fn register(r: &mut Registry) -> Self {
        let interrupted = "Times that a restore was interrupted and went on later";
        Self {
            attempts: counters(r, "velero_restore_attempt", "Restores that began"),
            successes: counters(r, "velero_restore_success", "Restores that are complete"),
            partial_failures: counters(r, "velero_restore_partial_failure", "Restores with errors"),
            failures: counters(r, "velero_restore_failed", "Restores that failed"),
            validation_failures: counters(
                r,
                "velero_restore_validation_failed",
                "Restores that were refused",
            ),
            hooks_attempted: counters(
                r,
                "salvor_restore_hooks_attempted",
                "Hooks of restores that were run",
            ),
            hooks_failed: counters(
                r,
                "salvor_restore_hooks_failed",
                "Hooks of restores that failed",
            ),
            interruptions: counters(r, "salvor_restore_interrupted", interrupted),
        }
    }
}

/// The schedule that a backup belongs to; empty for one that was made by hand.
pub(super) fn schedule_of(backup: &Backup) -> &str {
    let label = backup.metadata.labels.get(labels::SCHEDULE_NAME);
    label.map_or("", String::as_str)
}

fn hooks(attempted: &Counters, failed: &Counters, label: &Label, status: Option<HookStatus>) {
    let status = status.unwrap_or_default();
    add(attempted, label, status.hooks_attempted);
    add(failed, label, status.hooks_failed);
}

fn add(family: &Counters, label: &Label, more: i64) {
    family
        .get_or_create(label)
        .inc_by(u64::try_from(more).unwrap_or(0));
}

/// Seconds as a float; exact for 285 million years.
#[allow(clippy::cast_precision_loss, reason = "see above")]
pub(super) fn float(seconds: i64) -> f64 {
    seconds as f64
}
