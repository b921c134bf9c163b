//! Which API version an object is restored in: one that the backup holds and the target serves, or one
//! that it can be converted to by rule.
//!
//! The order of preference is Velero's: the user's list, the target's preferred version, the source's
//! preferred version, the highest version that both know. What is served is the target's discovery plus
//! what the definitions in the backup will add. Where nothing is common, built-in kinds are converted by
//! a table of removed versions ([`convert`]); the rest is blocked, with the version that it needs.

pub mod convert;

use std::collections::BTreeMap;

use salvor_api::resource::{GroupResource, GroupVersion, compare_versions};
use serde_json::Value;

use super::body;
use convert::Conversion;

/// One resource as the target serves it, or will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedResource {
    /// Versions, the preferred one first.
    pub versions: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// All names by which filters may call it.
    pub names: Vec<String>,
    /// Whether it has a status endpoint.
    pub has_status: bool,
    /// Whether it is served already; otherwise a definition of the backup brings it.
    pub present: bool,
}

/// Everything that the target serves, or will once the definitions of the backup stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// By group and plural.
    pub resources: BTreeMap<GroupResource, ServedResource>,
}

/// How an object reaches a version that the target serves.
#[derive(Clone, Copy, Debug)]
pub enum Route {
    /// As it is.
    Direct,
    /// Through the table of removed versions.
    Convert(&'static Conversion),
}

/// Why no version fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVersion {
    /// The resource is not served at all.
    #[error("the target has no {resource}; it needs {group_version}")]
    NoResource {
        /// The resource.
        resource: GroupResource,
        /// The version of the object.
        group_version: GroupVersion,
    },
    /// The resource is served in other versions only.
    #[error("needs {resource} in {group_version}; the target serves it in {served}")]
    NotServed {
        /// The resource.
        resource: GroupResource,
        /// The version of the object.
        group_version: GroupVersion,
        /// What the target has, joined by commas.
        served: String,
    },
}

impl Serving {
    /// Adds what a definition of the backup will serve.
    pub fn add_definition(&mut self, crd: &Value) {
        let group = body::text_at(crd, &["spec", "group"]);
        let names = |field| body::text_at(crd, &["spec", "names", field]).to_owned();
        let plural = names("plural");
        if group.is_empty() || plural.is_empty() {
            return;
        }
        let resource = GroupResource::new(plural.clone(), group);
        let listed = body::list_at(crd, &["spec", "versions"]);
        let mut versions: Vec<String> = listed
            .iter()
            .filter(|version| version.get("served") != Some(&Value::Bool(false)))
            .map(|version| body::text_at(version, &["name"]).to_owned())
            .collect();
        let single = body::text_at(crd, &["spec", "version"]);
        if versions.is_empty() && !single.is_empty() {
            versions.push(single.to_owned());
        }
        versions.sort_by(|a, b| compare_versions(a, b));
        let mut all_names = vec![
            resource.to_string(),
            plural,
            names("singular"),
            names("kind").to_lowercase(),
        ];
        all_names.extend(
            body::list_at(crd, &["spec", "names", "shortNames"])
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned)),
        );
        all_names.retain(|name| !name.is_empty());
        let has_status = body::at(crd, &["spec", "subresources", "status"]).is_some()
            || listed
                .iter()
                .any(|version| body::at(version, &["subresources", "status"]).is_some());
        self.resources.entry(resource).or_insert(ServedResource {
            versions,
            namespaced: body::text_at(crd, &["spec", "scope"]) == "Namespaced",
            names: all_names,
            has_status,
            present: false,
        });
    }

    /// The resource, when it is or will be served.
    #[must_use]
    pub fn get(&self, resource: &GroupResource) -> Option<&ServedResource> {
        self.resources.get(resource)
    }

    fn serves(&self, resource: &GroupResource, version: &str) -> bool {
        self.get(resource)
            .is_some_and(|served| served.versions.iter().any(|v| v == version))
    }

    /// The best of the versions that the backup holds, or `None` when the target serves none of them.
    /// `held` has the source's preferred version first; `wanted` is the user's order.
    #[must_use]
    pub fn choose<'a>(
        &self,
        resource: &GroupResource,
        held: &'a [String],
        wanted: &[String],
    ) -> Option<&'a str> {
        let served = self.get(resource)?;
        let common = |version: &str| {
            held.iter()
                .find(|h| *h == version)
                .filter(|h| served.versions.contains(*h))
                .map(String::as_str)
        };
        let mut rest: Vec<&String> = held.iter().collect();
        rest.sort_by(|a, b| compare_versions(a, b));
        wanted
            .iter()
            .chain(served.versions.first())
            .chain(held.first())
            .chain(rest)
            .find_map(|version| common(version))
    }

    /// How an object in `group_version` reaches the target.
    ///
    /// # Errors
    /// No served version is reachable.
    pub fn route(
        &self,
        resource: &GroupResource,
        group_version: &GroupVersion,
    ) -> Result<Route, NoVersion> {
        if self.serves(resource, &group_version.version) {
            return Ok(Route::Direct);
        }
        if let Some(conversion) = convert::table().iter().find(|conversion| {
            conversion.accepts(resource, group_version)
                && self.serves(&conversion.target_resource(), conversion.to.1)
        }) {
            return Ok(Route::Convert(conversion));
        }
        match self.get(resource) {
            Some(served) => Err(NoVersion::NotServed {
                resource: resource.clone(),
                group_version: group_version.clone(),
                served: served.versions.join(", "),
            }),
            None => Err(NoVersion::NoResource {
                resource: resource.clone(),
                group_version: group_version.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn serving(list: &[(&str, &[&str])]) -> Serving {
        Serving {
            resources: list
                .iter()
                .map(|(resource, versions)| {
                    let served = ServedResource {
                        versions: versions.iter().map(|v| (*v).to_owned()).collect(),
                        present: true,
                        ..ServedResource::default()
                    };
                    (resource.parse().expect("a resource"), served)
                })
                .collect(),
        }
    }

    #[test]
    fn versions_are_chosen_in_veleros_order() {
        let resource: GroupResource = "rockbands.music.example.io".parse().expect("a resource");
        for (served, held, wanted, expected) in [
            (&["v2", "v1"][..], &["v1", "v2"][..], &[][..], Some("v2")),
            (&["v3", "v1"], &["v1", "v2"], &[], Some("v1")),
            (
                &["v3", "v1", "v2beta1"],
                &["v2", "v1", "v2beta1"],
                &[],
                Some("v1"),
            ),
            (&["v2", "v1"], &["v1", "v2"], &["v1"], Some("v1")),
            (&["v2", "v1"], &["v1", "v2"], &["v9", "v1"], Some("v1")),
            (&["v3"], &["v1"], &["v3"], None),
        ] {
            let serving = serving(&[("rockbands.music.example.io", served)]);
            let held: Vec<String> = held.iter().map(|v| (*v).to_owned()).collect();
            let wanted: Vec<String> = wanted.iter().map(|v| (*v).to_owned()).collect();
            assert_eq!(
                serving.choose(&resource, &held, &wanted),
                expected,
                "{served:?} {held:?} {wanted:?}"
            );
        }
    }

    #[test]
    fn what_cannot_be_reached_names_the_version_it_needs() {
        let serving = serving(&[("widgets.example.io", &["v1"])]);
        for (resource, version, message) in [
            (
                "widgets.example.io",
                "example.io/v1alpha1",
                "needs widgets.example.io in example.io/v1alpha1; the target serves it in v1",
            ),
            (
                "podsecuritypolicies.policy",
                "policy/v1beta1",
                "the target has no podsecuritypolicies.policy; it needs policy/v1beta1",
            ),
        ] {
            let resource = resource.parse().expect("a resource");
            let error = serving
                .route(&resource, &GroupVersion::parse(version))
                .expect_err("not served");
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_definition_of_the_backup_adds_what_it_will_serve() {
        let mut serving = Serving::default();
        serving.add_definition(&json!({"spec": {
            "group": "example.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [
                {"name": "v1beta1", "served": true},
                {"name": "v1", "served": true, "subresources": {"status": {}}},
                {"name": "v1alpha1", "served": false}]}}));
        let resource = "widgets.example.io".parse().expect("a resource");
        assert_eq!(
            serving.get(&resource),
            Some(&ServedResource {
                versions: vec!["v1".into(), "v1beta1".into()],
                namespaced: true,
                names: vec![
                    "widgets.example.io".into(),
                    "widgets".into(),
                    "widget".into(),
                    "widget".into(),
                    "wd".into()
                ],
                has_status: true,
                present: false,
            })
        );
    }
}
