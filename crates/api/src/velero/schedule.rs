//! Schedules: when backups are made, and from what template.

use serde::{Deserialize, Serialize};

use super::backup::BackupSpec;
use super::kind::kind;
use super::phase::phases;
use crate::go::Time;
use crate::meta::null_is_default;

kind! {
    /// Backups at times that a cron expression gives. Whether one is due is decided in
    /// [`crate::schedule`].
    Schedule, v1, "schedules", "schedule", ["sched"], ScheduleSpec, ScheduleStatus
}

/// `Schedule.spec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleSpec {
    /// Specification of every backup that is made.
    #[serde(deserialize_with = "null_is_default")]
    pub template: BackupSpec,
    /// Cron expression.
    pub schedule: String,
    /// Whether backups are owned by the schedule, so that they vanish from the cluster with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_owner_references_in_backup: Option<bool>,
    /// Whether nothing is run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Whether the run that is due now is left out, once; absent means as the server is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_immediately: Option<bool>,
}

phases! {
    /// Where a schedule stands.
    SchedulePhase {
        /// Not looked at yet.
        New,
        /// Valid; backups are made.
        Enabled,
        /// Refused; no backup is made.
        FailedValidation,
    }
}

/// `Schedule.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleStatus {
    /// Where it stands.
    #[serde(skip_serializing_if = "SchedulePhase::is_unset")]
    pub phase: SchedulePhase,
    /// When the last backup was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<Time>,
    /// When a run was last left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_skipped: Option<Time>,
    /// Why validation failed.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_default"
    )]
    pub validation_errors: Vec<String>,
}
