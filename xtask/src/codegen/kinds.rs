//! The table of kinds: names, scope, verbs and subresources, and the kinds that releases removed.

use super::curated;
use super::golang::{Body, Declaration, Package};
use super::lifecycle::{self, GroupVersionKind, Release};
use super::source::RELEASE;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that goes to `kinds.json`.
pub(super) struct Kinds {
    /// Groups in discovery order, each with its versions, most preferred first.
    pub(super) groups: Vec<(String, Vec<String>)>,
    /// Kinds the release can serve, in the order of `groups`, then by plural.
    pub(super) served: Vec<Kind>,
    /// Bodies of subresources that are no resources themselves.
    pub(super) bodies: Vec<(GroupVersionKind, String)>,
    /// Kinds that older releases served and this one does not.
    pub(super) removed: Vec<Removed>,
}

/// One kind in one version.
pub(super) struct Kind {
    pub(super) id: GroupVersionKind,
    pub(super) plural: String,
    pub(super) namespaced: bool,
    pub(super) short_names: &'static [&'static str],
    pub(super) categories: &'static [&'static str],
    pub(super) verbs: &'static [&'static str],
    pub(super) subresources: Vec<Subresource>,
    /// Whether a server offers the version without being told to.
    pub(super) on_by_default: bool,
    /// Whether a client that names no version gets this one.
    pub(super) preferred: bool,
    pub(super) introduced: Option<Release>,
    /// Later release that is announced to drop this version.
    pub(super) removed_in: Option<Release>,
    pub(super) replacement: Option<GroupVersionKind>,
    /// Name in the table of types.
    pub(super) root: String,
}

/// One subresource with the kind of its body.
pub(super) struct Subresource {
    pub(super) name: String,
    pub(super) body: GroupVersionKind,
    pub(super) verbs: &'static [&'static str],
}

/// One kind that is gone.
pub(super) struct Removed {
    pub(super) id: GroupVersionKind,
    pub(super) plural: String,
    pub(super) namespaced: bool,
    pub(super) removed_in: Option<Release>,
    pub(super) replacement: Option<GroupVersionKind>,
}

/// Builds the table from the parsed packages.
pub(super) fn collect(packages: &[Package]) -> Result<Kinds, String> {
    let mut served = Vec::new();
    let mut removed = Vec::new();
    for package in packages {
        let Some(group) = package.group.as_deref() else {
            continue;
        };
        if curated::NOT_SERVED.contains(&group) {
            continue;
        }
        for (name, declaration) in &package.types {
            if !is_resource(group, &package.version, name, declaration) {
                continue;
            }
            match unserved(package, group, name, declaration) {
                Some(gone) => removed.push(gone),
                None => served.push(kind(package, group, name, declaration)?),
            }
        }
    }
    removed.extend(curated::GONE.iter().map(gone));
    removed.sort_by(|a, b| a.id.cmp(&b.id));
    check_curated(&served)?;
    let groups = groups(&served)?;
    let place = |kind: &Kind| {
        let group = groups.iter().position(|(name, _)| *name == kind.id.group);
        let version = group
            .and_then(|index| groups.get(index))
            .and_then(|(_, versions)| {
                versions
                    .iter()
                    .position(|version| *version == kind.id.version)
            });
        (group, version, kind.plural.clone())
    };
    served.sort_by_key(place);
    mark_preferred(&mut served);
    for kind in &mut removed {
        kind.replacement = successor(kind, &served);
    }
    let bodies = bodies(packages, &served)?;
    Ok(Kinds {
        groups,
        served,
        bodies,
        removed,
    })
}

fn is_resource(group: &str, version: &str, name: &str, declaration: &Declaration) -> bool {
    let client = declaration.marker("genclient").is_some()
        && declaration.marker("genclient:noVerbs").is_none();
    matches!(declaration.body, Body::Struct(_))
        && (client || curated::WITHOUT_CLIENT.contains(&(group, version, name)))
}

fn kind(
    package: &Package,
    group: &str,
    name: &str,
    declaration: &Declaration,
) -> Result<Kind, String> {
    let id = identity(package, group, name);
    let plural = plural(name);
    let lifecycle = lifecycle::of(&package.lifecycle, name);
    let find = |list: &'static [(&str, &str, &'static [&'static str])], key: &str| {
        list.iter()
            .find(|(g, k, _)| *g == group && *k == key)
            .map(|(_, _, found)| *found)
    };
    let create_only = declaration.marker("genclient:onlyVerbs") == Some("create");
    let verbs = match find(curated::VERBS, name) {
        Some(verbs) => verbs,
        None if create_only => &["create"],
        None => curated::ALL_VERBS,
    };
    let subresources = subresources(&id, &plural, declaration, verbs)?;
    Ok(Kind {
        short_names: find(curated::SHORT_NAMES, &plural).unwrap_or_default(),
        categories: find(curated::CATEGORIES, &plural).unwrap_or_default(),
        verbs,
        subresources,
        namespaced: is_namespaced(declaration),
        on_by_default: stability(&package.version).0 == Stability::Stable,
        preferred: false,
        introduced: lifecycle.introduced,
        removed_in: lifecycle.removed,
        replacement: lifecycle.replacement,
        root: format!("{}.{}.{name}", package.folder, package.version),
        plural,
        id,
    })
}

fn subresources(
    id: &GroupVersionKind,
    plural: &str,
    declaration: &Declaration,
    verbs: &[&str],
) -> Result<Vec<Subresource>, String> {
    let mut found = BTreeMap::new();
    let own = |version: &str| GroupVersionKind {
        version: if version.is_empty() {
            id.version.clone()
        } else {
            version.to_owned()
        },
        ..id.clone()
    };
    let stored = verbs.contains(&"get") && verbs.contains(&"update");
    let status = declaration
        .fields()
        .iter()
        .any(|field| field.name == "Status")
        && declaration.marker("genclient:noStatus").is_none();
    if stored && status {
        found.insert("status".to_owned(), (own(""), curated::READ_WRITE));
    }
    for marker in &declaration.markers {
        if let Some(method) = marker.strip_prefix("genclient:method=") {
            let part = |key: &str| method.split(',').find_map(|part| part.strip_prefix(key));
            let name = part("subresource=").unwrap_or_default();
            if name == "scale" {
                let scale = GroupVersionKind {
                    group: "autoscaling".to_owned(),
                    version: "v1".to_owned(),
                    kind: "Scale".to_owned(),
                };
                found.insert(name.to_owned(), (scale, curated::READ_WRITE));
            } else if name == "approval" {
                found.insert(name.to_owned(), (own(""), curated::READ_WRITE));
            }
        }
    }
    for entry in curated::SUBRESOURCES {
        if entry.group == id.group && entry.plural == plural {
            let (group, version, kind) = entry.body;
            let body = GroupVersionKind {
                group: group.to_owned(),
                kind: kind.to_owned(),
                ..own(version)
            };
            found.insert(entry.name.to_owned(), (body, entry.verbs));
        }
    }
    for marker in &declaration.markers {
        let Some(path) = marker.strip_prefix("k8s:supportsSubresource=") else {
            continue;
        };
        let name = path.trim_matches('"').trim_start_matches('/');
        // Reviews are answered at creation; their marker is for the validation of that answer.
        if stored && !found.contains_key(name) {
            return Err(format!(
                "{id:?} supports the subresource `{name}`, which xtask/src/codegen/curated.rs \
                 does not describe"
            ));
        }
    }
    Ok(found
        .into_iter()
        .map(|(name, (body, verbs))| Subresource { name, body, verbs })
        .collect())
}

/// The entry for the removed kinds, if the release no longer serves this one.
fn unserved(
    package: &Package,
    group: &str,
    name: &str,
    declaration: &Declaration,
) -> Option<Removed> {
    let id = identity(package, group, name);
    let lifecycle = lifecycle::of(&package.lifecycle, name);
    let successor = curated::UNSERVED_VERSIONS
        .iter()
        .find(|(group, version, _)| *group == id.group && *version == id.version)
        .map(|(_, _, version)| GroupVersionKind {
            version: (*version).to_owned(),
            ..id.clone()
        });
    let past = lifecycle.removed.is_some_and(|release| release <= RELEASE);
    (past || successor.is_some()).then(|| Removed {
        plural: plural(name),
        namespaced: is_namespaced(declaration),
        removed_in: lifecycle.removed,
        replacement: lifecycle.replacement.or(successor),
        id,
    })
}

/// The served kind that holds the objects of a removed one.
///
/// A package names the version that was current when its own was deprecated, which may be gone
/// too, or names nothing (for a version that only became stable). Then it is the preferred version
/// of the same kind in the group that was named, or in its own.
fn successor(removed: &Removed, served: &[Kind]) -> Option<GroupVersionKind> {
    let named = removed.replacement.as_ref();
    if let Some(found) = named.filter(|id| served.iter().any(|kind| kind.id == **id)) {
        return Some(found.clone());
    }
    let group = named.map_or(&removed.id.group, |id| &id.group);
    let same =
        |kind: &&Kind| kind.preferred && kind.id.group == *group && kind.id.kind == removed.id.kind;
    served.iter().find(same).map(|kind| kind.id.clone())
}

fn identity(package: &Package, group: &str, name: &str) -> GroupVersionKind {
    GroupVersionKind {
        group: group.to_owned(),
        version: package.version.clone(),
        kind: name.to_owned(),
    }
}

fn is_namespaced(declaration: &Declaration) -> bool {
    declaration.marker("genclient:nonNamespaced").is_none()
}

fn gone(entry: &curated::Gone) -> Removed {
    let id = |group: &str, version: &str| GroupVersionKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: entry.kind.to_owned(),
    };
    Removed {
        id: id(entry.group, entry.version),
        plural: entry.plural.to_owned(),
        namespaced: entry.namespaced,
        removed_in: entry.removed_in,
        replacement: entry.replacement.map(|(group, version)| id(group, version)),
    }
}

/// A curated entry that matches no kind is a mistake or outlived its kind.
fn check_curated(served: &[Kind]) -> Result<(), String> {
    let known = |group: &str, plural: &str| {
        served
            .iter()
            .any(|kind| kind.id.group == group && kind.plural == plural)
    };
    let names = curated::SHORT_NAMES.iter().chain(curated::CATEGORIES);
    let named = names.map(|(group, plural, _)| (*group, *plural));
    let sub = curated::SUBRESOURCES
        .iter()
        .map(|entry| (entry.group, entry.plural));
    for (group, name) in named.chain(sub) {
        if !known(group, name) {
            return Err(format!(
                "curated fact about `{name}` of group `{group}`: no such resource"
            ));
        }
    }
    Ok(())
}

fn groups(served: &[Kind]) -> Result<Vec<(String, Vec<String>)>, String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for kind in served {
        versions
            .entry(&kind.id.group)
            .or_default()
            .insert(&kind.id.version);
    }
    if let Some(group) = versions
        .keys()
        .find(|group| !curated::GROUP_ORDER.contains(group))
    {
        return Err(format!(
            "group `{group}` is new: give it a place in GROUP_ORDER of \
             xtask/src/codegen/curated.rs"
        ));
    }
    let mut groups = Vec::new();
    for group in curated::GROUP_ORDER {
        let Some(found) = versions.get(group) else {
            return Err(format!(
                "GROUP_ORDER names `{group}`, which no package defines any more"
            ));
        };
        let mut ordered: Vec<&str> = found.iter().copied().collect();
        ordered.sort_by_key(|version| Reverse(stability(version)));
        groups.push((
            (*group).to_owned(),
            ordered.into_iter().map(str::to_owned).collect(),
        ));
    }
    Ok(groups)
}

/// Expects the order of `groups`: the first version of a kind that is on by default wins, else
/// the first.
fn mark_preferred(served: &mut [Kind]) {
    let mut chosen: BTreeMap<(String, String), usize> = BTreeMap::new();
    for (index, kind) in served.iter().enumerate() {
        chosen
            .entry((kind.id.group.clone(), kind.id.kind.clone()))
            .or_insert(index);
    }
    for (index, kind) in served.iter_mut().enumerate() {
        let key = (kind.id.group.clone(), kind.id.kind.clone());
        kind.preferred = chosen.get(&key) == Some(&index);
    }
}

fn bodies(
    packages: &[Package],
    served: &[Kind],
) -> Result<Vec<(GroupVersionKind, String)>, String> {
    let mut bodies = BTreeMap::new();
    for sub in served.iter().flat_map(|kind| &kind.subresources) {
        let id = &sub.body;
        if served.iter().any(|kind| kind.id == *id) {
            continue;
        }
        let package = packages
            .iter()
            .find(|package| {
                package.group.as_deref() == Some(id.group.as_str()) && package.version == id.version
            })
            .filter(|package| package.types.contains_key(&id.kind))
            .ok_or_else(|| format!("no package defines {id:?}, the body of `{}`", sub.name))?;
        let root = format!("{}.{}.{}", package.folder, package.version, id.kind);
        bodies.insert(id.clone(), root);
    }
    Ok(bodies.into_iter().collect())
}

/// How mature a version is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stability {
    Alpha,
    Beta,
    Stable,
}

/// Sort key of a version: stable over beta over alpha, then the larger numbers.
fn stability(version: &str) -> (Stability, u32, u32) {
    let rest = version.trim_start_matches('v');
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (major, suffix) = rest.split_at(digits);
    let (stability, minor) = match suffix {
        "" => (Stability::Stable, ""),
        _ => match suffix.strip_prefix("beta") {
            Some(minor) => (Stability::Beta, minor),
            None => (Stability::Alpha, suffix.trim_start_matches("alpha")),
        },
    };
    (
        stability,
        major.parse().unwrap_or(0),
        minor.parse().unwrap_or(0),
    )
}

/// The resource name that the Go client generator derives from a kind.
fn plural(kind: &str) -> String {
    let name = kind.to_lowercase();
    if name == "endpoints" {
        return name;
    }
    let vowel_before = name
        .chars()
        .rev()
        .nth(1)
        .is_some_and(|c| "aeiou".contains(c));
    match name.strip_suffix('y') {
        Some(stem) if !vowel_before => format!("{stem}ies"),
        _ if name.ends_with(['s', 'x', 'z']) || name.ends_with("ch") || name.ends_with("sh") => {
            format!("{name}es")
        }
        _ => format!("{name}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_follow_the_client_generator() {
        for (kind, expected) in [
            ("Pod", "pods"),
            ("Endpoints", "endpoints"),
            ("ComponentStatus", "componentstatuses"),
            ("Ingress", "ingresses"),
            ("NetworkPolicy", "networkpolicies"),
            ("CSIStorageCapacity", "csistoragecapacities"),
            ("DeviceClass", "deviceclasses"),
            ("IPAddress", "ipaddresses"),
            ("Lease", "leases"),
        ] {
            assert_eq!(plural(kind), expected);
        }
    }

    #[test]
    fn versions_are_ordered_as_discovery_lists_them() {
        let mut versions = [
            "v1alpha3", "v1", "v1beta1", "v2", "v2beta1", "v1beta2", "v10",
        ];
        versions.sort_by_key(|version| Reverse(stability(version)));
        assert_eq!(
            versions,
            [
                "v10", "v2", "v1", "v2beta1", "v1beta2", "v1beta1", "v1alpha3"
            ]
        );
    }
}
