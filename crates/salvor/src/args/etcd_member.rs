//! Flags of `etcd member` and `etcd recover-quorum`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::control_plane::RunArgs;
use super::etcd::{AccessArgs, CredentialArgs};

/// `etcd member`.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the members, as the first endpoint that answers knows them.
    List(AccessArgs),
    /// Take a dead member out, put its data aside, and let its machine join anew until it votes.
    Replace(Box<ReplaceArgs>),
}

/// What every run on the members takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct SettingArgs {
    /// Description of the control plane: its machines, how they are reached, and how their components run.
    #[arg(long, value_name = "FILE")]
    pub(crate) plane: PathBuf,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    /// Do it although it does not seem to be needed.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) work: RunArgs,
}

/// Flags of `member replace`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The member, by its name in the description.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) setting: SettingArgs,
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
    pub(crate) setting: SettingArgs,
}
