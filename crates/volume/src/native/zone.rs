//! Zones of volumes: where a volume is, and where one that takes its place goes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Keys by which Kubernetes and drivers name a zone, as Velero looks for them: labels of a volume first, then what its
/// node affinity says.
const LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
];
const AFFINITIES: [&str; 5] = [
    "topology.ebs.csi.aws.com/zone",
    "topology.disk.csi.azure.com/zone",
    "topology.gke.io/zone",
    LABELS[0],
    LABELS[1],
];
/// Between the zones of a volume that stands in several.
const SEPARATOR: &str = "__";

/// The zone of a PersistentVolume; empty when it has none.
#[must_use]
pub fn zone_of(volume: &Value) -> String {
    let labels = &volume["metadata"]["labels"];
    let labelled = LABELS.iter().find_map(|key| labels[*key].as_str());
    if let Some(zone) = labelled.filter(|zone| !zone.is_empty()) {
        return zone.to_owned();
    }
    let mut found: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for expression in expressions(volume) {
        let key = expression["key"].as_str().unwrap_or_default();
        if let Some(at) = AFFINITIES.iter().position(|known| *known == key) {
            let values = expression["values"].as_array().into_iter().flatten();
            found
                .entry(at)
                .or_default()
                .extend(values.filter_map(Value::as_str));
        }
    }
    let zones = found.into_values().next().unwrap_or_default();
    let zones: Vec<&str> = zones.into_iter().collect();
    zones.join(SEPARATOR)
}

fn expressions(volume: &Value) -> impl Iterator<Item = &Value> {
    let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
    let terms = terms.as_array().into_iter().flatten();
    terms.flat_map(|term| term["matchExpressions"].as_array().into_iter().flatten())
}

/// Moves a PersistentVolume from one zone to another: its labels, and what its node affinity says. Its source is its
/// snapshotter's business.
pub fn rezone(volume: &mut Value, from: &str, to: &str) {
    if from.is_empty() || to.is_empty() || from == to {
        return;
    }
    if let Some(labels) = volume["metadata"]["labels"].as_object_mut() {
        for key in LABELS {
            if let Some(label) = labels.get_mut(key) {
                *label = json!(to);
            }
        }
    }
    let terms = volume
        .pointer_mut("/spec/nodeAffinity/required/nodeSelectorTerms")
        .and_then(Value::as_array_mut);
    for term in terms.into_iter().flatten() {
        let expressions = term["matchExpressions"].as_array_mut();
        for expression in expressions.into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default();
            if AFFINITIES.contains(&key) {
                expression["values"] = json!([to]);
            }
        }
    }
}

/// Where volumes of these zones go in a cluster whose nodes have those: where they were, and else, in the order of the
/// names, from zone to zone, so that volumes that were in one zone stay in one. Nothing moves where the nodes have no
/// zones. A volume that stands in several zones stays as it is.
#[must_use]
pub fn map_zones(volumes: &BTreeSet<String>, nodes: &BTreeSet<String>) -> BTreeMap<String, String> {
    let there: Vec<&String> = nodes.iter().collect();
    if there.is_empty() {
        return BTreeMap::new();
    }
    let missing = volumes
        .iter()
        .filter(|zone| !zone.is_empty() && !zone.contains(SEPARATOR) && !nodes.contains(*zone));
    missing
        .enumerate()
        .map(|(at, zone)| (zone.clone(), there[at % there.len()].clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affine(key: &str, zones: &[&str]) -> Value {
        json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": key, "operator": "In", "values": zones}]}]}}}})
    }

    #[test]
    fn a_zone_is_found_where_velero_finds_it_and_moved_everywhere() {
        let labelled = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "a",
            "failure-domain.beta.kubernetes.io/zone": "b"}}});
        let old = json!({"metadata": {"labels": {"failure-domain.beta.kubernetes.io/zone": "b"}}});
        let driver = affine("topology.ebs.csi.aws.com/zone", &["c"]);
        let regional = affine("topology.gke.io/zone", &["f", "e"]);
        let other = affine("kubernetes.io/hostname", &["node-1"]);
        for (mut volume, zone) in [
            (labelled, "a"),
            (old, "b"),
            (driver, "c"),
            (regional, "e__f"),
            (other, ""),
            (json!({}), ""),
            (json!("x"), ""),
        ] {
            assert_eq!(zone_of(&volume), zone, "{volume}");
            let before = volume.clone();
            rezone(&mut volume, zone, "z");
            match zone {
                "" => assert_eq!(volume, before),
                _ => assert_eq!(zone_of(&volume), "z", "{volume}"),
            }
        }
    }

    #[test]
    fn volumes_that_were_together_stay_together_in_a_zone_that_has_nodes() {
        let set = |zones: &[&str]| -> BTreeSet<String> {
            zones.iter().map(|zone| (*zone).to_owned()).collect()
        };
        let mapped = |volumes: &[&str], nodes: &[&str]| -> Vec<(String, String)> {
            map_zones(&set(volumes), &set(nodes)).into_iter().collect()
        };
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(mapped(&["a", "b"], &["a", "b", "c"]), []);
        assert_eq!(mapped(&["a", "b"], &[]), []);
        assert_eq!(mapped(&["", "a__b"], &["z"]), []);
        assert_eq!(mapped(&["a", "b"], &["b"]), [pair("a", "b")]);
        let three = [pair("a", "x"), pair("b", "y"), pair("c", "x")];
        assert_eq!(mapped(&["a", "b", "c"], &["x", "y"]), three);
    }
}
