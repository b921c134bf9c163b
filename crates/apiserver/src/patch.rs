//! Patches: JSON, merge and strategic merge.

use serde_json::{Map, Value};

use crate::status::Failure;
use crate::strategic;

/// A patch as it came.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Map<String, Value>),
    /// Kubernetes' own, for built-in kinds.
    Strategic(Map<String, Value>),
}

/// Most operations that a JSON patch may have, as in the real server.
const MAX_JSON_OPERATIONS: usize = 10_000;

impl Patch {
    /// Reads a patch of a media type.
    pub(crate) fn parse(media: &str, body: &[u8]) -> Result<Self, Failure> {
        let bad = |error: serde_json::Error| {
            Failure::bad_request(format!("error decoding patch: {error}"))
        };
        match media {
            "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_slice(body).map_err(bad)?;
                if patch.len() > MAX_JSON_OPERATIONS {
                    return Err(Failure::new(
                        413,
                        "RequestEntityTooLarge",
                        format!(
                            "The allowed maximum operations in a JSON patch is {MAX_JSON_OPERATIONS}, got {}",
                            patch.len()
                        ),
                    ));
                }
                Ok(Self::Json(patch))
            }
            "application/merge-patch+json" => {
                serde_json::from_slice(body).map(Self::Merge).map_err(bad)
            }
            "application/strategic-merge-patch+json" => serde_json::from_slice(body)
                .map(Self::Strategic)
                .map_err(bad),
            "application/apply-patch+yaml" => Err(Failure::unsupported_media_type(
                "this server does not do server-side apply; use client-side apply or a merge patch",
            )),
            other => Err(Failure::unsupported_media_type(format!(
                "the body of the request was in an unknown format ({other}) - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"
            ))),
        }
    }

    /// Applies the patch; `root` is the object's type in the table, `None` for custom resources.
    pub(crate) fn apply(
        &self,
        object: Map<String, Value>,
        root: Option<&str>,
    ) -> Result<Map<String, Value>, Failure> {
        let mut value = Value::Object(object);
        match self {
            Self::Json(patch) => json_patch::patch(&mut value, patch).map_err(|error| {
                Failure::new(
                    422,
                    "Invalid",
                    format!(
                        "the server rejected our request due to an error in our request: {error}"
                    ),
                )
            })?,
            Self::Merge(patch) => json_patch::merge(&mut value, &Value::Object(patch.clone())),
            Self::Strategic(patch) => {
                let Some(root) = root else {
                    return Err(Failure::unsupported_media_type(
                        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json",
                    ));
                };
                strategic::merge(&mut value, patch, root)?;
            }
        }
        match value {
            Value::Object(object) => Ok(object),
            _ => Err(Failure::bad_request(
                "the patch leaves something that is not an object",
            )),
        }
    }
}
