//! The table of types: every struct reachable from a kind, and how its fields merge.

use super::golang::{Body, Declaration, Field, Package};
use super::kinds::Kinds;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Types by name (`core.v1.PodSpec`), everything that goes to `types.json`.
pub(super) struct Types(pub(super) BTreeMap<String, Type>);

/// One struct.
#[derive(Default)]
pub(super) struct Type {
    /// Whether apply treats the whole struct as one value.
    pub(super) atomic: bool,
    /// JSON names of required fields, sorted.
    pub(super) required: Vec<String>,
    /// Shape of each field by JSON name: a scalar's name, a type's name, or an object.
    pub(super) fields: BTreeMap<String, Value>,
}

/// Types written by hand with their own JSON form: import path (`*` for the whole package), name,
/// shape. `any` stands for arbitrary JSON.
const SPECIAL: &[(&str, &str, &str)] = &[
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Time", "time"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "MicroTime", "time"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "Duration", "string"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1", "FieldsV1", "any"),
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
    ("k8s.io/apimachinery/pkg/runtime", "RawExtension", "any"),
    ("k8s.io/apimachinery/pkg/runtime", "Object", "any"),
    ("k8s.io/apimachinery/pkg/types", "*", "string"),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
        "JSON",
        "any",
    ),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
        "JSONSchemaPropsOrArray",
        "any",
    ),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
        "JSONSchemaPropsOrBool",
        "any",
    ),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
        "JSONSchemaPropsOrStringArray",
        "any",
    ),
];

/// Scalars of the language and their JSON form; Go writes byte slices as base64 text.
const SCALARS: &[(&str, &str)] = &[
    ("string", "string"),
    ("bool", "boolean"),
    ("int", "integer"),
    ("int32", "integer"),
    ("int64", "integer"),
    ("uint8", "integer"),
    ("uint16", "integer"),
    ("uint32", "integer"),
    ("uint64", "integer"),
    ("float32", "number"),
    ("float64", "number"),
    ("[]byte", "bytes"),
    ("interface{}", "any"),
];

/// Collects every struct reachable from the kinds and subresource bodies.
pub(super) fn collect(packages: &[Package], kinds: &Kinds) -> Result<Types, String> {
    let packages = packages
        .iter()
        .map(|package| (package.import.as_str(), package))
        .collect();
    let mut collector = Collector {
        packages,
        types: BTreeMap::new(),
        open: Vec::new(),
    };
    let roots = kinds.served.iter().map(|kind| &kind.root);
    for root in roots.chain(kinds.bodies.iter().map(|(_, root)| root)) {
        collector.open_root(root)?;
    }
    while let Some((import, name)) = collector.open.pop() {
        collector.add(&import, &name)?;
    }
    Ok(Types(collector.types))
}

struct Collector<'a> {
    packages: BTreeMap<&'a str, &'a Package>,
    types: BTreeMap<String, Type>,
    /// Structs still to be read: import path and name.
    open: Vec<(String, String)>,
}

impl<'a> Collector<'a> {
    fn open_root(&mut self, root: &str) -> Result<(), String> {
        let (import, name) = self
            .packages
            .values()
            .find_map(|package| {
                let prefix = format!("{}.{}.", package.folder, package.version);
                let name = root.strip_prefix(&prefix)?;
                package
                    .types
                    .contains_key(name)
                    .then_some((package.import.clone(), name.to_owned()))
            })
            .ok_or_else(|| format!("no package defines the root type {root}"))?;
        self.open.push((import, name));
        Ok(())
    }

    fn add(&mut self, import: &str, name: &str) -> Result<(), String> {
        let (key, declaration) = self.lookup(import, name)?;
        if self.types.contains_key(&key) {
            return Ok(());
        }
        let atomic = declaration.marker("structType") == Some("atomic");
        let mut of = Type {
            atomic,
            ..Type::default()
        };
        self.types.insert(key.clone(), Type::default());
        self.add_fields(import, declaration, &mut of)
            .map_err(|error| format!("type {key}: {error}"))?;
        of.required.sort();
        self.types.insert(key, of);
        Ok(())
    }

    fn lookup(&self, import: &str, name: &str) -> Result<(String, &'a Declaration), String> {
        let package = self
            .packages
            .get(import)
            .ok_or_else(|| format!("type {name} is in package {import}, which is not read"))?;
        let declaration = package
            .types
            .get(name)
            .ok_or_else(|| format!("package {import} does not declare {name}"))?;
        Ok((
            format!("{}.{}.{name}", package.folder, package.version),
            declaration,
        ))
    }

    fn add_fields(
        &mut self,
        import: &str,
        declaration: &Declaration,
        of: &mut Type,
    ) -> Result<(), String> {
        for field in declaration.fields() {
            let json = field.tag_value("json").unwrap_or_default();
            let (name, options) = json.split_once(',').unwrap_or((json, ""));
            if name == "-" {
                continue;
            }
            if field.embedded && name.is_empty() {
                let (mut import, mut name) = self.resolve(import, &field.expression)?;
                let (_, mut embedded) = self.lookup(&import, &name)?;
                while let Body::Alias(alias) = &embedded.body {
                    (import, name) = self.resolve(&import, alias)?;
                    (_, embedded) = self.lookup(&import, &name)?;
                }
                self.add_fields(&import, embedded, of)?;
                continue;
            }
            if name.is_empty() {
                return Err(format!("field {} has no JSON name", field.name));
            }
            let shape = self
                .shape(import, &field.expression)
                .map_err(|error| format!("field {name}: {error}"))?;
            let shape = self.with_merge(shape, field);
            let optional = field.marker("optional").is_some();
            let required = field.marker("required").is_some();
            if required || (!optional && !options.contains("omitempty")) {
                of.required.push(name.to_owned());
            }
            of.fields.insert(name.to_owned(), shape);
        }
        Ok(())
    }

    /// Import path and name that a type expression without pointer, list or map refers to.
    fn resolve(&self, import: &str, expression: &str) -> Result<(String, String), String> {
        let expression = expression.trim_start_matches('*');
        let Some((alias, name)) = expression.split_once('.') else {
            return Ok((import.to_owned(), expression.to_owned()));
        };
        let path = self
            .packages
            .get(import)
            .and_then(|package| package.imports.get(alias))
            .ok_or_else(|| format!("package {import} does not import `{alias}`"))?;
        Ok((path.clone(), name.to_owned()))
    }

    fn shape(&mut self, import: &str, expression: &str) -> Result<Value, String> {
        let expression = expression.trim_start_matches('*');
        if let Some((_, shape)) = SCALARS.iter().find(|(go, _)| *go == expression) {
            return Ok(json!(shape));
        }
        if let Some(item) = expression.strip_prefix("[]") {
            return Ok(json!({"list": "atomic", "of": self.item(import, item)?}));
        }
        if let Some(rest) = expression.strip_prefix("map[") {
            let (_, item) = rest
                .split_once(']')
                .ok_or_else(|| format!("cannot read the type `{expression}`"))?;
            return Ok(json!({"map": "granular", "of": self.item(import, item)?}));
        }
        let (path, name) = self.resolve(import, expression)?;
        let special = SPECIAL
            .iter()
            .find(|(package, known, _)| *package == path && (*known == "*" || *known == name));
        if let Some((_, _, shape)) = special {
            return Ok(json!(shape));
        }
        let (key, declaration) = self.lookup(&path, &name)?;
        match &declaration.body {
            Body::Struct(_) => {
                self.open.push((path, name));
                Ok(json!(key))
            }
            Body::Alias(alias) => self.shape(&path, alias),
        }
    }

    /// The name of an item's type. An item that is a list cannot carry markers and is atomic:
    /// for merging it is one value, so that a shape never nests.
    fn item(&mut self, import: &str, expression: &str) -> Result<Value, String> {
        match self.shape(import, expression)? {
            Value::Object(shape) if shape.get("list") == Some(&json!("atomic")) => Ok(json!("any")),
            Value::Object(_) => Err(format!("cannot describe items of type `{expression}`")),
            name => Ok(name),
        }
    }

    /// Adds what the field's markers and struct tag say about merging.
    fn with_merge(&self, shape: Value, field: &Field) -> Value {
        let mut object = match shape {
            Value::Object(object) => object,
            other => Map::from_iter([("of".to_owned(), other)]),
        };
        let of = object.remove("of").unwrap_or(Value::Null);
        let mut set = |key: &str, value: Value| object.insert(key.to_owned(), value);
        if let Some(kind) = field.marker("listType") {
            set("list", json!(kind));
        }
        let keys: Vec<&str> = field
            .markers
            .iter()
            .filter_map(|marker| marker.strip_prefix("listMapKey="))
            .collect();
        if !keys.is_empty() {
            set("keys", json!(keys));
        }
        if let Some(kind) = field.marker("mapType") {
            set("map", json!(kind));
        }
        if let Some(kind) = field.marker("structType") {
            set("struct", json!(kind));
        }
        if let Some(strategy) = field.tag_value("patchStrategy") {
            set("patch", json!(strategy));
        }
        if let Some(key) = field.tag_value("patchMergeKey") {
            set("patchKey", json!(key));
        }
        let default = field.marker("default").map(serde_json::from_str::<Value>);
        if let Some(Ok(default)) = default {
            set("default", default);
        }
        if object.is_empty() {
            return of;
        }
        object.insert("of".to_owned(), of);
        Value::Object(object)
    }
}
