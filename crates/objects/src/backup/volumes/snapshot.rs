//! Snapshots of volumes by CSI drivers: taking them.
//!
//! They are taken while their application stands still. What becomes of them comes at the end ([`super::taken`]), when it
//! has long gone on: with `snapshotMoveData` their files are copied and they go, else they stay in the storage. What a
//! kill leaves carries marks by which it is found.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use salvor_api::go::Time;
use salvor_api::meta::StringMap;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::velero::Backup;
use salvor_archive::files::Consistency;
use salvor_cluster::ErrorKind;
use salvor_volume::csi::{CsiError, CsiTaken, Snapshots, TakeSnapshot};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::super::error::BackupError;
use super::super::gather::Run;
use super::decide::{Kind, NO_AGENT, Weight};
use super::look::core;
use super::tell::Ended;
use super::{Name, Place};
use crate::restore::error::chain;

const NOT_SERVED: &str = "the cluster serves no VolumeSnapshots";
const NOT_OF_A_DRIVER: &str =
    "its volume is none of a CSI driver, and no volume snapshot location serves it";
const WITHOUT_CLAIM: &str =
    "no claim of the backup uses it, of which a CSI driver could take a snapshot";
const HOW_TO_COPY: &str = "to have its files copied, ask for it by defaultVolumesToFsBackup, a volume policy, or the \
                           annotation backup.velero.io/backup-volumes of its pod";

/// What a backup says of snapshots, and those that were taken.
#[derive(Debug, Default)]
pub(in crate::backup) struct Snapshotting {
    /// Their data is moved.
    pub(super) moves: bool,
    pub(super) annotations: StringMap,
    /// The server's namespace, where their data is read.
    pub(super) namespace: String,
    /// How long the storage may take for a snapshot.
    pub(super) take: Duration,
    /// How long it may take until that can be used.
    pub(super) prepare: Duration,
    found: OnceCell<Option<Snapshots>>,
    taken: Mutex<Vec<Taken>>,
    /// Those that stay if the backup comes to be.
    kept: Mutex<Vec<CsiTaken>>,
    attempted: AtomicI64,
    pub(super) completed: AtomicI64,
}

/// A snapshot of which it is not settled yet what becomes of it.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) place: Place,
    pub(super) asked: Option<String>,
    pub(super) claim: Value,
    pub(super) snapshot: CsiTaken,
    pub(super) consistency: Consistency,
    /// When it was asked for.
    pub(super) started: Time,
}

/// Why there is no snapshot.
struct Untaken {
    reason: String,
    /// The driver was asked, and failed.
    by_driver: bool,
}

/// Whether a claim is for a volume without a file system.
pub(super) fn is_block(claim: &Value) -> bool {
    claim["spec"]["volumeMode"] == "Block"
}

/// True when no driver was asked: the volume or its class is unfit, or we may not make snapshots here.
pub(super) fn is_not_begun(error: &CsiError) -> bool {
    match error {
        CsiError::Class { .. } | CsiError::Unfit { .. } => true,
        CsiError::Cluster { source, .. } => source.kind() == ErrorKind::Forbidden,
        _ => false,
    }
}

impl From<String> for Untaken {
    fn from(reason: String) -> Self {
        Self {
            reason,
            by_driver: false,
        }
    }
}

impl Snapshotting {
    pub(in crate::backup) fn of(backup: &Backup) -> Self {
        let spec = &backup.spec;
        Self {
            moves: spec.snapshot_move_data == Some(true),
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

    /// Snapshots that drivers were asked for, and those that they took and that stay.
    pub(in crate::backup) fn counts(&self) -> (i64, i64) {
        let read = |count: &AtomicI64| count.load(Ordering::Relaxed);
        (read(&self.attempted), read(&self.completed))
    }

    /// Keeps a snapshot until it is settled what becomes of it.
    pub(super) fn keep(&self, taken: Taken) {
        let consistency = match taken.consistency {
            Consistency::Application => Consistency::Application,
            Consistency::Crash | Consistency::Files => Consistency::Crash,
        };
        let mut all = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Taken {
            consistency,
            ..taken
        });
    }

    /// Counts snapshots that drivers were asked for.
    pub(super) fn attempt(&self, snapshots: i64) {
        self.attempted.fetch_add(snapshots, Ordering::Relaxed);
    }

    /// Where snapshots are taken, if somebody looked and found it.
    pub(super) fn found(&self) -> Option<&Snapshots> {
        self.found.get()?.as_ref()
    }

    pub(super) fn drain(&self) -> Vec<Taken> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *taken)
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Vec<CsiTaken>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// Takes a snapshot of a volume. `asked` is by what it is asked for, if that is more than the default. Nothing comes
    /// back when it was taken: its end is told when it is settled what becomes of it.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(super) async fn take_snapshot(
        &self,
        place: &Place,
        asked: Option<&str>,
        consistency: Consistency,
    ) -> Result<Option<Ended>, BackupError> {
        let started = Time::new(jiff::Timestamp::now());
        let untaken = match place {
            Place::Claim(name) => match self.snapshot_of(place, name).await? {
                Ok((claim, snapshot)) => {
                    self.snapshotting.keep(Taken {
                        place: place.clone(),
                        asked: asked.map(str::to_owned),
                        claim,
                        snapshot,
                        consistency,
                        started,
                    });
                    return Ok(None);
                }
                Err(untaken) => untaken,
            },
            _ => WITHOUT_CLAIM.to_owned().into(),
        };
        Ok(Some(self.without_snapshot(place, asked, untaken)))
    }

    /// What becomes of a volume of which no snapshot was taken.
    fn without_snapshot(&self, place: &Place, asked: Option<&str>, untaken: Untaken) -> Ended {
        let Untaken { reason, by_driver } = untaken;
        let excluded = self.volumes(|volumes| volumes.case(place, None).excluded);
        if by_driver {
            // It was begun, so it is an error whoever asked for it.
            let asked = Some(asked.unwrap_or("snapshotVolumes").to_owned());
            return Ended::untaken(asked, reason);
        }
        if excluded && asked.is_none() {
            return Ended::Skipped {
                weight: Weight::Silent,
                asked: None,
                reason: format!("an annotation of its pod excludes it, and {reason}"),
            };
        }
        let kind = self.volumes(|volumes| volumes.case(place, None).kind);
        let reason = match (place, self.mover().is_some()) {
            _ if kind == Kind::Block => {
                format!("{reason}; it is a block device, which has no files to copy")
            }
            (Place::Claim(_), true) => format!("{reason}; {HOW_TO_COPY}"),
            (Place::Claim(_), false) => format!("{reason}, and {NO_AGENT}"),
            _ => reason,
        };
        Ended::untaken(asked.map(str::to_owned), reason)
    }

    /// The claim and its snapshot; inside, why there is none.
    async fn snapshot_of(
        &self,
        place: &Place,
        name: &Name,
    ) -> Result<Result<(Value, CsiTaken), Untaken>, BackupError> {
        let snapshots = match self.snapshots().await? {
            Ok(snapshots) => snapshots,
            Err(reason) => return Ok(Err(reason.into())),
        };
        let (class, is_csi) = self.volumes(|volumes| {
            (
                volumes.case(place, None).snapshot_class(),
                volumes.is_of_csi_driver(name),
            )
        });
        if is_csi == Some(false) {
            return Ok(Err(NOT_OF_A_DRIVER.to_owned().into()));
        }
        let (claim, volume) = match self.claim_and_volume(name).await? {
            Ok(both) => both,
            Err(reason) => return Ok(Err(reason.into())),
        };
        if self.snapshotting.moves && self.mover().is_none() && !is_block(&claim) {
            // Nobody could copy its data.
            return Ok(Err("the data of snapshots is to be moved"
                .to_owned()
                .into()));
        }
        if volume["spec"]["csi"]["driver"].as_str().is_none() {
            return Ok(Err(NOT_OF_A_DRIVER.to_owned().into()));
        }
        let ask = TakeSnapshot {
            of: self.of.clone(),
            annotations: self.snapshotting.annotations.clone(),
            claim,
            volume,
            class,
            timeout: self.snapshotting.take,
        };
        let taken = snapshots.take(&ask, &self.movers).await;
        match taken {
            Ok(taken) => {
                self.snapshotting.attempt(1);
                Ok(Ok((ask.claim, taken)))
            }
            Err(error) => {
                self.goes_on()?;
                let by_driver = !is_not_begun(&error);
                if by_driver {
                    self.snapshotting.attempt(1);
                }
                Ok(Err(Untaken {
                    reason: chain(&error),
                    by_driver,
                }))
            }
        }
    }

    pub(super) async fn claim_and_volume(
        &self,
        name: &Name,
    ) -> Result<Result<(Value, Value), String>, BackupError> {
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
        Ok(self
            .object(&resource, &key)
            .await?
            .map(|volume| (claim, volume)))
    }

    /// Where snapshots are taken; inside, why nowhere.
    pub(super) async fn snapshots(&self) -> Result<Result<Snapshots, String>, BackupError> {
        let find = || Snapshots::find(&self.cluster);
        let found = self.unless_cancelled(self.snapshotting.found.get_or_try_init(find));
        Ok(match found.await? {
            Ok(Some(snapshots)) => Ok(snapshots.clone()),
            Ok(None) => Err(NOT_SERVED.to_owned()),
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

    pub(super) fn goes_on(&self) -> Result<(), BackupError> {
        match self.movers.is_cancelled() {
            true => self.check_cancelled().and(Err(self.cancelled())),
            false => Ok(()),
        }
    }
}
