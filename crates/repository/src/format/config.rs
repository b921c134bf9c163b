//! `config`: what a repository is.

use serde::{Deserialize, Serialize};

use crate::chunk::polynomial::Polynomial;

/// The contents of `config`, sealed with the master key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// 1, or 2 for repositories that compress.
    pub version: u64,
    /// 32 random bytes in hex: the repository's identity.
    pub id: String,
    /// What chunk boundaries are found with, by restic and in repositories that restic made.
    pub chunker_polynomial: Polynomial,
    /// Present in repositories that were made here; restic ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salvor: Option<Ours>,
}

/// What restic's configuration has no words for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ours {
    /// How boundaries are found: `gear-1` ([`crate::chunk::gear`]).
    pub chunker: String,
}

/// Value of [`Ours::chunker`] for the keyed gear hash.
pub const GEAR: &str = "gear-1";
