//! The key that the passwords of a cluster's repositories follow from: a Secret in the server's namespace. Everybody who
//! reads, makes or brings back that Secret does it here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_api::labels::EXCLUDE_FROM_BACKUP;
use salvor_cluster::{Cluster, Error, ErrorKind, WriteOptions};
use salvor_seal::repository_key::{SECRET, SECRET_KEY, VELERO_SECRET, VELERO_SECRET_KEY};
use salvor_seal::{KeyMaterial, RepositoryKey, RepositoryKeyError};
use serde_json::{Value, json};

use crate::objects::{MANAGED_BY, secrets};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A Secret cannot be read or written.
    #[error("read or write Secret `{SECRET}` or `{VELERO_SECRET}`")]
    Cluster(#[source] Error),
    /// What a Secret holds is no key.
    #[error("use the key in Secret `{SECRET}`, or the password in `{VELERO_SECRET}`")]
    Unusable(#[source] RepositoryKeyError),
    /// No key can be made.
    #[error("make the key of the repositories")]
    Make(#[source] RepositoryKeyError),
    /// A Secret holds something that is not base64.
    #[error("`{key}` in Secret `{name}` is not base64")]
    Base64 {
        /// The Secret.
        name: &'static str,
        /// The key in it.
        key: &'static str,
    },
    /// The Secret may not be made.
    #[error(
        "Secret `{SECRET}` has no key, and who asks may not write one: put one there with \
         `kubectl -n {namespace} create secret generic {SECRET} --from-literal={SECRET_KEY}=$(openssl rand -hex 32) \
         --dry-run=client -o yaml | kubectl apply -f -`, \
         and keep a copy of its value outside of the cluster"
    )]
    MayNotMake {
        /// The server's namespace.
        namespace: String,
        /// What the API server said.
        #[source]
        source: Error,
    },
    /// There is none.
    #[error(
        "there is no Secret `{SECRET}` with the key of the repositories: bring back the one that the volumes were backed up with"
    )]
    Missing,
}

/// The key of a cluster, as its Secrets have it; `None` when there is neither ours nor Velero's.
///
/// # Errors
/// A Secret cannot be read, or what it holds is no key.
pub async fn find(cluster: &Cluster, namespace: &str) -> Result<Option<KeyMaterial>, KeyError> {
    let ours = value(cluster, namespace, SECRET, SECRET_KEY).await?;
    let velero = match ours {
        Some(_) => None,
        None => value(cluster, namespace, VELERO_SECRET, VELERO_SECRET_KEY).await?,
    };
    KeyMaterial::of_secrets(ours.as_deref(), velero.as_deref()).map_err(KeyError::Unusable)
}

/// Makes a new key, unless there is one; whether it did.
///
/// # Errors
/// As [`put`]; the system gives no random numbers.
pub async fn make(cluster: &Cluster, namespace: &str) -> Result<bool, KeyError> {
    let key = RepositoryKey::generate().map_err(KeyError::Make)?;
    put(cluster, namespace, &key).await
}

/// Puts a key into the Secret, which is created where it is missing; false where there is one already, which is left
/// alone. Of several who do so at once one succeeds.
///
/// # Errors
/// The cluster does not answer, or refuses.
pub async fn put(
    cluster: &Cluster,
    namespace: &str,
    key: &RepositoryKey,
) -> Result<bool, KeyError> {
    let data = json!({SECRET_KEY: BASE64.encode(key.to_text().expose())});
    let found = cluster.get(&secrets(), Some(namespace), SECRET).await;
    let written = match found.map_err(KeyError::Cluster)? {
        None => create(cluster, namespace, &data).await,
        Some(found) => {
            let found: Value = serde_json::from_slice(&found).unwrap_or_default();
            if found["data"][SECRET_KEY].is_string() {
                return Ok(false);
            }
            fill(cluster, namespace, &found, &data).await
        }
    };
    match written {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            // Another was quicker.
            ErrorKind::AlreadyExists | ErrorKind::Conflict => Ok(false),
            ErrorKind::Forbidden => Err(KeyError::MayNotMake {
                namespace: namespace.to_owned(),
                source: error,
            }),
            // Ours may be there although the answer is not: what is there counts.
            _ if error.may_have_happened() => match find(cluster, namespace).await? {
                Some(KeyMaterial::Key(found)) => Ok(found == *key),
                _ => Err(KeyError::Cluster(error)),
            },
            _ => Err(KeyError::Cluster(error)),
        },
    }
}

async fn create(cluster: &Cluster, namespace: &str, data: &Value) -> Result<(), Error> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": SECRET, "namespace": namespace,
            // Who can read a backup must not be able to open the volumes' data.
            "labels": {MANAGED_BY.0: MANAGED_BY.1, EXCLUDE_FROM_BACKUP: "true"},
        },
        "data": data,
    });
    let (body, options) = (secret.to_string(), WriteOptions::default());
    cluster
        .create(&secrets(), Some(namespace), body.as_bytes(), &options)
        .await
        .map(drop)
}

/// Puts a key into a Secret that has none, if it is still as it was found.
async fn fill(
    cluster: &Cluster,
    namespace: &str,
    found: &Value,
    data: &Value,
) -> Result<(), Error> {
    let version = &found["metadata"]["resourceVersion"];
    let patch = json!({"metadata": {"resourceVersion": version}, "data": data}).to_string();
    let (resource, options) = (secrets(), WriteOptions::default());
    let patch = patch.as_bytes();
    cluster
        .merge_patch(&resource, Some(namespace), SECRET, None, patch, &options)
        .await
        .map(drop)
}

async fn value(
    cluster: &Cluster,
    namespace: &str,
    name: &'static str,
    key: &'static str,
) -> Result<Option<Vec<u8>>, KeyError> {
    let found = cluster.get(&secrets(), Some(namespace), name).await;
    let Some(found) = found.map_err(KeyError::Cluster)? else {
        return Ok(None);
    };
    let secret: Value = serde_json::from_slice(&found).unwrap_or_default();
    let Some(text) = secret["data"][key].as_str() else {
        return Ok(None);
    };
    let decoded = BASE64.decode(text);
    decoded
        .map(Some)
        .map_err(|_| KeyError::Base64 { name, key })
}

#[cfg(test)]
mod tests {
    use salvor_apiserver::{ApiServer, Options};

    use super::*;

    const NAMESPACE: &str = "default";

    #[tokio::test]
    async fn a_key_is_put_once_and_never_over_another() {
        let server = ApiServer::memory(Options {
            seed: Some(1),
            ..Options::default()
        });
        let cluster = Cluster::from_service(server, "test");
        assert!(find(&cluster, NAMESPACE).await.expect("read").is_none());
        // A Secret that waits for its value is filled.
        let empty = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}});
        let (body, options) = (empty.to_string(), WriteOptions::default());
        let resource = secrets();
        let made = cluster.create(&resource, Some(NAMESPACE), body.as_bytes(), &options);
        made.await.expect("created");
        let key = RepositoryKey::generate().expect("random");
        assert!(put(&cluster, NAMESPACE, &key).await.expect("put"));
        let found = find(&cluster, NAMESPACE).await.expect("read");
        assert!(matches!(found, Some(KeyMaterial::Key(found)) if found == key));

        assert!(!make(&cluster, NAMESPACE).await.expect("left alone"));
        let found = find(&cluster, NAMESPACE).await.expect("read");
        assert!(matches!(found, Some(KeyMaterial::Key(found)) if found == key));
    }
}
