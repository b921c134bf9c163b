//! Snapshots that a storage takes of its volumes by its own interface, without CSI: Velero's "native" ones.
//!
//! ```text
//!   backup   volume -> snapshot, tagged; at the end of the backup it is waited for
//!   restore  snapshot -> new volume in a zone that the cluster has -> the persistent volume names that one
//!   delete   the snapshot, unless another backup names it
//! ```
//!
//! Invariants:
//! - what is made carries a token, and the same token gives the same one back: a step that is repeated after a crash
//!   makes nothing twice;
//! - nothing but [`Snapshotter::delete`] removes a snapshot, and nothing here removes a volume.
//!
//! Who speaks to a storage is a [`Snapshotter`]: [`Ebs`] is built in, extensions are adapted where they are known. A
//! VolumeSnapshotLocation names one; [`Snapshotters`] are those of a run.

mod ebs;
mod error;
mod patience;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use salvor_api::meta::StringMap;
use serde_json::Value;

pub use ebs::Ebs;
pub use error::NativeError;
pub use patience::{Waited, wait_until_ready};
pub use zone::{map_zones, rezone, zone_of};

/// Tag by which what was made is found again.
pub const TOKEN_TAG: &str = "salvor.dev/token";

/// Tag by which what a backup has taken is found when it came to nothing; its value is the run.
pub const RUN_TAG: &str = "salvor.dev/run";

/// What a volume is, in its storage's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeKind {
    /// Its type, such as `gp3`.
    pub volume_type: String,
    /// Operations per second that it was made for, where its type has them.
    pub iops: Option<i64>,
}

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Its id.
    pub id: String,
    /// Whether a volume can be made of it already. Its moment is that of its making in any case.
    pub ready: bool,
    /// How far the storage is, such as `37%`; empty when it does not say.
    pub progress: String,
    /// Bytes of the volume that it is of, where they are known.
    pub bytes: Option<u64>,
}

/// A snapshot that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Take<'a> {
    /// The volume.
    pub volume: &'a str,
    /// Its zone; empty where there is none.
    pub zone: &'a str,
    /// What it is to be found by.
    pub tags: &'a StringMap,
    /// The same token gives the same snapshot.
    pub token: &'a str,
}

/// A volume that is to be made of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct MakeVolume<'a> {
    /// The snapshot, which is ready.
    pub snapshot: &'a str,
    /// The zone in which it is made; empty where there is none.
    pub zone: &'a str,
    /// What the volume was.
    pub kind: &'a VolumeKind,
    /// The same token gives the same volume.
    pub token: &'a str,
}

/// Speaks to a storage.
///
/// Contract: calls may be repeated and may run side by side. A call that fails may have been carried out; the same token
/// finds what it made. Dropping a future may leave such a one behind.
#[async_trait]
pub trait Snapshotter: fmt::Debug + Send + Sync {
    /// The volume behind a PersistentVolume; `None` when it is not of this storage.
    ///
    /// # Errors
    /// It is of this storage and names no volume that there could be.
    async fn volume_id(&self, volume: &Value) -> Result<Option<String>, NativeError>;

    /// What a volume is.
    ///
    /// # Errors
    /// [`NativeError::NotFound`]; the storage does not answer, or refuses.
    async fn kind(&self, volume: &str, zone: &str) -> Result<VolumeKind, NativeError>;

    /// Makes a snapshot. It may take its time to be ready.
    ///
    /// # Errors
    /// As for [`Snapshotter::kind`].
    async fn take(&self, ask: Take<'_>) -> Result<Taken, NativeError>;

    /// How far a snapshot is.
    ///
    /// # Errors
    /// [`NativeError::NotFound`]; [`NativeError::Lost`] when the storage has given it up.
    async fn look(&self, snapshot: &str) -> Result<Taken, NativeError>;

    /// The snapshots that carry [`RUN_TAG`] with this run, for a run that was killed. Nothing where the storage cannot be
    /// asked for that.
    ///
    /// # Errors
    /// The storage does not answer, or refuses.
    async fn taken_in(&self, run: &str) -> Result<Vec<String>, NativeError> {
        tracing::debug!(run, "what it has taken cannot be asked for");
        Ok(Vec::new())
    }

    /// Makes a volume of a snapshot; its id, when it can be used.
    ///
    /// # Errors
    /// [`NativeError::NotFound`] for the snapshot; the storage does not answer, or refuses.
    async fn make_volume(&self, ask: MakeVolume<'_>) -> Result<String, NativeError>;

    /// Removes a snapshot; removing what is not there succeeds.
    ///
    /// # Errors
    /// The storage does not answer, or refuses.
    async fn delete(&self, snapshot: &str) -> Result<(), NativeError>;

    /// Has a PersistentVolume name another volume. Nothing else of it changes.
    ///
    /// # Errors
    /// It is not of this storage.
    async fn set_volume_id(&self, volume: &Value, id: &str) -> Result<Value, NativeError>;
}

/// A VolumeSnapshotLocation, open.
#[derive(Clone, Debug)]
pub struct SnapshotLocation {
    /// Its name.
    pub name: String,
    /// Its provider.
    pub provider: String,
    /// Who speaks to its storage; or why nobody does, for people.
    pub snapshotter: Result<Arc<dyn Snapshotter>, String>,
}

/// The VolumeSnapshotLocations that a run may use.
#[derive(Clone, Debug, Default)]
pub struct Snapshotters(BTreeMap<String, SnapshotLocation>);

/// A volume and who takes snapshots of it.
#[derive(Clone, Debug)]
pub struct Served {
    /// Name of the VolumeSnapshotLocation.
    pub location: String,
    /// Who speaks to its storage.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// The storage's name for the volume.
    pub volume: String,
}

impl Snapshotters {
    /// These locations.
    #[must_use]
    pub fn new(locations: impl IntoIterator<Item = SnapshotLocation>) -> Self {
        let named = locations
            .into_iter()
            .map(|location| (location.name.clone(), location));
        Self(named.collect())
    }

    /// Of these, those of the given names.
    #[must_use]
    pub fn only(&self, names: &BTreeSet<&str>) -> Self {
        let chosen = self.0.values();
        Self::new(
            chosen
                .filter(|location| names.contains(location.name.as_str()))
                .cloned(),
        )
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &SnapshotLocation> {
        self.0.values()
    }

    /// Who speaks to the storage of a location.
    ///
    /// # Errors
    /// Why nobody does, for people.
    pub fn named(&self, location: &str) -> Result<Arc<dyn Snapshotter>, String> {
        let unusable = |reason: &str| {
            format!("volume snapshot location `{location}` cannot be used: {reason}")
        };
        match self.0.get(location) {
            Some(found) => found
                .snapshotter
                .clone()
                .map_err(|reason| unusable(&reason)),
            None => Err(format!(
                "there is no volume snapshot location `{location}` here: make one of that name that leads to the \
                 snapshots' storage"
            )),
        }
    }

    /// Who takes snapshots of a PersistentVolume; `None` when nobody's storage has it.
    ///
    /// # Errors
    /// Why that cannot be said: all of whom could be asked did not know it, and one could not be asked.
    pub async fn serving(&self, volume: &Value) -> Result<Option<Served>, String> {
        let mut unusable = None;
        for location in self.0.values() {
            let snapshotter = match &location.snapshotter {
                Ok(snapshotter) => snapshotter,
                Err(reason) => {
                    unusable.get_or_insert_with(|| {
                        let name = &location.name;
                        format!("volume snapshot location `{name}` cannot be used: {reason}")
                    });
                    continue;
                }
            };
            match snapshotter.volume_id(volume).await {
                Ok(Some(id)) => {
                    return Ok(Some(Served {
                        location: location.name.clone(),
                        snapshotter: Arc::clone(snapshotter),
                        volume: id,
                    }));
                }
                Ok(None) => {}
                Err(error) => return Err(error.told()),
            }
        }
        unusable.map_or(Ok(None), Err)
    }
}
