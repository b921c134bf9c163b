//! The objects that say what is to be moved: PodVolumeBackups and PodVolumeRestores, as one kind of thing.

use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_api::meta::OwnerReference;
use salvor_api::velero::{DataPhase, DataProgress, Kind, PodVolumeBackup, PodVolumeRestore};
use salvor_cluster::{ApiResource, Cluster, WriteOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Domain, Moving, Part};

/// Annotation of a PodVolumeBackup or PodVolumeRestore: what came of it, as [`Outcome`], since its status has no field
/// for it.
pub const RESULT: &str = "salvor.dev/result";
/// Annotation of a PodVolumeBackup: what the snapshot says that it is of, which is how its parent is found.
pub(crate) const SOURCE: &str = "salvor.dev/source";
/// Annotation of a PodVolumeBackup: `true` when what is copied is the snapshot of a volume and not the volume.
pub(crate) const OF_SNAPSHOT: &str = "salvor.dev/of-snapshot";
/// Annotation of a PodVolumeRestore: the node that the volume is on.
pub(crate) const NODE: &str = "salvor.dev/node";
/// Annotation of a PodVolumeRestore: a file in the volume that is made when the data is there.
pub(crate) const DONE_MARKER: &str = "salvor.dev/done-marker";
/// Annotation of a PodVolumeRestore: which part of the snapshot is restored, as [`Part`].
pub(crate) const PART: &str = "salvor.dev/part";
/// Behind the snapshot of a PodVolumeRestore with [`PART`], as restic writes a part: a mover that does not know of parts finds
/// no such snapshot, instead of restoring all of it.
pub(crate) const IN_PART: &str = ":/";
/// Annotation of a PodVolumeRestore that failed: `true` when nothing was written into the volume.
pub(crate) const UNTOUCHED: &str = "salvor.dev/untouched";
/// Label of what Salvor makes, as is the custom.
pub(crate) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "salvor");
/// Annotation: the run that wants it.
pub(crate) const RUN: &str = "salvor.dev/run-id";
/// Annotation: who made it, `server` or `command`: what a server made and did not finish is swept by the next one.
pub(crate) const MADE_BY: &str = "salvor.dev/made-by";

/// What a mover did, beside what the status of its object says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outcome {
    /// Domain of the repository.
    pub domain: String,
    /// The snapshot.
    pub snapshot: String,
    /// Bytes of the volume, or bytes written.
    pub bytes: u64,
    /// Bytes that the repository did not have.
    pub new_bytes: u64,
    /// Files and other entries.
    pub entries: u64,
    /// Entries that could not be read, or are not as they were.
    pub failed: u64,
    /// Of a restore: those of them whose content is missing, as it was before, or mixed.
    pub missing: u64,
    /// Some of those, and why.
    pub problems: Vec<String>,
    /// Sockets of the volume, which no restore can make.
    pub sockets: u64,
    /// The first of them, by their paths.
    pub some_sockets: Vec<String>,
}

impl Outcome {
    /// What the copy leaves out by its nature; `None` for nothing.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        left_out(self.sockets, &self.some_sockets)
    }
}

/// `2 sockets are left out, as only who listens can make them: run/a.sock, run/b.sock`.
pub(crate) fn left_out(sockets: u64, some: &[String]) -> Option<String> {
    let count = match sockets {
        0 => return None,
        1 => "1 socket is".to_owned(),
        several => format!("{several} sockets are"),
    };
    let more = if sockets > some.len() as u64 {
        ", ..."
    } else {
        ""
    };
    let why = "left out, as only who listens there can make one";
    Some(format!("{count} {why}: {}{more}", some.join(", ")))
}

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From a volume into a repository: a PodVolumeBackup.
    Backup,
    /// From a repository into a volume: a PodVolumeRestore.
    Restore,
}

impl Direction {
    /// The kind of its objects.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Backup => resource_of::<PodVolumeBackup>(),
            Self::Restore => resource_of::<PodVolumeRestore>(),
        }
    }

    /// The word for it, as the mover's command line has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
        }
    }
}

fn resource_of<K: Kind>() -> ApiResource {
    ApiResource::known(K::GROUP, K::VERSION, K::KIND, K::PLURAL, true)
}

pub(crate) fn core(kind: &str, plural: &str, namespaced: bool) -> ApiResource {
    ApiResource::known("", "v1", kind, plural, namespaced)
}

pub(crate) fn pods() -> ApiResource {
    core("Pod", "pods", true)
}

pub(crate) fn secrets() -> ApiResource {
    core("Secret", "secrets", true)
}

/// One PodVolumeBackup or PodVolumeRestore.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Movement {
    pub(crate) direction: Direction,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) created: Option<Timestamp>,
    pub(crate) annotations: Value,
    pub(crate) pod_namespace: String,
    pub(crate) pod: String,
    pub(crate) pod_uid: String,
    pub(crate) volume: String,
    /// Node of the volume; empty while it is not known.
    pub(crate) node: String,
    pub(crate) location: String,
    pub(crate) repository: String,
    /// The snapshot that is to be restored.
    pub(crate) snapshot: String,
    /// Bytes that are to be restored, as whoever asked knows them.
    pub(crate) expected: u64,
    pub(crate) moving: Moving,
    pub(crate) cancel: bool,
    pub(crate) phase: DataPhase,
    pub(crate) accepted: Option<Timestamp>,
    pub(crate) started: Option<Time>,
    pub(crate) completed: Option<Time>,
    pub(crate) message: String,
    /// Of the Backup or Restore; empty when it has none.
    pub(crate) owner_uid: String,
    pub(crate) tags: Vec<String>,
}

impl Movement {
    /// `None` when it is not of that kind; such an object is nobody's work.
    pub(crate) fn read(direction: Direction, object: &Value) -> Option<Self> {
        match direction {
            Direction::Backup => PodVolumeBackup::deserialize(object).ok().map(Self::backup),
            Direction::Restore => PodVolumeRestore::deserialize(object)
                .ok()
                .map(Self::restore),
        }
    }

    fn backup(object: PodVolumeBackup) -> Self {
        let PodVolumeBackup {
            metadata,
            spec,
            status,
            ..
        } = object;
        Self {
            direction: Direction::Backup,
            owner_uid: owner_of(&metadata.owner_references),
            started: status.start_timestamp,
            completed: status.completion_timestamp,
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            created: metadata.creation_timestamp.map(Time::timestamp),
            annotations: json!(metadata.annotations),
            pod_namespace: spec.pod.namespace,
            pod: spec.pod.name,
            pod_uid: spec.pod.uid,
            volume: spec.volume,
            node: spec.node,
            location: spec.backup_storage_location,
            repository: spec.repo_identifier,
            snapshot: String::new(),
            expected: 0,
            moving: moving(status.progress),
            cancel: spec.cancel,
            phase: status.phase,
            accepted: status.accepted_timestamp.map(Time::timestamp),
            message: status.message,
            tags: spec
                .tags
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
        }
    }

    fn restore(object: PodVolumeRestore) -> Self {
        let PodVolumeRestore {
            metadata,
            spec,
            status,
            ..
        } = object;
        Self {
            direction: Direction::Restore,
            owner_uid: owner_of(&metadata.owner_references),
            started: status.start_timestamp,
            completed: status.completion_timestamp,
            node: metadata
                .annotations
                .get(NODE)
                .cloned()
                .unwrap_or(status.node),
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            created: metadata.creation_timestamp.map(Time::timestamp),
            annotations: json!(metadata.annotations),
            pod_namespace: spec.pod.namespace,
            pod: spec.pod.name,
            pod_uid: spec.pod.uid,
            volume: spec.volume,
            location: spec.backup_storage_location,
            repository: spec.repo_identifier,
            snapshot: spec.snapshot_id,
            expected: u64::try_from(spec.snapshot_size).unwrap_or(0),
            moving: moving(status.progress),
            cancel: spec.cancel,
            phase: status.phase,
            accepted: status.accepted_timestamp.map(Time::timestamp),
            message: status.message,
            tags: Vec::new(),
        }
    }

    /// True when its repository is one of ours: Velero's are none of our agents' business.
    pub(crate) fn is_salvors(&self) -> bool {
        Domain::of_folder(&self.repository).is_some()
    }

    /// An annotation of it; empty when it has none.
    pub(crate) fn annotation(&self, name: &str) -> &str {
        self.annotations[name].as_str().unwrap_or_default()
    }

    /// Which part of the snapshot is to be restored, and the snapshot; `None` when the two say different things.
    pub(crate) fn part(&self) -> Option<(Part, &str)> {
        match self.snapshot.strip_suffix(IN_PART) {
            Some(snapshot) => {
                let part = serde_json::from_str(self.annotation(PART)).ok()?;
                Some((part, snapshot))
            }
            None if self.annotation(PART).is_empty() => {
                Some((Part::default(), self.snapshot.as_str()))
            }
            None => None,
        }
    }

    /// Whether its mover may have written into the volume.
    pub(crate) fn has_begun(&self) -> bool {
        self.started.is_some() && self.annotation(UNTOUCHED) != "true"
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        serde_json::from_str(self.annotation(RESULT)).ok()
    }

    pub(crate) fn owner(&self) -> Value {
        let resource = self.direction.resource();
        json!([{"apiVersion": resource.api_version(), "kind": resource.kind, "name": self.name,
            "uid": self.uid, "controller": true}])
    }

    /// Writes into its status, if it is as it was read; the object as it is now.
    ///
    /// # Errors
    /// A conflict when it changed meanwhile, and every refusal.
    pub(crate) async fn set_status(
        &self,
        cluster: &Cluster,
        namespace: &str,
        status: Value,
    ) -> Result<Option<Self>, salvor_cluster::Error> {
        let mut patch = json!({"status": status});
        patch["metadata"]["resourceVersion"] = json!(self.resource_version);
        self.patch(cluster, namespace, &patch).await
    }

    /// A merge patch as it stands.
    pub(crate) async fn patch(
        &self,
        cluster: &Cluster,
        namespace: &str,
        patch: &Value,
    ) -> Result<Option<Self>, salvor_cluster::Error> {
        let resource = self.direction.resource();
        let body = patch.to_string();
        let options = WriteOptions::default();
        let stored = cluster
            .merge_patch(
                &resource,
                Some(namespace),
                &self.name,
                None,
                body.as_bytes(),
                &options,
            )
            .await?;
        Ok(Self::parse(self.direction, &stored))
    }

    pub(crate) fn parse(direction: Direction, bytes: &[u8]) -> Option<Self> {
        let object: Value = serde_json::from_slice(bytes).ok()?;
        Self::read(direction, &object)
    }

    /// Reads it again; `None` when it is gone.
    pub(crate) async fn get(
        cluster: &Cluster,
        namespace: &str,
        direction: Direction,
        name: &str,
    ) -> Result<Option<Self>, salvor_cluster::Error> {
        let found = cluster
            .get(&direction.resource(), Some(namespace), name)
            .await?;
        Ok(found.and_then(|bytes| Self::parse(direction, &bytes)))
    }
}

fn moving(progress: DataProgress) -> Moving {
    let count = |bytes| u64::try_from(bytes).unwrap_or(0);
    Moving {
        bytes: count(progress.bytes_done),
        total: count(progress.total_bytes),
    }
}

fn owner_of(owners: &[OwnerReference]) -> String {
    owners
        .first()
        .map(|owner| owner.uid.clone())
        .unwrap_or_default()
}

/// The time as Go writes it.
pub(crate) fn now() -> String {
    Time::new(Timestamp::now()).to_string()
}
