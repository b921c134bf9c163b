//! BackupStorageLocations: whether each can be used, and which one is the default.

use std::time::Duration;

use salvor_api::go::SignedGoDuration;
use salvor_api::validate;
use salvor_api::velero::{Backup, BackupStorageLocation, LocationPhase};
use salvor_location::Location;
use salvor_location::layout::VELERO_FOLDERS;

use crate::bucket_rules::{self, BucketRules};
use crate::context::{Context, chain, owned};
use crate::control::{Next, Reconcile};
use crate::events::EventType;
use crate::kinds::KindError;

/// Longest look at a store.
const LOOK: Duration = Duration::from_secs(60);

pub(crate) struct StorageLocations {
    pub(crate) context: Context,
    pub(crate) bucket_rules: BucketRules,
}

impl Reconcile for StorageLocations {
    const NAME: &'static str = "backup-storage-location";
    type Error = KindError;

    async fn reconcile(&self, name: &str) -> Result<Next, KindError> {
        let context = &self.context;
        let Some(object) = context.storage_locations.get(name) else {
            return self.forget(name).await;
        };
        context.locations.adjust(&object);
        if object.spec.default {
            self.settle_default().await?;
        }
        let every = object
            .spec
            .validation_frequency
            .and_then(SignedGoDuration::non_negative)
            .map_or(context.options.validate_every, |given| given.0);
        if every.is_zero() {
            return Ok(Next::Wait);
        }
        let due = match object.status.last_validation_time {
            Some(last) if !object.status.phase.is_unset() => {
                let elapsed = context.now().seconds_since(last).max(0);
                every.saturating_sub(Duration::from_secs(elapsed.unsigned_abs()))
            }
            _ => Duration::ZERO,
        };
        if !due.is_zero() {
            return Ok(Next::After(due));
        }
        self.validate(&object).await?;
        Ok(Next::After(every))
    }

    fn is_ordinary(error: &KindError) -> bool {
        error.is_stale()
    }
}

impl StorageLocations {
    /// Of several locations that say they are the default, the newest is.
    async fn settle_default(&self) -> Result<(), KindError> {
        let locations = owned(&self.context.storage_locations);
        let superfluous = validate::superfluous_defaults(&locations);
        for before in locations
            .iter()
            .filter(|object| superfluous.contains(&object.metadata.name.as_str()))
        {
            let mut after = before.clone();
            after.spec.default = false;
            let stored = self.context.kinds().update(before, &after).await?;
            let events = &self.context.events;
            let text = "a newer location is the default now";
            events.record(&stored, EventType::Normal, "NoLongerDefault", text);
        }
        Ok(())
    }

    /// A location that is gone takes its backups out of the cluster, never out of the store: they come back
    /// with it.
    async fn forget(&self, name: &str) -> Result<Next, KindError> {
        let context = &self.context;
        context.locations.forget(name);
        let kinds = context.kinds::<Backup>();
        for backup in context.backups.list() {
            if backup.spec.storage_location == name && backup.status.phase.is_final() {
                kinds.delete(&backup).await?;
            }
        }
        Ok(Next::Wait)
    }

    async fn validate(&self, object: &BackupStorageLocation) -> Result<(), KindError> {
        let wrong = validate::location(&object.spec).join("; ");
        let mut after = object.clone();
        let mut dangers = None;
        let problem = match self.context.locations.open(object).await {
            _ if !wrong.is_empty() => Some(wrong),
            Err(error) => Some(error.message()),
            Ok(location) => {
                let looked = async {
                    let problem = look(&location).await;
                    if problem.is_none() {
                        let rules = &self.bucket_rules;
                        dangers = rules.look(&self.context, &location, &mut after).await;
                    }
                    problem
                };
                match tokio::time::timeout(LOOK, looked).await {
                    Ok(problem) => problem,
                    Err(_) => Some(format!(
                        "the store did not answer within {} s",
                        LOOK.as_secs()
                    )),
                }
            }
        };
        let status = &mut after.status;
        status.last_validation_time = Some(self.context.now());
        // A sync that was stopped has something to say as well.
        let stopped = || self.context.stops.get(&object.metadata.name);
        status.message = problem.clone().or_else(stopped).unwrap_or_default();
        status.phase = match &problem {
            None => LocationPhase::Available,
            Some(_) => LocationPhase::Unavailable,
        };
        let changed = status.phase != object.status.phase;
        let stored = self.context.kinds().update(object, &after).await?;
        if let Some(dangers) = dangers {
            bucket_rules::tell(&self.context, &stored, dangers);
        }
        if changed {
            let events = &self.context.events;
            match problem {
                None => events.record(
                    &stored,
                    EventType::Normal,
                    "Available",
                    "the store can be read and has the right layout",
                ),
                Some(why) => events.record(&stored, EventType::Warning, "Unavailable", why),
            }
        }
        Ok(())
    }
}

/// What is wrong with a location; `None` when it can be used.
async fn look(location: &Location) -> Option<String> {
    let folders = match location.store().list_folder("").await {
        Ok(listed) => listed.folders,
        Err(error) => return Some(with_advice(chain(&error), error.advice())),
    };
    let foreign: Vec<&str> = folders
        .iter()
        .map(String::as_str)
        .filter(|folder| !VELERO_FOLDERS.contains(folder))
        .take(5)
        .collect();
    if !foreign.is_empty() {
        return Some(format!(
            "it holds folders that are not of a backup location: {}; give it a prefix of its own",
            foreign.join(", ")
        ));
    }
    let readable = location.assert_readable().await;
    readable
        .err()
        .map(|error| with_advice(chain(&error), error.advice()))
}

fn with_advice(text: String, advice: &str) -> String {
    if advice.is_empty() {
        text
    } else {
        format!("{text}; {advice}")
    }
}
