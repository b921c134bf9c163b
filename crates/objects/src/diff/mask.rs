//! Values of secrets in a difference: whether they are the same is shown, what they are is not.

use salvor_api::resource::ObjectKey;
use serde_json::{Value, json};

use crate::restore::body;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Masks both sides when the object is a secret.
pub(super) fn mask_secrets(
    object: &ObjectKey,
    mut from: Option<Value>,
    mut to: Option<Value>,
) -> (Option<Value>, Option<Value>) {
    let is_secret = object.resource.group.is_empty() && object.resource.resource == "secrets";
    let sides = [&from, &to];
    let any_secret = is_secret
        || sides
            .iter()
            .any(|s| s.as_ref().is_some_and(|v| super::is_kind(v, "Secret")));
    if !any_secret {
        return (from, to);
    }
    let before = from.clone();
    let after = to.clone();
    for (side, other, word) in [
        (&mut from, &after, "*** (before)"),
        (&mut to, &before, "*** (after)"),
    ] {
        if let Some(secret) = side {
            mask(secret, other.as_ref(), word);
        }
    }
    (from, to)
}

fn mask(secret: &mut Value, other: Option<&Value>, word: &str) {
    for field in ["data", "stringData"] {
        if let Some(map) = body::map_at_mut(secret, &[field]) {
            for (key, value) in map.iter_mut() {
                let same = other.and_then(|o| body::at(o, &[field, key])) == Some(value);
                *value = json!(if same { "***" } else { word });
            }
        }
    }
    let applied = ["metadata", "annotations", LAST_APPLIED];
    if body::at(secret, &applied).is_some() {
        let same = other.is_some_and(|o| body::at(o, &applied) == body::at(secret, &applied));
        body::set_at(secret, &applied, json!(if same { "***" } else { word }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_show_that_they_differ_and_not_how() {
        let key = ObjectKey::namespaced("secrets".parse().expect("a resource"), "a", "s");
        let secret = |password: &str| {
            json!({"kind": "Secret", "metadata": {"annotations": {LAST_APPLIED: password}},
                "data": {"user": "dXNlcg==", "password": password}})
        };
        let diff = super::super::object_diff(&key, Some(&secret("b2xk")), Some(&secret("bmV3")));
        assert!(
            diff.contains("*** (before)") && diff.contains("*** (after)"),
            "{diff}"
        );
        for leak in ["b2xk", "bmV3", "dXNlcg"] {
            assert!(!diff.contains(leak), "{diff}");
        }
    }
}
