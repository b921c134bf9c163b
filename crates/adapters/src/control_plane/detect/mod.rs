//! What control plane a machine has, by the files that start it: manifests of static pods and units of systemd.
//!
//! Nothing is changed and no component is asked: what the command lines say is what comes up again after a restart. With a root
//! folder the machine may also be one that does not run, such as a disk under a rescue system.
//!
//! Start with [`detect`], then [`propose`].

mod component;
mod known;
mod manifest;
mod proposal;
mod unit;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::services::Component;
use crate::host::{Host, HostError};
use component::{Looking, Started};

pub use proposal::{ProposalError, propose};

/// Folders of units, those that win first.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Names that units of a component have.
const NAMES: [(Component, &[&str]); 5] = [
    (Component::Etcd, &["etcd", "etcd-member", "etcd3"]),
    (Component::KubeApiserver, &["kube-apiserver"]),
    (
        Component::KubeControllerManager,
        &["kube-controller-manager"],
    ),
    (Component::KubeScheduler, &["kube-scheduler"]),
    (Component::Kubelet, &["kubelet"]),
];
const MANIFESTS: &str = "/etc/kubernetes/manifests";
const KUBELET: &str = "/var/lib/kubelet/config.yaml";

/// What a machine has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The machine's own name.
    pub host: String,
    /// How its components run; `None` where there are none.
    pub flavour: Option<Kind>,
    /// Name of the cluster, where a component was told one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Its etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd: Option<Etcd>,
    /// Its API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_server: Option<ApiServer>,
    /// What a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Where was looked.
    pub looked: Vec<String>,
}

/// How components run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Kind {
    /// As static pods.
    Kubeadm {
        /// The kubelet's folder for them.
        manifests: PathBuf,
    },
    /// As units.
    Systemd {
        /// The unit of each component that has one.
        units: BTreeMap<Component, String>,
    },
    /// As processes that neither of them starts.
    Processes {
        /// Their numbers.
        ids: Vec<u32>,
    },
    /// As something that keeps its control plane to itself.
    Unsupported {
        /// Its name.
        name: String,
        /// What to do instead.
        instead: String,
    },
}

/// What an etcd is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Etcd {
    /// Where that was read.
    pub from: String,
    /// Name of the member.
    pub name: String,
    /// Its data directory on the machine.
    pub data_directory: PathBuf,
    /// Its directory for the log, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_directory: Option<PathBuf>,
    /// Where it talks to other members.
    pub peer_urls: Vec<String>,
    /// Where it serves.
    pub client_urls: Vec<String>,
    /// The members at the beginning of the cluster: `name=url`.
    pub initial_cluster: Vec<String>,
    /// Token of that beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its version, as far as files tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it shows to clients, and takes of them.
    pub certificates: Certificates,
    /// What it shows to members, and takes of them.
    pub peer_certificates: Certificates,
}

/// Files of certificates on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificates {
    /// Of authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
    /// Its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The key of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// What an API server is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiServer {
    /// Where that was read.
    pub from: String,
    /// Its version, as far as files tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The etcd that it uses.
    pub etcd_servers: Vec<String>,
    /// What it shows to etcd.
    pub etcd_certificates: Certificates,
    /// The configuration of encryption at rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<PathBuf>,
}

/// Looks what control plane a machine has. `root` is where its file system is mounted; `/` for the machine itself.
///
/// # Errors
/// The machine cannot be reached, or a file that is there cannot be read. That there is nothing is none.
pub async fn detect(host: &dyn Host, root: &Path) -> Result<Found, HostError> {
    let looking = Looking::at(host, root).await?;
    let mut found = Found {
        host: looking.name.clone(),
        ..Found::default()
    };
    let manifests = looking.manifests().await?;
    found.looked.push(format!("{}/*.yaml", manifests.display()));
    for folder in UNITS {
        found.looked.push(format!("{folder}/*.service"));
    }
    found.looked.push("/proc".to_owned());
    if looking.user != 0 {
        found.remarks.push(format!(
            "looked as user {}, not as root: what only root may see is not seen",
            looking.user
        ));
    }
    let pods = looking.pods(&manifests, &mut found.remarks).await?;
    let units = looking.units(&mut found.remarks).await?;
    let distribution = looking.distribution();
    let begins = |all: &[Started]| {
        let serves =
            |one: &Started| matches!(one.component, Component::Etcd | Component::KubeApiserver);
        all.iter().any(serves)
    };
    let started = if begins(&pods) {
        let not_ours = units
            .iter()
            .filter(|unit| unit.component != Component::Kubelet);
        for unit in not_ours {
            found.remarks.push(format!(
                "{} is a unit, {}, beside static pods: a description of the flavour kubeadm does not stop it",
                unit.component, unit.from
            ));
        }
        found.flavour = Some(Kind::Kubeadm { manifests });
        pods
    } else if let Some((name, instead)) = distribution {
        found.flavour = Some(Kind::Unsupported {
            name: name.to_owned(),
            instead: instead.to_owned(),
        });
        return Ok(found);
    } else if begins(&units) {
        let units_of = units.iter().map(|one| (one.component, one.unit.clone()));
        found.flavour = Some(Kind::Systemd {
            units: units_of.collect(),
        });
        units
    } else {
        let (ids, processes) = looking.processes(&mut found.remarks).await?;
        if !ids.is_empty() {
            found.flavour = Some(Kind::Processes { ids });
        }
        processes
    };
    looking.describe(&started, &mut found).await?;
    Ok(found)
}
