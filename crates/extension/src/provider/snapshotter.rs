//! Questions to a volume snapshotter.

use salvor_api::meta::StringMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conversation::Provider;
use crate::error::{CallError, ProviderError};

/// Longest id of a volume or snapshot, in bytes.
const MAX_ID: usize = 1024;

/// What a volume is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeInfo {
    /// Its type, in the provider's words.
    #[serde(rename = "type", default)]
    pub volume_type: String,
    /// Operations per second that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iops: Option<i64>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its id.
    pub snapshot_id: String,
    /// Whether a volume can be made of it already.
    pub ready: bool,
    /// Bytes that it holds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// What a volume is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRequest<'a> {
    /// The snapshot.
    pub snapshot_id: &'a str,
    /// Zone in which it is made; empty where there are none.
    pub zone: &'a str,
    /// What the volume was that the snapshot was made of.
    pub info: &'a VolumeInfo,
    /// The same token gives the same volume: a question that is repeated after a crash makes no second one.
    pub token: &'a str,
}

/// A volume that a snapshot is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRequest<'a> {
    /// The volume.
    pub volume_id: &'a str,
    /// Its zone; empty where there are none.
    pub zone: &'a str,
    /// What the snapshot is to be found by.
    pub tags: &'a StringMap,
    /// The same token gives the same snapshot: a question that is repeated after a crash makes no second one.
    pub token: &'a str,
}

/// A provider that makes snapshots of volumes.
#[derive(Clone, Debug)]
pub struct SnapshotterClient(Provider);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeId {
    volume_id: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotId<'a> {
    snapshot_id: &'a str,
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WithVolume<V> {
    persistent_volume: V,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume_id: Option<String>,
}

impl SnapshotterClient {
    /// Asks this provider, which should be of that kind.
    #[must_use]
    pub fn new(provider: Provider) -> Self {
        Self(provider)
    }

    /// The provider that is asked.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.0
    }

    /// The id of the volume behind a PersistentVolume; `None` when it is not one of this provider's.
    ///
    /// # Errors
    /// The provider fails.
    pub async fn volume_id(&self, volume: &Value) -> Result<Option<String>, ProviderError> {
        let method = "getVolumeId";
        let arguments = WithVolume {
            persistent_volume: volume,
            volume_id: None,
        };
        let VolumeId { volume_id } = self.0.ask(method, arguments).await?;
        if volume_id.is_empty() {
            return Ok(None);
        }
        self.checked(method, volume_id).map(Some)
    }

    /// What a volume is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn volume_info(
        &self,
        volume_id: &str,
        zone: &str,
    ) -> Result<VolumeInfo, ProviderError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Arguments<'a> {
            volume_id: &'a str,
            zone: &'a str,
        }
        self.0
            .ask("getVolumeInfo", Arguments { volume_id, zone })
            .await
    }

    /// Makes a snapshot. It may not be ready yet: ask [`SnapshotterClient::snapshot`].
    ///
    /// # Errors
    /// `NotFound` for the volume; the provider fails.
    pub async fn create_snapshot(
        &self,
        request: SnapshotRequest<'_>,
    ) -> Result<Snapshot, ProviderError> {
        let method = "createSnapshot";
        let mut snapshot: Snapshot = self.0.ask(method, request).await?;
        snapshot.snapshot_id = self.checked(method, snapshot.snapshot_id)?;
        Ok(snapshot)
    }

    /// How far a snapshot is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn snapshot(&self, snapshot_id: &str) -> Result<Snapshot, ProviderError> {
        let method = "getSnapshot";
        let snapshot: Snapshot = self.0.ask(method, SnapshotId { snapshot_id }).await?;
        if snapshot.snapshot_id != snapshot_id {
            let wrong = CallError::Meaningless("another snapshot than it was asked about");
            return Err(self.0.failed(method, wrong));
        }
        Ok(snapshot)
    }

    /// Makes a volume of a snapshot; its id.
    ///
    /// # Errors
    /// `NotFound` for the snapshot; the provider fails.
    pub async fn restore_volume(
        &self,
        request: VolumeRequest<'_>,
    ) -> Result<String, ProviderError> {
        let method = "restoreVolume";
        let VolumeId { volume_id } = self.0.ask(method, request).await?;
        self.checked(method, volume_id)
    }

    /// Removes a snapshot; removing what is not there succeeds.
    ///
    /// # Errors
    /// The provider refuses or fails.
    pub async fn delete_snapshot(&self, snapshot_id: &str) -> Result<(), ProviderError> {
        let Nothing {} = self
            .0
            .ask("deleteSnapshot", SnapshotId { snapshot_id })
            .await?;
        Ok(())
    }

    /// A PersistentVolume with another volume behind it. Only what says which volume that is may change.
    ///
    /// # Errors
    /// The provider fails, or changes something else.
    pub async fn set_volume_id(
        &self,
        volume: &Value,
        volume_id: &str,
    ) -> Result<Value, ProviderError> {
        let method = "setVolumeId";
        let arguments = WithVolume {
            persistent_volume: volume,
            volume_id: Some(volume_id.to_owned()),
        };
        let changed: WithVolume<Value> = self.0.ask(method, arguments).await?;
        let changed = changed.persistent_volume;
        if let Some(field) = differs(volume, &changed) {
            let changed = CallError::Foreign(field);
            return Err(self.0.failed(method, changed));
        }
        Ok(changed)
    }

    fn checked(&self, method: &'static str, id: String) -> Result<String, ProviderError> {
        let usable = !id.is_empty() && id.len() <= MAX_ID && !id.contains(char::is_control);
        match usable {
            true => Ok(id),
            false => Err(self
                .0
                .failed(method, CallError::Meaningless("an id that cannot be used"))),
        }
    }
}

/// What of a PersistentVolume a snapshotter may change: its source. Everything else decides who may use the volume
/// and for what.
const SOURCES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// The first field that was changed and must not be.
fn differs(before: &Value, after: &Value) -> Option<String> {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else {
        return Some("the whole object".to_owned());
    };
    let fields = before.keys().chain(after.keys());
    for field in fields.filter(|field| *field != "spec") {
        if before.get(field) != after.get(field) {
            return Some(field.clone());
        }
    }
    let (before, after) = (&before.get("spec")?, &after.get("spec"));
    let Some(after) = after else {
        return Some("spec".to_owned());
    };
    let names = |value: &Value| -> Vec<String> {
        let fields = value.as_object().into_iter().flatten();
        fields.map(|(name, _)| name.clone()).collect()
    };
    let mut fields = names(before);
    fields.extend(names(after));
    let foreign = |field: &String| {
        before.get(field) != after.get(field) && !SOURCES.contains(&field.as_str())
    };
    fields
        .into_iter()
        .find(foreign)
        .map(|field| format!("spec.{field}"))
}
