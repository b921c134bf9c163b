//! The alert rules: tested by Prometheus' own program, and each with its page for the person who is woken up.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use salvor_testkit::{package_folder, required_path};
use serde_json::Value;

fn repository() -> PathBuf {
    package_folder().join("../..")
}

fn yaml(path: &str) -> Value {
    let text = std::fs::read_to_string(repository().join(path)).expect(path);
    serde_saphyr::from_str(&text).expect(path)
}

fn alerts() -> BTreeSet<String> {
    let rules = yaml("deploy/alerts.yaml");
    let groups = rules["groups"].as_array().expect("groups");
    let rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"));
    rules
        .map(|rule| rule["alert"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn promtool_finds_that_every_alert_fires_and_is_quiet_when_it_should() {
    let Some(promtool) = required_path("SALVOR_PROMTOOL") else {
        return;
    };
    for arguments in [
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
    ] {
        let output = Command::new(&promtool)
            .args(arguments)
            .current_dir(repository().join("deploy"))
            .output()
            .expect("promtool runs");
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}\n{said}");
    }
}

#[test]
fn every_alert_is_tested_both_ways() {
    let tests = yaml("deploy/alerts.test.yaml");
    let (mut fire, mut quiet) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_array().expect("tests") {
        for check in test["alert_rule_test"].as_array().expect("checks") {
            let expected = check["exp_alerts"].as_array().expect("a list");
            let set = if expected.is_empty() {
                &mut quiet
            } else {
                &mut fire
            };
            set.insert(check["alertname"].as_str().expect("a name").to_owned());
        }
    }
    assert_eq!(fire, alerts());
    assert_eq!(quiet, alerts());
}

#[test]
fn every_alert_has_a_page_and_every_page_an_alert() {
    let folder = repository().join("docs/runbooks");
    let pages: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("docs/runbooks")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| name != "README.md" && name.ends_with(".md"))
        .map(|name| name.trim_end_matches(".md").to_owned())
        .collect();
    assert_eq!(pages, alerts());
    let rules = yaml("deploy/alerts.yaml");
    for group in rules["groups"].as_array().expect("groups") {
        for rule in group["rules"].as_array().expect("rules") {
            let name = rule["alert"].as_str().expect("a name");
            let page = rule["annotations"]["runbook_url"].as_str().expect("a page");
            assert!(
                page.ends_with(&format!("docs/runbooks/{name}.md")),
                "{page}"
            );
        }
    }
}
