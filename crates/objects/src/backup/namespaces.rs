//! Which namespaces a backup covers, and whose Namespace objects it holds.

use std::collections::BTreeSet;

use salvor_api::filter::IncludesExcludes;
use salvor_api::meta::StringMap;
use serde::Deserialize;

/// A namespace as it stands in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LiveNamespace {
    pub(crate) name: String,
    pub(crate) labels: StringMap,
    pub(crate) active: bool,
}

impl LiveNamespace {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Meta,
            #[serde(default)]
            status: Status,
        }
        #[derive(Deserialize)]
        struct Meta {
            name: String,
            labels: Option<StringMap>,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Status {
            phase: String,
        }
        let object: Object = serde_json::from_slice(body).ok()?;
        Some(Self {
            name: object.metadata.name,
            labels: object.metadata.labels.unwrap_or_default(),
            // Old or simple servers leave the phase out.
            active: matches!(object.status.phase.as_str(), "Active" | ""),
        })
    }

    /// True when Argo CD keeps the namespace as its repository says.
    pub(crate) fn is_managed_by_argo_cd(&self) -> bool {
        self.labels.contains_key("argocd.argoproj.io/managed-by")
    }

    pub(crate) fn is_excluded_by_label(&self) -> bool {
        self.labels
            .get(salvor_api::labels::EXCLUDE_FROM_BACKUP)
            .is_some_and(|v| v == "true")
    }
}

/// The namespaces of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceScope {
    filter: IncludesExcludes,
    /// `None` when every namespace is meant, also one that appears meanwhile.
    selected: Option<BTreeSet<String>>,
    labelled: BTreeSet<String>,
    /// Namespaces that were named but are not there.
    pub(crate) missing: Vec<String>,
    live: usize,
}

/// More namespaces than this, and more than half of all, are read by one list of the whole cluster.
const LIST_EACH_UP_TO: usize = 50;

impl NamespaceScope {
    /// Patterns are matched with the namespaces that are active; plain names stand for themselves.
    pub(crate) fn resolve(filter: &IncludesExcludes, live: &[LiveNamespace]) -> Self {
        let labelled: BTreeSet<String> = live
            .iter()
            .filter(|n| n.is_excluded_by_label())
            .map(|n| n.name.clone())
            .collect();
        let exists = |name: &str| live.iter().any(|n| n.name == name);
        let literal = |name: &str| filter.literal_includes().any(|l| l == name);
        let missing = filter
            .literal_includes()
            .filter(|name| !exists(name) && !filter.is_excluded(name))
            .map(str::to_owned)
            .collect();
        let selected = (!filter.includes_everything()).then(|| {
            live.iter()
                .filter(|n| filter.should_include(&n.name) && !labelled.contains(&n.name))
                .filter(|n| n.active || literal(&n.name))
                .map(|n| n.name.clone())
                .collect()
        });
        Self {
            filter: filter.clone(),
            selected,
            labelled,
            missing,
            live: live.len(),
        }
    }

    /// Why objects of this namespace are left out; `None` when they are taken.
    pub(crate) fn why_not(&self, namespace: &str) -> Option<&'static str> {
        if self.labelled.contains(namespace) {
            return Some("its namespace has the label velero.io/exclude-from-backup=true");
        }
        match &self.selected {
            _ if self.filter.is_excluded(namespace) => Some("its namespace is excluded"),
            Some(selected) if !selected.contains(namespace) => {
                Some("its namespace is not included")
            }
            _ => None,
        }
    }

    /// The namespaces to list one by one; `None` when one list of the whole cluster is better.
    pub(crate) fn one_by_one(&self) -> Option<impl Iterator<Item = &str>> {
        let selected = self.selected.as_ref()?;
        let few = selected.len() <= LIST_EACH_UP_TO || selected.len() * 2 <= self.live;
        few.then(|| selected.iter().map(String::as_str))
    }

    /// Namespaces left out by their label, for the record in the backup's spec.
    pub(crate) fn labelled(&self) -> impl Iterator<Item = &str> {
        self.labelled.iter().map(String::as_str)
    }

    /// True when all namespaces are meant.
    pub(crate) fn is_everything(&self) -> bool {
        self.selected.is_none()
    }

    /// Why the Namespace object itself is left out; `None` when it is taken: its labels match the
    /// selector, or the filter names it, or something in it was taken.
    pub(crate) fn why_not_object(
        &self,
        namespace: &LiveNamespace,
        matches_selector: Option<bool>,
        holds_items: bool,
    ) -> Option<&'static str> {
        if let Some(reason) = self.why_not(&namespace.name) {
            return Some(reason);
        }
        if !namespace.active {
            return Some("it is being deleted");
        }
        let wanted = match matches_selector {
            None | Some(true) => true,
            Some(false) => holds_items || !self.is_everything(),
        };
        (!wanted).then_some("its labels do not match and nothing in it was taken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(name: &str, active: bool, excluded: bool) -> LiveNamespace {
        let mut labels = StringMap::new();
        if excluded {
            labels.insert("velero.io/exclude-from-backup".into(), "true".into());
        }
        LiveNamespace {
            name: name.into(),
            labels,
            active,
        }
    }

    fn scope(include: &[&str], exclude: &[&str]) -> NamespaceScope {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let filter = IncludesExcludes::new(&strings(include), &strings(exclude)).expect("valid");
        let live = [
            live("prod-a", true, false),
            live("prod-b", true, true),
            live("prod-gone", false, false),
            live("dev", true, false),
        ];
        NamespaceScope::resolve(&filter, &live)
    }

    fn taken(scope: &NamespaceScope) -> Vec<&'static str> {
        ["prod-a", "prod-b", "prod-gone", "dev", "new"]
            .into_iter()
            .filter(|n| scope.why_not(n).is_none())
            .collect()
    }

    #[test]
    fn names_patterns_labels_and_excludes_decide_together() {
        for (include, exclude, expected, missing) in [
            (
                vec![],
                vec![],
                vec!["prod-a", "prod-gone", "dev", "new"],
                vec![],
            ),
            (
                vec!["*"],
                vec!["dev"],
                vec!["prod-a", "prod-gone", "new"],
                vec![],
            ),
            (vec!["prod-*"], vec![], vec!["prod-a"], vec![]),
            (vec!["prod-gone"], vec![], vec!["prod-gone"], vec![]),
            (vec!["prod-b"], vec![], vec![], vec![]),
            (vec!["prod-*", "dev"], vec!["*-a"], vec!["dev"], vec![]),
            (vec!["dev", "lost"], vec![], vec!["dev"], vec!["lost"]),
            (vec!["lost-*"], vec![], vec![], vec![]),
        ] {
            let scope = scope(&include, &exclude);
            assert_eq!(taken(&scope), expected, "{include:?} {exclude:?}");
            assert_eq!(scope.missing, missing, "{include:?} {exclude:?}");
        }
    }

    #[test]
    fn namespace_objects_follow_selector_name_or_content() {
        let all = scope(&[], &[]);
        let named = scope(&["dev"], &[]);
        let dev = live("dev", true, false);
        for (scope, selector, items, taken) in [
            (&all, None, false, true),
            (&all, Some(true), false, true),
            (&all, Some(false), false, false),
            (&all, Some(false), true, true),
            (&named, Some(false), false, true),
        ] {
            assert_eq!(
                scope.why_not_object(&dev, selector, items).is_none(),
                taken,
                "{selector:?} {items}"
            );
        }
        assert!(
            all.why_not_object(&live("prod-gone", false, false), None, true)
                .is_some()
        );
        assert!(
            named
                .why_not_object(&live("prod-a", true, false), None, true)
                .is_some()
        );
    }
}
