//! What a location has of a cluster, as a timeline: records are read, segments are known by their names.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::Timestamp;
use salvor_location::listing::Damaged;
use salvor_location::points::SegmentInfo;
use salvor_location::{Location, Point, layout};
use serde::Deserialize;

use super::timeline::{Base, Chain, Segment, Timeline};
use super::{CHAIN_RECORD, CHAIN_VERSION, ChainRecord, Reason, SegmentName};
use crate::points::{self, Details, Error, KIND};

/// etcd counts in signed integers.
const HIGHEST: u64 = i64::MAX as u64;
/// Bytes of the record of a chain.
const RECORD_LIMIT: u64 = 64 << 10;

impl Timeline {
    /// Reads what there is of a cluster; segments by their names alone.
    ///
    /// # Errors
    /// The location cannot be read.
    pub async fn load(location: &Location, cluster: u64) -> Result<Self, Error> {
        let source = points::source_of(cluster);
        // Before the objects: what a record names was there before it.
        let listing = location.points(Some(&source)).await?;
        let mut damaged = listing.damaged;
        let folder = format!("{}/{cluster:016x}", layout::ETCD);
        let objects = location.list_below(&folder).await?;
        let mut chains = chains(location, cluster, &objects, &mut damaged).await?;
        let keys: HashSet<&str> = objects.iter().map(|info| info.key.as_str()).collect();
        let mut alone = Vec::new();
        let points = listing.entries.into_iter();
        for point in points.filter(|point| point.kind == KIND) {
            let base = match base(point, &folder, &keys) {
                Ok(base) => base,
                Err(unusable) => {
                    damaged.push(unusable);
                    continue;
                }
            };
            let name = base.details.chain.as_deref();
            match name.and_then(|name| chains.get_mut(name)) {
                Some(chain) => chain.bases.push(base),
                None => alone.push(base),
            }
        }
        Ok(Self {
            cluster,
            chains: chains.into_values().collect(),
            alone,
            damaged,
        })
    }
}

/// Chains by their names, with their segments.
async fn chains(
    location: &Location,
    cluster: u64,
    objects: &[SegmentInfo],
    damaged: &mut Vec<Damaged>,
) -> Result<BTreeMap<String, Chain>, Error> {
    let mut chains = BTreeMap::new();
    let mut of_newer = HashSet::new();
    let records = objects.iter();
    for info in records.filter(|info| info.file_name() == CHAIN_RECORD) {
        match record(location, info).await? {
            Ok(record) => {
                chains.insert(record.chain.clone(), Chain::new(record));
            }
            Err(unreadable) => {
                if unreadable.is_newer {
                    of_newer.insert(folder_name(&info.key));
                }
                damaged.push(Damaged {
                    name: info.key.clone(),
                    reason: unreadable.reason,
                });
            }
        }
    }
    for (name, (start, created)) in begins(objects) {
        if of_newer.contains(name) || chains.contains_key(name) {
            continue;
        }
        damaged.push(Damaged {
            name: format!("{}/{cluster:016x}/{name}", layout::ETCD),
            reason: format!(
                "it has segments and no {CHAIN_RECORD} that can be read: it is taken for a chain that follows no other"
            ),
        });
        let chain = Chain::without_record(cluster, name, start, created);
        chains.insert(name.to_owned(), chain);
    }
    for info in objects {
        let name = SegmentName::parse(info.file_name());
        if let (Some(name), Some(chain)) = (name, chains.get_mut(folder_name(&info.key))) {
            chain.segments.push(Segment {
                key: info.key.clone(),
                first: name.first,
                last: name.last,
                digest: name.digest,
                size: info.size,
                modified: info.modified,
            });
        }
    }
    Ok(chains)
}

/// A point as a base, or why it cannot be one.
fn base(point: Point, folder: &str, objects: &HashSet<&str>) -> Result<Base, Damaged> {
    let unusable = |reason: String| Damaged {
        name: format!("point {}", point.id),
        reason,
    };
    let details = Details::of_point(&point).map_err(|error| unusable(error.to_string()))?;
    if !(1..=HIGHEST).contains(&details.revision) {
        return Err(unusable(format!("{} is no revision", details.revision)));
    }
    // Objects under names of a template stand elsewhere.
    let is_here = |key: &str| {
        let below = key.strip_prefix(folder);
        below.is_some_and(|below| below.starts_with('/'))
    };
    let is_gone = |key: &str| is_here(key) && !objects.contains(key);
    match point.objects.iter().find(|object| is_gone(&object.key)) {
        Some(gone) => Err(unusable(format!("its object {} is gone", gone.key))),
        None => Ok(Base { point, details }),
    }
}

impl Chain {
    /// A chain whose record is lost, by the names of its segments.
    fn without_record(cluster: u64, name: &str, start: u64, created: Timestamp) -> Self {
        let record = ChainRecord {
            version: CHAIN_VERSION,
            cluster: format!("{cluster:016x}"),
            chain: name.to_owned(),
            created,
            start,
            // What it followed stood in the record.
            follows: None,
            writer: 0,
            reason: Reason::Gap,
            auth: None,
        };
        Self::new(record)
    }

    fn new(record: ChainRecord) -> Self {
        Self {
            record,
            bases: Vec::new(),
            segments: Vec::new(),
        }
    }
}

/// The clusters of which a location has points or captures.
///
/// # Errors
/// The location cannot be read.
pub async fn clusters(location: &Location) -> Result<Vec<u64>, Error> {
    let mut found = BTreeSet::new();
    let parse = |text: &str| {
        u64::from_str_radix(text, 16)
            .ok()
            .filter(|_| text.len() == 16)
    };
    for point in location.points(None).await?.entries {
        found.extend(point.source.strip_prefix("etcd-").and_then(parse));
    }
    for info in location.list_below(layout::ETCD).await? {
        let below = info.key.strip_prefix(layout::ETCD).unwrap_or_default();
        found.extend(below.split('/').nth(1).and_then(parse));
    }
    Ok(found.into_iter().collect())
}

/// Chains of which there are segments, with the first revision that they have and when that was written. One without a
/// record has lost it, since a chain is begun with it; what was captured is as good as before.
fn begins(objects: &[SegmentInfo]) -> BTreeMap<&str, (u64, Timestamp)> {
    let mut found: BTreeMap<&str, (u64, Timestamp)> = BTreeMap::new();
    for info in objects {
        let Some(segment) = SegmentName::parse(info.file_name()) else {
            continue;
        };
        let written = info.modified.unwrap_or(Timestamp::UNIX_EPOCH);
        let first = (segment.first, written);
        let (start, created) = found.entry(folder_name(&info.key)).or_insert(first);
        *start = segment.first.min(*start);
        *created = written.min(*created);
    }
    found
}

/// The last folder of a key.
fn folder_name(key: &str) -> &str {
    key.rsplit('/').nth(1).unwrap_or_default()
}

/// What every version of a record says.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

/// Why the record of a chain does not count.
struct Unreadable {
    reason: String,
    /// Whether a newer release wrote it, which knows more of the chain than we do.
    is_newer: bool,
}

/// The record of a chain, or what is wrong with it. A store that does not answer says nothing about it.
async fn record(
    location: &Location,
    info: &SegmentInfo,
) -> Result<Result<ChainRecord, Unreadable>, Error> {
    let unreadable = |reason: String| {
        Ok(Err(Unreadable {
            reason,
            is_newer: false,
        }))
    };
    let bytes = match location.read_record(&info.key, RECORD_LIMIT).await {
        Ok(bytes) => bytes,
        Err(error) if error.is_retryable() || error.is_cancelled() => return Err(error.into()),
        Err(error) => return unreadable(error.to_string()),
    };
    // First: what is newer may not be understood.
    let version = match serde_json::from_slice(&bytes) {
        Ok(Version { version }) => version,
        Err(error) => return unreadable(error.to_string()),
    };
    if version > CHAIN_VERSION {
        return Ok(Err(Unreadable {
            reason: format!("it has format {version}: use a newer salvor"),
            is_newer: true,
        }));
    }
    let record: ChainRecord = match serde_json::from_slice(&bytes) {
        Ok(record) => record,
        Err(error) => return unreadable(error.to_string()),
    };
    if record.chain != folder_name(&info.key) {
        return unreadable("it is of another chain".to_owned());
    }
    if record.start == 0 || record.start > HIGHEST {
        return unreadable(format!("{} is no revision", record.start));
    }
    Ok(Ok(record))
}
