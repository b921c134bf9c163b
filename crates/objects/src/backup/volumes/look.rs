//! What the cluster knows of volumes now, beside what the backup takes of it.

use std::collections::BTreeMap;

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_cluster::{ApiResource, ListOptions};

use super::super::error::BackupError;
use super::super::gather::{PAGE_ROOM, Run, acquire};
use super::super::references::{Claim, Pod};
use super::{Name, Place};
use crate::hooks;

/// A running pod and how it calls a volume of a claim.
#[derive(Clone, Debug)]
pub(super) struct RunningMount {
    pub(super) pod: Name,
    pub(super) uid: String,
    pub(super) node: String,
    pub(super) volume: String,
}

impl Run {
    /// Makes sure that what decides about a claim is known, also when the backup takes neither the claim nor its
    /// volume. A claim that does not exist, or whose files nobody asks for, stays unknown.
    ///
    /// # Errors
    /// The run was cancelled; inside, why the claim cannot be looked at.
    pub(super) async fn study(&self, place: &Place) -> Result<Result<(), String>, BackupError> {
        let Place::Claim(name) = place else {
            return Ok(Ok(()));
        };
        if !self.volumes(|volumes| volumes.is_worth_a_look(place)) {
            return Ok(Ok(()));
        }
        let known = self.volumes(|volumes| volumes.claims.contains_key(name));
        if !known {
            let resource = GroupResource::new("persistentvolumeclaims", "");
            let key = ObjectKey::namespaced(resource, &*name.0, &*name.1);
            let api = core("PersistentVolumeClaim", "persistentvolumeclaims", true);
            let body = match self.look_at(&api, &key).await? {
                Ok(Some(body)) => body,
                Ok(None) => return Ok(Ok(())),
                Err(reason) => return Ok(Err(reason)),
            };
            if let Some(claim) = Claim::read(&body) {
                self.volumes(|volumes| {
                    volumes.see_claim(&key, &claim, &body);
                });
            }
        }
        let volume = self.volumes(|volumes| {
            let note = volumes.claims.get(name)?;
            (!note.volume.is_empty() && !volumes.judge.knows(&note.volume))
                .then(|| note.volume.clone())
        });
        let Some(volume) = volume else {
            return Ok(Ok(()));
        };
        let key = ObjectKey::cluster(GroupResource::new("persistentvolumes", ""), &*volume);
        let api = core("PersistentVolume", "persistentvolumes", false);
        Ok(match self.look_at(&api, &key).await? {
            Ok(Some(body)) => {
                self.volumes(|volumes| volumes.judge.volume(&volume, &body));
                Ok(())
            }
            // The claim alone is judged then.
            Ok(None) => Ok(()),
            Err(reason) => Err(reason),
        })
    }

    pub(super) async fn look_at(
        &self,
        resource: &ApiResource,
        key: &ObjectKey,
    ) -> Result<Result<Option<bytes::Bytes>, String>, BackupError> {
        let namespace = key.namespace.as_deref();
        let get = self.cluster.get(resource, namespace, &key.name);
        let found = self.unless_cancelled(get).await?;
        Ok(found.map_err(|error| format!("{key} cannot be read: {error}")))
    }

    /// Where a pod runs now, if it is still the same.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(super) async fn runs_on(
        &self,
        pod: &Name,
        uid: &str,
    ) -> Result<Option<String>, BackupError> {
        let pods = hooks::Pod::resource();
        let get = self.cluster.get(&pods, Some(&pod.0), &pod.1);
        let Ok(Some(body)) = self.unless_cancelled(get).await? else {
            return Ok(None);
        };
        Ok(Pod::read(&body)
            .filter(|pod| pod.metadata.uid == uid && pod.phase() == "Running")
            .map(|pod| pod.spec.node_name.unwrap_or_default()))
    }

    /// The running pods of a namespace that mount claims, in the backup or not: the first of each claim.
    ///
    /// # Errors
    /// The run was cancelled; inside, why the pods cannot be listed.
    pub(super) async fn running_mounts(
        &self,
        namespace: &str,
    ) -> Result<Result<BTreeMap<Name, RunningMount>, String>, BackupError> {
        let resource = hooks::Pod::resource();
        let options = ListOptions {
            max_bytes: PAGE_ROOM,
            ..ListOptions::default()
        };
        let mut pager = self.cluster.pager(&resource, Some(namespace), options);
        let mut mounts = BTreeMap::new();
        loop {
            let permit = acquire(&self.budget, PAGE_ROOM).await;
            let page = match self.unless_cancelled(pager.next_page()).await? {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(Ok(mounts)),
                Err(error) => {
                    return Ok(Err(format!(
                        "the pods of its namespace cannot be listed: {error}"
                    )));
                }
            };
            let pods = page.items().filter_map(Pod::read);
            for pod in pods.filter(|pod| pod.phase() == "Running") {
                note(&mut mounts, namespace, &pod);
            }
            drop((page, permit));
        }
    }
}

fn note(mounts: &mut BTreeMap<Name, RunningMount>, namespace: &str, pod: &Pod) {
    for volume in pod.volumes() {
        let super::Content::Claim(claim) = volume.content(&pod.metadata.name) else {
            continue;
        };
        let mount = || RunningMount {
            pod: (namespace.to_owned(), pod.metadata.name.clone()),
            uid: pod.metadata.uid.clone(),
            node: pod.spec.node_name.clone().unwrap_or_default(),
            volume: volume.name.clone(),
        };
        let claim = (namespace.to_owned(), claim);
        mounts.entry(claim).or_insert_with(mount);
    }
}

pub(super) fn core(kind: &str, resource: &str, namespaced: bool) -> ApiResource {
    ApiResource::known("", "v1", kind, resource, namespaced)
}
