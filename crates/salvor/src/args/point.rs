//! `point`: recovery points of sources that are no backups, such as etcd.

use clap::{Args, Subcommand};

use super::FormatArgs;

/// Commands on recovery points.
#[derive(Debug, Subcommand)]
pub(crate) enum PointCommand {
    /// List recovery points of the location, with their holds and what the last verification found.
    Get(PointGetArgs),
    /// Read what points consist of and compare it with their records; the result is written down.
    Verify(PointVerifyArgs),
    /// Keep a point until it is released: no policy removes it.
    Hold(PointHoldArgs),
    /// Release a hold of a point.
    Release(PointReleaseArgs),
}

/// Flags of `get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PointGetArgs {
    /// Only these, by id.
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `verify`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PointVerifyArgs {
    /// Which, by id.
    #[arg(required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
}

/// Flags of `hold`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PointHoldArgs {
    /// Which, by id.
    pub(crate) id: String,
    /// Why, for whoever finds the hold.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Flags of `release`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PointReleaseArgs {
    /// Which, by id.
    pub(crate) id: String,
    /// Which hold [default: all of the point].
    pub(crate) hold: Option<String>,
}
