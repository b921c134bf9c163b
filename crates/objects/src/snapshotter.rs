//! Extensions of the kind `VolumeSnapshotter` as snapshotters of backups and restores: `docs/formats/providers.md`.

use async_trait::async_trait;
use salvor_api::meta::StringMap;
use salvor_extension::provider::snapshotter::{
    Snapshot, SnapshotRequest, SnapshotterClient, VolumeInfo, VolumeRequest,
};
use salvor_extension::{Code, Provider, ProviderError};
use salvor_volume::native::{MakeVolume, NativeError, Snapshotter, Take, Taken, VolumeKind};
use serde_json::Value;

/// A snapshotter that an extension serves.
#[derive(Clone, Debug)]
pub struct ExtensionSnapshotter(SnapshotterClient);

impl ExtensionSnapshotter {
    /// The snapshotter of a provider, which is told `config` besides what its definition says.
    #[must_use]
    pub fn new(provider: &Provider, config: &StringMap) -> Self {
        Self(SnapshotterClient::new(provider.with_config(config)))
    }
}

fn failed(doing: &'static str, what: &str) -> impl FnOnce(ProviderError) -> NativeError {
    let what = what.to_owned();
    move |error| match error.code() {
        Some(Code::NotFound) => NativeError::NotFound {
            what,
            source: Box::new(error),
        },
        _ => NativeError::Failed {
            doing: format!("{doing} {what}"),
            retryable: error.is_retryable(),
            source: Box::new(error),
        },
    }
}

fn taken(snapshot: Snapshot) -> Taken {
    Taken {
        id: snapshot.snapshot_id,
        ready: snapshot.ready,
        progress: String::new(),
        bytes: snapshot.bytes,
    }
}

#[async_trait]
impl Snapshotter for ExtensionSnapshotter {
    async fn volume_id(&self, volume: &Value) -> Result<Option<String>, NativeError> {
        let name = volume["metadata"]["name"].as_str().unwrap_or_default();
        let what = format!("persistent volume {name}");
        let asked = self.0.volume_id(volume).await;
        asked.map_err(failed("find the storage's name for", &what))
    }

    async fn kind(&self, volume: &str, zone: &str) -> Result<VolumeKind, NativeError> {
        let what = format!("volume {volume}");
        let info = self.0.volume_info(volume, zone).await;
        let info = info.map_err(failed("look at", &what))?;
        Ok(VolumeKind {
            volume_type: info.volume_type,
            iops: info.iops,
        })
    }

    async fn take(&self, ask: Take<'_>) -> Result<Taken, NativeError> {
        let what = format!("volume {}", ask.volume);
        let request = SnapshotRequest {
            volume_id: ask.volume,
            zone: ask.zone,
            tags: ask.tags,
            token: ask.token,
        };
        let made = self.0.create_snapshot(request).await;
        made.map(taken).map_err(failed("take a snapshot of", &what))
    }

    async fn look(&self, snapshot: &str) -> Result<Taken, NativeError> {
        let what = format!("snapshot {snapshot}");
        let found = self.0.snapshot(snapshot).await;
        found.map(taken).map_err(failed("look at", &what))
    }

    async fn make_volume(&self, ask: MakeVolume<'_>) -> Result<String, NativeError> {
        let what = format!("snapshot {}", ask.snapshot);
        let info = VolumeInfo {
            volume_type: ask.kind.volume_type.clone(),
            iops: ask.kind.iops,
        };
        let request = VolumeRequest {
            snapshot_id: ask.snapshot,
            zone: ask.zone,
            info: &info,
            token: ask.token,
        };
        let made = self.0.restore_volume(request).await;
        made.map_err(failed("make a volume of", &what))
    }

    async fn delete(&self, snapshot: &str) -> Result<(), NativeError> {
        let what = format!("snapshot {snapshot}");
        let deleted = self.0.delete_snapshot(snapshot).await;
        deleted.map_err(failed("delete", &what))
    }

    async fn set_volume_id(&self, volume: &Value, id: &str) -> Result<Value, NativeError> {
        let what = format!("volume {id}");
        let changed = self.0.set_volume_id(volume, id).await;
        changed.map_err(failed("name in its persistent volume", &what))
    }
}
