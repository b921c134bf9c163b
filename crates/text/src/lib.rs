//! Words for people: messages in English and Korean, and text that lines up.
//!
//! [`Messages`] is the catalogue: one method per message, both languages side by side, so that a message
//! cannot exist in one language only. [`particle`] chooses Korean particles by how the word before them
//! ends. [`align`] lays out tables and `Key:  value` lists by display cells (Hangul is two), in the way
//! Velero's client does. [`duration`] and [`bytes`] write ages and sizes.
//!
//! Invariants:
//! - no I/O and no clock: "now" is an argument;
//! - machine output (JSON, YAML, names) is never made here and never translated;
//! - any string is accepted: widths of hostile text are finite and nothing panics.
//!
//! Start with [`messages`] for what is said, [`align`] for how it is laid out.

pub mod align;
pub mod bytes;
pub mod duration;
pub mod language;
pub mod messages;
pub mod particle;
pub mod width;

pub use align::{DescribeWriter, Table};
pub use bytes::ByteCount;
pub use language::Language;
pub use messages::{Installed, Messages, ObjectDone};
