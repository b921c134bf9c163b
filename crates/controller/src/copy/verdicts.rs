//! What verifications found, for those who ask which backup may be trusted.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use salvor_api::labels;
use salvor_api::velero::Backup;
use salvor_location::verified::Verdicts;

use crate::context::Context;

/// The verdicts of each location, as the last sync saw them. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownVerdicts(Arc<Mutex<HashMap<String, Verdicts>>>);

impl KnownVerdicts {
    pub(crate) fn set(&self, location: &str, verdicts: Verdicts) {
        self.lock().insert(location.to_owned(), verdicts);
    }

    /// When a backup was found sound; `None` when its newest verification found damage, or it has none.
    pub(crate) fn last_sound(&self, backup: &Backup) -> Option<Timestamp> {
        let known = self.lock();
        let verdict = known.get(&backup.spec.storage_location)?.of(backup)?;
        verdict.at.filter(|_| verdict.sound)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Verdicts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names of the backups of a schedule that must not be taken for its latest: their newest verification found damage.
/// The locations are asked, since a sync may be a while ago. What cannot be asked keeps nobody from restoring.
pub(crate) async fn damaged_of(context: &Context, schedule: &str) -> BTreeSet<String> {
    let label = labels::label_value(schedule);
    let mut backups = context.backups.list();
    backups.retain(|backup| backup.metadata.labels.get(labels::SCHEDULE_NAME) == Some(&label));
    let locations: BTreeSet<&str> = backups
        .iter()
        .map(|backup| backup.spec.storage_location.as_str())
        .collect();
    let mut damaged = BTreeSet::new();
    for name in locations {
        let read = async {
            let location = context
                .location(name)
                .await
                .map_err(|error| error.to_string())?;
            let verdicts = location.verdicts().await;
            verdicts.map_err(|error| crate::context::chain(&error))
        };
        match read.await {
            Ok(verdicts) => {
                let here = backups.iter().filter(|backup| {
                    backup.spec.storage_location == name && verdicts.is_damaged(backup)
                });
                damaged.extend(here.map(|backup| backup.metadata.name.clone()));
            }
            Err(why) => {
                tracing::warn!(
                    location = name,
                    why,
                    "what verifications found is not known"
                );
            }
        }
    }
    damaged
}
