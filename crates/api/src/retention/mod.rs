//! Which backups of a location go, and why: the plan that `location` carries out.
//!
//! A plan is made for one location from what is there, and holds for that copy only: the same backup may
//! go here and stay elsewhere, under the rule of that place. Backups of one schedule form a [`Series`];
//! each series is planned by itself, under its [`Policy`] or, without one, by the expiration that every
//! backup carries, as Velero does.
//!
//! A backup that stays may be archived: moved to a colder storage class, from which it is read later.
//!
//! What always stays: what is held, in use or not finished; and, in a series that is protected, the newest
//! complete backup and the newest complete one that was verified. A plan that takes away more than a set
//! share stops until somebody confirms exactly that plan. See `docs/formats/retention.md`.

mod archive;
mod group;
mod plan;
mod policy;
mod rules;
mod text;

pub use archive::{Archive, mark, marked_class, retrieval};
pub use group::{Inventory, Unreadable, group};
pub use plan::{
    Action, Decision, Guard, Point, RetentionPlan, Scope, Series, SeriesPlan, Stop, expiration,
};
pub use policy::{Count, Policy, PolicyError, Span, policy_for};
pub use rules::{Period, Reason};

#[cfg(test)]
mod tests;
