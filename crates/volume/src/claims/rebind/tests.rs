use serde_json::{Value, json};

use super::*;

fn request(create_claim: bool) -> Request {
    Request {
        volume: "pv-old".to_owned(),
        namespace: "shop".to_owned(),
        claim: "data".to_owned(),
        create_claim,
    }
}

/// A volume that claim `shop/data` left behind, changed.
fn volume(change: &[(&str, Value)]) -> Volume {
    let mut object = json!({
        "metadata": {"name": "pv-old", "uid": "v1"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "slow",
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/x"},
            "claimRef": {"namespace": "shop", "name": "data", "uid": "gone"}},
        "status": {"phase": "Released"},
    });
    for (pointer, value) in change {
        *at(&mut object, pointer) = value.clone();
    }
    serde_json::from_value(object).expect("a volume")
}

/// Claim `shop/data`, pending, changed.
fn claim(change: &[(&str, Value)]) -> Claim {
    let mut object = json!({
        "metadata": {"name": "data", "namespace": "shop", "uid": "c1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "slow",
            "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    });
    for (pointer, value) in change {
        *at(&mut object, pointer) = value.clone();
    }
    serde_json::from_value(object).expect("a claim")
}

fn at<'a>(object: &'a mut Value, path: &str) -> &'a mut Value {
    let mut parts: Vec<&str> = path.split('/').collect();
    let last = parts.pop().expect("a path");
    let parent = parts
        .into_iter()
        .fold(object, |object, part| &mut object[part]);
    &mut parent[last]
}

fn steps(plan: &Plan) -> Vec<&'static str> {
    let name = |step: &Step| match step {
        Step::Keep { .. } => "keep",
        Step::Reserve { .. } => "reserve",
        Step::Create { .. } => "create",
        Step::Point => "point",
        Step::Wait => "wait",
    };
    plan.steps.iter().map(name).collect()
}

#[test]
fn every_state_that_a_kill_can_leave_is_gone_on_from() {
    let reserved = json!({"namespace": "shop", "name": "data"});
    let mine = json!({"namespace": "shop", "name": "data", "uid": "c1"});
    let marked = json!({"pv.kubernetes.io/bound-by-controller": "yes"});
    let named = ("spec/volumeName", json!("pv-old"));
    let available = ("status/phase", json!("Available"));
    let delete = ("spec/persistentVolumeReclaimPolicy", json!("Delete"));
    let bound = ("status/phase", json!("Bound"));
    for (volume, claim, expected) in [
        (
            volume(std::slice::from_ref(&delete)),
            None,
            "keep reserve create wait",
        ),
        (volume(&[]), None, "reserve create wait"),
        (
            volume(&[("spec/claimRef", reserved.clone()), available.clone()]),
            None,
            "create wait",
        ),
        (
            volume(&[("spec/claimRef", reserved.clone())]),
            Some(claim(std::slice::from_ref(&named))),
            "wait",
        ),
        (volume(&[]), Some(claim(&[])), "reserve point wait"),
        (
            volume(&[("spec/claimRef", mine.clone()), available.clone()]),
            Some(claim(&[])),
            "point wait",
        ),
        (
            volume(&[("spec/claimRef", mine.clone()), bound.clone()]),
            Some(claim(&[])),
            "point wait",
        ),
        (
            volume(&[("spec/claimRef", mine.clone()), bound.clone()]),
            Some(claim(&[named.clone(), bound.clone()])),
            "wait",
        ),
        (
            volume(&[("spec/claimRef", mine.clone()), bound.clone(), delete]),
            Some(claim(&[named.clone(), bound.clone()])),
            "keep wait",
        ),
        (
            volume(&[("spec/claimRef", json!(null)), available.clone()]),
            None,
            "reserve create wait",
        ),
        // The binder's mark would make the volume free for all later.
        (
            volume(&[
                ("spec/claimRef", reserved),
                available,
                ("metadata/annotations", marked),
            ]),
            None,
            "reserve create wait",
        ),
        // A claim whose volume was deleted and made again is found by its identity.
        (
            volume(&[
                ("spec/claimRef", json!(null)),
                ("status/phase", json!("Available")),
            ]),
            Some(claim(&[named, ("status/phase", json!("Lost"))])),
            "reserve wait",
        ),
    ] {
        let planned = plan(
            &request(true),
            std::slice::from_ref(&volume),
            claim.as_ref(),
        );
        let planned = planned.unwrap_or_else(|refusal| panic!("{refusal}: {volume:?} {claim:?}"));
        assert_eq!(steps(&planned).join(" "), expected, "{volume:?} {claim:?}");
        assert_eq!(planned.is_done(), expected == "wait");
    }
}

#[test]
fn what_could_lose_data_or_somebody_elses_volume_is_refused() {
    let deleting = ("metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
    let others = json!({"namespace": "shop", "name": "other", "uid": "o1"});
    let bound = ("status/phase", json!("Bound"));
    let other_volume = [
        ("metadata/name", json!("pv-new")),
        (
            "spec/claimRef",
            json!({"namespace": "shop", "name": "data"}),
        ),
        ("status/phase", json!("Available")),
    ];
    let (one, fresh) = (|volume| vec![volume], Some(claim(&[])));
    for (volumes, claim, create, expected) in [
        (vec![], None, true, "there is no volume pv-old"),
        (one(volume(&[])), None, false, "there is no claim shop/data"),
        (
            one(volume(std::slice::from_ref(&deleting))),
            None,
            true,
            "volume pv-old is being deleted",
        ),
        (
            one(volume(&[])),
            Some(claim(&[deleting])),
            true,
            "claim shop/data is being deleted",
        ),
        (
            one(volume(&[("spec/claimRef", others.clone()), bound.clone()])),
            fresh.clone(),
            true,
            "bound to claim shop/other",
        ),
        // Its claim was deleted a moment ago, and the binder has not looked yet.
        (
            one(volume(&[bound])),
            None,
            true,
            "bound to claim shop/data",
        ),
        (
            one(volume(&[
                ("spec/claimRef", others),
                ("status/phase", json!("Available")),
            ])),
            None,
            true,
            "kept for claim shop/other",
        ),
        (
            one(volume(&[
                ("spec/claimRef", json!(null)),
                ("status/phase", json!("Pending")),
            ])),
            None,
            true,
            "is Pending",
        ),
        (
            one(volume(&[])),
            Some(claim(&[("spec/volumeName", json!("pv-new"))])),
            true,
            "has volume pv-new already",
        ),
        (
            one(volume(&[("spec/storageClassName", json!("fast"))])),
            fresh.clone(),
            true,
            "storage class is slow, the volume's fast",
        ),
        (
            vec![volume(&[]), volume(&other_volume)],
            fresh,
            true,
            "volume pv-new is kept for claim shop/data already",
        ),
    ] {
        let refusal = plan(&request(create), &volumes, claim.as_ref()).expect_err(expected);
        assert!(refusal.to_string().contains(expected), "{refusal}");
        assert!(!refusal.advice().is_empty());
    }
}

#[test]
fn a_new_claim_asks_for_what_the_volume_is_and_can_be_undone() {
    let volume = volume(&[
        ("spec/storageClassName", json!("")),
        ("spec/persistentVolumeReclaimPolicy", json!("Delete")),
    ]);
    let planned = plan(&request(true), std::slice::from_ref(&volume), None).expect("a plan");
    let Some(Step::Create { claim }) = planned.steps.get(2) else {
        panic!("{planned:?}");
    };
    // No class at all would be the default one.
    assert_eq!(claim["spec"]["storageClassName"], "");
    let made: Claim = serde_json::from_value(claim.clone()).expect("a claim");
    assert_eq!(misfits(&made, &volume), Vec::new());
    let undo = [
        "kubectl delete pvc data -n shop",
        r#"kubectl patch pv pv-old --type merge -p '{"spec":{"claimRef":{"namespace":"shop","name":"data","uid":"gone","resourceVersion":null}}}'"#,
    ];
    assert_eq!(planned.undo, undo);
}
