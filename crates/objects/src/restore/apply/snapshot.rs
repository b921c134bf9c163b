//! One claim whose volume is made of a snapshot that the storage keeps.
//!
//! The claim stands, and names a VolumeSnapshot that is not there yet. That is made here, with its content; the driver
//! makes the volume; then both go. A claim that waits for its first pod has them until that runs.
//!
//! Their name stands in the claim, so a run that is gone on with finds what the one before it made.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_cluster::{ApiResource, Wait};
use salvor_volume::Filled;
use salvor_volume::csi::{
    Bound, CsiError, Prepared, RestoreSnapshot, SnapshotRef, Snapshots, snapshot_of,
};
use serde_json::Value;

use super::data::FILLS_AT_ONCE;
use super::fill::Filler;
use super::journal::FillEnd;
use super::stages::Engine;
use crate::restore::body;
use crate::restore::error::chain;
use crate::restore::planner::parse;
use crate::restore::volume_data::{StorageSnapshot, VolumeData};

/// Binding mode of classes whose claims wait for a pod.
const FOR_A_POD: &str = "WaitForFirstConsumer";

impl Filler {
    /// Has the volume of a claim made of its snapshot.
    pub(super) async fn make_of_snapshot(
        &self,
        data: &VolumeData,
        snapshot: &StorageSnapshot,
    ) -> Result<Filled, String> {
        let snapshots = self.snapshots().await?;
        let namespace = data.target_namespace(&self.header.rules.namespaces);
        let live = self.live_claim(namespace, &data.claim).await?;
        let made_as = snapshot_of(&live).to_owned();
        if made_as.is_empty() {
            return Err("the claim was made without a snapshot as its source: delete it, then restore it again".to_owned());
        }
        let mut prepared = prepared(&live, namespace, &made_as);
        if !is_bound(&live) {
            let ask = RestoreSnapshot {
                of: self.of.clone(),
                claim: live.clone(),
                snapshot: SnapshotRef {
                    driver: snapshot.driver.clone(),
                    handle: snapshot.handle.clone(),
                    class: snapshot.class.clone(),
                },
                name: snapshot.name.clone(),
                made_as,
                restore_size: snapshot.restore_size,
                timeout: self.snapshot_timeout,
            };
            let opened = snapshots.prepare(&ask, &self.cancel).await;
            prepared = opened.map_err(|error| chain(&error))?;
        }
        let mut filled = Filled {
            bytes: snapshot.restore_size,
            ..Filled::default()
        };
        if is_bound(&live) || !self.waits_for_a_pod(&live).await? {
            match self.finish(&snapshots, &prepared, self.timeout).await {
                Ok(Bound::To(volume)) => filled.volume = volume,
                Ok(Bound::NotYet(seen)) => return Err(format!("the claim got no volume: {seen}")),
                Err(error) => return Err(chain(&error)),
            }
        }
        if let Err(problem) = self.unmark(namespace, &data.claim).await {
            filled.problems.push(problem);
        }
        Ok(filled)
    }

    async fn finish(
        &self,
        snapshots: &Snapshots,
        prepared: &Prepared,
        timeout: Duration,
    ) -> Result<Bound, CsiError> {
        let wait = Wait {
            timeout,
            cancel: self.cancel.clone(),
        };
        snapshots.finish(prepared, &wait).await
    }

    async fn snapshots(&self) -> Result<Snapshots, String> {
        let find = || Snapshots::find(&self.cluster);
        let found = self.found_snapshots.get_or_try_init(find).await;
        let found = found.map_err(|error| chain(&error))?;
        found.clone().ok_or_else(|| {
            "the target serves no VolumeSnapshots: install the snapshot controller and the driver, then go on"
                .to_owned()
        })
    }

    /// Whether the class of a claim makes its volume when its first pod has a node.
    async fn waits_for_a_pod(&self, claim: &Value) -> Result<bool, String> {
        let class = body::text_at(claim, &["spec", "storageClassName"]);
        if class.is_empty() {
            return Ok(false);
        }
        let api = ApiResource::known(
            "storage.k8s.io",
            "v1",
            "StorageClass",
            "storageclasses",
            false,
        );
        let found = self.cluster.get(&api, None, class).await;
        let found = found.map_err(|error| format!("read its storage class: {}", chain(&error)))?;
        let class = parse(&found.unwrap_or_default());
        Ok(body::text_at(&class, &["volumeBindingMode"]) == FOR_A_POD)
    }

    /// Removes what led to the snapshot of a claim that had to wait for its pod; what its user should know.
    async fn close_snapshot(&self, data: &VolumeData) -> Option<String> {
        let namespace = data.target_namespace(&self.header.rules.namespaces);
        let closed = async {
            let snapshots = self.snapshots().await?;
            let live = self.live_claim(namespace, &data.claim).await?;
            let made_as = snapshot_of(&live).to_owned();
            let pod = self.mounted_by(namespace, &data.claim).await?;
            // Nothing comes of waiting while nobody mounts it.
            let timeout = match pod {
                Some(_) => self.snapshot_timeout,
                None => Duration::ZERO,
            };
            let prepared = prepared(&live, namespace, &made_as);
            let bound = self.finish(&snapshots, &prepared, timeout).await;
            match bound.map_err(|error| chain(&error))? {
                Bound::To(_) => Ok(None),
                Bound::NotYet(_) => Ok(Some(format!(
                    "its volume is made when its first pod runs; until then it needs VolumeSnapshot {namespace}/{made_as}"
                ))),
            }
        };
        closed.await.unwrap_or_else(|reason: String| {
            Some(format!("what led to its snapshot is left behind: {reason}"))
        })
    }
}

impl Engine {
    /// Looks once more after claims whose volumes had to wait for their pods.
    pub(super) async fn close_snapshots(&mut self) {
        let waiting = self
            .filling
            .lines()
            .filter(|line| line.end == FillEnd::Filled && line.persistent_volume.is_empty());
        let waiting: Vec<u32> = waiting.map(|line| line.volume).collect();
        let filler = self.filling.filler();
        let closing = stream::iter(waiting)
            .filter(|at| {
                let is_snapshot = filler.header.data[*at as usize].csi.is_some();
                async move { is_snapshot }
            })
            .map(|at| {
                let filler = filler.clone();
                async move {
                    (
                        at,
                        filler
                            .close_snapshot(&filler.header.data[at as usize])
                            .await,
                    )
                }
            });
        let mut closing = std::pin::pin!(closing.buffer_unordered(FILLS_AT_ONCE));
        while let Some((at, told)) = closing.next().await {
            let data = &filler.header.data[at as usize];
            if let Some(told) = told {
                let claims = GroupResource::new("persistentvolumeclaims", "");
                let namespace = data.target_namespace(&filler.header.rules.namespaces);
                let key = ObjectKey::namespaced(claims, namespace, &*data.claim);
                self.record.warn(&key, &told);
            }
        }
    }
}

fn is_bound(claim: &Value) -> bool {
    body::text_at(claim, &["status", "phase"]) == "Bound"
}

/// What leads to a snapshot, as a run before may have made it.
fn prepared(claim: &Value, namespace: &str, made_as: &str) -> Prepared {
    Prepared {
        claim: claim.clone(),
        namespace: namespace.to_owned(),
        snapshot: made_as.to_owned(),
        content: made_as.to_owned(),
    }
}
