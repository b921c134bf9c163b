//! What opens the repositories, for those who work on them.

use salvor_cluster::Cluster;
use salvor_seal::KeyMaterial;
use salvor_seal::repository_key::SECRET;

use crate::cluster_key::{self, KeyError};

/// The key of the repositories, or Velero's password.
pub(super) async fn material(cluster: &Cluster, namespace: &str) -> Result<KeyMaterial, KeyError> {
    let found = cluster_key::find(cluster, namespace).await?;
    found.ok_or(KeyError::Missing)
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
    if cluster_key::make(cluster, namespace).await? {
        tracing::warn!(
            secret = SECRET,
            "a key for the repositories of volumes was made: keep a copy of it outside of this cluster, nothing opens them without it"
        );
    }
    material(cluster, namespace).await
}
