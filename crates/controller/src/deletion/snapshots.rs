//! The snapshots that the storage keeps for a backup: they go with it, before its files, which alone name them.

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::Backup;
use salvor_location::Location;
use salvor_objects::kept;
use salvor_volume::OnBehalfOf;
use salvor_volume::csi::{SnapshotRef, Snapshots};

use crate::context::{Context, chain, cluster_uid};
use crate::snapshotters;

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
    let snapshots = kept::snapshots_of(location, &name).await;
    let snapshots = snapshots.map_err(|error| chain(&error))?;
    if snapshots.is_empty() || !is_ours(context, backup).await? {
        return Ok(Vec::new());
    }
    let named = async |location: &Location, but: Option<&BackupName>| {
        let found = kept::named_by_others(location, but).await;
        found.map_err(|error| chain(&error))
    };
    let others: Vec<(String, SnapshotRef)> = others(context, location.name(), &name, named).await?;
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
    let namespace = &context.options.namespace;
    Ok(kept::delete(&csi, &snapshots, &others, &of, namespace).await)
}

/// Deletes the snapshots that volume snapshotters took for the backup, as [`delete_snapshots`] does.
pub(super) async fn delete_native(
    context: &Context,
    location: &Location,
    backup: &Backup,
) -> Vec<String> {
    let Ok(name) = BackupName::new(backup.metadata.name.as_str()) else {
        return Vec::new();
    };
    let found = async {
        let snapshots = snapshotters::listed(location, &name).await?;
        if snapshots.is_empty() || !is_ours(context, backup).await? {
            return Ok(None);
        }
        let named = snapshotters::named_by_others;
        let others = others(context, location.name(), &name, named).await?;
        let others = others.into_iter().map(|(who, snapshot)| (snapshot, who));
        Ok::<_, String>(Some((snapshots, others.collect())))
    };
    match found.await {
        Ok(Some((snapshots, others))) => {
            snapshotters::delete(context, name.as_str(), snapshots, &others).await
        }
        Ok(None) => Vec::new(),
        Err(error) => vec![error],
    }
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

/// What every other backup of every location names, as `named` reads it in one location.
async fn others<T>(
    context: &Context,
    here: &str,
    name: &BackupName,
    named: impl AsyncFn(&Location, Option<&BackupName>) -> Result<Vec<(String, T)>, String>,
) -> Result<Vec<(String, T)>, String> {
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
        let but = (at == here).then_some(name);
        all.extend(named(&location, but).await?);
    }
    Ok(all)
}
