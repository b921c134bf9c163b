//! A description of a control plane, made of what its machines have.

use std::collections::{BTreeMap, BTreeSet};

use super::{Etcd, Found, Kind};
use crate::control_plane::plane::{Flavour, Member, Plane, PlaneError, Reach};
use crate::control_plane::services::Component;

/// Name of a cluster that nobody has named, as Kubernetes has it.
const UNNAMED: &str = "kubernetes";

/// Why what was found is no control plane that can be described.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProposalError {
    /// A machine has nothing.
    #[error("{host} has neither etcd nor an API server: looked for {looked}")]
    Nothing {
        /// The machine.
        host: String,
        /// Where was looked.
        looked: String,
    },
    /// A machine has a distribution that is not supported.
    #[error("{host} runs {name}, whose control plane cannot be stopped in parts: {instead}")]
    Unsupported {
        /// The machine.
        host: String,
        /// The distribution.
        name: String,
        /// What to do.
        instead: String,
    },
    /// Nobody knows how to stop what runs.
    #[error(
        "etcd or the API server of {host} is started neither by the kubelet nor by systemd: write a description of the flavour \
         `commands`, which says how they are stopped, and give it with --plane"
    )]
    Processes {
        /// The machine.
        host: String,
    },
    /// A machine has an API server only.
    #[error(
        "{host} has an API server without etcd beside it (it uses {servers}): one description cannot stop both; write one of \
         the flavour `commands` with the machines of etcd as members, and give it with --plane"
    )]
    NoEtcd {
        /// The machine.
        host: String,
        /// What its API server uses.
        servers: String,
    },
    /// Machines differ.
    #[error(
        "{first} and {other} run their components in different ways: write a description, and give it with --plane"
    )]
    Differ {
        /// One machine.
        first: String,
        /// Another.
        other: String,
    },
    /// Members are on machines that were not looked at.
    #[error(
        "etcd was begun with members that are on none of the machines that were looked at: {members}; name all machines with --host, \
         or write a description of those that are left and give it with --plane"
    )]
    Others {
        /// Names and addresses.
        members: String,
    },
    /// The description is wrong.
    #[error("what was found cannot be described")]
    Plane {
        /// What is wrong.
        #[source]
        source: PlaneError,
    },
}

/// Makes a description of machines and how to get to them.
///
/// # Errors
/// [`ProposalError`].
pub fn propose(machines: &[(Reach, Found)]) -> Result<Plane, ProposalError> {
    let mut flavour: Option<(&str, Flavour)> = None;
    let mut members = Vec::new();
    let mut begun = BTreeSet::new();
    for (reach, found) in machines {
        let own = flavour_of(found)?;
        let (first, known) = flavour.get_or_insert((&found.host, own.clone()));
        if !joined(known, &own) {
            return Err(ProposalError::Differ {
                first: (*first).to_owned(),
                other: found.host.clone(),
            });
        }
        let etcd = found.etcd.as_ref().ok_or_else(|| ProposalError::NoEtcd {
            host: found.host.clone(),
            servers: found
                .api_server
                .as_ref()
                .map(|server| server.etcd_servers.join(","))
                .unwrap_or_default(),
        })?;
        begun.extend(etcd.initial_cluster.iter().cloned());
        members.push(member(reach, etcd));
    }
    let known = |pair: &String| {
        let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
        members.iter().any(|member: &Member| {
            member.name == name || member.peer_urls.iter().any(|own| own == url)
        })
    };
    let others: Vec<String> = begun.into_iter().filter(|pair| !known(pair)).collect();
    if !others.is_empty() {
        return Err(ProposalError::Others {
            members: others.join(", "),
        });
    }
    let cluster = machines.iter().find_map(|(_, found)| found.cluster.clone());
    let (_, flavour) = flavour.ok_or_else(|| ProposalError::Nothing {
        host: "no machine".to_owned(),
        looked: "nothing".to_owned(),
    })?;
    let plane = Plane {
        cluster: cluster.unwrap_or_else(|| UNNAMED.to_owned()),
        flavour,
        members,
        // A token of the beginning is none for a restore: members of before could join.
        token: String::new(),
        recovery_mode: None,
        files: machines
            .iter()
            .flat_map(|(_, found)| files(found))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        probes: Vec::new(),
    };
    let checked = plane.check();
    checked.map_err(|source| ProposalError::Plane { source })?;
    Ok(plane)
}

/// Whether two machines fit one flavour. Units that only one of them has are none of the other's.
fn joined(known: &mut Flavour, own: &Flavour) -> bool {
    let (Flavour::Systemd { units }, Flavour::Systemd { units: more }) = (&mut *known, own) else {
        return known == own;
    };
    let fits = |(component, unit): (&Component, &String)| {
        units.get(component).is_none_or(|known| known == unit)
    };
    let fit = more.iter().all(fits);
    units.extend(more.clone());
    fit
}

fn flavour_of(found: &Found) -> Result<Flavour, ProposalError> {
    let host = found.host.clone();
    Ok(match &found.flavour {
        Some(Kind::Kubeadm { manifests }) => Flavour::Kubeadm {
            manifests: manifests.clone(),
        },
        Some(Kind::Systemd { units }) => Flavour::Systemd {
            units: BTreeMap::clone(units),
        },
        Some(Kind::Processes { .. }) => return Err(ProposalError::Processes { host }),
        Some(Kind::Unsupported { name, instead }) => {
            return Err(ProposalError::Unsupported {
                host,
                name: name.clone(),
                instead: instead.clone(),
            });
        }
        None => {
            return Err(ProposalError::Nothing {
                host,
                looked: found.looked.join(", "),
            });
        }
    })
}

fn member(reach: &Reach, etcd: &Etcd) -> Member {
    Member {
        name: etcd.name.clone(),
        reach: reach.clone(),
        peer_urls: etcd.peer_urls.clone(),
        client_urls: etcd.client_urls.clone(),
        data_directory: etcd.data_directory.clone(),
    }
}

/// Files outside of the usual places that belong to a point of the control plane.
fn files(found: &Found) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    let etcd = found.etcd.iter();
    for certificates in etcd.flat_map(|etcd| [&etcd.certificates, &etcd.peer_certificates]) {
        all.extend(certificates.authorities.clone());
        all.extend(certificates.certificate.clone());
        all.extend(certificates.key.clone());
    }
    all.extend(
        found
            .api_server
            .iter()
            .filter_map(|server| server.encryption.clone()),
    );
    all.retain(|path| {
        path.is_absolute() && !path.starts_with("/etc/kubernetes") && !path.starts_with("/etc/etcd")
    });
    all
}
