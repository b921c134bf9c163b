//! The node agent: gives each PodVolumeBackup and PodVolumeRestore of its node a mover pod, and an end.
//!
//! It reads no disk and no data: it needs no right on its node. What it must remember stands in the objects.

mod decide;
mod keys;
mod meter;
mod pod;
mod settings;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use salvor_api::velero::{AccessMode, BackupStorageLocation, Kind};
use salvor_cluster::{ApiResource, Cluster, DeleteOptions, Error, ErrorKind, WriteOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::decide::{Action, Pod, decide};
use self::pod::Mover;
use crate::ask::{events_of, stuck::for_good};
use crate::cluster_key::KeyError;
use crate::follow::{Followed, Selection};
use crate::objects::{Direction, Movement, core, now, pods, secrets};
use crate::place;
use crate::work::{chain, domain_of};

pub use self::meter::Meter;
pub use self::pod::{ACCOUNT, COMPONENT, MoverResources};
pub use self::settings::SettingsError;

/// Looked again this often when nothing changes: a pod that has not begun says it by time passing only.
const LOOK: Duration = Duration::from_secs(5);
/// At most this often, however much changes: movers write progress every second.
const REST: Duration = Duration::from_millis(200);
/// A mover whose pod waits longer may say why in its events.
const LATE: Duration = Duration::from_secs(30);
/// Pause after a failure of the API server.
const PAUSE: Duration = Duration::from_secs(2);

/// How an agent works.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Namespace of the server, of the objects and of the movers.
    pub namespace: String,
    /// The agent's node.
    pub node: String,
    /// The agent's own pod, after which movers are made.
    pub pod: String,
    /// Volumes that are moved at once.
    pub concurrency: usize,
    /// Folder of the node's kubelet.
    pub kubelet_root: String,
    /// What movers may use.
    pub resources: MoverResources,
    /// Whether movers are privileged, which some security systems of nodes ask for.
    pub privileged: bool,
}

/// An agent that cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Its own pod is not to be seen.
    #[error("read the agent's own pod {pod}")]
    OwnPod {
        /// Its name.
        pod: String,
        /// Why.
        source: Error,
    },
    /// There is no such pod.
    #[error("pod {pod} is not in namespace {namespace}: POD_NAME should be the agent's own")]
    NoPod {
        /// Its name.
        pod: String,
        /// Where it should be.
        namespace: String,
    },
}

/// Why an object is not carried out now.
enum NotNow {
    /// For good: for people.
    Never(String),
    /// It may be possible later.
    Later(String),
}

impl From<Error> for NotNow {
    fn from(error: Error) -> Self {
        Self::Later(error.to_string())
    }
}

/// The agent of one node.
#[derive(Debug)]
pub struct NodeAgent {
    cluster: Cluster,
    options: AgentOptions,
    /// The agent's own pod.
    own: Value,
    meter: Meter,
}

impl NodeAgent {
    /// Reads its own pod.
    ///
    /// # Errors
    /// [`AgentError`].
    pub async fn new(cluster: &Cluster, options: AgentOptions) -> Result<Self, AgentError> {
        let pod = options.pod.clone();
        let found = cluster.get(&pods(), Some(&options.namespace), &pod).await;
        let found = found.map_err(|source| AgentError::OwnPod {
            pod: pod.clone(),
            source,
        })?;
        let own = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(Self {
            cluster: cluster.clone(),
            meter: Meter::new(&options.node),
            own: own.ok_or_else(|| AgentError::NoPod {
                pod,
                namespace: options.namespace.clone(),
            })?,
            options,
        })
    }

    /// What it measures.
    #[must_use]
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Works until it is cancelled. Movers go on alone then.
    pub async fn run(&self, cancel: &CancellationToken) {
        cancel.run_until_cancelled(self.work()).await;
    }

    async fn work(&self) {
        let AgentOptions {
            namespace, node, ..
        } = &self.options;
        let all = |direction: Direction| {
            Followed::start(
                &self.cluster,
                Selection::all(direction.resource(), namespace),
            )
        };
        let (mut backups, mut restores) = (all(Direction::Backup), all(Direction::Restore));
        let mut movers = Followed::start(
            &self.cluster,
            Selection {
                label_selector: Some(format!("{}={}", COMPONENT.0, COMPONENT.1)),
                field_selector: Some(format!("spec.nodeName={node}")),
                ..Selection::all(pods(), namespace)
            },
        );
        tracing::info!(node, namespace, "the node agent begins");
        loop {
            tokio::select! {
                () = backups.changed() => {}
                () = restores.changed() => {}
                () = movers.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            tokio::time::sleep(REST).await;
            if backups.is_synced() && restores.is_synced() && movers.is_synced() {
                self.turn(&backups, &restores, &movers).await;
            }
        }
    }

    async fn turn(&self, backups: &Followed, restores: &Followed, movers: &Followed) {
        let read = |direction: Direction, followed: &Followed| -> Vec<Movement> {
            let objects = followed.list();
            objects
                .iter()
                .filter_map(|object| Movement::read(direction, object))
                .collect()
        };
        let mut mine = read(Direction::Backup, backups);
        mine.extend(read(Direction::Restore, restores));
        mine.retain(Movement::is_salvors);
        self.find_nodes(&mut mine).await;
        mine.retain(|movement| movement.node == self.options.node);
        self.meter.see(&mine);
        let mut pods: BTreeMap<String, Pod> = movers
            .list()
            .iter()
            .map(|pod| {
                (
                    pod["metadata"]["name"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    Pod::read(pod),
                )
            })
            .collect();
        self.find_stuck(&mine, &mut pods).await;
        let actions = decide(
            &mine,
            &pods,
            self.options.concurrency.max(1),
            Timestamp::now(),
        );
        for (direction, name, action) in actions {
            let is_it =
                |movement: &&Movement| movement.direction == direction && movement.name == name;
            let Some(movement) = mine.iter().find(is_it) else {
                continue;
            };
            if let Err(error) = self.act(movement, &action).await {
                // What changed meanwhile is decided anew.
                if !matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) {
                    tracing::warn!(%error, name, ?action, "tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// The node of a restore that nobody wrote down is that of its pod.
    async fn find_nodes(&self, movements: &mut [Movement]) {
        let unknown = movements
            .iter_mut()
            .filter(|movement| movement.node.is_empty() && !movement.phase.is_final());
        for movement in unknown {
            let found = self
                .read(&pods(), Some(&movement.pod_namespace), &movement.pod)
                .await;
            match found {
                Ok(Some(pod)) => {
                    movement.node = pod["spec"]["nodeName"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned();
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the node of a restore is not known"),
            }
        }
    }

    /// Looks at the events of movers that are late to begin.
    async fn find_stuck(&self, mine: &[Movement], pods: &mut BTreeMap<String, Pod>) {
        for movement in mine {
            let waited = movement
                .accepted
                .map(|at| Timestamp::now().duration_since(at));
            let is_late = waited.is_some_and(|waited| waited.unsigned_abs() > LATE);
            let pod = pods.get_mut(&movement.name).filter(|pod| pod.is_pending());
            if let Some(pod) = pod.filter(|_| is_late && !movement.phase.is_final()) {
                let namespace = &self.options.namespace;
                let events = events_of(&self.cluster, namespace, &movement.name).await;
                pod.stuck = for_good(&events).unwrap_or_default();
            }
        }
    }

    async fn act(&self, movement: &Movement, action: &Action) -> Result<(), Error> {
        let set =
            |status: Value| movement.set_status(&self.cluster, &self.options.namespace, status);
        let name = &movement.name;
        match action {
            Action::Accept => {
                tracing::info!(name, "accepted");
                let mut status = json!({"phase": "Accepted", "acceptedTimestamp": now()});
                if movement.direction == Direction::Restore {
                    status["node"] = json!(self.options.node);
                }
                set(status).await.map(drop)
            }
            Action::Create => match self.create(movement).await {
                Ok(()) => Ok(()),
                Err(NotNow::Never(why)) => self.fail(movement, &why).await,
                Err(NotNow::Later(why)) => {
                    tracing::info!(name, why, "the mover is not made yet");
                    // Said once: each write is a change that is looked at.
                    if why == movement.message {
                        return Ok(());
                    }
                    set(json!({ "message": why })).await.map(drop)
                }
            },
            Action::Prepared => set(json!({"phase": "Prepared", "message": null}))
                .await
                .map(drop),
            Action::Stop => {
                if movement.phase != salvor_api::velero::DataPhase::Canceling {
                    set(json!({"phase": "Canceling"})).await?;
                }
                self.remove(movement, pod::GRACE).await
            }
            Action::Canceled => set(
                json!({"phase": "Canceled", "message": "cancelled", "completionTimestamp": now()}),
            )
            .await
            .map(drop),
            Action::Fail(why) => self.fail(movement, why).await,
            Action::Remove => self.remove(movement, 0).await,
        }
    }

    async fn fail(&self, movement: &Movement, why: &str) -> Result<(), Error> {
        tracing::warn!(name = movement.name, why, "failed");
        let status = json!({"phase": "Failed", "message": why, "completionTimestamp": now()});
        movement
            .set_status(&self.cluster, &self.options.namespace, status)
            .await?;
        // One that does not begin shall not begin later.
        self.remove(movement, 0).await
    }

    async fn remove(&self, movement: &Movement, grace: u32) -> Result<(), Error> {
        let options = DeleteOptions {
            grace_period_seconds: Some(grace),
            ..DeleteOptions::default()
        };
        let namespace = Some(self.options.namespace.as_str());
        self.cluster
            .delete(&pods(), namespace, &movement.name, &options)
            .await
            .map(drop)
    }

    /// Makes the mover of an object, and the Secret that it opens its repository with.
    async fn create(&self, movement: &Movement) -> Result<(), NotNow> {
        let namespace = self.options.namespace.as_str();
        let directory = self.directory(movement).await?;
        let location = self.location(movement).await?;
        let domain = domain_of(movement).map_err(|error| NotNow::Never(error.to_string()))?;
        let material = match movement.direction {
            Direction::Backup => keys::material_or_new(&self.cluster, namespace).await?,
            Direction::Restore => keys::material(&self.cluster, namespace).await?,
        };
        let password = material.password_of(domain.as_str());
        let mover = Mover {
            namespace,
            movement,
            agent: &self.own,
            directory: &directory,
            location: &location,
            machine_made: material.is_machine_made(),
            resources: &self.options.resources,
            privileged: self.options.privileged,
        };
        let secret = pod::secret(namespace, movement, password.expose());
        self.make(&secrets(), movement, &secret).await?;
        self.make(&pods(), movement, &mover.pod()).await?;
        tracing::info!(name = movement.name, directory, "the mover is made");
        Ok(())
    }

    /// Creates an object of the movement's name; one that an agent before made is as good.
    async fn make(
        &self,
        resource: &ApiResource,
        movement: &Movement,
        body: &Value,
    ) -> Result<(), NotNow> {
        let namespace = Some(self.options.namespace.as_str());
        let options = WriteOptions::default();
        let text = body.to_string();
        let made = self
            .cluster
            .create(resource, namespace, text.as_bytes(), &options)
            .await;
        match made {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if *resource != pods() {
                    return Ok(());
                }
                let found = self.read(resource, namespace, &movement.name).await?;
                let owner = found.map(|pod| Pod::read(&pod).owner).unwrap_or_default();
                if owner == movement.uid {
                    return Ok(());
                }
                Err(NotNow::Later(format!(
                    "another pod is called {} and has to go first",
                    movement.name
                )))
            }
            // A pod that the cluster's rules refuse is refused again.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::WebhookDenied
                ) =>
            {
                let namespace = &self.options.namespace;
                Err(NotNow::Never(pod::refused(&error.to_string(), namespace)))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn directory(&self, movement: &Movement) -> Result<String, NotNow> {
        let Movement {
            pod_namespace,
            pod: name,
            pod_uid,
            volume,
            ..
        } = movement;
        let namespace = Some(pod_namespace.as_str());
        let gone = || NotNow::Never(format!("pod {pod_namespace}/{name} is gone"));
        let pod = self
            .read(&pods(), namespace, name)
            .await?
            .ok_or_else(gone)?;
        if !pod_uid.is_empty() && pod["metadata"]["uid"] != **pod_uid {
            return Err(gone());
        }
        if pod["spec"]["nodeName"] != *self.options.node {
            return Err(NotNow::Never(format!(
                "pod {pod_namespace}/{name} is on another node"
            )));
        }
        let persistent = match place::claim_of(&pod, volume) {
            Some(claim) => Some(self.persistent(pod_namespace, &claim).await?),
            None => None,
        };
        let root = &self.options.kubelet_root;
        let directory = place::directory(&pod, volume, persistent.as_ref(), root);
        let directory = directory.map_err(NotNow::Never)?;
        match place::is_mounted(&pod) {
            Ok(true) => Ok(directory),
            Ok(false) => Err(NotNow::Later(format!(
                "pod {pod_namespace}/{name} has not mounted its volumes yet"
            ))),
            Err(why) => Err(NotNow::Never(why)),
        }
    }

    /// The persistent volume of a claim, bound to it and to no other.
    async fn persistent(&self, namespace: &str, claim: &str) -> Result<Value, NotNow> {
        let claims = core("PersistentVolumeClaim", "persistentvolumeclaims", true);
        let found = self.read(&claims, Some(namespace), claim).await?;
        let found =
            found.ok_or_else(|| NotNow::Never(format!("claim {namespace}/{claim} is gone")))?;
        let name = found["spec"]["volumeName"].as_str().unwrap_or_default();
        if name.is_empty() {
            return Err(NotNow::Later(format!(
                "claim {namespace}/{claim} is not bound yet"
            )));
        }
        let volumes = core("PersistentVolume", "persistentvolumes", false);
        let volume = self.read(&volumes, None, name).await?;
        let volume = volume.ok_or_else(|| NotNow::Never(format!("volume {name} is gone")))?;
        if volume["spec"]["claimRef"]["uid"] != found["metadata"]["uid"] {
            return Err(NotNow::Never(format!(
                "volume {name} belongs to another claim than {namespace}/{claim}"
            )));
        }
        Ok(volume)
    }

    async fn location(&self, movement: &Movement) -> Result<BackupStorageLocation, NotNow> {
        let name = &movement.location;
        let resource = ApiResource::known(
            BackupStorageLocation::GROUP,
            BackupStorageLocation::VERSION,
            BackupStorageLocation::KIND,
            BackupStorageLocation::PLURAL,
            true,
        );
        let found = self
            .read(&resource, Some(&self.options.namespace), name)
            .await?;
        let found =
            found.ok_or_else(|| NotNow::Never(format!("location `{name}` does not exist")))?;
        let location: BackupStorageLocation = serde_json::from_value(found)
            .map_err(|error| NotNow::Never(format!("location `{name}` cannot be read: {error}")))?;
        if movement.direction == Direction::Backup
            && location.spec.access_mode == AccessMode::ReadOnly
        {
            return Err(NotNow::Never(format!(
                "location `{name}` is read-only: nothing can be stored there"
            )));
        }
        Ok(location)
    }

    async fn read(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, Error> {
        let found = self.cluster.get(resource, namespace, name).await?;
        Ok(found.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

impl From<KeyError> for NotNow {
    fn from(error: KeyError) -> Self {
        let text = chain(&error);
        match error {
            KeyError::Cluster(_) | KeyError::MayNotMake { .. } => Self::Later(text),
            _ => Self::Never(text),
        }
    }
}
