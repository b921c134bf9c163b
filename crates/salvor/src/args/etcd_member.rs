//! Flags of `etcd member` and `etcd recover-quorum`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfirmArgs;
use super::etcd::AccessArgs;

/// `etcd member`.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the members, as the first endpoint that answers knows them.
    List(AccessArgs),
    /// Take a dead member out, put its data aside, and let its machine join anew until it votes.
    Replace(Box<ReplaceArgs>),
}

/// How a run of several steps is begun, gone on with, and taken back.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Description of the control plane: its machines, how they are reached, and how their components run.
    #[arg(long, value_name = "FILE")]
    pub(crate) plane: PathBuf,
    /// Certificates and passwords for the members; their addresses are those of the description.
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Go on with a run that failed, was stopped or killed.
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<String>,
    /// Take back what a run did, last step first.
    #[arg(long, requires = "run", conflicts_with = "dry_run")]
    pub(crate) undo: bool,
    /// Look at every step and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it although it does not seem to be needed.
    #[arg(long)]
    pub(crate) force: bool,
    /// Folder of the journals of runs [default: salvor/runs in the user's state directory].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) journal: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `member replace`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The member, by its name in the description.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// Flags of `recover-quorum`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecoverQuorumArgs {
    /// The member to go on from [default: the one whose log is the longest].
    #[arg(long, value_name = "NAME")]
    pub(crate) survivor: Option<String>,
    /// A member that is not rebuilt now, such as one whose machine is gone; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) leave_out: Vec<String>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}
