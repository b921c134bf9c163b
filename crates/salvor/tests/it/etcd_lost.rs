//! Captured changes and points where something is missing: a key, a record, the location itself.

use crate::etcd_stream::Bench;

#[test]
fn another_identity_is_refused_with_those_who_can_read_and_is_not_called_damage() {
    let Some(bench) = Bench::new() else {
        return;
    };
    bench.etcd.put("/registry/pods/a/one");
    let saved = format!("etcd snapshot save --endpoints {}", bench.etcd.endpoint);
    bench.run(&saved).expect(0);
    let home = bench.place.home.path();
    let url = format!("file://{}", home.join("other").display());
    bench
        .run(&format!("backup-location create other {url}"))
        .expect(0);
    bench
        .run("backup-location init other --new-identity other.txt")
        .expect(0);
    for line in [
        "etcd snapshot verify --point latest --identity other.txt",
        "etcd snapshot restore --point latest --identity other.txt --data-dir data",
    ] {
        let refused = bench.run(line);
        assert_eq!(refused.code, 4, "{}", refused.err);
        assert!(refused.err.contains("is encrypted to"), "{}", refused.err);
        assert!(
            !refused.err.contains("stored-data-wrong"),
            "{}",
            refused.err
        );
    }
    assert!(!home.join("data").exists());
    bench.run("etcd compact --identity id.txt").expect(3);
    let points = bench.run("point get -o json");
    assert!(
        points.expect(0).contains("\"recipients\": ["),
        "{}",
        points.out
    );
}

#[test]
fn an_empty_folder_in_the_place_of_a_location_is_not_taken_for_it() {
    let Some(bench) = Bench::new() else {
        return;
    };
    bench.etcd.put("/registry/pods/a/one");
    let save = format!("etcd snapshot save --endpoints {}", bench.etcd.endpoint);
    bench.run(&save).expect(0);
    let (own, away) = (
        bench.place.home.path().join("off"),
        bench.place.home.path().join("away"),
    );
    std::fs::rename(&own, &away).expect("moved");
    // The folder itself is gone, as is all that could be read there.
    for line in [
        "etcd timeline",
        "point get",
        "etcd restore --latest --identity id.txt",
    ] {
        bench.run(line).expect(3);
    }
    bench.run(&save).expect(4);
    assert!(!own.exists(), "nothing was made in its place");
    std::fs::create_dir(&own).expect("a folder");
    for line in ["etcd timeline", "point get", "etcd prune", save.as_str()] {
        let refused = bench.run(line);
        assert_eq!(refused.code, 4, "{line}: {}", refused.err);
        assert!(refused.err.contains("it has no record"), "{}", refused.err);
    }
    assert_eq!(std::fs::read_dir(&own).expect("there").count(), 0);
    bench.run("backup-location init off").expect(4);
    std::fs::remove_dir(&own).expect("empty");
    std::fs::rename(&away, &own).expect("moved");
    bench.run("point get").expect(0);
    bench.run(&save).expect(0);
}
