//! A claim's volume brought to an earlier state, with its application at a standstill meanwhile.
//!
//! ```text
//!   lease of the claim ─ what a dead run left is ended ─ stop ─ fill ─ start ─ lease given up
//! ```
//!
//! Nothing of it is kept in memory only: the lease says whether somebody is at it, the workloads say how many replicas they
//! had, and the movement carries the claim's own identity, so that a further run ends it and begins anew. A run that dies at
//! whatever place is finished by the next one. One that lost its lease leaves the application to whoever took it.
//!
//! An application is not started on data that may be of two times: when entries lack their content, when the movement ended
//! after it began to write, or when an earlier run left the application stopped and this one did not bring the data back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use salvor_cluster::{Cluster, ErrorKind, Held, Lease, LeaseOptions, LeaseState};
use salvor_location::RunId;
use salvor_seal::Digest;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::objects::core;
use crate::standstill::{StandstillError, Users, start, stop, users_of};
use crate::{
    AgentMover, Claim, DataMover as _, Domain, FillVolume, Filled, MoveError, OnBehalfOf, Part,
    Placement, VolumePlace,
};

/// How long a run that says nothing counts as alive.
const LASTS: Duration = Duration::from_secs(20);
/// How long it tries to say so before it stops by itself.
const RENEW_WITHIN: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(3);
/// What another run has to say that it is alive, seen from here.
const LOOK_FOR: Duration = Duration::from_secs(30);
/// Label of nodes with their name.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Digits of a digest that tell claims apart.
const DIGITS: usize = 20;

/// What is brought into which claim.
#[derive(Clone, Debug)]
pub struct IntoClaim<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The node agents.
    pub agents: &'a AgentMover,
    /// Namespace of the server and its agents.
    pub server: &'a str,
    /// The claim that is filled.
    pub claim: &'a Claim,
    /// Name of the location in the cluster.
    pub location: &'a str,
    /// Domain of the repository.
    pub domain: Domain,
    /// The snapshot, 64 hexadecimal digits.
    pub snapshot: &'a str,
    /// Namespace that it was taken from.
    pub source_namespace: &'a str,
    /// Bytes that come back; 0 when that is not known.
    pub bytes: u64,
    /// Which part of it.
    pub part: Part,
    /// Whether the application that uses the claim is stopped and started again; otherwise nobody may use it.
    pub stop_application: bool,
    /// Whether the application stays stopped also when nothing was written into its volume.
    pub stay_stopped: bool,
    /// How long its pods may take to end.
    pub stop_timeout: Duration,
    /// How long the data may take.
    pub timeout: Duration,
}

/// What is being done.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// Another run works on the claim, or did: it is waited whether it is alive.
    Waiting(&'a str),
    /// The application is brought to a standstill.
    Stopping(&'a Users),
    /// The data is brought back.
    Filling,
    /// The application gets its replicas back.
    Starting(&'a Users),
    /// The application is left stopped: its volume does not have the data of one time, or may not have.
    LeftStopped(&'a Users),
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InPlace {
    /// The data.
    pub filled: Filled,
    /// The application that was started again; nothing when entries lack their content.
    pub users: Users,
}

/// Why a claim does not have its data.
#[derive(Debug, thiserror::Error)]
pub enum InPlaceError {
    /// Another run is at it.
    #[error("claim {claim} is being restored by {holder}: wait for it, or end it")]
    Busy {
        /// `<namespace>/<name>`.
        claim: String,
        /// Who.
        holder: String,
    },
    /// Somebody uses the claim, whose application is not to be touched.
    #[error("claim {claim} is used by {}", users.join(", "))]
    InUse {
        /// `<namespace>/<name>`.
        claim: String,
        /// Pods, and workloads that were stopped for it.
        users: Vec<String>,
    },
    /// The application does not stand still. What was stopped of it is started again.
    #[error("bring the application of claim {claim} to a standstill")]
    NotStopped {
        /// `<namespace>/<name>`.
        claim: String,
        /// Why.
        source: StandstillError,
    },
    /// The data did not come back.
    #[error("bring the data back into claim {claim}")]
    NotFilled {
        /// `<namespace>/<name>`.
        claim: String,
        /// Whether the volume may hold a part of it.
        began: bool,
        /// Why.
        source: MoveError,
    },
    /// The application still stands still.
    #[error("start the application of claim {claim} again{}", if *filled { ", which has its data" } else { "" })]
    NotStarted {
        /// `<namespace>/<name>`.
        claim: String,
        /// Whether the data came back.
        filled: bool,
        /// Why.
        source: StandstillError,
    },
    /// Another run took the claim over, because this one could not reach the cluster.
    #[error("claim {claim} was taken over by {holder}, which goes on with it")]
    TakenOver {
        /// `<namespace>/<name>`.
        claim: String,
        /// Who.
        holder: String,
    },
    /// The cluster does not answer, or refuses.
    #[error("{doing}")]
    Cluster {
        /// What we were doing.
        doing: String,
        /// What it said.
        source: salvor_cluster::Error,
    },
    /// It was cancelled before anything was done.
    #[error("cancelled")]
    Cancelled,
}

impl InPlaceError {
    /// True when it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::NotFilled { source, .. } => matches!(source, MoveError::Cancelled),
            Self::NotStopped {
                source: StandstillError::Cluster { source, .. },
                ..
            }
            | Self::Cluster { source, .. } => source.kind() == ErrorKind::Cancelled,
            _ => false,
        }
    }
}

impl IntoClaim<'_> {
    /// Does it all. `told` hears of every step.
    ///
    /// # Errors
    /// [`InPlaceError`]. The application is started again, unless the error says otherwise or [`Step::LeftStopped`] was told.
    pub async fn run(
        &self,
        told: &mut (dyn FnMut(Step<'_>) + Send),
        cancel: &CancellationToken,
    ) -> Result<InPlace, InPlaceError> {
        let options = self.lease();
        let held = self.alone(&options, told, cancel).await?;
        let working = cancel.child_token();
        let mut touched = false;
        let done = {
            let work = Box::pin(self.stopped_and_filled(told, &mut touched, &working));
            tokio::pin!(work);
            tokio::select! {
                done = &mut work => done,
                () = held.lost.cancelled() => {
                    working.cancel();
                    work.await
                }
            }
        };
        let ended = match self.taken_by(&held, &options).await {
            Some(holder) => Err(InPlaceError::TakenOver {
                claim: self.name(),
                holder,
            }),
            None => Box::pin(self.started(done, touched, told)).await,
        };
        if let Err(error) = held.release().await {
            tracing::warn!(%error, "the claim counts as being restored for a few seconds more");
        }
        ended
    }

    fn name(&self) -> String {
        format!("{}/{}", self.claim.namespace, self.claim.name)
    }

    /// The same for every run on the same claim.
    fn run_id(&self) -> String {
        format!("volume-restore/{}", self.name())
    }

    fn lease(&self) -> LeaseOptions {
        let digest = Digest::of(self.name().as_bytes()).to_string();
        let name = format!("salvor-volume-restore-{}", &digest[..DIGITS]);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let identity = format!("{} ({})", host.trim(), RunId::generate().as_str());
        LeaseOptions {
            lasts: LASTS,
            renew_within: RENEW_WITHIN,
            retry_every: RETRY,
            ..LeaseOptions::new(self.server, &name, &identity)
        }
    }

    /// Waits until nobody else works on the claim, or for as long as it takes to see that somebody does.
    async fn alone(
        &self,
        options: &LeaseOptions,
        told: &mut (dyn FnMut(Step<'_>) + Send),
        cancel: &CancellationToken,
    ) -> Result<Held, InPlaceError> {
        let mut lease = Lease::new(self.cluster, options.clone());
        let give_up = Instant::now() + LOOK_FOR;
        let failed = |source| InPlaceError::Cluster {
            doing: format!("look whether claim {} is being restored", self.name()),
            source,
        };
        let mut waits = false;
        loop {
            match lease.take().await {
                Ok(LeaseState::Ours(_)) => break,
                Ok(LeaseState::Theirs(holder)) if Instant::now() > give_up => {
                    let claim = self.name();
                    return Err(InPlaceError::Busy { claim, holder });
                }
                Ok(LeaseState::Theirs(holder)) => {
                    if !waits {
                        told(Step::Waiting(&holder));
                    }
                    waits = true;
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => {}
                Err(error) => return Err(failed(error)),
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(InPlaceError::Cancelled),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
        let held = lease.acquire(cancel).await.map_err(failed)?;
        held.ok_or(InPlaceError::Cancelled)
    }

    /// `touched` says afterwards whether the volume may hold files of two times.
    async fn stopped_and_filled(
        &self,
        told: &mut (dyn FnMut(Step<'_>) + Send),
        touched: &mut bool,
        cancel: &CancellationToken,
    ) -> Result<Filled, InPlaceError> {
        let (namespace, claim) = (self.claim.namespace.as_str(), self.claim.name.as_str());
        let not_filled = |source, began| InPlaceError::NotFilled {
            claim: self.name(),
            began,
            source,
        };
        let not_stopped = |source| InPlaceError::NotStopped {
            claim: self.name(),
            source,
        };
        let run = self.run_id();
        let left = self.agents.take_over(&run, self.claim, cancel).await;
        left.map_err(|source| not_filled(source, false))?;
        let mut users = users_of(self.cluster, namespace, claim)
            .await
            .map_err(not_stopped)?;
        // Of an earlier run that did not bring the data back, or was killed.
        *touched = users.were_stopped;
        if self.stop_application {
            if !users.is_empty() {
                told(Step::Stopping(&users));
            }
            let (cluster, timeout) = (self.cluster, self.stop_timeout);
            let stopped = Box::pin(stop(cluster, namespace, claim, timeout, cancel)).await;
            users.workloads = stopped.map_err(not_stopped)?.workloads;
        } else if !users.is_empty() {
            return Err(self.in_use(users));
        }
        told(Step::Filling);
        let job = self.job(self.placement(&users).await);
        let (agents, begun) = self.agents.for_one();
        let filled = agents.fill(&job, cancel).await;
        *touched |= begun.load(Ordering::Relaxed);
        match &filled {
            Ok(filled) => *touched = filled.missing > 0,
            Err(error) => tracing::debug!(%error, touched, "the data did not come back"),
        }
        filled.map_err(|source| not_filled(source, *touched))
    }

    fn in_use(&self, users: Users) -> InPlaceError {
        let pods = users.pods.iter().map(|pod| format!("pod {pod}"));
        let stopped = users.workloads.iter().filter(|_| users.pods.is_empty());
        let stopped = stopped.map(|w| format!("{} {}, which is stopped for it", w.kind, w.name));
        InPlaceError::InUse {
            claim: self.name(),
            users: pods.chain(stopped).chain(users.others).collect(),
        }
    }

    /// Where the claim can be mounted instead of its pods. A directory of a node that does not say of which is where a pod has
    /// it.
    async fn placement(&self, users: &Users) -> Placement {
        let mut placement = users.placement.clone();
        let api = core("PersistentVolume", "persistentvolumes", false);
        let found = self.cluster.get(&api, None, &self.claim.volume).await;
        // What cannot be read is told by whoever mounts it.
        let found = found.ok().flatten().unwrap_or_default();
        let volume: Value = serde_json::from_slice(&found).unwrap_or_default();
        let spec = &volume["spec"];
        let is_anywhere = spec["hostPath"].is_object() && spec["nodeAffinity"].is_null();
        if is_anywhere && !users.node.is_empty() {
            if !placement.node_selector.is_object() {
                placement.node_selector = json!({});
            }
            placement.node_selector[HOSTNAME] = users.node.as_str().into();
        }
        placement
    }

    fn job(&self, placement: Placement) -> FillVolume {
        FillVolume {
            of: OnBehalfOf {
                name: format!("volume-{}", self.claim.name),
                uid: String::new(),
                run: self.run_id(),
                location: self.location.to_owned(),
            },
            place: VolumePlace::Claim {
                claim: self.claim.clone(),
                placement,
            },
            domain: self.domain.clone(),
            snapshot: self.snapshot.to_owned(),
            source_namespace: self.source_namespace.to_owned(),
            bytes: self.bytes,
            part: self.part.clone(),
            done_marker: None,
            timeout: self.timeout,
        }
    }

    /// Who has the claim now, if it is not us any more. Without the lease but with nobody else at it, it is ours to finish.
    async fn taken_by(&self, held: &Held, options: &LeaseOptions) -> Option<String> {
        if !held.lost.is_cancelled() {
            return None;
        }
        match Lease::new(self.cluster, options.clone()).take().await {
            Ok(LeaseState::Theirs(holder)) => Some(holder),
            // Whether it can be finished shows when it is tried.
            Ok(LeaseState::Ours(_)) | Err(_) => None,
        }
    }

    /// Starts everything that stands still for this claim, also what a dead run stopped, if its data is of one time.
    async fn started(
        &self,
        done: Result<Filled, InPlaceError>,
        touched: bool,
        told: &mut (dyn FnMut(Step<'_>) + Send),
    ) -> Result<InPlace, InPlaceError> {
        let (namespace, claim) = (self.claim.namespace.as_str(), self.claim.name.as_str());
        let stays = touched || (done.is_err() && self.stay_stopped);
        if !self.stop_application || stays {
            if self.stop_application {
                match users_of(self.cluster, namespace, claim).await {
                    Ok(users) if users.workloads.is_empty() => {}
                    Ok(users) => told(Step::LeftStopped(&users)),
                    Err(error) => {
                        let error = crate::work::chain(&error);
                        tracing::warn!(error, "what stands still for the claim is not known");
                    }
                }
            }
            let users = Users::default();
            return done.map(|filled| InPlace { filled, users });
        }
        let started = async {
            let users = users_of(self.cluster, namespace, claim).await?;
            if !users.workloads.is_empty() {
                told(Step::Starting(&users));
            }
            start(self.cluster, namespace, &users).await?;
            Ok(users)
        };
        match (started.await, done) {
            (Ok(users), done) => done.map(|filled| InPlace { filled, users }),
            (Err(source), done) => {
                if let Err(error) = &done {
                    tracing::error!(error = %crate::work::chain(error), "the data did not come back");
                }
                Err(InPlaceError::NotStarted {
                    claim: self.name(),
                    filled: done.is_ok(),
                    source,
                })
            }
        }
    }
}
