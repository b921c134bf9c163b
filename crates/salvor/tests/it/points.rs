//! `volume points`: every recovery point of a claim, over all backups of a location.

use salvor_archive::files::{
    Consistency, RepositorySnapshot, SalvorVolume, SalvorVolumes, VolumeMethod, VolumeOutcome,
    write_json_gz,
};
use serde_json::{Value, json};

use crate::support::Place;

/// Puts a file beside a backup.
fn beside(place: &Place, backup: &str, file: &str, bytes: &[u8]) {
    let path = place.location().join("backups").join(backup).join(file);
    std::fs::write(path, bytes).expect("written");
}

#[test]
fn the_points_of_a_claim_are_listed_newest_first_with_what_they_are_worth() {
    let place = Place::with_cluster();
    for name in ["ours", "veleros", "damaged", "other"] {
        place.run(&format!("backup create {name}")).expect(0);
    }
    let none = place.run("volume points shop/data");
    assert_eq!(none.expect(0), "");
    assert!(none.err.contains("shop/data"), "{}", none.err);

    let volume = |claim: &str| SalvorVolume {
        namespace: "shop".into(),
        claim: claim.into(),
        outcome: VolumeOutcome::Protected,
        method: Some(VolumeMethod::Files),
        consistency: Some(Consistency::Application),
        snapshot: Some(RepositorySnapshot {
            domain: "ns-shop".into(),
            id: "ab".repeat(32),
            bytes: 4096,
            ..RepositorySnapshot::default()
        }),
        started: "2026-11-20T03:00:00Z".parse().ok(),
        ..SalvorVolume::default()
    };
    let ours = SalvorVolumes::new(vec![volume("data"), volume("other")]);
    beside(
        &place,
        "ours",
        "salvor-volumes.json.gz",
        &ours.encode().expect("encoded"),
    );
    let other = SalvorVolumes::new(vec![volume("other")]);
    beside(
        &place,
        "other",
        "salvor-volumes.json.gz",
        &other.encode().expect("encoded"),
    );
    let veleros = json!([{"pvcName": "data", "pvcNamespace": "shop", "pvName": "pv", "backupMethod": "PodVolumeBackup",
        "startTimestamp": "2026-11-21T03:00:00Z", "pvbInfo": {"uploaderType": "kopia", "size": 77}}]);
    let veleros = write_json_gz(&veleros).expect("encoded");
    beside(&place, "veleros", "veleros-volumeinfo.json.gz", &veleros);
    // As a backup that Velero made has it: our own record is not there.
    let record = place
        .location()
        .join("backups/veleros/salvor-volumes.json.gz");
    std::fs::remove_file(record).expect("removed");

    let listed = place.run("volume points shop/data -o json");
    let points: Value = serde_json::from_str(listed.expect(0)).expect("JSON");
    let part = |at: usize, key: &str| points[at][key].clone();
    assert_eq!(
        (part(0, "backup"), part(1, "backup")),
        (json!("veleros"), json!("ours")),
        "{points}"
    );
    assert_eq!(points.as_array().map(Vec::len), Some(2), "{points}");
    assert_eq!(
        (part(0, "restorable"), part(1, "restorable")),
        (json!(false), json!(true))
    );
    assert_eq!(
        (part(1, "consistency"), part(1, "bytes"), part(1, "domain")),
        (json!("application"), json!(4096), json!("ns-shop"))
    );
    let table = place.run("volume points shop/data");
    assert!(
        table
            .expect(0)
            .contains("kopia repository, which only Velero reads"),
        "{}",
        table.out
    );

    // What cannot be brought into a claim says what to do instead, before anything is looked at in the cluster.
    let refused = place.run("volume restore shop/data --point veleros --in-place");
    refused.expect(4);
    assert!(
        refused.err.contains("which only Velero reads"),
        "{}",
        refused.err
    );
    let none = place.run("volume restore shop/data --point other --in-place");
    none.expect(3);
    assert!(none.err.contains("volume points shop/data"), "{}", none.err);
    place
        .run("volume restore shop/data --point nosuch --in-place")
        .expect(3);
    // The newest has no files of ours: an older one is the latest. Nobody is there who could bring it back.
    for point in ["ours", "latest"] {
        let nobody = place.run(&format!(
            "volume restore shop/data --point {point} --in-place"
        ));
        nobody.expect(3);
        assert!(nobody.err.contains("--use-node-agent"), "{}", nobody.err);
    }

    // One that cannot be read is said, and the others are there.
    beside(&place, "damaged", "salvor-volumes.json.gz", b"no gzip");
    let partial = place.run("volume points shop/data -o name");
    assert_eq!(partial.expect(5), "veleros\nours\n");
    assert!(partial.err.contains("damaged"), "{}", partial.err);
    place.run("volume points data").expect(2);
}
