//! Item actions that are not part of this program: a program or an HTTP endpoint is shown an object of a backup, a
//! restore or a deletion and answers what becomes of it. The contract is `docs/formats/extensions.md`.
//!
//! Invariants:
//! - an answer is checked before it counts: it keeps the object's kind, name and namespace, and is bounded in
//!   bytes and time;
//! - a definition from a cluster never starts a program: only a file of the operator's may;
//! - nothing is tried twice: whoever asks decides what a failure means.
//!
//! Start with [`Actions`]. Not here: where definitions are looked for, and when actions run.

mod actions;
mod answer;
mod definition;
mod error;
mod exec;
mod message;
mod webhook;

pub use actions::{Actions, Outcome, Subject};
pub use definition::{
    AppliesTo, Definition, Exec, MAX_DOCUMENT, OnFailure, Origin, VERSION, Webhook,
};
pub use error::{CallError, Failed};
pub use message::{ActionKind, AdditionalItem, Answer, Ask, Item, Occasion, Skip};
