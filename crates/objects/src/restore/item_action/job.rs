//! `job`: the server generates selector and controller labels from the new UID, and refuses the old ones.

use serde_json::{Value, json};

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

const CONTROLLER_UID: &[&str] = &["controller-uid", "batch.kubernetes.io/controller-uid"];

pub(super) fn run(item: &mut Item<'_>, _rules: &Rules) -> Result<(), Skip> {
    drop_generated(item.body);
    Ok(())
}

/// Removes controller labels, and the selector unless its user manages it.
pub(super) fn drop_generated(job: &mut Value) {
    body::drop_labels(job, CONTROLLER_UID);
    if let Some(labels) = body::map_at_mut(job, &["spec", "template", "metadata", "labels"]) {
        for label in CONTROLLER_UID {
            labels.shift_remove(*label);
        }
    }
    if body::at(job, &["spec", "manualSelector"]) != Some(&json!(true)) {
        body::remove_at(job, &["spec", "selector"]);
    }
}
