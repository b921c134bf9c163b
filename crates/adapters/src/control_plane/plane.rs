//! The description of a control plane: a file that a person writes once, or that detection proposes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::services::Component;
use crate::host::{Host, Local, Ssh, SshAddress};

/// A control plane.
///
/// ```yaml
/// cluster: prod
/// flavour: {kubeadm: {}}
/// members:
///   - name: master-1
///     reach: {ssh: {address: root@10.0.0.1}}
///     peerUrls: [https://10.0.0.1:2380]
///     clientUrls: [https://10.0.0.1:2379]
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plane {
    /// Its name, as people know it; kubeadm's `clusterName` where it has one.
    pub cluster: String,
    /// How its components run.
    pub flavour: Flavour,
    /// Its machines, in the order in which they are started.
    pub members: Vec<Member>,
    /// Token of etcd's membership for a restored cluster; empty for a name that is made from `cluster`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// How traffic of workloads is kept away while the cluster is recovered; without it nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_mode: Option<RecoveryMode>,
    /// Files and folders that belong to it beside those in the usual places: all of them go into its points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
    /// What must work before a recovery is over, such as that the monitoring scrapes again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
}

/// Commands of this machine, program and arguments, that may be run again without harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecoveryMode {
    /// Keeps traffic away.
    pub enter: Vec<String>,
    /// Lets it in again.
    pub leave: Vec<String>,
}

/// A command of this machine that ends with code 0 once something works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    /// What works then: `prometheus scrapes the API servers`.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
}

/// How components run on a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Flavour {
    /// Static pods of the kubelet, as kubeadm sets them up.
    Kubeadm {
        /// Where the kubelet looks for them.
        #[serde(default = "manifests")]
        manifests: PathBuf,
    },
    /// Units of systemd.
    Systemd {
        /// The unit of each component that is one; the names of the components where nothing is said.
        #[serde(default = "units")]
        units: BTreeMap<Component, String>,
    },
    /// Commands of another supervisor.
    Commands {
        /// What each component takes; one without them does not run here.
        components: BTreeMap<Component, Commands>,
    },
}

/// How a component is stopped and started by commands: each program and arguments, where `{member}` is the name of the member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Commands {
    /// Starts it, and returns.
    pub start: Vec<String>,
    /// Stops it, and returns when it has ended.
    pub stop: Vec<String>,
    /// Ends with code 0 while it runs, and with another one while it does not.
    pub is_running: Vec<String>,
}

/// One machine of a control plane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// Its name in etcd.
    pub name: String,
    /// How to get there.
    pub reach: Reach,
    /// Where etcd of this machine talks to the others.
    pub peer_urls: Vec<String>,
    /// Where etcd of this machine serves.
    pub client_urls: Vec<String>,
    /// Its data directory.
    #[serde(default = "data_directory")]
    pub data_directory: PathBuf,
}

/// How to get to a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Reach {
    /// It is this one.
    Local {},
    /// By ssh.
    Ssh(SshAddress),
}

fn manifests() -> PathBuf {
    "/etc/kubernetes/manifests".into()
}

fn data_directory() -> PathBuf {
    "/var/lib/etcd".into()
}

fn units() -> BTreeMap<Component, String> {
    let all = Component::ALL.into_iter();
    all.map(|component| (component, component.to_string()))
        .collect()
}

impl Plane {
    /// Reads a description.
    ///
    /// # Errors
    /// It is no YAML of this form, or says what cannot be.
    pub fn from_yaml(text: &str) -> Result<Self, PlaneError> {
        let plane: Self = serde_saphyr::from_str(text).map_err(|error| PlaneError::Form {
            detail: error.to_string(),
        })?;
        plane.check()?;
        Ok(plane)
    }

    pub(super) fn check(&self) -> Result<(), PlaneError> {
        let wrong = |what: String| Err(PlaneError::Wrong { what });
        if self.members.is_empty() {
            return wrong("it has no members: name at least one machine".to_owned());
        }
        for (index, member) in self.members.iter().enumerate() {
            let name = &member.name;
            if self.members[..index]
                .iter()
                .any(|other| other.name == *name)
            {
                return wrong(format!("two members are called {name:?}"));
            }
            for (what, urls) in [
                ("peerUrls", &member.peer_urls),
                ("clientUrls", &member.client_urls),
            ] {
                if urls.is_empty() {
                    return wrong(format!("member {name:?} has no {what}"));
                }
            }
            if !member.data_directory.is_absolute() {
                let directory = member.data_directory.display();
                return wrong(format!(
                    "the data directory {directory} of member {name:?} is not absolute"
                ));
            }
        }
        Ok(())
    }

    /// What `--initial-cluster` would be.
    #[must_use]
    pub fn initial_cluster(&self) -> String {
        let mut all = Vec::new();
        for member in &self.members {
            all.extend(
                member
                    .peer_urls
                    .iter()
                    .map(|url| format!("{}={url}", member.name)),
            );
        }
        all.join(",")
    }
}

impl Member {
    /// The machine.
    #[must_use]
    pub fn host(&self) -> Arc<dyn Host> {
        match &self.reach {
            Reach::Local {} => Arc::new(Local::new(self.name.clone())),
            Reach::Ssh(to) => Arc::new(Ssh::new(self.name.clone(), to.clone())),
        }
    }
}

/// What is wrong with a description.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// It is not of the form.
    #[error("the description of the control plane cannot be read: {detail}")]
    Form {
        /// What and where.
        detail: String,
    },
    /// It says what cannot be.
    #[error("the description of the control plane is wrong: {what}")]
    Wrong {
        /// What.
        what: String,
    },
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kubeadm { .. } => "kubeadm",
            Self::Systemd { .. } => "systemd",
            Self::Commands { .. } => "commands",
        })
    }
}
