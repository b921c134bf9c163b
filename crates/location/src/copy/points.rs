//! Recovery points and captured chains, which a mirror takes along: object by object, because each is written once.
//!
//! Captures may run meanwhile. Which points and chains are taken is decided first; the objects that they name, listed after
//! that, are there. Records of chains go before their segments, so that each segment that arrives is reached; records of
//! points go last, so that a point that is listed is whole. Digests stand in the records and in the names of segments,
//! and are compared on the way. Holds and their release go along; what a verification found of the original says nothing of
//! the copy. Nothing is removed at the target: it has a retention of its own.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use salvor_seal::Digest;
use salvor_storage::PutMode;

use crate::copy::Transfer;
use crate::copy::mirror::Action;
use crate::copy::origin::Expected;
use crate::copy::send;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::points::object::key_of;
use crate::points::{Point, SegmentInfo};

/// Objects that are sent at once.
const AT_ONCE: usize = 4;
/// Ending of the names of segments, with the digest before it.
const SEGMENT: &str = ".seg.age";
/// The record of a chain.
const CHAIN: &str = "chain.json";

/// An object that belongs to a source, and how it must look.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    key: String,
    size: u64,
    sha256: Option<Digest>,
    rank: Rank,
}

/// What goes before what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Chain,
    Content,
    Record,
    Hold,
}

/// What a mirror does about each source of points.
pub(super) async fn plan(source: &Location, target: &Location) -> Result<BTreeMap<String, Action>> {
    let mut found = BTreeMap::new();
    for name in sources(source).await? {
        let missing = missing(source, target, &name).await?;
        let action = match missing.is_empty() {
            true => Action::Present,
            false => Action::Copy(missing.iter().map(|part| part.size).sum()),
        };
        found.insert(name, action);
    }
    Ok(found)
}

/// The sources that have points or chains.
async fn sources(location: &Location) -> Result<Vec<String>> {
    let list = async |folder: &str| {
        let listed = location.store.list_folder(folder).await;
        listed
            .map(|listed| listed.folders)
            .map_err(Error::store(format!("list `{folder}/`")))
    };
    let mut all = list(layout::POINTS).await?;
    let clusters = list(layout::ETCD).await?;
    all.extend(
        clusters
            .into_iter()
            .map(|cluster| format!("etcd-{cluster}")),
    );
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Copies what is missing of a source.
///
/// # Errors
/// [`Error::SourceDamaged`] for an object that is not what its record or name says: everything that does not need it is
/// copied; [`Error::Stopped`]; or a store fails.
pub(super) async fn copy(
    source: &Location,
    target: &Location,
    name: &str,
    transfer: &Transfer,
) -> Result<()> {
    let mut missing = missing(source, target, name).await?;
    let mut damaged = None;
    for rank in [Rank::Chain, Rank::Content] {
        let (now, later) = missing.into_iter().partition(|part| part.rank == rank);
        missing = later;
        damaged = send_all(source, target, now, transfer).await?.or(damaged);
    }
    // Of the rest only what is whole at the target is a point there.
    let whole = whole(source, target, name).await?;
    missing.retain(|part| {
        whole
            .iter()
            .any(|folder| part.key.starts_with(folder.as_str()))
    });
    missing.sort_by_key(|part| part.rank);
    for part in missing {
        let one = send_all(source, target, vec![part], transfer).await?;
        damaged = one.or(damaged);
    }
    damaged.map_or(Ok(()), Err)
}

/// Folders of the points whose objects are all at the target.
async fn whole(source: &Location, target: &Location, name: &str) -> Result<Vec<String>> {
    let mut folders = Vec::new();
    for point in source.points(Some(name)).await?.entries {
        let mut is_whole = true;
        for object in &point.objects {
            let there = target.store.head(&key_of(&object.key)?).await;
            is_whole &= match there {
                Ok(info) => info.size == object.size,
                Err(error) if error.is_not_found() => false,
                Err(error) => {
                    return Err(Error::store(format!("look at `{}`", object.key))(error));
                }
            };
        }
        if is_whole {
            folders.push(folder_of(&point)?);
        }
    }
    Ok(folders)
}

fn folder_of(point: &Point) -> Result<String> {
    let record = point.record_key()?;
    let end = record.rfind('/').map_or(record.len(), |at| at + 1);
    Ok(record[..end].to_owned())
}

/// Sends objects; gives one that was damaged at the source.
async fn send_all(
    source: &Location,
    target: &Location,
    parts: Vec<Part>,
    transfer: &Transfer,
) -> Result<Option<Error>> {
    let mut damaged = None;
    let mut sent = stream::iter(parts)
        .map(|part| async move {
            let key = key_of(&part.key)?;
            let expected = Expected {
                name: key.file_name().to_owned(),
                size: part.size,
                sha256: part.sha256,
            };
            send::object(source, target, &key, &expected, PutMode::Create, transfer).await
        })
        .buffer_unordered(AT_ONCE);
    while let Some(one) = sent.next().await {
        match one {
            Ok(_) => {}
            Err(error @ Error::SourceDamaged { .. }) => damaged = Some(error),
            Err(error) => return Err(error),
        }
        transfer.go_on(|| "copy recovery points".to_owned())?;
    }
    Ok(damaged)
}

/// What the target does not have in full length.
async fn missing(source: &Location, target: &Location, name: &str) -> Result<Vec<Part>> {
    let parts = parts(source, name).await?;
    let mut there = listed(target, name).await?;
    for part in &parts {
        // Objects under names of a template stand elsewhere.
        let is_listed = part.key.starts_with(layout::POINTS) || part.key.starts_with(layout::ETCD);
        if is_listed {
            continue;
        }
        match target.store.head(&key_of(&part.key)?).await {
            Ok(info) => there.push(SegmentInfo::of(info)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(Error::store(format!("look at `{}`", part.key))(error)),
        }
    }
    let there: BTreeMap<String, u64> = there
        .into_iter()
        .map(|info| (info.key, info.size))
        .collect();
    let is_missing = |part: &Part| there.get(&part.key) != Some(&part.size);
    Ok(parts.into_iter().filter(is_missing).collect())
}

/// Everything that belongs to a source: what its points name, its chains with their segments, and holds.
async fn parts(source: &Location, name: &str) -> Result<Vec<Part>> {
    let points = source.points(Some(name)).await?.entries;
    let mut parts = Vec::new();
    let mut folders = Vec::new();
    for point in &points {
        folders.push(folder_of(point)?);
        parts.extend(point.objects.iter().map(|object| Part {
            key: object.key.clone(),
            size: object.size,
            sha256: Some(object.sha256),
            rank: Rank::Content,
        }));
    }
    for info in listed(source, name).await? {
        let file = info.file_name();
        let is_of_point = folders
            .iter()
            .any(|folder| info.key.starts_with(folder.as_str()));
        let (sha256, rank) = match file {
            "point.json" if is_of_point => (None, Rank::Record),
            _ if is_of_point && !file.starts_with("verified-") => (None, Rank::Hold),
            CHAIN => (None, Rank::Chain),
            _ => match digest_in(file) {
                Some(digest) => (Some(digest), Rank::Content),
                None => continue,
            },
        };
        parts.push(Part {
            key: info.key,
            size: info.size,
            sha256,
            rank,
        });
    }
    Ok(parts)
}

/// The digest in the name of a segment.
fn digest_in(file: &str) -> Option<Digest> {
    let stem = file.strip_suffix(SEGMENT)?;
    stem.rsplit('-').next()?.parse().ok()
}

/// What stands below the folders of a source.
async fn listed(location: &Location, name: &str) -> Result<Vec<SegmentInfo>> {
    let mut all = location
        .list_below(&format!("{}/{name}", layout::POINTS))
        .await?;
    if let Some(cluster) = name.strip_prefix("etcd-") {
        let folder = format!("{}/{cluster}", layout::ETCD);
        all.extend(location.list_below(&folder).await?);
    }
    Ok(all)
}
