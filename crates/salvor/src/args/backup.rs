//! `backup`: Velero's commands and flags, and Salvor's.

use clap::{Args, Subcommand};
use salvor_api::copies::{CopyError, CopyRequest, CopyRule};
use salvor_api::go::GoDuration;
use salvor_api::meta::StringMap;

use super::choice::{ChoiceArgs, DemandArgs};
use super::etcd_objects::ServeArgs;
use super::filters::FilterArgs;
use super::{ConfirmArgs, Format, FormatArgs};

/// Commands on backups.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Create a backup.
    Create(Box<CreateArgs>),
    /// List backups.
    Get(GetArgs),
    /// Describe backups.
    Describe(DescribeArgs),
    /// Print the log of a backup.
    Logs(LogsArgs),
    /// Copy the archive of a backup to a file.
    Download(DownloadArgs),
    /// Delete backups.
    Delete(DeleteArgs),
    /// Keep a backup until it is released: no expiration, no policy and no request removes it.
    Hold(HoldArgs),
    /// Move a backup to a colder storage class of its store.
    Archive(ArchiveArgs),
    /// Make an archived backup readable again, or say how far that is.
    Thaw(ThawArgs),
    /// Release holds of a backup.
    Release(ReleaseArgs),
    /// Read every stored byte and compare it with what was written.
    Verify(VerifyArgs),
    /// Copy a backup to other locations; what an interrupted copy left there is not sent again.
    Copy(CopyArgs),
    /// Show the copies of a backup and whether they are there; exits with 1 when one is missing.
    Copies(CopiesArgs),
    /// Replace what is damaged in a backup by the bytes of a good copy.
    Repair(RepairArgs),
    /// Write the objects of a backup as plain YAML, one file per namespace and resource.
    Export(ExportArgs),
    /// Show what differs between two backups, or a backup and the cluster; exits with 1 if anything does.
    Diff(DiffArgs),
    /// Serve a backup read-only over the Kubernetes API, for kubectl.
    Browse(BrowseArgs),
}

/// Flags of `get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    /// Show labels as the last column.
    #[arg(long)]
    pub(crate) show_labels: bool,
    /// Show these labels as columns.
    #[arg(short = 'L', long, value_delimiter = ',', value_name = "KEYS")]
    pub(crate) label_columns: Vec<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `describe`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DescribeArgs {
    #[command(flatten)]
    pub(crate) choice: ChoiceArgs,
    /// Also list resources, volumes and operations.
    #[arg(long)]
    pub(crate) details: bool,
    /// `json` or `yaml` for one backup.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Flags of `logs`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogsArgs {
    /// Name of the backup.
    pub(crate) name: String,
}

/// Flags of `download`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DownloadArgs {
    /// Name of the backup.
    pub(crate) name: String,
    /// File to write [default: <NAME>-data.tar.gz].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<std::path::PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Flags of `delete`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) which: DemandArgs,
    /// File that defines delete item actions: they are asked first, and may refuse, beside those that the cluster
    /// at hand defines.
    #[arg(long, value_name = "FILE")]
    pub(crate) item_actions: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `archive`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ArchiveArgs {
    /// Name of the backup.
    pub(crate) name: String,
    /// Storage class, as the store calls it: STANDARD_IA, GLACIER, DEEP_ARCHIVE.
    #[arg(long, value_name = "CLASS")]
    pub(crate) to: String,
}

/// Flags of `thaw`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ThawArgs {
    /// Name of the backup.
    pub(crate) name: String,
}

/// Flags of `hold`.
#[derive(Clone, Debug, Args)]
pub(crate) struct HoldArgs {
    /// Name of the backup.
    pub(crate) name: String,
    /// Why, for whoever finds the hold.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Flags of `release`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// Name of the backup.
    pub(crate) name: String,
    /// Which holds [default: the only one].
    pub(crate) ids: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `verify`.
#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Which [default: all].
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `copy`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CopyArgs {
    /// Name of the backup.
    pub(crate) name: String,
    /// Locations to copy it to.
    #[arg(long, required = true, value_delimiter = ',', value_name = "LOCATIONS")]
    pub(crate) to: Vec<String>,
    /// How many of the copies must succeed: any, all, quorum, or a number [default: all].
    #[arg(long, value_name = "RULE")]
    pub(crate) rule: Option<CopyRule>,
    /// How long the copies are kept, counted from the backup; 0s for good [default: as the backup says].
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<GoDuration>,
}

/// Flags of `copies`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CopiesArgs {
    /// Name of the backup.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `repair`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RepairArgs {
    /// Name of the backup.
    pub(crate) name: String,
    /// Locations that may have good copies [default: those that are known, and those of the configuration].
    #[arg(long, value_delimiter = ',', value_name = "LOCATIONS")]
    pub(crate) from: Vec<String>,
}

/// Flags of `diff`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiffArgs {
    /// Backup to compare from.
    pub(crate) from: String,
    /// Backup to compare with, or `live` for the cluster.
    #[arg(default_value = "live")]
    pub(crate) to: String,
    /// Only these namespaces; globs.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) include_namespaces: Vec<String>,
    /// Not these namespaces.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) exclude_namespaces: Vec<String>,
    /// Only these resources, such as deployments.apps.
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    pub(crate) include_resources: Vec<String>,
    /// Not these resources.
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    pub(crate) exclude_resources: Vec<String>,
    /// Only objects with these names; globs.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) names: Vec<String>,
    /// How the differences are printed; a table is a unified difference per object.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// Flags of `browse`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BrowseArgs {
    /// Name of the backup.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// Flags of `export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExportArgs {
    /// Name of the backup.
    pub(crate) name: String,
    /// Folder to write, which must be new or empty; `-` is standard output.
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) output: std::path::PathBuf,
    /// Only these namespaces; globs.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) include_namespaces: Vec<String>,
    /// Only these resources, such as deployments.apps; globs.
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    pub(crate) include_resources: Vec<String>,
    /// Keep status and what the server sets (uid, resourceVersion, managedFields, ...).
    #[arg(long)]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) damage: super::DamageArgs,
}

/// Flags of `create`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the backup [default with --from-schedule: <SCHEDULE>-YYYYMMDDhhmmss].
    #[arg(required_unless_present = "from_schedule")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) template: TemplateArgs,
    /// File that defines item actions, besides those of the cluster; only here may they be programs.
    #[arg(long, value_name = "FILE")]
    pub(crate) item_actions: Option<std::path::PathBuf>,
    /// Take the specification from this Schedule of the cluster.
    #[arg(long, value_name = "SCHEDULE")]
    pub(crate) from_schedule: Option<String>,
    /// Take every served version of each resource, not only the preferred one.
    #[arg(long)]
    pub(crate) all_versions: bool,
    /// Calls to the API server at once, at most; it goes down by itself when the server is slow.
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<usize>,
    #[command(flatten)]
    pub(crate) limits: super::limits::LimitArgs,
    /// Wait for the end; a backup made from here always does.
    #[arg(short, long)]
    pub(crate) wait: bool,
    /// `json` or `yaml` prints the Backup and creates nothing.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// What a backup, or each backup of a schedule, is to hold.
#[derive(Clone, Debug, Args)]
pub(crate) struct TemplateArgs {
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
    /// Cluster-scoped resources to include.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "RESOURCES",
        help_heading = "Filters"
    )]
    pub(crate) include_cluster_scoped_resources: Vec<String>,
    /// Cluster-scoped resources to exclude.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "RESOURCES",
        help_heading = "Filters"
    )]
    pub(crate) exclude_cluster_scoped_resources: Vec<String>,
    /// Namespaced resources to include.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "RESOURCES",
        help_heading = "Filters"
    )]
    pub(crate) include_namespace_scoped_resources: Vec<String>,
    /// Namespaced resources to exclude.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "RESOURCES",
        help_heading = "Filters"
    )]
    pub(crate) exclude_namespace_scoped_resources: Vec<String>,
    /// How long to keep the backup, such as 720h [default: 720h, or as the server is set].
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<GoDuration>,
    /// Name of the location, from the configuration or in the cluster.
    #[arg(long, value_name = "NAME")]
    pub(crate) storage_location: Option<String>,
    /// Objects to take first: `pods=ns/a,ns/b;persistentvolumes=x`.
    #[arg(long, value_name = "ORDER")]
    pub(crate) ordered_resources: Option<String>,
    #[command(flatten)]
    pub(crate) copies: CopyToArgs,
    #[command(flatten)]
    pub(crate) volumes: VolumeArgs,
}

/// Which copies a backup, or each backup of a schedule, is to have.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Copies")]
pub(crate) struct CopyToArgs {
    /// Locations to copy the backup to when it is done.
    #[arg(long, value_delimiter = ',', value_name = "LOCATIONS")]
    pub(crate) copy_to: Vec<String>,
    /// How many of the copies must be there: any, all, quorum, or a number [default: all].
    #[arg(long, value_name = "RULE", requires = "copy_to")]
    pub(crate) copy_rule: Option<CopyRule>,
    /// How long the copies are kept, counted from the backup; 0s for good [default: as the backup].
    #[arg(long, value_name = "DURATION", requires = "copy_to")]
    pub(crate) copy_ttl: Option<GoDuration>,
}

impl CopyToArgs {
    /// The annotations that ask for these copies.
    pub(crate) fn annotations(&self) -> Result<StringMap, CopyError> {
        let rule = self.copy_rule.unwrap_or_default();
        let request = CopyRequest::new(&self.copy_to, rule, self.copy_ttl)?;
        Ok(request.annotations())
    }
}

/// Volume flags of `create`. Data that is asked for and cannot be had makes the backup partial.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Volumes")]
pub(crate) struct VolumeArgs {
    /// Snapshot volumes.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) snapshot_volumes: Option<bool>,
    /// Move snapshot data to the location.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) snapshot_move_data: Option<bool>,
    /// Which data mover.
    #[arg(long, value_name = "NAME")]
    pub(crate) data_mover: Option<String>,
    /// Copy the files of all volumes that no annotation of their pods excludes; needs the node agent.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) default_volumes_to_fs_backup: Option<bool>,
    /// Volume snapshot locations.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) volume_snapshot_locations: Vec<String>,
    /// How long a CSI snapshot may take.
    #[arg(long, default_value = "10m0s", value_name = "DURATION")]
    pub(crate) csi_snapshot_timeout: GoDuration,
    /// How long asynchronous operations may take.
    #[arg(long, default_value = "4h0m0s", value_name = "DURATION")]
    pub(crate) item_operation_timeout: GoDuration,
    /// ConfigMap with resource policies.
    #[arg(long, value_name = "NAME")]
    pub(crate) resource_policies_configmap: Option<String>,
    /// File with resource policies, as the ConfigMap's value would be.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "resource_policies_configmap"
    )]
    pub(crate) resource_policies_file: Option<std::path::PathBuf>,
    /// Files uploaded at once.
    #[arg(long, value_name = "N")]
    pub(crate) parallel_files_upload: Option<u32>,
    /// Label key that groups volumes for a group snapshot.
    #[arg(long, value_name = "KEY")]
    pub(crate) volume_group_snapshot_label_key: Option<String>,
}
