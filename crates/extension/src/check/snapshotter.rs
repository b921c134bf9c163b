//! A volume snapshotter: `docs/formats/providers.md`, "Volume snapshotter".

use std::time::Duration;

use salvor_api::meta::StringMap;
use serde_json::Value;

use super::{Report, expect, expect_code};
use crate::error::{Code, ProviderError};
use crate::provider::snapshotter::{
    Snapshot, SnapshotRequest, SnapshotterClient, VolumeInfo, VolumeRequest,
};

/// Pause between looks at a snapshot that is not ready.
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is looked at: two minutes in all.
const LOOKS: u32 = 60;

/// Looks at every clause. Without a PersistentVolume of a volume that may be copied, most cannot be looked at. The
/// snapshot that is made is removed; the volume that is made of it is for whoever runs this to remove: the
/// answer is its id.
pub async fn check_volume_snapshotter(
    snapshotter: &SnapshotterClient,
    volume: Option<&Value>,
    zone: &str,
    token: &str,
    report: &mut Report,
) -> Option<String> {
    let foreign = serde_json::json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "foreign"}, "spec": {"nfs": {"server": "salvor-check", "path": "/"}}});
    let seen = snapshotter.volume_id(&foreign).await;
    report.note(
        "a volume of another kind is not its own",
        seen.map_err(chain)
            .and_then(|id| expect(id.is_none(), || format!("{id:?}"))),
    );
    let missing = "salvor-check-no-such-snapshot";
    let seen = snapshotter.snapshot(missing).await;
    report.note(
        "a snapshot that is not there is NotFound",
        expect_code(seen.map(drop), Code::NotFound),
    );
    let seen = snapshotter.delete_snapshot(missing).await;
    report.note(
        "deleting a snapshot that is not there succeeds",
        seen.map_err(chain),
    );
    let Some(volume) = volume else {
        report.skip(
            "snapshots are made, restored and deleted",
            "no PersistentVolume was given whose volume may be copied",
        );
        return None;
    };
    let suite = Suite {
        snapshotter,
        volume,
        zone,
        token,
    };
    let made = suite.makes().await;
    report.note(
        "a repeated question makes no second snapshot",
        made.as_ref().map(drop).map_err(Clone::clone),
    );
    let (info, snapshot) = made.ok()?;
    let restored = suite.restores(&info, &snapshot).await;
    report.note(
        "a volume is made of it, once for one token, and put behind the PersistentVolume",
        restored.as_ref().map(drop).map_err(Clone::clone),
    );
    report.note("a deleted snapshot is gone", suite.deletes(&snapshot).await);
    restored.ok()
}

fn chain(error: ProviderError) -> String {
    error.chain()
}

struct Suite<'a> {
    snapshotter: &'a SnapshotterClient,
    volume: &'a Value,
    zone: &'a str,
    token: &'a str,
}

impl Suite<'_> {
    async fn id(&self) -> Result<String, String> {
        let id = self.snapshotter.volume_id(self.volume).await;
        id.map_err(chain)?
            .ok_or_else(|| "the PersistentVolume is not one of its own".to_owned())
    }

    async fn makes(&self) -> Result<(VolumeInfo, Snapshot), String> {
        let id = self.id().await?;
        let info = self
            .snapshotter
            .volume_info(&id, self.zone)
            .await
            .map_err(chain)?;
        let tags = [("salvor.dev/check", self.token)];
        let tags: StringMap = tags
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let request = SnapshotRequest {
            volume_id: &id,
            zone: self.zone,
            tags: &tags,
            token: self.token,
        };
        let first = self
            .snapshotter
            .create_snapshot(request)
            .await
            .map_err(chain)?;
        let again = self
            .snapshotter
            .create_snapshot(request)
            .await
            .map_err(chain)?;
        let (a, b) = (&first.snapshot_id, &again.snapshot_id);
        expect(a == b, || format!("{a}, and then {b}"))?;
        Ok((info, self.ready(first).await?))
    }

    async fn ready(&self, mut snapshot: Snapshot) -> Result<Snapshot, String> {
        for _ in 0..LOOKS {
            if snapshot.ready {
                return Ok(snapshot);
            }
            tokio::time::sleep(PAUSE).await;
            snapshot = self
                .snapshotter
                .snapshot(&snapshot.snapshot_id)
                .await
                .map_err(chain)?;
        }
        Err(format!(
            "{} is not ready after two minutes",
            snapshot.snapshot_id
        ))
    }

    async fn restores(&self, info: &VolumeInfo, snapshot: &Snapshot) -> Result<String, String> {
        let request = VolumeRequest {
            snapshot_id: &snapshot.snapshot_id,
            zone: self.zone,
            info,
            token: self.token,
        };
        let first = self
            .snapshotter
            .restore_volume(request)
            .await
            .map_err(chain)?;
        let again = self
            .snapshotter
            .restore_volume(request)
            .await
            .map_err(chain)?;
        expect(first == again, || format!("{first}, and then {again}"))?;
        expect(first != self.id().await?, || {
            "the volume itself is answered".to_owned()
        })?;
        let changed = self
            .snapshotter
            .set_volume_id(self.volume, &first)
            .await
            .map_err(chain)?;
        let id = self.snapshotter.volume_id(&changed).await.map_err(chain)?;
        expect(id.as_ref() == Some(&first), || {
            format!("behind it is {id:?}")
        })?;
        Ok(first)
    }

    async fn deletes(&self, snapshot: &Snapshot) -> Result<(), String> {
        let id = &snapshot.snapshot_id;
        self.snapshotter.delete_snapshot(id).await.map_err(chain)?;
        self.snapshotter.delete_snapshot(id).await.map_err(chain)?;
        let seen = self.snapshotter.snapshot(id).await;
        expect_code(seen.map(drop), Code::NotFound)
    }
}
