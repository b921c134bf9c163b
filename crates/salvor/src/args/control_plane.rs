//! Flags of `control-plane`, and those of every command that is a run of several steps.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::etcd::{CredentialArgs, PlaceArgs};

/// `control-plane`.
#[derive(Debug, Subcommand)]
pub(crate) enum ControlPlaneCommand {
    /// Say what control plane this machine, or others, have: flavour, directories, certificates, addresses and versions.
    Detect(DetectArgs),
    /// List runs of several steps, of the control plane and of etcd, and how each is gone on with or undone.
    Runs(RunsArgs),
    /// Take the control plane of a cluster back to a snapshot of its etcd, on all members, in the right order.
    Restore(Box<RestoreArgs>),
    /// Save what etcd's data is worth nothing without, certificates, keys, manifests and configuration, into the location.
    Backup(BackupArgs),
    /// Put such files back where they differ.
    RestoreFiles(RestoreFilesArgs),
}

/// Which machines a control plane has.
#[derive(Clone, Debug, Args)]
pub(crate) struct MachinesArgs {
    /// Description of the control plane: its members, how they are reached, and how components are stopped [default: what
    /// `control-plane detect` finds on the machines].
    #[arg(long, conflicts_with = "hosts", value_name = "FILE")]
    pub(crate) plane: Option<PathBuf>,
    /// A machine of the control plane that is asked by ssh what it has; may be repeated [default: this one].
    #[arg(long = "host", value_name = "[USER@]HOST")]
    pub(crate) hosts: Vec<String>,
}

/// Flags of `detect`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DetectArgs {
    /// A machine that is asked by ssh, with the user's own configuration; may be repeated [default: this one].
    #[arg(long = "host", value_name = "[USER@]HOST")]
    pub(crate) hosts: Vec<String>,
    /// Where the file system of the machine is mounted, such as that of a disk under a rescue system.
    #[arg(long, default_value = "/", value_name = "FOLDER")]
    pub(crate) root: PathBuf,
    /// How it is printed.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: DetectFormat,
}

/// How what was found is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum DetectFormat {
    /// For people.
    #[default]
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// The description that --plane takes.
    Description,
}

/// Flags of `runs`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunsArgs {
    /// Folder of the journals [default: that of this user's state].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) journal: Option<PathBuf>,
    /// How they are printed.
    #[arg(short = 'o', long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: ListFormat,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people.
    #[default]
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Flags of `backup`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BackupArgs {
    /// Description of the control plane.
    #[arg(long, value_name = "FILE")]
    pub(crate) plane: PathBuf,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}

/// Flags of `restore-files`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreFilesArgs {
    /// Id of the point, or `latest`.
    #[arg(
        value_name = "POINT",
        required_unless_present = "run",
        conflicts_with = "run"
    )]
    pub(crate) point: Option<String>,
    /// Description of the control plane.
    #[arg(
        long,
        required_unless_present = "run",
        conflicts_with = "run",
        value_name = "FILE"
    )]
    pub(crate) plane: Option<PathBuf>,
    /// File with the identities (AGE-SECRET-KEY-1...) of a recipient; may be repeated.
    #[arg(long, required_unless_present = "undo", value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// Only these members; may be repeated.
    #[arg(long, conflicts_with = "run", value_name = "NAME")]
    pub(crate) member: Vec<String>,
    /// Folder of the members for an archive of what is replaced [default: /var/lib/salvor].
    #[arg(long, conflicts_with = "run", value_name = "FOLDER")]
    pub(crate) aside: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) work: RunArgs,
}

/// Flags of commands whose work has several steps, a journal, and a way back.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Go on with this run where it stopped, as it was begun.
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<String>,
    /// Take back what the run did, last first.
    #[arg(long, requires = "run", conflicts_with = "dry_run")]
    pub(crate) undo: bool,
    /// Folder of the journals [default: that of this user's state].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) journal: Option<PathBuf>,
    /// Only look: print the steps and what is found, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) confirm: super::ConfirmArgs,
}

/// Flags of `restore`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreArgs {
    /// What is restored: the file of a snapshot, or `point:ID` of the location.
    #[arg(
        value_name = "SNAPSHOT",
        required_unless_present_any = ["to_revision", "to_time", "latest", "run"],
        conflicts_with_all = ["to_revision", "to_time", "latest", "run"]
    )]
    pub(crate) from: Option<String>,
    /// From captured changes: the state after this revision.
    #[arg(long, group = "captured", conflicts_with = "run", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64), value_name = "N")]
    pub(crate) to_revision: Option<u64>,
    /// From captured changes: the state at this time, such as 2026-11-22T03:04:05Z.
    #[arg(long, group = "captured", conflicts_with = "run", value_name = "TIME")]
    pub(crate) to_time: Option<Timestamp>,
    /// From captured changes: the last state.
    #[arg(long, group = "captured", conflicts_with = "run")]
    pub(crate) latest: bool,
    #[command(flatten)]
    pub(crate) machines: MachinesArgs,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Restore although the snapshot is of another cluster, or of this one before an earlier restore.
    #[arg(long, conflicts_with = "run")]
    pub(crate) into_other_cluster: bool,
    /// Leave revisions as they are, also with data of Kubernetes, whose clients then hang until they are restarted.
    #[arg(long, conflicts_with = "run")]
    pub(crate) exact: bool,
    /// Take a file without a digest, such as a copy of a member's database.
    #[arg(long, conflicts_with = "run")]
    pub(crate) skip_hash_check: bool,
    /// Bytes that members will take as a database, as their flag of this name.
    #[arg(long, default_value_t = 2 << 30, value_parser = clap::value_parser!(u64).range(1..), value_name = "BYTES")]
    pub(crate) quota_backend_bytes: u64,
    #[command(flatten)]
    pub(crate) work: RunArgs,
}
