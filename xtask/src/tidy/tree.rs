//! Rules about the resolved dependency tree, as `cargo tree` prints it.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::{command, workspace};

/// Crates that may not be compiled in, and why. A lock file may name them: only the tree with its
/// features tells.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-rs", "ring is the one TLS provider"),
    ("aws-lc-sys", "ring is the one TLS provider"),
    ("native-tls", "rustls is the one TLS stack"),
    ("openssl-sys", "rustls is the one TLS stack"),
];

/// Asks cargo and checks; duplicate versions are only listed.
///
/// # Errors
/// When cargo cannot resolve the tree with the committed lock file.
pub(super) fn check() -> Result<Vec<Finding>, String> {
    let workspace = tree(&["--workspace", "--edges", "normal,build,dev"])?;
    let binary = tree(&["--package", "salvor", "--edges", "normal,build"])?;
    let versions = duplicates(&workspace);
    if !versions.is_empty() {
        eprintln!("note: several versions of: {}", versions.join(", "));
    }
    let mut findings = banned(&workspace);
    findings.extend(built_twice(&binary, &workspace));
    Ok(findings)
}

/// Packages (`name version`) with every set of features they are built with.
type Tree = BTreeMap<String, BTreeSet<String>>;

fn tree(arguments: &[&str]) -> Result<Tree, String> {
    let mut cargo = workspace::cargo();
    cargo
        .args([
            "tree", "--locked", "--prefix", "none", "--format", "{p}|{f}",
        ])
        .args(arguments);
    Ok(parse(&command::output(&mut cargo)?))
}

fn parse(text: &str) -> Tree {
    let mut tree = Tree::new();
    for line in text.lines() {
        // `(*)` marks a package that was printed before.
        let Some((package, features)) = line.trim_end_matches(" (*)").split_once('|') else {
            continue;
        };
        let mut words = package.split(' ');
        let name = format!(
            "{} {}",
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default().trim_start_matches('v')
        );
        tree.entry(name).or_default().insert(features.to_owned());
    }
    tree
}

fn banned(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in tree.keys() {
        let name = package.split(' ').next().unwrap_or_default();
        if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            findings.push(format!(
                "{package} is compiled in ({reason}): see `cargo tree -i {name}`"
            ));
        }
    }
    findings
}

/// Packages that the tests build with other features than the binary, so that a release build of
/// both compiles them twice.
fn built_twice(binary: &Tree, workspace: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, features) in binary {
        let Some(all) = workspace.get(package) else {
            continue;
        };
        for other in all.difference(features) {
            let known: BTreeSet<&str> = features.iter().flat_map(|f| f.split(',')).collect();
            let added: Vec<&str> = other.split(',').filter(|f| !known.contains(f)).collect();
            if !added.is_empty() {
                findings.push(format!(
                    "{package} is built once more for tests, with {}: declare these features in \
                     [workspace.dependencies]",
                    added.join(", ")
                ));
            }
        }
    }
    findings
}

fn duplicates(tree: &Tree) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, version) in tree.keys().filter_map(|package| package.split_once(' ')) {
        versions.entry(name).or_default().push(version);
    }
    versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| format!("{name} ({})", versions.join(", ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY: &str = "salvor v0.1.0 (/x/crates/salvor)|\ntokio v1.0.0|fs,net\n\
                          serde_derive v1.0.0 (proc-macro)|default\ntokio v1.0.0|fs,net (*)\n";

    #[test]
    fn reads_packages_versions_and_features() {
        let tree = parse(BINARY);
        let names: Vec<&String> = tree.keys().collect();
        assert_eq!(names, ["salvor 0.1.0", "serde_derive 1.0.0", "tokio 1.0.0"]);
        assert_eq!(tree["tokio 1.0.0"], BTreeSet::from(["fs,net".to_owned()]));
    }

    #[test]
    fn names_features_that_only_tests_turn_on() {
        let tests = parse(&BINARY.replace("fs,net", "fs,net,test-util"));
        assert_eq!(
            built_twice(&parse(BINARY), &tests),
            [
                "tokio 1.0.0 is built once more for tests, with test-util: declare these features in \
              [workspace.dependencies]"
            ]
        );
        assert_eq!(
            built_twice(&parse(BINARY), &parse(BINARY)),
            Vec::<String>::new()
        );
    }

    #[test]
    fn refuses_a_second_tls_stack_and_lists_second_versions() {
        let tree = parse("aws-lc-rs v1.0.0|\nrand v0.8.0|\nrand v0.9.0|\naws-lc-other v1.0.0|\n");
        assert_eq!(
            banned(&tree),
            [
                "aws-lc-rs 1.0.0 is compiled in (ring is the one TLS provider): see `cargo tree -i aws-lc-rs`"
            ]
        );
        assert_eq!(duplicates(&tree), ["rand (0.8.0, 0.9.0)"]);
    }
}
