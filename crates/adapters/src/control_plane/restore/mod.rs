//! The control plane of a cluster taken back to a snapshot of its etcd, as a runbook.
//!
//! The order is that of etcd's and Kubernetes' own advice: look at everything, keep what is there, have a person agree to what
//! is lost; stop controllers, API servers and etcd on **all** members before anything is changed; put the old data aside, never
//! away; the same snapshot and token on each member; etcd, API servers, controllers and kubelets started in this order, each
//! looked at before the next; finished only when nodes report again.
//!
//! What is replaced is the folder `member` inside a data directory, which may be a mount point, with owner and mode of the one
//! that was there. Undone, the old folders are back in their places, and what ran before runs again.
//!
//! Start with [`Restoration::runbook`].

mod directories;
mod end;
mod look;
mod members;
mod modes;
mod quorum;
mod running;
mod services;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use salvor_etcd::membership::Cluster;
use salvor_etcd::restore::Revisions;
use salvor_etcd::snapshot::Snapshot;
use salvor_runbook::{Runbook, Step, StepError};
use serde_json::Value;

use super::plane::{Member, Plane};
use super::services::{Component, Services, State};

pub use look::{Facts, Finding};
pub use running::{Kind, Live, Loss, MemberStatus, Running};

/// What is restored, and what is known of it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The snapshot. Whoever only undoes needs none.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Where it is from, for people: `point 2026...`.
    pub name: String,
    /// Id of the cluster that it was taken of, where that is recorded.
    pub cluster: Option<u64>,
    /// When it was taken, where that is recorded.
    pub taken: Option<Timestamp>,
    /// Version of the member that gave it, where that is recorded.
    pub etcd_version: Option<String>,
    /// Whether it may come without a digest, as what was merged from a chain does.
    pub skip_digest: bool,
}

/// A restore of a whole control plane.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// What is restored into.
    pub plane: Plane,
    /// What is restored.
    pub origin: Origin,
    /// What becomes of revisions.
    pub revisions: Revisions,
    /// Whether the cluster may be another one than the snapshot's.
    pub into_other_cluster: bool,
    /// Members that have no machine any more: they are none of `plane`, and join later.
    pub left_out: Vec<String>,
    /// Folder of this machine for a data directory while it is made and sent: it holds etcd's data in clear until then.
    pub work: PathBuf,
    /// How what runs is asked.
    pub running: Arc<dyn Running>,
}

impl Restoration {
    /// The steps. `parameters` are what a run is bound to: all that is needed to make the same `Restoration` again.
    #[must_use]
    pub fn runbook(self, parameters: Value) -> Runbook {
        let plane = Arc::new(self);
        let mut steps = begin(&plane);
        steps.push(Arc::new(modes::Mode::enter(&plane)));
        steps.extend(exchange(&plane));
        let end: [Arc<dyn Step>; 3] = [
            Arc::new(end::Nodes::new(&plane)),
            Arc::new(modes::Mode::leave(&plane)),
            Arc::new(end::Probes::new(&plane)),
        ];
        steps.extend(end);
        Runbook {
            name: "control-plane restore".to_owned(),
            target: plane.plane.cluster.clone(),
            parameters,
            steps,
        }
    }

    /// The steps where the majority is lost and no survivor is good enough: all members of `plane` are made of the snapshot. With
    /// `force` also where a majority is left.
    #[must_use]
    pub fn quorum_runbook(self, parameters: Value, force: bool) -> Runbook {
        let plane = Arc::new(self);
        let mut steps: Vec<Arc<dyn Step>> = vec![Arc::new(quorum::NoMajority::new(&plane, force))];
        steps.extend(begin(&plane));
        steps.extend(exchange(&plane));
        Runbook {
            name: "etcd recover-quorum".to_owned(),
            target: plane.plane.cluster.clone(),
            parameters,
            steps,
        }
    }

    /// Looks at everything that a restore begins with, and changes nothing.
    ///
    /// # Errors
    /// Something cannot be looked at; what must not be is a finding.
    pub async fn look(&self) -> Result<Facts, StepError> {
        look::facts(self).await
    }

    fn services(&self, member: &Member) -> Services {
        Services::new(member.host(), self.plane.flavour.clone())
    }

    fn snapshot(&self) -> Result<&Arc<Snapshot>, StepError> {
        let snapshot = self.origin.snapshot.as_ref();
        snapshot.ok_or_else(|| "there is no snapshot: a run that is gone on with needs it".into())
    }

    /// The token of the membership: another one for each run, so that members of an earlier restore are strangers.
    fn token(&self, run: &str) -> String {
        match self.plane.token.as_str() {
            "" => format!("{}-{run}", self.plane.cluster),
            token => token.to_owned(),
        }
    }

    fn membership(&self, run: &str) -> Result<Cluster, StepError> {
        Ok(Cluster::new(
            &self.plane.initial_cluster(),
            &self.token(run),
        )?)
    }

    /// Asks every member: all of them have to know a leader, and be of one cluster.
    async fn serves(&self) -> Result<MemberStatus, StepError> {
        let mut first: Option<MemberStatus> = None;
        for member in &self.plane.members {
            let status = self.running.member(member).await?;
            if !status.has_leader {
                return Err(format!("{} knows no leader", member.name).into());
            }
            let revision = status.revision;
            let first = first.get_or_insert(status.clone());
            if first.cluster != status.cluster {
                return Err(format!("{} is of another cluster than the first", member.name).into());
            }
            first.revision = first.revision.min(revision);
        }
        first.ok_or_else(|| "there are no members".into())
    }

    async fn runs(&self, member: &Member, component: Component) -> Result<bool, StepError> {
        Ok(self.services(member).state(component).await? == State::Running)
    }
}

/// Everything is looked at, kept, and agreed to.
fn begin(plane: &Arc<Restoration>) -> Vec<Arc<dyn Step>> {
    vec![
        Arc::new(look::Look::new(plane)),
        Arc::new(look::Keep::new(plane)),
        Arc::new(look::Agree::new(plane)),
    ]
}

/// All is stopped, exchanged, and started again.
fn exchange(plane: &Arc<Restoration>) -> Vec<Arc<dyn Step>> {
    use Component::{Etcd, KubeApiserver, KubeControllerManager, KubeScheduler};
    let stop = |name, components: &[Component]| -> Arc<dyn Step> {
        Arc::new(services::Stop::new(plane, name, components))
    };
    vec![
        stop("stop-controllers", &[KubeControllerManager, KubeScheduler]),
        stop("stop-api-servers", &[KubeApiserver]),
        stop("stop-etcd", &[Etcd]),
        Arc::new(directories::Aside::new(plane)),
        Arc::new(directories::Place::new(plane)),
        Arc::new(members::StartEtcd::new(plane)),
        Arc::new(members::Equal::new(plane)),
        Arc::new(services::StartServers::new(plane)),
        Arc::new(services::StartControllers::new(plane)),
    ]
}
