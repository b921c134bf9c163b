//! What the target has of the things that a restore is about: a digest for each object, never a body.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_cluster::{ApiResource, Cluster, ErrorKind, ListOptions};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::body;
use super::error::{Doing as _, RestoreError};
use super::normalise::{self, Digest};

/// Up to so many objects of a resource are read one by one instead of listing.
const FEW_OBJECTS: usize = 8;
/// Up to so many namespaces are listed one by one instead of all.
const FEW_NAMESPACES: usize = 8;
/// Resources that are listed at once; the cluster's limiter bounds the calls below that.
const PARALLEL_LISTS: usize = 4;

/// The state of one object in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Digest of its normal form.
    pub digest: Digest,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// Digests of the target's objects by key.
#[derive(Clone, Debug, Default)]
pub struct TargetIndex {
    objects: HashMap<[u8; 16], Live>,
    /// Resources that could not be read, with the reason: whether their objects exist is not known.
    pub unreadable: BTreeMap<GroupResource, String>,
}

/// Which objects of one resource are of interest.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    keys: BTreeSet<(Option<String>, String)>,
    namespaces: BTreeSet<String>,
    many: bool,
}

impl Interest {
    /// Adds an object of the target.
    pub fn add(&mut self, key: &ObjectKey) {
        if let Some(namespace) = &key.namespace
            && !self.namespaces.contains(namespace)
        {
            self.namespaces.insert(namespace.clone());
        }
        if self.many {
            return;
        }
        self.keys.insert((key.namespace.clone(), key.name.clone()));
        if self.keys.len() > FEW_OBJECTS {
            self.many = true;
            self.keys.clear();
        }
    }
}

/// A short, collision-free name of a key in memory.
pub(crate) fn key_hash(key: &ObjectKey) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in [
        key.resource.resource.as_str(),
        key.resource.group.as_str(),
        key.namespace.as_deref().unwrap_or_default(),
        key.name.as_str(),
    ] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}

impl TargetIndex {
    /// The state of an object; `None` when the target does not have it.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Live> {
        self.objects.get(&key_hash(key)).copied()
    }

    /// Reads what is of interest. Resources that may not be read are recorded, not an error.
    ///
    /// # Errors
    /// The cluster fails.
    pub async fn read(
        cluster: &Cluster,
        interests: Vec<(ApiResource, Interest)>,
        keep_node_ports: bool,
    ) -> Result<Self, RestoreError> {
        let reads = interests
            .into_iter()
            .map(|(resource, interest)| async move {
                let found = read_resource(cluster, &resource, &interest, keep_node_ports).await;
                match found {
                    Ok(found) => Ok((resource.group_resource(), Ok(found))),
                    Err(error) if error.kind() == ErrorKind::Forbidden => {
                        Ok((resource.group_resource(), Err(error.reason().to_owned())))
                    }
                    Err(error) if error.kind() == ErrorKind::MethodNotAllowed => {
                        Ok((resource.group_resource(), Err(error.reason().to_owned())))
                    }
                    Err(error) => Err(error).doing(|| "read the target's objects".to_owned()),
                }
            });
        let results: Vec<_> = stream::iter(reads)
            .buffer_unordered(PARALLEL_LISTS)
            .try_collect()
            .await?;
        let mut index = Self::default();
        for (resource, result) in results {
            match result {
                Ok(found) => index.objects.extend(found),
                Err(reason) => {
                    index.unreadable.insert(resource, reason);
                }
            }
        }
        Ok(index)
    }
}

type Found = Vec<([u8; 16], Live)>;

async fn read_resource(
    cluster: &Cluster,
    resource: &ApiResource,
    interest: &Interest,
    keep_node_ports: bool,
) -> Result<Found, salvor_cluster::Error> {
    let mut found = Found::new();
    if !interest.many {
        for (namespace, name) in &interest.keys {
            if let Some(bytes) = cluster.get(resource, namespace.as_deref(), name).await? {
                found.extend(digest_item(resource, &bytes, keep_node_ports));
            }
        }
        return Ok(found);
    }
    let namespaces: Vec<Option<&str>> =
        if interest.namespaces.is_empty() || interest.namespaces.len() > FEW_NAMESPACES {
            vec![None]
        } else {
            interest
                .namespaces
                .iter()
                .map(|n| Some(n.as_str()))
                .collect()
        };
    for namespace in namespaces {
        let mut pager = cluster.pager(resource, namespace, ListOptions::default());
        while let Some(page) = pager.next_page().await? {
            let resource = resource.clone();
            let digests = tokio::task::spawn_blocking(move || {
                page.items()
                    .filter_map(|item| digest_item(&resource, item, keep_node_ports))
                    .collect::<Found>()
            });
            // A panic of a pure function is a bug; let it be seen as one.
            found.extend(
                digests
                    .await
                    .unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())),
            );
        }
    }
    Ok(found)
}

/// Digest of one live object. Items of a list carry neither version nor kind, so both are set.
fn digest_item(
    resource: &ApiResource,
    bytes: &[u8],
    keep_node_ports: bool,
) -> Option<([u8; 16], Live)> {
    let mut object: Value = serde_json::from_slice(bytes).ok()?;
    let key = live_key(resource, &mut object)?;
    let terminating = !body::text_at(&object, &["metadata", "deletionTimestamp"]).is_empty();
    let digest = normalise::digest(&key.resource, object, keep_node_ports);
    Some((
        key_hash(&key),
        Live {
            digest,
            terminating,
        },
    ))
}

/// Sets version and kind of a listed object and returns its key.
pub(crate) fn live_key(resource: &ApiResource, object: &mut Value) -> Option<ObjectKey> {
    let map = object.as_object_mut()?;
    map.insert("apiVersion".to_owned(), json!(resource.api_version()));
    map.insert("kind".to_owned(), json!(resource.kind));
    let name = body::text_at(object, &["metadata", "name"]).to_owned();
    let namespace = body::text_at(object, &["metadata", "namespace"]);
    Some(if namespace.is_empty() {
        ObjectKey::cluster(resource.group_resource(), name)
    } else {
        ObjectKey::namespaced(resource.group_resource(), namespace, name)
    })
}
