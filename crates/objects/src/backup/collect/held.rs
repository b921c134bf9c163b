//! Claims that wait for the name of their snapshot before they are written, and the objects of snapshots.
//!
//! Velero finds the snapshot of a claim by what is noted on the claim, which is known only when the snapshot is taken. We
//! do not need that to restore it, so what is beyond the room for waiting claims is written as it is.

use std::collections::BTreeMap;

use salvor_api::resource::{GroupResource, GroupVersion, ObjectKey};
use salvor_cluster::ApiResource;
use salvor_volume::csi::CsiTaken;
use serde_json::Value;

use super::{Collector, is_core};
use crate::backup::error::BackupError;
use crate::backup::item::Header;
use crate::backup::runlog::About;
use crate::backup::volumes::Keeps;

/// Bytes of claims that wait: some ten thousand.
const ROOM: usize = 32 << 20;
const GROUP: &str = "snapshot.storage.k8s.io";
/// Label of objects that runs make, see `salvor_volume::csi`.
const OURS: &str = "\"salvor.dev/snapshot-role\"";
/// How the names of snapshots begin that backups take.
const OF_BACKUPS: &str = "velero-";

/// The claims that wait.
#[derive(Debug, Default)]
pub(super) struct Held {
    claims: BTreeMap<ObjectKey, (String, Value)>,
    bytes: usize,
}

impl Collector {
    /// Keeps a claim back that may come to have a snapshot; false when it has to be written as it is.
    pub(super) fn hold(&self, key: &ObjectKey, resource: &ApiResource, body: &[u8]) -> bool {
        if self.keeps == Keeps::None || !is_core(key, "persistentvolumeclaims") {
            return false;
        }
        let Ok(claim) = serde_json::from_slice::<Value>(body) else {
            return false;
        };
        if self.keeps == Keeps::OfBlocks && claim["spec"]["volumeMode"] != "Block" {
            return false;
        }
        let has_volume = claim["spec"]["volumeName"].is_string();
        let mut state = self.lock();
        if !has_volume || !is_adjustable(&claim) || state.held.bytes + body.len() > ROOM {
            return false;
        }
        state.held.bytes += body.len();
        let waits = (resource.version.clone(), claim);
        state.held.claims.insert(key.clone(), waits);
        true
    }

    /// Takes the objects of a snapshot that stays, and notes on its claim which one it has.
    ///
    /// # Errors
    /// As [`Collector::take_page`].
    pub(crate) fn take_snapshot(&self, taken: &CsiTaken, backup: &str) -> Result<(), BackupError> {
        let claims = GroupResource::new("persistentvolumeclaims", "");
        let key = ObjectKey::namespaced(claims, &*taken.claim.namespace, &*taken.claim.name);
        if let Some((_, claim)) = self.lock().held.claims.get_mut(&key) {
            taken.adjust_claim(claim, backup);
        }
        let mut builder = self.builder();
        for object in &taken.objects {
            self.take_snapshot_object(object, &mut builder)?;
        }
        self.give_back(builder);
        Ok(())
    }

    fn take_snapshot_object(
        &self,
        object: &Value,
        builder: &mut super::SegmentBuilder,
    ) -> Result<(), BackupError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = match object["kind"].as_str() {
            Some("VolumeSnapshot") => "volumesnapshots",
            Some("VolumeSnapshotContent") => "volumesnapshotcontents",
            _ => "volumesnapshotclasses",
        };
        let resource = GroupResource::new(resource, GROUP);
        let name = text(&object["metadata"]["name"]);
        let key = match text(&object["metadata"]["namespace"]).as_str() {
            "" => ObjectKey::cluster(resource, name),
            namespace => ObjectKey::namespaced(resource, namespace, name),
        };
        let Some(line) = self.plan.find(&key.resource) else {
            // Its group could not be discovered, which is told as an error of the backup.
            return Ok(());
        };
        let version = GroupVersion::parse(&text(&object["apiVersion"])).version;
        let is_preferred = line.resource.version == version;
        if !self.lock().once.insert(&key, &version) {
            // A class that a list brought.
            return Ok(());
        }
        let body = object.to_string();
        if self.push(&key, &version, is_preferred, body.as_bytes(), builder)? && is_preferred {
            self.note(&key, &line.resource, body.as_bytes())?;
        }
        Ok(())
    }

    /// Writes the claims that waited.
    ///
    /// # Errors
    /// As [`Collector::take_page`].
    pub(crate) fn write_held(&self) -> Result<(), BackupError> {
        let held = std::mem::take(&mut self.lock().held);
        let mut builder = self.builder();
        for (key, (version, claim)) in held.claims {
            self.push(
                &key,
                &version,
                true,
                claim.to_string().as_bytes(),
                &mut builder,
            )?;
        }
        self.give_back(builder);
        Ok(())
    }

    /// True for the objects of a snapshot that this backup, or another one, is just taking: they are taken when it has
    /// come to be, and are nobody's else.
    pub(super) fn is_passing(&self, header: &Header<'_>, key: &ObjectKey, body: &[u8]) -> bool {
        if key.resource.group != GROUP {
            return false;
        }
        match key.resource.resource.as_str() {
            "volumesnapshots" => contains(body, OURS.as_bytes()),
            "volumesnapshotcontents" => {
                // A controller makes it, so our label comes to it only at the end.
                let content: Value = serde_json::from_slice(body).unwrap_or_default();
                let of = &content["spec"]["volumeSnapshotRef"]["name"];
                let of_backup = of.as_str().is_some_and(|name| name.starts_with(OF_BACKUPS));
                let made = &content["metadata"]["creationTimestamp"];
                let made: Option<jiff::Timestamp> = made.as_str().and_then(|at| at.parse().ok());
                let is_new = made.is_none_or(|made| made.as_second() >= self.mtime_unix);
                let passes = contains(body, OURS.as_bytes()) || (of_backup && is_new);
                if passes {
                    let name = header.name();
                    tracing::debug!(name, "content of a snapshot that is being taken");
                }
                passes
            }
            _ => false,
        }
    }

    pub(super) fn serves_snapshots(plan: &crate::backup::plan::Plan) -> bool {
        plan.find(&GroupResource::new("volumesnapshots", GROUP))
            .is_some()
    }

    /// Says that an object could not be written.
    pub(super) fn tell_bad(&self, key: &ObjectKey, error: &salvor_archive::ArchiveError) {
        let text = format!("it was not backed up: {error}");
        self.log.error(About::Object(key), &text);
    }
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// Item actions of users may have made anything of it.
fn is_adjustable(claim: &Value) -> bool {
    let is_map = |value: &Value| value.is_object() || value.is_null();
    let metadata = &claim["metadata"];
    let resources = &claim["spec"]["resources"];
    claim["spec"].is_object()
        && metadata.is_object()
        && is_map(&metadata["labels"])
        && is_map(&metadata["annotations"])
        && is_map(resources)
        && is_map(&resources["requests"])
}
