//! One snapshot of several claims at the same moment: those that share a value of a label.
//!
//! The driver takes them together; afterwards each has its own VolumeSnapshot like any other, and the objects of the group
//! go.

use std::time::Duration;

use salvor_api::labels;
use salvor_api::meta::StringMap;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::api::{Groups, Judged, Limit, Snapshots, not_yet, text};
use super::class::{ClassWishes, GROUP_KEY, SnapshotClass, choose_class};
use super::error::CsiError;
use super::mark::{Role, generated, is_ours, mark, metadata};
use super::remove::Storage;
use super::take::{CsiTaken, Source};
use crate::OnBehalfOf;

/// Claims of one namespace that are to be snapshotted together.
#[derive(Clone, Debug, Default)]
pub struct TakeGroup {
    /// The backup.
    pub of: OnBehalfOf,
    /// Annotations of the Backup.
    pub annotations: StringMap,
    /// Key of the label that they share: Velero's `volumeGroupSnapshotLabelKey`; empty for [`labels::VOLUME_GROUP`].
    pub label: String,
    /// Each claim with its persistent volume.
    pub claims: Vec<(Value, Value)>,
    /// How long the storage may take until the snapshots have handles.
    pub timeout: Duration,
}

/// The group that a claim belongs to by its label.
#[must_use]
pub fn volume_group<'a>(claim: &'a Value, label: &str) -> Option<&'a str> {
    let label = if label.is_empty() {
        labels::VOLUME_GROUP
    } else {
        label
    };
    let value = claim["metadata"]["labels"][label].as_str();
    value.filter(|value| !value.is_empty())
}

impl Snapshots {
    /// Takes snapshots of all claims of a group at one moment, in the order of the claims. They stay until each is
    /// released; when this fails, none do.
    ///
    /// # Errors
    /// As [`Snapshots::take`]; claims of several namespaces, drivers or groups; a cluster without group snapshots.
    pub async fn take_group(
        &self,
        ask: &TakeGroup,
        cancel: &CancellationToken,
    ) -> Result<Vec<CsiTaken>, CsiError> {
        let members = Members::of(ask)?;
        let Some(groups) = &self.groups else {
            return Err(members.unfit("the cluster serves no VolumeGroupSnapshots".to_owned()));
        };
        let limit = Limit::new(ask.timeout, cancel);
        let group = self.create_group(groups, ask, &members).await?;
        match self
            .group_taken(groups, ask, &members, &group, &limit)
            .await
        {
            Ok(taken) => Ok(taken),
            Err(error) => {
                self.discard_group(&group).await;
                Err(error)
            }
        }
    }

    async fn create_group(
        &self,
        groups: &Groups,
        ask: &TakeGroup,
        members: &Members,
    ) -> Result<Value, CsiError> {
        let classes = self.list(&groups.classes, None, None).await?;
        let known: Vec<SnapshotClass> = classes
            .iter()
            .map(|class| SnapshotClass::keyed(class, GROUP_KEY))
            .collect();
        let wishes = ClassWishes::keyed(
            GROUP_KEY,
            &ask.claims[0].0,
            None,
            None,
            &ask.annotations,
            &members.driver,
        );
        let class = choose_class(&members.driver, &known, &wishes);
        let class = class.map_err(|source| CsiError::Class {
            claim: members.describe(),
            source,
        })?;
        let prefix = format!("velero-{}-", members.value);
        let seed = [ask.of.run.as_str(), &members.namespace, &members.value];
        let name = generated(&prefix, &seed);
        let metadata = metadata(Role::Backup, &ask.of, Some(&members.namespace), &name);
        let object = json!({"apiVersion": groups.snapshots.api_version(), "kind": "VolumeGroupSnapshot",
            "metadata": metadata,
            "spec": {"volumeGroupSnapshotClassName": class.name,
                "source": {"selector": {"matchLabels": {&members.label: members.value}}}}});
        let ours = |there: &Value| is_ours(there, Role::Backup, &ask.of);
        self.ensure(&groups.snapshots, &object, ours).await
    }

    async fn group_taken(
        &self,
        groups: &Groups,
        ask: &TakeGroup,
        members: &Members,
        group: &Value,
        limit: &Limit,
    ) -> Result<Vec<CsiTaken>, CsiError> {
        let (name, namespace) = (text(group, "/metadata/name"), Some(&*members.namespace));
        let done = |object: Option<&Value>| match object {
            None => Judged::Failed("somebody deleted it".to_owned()),
            Some(object) if object["status"]["readyToUse"] == true => Judged::Done,
            Some(object) => not_yet(object, "the driver has not made the group"),
        };
        let ready = self
            .wait(&groups.snapshots, namespace, name, limit, done)
            .await?;
        let content = text(&ready, "/status/boundVolumeGroupSnapshotContentName");
        let content = self.read(&groups.contents, None, content).await?;
        let content = content.ok_or_else(|| CsiError::Refused {
            what: members.describe(),
            message: "its content is gone".to_owned(),
        })?;
        let handle = text(&content, "/status/volumeGroupSnapshotHandle").to_owned();
        let mut snapshots = self.members_of(group).await?;
        let mut of_claims = Vec::new();
        for source in &members.sources {
            let of = |one: &Value| {
                text(one, "/spec/source/persistentVolumeClaimName") == source.claim.name
            };
            let Some(at) = snapshots.iter().position(of) else {
                let reason = format!("claim {} has no snapshot in it", source.claim.name);
                return Err(members.unfit(reason));
            };
            of_claims.push(
                self.detached(ask, source, &snapshots.swap_remove(at))
                    .await?,
            );
        }
        // Claims with that label that the backup does not have.
        for snapshot in &snapshots {
            self.remove_member(snapshot, Storage::Deleted).await?;
        }
        self.remove_group(groups, &ready, &content, Storage::Kept)
            .await?;
        let mut taken = Vec::new();
        for (source, snapshot) in members.sources.iter().zip(&of_claims) {
            let one = self.captured(snapshot, source, limit).await?;
            taken.push(CsiTaken {
                group_handle: handle.clone(),
                ..one
            });
        }
        Ok(taken)
    }

    /// The VolumeSnapshots that a group owns.
    async fn members_of(&self, group: &Value) -> Result<Vec<Value>, CsiError> {
        let uid = &group["metadata"]["uid"];
        let name = &group["metadata"]["name"];
        let namespace = text(group, "/metadata/namespace");
        let all = self.list(&self.snapshots, Some(namespace), None).await?;
        let owned = |snapshot: &Value| {
            let owners = snapshot["metadata"]["ownerReferences"].as_array();
            let by_group = owners.is_some_and(|owners| owners.iter().any(|one| one["uid"] == *uid));
            by_group || snapshot["status"]["volumeGroupSnapshotName"] == *name
        };
        Ok(all.into_iter().filter(owned).collect())
    }

    /// Takes a snapshot out of its group, so that it stays when that goes, and marks it as ours.
    async fn detached(
        &self,
        ask: &TakeGroup,
        source: &Source,
        snapshot: &Value,
    ) -> Result<Value, CsiError> {
        let (mut labels, mut annotations) = (source.labels.clone(), Map::new());
        mark(Role::Backup, &ask.of, &mut labels, &mut annotations);
        let mut patch = without_group(snapshot);
        patch["metadata"]["labels"] = Value::Object(labels);
        patch["metadata"]["annotations"] = Value::Object(annotations);
        let name = text(snapshot, "/metadata/name");
        let namespace = Some(&*source.claim.namespace);
        let patched = self.merge(&self.snapshots, namespace, name, &patch).await?;
        patched.ok_or_else(|| CsiError::Refused {
            what: super::api::describe(&self.snapshots, namespace, name),
            message: "somebody deleted it".to_owned(),
        })
    }

    async fn remove_member(&self, snapshot: &Value, storage: Storage) -> Result<(), CsiError> {
        let name = text(snapshot, "/metadata/name");
        let namespace = text(snapshot, "/metadata/namespace");
        let patch = without_group(snapshot);
        self.merge(&self.snapshots, Some(namespace), name, &patch)
            .await?;
        self.remove_pair(namespace, name, storage).await
    }

    async fn remove_group(
        &self,
        groups: &Groups,
        group: &Value,
        content: &Value,
        storage: Storage,
    ) -> Result<(), CsiError> {
        let policy = match storage {
            Storage::Kept => "Retain",
            Storage::Deleted => "Delete",
        };
        if content["spec"]["deletionPolicy"] != policy {
            let name = text(content, "/metadata/name");
            let patch = json!({"spec": {"deletionPolicy": policy}});
            self.merge(&groups.contents, None, name, &patch).await?;
        }
        self.remove(&groups.snapshots, group).await?;
        self.gone(&groups.snapshots, group).await?;
        self.remove(&groups.contents, content).await?;
        self.gone(&groups.contents, content).await
    }

    /// Removes a group with everything that the storage has of it.
    pub(super) async fn discard_group(&self, group: &Value) {
        let removed = async {
            let Some(groups) = &self.groups else {
                return Ok(());
            };
            let (name, namespace) = (
                text(group, "/metadata/name"),
                text(group, "/metadata/namespace"),
            );
            for snapshot in self.members_of(group).await? {
                self.remove_member(&snapshot, Storage::Deleted).await?;
            }
            let now = self.read(&groups.snapshots, Some(namespace), name).await?;
            let Some(now) = now else { return Ok(()) };
            match text(&now, "/status/boundVolumeGroupSnapshotContentName") {
                "" => {
                    self.remove(&groups.snapshots, &now).await?;
                    self.gone(&groups.snapshots, &now).await
                }
                content => match self.read(&groups.contents, None, content).await? {
                    Some(content) => {
                        self.remove_group(groups, &now, &content, Storage::Deleted)
                            .await
                    }
                    None => self.remove(&groups.snapshots, &now).await,
                },
            }
        };
        if let Err(error) = removed.await {
            let error: &dyn std::error::Error = &error;
            let group = text(group, "/metadata/name");
            tracing::warn!(error, group, "a group of snapshots is left behind");
        }
    }
}

/// A patch that takes a snapshot out of its group.
fn without_group(snapshot: &Value) -> Value {
    let is_group = |finalizer: &Value| finalizer.as_str().is_some_and(|f| f.contains("group"));
    let finalizers = snapshot["metadata"]["finalizers"].as_array();
    let kept: Vec<&Value> = finalizers
        .into_iter()
        .flatten()
        .filter(|finalizer| !is_group(finalizer))
        .collect();
    json!({"metadata": {"ownerReferences": null, "finalizers": kept}})
}

/// What a group is made of, checked.
struct Members {
    namespace: String,
    driver: String,
    label: String,
    value: String,
    sources: Vec<Source>,
}

impl Members {
    fn of(ask: &TakeGroup) -> Result<Self, CsiError> {
        let label = match ask.label.as_str() {
            "" => labels::VOLUME_GROUP,
            label => label,
        };
        let mut members = Self {
            namespace: String::new(),
            driver: String::new(),
            label: label.to_owned(),
            value: String::new(),
            sources: Vec::new(),
        };
        for (claim, volume) in &ask.claims {
            let source = Source::of(claim, volume)?;
            let value = volume_group(claim, label).unwrap_or_default();
            if members.sources.is_empty() {
                members.namespace.clone_from(&source.claim.namespace);
                members.driver.clone_from(&source.driver);
                members.value = value.to_owned();
            }
            let same = members.namespace == source.claim.namespace
                && members.driver == source.driver
                && members.value == value;
            if !same || value.is_empty() {
                let reason = format!(
                    "claim {}/{} is not of the same namespace, driver and value of label {label}",
                    source.claim.namespace, source.claim.name
                );
                return Err(members.unfit(reason));
            }
            members.sources.push(source);
        }
        match members.sources.is_empty() {
            true => Err(members.unfit("it has no claims".to_owned())),
            false => Ok(members),
        }
    }

    fn describe(&self) -> String {
        format!("volume group {}/{}", self.namespace, self.value)
    }

    fn unfit(&self, reason: String) -> CsiError {
        CsiError::Unfit {
            what: self.describe(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_of_one_namespace_driver_and_value() {
        let claim = |namespace: &str, value: &str| {
            json!({"metadata": {"namespace": namespace, "name": "data", "uid": "u",
                "labels": {labels::VOLUME_GROUP: value}}, "spec": {"volumeName": "pv"}})
        };
        let volume = |driver: &str| json!({"spec": {"csi": {"driver": driver}}});
        let of = |claims: Vec<(Value, Value)>| {
            let ask = TakeGroup {
                claims,
                ..TakeGroup::default()
            };
            Members::of(&ask).map(|members| members.describe())
        };
        let first = (claim("shop", "db"), volume("d"));
        let good = of(vec![first.clone(), (claim("shop", "db"), volume("d"))]);
        assert_eq!(good.expect("a group"), "volume group shop/db");
        for second in [
            (claim("shop", "web"), volume("d")),
            (claim("other", "db"), volume("d")),
            (claim("shop", "db"), volume("e")),
        ] {
            assert!(of(vec![first.clone(), second]).is_err());
        }
        assert!(of(vec![(claim("shop", ""), volume("d"))]).is_err());
        assert!(of(Vec::new()).is_err());
    }

    #[test]
    fn only_the_finalizers_of_the_group_are_dropped() {
        let snapshot = json!({"metadata": {"finalizers": ["snapshot.storage.kubernetes.io/volumesnapshot-bound-protection",
            "groupsnapshot.storage.kubernetes.io/volumesnapshot-in-group-protection"]}});
        let kept = &without_group(&snapshot)["metadata"]["finalizers"];
        assert_eq!(kept.as_array().map(Vec::len), Some(1));
        assert!(
            kept[0]
                .as_str()
                .is_some_and(|f| f.contains("bound-protection"))
        );
    }
}
