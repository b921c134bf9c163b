//! Filters of single kinds and namespaces.

use std::collections::{BTreeMap, BTreeSet};

use super::{ResourceFilter, ResourcePolicies};
use crate::filter::{IncludesExcludes, LabelFilter};
use crate::glob::Glob;
use crate::meta::{LabelSelector, StringMap};

/// What the filters say of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken; the label selectors of the specification do not matter.
    Take,
    /// It is left out.
    Leave,
    /// No filter is about it: the specification decides.
    NoFilter,
}

/// The filters of policies, compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterPolicies {
    namespaces: Vec<(Vec<Glob>, Filters)>,
    cluster: Filters,
}

/// Filters by kind, in lower case, and the one for all other kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filters {
    by_kind: BTreeMap<String, Filter>,
    others: Option<Filter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    names: IncludesExcludes,
    labels: LabelFilter,
}

impl FilterPolicies {
    /// Compiles the filters.
    ///
    /// # Errors
    /// Everything that is wrong, one sentence each.
    pub fn compile(policies: &ResourcePolicies) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let mut seen = BTreeSet::new();
        let mut compiled = Self::default();
        for (position, policy) in (1..).zip(&policies.namespaced_filter_policies) {
            let at = format!("namespaced filter policy {position}");
            if policy.namespaces.is_empty() {
                errors.push(format!("{at}: it has no namespace"));
            }
            let mut globs = Vec::new();
            for pattern in &policy.namespaces {
                match Glob::new(pattern) {
                    Ok(glob) => globs.push(glob),
                    Err(error) => errors.push(format!("{at}: {error}")),
                }
                if !seen.insert(pattern) {
                    errors.push(format!("{at}: namespace `{pattern}` has a policy already"));
                }
            }
            let filters = Filters::compile(&at, &policy.resource_filters, &mut errors);
            compiled.namespaces.push((globs, filters));
        }
        if let Some(policy) = &policies.cluster_scoped_filter_policy {
            let at = "cluster-scoped filter policy";
            compiled.cluster = Filters::compile(at, &policy.resource_filters, &mut errors);
            if compiled.cluster.others.is_some() {
                errors.push(format!("{at}: every filter needs kinds"));
            }
        }
        if errors.is_empty() {
            Ok(compiled)
        } else {
            Err(errors)
        }
    }

    /// True when there is no filter at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty() && self.cluster == Filters::default()
    }

    /// What the filters say of an object. `names` are all names of its resource and kind; `namespace` is
    /// empty for a cluster-scoped one.
    ///
    /// A namespace belongs to the policy that names it, or else to the first whose pattern matches; what
    /// no filter of that policy is about is left out there.
    #[must_use]
    pub fn judge(
        &self,
        namespace: &str,
        names: &[&str],
        name: &str,
        labels: &StringMap,
    ) -> Verdict {
        let (filters, otherwise) = if namespace.is_empty() {
            (Some(&self.cluster), Verdict::NoFilter)
        } else {
            (self.policy_of(namespace), Verdict::Leave)
        };
        let Some(filters) = filters else {
            return Verdict::NoFilter;
        };
        let of_kind = names
            .iter()
            .find_map(|name| filters.by_kind.get(&name.to_ascii_lowercase()));
        match of_kind.or(filters.others.as_ref()) {
            None => otherwise,
            Some(filter) if filter.names.should_include(name) && filter.labels.matches(labels) => {
                Verdict::Take
            }
            Some(_) => Verdict::Leave,
        }
    }

    fn policy_of(&self, namespace: &str) -> Option<&Filters> {
        let named = self
            .namespaces
            .iter()
            .find(|(globs, _)| globs.iter().any(|glob| glob.as_str() == namespace));
        let matched = || {
            self.namespaces
                .iter()
                .find(|(globs, _)| globs.iter().any(|glob| glob.matches(namespace)))
        };
        named.or_else(matched).map(|(_, filters)| filters)
    }
}

impl Filters {
    fn compile(at: &str, filters: &[ResourceFilter], errors: &mut Vec<String>) -> Self {
        let mut compiled = Self::default();
        if filters.is_empty() {
            errors.push(format!("{at}: it has no resource filter"));
        }
        for (position, filter) in (1..).zip(filters) {
            let at = format!("{at}, filter {position}");
            let Some(one) = Filter::compile(&at, filter, errors) else {
                continue;
            };
            if matches!(filter.kinds.as_slice(), [] | [_]) && filter.kinds.iter().all(|k| k == "*")
            {
                if !(filter.names.is_empty() && filter.excluded_names.is_empty()) {
                    errors.push(format!("{at}: names need kinds"));
                }
                if compiled.others.replace(one).is_some() {
                    errors.push(format!(
                        "{at}: there is a filter for all other kinds already"
                    ));
                }
                continue;
            }
            for kind in filter.kinds.iter().filter(|kind| *kind != "*") {
                let key = kind.to_ascii_lowercase();
                if compiled.by_kind.insert(key, one.clone()).is_some() {
                    errors.push(format!("{at}: `{kind}` has a filter already"));
                }
            }
        }
        compiled
    }
}

impl Filter {
    fn compile(at: &str, filter: &ResourceFilter, errors: &mut Vec<String>) -> Option<Self> {
        // An empty selector is none, as in Velero.
        let one: Option<LabelSelector> = filter
            .label_selector
            .as_ref()
            .map(LabelSelector::from)
            .filter(|selector| *selector != LabelSelector::default());
        if one.is_some() && !filter.or_label_selectors.is_empty() {
            errors.push(format!(
                "{at}: labelSelector and orLabelSelectors are both given: use one of them"
            ));
        }
        let any: Vec<LabelSelector> = filter.or_label_selectors.iter().map(Into::into).collect();
        let labels = LabelFilter::new(one.as_ref(), &any)
            .map_err(|error| errors.push(format!("{at}: {error}")));
        let names = IncludesExcludes::new(&filter.names, &filter.excluded_names)
            .map_err(|error| errors.push(format!("{at}: {error}")));
        Some(Self {
            names: names.ok()?,
            labels: labels.ok()?,
        })
    }
}
