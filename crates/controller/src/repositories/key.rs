//! The key that the passwords of a cluster's repositories follow from, in a Secret of the server's namespace.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_api::labels::EXCLUDE_FROM_BACKUP;
use salvor_cluster::{ApiResource, Cluster, ErrorKind, WriteOptions};
use salvor_seal::repository_key::{SECRET, SECRET_KEY, VELERO_SECRET, VELERO_SECRET_KEY};
use salvor_seal::{KeyMaterial, RepositoryKey, RepositoryKeyError};
use serde_json::{Value, json};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A Secret cannot be read or written.
    #[error("read Secret `{SECRET}` or `{VELERO_SECRET}`")]
    Cluster(#[source] salvor_cluster::Error),
    /// What a Secret holds is no key.
    #[error("use the key in Secret `{SECRET}`, or the password in `{VELERO_SECRET}`")]
    Unusable(#[source] RepositoryKeyError),
    /// A Secret holds something that is not base64.
    #[error("`{key}` in Secret `{name}` is not base64")]
    Base64 {
        /// The Secret.
        name: &'static str,
        /// The key in it.
        key: &'static str,
    },
    /// The server may not make the Secret.
    #[error(
        "Secret `{SECRET}` has no key, and the server may not write one: put one there with \
         `kubectl -n {namespace} create secret generic {SECRET} --from-literal={SECRET_KEY}=$(openssl rand -hex 32) \
         --dry-run=client -o yaml | kubectl apply -f -`, \
         and keep a copy of its value outside of the cluster"
    )]
    MayNotMake {
        /// The server's namespace.
        namespace: String,
        /// What the API server said.
        #[source]
        source: salvor_cluster::Error,
    },
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

/// Makes a key and puts it into the Secret, which is created where it is missing. Of two who do so at once, node agents
/// among them, one succeeds, and all get its key.
pub(super) async fn make(cluster: &Cluster, namespace: &str) -> Result<KeyMaterial, KeyError> {
    let key = RepositoryKey::generate().map_err(KeyError::Unusable)?;
    let data = json!({SECRET_KEY: BASE64.encode(key.to_text().expose())});
    if !fill(cluster, namespace, &data).await? {
        create(cluster, namespace, &data).await?;
    }
    // What the API server has counts, whatever became of our write.
    match find(cluster, namespace).await? {
        Some(material) => Ok(material),
        None => Ok(KeyMaterial::Key(key)),
    }
}

async fn create(cluster: &Cluster, namespace: &str, data: &Value) -> Result<(), KeyError> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        // Who can read a backup must not be able to open the volumes' data.
        "metadata": {"name": SECRET, "namespace": namespace, "labels": {EXCLUDE_FROM_BACKUP: "true"}},
        "data": data,
    });
    let body = secret.to_string();
    let (resource, options) = (secrets(), WriteOptions::default());
    let made = cluster.create(&resource, Some(namespace), body.as_bytes(), &options);
    match made.await {
        Ok(_) => Ok(()),
        // Somebody else's, just now.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(refused(namespace, source)),
    }
}

/// Puts a key into a Secret that has none, and leaves one that has; false when there is no Secret.
async fn fill(cluster: &Cluster, namespace: &str, data: &Value) -> Result<bool, KeyError> {
    let found = cluster.get(&secrets(), Some(namespace), SECRET).await;
    let Some(found) = found.map_err(KeyError::Cluster)? else {
        return Ok(false);
    };
    let found: Value = serde_json::from_slice(&found).unwrap_or_default();
    if found["data"][SECRET_KEY].is_string() {
        return Ok(true);
    }
    let version = &found["metadata"]["resourceVersion"];
    let patch = json!({"metadata": {"resourceVersion": version}, "data": data}).to_string();
    let (resource, options) = (secrets(), WriteOptions::default());
    let patch = patch.as_bytes();
    let patched = cluster.merge_patch(&resource, Some(namespace), SECRET, None, patch, &options);
    match patched.await {
        Ok(_) => Ok(true),
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(true),
        Err(source) => Err(refused(namespace, source)),
    }
}

fn refused(namespace: &str, source: salvor_cluster::Error) -> KeyError {
    match source.kind() {
        ErrorKind::Forbidden => KeyError::MayNotMake {
            namespace: namespace.to_owned(),
            source,
        },
        _ => KeyError::Cluster(source),
    }
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

fn secrets() -> ApiResource {
    ApiResource::known("", "v1", "Secret", "secrets", true)
}
