//! Copies, mirrors, repair and plain files by command.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::Place;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A place with one backup, and folders for two other locations.
fn place() -> (Place, PathBuf, PathBuf) {
    let place = Place::with_cluster();
    place
        .run("backup create first --include-namespaces shop")
        .expect(0);
    let at = |name: &str| place.home.path().join(name);
    let (b, c) = (at("b"), at("c"));
    (place, b, c)
}

#[test]
fn a_backup_is_copied_seen_damaged_passed_over_and_repaired() {
    let (place, b, c) = place();
    let (b, c) = (b.display().to_string(), c.display().to_string());
    let copied = place.run(&format!(
        "backup copy first --to {b},{c} --rule any --ttl 48h"
    ));
    assert!(copied.expect(0).contains("copied to"), "{}", copied.out);
    assert!(copied.err.contains("one loss takes both"), "{}", copied.err);
    let copies = json(place.run("backup copies first -o json").expect(0));
    assert_eq!(copies[0]["state"], "present");
    assert_eq!(copies[0]["record"]["attempts"], 1);
    fs::remove_dir_all(&c).expect("removed");
    let missing = place.run("backup copies first");
    assert!(missing.expect(1).contains("missing"), "{}", missing.out);
    let there = place.run(&format!("--location {b} backup describe first"));
    assert!(there.expect(0).contains("Copied from"), "{}", there.out);
    place
        .run(&format!("--location {b} backup verify first"))
        .expect(0);

    let archive = place.location().join("backups/first/first.tar.gz");
    let sound = fs::read(&archive).expect("there");
    fs::write(&archive, b"not an archive").expect("damaged");
    place.run("backup verify first").expect(7);
    let described = place.run("backup describe first");
    assert!(
        described.expect(0).contains(" damaged 20"),
        "{}",
        described.out
    );
    let refused = place.run(&format!("backup copy first --to {c}"));
    assert_eq!(refused.code, 7, "{}", refused.err);
    assert!(
        !PathBuf::from(&c)
            .join("backups/first/velero-backup.json")
            .exists()
    );
    place.delete("deployment", Some("shop"), "web");
    let passed = place.run("undelete deployment/web -n shop --yes");
    assert!(passed.err.contains("passed over"), "{}", passed.err);
    assert_eq!(passed.code, 3, "{}", passed.err);

    let repaired = place.run("backup repair first");
    assert!(repaired.expect(0).contains("is whole"), "{}", repaired.out);
    assert_eq!(fs::read(&archive).expect("there"), sound);
    place.run("undelete deployment/web -n shop --yes").expect(0);
    let again = place.run(&format!("backup copy first --to {c}"));
    again.expect(0);

    let deleted = place.run("backup delete first --yes");
    deleted.expect(0);
    let stay = format!("its copies stay and can be restored from: file://{b}, file://{c}");
    assert!(deleted.err.contains(&stay), "{}", deleted.err);
    let kept = place.run(&format!("--location {b} backup get first"));
    kept.expect(0);
}

#[test]
fn a_backup_makes_the_copies_that_it_is_asked_for() {
    let (place, b, _) = place();
    let b = b.display().to_string();
    let made = place.run(&format!(
        "backup create second --copy-to {b} --include-namespaces shop"
    ));
    assert!(made.expect(0).contains("copied to"), "{}", made.out);
    // A location that cannot be: its folder is a file.
    let file = place.home.path().join("file");
    fs::write(&file, b"").expect("written");
    let file = file.display();
    let partly = place.run(&format!(
        "backup create third --copy-to {b},{file} --include-namespaces shop"
    ));
    assert_eq!(partly.code, 5, "{}", partly.err);
    assert!(partly.err.contains("1 of 2 copies"), "{}", partly.err);
    let enough = place.run(&format!(
        "backup create fourth --copy-to {b},{file} --copy-rule any --include-namespaces shop"
    ));
    enough.expect(0);
    for bad in [
        "--copy-rule all",
        "--copy-to x --copy-rule most",
        "--copy-to x --copy-rule 2",
    ] {
        let refused = place.run(&format!("backup create fifth {bad}"));
        assert_eq!(refused.code, 2, "{bad}: {}", refused.err);
    }
}

#[test]
fn a_location_is_mirrored_and_what_goes_at_the_source_stays() {
    let (place, b, _) = place();
    let (a, b) = (
        place.location().display().to_string(),
        b.display().to_string(),
    );
    place.run("backup hold first --reason audit").expect(0);
    let mirror = format!("backup-location mirror {a} {b}");
    let plan = place.run(&format!("{mirror} --dry-run"));
    assert!(
        plan.expect(0).contains("backup first: copy"),
        "{}",
        plan.out
    );
    assert!(!PathBuf::from(&b).exists(), "a dry run writes nothing");
    assert!(place.run(&mirror).expect(0).contains("mirror done"));
    let held = place.run(&format!("--location {b} backup delete first --yes"));
    assert_eq!(held.code, 4, "{}", held.err);
    let again = place.run(&mirror);
    again.expect(0);
    assert!(again.err.contains("already"), "{}", again.err);
    place.run("backup release first --all --yes").expect(0);
    place.run(&mirror).expect(0);
    place.run("backup delete first --yes").expect(0);
    place
        .run("backup create second --include-namespaces shop")
        .expect(0);
    place.run(&mirror).expect(0);
    let kept = place.run(&format!("--location {b} backup get -o name"));
    assert_eq!(
        kept.expect(0),
        "backup.velero.io/first\nbackup.velero.io/second\n"
    );
    let asked = place.run(&format!("{mirror} --prune deleted"));
    assert_eq!(asked.code, 4, "{}", asked.err);
    place
        .run(&format!("{mirror} --prune deleted --yes"))
        .expect(0);
    let kept = place.run(&format!("--location {b} backup get -o name"));
    assert_eq!(kept.expect(0), "backup.velero.io/second\n");
    let same = place.run(&format!("backup-location mirror {a} {a}"));
    assert_eq!(same.code, 2, "{}", same.err);
}

#[test]
fn a_folder_is_mirrored_listed_and_brought_back() {
    let (place, b, _) = place();
    let b = b.display().to_string();
    let folder = place.home.path().join("dumps");
    fs::create_dir_all(folder.join("daily")).expect("made");
    fs::write(folder.join("daily/monday.sql"), b"INSERT").expect("written");
    let folder = folder.display();
    let mirror = format!("backup-location mirror --from-directory {folder} {b}");
    place.run(&format!("{mirror} --dry-run")).expect(0);
    let kept = place.run(&mirror);
    assert!(kept.expect(0).contains("1 file"), "{}", kept.out);
    let files = |rest: &str| place.run(&format!("--location {b} backup-location files {rest}"));
    assert!(files("list").expect(0).contains("dumps"));
    assert!(files("list dumps").expect(0).contains("daily/monday.sql"));
    files("verify dumps").expect(0);
    let to = place.home.path().join("back");
    files(&format!("get dumps --to {}", to.display())).expect(0);
    assert_eq!(
        fs::read(to.join("daily/monday.sql")).expect("back"),
        b"INSERT"
    );
    assert_eq!(files(&format!("get dumps --to {}", to.display())).code, 2);
    assert_eq!(files("get dumps nothing --to other").code, 3);
    assert_eq!(files("delete dumps").code, 4);
    files("delete dumps --yes").expect(0);
    assert_eq!(files("delete dumps --yes").code, 3);
}
