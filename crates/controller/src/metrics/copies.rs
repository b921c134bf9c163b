//! Copies in other locations: what was copied, what is missing and for how long, and what was verified.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use salvor_api::velero::{Backup, BackupStorageLocation};
use salvor_location::copy::Copied;

use super::counts::{float, gauges, schedule_of};
use super::{Counters, Gauges, Label, by_location, by_schedule};
use crate::context::Context;
use crate::copy::missing;

type Seconds = Family<Label, Gauge<f64, AtomicU64>>;

/// Figures about copies and verifications.
pub(crate) struct Copies {
    made: Counters,
    failures: Counters,
    bytes: Counters,
    missing: Gauges,
    oldest: Seconds,
    verified: Seconds,
}

impl Copies {
    pub(super) fn register(r: &mut Registry) -> Self {
        let counters = |r: &mut Registry, name: &str, help: &str| {
            let family = Counters::default();
            r.register(name, help, family.clone());
            family
        };
        let seconds = |r: &mut Registry, name: &str, help: &str| {
            let family = Seconds::default();
            r.register(name, help, family.clone());
            family
        };
        Self {
            made: counters(
                r,
                "salvor_backup_copies",
                "Backups that were copied to the location",
            ),
            failures: counters(
                r,
                "salvor_backup_copy_failures",
                "Attempts to copy a backup to the location that failed",
            ),
            bytes: counters(
                r,
                "salvor_backup_copied_bytes",
                "Bytes of the backups that were copied to the location",
            ),
            missing: gauges(
                r,
                "salvor_backup_copies_missing",
                "Backups whose copy in the location is asked for and not there",
            ),
            oldest: seconds(
                r,
                "salvor_backup_copy_oldest_missing_seconds",
                "How long ago the oldest backup ended whose copy in the location is not there; 0 without one",
            ),
            verified: seconds(
                r,
                "salvor_backup_last_verified_timestamp_seconds",
                "When a backup was last verified and found sound",
            ),
        }
    }

    /// A backup is at the target.
    pub(crate) fn done(&self, target: &str, copied: &Copied) {
        if copied.already {
            return;
        }
        let label = by_location(target);
        self.made.get_or_create(&label).inc();
        self.bytes.get_or_create(&label).inc_by(copied.bytes);
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, target: &str) {
        let counter: Counter = self.failures.get_or_create(&by_location(target)).clone();
        counter.inc();
    }

    /// Brings what the objects say up to date; nothing is said while this server does not lead.
    pub(super) fn update(&self, context: Option<&Context>) {
        self.missing.clear();
        self.oldest.clear();
        self.verified.clear();
        let Some(context) = context else {
            return;
        };
        let locations: Vec<Arc<BackupStorageLocation>> = context.storage_locations.list();
        for object in &locations {
            let label = by_location(&object.metadata.name);
            self.missing.get_or_create(&label).set(0);
            self.oldest.get_or_create(&label).set(0.0);
        }
        let now = context.now().timestamp();
        for backup in context.backups.list() {
            for location in missing(&backup) {
                self.lacks(&location, &backup, now);
            }
            let verified = context.verdicts.last_sound(&backup);
            if let Some(at) = verified {
                let last = self
                    .verified
                    .get_or_create(&by_schedule(schedule_of(&backup)))
                    .clone();
                last.set(last.get().max(float(at.as_second())));
            }
        }
    }

    fn lacks(&self, location: &str, backup: &Backup, now: Timestamp) {
        let label = by_location(location);
        self.missing.get_or_create(&label).inc();
        let ended = backup.status.completion_timestamp;
        let age = ended.map_or(0, |ended| now.as_second() - ended.timestamp().as_second());
        let oldest = self.oldest.get_or_create(&label).clone();
        oldest.set(oldest.get().max(float(age)));
    }
}
