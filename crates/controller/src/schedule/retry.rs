//! A scheduled run that failed, or is partial, is tried again after a pause that grows.
//!
//! Every attempt is a backup of its own, which says which run it belongs to and which attempt it is. So a server
//! that was restarted knows as much as the one before.

use std::sync::Arc;

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::schedule::{Retry, backup_from};
use salvor_api::velero::{Backup, Schedule};

use super::{HELD_BACK, Schedules};
use crate::events::EventType;
use crate::kinds::KindError;

/// The newest run of a schedule, as far as it got.
struct Run<'a> {
    /// When it was due.
    due: &'a str,
    /// Name of its first backup.
    first: &'a str,
    /// The newest of its backups.
    backup: &'a Backup,
    /// Which attempt that is, from 1.
    attempt: u32,
}

impl Schedules {
    /// Tries the newest run again when its time has come; when it will have come otherwise.
    pub(super) async fn retry(
        &self,
        schedule: &Schedule,
        backups: &[Arc<Backup>],
        now: Time,
    ) -> Result<Option<Time>, KindError> {
        let events = &self.context.events;
        let Some(rule) = schedule.metadata.annotations.get(labels::RETRY) else {
            return Ok(None);
        };
        let rule: Retry = match rule.parse() {
            Ok(rule) => rule,
            Err(error) => {
                let text = format!(
                    "annotation {}: {error}; nothing is tried again",
                    labels::RETRY
                );
                self.warn_once(schedule, text);
                return Ok(None);
            }
        };
        if is_busy(schedule, backups) {
            // Its end brings no turn of its own.
            return Ok(Some(now.plus(HELD_BACK)));
        }
        let Some(run) = newest_run(schedule, backups) else {
            return Ok(None);
        };
        let status = &run.backup.status;
        let ended = status.completion_timestamp.filter(|ended| {
            // What came from a store with an older life of the schedule is not this one's to mend.
            Some(*ended) >= schedule.metadata.creation_timestamp
        });
        let again = ended.and_then(|ended| rule.again_at(run.attempt, &status.phase, ended));
        let Some(at) = again else {
            return Ok(None);
        };
        if at > now {
            return Ok(Some(at));
        }
        if self.context.paused().await {
            return Ok(Some(now));
        }
        let attempt = run.attempt + 1;
        let mut backup = backup_from(schedule, now);
        // Asking twice for one attempt asks once.
        backup.metadata.name = format!("{}-{attempt}", run.first);
        if let Err(error) = BackupName::new(backup.metadata.name.as_str()) {
            self.warn_once(schedule, format!("the run is not tried again: {error}"));
            return Ok(None);
        }
        for (key, value) in [
            (labels::SCHEDULED_FOR, run.due.to_owned()),
            (labels::RETRY_OF, run.first.to_owned()),
            (labels::ATTEMPT, attempt.to_string()),
        ] {
            backup.metadata.annotations.insert(key.to_owned(), value);
        }
        self.context.authorizer.pass_on(schedule, &mut backup).await;
        match self.context.kinds().create(&backup).await {
            Ok(_) => {}
            // The copy does not show it yet.
            Err(error) if error.already_exists() => return Ok(None),
            Err(error) => return Err(error),
        }
        let name = &backup.metadata.name;
        let text = format!(
            "backup `{}` is {}: created `{name}`, attempt {attempt} of {}",
            run.backup.metadata.name, status.phase, rule.attempts
        );
        tracing::info!(schedule = %schedule.metadata.name, backup = %name, attempt, "a run is tried again");
        events.record(schedule, EventType::Normal, "Retry", text);
        Ok(None)
    }

    /// Warns of something that stays wrong until somebody changes the schedule.
    fn warn_once(&self, schedule: &Schedule, text: String) {
        let key = (schedule.metadata.name.clone(), text.clone());
        let mut warned = self
            .warned
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if warned.insert(key) {
            let events = &self.context.events;
            events.record(schedule, EventType::Warning, "NoRetry", text);
        }
    }
}

fn newest_run<'a>(schedule: &Schedule, backups: &'a [Arc<Backup>]) -> Option<Run<'a>> {
    let label = labels::label_value(&schedule.metadata.name);
    let runs = backups.iter().filter_map(|backup| {
        let metadata = &backup.metadata;
        if metadata.labels.get(labels::SCHEDULE_NAME) != Some(&label) {
            return None;
        }
        let annotations = &metadata.annotations;
        let attempt = match annotations.get(labels::ATTEMPT) {
            None => 1,
            Some(text) => text.parse().ok()?,
        };
        Some(Run {
            due: annotations.get(labels::SCHEDULED_FOR)?,
            first: annotations.get(labels::RETRY_OF).unwrap_or(&metadata.name),
            backup,
            attempt,
        })
    });
    // Times in RFC 3339, UTC and whole seconds order as text does.
    runs.max_by_key(|run| (run.due, run.first, run.attempt))
}

/// True while a backup of the schedule is not done: there are never two at once, whatever they are for.
fn is_busy(schedule: &Schedule, backups: &[Arc<Backup>]) -> bool {
    let label = labels::label_value(&schedule.metadata.name);
    backups.iter().any(|backup| {
        backup.metadata.labels.get(labels::SCHEDULE_NAME) == Some(&label)
            && !backup.status.phase.is_final()
    })
}

#[cfg(test)]
mod tests {
    use salvor_api::velero::BackupPhase;

    use super::*;

    fn attempt(name: &str, due: &str, of: Option<(&str, &str)>, phase: BackupPhase) -> Arc<Backup> {
        let mut backup = Backup::named("velero", name);
        let metadata = &mut backup.metadata;
        metadata
            .labels
            .insert(labels::SCHEDULE_NAME.to_owned(), "s".to_owned());
        let annotations = &mut metadata.annotations;
        annotations.insert(labels::SCHEDULED_FOR.to_owned(), due.to_owned());
        if let Some((first, number)) = of {
            annotations.insert(labels::RETRY_OF.to_owned(), first.to_owned());
            annotations.insert(labels::ATTEMPT.to_owned(), number.to_owned());
        }
        backup.status.phase = phase;
        Arc::new(backup)
    }

    #[test]
    fn the_newest_attempt_of_the_newest_run_counts_and_none_while_one_is_open() {
        use BackupPhase::{Failed, InProgress, PartiallyFailed};
        let (monday, tuesday) = ("2026-11-16T02:00:00Z", "2026-11-17T02:00:00Z");
        let mut backups = vec![
            attempt("s-1", monday, None, Failed),
            attempt("s-1-2", monday, Some(("s-1", "2")), Failed),
            attempt("s-2-10", tuesday, Some(("s-2", "10")), PartiallyFailed),
            attempt("s-2", tuesday, None, Failed),
            attempt("s-2-9", tuesday, Some(("s-2", "9")), Failed),
        ];
        let schedule = Schedule::named("velero", "s");
        let run = newest_run(&schedule, &backups).expect("found");
        assert!(!is_busy(&schedule, &backups));
        let found = (&*run.backup.metadata.name, run.first, run.attempt);
        assert_eq!(found, ("s-2-10", "s-2", 10));
        assert_eq!(run.due, tuesday);
        let other = Schedule::named("velero", "other");
        assert!(newest_run(&other, &backups).is_none());
        backups.push(attempt("s-1-3", monday, Some(("s-1", "3")), InProgress));
        assert!(is_busy(&schedule, &backups) && !is_busy(&other, &backups));
    }
}
