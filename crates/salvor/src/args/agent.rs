//! `node-agent`, `mover`, `hold` and `reader`: what runs in pods beside the server's.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use salvor_api::go::GoDuration;
use salvor_volume::Direction;
use salvor_volume::agent::MoverResources;
use salvor_volume::place::KUBELET_ROOT;

/// Flags of `node-agent`.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeAgentArgs {
    /// The agent's node.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub(crate) node: String,
    /// The agent's own pod, after which movers are made.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub(crate) pod: String,
    /// Volumes that are moved at once.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) data_mover_concurrency: u16,
    /// ConfigMap with Velero's settings of node agents: loadConcurrency and podResources are read.
    #[arg(long, value_name = "NAME")]
    pub(crate) node_agent_configmap: Option<String>,
    /// Folder of the node's kubelet.
    #[arg(long, default_value = KUBELET_ROOT, value_name = "FOLDER")]
    pub(crate) kubelet_root_dir: String,
    /// Address on which /healthz, /readyz and /metrics are served; empty for none.
    #[arg(
        long,
        alias = "metrics-address",
        default_value = "0.0.0.0:8085",
        value_name = "IP:PORT"
    )]
    pub(crate) health_address: String,
    /// Movers are privileged, which some security systems of nodes ask for.
    #[arg(long)]
    pub(crate) privileged_movers: bool,
    /// Processor that each mover asks for; 0 for none.
    #[arg(long, default_value_t = MoverResources::default().cpu_request, value_name = "QUANTITY")]
    pub(crate) mover_cpu_request: String,
    /// Memory that each mover asks for.
    #[arg(long, default_value_t = MoverResources::default().memory_request, value_name = "QUANTITY")]
    pub(crate) mover_mem_request: String,
    /// Processor that each mover may use; 0 for no limit.
    #[arg(long, default_value_t = MoverResources::default().cpu_limit, value_name = "QUANTITY")]
    pub(crate) mover_cpu_limit: String,
    /// Memory that each mover may use; 0 for no limit.
    #[arg(long, default_value_t = MoverResources::default().memory_limit, value_name = "QUANTITY")]
    pub(crate) mover_mem_limit: String,
}

/// Flags of `mover`. The node agent writes them.
#[derive(Clone, Debug, Args)]
pub(crate) struct MoverArgs {
    /// Which way.
    #[arg(value_enum)]
    pub(crate) direction: DirectionArg,
    /// Name of the PodVolumeBackup or PodVolumeRestore.
    pub(crate) name: String,
    /// Where the volume is mounted.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) directory: PathBuf,
    /// File whose contents are the password of the repository.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: PathBuf,
    /// The password is random: guessing it need not be made expensive.
    #[arg(long)]
    pub(crate) machine_made: bool,
    /// Folder with the Secrets that the location refers to.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) secrets: PathBuf,
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DirectionArg {
    /// Into a repository.
    Backup,
    /// Out of one.
    Restore,
}

impl From<DirectionArg> for Direction {
    fn from(direction: DirectionArg) -> Self {
        match direction {
            DirectionArg::Backup => Self::Backup,
            DirectionArg::Restore => Self::Restore,
        }
    }
}

/// What an ephemeral container of `volume export` does.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ReaderCommand {
    /// Stay until the reader has come and gone.
    Stay {
        /// The container's name.
        #[arg(long)]
        name: String,
        /// How long at most.
        #[arg(long, value_name = "DURATION")]
        limit: GoDuration,
    },
    /// Write the archive of a path to standard output.
    Read(ReadArgs),
}

/// Flags of `reader read`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReadArgs {
    /// Name of the container that stays.
    #[arg(long)]
    pub(crate) name: String,
    /// Folder that stands for `/`.
    #[arg(long, value_name = "FOLDER", conflicts_with = "container_id")]
    pub(crate) root: Option<PathBuf>,
    /// The container whose `/` is meant, by the id that its runtime gave it.
    #[arg(long, value_name = "ID", required_unless_present = "root")]
    pub(crate) container_id: Option<String>,
    /// How long nobody may take any of the archive.
    #[arg(long, value_name = "DURATION")]
    pub(crate) stall: GoDuration,
    /// Processes of other containers are seen, too.
    #[arg(long)]
    pub(crate) shared_processes: bool,
    /// The path.
    pub(crate) path: String,
}
