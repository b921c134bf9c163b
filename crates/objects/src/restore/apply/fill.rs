//! One volume that is filled: what is looked at before, and what is asked of the mover.

use std::sync::Arc;
use std::time::Duration;

use salvor_cluster::{ApiResource, Cluster, ErrorKind, ListOptions, Look, Wait, WriteOptions};
use salvor_volume::csi::Snapshots;
use salvor_volume::{Claim, DataMover, Domain, FillVolume, Filled, OnBehalfOf, Part, VolumePlace};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::restore::body;
use crate::restore::error::chain;
use crate::restore::item_action::WAITS_FOR_DATA;
use crate::restore::plan::PlanHeader;
use crate::restore::planner::parse;
use crate::restore::volume_data::{Binding, DataAction, UNFILLED, VolumeData};

/// What filling takes.
pub(super) struct Filler {
    pub(super) cluster: Cluster,
    pub(super) mover: Option<Arc<dyn DataMover>>,
    pub(super) of: OnBehalfOf,
    pub(super) header: Arc<PlanHeader>,
    /// How long one volume may take.
    pub(super) timeout: Duration,
    /// How long a pod may take until it waits for its volumes.
    pub(super) pod_timeout: Duration,
    /// How long the storage may take to know a snapshot.
    pub(super) snapshot_timeout: Duration,
    /// Where snapshots are served, once that was looked for.
    pub(super) found_snapshots: OnceCell<Option<Snapshots>>,
    pub(super) cancel: CancellationToken,
}

fn claims() -> ApiResource {
    ApiResource::known(
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        true,
    )
}

fn volumes() -> ApiResource {
    ApiResource::known("", "v1", "PersistentVolume", "persistentvolumes", false)
}

fn pods() -> ApiResource {
    ApiResource::known("", "v1", "Pod", "pods", true)
}

impl Filler {
    /// Fills a volume; the reason when it is not filled, or in part.
    pub(super) async fn fill(&self, data: &VolumeData) -> Result<Filled, String> {
        match &data.csi {
            Some(snapshot) => self.make_of_snapshot(data, snapshot).await,
            None if data.is_of_pod() => self.pod(data).await,
            None => self.claim(data).await,
        }
    }

    /// A claim as it is now.
    pub(super) async fn live_claim(&self, namespace: &str, name: &str) -> Result<Value, String> {
        let live = self.cluster.get(&claims(), Some(namespace), name).await;
        let live = live.map_err(|error| chain(&error))?;
        let live = parse(&live.ok_or("the claim is not there any more")?);
        match body::text_at(&live, &["metadata", "deletionTimestamp"]) {
            "" => Ok(live),
            _ => Err("the claim is being deleted".to_owned()),
        }
    }

    async fn claim(&self, data: &VolumeData) -> Result<Filled, String> {
        let namespace = data.target_namespace(&self.header.rules.namespaces);
        let name = data.claim.as_str();
        let live = self.live_claim(namespace, name).await?;
        if let Some(pod) = self.mounted_by(namespace, name).await? {
            return Err(format!(
                "pod {namespace}/{pod} mounts the claim, or is about to: scale down what made the pod, then go on"
            ));
        }
        if data.binding == Binding::Released {
            self.offer(data, namespace).await?;
        }
        let text = |path: &[&str]| body::text_at(&live, path).to_owned();
        let place = VolumePlace::Claim {
            claim: Claim {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: text(&["metadata", "uid"]),
                volume: text(&["spec", "volumeName"]),
            },
            placement: data.placement.clone(),
        };
        let mut filled = self.ask(data, place, None).await?;
        if data.action == DataAction::Fill
            && let Err(problem) = self.unmark(namespace, name).await
        {
            filled.problems.push(problem);
        }
        Ok(filled)
    }

    async fn pod(&self, data: &VolumeData) -> Result<Filled, String> {
        let namespace = data.target_namespace(&self.header.rules.namespaces);
        let wait = Wait {
            timeout: self.pod_timeout,
            cancel: self.cancel.clone(),
        };
        let waits = |pod: Option<&Value>| match pod.map(waiting) {
            None => Look::NotYet("the pod is not there".to_owned()),
            Some(Waiting::NotYet(why)) => Look::NotYet(why),
            Some(Waiting::Now | Waiting::Over) => Look::Done,
        };
        let (api, name) = (pods(), data.pod.as_str());
        let found = self
            .cluster
            .wait_until(&api, Some(namespace), name, &wait, waits);
        let pod = found
            .await
            .map_err(|error| format!("the pod does not wait for it: {}", error.reason()))?;
        let pod = parse(&pod.unwrap_or_default());
        if let Waiting::Over = waiting(&pod) {
            // It has seen the mark of a run that was killed before its journal said so; by now it has written itself.
            return Ok(Filled::default());
        }
        let text = |path: &[&str]| body::text_at(&pod, path).to_owned();
        let place = VolumePlace::Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: text(&["metadata", "uid"]),
            node: text(&["spec", "nodeName"]),
            volume: data.pod_volume.clone(),
            claim: None,
        };
        let mark = self.header.rules.data.mark_path();
        self.ask(data, place, Some(mark)).await
    }

    async fn ask(
        &self,
        data: &VolumeData,
        place: VolumePlace,
        done_marker: Option<String>,
    ) -> Result<Filled, String> {
        let snapshot = data.snapshot.as_ref().ok_or("the plan names no snapshot")?;
        let mover = self.mover.as_ref().ok_or(
            "no node agent is there: install it (`salvor install --use-node-agent`), then go on",
        )?;
        let job = FillVolume {
            of: self.of.clone(),
            place,
            domain: Domain::named(&snapshot.domain).ok_or("the plan names no repository")?,
            snapshot: snapshot.id.clone(),
            source_namespace: data.namespace.clone(),
            bytes: snapshot.bytes,
            part: Part::default(),
            done_marker,
            timeout: self.timeout,
        };
        mover
            .fill(&job, &self.cancel)
            .await
            .map_err(|error| chain(&error))
    }

    /// A pod that has the claim, or will have it as soon as it runs. Pods that hold claims for movers do not count.
    pub(super) async fn mounted_by(
        &self,
        namespace: &str,
        claim: &str,
    ) -> Result<Option<String>, String> {
        let doing = |error: salvor_cluster::Error| format!("look who mounts it: {}", chain(&error));
        let api = pods();
        let mut pager = self
            .cluster
            .pager(&api, Some(namespace), ListOptions::default());
        while let Some(page) = pager.next_page().await.map_err(doing)? {
            for item in page.items() {
                let pod = parse(item);
                let ended = matches!(
                    body::text_at(&pod, &["status", "phase"]),
                    "Succeeded" | "Failed"
                );
                let ours = body::text_at(&pod, &["metadata", "labels", MANAGED_BY]) == "salvor";
                let mut mounts = body::list_at(&pod, &["spec", "volumes"]).iter();
                if !ended
                    && !ours
                    && mounts
                        .any(|v| body::text_at(v, &["persistentVolumeClaim", "claimName"]) == claim)
                {
                    return Ok(Some(body::text_at(&pod, &["metadata", "name"]).to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// Offers a released volume again, to the claim of its name only.
    async fn offer(&self, data: &VolumeData, namespace: &str) -> Result<(), String> {
        let (api, name) = (volumes(), data.persistent_volume.as_str());
        let doing =
            |error: salvor_cluster::Error| format!("offer volume {name} again: {}", chain(&error));
        let live = self.cluster.get(&api, None, name).await.map_err(doing)?;
        let live = parse(&live.ok_or_else(|| format!("its volume {name} is not there any more"))?);
        let of = |field: &str| body::text_at(&live, &["spec", "claimRef", field]);
        if (of("namespace"), of("name")) != (namespace, data.claim.as_str()) {
            return Err(format!(
                "its volume {name} is now for claim {}/{}",
                of("namespace"),
                of("name")
            ));
        }
        if body::text_at(&live, &["status", "phase"]) != "Released" {
            // An earlier run has offered it.
            return Ok(());
        }
        let patch = json!({
            "metadata": {"resourceVersion": body::text_at(&live, &["metadata", "resourceVersion"])},
            "spec": {"claimRef": {"uid": null, "resourceVersion": null}},
        });
        let (patch, options) = (patch.to_string(), WriteOptions::default());
        let sent = self
            .cluster
            .merge_patch(&api, None, name, None, patch.as_bytes(), &options);
        sent.await.map(drop).map_err(doing)
    }

    /// Takes the mark of an unfilled claim away.
    pub(super) async fn unmark(&self, namespace: &str, name: &str) -> Result<(), String> {
        let patch = json!({"metadata": {"annotations": {UNFILLED: null}}}).to_string();
        let options = WriteOptions::default();
        let api = claims();
        let sent = self.cluster.merge_patch(
            &api,
            Some(namespace),
            name,
            None,
            patch.as_bytes(),
            &options,
        );
        match sent.await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(format!(
                "annotation {UNFILLED} of the claim could not be removed, so that a later restore would fill it again: {}",
                error.reason()
            )),
        }
    }
}

/// Who manages an object.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// How far a pod is that waits for its volumes.
enum Waiting {
    NotYet(String),
    Now,
    Over,
}

fn waiting(pod: &Value) -> Waiting {
    let phase = body::text_at(pod, &["status", "phase"]);
    if matches!(phase, "Running" | "Succeeded" | "Failed") {
        return Waiting::Over;
    }
    if body::text_at(pod, &["spec", "nodeName"]).is_empty() {
        return Waiting::NotYet("the pod has no node yet".to_owned());
    }
    let mut containers = body::list_at(pod, &["status", "initContainerStatuses"]).iter();
    let container =
        containers.find(|container| body::text_at(container, &["name"]) == WAITS_FOR_DATA);
    let Some(container) = container else {
        return Waiting::NotYet("its init container is not there yet".to_owned());
    };
    if body::at(container, &["state", "running"]).is_some() {
        return Waiting::Now;
    }
    match body::at(container, &["state", "terminated", "exitCode"]).and_then(Value::as_i64) {
        Some(0) => Waiting::Over,
        _ => {
            let reason = body::text_at(container, &["state", "waiting", "reason"]);
            Waiting::NotYet(format!("its init container does not run: {reason}"))
        }
    }
}
