//! Structural schemas of custom resources: defaulting, pruning, validation.
//!
//! A schema is compiled once, when its definition is written. CEL rules are accepted and not evaluated.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

use crate::status::FieldError;

/// A compiled `JSONSchemaProps`.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    kind: Option<String>,
    properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    additional: Option<Box<Schema>>,
    /// `additionalProperties: true`
    any_additional: bool,
    items: Option<Box<Schema>>,
    allowed: Vec<Value>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive_minimum: bool,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    unique_items: bool,
    pattern: Option<Regex>,
    default: Option<Value>,
    nullable: bool,
    preserve_unknown: bool,
    int_or_string: bool,
    embedded: bool,
    list_map_keys: Vec<String>,
    list_set: bool,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
}

impl Schema {
    /// Compiles a schema; `path` names it in errors.
    pub(crate) fn compile(schema: &Value, path: &str, errors: &mut Vec<FieldError>) -> Self {
        let Some(source) = schema.as_object() else {
            errors.push(FieldError::wrong_type(path, schema, "object"));
            return Self::default();
        };
        let mut node = |key: &str| {
            source
                .get(key)
                .map(|one| Box::new(Self::compile(one, &format!("{path}.{key}"), errors)))
        };
        let items = node("items");
        let not = node("not");
        let additional = if source
            .get("additionalProperties")
            .is_some_and(Value::is_object)
        {
            node("additionalProperties")
        } else {
            None
        };
        let mut many = |key: &str| -> Vec<Self> {
            let list = source.get(key).and_then(Value::as_array);
            list.into_iter()
                .flatten()
                .enumerate()
                .map(|(at, one)| Self::compile(one, &format!("{path}.{key}[{at}]"), errors))
                .collect()
        };
        let (all_of, any_of, one_of) = (many("allOf"), many("anyOf"), many("oneOf"));
        let properties = source
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, one)| {
                (
                    key.clone(),
                    Self::compile(one, &format!("{path}.properties[{key}]"), errors),
                )
            })
            .collect();
        let text = |key: &str| source.get(key).and_then(Value::as_str);
        let number = |key: &str| source.get(key).and_then(Value::as_f64);
        let count = |key: &str| source.get(key).and_then(Value::as_u64);
        let flag = |key: &str| source.get(key).and_then(Value::as_bool).unwrap_or(false);
        let list = |key: &str| {
            source
                .get(key)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let strings = |key: &str| -> Vec<String> {
            list(key)
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect()
        };
        // Go's and Rust's expressions agree but for rarities such as `\Q`; those are not checked.
        let pattern = text("pattern").and_then(|pattern| {
            Regex::new(pattern)
                .inspect_err(|error| tracing::warn!(path, %error, "schema pattern is not checked"))
                .ok()
        });
        Self {
            kind: text("type").map(str::to_owned),
            properties,
            required: strings("required"),
            additional,
            any_additional: flag("additionalProperties"),
            items,
            allowed: list("enum"),
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            unique_items: flag("uniqueItems"),
            pattern,
            default: source.get("default").cloned(),
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded: flag("x-kubernetes-embedded-resource"),
            list_map_keys: strings("x-kubernetes-list-map-keys"),
            list_set: text("x-kubernetes-list-type") == Some("set"),
            all_of,
            any_of,
            one_of,
            not,
        }
    }

    /// True when this node says which type it has, as a structural schema must.
    pub(crate) fn has_type(&self) -> bool {
        self.kind.is_some() || self.int_or_string || self.preserve_unknown
    }

    /// Removes what a whole object's schema does not know; `metadata`, `apiVersion` and `kind` stay.
    pub(crate) fn prune_object(&self, object: &mut Map<String, Value>) {
        self.prune_fields(object, true);
    }

    /// Sets what is absent and has a default, in a whole object.
    pub(crate) fn default_object(&self, object: &mut Map<String, Value>) {
        self.default_fields(object);
    }

    /// Checks a whole object, except `metadata`.
    pub(crate) fn validate_object(&self, object: &Map<String, Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.validate_fields(object, "", true, &mut errors);
        errors
    }

    fn prune(&self, value: &mut Value) {
        match value {
            Value::Object(object) => self.prune_fields(object, self.embedded),
            Value::Array(list) => {
                if let Some(items) = &self.items {
                    list.iter_mut().for_each(|one| items.prune(one));
                }
            }
            _ => {}
        }
    }

    fn prune_fields(&self, object: &mut Map<String, Value>, whole: bool) {
        if !self.preserve_unknown && !self.any_additional && self.additional.is_none() {
            object.retain(|key, _| {
                self.properties.contains_key(key)
                    || (whole && matches!(key.as_str(), "apiVersion" | "kind" | "metadata"))
            });
        }
        for (key, value) in object.iter_mut() {
            if whole && key == "metadata" {
                continue;
            }
            if let Some(schema) = self.properties.get(key).or(self.additional.as_deref()) {
                schema.prune(value);
            }
        }
    }

    fn apply_defaults(&self, value: &mut Value) {
        match value {
            Value::Object(object) => self.default_fields(object),
            Value::Array(list) => {
                if let Some(items) = &self.items {
                    list.iter_mut().for_each(|one| items.apply_defaults(one));
                }
            }
            _ => {}
        }
    }

    fn default_fields(&self, object: &mut Map<String, Value>) {
        for (key, schema) in &self.properties {
            // `null` where null is not allowed counts as absent.
            let absent = match object.get(key) {
                None => true,
                Some(Value::Null) => !schema.nullable && schema.default.is_some(),
                Some(_) => false,
            };
            if let (true, Some(default)) = (absent, &schema.default) {
                object.insert(key.clone(), default.clone());
            }
        }
        for (key, value) in object.iter_mut() {
            if let Some(schema) = self.properties.get(key).or(self.additional.as_deref()) {
                schema.apply_defaults(value);
            }
        }
    }

    fn validate(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        if value.is_null() && self.nullable {
            return;
        }
        if self.int_or_string && !(value.is_string() || is_integer(value)) {
            errors.push(FieldError::wrong_type(path, value, "integer,string"));
            return;
        }
        if let Some(kind) = &self.kind
            && !is_of_type(value, kind)
        {
            errors.push(FieldError::wrong_type(path, value, kind));
            return;
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            let allowed: Vec<String> = self.allowed.iter().map(ToString::to_string).collect();
            errors.push(FieldError::unsupported(path, value, &allowed));
        }
        match value {
            Value::Number(_) => self.validate_number(value, path, errors),
            Value::String(text) => self.validate_text(text, path, errors),
            Value::Array(list) => self.validate_list(list, path, errors),
            Value::Object(object) => self.validate_fields(object, path, self.embedded, errors),
            Value::Null | Value::Bool(_) => {}
        }
        self.validate_combinations(value, path, errors);
    }

    fn accepts(&self, value: &Value) -> bool {
        let mut errors = Vec::new();
        self.validate(value, "", &mut errors);
        errors.is_empty()
    }

    fn validate_combinations(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        for schema in &self.all_of {
            schema.validate(value, path, errors);
        }
        if !self.any_of.is_empty() && !self.any_of.iter().any(|one| one.accepts(value)) {
            let detail = format!("{path} in body must validate at least one schema (anyOf)");
            errors.push(FieldError::invalid(path, value, &detail));
        }
        if !self.one_of.is_empty() {
            let accepted = self.one_of.iter().filter(|one| one.accepts(value)).count();
            if accepted != 1 {
                let detail = format!(
                    "{path} in body must validate one and only one schema (oneOf). Found {accepted} valid alternatives"
                );
                errors.push(FieldError::invalid(path, value, &detail));
            }
        }
        if self.not.as_ref().is_some_and(|not| not.accepts(value)) {
            let detail = format!("{path} in body must not validate the schema (not)");
            errors.push(FieldError::invalid(path, value, &detail));
        }
    }

    fn validate_number(&self, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
        let Some(number) = value.as_f64() else { return };
        let mut refuse = |detail: String| errors.push(FieldError::invalid(path, value, &detail));
        if let Some(least) = self.minimum {
            if self.exclusive_minimum && number <= least {
                refuse(format!("{path} in body should be greater than {least}"));
            } else if number < least {
                refuse(format!(
                    "{path} in body should be greater than or equal to {least}"
                ));
            }
        }
        if let Some(most) = self.maximum {
            if self.exclusive_maximum && number >= most {
                refuse(format!("{path} in body should be less than {most}"));
            } else if number > most {
                refuse(format!(
                    "{path} in body should be less than or equal to {most}"
                ));
            }
        }
        if let Some(step) = self.multiple_of
            && step > 0.0
            && (number / step).fract() != 0.0
        {
            refuse(format!("{path} in body should be a multiple of {step}"));
        }
    }

    fn validate_text(&self, text: &str, path: &str, errors: &mut Vec<FieldError>) {
        let length = text.chars().count() as u64;
        let value = Value::from(text);
        let mut refuse = |detail: String| errors.push(FieldError::invalid(path, &value, &detail));
        if let Some(least) = self.min_length.filter(|least| length < *least) {
            refuse(format!(
                "{path} in body should be at least {least} chars long"
            ));
        }
        if let Some(most) = self.max_length.filter(|most| length > *most) {
            refuse(format!(
                "{path} in body should be at most {most} chars long"
            ));
        }
        if let Some(pattern) = self
            .pattern
            .as_ref()
            .filter(|pattern| !pattern.is_match(text))
        {
            refuse(format!("{path} in body should match '{pattern}'"));
        }
    }

    fn validate_list(&self, list: &[Value], path: &str, errors: &mut Vec<FieldError>) {
        let length = list.len() as u64;
        let value = Value::from(length);
        let mut refuse = |detail: String| errors.push(FieldError::invalid(path, &value, &detail));
        if let Some(least) = self.min_items.filter(|least| length < *least) {
            refuse(format!("{path} in body should have at least {least} items"));
        }
        if let Some(most) = self.max_items.filter(|most| length > *most) {
            refuse(format!("{path} in body should have at most {most} items"));
        }
        let same = |a: &Value, b: &Value| {
            if self.list_map_keys.is_empty() {
                (self.list_set || self.unique_items) && a == b
            } else {
                self.list_map_keys
                    .iter()
                    .all(|key| a.get(key) == b.get(key))
            }
        };
        for (at, one) in list.iter().enumerate() {
            if list[..at].iter().any(|earlier| same(earlier, one)) {
                errors.push(FieldError::invalid(
                    format!("{path}[{at}]"),
                    one,
                    "duplicate value",
                ));
            }
            if let Some(items) = &self.items {
                items.validate(one, &format!("{path}[{at}]"), errors);
            }
        }
    }

    fn validate_fields(
        &self,
        object: &Map<String, Value>,
        path: &str,
        whole: bool,
        errors: &mut Vec<FieldError>,
    ) {
        let below = |key: &str| {
            if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            }
        };
        for key in self
            .required
            .iter()
            .filter(|key| !object.contains_key(*key))
        {
            errors.push(FieldError::required(below(key), ""));
        }
        let length = object.len() as u64;
        let value = Value::from(length);
        if let Some(least) = self.min_properties.filter(|least| length < *least) {
            let detail = format!("{path} in body should have at least {least} properties");
            errors.push(FieldError::invalid(path, &value, &detail));
        }
        if let Some(most) = self.max_properties.filter(|most| length > *most) {
            let detail = format!("{path} in body should have at most {most} properties");
            errors.push(FieldError::invalid(path, &value, &detail));
        }
        for (key, value) in object {
            if whole && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            if let Some(schema) = self.properties.get(key).or(self.additional.as_deref()) {
                schema.validate(value, &below(key), errors);
            }
        }
        if path.is_empty() {
            self.validate_combinations(&Value::Object(object.clone()), path, errors);
        }
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_number() && is_integer(value),
        _ => true,
    }
}
