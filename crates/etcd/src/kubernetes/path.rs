//! Keys of Kubernetes: `/registry/RESOURCE/...`.

/// Where API servers keep their objects unless they are told otherwise.
const PREFIX: &[u8] = b"/registry/";

/// A key as a path.
///
/// Whether an object has a namespace cannot be told from its path; what the object says of itself comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// Group, where the path has one; built-in groups are left out of paths by and large.
    pub group: String,
    /// `pods`, `deployments`.
    pub resource: String,
    /// What stands behind: namespace and name, or the name.
    pub rest: Vec<String>,
}

impl Path {
    /// Reads a key below `/registry/`; `None` for any other, which is not Kubernetes'.
    #[must_use]
    pub fn of(key: &[u8]) -> Option<Self> {
        let path = std::str::from_utf8(key.strip_prefix(PREFIX)?).ok()?;
        let mut parts: Vec<&str> = path.split('/').collect();
        let mut group = "";
        // A group of its own has a dot, which no built-in resource has.
        if parts.len() > 2 && parts[0].contains('.') {
            group = parts.remove(0);
        }
        let resource = match parts.as_slice() {
            // Spellings of the first releases.
            ["minions", ..] => "nodes",
            ["services", "specs", ..] => "services",
            ["services", "endpoints", ..] => "endpoints",
            [resource, ..] => resource,
            [] => return None,
        };
        let known = match parts.as_slice() {
            ["services", "specs" | "endpoints", ..] => 2,
            _ => 1,
        };
        Some(Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            rest: parts[known..]
                .iter()
                .map(|part| (*part).to_owned())
                .collect(),
        })
    }

    /// `RESOURCE` or `RESOURCE.GROUP`.
    #[must_use]
    pub fn resource(&self) -> String {
        match self.group.as_str() {
            "" => self.resource.clone(),
            group => format!("{}.{group}", self.resource),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_api_servers_write_them() {
        for (key, resource, rest) in [
            ("/registry/pods/shop/web", "pods", &["shop", "web"][..]),
            ("/registry/minions/n1", "nodes", &["n1"]),
            ("/registry/services/specs/a/b", "services", &["a", "b"]),
            ("/registry/services/endpoints/a/b", "endpoints", &["a", "b"]),
            ("/registry/a.io/things/ns/n", "things.a.io", &["ns", "n"]),
            (
                "/registry/apiregistration.k8s.io/apiservices/v1.apps",
                "apiservices.apiregistration.k8s.io",
                &["v1.apps"],
            ),
            ("/registry/ranges/serviceips", "ranges", &["serviceips"]),
        ] {
            let path = Path::of(key.as_bytes()).expect(key);
            assert_eq!(
                (path.resource().as_str(), &path.rest[..]),
                (
                    resource,
                    &rest.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..]
                ),
                "{key}"
            );
        }
        for key in [&b"compact_rev_key"[..], b"/registry/\xff", b""] {
            assert_eq!(Path::of(key), None);
        }
    }
}
