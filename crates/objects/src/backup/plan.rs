//! What is listed, what is fetched by name when something refers to it, and what is left alone: discovery
//! and filters in, a table of resources out. Pure.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use salvor_api::filter::{BackupFilter, Choice, IncludesExcludes};
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::resource_policy::ResourcePolicies;
use salvor_api::velero::BackupSpec;
use salvor_cluster::{ApiResource, Discovery};

/// What happens to objects of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Listed, and all that pass the filters are taken.
    Listed,
    /// Fetched by name when a taken object refers to one.
    Referred,
    /// The Namespace objects, which have rules of their own.
    Namespaces,
    /// Not taken at all, for this reason.
    Left(&'static str),
}

/// One line of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedResource {
    pub(crate) resource: Arc<ApiResource>,
    pub(crate) reach: Reach,
}

/// The whole plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) resources: Vec<PlannedResource>,
    /// Objects that come first in the archive, in this order.
    pub(crate) ordered: Vec<(Arc<ApiResource>, ObjectKey)>,
    /// What the user should know: entries that name nothing.
    pub(crate) warnings: Vec<String>,
}

/// The same objects under two groups; whichever comes first in discovery counts.
const COHABITATING: &[(&str, &str, &str)] = &[
    ("deployments", "extensions", "apps"),
    ("daemonsets", "extensions", "apps"),
    ("replicasets", "extensions", "apps"),
    ("networkpolicies", "extensions", "networking.k8s.io"),
    // Velero stores these twice; a restore would only meet its own object.
    ("ingresses", "extensions", "networking.k8s.io"),
    ("events", "", "events.k8s.io"),
];

/// Snapshot objects belong to volume backups, which write them themselves.
const BY_VOLUMES_ONLY: &[&str] = &[
    "volumesnapshots.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
];

impl Plan {
    /// Makes the plan. `filter` is the compiled form of `spec`'s filters.
    pub(crate) fn new(discovery: &Discovery, spec: &BackupSpec, filter: &BackupFilter) -> Self {
        let mut plan = Self::default();
        let mut cohabitants: HashSet<&'static str> = HashSet::new();
        for resource in &discovery.resources {
            let mut reach = reach(resource, spec, filter);
            if reach == Reach::Listed
                && resource.preferred
                && let Some(shared) = cohabitating(resource)
                && !cohabitants.insert(shared)
            {
                reach = Reach::Left("its objects are taken under another group");
            }
            plan.resources.push(PlannedResource {
                resource: Arc::new(resource.clone()),
                reach,
            });
        }
        plan.warn_of_unknown_names(discovery, spec);
        plan.read_order(discovery, spec);
        plan
    }

    /// The line for a resource, in its preferred version.
    pub(crate) fn find(&self, resource: &GroupResource) -> Option<&PlannedResource> {
        self.resources.iter().find(|line| {
            line.resource.preferred
                && line.resource.resource == resource.resource
                && line.resource.group == resource.group
        })
    }

    fn warn_of_unknown_names(&mut self, discovery: &Discovery, spec: &BackupSpec) {
        let lists = [
            &spec.included_resources,
            &spec.included_cluster_scoped_resources,
            &spec.included_namespace_scoped_resources,
        ];
        for name in lists.into_iter().flatten() {
            let is_pattern = name.contains(['*', '?', '[']);
            if !is_pattern && discovery.resolve(name).is_none() {
                self.warnings.push(format!(
                    "the cluster has no resource `{name}`, which the backup includes"
                ));
            }
        }
    }

    /// Kinds that policies name and the cluster does not know: a filter for them takes nothing.
    pub(crate) fn warn_of_unknown_kinds(
        &mut self,
        discovery: &Discovery,
        policies: &ResourcePolicies,
    ) {
        let cluster = policies.cluster_scoped_filter_policy.iter();
        let filters = policies
            .namespaced_filter_policies
            .iter()
            .flat_map(|policy| &policy.resource_filters)
            .chain(cluster.flat_map(|policy| &policy.resource_filters));
        let kinds: BTreeSet<&String> = filters.flat_map(|filter| &filter.kinds).collect();
        for kind in kinds {
            if kind != "*" && discovery.resolve(kind).is_none() {
                self.warnings.push(format!(
                    "the cluster has no resource `{kind}`, which the resource policies name"
                ));
            }
        }
    }

    fn read_order(&mut self, discovery: &Discovery, spec: &BackupSpec) {
        for (name, list) in &spec.ordered_resources {
            let Some(resource) = discovery.resolve(name) else {
                self.warnings.push(format!(
                    "the cluster has no resource `{name}`, which orderedResources names"
                ));
                continue;
            };
            let resource = Arc::new(resource.clone());
            for entry in list.split(',').map(str::trim).filter(|e| !e.is_empty()) {
                let key = match (resource.namespaced, entry.split_once('/')) {
                    (true, Some((namespace, name))) => {
                        ObjectKey::namespaced(resource.group_resource(), namespace, name)
                    }
                    (false, None) => ObjectKey::cluster(resource.group_resource(), entry),
                    (namespaced, _) => {
                        let form = if namespaced {
                            "namespace/name"
                        } else {
                            "a name"
                        };
                        self.warnings.push(format!(
                            "orderedResources entry `{entry}` of `{name}` is ignored: it must be {form}"
                        ));
                        continue;
                    }
                };
                self.ordered.push((Arc::clone(&resource), key));
            }
        }
    }
}

fn reach(resource: &ApiResource, spec: &BackupSpec, filter: &BackupFilter) -> Reach {
    let full = resource.group_resource().to_string();
    if BY_VOLUMES_ONLY.contains(&full.as_str()) {
        return Reach::Left("volume backups write these objects themselves");
    }
    if !resource.is_for_backup() {
        return Reach::Left("it cannot be listed, read, created and deleted");
    }
    let names = resource.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if resource.group.is_empty() && resource.resource == "namespaces" {
        return if takes_namespace_objects(&names, spec) {
            Reach::Namespaces
        } else {
            Reach::Left("the resource filters leave it out")
        };
    }
    match filter.resources.choose(resource.namespaced, &names) {
        Choice::Take => Reach::Listed,
        Choice::RelatedOnly => Reach::Referred,
        Choice::Leave => Reach::Left("the resource filters leave it out"),
    }
}

/// Namespace objects are cluster-scoped but follow the namespace filter, so the switch for cluster-scoped
/// resources does not touch them; the lists of resources do.
fn takes_namespace_objects(names: &[&str], spec: &BackupSpec) -> bool {
    let allowed = |includes: &[String], excludes: &[String]| {
        IncludesExcludes::new(includes, excludes).is_ok_and(|lists| {
            names.iter().any(|n| lists.should_include(n))
                && !names.iter().any(|n| lists.is_excluded(n))
        })
    };
    if spec.uses_scoped_filters() {
        allowed(&[], &spec.excluded_cluster_scoped_resources)
    } else {
        allowed(&spec.included_resources, &spec.excluded_resources)
    }
}

fn cohabitating(resource: &ApiResource) -> Option<&'static str> {
    COHABITATING
        .iter()
        .find(|(name, a, b)| {
            resource.resource == *name && (resource.group == *a || resource.group == *b)
        })
        .map(|(name, ..)| *name)
}

/// True when the spec's lists keep this resource out by name, whatever the switch for cluster-scoped
/// resources says.
pub(crate) fn is_excluded_by_name(resource: &ApiResource, spec: &BackupSpec) -> bool {
    let names = resource.names();
    let scoped = if resource.namespaced {
        &spec.excluded_namespace_scoped_resources
    } else {
        &spec.excluded_cluster_scoped_resources
    };
    [&spec.excluded_resources, scoped].into_iter().any(|list| {
        IncludesExcludes::new(&[], list)
            .is_ok_and(|lists| names.iter().any(|name| lists.is_excluded(name)))
    })
}

/// True when a group that discovery could not read may hold something that the backup should have.
pub(crate) fn failure_matters(
    group_version: &str,
    spec: &BackupSpec,
    discovery: &Discovery,
) -> bool {
    // Metrics are computed on demand; nothing in these groups can be restored.
    let group = group_version.split('/').next().unwrap_or_default();
    if group == "metrics.k8s.io" || group.ends_with(".metrics.k8s.io") {
        return false;
    }
    let includes: Vec<&String> = if spec.uses_scoped_filters() {
        if spec.included_namespace_scoped_resources.is_empty() {
            return true;
        }
        spec.included_namespace_scoped_resources
            .iter()
            .chain(&spec.included_cluster_scoped_resources)
            .collect()
    } else {
        spec.included_resources.iter().collect()
    };
    includes.is_empty()
        || includes
            .iter()
            .any(|name| discovery.resolve(name).is_none())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn discovery() -> Discovery {
        let known = |group: &str, kind: &str, plural: &str, namespaced| {
            ApiResource::known(group, "v1", kind, plural, namespaced)
        };
        let mut metrics = known("metrics.k8s.io", "PodMetrics", "pods", true);
        metrics.verbs = vec!["get".into(), "list".into()];
        Discovery {
            resources: vec![
                known("", "Pod", "pods", true),
                known("", "Event", "events", true),
                known("", "Namespace", "namespaces", false),
                known("", "PersistentVolume", "persistentvolumes", false),
                known("apps", "Deployment", "deployments", true),
                known("events.k8s.io", "Event", "events", true),
                known(
                    "rbac.authorization.k8s.io",
                    "ClusterRole",
                    "clusterroles",
                    false,
                ),
                known(
                    "snapshot.storage.k8s.io",
                    "VolumeSnapshot",
                    "volumesnapshots",
                    true,
                ),
                metrics,
                known("extensions", "Deployment", "deployments", true),
            ],
            failures: Vec::new(),
        }
    }

    fn check(spec: BackupSpec, expected: &Expect) {
        let filter = BackupFilter::compile(&spec).expect("valid filters");
        let plan = Plan::new(&discovery(), &spec, &filter);
        let mut text = String::new();
        for line in &plan.resources {
            let reach = match line.reach {
                Reach::Listed => "listed".to_owned(),
                Reach::Referred => "referred".to_owned(),
                Reach::Namespaces => "namespaces".to_owned(),
                Reach::Left(why) => format!("left: {why}"),
            };
            text.push_str(&format!("{} {reach}\n", line.resource.group_resource()));
        }
        for (_, key) in &plan.ordered {
            text.push_str(&format!("first {key}\n"));
        }
        for warning in &plan.warnings {
            text.push_str(&format!("warning {warning}\n"));
        }
        expected.assert_eq(&text);
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn everything_is_listed_once_without_filters() {
        check(
            BackupSpec::default(),
            &expect![[r#"
                pods listed
                events listed
                namespaces namespaces
                persistentvolumes listed
                deployments.apps listed
                events.events.k8s.io left: its objects are taken under another group
                clusterroles.rbac.authorization.k8s.io listed
                volumesnapshots.snapshot.storage.k8s.io left: volume backups write these objects themselves
                pods.metrics.k8s.io left: it cannot be listed, read, created and deleted
                deployments.extensions left: its objects are taken under another group
            "#]],
        );
    }

    #[test]
    fn a_namespace_filter_leaves_cluster_scoped_objects_to_references() {
        check(
            BackupSpec {
                included_namespaces: strings(&["a"]),
                excluded_resources: strings(&["events*", "cr.rbac.authorization.k8s.io"]),
                ordered_resources: [
                    ("po".to_owned(), "a/x, a/y,z".to_owned()),
                    ("pods".to_owned(), "a/x, a/y,z".to_owned()),
                ]
                .into(),
                ..BackupSpec::default()
            },
            &expect![[r#"
                pods listed
                events left: the resource filters leave it out
                namespaces namespaces
                persistentvolumes referred
                deployments.apps listed
                events.events.k8s.io left: the resource filters leave it out
                clusterroles.rbac.authorization.k8s.io referred
                volumesnapshots.snapshot.storage.k8s.io left: volume backups write these objects themselves
                pods.metrics.k8s.io left: it cannot be listed, read, created and deleted
                deployments.extensions left: its objects are taken under another group
                first pods a/x
                first pods a/y
                warning the cluster has no resource `po`, which orderedResources names
                warning orderedResources entry `z` of `pods` is ignored: it must be namespace/name
            "#]],
        );
    }

    #[test]
    fn no_cluster_resources_still_takes_namespace_objects_and_one_name_excludes_them() {
        check(
            BackupSpec {
                include_cluster_resources: Some(false),
                included_resources: strings(&["deployment", "lost", "namespaces"]),
                ..BackupSpec::default()
            },
            &expect![[r#"
                pods left: the resource filters leave it out
                events left: the resource filters leave it out
                namespaces namespaces
                persistentvolumes left: the resource filters leave it out
                deployments.apps listed
                events.events.k8s.io left: the resource filters leave it out
                clusterroles.rbac.authorization.k8s.io left: the resource filters leave it out
                volumesnapshots.snapshot.storage.k8s.io left: volume backups write these objects themselves
                pods.metrics.k8s.io left: it cannot be listed, read, created and deleted
                deployments.extensions left: its objects are taken under another group
                warning the cluster has no resource `lost`, which the backup includes
            "#]],
        );
        let spec = BackupSpec {
            excluded_cluster_scoped_resources: strings(&["namespaces"]),
            ..BackupSpec::default()
        };
        let filter = BackupFilter::compile(&spec).expect("valid");
        let plan = Plan::new(&discovery(), &spec, &filter);
        let namespaces = plan
            .find(&GroupResource::new("namespaces", ""))
            .expect("planned");
        assert!(matches!(namespaces.reach, Reach::Left(_)));
        assert!(is_excluded_by_name(&namespaces.resource, &spec));
    }

    #[test]
    fn an_unreadable_group_matters_unless_all_that_is_wanted_was_found() {
        let only = |names: &[&str]| BackupSpec {
            included_resources: strings(names),
            ..BackupSpec::default()
        };
        for (group, spec, matters) in [
            ("x.io/v1", BackupSpec::default(), true),
            ("metrics.k8s.io/v1beta1", BackupSpec::default(), false),
            ("custom.metrics.k8s.io/v1", BackupSpec::default(), false),
            ("x.io/v1", only(&["pods"]), false),
            ("x.io/v1", only(&["pods", "widgets"]), true),
        ] {
            assert_eq!(
                failure_matters(group, &spec, &discovery()),
                matters,
                "{group}"
            );
        }
    }
}
