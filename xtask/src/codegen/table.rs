//! The text of the generated files: JSON with one entry per line, so that a new release is a
//! readable difference.

use super::kinds::{Kind, Kinds, Removed};
use super::lifecycle::{GroupVersionKind, Release};
use super::messages::Messages;
use super::source::RELEASE;
use super::types::Types;
use serde_json::{Map, Value, json};

/// The text of `kinds.json`.
pub(super) fn kinds_file(kinds: &Kinds) -> String {
    let groups = kinds
        .groups
        .iter()
        .map(|(group, versions)| json!({"group": group, "versions": versions}));
    let bodies = kinds.bodies.iter().map(|(id, root)| {
        let mut entry = identity(id);
        entry.insert("root".to_owned(), json!(root));
        Value::Object(entry)
    });
    let mut text = format!("{{\n\"release\": {},\n", release(RELEASE));
    section(&mut text, "groups", groups, ",\n");
    section(&mut text, "kinds", kinds.served.iter().map(kind), ",\n");
    section(&mut text, "bodies", bodies, ",\n");
    section(
        &mut text,
        "removed",
        kinds.removed.iter().map(removed),
        "\n}\n",
    );
    text
}

/// The text of `types.json`.
pub(super) fn types_file(types: &Types) -> String {
    let mut text = format!("{{\n\"release\": {},\n\"types\": {{\n", release(RELEASE));
    for (index, (name, of)) in types.0.iter().enumerate() {
        if index > 0 {
            text.push_str(",\n");
        }
        let mut head = String::new();
        if of.atomic {
            head.push_str("\"struct\":\"atomic\",");
        }
        if !of.required.is_empty() {
            head.push_str(&format!("\"required\":{},", json!(of.required)));
        }
        text.push_str(&format!("\"{name}\": {{{head}\"fields\":{{"));
        let mut separator = "\n";
        for (field, shape) in &of.fields {
            text.push_str(&format!("{separator}  {}: {shape}", json!(field)));
            separator = ",\n";
        }
        text.push_str("}}");
    }
    text.push_str("\n}\n}\n");
    text
}

/// The text of `messages.json`.
pub(super) fn messages_file(messages: &Messages) -> String {
    let block = |text: &mut String, name: &str, lines: Vec<String>, end: &str| {
        text.push_str(&format!("\"{name}\": {{\n{}\n}}{end}", lines.join(",\n")));
    };
    let mut text = format!("{{\n\"release\": {},\n", release(RELEASE));
    let kinds = messages.kinds.iter();
    let kinds = kinds.map(|(kind, message)| format!("{}: {}", json!(kind), json!(message)));
    block(&mut text, "kinds", kinds.collect(), ",\n");
    let resources = messages.resources.iter().map(|(kind, of)| {
        let of = json!([of.plural, of.namespaced, of.short_names]);
        format!("{}: {of}", json!(kind))
    });
    block(&mut text, "resources", resources.collect(), ",\n");
    let all = messages.messages.iter().map(|(name, rows)| {
        let rows = rows.iter().map(|row| {
            let row = json!([row.number, row.name, row.shape, row.shown]);
            format!("\n  {row}")
        });
        let rows: Vec<String> = rows.collect();
        format!("{}: [{}]", json!(name), rows.join(","))
    });
    block(&mut text, "messages", all.collect(), "\n}\n");
    text
}

fn section(text: &mut String, name: &str, entries: impl Iterator<Item = Value>, end: &str) {
    let lines: Vec<String> = entries.map(|entry| entry.to_string()).collect();
    text.push_str(&format!("\"{name}\": [\n{}\n]{end}", lines.join(",\n")));
}

fn kind(kind: &Kind) -> Value {
    let mut entry = identity(&kind.id);
    let mut add = |key: &str, value: Value| entry.insert(key.to_owned(), value);
    add("plural", json!(kind.plural));
    add("singular", json!(kind.id.kind.to_lowercase()));
    if !kind.short_names.is_empty() {
        add("shortNames", json!(kind.short_names));
    }
    if !kind.categories.is_empty() {
        add("categories", json!(kind.categories));
    }
    add("namespaced", json!(kind.namespaced));
    add("default", json!(kind.on_by_default));
    add("preferred", json!(kind.preferred));
    add("verbs", json!(kind.verbs));
    if !kind.subresources.is_empty() {
        let subresources = kind.subresources.iter().map(|sub| {
            let mut entry = Map::new();
            entry.insert("name".to_owned(), json!(sub.name));
            entry.extend(identity(&sub.body));
            entry.insert("verbs".to_owned(), json!(sub.verbs));
            Value::Object(entry)
        });
        add("subresources", subresources.collect());
    }
    if let Some(introduced) = kind.introduced {
        add("introducedIn", release(introduced));
    }
    if let Some(removed) = kind.removed_in {
        add("removedIn", release(removed));
    }
    if let Some(replacement) = &kind.replacement {
        add("replacement", Value::Object(identity(replacement)));
    }
    add("root", json!(kind.root));
    Value::Object(entry)
}

fn removed(removed: &Removed) -> Value {
    let mut entry = identity(&removed.id);
    entry.insert("plural".to_owned(), json!(removed.plural));
    entry.insert("namespaced".to_owned(), json!(removed.namespaced));
    entry.insert(
        "removedIn".to_owned(),
        removed.removed_in.map_or(Value::Null, release),
    );
    let replacement = removed.replacement.as_ref().map(identity);
    entry.insert(
        "replacement".to_owned(),
        replacement.map_or(Value::Null, Value::Object),
    );
    Value::Object(entry)
}

fn identity(id: &GroupVersionKind) -> Map<String, Value> {
    let GroupVersionKind {
        group,
        version,
        kind,
    } = id;
    let mut entry = Map::new();
    entry.insert("group".to_owned(), json!(group));
    entry.insert("version".to_owned(), json!(version));
    entry.insert("kind".to_owned(), json!(kind));
    entry
}

fn release((major, minor): Release) -> Value {
    json!(format!("{major}.{minor}"))
}
