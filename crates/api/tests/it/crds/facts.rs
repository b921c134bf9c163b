//! Facts about a definition: every path of its schema with what is demanded there, names and columns.
//!
//! One fact per line: `backups .spec.ttl type="string"`. Values are JSON without spaces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{check_file, crate_folder};

/// What is demanded at one path: `type`, `nullable`, `enum`, and so on, as JSON text.
pub(super) type Demands = BTreeMap<String, String>;

/// All facts of one kind, by path. Names are at `names`, columns at `column.<position>`.
pub(super) type Facts = BTreeMap<String, Demands>;

/// Keys of a schema that say something about the values it accepts.
const DEMANDS: &[&str] = &[
    "default",
    "enum",
    "format",
    "minItems",
    "nullable",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
];

/// Keys that are walked or are mere words.
const STRUCTURE: &[&str] = &[
    "additionalProperties",
    "description",
    "items",
    "properties",
    "required",
];

/// The facts of one definition.
pub(super) fn of(definition: &Value) -> Facts {
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array().expect("a list of versions");
    let [version] = versions.as_slice() else {
        panic!(
            "one version is expected of {}",
            definition["metadata"]["name"]
        );
    };
    let mut facts = Facts::new();
    let mut names = Demands::new();
    for key in ["kind", "listKind", "plural", "shortNames", "singular"] {
        if !spec["names"][key].is_null() {
            names.insert(key.to_owned(), spec["names"][key].to_string());
        }
    }
    names.insert("scope".to_owned(), spec["scope"].to_string());
    names.insert("version".to_owned(), version["name"].to_string());
    let status = version["subresources"]["status"].is_object();
    names.insert("statusSubresource".to_owned(), status.to_string());
    facts.insert("names".to_owned(), names);
    let columns = version["additionalPrinterColumns"].as_array();
    for (position, column) in columns.into_iter().flatten().enumerate() {
        let column = column.as_object().expect("a column is an object");
        let told = column.iter().filter(|(key, _)| *key != "description");
        facts.insert(
            format!("column.{position}"),
            told.map(|(key, value)| (key.clone(), value.to_string()))
                .collect(),
        );
    }
    walk("", &version["schema"]["openAPIV3Schema"], false, &mut facts);
    facts
}

fn walk(path: &str, schema: &Value, required: bool, facts: &mut Facts) {
    let object = schema.as_object().expect("a schema is an object");
    let mut demands = Demands::new();
    for (key, value) in object {
        if DEMANDS.contains(&key.as_str()) {
            demands.insert(key.clone(), value.to_string());
        } else {
            assert!(
                STRUCTURE.contains(&key.as_str()),
                "{path}: `{key}` is not compared: add it to the tables in facts.rs"
            );
        }
    }
    if required {
        demands.insert("required".to_owned(), "true".to_owned());
    }
    facts.insert(if path.is_empty() { "." } else { path }.to_owned(), demands);
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let needed = schema["required"].as_array().into_iter().flatten();
        let needed = needed.into_iter().any(|field| field == name);
        walk(&format!("{path}.{name}"), inner, needed, facts);
    }
    if let Some(items) = object.get("items") {
        walk(&format!("{path}[]"), items, false, facts);
    }
    if let Some(values) = object.get("additionalProperties") {
        walk(&format!("{path}{{}}"), values, false, facts);
    }
}

/// The releases whose definitions are compared, oldest first, and where they are published.
const RELEASES: &[(&str, &str)] = &[("1.18.2", ""), ("1.19", "next-main")];

/// The facts of every release: release, plural, facts.
pub(super) fn published() -> Vec<(&'static str, BTreeMap<String, Facts>)> {
    let table = |release: &str| crate_folder("tests/it/crds/facts").join(format!("{release}.txt"));
    RELEASES
        .iter()
        .map(|(release, _)| {
            let path = table(release);
            let text = std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
            (*release, parse(&text))
        })
        .collect()
}

fn parse(text: &str) -> BTreeMap<String, Facts> {
    let mut kinds: BTreeMap<String, Facts> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (kind, path) = (words.next(), words.next());
        let (Some(kind), Some(path)) = (kind, path) else {
            panic!("a fact has a kind and a path: {line}");
        };
        let demands = words.map(|word| {
            let (key, value) = word.split_once('=').expect("key=value");
            (key.to_owned(), value.replace('\u{a0}', " "))
        });
        let facts = kinds.entry(kind.to_owned()).or_default();
        facts.insert(path.to_owned(), demands.collect());
    }
    kinds
}

fn print(definitions: &[Value]) -> String {
    let mut lines = vec![
        "# Paths, types and words of Velero's definitions; see facts.rs. A space in a value is U+00A0."
            .to_owned(),
    ];
    for definition in definitions {
        let plural = definition["spec"]["names"]["plural"]
            .as_str()
            .expect("a name");
        for (path, demands) in of(definition) {
            let mut line = format!("{plural} {path}");
            for (key, value) in demands {
                line.push_str(&format!(" {key}={}", value.replace(' ', "\u{a0}")));
            }
            lines.push(line);
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// All definitions in a folder that has `v1/` and `v2alpha1/`, by file name.
fn read_folder(folder: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = ["v1", "v2alpha1"]
        .iter()
        .flat_map(|version| {
            let folder = folder.join(version);
            std::fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("list {}: {error}", folder.display()))
                .map(|entry| entry.expect("a readable folder").path())
        })
        .collect();
    files.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).expect("a readable file");
        serde_saphyr::from_str(&text)
            .unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
    };
    files.iter().map(read).collect()
}

#[test]
fn the_tables_of_facts_are_those_of_the_published_definitions() {
    let Some(folder) = std::env::var_os("SALVOR_VELERO_CRDS") else {
        eprintln!(
            "skipped: SALVOR_VELERO_CRDS is not set, so the committed tables of facts are trusted"
        );
        return;
    };
    for (release, subfolder) in RELEASES {
        let definitions = read_folder(&Path::new(&folder).join(subfolder));
        assert_eq!(definitions.len(), 13, "{release}");
        let path = crate_folder("tests/it/crds/facts").join(format!("{release}.txt"));
        check_file(&path, &print(&definitions));
    }
}

#[test]
fn facts_round_trip_through_their_text() {
    for definition in super::definitions() {
        let json = definition.to_json();
        let facts = parse(&print(std::slice::from_ref(&json)));
        assert_eq!(facts[definition.plural], of(&json));
    }
}
