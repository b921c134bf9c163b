//! Whether a volume is what a claim asks for, by the rules of Kubernetes' binder.

use std::fmt;

use salvor_api::selector::Selector;
use serde::Serialize;

use super::objects::{Claim, is_more};
use super::volume::Volume;

/// A way in which a volume is not what a claim asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "what")]
pub enum Misfit {
    /// Another storage class.
    Class {
        /// The claim's; empty for none.
        claim: String,
        /// The volume's; empty for none.
        volume: String,
    },
    /// The claim wants to be mounted in ways that the volume cannot.
    AccessModes {
        /// The claim's.
        claim: Vec<String>,
        /// The volume's.
        volume: Vec<String>,
    },
    /// The volume is too small.
    Size {
        /// What the claim asks for.
        claim: String,
        /// What the volume has.
        volume: String,
    },
    /// One is a file system, the other a block device.
    Mode {
        /// The claim's.
        claim: String,
        /// The volume's.
        volume: String,
    },
    /// The volume does not have the labels that the claim asks for.
    Selector {
        /// The claim's selector.
        claim: String,
    },
    /// Another VolumeAttributesClass.
    Attributes {
        /// The claim's; empty for none.
        claim: String,
        /// The volume's; empty for none.
        volume: String,
    },
}

/// `none` for an empty name.
fn or_none(name: &str) -> &str {
    if name.is_empty() { "none" } else { name }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class { claim, volume } => {
                let (claim, volume) = (or_none(claim), or_none(volume));
                write!(
                    f,
                    "the claim's storage class is {claim}, the volume's {volume}"
                )
            }
            Self::AccessModes { claim, volume } => {
                let (claim, volume) = (claim.join(", "), volume.join(", "));
                write!(
                    f,
                    "the claim asks for access {claim}, the volume has {volume}"
                )
            }
            Self::Size { claim, volume } => {
                write!(f, "the claim asks for {claim}, the volume has {volume}")
            }
            Self::Mode { claim, volume } => {
                write!(
                    f,
                    "the claim's volume mode is {claim}, the volume's {volume}"
                )
            }
            Self::Selector { claim } => {
                write!(
                    f,
                    "the volume does not have the labels that the claim asks for ({claim})"
                )
            }
            Self::Attributes { claim, volume } => {
                let (claim, volume) = (or_none(claim), or_none(volume));
                write!(
                    f,
                    "the claim's attributes class is {claim}, the volume's {volume}"
                )
            }
        }
    }
}

/// Every way in which a volume is not what a claim asks for.
#[must_use]
pub fn misfits(claim: &Claim, volume: &Volume) -> Vec<Misfit> {
    let mut found = Vec::new();
    let class = claim.class().unwrap_or_default();
    if class != volume.class() {
        found.push(Misfit::Class {
            claim: class.to_owned(),
            volume: volume.class().to_owned(),
        });
    }
    let (wanted, offered) = (&claim.spec.access_modes, &volume.spec.access_modes);
    if !wanted.iter().all(|mode| offered.contains(mode)) {
        found.push(Misfit::AccessModes {
            claim: wanted.clone(),
            volume: offered.clone(),
        });
    }
    if is_more(claim.request(), volume.capacity()) {
        found.push(Misfit::Size {
            claim: claim.request().to_owned(),
            volume: volume.capacity().to_owned(),
        });
    }
    if claim.mode() != volume.mode() {
        found.push(Misfit::Mode {
            claim: claim.mode().to_owned(),
            volume: volume.mode().to_owned(),
        });
    }
    if let Some(selector) = &claim.spec.selector {
        // One that cannot be read selects nothing, as the binder has it.
        let compiled = Selector::compile(selector);
        if !compiled.is_ok_and(|compiled| compiled.matches(&volume.metadata.labels)) {
            found.push(Misfit::Selector {
                claim: selector.display(),
            });
        }
    }
    if claim.attributes_class() != volume.attributes_class() {
        found.push(Misfit::Attributes {
            claim: claim.attributes_class().to_owned(),
            volume: volume.attributes_class().to_owned(),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn claim(change: &Value) -> Claim {
        let mut spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "slow",
            "resources": {"requests": {"storage": "1Gi"}}});
        merge(&mut spec, change);
        serde_json::from_value(json!({"metadata": {"name": "data"}, "spec": spec}))
            .expect("a claim")
    }

    fn merge(spec: &mut Value, change: &Value) {
        for (key, value) in change.as_object().expect("an object") {
            spec[key] = value.clone();
        }
    }

    fn volume(change: &Value) -> Volume {
        let mut spec = json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "storageClassName": "slow",
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}});
        merge(&mut spec, change);
        let metadata = json!({"name": "pv", "labels": {"disk": "a"}});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a volume")
    }

    #[test]
    fn a_volume_fits_as_the_binder_would_have_it() {
        let same = json!({});
        for (of_claim, of_volume, expected) in [
            (json!({}), json!({}), None),
            (
                json!({"resources": {"requests": {"storage": "1024Mi"}}}),
                json!({}),
                None,
            ),
            (
                json!({"resources": {"requests": {"storage": "1.5Gi"}}}),
                json!({}),
                Some("1.5Gi"),
            ),
            (
                json!({"storageClassName": ""}),
                json!({}),
                Some("class is none"),
            ),
            (
                json!({"storageClassName": null}),
                json!({"storageClassName": ""}),
                None,
            ),
            (
                json!({"accessModes": ["ReadWriteMany"]}),
                same.clone(),
                Some("ReadWriteMany"),
            ),
            (json!({"accessModes": ["ReadOnlyMany"]}), same.clone(), None),
            (json!({"volumeMode": "Filesystem"}), same.clone(), None),
            (
                json!({"volumeMode": "Block"}),
                same.clone(),
                Some("volume mode is Block"),
            ),
            (
                json!({"selector": {"matchLabels": {"disk": "a"}}}),
                same.clone(),
                None,
            ),
            (
                json!({"selector": {"matchLabels": {"disk": "b"}}}),
                same.clone(),
                Some("labels"),
            ),
            (
                json!({"selector": {"matchExpressions": [{"key": "disk", "operator": "Near"}]}}),
                same.clone(),
                Some("labels"),
            ),
            (
                json!({"volumeAttributesClassName": "gold"}),
                same,
                Some("attributes class is gold"),
            ),
        ] {
            let found = misfits(&claim(&of_claim), &volume(&of_volume));
            let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
            match expected {
                Some(part) => assert!(
                    shown.len() == 1 && shown[0].contains(part),
                    "{of_claim}: {shown:?}"
                ),
                None => assert_eq!(shown, Vec::<String>::new(), "{of_claim} {of_volume}"),
            }
        }
    }

    #[test]
    fn the_old_annotation_of_a_class_still_counts() {
        let mut claim = claim(&json!({"storageClassName": null}));
        let old = "volume.beta.kubernetes.io/storage-class".to_owned();
        claim.metadata.annotations.insert(old, "slow".to_owned());
        assert_eq!(misfits(&claim, &volume(&json!({}))), Vec::new());
    }
}
