//! Why a claim waits.

use serde::Serialize;

use super::fits::misfits;
use super::objects::{Claim, Class};
use super::seen::Seen;

/// Why a claim waits for its volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Pending {
    /// It names a storage class that is not there.
    #[serde(rename_all = "camelCase")]
    NoClass {
        /// The class.
        class: String,
    },
    /// It names none, none is the default one, and no volume without a class fits.
    NoDefaultClass,
    /// It gets its volume when a pod uses it, and none does. As it should be.
    WaitsForPod,
    /// It gets its volume when a node was chosen for its pod.
    #[serde(rename_all = "camelCase")]
    WaitsForNode {
        /// The pod.
        pod: String,
    },
    /// Nobody makes volumes of its class, and none that is free fits.
    #[serde(rename_all = "camelCase")]
    NoVolume {
        /// The class; empty for none.
        class: String,
    },
    /// The volume that it names is free for it and fits, or the maker of its volume is at work: the cluster has not come to it yet.
    #[serde(rename_all = "camelCase")]
    Undecided {
        /// Who makes volumes of its class; empty where the binder only has to look.
        provisioner: String,
    },
}

impl Pending {
    /// Whether it waits as it should.
    #[must_use]
    pub fn is_by_design(&self) -> bool {
        *self == Self::WaitsForPod
    }
}

/// Why a claim that names no volume waits.
#[must_use]
pub fn why(claim: &Claim, seen: &Seen) -> Pending {
    if has_free_volume(claim, seen) {
        return Pending::Undecided {
            provisioner: String::new(),
        };
    }
    let class = match class_of(claim, seen) {
        Ok(Some(class)) => class,
        Ok(None) => {
            return match claim.class() {
                // An empty class asks for a volume without one.
                Some(class) => Pending::NoVolume {
                    class: class.to_owned(),
                },
                None => Pending::NoDefaultClass,
            };
        }
        Err(class) => return Pending::NoClass { class },
    };
    if class.waits_for_pod() {
        let pods = seen.pods.as_deref().unwrap_or_default();
        let mut users = pods.iter().filter(|pod| pod.uses(claim)).peekable();
        if users.peek().is_none() {
            return Pending::WaitsForPod;
        }
        let mut waiting = users.filter(|pod| !pod.is_scheduled());
        if class.provisions()
            && let Some(pod) = waiting.next()
        {
            return Pending::WaitsForNode {
                pod: pod.metadata.name.clone(),
            };
        }
    }
    if class.provisions() {
        Pending::Undecided {
            provisioner: class.provisioner.clone(),
        }
    } else {
        Pending::NoVolume {
            class: class.metadata.name.clone(),
        }
    }
}

/// The class of a claim; `None` where it has none, an error with its name where it is not there.
fn class_of<'a>(claim: &Claim, seen: &'a Seen) -> Result<Option<&'a Class>, String> {
    match claim.class() {
        Some("") => Ok(None),
        Some(name) => match seen
            .classes
            .iter()
            .find(|class| class.metadata.name == name)
        {
            Some(class) => Ok(Some(class)),
            None => Err(name.to_owned()),
        },
        None => Ok(seen.classes.iter().find(|class| class.is_default())),
    }
}

/// Whether a volume that is free, or kept for the claim, is what it asks for.
fn has_free_volume(claim: &Claim, seen: &Seen) -> bool {
    seen.volumes.iter().any(|volume| {
        let is_free = volume.spec.claim_ref.is_none() || volume.is_kept_for(claim);
        is_free && volume.status.phase == "Available" && misfits(claim, volume).is_empty()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(pods: &[Value]) -> Seen {
        let class = |name: &str, provisioner: &str, mode: &str| json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode});
        let classes = json!([
            class("by-hand", "kubernetes.io/no-provisioner", "Immediate"),
            class(
                "by-hand-late",
                "kubernetes.io/no-provisioner",
                "WaitForFirstConsumer"
            ),
            class(
                "local-path",
                "rancher.io/local-path",
                "WaitForFirstConsumer"
            ),
            class("ebs", "ebs.csi.aws.com", "Immediate"),
        ]);
        let free = json!([{"metadata": {"name": "free"}, "status": {"phase": "Available"}, "spec":
            {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand"}}]);
        Seen {
            classes: serde_json::from_value(classes).expect("classes"),
            volumes: serde_json::from_value(free).expect("volumes"),
            pods: Some(serde_json::from_value(json!(pods)).expect("pods")),
            ..Seen::default()
        }
    }

    fn claim(class: &Value, size: &str) -> Claim {
        let object = json!({"metadata": {"name": "data", "namespace": "shop"}, "status": {"phase": "Pending"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": {"requests": {"storage": size}}}});
        serde_json::from_value(object).expect("a claim")
    }

    #[test]
    fn a_claim_that_waits_says_what_for() {
        let pod = |node: &str| {
            json!({"metadata": {"name": "db-0", "namespace": "shop"}, "spec": {"nodeName": node, "volumes":
                [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}})
        };
        let other = json!({"metadata": {"name": "x", "namespace": "other"}, "spec": {"volumes":
            [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}});
        let ephemeral = json!({"metadata": {"name": "data", "namespace": "shop"}, "spec": {"volumes":
            [{"name": "v", "ephemeral": {}}]}});
        let undecided = |provisioner: &str| Pending::Undecided {
            provisioner: provisioner.into(),
        };
        let no_volume = |class: &str| Pending::NoVolume {
            class: class.into(),
        };
        for (class, size, pods, expected) in [
            (
                json!("gone"),
                "1Gi",
                vec![],
                Pending::NoClass {
                    class: "gone".into(),
                },
            ),
            (json!(null), "1Gi", vec![], Pending::NoDefaultClass),
            (json!(""), "1Gi", vec![], no_volume("")),
            (json!("by-hand"), "1Gi", vec![], undecided("")),
            (json!("by-hand"), "2Gi", vec![], no_volume("by-hand")),
            (json!("local-path"), "1Gi", vec![], Pending::WaitsForPod),
            (
                json!("local-path"),
                "1Gi",
                vec![other.clone(), ephemeral.clone()],
                Pending::WaitsForPod,
            ),
            (
                json!("local-path"),
                "1Gi",
                vec![pod("")],
                Pending::WaitsForNode { pod: "db-0".into() },
            ),
            (
                json!("local-path"),
                "1Gi",
                vec![pod("node1")],
                undecided("rancher.io/local-path"),
            ),
            (
                json!("by-hand-late"),
                "1Gi",
                vec![pod("")],
                no_volume("by-hand-late"),
            ),
            (json!("ebs"), "1Gi", vec![], undecided("ebs.csi.aws.com")),
        ] {
            assert_eq!(
                why(&claim(&class, size), &seen(&pods)),
                expected,
                "{class} {size} {pods:?}"
            );
        }
        let mut own = claim(&json!("local-path"), "1Gi");
        own.metadata.name = "data-v".to_owned();
        assert_eq!(
            why(&own, &seen(&[ephemeral])),
            Pending::WaitsForNode { pod: "data".into() }
        );
    }

    #[test]
    fn the_default_class_counts_where_a_claim_names_none() {
        let mut seen = seen(&[]);
        let key = "storageclass.kubernetes.io/is-default-class".to_owned();
        seen.classes[3]
            .metadata
            .annotations
            .insert(key, "true".to_owned());
        let expected = Pending::Undecided {
            provisioner: "ebs.csi.aws.com".into(),
        };
        assert_eq!(why(&claim(&json!(null), "1Gi"), &seen), expected);
        assert_eq!(
            why(&claim(&json!(""), "1Gi"), &seen),
            Pending::NoVolume {
                class: String::new()
            }
        );
    }
}
