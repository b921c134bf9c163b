//! Multi-step work that survives: what it is killed in, it goes on with; what it did, it can undo.
//!
//! A [`Runbook`] is a list of [`Step`]s. An [`Executor`] works through it and keeps a [`Journal`]: one create-only record for each
//! transition, written before and after everything that changes the world. A run that was killed, cancelled or failed is
//! resumed from its journal, or undone backwards, by the same program or another one.
//!
//! Invariants:
//! - a step is applied only behind its record [`Event::Applying`], so that whoever comes after a kill knows that it may have
//!   happened;
//! - what is interrupted is checked before it is applied again, what is verified is never applied again;
//! - of two executors of one run, the number of a record lets one go on and stops the other before it changes anything more;
//! - to undo twice is to undo once; only what this run did is undone;
//! - a run is resumed only with the plan that it began with.
//!
//! Knows no capability: what etcd, a host or a cluster is, steps know. [`testing`] has the suite that every runbook must pass.
//!
//! Start with [`step`], then [`executor`].

pub mod approval;
pub mod error;
pub mod executor;
pub mod history;
pub mod journal;
pub mod record;
pub mod step;
pub mod summary;
pub mod testing;

pub use approval::{Approver, Decision, Gate, Granted};
pub use error::{Error, Result};
pub use executor::{End, Executor, Stage};
pub use history::{Beginning, History, Phase, StepHistory};
pub use journal::Journal;
pub use record::{Event, Record};
pub use step::{Check, Compensation, Context, Effect, Runbook, Step, StepError};
pub use summary::{State, Summary};
