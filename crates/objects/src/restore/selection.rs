//! Which objects of the backup a restore is about, as far as their names tell.

use std::collections::BTreeSet;

use salvor_api::filter::{Choice, IncludesExcludes, LabelFilter, RestoreFilter};
use salvor_api::resource::ObjectKey;
use salvor_api::velero::RestoreSpec;

use super::mapping::is_namespace;

/// The compiled filters of a restore.
#[derive(Clone, Debug)]
pub struct Selection {
    filter: RestoreFilter,
    resources: IncludesExcludes,
    include_cluster: Option<bool>,
    names: BTreeSet<String>,
    only: Option<BTreeSet<ObjectKey>>,
}

impl Selection {
    /// Compiles the filters of a spec. `names`, when not empty, keeps only objects of these names; `only`,
    /// when given, keeps exactly these objects whatever the filters say.
    ///
    /// # Errors
    /// Every rule that the spec breaks.
    pub fn compile(
        spec: &RestoreSpec,
        names: &[String],
        only: Option<BTreeSet<ObjectKey>>,
    ) -> Result<Self, Vec<String>> {
        let filter = RestoreFilter::compile(spec)?;
        let resources = IncludesExcludes::new(&spec.included_resources, &spec.excluded_resources)
            .map_err(|error| vec![error.to_string()])?;
        Ok(Self {
            filter,
            resources,
            include_cluster: spec.include_cluster_resources,
            names: names.iter().cloned().collect(),
            only,
        })
    }

    /// What the filters say about an object, before its labels are looked at. `resource_names` are all
    /// names by which its resource may be called.
    #[must_use]
    pub fn choose(&self, key: &ObjectKey, resource_names: &[&str]) -> Choice {
        if let Some(only) = &self.only {
            return if only.contains(key) {
                Choice::Take
            } else {
                Choice::Leave
            };
        }
        if !self.names.is_empty() && !self.names.contains(&key.name) {
            return Choice::Leave;
        }
        let listed = resource_names
            .iter()
            .any(|name| self.resources.should_include(name))
            && !resource_names
                .iter()
                .any(|name| self.resources.is_excluded(name));
        if let Some(namespace) = &key.namespace {
            let inside = self.filter.namespaces.should_include(namespace);
            return if inside {
                self.filter.resources.choose(true, resource_names)
            } else {
                Choice::Leave
            };
        }
        if is_namespace(key) {
            let inside = self.filter.namespaces.should_include(&key.name);
            return match (inside && listed, self.include_cluster) {
                (true, Some(true) | None) => Choice::Take,
                _ => Choice::Leave,
            };
        }
        match self.filter.resources.choose(false, resource_names) {
            Choice::RelatedOnly if !listed => Choice::Leave,
            choice => choice,
        }
    }

    /// The label filter; an exact list of objects has none.
    #[must_use]
    pub fn labels(&self) -> LabelFilter {
        match self.only {
            Some(_) => LabelFilter::default(),
            None => self.filter.labels.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn choose(spec: &RestoreSpec, names: &[&str], key: &str) -> Choice {
        let selection = Selection::compile(spec, &strings(names), None).expect("valid");
        let (resource, name) = key.split_once(' ').expect("resource name");
        let resource: salvor_api::resource::GroupResource = resource.parse().expect("a resource");
        let text = resource.to_string();
        let all_names = [text.as_str(), resource.resource.as_str()];
        let key = match name.split_once('/') {
            Some((namespace, name)) => ObjectKey::namespaced(resource.clone(), namespace, name),
            None => ObjectKey::cluster(resource.clone(), name),
        };
        selection.choose(&key, &all_names)
    }

    #[test]
    fn filters_choose_by_name() {
        let all = RestoreSpec::default();
        let prod = RestoreSpec {
            included_namespaces: strings(&["prod"]),
            ..RestoreSpec::default()
        };
        let pods = RestoreSpec {
            included_resources: strings(&["pods"]),
            ..RestoreSpec::default()
        };
        let no_cluster = RestoreSpec {
            include_cluster_resources: Some(false),
            ..RestoreSpec::default()
        };
        for (spec, names, key, expected) in [
            (&all, &[][..], "pods prod/web", Choice::Take),
            (&all, &["web"], "pods prod/web", Choice::Take),
            (&all, &["web"], "pods prod/db", Choice::Leave),
            (
                &all,
                &[],
                "clusterroles.rbac.authorization.k8s.io admin",
                Choice::Take,
            ),
            (&prod, &[], "pods dev/web", Choice::Leave),
            (&prod, &[], "namespaces prod", Choice::Take),
            (&prod, &[], "namespaces dev", Choice::Leave),
            (&prod, &[], "persistentvolumes pv", Choice::RelatedOnly),
            (&pods, &[], "configmaps prod/a", Choice::Leave),
            (&pods, &[], "namespaces prod", Choice::Leave),
            (&pods, &[], "persistentvolumes pv", Choice::Leave),
            (&no_cluster, &[], "persistentvolumes pv", Choice::Leave),
            (&no_cluster, &[], "namespaces prod", Choice::Leave),
        ] {
            assert_eq!(
                choose(spec, names, key),
                expected,
                "{key} {names:?} {spec:?}"
            );
        }
    }

    #[test]
    fn an_exact_list_beats_every_filter() {
        let key = ObjectKey::namespaced("pods".parse().expect("a resource"), "prod", "web");
        let spec = RestoreSpec {
            included_namespaces: strings(&["dev"]),
            ..RestoreSpec::default()
        };
        let selection = Selection::compile(&spec, &[], Some([key.clone()].into())).expect("valid");
        assert_eq!(selection.choose(&key, &["pods"]), Choice::Take);
        assert!(selection.labels().is_everything());
    }
}
