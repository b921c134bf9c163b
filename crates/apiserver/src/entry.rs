//! One stored object: its metadata, parsed, and everything else as compact JSON bytes.
//!
//! The bytes leave out `apiVersion` and `kind`, which head every object: an object is written once and
//! read through any version of its resource, and members of built-in lists carry neither.

use bytes::{BufMut, Bytes, BytesMut};
use salvor_api::meta::StringMap;
use serde_json::{Map, Value};

/// A stored object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) meta: Meta,
    /// `{"metadata":{...},...}` without `apiVersion` and `kind`.
    pub(crate) body: Bytes,
}

/// The metadata that the server itself works with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Meta {
    pub(crate) name: String,
    /// Empty for cluster-scoped objects.
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: u64,
    pub(crate) labels: StringMap,
    pub(crate) owners: Vec<Owner>,
    pub(crate) finalizers: Vec<String>,
    /// Deletion was asked for and waits for finalizers.
    pub(crate) deleting: bool,
}

/// An owner reference, as far as garbage collection looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: String,
    pub(crate) blocks: bool,
}

impl Entry {
    /// From an object with `metadata`; `apiVersion` and `kind` are dropped.
    pub(crate) fn new(mut object: Map<String, Value>) -> Self {
        object.shift_remove("apiVersion");
        object.shift_remove("kind");
        let metadata = object
            .shift_remove("metadata")
            .unwrap_or_else(|| Value::Object(Map::new()));
        object.shift_insert(0, "metadata".to_owned(), metadata);
        let meta = Meta::read(&object);
        let body = serde_json::to_vec(&object)
            .expect("a JSON tree has string keys only")
            .into();
        Self { meta, body }
    }

    /// The object without `apiVersion` and `kind`.
    pub(crate) fn object(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.body).expect("the body was written by Entry::new")
    }

    /// The object with `apiVersion` and `kind`.
    pub(crate) fn full(&self, api_version: &str, kind: &str) -> Map<String, Value> {
        let mut object = self.object();
        object.shift_insert(0, "kind".to_owned(), kind.into());
        object.shift_insert(0, "apiVersion".to_owned(), api_version.into());
        object
    }

    /// The object's JSON text with `apiVersion` and `kind`.
    pub(crate) fn bytes(&self, api_version: &str, kind: &str) -> Bytes {
        let head = format!("{{\"apiVersion\":\"{api_version}\",\"kind\":\"{kind}\",");
        let mut out = BytesMut::with_capacity(head.len() + self.body.len());
        out.put_slice(head.as_bytes());
        out.put_slice(self.body.get(1..).unwrap_or_default());
        out.freeze()
    }
}

impl Meta {
    /// Reads the metadata of an object; what is absent or of another type is empty.
    pub(crate) fn read(object: &Map<String, Value>) -> Self {
        let Some(metadata) = object.get("metadata").and_then(Value::as_object) else {
            return Self::default();
        };
        let text = |key| {
            metadata
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let list = |key| {
            metadata
                .get(key)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        Self {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion").parse().unwrap_or(0),
            labels: string_map(metadata.get("labels")),
            owners: list("ownerReferences")
                .iter()
                .map(|owner| Owner {
                    uid: owner["uid"].as_str().unwrap_or_default().to_owned(),
                    blocks: owner["blockOwnerDeletion"].as_bool().unwrap_or(false),
                })
                .collect(),
            finalizers: list("finalizers")
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
            deleting: metadata
                .get("deletionTimestamp")
                .is_some_and(Value::is_string),
        }
    }
}

/// The string members of a JSON object.
pub(crate) fn string_map(value: Option<&Value>) -> StringMap {
    value
        .and_then(Value::as_object)
        .map(|map| {
            map.iter()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        })
        .unwrap_or_default()
}

/// `metadata` of an object, made when absent or not an object.
pub(crate) fn metadata_mut(object: &mut Map<String, Value>) -> &mut Map<String, Value> {
    child_mut(object, "metadata")
}

/// The object below `key`, made when absent or not an object.
pub(crate) fn child_mut<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
) -> &'a mut Map<String, Value> {
    let value = object
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value
        .as_object_mut()
        .expect("made an object in the line above")
}

/// The value at a path of object keys.
pub(crate) fn at<'a>(object: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let mut value = object.get(*first)?;
    for key in rest {
        value = value.get(key)?;
    }
    Some(value)
}

/// The text at a path of object keys; empty when there is none.
pub(crate) fn text_at<'a>(object: &'a Map<String, Value>, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}
