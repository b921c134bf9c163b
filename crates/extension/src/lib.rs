//! What is not part of this program and takes part all the same: a program or an HTTP endpoint.
//!
//! - Item actions are shown an object of a backup, a restore or a deletion and answer what becomes of it:
//!   [`Actions`], `docs/formats/extensions.md`.
//! - Providers keep bytes, make snapshots of volumes, or know an application: [`Providers`],
//!   `docs/formats/providers.md`. [`check`] tells a third party whether its own keeps the contract.
//!
//! Invariants:
//! - an answer is checked before it counts: it keeps the object's kind, name and namespace, and is bounded in
//!   bytes and time;
//! - a definition from a cluster never starts a program: only a file of the operator's may;
//! - a body counts only when its end says that it is whole and its digest is right;
//! - credentials are in no log, no error and no fingerprint;
//! - nothing is tried twice: whoever asks decides what a failure means.
//!
//! Start with [`Actions`]. Not here: where definitions are looked for, and when actions run.

mod actions;
mod answer;
pub mod check;
mod credentials;
mod definition;
mod error;
mod exec;
mod message;
pub mod provider;
mod transport;
mod webhook;
mod wire;

pub use actions::{Actions, Outcome, Subject};
pub use credentials::{Credentials, Scheme, SecretKey};
pub use definition::{
    AppliesTo, Definition, Exec, MAX_DOCUMENT, OnFailure, Origin, VERSION, Webhook,
};
pub use error::{CallError, Code, Complaint, Failed, ProviderError};
pub use message::{ActionKind, AdditionalItem, Answer, Ask, Item, Occasion, Skip};
pub use provider::{Provider, ProviderDefinition, ProviderKind, Providers};
pub use wire::MAX_CHUNK;
