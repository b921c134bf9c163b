//! Volumes in scope. Their data is not captured: each is recorded as skipped, with the reason, and one whose
//! data was asked for is an error.

use std::collections::BTreeMap;

use salvor_api::resource::ObjectKey;
use salvor_api::resource_policy::ResourcePolicies;
use salvor_api::velero::BackupSpec;
use salvor_archive::files::{BackupVolumeInfo, PvInfo};

use super::references::{Claim, Pod, Volume};
use super::volume_policy::{Decision, Judge};

/// What the backup says about volume data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It asks for it, by this field.
    Asked(&'static str),
    /// It leaves it open.
    #[default]
    Open,
    /// It does not want it.
    Declined,
}

impl Wish {
    pub(crate) fn of(spec: &BackupSpec) -> Self {
        let files = spec
            .default_volumes_to_fs_backup
            .or(spec.default_volumes_to_restic);
        if spec.snapshot_move_data == Some(true) {
            Self::Asked("snapshotMoveData")
        } else if files == Some(true) {
            Self::Asked("defaultVolumesToFsBackup")
        } else if spec.snapshot_volumes == Some(true) {
            Self::Asked("snapshotVolumes")
        } else if spec.snapshot_volumes == Some(false) {
            Self::Declined
        } else {
            Self::Open
        }
    }
}

const NOT_CAPTURED: &str = "volume data is not captured by this version, only the objects";

/// How bad a message on a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Warning,
    Error,
}

/// A message on a volume: in which namespace it belongs, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeMessage {
    pub(crate) weight: Weight,
    pub(crate) namespace: Option<String>,
    pub(crate) text: String,
}

/// The volumes that the collected claims, volumes and pods tell of.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    wish: Wish,
    judge: Judge,
    by_files: bool,
    by_volume: BTreeMap<String, BackupVolumeInfo>,
    /// Claims whose data a pod's annotation asks for.
    opted_in: BTreeMap<(String, String), String>,
    messages: Vec<VolumeMessage>,
}

impl Volumes {
    pub(crate) fn new(spec: &BackupSpec, policies: ResourcePolicies) -> Self {
        Self {
            judge: Judge::new(policies),
            wish: Wish::of(spec),
            by_files: spec
                .default_volumes_to_fs_backup
                .or(spec.default_volumes_to_restic)
                .unwrap_or(false),
            by_volume: BTreeMap::new(),
            opted_in: BTreeMap::new(),
            messages: Vec::new(),
        }
    }

    /// Notes a collected claim.
    pub(crate) fn claim(&mut self, key: &ObjectKey, claim: &Claim, body: &[u8]) {
        self.judge.claim(key, body);
        let Some(volume) = claim.volume() else { return };
        let info = self.by_volume.entry(volume.to_owned()).or_default();
        info.pv_name = volume.to_owned();
        info.pvc_name.clone_from(&key.name);
        info.pvc_namespace = key.namespace.clone().unwrap_or_default();
    }

    /// Notes a collected volume.
    pub(crate) fn volume(&mut self, key: &ObjectKey, volume: &Volume, body: &[u8]) {
        self.judge.volume(&key.name, body);
        let info = self.by_volume.entry(key.name.clone()).or_default();
        info.pv_name.clone_from(&key.name);
        if let Some(claim) = &volume.spec.claim_ref
            && info.pvc_name.is_empty()
        {
            info.pvc_name.clone_from(&claim.name);
            info.pvc_namespace.clone_from(&claim.namespace);
        }
        info.pv_info = Some(PvInfo {
            reclaim_policy: volume
                .spec
                .persistent_volume_reclaim_policy
                .clone()
                .unwrap_or_default(),
            labels: volume.metadata.labels.clone().unwrap_or_default(),
        });
    }

    /// Notes a collected pod: volumes that its annotation names, volumes without a claim that would be
    /// copied file by file.
    pub(crate) fn pod(&mut self, pod: &Pod, body: &[u8]) {
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        let message = |weight, text| VolumeMessage {
            weight,
            namespace: Some(namespace.clone()),
            text,
        };
        let list = |key: &str| -> Vec<&str> {
            let text = pod.annotation(key).unwrap_or_default();
            text.split(',')
                .map(str::trim)
                .filter(|v| !v.is_empty())
                .collect()
        };
        let opted_in = list("backup.velero.io/backup-volumes");
        let opted_out = list("backup.velero.io/backup-volumes-excludes");
        for volume in pod.volumes().iter().filter(|v| v.is_copied_by_files()) {
            let by_policy = match &volume.persistent_volume_claim {
                // What becomes of a claim's volume is decided at the end, when both are known.
                Some(_) => None,
                None => self.judge.of_pod_volume(body, &volume.name),
            };
            let asked_by = match by_policy {
                Some(Decision::Asked(by)) => Some(by),
                Some(_) => continue,
                None => None,
            };
            let named = opted_in.contains(&&*volume.name);
            let by_default = self.by_files && !opted_out.contains(&&*volume.name);
            match &volume.persistent_volume_claim {
                Some(claim) if named => {
                    self.opted_in.insert(
                        (namespace.clone(), claim.claim_name.clone()),
                        format!("an annotation of pod {namespace}/{name}"),
                    );
                }
                None if named || by_default || asked_by.is_some() => {
                    let why = match &asked_by {
                        Some(by) => by.as_str(),
                        None if named => "its annotation",
                        None => "defaultVolumesToFsBackup",
                    };
                    self.messages.push(message(
                        Weight::Error,
                        format!(
                            "pod {namespace}/{name}: volume `{}` was not backed up although {why} asks \
                             for it: {NOT_CAPTURED}",
                            volume.name
                        ),
                    ));
                }
                _ => {}
            }
        }
    }

    /// The file of volumes, and what has to be said about them.
    pub(crate) fn finish(self) -> (Vec<BackupVolumeInfo>, Vec<VolumeMessage>) {
        let mut messages = self.messages;
        let mut infos = Vec::with_capacity(self.by_volume.len());
        for mut info in self.by_volume.into_values() {
            let claim = (info.pvc_namespace.clone(), info.pvc_name.clone());
            let decision = self.judge.of_volume(&info.pv_name, &claim);
            let asked_by = self.opted_in.get(&claim).cloned().or(match self.wish {
                Wish::Asked(field) => Some(field.to_owned()),
                Wish::Open | Wish::Declined => None,
            });
            let asked_by = match &decision {
                Some(Decision::Asked(by)) => Some(by.clone()),
                Some(_) => None,
                None => asked_by,
            };
            let what = match info.pvc_name.is_empty() {
                true => format!("volume {}", info.pv_name),
                false => format!("volume {} of claim {}/{}", info.pv_name, claim.0, claim.1),
            };
            info.skipped = true;
            info.skipped_reason = NOT_CAPTURED.to_owned();
            let said = match (asked_by, decision) {
                (_, Some(Decision::Skip(reason))) => {
                    info.skipped_reason = reason;
                    None
                }
                (_, Some(Decision::Elsewhere(reason))) => {
                    let text = format!("{what}: its data was not backed up: {reason}");
                    info.skipped_reason = reason;
                    Some((Weight::Warning, text))
                }
                (Some(by), _) => {
                    info.skipped_reason = format!("{by} asks for it, but {NOT_CAPTURED}");
                    Some((
                        Weight::Error,
                        format!(
                            "{what}: its data was not backed up although {by} asks for it: {NOT_CAPTURED}"
                        ),
                    ))
                }
                (None, _) if self.wish == Wish::Declined => {
                    info.skipped_reason = "snapshotVolumes is false".to_owned();
                    None
                }
                (None, _) => Some((
                    Weight::Warning,
                    format!("{what}: its data was not backed up: {NOT_CAPTURED}"),
                )),
            };
            if let Some((weight, text)) = said {
                let namespace = Some(claim.0).filter(|n| !n.is_empty());
                messages.push(VolumeMessage {
                    weight,
                    namespace,
                    text,
                });
            }
            infos.push(info);
        }
        (infos, messages)
    }
}

#[cfg(test)]
mod tests {
    use salvor_api::resource::GroupResource;

    use super::*;

    fn finish(spec: BackupSpec, pod: &str) -> (Vec<BackupVolumeInfo>, Vec<Weight>) {
        let mut volumes = Volumes::new(&spec, ResourcePolicies::default());
        let key = ObjectKey::namespaced(
            GroupResource::new("persistentvolumeclaims", ""),
            "a",
            "data",
        );
        let claim = br#"{"spec":{"volumeName":"pv-1"}}"#;
        volumes.claim(&key, &Claim::read(claim).expect("claim"), claim);
        let key = ObjectKey::cluster(GroupResource::new("persistentvolumes", ""), "pv-1");
        let volume = br#"{"metadata":{"labels":{"x":"y"}},"spec":{"persistentVolumeReclaimPolicy":"Retain","claimRef":{"namespace":"a","name":"data"}}}"#;
        volumes.volume(&key, &Volume::read(volume).expect("volume"), volume);
        volumes.pod(&Pod::read(pod.as_bytes()).expect("pod"), pod.as_bytes());
        let (infos, messages) = volumes.finish();
        (infos, messages.into_iter().map(|m| m.weight).collect())
    }

    #[test]
    fn data_that_was_asked_for_is_an_error_and_otherwise_a_warning() {
        let plain = r#"{"metadata":{"name":"p","namespace":"a"},"spec":{"volumes":[{"name":"d","persistentVolumeClaim":{"claimName":"data"}},{"name":"e","emptyDir":{}},{"name":"s","secret":{}}]}}"#;
        let opted = plain.replace(
            r#""name":"p","#,
            r#""name":"p","annotations":{"backup.velero.io/backup-volumes":"d, e,s"},"#,
        );
        let with = |change: fn(&mut BackupSpec)| {
            let mut spec = BackupSpec::default();
            change(&mut spec);
            spec
        };
        use Weight::{Error, Warning};
        for (spec, pod, expected) in [
            (with(|_| ()), plain, vec![Warning]),
            (
                with(|s| s.snapshot_volumes = Some(true)),
                plain,
                vec![Error],
            ),
            (with(|s| s.snapshot_volumes = Some(false)), plain, vec![]),
            (
                with(|s| s.snapshot_move_data = Some(true)),
                plain,
                vec![Error],
            ),
            (
                with(|s| s.default_volumes_to_fs_backup = Some(true)),
                plain,
                vec![Error, Error],
            ),
            (
                with(|s| s.default_volumes_to_restic = Some(true)),
                plain,
                vec![Error, Error],
            ),
            (
                with(|s| s.snapshot_volumes = Some(false)),
                opted.as_str(),
                vec![Error, Error],
            ),
        ] {
            let (infos, weights) = finish(spec.clone(), pod);
            assert_eq!(weights, expected, "{spec:?}");
            assert_eq!(infos.len(), 1);
            assert!(infos[0].skipped && !infos[0].skipped_reason.is_empty());
            assert_eq!(infos[0].pvc_name, "data");
            assert_eq!(
                infos[0].pv_info.as_ref().map(|i| &*i.reclaim_policy),
                Some("Retain")
            );
        }
    }
}
