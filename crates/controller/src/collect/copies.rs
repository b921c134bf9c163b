//! Copies of backups whose originals have their objects: a copy goes by its own rule, whatever becomes of the original.
//!
//! A copy without an original in the cluster is imported and collected as any backup. The others have no object of
//! their own (a name has one), so they are found in the store. Only what a record says to be a copy is looked at:
//! a backup of the same name that something else wrote there is nobody's to collect.

use std::collections::BTreeSet;
use std::sync::Arc;

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::{AccessMode, Backup, LocationPhase};
use salvor_location::{BackupRecord, Location, RunId};

use super::{Collector, Kept};
use crate::context::chain;
use crate::events::EventType;
use crate::kinds::KindError;

impl Collector {
    /// Collects copies in one location. What cannot be read is left for the next pass.
    pub(super) async fn collect_copies(&self, name: &str) -> Result<(), KindError> {
        let candidates = match self.candidates(name).await {
            Ok(candidates) => candidates,
            Err(reason) => {
                tracing::warn!(location = name, reason, "its copies are not collected");
                return Ok(());
            }
        };
        let plan = self
            .plan(name, &objects(&candidates), &Kept::default())
            .await;
        if plan
            .series
            .iter()
            .all(|series| series.removed().next().is_none())
        {
            return Ok(());
        }
        let context = &self.context;
        let Ok((object, kept)) = self.usable(name).await else {
            return Ok(());
        };
        let opened = match context.locations.open(&object).await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(
                    location = name,
                    reason = chain(&error),
                    "its copies are not collected"
                );
                return Ok(());
            }
        };
        // Something would go: only now each is asked whether it is a copy at all.
        let mut copies = Vec::new();
        for record in candidates {
            match opened.copied_from(&record.name).await {
                Ok(Some(_)) => copies.push(record),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(location = name, backup = %record.name, reason = chain(&error), "nothing is said of where it comes from: it stays");
                }
            }
        }
        let backups = objects(&copies);
        let plan = self.plan(name, &backups, &kept).await;
        let confirmed = object.metadata.annotations.get(labels::CONFIRM_RETENTION);
        match plan.to_remove(confirmed.map(String::as_str)) {
            Ok(names) => {
                for record in copies
                    .iter()
                    .filter(|record| names.contains(&record.name.as_str()))
                {
                    self.remove_copy(&opened, name, record).await;
                }
            }
            Err(stop) => {
                let text = format!(
                    "copies: {stop}; nothing is deleted until somebody has looked: if that is right, annotate the \
                     location with {}={}",
                    labels::CONFIRM_RETENTION,
                    plan.digest()
                );
                tracing::error!(location = name, "{text}");
                context
                    .events
                    .record(&*object, EventType::Warning, "CollectionStopped", text);
            }
        }
        Ok(())
    }

    /// What lies in a location under names whose objects are about another location. The store is asked for names
    /// first, so that a location without copies costs one listing.
    async fn candidates(&self, location: &str) -> Result<Vec<BackupRecord>, String> {
        let context = &self.context;
        let elsewhere: BTreeSet<String> = context
            .backups
            .list()
            .iter()
            .filter(|backup| backup.spec.storage_location != location)
            .map(|backup| backup.metadata.name.clone())
            .collect();
        let usable = context.storage_locations.get(location).filter(|object| {
            object.spec.access_mode != AccessMode::ReadOnly
                && object.status.phase != LocationPhase::Unavailable
        });
        let Some(object) = usable.filter(|_| !elsewhere.is_empty()) else {
            return Ok(Vec::new());
        };
        let opened = context.locations.open(&object).await;
        let opened = opened.map_err(|error| chain(&error))?;
        let folders = opened
            .backup_folders()
            .await
            .map_err(|error| chain(&error))?;
        let mut candidates = Vec::new();
        for folder in folders.iter().filter(|folder| elsewhere.contains(*folder)) {
            let Ok(name) = BackupName::new(folder) else {
                continue;
            };
            match opened.backup(&name).await {
                Ok(record) => candidates.push(record),
                // Not committed yet, or deleted meanwhile.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(chain(&error)),
            }
        }
        Ok(candidates)
    }

    async fn remove_copy(&self, location: &Location, name: &str, record: &BackupRecord) {
        let context = &self.context;
        let run = RunId::generate();
        let Some(backup) = context.backups.get(record.name.as_str()) else {
            return;
        };
        match location.delete_backup(&record.name, &run).await {
            Ok(deleted) => {
                tracing::info!(backup = %record.name, location = name, objects = deleted.objects, "its copy's time is over");
                context.metrics.counts().retention_removed(&backup);
                let text = format!("the time of its copy in `{name}` is over: the copy is deleted");
                context
                    .events
                    .record(&*backup, EventType::Normal, "CopyCollected", text);
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => {
                let text = format!("its copy in `{name}` is not deleted: {}", chain(&error));
                tracing::warn!(backup = %record.name, "{text}");
                context
                    .events
                    .record(&*backup, EventType::Warning, "CopyCollectionFailed", text);
            }
        }
    }
}

fn objects(records: &[BackupRecord]) -> Vec<Arc<Backup>> {
    let backups = records.iter().map(|record| Arc::new(record.backup.clone()));
    backups.collect()
}
