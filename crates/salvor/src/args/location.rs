//! `backup-location`.

use clap::{Args, Subcommand};

use super::FormatArgs;

/// Commands on locations.
#[derive(Debug, Subcommand)]
pub(crate) enum LocationCommand {
    /// Name a location in the configuration file.
    Create(CreateArgs),
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
    pub(crate) url: String,
    /// Refuse to write to it.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Make it the default.
    #[arg(long)]
    pub(crate) default: bool,
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
