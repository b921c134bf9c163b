//! Snapshots that a storage takes by its own interface, for the VolumeSnapshotLocations of the backup.
//!
//! They are taken while their application stands still, and waited for at the end. A volume of a CSI driver for which
//! there is a VolumeSnapshotClass is left to that driver, as are all whose data is to be moved.
//!
//! Commit point: the backup's record. A run that ends without one deletes what it took; what a kill leaves carries the
//! run's tag, and goes when the server settles that run.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use salvor_api::go::Time;
use salvor_api::meta::StringMap;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::velero::Backup;
use salvor_archive::files::{
    Consistency, NativeSnapshot, VolumeSnapshot, VolumeSnapshotSpec, VolumeSnapshotStatus,
};
use salvor_cluster::{ApiResource, ErrorKind, ListOptions};
use salvor_volume::native::{
    NativeError, RUN_TAG, Served, Take, Waited, wait_until_ready, zone_of,
};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::super::error::BackupError;
use super::super::gather::Run;
use super::super::runlog::About;
use super::Place;
use super::decide::Weight;
use super::look::core;
use super::tell::Ended;

/// Snapshots that are waited for, or deleted, at once.
const AT_ONCE: usize = 16;
/// Velero's tags: by these a person finds what belongs to a backup.
const BACKUP_TAG: &str = "velero.io/backup";
const VOLUME_TAG: &str = "velero.io/pv";

const NOT_IN_BACKUP: &str =
    "its persistent volume is not in the backup, so that a restore makes no volume of the snapshot";

/// What a backup says of such snapshots, and those that were taken.
#[derive(Debug, Default)]
pub(in crate::backup) struct Native {
    /// The data of snapshots is moved, which is a CSI driver's business.
    moves: bool,
    tags: StringMap,
    /// How long they are waited for.
    patience: Duration,
    /// CSI drivers that have a VolumeSnapshotClass.
    with_class: OnceCell<BTreeSet<String>>,
    taken: Mutex<Vec<Pending>>,
    /// Velero's list: also those that failed.
    listed: Mutex<Vec<VolumeSnapshot>>,
    /// Those that go if the backup does not come to be.
    made: Mutex<Vec<(Served, String)>>,
}

/// A snapshot that was taken and may not be ready.
#[derive(Debug)]
struct Pending {
    place: Place,
    asked: Option<String>,
    served: Served,
    snapshot: String,
    record: NativeSnapshot,
    consistency: Consistency,
    started: Time,
}

/// What is kept of a snapshot that can be used, or will be.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) record: NativeSnapshot,
    pub(super) consistency: Consistency,
    pub(super) started: Time,
    pub(super) ended: Time,
    /// What its user should know of it.
    pub(super) note: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Time {
    Time::new(jiff::Timestamp::now())
}

impl Native {
    pub(in crate::backup) fn of(backup: &Backup, run: &str) -> Self {
        let metadata = &backup.metadata;
        let mut tags = metadata.labels.clone();
        tags.insert(BACKUP_TAG.to_owned(), metadata.name.clone());
        tags.insert(RUN_TAG.to_owned(), run.to_owned());
        Self {
            moves: backup.spec.snapshot_move_data == Some(true),
            tags,
            patience: backup.spec.csi_snapshot_timeout.0,
            ..Self::default()
        }
    }

    /// Velero's list of them, sorted.
    pub(in crate::backup) fn list(&self) -> Vec<VolumeSnapshot> {
        let mut list = lock(&self.listed).clone();
        list.sort_by(|a, b| {
            let name = |one: &VolumeSnapshot| one.spec.persistent_volume_name.clone();
            name(a).cmp(&name(b))
        });
        list
    }

    /// Marks one of the list as failed.
    fn fail(&self, volume: &str) {
        let mut list = lock(&self.listed);
        let mut of_volume = list
            .iter_mut()
            .filter(|one| one.spec.persistent_volume_name == volume);
        if let Some(one) = of_volume.next() {
            one.status = VolumeSnapshotStatus::failed();
        }
    }
}

impl Run {
    /// Takes a snapshot of a volume by its storage's own interface. True when the volume is dealt with: its end is told,
    /// or will be when it was waited for.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(super) async fn take_native(
        &self,
        place: &Place,
        asked: Option<&str>,
        consistency: Consistency,
    ) -> Result<bool, BackupError> {
        if self.native.moves || self.options.snapshotters.is_empty() {
            return Ok(false);
        }
        let Some(volume) = self.volume_of(place).await? else {
            return Ok(false);
        };
        let driver = volume["spec"]["csi"]["driver"].as_str();
        if let Some(driver) = driver
            && matches!(place, Place::Claim(_))
            && self.has_class(driver).await?
        {
            return Ok(false);
        }
        let serving = self.options.snapshotters.serving(&volume);
        let served = match self.unless_cancelled(serving).await? {
            Ok(Some(served)) => served,
            Ok(None) => return Ok(false),
            Err(reason) => {
                self.settle(place, untaken(asked, reason, Weight::Warning));
                return Ok(true);
            }
        };
        self.progress.tick(&self.collector, &place.to_string());
        let started = now();
        // Not dropped in the middle: what it makes would be nobody's.
        match self.make_snapshot(&volume, &served).await {
            Ok((snapshot, record)) => lock(&self.native.taken).push(Pending {
                place: place.clone(),
                asked: asked.map(str::to_owned),
                served,
                snapshot,
                record,
                consistency: match consistency {
                    Consistency::Application => Consistency::Application,
                    Consistency::Crash | Consistency::Files => Consistency::Crash,
                },
                started,
            }),
            Err(error) => self.settle(place, untaken(asked, error.told(), Weight::Error)),
        }
        Ok(true)
    }

    async fn make_snapshot(
        &self,
        volume: &Value,
        served: &Served,
    ) -> Result<(String, NativeSnapshot), NativeError> {
        let name = volume["metadata"]["name"].as_str().unwrap_or_default();
        let zone = zone_of(volume);
        let mut listed = VolumeSnapshot {
            spec: VolumeSnapshotSpec {
                backup_name: self.of.name.clone(),
                backup_uid: self.of.uid.clone(),
                location: served.location.clone(),
                persistent_volume_name: name.to_owned(),
                provider_volume_id: served.volume.clone(),
                volume_az: zone.clone(),
                ..VolumeSnapshotSpec::default()
            },
            status: VolumeSnapshotStatus::failed(),
        };
        let made = async {
            let kind = served.snapshotter.kind(&served.volume, &zone).await?;
            listed.spec.volume_type.clone_from(&kind.volume_type);
            listed.spec.volume_iops = kind.iops;
            let mut tags = self.native.tags.clone();
            tags.insert(VOLUME_TAG.to_owned(), name.to_owned());
            let take = Take {
                volume: &served.volume,
                zone: &zone,
                tags: &tags,
                token: &format!("{}/{name}", self.of.run),
            };
            let taken = served.snapshotter.take(take).await?;
            Ok((taken.id, kind))
        };
        let made = made.await;
        if let Ok((id, _)) = &made {
            listed.status = VolumeSnapshotStatus::completed(id);
            lock(&self.native.made).push((served.clone(), id.clone()));
        }
        lock(&self.native.listed).push(listed);
        let (id, kind) = made?;
        let record = NativeSnapshot {
            location: served.location.clone(),
            handle: id.clone(),
            volume_type: kind.volume_type,
            zone,
            iops: kind.iops.and_then(|iops| u64::try_from(iops).ok()),
        };
        Ok((id, record))
    }

    /// The persistent volume of a place, as it is now.
    async fn volume_of(&self, place: &Place) -> Result<Option<Value>, BackupError> {
        let name = self.volumes(|volumes| volumes.record_of(place).persistent_volume);
        if name.is_empty() {
            return Ok(None);
        }
        let resource = core("PersistentVolume", "persistentvolumes", false);
        let key = ObjectKey::cluster(GroupResource::new("persistentvolumes", ""), &*name);
        // What stands in the way is told by whoever comes next, who looks at it again.
        let found = self.look_at(&resource, &key).await?.ok().flatten();
        Ok(found.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    /// True when a CSI driver has a VolumeSnapshotClass.
    async fn has_class(&self, driver: &str) -> Result<bool, BackupError> {
        let list = self.native.with_class.get_or_init(|| self.classes());
        Ok(self.unless_cancelled(list).await?.contains(driver))
    }

    async fn classes(&self) -> BTreeSet<String> {
        let (group, kind) = ("snapshot.storage.k8s.io", "VolumeSnapshotClass");
        let api = ApiResource::known(group, "v1", kind, "volumesnapshotclasses", false);
        let mut pager = self.cluster.pager(&api, None, ListOptions::default());
        let mut drivers = BTreeSet::new();
        loop {
            match pager.next_page().await {
                Ok(Some(page)) => drivers.extend(page.items().filter_map(|item| {
                    let class: Value = serde_json::from_slice(item).ok()?;
                    Some(class["driver"].as_str()?.to_owned())
                })),
                Ok(None) => return drivers,
                Err(error) => {
                    if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoSuchKind) {
                        let text = format!(
                            "which CSI drivers have a VolumeSnapshotClass is not known: {error}"
                        );
                        self.log().warn(About::Run, &text);
                    }
                    return drivers;
                }
            }
        }
    }

    /// Waits until what was taken can be used, or its time is over, and tells the end of each.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(super) async fn settle_native(&self) -> Result<(), BackupError> {
        let taken = std::mem::take(&mut *lock(&self.native.taken));
        self.all(taken, AT_ONCE, |pending| self.settle_one(pending))
            .await
    }

    async fn settle_one(&self, pending: Pending) -> Result<(), BackupError> {
        let snapshotter = &*pending.served.snapshotter;
        self.progress
            .tick(&self.collector, &pending.place.to_string());
        let patience = self.native.patience;
        let waited = wait_until_ready(snapshotter, &pending.snapshot, patience, &self.movers).await;
        if self.movers.is_cancelled() {
            self.check_cancelled()?;
            return Err(self.cancelled());
        }
        let volume = self.volumes(|volumes| volumes.record_of(&pending.place).persistent_volume);
        let note = match waited {
            Ok(Waited::Ready(_)) if !self.volumes(|volumes| volumes.holds_object(&volume)) => {
                NOT_IN_BACKUP.to_owned()
            }
            Ok(Waited::Ready(_)) => String::new(),
            Ok(Waited::Pending(taken)) => format!(
                "the storage still works on snapshot {} ({}) after {} s: it is of its moment, and no volume can be made \
                 of it before that ends",
                pending.snapshot,
                match taken.progress.as_str() {
                    "" => "pending",
                    progress => progress,
                },
                patience.as_secs()
            ),
            Err(error)
                if matches!(
                    error,
                    NativeError::Lost { .. } | NativeError::NotFound { .. }
                ) =>
            {
                self.native.fail(&volume);
                let asked = pending.asked.as_deref();
                self.settle(&pending.place, untaken(asked, error.told(), Weight::Error));
                return Ok(());
            }
            Err(error) => format!(
                "whether snapshot {} can be used is not known: {}",
                pending.snapshot,
                error.told()
            ),
        };
        let ended = Ended::Native(Box::new(Kept {
            record: pending.record,
            consistency: pending.consistency,
            started: pending.started,
            ended: now(),
            note,
        }));
        self.settle(&pending.place, ended);
        Ok(())
    }

    /// Deletes what was taken when the backup does not exist. Where that is not known everything stays: it carries the
    /// run's tag.
    pub(in crate::backup) async fn release_native(&self, exists: Option<bool>) {
        let made = std::mem::take(&mut *lock(&self.native.made));
        if exists != Some(false) {
            return;
        }
        stream::iter(made)
            .for_each_concurrent(AT_ONCE, |(served, snapshot)| async move {
                if let Err(error) = served.snapshotter.delete(&snapshot).await {
                    let error = error.told();
                    tracing::warn!(snapshot, error, "a snapshot is left behind");
                }
            })
            .await;
    }
}

/// A snapshot that was begun and failed is an error whoever asked for it.
fn untaken(asked: Option<&str>, reason: String, weight: Weight) -> Ended {
    let asked = match (asked, weight) {
        (None, Weight::Error) => Some("snapshotVolumes"),
        (asked, _) => asked,
    };
    Ended::Skipped {
        weight: match asked {
            Some(_) => Weight::Error,
            None => weight,
        },
        asked: asked.map(str::to_owned),
        reason,
    }
}
