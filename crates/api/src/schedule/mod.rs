//! When a schedule makes backups: cron expressions, the next run, and whether one is due.
//!
//! Everything is a function of the schedule, the time and what already runs; nothing here reads a clock.
//! The controller asks [`decide`], does what it says and writes down when it did.
//!
//! Expressions are those of the library that Velero uses (robfig/cron, version 3, standard parser), see
//! [`Cron`].

mod cron;
mod due;
mod next;
mod retry;

pub use cron::{Cron, CronError};
pub use due::{
    CLOCK_TOLERANCE, Decision, Server, backup_from, decide, holds_back, run_name, validate,
};
pub use retry::{Retry, RetryError};
