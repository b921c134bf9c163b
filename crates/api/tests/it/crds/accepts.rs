//! What Velero's definitions accept, ours accept; what ours describe, our types hold.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::facts::{self, Demands, Facts};
use super::{definitions, facts::published};

/// Everything in which our definitions differ from what the releases publish.
fn differences(ours: &BTreeMap<String, Facts>) -> Vec<String> {
    let releases = published();
    let (newest, _) = releases.last().expect("there are releases");
    let mut found = Vec::new();
    for (release, kinds) in &releases {
        assert!(kinds.keys().eq(ours.keys()), "{release}: other kinds");
        for (kind, facts) in kinds {
            for (path, theirs) in facts {
                let named = |what: String| format!("{release} {kind} {path}: {what}");
                let listed = path.starts_with("column.") || path == "names";
                match ours[kind].get(path) {
                    // Columns and short names came with the newest release.
                    _ if listed && release != newest => {}
                    None => found.push(named("is missing in ours".to_owned())),
                    Some(demands) => {
                        let words = all_words(&releases, kind, path);
                        found.extend(refusals(demands, theirs, &words).into_iter().map(named));
                    }
                }
            }
        }
    }
    for (kind, facts) in ours {
        for path in facts.keys() {
            if !releases
                .iter()
                .any(|(_, kinds)| kinds[kind].contains_key(path))
            {
                found.push(format!("ours {kind} {path}: no release has it"));
            }
        }
    }
    found
}

fn words_of(demands: &Demands) -> BTreeSet<String> {
    let list: Vec<String> = demands
        .get("enum")
        .map(|text| serde_json::from_str(text).expect("a list of words"))
        .unwrap_or_default();
    list.into_iter().collect()
}

/// The words of all releases at one path.
fn all_words(
    releases: &[(&str, BTreeMap<String, Facts>)],
    kind: &str,
    path: &str,
) -> BTreeSet<String> {
    releases
        .iter()
        .filter_map(|(_, kinds)| kinds[kind].get(path))
        .flat_map(words_of)
        .collect()
}

/// Why `ours` refuses something that `theirs` accepts, or means another thing by it.
fn refusals(ours: &Demands, theirs: &Demands, words: &BTreeSet<String>) -> Vec<String> {
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let (our, their) = (ours.get(key), theirs.get(key));
        let fine = match key.as_str() {
            "nullable" => our.is_some() || their.is_none(),
            "required" => our.is_none() || their.is_some(),
            // kube-apiserver 1.20 refuses a definition whose default is the empty text. Without the
            // default the field stays absent, which every reader takes for empty.
            "default" => our.is_none() && their.is_some_and(|text| text == "\"\""),
            "enum" => our.is_some() == their.is_some() && words_of(ours) == *words,
            _ => our == their,
        };
        if !fine {
            found.push(format!("{key} is {our:?} in ours, {their:?} in theirs"));
        }
    }
    found
}

fn ours() -> BTreeMap<String, Facts> {
    definitions()
        .iter()
        .map(|definition| {
            (
                definition.plural.to_owned(),
                facts::of(&definition.to_json()),
            )
        })
        .collect()
}

#[test]
fn ours_accept_what_every_release_accepts() {
    assert_eq!(differences(&ours()), Vec::<String>::new());
}

#[test]
fn the_comparison_notices_every_kind_of_difference() {
    let change = |kind: &str, path: &str, key: &str, value: Option<&str>| {
        let mut changed = ours();
        let demands = changed
            .get_mut(kind)
            .and_then(|facts| facts.get_mut(path))
            .expect("a path of ours");
        match value {
            Some(value) => demands.insert(key.to_owned(), value.to_owned()),
            None => demands.remove(key),
        };
        assert_ne!(differences(&changed), Vec::<String>::new(), "{path} {key}");
    };
    change("backups", ".spec.ttl", "type", Some("\"integer\""));
    change("backups", ".spec.ttl", "required", Some("true"));
    change("backups", ".spec.labelSelector", "nullable", None);
    change("backups", ".status.phase", "enum", Some("[\"New\"]"));
    change("backups", ".spec.ttl", "enum", Some("[\"1h\"]"));
    change("backups", "names", "statusSubresource", Some("true"));
    change("backups", "column.0", "jsonPath", Some("\".spec\""));
    let open = "x-kubernetes-preserve-unknown-fields";
    let containers = ".spec.hooks.resources[].postHooks[].init.initContainers[]";
    change("restores", containers, open, None);
    let mut less = ours();
    less.get_mut("schedules")
        .expect("a kind")
        .remove(".spec.paused");
    assert_eq!(differences(&less).len(), 2, "both releases have it");
    let mut more = ours();
    let facts = more.get_mut("schedules").expect("a kind");
    facts.insert(".spec.more".to_owned(), Demands::new());
    assert_eq!(differences(&more).len(), 1);
}

/// A value that a schema accepts, with `leaf` filled in at the end of `path`, and the value alone.
///
/// `path` is one of [`Facts`]: `.spec.list[].name`.
fn object_with(path: &str, leaf: Value) -> Value {
    let Some((parent, last)) = split(path) else {
        return leaf;
    };
    let wrapped = match last {
        "[]" => json!([leaf]),
        "{}" => json!({"a": leaf}),
        name => Value::Object(Map::from_iter([(name.to_owned(), leaf)])),
    };
    object_with(parent, wrapped)
}

/// The last step of a path and what stands before it.
fn split(path: &str) -> Option<(&str, &str)> {
    if let Some(parent) = path.strip_suffix("[]") {
        return Some((parent, "[]"));
    }
    if let Some(parent) = path.strip_suffix("{}") {
        return Some((parent, "{}"));
    }
    path.rsplit_once('.')
}

/// What stands in `object` at `path`.
fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    match split(path) {
        None => object,
        Some((parent, "[]")) => &at(object, parent)[0],
        Some((parent, "{}")) => &at(object, parent)["a"],
        Some((parent, name)) => &at(object, parent)[name],
    }
}

/// A value for a leaf; `None` for objects and lists, whose leaves are tried one by one.
fn sample(demands: &Demands) -> Option<Vec<Value>> {
    let text = |key: &str| demands.get(key).map(String::as_str);
    if let Some(words) = text("enum") {
        let words: Vec<Value> = serde_json::from_str(words).expect("a list of words");
        return Some(words.into_iter().filter(|word| word != "").collect());
    }
    match (text("type")?, text("format")) {
        ("\"string\"", Some("\"date-time\"")) => Some(vec![json!("2026-11-20T02:00:00Z")]),
        // Good as text and as a duration.
        ("\"string\"", _) => Some(vec![json!("1h30m0s")]),
        ("\"integer\"", _) => Some(vec![json!(7)]),
        ("\"boolean\"", _) => Some(vec![json!(true)]),
        _ => None,
    }
}

#[test]
fn every_field_survives_our_types() {
    let mut tried = 0;
    for definition in definitions() {
        let facts = facts::of(&definition.to_json());
        for (path, demands) in facts.iter().filter(|(path, _)| path.starts_with(".s")) {
            for value in sample(demands).into_iter().flatten() {
                let object = object_with(path, value.clone());
                let again = (definition.round_trip)(object)
                    .unwrap_or_else(|error| panic!("{} {path}: {error}", definition.plural));
                assert_eq!(at(&again, path), &value, "{} {path}", definition.plural);
                tried += 1;
            }
        }
    }
    assert!(tried > 400, "only {tried} fields were tried");
}

#[test]
fn null_is_read_wherever_a_definition_allows_it() {
    for definition in definitions() {
        let facts = facts::of(&definition.to_json());
        for (path, _) in facts
            .iter()
            .filter(|(_, demands)| demands.contains_key("nullable"))
        {
            if let Err(error) = (definition.round_trip)(object_with(path, Value::Null)) {
                panic!("{} {path}: {error}", definition.plural);
            }
        }
    }
}
