//! Velero's backup archive and the files beside it: writing, indexing, reading and checking them.
//!
//! The archive is a gzip-compressed tar of JSON objects. Salvor writes it as a sequence of small gzip
//! members with an index beside it ([`index::Index`]), so that members are compressed in parallel and any
//! object is read by one small range read. Archives written by Velero itself, which are one gzip stream
//! without an index, are brought into the same shape in one pass ([`archive::Archive::from_stream`]).
//! The formats are specified in `docs/formats/velero-archive.md` and `docs/formats/salvor-index.md`.
//!
//! Invariants:
//! - synchronous and without network: bytes come in through [`std::io::Read`] or [`archive::ReadAt`];
//! - bounded memory: an index holds names and positions, never bodies; a body is at most
//!   [`limits::Limits::max_item`] long;
//! - hostile input ends in an error or a finding that names the place, never in a panic, a path outside
//!   `resources/`, or unbounded output;
//! - what is read through an [`archive::Archive`] has the digest that its index promises.
//!
//! Absent on purpose: clocks and policy (which objects, in what order), Kubernetes semantics, stores.
//!
//! Start with [`item`] for what an entry is, [`segment`] and [`assemble`] for writing, [`archive`] for
//! reading, [`files`] for the JSON files beside the archive.

pub mod archive;
pub mod assemble;
pub mod error;
pub mod files;
pub mod findings;
pub mod index;
pub mod item;
pub mod limits;
pub mod names;
pub mod segment;
mod stream;
pub mod survey;
mod tar;

pub use error::ArchiveError;
pub use stream::{Expected, verify};
