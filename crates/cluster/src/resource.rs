//! One resource type as a server offers it.

use salvor_api::resource::{GroupResource, GroupVersion, GroupVersionKind};

/// One resource in one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiResource {
    /// API group; empty for the core group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind of its objects.
    pub kind: String,
    /// Plural name, as in paths.
    pub resource: String,
    /// Singular name; may be empty on old servers.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// True when its objects live in namespaces.
    pub namespaced: bool,
    /// What may be done with it.
    pub verbs: Vec<String>,
    /// True when this is the version that the server prefers for this resource.
    pub preferred: bool,
    /// Names of its subresources: `status`, `scale`, ...
    pub subresources: Vec<String>,
}

impl ApiResource {
    /// A resource that is known without asking a server, with every verb.
    #[must_use]
    pub fn known(group: &str, version: &str, kind: &str, resource: &str, namespaced: bool) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            resource: resource.to_owned(),
            singular: kind.to_lowercase(),
            namespaced,
            verbs: [
                "create", "delete", "get", "list", "patch", "update", "watch",
            ]
            .map(str::to_owned)
            .to_vec(),
            preferred: true,
            ..Self::default()
        }
    }

    /// Core `v1` namespaces.
    #[must_use]
    pub fn namespaces() -> Self {
        Self::known("", "v1", "Namespace", "namespaces", false)
    }

    /// `pods`, `deployments.apps`.
    #[must_use]
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.resource.clone(), self.group.clone())
    }

    /// `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        GroupVersion::new(self.group.clone(), self.version.clone()).to_string()
    }

    /// `v1/Pod`, `apps/v1/Deployment`.
    #[must_use]
    pub fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind {
            group_version: GroupVersion::new(self.group.clone(), self.version.clone()),
            kind: self.kind.clone(),
        }
    }

    /// True when the server allows `verb`.
    #[must_use]
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// True when its objects can be listed, read, made again and removed, which is what a backup needs.
    #[must_use]
    pub fn is_for_backup(&self) -> bool {
        ["list", "create", "get", "delete"]
            .iter()
            .all(|verb| self.can(verb))
    }

    /// True when it has this subresource.
    #[must_use]
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|s| s == name)
    }

    /// Every name by which users call it: plural, singular, kind, short names, each with and without the
    /// group. Lower case.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let kind = self.kind.to_lowercase();
        let bare = [
            self.resource.as_str(),
            self.singular.as_str(),
            kind.as_str(),
        ]
        .into_iter()
        .chain(self.short_names.iter().map(String::as_str));
        for name in bare.filter(|n| !n.is_empty()) {
            for form in [name.to_owned(), format!("{name}.{}", self.group)] {
                if !form.ends_with('.') && !names.contains(&form) {
                    names.push(form);
                }
            }
        }
        names
    }

    pub(crate) fn collection_path(&self, namespace: Option<&str>) -> Result<String, String> {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", crate::path::segment("version", &self.version)?)
        } else {
            format!(
                "/apis/{}/{}",
                crate::path::segment("group", &self.group)?,
                crate::path::segment("version", &self.version)?
            )
        };
        if let (true, Some(namespace)) = (self.namespaced, namespace) {
            path.push_str("/namespaces/");
            path.push_str(&crate::path::segment("namespace", namespace)?);
        }
        path.push('/');
        path.push_str(&crate::path::segment("resource", &self.resource)?);
        Ok(path)
    }

    pub(crate) fn object_path(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<String, String> {
        if self.namespaced && namespace.is_none() {
            return Err(format!(
                "{} `{name}` needs a namespace",
                self.group_resource()
            ));
        }
        let name = crate::path::segment("name", name)?;
        Ok(format!("{}/{name}", self.collection_path(namespace)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_and_scope_and_refuse_names_that_leave_them() {
        let pods = ApiResource::known("", "v1", "Pod", "pods", true);
        let roles = ApiResource::known(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRole",
            "clusterroles",
            false,
        );
        assert_eq!(pods.collection_path(None).as_deref(), Ok("/api/v1/pods"));
        assert_eq!(
            pods.object_path(Some("prod"), "web-1").as_deref(),
            Ok("/api/v1/namespaces/prod/pods/web-1")
        );
        assert_eq!(
            roles.object_path(None, "system:node #1").as_deref(),
            Ok("/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node%20%231")
        );
        for name in ["", ".", "..", "a/b", "a%2fb"] {
            assert!(roles.object_path(None, name).is_err(), "{name}");
        }
        assert!(pods.object_path(None, "web-1").is_err());
    }

    #[test]
    fn names_are_all_the_forms_that_users_type() {
        let mut deployments = ApiResource::known("apps", "v1", "Deployment", "deployments", true);
        deployments.short_names = vec!["deploy".into()];
        assert_eq!(
            deployments.names(),
            [
                "deployments",
                "deployments.apps",
                "deployment",
                "deployment.apps",
                "deploy",
                "deploy.apps"
            ]
        );
    }
}
