//! Flags of `etcd`. Those that `etcdctl` and `etcdutl` have are theirs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use salvor_api::schedule::Cron;
use salvor_etcd::points::TEMPLATE;

pub(crate) use super::etcd_chain::{CompactArgs, PruneArgs, RecoverArgs, StreamArgs, TimelineArgs};
use super::etcd_install::EtcdInstallArgs;
use super::etcd_member::{MemberCommand, RecoverQuorumArgs};
use super::etcd_objects::{BlameArgs, DiffArgs, EtcdBrowseArgs, ExportArgs, GetArgs, InspectArgs};

/// `etcd`.
#[derive(Debug, Subcommand)]
pub(crate) enum EtcdCommand {
    /// Save, look at, verify and restore snapshots of etcd.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Capture every change of a running cluster into the location, until it is stopped.
    Stream(Box<StreamArgs>),
    /// List what can be brought back from the location: snapshots, chains, gaps.
    Timeline(TimelineArgs),
    /// Merge a chain of the location into a new full snapshot, without asking the cluster.
    Compact(Box<CompactArgs>),
    /// Remove points, chains and segments that a policy and a window do not need: noted first, gone after a grace period.
    Prune(Box<PruneArgs>),
    /// Make the data directory of a member from captured changes, at a revision or time.
    Restore(Box<RecoverArgs>),
    /// Count Kubernetes' objects in a snapshot by kind and namespace, with what is encrypted and what is biggest.
    Inspect(InspectArgs),
    /// Print objects of a snapshot as the API server would give them.
    Get(GetArgs),
    /// List the versions of an object that a snapshot holds.
    Blame(BlameArgs),
    /// Show what differs between two snapshots, two revisions of one, or one and the cluster.
    Diff(Box<DiffArgs>),
    /// Turn a snapshot, or a part of it, into a backup that `restore create` takes.
    Export(Box<ExportArgs>),
    /// Serve a snapshot over the Kubernetes API, for kubectl.
    Browse(EtcdBrowseArgs),
    /// Print what makes a host or a cluster take snapshots and capture changes by itself: systemd units, a static pod, or
    /// a CronJob.
    Install(Box<EtcdInstallArgs>),
    /// List the members of a cluster, and replace one that is lost.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Make a cluster that lost its majority of the member that knows most, and let the others join it.
    RecoverQuorum(Box<RecoverQuorumArgs>),
}

/// `etcd snapshot`.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save a verified snapshot of a running cluster to a file, or to the location as a recovery point.
    Save(Box<SaveArgs>),
    /// Print hash, revision, keys and size of a snapshot.
    Status(StatusArgs),
    /// Look at every page and entry of a snapshot.
    Verify(VerifyArgs),
    /// Make the data directory of a member from a snapshot.
    Restore(Box<RestoreArgs>),
}

/// How figures of a snapshot are printed, as `etcdctl` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum WriteOut {
    /// One line: hash, revision, keys, size.
    #[default]
    Simple,
    /// A line for each figure.
    Fields,
    /// JSON.
    Json,
    /// A table.
    Table,
}

/// Where members are and who asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct AccessArgs {
    /// Members to ask, of which a healthy follower is preferred.
    #[arg(
        long,
        value_delimiter = ',',
        env = "ETCDCTL_ENDPOINTS",
        default_value = "127.0.0.1:2379",
        value_name = "HOST:PORT"
    )]
    pub(crate) endpoints: Vec<String>,
    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}

/// Who asks members, and whom they are checked against.
#[derive(Clone, Debug, Args)]
pub(crate) struct CredentialArgs {
    /// Certificates of the authorities that members are checked against.
    #[arg(long, env = "ETCDCTL_CACERT", value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Certificate that is shown to members.
    #[arg(long, env = "ETCDCTL_CERT", requires = "key", value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Key of the certificate.
    #[arg(long, env = "ETCDCTL_KEY", requires = "cert", value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// User, who must have the role root: NAME:PASSWORD, or NAME with --password-file.
    #[arg(
        long,
        env = "ETCDCTL_USER",
        hide_env_values = true,
        value_name = "NAME[:PASSWORD]"
    )]
    pub(crate) user: Option<String>,
    /// File whose first line is the password of the user.
    #[arg(long, requires = "user", value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Seconds that a connection or an answer may take.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

/// Where a snapshot is: a file, or a recovery point of the location.
#[derive(Clone, Debug, Args)]
pub(crate) struct SourceArgs {
    /// The snapshot.
    #[arg(
        value_name = "FILE",
        required_unless_present = "point",
        conflicts_with = "point"
    )]
    pub(crate) file: Option<PathBuf>,
    /// Take it from the location: the id of a point, or `latest`.
    #[arg(long, value_name = "ID")]
    pub(crate) point: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// What is needed to read what stands in a location.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Id of the cluster, in hexadecimal digits, where the location has several.
    #[arg(long, value_parser = cluster, value_name = "ID")]
    pub(crate) cluster: Option<u64>,
    /// File with the identities (AGE-SECRET-KEY-1...) of a recipient; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
    /// Folder for what is fetched: files without names, which nothing is left of [default: that of temporary files].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) work_dir: Option<PathBuf>,
}

pub(crate) fn cluster(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16)
        .map_err(|_| format!("`{text}` is no id of a cluster: up to 16 hexadecimal digits"))
}

/// Flags of `save`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SaveArgs {
    /// File to write; one that is there is replaced when the new one is whole. Without it the snapshot becomes a
    /// recovery point in the location, encrypted to its recipients.
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Write one self-contained object under a name of the template, which zstd, age and etcdutl restore without us.
    #[arg(long, conflicts_with = "file")]
    pub(crate) as_object: bool,
    /// Name of the object, with the codes of strftime for the time in UTC; further ones of a second are numbered.
    #[arg(long, requires = "as_object", default_value = TEMPLATE, value_name = "TEMPLATE")]
    pub(crate) object_template: String,
    /// Why it is taken; kept in the record.
    #[arg(long, conflicts_with = "file", value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Stay, and take one at each of these times, as cron has them: `0 2 * * *`, `@every 6h`.
    #[arg(long, conflicts_with = "file", value_name = "CRON")]
    pub(crate) schedule: Option<Cron>,
    /// Folder for the snapshot while it is verified and sent: a file without a name, which nothing is left of [default:
    /// that of temporary files].
    #[arg(long, conflicts_with = "file", value_name = "FOLDER")]
    pub(crate) work_dir: Option<PathBuf>,
    /// How the figures are printed.
    #[arg(
        short,
        long,
        visible_alias = "write-out",
        visible_short_alias = 'w',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: WriteOut,
}

/// Flags of `status`.
#[derive(Clone, Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Do not count the keys that are there, which takes some bytes of memory for each.
    #[arg(long)]
    pub(crate) no_live_keys: bool,
    /// How the figures are printed.
    #[arg(
        short,
        long,
        visible_alias = "write-out",
        visible_short_alias = 'w',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: WriteOut,
}

/// How a verification is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// A line for each level.
    #[default]
    Table,
    /// JSON.
    Json,
}

/// Flags of `verify`.
#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// How the report is printed.
    #[arg(
        short,
        long,
        visible_alias = "write-out",
        visible_short_alias = 'w',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: ReportFormat,
}

/// The member and its directory.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArgs {
    /// Directory to make [default: NAME.etcd].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Directory of the log, when it is not in the data directory.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) wal_dir: Option<PathBuf>,
    /// Name of the member.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub(crate) name: String,
    /// All members of the new cluster [default: NAME=http://localhost:2380].
    #[arg(long, value_name = "NAME=URL,...")]
    pub(crate) initial_cluster: Option<String>,
    /// Token that tells the new cluster from others with the same members.
    #[arg(long, default_value = "etcd-cluster", value_name = "TOKEN")]
    pub(crate) initial_cluster_token: String,
    /// Addresses of the member for its peers, as in the list of members.
    #[arg(long, default_value = "http://localhost:2380", value_name = "URL,...")]
    pub(crate) initial_advertise_peer_urls: String,
    /// Raise the revision by so much; needs --mark-compacted.
    #[arg(long, requires = "mark_compacted", value_parser = clap::value_parser!(u64).range(1..), value_name = "N")]
    pub(crate) bump_revision: Option<u64>,
    /// Count everything before the raised revision as compacted; needs --bump-revision.
    #[arg(long, requires = "bump_revision")]
    pub(crate) mark_compacted: bool,
    /// Leave revisions as they are, also with data of Kubernetes, for which they are raised otherwise.
    #[arg(long, conflicts_with_all = ["bump_revision", "mark_compacted"])]
    pub(crate) exact: bool,
    /// Release of the members that will be started, such as 3.5: refused when it is older than the data.
    #[arg(long, value_parser = release, value_name = "RELEASE")]
    pub(crate) etcd_version: Option<(u32, u32)>,
    /// Keep a directory that is there under a name with the time, and put the new one in its place.
    #[arg(long)]
    pub(crate) replace: bool,
    /// User and group of the directory, as numbers [default: those of what was there].
    #[arg(long, value_parser = owner, value_name = "UID:GID")]
    pub(crate) owner: Option<(u32, u32)>,
}

/// Flags of `restore`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Take a file without a digest, such as a copy of a member's database.
    #[arg(long)]
    pub(crate) skip_hash_check: bool,
    /// How the result is printed.
    #[arg(
        short,
        long,
        visible_alias = "write-out",
        visible_short_alias = 'w',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: ReportFormat,
}

/// Reads `3.5`, `v3.5.16`.
fn release(text: &str) -> Result<(u32, u32), String> {
    let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
    let mut number = || parts.next()?.parse().ok();
    number()
        .zip(number())
        .ok_or_else(|| format!("`{text}` is no release of etcd such as 3.5"))
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    let parsed = text
        .split_once(':')
        .and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    parsed.ok_or_else(|| format!("`{text}` is not UID:GID in numbers, such as 104:111"))
}
