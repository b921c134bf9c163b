//! `restore`: Velero's commands and flags, and Salvor's.

use clap::{Args, Subcommand, ValueEnum};
use salvor_api::go::GoDuration;

use super::choice::{ChoiceArgs, DemandArgs};
use super::filters::FilterArgs;
use super::{ConfirmArgs, Format, FormatArgs};

/// Commands on restores.
#[derive(Debug, Subcommand)]
pub(crate) enum RestoreCommand {
    /// Restore a backup.
    Create(Box<CreateArgs>),
    /// List restores.
    Get(GetArgs),
    /// Describe restores.
    Describe(DescribeArgs),
    /// Print the log of a restore.
    Logs(LogsArgs),
    /// Delete the records of restores; restored objects stay.
    Delete(DeleteArgs),
}

/// Flags of `get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `describe`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    /// Also list resources.
    #[arg(long)]
    pub(crate) details: bool,
    /// `json` or `yaml` for one restore.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Flags of `logs`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogsArgs {
    /// Name of the restore.
    pub(crate) name: String,
}

/// Flags of `delete`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) which: DemandArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// What happens to objects that exist already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExistingPolicy {
    /// Leave them, warn when they differ.
    None,
    /// Patch them to what the backup has.
    Update,
    /// Patch them, and delete and create anew what cannot be patched.
    Recreate,
}

/// Flags of `create`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the restore [default: <BACKUP>-YYYYMMDDhhmmss].
    pub(crate) name: Option<String>,
    /// Backup to restore from.
    #[arg(long, value_name = "BACKUP", conflicts_with = "from_schedule", required_unless_present_any = ["from_schedule", "resume"])]
    pub(crate) from_backup: Option<String>,
    /// Schedule whose newest backup is restored.
    #[arg(long, value_name = "SCHEDULE")]
    pub(crate) from_schedule: Option<String>,
    /// With --from-schedule: also take a partially failed backup.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) allow_partially_failed: Option<bool>,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
    /// Only objects with these names; globs.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAMES",
        help_heading = "Filters"
    )]
    pub(crate) names: Vec<String>,
    /// Restore into other namespaces: source:target,...
    #[arg(long, value_name = "MAP")]
    pub(crate) namespace_mappings: Option<String>,
    /// What to do with objects that exist already.
    #[arg(long, value_enum, value_name = "POLICY")]
    pub(crate) existing_resource_policy: Option<ExistingPolicy>,
    /// Resources whose status is restored; `*` for all.
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    pub(crate) status_include_resources: Vec<String>,
    /// Resources whose status is not restored.
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    pub(crate) status_exclude_resources: Vec<String>,
    /// Keep node ports of services.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) preserve_nodeports: Option<bool>,
    /// ConfigMap with resource modifiers, in the namespace of -n.
    #[arg(long, value_name = "NAME")]
    pub(crate) resource_modifier_configmap: Option<String>,
    /// File with resource modifiers, as the ConfigMap's value would be.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "resource_modifier_configmap"
    )]
    pub(crate) resource_modifier_file: Option<std::path::PathBuf>,
    /// ConfigMap with resource policies that filter what is restored, in the namespace of -n.
    #[arg(long, value_name = "NAME")]
    pub(crate) resource_policies_configmap: Option<String>,
    /// File that defines item actions, besides those of the cluster; only here may they be programs.
    #[arg(long, value_name = "FILE")]
    pub(crate) item_actions: Option<std::path::PathBuf>,
    /// How long asynchronous operations may take.
    #[arg(long, default_value = "4h0m0s", value_name = "DURATION")]
    pub(crate) item_operation_timeout: GoDuration,
    #[command(flatten)]
    pub(crate) volumes: VolumeArgs,
    /// Point ownerReferences at the restored owners.
    #[arg(long)]
    pub(crate) relink_owners: bool,
    #[command(flatten)]
    pub(crate) damage: super::DamageArgs,
    #[command(flatten)]
    pub(crate) record: super::RecordArgs,
    /// Print the plan and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on with a restore of this name that was interrupted.
    #[arg(long, requires = "name")]
    pub(crate) resume: bool,
    /// Calls to the API server at once, at most; it goes down by itself when the server is slow.
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    #[command(flatten)]
    pub(crate) limits: super::limits::LimitArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    /// Wait for the end; a restore made from here always does.
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// `json` or `yaml` prints the Restore, or with --dry-run the plan, and creates nothing.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Volume flags of `create`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Volumes")]
pub(crate) struct VolumeArgs {
    /// Put the data of volumes back; false brings the objects only, and claims come back empty [default: true].
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) restore_volumes: Option<bool>,
    /// Write files with holes where they had them.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) write_sparse_files: Option<bool>,
    /// Files downloaded at once.
    #[arg(long, value_name = "N")]
    pub(crate) parallel_files_download: Option<u32>,
}
