//! Custom resource definitions: what they mean, checked and turned into resources.

use std::sync::Arc;

use salvor_api::resource::{GroupResource, compare_versions};
use serde_json::{Map, Value, json};

use crate::entry::{Entry, at, text_at};
use crate::registry::{Resource, Version, all_verbs, custom_subresource};
use crate::schema::Schema;
use crate::status::FieldError;

/// Group of the definitions.
pub(crate) const GROUP: &str = "apiextensions.k8s.io";
/// Plural name of the definitions.
pub(crate) const PLURAL: &str = "customresourcedefinitions";

/// What is particular to one version of a custom resource.
#[derive(Debug, Default)]
pub(crate) struct CustomVersion {
    pub(crate) schema: Schema,
    pub(crate) columns: Vec<Column>,
    pub(crate) scale: Option<Arc<ScalePaths>>,
    /// JSON paths by which a field selector may choose.
    pub(crate) selectable: Vec<String>,
}

/// One of `additionalPrinterColumns`.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) priority: i64,
    pub(crate) description: String,
    pub(crate) path: String,
}

/// Where a custom resource keeps its replica counts, as JSON paths `.spec.replicas`.
#[derive(Debug)]
pub(crate) struct ScalePaths {
    pub(crate) spec: String,
    pub(crate) status: String,
    pub(crate) selector: Option<String>,
}

/// The resource that a definition makes; `None` when no version is served.
pub(crate) fn resource(definition: &Entry) -> Option<Resource> {
    let object = definition.object();
    let group = text_at(&object, &["spec", "group"]).to_owned();
    let names = at(&object, &["spec", "names"])?.as_object()?.clone();
    let text = |key: &str| {
        names
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let list = |key: &str| -> Vec<String> {
        let list = names.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    };
    let kind = text("kind");
    let spec = object.get("spec")?;
    // Definitions of apiextensions/v1beta1 may name one version, and columns for all of them.
    let single = [json!({"name": spec["version"], "served": true})];
    let rows = spec["versions"]
        .as_array()
        .map_or(single.as_slice(), Vec::as_slice);
    let mut versions: Vec<Version> = rows
        .iter()
        .filter(|version| version["served"].as_bool().unwrap_or(false))
        .filter_map(|version| custom_version(version, spec, &group, &kind))
        .collect();
    versions.sort_by(|a, b| compare_versions(&a.name, &b.name));
    if versions.is_empty() {
        return None;
    }
    let list_kind = Some(text("listKind")).filter(|one| !one.is_empty());
    let singular = Some(text("singular")).filter(|one| !one.is_empty());
    Some(Resource {
        name: GroupResource::new(text("plural"), group),
        list_kind: list_kind.unwrap_or_else(|| format!("{kind}List")),
        singular: singular.unwrap_or_else(|| kind.to_lowercase()),
        short_names: list("shortNames"),
        categories: list("categories"),
        namespaced: text_at(&object, &["spec", "scope"]) == "Namespaced",
        verbs: all_verbs(),
        versions,
        custom: true,
        kind,
    })
}

fn custom_version(version: &Value, spec: &Value, group: &str, kind: &str) -> Option<Version> {
    let name = version["name"].as_str()?.to_owned();
    let mut subresources = Vec::new();
    let mut scale = None;
    if version["subresources"]["status"].is_object() {
        subresources.push(custom_subresource("status", group, &name, kind));
    }
    if let Some(paths) = version["subresources"]["scale"].as_object() {
        let path = |key: &str| paths.get(key).and_then(Value::as_str).map(str::to_owned);
        scale = Some(Arc::new(ScalePaths {
            spec: path("specReplicasPath")?,
            status: path("statusReplicasPath")?,
            selector: path("labelSelectorPath"),
        }));
        subresources.push(custom_subresource("scale", "autoscaling", "v1", "Scale"));
    }
    let columns = version["additionalPrinterColumns"]
        .as_array()
        .or(spec["additionalPrinterColumns"].as_array());
    let schema = &version["schema"]["openAPIV3Schema"];
    let custom = CustomVersion {
        schema: Schema::compile(schema, "openAPIV3Schema", &mut Vec::new()),
        columns: columns.into_iter().flatten().map(column).collect(),
        scale,
        selectable: version["selectableFields"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["jsonPath"].as_str().map(str::to_owned))
            .collect(),
    };
    Some(Version {
        name,
        subresources,
        root: None,
        schema: Some(Arc::new(custom)),
    })
}

fn column(column: &Value) -> Column {
    let text = |key: &str| column[key].as_str().unwrap_or_default().to_owned();
    Column {
        name: text("name"),
        kind: text("type"),
        format: text("format"),
        priority: column["priority"].as_i64().unwrap_or(0),
        description: text("description"),
        path: column["jsonPath"]
            .as_str()
            .or(column["JSONPath"].as_str())
            .unwrap_or_default()
            .to_owned(),
    }
}

/// Checks a definition as the real server does, as far as this one understands it.
pub(crate) fn validate(object: &Map<String, Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |path: &[&str]| text_at(object, path);
    for path in [["spec", "group"], ["spec", "scope"]] {
        if text(&path).is_empty() {
            errors.push(FieldError::required(path.join("."), ""));
        }
    }
    for path in [["spec", "names", "plural"], ["spec", "names", "kind"]] {
        if text(&path).is_empty() {
            errors.push(FieldError::required(path.join("."), ""));
        }
    }
    let scope = text(&["spec", "scope"]);
    if !matches!(scope, "" | "Namespaced" | "Cluster") {
        let allowed = ["\"Cluster\"".to_owned(), "\"Namespaced\"".to_owned()];
        errors.push(FieldError::unsupported(
            "spec.scope",
            &scope.into(),
            &allowed,
        ));
    }
    let wanted = format!(
        "{}.{}",
        text(&["spec", "names", "plural"]),
        text(&["spec", "group"])
    );
    let name = text(&["metadata", "name"]);
    if name != wanted {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", &name.into(), detail));
    }
    if text(&["spec", "conversion", "strategy"]) == "Webhook" {
        let detail = "this server does not call conversion webhooks; use strategy None";
        errors.push(FieldError::forbidden("spec.conversion.strategy", detail));
    }
    let versions = at(object, &["spec", "versions"]).and_then(Value::as_array);
    let Some(versions) = versions.filter(|list| !list.is_empty()) else {
        errors.push(FieldError::required(
            "spec.versions",
            "must have at least one version",
        ));
        return errors;
    };
    let stored = versions
        .iter()
        .filter(|one| one["storage"] == json!(true))
        .count();
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &json!(stored), detail));
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}].schema.openAPIV3Schema");
        match &version["schema"]["openAPIV3Schema"] {
            Value::Null => errors.push(FieldError::required(path, "schemas are required")),
            schema => {
                if !Schema::compile(schema, &path, &mut errors).has_type() {
                    let field = format!("{path}.type");
                    errors.push(FieldError::required(field, "must not be empty at the root"));
                }
            }
        }
    }
    errors
}

/// Fills what the real server fills: conversion, list kind, singular, and the status of an established
/// definition. Versions that were ever stored stay in `status.storedVersions`.
pub(crate) fn complete(object: &mut Map<String, Value>, now: &str) {
    let spec = crate::entry::child_mut(object, "spec");
    spec.entry("conversion")
        .or_insert_with(|| json!({"strategy": "None"}));
    let names = crate::entry::child_mut(spec, "names");
    let kind = names
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    names
        .entry("listKind")
        .or_insert_with(|| format!("{kind}List").into());
    names
        .entry("singular")
        .or_insert_with(|| kind.to_lowercase().into());
    let accepted = Value::Object(names.clone());
    let storage = spec
        .get("versions")
        .and_then(Value::as_array)
        .and_then(|versions| {
            let stored = versions.iter().find(|one| one["storage"] == json!(true))?;
            stored["name"].as_str().map(str::to_owned)
        });
    let status = crate::entry::child_mut(object, "status");
    status.insert("acceptedNames".into(), accepted);
    let conditions = status.get("conditions").and_then(Value::as_array);
    if conditions.is_none_or(Vec::is_empty) {
        let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
        status.insert(
            "conditions".into(),
            json!([
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition(
                    "Established",
                    "InitialNamesAccepted",
                    "the initial names have been accepted"
                ),
            ]),
        );
    }
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    if !stored.is_array() {
        *stored = json!([]);
    }
    if let (Some(list), Some(storage)) = (stored.as_array_mut(), storage)
        && !list.iter().any(|one| one == &Value::from(storage.as_str()))
    {
        list.push(storage.into());
    }
}

/// The value at a JSON path such as `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`,
/// `.spec.list[0].name` or `.metadata.labels['a\.b']`.
pub(crate) fn at_json_path<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = object;
    let mut rest = path.trim().trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = after.find(']')?;
            let inside = &after[..end];
            rest = &after[end + 1..];
            value = match inside
                .strip_prefix("?(@.")
                .and_then(|filter| filter.strip_suffix(')'))
            {
                Some(filter) => {
                    let (key, wanted) = filter.split_once("==")?;
                    let wanted = wanted.trim().trim_matches(['"', '\'']);
                    value.as_array()?.iter().find(|one| {
                        at_json_path(one, &format!(".{}", key.trim()))
                            .is_some_and(|found| found.as_str() == Some(wanted))
                    })?
                }
                None => match inside.parse::<usize>() {
                    Ok(index) => value.get(index)?,
                    Err(_) if inside == "*" => value.get(0)?,
                    Err(_) => value.get(unescape(inside.trim_matches(['"', '\''])).as_str())?,
                },
            };
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let mut end = rest.len();
        let mut escaped = false;
        for (index, c) in rest.char_indices() {
            if !escaped && (c == '.' || c == '[') {
                end = index;
                break;
            }
            escaped = c == '\\' && !escaped;
        }
        if end == 0 {
            return None;
        }
        value = value.get(unescape(&rest[..end]).as_str())?;
        rest = &rest[end..];
    }
    Some(value)
}

fn unescape(key: &str) -> String {
    key.replace('\\', "")
}
