//! The snapshots that the storage keeps for a backup: they go with it, before its files, which alone name them.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use salvor_api::name::BackupName;
use salvor_archive::files::{DEFAULT_SIDE_FILE_LIMIT, SalvorVolumes};
use salvor_archive::names::BackupFile;
use salvor_location::Location;
use salvor_volume::OnBehalfOf;
use salvor_volume::csi::{CsiError, SnapshotRef, Snapshots, dependent_on};

use crate::restore::error::chain;

/// Records of other backups that are read at once.
const AT_ONCE: usize = 8;

/// Why it is not known which snapshots a backup names.
#[derive(Debug, thiserror::Error)]
#[error("read which snapshots backup `{name}` in location `{location}` has")]
pub struct UnknownSnapshots {
    name: String,
    location: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The snapshots that a backup names, each once.
///
/// # Errors
/// Its record cannot be read.
pub async fn snapshots_of(
    location: &Location,
    name: &BackupName,
) -> Result<Vec<SnapshotRef>, UnknownSnapshots> {
    let unknown = |source: Box<dyn std::error::Error + Send + Sync>| UnknownSnapshots {
        name: name.to_string(),
        location: location.name().to_owned(),
        source,
    };
    let file = BackupFile::SalvorVolumes.name(name);
    let bytes = location
        .read_file(name, &file, DEFAULT_SIDE_FILE_LIMIT)
        .await;
    let Some(bytes) = bytes.map_err(|error| unknown(error.into()))? else {
        return Ok(Vec::new());
    };
    let volumes = SalvorVolumes::decode(&bytes).map_err(|error| unknown(error.into()))?;
    let csi = volumes.volumes.into_iter().filter_map(|volume| volume.csi);
    let mut seen = BTreeSet::new();
    Ok(csi
        .filter(|csi| !csi.handle.is_empty())
        .filter(|csi| seen.insert((csi.driver.clone(), csi.handle.clone())))
        .map(|csi| SnapshotRef {
            driver: csi.driver,
            handle: csi.handle,
            class: csi.class,
        })
        .collect())
}

/// What the backups of a location name, but for this one; each with who names it. When one cannot be read, nobody knows
/// what it needs.
///
/// # Errors
/// The location cannot be listed, or a record cannot be read.
pub async fn named_by_others(
    location: &Location,
    but: Option<&BackupName>,
) -> Result<Vec<(String, SnapshotRef)>, UnknownSnapshots> {
    let folders = location.backup_folders().await;
    let folders = folders.map_err(|error| UnknownSnapshots {
        name: "*".to_owned(),
        location: location.name().to_owned(),
        source: error.into(),
    })?;
    let names = folders
        .into_iter()
        .filter_map(|name| BackupName::new(name).ok());
    let others = names.filter(|other| but != Some(other));
    let read = others.map(|other| async move {
        let found = snapshots_of(location, &other).await?;
        let who = format!("{other} in location {}", location.name());
        Ok::<_, UnknownSnapshots>(found.into_iter().map(move |one| (who.clone(), one)))
    });
    let found: Vec<_> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// Deletes these snapshots, but for those that `others` name; why one could not be, a sentence each. `namespace` is where
/// what is made for that belongs.
pub async fn delete(
    csi: &Snapshots,
    snapshots: &[SnapshotRef],
    others: &[(String, SnapshotRef)],
    of: &OnBehalfOf,
    namespace: &str,
) -> Vec<String> {
    let mut errors = Vec::new();
    for snapshot in snapshots {
        let pairs = others.iter().map(|(who, what)| (who.as_str(), what));
        let needed_by = dependent_on(snapshot, pairs);
        match csi.delete(snapshot, of, namespace, needed_by).await {
            Ok(()) => {
                tracing::info!(
                    backup = of.name,
                    handle = snapshot.handle,
                    "snapshot is deleted"
                );
            }
            Err(needed @ CsiError::Needed { .. }) => tracing::info!(backup = of.name, "{needed}"),
            Err(error) => errors.push(format!(
                "delete snapshot {} of driver {}: {}",
                snapshot.handle,
                snapshot.driver,
                chain(&error)
            )),
        }
    }
    errors
}
