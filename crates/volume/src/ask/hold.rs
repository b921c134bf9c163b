//! Claims that no running pod mounts are held by a pod of ours.

use std::time::Duration;

use salvor_api::labels::label_value;
use salvor_cluster::{Cluster, DeleteOptions, ErrorKind, ListOptions, Look, Wait, WriteOptions};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::holder::{HOLDS_FOR, Holder, VOLUME, why_not};
use super::stuck::for_good;
use super::{AgentMover, HOLDER_PREFIX, Target, cluster_error};
use crate::objects::{MADE_BY, RUN, core, pods};
use crate::{Claim, MoveError, OnBehalfOf, Placement};

/// How often the events of a holder are looked at that does not run.
const LOOK: Duration = Duration::from_secs(5);

/// A pod that holds a claim. It is deleted when this goes.
#[derive(Debug)]
pub(super) struct Held {
    cluster: Cluster,
    namespace: String,
    name: String,
    released: bool,
}

impl Held {
    /// Lets the claim go.
    pub(super) async fn release(mut self) {
        self.released = true;
        delete(
            self.cluster.clone(),
            self.namespace.clone(),
            self.name.clone(),
        )
        .await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if !self.released {
            let name = std::mem::take(&mut self.name);
            runtime.spawn(delete(self.cluster.clone(), self.namespace.clone(), name));
        }
    }
}

/// A holder that could not be deleted ends by its own deadline, and the next sweep takes it.
async fn delete(cluster: Cluster, namespace: String, name: String) {
    let options = DeleteOptions {
        grace_period_seconds: Some(0),
        ..DeleteOptions::default()
    };
    if let Err(error) = cluster
        .delete(&pods(), Some(&namespace), &name, &options)
        .await
    {
        tracing::warn!(%error, namespace, name, "the pod that held a claim is left behind");
    }
}

impl AgentMover {
    /// Mounts a claim somewhere and says where.
    pub(super) async fn hold(
        &self,
        claim: &Claim,
        placement: &Placement,
        of: &OnBehalfOf,
        until: Instant,
        cancel: &CancellationToken,
    ) -> Result<(Held, Target), MoveError> {
        let agent = self.daemon_set().await?;
        self.check_place(claim, placement).await?;
        let container = &agent["spec"]["template"]["spec"]["containers"][0];
        let name = format!("{HOLDER_PREFIX}{}", super::random());
        let holder = Holder {
            name: &name,
            claim,
            placement,
            server: &self.namespace,
            run: &of.run,
            made_by: self.made_by.word(),
            image: &container["image"],
            pull_policy: &container["imagePullPolicy"],
            timeout: until.saturating_duration_since(Instant::now()),
        };
        let body = holder.pod().to_string();
        let namespace = claim.namespace.as_str();
        let refused =
            |error: salvor_cluster::Error| not_held(claim, &format!("its pod is refused: {error}"));
        // It is ours by its name.
        let made = self
            .cluster
            .create_once(
                &pods(),
                Some(namespace),
                &name,
                body.as_bytes(),
                &WriteOptions::default(),
                |_| true,
            )
            .await;
        match made {
            Ok(_) => {}
            Err(error) if error.is_retryable() => {
                return Err(cluster_error("make the pod that holds the claim", error));
            }
            Err(error) => return Err(refused(error)),
        }
        let held = Held {
            cluster: self.cluster.clone(),
            namespace: namespace.to_owned(),
            name: name.clone(),
            released: false,
        };
        let patience = until.min(Instant::now() + self.hold_patience);
        let pod = match self.until_running(claim, &name, patience, cancel).await {
            Ok(pod) => pod,
            Err(error) => {
                held.release().await;
                return Err(error);
            }
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let bound = self.bound(claim).await;
        let claim = match bound {
            Ok(claim) => claim,
            Err(error) => {
                held.release().await;
                return Err(error);
            }
        };
        let target = Target {
            namespace: namespace.to_owned(),
            pod: name,
            uid: text(&pod["metadata"]["uid"]),
            node: text(&pod["spec"]["nodeName"]),
            volume: VOLUME.to_owned(),
            claim: Some(claim),
            lives_with_pod: false,
        };
        Ok((held, target))
    }

    async fn until_running(
        &self,
        claim: &Claim,
        name: &str,
        until: Instant,
        cancel: &CancellationToken,
    ) -> Result<Value, MoveError> {
        let namespace = Some(claim.namespace.as_str());
        let wait = Wait {
            timeout: until.saturating_duration_since(Instant::now()),
            cancel: cancel.clone(),
        };
        let settled = |pod: Option<&Value>| match pod.map(|pod| pod["status"]["phase"].as_str()) {
            None | Some(Some("Running" | "Failed" | "Succeeded")) => Look::Done,
            Some(phase) => Look::NotYet(format!("it is {}", phase.unwrap_or("new"))),
        };
        let resource = pods();
        let waited = tokio::select! {
            waited = self.cluster.wait_until(&resource, namespace, name, &wait, settled) => waited,
            why = self.stuck(&claim.namespace, name) => return Err(not_held(claim, &why)),
        };
        let pod = match waited {
            Ok(pod) => pod,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(MoveError::Cancelled),
            // Why it does not run, it says itself.
            Err(error) if error.kind() == ErrorKind::Timeout => {
                let seen = self.cluster.get(&pods(), namespace, name).await;
                seen.unwrap_or_default()
            }
            Err(error) => {
                return Err(cluster_error("look at the pod that holds the claim", error));
            }
        };
        let Some(pod) = pod else {
            return Err(not_held(claim, "the pod that was to hold it was deleted"));
        };
        let pod: Value = serde_json::from_slice(&pod).unwrap_or_default();
        match pod["status"]["phase"].as_str() {
            Some("Running") => Ok(pod),
            _ => Err(not_held(claim, &self.reason(&pod).await)),
        }
    }

    /// Why a holder does not run.
    async fn reason(&self, pod: &Value) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &pod["metadata"];
        let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
        why_not(pod, &events_of(&self.cluster, &namespace, &name).await)
    }

    /// Ends when a holder's volume could not be mounted for a while and will not be, with what its event says.
    async fn stuck(&self, namespace: &str, name: &str) -> String {
        let mut since = None;
        loop {
            tokio::time::sleep(LOOK.min(self.stuck_patience)).await;
            let events = events_of(&self.cluster, namespace, name).await;
            let Some(why) = for_good(&events) else {
                continue;
            };
            if since.get_or_insert_with(Instant::now).elapsed() >= self.stuck_patience {
                return why;
            }
        }
    }

    /// Refuses what cannot be mounted, and what would be mounted anywhere.
    async fn check_place(&self, claim: &Claim, placement: &Placement) -> Result<(), MoveError> {
        let found = self.read_claim(claim).await?;
        if found["spec"]["volumeMode"] == "Block" {
            return Err(MoveError::Unfit {
                reason: "it is a raw block device (volumeMode: Block), which has no files: it takes a snapshot".to_owned(),
            });
        }
        if !found["metadata"]["deletionTimestamp"].is_null() {
            return Err(not_held(claim, "it is being deleted"));
        }
        let volume = found["spec"]["volumeName"].as_str().unwrap_or_default();
        if volume.is_empty() {
            return Ok(());
        }
        let resource = core("PersistentVolume", "persistentvolumes", false);
        let doing = "read the claim's volume";
        let volume = self.read(doing, &resource, None, volume).await?;
        let Some(volume) = volume else {
            return Err(not_held(claim, "its volume is gone: the claim is lost"));
        };
        let spec = &volume["spec"];
        // The scheduler knows of no node for such a volume and would take any.
        let is_anywhere = spec["hostPath"].is_object() && spec["nodeAffinity"].is_null();
        let is_pinned = placement.node_selector["kubernetes.io/hostname"].is_string();
        if !is_anywhere || is_pinned {
            return Ok(());
        }
        let nodes = core("Node", "nodes", false);
        let options = ListOptions {
            limit: Some(2),
            ..ListOptions::default()
        };
        let listed = self.cluster.list_page(&nodes, None, &options).await;
        let page = listed.map_err(|error| cluster_error("count the nodes", error))?;
        if page.len() < 2 && page.continue_token.is_none() {
            return Ok(());
        }
        let name = volume["metadata"]["name"].as_str().unwrap_or_default();
        Err(not_held(
            claim,
            &format!(
                "volume {name} is a directory (hostPath) that does not say of which node, and there are several: \
                 run a pod that mounts it, or give the volume a nodeAffinity"
            ),
        ))
    }

    /// The claim with the volume that it is bound to.
    async fn bound(&self, claim: &Claim) -> Result<Claim, MoveError> {
        let found = self.read_claim(claim).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Claim {
            uid: text(&found["metadata"]["uid"]),
            volume: text(&found["spec"]["volumeName"]),
            ..claim.clone()
        })
    }

    async fn read_claim(&self, claim: &Claim) -> Result<Value, MoveError> {
        let resource = core("PersistentVolumeClaim", "persistentvolumeclaims", true);
        let found = self
            .read(
                "read the claim",
                &resource,
                Some(&claim.namespace),
                &claim.name,
            )
            .await?;
        found.ok_or_else(|| not_held(claim, "it does not exist"))
    }

    /// Deletes the holders of a run that is dead.
    pub(super) async fn release_of(&self, run: &str, namespace: &str) -> Result<(), MoveError> {
        let options = ListOptions {
            label_selector: Some(format!("{HOLDS_FOR}={}", label_value(&self.namespace))),
            ..ListOptions::default()
        };
        let failed = |error| cluster_error("look for pods that hold the claim", error);
        let mut pager = self.cluster.pager(&pods(), Some(namespace), options);
        while let Some(page) = pager.next_page().await.map_err(failed)? {
            for item in page.items() {
                let pod: Value = serde_json::from_slice(item).unwrap_or_default();
                let metadata = &pod["metadata"];
                let name = metadata["name"].as_str();
                if let Some(name) = name.filter(|_| metadata["annotations"][RUN] == run) {
                    delete(self.cluster.clone(), namespace.to_owned(), name.to_owned()).await;
                }
            }
        }
        Ok(())
    }

    /// Deletes the holders that a server before left behind, and those whose time is over. To be called before anything
    /// is asked of a new server's mover.
    pub(super) async fn sweep_holders(&self) -> Result<usize, MoveError> {
        let options = ListOptions {
            label_selector: Some(format!("{HOLDS_FOR}={}", label_value(&self.namespace))),
            ..ListOptions::default()
        };
        let failed = |error| cluster_error("look for pods that hold claims", error);
        let mut pager = self.cluster.pager(&pods(), None, options);
        let mut swept = 0;
        while let Some(page) = pager.next_page().await.map_err(failed)? {
            for item in page.items() {
                let pod: Value = serde_json::from_slice(item).unwrap_or_default();
                let metadata = &pod["metadata"];
                let is_over = matches!(
                    pod["status"]["phase"].as_str(),
                    Some("Failed" | "Succeeded")
                );
                if !is_over && metadata["annotations"][MADE_BY] != *self.made_by.word() {
                    continue;
                }
                let (Some(namespace), Some(name)) =
                    (metadata["namespace"].as_str(), metadata["name"].as_str())
                else {
                    continue;
                };
                let options = DeleteOptions {
                    grace_period_seconds: Some(0),
                    ..DeleteOptions::default()
                };
                match self
                    .cluster
                    .delete(&pods(), Some(namespace), name, &options)
                    .await
                {
                    Ok(_) => swept += 1,
                    Err(error) if error.kind() == ErrorKind::Forbidden => {
                        tracing::warn!(%error, namespace, name, "a pod that held a claim is left behind");
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Ok(swept)
    }
}

/// Events about a pod; none without the right to see them.
pub(crate) async fn events_of(cluster: &Cluster, namespace: &str, pod: &str) -> Vec<Value> {
    let options = ListOptions {
        field_selector: Some(format!("involvedObject.name={pod}")),
        ..ListOptions::default()
    };
    let events = core("Event", "events", true);
    match cluster.list_page(&events, Some(namespace), &options).await {
        Ok(page) => {
            let read = page
                .items()
                .filter_map(|item| serde_json::from_slice(item).ok());
            read.filter(|event: &Value| event["involvedObject"]["kind"] == "Pod")
                .collect()
        }
        Err(error) => {
            tracing::debug!(%error, namespace, pod, "its events cannot be seen");
            Vec::new()
        }
    }
}

fn not_held(claim: &Claim, reason: &str) -> MoveError {
    MoveError::NotHeld {
        claim: format!("{}/{}", claim.namespace, claim.name),
        reason: reason.to_owned(),
    }
}
