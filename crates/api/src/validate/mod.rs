//! What a server checks before it works on an object: the reasons for `FailedValidation`.
//!
//! Each function returns what is wrong, one sentence per broken rule, ready for
//! `status.validationErrors`; an empty list means that work may begin. What the rules need to know of the
//! cluster comes in as an argument, so nothing here asks anybody.

mod backup;
mod hooks;
mod location;
mod restore;

use crate::meta::TypedLocalObjectReference;

pub use crate::schedule::validate as schedule;
pub use backup::{BackupFacts, backup};
pub use hooks::{backup_hooks, restore_hooks};
pub use location::{choose_location, choose_snapshot_locations, location, superfluous_defaults};
pub use restore::{RestoreFacts, restore};

/// What became of a ConfigMap that a specification names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConfigMapFound {
    /// It was read and understood, or none is named.
    #[default]
    Good,
    /// It is not there.
    Missing,
    /// It is there and cannot be used.
    Broken {
        /// What is wrong with it.
        reason: String,
    },
}

/// Checks a reference to a ConfigMap and what became of it. `field` names the reference in errors.
pub fn config_map(
    field: &str,
    reference: Option<&TypedLocalObjectReference>,
    found: &ConfigMapFound,
    errors: &mut Vec<String>,
) {
    let Some(TypedLocalObjectReference { kind, name, .. }) = reference else {
        return;
    };
    if !kind.eq_ignore_ascii_case("configmap") {
        errors.push(format!(
            "{field}: it refers to a {kind}, and only a configmap can be used"
        ));
    } else if name.is_empty() {
        errors.push(format!("{field}: the name of the configmap is missing"));
    } else {
        match found {
            ConfigMapFound::Good => {}
            ConfigMapFound::Missing => errors.push(format!(
                "{field}: there is no configmap {name} in this namespace"
            )),
            ConfigMapFound::Broken { reason } => {
                errors.push(format!("{field}: configmap {name}: {reason}"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
