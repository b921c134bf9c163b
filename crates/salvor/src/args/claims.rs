//! `pv` and `pvc`: the command line about volumes and claims of a cluster.

use clap::{Args, Subcommand};
use salvor_api::go::GoDuration;

use super::{ConfirmArgs, FormatArgs};

/// Commands on PersistentVolumes.
#[derive(Debug, Subcommand)]
pub(crate) enum PvCommand {
    /// List volumes that outlived their claim: what they were, where their bytes are, whose they were.
    Released(FormatArgs),
    /// Give a volume to a claim, so that no other claim can take it on the way.
    Rebind(RebindArgs),
}

/// Commands on PersistentVolumeClaims.
#[derive(Debug, Subcommand)]
pub(crate) enum PvcCommand {
    /// Compare claims with the volumes that they must be bound to. Exit code 1 when one is not.
    Check(CheckArgs),
}

/// Flags of `pv rebind`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RebindArgs {
    /// The volume.
    pub(crate) volume: String,
    /// The claim.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub(crate) claim: String,
    /// Make the claim, as the volume is, if it is not there.
    #[arg(long)]
    pub(crate) create_claim: bool,
    /// Print what would be done and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How long to wait until both are bound.
    #[arg(long, default_value = "1m0s", value_name = "DURATION")]
    pub(crate) timeout: GoDuration,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `pvc check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// Claims of all namespaces; the default where -n names none.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// The claims of this backup, with the volumes that they had.
    #[arg(long, value_name = "NAME", conflicts_with = "restore")]
    pub(crate) backup: Option<String>,
    /// The claims that this restore brought back, in the namespaces that it put them in.
    #[arg(long, value_name = "NAME")]
    pub(crate) restore: Option<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}
