use serde_json::{Value, json};

use super::*;
use crate::claims::objects::Node;

/// A claim of namespace `shop` that is bound to volume `pv-NAME`, and that volume.
fn pair(name: &str) -> (Value, Value) {
    let volume = format!("pv-{name}");
    let claim = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "slow", "volumeName": volume,
            "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Bound"}});
    let volume = json!({
        "metadata": {"name": volume, "uid": volume},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "slow", "capacity": {"storage": "1Gi"},
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": format!("/data/{name}")},
            "claimRef": {"namespace": "shop", "name": name, "uid": name}},
        "status": {"phase": "Bound"}});
    (claim, volume)
}

fn seen(claims: &[Value], volumes: &[Value]) -> Seen {
    let parsed = |list: &[Value]| serde_json::from_value(json!(list)).expect("claims");
    Seen {
        claims: parsed(claims),
        volumes: serde_json::from_value(json!(volumes)).expect("volumes"),
        nodes: Some(vec![node("node1")]),
        ..Seen::default()
    }
}

fn node(name: &str) -> Node {
    let labels = json!({"kubernetes.io/hostname": name});
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).expect("a node")
}

fn on(node: &str) -> Value {
    json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}})
}

fn codes(report: &ClaimsReport) -> Vec<String> {
    let value = serde_json::to_value(report).expect("JSON");
    let findings = value["claims"].as_array().expect("claims").iter();
    let of = |claim: &Value| claim["findings"].as_array().expect("findings").clone();
    let text = |finding: &Value| {
        let part = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", part("severity"), part("code"))
    };
    findings
        .flat_map(of)
        .map(|finding| text(&finding))
        .collect()
}

#[test]
fn each_way_in_which_claim_and_volume_do_not_belong_together_is_found() {
    type Change = fn(&mut Value, &mut Value);
    let cases: &[(&str, Change, &[&str])] = &[
        ("sound", |_, _| {}, &[]),
        (
            "a larger volume",
            |_, v| v["spec"]["capacity"]["storage"] = json!("2Gi"),
            &[],
        ),
        (
            "on a node that is there",
            |_, v| v["spec"]["nodeAffinity"] = on("node1"),
            &[],
        ),
        (
            "on a node that is gone",
            |_, v| v["spec"]["nodeAffinity"] = on("node9"),
            &["error nodeGone"],
        ),
        (
            "another incarnation",
            |_, v| v["spec"]["claimRef"]["uid"] = json!("old"),
            &["error volumeOfAnother"],
        ),
        (
            "another claim",
            |_, v| v["spec"]["claimRef"] = json!({"namespace": "x", "name": "y", "uid": "z"}),
            &["error volumeOfAnother"],
        ),
        (
            "nobody's",
            |_, v| v["spec"]["claimRef"] = json!(null),
            &["error volumeOfAnother"],
        ),
        (
            "released",
            |_, v| v["status"]["phase"] = json!("Released"),
            &["error volumePhase"],
        ),
        (
            "lost",
            |c, v| {
                c["status"]["phase"] = json!("Lost");
                v["metadata"]["name"] = json!("other");
            },
            &["error volumeGone"],
        ),
        (
            "not done yet",
            |c, v| {
                c["status"]["phase"] = json!("Pending");
                v["spec"]["claimRef"]["uid"] = json!("");
            },
            &["error pending"],
        ),
        (
            "smaller",
            |_, v| v["spec"]["capacity"]["storage"] = json!("1M"),
            &["warning misfit"],
        ),
        (
            "another class",
            |_, v| v["spec"]["storageClassName"] = json!("fast"),
            &["error misfit"],
        ),
        (
            "a block device",
            |_, v| v["spec"]["volumeMode"] = json!("Block"),
            &["error misfit"],
        ),
        (
            "another access",
            |c, _| c["spec"]["accessModes"] = json!(["ReadWriteMany"]),
            &["error misfit"],
        ),
        (
            "labels changed since",
            |c, _| c["spec"]["selector"] = json!({"matchLabels": {"a": "b"}}),
            &[],
        ),
        (
            "being deleted",
            |c, v| {
                c["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                v["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            },
            &["warning deleting", "error volumeDeleting"],
        ),
    ];
    for (what, change, expected) in cases {
        let (mut claim, mut volume) = pair("data");
        change(&mut claim, &mut volume);
        let report = claims_report(&seen(&[claim], &[volume]), None);
        assert_eq!(codes(&report), *expected, "{what}: {report:?}");
        let sound = !expected.iter().any(|code| code.starts_with("error"));
        assert_eq!(report.is_sound(), sound, "{what}");
    }
}

#[test]
fn where_nodes_may_not_be_seen_nothing_is_said_of_them() {
    let (claim, mut volume) = pair("data");
    volume["spec"]["nodeAffinity"] = on("node9");
    let mut seen = seen(&[claim], &[volume]);
    seen.nodes = None;
    assert!(claims_report(&seen, None).is_sound());
    seen.nodes = Some(Vec::new());
    assert!(!claims_report(&seen, None).is_sound());
}

#[test]
fn claims_of_a_backup_are_looked_for_with_the_volumes_that_they_had() {
    let (claim, volume) = pair("data");
    let had = |place: &str, capacity: &str, comes_back| Expected {
        namespace: "shop".to_owned(),
        name: "data".to_owned(),
        volume: Some(ExpectedVolume {
            name: "pv-then".to_owned(),
            place: Place {
                kind: "hostPath".to_owned(),
                handle: place.to_owned(),
                nodes: vec!["then".to_owned()],
            },
            capacity: capacity.to_owned(),
            comes_back,
        }),
    };
    let seen = seen(&[claim], &[volume]);
    for (expected, codes_of) in [
        (had("/data/data", "1Gi", ComesBack::Same), vec![]),
        (
            had("/data/then", "1Gi", ComesBack::Same),
            vec!["error otherVolume"],
        ),
        (
            had("/data/then", "1Gi", ComesBack::Lost),
            vec!["warning otherVolume"],
        ),
        (had("/data/then", "1Gi", ComesBack::Filled), vec![]),
        (
            had("/data/then", "2Gi", ComesBack::Filled),
            vec!["error smaller"],
        ),
    ] {
        let report = claims_report(&seen, Some(std::slice::from_ref(&expected)));
        assert_eq!(codes(&report), codes_of, "{expected:?}");
    }
    // Others are not looked at.
    assert_eq!(claims_report(&seen, Some(&[])).claims, Vec::new());
}

#[test]
fn a_volume_that_a_lost_claim_left_is_named_newest_first() {
    let left = |name: &str, since: &str| {
        let (_, mut volume) = pair("data");
        volume["metadata"]["name"] = json!(name);
        volume["spec"]["claimRef"]["uid"] = json!("gone");
        volume["status"] = json!({"phase": "Released", "lastPhaseTransitionTime": since});
        volume
    };
    let volumes = [
        left("a", "2026-01-01T00:00:00Z"),
        left("b", "2026-02-01T00:00:00Z"),
    ];
    let expected = Expected {
        namespace: "shop".to_owned(),
        name: "data".to_owned(),
        volume: None,
    };
    let report = claims_report(&seen(&[], &volumes), Some(&[expected]));
    let both = Finding::LeftBehind {
        volumes: vec!["b".to_owned(), "a".to_owned()],
    };
    assert_eq!(report.claims[0].findings, [Finding::Missing, both]);
    assert!(!report.is_sound());
}
