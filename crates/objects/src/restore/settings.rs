//! Settings that users leave in the cluster, as Velero's users do: labelled ConfigMaps for the storage
//! class and image mappings, the list of preferred versions, and the modifiers that a restore names.

use std::collections::BTreeMap;

use salvor_api::labels::PLUGIN_CONFIG;
use salvor_api::meta::StringMap;
use salvor_api::resource_policy::{FilterPolicies, Use, only_value};
use salvor_api::validate::{self, ConfigMapFound};
use salvor_api::velero::Restore;
use salvor_cluster::{Cluster, ErrorKind, ListOptions};
use salvor_extension::{ActionKind, Actions};

use super::error::{Cause, Doing as _, RestoreError};
use super::modifiers::{ModifierError, Modifiers};
use super::volume_data::WaitContainer;
use crate::{config_map, extension, policy};

/// Velero's image for waiting pods: its program knows no command of ours.
const VELEROS_IMAGE: &str = "velero/velero";

const STORAGE_CLASSES: &str = "velero.io/change-storage-class";
const IMAGE_NAMES: &str = "velero.io/change-image-name";
const WAIT_CONTAINER: &str = "velero.io/pod-volume-restore";
const NODES: &str = "velero.io/change-pvc-node-selector";
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
    /// Which objects of single kinds and namespaces are taken.
    pub filters: FilterPolicies,
    /// Item actions of users.
    pub actions: Actions,
    /// Node in the backup to node in the target.
    pub nodes: StringMap,
    /// The container that holds pods back until their volumes are filled; its image is empty when nobody names one.
    pub wait_container: WaitContainer,
    /// What could not be read or makes no sense.
    pub problems: Vec<String>,
}

impl Settings {
    /// Reads the settings from the namespace of the restore (Velero's).
    ///
    /// # Errors
    /// The cluster fails, or the modifiers that the restore names are missing or not valid.
    pub async fn load(
        cluster: &Cluster,
        restore: &Restore,
        given: &Actions,
    ) -> Result<Self, RestoreError> {
        let namespace = restore.metadata.namespace.as_str();
        let mut settings = Self::default();
        if namespace.is_empty() {
            settings.actions = given.of(ActionKind::RestoreItemAction);
            return Ok(settings);
        }
        let (actions, hidden) = find_actions(cluster, restore, given).await?;
        settings.actions = actions;
        settings.problems.extend(hidden);
        if let Some(data) = labelled(cluster, namespace, NODES, &mut settings).await? {
            settings.nodes = data;
        }
        if let Some(data) = labelled(cluster, namespace, STORAGE_CLASSES, &mut settings).await? {
            settings.storage_classes = data;
        }
        if let Some(data) = labelled(cluster, namespace, WAIT_CONTAINER, &mut settings).await? {
            set_wait_container(&mut settings.wait_container, data);
        }
        if let Some(data) = labelled(cluster, namespace, IMAGE_NAMES, &mut settings).await? {
            settings.set_image_names(&data);
        }
        if let Some(data) = optional(cluster, namespace, VERSION_PRIORITIES).await? {
            let text = data.get(PRIORITIES_KEY).map_or("", String::as_str);
            settings.version_priorities = parse_priorities(text);
        }
        settings.find_named(cluster, restore).await?;
        Ok(settings)
    }

    /// Reads the ConfigMaps that the restore names.
    async fn find_named(
        &mut self,
        cluster: &Cluster,
        restore: &Restore,
    ) -> Result<(), RestoreError> {
        let (namespace, spec) = (&restore.metadata.namespace, &restore.spec);
        let doing = || format!("read what restore {} names", restore.metadata.name);
        let (modifiers, rules) = find_modifiers(cluster, restore).await.doing(doing)?;
        let policies = policy::find(
            cluster,
            namespace,
            spec.resource_policy.as_ref(),
            Use::Restore,
        );
        let policies = policies.await.doing(doing)?;
        let mut errors = Vec::new();
        for (field, reference, found) in [
            ("spec.resourceModifier", &spec.resource_modifier, &modifiers),
            (
                "spec.resourcePolicy",
                &spec.resource_policy,
                &policies.state,
            ),
        ] {
            validate::config_map(field, reference.as_ref(), found, &mut errors);
        }
        let filters = FilterPolicies::compile(&policies.policies);
        match filters {
            Ok(filters) if errors.is_empty() => {
                (self.modifiers, self.filters) = (rules, filters);
                Ok(())
            }
            filters => {
                errors.extend(filters.err().unwrap_or_default());
                Err(RestoreError::new(
                    format!("check restore {}", restore.metadata.name),
                    Cause::Invalid(errors),
                ))
            }
        }
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
        .list_page(&config_map::resource(), Some(namespace), &options)
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
    Ok(first.map(config_map::data_of))
}

async fn optional(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Option<StringMap>, RestoreError> {
    match config_map::read(cluster, namespace, name).await {
        Ok(found) => Ok(found),
        Err(error) if error.kind() == ErrorKind::Forbidden => Ok(None),
        Err(error) => Err(error).doing(|| format!("read ConfigMap {namespace}/{name}")),
    }
}

/// The item actions of a restore, and why those of the cluster are not known, if so.
///
/// # Errors
/// The cluster fails, or a definition cannot be used.
pub(crate) async fn find_actions(
    cluster: &Cluster,
    restore: &Restore,
    given: &Actions,
) -> Result<(Actions, Option<String>), RestoreError> {
    let namespace = restore.metadata.namespace.as_str();
    let doing = || "find the item actions".to_owned();
    let kind = ActionKind::RestoreItemAction;
    let found = extension::find(cluster, namespace, given, kind)
        .await
        .doing(doing)?;
    if !found.errors.is_empty() {
        let doing = format!("check restore {}", restore.metadata.name);
        return Err(RestoreError::new(doing, Cause::Invalid(found.errors)));
    }
    let hidden = found
        .hidden
        .map(|reason| format!("item actions that the cluster defines are not known: {reason}"));
    Ok((found.actions, hidden))
}

/// The modifiers that a restore names and what became of them.
///
/// # Errors
/// The cluster fails. That the ConfigMap is missing or broken is part of the answer.
pub async fn find_modifiers(
    cluster: &Cluster,
    restore: &Restore,
) -> Result<(ConfigMapFound, Modifiers), salvor_cluster::Error> {
    let none = (ConfigMapFound::Good, Modifiers::default());
    let named = restore.spec.resource_modifier.as_ref();
    let Some(named) = named
        .filter(|named| named.kind.eq_ignore_ascii_case("configmap") && !named.name.is_empty())
    else {
        return Ok(none);
    };
    let namespace = &restore.metadata.namespace;
    let Some(data) = config_map::read(cluster, namespace, &named.name).await? else {
        return Ok((ConfigMapFound::Missing, none.1));
    };
    let parsed = only_value(&data).and_then(|text| Modifiers::parse(text).map_err(chain));
    Ok(match parsed {
        Ok(modifiers) => (ConfigMapFound::Good, modifiers),
        Err(reason) => (ConfigMapFound::Broken { reason }, none.1),
    })
}

fn chain(error: ModifierError) -> String {
    match std::error::Error::source(&error) {
        // The cause goes on with an excerpt of the document, which a status has no room for.
        Some(cause) => {
            let cause = cause.to_string();
            format!("{error}: {}", cause.lines().next().unwrap_or_default())
        }
        None => error.to_string(),
    }
}

/// Takes over what Velero's ConfigMap of `pod-volume-restore` says, but no image of Velero's.
fn set_wait_container(wait: &mut WaitContainer, mut data: StringMap) {
    let mut take = |key: &str, field: &mut String| {
        if let Some(value) = data.remove(key) {
            *field = value;
        }
    };
    take("image", &mut wait.image);
    take("cpuRequest", &mut wait.cpu_request);
    take("memRequest", &mut wait.memory_request);
    take("cpuLimit", &mut wait.cpu_limit);
    take("memLimit", &mut wait.memory_limit);
    if wait.image.contains(VELEROS_IMAGE) {
        wait.image.clear();
    }
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
