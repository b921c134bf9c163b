//! A full comparison of a cluster before and after: what a restore must bring back, and the one list of
//! what must differ, each entry with its reason.
//!
//! The demo and the end-to-end tests prove with it that nothing differs. Differences inside an object that
//! are not differences (allocations, status, UIDs) are left out by the normal form; the list here is about
//! whole objects.

use std::collections::BTreeMap;

use salvor_api::resource::ObjectKey;
use salvor_cluster::{Cluster, DiscoverOptions, ErrorKind, ListOptions};
use serde_json::Value;

use super::{Change, DiffReport};
use crate::restore::error::{Doing as _, RestoreError};
use crate::restore::normalise::normalise;
use crate::restore::planner::parse;
use crate::restore::target::live_key;
use crate::restore::{body, skip};

/// Most bytes of objects that a snapshot holds. For more, compare backups.
pub const MOST_BYTES: usize = 512 << 20;

/// Objects of a cluster, in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Each object as the server sent it.
    pub objects: BTreeMap<ObjectKey, Value>,
}

impl Snapshot {
    /// Reads every object of every listable resource, in its preferred version.
    ///
    /// # Errors
    /// The cluster fails, a resource may not be read, or the objects are more than [`MOST_BYTES`].
    pub async fn read(cluster: &Cluster) -> Result<Self, RestoreError> {
        let doing = || "read all objects of the cluster".to_owned();
        let discovery = cluster
            .discover(DiscoverOptions::default())
            .await
            .doing(doing)?;
        let mut snapshot = Self::default();
        let mut size = 0;
        for api in discovery
            .resources
            .iter()
            .filter(|api| api.can("list") && api.can("get"))
        {
            let mut pager = cluster.pager(api, None, ListOptions::default());
            loop {
                let page = match pager.next_page().await {
                    Ok(Some(page)) => page,
                    Ok(None) => break,
                    // A resource whose list is not meant for people (token reviews and the like).
                    Err(error) if error.kind() == ErrorKind::MethodNotAllowed => break,
                    Err(error) => return Err(error).doing(doing),
                };
                for item in page.items() {
                    size += item.len();
                    let mut object = parse(item);
                    if let Some(key) = live_key(api, &mut object) {
                        snapshot.objects.insert(key, object);
                    }
                }
                if size > MOST_BYTES {
                    return Err(RestoreError::refused(
                        doing(),
                        "they are more than 512 MiB: make a backup and compare with it instead",
                    ));
                }
            }
        }
        Ok(snapshot)
    }
}

/// A rule about objects that may differ, and why.
pub struct Expected {
    /// Name of the rule.
    pub name: &'static str,
    /// Why the difference is right.
    pub reason: &'static str,
    matches: fn(&ObjectKey, Option<&Value>, Option<&Value>) -> bool,
}

fn is(key: &ObjectKey, resource: &str) -> bool {
    key.resource.to_string() == resource
}

/// What must differ after a restore, or may.
pub const EXPECTED: &[Expected] = &[
    Expected {
        name: "never-restored",
        reason: "nodes, events and the like belong to one incarnation of the cluster",
        matches: |key, before, _| {
            let object = before.unwrap_or(&Value::Null);
            skip::inherent(key, object) == Some(skip::Skip::NonRestorable)
        },
    },
    Expected {
        name: "completed",
        reason: "pods and jobs that had run to their end are not run again",
        matches: |key, before, after| {
            after.is_none()
                && matches!(
                    before.and_then(|object| skip::inherent(key, object)),
                    Some(skip::Skip::CompletedPod | skip::Skip::CompletedJob)
                )
        },
    },
    Expected {
        name: "mirror-pods",
        reason: "a kubelet makes them from files",
        matches: |key, before, after| {
            let object = before.or(after).unwrap_or(&Value::Null);
            skip::inherent(key, object) == Some(skip::Skip::MirrorPod)
        },
    },
    Expected {
        name: "control-plane-owned",
        reason: "the control plane writes them itself: its address, its certificate authority, slices",
        matches: |key, before, after| {
            let object = before.or(after).unwrap_or(&Value::Null);
            matches!(
                skip::inherent(key, object),
                Some(skip::Skip::ManagedByServer(_))
            )
        },
    },
    Expected {
        name: "default-service-account",
        reason: "a controller makes one in every namespace, also in one that a restore has just made",
        matches: |key, before, _| {
            before.is_none() && is(key, "serviceaccounts") && key.name == "default"
        },
    },
    Expected {
        name: "service-account-tokens",
        reason: "a token is generated for each incarnation of its account",
        matches: |key, before, after| {
            let object = before.or(after).unwrap_or(&Value::Null);
            is(key, "secrets")
                && body::text_at(object, &["type"]) == "kubernetes.io/service-account-token"
        },
    },
    Expected {
        name: "api-services",
        reason: "the server registers its own groups, and those of definitions, by itself",
        matches: |key, before, after| {
            let object = before.or(after).unwrap_or(&Value::Null);
            is(key, "apiservices.apiregistration.k8s.io")
                && body::labels(object).contains_key("kube-aggregator.kubernetes.io/automanaged")
        },
    },
    Expected {
        name: "leases",
        reason: "leases are renewed all the time by whoever holds them",
        matches: |key, _, _| is(key, "leases.coordination.k8s.io"),
    },
    Expected {
        name: "provisioned-volumes",
        reason: "a volume with reclaim policy Delete is provisioned anew, under another name",
        matches: |key, before, after| {
            is(key, "persistentvolumes")
                && match (before, after) {
                    (Some(volume), None) => {
                        body::text_at(volume, &["spec", "persistentVolumeReclaimPolicy"])
                            == "Delete"
                    }
                    (None, Some(volume)) => {
                        !body::annotation(volume, "pv.kubernetes.io/provisioned-by").is_empty()
                    }
                    _ => false,
                }
        },
    },
];

/// True when a difference of this object must be there, or may. Both sides as the server sent them.
pub(crate) fn is_expected(key: &ObjectKey, before: Option<&Value>, after: Option<&Value>) -> bool {
    EXPECTED
        .iter()
        .any(|rule| (rule.matches)(key, before, after))
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What differs and should not.
    pub report: DiffReport,
    /// Differences that are right, counted by the name of their rule.
    pub expected: BTreeMap<&'static str, u64>,
}

impl Comparison {
    /// True when nothing differs that should not.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.report.is_empty()
    }
}

/// Compares a cluster with itself at an earlier moment.
#[must_use]
pub fn compare(before: &Snapshot, after: &Snapshot) -> Comparison {
    let mut comparison = Comparison {
        report: DiffReport::new("before", "after"),
        ..Comparison::default()
    };
    let keys = before.objects.keys().chain(
        after
            .objects
            .keys()
            .filter(|key| !before.objects.contains_key(*key)),
    );
    for key in keys {
        let (old, new) = (before.objects.get(key), after.objects.get(key));
        let normal = |object: Option<&Value>| {
            object.cloned().map(|mut object| {
                normalise(&key.resource, &mut object, false);
                object
            })
        };
        let (old_form, new_form) = (normal(old), normal(new));
        if old_form == new_form {
            comparison.report.same += 1;
        } else if let Some(rule) = EXPECTED.iter().find(|rule| (rule.matches)(key, old, new)) {
            *comparison.expected.entry(rule.name).or_default() += 1;
        } else {
            comparison
                .report
                .add(key.clone(), old_form.as_ref(), new_form.as_ref());
        }
    }
    comparison.report = std::mem::take(&mut comparison.report).sorted();
    comparison
}

/// True when every difference is one that a deletion makes: everything that was there before is the same
/// or gone.
#[must_use]
pub fn only_lost(comparison: &Comparison) -> bool {
    let mut changes = comparison.report.differences.iter().map(|d| d.change);
    changes.all(|change| change == Change::Removed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(resource: &str, name: &str) -> ObjectKey {
        let resource = resource.parse().expect("a resource");
        match name.split_once('/') {
            Some((namespace, name)) => ObjectKey::namespaced(resource, namespace, name),
            None => ObjectKey::cluster(resource, name),
        }
    }

    fn snapshot(objects: &[(&str, &str, Value)]) -> Snapshot {
        Snapshot {
            objects: objects
                .iter()
                .map(|(resource, name, object)| (key(resource, name), object.clone()))
                .collect(),
        }
    }

    #[test]
    fn the_list_of_what_must_differ_has_no_dead_entry() {
        let token = json!({"type": "kubernetes.io/service-account-token", "data": {"x": "1"}});
        let before = snapshot(&[
            ("events", "a/e", json!({"reason": "x"})),
            ("pods", "a/done", json!({"status": {"phase": "Succeeded"}})),
            (
                "pods",
                "a/mirror",
                json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}),
            ),
            (
                "configmaps",
                "a/kube-root-ca.crt",
                json!({"data": {"ca": "old"}}),
            ),
            ("secrets", "a/web-token-abcde", token),
            (
                "apiservices.apiregistration.k8s.io",
                "v1.example.io",
                json!({"metadata": {"labels": {"kube-aggregator.kubernetes.io/automanaged": "true"}}}),
            ),
            (
                "leases.coordination.k8s.io",
                "kube-system/scheduler",
                json!({"spec": {"renewTime": "1"}}),
            ),
            (
                "persistentvolumes",
                "pvc-1",
                json!({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}),
            ),
        ]);
        let after = snapshot(&[
            (
                "serviceaccounts",
                "a/default",
                json!({"metadata": {"name": "default"}}),
            ),
            (
                "configmaps",
                "a/kube-root-ca.crt",
                json!({"data": {"ca": "new"}}),
            ),
            (
                "leases.coordination.k8s.io",
                "kube-system/scheduler",
                json!({"spec": {"renewTime": "2"}}),
            ),
        ]);
        let comparison = compare(&before, &after);
        assert!(comparison.is_clean(), "{}", comparison.report);
        let unused: Vec<&str> = EXPECTED
            .iter()
            .map(|rule| rule.name)
            .filter(|name| !comparison.expected.contains_key(name))
            .collect();
        assert_eq!(unused, Vec::<&str>::new(), "rules that match nothing");
    }

    #[test]
    fn what_should_be_the_same_is_reported_when_it_is_not() {
        let before = snapshot(&[
            (
                "configmaps",
                "a/kept",
                json!({"metadata": {"uid": "1"}, "data": {"k": "v"}}),
            ),
            ("configmaps", "a/changed", json!({"data": {"k": "old"}})),
            ("configmaps", "a/lost", json!({"data": {}})),
            (
                "persistentvolumes",
                "pv-1",
                json!({"spec": {"persistentVolumeReclaimPolicy": "Retain"}}),
            ),
        ]);
        let after = snapshot(&[
            (
                "configmaps",
                "a/kept",
                json!({"metadata": {"uid": "2"}, "data": {"k": "v"}}),
            ),
            ("configmaps", "a/changed", json!({"data": {"k": "new"}})),
            ("configmaps", "a/new", json!({"data": {}})),
        ]);
        let comparison = compare(&before, &after);
        let found: Vec<(String, Change)> = comparison
            .report
            .differences
            .iter()
            .map(|d| (d.object.to_string(), d.change))
            .collect();
        assert_eq!(
            found,
            [
                ("configmaps a/changed".to_owned(), Change::Changed),
                ("configmaps a/lost".to_owned(), Change::Removed),
                ("configmaps a/new".to_owned(), Change::Added),
                ("persistentvolumes pv-1".to_owned(), Change::Removed),
            ]
        );
        assert!(!only_lost(&comparison));
    }
}
