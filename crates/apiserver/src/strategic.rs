//! Strategic merge patch: merge that knows which lists are keyed.
//!
//! Which list merges by which key comes from the table of types. Directives: `$patch` (`replace`,
//! `delete`, `merge`), `$retainKeys`, `$deleteFromPrimitiveList/F`, `$setElementOrder/F`.

use serde_json::{Map, Value};

use crate::kinds::{FieldRow, TypeRow, type_row};
use crate::status::Failure;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Merges `patch` into `target`, whose type is `root`.
pub(crate) fn merge(
    target: &mut Value,
    patch: &Map<String, Value>,
    root: &str,
) -> Result<(), Failure> {
    let mut object = match std::mem::take(target) {
        Value::Object(object) => object,
        _ => Map::new(),
    };
    merge_object(&mut object, patch, type_row(root))?;
    *target = Value::Object(object);
    Ok(())
}

fn bad(message: String) -> Failure {
    Failure::bad_request(format!("strategic merge patch: {message}"))
}

fn merge_object(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    row: Option<&'static TypeRow>,
) -> Result<(), Failure> {
    match patch.get(DIRECTIVE).map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => {
            *target = without_directives(patch);
            return Ok(());
        }
        Some(Some("delete")) => {
            target.clear();
            return Ok(());
        }
        Some(other) => return Err(bad(format!("unknown {DIRECTIVE} {other:?}"))),
    }
    if let Some(keep) = patch.get(RETAIN_KEYS) {
        let keep = keep
            .as_array()
            .ok_or_else(|| bad(format!("{RETAIN_KEYS} must be a list")))?;
        target.retain(|key, _| keep.iter().any(|one| one == key));
    }
    for (key, value) in patch {
        if key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) {
            continue;
        }
        if let Some(field) = key.strip_prefix(DELETE_FROM) {
            let gone = value
                .as_array()
                .ok_or_else(|| bad(format!("{key} must be a list")))?;
            if let Some(list) = target.get_mut(field).and_then(Value::as_array_mut) {
                list.retain(|one| !gone.contains(one));
            }
            continue;
        }
        let field = row.and_then(|row| row.fields.get(key));
        merge_field(target, key, value, field)?;
    }
    for (key, order) in patch {
        let Some(name) = key.strip_prefix(ELEMENT_ORDER) else {
            continue;
        };
        let order = order
            .as_array()
            .ok_or_else(|| bad(format!("{key} must be a list")))?;
        let field = row.and_then(|row| row.fields.get(name));
        let merge_key = field.and_then(FieldRow::patch_key);
        if let Some(list) = target.get_mut(name).and_then(Value::as_array_mut) {
            reorder(list, order, merge_key);
        }
    }
    Ok(())
}

fn merge_field(
    target: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    field: Option<&'static FieldRow>,
) -> Result<(), Failure> {
    match value {
        Value::Null => {
            target.shift_remove(key);
        }
        Value::Object(patch) => {
            if patch.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                target.shift_remove(key);
                return Ok(());
            }
            let row = field
                .filter(|field| !field.is_map() && !field.is_list())
                .and_then(|field| type_row(field.type_name()));
            let elements = field.filter(|field| field.is_map()).map(FieldRow::element);
            let current = target
                .entry(key)
                .or_insert_with(|| Value::Object(Map::new()));
            if !current.is_object() || field.is_some_and(|field| field.has_strategy("replace")) {
                *current = Value::Object(Map::new());
            }
            let Some(current) = current.as_object_mut() else {
                return Ok(());
            };
            match elements {
                Some(element) => merge_map(current, patch, element)?,
                None => merge_object(current, patch, row)?,
            }
        }
        Value::Array(patch) => {
            let keyed = field.filter(|field| field.is_list() && field.has_strategy("merge"));
            let Some(field) = keyed else {
                target.insert(key.to_owned(), Value::Array(plain_list(patch)));
                return Ok(());
            };
            let current = target
                .entry(key)
                .or_insert_with(|| Value::Array(Vec::new()));
            if !current.is_array() {
                *current = Value::Array(Vec::new());
            }
            let Some(current) = current.as_array_mut() else {
                return Ok(());
            };
            match field.patch_key() {
                Some(merge_key) => merge_list(current, patch, key, merge_key, field)?,
                None => merge_set(current, patch),
            }
        }
        scalar => {
            target.insert(key.to_owned(), scalar.clone());
        }
    }
    Ok(())
}

fn merge_map(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    element: &'static FieldRow,
) -> Result<(), Failure> {
    if patch.get(DIRECTIVE).and_then(Value::as_str) == Some("replace") {
        *target = without_directives(patch);
        return Ok(());
    }
    if let Some(keep) = patch.get(RETAIN_KEYS).and_then(Value::as_array) {
        target.retain(|key, _| keep.iter().any(|one| one == key));
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        merge_field(target, key, value, Some(element))?;
    }
    Ok(())
}

fn merge_set(target: &mut Vec<Value>, patch: &[Value]) {
    for value in patch {
        if !target.contains(value) {
            target.push(value.clone());
        }
    }
}

fn merge_list(
    target: &mut Vec<Value>,
    patch: &[Value],
    name: &str,
    merge_key: &str,
    field: &'static FieldRow,
) -> Result<(), Failure> {
    let replaces = |one: &Value| one[DIRECTIVE] == "replace" && one.get(merge_key).is_none();
    if patch.iter().any(replaces) {
        *target = plain_list(patch);
        return Ok(());
    }
    for one in patch {
        let Some(object) = one.as_object() else {
            return Err(bad(format!("an element of `{name}` is not an object")));
        };
        let Some(id) = object.get(merge_key) else {
            // The real server does not take this for the client's fault.
            let message = format!("map: {one} does not contain declared merge key: {merge_key}");
            return Err(Failure::new(500, "", message));
        };
        let found = target
            .iter_mut()
            .find(|present| present.get(merge_key) == Some(id));
        match (object.get(DIRECTIVE).and_then(Value::as_str), found) {
            (Some("delete"), _) => target.retain(|present| present.get(merge_key) != Some(id)),
            (Some("replace"), Some(present)) => {
                *present = Value::Object(without_directives(object));
            }
            (_, Some(present)) => {
                let row = type_row(field.type_name());
                if let Some(present) = present.as_object_mut() {
                    merge_object(present, object, row)?;
                }
            }
            (_, None) => {
                let mut fresh = Map::new();
                let mut object = object.clone();
                object.shift_remove(DIRECTIVE);
                merge_object(&mut fresh, &object, type_row(field.type_name()))?;
                target.push(Value::Object(fresh));
            }
        }
    }
    Ok(())
}

/// Puts the elements that `order` names into that order; the others keep their place relative to the
/// named element before them.
fn reorder(list: &mut [Value], order: &[Value], merge_key: Option<&str>) {
    let id = |value: &Value| -> Value {
        match merge_key {
            Some(key) if value.is_object() => value.get(key).cloned().unwrap_or_default(),
            _ => value.clone(),
        }
    };
    let rank = |value: &Value| order.iter().position(|one| id(one) == id(value));
    let mut named: Vec<Value> = list
        .iter()
        .filter(|one| rank(one).is_some())
        .cloned()
        .collect();
    named.sort_by_key(|one| rank(one));
    let mut named = named.into_iter();
    for slot in list.iter_mut() {
        if rank(slot).is_some()
            && let Some(next) = named.next()
        {
            *slot = next;
        }
    }
}

fn without_directives(object: &Map<String, Value>) -> Map<String, Value> {
    object
        .iter()
        .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
        .map(|(key, value)| {
            let value = match value {
                Value::Object(inner) => Value::Object(without_directives(inner)),
                Value::Array(list) => Value::Array(plain_list(list)),
                scalar => scalar.clone(),
            };
            (key.clone(), value)
        })
        .collect()
}

/// A list that replaces another: elements that are nothing but a directive, or deletions, go.
fn plain_list(list: &[Value]) -> Vec<Value> {
    list.iter()
        .filter(|one| match one.as_object() {
            Some(object) => {
                let directive = object.get(DIRECTIVE).and_then(Value::as_str);
                directive != Some("delete") && !(directive.is_some() && object.len() == 1)
            }
            None => true,
        })
        .map(|one| match one {
            Value::Object(object) => Value::Object(without_directives(object)),
            other => other.clone(),
        })
        .collect()
}
