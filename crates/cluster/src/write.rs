//! Writes: each is one call, and says when it is not known whether it happened.

use bytes::Bytes;
use http::Method;

use crate::client::{Call, Cluster, JSON, describe};
use crate::error::{Error, ErrorKind};
use crate::path::with_query;
use crate::resource::ApiResource;

/// Options of creates, replaces and patches.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Let the server check everything and store nothing.
    pub dry_run: bool,
    /// Who writes, for `managedFields`.
    pub field_manager: Option<String>,
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
    /// Kubernetes' own, built-in kinds only.
    Strategic,
}

/// What happens to objects that a deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// Options of deletes.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Let the server check everything and delete nothing.
    pub dry_run: bool,
    /// Delete only this incarnation of the object.
    pub uid: Option<String>,
    /// What happens to what it owns; the kind's default when `None`.
    pub propagation: Option<Propagation>,
    /// Seconds that the object has to end by itself.
    pub grace_period_seconds: Option<u32>,
}

impl WriteOptions {
    fn query(&self) -> [(&'static str, Option<String>); 2] {
        [
            ("dryRun", self.dry_run.then(|| "All".to_owned())),
            ("fieldManager", self.field_manager.clone()),
        ]
    }
}

/// Times that a create is tried when its answers are lost and the object is not there afterwards.
const CREATE_ATTEMPTS: u32 = 3;

impl Cluster {
    /// Creates an object and returns it as stored.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] and every refusal of the server. With [`Error::may_have_happened`] the
    /// object may be there: read it before trying again, or use [`Cluster::create_once`].
    pub async fn create(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Bytes, Error> {
        let operation = describe("create", resource, namespace, None);
        if resource.namespaced && namespace.is_none() {
            return Err(Error::local(
                ErrorKind::Config,
                operation,
                "the namespace is missing",
            ));
        }
        let path = resource
            .collection_path(namespace)
            .map_err(|reason| Error::local(ErrorKind::Config, &operation, reason))?;
        let uri = with_query(&path, &options.query());
        let body = Some((Bytes::copy_from_slice(body), JSON));
        self.call(Call::write(operation, Method::POST, uri, body))
            .await
    }

    /// Creates an object even when answers get lost: after each one it reads the object back. An object
    /// that `is_ours` recognises (by a label of this run, say) counts as created; one that it does not
    /// recognise is [`ErrorKind::AlreadyExists`].
    ///
    /// # Errors
    /// As [`Cluster::create`].
    pub async fn create_once(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        body: &[u8],
        options: &WriteOptions,
        is_ours: impl Fn(&[u8]) -> bool,
    ) -> Result<Bytes, Error> {
        let mut doubt = false;
        let mut attempt = 1;
        loop {
            let error = match self.create(resource, namespace, body, options).await {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            // "Exists" after an answer was lost may speak of our own success.
            doubt |= error.may_have_happened();
            let look =
                error.may_have_happened() || (doubt && error.kind() == ErrorKind::AlreadyExists);
            if !look {
                return Err(error);
            }
            match self.get(resource, namespace, name).await? {
                Some(found) if is_ours(&found) => return Ok(found),
                Some(_) => {
                    return Err(Error::local(
                        ErrorKind::AlreadyExists,
                        describe("create", resource, namespace, Some(name)),
                        "an object of this name exists, made by another",
                    ));
                }
                None if attempt < CREATE_ATTEMPTS => attempt += 1,
                None => return Err(error),
            }
        }
    }

    /// Replaces an object, or one of its subresources. A `resourceVersion` in the body makes it
    /// conditional.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the object changed since it was read, and every refusal.
    pub async fn replace(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Bytes, Error> {
        let operation = describe("replace", resource, namespace, Some(name));
        let path = object_path(&operation, resource, namespace, name, subresource)?;
        let uri = with_query(&path, &options.query());
        let body = Some((Bytes::copy_from_slice(body), JSON));
        self.call(Call::write(operation, Method::PUT, uri, body))
            .await
    }

    /// Patches an object, or one of its subresources.
    ///
    /// # Errors
    /// Every refusal of the server.
    #[allow(clippy::too_many_arguments)] // The parts of one request line.
    pub async fn patch(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        kind: Patch,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Bytes, Error> {
        let operation = describe("patch", resource, namespace, Some(name));
        let path = object_path(&operation, resource, namespace, name, subresource)?;
        let uri = with_query(&path, &options.query());
        let content_type = match kind {
            Patch::Merge => "application/merge-patch+json",
            Patch::Json => "application/json-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
        };
        let body = Some((Bytes::copy_from_slice(body), content_type));
        self.call(Call::write(operation, Method::PATCH, uri, body))
            .await
    }

    /// [`Cluster::patch`] with a merge patch.
    ///
    /// # Errors
    /// Every refusal of the server.
    pub async fn merge_patch(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Bytes, Error> {
        self.patch(
            resource,
            namespace,
            name,
            subresource,
            Patch::Merge,
            body,
            options,
        )
        .await
    }

    /// [`Cluster::patch`] with a JSON patch.
    ///
    /// # Errors
    /// Every refusal of the server.
    pub async fn json_patch(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Bytes, Error> {
        self.patch(
            resource,
            namespace,
            name,
            subresource,
            Patch::Json,
            body,
            options,
        )
        .await
    }

    /// Asks for an object's deletion. True when there was one; finalizers may keep it for a while.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when the UID is another's, and every refusal but "not found".
    pub async fn delete(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<bool, Error> {
        let operation = describe("delete", resource, namespace, Some(name));
        let uri = object_path(&operation, resource, namespace, name, None)?;
        let DeleteOptions {
            dry_run,
            uid,
            propagation,
            grace_period_seconds,
        } = options;
        let mut body = serde_json::json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if *dry_run {
            body["dryRun"] = serde_json::json!(["All"]);
        }
        if let Some(uid) = uid {
            body["preconditions"] = serde_json::json!({ "uid": uid });
        }
        if let Some(propagation) = propagation {
            body["propagationPolicy"] = match propagation {
                Propagation::Background => "Background",
                Propagation::Foreground => "Foreground",
                Propagation::Orphan => "Orphan",
            }
            .into();
        }
        if let Some(seconds) = grace_period_seconds {
            body["gracePeriodSeconds"] = (*seconds).into();
        }
        let body = Some((Bytes::from(body.to_string()), JSON));
        match self
            .call(Call::write(operation, Method::DELETE, uri, body))
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn object_path(
    operation: &str,
    resource: &ApiResource,
    namespace: Option<&str>,
    name: &str,
    subresource: Option<&str>,
) -> Result<String, Error> {
    let config = |reason| Error::local(ErrorKind::Config, operation, reason);
    let mut path = resource.object_path(namespace, name).map_err(config)?;
    if let Some(subresource) = subresource {
        path.push('/');
        path.push_str(&crate::path::segment("subresource", subresource).map_err(config)?);
    }
    Ok(path)
}
