//! Velero's kinds in the server's namespace: typed reads, and writes that change only what they mean to.

use std::marker::PhantomData;
use std::sync::Arc;

use salvor_api::velero::{Kind, merge_patch};
use salvor_cluster::{ApiResource, Cluster, DeleteOptions, ListOptions, Look, Wait, WriteOptions};
use serde_json::Value;

/// A read or write of one of Velero's kinds that failed.
#[derive(Debug, thiserror::Error)]
pub enum KindError {
    /// The API server refused it or does not answer.
    #[error("{kind} `{name}`")]
    Cluster {
        /// The kind.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// Why.
        #[source]
        source: Box<salvor_cluster::Error>,
    },
    /// What the API server sent is not of this kind.
    #[error("decode {kind} `{name}`")]
    Decode {
        /// The kind.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl KindError {
    /// True when the object changed, or went away, since it was read: read it again.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        use salvor_cluster::ErrorKind::{Conflict, NotFound};
        matches!(self, Self::Cluster { source, .. } if matches!(source.kind(), Conflict | NotFound))
    }

    /// True when time ran out.
    #[must_use]
    pub fn ran_out(&self) -> bool {
        use salvor_cluster::ErrorKind::Timeout;
        matches!(self, Self::Cluster { source, .. } if source.kind() == Timeout)
    }

    /// True when an object of this name exists.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        use salvor_cluster::ErrorKind::AlreadyExists;
        matches!(self, Self::Cluster { source, .. } if source.kind() == AlreadyExists)
    }
}

/// Objects of one kind in one namespace.
#[derive(Clone, Debug)]
pub struct Kinds<K> {
    cluster: Cluster,
    namespace: Arc<str>,
    resource: Arc<ApiResource>,
    kind: PhantomData<fn() -> K>,
}

/// The resource of a kind, known without asking a server.
pub(crate) fn resource_of<K: Kind>() -> ApiResource {
    ApiResource::known(K::GROUP, K::VERSION, K::KIND, K::PLURAL, K::NAMESPACED)
}

impl<K: Kind> Kinds<K> {
    /// Makes no call.
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: namespace.into(),
            resource: Arc::new(resource_of::<K>()),
            kind: PhantomData,
        }
    }

    /// One object as it is now.
    ///
    /// # Errors
    /// [`KindError`]; an object that is not there is `None`.
    pub async fn get(&self, name: &str) -> Result<Option<K>, KindError> {
        let found = self
            .cluster
            .get(&self.resource, Some(&self.namespace), name)
            .await
            .map_err(|source| failed::<K>(name, source))?;
        found.map(|bytes| decode(name, &bytes)).transpose()
    }

    /// All objects, or those that a label selector (as the API takes it) matches, by name.
    ///
    /// # Errors
    /// [`KindError`], with an empty name.
    pub async fn list(&self, selector: Option<&str>) -> Result<Vec<K>, KindError> {
        let options = ListOptions {
            label_selector: selector.map(str::to_owned),
            ..ListOptions::default()
        };
        let namespace = Some(&*self.namespace);
        let mut pager = self.cluster.pager(&self.resource, namespace, options);
        let mut objects = Vec::new();
        while let Some(page) = pager
            .next_page()
            .await
            .map_err(|source| failed::<K>("", source))?
        {
            for item in page.items() {
                objects.push(decode::<K>("", item)?);
            }
        }
        objects.sort_by(|a, b| a.metadata().name.cmp(&b.metadata().name));
        Ok(objects)
    }

    /// Reads an object until it is as `done` wants it; `None` when it is gone. It is asked for with a pause
    /// that grows to two seconds.
    ///
    /// # Errors
    /// [`KindError`]; see [`KindError::ran_out`] for the time limit.
    pub async fn wait(
        &self,
        name: &str,
        wait: &Wait,
        done: impl Fn(&K) -> bool,
    ) -> Result<Option<K>, KindError> {
        let look = |object: Option<&Value>| match object.map(|object| K::deserialize(object)) {
            Some(Ok(object)) if !done(&object) => Look::NotYet("it is under way".to_owned()),
            // Gone, done, or not to be read, which the caller is told below.
            _ => Look::Done,
        };
        let namespace = Some(&*self.namespace);
        let found = self
            .cluster
            .wait_until(&self.resource, namespace, name, wait, look)
            .await
            .map_err(|source| failed::<K>(name, source))?;
        found.map(|bytes| decode(name, &bytes)).transpose()
    }

    /// Creates an object.
    ///
    /// # Errors
    /// [`KindError`]; see [`KindError::already_exists`].
    pub async fn create(&self, object: &K) -> Result<K, KindError> {
        let name = &object.metadata().name;
        let body = encode(object)?;
        let stored = self
            .cluster
            .create(
                &self.resource,
                Some(&self.namespace),
                &body,
                &WriteOptions::default(),
            )
            .await
            .map_err(|source| failed::<K>(name, source))?;
        decode(name, &stored)
    }

    /// Writes what differs between `before`, as it was read, and `after`. Fields that this version does not
    /// know stay as they are. Refused when the object changed since `before` was read.
    ///
    /// # Errors
    /// [`KindError`]; see [`KindError::is_stale`].
    pub async fn update(&self, before: &K, after: &K) -> Result<K, KindError> {
        let Some(mut patch) = merge_patch(before, after) else {
            return Ok(after.clone());
        };
        let name = &before.metadata().name;
        // A precondition: the server compares it and refuses with a conflict.
        patch["metadata"]["resourceVersion"] =
            Value::String(before.metadata().resource_version.clone());
        let stored = self
            .cluster
            .merge_patch(
                &self.resource,
                Some(&self.namespace),
                name,
                None,
                patch.to_string().as_bytes(),
                &WriteOptions::default(),
            )
            .await
            .map_err(|source| failed::<K>(name, source))?;
        decode(name, &stored)
    }

    /// Asks for the deletion of this incarnation of an object. An object that is gone is no error.
    ///
    /// # Errors
    /// [`KindError`].
    pub async fn delete(&self, object: &K) -> Result<(), KindError> {
        let metadata = object.metadata();
        let options = DeleteOptions {
            uid: Some(metadata.uid.clone()).filter(|uid| !uid.is_empty()),
            ..DeleteOptions::default()
        };
        self.cluster
            .delete(
                &self.resource,
                Some(&self.namespace),
                &metadata.name,
                &options,
            )
            .await
            .map(drop)
            .map_err(|source| failed::<K>(&metadata.name, source))
    }
}

fn failed<K: Kind>(name: &str, source: salvor_cluster::Error) -> KindError {
    KindError::Cluster {
        kind: K::KIND,
        name: name.to_owned(),
        source: Box::new(source),
    }
}

fn encode<K: Kind>(object: &K) -> Result<Vec<u8>, KindError> {
    serde_json::to_vec(object).map_err(|source| KindError::Decode {
        kind: K::KIND,
        name: object.metadata().name.clone(),
        source,
    })
}

pub(crate) fn decode<K: Kind>(name: &str, bytes: &[u8]) -> Result<K, KindError> {
    serde_json::from_slice(bytes).map_err(|source| KindError::Decode {
        kind: K::KIND,
        name: name.to_owned(),
        source,
    })
}
