//! Backups that are damaged, and locations that cannot be written: what can be had is had, and said.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::interrupt::interrupted;
use crate::support::Place;

/// A ConfigMap that fills a member of its own: hexadecimal digits without repetition.
fn large(name: &str, seed: u64) -> Value {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    let text: String = (0..40_000).map(|_| next()).collect();
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "shop", "name": name}, "data": {"text": text}})
}

/// Backup `first` of the shop with three large ConfigMaps, of which the archive lost some.
fn damaged() -> Place {
    let place = Place::with_cluster();
    place.apply(&[large("big-a", 1), large("big-b", 2), large("big-c", 3)]);
    place.run("backup create first").expect(0);
    let archive = place.location().join("backups/first/first.tar.gz");
    let mut bytes = std::fs::read(&archive).expect("readable");
    // The second large object lies in the middle, twice: a long body is compressed once and stands under both
    // of its paths.
    let middle = bytes.len() / 2;
    let window = bytes[middle..middle + 64].to_vec();
    let places: Vec<usize> = (0..bytes.len() - 64)
        .filter(|at| bytes[*at..*at + 64] == window)
        .collect();
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(&archive, bytes).expect("written");
    place
}

#[test]
fn a_flipped_bit_names_what_is_lost_and_the_flag_that_takes_the_rest() {
    let place = damaged();
    place.delete("namespace", None, "shop");
    for command in [
        "restore create r --from-backup first",
        "undelete namespace/shop --yes",
        "backup diff first live",
        "backup export first -o exported",
    ] {
        let refused = place.run(command);
        assert_eq!(refused.code, 7, "{command}: {}", refused.err);
        for part in ["`first.tar.gz`", "byte ", "shop/big-", "--skip-damaged"] {
            assert!(
                refused.err.contains(part),
                "{command}: {part}: {}",
                refused.err
            );
        }
    }
    assert_eq!(
        place.get("namespace", None, "shop"),
        None,
        "nothing was begun"
    );

    let exported = place.run("backup export first -o rest --skip-damaged");
    assert_eq!(exported.code, 5, "{}", exported.err);
    assert!(
        exported.err.contains("not written: configmaps shop/big-"),
        "{}",
        exported.err
    );
    let folder: PathBuf = place.home.path().join("rest/namespaces/shop");
    assert!(folder.join("deployments.apps.yaml").exists());

    let restored = place.run("restore create r --from-backup first --skip-damaged");
    assert_eq!(restored.code, 5, "{}", restored.err);
    let described = place.run("restore describe r");
    let text = described.expect(0);
    assert!(
        text.contains("PartiallyFailed") && text.contains("shop/big-"),
        "{text}"
    );
    assert!(place.get("deployment", Some("shop"), "web").is_some());
    let big = ["big-a", "big-b", "big-c"];
    let back = big
        .iter()
        .filter(|name| place.get("configmap", Some("shop"), name).is_some());
    let back = back.count();
    assert!(back == 1 || back == 2, "{back} of 3");
}

#[test]
fn undelete_takes_the_rest_of_a_damaged_namespace() {
    let place = damaged();
    place.delete("namespace", None, "shop");
    let rest = place.run("undelete namespace/shop --yes --skip-damaged");
    assert_eq!(rest.code, 5, "{}", rest.err);
    assert!(
        rest.out.contains("blocked") && rest.out.contains("shop/big-"),
        "{}",
        rest.out
    );
    assert!(place.get("deployment", Some("shop"), "web").is_some());
    let untouched = place.run("undelete deployment/shop/web --yes");
    untouched.expect(0);
}

/// A location that may only be read, by its configuration.
fn read_only(place: &Place) -> Vec<String> {
    let folder = place.location();
    let config = place.home.path().join("config.yaml");
    let text = format!(
        "version: 1\nlocations:\n  vault:\n    url: file://{}\n    readOnly: true\n",
        folder.display()
    );
    std::fs::write(&config, text).expect("written");
    let words = [
        "--config-file",
        &config.display().to_string(),
        "--location",
        "vault",
    ];
    words.map(str::to_owned).to_vec()
}

fn with(place: &Place, line: &str, more: &[String]) -> crate::support::Run {
    let words = line.split_whitespace().map(str::to_owned);
    place.salvor(&words.chain(more.iter().cloned()).collect::<Vec<_>>())
}

#[test]
fn a_restore_from_a_read_only_location_records_itself_elsewhere_and_says_where() {
    let place = Place::with_cluster();
    place.run("backup create first").expect(0);
    let vault = read_only(&place);
    place.delete("namespace", None, "shop");
    let restored = with(&place, "restore create r --from-backup first", &vault);
    restored.expect(0);
    let records = place.home.path().join(".local/state/salvor/restores");
    let shown = records.display().to_string();
    assert!(
        restored.err.contains(&shown) && restored.err.contains("read-only"),
        "{}",
        restored.err
    );
    assert!(place.get("deployment", Some("shop"), "web").is_some());
    assert!(
        !place.location().join("restores").exists(),
        "nothing was written there"
    );
    let folder = std::fs::read_dir(&records)
        .expect("made")
        .next()
        .expect("one");
    let folder = folder.expect("readable").path().display().to_string();
    let described = place.run(&format!("restore describe r --location {folder}"));
    assert!(
        described.expect(0).contains("Completed"),
        "{}",
        described.out
    );

    // The same location finds it as well.
    let described = with(&place, "restore describe r", &vault);
    assert!(
        described.expect(0).contains("Completed"),
        "{}",
        described.out
    );
    with(&place, "restore logs r", &vault).expect(0);
    let listed = with(&place, "restore get", &vault);
    listed.expect(0);
    assert!(
        listed.err.contains("1 restore from location vault"),
        "{}",
        listed.err
    );

    place.delete("namespace", None, "shop");
    let chosen = place.home.path().join("notes");
    let line = format!(
        "restore create r --from-backup first --record-location {}",
        chosen.display()
    );
    with(&place, &line, &vault).expect(0);
    assert!(chosen.join("restores/r/salvor-restore.json").exists());
    place.delete("deployment", Some("shop"), "web");
    let undeleted = with(&place, "undelete deployment/shop/web --yes", &vault);
    undeleted.expect(0);
    assert!(undeleted.err.contains(&shown), "{}", undeleted.err);
}

#[test]
fn an_unfinished_restore_of_a_read_only_location_goes_on_where_its_record_is() {
    let place = Place::with_cluster();
    place.run("backup create first").expect(0);
    let vault = read_only(&place);
    place.delete("namespace", None, "shop");
    let missing = with(&place, "restore create r --resume", &vault);
    assert_eq!(missing.code, 3, "{}", missing.err);
    let line = format!("restore create r --from-backup first {}", vault.join(" "));
    let run = interrupted(&place, &line, "create");
    assert_eq!(run.code, 130, "{}{}", run.out, run.err);
    with(&place, "restore create r --resume", &vault).expect(0);
    assert!(place.get("deployment", Some("shop"), "web").is_some());
}
