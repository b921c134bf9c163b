//! Settings that users leave in the cluster, as Velero's users do: labelled ConfigMaps for the storage
//! class and image mappings, the list of preferred versions, and the modifiers that a restore names.

use std::collections::BTreeMap;

use salvor_api::labels::PLUGIN_CONFIG;
use salvor_api::meta::StringMap;
use salvor_api::velero::Restore;
use salvor_cluster::{ApiResource, Cluster, ErrorKind, ListOptions};
use serde_json::Value;

use super::body;
use super::error::{Doing as _, RestoreError};
use super::modifiers::Modifiers;

const STORAGE_CLASSES: &str = "velero.io/change-storage-class";
const IMAGE_NAMES: &str = "velero.io/change-image-name";
const ITEM_ACTION: &str = "RestoreItemAction";
const VERSION_PRIORITIES: &str = "enableapigroupversions";
const PRIORITIES_KEY: &str = "restoreResourcesVersionPriority";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Storage class in the backup to class in the target.
    pub storage_classes: StringMap,
    /// Image mappings, in the order of the ConfigMap's keys.
    pub image_names: Vec<(String, String)>,
    /// Resource (`pods`, `deployments.apps`) to its versions, best first.
    pub version_priorities: BTreeMap<String, Vec<String>>,
    /// Modifiers.
    pub modifiers: Modifiers,
    /// What could not be read or makes no sense.
    pub problems: Vec<String>,
}

impl Settings {
    /// Reads the settings from the namespace of the restore (Velero's).
    ///
    /// # Errors
    /// The cluster fails, or the modifiers that the restore names are missing or not valid.
    pub async fn load(cluster: &Cluster, restore: &Restore) -> Result<Self, RestoreError> {
        let namespace = restore.metadata.namespace.as_str();
        let mut settings = Self::default();
        if namespace.is_empty() {
            return Ok(settings);
        }
        if let Some(data) = labelled(cluster, namespace, STORAGE_CLASSES, &mut settings).await? {
            settings.storage_classes = data;
        }
        if let Some(data) = labelled(cluster, namespace, IMAGE_NAMES, &mut settings).await? {
            settings.set_image_names(&data);
        }
        if let Some(data) = config_map(cluster, namespace, VERSION_PRIORITIES).await? {
            let text = data.get(PRIORITIES_KEY).map_or("", String::as_str);
            settings.version_priorities = parse_priorities(text);
        }
        if let Some(reference) = &restore.spec.resource_modifier {
            settings.modifiers = modifiers(cluster, namespace, &reference.name).await?;
        }
        Ok(settings)
    }

    fn set_image_names(&mut self, data: &StringMap) {
        for (key, value) in data {
            match value
                .split_once(',')
                .map(|(old, new)| (old.trim(), new.trim()))
            {
                Some((old, new)) if !old.is_empty() => {
                    self.image_names.push((old.to_owned(), new.to_owned()));
                }
                _ => self.problems.push(format!(
                    "the image mapping `{key}` is not of the form `old,new`: ignored"
                )),
            }
        }
    }
}

fn config_maps() -> ApiResource {
    ApiResource::known("", "v1", "ConfigMap", "configmaps", true)
}

/// The data of the one ConfigMap that configures an item action.
async fn labelled(
    cluster: &Cluster,
    namespace: &str,
    action: &str,
    settings: &mut Settings,
) -> Result<Option<StringMap>, RestoreError> {
    let options = ListOptions {
        label_selector: Some(format!("{PLUGIN_CONFIG},{action}={ITEM_ACTION}")),
        ..ListOptions::default()
    };
    let doing = || format!("read the configuration of {action} in namespace {namespace}");
    let page = match cluster
        .list_page(&config_maps(), Some(namespace), &options)
        .await
    {
        Ok(page) => page,
        Err(error) if error.kind() == ErrorKind::Forbidden => {
            settings
                .problems
                .push(format!("{}: {}", doing(), error.reason()));
            return Ok(None);
        }
        Err(error) => return Err(error).doing(doing),
    };
    if page.len() > 1 {
        return Err(RestoreError::refused(
            doing(),
            "more than one ConfigMap carries these labels: leave one",
        ));
    }
    let first = page.items().next();
    Ok(first.map(data_of))
}

async fn config_map(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Option<StringMap>, RestoreError> {
    match cluster.get(&config_maps(), Some(namespace), name).await {
        Ok(found) => Ok(found.map(|bytes| data_of(&bytes))),
        Err(error) if error.kind() == ErrorKind::Forbidden => Ok(None),
        Err(error) => Err(error).doing(|| format!("read ConfigMap {namespace}/{name}")),
    }
}

async fn modifiers(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Modifiers, RestoreError> {
    let doing = || format!("read the resource modifiers in ConfigMap {namespace}/{name}");
    let found = cluster.get(&config_maps(), Some(namespace), name).await;
    let Some(bytes) = found.doing(doing)? else {
        return Err(RestoreError::refused(doing(), "it is not there"));
    };
    let data = data_of(&bytes);
    let mut documents = data.values();
    match (documents.next(), documents.next()) {
        (Some(document), None) => Modifiers::parse(document).doing(doing),
        _ => Err(RestoreError::refused(
            doing(),
            format!("it must have exactly one data key, it has {}", data.len()),
        )),
    }
}

fn data_of(bytes: &[u8]) -> StringMap {
    let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
    body::at(&object, &["data"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Lines `rg=v1,v2`; anything else is left out, as Velero does.
fn parse_priorities(text: &str) -> BTreeMap<String, Vec<String>> {
    text.lines()
        .filter_map(|line| {
            let (resource, versions) = line.trim().split_once('=')?;
            let versions: Vec<String> = versions
                .split(',')
                .map(|version| version.trim().to_owned())
                .filter(|version| !version.is_empty())
                .collect();
            (!versions.is_empty()).then(|| (resource.trim().to_owned(), versions))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_priorities_are_lines_of_resource_and_versions() {
        let parsed = parse_priorities(
            "rockbands.music.example.io=v2beta1,v2beta2\norchestras.music.example.io=v2,v3alpha1\n\nbroken\n=\n",
        );
        assert_eq!(parsed.len(), 2);
        assert_eq!(
            parsed.get("rockbands.music.example.io"),
            Some(&vec!["v2beta1".to_owned(), "v2beta2".to_owned()])
        );
    }

    #[test]
    fn image_mappings_without_a_comma_are_reported() {
        let mut settings = Settings::default();
        settings.set_image_names(&StringMap::from([
            ("a".into(), "docker.io/, mirror/".into()),
            ("b".into(), "nonsense".into()),
        ]));
        assert_eq!(
            settings.image_names,
            [("docker.io/".into(), "mirror/".into())]
        );
        assert_eq!(settings.problems.len(), 1);
    }
}
