//! Secrets, digests, seals, signatures, recipients and spools: the only crate that names a cipher or a hash for stored data.
//!
//! Invariants:
//! - a [`Secret`] never shows in `Debug`, `Display` or JSON, and is wiped when dropped;
//! - a [`Digest`] is SHA-256; what is stored names its algorithm in the format that holds it;
//! - a [`Spool`] puts nothing on a local disk that can be read without a key that is only in memory.
//!
//! Start with [`digest`]; for files that leave a location with [`age`].

pub mod age;
pub mod digest;
pub mod repository_key;
pub mod seal_key;
pub mod secret;
pub mod signature;
pub mod spool;

pub use digest::{Digest, Hasher};
pub use repository_key::{KeyMaterial, RepositoryKey, RepositoryKeyError};
pub use seal_key::SealKey;
pub use secret::Secret;
pub use signature::{SigningKey, VerificationKey};
pub use spool::{Spool, SpoolReader};
