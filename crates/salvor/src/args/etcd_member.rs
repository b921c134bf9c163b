//! Flags of `etcd member` and `etcd recover-quorum`.

use clap::{Args, Subcommand};

use super::control_plane::{MachinesArgs, RunArgs};
use super::etcd::{AccessArgs, CredentialArgs, PlaceArgs};

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
    #[command(flatten)]
    pub(crate) machines: MachinesArgs,
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
    /// Make all members of a snapshot, where no member has anything good left: its file, or `point:ID` of the location.
    #[arg(long, conflicts_with_all = ["survivor", "run"], value_name = "FILE|point:ID")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// With --from: leave revisions as they are, also with data of Kubernetes, whose clients then hang until they are restarted.
    #[arg(long, requires = "from")]
    pub(crate) exact: bool,
    /// With --from: although the snapshot is of another cluster, or of this one before an earlier restore.
    #[arg(long, requires = "from")]
    pub(crate) into_other_cluster: bool,
    /// With --from: take a file without a digest, such as a copy of a member's database.
    #[arg(long, requires = "from")]
    pub(crate) skip_hash_check: bool,
    #[command(flatten)]
    pub(crate) setting: SettingArgs,
}
