//! Which resources are served now: the built-in kinds and those of the custom resource definitions.
//!
//! A [`Registry`] is an immutable value behind an `Arc`; a new or deleted definition makes a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use salvor_api::resource::{GroupResource, compare_versions};

use crate::crd::CustomVersion;
use crate::kinds::{self, SubresourceRow};

/// Everything that is served.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    groups: Vec<Group>,
    resources: BTreeMap<GroupResource, Arc<Resource>>,
}

/// An API group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Versions, preferred first.
    pub(crate) versions: Vec<String>,
}

/// One resource in all its versions.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) name: GroupResource,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
    /// Served versions, preferred first; never empty.
    pub(crate) versions: Vec<Version>,
    /// Made by a custom resource definition, or guessed from an archive.
    pub(crate) custom: bool,
}

/// One version of a resource.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) subresources: Vec<SubresourceRow>,
    /// Root type in the table of types; `None` for custom resources.
    pub(crate) root: Option<&'static str>,
    /// Schema and columns of a custom resource.
    pub(crate) schema: Option<Arc<CustomVersion>>,
}

impl Resource {
    pub(crate) fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// `apps/v1` for a version of this resource.
    pub(crate) fn api_version(&self, version: &str) -> String {
        api_version(&self.name.group, version)
    }

    /// True when status is written through its own path only.
    pub(crate) fn has_status(&self) -> bool {
        self.versions
            .iter()
            .any(|version| version.has_subresource("status"))
    }

    pub(crate) fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|one| one == verb)
    }

    /// Short for comparisons: `pods` or `deployments.apps`.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.name.group == group && self.name.resource == plural
    }
}

impl Version {
    pub(crate) fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|sub| sub.name == name)
    }
}

/// `v1` or `apps/v1`.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// The verbs of a custom resource, in the real server's order.
pub(crate) fn all_verbs() -> Vec<String> {
    [
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "create",
        "update",
        "watch",
    ]
    .map(str::to_owned)
    .into()
}

/// A status or scale subresource of a custom resource.
pub(crate) fn custom_subresource(
    name: &str,
    group: &str,
    version: &str,
    kind: &str,
) -> SubresourceRow {
    SubresourceRow {
        name: name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        verbs: ["get", "patch", "update"].map(str::to_owned).into(),
    }
}

impl Registry {
    /// The built-in kinds, with versions that are off by default when `all_versions`.
    pub(crate) fn built_in(all_versions: bool) -> Self {
        let mut registry = Self::default();
        let table = kinds::kinds();
        for group in &table.groups {
            for version in &group.versions {
                let rows = table.kinds.iter().filter(|row| {
                    row.group == group.group
                        && row.version == *version
                        && (row.default_on || all_versions)
                });
                for row in rows {
                    registry.add_group_version(&row.group, version);
                    let name = GroupResource::new(&row.plural, &row.group);
                    let served = Version {
                        name: version.clone(),
                        subresources: row.subresources.clone(),
                        root: Some(&row.root),
                        schema: None,
                    };
                    let resource = registry.resources.entry(name.clone()).or_insert_with(|| {
                        Arc::new(Resource {
                            name,
                            kind: row.kind.clone(),
                            list_kind: format!("{}List", row.kind),
                            singular: row.singular.clone(),
                            short_names: row.short_names.clone(),
                            categories: row.categories.clone(),
                            namespaced: row.namespaced,
                            verbs: row.verbs.clone(),
                            versions: Vec::new(),
                            custom: false,
                        })
                    });
                    Arc::make_mut(resource).versions.push(served);
                }
            }
        }
        registry
    }

    /// This registry and more resources; a resource that is known already stays as it is.
    pub(crate) fn with(&self, more: impl IntoIterator<Item = Resource>) -> Self {
        let mut registry = Self {
            groups: self.groups.clone(),
            resources: self.resources.clone(),
        };
        let known = registry.groups.len();
        for resource in more {
            if registry.resources.contains_key(&resource.name) {
                continue;
            }
            for version in &resource.versions {
                registry.add_group_version(&resource.name.group, &version.name);
            }
            registry
                .resources
                .insert(resource.name.clone(), Arc::new(resource));
        }
        registry.groups[known..].sort_by(|a, b| a.name.cmp(&b.name));
        for group in &mut registry.groups[known..] {
            group.versions.sort_by(|a, b| compare_versions(a, b));
        }
        registry
    }

    /// Only the resources for which `keep` holds, and the groups that have any.
    pub(crate) fn filtered(&self, keep: impl Fn(&Resource) -> bool) -> Self {
        let mut registry = Self::default();
        for group in &self.groups {
            for version in &group.versions {
                for resource in self
                    .in_version(&group.name, version)
                    .filter(|one| keep(one))
                {
                    registry.add_group_version(&group.name, version);
                    registry
                        .resources
                        .insert(resource.name.clone(), Arc::clone(resource));
                }
            }
        }
        registry
    }

    /// The same resources with these verbs only.
    pub(crate) fn with_verbs(mut self, verbs: &[&str]) -> Self {
        for resource in self.resources.values_mut() {
            let resource = Arc::make_mut(resource);
            resource.verbs = verbs.iter().map(|verb| (*verb).to_owned()).collect();
        }
        self
    }

    fn add_group_version(&mut self, group: &str, version: &str) {
        let at = self
            .groups
            .iter()
            .position(|one| one.name == group)
            .unwrap_or_else(|| {
                self.groups.push(Group {
                    name: group.to_owned(),
                    versions: Vec::new(),
                });
                self.groups.len() - 1
            });
        let versions = &mut self.groups[at].versions;
        if !versions.iter().any(|one| one == version) {
            versions.push(version.to_owned());
        }
    }

    /// Groups in the order of discovery; the core group is first and has the empty name.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// Resources that are served in a group's version, by name.
    pub(crate) fn in_version<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.resources
            .values()
            .filter(move |one| one.name.group == group && one.version(version).is_some())
    }

    pub(crate) fn get(&self, name: &GroupResource) -> Option<&Arc<Resource>> {
        self.resources.get(name)
    }

    pub(crate) fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.values()
    }
}
