//! Flags of `etcd install`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use salvor_api::schedule::Cron;

use super::etcd::AccessArgs;

/// What runs the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Units and a timer of systemd, on a host.
    Timer,
    /// A pod that a kubelet starts from its folder of manifests.
    StaticPod,
    /// A CronJob and a Deployment on the nodes of the control plane.
    Cronjob,
}

/// A job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Job {
    /// Snapshots at the times of the schedule.
    Snapshot,
    /// Every change, all the time.
    Stream,
}

/// Flags of `install`.
#[derive(Clone, Debug, Args)]
pub(crate) struct EtcdInstallArgs {
    /// What runs the jobs.
    #[arg(long = "as", value_enum, value_name = "FORM")]
    pub(crate) form: Form,
    /// When snapshots are taken, as cron has it; `CRON_TZ=Zone/Name` may stand in front.
    #[arg(long, default_value = "0 2 * * *", value_name = "CRON")]
    pub(crate) schedule: Cron,
    /// Which jobs.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["snapshot", "stream"], value_name = "JOBS")]
    pub(crate) jobs: Vec<Job>,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Folder with config.yaml where the jobs run: on the host, or in the pods that mount it. Units also read its file
    /// `environment`, if there is one.
    #[arg(long, default_value = "/etc/salvor", value_name = "FOLDER")]
    pub(crate) settings: PathBuf,
    /// File with credentials of the store in that folder.
    #[arg(long, value_name = "NAME")]
    pub(crate) credentials: Option<String>,
    /// The program on the host.
    #[arg(long, default_value = "/usr/local/bin/salvor", value_name = "FILE")]
    pub(crate) program: PathBuf,
    /// Image of the pods [default: that of this version].
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Secret that pods of a cronjob mount as the folder.
    #[arg(long, default_value = "salvor-etcd", value_name = "NAME")]
    pub(crate) secret: String,
    /// Release of the cluster, whose CronJobs before 1.21 have another version.
    #[arg(long, default_value = "1.30", value_parser = minor, value_name = "RELEASE")]
    pub(crate) kubernetes_version: u32,
    /// Write the files into this folder instead of printing them.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) output_dir: Option<PathBuf>,
    /// Replace files that are there with other content.
    #[arg(long, requires = "output_dir")]
    pub(crate) replace: bool,
}

/// Reads `1.20`, `v1.20.3`; gives the minor version.
fn minor(text: &str) -> Result<u32, String> {
    let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
    let minor = (parts.next() == Some("1"))
        .then(|| parts.next()?.parse().ok())
        .flatten();
    minor.ok_or_else(|| format!("`{text}` is no release of Kubernetes such as 1.30"))
}
