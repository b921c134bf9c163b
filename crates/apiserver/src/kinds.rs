//! The generated table of built-in kinds and of the types of their fields.
//!
//! `data/kinds.json` says what discovery says, `data/types.json` how fields merge and what JSON they
//! hold; `docs/formats/kinds-table.md` describes both. They are read once, on first use.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// What a release of Kubernetes serves.
#[derive(Debug, Deserialize)]
pub(crate) struct KindsTable {
    /// Release of Kubernetes that the table describes, `1.37`.
    pub(crate) release: String,
    /// API groups in the real server's order, versions preferred first.
    pub(crate) groups: Vec<GroupRow>,
    /// One row per group, version and kind.
    pub(crate) kinds: Vec<KindRow>,
    /// Kinds of earlier releases that are not served any more.
    pub(crate) removed: Vec<RemovedRow>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RemovedRow {
    pub(crate) group: String,
    pub(crate) plural: String,
    pub(crate) kind: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GroupRow {
    pub(crate) group: String,
    pub(crate) versions: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KindRow {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    #[serde(default)]
    pub(crate) short_names: Vec<String>,
    #[serde(default)]
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// Served without anyone asking for it.
    #[serde(rename = "default")]
    pub(crate) default_on: bool,
    pub(crate) verbs: Vec<String>,
    #[serde(default)]
    pub(crate) subresources: Vec<SubresourceRow>,
    /// Name of the root type in the table of types.
    pub(crate) root: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SubresourceRow {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) verbs: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct TypesTable {
    types: HashMap<String, TypeRow>,
}

/// A named object type.
#[derive(Debug, Deserialize)]
pub(crate) struct TypeRow {
    pub(crate) fields: HashMap<String, FieldRow>,
}

/// The type of a field: a scalar's or another type's name, or a shape around one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum FieldRow {
    Named(String),
    Shaped(Shape),
}

/// A list, a map, or a field with a rule of its own for patches.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shape {
    pub(crate) list: Option<String>,
    pub(crate) map: Option<String>,
    /// Strategies of a strategic merge patch, joined by commas: `merge`, `retainKeys`, `replace`.
    pub(crate) patch: Option<String>,
    /// The key by which list elements are told apart in a strategic merge patch.
    pub(crate) patch_key: Option<String>,
    pub(crate) of: Box<FieldRow>,
}

impl FieldRow {
    /// Name of the scalar or type, or of the innermost element's type.
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Shaped(shape) => shape.of.type_name(),
        }
    }

    /// The type of an element, or of the field itself when it is neither list nor map.
    pub(crate) fn element(&self) -> &FieldRow {
        match self {
            Self::Named(_) => self,
            Self::Shaped(shape) => &shape.of,
        }
    }

    /// True when a strategic merge patch uses this strategy here.
    pub(crate) fn has_strategy(&self, strategy: &str) -> bool {
        match self {
            Self::Named(_) => false,
            Self::Shaped(shape) => shape
                .patch
                .as_deref()
                .is_some_and(|all| all.split(',').any(|one| one == strategy)),
        }
    }

    pub(crate) fn patch_key(&self) -> Option<&str> {
        match self {
            Self::Named(_) => None,
            Self::Shaped(shape) => shape.patch_key.as_deref(),
        }
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::Shaped(Shape { list: Some(_), .. }))
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self, Self::Shaped(Shape { map: Some(_), .. }))
    }
}

static KINDS: LazyLock<KindsTable> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../data/kinds.json"))
        .expect("the committed table is read by a unit test")
});

static TYPES: LazyLock<TypesTable> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../data/types.json"))
        .expect("the committed table is read by a unit test")
});

/// The table of built-in kinds.
pub(crate) fn kinds() -> &'static KindsTable {
    &KINDS
}

/// A built-in type; `None` for scalars and unknown names.
pub(crate) fn type_row(name: &str) -> Option<&'static TypeRow> {
    TYPES.types.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_root_type_and_a_group() {
        assert!(kinds().kinds.len() > 60);
        for row in &kinds().kinds {
            assert!(type_row(&row.root).is_some(), "{}", row.root);
            let group = kinds().groups.iter().find(|group| group.group == row.group);
            assert!(
                group.is_some_and(|g| g.versions.contains(&row.version)),
                "{}",
                row.kind
            );
        }
    }

    #[test]
    fn merge_keys_are_known() {
        let pod = type_row("core.v1.PodSpec").expect("pod spec");
        assert_eq!(pod.fields["containers"].patch_key(), Some("name"));
        assert!(pod.fields["volumes"].has_strategy("retainKeys"));
    }
}
