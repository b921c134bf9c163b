//! `schedule`: Velero's commands and flags. They need a server.

use clap::{Args, Subcommand};

use super::backup::TemplateArgs;
use super::choice::{ChoiceArgs, DemandArgs};
use super::{ConfirmArgs, Format, FormatArgs};

/// Commands on schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Create a schedule.
    Create(Box<CreateArgs>),
    /// List schedules.
    Get(GetArgs),
    /// Describe schedules.
    Describe(ChoiceArgs),
    /// Delete schedules; the backups that they made stay.
    Delete(DeleteArgs),
    /// Make no more backups until unpaused.
    Pause(PauseArgs),
    /// Make backups again.
    Unpause(UnpauseArgs),
}

/// Flags of `create`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the schedule.
    pub(crate) name: String,
    /// When: a cron expression such as `0 2 * * *`, `@daily` or `@every 6h`, after `CRON_TZ=Asia/Seoul ` for
    /// a zone of its own.
    #[arg(long, value_name = "CRON")]
    pub(crate) schedule: String,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// Let the objects of the backups vanish with the schedule.
    #[arg(long)]
    pub(crate) use_owner_references_in_backup: bool,
    /// Make no backup until unpaused.
    #[arg(long)]
    pub(crate) paused: bool,
    /// Leave out the run that is due at once [default: as the server is set].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) skip_immediately: Option<bool>,
    /// `json` or `yaml` prints the Schedule and creates nothing.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Flags of `get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `delete`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) which: DemandArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `pause`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub(crate) which: DemandArgs,
}

/// Flags of `unpause`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UnpauseArgs {
    #[command(flatten)]
    pub(crate) which: DemandArgs,
    /// Leave out the run that is due at once [default: as the schedule or the server is set].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) skip_immediately: Option<bool>,
}
