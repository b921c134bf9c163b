//! `crd-preserve-fields`: `v1` refuses `preserveUnknownFields: true` and wants the same said in each
//! version's schema.

use serde_json::{Value, json};

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

pub(super) fn run(item: &mut Item<'_>, _rules: &Rules) -> Result<(), Skip> {
    if body::text_at(item.body, &["apiVersion"]) == "apiextensions.k8s.io/v1" {
        move_into_schemas(item.body);
    }
    Ok(())
}

fn move_into_schemas(crd: &mut Value) {
    if body::at(crd, &["spec", "preserveUnknownFields"]) != Some(&Value::Bool(true)) {
        return;
    }
    body::set_at(crd, &["spec", "preserveUnknownFields"], json!(false));
    for version in body::list_at_mut(crd, &["spec", "versions"])
        .into_iter()
        .flatten()
    {
        let schema = ["schema", "openAPIV3Schema"];
        if body::at(version, &schema).is_none() {
            body::set_at(version, &schema, json!({"type": "object"}));
        }
        body::set_at(
            version,
            &[
                "schema",
                "openAPIV3Schema",
                "x-kubernetes-preserve-unknown-fields",
            ],
            json!(true),
        );
    }
}
