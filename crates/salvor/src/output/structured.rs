//! JSON and YAML of results. Never translated, stable.

use serde::Serialize;
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// Indented JSON with a final line end.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::caused(Exit::Internal, "write the result as JSON", error))?;
    text.push('\n');
    Ok(text)
}

/// YAML with keys in alphabetical order, as Kubernetes' clients write it.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    let value = serde_json::to_value(value)
        .map_err(|error| Failure::caused(Exit::Internal, "write the result as YAML", error))?;
    let mut text = serde_saphyr::to_string(&sorted(value))
        .map_err(|error| Failure::caused(Exit::Internal, "write the result as YAML", error))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(k, v)| (k, sorted(v))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// A `v1` style list of one of Velero's kinds: `BackupList`, `RestoreList`, ...
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KindList<'a, T> {
    kind: String,
    api_version: &'static str,
    metadata: Empty,
    items: &'a [T],
}

#[derive(Debug, Serialize)]
struct Empty {}

/// One object as itself, any other number as a list, as Velero's client prints them.
pub(crate) fn kind_list<'a, T: Serialize>(kind: &str, items: &'a [T]) -> KindList<'a, T> {
    KindList {
        kind: format!("{kind}List"),
        api_version: salvor_api::velero::API_VERSION,
        metadata: Empty {},
        items,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_quotes_what_would_change_its_type_and_reads_back_equal() {
        let value = json!({
            "b": {"ttl": "720h0m0s", "n": "1", "t": "true", "nul": null, "e": "", "colon": "a: b"},
            "a": ["*", "- x", "# y", "줄\n바꿈", 1, true, {}, []],
        });
        let text = yaml(&value).expect("plain data");
        let back: Value = serde_saphyr::from_str(&text).expect("our own YAML");
        assert_eq!(back, value, "{text}");
        let first = text.lines().next().expect("a line");
        expect![["a:"]].assert_eq(first);
    }
}
