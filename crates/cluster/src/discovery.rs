//! Which resources a server has, in which versions.
//!
//! Two forms are read: the aggregated one (two requests; servers since 1.26) and the old one (a request
//! per group and version). A group that is broken, usually an aggregated API whose backend is down, never
//! stops the rest: it is a [`DiscoveryFailure`].

use std::time::Duration;

use futures::stream::{self, StreamExt};
use salvor_api::resource::{GroupResource, GroupVersion};
use serde::Deserialize;

use crate::client::{Call, Cluster};
use crate::error::{Error, ErrorKind};
use crate::resource::ApiResource;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
/// Group documents that are read at once in the old form.
const AT_ONCE: usize = 8;

/// What to discover.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiscoverOptions {
    /// Every served version, not only the one that the server prefers for each resource.
    pub all_versions: bool,
}

/// The resources of a server, in its order: core group first, `extensions` last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Resources, without subresources.
    pub resources: Vec<ApiResource>,
    /// Groups that could not be read.
    pub failures: Vec<DiscoveryFailure>,
}

/// A group version that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryFailure {
    /// Which, for example `metrics.k8s.io/v1beta1`.
    pub group_version: String,
    /// Why.
    pub reason: String,
    /// True when the server says that there is no such version, although it lists it.
    pub is_missing: bool,
}

impl Discovery {
    /// The preferred version of a resource.
    #[must_use]
    pub fn find(&self, resource: &GroupResource) -> Option<&ApiResource> {
        let mut versions = self
            .resources
            .iter()
            .filter(|r| r.resource == resource.resource && r.group == resource.group);
        let first = versions.clone().next();
        versions.find(|r| r.preferred).or(first)
    }

    /// A resource in one version.
    #[must_use]
    pub fn find_version(&self, resource: &GroupResource, version: &str) -> Option<&ApiResource> {
        self.resources.iter().find(|r| {
            r.resource == resource.resource && r.group == resource.group && r.version == version
        })
    }

    /// The resource whose objects have this kind.
    #[must_use]
    pub fn find_kind(&self, group_version: &GroupVersion, kind: &str) -> Option<&ApiResource> {
        self.resources.iter().find(|r| {
            r.kind == kind && r.group == group_version.group && r.version == group_version.version
        })
    }

    /// The resource that a user means by `text`: plural, singular, kind or short name, with or without its
    /// group (`deploy`, `deployments.apps`, `deployments.v1.apps`). Earlier groups win, as with kubectl.
    #[must_use]
    pub fn resolve(&self, text: &str) -> Option<&ApiResource> {
        let text = text.trim().to_lowercase();
        let exact = self
            .resources
            .iter()
            .find(|r| r.preferred && r.group_resource().to_string() == text);
        exact
            .or_else(|| {
                let with_version = |r: &&ApiResource| {
                    let full = format!("{}.{}.{}", r.resource, r.version, r.group);
                    full.trim_end_matches('.') == text
                };
                self.resources.iter().find(with_version)
            })
            .or_else(|| {
                self.resources
                    .iter()
                    .find(|r| r.preferred && r.names().contains(&text))
            })
            .or_else(|| self.resources.iter().find(|r| r.names().contains(&text)))
    }

    /// Adds another part of the answer, keeping the order in which servers list groups.
    fn extend(&mut self, part: Discovery) {
        self.resources.extend(part.resources);
        self.failures.extend(part.failures);
    }

    /// Marks for each resource the version that the group prefers, or else the first that has it: a group
    /// may serve a resource only in a version that it does not prefer (`cronjobs` of `batch` in 1.20).
    fn mark_preferred(&mut self, preferred_of_group: &[(String, String)]) {
        let mut seen: Vec<GroupResource> = Vec::new();
        for pass in [true, false] {
            for resource in &mut self.resources {
                let key = resource.group_resource();
                let is_groups_choice = preferred_of_group
                    .iter()
                    .any(|(group, version)| *group == key.group && *version == resource.version);
                if is_groups_choice == pass && !seen.contains(&key) {
                    resource.preferred = true;
                    seen.push(key);
                }
            }
        }
        let late = |r: &ApiResource| r.group == "extensions";
        self.resources.sort_by_key(late);
    }
}

/// Pauses between looks at a version that is listed and not there.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

impl Cluster {
    /// Reads which resources the server has.
    ///
    /// # Errors
    /// The list of groups cannot be read. A broken group is not an error, see [`Discovery::failures`].
    pub async fn discover(&self, options: DiscoverOptions) -> Result<Discovery, Error> {
        let mut discovery = Discovery::default();
        let mut preferred = Vec::new();
        for root in ["/api", "/apis"] {
            let (part, choices) = self.discover_root(root).await?;
            discovery.extend(part);
            preferred.extend(choices);
        }
        discovery.mark_preferred(&preferred);
        if !options.all_versions {
            discovery.resources.retain(|r| r.preferred);
        }
        Ok(discovery)
    }

    async fn discover_root(&self, root: &str) -> Result<(Discovery, Vec<(String, String)>), Error> {
        let operation = format!("discover resources ({root})");
        let body = self
            .call(Call {
                accept: AGGREGATED,
                ..Call::read(operation.clone(), root)
            })
            .await?;
        let malformed = |e: serde_json::Error| {
            Error::caused(ErrorKind::Malformed, &operation, e.to_string(), e)
        };
        let head: Head = serde_json::from_slice(&body).map_err(malformed)?;
        match head.kind.as_str() {
            "APIGroupDiscoveryList" => {
                let list: aggregated::List = serde_json::from_slice(&body).map_err(malformed)?;
                Ok(aggregated::read(list))
            }
            "APIVersions" => {
                let list: legacy::Versions = serde_json::from_slice(&body).map_err(malformed)?;
                let choice = list.versions.first().map(|v| (String::new(), v.clone()));
                let versions = list
                    .versions
                    .into_iter()
                    .map(|version| GroupVersion::new("", version))
                    .collect();
                Ok((
                    self.read_versions(versions).await,
                    choice.into_iter().collect(),
                ))
            }
            "APIGroupList" => {
                let list: legacy::Groups = serde_json::from_slice(&body).map_err(malformed)?;
                let (versions, choices) = legacy::versions(list);
                let mut found = self.read_versions(versions).await;
                if found.failures.iter().any(|failure| failure.is_missing) {
                    self.forget_deleted(root, &mut found).await;
                }
                Ok((found, choices))
            }
            other => {
                let other: String = other.chars().take(80).collect();
                let detail = format!("the answer is a `{other}`, not a list of groups");
                Err(Error::local(ErrorKind::Malformed, operation, detail))
            }
        }
    }

    /// Versions that were listed a moment ago and are not any more were deleted meanwhile, which is no failure.
    /// A server takes a moment to leave a deleted version out of its list, or to serve a new one.
    async fn forget_deleted(&self, root: &str, found: &mut Discovery) {
        for pause in LOOKS {
            let again = self.call(Call::read(format!("discover resources ({root})"), root));
            let Ok(body) = again.await else {
                return;
            };
            let Ok(list) = serde_json::from_slice::<legacy::Groups>(&body) else {
                return;
            };
            let (versions, _) = legacy::versions(list);
            let failures = std::mem::take(&mut found.failures);
            let (missing, others): (Vec<_>, Vec<_>) =
                failures.into_iter().partition(|failure| failure.is_missing);
            found.failures = others;
            let left: Vec<GroupVersion> = missing
                .iter()
                .map(|failure| GroupVersion::parse(&failure.group_version))
                .filter(|version| versions.contains(version))
                .collect();
            if left.is_empty() {
                return;
            }
            found.extend(self.read_versions(left).await);
            if !found.failures.iter().any(|failure| failure.is_missing) {
                return;
            }
            self.stay(pause).await;
        }
    }

    async fn read_versions(&self, versions: Vec<GroupVersion>) -> Discovery {
        let parts: Vec<Discovery> = stream::iter(versions)
            .map(|version| async move {
                match self.read_version(&version).await {
                    Ok(resources) => Discovery {
                        resources,
                        failures: Vec::new(),
                    },
                    Err(error) => Discovery {
                        resources: Vec::new(),
                        failures: vec![DiscoveryFailure {
                            group_version: version.to_string(),
                            reason: error.reason().to_owned(),
                            is_missing: error.kind() == ErrorKind::NoSuchKind,
                        }],
                    },
                }
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut all = Discovery::default();
        for part in parts {
            all.extend(part);
        }
        all
    }

    async fn read_version(&self, version: &GroupVersion) -> Result<Vec<ApiResource>, Error> {
        let operation = format!("discover resources of {version}");
        let config = |reason| Error::local(ErrorKind::Config, &operation, reason);
        let escaped = crate::path::segment("version", &version.version).map_err(config)?;
        let uri = if version.group.is_empty() {
            format!("/api/{escaped}")
        } else {
            let group = crate::path::segment("group", &version.group).map_err(config)?;
            format!("/apis/{group}/{escaped}")
        };
        let body = self.call(Call::read(operation.clone(), uri)).await?;
        let list: legacy::Resources = serde_json::from_slice(&body)
            .map_err(|e| Error::caused(ErrorKind::Malformed, &operation, e.to_string(), e))?;
        Ok(legacy::read(version, list))
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Head {
    kind: String,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// `apidiscovery.k8s.io` v2 and v2beta1, which have the same fields.
mod aggregated {
    use serde::Deserialize;

    use super::{ApiResource, Discovery, DiscoveryFailure, GroupVersion, null_is_empty};

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub(super) struct List {
        #[serde(deserialize_with = "null_is_empty")]
        items: Vec<Group>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Group {
        metadata: Metadata,
        #[serde(deserialize_with = "null_is_empty")]
        versions: Vec<Version>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Metadata {
        name: String,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Version {
        version: String,
        freshness: String,
        #[serde(deserialize_with = "null_is_empty")]
        resources: Vec<Resource>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Resource {
        resource: String,
        response_kind: Option<Kind>,
        scope: String,
        singular_resource: String,
        #[serde(deserialize_with = "null_is_empty")]
        verbs: Vec<String>,
        #[serde(deserialize_with = "null_is_empty")]
        short_names: Vec<String>,
        #[serde(deserialize_with = "null_is_empty")]
        subresources: Vec<Subresource>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Kind {
        kind: String,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Subresource {
        subresource: String,
    }

    pub(super) fn read(list: List) -> (Discovery, Vec<(String, String)>) {
        let mut discovery = Discovery::default();
        let mut choices = Vec::new();
        for group in list.items {
            let name = group.metadata.name;
            // The first version is the preferred one.
            choices.extend(
                group
                    .versions
                    .first()
                    .map(|v| (name.clone(), v.version.clone())),
            );
            for version in group.versions {
                // A stale version is served from what was known before its backend went away.
                if version.freshness == "Stale" {
                    discovery.failures.push(DiscoveryFailure {
                        group_version: GroupVersion::new(&*name, &*version.version).to_string(),
                        reason: "the API server cannot reach what serves this version".to_owned(),
                        is_missing: false,
                    });
                }
                for resource in version.resources {
                    discovery.resources.push(ApiResource {
                        group: name.clone(),
                        version: version.version.clone(),
                        kind: resource.response_kind.unwrap_or_default().kind,
                        resource: resource.resource,
                        singular: resource.singular_resource,
                        short_names: resource.short_names,
                        namespaced: resource.scope == "Namespaced",
                        verbs: resource.verbs,
                        preferred: false,
                        subresources: resource
                            .subresources
                            .into_iter()
                            .map(|s| s.subresource)
                            .collect(),
                    });
                }
            }
        }
        (discovery, choices)
    }
}

/// `APIVersions`, `APIGroupList` and `APIResourceList`.
mod legacy {
    use serde::Deserialize;

    use super::{ApiResource, GroupVersion, null_is_empty};

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub(super) struct Versions {
        #[serde(deserialize_with = "null_is_empty")]
        pub(super) versions: Vec<String>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub(super) struct Groups {
        #[serde(deserialize_with = "null_is_empty")]
        pub(super) groups: Vec<Group>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    pub(super) struct Group {
        pub(super) name: String,
        #[serde(deserialize_with = "null_is_empty")]
        pub(super) versions: Vec<Version>,
        pub(super) preferred_version: Version,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub(super) struct Version {
        pub(super) version: String,
    }

    #[derive(Deserialize, Default)]
    #[serde(default)]
    pub(super) struct Resources {
        #[serde(deserialize_with = "null_is_empty")]
        resources: Vec<Resource>,
    }

    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Resource {
        name: String,
        singular_name: String,
        namespaced: bool,
        kind: String,
        #[serde(deserialize_with = "null_is_empty")]
        verbs: Vec<String>,
        #[serde(deserialize_with = "null_is_empty")]
        short_names: Vec<String>,
    }

    /// All versions, and the preferred one of each group.
    pub(super) fn versions(list: Groups) -> (Vec<GroupVersion>, Vec<(String, String)>) {
        let (mut versions, mut preferred) = (Vec::new(), Vec::new());
        for group in list.groups {
            let choice = Some(group.preferred_version.version)
                .filter(|version| !version.is_empty())
                .or_else(|| group.versions.first().map(|first| first.version.clone()));
            preferred.extend(choice.map(|version| (group.name.clone(), version)));
            let all = group.versions.into_iter();
            versions.extend(all.map(|one| GroupVersion::new(group.name.clone(), one.version)));
        }
        (versions, preferred)
    }

    pub(super) fn read(version: &GroupVersion, list: Resources) -> Vec<ApiResource> {
        let mut resources: Vec<ApiResource> = Vec::new();
        let (subresources, whole): (Vec<Resource>, Vec<Resource>) = list
            .resources
            .into_iter()
            .filter(|r| !r.name.is_empty())
            .partition(|r| r.name.contains('/'));
        for resource in whole {
            resources.push(ApiResource {
                group: version.group.clone(),
                version: version.version.clone(),
                kind: resource.kind,
                singular: resource.singular_name,
                short_names: resource.short_names,
                namespaced: resource.namespaced,
                verbs: resource.verbs,
                preferred: false,
                subresources: Vec::new(),
                resource: resource.name,
            });
        }
        for subresource in subresources {
            if let Some((owner, name)) = subresource.name.split_once('/')
                && let Some(resource) = resources.iter_mut().find(|r| r.resource == owner)
            {
                resource.subresources.push(name.to_owned());
            }
        }
        resources
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use http::{Request, Response, StatusCode};
    use http_body_util::Full;

    use super::*;
    use crate::Body;

    /// A server that answers from a table of path and body; what is not there is a 503.
    fn server(answers: Vec<(&'static str, &'static str)>) -> Cluster {
        let answers = Arc::new(answers);
        let service = tower::service_fn(move |request: Request<Body>| {
            let answers = Arc::clone(&answers);
            async move {
                let path = request.uri().path().to_owned();
                let found = answers.iter().find(|(p, _)| *p == path);
                let (code, body) = match found {
                    Some((_, body)) => (StatusCode::OK, *body),
                    None => (StatusCode::FORBIDDEN, "no"),
                };
                let mut response = Response::new(Full::from(body));
                *response.status_mut() = code;
                Ok::<_, Infallible>(response)
            }
        });
        Cluster::from_service(service, "test")
    }

    fn show(discovery: &Discovery) -> Vec<String> {
        discovery
            .resources
            .iter()
            .map(|r| {
                let mark = if r.preferred { "*" } else { "" };
                format!("{}/{}{mark}", r.api_version(), r.resource)
            })
            .collect()
    }

    #[tokio::test]
    async fn the_old_form_survives_a_broken_group_and_finds_what_only_an_old_version_has() {
        let cluster = server(vec![
            ("/api", r#"{"kind":"APIVersions","versions":["v1"]}"#),
            (
                "/api/v1",
                r#"{"kind":"APIResourceList","resources":[
                {"name":"pods","singularName":"","namespaced":true,"kind":"Pod","verbs":["list","get","create","delete"],"shortNames":["po"]},
                {"name":"pods/status","namespaced":true,"kind":"Pod","verbs":["get"]}]}"#,
            ),
            (
                "/apis",
                r#"{"kind":"APIGroupList","groups":[
                {"name":"extensions","versions":[{"groupVersion":"extensions/v1beta1","version":"v1beta1"}],"preferredVersion":{"version":"v1beta1"}},
                {"name":"batch","versions":[{"version":"v1"},{"version":"v1beta1"}],"preferredVersion":{"version":"v1"}},
                {"name":"metrics.k8s.io","versions":[{"version":"v1beta1"}],"preferredVersion":{"version":"v1beta1"}}]}"#,
            ),
            (
                "/apis/batch/v1",
                r#"{"resources":[{"name":"jobs","namespaced":true,"kind":"Job","verbs":null}]}"#,
            ),
            (
                "/apis/batch/v1beta1",
                r#"{"resources":[{"name":"cronjobs","namespaced":true,"kind":"CronJob"},{"name":"jobs","namespaced":true,"kind":"Job"}]}"#,
            ),
            (
                "/apis/extensions/v1beta1",
                r#"{"resources":[{"name":"ingresses","namespaced":true,"kind":"Ingress"}]}"#,
            ),
        ]);
        let all = cluster
            .discover(DiscoverOptions { all_versions: true })
            .await
            .expect("groups are readable");
        assert_eq!(
            show(&all),
            [
                "v1/pods*",
                "batch/v1/jobs*",
                "batch/v1beta1/cronjobs*",
                "batch/v1beta1/jobs",
                "extensions/v1beta1/ingresses*"
            ]
        );
        assert_eq!(all.failures[0].group_version, "metrics.k8s.io/v1beta1");
        let pods = all.resolve("po").expect("short name");
        assert!(pods.is_for_backup() && pods.has_subresource("status"));
        assert_eq!(
            all.resolve("CronJob").map(|r| &*r.resource),
            Some("cronjobs")
        );
        assert_eq!(
            all.resolve("jobs.v1beta1.batch").map(|r| &*r.version),
            Some("v1beta1")
        );
        assert_eq!(all.resolve("nothing"), None);
        let preferred = cluster
            .discover(DiscoverOptions::default())
            .await
            .expect("groups");
        assert_eq!(preferred.resources.len(), 4);
    }

    #[tokio::test]
    async fn the_aggregated_form_takes_two_requests_and_names_stale_versions() {
        let cluster = server(vec![
            (
                "/api",
                r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":null},"versions":[]}]}"#,
            ),
            ("/apis", "{}"),
        ]);
        assert!(
            cluster.discover(DiscoverOptions::default()).await.is_err(),
            "name is null"
        );
        let cluster = server(vec![
            (
                "/api",
                r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"creationTimestamp":null},"versions":[
                {"version":"v1","freshness":"Current","resources":[
                {"resource":"configmaps","responseKind":{"group":"","version":"v1","kind":"ConfigMap"},"scope":"Namespaced","singularResource":"configmap","verbs":["get"],"shortNames":["cm"],
                 "subresources":[{"subresource":"x","verbs":["get"]}]}]}]}]}"#,
            ),
            (
                "/apis",
                r#"{"kind":"APIGroupDiscoveryList","items":[
                {"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale"}]},
                {"metadata":{"name":"a.io"},"versions":[{"version":"v2","resources":[{"resource":"ws","responseKind":{"kind":"W"},"scope":"Cluster"}]},
                 {"version":"v1","resources":[{"resource":"ws","responseKind":{"kind":"W"},"scope":"Cluster"}]}]}]}"#,
            ),
        ]);
        let all = cluster
            .discover(DiscoverOptions { all_versions: true })
            .await
            .expect("aggregated");
        assert_eq!(show(&all), ["v1/configmaps*", "a.io/v2/ws*", "a.io/v1/ws"]);
        assert_eq!(all.failures.len(), 1);
        assert!(all.resources[0].has_subresource("x"));
    }
}
