//! An item of an archive and the path of its tar entry.

use std::fmt;

use salvor_api::resource::{GroupResource, ObjectKey};

use crate::error::{ArchiveError, Result, printable};

/// Longest path of an entry, in bytes.
pub const MAX_PATH: usize = 4096;
/// Longest segment of a path (name, namespace, resource, version), in bytes without `.json`. Most names end
/// at 253; those of RBAC objects have no limit of their own, so this is generous.
pub const MAX_SEGMENT: usize = 1024;

const PREFERRED_SUFFIX: &str = "-preferredversion";

/// One object to be written.
#[derive(Clone, Copy, Debug)]
pub struct ItemRef<'a> {
    /// What it is, where it is and its name.
    pub key: &'a ObjectKey,
    /// The API version it was read in, for example `v1`.
    pub version: &'a str,
    /// True when that is the version which the cluster prefers for the resource.
    pub preferred: bool,
    /// The object as compact JSON.
    pub body: &'a [u8],
}

/// The version directory of an entry: `v1` or `v1-preferredversion`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionDir {
    /// API version without suffix.
    pub version: String,
    /// True for `-preferredversion`.
    pub preferred: bool,
}

/// The path of an item's entry below `resources/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath {
    /// The object.
    pub key: ObjectKey,
    /// Its version directory; `None` for the unversioned path, which holds the preferred version.
    pub version: Option<VersionDir>,
}

impl EntryPath {
    /// Reads a tar path. `None` means that the path is harmless but no item's: `metadata/version`, or a
    /// file that a newer format may have added.
    ///
    /// One leading `./` is accepted, as archives that were packed again by hand have it.
    ///
    /// # Errors
    /// [`ArchiveError::UnsafePath`]: absolute, with `.` or `..` or empty segments, backslashes, control
    /// characters, or longer than [`MAX_PATH`] or [`MAX_SEGMENT`].
    pub fn parse(path: &str) -> Result<Option<Self>> {
        let refuse = |reason| ArchiveError::UnsafePath {
            path: printable(path.as_bytes()),
            reason,
        };
        if path.len() > MAX_PATH {
            return Err(refuse("it is longer than 4096 bytes"));
        }
        let inner = path.strip_prefix("./").unwrap_or(path);
        if inner.starts_with('/') {
            return Err(refuse("it is absolute"));
        }
        let mut segments = [""; 6];
        let mut count = 0;
        for segment in inner.split('/') {
            check_segment(segment).map_err(refuse)?;
            if let Some(slot) = segments.get_mut(count) {
                *slot = segment;
            }
            count += 1;
        }
        let (version, place) = match (count, segments) {
            (4, ["resources", _, "cluster", ..]) | (5, ["resources", _, "namespaces", ..]) => {
                (None, 2)
            }
            (5, ["resources", _, version, "cluster", ..])
            | (6, ["resources", _, version, "namespaces", ..]) => (Some(version), 3),
            _ => return Ok(None),
        };
        let Some(name) = segments[count - 1].strip_suffix(".json") else {
            return Ok(None);
        };
        check_segment(name).map_err(refuse)?;
        let resource: GroupResource = segments[1]
            .parse()
            .map_err(|_| refuse("its resource directory is not a resource"))?;
        let version = match version {
            None => None,
            Some(dir) => {
                let (version, preferred) = match dir.strip_suffix(PREFERRED_SUFFIX) {
                    Some(version) => (version, true),
                    None => (dir, false),
                };
                check_segment(version).map_err(refuse)?;
                Some(VersionDir {
                    version: version.to_owned(),
                    preferred,
                })
            }
        };
        let key = if segments[place] == "cluster" {
            ObjectKey::cluster(resource, name)
        } else {
            ObjectKey::namespaced(resource, segments[place + 1], name)
        };
        Ok(Some(Self { key, version }))
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resources/{}/", self.key.resource)?;
        if let Some(VersionDir { version, preferred }) = &self.version {
            let suffix = if *preferred { PREFERRED_SUFFIX } else { "" };
            write!(f, "{version}{suffix}/")?;
        }
        match &self.key.namespace {
            Some(namespace) => write!(f, "namespaces/{namespace}/{}.json", self.key.name),
            None => write!(f, "cluster/{}.json", self.key.name),
        }
    }
}

/// Checks one segment of a path, which is also what an index may hold as a name.
pub(crate) fn check_segment(segment: &str) -> std::result::Result<(), &'static str> {
    match segment {
        "" => return Err("a segment is empty"),
        "." | ".." => return Err("it leads outside of its folder"),
        _ => {}
    }
    if segment.len() > MAX_SEGMENT + ".json".len() {
        return Err("a segment is longer than 1024 bytes");
    }
    if segment.contains(['/', '\\']) {
        return Err("a segment contains a slash or backslash");
    }
    if segment.chars().any(char::is_control) {
        return Err("it contains a control character");
    }
    Ok(())
}

/// Checks what is about to be written, by the rules that reading applies.
pub(crate) fn check_item(item: &ItemRef<'_>) -> Result<()> {
    let refuse = |reason: String| ArchiveError::BadItem {
        key: item.key.clone(),
        reason,
    };
    let version = if item.version.ends_with(PREFERRED_SUFFIX) {
        return Err(refuse(format!("version `{}` is reserved", item.version)));
    } else {
        item.version
    };
    let path = EntryPath {
        key: item.key.clone(),
        version: Some(VersionDir {
            version: version.to_owned(),
            preferred: item.preferred,
        }),
    };
    match EntryPath::parse(&path.to_string()) {
        Ok(Some(again)) if again == path => {}
        Ok(_) => return Err(refuse("its names do not make an archive path".to_owned())),
        Err(ArchiveError::UnsafePath { reason, .. }) => return Err(refuse(reason.to_owned())),
        Err(other) => return Err(other),
    }
    if u32::try_from(item.body.len()).is_err() {
        return Err(refuse("it is longer than 4 GiB".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(path: &str, expected: &Expect) {
        let shown = match EntryPath::parse(path) {
            Ok(None) => "no item".to_owned(),
            Ok(Some(parsed)) => {
                assert_eq!(
                    parsed.to_string(),
                    path.strip_prefix("./").unwrap_or(path),
                    "round trip"
                );
                format!("{} {:?}", parsed.key, parsed.version)
            }
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn reads_every_layout_of_item_paths() {
        check(
            "resources/pods/namespaces/shop/web-0.json",
            &expect!["pods shop/web-0 None"],
        );
        check(
            "./resources/nodes/cluster/a.b.json",
            &expect!["nodes a.b None"],
        );
        check(
            "resources/deployments.apps/v1-preferredversion/namespaces/shop/web.json",
            &expect![[
                r#"deployments.apps shop/web Some(VersionDir { version: "v1", preferred: true })"#
            ]],
        );
        check(
            "resources/x.example.io/v1beta1/cluster/name.json",
            &expect![[
                r#"x.example.io name Some(VersionDir { version: "v1beta1", preferred: false })"#
            ]],
        );
        check(
            "resources/pods/namespaces/cluster/x.json",
            &expect!["pods cluster/x None"],
        );
        check(
            "resources/clusterroles.rbac.authorization.k8s.io/cluster/system:node.json",
            &expect!["clusterroles.rbac.authorization.k8s.io system:node None"],
        );
    }

    #[test]
    fn other_paths_are_no_items() {
        for path in [
            "metadata/version",
            "resources/pods/namespaces/shop/web-0.yaml",
            "resources/pods",
            "readme",
            "resources/pods/v1/namespaces/a/b/c.json",
            "resources/pods/other/ns/name.json",
        ] {
            check(path, &expect!["no item"]);
        }
    }

    #[test]
    fn refuses_paths_that_escape_or_deceive() {
        let long = format!("resources/pods/cluster/{}.json", "x".repeat(1025));
        let very_long = "a/".repeat(2049);
        for (path, reason) in [
            ("/resources/pods/cluster/x.json", "absolute"),
            (".//etc/passwd", "absolute"),
            ("resources/pods/../x.json", "outside"),
            ("resources/./pods/cluster/x.json", "outside"),
            ("././resources/pods/cluster/x.json", "outside"),
            ("resources/pods/cluster/..", "outside"),
            ("resources/pods/cluster/...json", "outside"),
            ("resources/pods/cluster/.json", "empty"),
            ("resources//pods/cluster/x.json", "empty"),
            ("", "empty"),
            ("resources/pods/cluster/a\\b.json", "backslash"),
            ("resources/pods/cluster/a\0b.json", "control"),
            ("resources/pods/cluster/a\u{1b}[2J.json", "control"),
            ("resources/.apps/cluster/x.json", "not a resource"),
            (
                "resources/pods/-preferredversion/cluster/x.json",
                "a segment is empty",
            ),
            (&long, "longer than 1024"),
            (&very_long, "longer than 4096"),
        ] {
            let error = EntryPath::parse(path).expect_err(path).to_string();
            assert!(error.contains(reason), "{path:?}: {error}");
            assert!(!error.contains(['\0', '\u{1b}']), "{path:?} is printed raw");
        }
    }

    #[test]
    fn refuses_items_whose_names_do_not_come_back() {
        let pods = GroupResource::new("pods", "");
        for (key, version) in [
            (ObjectKey::namespaced(pods.clone(), "a/b", "x"), "v1"),
            (ObjectKey::namespaced(pods.clone(), "a", ".."), "v1"),
            (ObjectKey::cluster(pods.clone(), "x"), ""),
            (ObjectKey::cluster(pods.clone(), "x"), "v1-preferredversion"),
            (ObjectKey::cluster(pods.clone(), "x"), "cluster/.."),
            (
                ObjectKey::cluster(GroupResource::new("po.ds", "g"), "x"),
                "v1",
            ),
        ] {
            let item = ItemRef {
                key: &key,
                version,
                preferred: true,
                body: b"{}",
            };
            assert!(check_item(&item).is_err(), "{key} {version}");
        }
    }
}
