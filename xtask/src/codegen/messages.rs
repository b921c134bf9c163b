//! The table of messages: how built-in objects lie in etcd, and what their JSON form is called.
//!
//! Everything comes from the struct tags of the Go types: the `protobuf` tag has the number, the `json` tag the name
//! and what is left out when it is empty.

use super::curated;
use super::golang::{Body, Declaration, Field, Package};
use super::kinds::Kinds;
use std::collections::{BTreeMap, BTreeSet};

/// Messages of everything that an API server keeps in this form.
pub(super) struct Messages {
    /// `apiVersion/Kind` with the message of the object.
    pub(super) kinds: BTreeMap<String, String>,
    /// Kind of a group with the name of its collection and short names, and whether it has namespaces.
    pub(super) resources: BTreeMap<String, Resource>,
    /// Messages by name.
    pub(super) messages: BTreeMap<String, Vec<Row>>,
}

/// How a kind is named in paths and by users.
pub(super) struct Resource {
    pub(super) plural: String,
    pub(super) short_names: Vec<String>,
    pub(super) namespaced: bool,
}

/// A field: its number, its JSON name, its shape and when it is shown.
pub(super) struct Row {
    pub(super) number: u32,
    pub(super) name: String,
    /// Scalar or message; `[]` a list, `{}` a map with text as keys, `@` a message that only wraps field 1, `<>` a
    /// message whose fields belong to this one.
    pub(super) shape: String,
    /// `always`, `set` (not when zero), `present` (when it is on the wire).
    pub(super) shown: &'static str,
}

/// Types written by hand: package (`*`: all of it is text), name, shape.
const SPECIAL: &[(&str, &str, &str)] = &[
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Time", "time"),
    (
        "k8s.io/apimachinery/pkg/apis/meta/v1",
        "MicroTime",
        "micro-time",
    ),
    (
        "k8s.io/apimachinery/pkg/apis/meta/v1",
        "FieldsV1",
        "raw-json",
    ),
    (
        "k8s.io/apimachinery/pkg/api/resource",
        "Quantity",
        "quantity",
    ),
    (
        "k8s.io/apimachinery/pkg/util/intstr",
        "IntOrString",
        "int-or-string",
    ),
    (
        "k8s.io/apimachinery/pkg/runtime",
        "RawExtension",
        "raw-json",
    ),
    ("k8s.io/apimachinery/pkg/types", "*", "string"),
];

const SCALARS: &[(&str, &str)] = &[
    ("string", "string"),
    ("bool", "bool"),
    ("int32", "integer"),
    ("int64", "integer"),
    ("uint32", "integer"),
    ("uint64", "integer"),
    ("[]byte", "bytes"),
];

/// Groups whose objects API servers keep as JSON.
const AS_JSON: [&str; 2] = ["apiextensions", "apiregistration"];
/// A group of the modules' own tests.
const TEST_GROUP: &str = "testapigroup";

/// Collects the messages of every kind that was ever kept, in every version that the modules still have.
pub(super) fn collect(packages: &[Package], kinds: &Kinds) -> Result<Messages, String> {
    let mut collector = Collector {
        packages: packages
            .iter()
            .map(|one| (one.import.as_str(), one))
            .collect(),
        messages: BTreeMap::new(),
        open: BTreeSet::new(),
    };
    let mut roots = BTreeMap::new();
    for package in packages {
        let Some(group) = package.group.as_deref() else {
            continue;
        };
        let folder = package.folder.as_str();
        if AS_JSON.contains(&folder) || folder == TEST_GROUP || curated::NOT_SERVED.contains(&group)
        {
            continue;
        }
        for (name, declaration) in &package.types {
            if is_kept(declaration) {
                let version = match group {
                    "" => package.version.clone(),
                    group => format!("{group}/{}", package.version),
                };
                roots.insert(format!("{version}/{name}"), message_name(package, name));
                collector
                    .open
                    .insert((package.import.clone(), name.clone()));
            }
        }
    }
    while let Some((import, name)) = collector.open.pop_first() {
        collector.add(&import, &name)?;
    }
    let served = kinds.served.iter().map(|kind| {
        let names = kind
            .short_names
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        (&kind.id, &kind.plural, names, kind.namespaced)
    });
    let removed = kinds
        .removed
        .iter()
        .map(|kind| (&kind.id, &kind.plural, Vec::new(), kind.namespaced));
    let mut resources = BTreeMap::new();
    for (id, plural, short_names, namespaced) in served.chain(removed) {
        let resource = Resource {
            plural: plural.clone(),
            short_names,
            namespaced,
        };
        resources
            .entry(format!("{}/{}", id.group, id.kind))
            .or_insert(resource);
    }
    Ok(Messages {
        kinds: roots,
        resources,
        messages: collector.messages,
    })
}

impl Messages {
    /// Adds what only an older release has.
    pub(super) fn add_missing(&mut self, older: Self) {
        for (kind, message) in older.kinds {
            self.kinds.entry(kind).or_insert(message);
        }
        for (name, rows) in older.messages {
            // Numbers are never used again, so a newer message reads what an older one wrote.
            self.messages.entry(name).or_insert(rows);
        }
    }
}

/// Whether a type is an object with metadata.
fn is_kept(declaration: &Declaration) -> bool {
    let embeds = |name: &str| {
        let mut fields = declaration.fields().iter();
        fields.any(|field| field.embedded && field.name == name)
    };
    embeds("TypeMeta") && embeds("ObjectMeta")
}

fn message_name(package: &Package, name: &str) -> String {
    format!("{}.{}.{name}", package.folder, package.version)
}

struct Collector<'a> {
    packages: BTreeMap<&'a str, &'a Package>,
    messages: BTreeMap<String, Vec<Row>>,
    /// Structs still to be read: import path and name.
    open: BTreeSet<(String, String)>,
}

impl<'a> Collector<'a> {
    fn add(&mut self, import: &str, name: &str) -> Result<(), String> {
        let (key, declaration) = self.lookup(import, name)?;
        if self.messages.contains_key(&key) {
            return Ok(());
        }
        self.messages.insert(key.clone(), Vec::new());
        let mut rows = Vec::new();
        for field in declaration.fields() {
            let row = self.row(import, field);
            let row = row.map_err(|error| format!("type {key}: field {}: {error}", field.name))?;
            rows.extend(row);
        }
        rows.sort_by_key(|row| row.number);
        self.messages.insert(key, rows);
        Ok(())
    }

    /// `None` for what is not on the wire.
    fn row(&mut self, import: &str, field: &Field) -> Result<Option<Row>, String> {
        let Some(tag) = field.tag_value("protobuf") else {
            return Ok(None);
        };
        let number = tag.split(',').nth(1).and_then(|number| number.parse().ok());
        let number = number.ok_or_else(|| format!("no number in `{tag}`"))?;
        let json = field.tag_value("json").unwrap_or_default();
        let (name, options) = json.split_once(',').unwrap_or((json, ""));
        if name == "-" {
            return Ok(None);
        }
        let pointer = field.expression.starts_with('*');
        let shape = self.shape(import, &field.expression)?;
        let is_message = shape.contains('.') && !shape.starts_with(['[', '{', '@']);
        let inlined = field.embedded && name.is_empty();
        if name.is_empty() && !inlined {
            return Err("it has no JSON name".to_owned());
        }
        let shown = match () {
            () if pointer => "present",
            () if options.contains("omitzero") => "set",
            // Go never takes a struct for empty.
            () if is_message
                || ["time", "micro-time", "int-or-string", "quantity"]
                    .contains(&shape.as_str()) =>
            {
                "always"
            }
            () if options.contains("omitempty") => "set",
            () => "always",
        };
        let shape = if inlined { format!("<>{shape}") } else { shape };
        Ok(Some(Row {
            number,
            name: name.to_owned(),
            shape,
            shown,
        }))
    }

    fn shape(&mut self, import: &str, expression: &str) -> Result<String, String> {
        let expression = expression.trim_start_matches('*');
        if let Some((_, shape)) = SCALARS.iter().find(|(go, _)| *go == expression) {
            return Ok((*shape).to_owned());
        }
        if let Some(item) = expression.strip_prefix("[]") {
            return Ok(format!("[]{}", self.shape(import, item)?));
        }
        if let Some(rest) = expression.strip_prefix("map[") {
            let (_, item) = rest.split_once(']').ok_or("an unknown map")?;
            return Ok(format!("{{}}{}", self.shape(import, item)?));
        }
        let (path, name) = self.resolve(import, expression)?;
        let special = SPECIAL
            .iter()
            .find(|(package, known, _)| *package == path && (*known == "*" || *known == name));
        if let Some((_, _, shape)) = special {
            return Ok((*shape).to_owned());
        }
        let (key, declaration) = self.lookup(&path, &name)?;
        match &declaration.body {
            Body::Struct(_) => {
                self.open.insert((path, name));
                Ok(key)
            }
            Body::Alias(alias) => {
                let shape = self.shape(&path, alias)?;
                // A list that may be absent within a list or map is a message of its own.
                Ok(match declaration.marker("protobuf.nullable") {
                    Some(_) => format!("@{shape}"),
                    None => shape,
                })
            }
        }
    }

    fn lookup(&self, import: &str, name: &str) -> Result<(String, &'a Declaration), String> {
        let package = self.packages.get(import);
        let package = package.ok_or_else(|| format!("package {import} is not read"))?;
        let declaration = package.types.get(name);
        let declaration = declaration.ok_or_else(|| format!("{import} has no {name}"))?;
        Ok((message_name(package, name), declaration))
    }

    fn resolve(&self, import: &str, expression: &str) -> Result<(String, String), String> {
        let Some((alias, name)) = expression.split_once('.') else {
            return Ok((import.to_owned(), expression.to_owned()));
        };
        let package = self.packages.get(import);
        let path = package.and_then(|package| package.imports.get(alias));
        let path = path.ok_or_else(|| format!("package {import} does not import `{alias}`"))?;
        Ok((path.clone(), name.to_owned()))
    }
}
