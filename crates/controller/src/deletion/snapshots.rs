//! The snapshots that the storage keeps for a backup: they go with it, before its files, which alone name them.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::Backup;
use salvor_archive::files::{DEFAULT_SIDE_FILE_LIMIT, SalvorVolumes};
use salvor_archive::names::BackupFile;
use salvor_location::Location;
use salvor_volume::OnBehalfOf;
use salvor_volume::csi::{CsiError, SnapshotRef, Snapshots, dependent_on};

use crate::context::{Context, chain, cluster_uid};

/// Records of other backups that are read at once.
const AT_ONCE: usize = 8;

/// Deletes the snapshots that only this backup names; why that is not possible, one sentence each. A snapshot that
/// another backup, or a copy of this one, names as well is left to that one.
pub(super) async fn delete_snapshots(
    context: &Context,
    location: &Location,
    backup: &Backup,
) -> Vec<String> {
    match attempt(context, location, backup).await {
        Ok(errors) => errors,
        Err(error) => vec![error],
    }
}

async fn attempt(
    context: &Context,
    location: &Location,
    backup: &Backup,
) -> Result<Vec<String>, String> {
    let Ok(name) = BackupName::new(backup.metadata.name.as_str()) else {
        // Nothing can have been written under it.
        return Ok(Vec::new());
    };
    let snapshots = snapshots_of(location, &name).await?;
    if snapshots.is_empty() || !is_ours(context, backup).await? {
        return Ok(Vec::new());
    }
    let others = others(context, location.name(), &name).await?;
    let csi = Snapshots::find(&context.cluster).await;
    let csi = csi.map_err(|error| chain(&error))?;
    let Some(csi) = csi else {
        let reason = "the cluster serves no VolumeSnapshots, without which the snapshots of this backup cannot be \
                      deleted: install the snapshot controller and the driver again";
        return Ok(vec![reason.to_owned()]);
    };
    let of = OnBehalfOf {
        name: name.to_string(),
        uid: backup.metadata.uid.clone(),
        run: format!("deletion-{}", backup.metadata.uid),
        location: location.name().to_owned(),
    };
    let mut errors = Vec::new();
    for snapshot in snapshots {
        let pairs = others.iter().map(|(who, what)| (who.as_str(), what));
        let needed_by = dependent_on(&snapshot, pairs);
        let namespace = &context.options.namespace;
        match csi.delete(&snapshot, &of, namespace, needed_by).await {
            Ok(()) => {
                tracing::info!(backup = %name, handle = snapshot.handle, "snapshot is deleted");
            }
            Err(needed @ CsiError::Needed { .. }) => {
                tracing::info!(backup = %name, "{needed}");
            }
            Err(error) => errors.push(format!(
                "delete snapshot {} of driver {}: {}",
                snapshot.handle,
                snapshot.driver,
                chain(&error)
            )),
        }
    }
    Ok(errors)
}

/// Whether this cluster took the backup. Handles of another cluster's storage may mean something else here.
async fn is_ours(context: &Context, backup: &Backup) -> Result<bool, String> {
    let Some(theirs) = backup.metadata.annotations.get(labels::CLUSTER_UID) else {
        return Ok(true);
    };
    let ours = cluster_uid(&context.cluster).await;
    let ours = ours.map_err(|error| format!("read which cluster this is: {}", chain(&error)))?;
    if ours != *theirs {
        tracing::warn!(
            backup = backup.metadata.name,
            "the snapshots of its volumes stay: another cluster took them"
        );
    }
    Ok(ours == *theirs)
}

/// The snapshots that a backup names, each once.
async fn snapshots_of(location: &Location, name: &BackupName) -> Result<Vec<SnapshotRef>, String> {
    let file = BackupFile::SalvorVolumes.name(name);
    let bytes = location
        .read_file(name, &file, DEFAULT_SIDE_FILE_LIMIT)
        .await;
    let Some(bytes) = bytes.map_err(|error| chain(&error))? else {
        return Ok(Vec::new());
    };
    let volumes = SalvorVolumes::decode(&bytes);
    let volumes = volumes.map_err(|error| {
        let (location, reason) = (location.name(), chain(&error));
        format!("read which snapshots backup `{name}` in location `{location}` has: {reason}")
    })?;
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

/// What every other backup of every location names. When one cannot be read, nobody knows what it needs.
async fn others(
    context: &Context,
    here: &str,
    name: &BackupName,
) -> Result<Vec<(String, SnapshotRef)>, String> {
    let mut all = Vec::new();
    for object in context.storage_locations.list() {
        let at = &object.metadata.name;
        let location = context.location(at).await;
        let location = location.map_err(|error| {
            let reason = chain(&error);
            format!(
                "whether a backup in location `{at}` needs the snapshots is not known: {reason}"
            )
        })?;
        let folders = location.backup_folders().await;
        let folders = folders.map_err(|error| chain(&error))?;
        let names = folders
            .into_iter()
            .filter_map(|name| BackupName::new(name).ok());
        let others = names.filter(|other| at != here || other != name);
        let read = others.map(|other| {
            let location = &location;
            async move {
                let found = snapshots_of(location, &other).await?;
                let who = format!("{other} in location {}", location.name());
                Ok::<_, String>(found.into_iter().map(move |one| (who.clone(), one)))
            }
        });
        let found: Vec<_> = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
        all.extend(found.into_iter().flatten());
    }
    Ok(all)
}
