//! Resource modifiers: a user's rules that patch objects on their way back.
//!
//! The document is Velero's (`version: v1`, `resourceModifierRules`), parsed strictly: an unknown field is
//! an error, because a rule that is silently ignored restores the wrong thing. Rules apply in order; their
//! conditions look at the object as it was before any rule. A JSON patch whose `test` operation fails
//! does nothing; any other failing patch is reported and the item is restored without that patch.

mod patch;
mod strategic;

use std::fmt;

use regex::Regex;
use salvor_api::glob::Glob;
use salvor_api::meta::LabelSelector;
use salvor_api::resource::ObjectKey;
use salvor_api::selector::Selector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body;

pub use strategic::strategic_merge;

/// Longest modifier document that is read, in bytes: the limit of a ConfigMap.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// Why a modifier document was refused.
#[derive(Debug, thiserror::Error)]
pub enum ModifierError {
    /// Larger than [`MAX_DOCUMENT`].
    #[error("resource modifiers are {0} bytes long, at most 1 MiB is read")]
    TooLarge(usize),
    /// Not YAML, or not of this shape.
    #[error("parse resource modifiers")]
    Parse(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another version of the document.
    #[error("resource modifiers have version `{0}`, only `v1` is known")]
    Version(String),
    /// A rule that cannot be applied.
    #[error("resource modifier rule {rule}: {reason}")]
    Rule {
        /// Number of the rule, from 1.
        rule: usize,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    version: String,
    #[serde(default)]
    resource_modifier_rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    conditions: Conditions,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    patches: Vec<patch::Operation>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    merge_patches: Vec<PatchData>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    strategic_patches: Vec<PatchData>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PatchData {
    /// JSON or YAML text of the patch.
    patch_data: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Conditions {
    /// Glob over `pods`, `deployments.apps`.
    group_resource: String,
    /// Source namespaces; empty means all, and cluster-scoped objects too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    resource_name_regex: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label_selector: Option<LabelSelector>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    matches: Vec<Match>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Match {
    path: String,
    #[serde(default)]
    value: String,
}

/// Rules, checked and compiled.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Rule>", into = "Vec<Rule>")]
pub struct Modifiers {
    rules: Vec<CompiledRule>,
}

#[derive(Clone)]
struct CompiledRule {
    source: Rule,
    resource: Glob,
    namespaces: Vec<Glob>,
    name: Option<Regex>,
    labels: Selector,
    patches: Patches,
}

#[derive(Clone)]
enum Patches {
    Json(json_patch::Patch),
    Merge(Vec<Value>),
    Strategic(Vec<Value>),
}

impl Modifiers {
    /// Parses a modifier document (YAML or JSON).
    ///
    /// # Errors
    /// The document is too large, not of this shape, of another version, or has a rule that cannot work.
    pub fn parse(text: &str) -> Result<Self, ModifierError> {
        if text.len() > MAX_DOCUMENT {
            return Err(ModifierError::TooLarge(text.len()));
        }
        let document: Document =
            serde_saphyr::from_str(text).map_err(|error| ModifierError::Parse(Box::new(error)))?;
        if document.version != "v1" {
            return Err(ModifierError::Version(document.version));
        }
        Self::try_from(document.resource_modifier_rules)
    }

    /// True when there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Applies every matching rule to `object`. `key` is the object's key in the backup. Failing patches
    /// are appended to `problems`; the object then stays as the rules before left it.
    pub fn apply(&self, key: &ObjectKey, object: &mut Value, problems: &mut Vec<String>) {
        if self.rules.is_empty() {
            return;
        }
        let original = object.clone();
        for (at, rule) in self.rules.iter().enumerate() {
            if !rule.matches(key, &original) {
                continue;
            }
            if let Err(reason) = rule.patches.apply(key, object) {
                problems.push(format!("resource modifier rule {}: {reason}", at + 1));
            }
        }
    }
}

impl CompiledRule {
    fn compile(source: Rule) -> Result<Self, String> {
        let kinds = [
            !source.patches.is_empty(),
            !source.merge_patches.is_empty(),
            !source.strategic_patches.is_empty(),
        ];
        if kinds.iter().filter(|used| **used).count() != 1 {
            return Err(
                "exactly one of patches, mergePatches and strategicPatches is needed".into(),
            );
        }
        let texts = |list: &[PatchData]| {
            list.iter()
                .map(|PatchData { patch_data }| {
                    serde_saphyr::from_str::<Value>(patch_data)
                        .map_err(|error| format!("patchData is neither JSON nor YAML: {error}"))
                        .and_then(|value| match value {
                            Value::Object(_) => Ok(value),
                            _ => Err("patchData must be an object".to_owned()),
                        })
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let patches = if kinds[0] {
            Patches::Json(patch::compile(&source.patches)?)
        } else if kinds[1] {
            Patches::Merge(texts(&source.merge_patches)?)
        } else {
            Patches::Strategic(texts(&source.strategic_patches)?)
        };
        let Conditions {
            group_resource,
            namespaces,
            resource_name_regex,
            label_selector,
            matches,
        } = &source.conditions;
        if group_resource.is_empty() {
            return Err("conditions.groupResource is needed".into());
        }
        let glob = |text: &String| Glob::new(text).map_err(|error| error.to_string());
        for condition in matches {
            patch::pointer(&condition.path)?;
        }
        Ok(Self {
            resource: glob(group_resource)?,
            namespaces: namespaces.iter().map(glob).collect::<Result<_, _>>()?,
            name: match resource_name_regex.as_str() {
                "" => None,
                pattern => Some(Regex::new(pattern).map_err(|error| {
                    format!("resourceNameRegex `{pattern}` is not valid: {error}")
                })?),
            },
            labels: label_selector
                .as_ref()
                .map(Selector::compile)
                .transpose()
                .map_err(|error| error.to_string())?
                .unwrap_or_default(),
            patches,
            source,
        })
    }

    fn matches(&self, key: &ObjectKey, object: &Value) -> bool {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        self.resource.matches(&key.resource.to_string())
            && (self.namespaces.is_empty() || self.namespaces.iter().any(|n| n.matches(namespace)))
            && self
                .name
                .as_ref()
                .is_none_or(|name| name.is_match(&key.name))
            && self.labels.matches(&body::labels(object))
            && self
                .source
                .conditions
                .matches
                .iter()
                .all(|Match { path, value }| {
                    object
                        .pointer(path)
                        .is_some_and(|found| patch::same(found, &patch::typed(value)))
                })
    }
}

impl Patches {
    fn apply(&self, key: &ObjectKey, object: &mut Value) -> Result<(), String> {
        match self {
            Patches::Json(patch) => patch::apply(patch, object),
            Patches::Merge(patches) => {
                for patch in patches {
                    json_patch::merge(object, patch);
                }
                Ok(())
            }
            Patches::Strategic(patches) => {
                let mut patched = object.clone();
                for patch in patches {
                    strategic_merge(&key.resource, &mut patched, patch)?;
                }
                *object = patched;
                Ok(())
            }
        }
    }
}

impl TryFrom<Vec<Rule>> for Modifiers {
    type Error = ModifierError;

    fn try_from(rules: Vec<Rule>) -> Result<Self, ModifierError> {
        let rules = rules
            .into_iter()
            .enumerate()
            .map(|(at, rule)| {
                CompiledRule::compile(rule).map_err(|reason| ModifierError::Rule {
                    rule: at + 1,
                    reason,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }
}

impl From<Modifiers> for Vec<Rule> {
    fn from(modifiers: Modifiers) -> Vec<Rule> {
        modifiers
            .rules
            .into_iter()
            .map(|rule| rule.source)
            .collect()
    }
}

impl fmt::Debug for Modifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.rules.iter().map(|rule| &rule.source))
            .finish()
    }
}

impl PartialEq for Modifiers {
    fn eq(&self, other: &Self) -> bool {
        let sources = |modifiers: &Self| -> Vec<Rule> {
            modifiers
                .rules
                .iter()
                .map(|rule| rule.source.clone())
                .collect()
        };
        sources(self) == sources(other)
    }
}

#[cfg(test)]
mod tests;
