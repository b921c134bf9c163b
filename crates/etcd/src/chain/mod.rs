//! Chains of captured changes in a location: names, records, and what can be reached from what is there.
//!
//! The forms are in `docs/formats/etcd-segments.md`. Start with [`Timeline::load`].

mod candidates;
mod collected;
mod joined;
mod load;
mod reading;
pub mod recover;
pub mod segment;
mod timeline;
mod users;

use jiff::Timestamp;
use salvor_location::Digest;
use serde::{Deserialize, Serialize};

use crate::points;

pub use load::clusters;
pub use recover::{Found, Target};
pub use segment::{Header, Mark};
pub use timeline::{Base, Chain, Gap, Line, Segment, Timeline};

/// Newest format of a chain that we write and read.
pub(crate) const CHAIN_VERSION: u64 = 2;
/// Name of the record of a chain.
pub(crate) const CHAIN_RECORD: &str = "chain.json";
/// Ending of the names of segments.
const ENDING: &str = ".seg.age";

/// The record of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainRecord {
    /// Format version.
    pub version: u64,
    /// Id of the cluster, 16 hexadecimal digits.
    pub cluster: String,
    /// Its own name.
    pub chain: String,
    /// When it was begun.
    pub created: Timestamp,
    /// The first revision that it captures.
    pub start: u64,
    /// The chain that ends where this one starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// Fencing number of its writer.
    pub writer: u64,
    /// Why it was begun.
    pub reason: Reason,
    /// Number of the last change of users and roles when it was begun, where the source tells: another one begins a chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<u64>,
}

/// Why a chain begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// There was none.
    First,
    /// Revisions came that do not join what is there.
    Gap,
    /// The source had compacted what was not captured yet.
    Compacted,
    /// The source has a lower revision than what was captured: it was restored.
    WentBack,
    /// Users, roles or their rights changed, which the watch does not tell.
    Auth,
    /// The one before was long enough.
    Bounds,
    /// The clock of who captures jumped: within a chain times go on.
    Clock,
}

impl Reason {
    /// As it stands in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Gap => "gap",
            Self::Compacted => "compacted",
            Self::WentBack => "went-back",
            Self::Auth => "auth",
            Self::Bounds => "bounds",
            Self::Clock => "clock",
        }
    }

    /// Format of the record of a chain that began for it: releases before knew fewer reasons.
    pub(crate) fn version(self) -> u64 {
        match self {
            Self::Clock => CHAIN_VERSION,
            _ => 1,
        }
    }

    /// True when changes before it may be lost to recovery.
    #[must_use]
    pub fn is_break(self) -> bool {
        matches!(self, Self::Gap | Self::Compacted | Self::WentBack)
    }
}

/// What the name of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentName {
    /// The first revision in it.
    pub first: u64,
    /// The last one; one less than `first` when nothing changed.
    pub last: u64,
    /// SHA-256 of the object.
    pub digest: Digest,
}

impl SegmentName {
    /// Key of a segment in a chain.
    #[must_use]
    pub fn key(&self, cluster: u64, chain: &str) -> String {
        let Self {
            first,
            last,
            digest,
        } = self;
        let folder = points::chain_folder(cluster, chain);
        format!("{folder}/{first:020}-{last:020}-{digest}{ENDING}")
    }

    /// Reads a file name.
    #[must_use]
    pub fn parse(file: &str) -> Option<Self> {
        let mut parts = file.strip_suffix(ENDING)?.splitn(3, '-');
        let mut number = || {
            let digits = parts.next()?;
            let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| is_number)?;
            (number <= i64::MAX as u64).then_some(number)
        };
        let (first, last): (u64, u64) = (number()?, number()?);
        let digest = parts.next()?.parse().ok()?;
        let fits = first > 0 && last + 1 >= first;
        fits.then_some(Self {
            first,
            last,
            digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_others_are_not() {
        let name = SegmentName {
            first: 12,
            last: 40,
            digest: Digest::of(b"x"),
        };
        let key = name.key(0xab, "000001-run");
        let file = key.rsplit('/').next().expect("a name");
        assert_eq!(SegmentName::parse(file), Some(name));
        assert!(key.starts_with("plugins/salvor/etcd/00000000000000ab/000001-run/0000"));
        let digest = Digest::of(b"x");
        for bad in [
            "chain.json".to_owned(),
            format!("12-40-{digest}.seg.age"),
            format!("{:020}-{:020}-{digest}.seg.age", 40, 12),
            format!("{:020}-{:020}-{digest}.seg.age", 0, 12),
            format!("{:020}-{:020}-{digest}.seg.age", u64::MAX, u64::MAX),
            format!("{:020}-{:020}-abc.seg.age", 12, 40),
            format!("{:020}-{:020}.seg.age", 12, 40),
        ] {
            assert_eq!(SegmentName::parse(&bad), None, "{bad}");
        }
    }
}
