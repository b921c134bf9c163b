//! Names of resources and objects: group, version, kind, plural, namespace.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A resource without its version, written `deployments.apps`; the core group has no suffix: `pods`.
///
/// This is the directory name that Velero's archive uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupResource {
    /// Plural name in lower case.
    pub resource: String,
    /// API group; empty for the core group.
    pub group: String,
}

impl GroupResource {
    /// From plural and group.
    #[must_use]
    pub fn new(resource: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            resource: resource.into(),
            group: group.into(),
        }
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

impl FromStr for GroupResource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        if resource.is_empty() || text.ends_with('.') || text.contains('/') {
            return Err(format!(
                "`{text}` is not a resource such as `pods` or `deployments.apps`"
            ));
        }
        Ok(Self::new(resource, group))
    }
}

impl TryFrom<String> for GroupResource {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<GroupResource> for String {
    fn from(value: GroupResource) -> String {
        value.to_string()
    }
}

/// Group and version, written `apps/v1`; the core group is written `v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion {
    /// API group; empty for the core group.
    pub group: String,
    /// Version, for example `v1beta1`.
    pub version: String,
}

impl GroupVersion {
    /// From group and version.
    #[must_use]
    pub fn new(group: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
        }
    }

    /// Reads an object's `apiVersion`.
    #[must_use]
    pub fn parse(api_version: &str) -> Self {
        match api_version.split_once('/') {
            Some((group, version)) => Self::new(group, version),
            None => Self::new("", api_version),
        }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.group.is_empty() {
            write!(f, "{}/", self.group)?;
        }
        f.write_str(&self.version)
    }
}

/// Group, version and kind, written `apps/v1/Deployment` or `v1/Pod`, as Velero's resource lists do.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// Group and version.
    pub group_version: GroupVersion,
    /// Kind.
    pub kind: String,
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group_version, self.kind)
    }
}

/// One object of a cluster or an archive, without its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// What it is.
    pub resource: GroupResource,
    /// Where it is; `None` for cluster-scoped objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// A namespaced object.
    #[must_use]
    pub fn namespaced(
        resource: GroupResource,
        namespace: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            resource,
            namespace: Some(namespace.into()),
            name: name.into(),
        }
    }

    /// A cluster-scoped object.
    #[must_use]
    pub fn cluster(resource: GroupResource, name: impl Into<String>) -> Self {
        Self {
            resource,
            namespace: None,
            name: name.into(),
        }
    }

    /// `ns/name` or `name`, as resource lists write it.
    #[must_use]
    pub fn scoped_name(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource, self.scoped_name())
    }
}

/// Orders versions as Kubernetes does: `v2`, `v1`, `v2beta1`, `v1beta2`, `v1alpha1`, then the rest by
/// name. `Less` means preferred.
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> std::cmp::Ordering {
    fn rank(version: &str) -> Option<(u8, u64, u64)> {
        let rest = version.strip_prefix('v')?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let major = rest[..digits].parse().ok()?;
        let (stage, minor) = match &rest[digits..] {
            "" => return Some((3, major, 0)),
            tail if tail.starts_with("beta") => (2, &tail[4..]),
            tail if tail.starts_with("alpha") => (1, &tail[5..]),
            _ => return None,
        };
        Some((stage, major, minor.parse().ok()?))
    }
    match (rank(a), rank(b)) {
        (Some(x), Some(y)) => y.cmp(&x),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_kubernetes_sorts_them() {
        let mut versions = vec![
            "foo1",
            "v1alpha1",
            "v1",
            "v11beta2",
            "v10",
            "v2",
            "v10beta3",
            "v3beta1",
            "foo10",
            "v12alpha1",
        ];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(
            versions,
            [
                "v10",
                "v2",
                "v1",
                "v11beta2",
                "v10beta3",
                "v3beta1",
                "v12alpha1",
                "v1alpha1",
                "foo1",
                "foo10"
            ]
        );
    }

    #[test]
    fn resources_round_trip_through_text() {
        for text in [
            "pods",
            "deployments.apps",
            "customresourcedefinitions.apiextensions.k8s.io",
        ] {
            let parsed: GroupResource = text.parse().expect(text);
            assert_eq!(parsed.to_string(), text);
        }
        assert!("".parse::<GroupResource>().is_err());
        assert!("a/b".parse::<GroupResource>().is_err());
        assert!("a.".parse::<GroupResource>().is_err());
    }
}
