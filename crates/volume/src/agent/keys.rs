//! What opens the repositories of the cluster: Secrets in the server's namespace.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_api::labels::EXCLUDE_FROM_BACKUP;
use salvor_cluster::{Cluster, Error, ErrorKind, WriteOptions};
use salvor_seal::repository_key::{SECRET, SECRET_KEY, VELERO_SECRET, VELERO_SECRET_KEY};
use salvor_seal::{KeyMaterial, RepositoryKey, RepositoryKeyError};
use serde_json::{Value, json};

use crate::objects::{MANAGED_BY, secrets};

/// No repository can be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The cluster does not answer, or refuses.
    #[error("read or write the key of the repositories")]
    Cluster(#[source] Error),
    /// A Secret holds something else.
    #[error("Secret `{name}` has no usable `{key}`")]
    Value {
        /// Name of the Secret.
        name: &'static str,
        /// Key in it.
        key: &'static str,
    },
    /// What it holds is no key.
    #[error("use the key of the repositories")]
    Key(#[source] RepositoryKeyError),
    /// No key can be made.
    #[error("make the key of the repositories")]
    Make(#[source] RepositoryKeyError),
    /// There is none.
    #[error(
        "there is no Secret `{SECRET}` with the key of the repositories: bring back the one that the volumes were backed up with"
    )]
    Missing,
}

/// The key of the repositories, or Velero's password.
pub(super) async fn material(cluster: &Cluster, namespace: &str) -> Result<KeyMaterial, KeyError> {
    let ours = value(cluster, namespace, SECRET, SECRET_KEY).await?;
    let velero = match &ours {
        Some(_) => None,
        None => value(cluster, namespace, VELERO_SECRET, VELERO_SECRET_KEY).await?,
    };
    let found = KeyMaterial::of_secrets(ours.as_deref(), velero.as_deref());
    found.map_err(KeyError::Key)?.ok_or(KeyError::Missing)
}

/// The same; a key is made where there is none. Only before something is stored: what is stored already has a key.
pub(super) async fn material_or_new(
    cluster: &Cluster,
    namespace: &str,
) -> Result<KeyMaterial, KeyError> {
    match material(cluster, namespace).await {
        Err(KeyError::Missing) => {}
        other => return other,
    }
    if make(cluster, namespace).await? {
        tracing::warn!(
            secret = SECRET,
            "a key for the repositories of volumes was made: keep a copy of it outside of this cluster, nothing opens them without it"
        );
    }
    material(cluster, namespace).await
}

/// Makes the key of the repositories, Secret `salvor-repository-key`, unless there is one; whether it did.
///
/// # Errors
/// The cluster does not answer, or refuses; the system gives no random numbers.
pub async fn make(cluster: &Cluster, namespace: &str) -> Result<bool, KeyError> {
    let found = cluster.get(&secrets(), Some(namespace), SECRET).await;
    if found.map_err(KeyError::Cluster)?.is_some() {
        return Ok(false);
    }
    let key = RepositoryKey::generate().map_err(KeyError::Make)?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": SECRET, "namespace": namespace,
            // Who can read a backup must not be able to open the volumes' data.
            "labels": {MANAGED_BY.0: MANAGED_BY.1, EXCLUDE_FROM_BACKUP: "true"},
        },
        "stringData": {SECRET_KEY: key.to_text().expose()},
    });
    let body = secret.to_string();
    let options = WriteOptions::default();
    let made = cluster
        .create(&secrets(), Some(namespace), body.as_bytes(), &options)
        .await;
    match made {
        Ok(_) => Ok(true),
        // Another was quicker.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        // Ours may be there although the answer is not: what is there counts.
        Err(error) if error.may_have_happened() => {
            let found = cluster.get(&secrets(), Some(namespace), SECRET).await;
            match found.map_err(KeyError::Cluster)? {
                Some(_) => Ok(true),
                None => Err(KeyError::Cluster(error)),
            }
        }
        Err(error) => Err(KeyError::Cluster(error)),
    }
}

async fn value(
    cluster: &Cluster,
    namespace: &str,
    name: &'static str,
    key: &'static str,
) -> Result<Option<Vec<u8>>, KeyError> {
    let found = cluster.get(&secrets(), Some(namespace), name).await;
    let Some(bytes) = found.map_err(KeyError::Cluster)? else {
        return Ok(None);
    };
    let wrong = || KeyError::Value { name, key };
    let secret: Value = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
    let text = secret["data"][key].as_str().ok_or_else(wrong)?;
    BASE64.decode(text).map(Some).map_err(|_| wrong())
}
