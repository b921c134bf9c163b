//! Values of flags that need a parser of their own, in the forms that Velero's client accepts.

use std::collections::BTreeMap;

use salvor_api::meta::{LabelSelector, TypedLocalObjectReference};
use salvor_api::selector::Selector;

/// A reference to a ConfigMap of the namespace of -n.
pub(crate) fn config_map(name: &str) -> TypedLocalObjectReference {
    TypedLocalObjectReference {
        api_group: None,
        kind: "configmap".to_owned(),
        name: name.to_owned(),
    }
}

/// `a=1,b=2`.
pub(crate) fn pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` is not key=value"))?;
        map.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    Ok(map)
}

/// `source:target,source:target` of `--namespace-mappings`.
pub(crate) fn mappings(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (source, target) = part
            .split_once(':')
            .ok_or_else(|| format!("`{part}` is not source:target"))?;
        let (source, target) = (source.trim(), target.trim());
        if source.is_empty() || target.is_empty() {
            return Err(format!("`{part}` names an empty namespace"));
        }
        if map.insert(source.to_owned(), target.to_owned()).is_some() {
            return Err(format!("namespace `{source}` is mapped twice"));
        }
    }
    Ok(map)
}

/// `pods=ns1/a,ns1/b;persistentvolumes=pv1` of `--ordered-resources`.
pub(crate) fn ordered(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut map = BTreeMap::new();
    for part in text.split(';').filter(|part| !part.trim().is_empty()) {
        let (resource, objects) = part
            .split_once('=')
            .ok_or_else(|| format!("`{part}` is not resource=object,object"))?;
        map.insert(resource.trim().to_owned(), objects.trim().to_owned());
    }
    Ok(map)
}

/// A label selector.
pub(crate) fn selector(text: &str) -> Result<LabelSelector, String> {
    Selector::parse(text)
        .map(|selector| selector.to_label_selector())
        .map_err(|error| error.to_string())
}

/// Label selectors joined by ` or `.
pub(crate) fn or_selectors(text: &str) -> Result<Vec<LabelSelector>, String> {
    text.split(" or ").map(selector).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_in_velero_forms() {
        let text = |map: Result<BTreeMap<String, String>, String>| match map {
            Ok(map) => format!("{map:?}"),
            Err(error) => error,
        };
        for (actual, expected) in [
            (text(pairs("a=1,b=2=3")), r#"{"a": "1", "b": "2=3"}"#),
            (text(pairs("a")), "`a` is not key=value"),
            (text(mappings("a:b, c:d")), r#"{"a": "b", "c": "d"}"#),
            (text(mappings("a:b,a:c")), "namespace `a` is mapped twice"),
            (text(mappings("a:")), "`a:` names an empty namespace"),
            (
                text(ordered("pods=n/a,n/b;pvs=x")),
                r#"{"pods": "n/a,n/b", "pvs": "x"}"#,
            ),
            (
                text(ordered("pods")),
                "`pods` is not resource=object,object",
            ),
        ] {
            assert_eq!(actual, expected);
        }
        assert_eq!(or_selectors("a=1 or b=2").map(|list| list.len()), Ok(2));
        assert!(selector("a=(").is_err());
    }
}
