//! Where a location is, and how far two of them are from each other.

use salvor_storage::Distance;
use serde::{Deserialize, Serialize};

use crate::location::Location;

/// A location as a record names it; no secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// What its user calls it.
    pub name: String,
    /// Where it is, without options.
    pub url: String,
    /// Its own identity; empty when it has none or cannot be asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}

impl Place {
    /// Of a location. Its identity is asked for, and left out where that fails.
    pub async fn of(location: &Location) -> Self {
        let record = location.record().await.ok().flatten();
        Self {
            id: record.map(|record| record.id).unwrap_or_default(),
            ..Self::named(location)
        }
    }

    /// Of a location that is not asked.
    pub(crate) fn named(location: &Location) -> Self {
        Self {
            name: location.name().to_owned(),
            url: location.url().to_string(),
            id: String::new(),
        }
    }
}

/// How far a copy is from its original: what it survives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is", content = "what")]
pub enum Separation {
    /// Both are on this machine: lost together.
    Machine,
    /// Both are in one bucket: one mistake or one lost account takes both.
    Bucket(String),
    /// Both are at one endpoint.
    Endpoint(String),
    /// Both are in one region.
    Region(String),
    /// Their regions differ: `original -> copy`.
    Regions(String),
    /// They differ, and how far they are apart nobody said.
    #[default]
    Unknown,
}

impl Separation {
    /// Judged by the addresses alone.
    #[must_use]
    pub fn between(original: &Location, copy: &Location) -> Self {
        let (a, b) = (original.url(), copy.url());
        if a.is_local() && b.is_local() {
            return Self::Machine;
        }
        let same_service = a.scheme == b.scheme && a.endpoint() == b.endpoint();
        if same_service && !a.bucket.is_empty() && a.bucket == b.bucket {
            return Self::Bucket(a.bucket.clone());
        }
        let region = |url: &salvor_storage::StoreUrl| url.options.get("region").cloned();
        match (region(a), region(b)) {
            // A store at an address of its own calls its region as it likes.
            _ if same_service && a.endpoint().is_some() => {
                Self::Endpoint(a.endpoint().unwrap_or_default())
            }
            (Some(one), Some(other)) if one == other && same_service => Self::Region(one),
            (Some(one), Some(other)) if one != other => Self::Regions(format!("{one} -> {other}")),
            _ => Self::Unknown,
        }
    }

    /// True when one loss of a machine, bucket, store or region takes original and copy.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        !matches!(self, Self::Regions(_) | Self::Unknown)
    }

    /// True when it is known that the copy is where the original cannot be lost with it.
    #[must_use]
    pub fn is_apart(&self, copy: &Location) -> bool {
        matches!(self, Self::Regions(_))
            || (*self == Self::Unknown && copy.url().distance() == Distance::Elsewhere)
    }
}
