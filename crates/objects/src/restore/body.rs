//! Reading and editing one Kubernetes object as JSON, by path.
//!
//! Removal keeps the order of the remaining keys, so that the same input always gives the same bytes.

use salvor_api::meta::StringMap;
use serde_json::{Map, Value};

/// The object's text as Go's encoder writes it: `<`, `>`, `&` and two line separators are escaped in strings. API servers
/// keep some fields as the bytes that they were sent (`data` of a ControllerRevision), and controllers compare them so.
pub(crate) fn as_go_writes(body: &Value) -> String {
    let plain = body.to_string();
    if !plain.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return plain;
    }
    let mut text = String::with_capacity(plain.len() + plain.len() / 8);
    for c in plain.chars() {
        match c {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            c => text.push(c),
        }
    }
    text
}

/// The value at `path`.
pub(crate) fn at<'a>(body: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(body, |value, key| value.get(key))
}

/// The value at `path`, for editing.
pub(crate) fn at_mut<'a>(body: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(body, |value, key| value.get_mut(key))
}

/// The string at `path`; empty when absent or not a string.
pub(crate) fn text_at<'a>(body: &'a Value, path: &[&str]) -> &'a str {
    at(body, path).and_then(Value::as_str).unwrap_or_default()
}

/// The list at `path`; empty when absent or not a list.
pub(crate) fn list_at<'a>(body: &'a Value, path: &[&str]) -> &'a [Value] {
    at(body, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The list at `path`, for editing.
pub(crate) fn list_at_mut<'a>(body: &'a mut Value, path: &[&str]) -> Option<&'a mut Vec<Value>> {
    at_mut(body, path).and_then(Value::as_array_mut)
}

/// The object at `path`, for editing.
pub(crate) fn map_at_mut<'a>(
    body: &'a mut Value,
    path: &[&str],
) -> Option<&'a mut Map<String, Value>> {
    at_mut(body, path).and_then(Value::as_object_mut)
}

/// Takes the value at `path` out.
pub(crate) fn remove_at(body: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    map_at_mut(body, parents)?.shift_remove(*last)
}

/// Puts `value` at `path`, making the objects on the way. Does nothing where a parent is not an object.
pub(crate) fn set_at(body: &mut Value, path: &[&str], value: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut place = body;
    for key in parents {
        let Some(map) = place.as_object_mut() else {
            return;
        };
        let next = map.entry(*key).or_insert_with(|| Value::Object(Map::new()));
        if next.is_null() {
            *next = Value::Object(Map::new());
        }
        place = next;
    }
    if let Some(map) = place.as_object_mut() {
        map.insert((*last).to_owned(), value);
    }
}

/// String entries of `metadata.<field>`; anything else in it is left out.
fn string_map(body: &Value, field: &str) -> StringMap {
    at(body, &["metadata", field])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// `metadata.labels`.
pub(crate) fn labels(body: &Value) -> StringMap {
    string_map(body, "labels")
}

/// One annotation; empty when absent.
pub(crate) fn annotation<'a>(body: &'a Value, key: &str) -> &'a str {
    text_at(body, &["metadata", "annotations", key])
}

/// Removes annotations, and `metadata.annotations` itself when nothing is left.
pub(crate) fn drop_annotations(body: &mut Value, keys: &[&str]) {
    drop_entries(body, "annotations", keys);
}

/// Removes labels, and `metadata.labels` itself when nothing is left.
pub(crate) fn drop_labels(body: &mut Value, keys: &[&str]) {
    drop_entries(body, "labels", keys);
}

fn drop_entries(body: &mut Value, field: &str, keys: &[&str]) {
    let Some(map) = map_at_mut(body, &["metadata", field]) else {
        return;
    };
    let before = map.len();
    for key in keys {
        map.shift_remove(*key);
    }
    if map.is_empty() && before > 0 {
        remove_at(body, &["metadata", field]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_what_go_would_write_and_means_the_same() {
        let body = json!({"data": {"command": "a < b && c > d \u{2028}\u{2029} \"<\" 한글"}});
        let text = as_go_writes(&body);
        let expected = r#"{"data":{"command":"a \u003c b \u0026\u0026 c \u003e d \u2028\u2029 \"\u003c\" 한글"}}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), body);
    }
}
