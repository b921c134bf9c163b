//! `backup-location`.

use clap::{Args, Subcommand, ValueEnum};
use salvor_api::go::SignedGoDuration;

use super::limits::LimitArgs;
use super::{ConfirmArgs, Format, FormatArgs};

/// Commands on locations.
#[derive(Debug, Subcommand)]
pub(crate) enum LocationCommand {
    /// Name a location: by its URL in the configuration file, by its provider in the cluster.
    Create(Box<CreateArgs>),
    /// Change a location of the cluster, or the limits of one of the configuration file.
    Set(Box<SetArgs>),
    /// Delete locations from the cluster; what is stored there stays.
    Delete(DeleteArgs),
    /// List locations.
    Get(GetArgs),
    /// Describe locations.
    Describe(DescribeArgs),
    /// Prove that a location can be written, read, listed and written exclusively.
    Check(CheckArgs),
    /// Make a location the default.
    SetDefault(SetDefaultArgs),
}

/// Flags of `create`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the location.
    pub(crate) name: String,
    /// file:///folder, s3://bucket/prefix?endpoint=...&region=..., azure://..., gs://...
    #[arg(required_unless_present = "provider", conflicts_with = "provider")]
    pub(crate) url: Option<String>,
    /// Refuse to write to it.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Make it the default.
    #[arg(long)]
    pub(crate) default: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) object: ObjectArgs,
}

/// What a BackupStorageLocation says, in the flags of Velero's client.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Locations of the cluster")]
pub(crate) struct ObjectArgs {
    /// aws, azure, gcp, or file for a folder of the server's.
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// Bucket or container.
    #[arg(long, requires = "provider", value_name = "NAME")]
    pub(crate) bucket: Option<String>,
    /// Path within the bucket.
    #[arg(long, requires = "provider", value_name = "PATH")]
    pub(crate) prefix: Option<String>,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// Settings of the provider.
    #[arg(long, requires = "provider", value_name = "KEY=VALUE,...")]
    pub(crate) config: Option<String>,
    /// Labels of the location.
    #[arg(long, requires = "provider", value_name = "KEY=VALUE,...")]
    pub(crate) labels: Option<String>,
    /// How often the cluster follows the bucket; 0 for never.
    #[arg(long, requires = "provider", value_name = "DURATION")]
    pub(crate) backup_sync_period: Option<SignedGoDuration>,
    /// How often the location is looked at; 0 for never.
    #[arg(long, requires = "provider", value_name = "DURATION")]
    pub(crate) validation_frequency: Option<SignedGoDuration>,
    /// `json` or `yaml` prints the object and creates nothing.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// What can also be changed later.
#[derive(Clone, Debug, Args)]
pub(crate) struct SettingArgs {
    /// Whether anything may be written.
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) access_mode: Option<Access>,
    /// Secret and key that hold the credentials.
    #[arg(long, value_name = "SECRET=KEY")]
    pub(crate) credential: Option<String>,
    /// File with the certificates of the store, in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<std::path::PathBuf>,
}

/// Whether anything may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum Access {
    /// Backups are made and deleted as well.
    ReadWrite,
    /// Backups are listed and restored only.
    ReadOnly,
}

/// Flags of `set`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SetArgs {
    /// Name of the location.
    pub(crate) name: String,
    /// Make it the default, or no longer.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) default: Option<bool>,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// Flags of `delete`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) which: super::schedule::DemandArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    /// Only these.
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `describe`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Only these.
    pub(crate) names: Vec<String>,
}

/// Flags of `check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// Which location [default: the one in use].
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `set-default`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SetDefaultArgs {
    /// Name of the location.
    pub(crate) name: String,
}
