//! `server`.

use std::net::SocketAddr;

use clap::Args;
use salvor_api::go::GoDuration;
use salvor_controller::AuthorizeRequests;
use salvor_controller::tls::TlsSource;

/// Flags of `server`. Names and defaults are those of Velero's server where it has them.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// Location of backups that name none, when no location is marked as the default.
    #[arg(
        long,
        default_value = "default",
        value_name = "NAME",
        env = "SALVOR_DEFAULT_LOCATION"
    )]
    pub(crate) default_backup_storage_location: String,
    /// How long a backup is kept that does not say it.
    #[arg(long, default_value = "720h", value_name = "DURATION")]
    pub(crate) default_backup_ttl: GoDuration,
    /// How often locations are looked at; 0 for never.
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    pub(crate) store_validation_frequency: GoDuration,
    /// How often the cluster follows the locations; 0 for never.
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    pub(crate) backup_sync_period: GoDuration,
    /// How often expired backups, and those that no policy keeps, are collected; 0 for never.
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    pub(crate) garbage_collection_frequency: GoDuration,
    /// Address on which files are served to those who ask by a DownloadRequest; without it they are refused.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) download_address: Option<SocketAddr>,
    /// How users reach that address [default: http:// and the address].
    #[arg(long, value_name = "URL", requires = "download_address")]
    pub(crate) download_url: Option<String>,
    /// Address on which /metrics, /healthz and /readyz are served; without a host on all of them, empty for none
    /// [default: :8085 when that is free].
    #[arg(long, value_name = "[HOST]:PORT")]
    pub(crate) metrics_address: Option<String>,
    /// Where the certificate of this server comes from: off, generated, secret:NAME, or
    /// files:CERTIFICATE,KEY[,AUTHORITY]. It is renewed without a restart.
    #[arg(long, default_value = "off", value_name = "SOURCE")]
    pub(crate) tls: TlsSource,
    /// Further name or address of this server, for a generated certificate; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_name: Vec<String>,
    /// Serve metrics and probes over TLS too.
    #[arg(long)]
    pub(crate) metrics_tls: bool,
    /// Show metrics only to clients with a certificate of the server's authority for this name; may be given several
    /// times.
    #[arg(long, value_name = "NAME", requires = "metrics_tls")]
    pub(crate) metrics_client: Vec<String>,
    /// How much a request is worth: permissive, what this server may do, as with Velero; strict, what its requester
    /// may do.
    #[arg(
        long,
        default_value = "permissive",
        value_name = "MODE",
        requires_if("strict", "admission_address"),
        requires_if("strict", "server_user")
    )]
    pub(crate) authorize_requests: AuthorizeRequests,
    /// Address on which the API server asks who makes requests; needs --tls.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) admission_address: Option<SocketAddr>,
    /// Name of this server's user, such as system:serviceaccount:velero:salvor.
    #[arg(long, value_name = "NAME")]
    pub(crate) server_user: Option<String>,
    /// How long the copy of one volume may take.
    #[arg(
        long,
        alias = "pod-volume-operation-timeout",
        default_value = "4h",
        value_name = "DURATION"
    )]
    pub(crate) fs_backup_timeout: GoDuration,
    /// Snapshot location of backups that name none of this provider, where there are several; may be given several
    /// times.
    #[arg(
        long,
        value_name = "PROVIDER:NAME",
        value_delimiter = ',',
        value_parser = provider_and_name
    )]
    pub(crate) default_volume_snapshot_locations: Vec<(String, String)>,
    /// How often a repository is looked after whose BackupRepository does not say it; 0 for the default.
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    pub(crate) default_repo_maintain_frequency: GoDuration,
    /// Copy the files of all volumes that no annotation excludes, in backups that do not say it.
    #[arg(long)]
    pub(crate) default_volumes_to_fs_backup: bool,
    /// How long a restore waits for one thing, such as a definition or a namespace.
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    pub(crate) resource_timeout: GoDuration,
    /// ConfigMap with volume policies that count for every backup, after its own.
    #[arg(long, value_name = "NAME")]
    pub(crate) global_backup_volume_policy_configmap: Option<String>,
    /// File that defines item actions and providers, besides those of the cluster; only here may they be programs.
    #[arg(long, alias = "extensions", value_name = "FILE")]
    pub(crate) item_actions: Option<std::path::PathBuf>,
    /// Backups that are made at once.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrent_backups: u16,
    /// Restores that are carried out at once.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrent_restores: u16,
    /// Copies of backups to other locations that are made at once.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrent_copies: u16,
    /// Leave out the run that is due when a schedule is created or unpaused, unless the schedule says
    /// otherwise.
    #[arg(long)]
    pub(crate) schedule_skip_immediately: bool,
    /// Who this server is among those that want to lead [default: the host name and a random part].
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub(crate) identity: Option<String>,
}

/// A provider and one of its snapshot locations, as Velero writes them.
fn provider_and_name(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((provider, name)) if !provider.is_empty() && !name.is_empty() => {
            Ok((provider.to_owned(), name.to_owned()))
        }
        _ => {
            Err("it is a provider and the name of a location, as velero.io/aws:default".to_owned())
        }
    }
}
