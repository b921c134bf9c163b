//! What kubectl asks of a running cluster, answered for a backup: who may do what, and logs.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::protobuf;
use crate::request::ResourcePath;
use crate::status::Failure;

/// Whoever reaches the server may read everything, and nobody may write.
const READ: [&str; 3] = ["get", "list", "watch"];

/// The answer to a review of access by the user himself; `None` for any other request.
pub(super) fn review(path: &ResourcePath, body: &Bytes) -> Option<Result<Value, Failure>> {
    if path.group != "authorization.k8s.io" || path.name.is_some() {
        return None;
    }
    let answer: fn(&Value) -> Value = match path.plural.as_str() {
        "selfsubjectaccessreviews" => access,
        "selfsubjectrulesreviews" => rules,
        _ => return None,
    };
    let read = if body.starts_with(protobuf::MAGIC) {
        protobuf::read(body)
    } else {
        serde_json::from_slice(body)
            .map_err(|error| Failure::bad_request(format!("the body is no review: {error}")))
    };
    Some(read.map(|review| {
        let mut review = Value::Object(review);
        review["status"] = answer(&review["spec"]);
        review
    }))
}

fn access(spec: &Value) -> Value {
    let resource = &spec["resourceAttributes"];
    let verb = match resource["verb"].as_str() {
        Some(verb) => verb,
        None => spec["nonResourceAttributes"]["verb"]
            .as_str()
            .unwrap_or_default(),
    };
    let runs = resource["subresource"].as_str().and_then(why_not);
    match runs {
        Some(why) => json!({"allowed": false, "denied": true, "reason": why}),
        None if READ.contains(&verb) => json!({"allowed": true, "reason": "a backup may be read"}),
        None => json!({"allowed": false, "denied": true,
            "reason": "this server shows a backup, which cannot be changed"}),
    }
}

fn rules(_: &Value) -> Value {
    json!({"incomplete": false,
        "resourceRules": [{"verbs": READ, "apiGroups": ["*"], "resources": ["*"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}]})
}

/// Why a subresource that needs something running is not there.
pub(super) fn why_not(subresource: &str) -> Option<&'static str> {
    match subresource {
        "log" => Some(
            "a backup has no logs: it holds the objects of a cluster, not what its containers wrote",
        ),
        "exec" | "attach" | "portforward" | "proxy" => {
            Some("nothing runs in a backup: it holds the objects of a cluster")
        }
        _ => None,
    }
}
