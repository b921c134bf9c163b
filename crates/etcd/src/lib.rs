//! etcd without etcd's programs: snapshot files, their pages and entries, and the directories members start from.
//!
//! Formats are those of `docs/formats/etcd-snapshot.md`. Files are read with positioned reads, page by page, and every
//! byte in them is taken for hostile.
//!
//! Invariants:
//! - a file that is not what it should be is an error that names the page, never a panic and never a wrong answer;
//! - memory follows the largest page and the depth of a tree, not the file (a count of live keys costs 8 bytes each);
//! - a data directory is there whole or not at all; what was there before is kept;
//! - knows no Kubernetes outside [`kubernetes`], but for telling its data by the first bytes of values.
//!
//! Start with [`snapshot`], then [`restore`]; [`save`] takes a snapshot of a running cluster through [`client`],
//! [`points`] keeps them in a location, [`capture`] every change behind them, and [`chain`] finds the way back.
//! [`compact`] makes a new full of one, [`prune`] removes what is no longer needed.
//! [`history`] reads the past that a snapshot holds, [`kubernetes`] the objects in it.

pub mod bolt;
pub mod capture;
pub mod chain;
pub mod client;
pub mod compact;
pub mod hash_kv;
pub mod history;
pub mod kubernetes;
pub mod membership;
pub mod mvcc;
pub mod points;
pub mod protobuf;
pub mod prune;
pub mod restore;
pub mod save;
pub mod snapshot;
pub mod wal;

mod checksum;
mod clock;
mod stop;

pub use clock::Clock;
