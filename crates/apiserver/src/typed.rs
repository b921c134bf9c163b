//! Built-in objects are read as their types: unknown fields go, values of another type are refused.

use serde_json::{Map, Value};

use crate::kinds::{FieldRow, Shape, TypeRow, type_row};
use crate::status::{Failure, json_type};

/// Reads `object` as the built-in type `root`. Unknown fields are removed and returned as paths; `null`
/// counts as absent.
///
/// # Errors
/// A field holds a value of another type.
pub(crate) fn read(
    object: &mut Map<String, Value>,
    root: &str,
    kind: &str,
    version: &str,
) -> Result<Vec<String>, Failure> {
    let mut reader = Reader {
        kind,
        version,
        unknown: Vec::new(),
    };
    if let Some(row) = type_row(root) {
        reader.object(object, row, "")?;
    }
    Ok(reader.unknown)
}

struct Reader<'a> {
    kind: &'a str,
    version: &'a str,
    unknown: Vec<String>,
}

impl Reader<'_> {
    fn object(
        &mut self,
        object: &mut Map<String, Value>,
        row: &'static TypeRow,
        path: &str,
    ) -> Result<(), Failure> {
        object.retain(|key, value| {
            let known = row.fields.contains_key(key);
            if !known {
                self.unknown.push(below(path, key));
            }
            known && !value.is_null()
        });
        for (key, value) in object.iter_mut() {
            if let Some(field) = row.fields.get(key) {
                self.field(value, field, &below(path, key))?;
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        value: &mut Value,
        field: &'static FieldRow,
        path: &str,
    ) -> Result<(), Failure> {
        match field {
            FieldRow::Named(name) => self.named(value, name, path),
            FieldRow::Shaped(Shape {
                list: Some(_), of, ..
            }) => {
                let Value::Array(list) = value else {
                    return Err(self.wrong(value, path, "list"));
                };
                for (at, one) in list.iter_mut().enumerate() {
                    self.field(one, of, &format!("{path}[{at}]"))?;
                }
                Ok(())
            }
            FieldRow::Shaped(Shape {
                map: Some(_), of, ..
            }) => {
                let Value::Object(map) = value else {
                    return Err(self.wrong(value, path, "map"));
                };
                for (key, one) in map.iter_mut() {
                    if one.is_null() {
                        *one = zero(of);
                    }
                    self.field(one, of, &below(path, key))?;
                }
                Ok(())
            }
            FieldRow::Shaped(Shape { of, .. }) => self.field(value, of, path),
        }
    }

    fn named(&mut self, value: &mut Value, name: &str, path: &str) -> Result<(), Failure> {
        let fits = match name {
            "any" => true,
            "string" | "bytes" | "time" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "quantity" | "int-or-string" => value.is_string() || value.is_number(),
            _ => match (value.as_object_mut(), type_row(name)) {
                (Some(object), Some(row)) => return self.object(object, row, path),
                (None, Some(_)) => false,
                (_, None) => true,
            },
        };
        if fits {
            Ok(())
        } else {
            Err(self.wrong(value, path, name))
        }
    }

    fn wrong(&self, value: &Value, path: &str, wanted: &str) -> Failure {
        let (kind, version) = (self.kind, self.version);
        Failure::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: json: cannot unmarshal {} into Go struct field {kind}.{path} of type {wanted}",
            json_type(value)
        ))
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// What Go makes of `null` as a map's value.
fn zero(field: &FieldRow) -> Value {
    match field {
        FieldRow::Named(name) if name == "string" || name == "bytes" => "".into(),
        FieldRow::Named(name) if name == "quantity" => "0".into(),
        FieldRow::Named(_) | FieldRow::Shaped(_) => Value::Null,
    }
}
