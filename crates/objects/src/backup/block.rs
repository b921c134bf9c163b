//! Pods with hooks that stand still together: snapshots of a group of claims are taken at one moment, which is worth
//! something only when every application that writes to one of them stands still then.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use salvor_api::resource::ObjectKey;
use salvor_cluster::ApiResource;
use serde_json::Value;

use super::error::BackupError;
use super::gather::Run;
use crate::hooks::Pod;

/// Pods whose claims are read at once.
const LOOKS: usize = 8;

/// Namespace and value of the label.
type Group = (String, String);

impl Run {
    /// Puts pods together whose claims are in one group, where groups are snapshotted at all.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(super) async fn blocks(
        &self,
        pods: BTreeSet<ObjectKey>,
    ) -> Result<Vec<Vec<ObjectKey>>, BackupError> {
        let label = match pods.len() {
            0 | 1 => None,
            _ => self.label_of_groups().await?,
        };
        let Some(label) = label else {
            return Ok(pods.into_iter().map(|pod| vec![pod]).collect());
        };
        let label = label.as_str();
        let found: Vec<(ObjectKey, BTreeSet<Group>)> = stream::iter(pods)
            .map(|pod| async move {
                let groups = self.groups_of(&pod, label).await?;
                Ok::<_, BackupError>((pod, groups))
            })
            .buffered(LOOKS)
            .try_collect()
            .await?;
        Ok(joined(found))
    }

    /// The groups that a pod's claims are in. What cannot be read is told where the pod is taken.
    async fn groups_of(
        &self,
        pod: &ObjectKey,
        label: &str,
    ) -> Result<BTreeSet<Group>, BackupError> {
        let mut groups = BTreeSet::new();
        let pods = Pod::resource();
        let get = self.cluster.get(&pods, pod.namespace.as_deref(), &pod.name);
        let Ok(Some(body)) = self.unless_cancelled(get).await? else {
            return Ok(groups);
        };
        let claims = ApiResource::known(
            "",
            "v1",
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            true,
        );
        for claim in Pod::read(&body).iter().flat_map(Pod::claims) {
            let namespace = claim.namespace.unwrap_or_default();
            let get = self.cluster.get(&claims, Some(&namespace), &claim.name);
            let Ok(Some(body)) = self.unless_cancelled(get).await? else {
                continue;
            };
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            match body["metadata"]["labels"][label].as_str() {
                None | Some("") => {}
                Some(group) => {
                    groups.insert((namespace, group.to_owned()));
                }
            }
        }
        Ok(groups)
    }
}

/// Sets of pods of which each shares a group with another of its set. The order of the pods stays.
fn joined(pods: Vec<(ObjectKey, BTreeSet<Group>)>) -> Vec<Vec<ObjectKey>> {
    let mut alone = Vec::new();
    let mut blocks: Vec<(BTreeSet<Group>, Vec<ObjectKey>)> = Vec::new();
    for (pod, mut groups) in pods {
        if groups.is_empty() {
            alone.push(vec![pod]);
            continue;
        }
        let (sharing, others): (Vec<_>, Vec<_>) = blocks
            .into_iter()
            .partition(|(of_block, _)| !of_block.is_disjoint(&groups));
        blocks = others;
        let mut members = Vec::new();
        for (of_block, pods) in sharing {
            groups.extend(of_block);
            members.extend(pods);
        }
        members.push(pod);
        blocks.push((groups, members));
    }
    blocks
        .into_iter()
        .map(|(_, members)| members)
        .chain(alone)
        .collect()
}

#[cfg(test)]
mod tests {
    use salvor_api::resource::GroupResource;

    use super::*;

    #[test]
    fn pods_that_share_a_group_also_by_others_are_together() {
        let pod = |name: &str, groups: &[&str]| {
            let key = ObjectKey::namespaced(GroupResource::new("pods", ""), "shop", name);
            let group = |value: &&str| ("shop".to_owned(), (*value).to_owned());
            (key, groups.iter().map(group).collect())
        };
        for (pods, expected) in [
            (vec![pod("a", &[]), pod("b", &[])], "a | b"),
            (vec![pod("a", &["x"]), pod("b", &["y"])], "a | b"),
            (
                vec![pod("a", &["x"]), pod("b", &[]), pod("c", &["x"])],
                "a c | b",
            ),
            // The last one joins what was apart.
            (
                vec![pod("a", &["x"]), pod("b", &["y"]), pod("c", &["x", "y"])],
                "a b c",
            ),
        ] {
            let blocks: Vec<String> = joined(pods)
                .iter()
                .map(|block| {
                    let names: Vec<&str> = block.iter().map(|pod| &*pod.name).collect();
                    names.join(" ")
                })
                .collect();
            assert_eq!(blocks.join(" | "), expected);
        }
    }
}
