//! `install` and `uninstall`, with Velero's flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::pairs;

type Pairs = BTreeMap<String, String>;

/// Flags of `install`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InstallArgs {
    /// Only the definitions of the kinds.
    #[arg(long)]
    pub(crate) crds_only: bool,
    /// Print the smallest policy or role that the default location needs in its cloud, and nothing else.
    #[arg(
        long,
        requires = "provider",
        requires = "bucket",
        conflicts_with = "crds_only"
    )]
    pub(crate) iam_policy: bool,
    /// Print the manifests, change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How they are printed.
    #[arg(short, long, value_enum, requires = "dry_run", value_name = "FORMAT")]
    pub(crate) output: Option<ManifestFormat>,
    /// Wait until the server is ready, at most ten minutes.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) location: LocationArgs,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
}

/// The default location and its credentials.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Default location")]
pub(crate) struct LocationArgs {
    /// Where backups go: aws, azure, gcp, or what speaks the protocol of one of them.
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// Bucket or container.
    #[arg(long, value_name = "NAME", requires = "provider")]
    pub(crate) bucket: Option<String>,
    /// Folder in it.
    #[arg(long, default_value = "", value_name = "FOLDER")]
    pub(crate) prefix: String,
    /// Settings of the location: region=eu-central-1,s3Url=https://minio.example.com,...
    #[arg(long, value_parser = pairs, value_name = "KEY=VALUE,...")]
    pub(crate) backup_location_config: Option<Pairs>,
    /// Settings of the default snapshot location.
    #[arg(long, value_parser = pairs, value_name = "KEY=VALUE,...")]
    pub(crate) snapshot_location_config: Option<Pairs>,
    /// Create a default snapshot location.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(crate) use_volume_snapshots: bool,
    /// Certificates of the store, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// File with the credentials, in the form that Velero takes.
    #[arg(long, value_name = "FILE", conflicts_with = "no_secret")]
    pub(crate) secret_file: Option<PathBuf>,
    /// No credentials: the server's account has an identity of the cloud.
    #[arg(long)]
    pub(crate) no_secret: bool,
    /// Create no default location.
    #[arg(long)]
    pub(crate) no_default_backup_location: bool,
}

/// The server and what it may do.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct WorkloadArgs {
    /// Image of the server [default: that of this version].
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// What the server may do: backup-only reads, restore also creates and changes, full also deletes (for the
    /// existing-resource policy recreate).
    #[arg(long, value_enum, default_value = "full", value_name = "ROLE")]
    pub(crate) role: RoleName,
    /// API groups beside those of Kubernetes that the server may see [default: all, also later ones].
    #[arg(long, value_delimiter = ',', value_name = "GROUP,...")]
    pub(crate) api_groups: Vec<String>,
    /// The server may not run commands in pods: hooks fail.
    #[arg(long)]
    pub(crate) no_hooks: bool,
    /// Servers, of which one leads.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) replicas: u16,
    /// How users reach the server's downloads [default: the service's name in the cluster].
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "URL"
    )]
    pub(crate) download_url: String,
    /// Further argument of the server; may be given several times.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub(crate) server_arg: Vec<String>,
    /// How often expired backups are collected.
    #[arg(long, value_name = "DURATION")]
    pub(crate) garbage_collection_frequency: Option<salvor_api::go::GoDuration>,
    /// Labels of the server's pods.
    #[arg(long, value_parser = pairs, value_name = "KEY=VALUE,...")]
    pub(crate) pod_labels: Option<Pairs>,
    /// Annotations of the server's pods.
    #[arg(long, value_parser = pairs, value_name = "KEY=VALUE,...")]
    pub(crate) pod_annotations: Option<Pairs>,
    /// Annotations of its service account, such as eks.amazonaws.com/role-arn=...
    #[arg(long, value_parser = pairs, value_name = "KEY=VALUE,...")]
    pub(crate) sa_annotations: Option<Pairs>,
    /// Processor that the server asks for.
    #[arg(long, default_value = "100m", value_name = "QUANTITY")]
    pub(crate) velero_pod_cpu_request: String,
    /// Memory that it asks for.
    #[arg(long, default_value = "128Mi", value_name = "QUANTITY")]
    pub(crate) velero_pod_mem_request: String,
    /// Processor that it may use; 0 for no limit.
    #[arg(long, default_value = "0", value_name = "QUANTITY")]
    pub(crate) velero_pod_cpu_limit: String,
    /// Memory that it may use; 0 for no limit.
    #[arg(long, default_value = "1Gi", value_name = "QUANTITY")]
    pub(crate) velero_pod_mem_limit: String,
    /// Install the alert rules too; needs the operator of Prometheus.
    #[arg(long)]
    pub(crate) prometheus_rule: bool,
    /// Velero's plugins. Those for AWS, Azure and Google Cloud are built in; nothing is installed.
    #[arg(long, value_delimiter = ',', value_name = "IMAGE,...")]
    pub(crate) plugins: Vec<String>,
    /// Velero's feature flags. Accepted; none changes what is installed.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub(crate) features: Vec<String>,
}

/// Flags of `uninstall`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UninstallArgs {
    /// Go on without asking.
    #[arg(short, long, alias = "yes", alias = "confirm")]
    pub(crate) force: bool,
    /// Leave the definitions of the kinds, with all objects of them in other namespaces.
    #[arg(long)]
    pub(crate) keep_crds: bool,
    /// Velero's flag; it always waits.
    #[arg(long, hide = true)]
    pub(crate) wait: bool,
}

/// What the server may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    /// Read everything, change nothing.
    BackupOnly,
    /// Also create and change.
    Restore,
    /// Also delete.
    Full,
}

/// How manifests are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ManifestFormat {
    /// One JSON list.
    Json,
    /// YAML documents.
    Yaml,
}
