//! A definition as an API server takes it: names, columns, schema.

use salvor_api::velero::{Hooks, Kind};
use serde_json::{Value, json};

use super::schema::{Field, Schema, object, text};

/// What a kind adds to its names.
pub(super) struct Body {
    pub(super) doc: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) spec: Schema,
    pub(super) status: Schema,
}

/// A column of `kubectl get`.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) path: &'static str,
    /// Shown with `-o wide` only when above zero.
    pub(super) priority: i64,
}

/// A column that is always shown.
pub(super) fn column(name: &'static str, kind: &'static str, path: &'static str) -> Column {
    Column {
        name,
        kind,
        path,
        priority: 0,
    }
}

/// How long ago the object was made.
pub(super) fn age() -> Column {
    column("Age", "date", ".metadata.creationTimestamp")
}

pub(super) struct Definition {
    pub(super) plural: &'static str,
    names: Value,
    group: &'static str,
    version: &'static str,
    body: Body,
    /// Reads an object with our type and writes it again.
    pub(super) round_trip: fn(Value) -> Result<Value, String>,
}

/// Through the type, with hooks through theirs as well.
fn round_trip<T: Kind>(object: Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let mut json = serde_json::to_value(&typed).map_err(|error| error.to_string())?;
    let spec = match T::KIND {
        "Schedule" => &mut json["spec"]["template"],
        _ => &mut json["spec"],
    };
    if let Ok(hooks) = serde_json::from_value::<Hooks>(spec["hooks"].clone()) {
        let typed = match T::KIND {
            "Restore" => hooks.for_restore().map(|hooks| json!(hooks)),
            _ => hooks.for_backup().map(|hooks| json!(hooks)),
        };
        let typed = typed.map_err(|error| format!("{error}: {}", error.source))?;
        if !hooks.resources.is_empty() {
            spec["hooks"]["resources"] = typed;
        }
    }
    Ok(json)
}

impl Definition {
    pub(super) fn of<T: Kind>(body: Body) -> Self {
        let mut names =
            json!({"kind": T::KIND, "listKind": format!("{}List", T::KIND), "plural": T::PLURAL});
        if !T::SHORT_NAMES.is_empty() {
            names["shortNames"] = json!(T::SHORT_NAMES);
        }
        names["singular"] = json!(T::SINGULAR);
        assert!(T::NAMESPACED, "{}", T::KIND);
        Self {
            plural: T::PLURAL,
            names,
            group: T::GROUP,
            version: T::VERSION,
            body,
            round_trip: round_trip::<T>,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let fields: Vec<Field> = vec![
            ("apiVersion", text("Group and version of this kind.")),
            ("kind", text("Name of this kind.")),
            ("metadata", object("", Vec::new())),
            ("spec", self.body.spec.clone()),
            ("status", self.body.status.clone()),
        ];
        let columns: Vec<Value> = self.body.columns.iter().map(column_json).collect();
        let mut version = json!({});
        if !columns.is_empty() {
            version["additionalPrinterColumns"] = json!(columns);
        }
        version["name"] = json!(self.version);
        version["schema"] = json!({"openAPIV3Schema": object(self.body.doc, fields).into_json()});
        version["served"] = json!(true);
        version["storage"] = json!(true);
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{}.{}", self.plural, self.group)},
            "spec": {"group": self.group, "names": self.names, "scope": "Namespaced", "versions": [version]},
        })
    }
}

fn column_json(column: &Column) -> Value {
    let mut json = json!({"jsonPath": column.path, "name": column.name, "type": column.kind});
    if column.kind == "integer" && column.name.contains("Bytes") {
        json["format"] = json!("int64");
    }
    if column.priority > 0 {
        json["priority"] = json!(column.priority);
    }
    json
}
