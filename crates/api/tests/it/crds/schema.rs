//! Words to describe a field with: what it holds, what it is for.

use serde_json::{Map, Value, json};

/// A field's schema, and whether its object needs the field.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    json: Map<String, Value>,
    required: bool,
}

/// A named field.
pub(super) type Field = (&'static str, Schema);

fn schema(kind: &str, doc: &str) -> Schema {
    let mut json = Map::new();
    if !doc.is_empty() {
        json.insert("description".to_owned(), json!(doc));
    }
    json.insert("type".to_owned(), json!(kind));
    Schema {
        json,
        required: false,
    }
}

/// Text.
pub(super) fn text(doc: &str) -> Schema {
    schema("string", doc)
}

/// A duration as Go writes it.
pub(super) fn duration(doc: &str) -> Schema {
    schema("string", &format!("{doc} A duration such as `1h30m`."))
}

/// Text with a fixed set of values.
pub(super) fn word(doc: &str, words: &[&str]) -> Schema {
    text(doc).with("enum", json!(words))
}

/// A moment; `null` is read as absent.
pub(super) fn time(doc: &str) -> Schema {
    text(doc).with("format", json!("date-time")).nullable()
}

/// True or false.
pub(super) fn flag(doc: &str) -> Schema {
    schema("boolean", doc)
}

/// A count.
pub(super) fn count(doc: &str) -> Schema {
    schema("integer", doc)
}

/// A number of bytes.
pub(super) fn bytes(doc: &str) -> Schema {
    schema("integer", doc).with("format", json!("int64"))
}

/// A list.
pub(super) fn list(doc: &str, item: Schema) -> Schema {
    schema("array", doc).with("items", item.into_json())
}

/// A list of texts.
pub(super) fn texts(doc: &str) -> Schema {
    list(doc, text(""))
}

/// A map of texts to texts.
pub(super) fn map(doc: &str) -> Schema {
    schema("object", doc).with("additionalProperties", text("").into_json())
}

/// An object with these fields.
pub(super) fn object(doc: &str, mut fields: Vec<Field>) -> Schema {
    fields.sort_by_key(|(name, _)| *name);
    let required: Vec<&str> = fields
        .iter()
        .filter(|(_, field)| field.required)
        .map(|(name, _)| *name)
        .collect();
    let mut whole = schema("object", doc);
    if !required.is_empty() {
        whole = whole.with("required", json!(required));
    }
    let properties: Map<String, Value> = fields
        .into_iter()
        .map(|(name, field)| (name.to_owned(), field.into_json()))
        .collect();
    match properties.is_empty() {
        true => whole,
        false => whole.with("properties", Value::Object(properties)),
    }
}

impl Schema {
    pub(super) fn with(mut self, key: &str, value: Value) -> Self {
        self.json.insert(key.to_owned(), value);
        self
    }

    pub(super) fn nullable(self) -> Self {
        self.with("nullable", json!(true))
    }

    /// A reference is replaced as a whole by server-side apply.
    pub(super) fn atomic(self) -> Self {
        self.with("x-kubernetes-map-type", json!("atomic"))
    }

    pub(super) fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Fields that are not described are kept.
    pub(super) fn open(self) -> Self {
        self.with("x-kubernetes-preserve-unknown-fields", json!(true))
    }

    pub(super) fn into_json(self) -> Value {
        Value::Object(self.json)
    }
}

/// Which objects, by their labels.
pub(super) fn label_selector(doc: &str) -> Schema {
    let atomic_list = |list: Schema| list.with("x-kubernetes-list-type", json!("atomic"));
    let requirement = object(
        "One requirement.",
        vec![
            ("key", text("Label that is looked at.").required()),
            (
                "operator",
                text("`In`, `NotIn`, `Exists` or `DoesNotExist`.").required(),
            ),
            (
                "values",
                atomic_list(texts("Values for `In` and `NotIn`; empty for the others.")),
            ),
        ],
    );
    object(
        doc,
        vec![
            (
                "matchExpressions",
                atomic_list(list("Requirements; all must hold.", requirement)),
            ),
            (
                "matchLabels",
                map("Labels with the value that each must have."),
            ),
        ],
    )
    .atomic()
}

/// A ConfigMap of the same namespace.
pub(super) fn config_map(doc: &str) -> Schema {
    object(
        doc,
        vec![
            ("apiGroup", text("Group; absent for a ConfigMap.")),
            ("kind", text("Always `configmap`.").required()),
            ("name", text("Name of the ConfigMap.").required()),
        ],
    )
    .atomic()
}

/// A key of a Secret of the same namespace.
pub(super) fn secret_key(doc: &str) -> Schema {
    object(
        doc,
        vec![
            ("key", text("Key in the Secret.").required()),
            ("name", text("Name of the Secret.")),
            ("optional", flag("Whether Secret or key may be missing.")),
        ],
    )
    .atomic()
}

/// A pod.
pub(super) fn object_reference(doc: &str) -> Schema {
    object(
        doc,
        vec![
            ("apiVersion", text("Group and version.")),
            ("fieldPath", text("Part of the object.")),
            ("kind", text("Kind of the object.")),
            ("name", text("Name of the object.")),
            ("namespace", text("Namespace of the object.")),
            ("resourceVersion", text("Version of the object.")),
            ("uid", text("Identity of this incarnation of the object.")),
        ],
    )
    .atomic()
}
