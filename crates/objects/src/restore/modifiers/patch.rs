//! JSON patches of a modifier: values are strings whose JSON type is guessed as Velero guesses it.

use json_patch::{Patch, PatchErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One operation as a user writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Operation {
    operation: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    from: String,
    path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    value: String,
}

/// Builds the patch of a rule.
pub(super) fn compile(operations: &[Operation]) -> Result<Patch, String> {
    let mut list = Vec::new();
    for Operation {
        operation,
        from,
        path,
        value,
    } in operations
    {
        pointer(path)?;
        list.push(match operation.as_str() {
            "add" | "replace" | "test" => {
                json!({"op": operation, "path": path, "value": typed(value)})
            }
            "remove" => json!({"op": "remove", "path": path}),
            "move" | "copy" => {
                pointer(from)?;
                json!({"op": operation, "from": from, "path": path})
            }
            other => {
                return Err(format!(
                    "operation `{other}` is not one of add, remove, replace, move, copy, test"
                ));
            }
        });
    }
    serde_json::from_value(Value::Array(list)).map_err(|error| error.to_string())
}

/// Checks a JSON pointer.
pub(super) fn pointer(path: &str) -> Result<(), String> {
    if path.is_empty() || path.starts_with('/') {
        Ok(())
    } else {
        Err(format!("path `{path}` must start with `/`"))
    }
}

/// Applies a whole patch or nothing. A failing `test` is not an error: the patch was conditional.
pub(super) fn apply(patch: &Patch, object: &mut Value) -> Result<(), String> {
    match json_patch::patch(object, patch) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind, PatchErrorKind::TestFailed) => Ok(()),
        Err(error) => Err(format!(
            "operation {} at `{}`: {}",
            error.operation + 1,
            error.path,
            error.kind
        )),
    }
}

/// The JSON value that a user's text means: null, booleans, numbers, objects, arrays and quoted strings
/// are themselves, everything else is a string.
pub(super) fn typed(text: &str) -> Value {
    let as_string = || Value::String(text.to_owned());
    match text {
        "" => as_string(),
        "null" => Value::Null,
        _ if text.eq_ignore_ascii_case("true") => Value::Bool(true),
        _ if text.eq_ignore_ascii_case("false") => Value::Bool(false),
        _ => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Number(_) | Value::Object(_) | Value::Array(_))) => value,
            Ok(Value::String(quoted)) => Value::String(quoted),
            _ => as_string(),
        },
    }
}

/// Equality of a condition: numbers compare by value.
pub(super) fn same(found: &Value, wanted: &Value) -> bool {
    match (found.as_f64(), wanted.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_get_the_type_that_velero_gives_them() {
        for (text, expected) in [
            ("", json!("")),
            ("null", Value::Null),
            ("true", json!(true)),
            ("False", json!(false)),
            ("2", json!(2)),
            ("-1.5", json!(-1.5)),
            ("1e3", json!(1e3)),
            ("1Gi", json!("1Gi")),
            ("premium", json!("premium")),
            ("\"2\"", json!("2")),
            ("{\"a\": 1}", json!({"a": 1})),
            ("[1, \"b\"]", json!([1, "b"])),
            ("{broken", json!("{broken")),
        ] {
            assert_eq!(typed(text), expected, "{text}");
        }
    }
}
