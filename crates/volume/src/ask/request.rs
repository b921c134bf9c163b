//! The object that asks for a movement.

use std::collections::BTreeMap;

use salvor_api::labels::{
    BACKUP_NAME, BACKUP_UID, POD_UID, PVC_UID, RESTORE_NAME, RESTORE_UID, label_value,
};
use salvor_api::meta::{ObjectMeta, ObjectReference, OwnerReference};
use salvor_api::velero::{Backup, Kind, PodVolumeBackup, PodVolumeRestore, Restore, UploaderType};
use serde_json::{Value, json};

use super::{AgentMover, Target, random};
use crate::objects::{
    DONE_MARKER, Direction, IN_PART, MADE_BY, MANAGED_BY, NODE, OF_SNAPSHOT, PART, RUN, SOURCE,
};
use crate::{BackUpVolume, Domain, FillVolume, OnBehalfOf, Part};

/// Annotation, as in Velero: name of the claim.
pub const PVC_NAME: &str = "velero.io/pvc-name";
/// Room for the end of a name behind what it is of.
const LONGEST_PREFIX: usize = 200;

/// An object that is to be made.
pub(super) struct Request {
    pub(super) direction: Direction,
    pub(super) name: String,
    pub(super) body: Value,
    /// Of its claim, whose other movements must not be under way.
    pub(super) claim_uid: String,
}

impl Request {
    pub(super) fn backup(mover: &AgentMover, job: &BackUpVolume, target: &Target) -> Self {
        let mut object = PodVolumeBackup::named(&mover.namespace, "");
        object.metadata = metadata(mover, &job.of, target, Direction::Backup);
        let source = source(job, target);
        object
            .metadata
            .annotations
            .insert(SOURCE.to_owned(), source);
        if job.data_of.is_some() {
            let annotations = &mut object.metadata.annotations;
            annotations.insert(OF_SNAPSHOT.to_owned(), "true".to_owned());
        }
        // Of a claim that is held more is known by now.
        let claim = job.data_of.as_ref().or(target.claim.as_ref());
        if let Some(claim) = claim {
            object
                .metadata
                .labels
                .insert(PVC_UID.to_owned(), claim.uid.clone());
            object
                .metadata
                .annotations
                .insert(PVC_NAME.to_owned(), claim.name.clone());
        }
        let mut tags: BTreeMap<String, String> = [
            ("backup", job.of.name.as_str()),
            (
                "backup-uid",
                if job.of.uid.is_empty() {
                    &job.of.run
                } else {
                    &job.of.uid
                },
            ),
            ("ns", job.source_namespace()),
            ("pod", &target.pod),
            ("pod-uid", &target.uid),
            ("pvc-uid", claim.map_or("", |claim| &claim.uid)),
            ("run", &job.of.run),
            ("volume", claim.map_or(&target.volume, |claim| &claim.name)),
        ]
        .into_iter()
        // restic separates tags by commas.
        .map(|(key, value)| (key.to_owned(), value.replace(',', "_")))
        .collect();
        tags.retain(|_, value| !value.is_empty());
        object.spec.node.clone_from(&target.node);
        object.spec.pod = reference(target);
        object.spec.volume.clone_from(&target.volume);
        object
            .spec
            .backup_storage_location
            .clone_from(&job.of.location);
        object.spec.repo_identifier = Domain::of_namespace(job.source_namespace()).folder();
        object.spec.uploader_type = UploaderType::Restic;
        object.spec.tags = tags;
        Self {
            direction: Direction::Backup,
            name: object.metadata.name.clone(),
            body: json!(object),
            claim_uid: String::new(),
        }
    }

    pub(super) fn restore(mover: &AgentMover, job: &FillVolume, target: &Target) -> Self {
        let mut object = PodVolumeRestore::named(&mover.namespace, "");
        object.metadata = metadata(mover, &job.of, target, Direction::Restore);
        let annotations = &mut object.metadata.annotations;
        annotations.insert(NODE.to_owned(), target.node.clone());
        if let Some(marker) = &job.done_marker {
            annotations.insert(DONE_MARKER.to_owned(), marker.clone());
        }
        let is_part = job.part != Part::default();
        if is_part {
            annotations.insert(PART.to_owned(), json!(job.part).to_string());
        }
        let claim = target.claim.as_ref();
        if let Some(claim) = claim {
            annotations.insert(PVC_NAME.to_owned(), claim.name.clone());
        }
        let claim_uid = claim.map(|claim| claim.uid.clone()).unwrap_or_default();
        object.spec.pod = reference(target);
        object.spec.volume.clone_from(&target.volume);
        object
            .spec
            .backup_storage_location
            .clone_from(&job.of.location);
        object.spec.repo_identifier = job.domain.folder();
        object.spec.uploader_type = UploaderType::Restic;
        object.spec.snapshot_id.clone_from(&job.snapshot);
        if is_part {
            object.spec.snapshot_id.push_str(IN_PART);
        }
        object
            .spec
            .source_namespace
            .clone_from(&job.source_namespace);
        object.spec.snapshot_size = i64::try_from(job.bytes).unwrap_or(i64::MAX);
        Self {
            direction: Direction::Restore,
            name: object.metadata.name.clone(),
            body: json!(object),
            claim_uid,
        }
    }
}

/// What the snapshot says that it is of: the same for the same claim, whatever pod mounts it on whatever node.
fn source(job: &BackUpVolume, target: &Target) -> String {
    let namespace = job.source_namespace();
    match job.source_claim() {
        Some(claim) => format!("/{namespace}/claims/{}", claim.name),
        None => format!("/{namespace}/pods/{}/{}", target.pod, target.volume),
    }
}

fn reference(target: &Target) -> ObjectReference {
    ObjectReference {
        kind: "Pod".to_owned(),
        namespace: target.namespace.clone(),
        name: target.pod.clone(),
        uid: target.uid.clone(),
        ..ObjectReference::default()
    }
}

fn metadata(
    mover: &AgentMover,
    of: &OnBehalfOf,
    target: &Target,
    direction: Direction,
) -> ObjectMeta {
    let (name_label, uid_label, owner) = match direction {
        Direction::Backup => (BACKUP_NAME, BACKUP_UID, Backup::KIND),
        Direction::Restore => (RESTORE_NAME, RESTORE_UID, Restore::KIND),
    };
    let mut labels: BTreeMap<String, String> = [
        (MANAGED_BY.0, MANAGED_BY.1.to_owned()),
        (name_label, label_value(&of.name)),
        (uid_label, of.uid.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if direction == Direction::Restore {
        labels.insert(POD_UID.to_owned(), target.uid.clone());
        let uid = target.claim.as_ref().map(|claim| claim.uid.clone());
        labels.insert(PVC_UID.to_owned(), uid.unwrap_or_default());
    }
    labels.retain(|_, value| !value.is_empty());
    let annotations = [
        (RUN, of.run.clone()),
        (MADE_BY, mover.made_by.word().to_owned()),
    ];
    let prefix: String = of.name.chars().take(LONGEST_PREFIX).collect();
    let owner = OwnerReference {
        api_version: Backup::API_VERSION.to_owned(),
        kind: owner.to_owned(),
        name: of.name.clone(),
        uid: of.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ObjectMeta {
        // Ours and not the server's to choose: an answer that is lost must not make a second one.
        name: format!("{prefix}-{}", random()),
        generate_name: format!("{prefix}-"),
        namespace: mover.namespace.clone(),
        labels,
        annotations: annotations
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        owner_references: if of.uid.is_empty() {
            Vec::new()
        } else {
            vec![owner]
        },
        ..ObjectMeta::default()
    }
}
