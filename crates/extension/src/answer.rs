//! Whether an answer can be used. Pure.

use serde_json::Value;

use super::definition::VERSION;
use super::error::CallError;
use super::message::{ActionKind, Answer};

/// What must stay as it is: it is where the object is kept.
const IDENTITY: &[(&str, &str)] = &[
    ("apiVersion", "/apiVersion"),
    ("kind", "/kind"),
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
];

/// Reads and checks the answer to a question about `object`.
pub(crate) fn read(bytes: &[u8], kind: ActionKind, object: &Value) -> Result<Answer, CallError> {
    // Unknown fields of a newer version are no reason to call it malformed.
    #[derive(serde::Deserialize)]
    struct Version {
        version: String,
    }
    let malformed = |source| CallError::Malformed { source };
    let Version { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    if version != VERSION {
        return Err(CallError::Version(version.chars().take(40).collect()));
    }
    let answer: Answer = serde_json::from_slice(bytes).map_err(malformed)?;
    if let Some(error) = &answer.error {
        return Err(CallError::Refused(super::error::excerpt(error.as_bytes())));
    }
    if kind == ActionKind::DeleteItemAction {
        let asks =
            answer.object.is_some() || answer.skip.is_some() || !answer.additional_items.is_empty();
        if asks {
            return Err(CallError::Meaningless(
                "object, skip or additionalItems, which mean nothing for a deletion",
            ));
        }
    }
    if let Some(changed) = &answer.object {
        if !changed.is_object() {
            return Err(CallError::Meaningless("an object that is none"));
        }
        for (field, pointer) in IDENTITY {
            let text = |value: &Value| match value.pointer(pointer) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            let (from, to) = (text(object), text(changed));
            if from != to {
                let to = to.chars().take(80).collect();
                return Err(CallError::Changed { field, from, to });
            }
        }
    }
    Ok(answer)
}
