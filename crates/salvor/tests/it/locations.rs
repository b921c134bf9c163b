//! The configuration file and the commands on locations.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Place, command};

fn run(place: &Place, line: &str) -> crate::support::Run {
    let args = line.split_whitespace();
    let output = command(place.home.path()).args(args).output();
    output.expect("the binary runs").into()
}

#[test]
fn locations_are_named_once_and_the_first_is_the_default() {
    let place = Place::new();
    let main = place.home.path().join("main");
    let line = format!("backup-location create main {}", main.display());
    run(&place, &line).expect(0);
    let again = run(&place, &line);
    assert_eq!(again.code, 4, "{}", again.err);
    run(
        &place,
        "backup-location create off s3://bucket/prefix?region=x --read-only",
    )
    .expect(0);
    let config = place.home.path().join(".config/salvor/config.yaml");
    let mode = std::fs::metadata(&config).expect("written").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let missing = run(&place, "backup get");
    assert!(
        missing.expect(3).is_empty() && missing.err.contains("no such folder"),
        "{}",
        missing.err
    );
    std::fs::create_dir(&main).expect("created");
    let empty = run(&place, "backup get");
    assert!(
        empty.err.contains("no backups in location main"),
        "{}",
        empty.err
    );
    run(&place, "backup-location set-default off").expect(0);
    let text = std::fs::read_to_string(&config).expect("readable");
    assert!(text.contains("defaultLocation: off") || text.contains("defaultLocation: \"off\""));
    assert_eq!(run(&place, "backup-location set-default nowhere").code, 3);
    assert_eq!(run(&place, "backup get --location nowhere").code, 3);
}

#[test]
fn a_folder_is_checked_and_labelled_temporary() {
    let place = Place::new();
    let check = place.run("backup-location check");
    let text = check.expect(0);
    for step in ["list", "write", "read", "ready for backups"] {
        assert!(text.contains(step), "{step}: {text}");
    }
    assert!(check.err.contains("temporary"), "{}", check.err);
    let get = place.run("backup-location get");
    assert!(
        get.expect(0).contains("temporary: lost with the cluster"),
        "{}",
        get.out
    );
    let described = place.run("backup-location describe");
    let text = described.expect(0);
    assert!(text.contains("Counts as off-site copy:  false"), "{text}");
    let rows = place.run("backup-location get -o json");
    let rows: serde_json::Value = serde_json::from_str(rows.expect(0)).expect("JSON");
    assert_eq!(rows[0]["temporary"], true);
    assert_eq!(rows[0]["phase"], "Available");
}

#[test]
fn a_configuration_that_is_not_understood_is_refused() {
    let place = Place::new();
    let path = place.home.path().join("config.yaml");
    for (text, reason) in [
        ("version: 9", "it has format 9"),
        ("locations: {}", "is missing"),
        ("version: 1\nsurprise: 1", "unknown field"),
        ("\u{0}\u{1}", "read configuration"),
    ] {
        std::fs::write(&path, text).expect("written");
        let line = format!("backup get --config-file {} --location x", path.display());
        let run = run(&place, &line);
        assert_eq!(run.code, 2, "{text:?}: {}", run.err);
        assert!(run.err.contains(reason), "{text:?}: {}", run.err);
    }
}

#[test]
fn limits_are_named_with_a_location_changed_and_shown() {
    let place = Place::new();
    let create = "backup-location create off s3://bucket/p?region=x --upload-limit 50Mi \
                  --request-limit 20";
    run(&place, create).expect(0);
    run(
        &place,
        "backup-location set off --upload-limit none --download-limit 1Gi --direct",
    )
    .expect(0);
    let config = place.home.path().join(".config/salvor/config.yaml");
    let text = std::fs::read_to_string(&config).expect("readable");
    assert!(!text.contains("upload") && text.contains("1Gi"), "{text}");
    let main = place.home.path().join("main");
    std::fs::create_dir(&main).expect("created");
    let line = format!(
        "backup-location create main {} --in-flight-limit 4",
        main.display()
    );
    run(&place, &line).expect(0);
    let described = run(&place, "backup-location describe main");
    let text = described.expect(0);
    assert!(text.contains("4 requests at once"), "{text}");
    for (flag, reason) in [
        ("--upload-limit 1Ki", "less than 64Ki"),
        ("--download-limit fast", "no amount of bytes"),
        ("--request-limit 0", "above zero"),
    ] {
        let refused = run(&place, &format!("backup-location set off {flag} --direct"));
        assert_eq!(refused.code, 2, "{flag}");
        assert!(refused.err.contains(reason), "{flag}: {}", refused.err);
    }
}

#[test]
fn a_location_is_initialised_signed_and_pinned_and_another_one_is_refused() {
    let place = Place::new();
    let home = place.home.path();
    for folder in ["main", "other"] {
        std::fs::create_dir(home.join(folder)).expect("created");
    }
    let main = home.join("main");
    run(
        &place,
        &format!("backup-location create main {}", main.display()),
    )
    .expect(0);
    let init = "backup-location init main --new-signing-key sign --new-identity identity";
    let made = run(&place, init);
    assert!(
        made.expect(0).contains("location main initialised"),
        "{}",
        made.out
    );
    for file in ["sign", "identity"] {
        let mode = std::fs::metadata(home.join(file))
            .expect("written")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
    }
    let config = home.join(".config/salvor/config.yaml");
    let text = std::fs::read_to_string(&config).expect("readable");
    assert!(text.contains("ed25519:") && text.contains("age1"), "{text}");
    let check = run(&place, "backup-location check main");
    assert!(check.expect(0).contains("which is pinned"), "{}", check.out);
    let described = run(&place, "backup-location describe main");
    assert!(
        described.expect(0).contains("Recipients"),
        "{}",
        described.out
    );
    // Without the key that is pinned nobody writes another record.
    let unsigned = run(&place, "backup-location init main");
    assert_ne!(unsigned.code, 0);
    assert!(
        unsigned.err.contains("name the signing key"),
        "{}",
        unsigned.err
    );
    run(&place, "backup-location init main --signing-key-file sign").expect(0);
    // Another bucket under the name.
    let text = text.replace(
        main.to_str().expect("a path"),
        home.join("other").to_str().expect("a path"),
    );
    std::fs::write(&config, text).expect("written");
    let check = run(&place, "backup-location check main");
    assert!(
        check.expect(1).contains("not the one that is pinned"),
        "{}",
        check.out
    );
    let secret = std::fs::read_to_string(home.join("sign")).expect("readable");
    for shown in [&made, &check, &described] {
        assert!(!format!("{}{}", shown.out, shown.err).contains(secret.trim()));
    }
}
