//! Hooks: commands that a backup runs in pods around their capture, and a restore in pods that came back.
//!
//! ```text
//! backup:   open (recorded) -> pre hooks -> the pod, its claims, their volumes -> post hooks -> closed
//! restore:  plan: init containers (in the transform) | apply: container runs -> commands -> journal
//! ```
//!
//! Which commands a pod has is decided by pure functions on the pod and the spec ([`of_backup`],
//! [`of_restore`]); running them is [`run`]. `docs/decisions/0010-hooks.md` has the reasons.

mod annotation;
pub(crate) mod follow;
pub(crate) mod of_backup;
pub(crate) mod of_restore;
mod pod;
mod record;
mod release;
pub(crate) mod run;

pub(crate) use pod::Pod;
pub(crate) use record::Ledger;
pub use record::{OpenHooks, OpenPod};
pub use release::{Released, release};
