//! Bytes under names: one trait for every store that backups are written to.
//!
//! [`ObjectStore`] is the contract; [`MemoryStore`] and [`FsStore`] implement it here, remote stores in
//! [`remote`]. Behaviour that every store needs is added by wrapping: [`RetryStore`] repeats what may be
//! repeated, [`LimitStore`] keeps to rates and to a number of requests in flight, [`MeterStore`] counts, [`PrefixStore`] moves
//! everything below a folder. [`testing`] has the conformance suite that every implementation runs and the
//! store that fails on purpose.
//!
//! Invariants:
//! - knows no Kubernetes and no backup: keys and bytes only;
//! - an error says whether it may be retried and whether the write may have happened
//!   ([`Error::may_have_happened`]); nothing here retries a create-only write blindly;
//! - an object appears whole or not at all, under every implementation;
//! - memory is bounded by what a caller hands in or asks for, never by the size of a stored object.
//!
//! Start with [`store`].

pub mod bucket;
mod direct;
pub mod error;
pub mod fs;
pub mod key;
pub mod limit;
pub mod memory;
pub mod meter;
pub mod prefix;
pub mod remote;
pub mod retry;
pub mod store;
pub mod testing;
pub mod url;

pub use bucket::{Access, BucketRules, Known, LifecycleRule, Tier, Versioning};
pub use error::{Error, ErrorKind, Result};
pub use fs::FsStore;
pub use key::Key;
pub use limit::{LimitStore, Limiter, Limits};
pub use memory::MemoryStore;
pub use meter::{Meter, MeterStore};
pub use prefix::PrefixStore;
pub use retry::{RetryPolicy, RetryStore};
pub use store::{
    ByteStream, Folder, GetOptions, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Upload,
    VersionInfo,
};
pub use url::{Distance, StoreUrl, open_url};
