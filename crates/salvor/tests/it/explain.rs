//! Every code that is shown has a page that is there without a network.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::Place;

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Names of the pages in a folder of runbooks.
fn pages(folder: &str) -> BTreeSet<String> {
    let folder = repository().join("docs/runbooks").join(folder);
    std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter_map(|name| Some(name.to_str()?.strip_suffix(".md")?.to_owned()))
        .filter(|name| name != "README")
        .collect()
}

/// Exit codes of the help text.
fn exit_codes(place: &Place) -> BTreeSet<String> {
    let help = place.run("--help");
    let text = help.expect(0);
    let (_, codes) = text.split_once("Exit codes:").expect("a list");
    let (codes, _) = codes.split_once("Environment:").expect("its end");
    let words = codes.split(|c: char| !c.is_ascii_digit());
    let mut found: BTreeSet<String> = words
        .filter(|word| !word.is_empty())
        .map(|word| format!("exit-{word}"))
        .collect();
    // "64+" names a range.
    found.remove("exit-64");
    found
}

#[test]
fn every_exit_code_alert_and_error_is_explained_in_both_languages() {
    let place = Place::new();
    let listed = place.run("explain -o json");
    let listed: Vec<Value> = serde_json::from_str(listed.expect(0)).expect("JSON");
    let of = |kind: &str| -> BTreeSet<String> {
        let of_kind = listed.iter().filter(|entry| entry["kind"] == kind);
        of_kind
            .map(|entry| entry["code"].as_str().expect("a code").to_owned())
            .collect()
    };
    assert_eq!(of("exit"), exit_codes(&place));
    assert_eq!(of("exit"), pages("exits"));
    assert_eq!(of("error"), pages("errors"));
    // A page that is missing here is added to `ENTRIES` in crates/salvor/src/explain/catalogue.rs.
    assert_eq!(of("alert"), pages(""));
    let readme = std::fs::read_to_string(repository().join("docs/runbooks/README.md"));
    let readme = readme.expect("readable");
    for entry in &listed {
        let code = entry["code"].as_str().expect("a code");
        assert!(
            readme.contains(&format!("[{code}]")),
            "{code} is not in the list of pages"
        );
        let page = place.run(&format!("explain {code}"));
        let text = page.expect(0);
        assert!(text.starts_with(&format!("# {code}\n")), "{text}");
        assert!(text.contains("## Look") && text.contains("## Do"), "{text}");
        let korean = place.run(&format!("explain {code} --lang ko"));
        let has_hangul = |c: char| ('가'..='힣').contains(&c);
        assert!(korean.expect(0).contains(has_hangul), "{code}");
    }
}

#[test]
fn an_error_shows_the_code_that_explains_it() {
    let place = Place::new();
    std::fs::create_dir(place.location()).expect("created");
    let missing = place.run("backup describe b1");
    assert_eq!(missing.code, 3);
    assert!(
        missing.err.contains("error[not-there]: "),
        "{}",
        missing.err
    );
    assert_eq!(place.run("explain error[not-there]").code, 0);
    assert!(place.run("explain 4").expect(0).starts_with("# exit-4"));
    let usage = place.run("backup create");
    assert!(!usage.err.contains("error["), "{}", usage.err);
    let unknown = place.run("explain not-ther");
    assert_eq!(unknown.code, 3);
    assert!(unknown.err.contains("not-there"), "{}", unknown.err);
}
