//! Repositories of volume data: which cannot be used, which are damaged, and how maintenance goes.

use prometheus_client::registry::Registry;
use salvor_api::velero::BackupRepositoryPhase;

use super::counts::gauges;
use super::{Counters, Gauges, by_location};
use crate::context::Context;
use crate::repositories::{DAMAGED, DOMAIN};

/// Figures about repositories, by location.
pub(crate) struct Repositories {
    all: Gauges,
    not_ready: Gauges,
    damaged: Gauges,
    unmaintained: Gauges,
    runs: Counters,
    failures: Counters,
}

impl Repositories {
    pub(super) fn register(r: &mut Registry) -> Self {
        let counters = |r: &mut Registry, name: &str, help: &str| {
            let family = Counters::default();
            r.register(name, help, family.clone());
            family
        };
        Self {
            all: gauges(r, "salvor_repositories", "Repositories of volume data"),
            not_ready: gauges(
                r,
                "salvor_repositories_not_ready",
                "Repositories of volume data that cannot be used",
            ),
            damaged: gauges(
                r,
                "salvor_repository_damaged_snapshots",
                "Snapshots of volume data that lack something, as checks found",
            ),
            unmaintained: gauges(
                r,
                "salvor_repository_oldest_maintenance_seconds",
                "How long ago the repository was last maintained for which that is longest; 0 without one",
            ),
            runs: counters(
                r,
                "salvor_repository_maintenance_runs",
                "Maintenance runs of repositories",
            ),
            failures: counters(
                r,
                "salvor_repository_maintenance_failures",
                "Maintenance runs of repositories that failed",
            ),
        }
    }

    /// A run has ended.
    pub(crate) fn maintained(&self, location: &str, succeeded: bool) {
        let label = by_location(location);
        self.runs.get_or_create(&label).inc();
        let failures = self.failures.get_or_create(&label);
        if !succeeded {
            failures.inc();
        }
    }

    /// Brings what the objects say up to date; nothing is said while this server does not lead.
    pub(super) fn update(&self, context: Option<&Context>) {
        for gauges in [
            &self.all,
            &self.not_ready,
            &self.damaged,
            &self.unmaintained,
        ] {
            gauges.clear();
        }
        let Some(context) = context else {
            return;
        };
        let now = context.now();
        for object in context.repositories.list() {
            let annotations = &object.metadata.annotations;
            if !annotations.contains_key(DOMAIN) {
                continue;
            }
            let label = by_location(&object.spec.backup_storage_location);
            self.all.get_or_create(&label).inc();
            let not_ready = object.status.phase != BackupRepositoryPhase::Ready;
            self.not_ready
                .get_or_create(&label)
                .inc_by(i64::from(not_ready));
            let damaged = annotations.get(DAMAGED).and_then(|text| text.parse().ok());
            self.damaged
                .get_or_create(&label)
                .inc_by(damaged.unwrap_or(0));
            let last = object.status.last_maintenance_time;
            let age = last.or(object.metadata.creation_timestamp);
            let age = age.map_or(0, |last| now.seconds_since(last).max(0));
            let oldest = self.unmaintained.get_or_create(&label).clone();
            oldest.set(oldest.get().max(age));
        }
    }
}
