//! Whose status is restored: `restoreStatus` of the restore, overridden per item by an annotation.

use salvor_api::filter::IncludesExcludes;
use salvor_api::glob::GlobError;
use salvor_api::labels::RESTORE_STATUS;
use salvor_api::velero::RestoreStatusSpec;
use serde_json::Value;

use super::body;

/// Which objects get their status back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusSelection {
    lists: Option<IncludesExcludes>,
    /// Whether the annotations of items count for nothing.
    lists_alone: bool,
}

impl StatusSelection {
    /// Compiles `spec.restoreStatus`; absent selects nothing.
    ///
    /// # Errors
    /// A pattern that is not valid.
    pub fn new(spec: Option<&RestoreStatusSpec>) -> Result<Self, GlobError> {
        let lists = match spec {
            None => None,
            Some(RestoreStatusSpec {
                included_resources,
                excluded_resources,
            }) => Some(IncludesExcludes::new(
                included_resources,
                excluded_resources,
            )?),
        };
        Ok(Self {
            lists,
            lists_alone: false,
        })
    }

    /// The same, but an item's own annotation no longer brings its status back.
    #[must_use]
    pub fn without_annotations(self) -> Self {
        Self {
            lists_alone: true,
            ..self
        }
    }

    /// True when this object's status is restored. `names` are all names of its resource.
    #[must_use]
    pub fn selects(&self, names: &[&str], object: &Value) -> bool {
        match body::annotation(object, RESTORE_STATUS) {
            "true" if !self.lists_alone => return true,
            "false" => return false,
            _ => {}
        }
        self.lists.as_ref().is_some_and(|lists| {
            names.iter().any(|name| lists.should_include(name))
                && !names.iter().any(|name| lists.is_excluded(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_annotation_of_an_item_beats_the_list_in_both_directions() {
        let spec = RestoreStatusSpec {
            included_resources: vec!["workflows".into()],
            excluded_resources: vec!["pods".into()],
        };
        let listed = StatusSelection::new(Some(&spec)).expect("valid");
        let alone = listed.clone().without_annotations();
        let nothing = StatusSelection::new(None).expect("valid");
        let with = |value: &str| json!({"metadata": {"annotations": {RESTORE_STATUS: value}}});
        let names = ["workflows.argoproj.io", "workflows"];
        for (selection, names, object, expected) in [
            (&listed, &names[..], json!({}), true),
            (&listed, &["pods"][..], json!({}), false),
            (&listed, &["jobs"][..], json!({}), false),
            (&listed, &names[..], with("false"), false),
            (&listed, &["pods"][..], with("true"), true),
            (&nothing, &names[..], json!({}), false),
            (&nothing, &names[..], with("true"), true),
            (&nothing, &names[..], with("maybe"), false),
            (&alone, &["pods"][..], with("true"), false),
            (&alone, &names[..], json!({}), true),
        ] {
            assert_eq!(
                selection.selects(names, &object),
                expected,
                "{names:?} {object}"
            );
        }
    }
}
