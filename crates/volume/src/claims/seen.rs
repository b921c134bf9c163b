//! What a cluster has of volumes and claims, read once.

use std::collections::{BTreeMap, BTreeSet};

use salvor_cluster::{ApiResource, Cluster, ErrorKind, ListOptions};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::objects::{Claim, Class, Event, Meta, Node, Pod};
use super::volume::{Volume, is_left};

/// Namespaces that are read one by one; of more the whole cluster is read at once.
const SINGLY: usize = 8;

/// What could not be read of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum SeenError {
    /// The server refused, or did not answer.
    #[error("read volumes and claims")]
    Read {
        /// What it said.
        #[source]
        source: salvor_cluster::Error,
    },
    /// An object is not what its kind promises.
    #[error("understand the {kind} objects of the cluster")]
    Malformed {
        /// Kind of the object.
        kind: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// What a cluster has: everything that a look at claims needs, read once.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// All volumes.
    pub volumes: Vec<Volume>,
    /// The claims that were asked for, by namespace and name.
    pub claims: Vec<Claim>,
    /// All storage classes.
    pub classes: Vec<Class>,
    /// All nodes; `None` where they may not be seen.
    pub nodes: Option<Vec<Node>>,
    /// Pods of the same namespaces as the claims; `None` where they may not be seen.
    pub pods: Option<Vec<Pod>>,
    /// Events about claims, newest last; none where they may not be seen.
    pub events: Vec<Event>,
}

impl Seen {
    /// Reads everything, of one namespace or of all. Of nodes, pods and events what may not be seen is left out.
    ///
    /// # Errors
    /// Volumes, claims or classes cannot be read.
    pub async fn read(cluster: &Cluster, namespace: Option<&str>) -> Result<Self, SeenError> {
        Self::read_in(cluster, &[namespace]).await
    }

    /// The same of several namespaces.
    ///
    /// # Errors
    /// Volumes, claims or classes cannot be read.
    pub async fn read_of(
        cluster: &Cluster,
        namespaces: &BTreeSet<&str>,
    ) -> Result<Self, SeenError> {
        if namespaces.len() > SINGLY {
            return Self::read(cluster, None).await;
        }
        let each: Vec<Option<&str>> = namespaces.iter().copied().map(Some).collect();
        Self::read_in(cluster, &each).await
    }

    async fn read_in(cluster: &Cluster, namespaces: &[Option<&str>]) -> Result<Self, SeenError> {
        let about = "involvedObject.kind=PersistentVolumeClaim";
        let nodes = all(cluster, &known("Node", "nodes", false), None, None).await;
        let mut seen = Self {
            volumes: read_volumes(cluster).await?,
            classes: all(cluster, &classes(), None, None).await?,
            nodes: where_allowed(nodes)?,
            pods: Some(Vec::new()),
            ..Self::default()
        };
        for namespace in namespaces.iter().copied() {
            let events = known("Event", "events", true);
            let events = all(cluster, &events, namespace, Some(about)).await;
            let events: Option<Vec<Event>> = where_allowed(events)?;
            seen.events.extend(events.into_iter().flatten());
            seen.claims
                .extend(all::<Claim>(cluster, &claims(), namespace, None).await?);
            let pods = all(cluster, &known("Pod", "pods", true), namespace, None).await;
            let pods: Option<Vec<Pod>> = where_allowed(pods)?;
            // Of one that may not be seen nothing is known of any: less is said, and nothing wrong.
            seen.pods = seen.pods.zip(pods).map(|(mut all, pods)| {
                all.extend(pods);
                all
            });
        }
        seen.events.sort_by_key(|event| event.last_timestamp);
        Ok(seen)
    }

    /// A volume by name.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes
            .iter()
            .find(|volume| volume.metadata.name == name)
    }

    /// A claim by name.
    #[must_use]
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Claim> {
        let is_meant =
            |claim: &&Claim| claim.metadata.namespace == namespace && claim.metadata.name == name;
        self.claims.iter().find(is_meant)
    }

    /// What was last said about a claim.
    #[must_use]
    pub fn last_event(&self, claim: &Claim) -> Option<&Event> {
        let uid = &claim.metadata.uid;
        let mut events = self.events.iter().rev();
        events.find(|event| event.involved_object.uid == *uid && !uid.is_empty())
    }

    /// The newest volume that a claim of this name left behind.
    #[must_use]
    pub fn left_by(&self, namespace: &str, name: &str) -> Vec<&Volume> {
        let mut left: Vec<&Volume> = self
            .volumes
            .iter()
            .filter(|volume| is_left(volume))
            .filter(|volume| {
                let reference = volume.spec.claim_ref.as_ref();
                reference.is_some_and(|reference| reference.names(namespace, name))
            })
            .collect();
        left.sort_by_key(|volume| std::cmp::Reverse(volume.phase_since()));
        left
    }
}

/// All volumes of a cluster.
///
/// # Errors
/// They cannot be read.
pub async fn read_volumes(cluster: &Cluster) -> Result<Vec<Volume>, SeenError> {
    all(cluster, &volumes(), None, None).await
}

/// The resource of volumes.
#[must_use]
pub fn volumes() -> ApiResource {
    known("PersistentVolume", "persistentvolumes", false)
}

/// The resource of claims.
#[must_use]
pub fn claims() -> ApiResource {
    known("PersistentVolumeClaim", "persistentvolumeclaims", true)
}

fn classes() -> ApiResource {
    ApiResource::known(
        "storage.k8s.io",
        "v1",
        "StorageClass",
        "storageclasses",
        false,
    )
}

fn known(kind: &str, plural: &str, namespaced: bool) -> ApiResource {
    ApiResource::known("", "v1", kind, plural, namespaced)
}

/// One object, understood; `None` when it is not there.
///
/// # Errors
/// It cannot be read.
pub async fn one<T: DeserializeOwned>(
    cluster: &Cluster,
    resource: &ApiResource,
    namespace: Option<&str>,
    name: &str,
) -> Result<Option<T>, SeenError> {
    let found = cluster.get(resource, namespace, name).await;
    let found = found.map_err(|source| SeenError::Read { source })?;
    found.map(|bytes| understood(&bytes, resource)).transpose()
}

/// An object that a server sent.
///
/// # Errors
/// It is not what its kind promises.
pub fn understood<T: DeserializeOwned>(
    bytes: &[u8],
    resource: &ApiResource,
) -> Result<T, SeenError> {
    serde_json::from_slice(bytes).map_err(|source| SeenError::Malformed {
        kind: resource.kind.clone(),
        source,
    })
}

/// All objects of a resource, by namespace and name.
async fn all<T: DeserializeOwned>(
    cluster: &Cluster,
    resource: &ApiResource,
    namespace: Option<&str>,
    fields: Option<&str>,
) -> Result<Vec<T>, SeenError> {
    let options = ListOptions {
        field_selector: fields.map(str::to_owned),
        ..ListOptions::default()
    };
    let mut pager = cluster.pager(resource, namespace, options);
    // By name: after an expired token items may come twice.
    let mut found: BTreeMap<(String, String), T> = BTreeMap::new();
    let page = |source| SeenError::Read { source };
    while let Some(page) = pager.next_page().await.map_err(page)? {
        for item in page.items() {
            let Named { metadata } = understood(item, resource)?;
            found.insert(
                (metadata.namespace, metadata.name),
                understood(item, resource)?,
            );
        }
    }
    Ok(found.into_values().collect())
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    metadata: Meta,
}

/// What may not be seen is not there.
fn where_allowed<T>(read: Result<T, SeenError>) -> Result<Option<T>, SeenError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(SeenError::Read { source }) if source.kind() == ErrorKind::Forbidden => {
            tracing::info!(error = %source, "left out of the look at claims");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
