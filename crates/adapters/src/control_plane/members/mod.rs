//! Members of etcd that are replaced, and a cluster that lost its majority.
//!
//! A member that joins is given a data directory that says who it is and holds nothing else, as one has that was killed right
//! after it joined. etcd goes on from there by itself, and its flags for the beginning of a cluster, which stand in manifests,
//! units and scripts that nobody wants to edit, do not count any more.
//!
//! Start with [`replace`].

mod alone;
mod ask;
mod join;
mod place;
mod quorum;
mod replace;

use std::sync::Arc;
use std::time::Duration;

use salvor_etcd::membership;
use salvor_runbook::StepError;

use super::plane::{Member, Plane};
use super::services::Services;

pub use ask::{Ask, Etcd};
pub use quorum::{Survivor, recover, survivor};
pub use replace::replace;

/// How long a member may take to start, to catch up, and to agree with the others.
const PATIENCE: Duration = Duration::from_secs(900);

/// What steps work on.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The control plane.
    pub plane: Arc<Plane>,
    /// Asks its members.
    pub etcd: Arc<dyn Ask>,
}

/// Why a runbook about members cannot be made or gone on with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No such machine.
    #[error("the control plane has no member {name:?}: it has {known}")]
    NoMember {
        /// What was named.
        name: String,
        /// Those that are described.
        known: String,
    },
    /// Nobody answers who knows of a majority.
    #[error(
        "no member of {cluster} that answers has a majority behind it{except}: if most members are lost, \
         `salvor etcd recover-quorum` makes a cluster of one that is left"
    )]
    NoMajority {
        /// The control plane.
        cluster: String,
        /// Who was not asked.
        except: String,
    },
    /// A member is not among those of etcd.
    #[error("etcd has no member with the peer URLs {urls} of {name}")]
    NotJoined {
        /// The member.
        name: String,
        /// Its addresses.
        urls: String,
    },
    /// Hashes differ.
    #[error(
        "the data of members differs at revision {revision}: {hashes}; do not trust the cluster before you know why"
    )]
    Differ {
        /// Where.
        revision: u64,
        /// Of each member.
        hashes: String,
    },
    /// What was to be reached is not.
    #[error("{0}")]
    NotReached(String),
    /// Nobody is left to go on from.
    #[error(
        "no member of {cluster} has anything left to go on from ({found}): make the members of a snapshot or a point with \
         `salvor etcd recover-quorum --from`"
    )]
    NoSurvivor {
        /// The control plane.
        cluster: String,
        /// What was found.
        found: String,
    },
    /// The log of a member cannot be gone on with.
    #[error("read the log of member {name}")]
    Log {
        /// Whose.
        name: String,
        /// What is wrong.
        #[source]
        source: salvor_etcd::wal::Error,
    },
}

impl Setting {
    fn member(&self, name: &str) -> Result<&Member, Error> {
        let found = self.plane.members.iter().find(|member| member.name == name);
        found.ok_or_else(|| Error::NoMember {
            name: name.to_owned(),
            known: names(&self.plane.members),
        })
    }

    fn services(&self, member: &Member) -> Services {
        Services::new(member.host(), self.plane.flavour.clone())
    }

    /// A member with a majority behind it, but for one.
    async fn majority(&self, except: Option<&str>) -> Result<(Member, u64), Error> {
        for member in &self.plane.members {
            if except == Some(member.name.as_str()) {
                continue;
            }
            if let Ok(revision) = self.etcd.majority(member).await {
                return Ok((member.clone(), revision));
            }
        }
        Err(Error::NoMajority {
            cluster: self.plane.cluster.clone(),
            except: except
                .map(|name| format!(" ({name} was not asked)"))
                .unwrap_or_default(),
        })
    }

    /// The members of etcd, as one with a majority behind it knows them, but for one that is not asked.
    async fn listed(&self, except: &str) -> Result<(Member, Vec<membership::Member>), StepError> {
        let (via, _) = self.majority(Some(except)).await?;
        let listed = self.etcd.members(&via).await?;
        Ok((via, listed))
    }
}

/// Members that etcd has and the control plane does not, as the first of its machines knows them: one that answers, else its
/// database. Nobody may be left out of what all members have to take part in. Empty where nothing can be read.
pub async fn strangers(setting: &Setting) -> Vec<String> {
    for member in &setting.plane.members {
        let listed = match setting.etcd.members(member).await {
            Ok(listed) => Ok(listed),
            Err(_) => alone::rows(member).await,
        };
        let Ok(listed) = listed else { continue };
        let known = |one: &&membership::Member| {
            setting
                .plane
                .members
                .iter()
                .any(|member| is_at(one, member))
        };
        let strangers = listed.iter().filter(|one| !known(one));
        let told = strangers.map(|one| format!("{} at {}", one.name, one.peer_urls.join(",")));
        return told.collect();
    }
    Vec::new()
}

/// Whether a member of etcd has the addresses of one of the plane.
fn is_at(listed: &membership::Member, member: &Member) -> bool {
    let mut urls = member.peer_urls.clone();
    urls.sort();
    listed.peer_urls == urls
}

fn names(members: &[Member]) -> String {
    let all: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
    all.join(", ")
}

/// What a member answered; nothing where it is not ready for the question yet.
fn once_ready<T>(said: Result<T, salvor_etcd::client::Error>) -> Result<Option<T>, StepError> {
    match said {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_ready() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// An id as etcd writes it.
fn hex(id: u64) -> String {
    format!("{id:x}")
}

fn of_hex(value: Option<&serde_json::Value>) -> Option<u64> {
    let text = value?.as_str()?;
    u64::from_str_radix(text, 16).ok()
}
