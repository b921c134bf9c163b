//! ConfigMaps, in which users leave settings.

use salvor_api::meta::StringMap;
use salvor_cluster::{ApiResource, Cluster, Error};
use serde_json::Value;

/// The resource.
pub(crate) fn resource() -> ApiResource {
    ApiResource::known("", "v1", "ConfigMap", "configmaps", true)
}

/// The texts of a ConfigMap by key; what is no text is left out.
pub(crate) fn data_of(bytes: &[u8]) -> StringMap {
    let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
    object["data"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The data of a ConfigMap; `None` when it is not there.
pub(crate) async fn read(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Option<StringMap>, Error> {
    let found = cluster.get(&resource(), Some(namespace), name).await?;
    Ok(found.map(|bytes| data_of(&bytes)))
}
