//! bbolt's file of pages: a reader that takes nothing for granted, and a writer that makes a compact file in one pass.
//!
//! Start with [`Database`] to read and [`Writer`] to write.

mod database;
mod page;
mod walk;
mod writer;

use std::io;

pub use database::{Database, Layout};
pub use walk::{Bucket, Cursor, Pages, Walk};
pub use writer::{BucketWriter, Writer};

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    #[error("read {length} bytes at {offset} of the database")]
    Read {
        /// Bytes wanted.
        length: u64,
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Neither of the two first pages describes a database.
    #[error("this is no bbolt database: {why}")]
    NotBolt {
        /// What was looked for.
        why: String,
    },
    /// A page is not what it should be.
    #[error("page {page} is damaged: {what}")]
    Damaged {
        /// Its number.
        page: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The file could not be written.
    #[error("write the database at {offset}")]
    Write {
        /// Where.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What should be written does not fit the format: a fault of the caller or of the file that is copied.
    #[error("this does not fit into a bbolt database: {0}")]
    Unfit(String),
}

/// Result of working on a database.
pub type Result<T> = std::result::Result<T, Error>;

/// A damaged page.
fn damaged(page: u64, what: impl Into<String>) -> Error {
    Error::Damaged {
        page,
        what: what.into(),
    }
}
