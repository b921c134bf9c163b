//! `retention`.

use clap::{Args, Subcommand};
use salvor_api::retention::Policy;

/// Commands on retention.
#[derive(Debug, Subcommand)]
pub(crate) enum RetentionCommand {
    /// Print which backups would go now, which stay, and why. Removes nothing.
    Plan(PlanArgs),
}

/// Flags of `plan`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    /// What to keep of each schedule's backups, instead of what the schedules say:
    /// last=3,daily=7,weekly=4,within=14d.
    #[arg(long, value_name = "POLICY")]
    pub(crate) keep: Option<Policy>,
    /// Only backups of this schedule.
    #[arg(long, value_name = "NAME")]
    pub(crate) schedule: Option<String>,
}
