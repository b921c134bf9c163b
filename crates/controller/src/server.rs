//! The server: waits until it leads, serves Velero's kinds as long as it does, and leaves in good order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use salvor_api::velero::{Backup, Kind, Restore};
use salvor_cluster::{Cluster, DiscoverOptions, Lease, LeaseOptions};
use salvor_volume::{AgentMover, MadeBy};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bucket_rules::BucketRules;
use crate::context::{Clock, Context, ServerOptions};
use crate::control;
use crate::copy::KnownVerdicts;
use crate::deletion::Deletions;
use crate::desk::Desk;
use crate::download::{DownloadRequests, Endpoint};
use crate::events::Recorder;
use crate::informer::Informer;
use crate::locations::Locations;
use crate::metrics::{Metrics, Stage};
use crate::runs::Runs;
use crate::schedule::Schedules;
use crate::server_status::StatusRequests;
use crate::storage_location::StorageLocations;
use crate::sync::{Stops, Sync};
use crate::{backup, collect, copy, leftovers, presence, repositories, restore};

/// Name of the lease that the leader holds.
pub const LEASE: &str = "salvor-server";
/// How long what is under way may take to stop before the lease is given up all the same.
const LEAVE: Duration = Duration::from_secs(20);

/// Why a server ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The cluster does not know the kinds that are served.
    #[error(
        "the cluster has no {missing}: install the definitions first, with `salvor install --crds-only`"
    )]
    NoKinds {
        /// Which are missing.
        missing: String,
    },
    /// A server of Velero's works on the same objects.
    #[error(
        "deployment `{name}` runs Velero's server in namespace `{namespace}`, and both would work on the same \
         objects: scale it to zero first (`kubectl -n {namespace} scale deployment {name} --replicas=0`), or \
         serve another namespace"
    )]
    VeleroRuns {
        /// Name of its deployment.
        name: String,
        /// The namespace that both would serve.
        namespace: String,
    },
    /// Metrics and probes cannot be served.
    #[error("serve metrics and probes")]
    Metrics {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The API server refuses what a server must do.
    #[error("{doing}")]
    Cluster {
        /// What we were doing.
        doing: String,
        /// Why it was refused.
        #[source]
        source: salvor_cluster::Error,
    },
}

/// A server, not running.
#[derive(Clone)]
pub struct Server {
    pub(crate) cluster: Cluster,
    pub(crate) options: Arc<ServerOptions>,
    pub(crate) locations: Locations,
    pub(crate) clock: Clock,
    lease: LeaseOptions,
    pub(crate) metrics: Metrics,
}

impl Server {
    /// A server for the kinds in a namespace of a cluster.
    #[must_use]
    pub fn new(cluster: &Cluster, options: ServerOptions) -> Self {
        Self {
            cluster: cluster.clone(),
            locations: Locations::new(cluster, &options.namespace)
                .with_providers(options.providers.clone()),
            clock: Arc::new(Timestamp::now),
            lease: LeaseOptions::new(&options.namespace, LEASE, &options.identity),
            metrics: Metrics::new(cluster),
            options: Arc::new(options),
        }
    }

    /// What this server measures.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// With another way to open locations.
    #[must_use]
    pub fn with_locations(self, locations: Locations) -> Self {
        Self { locations, ..self }
    }

    /// With other options; namespace and identity stay.
    #[must_use]
    pub fn with_options(self, options: ServerOptions) -> Self {
        let options = ServerOptions {
            namespace: self.options.namespace.clone(),
            identity: self.options.identity.clone(),
            ..options
        };
        Self {
            options: Arc::new(options),
            ..self
        }
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// With other times for the lease.
    #[must_use]
    pub fn with_lease(self, change: impl FnOnce(&mut LeaseOptions)) -> Self {
        let mut lease = self.lease;
        change(&mut lease);
        Self { lease, ..self }
    }

    /// Serves until `cancel` is cancelled. Loses and wins the lease as often as it happens.
    ///
    /// # Errors
    /// [`ServerError`]: what waiting does not mend.
    pub async fn run(&self, cancel: &CancellationToken) -> Result<(), ServerError> {
        let tasks = TaskTracker::new();
        // They answer until the last task has ended.
        let probed = CancellationToken::new();
        let _stop = probed.clone().drop_guard();
        self.metrics.set_stage(Stage::Starting);
        let desk = Desk::open(self, &tasks, &probed)?;
        // Before anything that the cluster may be asked: what is refused until we answer must not wait for it.
        desk.admit(self, &tasks, &probed);
        self.assert_installed().await?;
        self.assert_alone().await?;
        let endpoint = desk.endpoint(self, &tasks, &probed);
        self.lead(&desk, &endpoint, cancel).await
    }

    /// Leads as often as it is this server's turn.
    async fn lead(
        &self,
        desk: &Desk,
        endpoint: &Endpoint,
        cancel: &CancellationToken,
    ) -> Result<(), ServerError> {
        while !cancel.is_cancelled() {
            tracing::info!(identity = %self.options.identity, "waiting to lead");
            self.metrics.set_stage(Stage::StandingBy);
            let lease = Lease::new(&self.cluster, self.lease.clone());
            let held = lease.acquire(cancel).await;
            let held = held.map_err(|source| ServerError::Cluster {
                doing: format!("take lease `{}`", self.lease.name),
                source,
            })?;
            let Some(held) = held else {
                break;
            };
            tracing::info!(transitions = held.transitions, "leading");
            let term = Term::begin(self, desk, endpoint);
            tokio::select! {
                () = cancel.cancelled() => {}
                () = held.lost.cancelled() => tracing::warn!("the lease is lost"),
            }
            self.metrics.set_stage(match cancel.is_cancelled() {
                true => Stage::Ending,
                false => Stage::StandingBy,
            });
            term.end().await;
            self.metrics.end_term();
            if let Err(error) = held.release().await {
                tracing::debug!(%error, "the lease was not given up");
            }
        }
        Ok(())
    }

    /// Where deployments may not be listed, nothing is known of a Velero server.
    async fn assert_alone(&self) -> Result<(), ServerError> {
        let namespace = self.options.namespace.as_str();
        match presence::velero_server(&self.cluster, namespace).await {
            Ok(None) => Ok(()),
            Ok(Some(name)) => Err(ServerError::VeleroRuns {
                name,
                namespace: namespace.to_owned(),
            }),
            Err(error) => {
                tracing::warn!(%error, "whether a Velero server runs here is not known");
                Ok(())
            }
        }
    }

    async fn assert_installed(&self) -> Result<(), ServerError> {
        let discovery = self
            .cluster
            .discover(DiscoverOptions::default())
            .await
            .map_err(|source| ServerError::Cluster {
                doing: "discover what the cluster serves".to_owned(),
                source,
            })?;
        let missing: Vec<String> = salvor_api::crds::all()
            .iter()
            .map(|crd| crd.name.to_owned())
            .filter(|name| discovery.resolve(name).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(ServerError::NoKinds {
            missing: missing.join(", "),
        })
    }
}

/// Ends the copies of volumes that a server before had begun: nobody waits for them, and a restore that is gone on with
/// must not meet one that still writes.
async fn sweep_volumes(context: &Context) {
    let mover = AgentMover::new(&context.cluster, &context.options.namespace, MadeBy::Server);
    match mover.sweep().await {
        Ok(0) => {}
        Ok(swept) => tracing::info!(swept, "copies of volumes that nobody waits for are ended"),
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "what a server before left of copies of volumes is not known"
        ),
    }
}

/// The time from winning the lease to losing it, or to the end.
struct Term {
    tasks: TaskTracker,
    leaving: CancellationToken,
}

impl Term {
    fn begin(server: &Server, desk: &Desk, endpoint: &Endpoint) -> Self {
        let (tasks, leaving) = (TaskTracker::new(), CancellationToken::new());
        let options = &server.options;
        let context = Context {
            cluster: server.cluster.clone(),
            options: Arc::clone(options),
            locations: server.locations.clone(),
            events: Recorder::start(&server.cluster, &options.namespace, &tasks, &leaving),
            clock: Arc::clone(&server.clock),
            backups: informer::<Backup>(server, &tasks, &leaving),
            restores: informer::<Restore>(server, &tasks, &leaving),
            storage_locations: informer(server, &tasks, &leaving),
            snapshot_locations: informer(server, &tasks, &leaving),
            repositories: informer(server, &tasks, &leaving),
            backup_runs: Runs::new(&leaving),
            restore_runs: Runs::new(&leaving),
            schedules: informer(server, &tasks, &leaving),
            delete_requests: informer(server, &tasks, &leaving),
            stops: Stops::default(),
            verdicts: KnownVerdicts::default(),
            endpoint: endpoint.clone(),
            authorizer: desk.authorizer.clone(),
            metrics: server.metrics.clone(),
        };
        server.metrics.begin_term(&context);
        let downloads = informer(server, &tasks, &leaving);
        let volumes = informer(server, &tasks, &leaving);
        let status_requests = informer(server, &tasks, &leaving);
        let (spawner, leave) = (tasks.clone(), leaving.clone());
        tasks.spawn(async move {
            let ready = async {
                // From here on it is there.
                context.authorizer.key().await;
                context.storage_locations.synced().await;
                context.snapshot_locations.synced().await;
                context.backups.synced().await;
                context.restores.synced().await;
                context.schedules.synced().await;
                context.delete_requests.synced().await;
                sweep_volumes(&context).await;
                context.repositories.synced().await;
            };
            if leave.run_until_cancelled(ready).await.is_none() {
                return;
            }
            context.metrics.set_stage(Stage::Serving);
            let locations = StorageLocations {
                context: context.clone(),
                bucket_rules: BucketRules::default(),
            };
            control::run(locations, &context.storage_locations, 4, &spawner, &leave);
            backup::start(&context, &spawner, &leave);
            restore::start(&context, &spawner, &leave);
            let schedules = Schedules {
                context: context.clone(),
                server: context.options.schedules.clone(),
                warned: Mutex::default(),
            };
            control::run(schedules, &context.schedules, 1, &spawner, &leave);
            let sync = Sync::new(&context);
            control::run(sync, &context.storage_locations, 4, &spawner, &leave);
            let deletions = Deletions::new(&context);
            control::run(deletions, &context.delete_requests, 4, &spawner, &leave);
            collect::start(&context, &spawner, &leave);
            leftovers::start(&context, &spawner, &leave);
            copy::start(&context, &spawner, &leave);
            repositories::start(&context, &volumes, &spawner, &leave);
            let requests = DownloadRequests {
                context: context.clone(),
                requests: downloads.clone(),
            };
            control::run(requests, &downloads, 1, &spawner, &leave);
            let requests = StatusRequests {
                context: context.clone(),
                requests: status_requests.clone(),
            };
            control::run(requests, &status_requests, 1, &spawner, &leave);
        });
        Self { tasks, leaving }
    }

    /// Stops everything and waits for it.
    async fn end(self) {
        self.leaving.cancel();
        self.tasks.close();
        if tokio::time::timeout(LEAVE, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("what was under way did not stop in time");
        }
    }
}

fn informer<K: Kind>(
    server: &Server,
    tasks: &TaskTracker,
    leaving: &CancellationToken,
) -> Informer<K> {
    Informer::start(&server.cluster, &server.options.namespace, tasks, leaving)
}
