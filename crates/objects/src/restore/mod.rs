//! Restore of a backup: a plan that is a value, then its application.

pub(crate) mod body;
pub mod item_action;
pub mod mapping;
pub mod modifiers;
pub mod normalise;
pub mod order;
pub mod rules;
pub mod skip;
pub mod status;
pub mod strip;
pub mod transform;
pub mod version;
