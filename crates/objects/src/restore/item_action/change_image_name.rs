//! `change-image-name`: image names mapped by a labelled ConfigMap whose values are `old,new`.
//!
//! The first mapping whose `old` occurs in an image is applied to that image, as a replacement of the
//! substring.

use serde_json::{Value, json};

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

pub(super) fn run(item: &mut Item<'_>, rules: &Rules) -> Result<(), Skip> {
    if rules.image_names.is_empty() {
        return Ok(());
    }
    let path = pod_spec_path(body::text_at(item.body, &["kind"]));
    let Some(spec) = body::at_mut(item.body, path) else {
        return Ok(());
    };
    for list in ["initContainers", "containers"] {
        for container in body::list_at_mut(spec, &[list]).into_iter().flatten() {
            change(container, &rules.image_names);
        }
    }
    Ok(())
}

fn change(container: &mut Value, names: &[(String, String)]) {
    let image = body::text_at(container, &["image"]);
    if let Some((old, new)) = names.iter().find(|(old, _)| image.contains(old.as_str())) {
        let changed = image.replace(old.as_str(), new);
        body::set_at(container, &["image"], json!(changed));
    }
}

/// Where a kind keeps its pod spec.
pub(crate) fn pod_spec_path(kind: &str) -> &'static [&'static str] {
    match kind {
        "Pod" => &["spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => &["spec", "template", "spec"],
    }
}
