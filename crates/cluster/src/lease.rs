//! Leases: one of several processes is the leader, as long as it keeps saying so.
//!
//! The record is Kubernetes' own (`coordination.k8s.io/v1`), used as its components use it. Whether a holder is
//! alive is judged by our own monotonic clock: a record that did not change for as long as it claims to last
//! belongs to nobody. No two clocks are compared. A holder that could not renew in time stops before the
//! others may begin ([`LeaseOptions::renew_within`] is shorter than [`LeaseOptions::lasts`]).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::Cluster;
use crate::error::{Error, ErrorKind};
use crate::resource::ApiResource;
use crate::write::WriteOptions;

/// Which lease, and how it is kept.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Namespace of the Lease object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who we are; unique among those who want the lease.
    pub identity: String,
    /// How long the others wait after they saw the last renewal.
    pub lasts: Duration,
    /// How long renewals may fail before we take the lease for lost. Shorter than `lasts`.
    pub renew_within: Duration,
    /// Pause between attempts.
    pub retry_every: Duration,
}

impl LeaseOptions {
    /// With the times that Kubernetes' own components use: 15, 10 and 2 seconds.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lasts: Duration::from_secs(15),
            renew_within: Duration::from_secs(10),
            retry_every: Duration::from_secs(2),
        }
    }
}

/// Whose a lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Ours, with the number of times that it changed hands, which is larger than that of every holder
    /// before.
    Ours(u64),
    /// Another's, by its identity.
    Theirs(String),
}

/// A lease that we want or have.
#[derive(Debug)]
pub struct Lease {
    cluster: Cluster,
    options: LeaseOptions,
    /// The record of another holder as last seen, and since when it has been the same.
    observed: Option<(String, Instant)>,
}

/// A lease that is ours, renewed in the background until it is released or dropped.
#[derive(Debug)]
pub struct Held {
    /// Cancelled when the lease may be another's from now on. Stop what only a leader may do.
    pub lost: CancellationToken,
    /// Number of times that the lease changed hands.
    pub transitions: u64,
    stop: DropGuard,
    renewing: JoinHandle<Lease>,
}

fn leases() -> ApiResource {
    ApiResource::known("coordination.k8s.io", "v1", "Lease", "leases", true)
}

impl Lease {
    /// Makes no call.
    #[must_use]
    pub fn new(cluster: &Cluster, options: LeaseOptions) -> Self {
        Self {
            cluster: cluster.clone(),
            options,
            observed: None,
        }
    }

    /// Waits until the lease is ours, then keeps it. `None` when cancelled before.
    ///
    /// # Errors
    /// A refusal that waiting does not change (no rights, no such namespace). Whatever may pass is waited out.
    pub async fn acquire(mut self, cancel: &CancellationToken) -> Result<Option<Held>, Error> {
        loop {
            let begun = Instant::now();
            match self.take().await {
                Ok(LeaseState::Ours(transitions)) => {
                    return Ok(Some(self.keep(transitions, begun)));
                }
                Ok(LeaseState::Theirs(holder)) => {
                    tracing::debug!(lease = %self.options.name, %holder, "another leads");
                }
                Err(error) if passes(&error) => {
                    tracing::warn!(%error, lease = %self.options.name, "the lease cannot be taken now");
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = cancel.cancelled() => return Ok(None),
                () = self.cluster.stay(self.options.retry_every) => {}
            }
        }
    }

    /// Takes the lease when it is free, renews it when it is ours. One attempt.
    ///
    /// # Errors
    /// The calls' failures; [`ErrorKind::Conflict`] when another was quicker.
    pub async fn take(&mut self) -> Result<LeaseState, Error> {
        let LeaseOptions {
            namespace,
            name,
            identity,
            ..
        } = &self.options;
        let resource = leases();
        let found = self.cluster.get(&resource, Some(namespace), name).await?;
        let Some(bytes) = found else {
            let mut lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": name, "namespace": namespace}, "spec": {},
            });
            self.sign(&mut lease, 0, true);
            self.cluster
                .create(
                    &resource,
                    Some(namespace),
                    lease.to_string().as_bytes(),
                    &WriteOptions::default(),
                )
                .await?;
            return Ok(LeaseState::Ours(0));
        };
        let mut lease: Value = serde_json::from_slice(&bytes).map_err(|e| {
            let operation = format!("read lease {namespace}/{name}");
            Error::caused(ErrorKind::Malformed, operation, e.to_string(), e)
        })?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        let transitions = lease["spec"]["leaseTransitions"].as_u64().unwrap_or(0);
        let ours = holder == identity;
        if !ours && !holder.is_empty() && !self.has_expired(&lease) {
            return Ok(LeaseState::Theirs(holder.to_owned()));
        }
        let transitions = transitions + u64::from(!ours);
        self.sign(&mut lease, transitions, !ours);
        let LeaseOptions {
            namespace, name, ..
        } = &self.options;
        // Conditional on the version that was read, so of two that see it expired one gets it.
        self.cluster
            .replace(
                &resource,
                Some(namespace),
                name,
                None,
                lease.to_string().as_bytes(),
                &WriteOptions::default(),
            )
            .await?;
        self.observed = None;
        Ok(LeaseState::Ours(transitions))
    }

    /// True when the record has not changed, while we looked, for as long as it says that it lasts.
    fn has_expired(&mut self, lease: &Value) -> bool {
        let version = lease["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default();
        let lasts = lease["spec"]["leaseDurationSeconds"].as_u64();
        let lasts = lasts.map_or(self.options.lasts, Duration::from_secs);
        match &self.observed {
            Some((seen, since)) if seen == version => since.elapsed() >= lasts,
            _ => {
                self.observed = Some((version.to_owned(), Instant::now()));
                false
            }
        }
    }

    fn sign(&self, lease: &mut Value, transitions: u64, anew: bool) {
        // Times as `MicroTime` wants them; they inform people, nobody decides by them.
        let now = Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
            .to_string();
        let spec = &mut lease["spec"];
        if anew {
            spec["acquireTime"] = now.clone().into();
        }
        spec["renewTime"] = now.into();
        spec["holderIdentity"] = self.options.identity.clone().into();
        // A Lease counts whole seconds, and none is not a time.
        spec["leaseDurationSeconds"] = self.options.lasts.as_secs().max(1).into();
        spec["leaseTransitions"] = transitions.into();
    }

    fn keep(self, transitions: u64, renewed: Instant) -> Held {
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let renewing = tokio::spawn(self.renew(renewed, lost.clone(), stop.clone()));
        Held {
            lost,
            transitions,
            stop: stop.drop_guard(),
            renewing,
        }
    }

    async fn renew(
        mut self,
        mut renewed: Instant,
        lost: CancellationToken,
        stop: CancellationToken,
    ) -> Self {
        // However this ends, nobody may go on as a leader.
        let _guard = lost.drop_guard();
        let pause = self.options.retry_every;
        loop {
            let deadline = renewed + self.options.renew_within;
            tokio::select! {
                () = stop.cancelled() => return self,
                () = self.cluster.stay(pause) => {}
            }
            let begun = Instant::now();
            let taken = tokio::select! {
                () = stop.cancelled() => return self,
                taken = tokio::time::timeout_at(deadline, self.take()) => taken,
            };
            match taken {
                Ok(Ok(LeaseState::Ours(_))) => renewed = begun,
                Ok(Ok(LeaseState::Theirs(holder))) => {
                    tracing::warn!(lease = %self.options.name, %holder, "the lease was taken by another");
                    return self;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, lease = %self.options.name, "the lease was not renewed");
                    if Instant::now() >= deadline {
                        return self;
                    }
                }
                Err(_) => {
                    tracing::warn!(lease = %self.options.name, "the lease was not renewed in time");
                    return self;
                }
            }
        }
    }

    /// Gives the lease up, so that another need not wait for it to expire. Only if it is ours.
    async fn give_up(&self) -> Result<(), Error> {
        let LeaseOptions {
            namespace,
            name,
            identity,
            ..
        } = &self.options;
        let resource = leases();
        let found = self.cluster.get(&resource, Some(namespace), name).await?;
        let Some(mut lease) = found.and_then(|b| serde_json::from_slice::<Value>(&b).ok()) else {
            return Ok(());
        };
        if lease["spec"]["holderIdentity"].as_str() != Some(identity) {
            return Ok(());
        }
        lease["spec"]["holderIdentity"] = "".into();
        self.cluster
            .replace(
                &resource,
                Some(namespace),
                name,
                None,
                lease.to_string().as_bytes(),
                &WriteOptions::default(),
            )
            .await
            .map(drop)
    }
}

impl Held {
    /// Stops renewing and gives the lease up. Call it when everything that only a leader may do has stopped.
    ///
    /// # Errors
    /// The lease could not be given up; it expires by itself then.
    pub async fn release(self) -> Result<(), Error> {
        drop(self.stop);
        match self.renewing.await {
            Ok(lease) => lease.give_up().await,
            Err(e) => Err(Error::caused(
                ErrorKind::Cancelled,
                "release a lease",
                "the task that renewed it failed",
                e,
            )),
        }
    }
}

/// True for what waiting may mend.
fn passes(error: &Error) -> bool {
    error.is_retryable()
        || matches!(
            error.kind(),
            ErrorKind::Conflict | ErrorKind::AlreadyExists | ErrorKind::NotFound
        )
}
