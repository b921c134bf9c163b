//! The VolumeSnapshotLocations of a cluster, for a command that makes a backup or restore by itself.

use std::collections::BTreeSet;

use salvor_api::meta::StringMap;
use salvor_api::validate::choose_snapshot_locations;
use salvor_api::velero::{BackupSpec, VolumeSnapshotLocation};
use salvor_cluster::Cluster;
use salvor_controller::{Kinds, Locations};
use salvor_volume::native::Snapshotters;
use tracing::debug;

use crate::exit::Failure;
use crate::session::Session;

/// Those of the session's namespace; none where Velero's kinds are not installed.
async fn objects(cluster: &Cluster, session: &Session) -> Vec<VolumeSnapshotLocation> {
    let kinds = Kinds::<VolumeSnapshotLocation>::new(cluster, session.namespace());
    kinds.list(None).await.unwrap_or_else(|error| {
        debug!(%error, "the snapshot locations of the cluster are not known");
        Vec::new()
    })
}

/// Who takes the snapshots of a backup; its spec gets the names of their locations.
///
/// # Errors
/// It names locations that there are not, or a choice is left to it.
pub(crate) async fn of_backup(
    cluster: &Cluster,
    spec: &mut BackupSpec,
    session: &Session,
) -> Result<Snapshotters, Failure> {
    if spec.snapshot_volumes == Some(false) {
        return Ok(Snapshotters::default());
    }
    let mut objects = objects(cluster, session).await;
    let names = &spec.volume_snapshot_locations;
    let chosen = choose_snapshot_locations(names, &objects, &StringMap::new());
    let chosen = chosen.map_err(|errors| Failure::usage(errors.join("; ")))?;
    spec.volume_snapshot_locations = chosen.into_values().map(str::to_owned).collect();
    let names: BTreeSet<&String> = spec.volume_snapshot_locations.iter().collect();
    objects.retain(|object| names.contains(&object.metadata.name));
    Ok(open(cluster, &objects, session).await)
}

/// Who makes volumes of snapshots for a restore.
pub(crate) async fn of_restore(cluster: &Cluster, session: &Session) -> Snapshotters {
    let objects = objects(cluster, session).await;
    open(cluster, &objects, session).await
}

async fn open(
    cluster: &Cluster,
    objects: &[VolumeSnapshotLocation],
    session: &Session,
) -> Snapshotters {
    let locations = Locations::new(cluster, session.namespace());
    locations.snapshotters(objects).await
}
