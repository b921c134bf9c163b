//! Resource policies: the ConfigMap that says how volumes are treated and, finer than a specification
//! can, which objects are taken.
//!
//! The ConfigMap has one key whose value is YAML; the caller makes JSON of it. Fields that are not known
//! are refused, since a mistyped condition would otherwise match everything.

mod filters;
mod volumes;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

pub use filters::{FilterPolicies, Verdict};
pub use volumes::{Action, ActionType, VolumeFacts};

use crate::filter::IncludesExcludes;
use crate::meta::{LabelSelector, LabelSelectorRequirement, StringMap};
use crate::velero::BackupSpec;

/// The policies as they are written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ResourcePolicies {
    /// Always `v1`.
    pub version: String,
    /// How volumes are treated: the first that matches.
    pub volume_policies: Vec<VolumePolicy>,
    /// Resources to take and to leave out, below what the backup itself says.
    pub include_exclude_policy: Option<IncludeExcludePolicy>,
    /// Which objects of single cluster-scoped kinds are taken (releases from 1.19).
    pub cluster_scoped_filter_policy: Option<ClusterScopedFilterPolicy>,
    /// Which objects of single namespaces are taken (releases from 1.19).
    pub namespaced_filter_policies: Vec<NamespacedFilterPolicy>,
}

/// What is done with volumes for which all conditions hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VolumePolicy {
    /// What must hold.
    pub conditions: Conditions,
    /// What is done.
    pub action: Action,
}

/// Conditions on a volume and its claim; those that are absent hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Conditions {
    /// Smallest and largest capacity, `10Gi,100Gi`; either may be left out.
    pub capacity: String,
    /// Any of these storage classes.
    pub storage_class: Vec<String>,
    /// An NFS volume, with this server and path when given.
    pub nfs: Option<Nfs>,
    /// A CSI volume, with this driver and these attributes when given.
    pub csi: Option<Csi>,
    /// Any of these kinds of source, such as `nfs` or `hostPath`.
    pub volume_types: Vec<String>,
    /// The claim has all of these labels.
    pub pvc_labels: StringMap,
    /// The claim is in any of these phases.
    pub pvc_phase: Vec<String>,
    /// The claim has this volume mode (releases from 1.19).
    pub pvc_volume_mode: String,
    /// The claim has exactly these access modes (releases from 1.19).
    pub pvc_access_modes: Vec<String>,
}

/// An NFS volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nfs {
    /// Its server; empty means any.
    pub server: String,
    /// Its path; empty means any.
    pub path: String,
}

/// A CSI volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Csi {
    /// Its driver; empty means any.
    pub driver: String,
    /// Attributes that it has.
    pub volume_attributes: StringMap,
}

/// The scoped filters, without `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct IncludeExcludePolicy {
    /// Cluster-scoped resources to take.
    pub included_cluster_scoped_resources: Vec<String>,
    /// Cluster-scoped resources to leave out.
    pub excluded_cluster_scoped_resources: Vec<String>,
    /// Namespaced resources to take.
    pub included_namespace_scoped_resources: Vec<String>,
    /// Namespaced resources to leave out.
    pub excluded_namespace_scoped_resources: Vec<String>,
}

/// Filters for cluster-scoped kinds; kinds without one follow the specification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ClusterScopedFilterPolicy {
    /// One filter for each set of kinds.
    pub resource_filters: Vec<ResourceFilter>,
}

/// Filters for namespaces; in them, nothing else is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NamespacedFilterPolicy {
    /// Names and patterns of namespaces.
    pub namespaces: Vec<String>,
    /// One filter for each set of kinds.
    pub resource_filters: Vec<ResourceFilter>,
}

/// Which objects of some kinds are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ResourceFilter {
    /// Kinds or resources; empty or `*` means those that no other filter names.
    pub kinds: Vec<String>,
    /// Labels that they must have.
    pub label_selector: Option<StrictSelector>,
    /// Any of these selectors.
    pub or_label_selectors: Vec<StrictSelector>,
    /// Patterns of names; empty means all.
    pub names: Vec<String>,
    /// Patterns of names that are left out.
    pub excluded_names: Vec<String>,
}

/// A label selector in which unknown fields are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct StrictSelector {
    /// Labels that must be equal.
    pub match_labels: StringMap,
    /// Requirements that must all hold.
    pub match_expressions: Vec<StrictRequirement>,
}

/// One requirement of a [`StrictSelector`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrictRequirement {
    /// Label key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Values for `In` and `NotIn`.
    pub values: Vec<String>,
}

impl From<&StrictSelector> for LabelSelector {
    fn from(strict: &StrictSelector) -> Self {
        let requirement = |strict: &StrictRequirement| LabelSelectorRequirement {
            key: strict.key.clone(),
            operator: strict.operator.clone(),
            values: strict.values.clone(),
        };
        Self {
            match_labels: strict.match_labels.clone(),
            match_expressions: strict.match_expressions.iter().map(requirement).collect(),
        }
    }
}

/// What policies are used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Everything applies.
    Backup,
    /// Only the filters of single kinds and namespaces may be there.
    Restore,
}

/// The one value of a ConfigMap's data.
///
/// # Errors
/// There is none, or there are several; the reason ends a sentence about the ConfigMap.
pub fn only_value(data: &BTreeMap<String, String>) -> Result<&str, String> {
    let mut values = data.values();
    match (values.next(), values.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(format!("it has {} keys, and one is needed", data.len())),
    }
}

/// Why policies that filter resources do not go with the older filters of a backup.
pub const NOT_WITH_OLD_FILTERS: &str = "includedResources, excludedResources and includeClusterResources \
     cannot be used together with resource policies that filter resources: use the scoped filters";

impl ResourcePolicies {
    /// True when they say which objects are taken, not only how volumes are treated.
    #[must_use]
    pub fn filter_resources(&self) -> bool {
        self.include_exclude_policy.is_some()
            || self.cluster_scoped_filter_policy.is_some()
            || !self.namespaced_filter_policies.is_empty()
    }

    /// Reads policies from JSON and checks them.
    ///
    /// # Errors
    /// Everything that is wrong, one sentence each; alone when the form itself is.
    pub fn read(json: Value, purpose: Use) -> Result<Self, Vec<String>> {
        let policies: Self = serde_json::from_value(json)
            .map_err(|error| vec![format!("it cannot be read: {error}")])?;
        let errors = policies.check(purpose);
        if errors.is_empty() {
            Ok(policies)
        } else {
            Err(errors)
        }
    }

    fn check(&self, purpose: Use) -> Vec<String> {
        let mut errors = Vec::new();
        if self.version != "v1" {
            errors.push(format!("version is `{}`: write v1", self.version));
        }
        for (position, policy) in (1..).zip(&self.volume_policies) {
            let wrong = volumes::check(policy);
            errors.extend(wrong.map(|wrong| format!("volume policy {position}: {wrong}")));
        }
        if let Some(policy) = &self.include_exclude_policy {
            policy.check(&mut errors);
        }
        if purpose == Use::Restore {
            if !self.volume_policies.is_empty() {
                errors.push("volumePolicies mean nothing for a restore".to_owned());
            }
            if self.include_exclude_policy.is_some() {
                errors.push("includeExcludePolicy means nothing for a restore".to_owned());
            }
        }
        if let Err(wrong) = FilterPolicies::compile(self) {
            errors.extend(wrong);
        }
        errors
    }
}

impl IncludeExcludePolicy {
    /// The scoped filters of `spec` with those of the policy below them: an entry of the policy counts only
    /// for resources that the specification neither includes nor excludes. `names` gives every name by which
    /// the resource of an entry may be called.
    #[must_use]
    pub fn below(&self, spec: &BackupSpec, names: impl Fn(&str) -> Vec<String>) -> BackupSpec {
        let mut whole = spec.clone();
        for (own, excludes, included, excluded) in [
            (
                &self.included_cluster_scoped_resources,
                &self.excluded_cluster_scoped_resources,
                &mut whole.included_cluster_scoped_resources,
                &mut whole.excluded_cluster_scoped_resources,
            ),
            (
                &self.included_namespace_scoped_resources,
                &self.excluded_namespace_scoped_resources,
                &mut whole.included_namespace_scoped_resources,
                &mut whole.excluded_namespace_scoped_resources,
            ),
        ] {
            // Patterns that cannot be read are refused when the specification is compiled.
            let said = IncludesExcludes::new(included, excluded).unwrap_or_default();
            let is_open = |entry: &&String| {
                !names(entry).iter().any(|name| {
                    said.is_excluded(name) || said.includes().iter().any(|glob| glob.matches(name))
                })
            };
            included.extend(own.iter().filter(is_open).cloned());
            excluded.extend(excludes.iter().filter(is_open).cloned());
        }
        whole
    }

    fn check(&self, errors: &mut Vec<String>) {
        for (includes, excludes) in [
            (
                &self.included_cluster_scoped_resources,
                &self.excluded_cluster_scoped_resources,
            ),
            (
                &self.included_namespace_scoped_resources,
                &self.excluded_namespace_scoped_resources,
            ),
        ] {
            if includes.iter().chain(excludes).any(|entry| entry == "*") {
                errors.push("includeExcludePolicy: `*` cannot be used here".to_owned());
            }
            for entry in includes.iter().filter(|entry| excludes.contains(entry)) {
                errors.push(format!(
                    "includeExcludePolicy: `{entry}` is both included and excluded"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
