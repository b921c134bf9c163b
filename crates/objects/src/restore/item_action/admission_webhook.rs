//! `admission-webhook-configuration`: `v1` accepts only `None` and `NoneOnDryRun` as side effects.

use serde_json::{Value, json};

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

pub(super) fn run(item: &mut Item<'_>, _rules: &Rules) -> Result<(), Skip> {
    if body::text_at(item.body, &["apiVersion"]) == "admissionregistration.k8s.io/v1" {
        make_side_effects_valid(item.body);
    }
    Ok(())
}

fn make_side_effects_valid(config: &mut Value) {
    for webhook in body::list_at_mut(config, &["webhooks"])
        .into_iter()
        .flatten()
    {
        let given = body::text_at(webhook, &["sideEffects"]);
        if given != "None" && given != "NoneOnDryRun" {
            body::set_at(webhook, &["sideEffects"], json!("None"));
        }
    }
}
