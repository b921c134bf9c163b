//! `change-storage-class`: storage classes mapped by a labelled ConfigMap, in volumes, claims and claim
//! templates. The new class must exist; otherwise the claim would wait for ever.

use serde_json::{Value, json};

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

/// Older clients name the class in an annotation.
const ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn run(item: &mut Item<'_>, rules: &Rules) -> Result<(), Skip> {
    if rules.storage_classes.is_empty() {
        return Ok(());
    }
    if let Some(templates) = body::list_at_mut(item.body, &["spec", "volumeClaimTemplates"]) {
        for template in templates {
            change(template, rules)?;
        }
    }
    change(item.body, rules)
}

fn change(claim: &mut Value, rules: &Rules) -> Result<(), Skip> {
    let spec = ["spec", "storageClassName"];
    let annotation = ["metadata", "annotations", ANNOTATION];
    for path in [&spec[..], &annotation[..]] {
        let old = body::text_at(claim, path);
        let Some(new) = rules.storage_classes.get(old) else {
            continue;
        };
        if !rules.known_storage_classes.contains(new) {
            return Err(Skip::MissingStorageClass {
                old: old.to_owned(),
                new: new.clone(),
            });
        }
        body::set_at(claim, path, json!(new));
    }
    Ok(())
}
