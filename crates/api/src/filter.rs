//! What a backup or restore selects: namespaces, resources, labels.
//!
//! Two generations of filters exist in Velero and may not be mixed: the old ones (`includedResources`,
//! `excludedResources`, `includeClusterResources`) and the scoped ones (four lists). Both compile to a
//! [`ResourceFilter`], which answers the only question that a collector has: is this resource taken, left
//! out, or taken only when something that is taken refers to it.

use crate::glob::{Glob, GlobError};
use crate::meta::{LabelSelector, StringMap};
use crate::selector::{Selector, SelectorError};
use crate::velero::{BackupSpec, RestoreSpec};

/// Include and exclude patterns; excludes win; an empty include list means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncludesExcludes {
    includes: Vec<Glob>,
    excludes: Vec<Glob>,
}

impl IncludesExcludes {
    /// Compiles both lists.
    ///
    /// # Errors
    /// The first pattern that is not valid.
    pub fn new(includes: &[String], excludes: &[String]) -> Result<Self, GlobError> {
        let compile = |list: &[String]| {
            list.iter()
                .map(|p| Glob::new(p))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            includes: compile(includes)?,
            excludes: compile(excludes)?,
        })
    }

    /// True when `name` is included and not excluded.
    #[must_use]
    pub fn should_include(&self, name: &str) -> bool {
        (self.includes.is_empty() || self.includes.iter().any(|glob| glob.matches(name)))
            && !self.is_excluded(name)
    }

    /// True when an exclude pattern matches.
    #[must_use]
    pub fn is_excluded(&self, name: &str) -> bool {
        self.excludes.iter().any(|glob| glob.matches(name))
    }

    /// True when an include pattern other than `*` matches.
    #[must_use]
    pub fn names_explicitly(&self, name: &str) -> bool {
        self.includes
            .iter()
            .any(|glob| !glob.is_everything() && glob.matches(name))
    }

    /// True when nothing narrows the choice: no includes (or `*`) and no excludes.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.includes_everything() && self.excludes.is_empty()
    }

    /// True when the include list is empty or has `*`.
    #[must_use]
    pub fn includes_everything(&self) -> bool {
        self.includes.is_empty() || self.includes.iter().any(Glob::is_everything)
    }

    /// The include patterns that are plain names.
    pub fn literal_includes(&self) -> impl Iterator<Item = &str> {
        self.includes
            .iter()
            .filter(|glob| glob.is_literal())
            .map(Glob::as_str)
    }

    /// The include patterns.
    #[must_use]
    pub fn includes(&self) -> &[Glob] {
        &self.includes
    }

    /// The exclude patterns.
    #[must_use]
    pub fn excludes(&self) -> &[Glob] {
        &self.excludes
    }
}

/// What happens to objects of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// All that the other filters let through.
    Take,
    /// Only those that a taken object refers to.
    RelatedOnly,
    /// None, not even related ones.
    Leave,
}

/// Compiled resource filters of either generation.
///
/// Resource patterns are compared with every name by which a resource may be called: callers pass all of
/// them (`deployments`, `deployments.apps`, `deployment`, `deploy`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceFilter {
    namespaced: IncludesExcludes,
    cluster: ClusterRule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum ClusterRule {
    /// Old filters: one list for both scopes and a switch.
    Old {
        resources: IncludesExcludes,
        include: Option<bool>,
        all_namespaces: bool,
    },
    /// Scoped filters.
    Scoped {
        lists: IncludesExcludes,
        by_default: Choice,
    },
}

impl ResourceFilter {
    /// What happens to a resource known by these names.
    #[must_use]
    pub fn choose(&self, namespaced: bool, names: &[&str]) -> Choice {
        let any = |globs: &[Glob]| {
            names
                .iter()
                .any(|name| globs.iter().any(|g| g.matches(name)))
        };
        let excluded = |lists: &IncludesExcludes| any(&lists.excludes);
        let included = |lists: &IncludesExcludes| {
            (lists.includes.is_empty() || any(&lists.includes)) && !excluded(lists)
        };
        if namespaced {
            return if included(&self.namespaced) {
                Choice::Take
            } else {
                Choice::Leave
            };
        }
        match &self.cluster {
            ClusterRule::Old {
                resources,
                include,
                all_namespaces,
            } => match include {
                Some(false) => Choice::Leave,
                _ if excluded(resources) => Choice::Leave,
                Some(true) if included(resources) => Choice::Take,
                Some(true) => Choice::RelatedOnly,
                // Namespaces are asked for by namespace filters, not by this rule.
                None if *all_namespaces && included(resources) => Choice::Take,
                None => Choice::RelatedOnly,
            },
            ClusterRule::Scoped { lists, by_default } => {
                if excluded(lists) {
                    Choice::Leave
                } else if lists.includes.is_empty() {
                    *by_default
                } else if included(lists) {
                    Choice::Take
                } else {
                    Choice::RelatedOnly
                }
            }
        }
    }
}

/// Labels of an object against the selectors of a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelFilter {
    any_of: Vec<Selector>,
}

impl LabelFilter {
    /// Compiles `labelSelector` or `orLabelSelectors`.
    ///
    /// # Errors
    /// A selector that is not valid.
    pub fn new(one: Option<&LabelSelector>, any: &[LabelSelector]) -> Result<Self, SelectorError> {
        let any_of = one
            .into_iter()
            .chain(any)
            .map(Selector::compile)
            .collect::<Result<Vec<_>, _>>()?;
        // One that matches everything leaves nothing for the others to add.
        if any_of.iter().any(Selector::is_empty) {
            return Ok(Self::default());
        }
        Ok(Self { any_of })
    }

    /// True when no selector is set or one of them matches.
    #[must_use]
    pub fn matches(&self, labels: &StringMap) -> bool {
        self.any_of.is_empty() || self.any_of.iter().any(|selector| selector.matches(labels))
    }

    /// True when nothing is selected by label.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.any_of.is_empty()
    }

    /// The selectors, for asking a server; a listing per selector, or one without when empty.
    #[must_use]
    pub fn selectors(&self) -> &[Selector] {
        &self.any_of
    }
}

/// All filters of a backup, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFilter {
    /// Which namespaces.
    pub namespaces: IncludesExcludes,
    /// Which resources.
    pub resources: ResourceFilter,
    /// Which labels.
    pub labels: LabelFilter,
}

impl BackupFilter {
    /// Compiles a spec's filters.
    ///
    /// # Errors
    /// Every rule that is broken: these are the validation errors of a backup.
    pub fn compile(spec: &BackupSpec) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        if spec.uses_scoped_filters() && spec.uses_old_filters() {
            errors.push(
                "includedResources, excludedResources and includeClusterResources are the older filters: \
                 they cannot stand beside the scoped ones (included and excluded cluster-scoped and \
                 namespace-scoped resources)"
                    .to_owned(),
            );
        }
        check_lists(
            "namespaces",
            &spec.included_namespaces,
            &spec.excluded_namespaces,
            &mut errors,
        );
        check_lists(
            "resources",
            &spec.included_resources,
            &spec.excluded_resources,
            &mut errors,
        );
        check_lists(
            "cluster-scoped resources",
            &spec.included_cluster_scoped_resources,
            &spec.excluded_cluster_scoped_resources,
            &mut errors,
        );
        check_lists(
            "namespace-scoped resources",
            &spec.included_namespace_scoped_resources,
            &spec.excluded_namespace_scoped_resources,
            &mut errors,
        );
        for (what, list) in [
            ("namespaces", &spec.excluded_namespaces),
            ("resources", &spec.excluded_resources),
        ] {
            if list.iter().any(|entry| entry == "*") {
                errors.push(format!("excluded {what}: `*` would leave nothing"));
            }
        }
        if spec.label_selector.is_some() && !spec.or_label_selectors.is_empty() {
            errors.push(
                "labelSelector and orLabelSelectors are both given: use one of them".to_owned(),
            );
        }
        let namespaces = lists(
            &spec.included_namespaces,
            &spec.excluded_namespaces,
            &mut errors,
        );
        let labels = LabelFilter::new(spec.label_selector.as_ref(), &spec.or_label_selectors)
            .unwrap_or_else(|error| {
                errors.push(error.to_string());
                LabelFilter::default()
            });
        let resources = if spec.uses_scoped_filters() {
            let cluster = lists(
                &spec.included_cluster_scoped_resources,
                &spec.excluded_cluster_scoped_resources,
                &mut errors,
            );
            let namespaced = lists(
                &spec.included_namespace_scoped_resources,
                &spec.excluded_namespace_scoped_resources,
                &mut errors,
            );
            let any_cluster_filter = !spec.included_cluster_scoped_resources.is_empty()
                || !spec.excluded_cluster_scoped_resources.is_empty();
            let everything =
                namespaces.is_everything() && namespaced.is_everything() && labels.is_everything();
            let by_default = if everything && !any_cluster_filter {
                Choice::Take
            } else {
                Choice::RelatedOnly
            };
            ResourceFilter {
                namespaced,
                cluster: ClusterRule::Scoped {
                    lists: cluster,
                    by_default,
                },
            }
        } else {
            old_filter(
                lists(
                    &spec.included_resources,
                    &spec.excluded_resources,
                    &mut errors,
                ),
                spec.include_cluster_resources,
                &namespaces,
            )
        };
        if errors.is_empty() {
            Ok(Self {
                namespaces,
                resources,
                labels,
            })
        } else {
            Err(errors)
        }
    }
}

/// All filters of a restore, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreFilter {
    /// Which namespaces of the backup.
    pub namespaces: IncludesExcludes,
    /// Which resources.
    pub resources: ResourceFilter,
    /// Which labels.
    pub labels: LabelFilter,
}

/// Resources that a restore never touches; naming one is an error.
pub const NON_RESTORABLE: &[&str] = &[
    "nodes",
    "events",
    "events.events.k8s.io",
    "backups.velero.io",
    "restores.velero.io",
    "resticrepositories.velero.io",
    "backuprepositories.velero.io",
    "csinodes.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
];

impl RestoreFilter {
    /// Compiles a spec's filters.
    ///
    /// # Errors
    /// Every rule that is broken: these are the validation errors of a restore.
    pub fn compile(spec: &RestoreSpec) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        check_lists(
            "namespaces",
            &spec.included_namespaces,
            &spec.excluded_namespaces,
            &mut errors,
        );
        check_lists(
            "resources",
            &spec.included_resources,
            &spec.excluded_resources,
            &mut errors,
        );
        for resource in &spec.included_resources {
            if NON_RESTORABLE.contains(&resource.as_str()) {
                errors.push(format!(
                    "{resource} are never restored: take them out of includedResources"
                ));
            }
        }
        if spec.label_selector.is_some() && !spec.or_label_selectors.is_empty() {
            errors.push(
                "labelSelector and orLabelSelectors are both given: use one of them".to_owned(),
            );
        }
        let namespaces = lists(
            &spec.included_namespaces,
            &spec.excluded_namespaces,
            &mut errors,
        );
        let labels = LabelFilter::new(spec.label_selector.as_ref(), &spec.or_label_selectors)
            .unwrap_or_else(|error| {
                errors.push(error.to_string());
                LabelFilter::default()
            });
        let resources = old_filter(
            lists(
                &spec.included_resources,
                &spec.excluded_resources,
                &mut errors,
            ),
            spec.include_cluster_resources,
            &namespaces,
        );
        if errors.is_empty() {
            Ok(Self {
                namespaces,
                resources,
                labels,
            })
        } else {
            Err(errors)
        }
    }
}

fn old_filter(
    resources: IncludesExcludes,
    include: Option<bool>,
    namespaces: &IncludesExcludes,
) -> ResourceFilter {
    ResourceFilter {
        namespaced: resources.clone(),
        cluster: ClusterRule::Old {
            resources,
            include,
            all_namespaces: namespaces.is_everything(),
        },
    }
}

fn lists(includes: &[String], excludes: &[String], errors: &mut Vec<String>) -> IncludesExcludes {
    IncludesExcludes::new(includes, excludes).unwrap_or_else(|error| {
        errors.push(error.to_string());
        IncludesExcludes::default()
    })
}

fn check_lists(what: &str, includes: &[String], excludes: &[String], errors: &mut Vec<String>) {
    if includes.len() > 1 && includes.iter().any(|entry| entry == "*") {
        errors.push(format!("included {what}: `*` must be the only entry"));
    }
    for entry in includes
        .iter()
        .filter(|entry| *entry != "*" && excludes.contains(entry))
    {
        errors.push(format!("{what}: `{entry}` is both included and excluded"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn excludes_beat_includes() {
        let filter =
            IncludesExcludes::new(&strings(&["prod-*"]), &strings(&["prod-x"])).expect("valid");
        assert!(filter.should_include("prod-a"));
        assert!(!filter.should_include("prod-x"));
        assert!(!filter.should_include("dev"));
    }

    #[test]
    fn old_filters_decide_cluster_scope_by_switch_and_namespaces() {
        for (namespaces, include, resources, name, expected) in [
            (vec![], None, vec![], "clusterroles", Choice::Take),
            (vec!["a"], None, vec![], "clusterroles", Choice::RelatedOnly),
            (vec!["a"], Some(true), vec![], "clusterroles", Choice::Take),
            (vec![], Some(false), vec![], "clusterroles", Choice::Leave),
            (
                vec![],
                Some(true),
                vec!["pods"],
                "clusterroles",
                Choice::RelatedOnly,
            ),
            (
                vec!["*"],
                None,
                vec!["clusterroles"],
                "clusterroles",
                Choice::Take,
            ),
        ] {
            let spec = BackupSpec {
                included_namespaces: strings(&namespaces),
                include_cluster_resources: include,
                included_resources: strings(&resources),
                ..BackupSpec::default()
            };
            let filter = BackupFilter::compile(&spec).expect("valid");
            assert_eq!(
                filter.resources.choose(false, &[name]),
                expected,
                "{namespaces:?} {include:?} {resources:?}"
            );
        }
    }

    #[test]
    fn scoped_filters_default_to_related() {
        let spec = BackupSpec {
            included_cluster_scoped_resources: strings(&["storageclasses"]),
            excluded_namespace_scoped_resources: strings(&["secrets"]),
            ..BackupSpec::default()
        };
        let filter = BackupFilter::compile(&spec).expect("valid");
        assert_eq!(
            filter.resources.choose(false, &["storageclasses", "sc"]),
            Choice::Take
        );
        assert_eq!(
            filter.resources.choose(false, &["clusterroles"]),
            Choice::RelatedOnly
        );
        assert_eq!(filter.resources.choose(true, &["secrets"]), Choice::Leave);
        assert_eq!(filter.resources.choose(true, &["pods", "po"]), Choice::Take);
    }

    #[test]
    fn scoped_filters_that_narrow_nothing_take_the_cluster_too() {
        for (included, excluded, expected) in [
            (vec!["*"], vec![], Choice::Take),
            (vec!["pods"], vec![], Choice::RelatedOnly),
            (vec!["*"], vec!["x"], Choice::RelatedOnly),
        ] {
            let spec = BackupSpec {
                included_namespace_scoped_resources: strings(&included),
                excluded_namespaces: strings(&excluded),
                ..BackupSpec::default()
            };
            let filter = BackupFilter::compile(&spec).expect("valid");
            assert_eq!(
                filter.resources.choose(false, &["clusterroles"]),
                expected,
                "{included:?} without {excluded:?}"
            );
        }
    }

    #[test]
    fn an_empty_selector_among_several_selects_everything() {
        let one = |key: &str| LabelSelector {
            match_labels: [(key.to_owned(), "x".to_owned())].into(),
            ..LabelSelector::default()
        };
        let filter = LabelFilter::new(None, &[one("a"), LabelSelector::default()]).expect("valid");
        assert!(filter.matches(&StringMap::new()) && filter.is_everything());
        let filter = LabelFilter::new(None, &[one("a"), one("b")]).expect("valid");
        assert!(!filter.matches(&StringMap::new()));
        assert!(filter.matches(&StringMap::from([("b".into(), "x".into())])));
    }

    #[test]
    fn every_broken_rule_is_named() {
        let spec = BackupSpec {
            included_namespaces: strings(&["*", "a"]),
            excluded_namespaces: strings(&["a", "*"]),
            included_resources: strings(&["pods"]),
            included_cluster_scoped_resources: strings(&["nodes"]),
            label_selector: Some(LabelSelector::default()),
            or_label_selectors: vec![LabelSelector::default()],
            excluded_resources: strings(&["a|b"]),
            ..BackupSpec::default()
        };
        let errors = BackupFilter::compile(&spec).expect_err("five rules are broken");
        assert_eq!(errors.len(), 5, "{errors:#?}");
    }

    #[test]
    fn non_restorable_resources_may_not_be_named() {
        let spec = RestoreSpec {
            included_resources: strings(&["nodes"]),
            ..RestoreSpec::default()
        };
        assert_eq!(RestoreFilter::compile(&spec).expect_err("refused").len(), 1);
    }
}
