//! Volumes that are made of snapshots when their persistent volume's turn comes.
//!
//! The plan says everything but the new volume's id, which there is only when it was made. A run that is killed in
//! between finds that volume again by its token; one whose persistent volume stands already makes none.

use salvor_archive::files::{NativeSnapshotInfo, RestoreVolumeInfo};
use salvor_cluster::{ApiResource, Error};
use salvor_volume::native::{
    MakeVolume, NativeError, Snapshotter, VolumeKind, Waited, wait_until_ready,
};
use serde_json::Value;

use super::item::{Attempt, Hands, Why, failed};
use crate::restore::body;
use crate::restore::mapping::target_namespace;
use crate::restore::plan::{Action, PlanEntry, PlanHeader};
use crate::restore::rules::{NativeVolume, VolumeFate};
use crate::restore::transform::Transformed;

/// The snapshot that an entry's volume is made of.
pub(super) fn of_entry<'a>(header: &'a PlanHeader, entry: &PlanEntry) -> Option<&'a NativeVolume> {
    let resource = &entry.resource;
    let is_volume = resource.group.is_empty() && resource.resource == "persistentvolumes";
    if !is_volume || header.rules.volume_fate(&entry.name) != VolumeFate::FromSnapshot {
        return None;
    }
    header.rules.native.get(&*entry.name)
}

/// What Velero's file says of a volume that was made.
pub(super) fn info(header: &PlanHeader, entry: &PlanEntry) -> Option<RestoreVolumeInfo> {
    let native = of_entry(header, entry)?;
    let mut data = header.data.iter();
    let data = data.find(|data| data.persistent_volume == *entry.name);
    let namespaces = &header.rules.namespaces;
    let namespace = data.map(|data| target_namespace(&data.namespace, namespaces));
    Some(RestoreVolumeInfo {
        pvc_name: data.map(|data| data.claim.clone()).unwrap_or_default(),
        pvc_namespace: namespace.unwrap_or_default().to_owned(),
        pv_name: native.name.clone(),
        restore_method: "NativeSnapshot".to_owned(),
        native_snapshot_info: Some(NativeSnapshotInfo {
            snapshot_handle: native.snapshot.clone(),
            volume_type: native.volume_type.clone(),
            volume_az: native.zone.clone(),
            iops: native.iops.map(|iops| iops.to_string()).unwrap_or_default(),
            phase: "Completed".to_owned(),
        }),
        ..RestoreVolumeInfo::default()
    })
}

impl Hands {
    /// Has a persistent volume name the volume that is made for it. Whatever else is restored stays as it is.
    ///
    /// # Errors
    /// The cluster does not answer; inside, what the attempt came to when there is no volume.
    pub(super) async fn with_volume(
        &self,
        api: &ApiResource,
        entry: &PlanEntry,
        sent: Transformed,
    ) -> Result<Result<Transformed, Attempt>, Error> {
        let native = match of_entry(&self.header, entry) {
            Some(native) if entry.action == Action::Create => native,
            _ => return Ok(Ok(sent)),
        };
        if self.is_there(api, &sent).await? {
            // Ours, or somebody else's: whoever creates it looks at it.
            return Ok(Ok(sent));
        }
        let snapshotter = match self.snapshotters.named(&native.location) {
            Ok(snapshotter) => snapshotter,
            Err(reason) => return Ok(Err(failed(reason))),
        };
        Ok(match self.make(&*snapshotter, native, &sent.body).await {
            Ok((volume, changed)) => {
                let (snapshot, zone) = (&native.snapshot, &native.zone);
                tracing::info!(key = %sent.key, volume, snapshot, zone, "a volume is made of a snapshot");
                Ok(Transformed {
                    body: changed,
                    ..sent
                })
            }
            Err(error) if error.is_cancelled() || error.is_retryable() => Err(Attempt::Later {
                why: Why::Server,
                message: format!("{}: {}", sent.key, error.told()),
            }),
            Err(error) => Err(failed(error.told())),
        })
    }

    async fn make(
        &self,
        snapshotter: &dyn Snapshotter,
        native: &NativeVolume,
        volume: &Value,
    ) -> Result<(String, Value), NativeError> {
        let (snapshot, cancel) = (&native.snapshot, &self.cancel);
        match wait_until_ready(snapshotter, snapshot, self.timeout, cancel).await? {
            Waited::Ready(_) => {}
            Waited::Pending(taken) => {
                return Err(NativeError::TimedOut {
                    what: format!("snapshot {snapshot}"),
                    seconds: self.timeout.as_secs(),
                    seen: taken.progress,
                });
            }
        }
        let made = MakeVolume {
            snapshot,
            zone: &native.zone,
            kind: &VolumeKind {
                volume_type: native.volume_type.clone(),
                iops: native.iops,
            },
            token: &native.token,
        };
        let id = snapshotter.make_volume(made).await?;
        let changed = snapshotter.set_volume_id(volume, &id).await?;
        Ok((id, changed))
    }

    async fn is_there(&self, api: &ApiResource, sent: &Transformed) -> Result<bool, Error> {
        let found = self.cluster.get(api, None, &sent.key.name).await?;
        let found = found.map(|bytes| crate::restore::planner::parse(&bytes));
        Ok(found.is_some_and(|live| !body::text_at(&live, &["metadata", "uid"]).is_empty()))
    }
}
