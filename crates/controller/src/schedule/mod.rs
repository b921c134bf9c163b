//! Schedules: a backup at each time that the expression gives, however often the server restarts.
//!
//! What is due is decided by [`salvor_api::schedule`]; here it is carried out.

mod retry;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::schedule::{Decision, Server, backup_from, decide};
use salvor_api::velero::{Backup, Schedule, SchedulePhase};

use crate::context::Context;
use crate::control::{Next, Reconcile};
use crate::events::EventType;
use crate::kinds::KindError;

/// Longest time without a look: clocks are set, and the copy may have missed a change.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Pause while another backup of the schedule is in the way; its end brings no turn of its own.
const HELD_BACK: Duration = Duration::from_secs(5);

pub(crate) struct Schedules {
    pub(crate) context: Context,
    pub(crate) server: Server,
    /// What was warned of already: schedule and text.
    pub(crate) warned: Mutex<HashSet<(String, String)>>,
}

impl Reconcile for Schedules {
    const NAME: &'static str = "schedule";
    type Error = KindError;

    async fn reconcile(&self, name: &str) -> Result<Next, KindError> {
        let Some(schedule) = self.context.schedules.get(name) else {
            return Ok(Next::Wait);
        };
        if schedule.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Wait);
        }
        let now = self.context.now();
        let backups = self.context.backups.list();
        let all = backups.iter().map(|backup| &**backup);
        let next = match decide(&schedule, all, now, &self.server) {
            Decision::Refuse { errors } => {
                self.refuse(&schedule, errors).await?;
                return Ok(Next::Wait);
            }
            Decision::Rest => Next::Wait,
            Decision::Skip => {
                self.skip(&schedule, now).await?;
                // The change brings the next turn.
                return Ok(Next::Wait);
            }
            Decision::Wait { until } => {
                // A regular run is decided first: it takes the place of a retry that comes after it.
                let again = self.retry(&schedule, &backups, now).await?;
                match until.into_iter().chain(again).min() {
                    Some(next) => {
                        let seconds = next.seconds_since(now).max(1).unsigned_abs();
                        Next::After(Duration::from_secs(seconds).min(LOOK_EVERY))
                    }
                    None => Next::Wait,
                }
            }
            Decision::HoldBack { since, by } => {
                tracing::debug!(schedule = name, %by, ?since, "a run waits for another backup");
                Next::After(HELD_BACK)
            }
            Decision::Run { .. } if self.context.paused().await => {
                Next::After(self.context.options.pause_look)
            }
            Decision::Run { since, .. } => {
                self.run(&schedule, &backups, since, now).await?;
                return Ok(Next::Wait);
            }
        };
        self.enable(&schedule).await?;
        Ok(next)
    }

    fn is_ordinary(error: &KindError) -> bool {
        error.is_stale()
    }
}

impl Schedules {
    /// Creates the backup that is due, then notes it. A server that ended between the two has created it
    /// already: then it is only noted.
    async fn run(
        &self,
        schedule: &Schedule,
        backups: &[Arc<Backup>],
        since: Option<Time>,
        now: Time,
    ) -> Result<(), KindError> {
        let label = labels::label_value(&schedule.metadata.name);
        let of_this_run = |backup: &&Arc<Backup>| {
            let created = backup.metadata.creation_timestamp;
            backup.metadata.labels.get(labels::SCHEDULE_NAME) == Some(&label)
                && since.is_some_and(|since| created >= Some(since))
                // One that was made by hand from the schedule is no run of it.
                && backup.metadata.annotations.contains_key(labels::SCHEDULED_FOR)
                // And one that tries an earlier run again is not this one.
                && !backup.metadata.annotations.contains_key(labels::RETRY_OF)
        };
        let mut after = schedule.clone();
        after.status.phase = SchedulePhase::Enabled;
        after.status.validation_errors.clear();
        if let Some(made) = backups
            .iter()
            .filter(of_this_run)
            .max_by_key(|backup| backup.metadata.creation_timestamp)
        {
            after.status.last_backup = made.metadata.creation_timestamp;
            self.context.kinds().update(schedule, &after).await?;
            return Ok(());
        }
        let mut backup = backup_from(schedule, now);
        let due = since.unwrap_or(now).to_string();
        backup
            .metadata
            .annotations
            .insert(labels::SCHEDULED_FOR.to_owned(), due);
        self.context.authorizer.pass_on(schedule, &mut backup).await;
        match self.context.kinds().create(&backup).await {
            Ok(_) => {}
            // Made by ourselves, with a lost answer, or by somebody in the same second.
            Err(error) if error.already_exists() => {}
            Err(error) => return Err(error),
        }
        after.status.last_backup = Some(now);
        let name = &backup.metadata.name;
        tracing::info!(schedule = %schedule.metadata.name, backup = %name, "a run is due");
        self.context.events.record(
            schedule,
            EventType::Normal,
            "Due",
            format!("created backup `{name}`"),
        );
        self.context.kinds().update(schedule, &after).await?;
        Ok(())
    }

    async fn skip(&self, schedule: &Schedule, now: Time) -> Result<(), KindError> {
        let mut after = schedule.clone();
        after.spec.skip_immediately = Some(false);
        after.status.last_skipped = Some(now);
        let stored = self.context.kinds().update(schedule, &after).await?;
        let text = "the run that was due is left out, as spec.skipImmediately says";
        let events = &self.context.events;
        events.record(&stored, EventType::Normal, "Skipped", text);
        Ok(())
    }

    async fn enable(&self, schedule: &Schedule) -> Result<(), KindError> {
        let mut after = schedule.clone();
        after.status.phase = SchedulePhase::Enabled;
        after.status.validation_errors.clear();
        let stored = self.context.kinds().update(schedule, &after).await?;
        if stored.status.phase != schedule.status.phase {
            let text = "it is valid and runs when its time comes";
            let events = &self.context.events;
            events.record(&stored, EventType::Normal, "Enabled", text);
        }
        Ok(())
    }

    async fn refuse(&self, schedule: &Schedule, errors: Vec<String>) -> Result<(), KindError> {
        let mut after = schedule.clone();
        after.status.phase = SchedulePhase::FailedValidation;
        after.status.validation_errors = errors;
        if after.status == schedule.status {
            return Ok(());
        }
        let stored = self.context.kinds().update(schedule, &after).await?;
        self.context.events.record(
            &stored,
            EventType::Warning,
            "FailedValidation",
            stored.status.validation_errors.join("; "),
        );
        Ok(())
    }
}
