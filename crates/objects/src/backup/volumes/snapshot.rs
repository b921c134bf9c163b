//! Snapshots of volumes: the one place where they are taken.
//!
//! With `snapshotMoveData` a CSI driver takes them while their application stands still; their files are copied at the
//! end, when it has long gone on. Afterwards the snapshot is gone, whatever came of it: what a kill leaves carries marks
//! by which it is found.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use salvor_api::meta::StringMap;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::velero::Backup;
use salvor_archive::files::{Consistency, CsiSnapshot};
use salvor_volume::csi::{CsiTaken, MoveSnapshot, Snapshots, Storage, TakeSnapshot};
use salvor_volume::{Placement, VolumePlace};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::super::error::BackupError;
use super::super::gather::Run;
use super::super::runlog::About;
use super::act::COPIES;
use super::decide::Weight;
use super::look::core;
use super::tell::Ended;
use super::{Name, Place};
use crate::restore::error::chain;

const NO_SNAPSHOTS: &str = "snapshots of volumes are not taken by this version";
const HOW_TO_COPY: &str = "to have its files copied, ask for it by defaultVolumesToFsBackup, a volume policy, or the \
                           annotation backup.velero.io/backup-volumes of its pod";

/// What a backup says of snapshots whose data is moved, and those that wait for that.
#[derive(Debug, Default)]
pub(in crate::backup) struct Moving {
    wanted: bool,
    annotations: StringMap,
    /// The server's namespace, where their data is read.
    namespace: String,
    /// How long the storage may take for a snapshot.
    take: Duration,
    /// How long it may take until that can be used.
    prepare: Duration,
    snapshots: OnceCell<Option<Snapshots>>,
    taken: Mutex<Vec<Taken>>,
}

/// A snapshot that waits for its data to be moved.
#[derive(Debug)]
struct Taken {
    place: Place,
    asked: Option<String>,
    claim: Value,
    snapshot: CsiTaken,
    consistency: Consistency,
}

impl Moving {
    pub(in crate::backup) fn of(backup: &Backup) -> Self {
        let spec = &backup.spec;
        Self {
            wanted: spec.snapshot_move_data == Some(true),
            annotations: backup.metadata.annotations.clone(),
            namespace: backup.metadata.namespace.clone(),
            take: spec.csi_snapshot_timeout.0,
            prepare: spec
                .item_operation_timeout
                .0
                .max(spec.csi_snapshot_timeout.0),
            ..Self::default()
        }
    }

    fn drain(&self) -> Vec<Taken> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *taken)
    }
}

impl Run {
    /// Takes a snapshot of a volume. `asked` is by what it is asked for, if that is more than the default. Nothing comes
    /// back when it was taken: its end is told when its data is moved.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(super) async fn take_snapshot(
        &self,
        place: &Place,
        asked: Option<&str>,
        consistency: Consistency,
    ) -> Result<Option<Ended>, BackupError> {
        let excluded = self.volumes(|volumes| volumes.case(place, None).excluded);
        if excluded && asked.is_none() {
            return Ok(Some(Ended::Skipped {
                weight: Weight::Silent,
                asked: None,
                reason: format!("an annotation of its pod excludes it, and {NO_SNAPSHOTS}"),
            }));
        }
        let reason = match (place, self.mover().is_some()) {
            (Place::Claim(name), true) if self.moving.wanted => {
                match self.snapshot_of(name).await? {
                    Ok((claim, snapshot)) => {
                        let taken = Taken {
                            place: place.clone(),
                            asked: asked.map(str::to_owned),
                            claim,
                            snapshot,
                            consistency: match consistency {
                                Consistency::Application => Consistency::Application,
                                Consistency::Crash | Consistency::Files => Consistency::Crash,
                            },
                        };
                        let all = &self.moving.taken;
                        all.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(taken);
                        return Ok(None);
                    }
                    Err(reason) => format!("{reason}; {HOW_TO_COPY}"),
                }
            }
            (Place::Claim(_), true) => format!("{NO_SNAPSHOTS}; {HOW_TO_COPY}"),
            (Place::Claim(_), false) => format!("{NO_SNAPSHOTS}, and {}", super::decide::NO_AGENT),
            _ => NO_SNAPSHOTS.to_owned(),
        };
        Ok(Some(untaken(asked.map(str::to_owned), reason)))
    }

    /// The claim and its snapshot; inside, why there is none.
    async fn snapshot_of(
        &self,
        name: &Name,
    ) -> Result<Result<(Value, CsiTaken), String>, BackupError> {
        let snapshots = match self.snapshots().await? {
            Ok(snapshots) => snapshots,
            Err(reason) => return Ok(Err(reason)),
        };
        let resource = core("PersistentVolumeClaim", "persistentvolumeclaims", true);
        let of = GroupResource::new("persistentvolumeclaims", "");
        let key = ObjectKey::namespaced(of, &*name.0, &*name.1);
        let claim = match self.object(&resource, &key).await? {
            Ok(claim) => claim,
            Err(reason) => return Ok(Err(reason)),
        };
        let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
        if volume.is_empty() {
            return Ok(Err("its claim has no volume".to_owned()));
        }
        let resource = core("PersistentVolume", "persistentvolumes", false);
        let key = ObjectKey::cluster(GroupResource::new("persistentvolumes", ""), volume);
        let volume = match self.object(&resource, &key).await? {
            Ok(volume) => volume,
            Err(reason) => return Ok(Err(reason)),
        };
        let ask = TakeSnapshot {
            of: self.of.clone(),
            annotations: self.moving.annotations.clone(),
            claim,
            volume,
            class: None,
            timeout: self.moving.take,
        };
        let taken = snapshots.take(&ask, &self.movers).await;
        match taken {
            Ok(taken) => Ok(Ok((ask.claim, taken))),
            Err(error) => {
                self.goes_on()?;
                Ok(Err(chain(&error)))
            }
        }
    }

    /// Where snapshots are taken; inside, why nowhere.
    async fn snapshots(&self) -> Result<Result<Snapshots, String>, BackupError> {
        let find = || Snapshots::find(&self.cluster);
        let found = self.unless_cancelled(self.moving.snapshots.get_or_try_init(find));
        Ok(match found.await? {
            Ok(Some(snapshots)) => Ok(snapshots.clone()),
            Ok(None) => Err("the cluster serves no VolumeSnapshots".to_owned()),
            Err(error) => Err(chain(&error)),
        })
    }

    async fn object(
        &self,
        resource: &salvor_cluster::ApiResource,
        key: &ObjectKey,
    ) -> Result<Result<Value, String>, BackupError> {
        Ok(match self.look_at(resource, key).await? {
            Ok(Some(body)) => serde_json::from_slice(&body)
                .map_err(|error| format!("{key} cannot be read: {error}")),
            Ok(None) => Err(format!("{key} is gone")),
            Err(reason) => Err(reason),
        })
    }

    fn goes_on(&self) -> Result<(), BackupError> {
        match self.movers.is_cancelled() {
            true => self.check_cancelled().and(Err(self.cancelled())),
            false => Ok(()),
        }
    }

    /// Copies the files of the snapshots that were taken. They are gone afterwards.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(super) async fn move_snapshots(&self) -> Result<(), BackupError> {
        let taken = self.moving.drain();
        self.all(taken, COPIES, |taken| self.move_one(taken)).await
    }

    async fn move_one(&self, taken: Taken) -> Result<(), BackupError> {
        let (Some(mover), Ok(snapshots)) = (self.mover(), self.snapshots().await?) else {
            return Ok(());
        };
        let ask = MoveSnapshot {
            of: self.of.clone(),
            taken: &taken.snapshot,
            claim: &taken.claim,
            server_namespace: &self.moving.namespace,
            placement: Placement::default(),
            prepare: self.moving.prepare,
            timeout: self.volume_timeout,
        };
        let moved = snapshots.move_data(&**mover, &ask, &self.movers).await;
        self.goes_on()?;
        let ended = match moved {
            Ok(moved) => {
                let namespace = About::Namespace(&taken.snapshot.claim.namespace);
                for note in taken.snapshot.notes.iter().chain(&moved.notes) {
                    self.log()
                        .warn(namespace, &format!("{}: {note}", taken.place));
                }
                Ended::Stored {
                    stored: Box::new(moved.stored),
                    at: Box::new(VolumePlace::Claim {
                        claim: taken.snapshot.claim.clone(),
                        placement: Placement::default(),
                    }),
                    consistency: taken.consistency,
                    moved: Some(record(taken.snapshot)),
                }
            }
            Err(error) => untaken(taken.asked, chain(&error)),
        };
        self.settle(&taken.place, ended);
        Ok(())
    }

    /// Removes the snapshots of a run that ended before their data was moved.
    pub(in crate::backup) async fn discard_snapshots(&self) {
        let Some(Some(snapshots)) = self.moving.snapshots.get() else {
            return;
        };
        for taken in self.moving.drain() {
            if let Err(error) = snapshots.release(&taken.snapshot, Storage::Deleted).await {
                let (place, error) = (&taken.place, chain(&error));
                tracing::warn!(%place, error, "a snapshot is left behind");
            }
        }
    }
}

fn untaken(asked: Option<String>, reason: String) -> Ended {
    Ended::Skipped {
        weight: match asked {
            Some(_) => Weight::Error,
            None => Weight::Warning,
        },
        asked,
        reason,
    }
}

fn record(taken: CsiTaken) -> CsiSnapshot {
    CsiSnapshot {
        driver: taken.driver,
        // It is deleted.
        handle: String::new(),
        class: taken.class,
        snapshot: taken.snapshot,
        content: taken.content,
        restore_size: taken.restore_size,
    }
}
