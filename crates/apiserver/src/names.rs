//! Rules for names and the rest of an object's metadata.

use salvor_api::name::check_dns_subdomain;
use salvor_api::resource::GroupResource;
use serde_json::{Map, Value};

use crate::status::FieldError;

const MAX_ANNOTATION_BYTES: usize = 256 << 10;
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_KEY: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// What is wrong with a name for a resource; `None` when it is good.
fn name_error(resource: &GroupResource, name: &str) -> Option<String> {
    let (group, plural) = (resource.group.as_str(), resource.resource.as_str());
    if group == "rbac.authorization.k8s.io" {
        return path_segment_error(name);
    }
    let limit = match (group, plural) {
        ("", "namespaces" | "services") => 63,
        ("batch", "cronjobs") => 52,
        ("batch", "jobs") => 63,
        _ => 253,
    };
    let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_label = !name.is_empty()
        && name.bytes().all(|c| edge(c) || c == b'-')
        && name.bytes().next().is_some_and(edge)
        && name.bytes().next_back().is_some_and(edge);
    let broken = match (group, plural) {
        ("", "namespaces") => (!is_label).then_some(LABEL_1123),
        ("", "services") => {
            let alphabetic = name.bytes().next().is_some_and(|c| c.is_ascii_lowercase());
            (!is_label || !alphabetic).then_some(LABEL_1035)
        }
        _ => {
            let cut = name.get(..253).unwrap_or(name);
            check_dns_subdomain("object", cut)
                .is_err()
                .then_some(SUBDOMAIN)
        }
    };
    if let Some(rule) = broken {
        return Some(rule.to_owned());
    }
    (name.len() > limit).then(|| format!("must be no more than {limit} characters"))
}

fn path_segment_error(name: &str) -> Option<String> {
    if matches!(name, "." | "..") {
        return Some(format!("may not be '{name}'"));
    }
    let bad = name.chars().find(|c| matches!(c, '/' | '%'))?;
    Some(format!("may not contain '{bad}'"))
}

/// Checks name, labels, annotations and owner references.
pub(crate) fn check_metadata(
    resource: &GroupResource,
    metadata: &Map<String, Value>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = metadata
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else if let Some(rule) = name_error(resource, name) {
        errors.push(FieldError::invalid("metadata.name", &name.into(), &rule));
    }
    for (key, value) in members(metadata, "labels") {
        if !is_key(key) {
            errors.push(FieldError::invalid(
                "metadata.labels",
                &key.as_str().into(),
                LABEL_KEY,
            ));
        }
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            let rule = "must be no more than 63 bytes";
            errors.push(FieldError::invalid("metadata.labels", value, rule));
        } else if !value.is_string() || !(text.is_empty() || is_qualified(text)) {
            errors.push(FieldError::invalid("metadata.labels", value, LABEL_VALUE));
        }
    }
    let mut bytes = 0;
    for (key, value) in members(metadata, "annotations") {
        if !is_key(&key.to_lowercase()) {
            let key = Value::from(key.as_str());
            errors.push(FieldError::invalid("metadata.annotations", &key, LABEL_KEY));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > MAX_ANNOTATION_BYTES {
        errors.push(FieldError::too_long(
            "metadata.annotations",
            MAX_ANNOTATION_BYTES,
        ));
    }
    let owners = metadata.get("ownerReferences").and_then(Value::as_array);
    for owner in owners.into_iter().flatten() {
        for (key, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner[key].as_str().unwrap_or_default().is_empty() {
                let field = format!("metadata.ownerReferences.{key}");
                errors.push(FieldError::invalid(field, &"".into(), detail));
            }
        }
    }
    errors
}

fn members<'a>(
    metadata: &'a Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    metadata
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => {
            check_dns_subdomain("prefix", prefix).is_ok() && name.len() <= 63 && is_qualified(name)
        }
        None => key.len() <= 63 && is_qualified(key),
    }
}

fn is_qualified(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().next_back())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}
