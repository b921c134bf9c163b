//! The command line as types. Parsing is here, meaning is in [`crate::command`].

pub(crate) mod agent;
pub(crate) mod backup;
pub(crate) mod choice;
pub(crate) mod claims;
pub(crate) mod control_plane;
pub(crate) mod etcd;
pub(crate) mod etcd_chain;
pub(crate) mod etcd_install;
pub(crate) mod etcd_member;
pub(crate) mod etcd_objects;
pub(crate) mod extension;
pub(crate) mod filters;
pub(crate) mod install;
pub(crate) mod limits;
pub(crate) mod location;
pub(crate) mod point;
pub(crate) mod repository;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod schedule;
pub(crate) mod server;
pub(crate) mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use salvor_text::Language;

/// Printed below `--help`.
const AFTER_HELP: &str = "\
Exit codes:
  0    done
  1    differences or findings
  2    wrong usage
  3    not found
  4    refused: a confirmation, permission or rule is missing, or another run is at work
  5    partial: something is missing in the result
  6    time ran out
  7    verification failed: stored data is not, or may not be, what was written
  69   a cluster or store cannot be reached; nothing is wrong with the command
  73   no room for what had to be written: in the store or on a disk of this machine
  64+  any other: internal error (70), 130 cancelled by Ctrl-C

Environment:
  SALVOR_LOCATION  where backups are: a URL, or a name from the configuration file
  KUBECONFIG       which cluster
  SALVOR_LOG       what is logged, for example salvor=debug";

/// Backs up and recovers Kubernetes clusters, in Velero's format.
#[derive(Debug, Parser)]
#[command(name = "salvor", version, after_help = AFTER_HELP, propagate_version = true)]
#[command(disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Kubeconfig file [default: $KUBECONFIG, then ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, global = true, alias = "kubecontext", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Namespace that backups and restores belong to, as in Velero [default: velero]; for undelete and pvc
    /// check, the namespace of the objects.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Where backups are: file:///folder, s3://bucket/prefix?..., or a name from the configuration.
    #[arg(long, global = true, env = "SALVOR_LOCATION", value_name = "URL|NAME")]
    pub(crate) location: Option<String>,
    /// Work with the stores and the cluster from here, also where a server is at work in the cluster.
    #[arg(long, global = true, conflicts_with = "server")]
    pub(crate) direct: bool,
    /// Ask the server in the cluster; the default where one is at work and no location is given.
    #[arg(long, global = true)]
    pub(crate) server: bool,
    /// Configuration file [default: $XDG_CONFIG_HOME/salvor/config.yaml].
    #[arg(
        long = "config-file",
        id = "config-file",
        global = true,
        value_name = "FILE"
    )]
    pub(crate) config: Option<PathBuf>,
    /// Language of messages: en or ko [default: that of the locale].
    #[arg(long, global = true, value_name = "LANG")]
    pub(crate) lang: Option<Language>,
    /// Do not colour the output.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Log what is done; twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How a result is printed. Only the table is for people; the others are stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Names only.
    Name,
}

/// `-o` of commands that print a result.
#[derive(Clone, Debug, Args)]
pub(crate) struct FormatArgs {
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// `--yes` of commands that change or remove something.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConfirmArgs {
    /// Go on without asking.
    #[arg(short, long, alias = "confirm")]
    pub(crate) yes: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Work with backups.
    #[command(subcommand, visible_alias = "backups")]
    Backup(backup::BackupCommand),
    /// Work with restores.
    #[command(subcommand, visible_alias = "restores")]
    Restore(restore::RestoreCommand),
    /// Make backups at given times; needs a server.
    #[command(subcommand, visible_alias = "schedules")]
    Schedule(schedule::ScheduleCommand),
    /// Work with the places where backups are stored.
    #[command(subcommand, aliases = ["backup-locations", "bsl"])]
    BackupLocation(location::LocationCommand),
    /// See what retention would remove.
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// Work with repositories, where volume data is stored.
    #[command(subcommand, visible_alias = "repository", alias = "repositories")]
    Repo(repository::RepositoryCommand),
    /// Back up, list and restore file trees.
    #[command(subcommand)]
    Volume(repository::VolumeCommand),
    /// List, verify and hold recovery points of what is no backup, such as etcd.
    #[command(subcommand, visible_alias = "points")]
    Point(point::PointCommand),
    /// Save and recover etcd, without its tools.
    #[command(subcommand)]
    Etcd(etcd::EtcdCommand),
    /// Recover the control plane of a cluster.
    #[command(subcommand)]
    ControlPlane(control_plane::ControlPlaneCommand),
    /// Find volumes without a claim and give them to one.
    #[command(subcommand)]
    Pv(claims::PvCommand),
    /// See whether claims have the volumes that they must have.
    #[command(subcommand)]
    Pvc(claims::PvcCommand),
    /// Work with extensions.
    #[command(subcommand)]
    Extension(extension::ExtensionCommand),
    /// Create a backup, restore or location.
    #[command(subcommand)]
    Create(CreateCommand),
    /// List backups, restores or locations.
    #[command(subcommand)]
    Get(GetCommand),
    /// Describe backups, restores or locations.
    #[command(subcommand)]
    Describe(DescribeCommand),
    /// Delete backups or restores.
    #[command(subcommand)]
    Delete(DeleteCommand),
    /// Bring one object back with what it needs, or a namespace with all that was in it.
    Undelete(UndeleteArgs),
    /// Wait until the volumes of a restored pod are filled; runs in its init container.
    #[command(hide = true)]
    RestoreWait(RestoreWaitArgs),
    /// Serve Velero's kinds in a cluster: schedules, backups and restores that are asked for by objects.
    Server(Box<server::ServerArgs>),
    /// Have the volumes of a node moved; runs in the pods of the DaemonSet node-agent.
    NodeAgent(Box<agent::NodeAgentArgs>),
    /// Move one volume; runs in a pod that the node agent makes.
    #[command(hide = true)]
    Mover(Box<agent::MoverArgs>),
    /// Do nothing; runs in a pod that holds a volume.
    #[command(hide = true)]
    Hold,
    /// Read files of a container that has no tar; runs in an ephemeral container beside it.
    #[command(hide = true, subcommand)]
    Reader(agent::ReaderCommand),
    /// Install what a server needs in a cluster.
    Install(Box<install::InstallArgs>),
    /// Remove the server, its kinds and its namespace from a cluster; backups stay where they are stored.
    Uninstall(install::UninstallArgs),
    /// Explain a code of an error, an exit status or an alert; list all codes.
    Explain(ExplainArgs),
    /// Collect what a report of a problem needs, without secrets, into a file.
    Debug(DebugArgs),
    /// Watch a cluster being backed up, destroyed and recovered; needs nothing installed.
    Demo(DemoArgs),
    /// Print versions.
    Version(VersionArgs),
    /// Print a completion script for a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Flags of `explain`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Code, as in `error[CODE]`, an exit status, or the name of an alert [default: all].
    pub(crate) code: Option<String>,
    /// How it is printed.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Flags of `debug`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DebugArgs {
    /// File to write, which must be new [default: salvor-debug-YYYYMMDDhhmmss.tar.gz].
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `create <noun>`.
#[derive(Debug, Subcommand)]
pub(crate) enum CreateCommand {
    /// Create a backup.
    Backup(Box<backup::CreateArgs>),
    /// Restore a backup.
    Restore(Box<restore::CreateArgs>),
    /// Create a schedule.
    Schedule(Box<schedule::CreateArgs>),
    /// Name a location in the configuration file, or in the cluster.
    #[command(alias = "bsl")]
    BackupLocation(Box<location::CreateArgs>),
}

/// `get <noun>`.
#[derive(Debug, Subcommand)]
pub(crate) enum GetCommand {
    /// List backups.
    #[command(alias = "backup")]
    Backups(backup::GetArgs),
    /// List restores.
    #[command(alias = "restore")]
    Restores(restore::GetArgs),
    /// List schedules.
    #[command(alias = "schedule")]
    Schedules(schedule::GetArgs),
    /// List locations.
    #[command(aliases = ["backup-location", "bsl"])]
    BackupLocations(location::GetArgs),
}

/// `describe <noun>`.
#[derive(Debug, Subcommand)]
pub(crate) enum DescribeCommand {
    /// Describe backups.
    #[command(alias = "backup")]
    Backups(backup::DescribeArgs),
    /// Describe restores.
    #[command(alias = "restore")]
    Restores(restore::DescribeArgs),
    /// Describe schedules.
    #[command(alias = "schedule")]
    Schedules(choice::ChoiceArgs),
    /// Describe locations.
    #[command(aliases = ["backup-location", "bsl"])]
    BackupLocations(location::DescribeArgs),
}

/// `delete <noun>`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeleteCommand {
    /// Delete backups.
    #[command(alias = "backups")]
    Backup(backup::DeleteArgs),
    /// Delete the records of restores.
    #[command(alias = "restores")]
    Restore(restore::DeleteArgs),
    /// Delete schedules.
    #[command(alias = "schedules")]
    Schedule(schedule::DeleteArgs),
    /// Delete locations from the cluster; what is stored there stays.
    #[command(aliases = ["backup-locations", "bsl"])]
    BackupLocation(location::DeleteArgs),
}

/// Flags of `undelete`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UndeleteArgs {
    /// KIND/NAME, such as deployment/web or namespace/production.
    pub(crate) object: String,
    /// Backup to take it from [default: the newest that has it].
    #[arg(long, value_name = "BACKUP")]
    pub(crate) from_backup: Option<String>,
    #[command(flatten)]
    pub(crate) damage: DamageArgs,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// Only show what would come back.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `restore-wait`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreWaitArgs {
    /// The mark in each volume, such as .velero/0c9f1a.
    pub(crate) mark: PathBuf,
    /// Folder with one volume in each folder.
    #[arg(long, default_value = "/restores", value_name = "FOLDER")]
    pub(crate) below: PathBuf,
    /// How long to wait.
    #[arg(long, default_value_t = 14400, value_name = "SECONDS")]
    pub(crate) seconds: u64,
}

/// What happens when the archive is damaged.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DamageArgs {
    /// Take everything that can be read of a damaged backup; each lost object is named as an error.
    #[arg(long)]
    pub(crate) skip_damaged: bool,
}

/// Where the record of a restore goes.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecordArgs {
    /// Where the record of the restore goes [default: the location of the backup, or a folder of this user
    /// when that cannot be written].
    #[arg(long, value_name = "LOCATION")]
    pub(crate) record_location: Option<String>,
}

/// Flags of `demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Folder for the backup; it stays afterwards [default: a new one among the temporary files].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}

/// Flags of `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Do not ask the cluster.
    #[arg(long)]
    pub(crate) client_only: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
