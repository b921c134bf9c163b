//! Applications brought to a standstill while their volume is written, and back.
//!
//! How many replicas a workload had is kept on the workload itself, written together with the zero: whoever comes after
//! a kill finds it there and goes on, or brings the application back.

use std::collections::BTreeMap;
use std::time::Duration;

use salvor_cluster::{ApiResource, Cluster, Error, ErrorKind, ListOptions, Wait, WriteOptions};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Placement;
use crate::ask::HOLDS_FOR;

/// Annotation of a workload that we stopped: how many replicas it had.
pub const REPLICAS_BEFORE: &str = "salvor.dev/replicas-before";
/// Annotation beside it: the claim that it was stopped for.
const STOPPED_FOR: &str = "salvor.dev/stopped-for";
/// Seconds that a pod has to end when it says nothing.
const USUAL_GRACE: u64 = 30;
/// Tries when somebody else writes the workload at the same time.
const ATTEMPTS: u32 = 5;

/// Resources that have replicas and pods.
const SCALABLE: [(&str, &str, &str, &str); 4] = [
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("", "v1", "ReplicationController", "replicationcontrollers"),
];

/// A workload, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `ReplicaSet` or `ReplicationController`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Replicas that it has, or had when we stopped it.
    pub replicas: u64,
}

impl Workload {
    /// The command that starts it.
    #[must_use]
    pub fn start_command(&self, namespace: &str) -> String {
        let Self {
            kind,
            name,
            replicas,
        } = self;
        let kind = kind.to_lowercase();
        format!("kubectl scale --namespace {namespace} {kind}/{name} --replicas={replicas}")
    }
}

/// Who uses a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Users {
    /// Workloads that can be scaled to nothing and back, also those that an earlier run stopped for this claim.
    pub workloads: Vec<Workload>,
    /// Their pods that mount it.
    pub pods: Vec<String>,
    /// Pods that would not come back, or come back at once, when they are stopped: `pod web (Job sync)`.
    pub others: Vec<String>,
    /// Where its pods can run.
    pub placement: Placement,
    /// The node of one of its pods; empty when none has one.
    pub node: String,
    /// Longest time that a pod may take to end, in seconds.
    pub grace: u64,
    /// Whether an earlier run stopped some of the workloads for this claim, and nobody has started them since.
    pub were_stopped: bool,
}

impl Users {
    /// True when nobody uses it, and nothing that we stopped does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.workloads.is_empty() && self.pods.is_empty() && self.others.is_empty()
    }

    fn place(&mut self, spec: &Value) {
        self.placement = Placement {
            node_selector: spec["nodeSelector"].clone(),
            node_affinity: spec["affinity"]["nodeAffinity"].clone(),
            tolerations: spec["tolerations"].clone(),
        };
        self.node = text(&spec["nodeName"]);
    }
}

/// Why an application does not stand still, or does not come back.
#[derive(Debug, thiserror::Error)]
pub enum StandstillError {
    /// There is no scaling for some pods, which use the claim.
    #[error(
        "claim {claim} is mounted by {}, which cannot be scaled down and up again: stop it yourself, then try again",
        others.join(", ")
    )]
    NotScalable {
        /// `<namespace>/<name>`.
        claim: String,
        /// The pods and who made them.
        others: Vec<String>,
    },
    /// The cluster does not answer, refuses, or pods do not end in time.
    #[error("{doing}")]
    Cluster {
        /// What we were doing.
        doing: String,
        /// What it said.
        source: Error,
    },
}

impl StandstillError {
    fn cluster(doing: impl Into<String>) -> impl FnOnce(Error) -> Self {
        let doing = doing.into();
        move |source| Self::Cluster { doing, source }
    }
}

/// Finds who uses a claim. Pods of ours that hold it for a movement do not count.
///
/// # Errors
/// The cluster does not answer or refuses.
pub async fn users_of(
    cluster: &Cluster,
    namespace: &str,
    claim: &str,
) -> Result<Users, StandstillError> {
    let pods = ApiResource::known("", "v1", "Pod", "pods", true);
    let mut users = Users::default();
    let mut found: BTreeMap<(String, String), u64> = BTreeMap::new();
    for pod in list(cluster, &pods, namespace).await? {
        let is_holder = !pod["metadata"]["labels"][HOLDS_FOR].is_null();
        if !mounts(&pod["spec"], claim) || has_ended(&pod) || is_holder {
            continue;
        }
        users.place(&pod["spec"]);
        let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64();
        users.grace = users.grace.max(grace.unwrap_or(USUAL_GRACE));
        let name = text(&pod["metadata"]["name"]);
        match workload_of(cluster, namespace, &pod).await? {
            Ok((kind, workload, replicas)) => {
                users.pods.push(name);
                found.insert((kind, workload), replicas);
            }
            Err(made_by) => users.others.push(format!("pod {name} ({made_by})")),
        }
    }
    for (group, version, kind, plural) in SCALABLE {
        let resource = ApiResource::known(group, version, kind, plural, true);
        for object in list(cluster, &resource, namespace).await? {
            // A deployment's annotations are copied onto its replica sets, the old ones too; nothing that is owned was stopped by us.
            let is_noted = object["metadata"]["annotations"][STOPPED_FOR] == claim;
            if is_noted && controller(&object).is_none() {
                if users.pods.is_empty() {
                    users.place(&object["spec"]["template"]["spec"]);
                }
                users.were_stopped |= object["spec"]["replicas"] == 0;
                let key = (kind.to_owned(), text(&object["metadata"]["name"]));
                found.insert(key, replicas_of(&object));
            }
        }
    }
    let workloads = found.into_iter();
    users.workloads = workloads
        .map(|((kind, name), replicas)| Workload {
            kind,
            name,
            replicas,
        })
        .collect();
    Ok(users)
}

/// Brings everything that uses a claim to a standstill and waits until its pods are gone. What was stopped is returned
/// also when that fails half way: it is on the workloads, and [`start`] brings it back.
///
/// # Errors
/// Something cannot be scaled (nothing was touched then), the cluster fails, or pods do not end within `timeout`.
pub async fn stop(
    cluster: &Cluster,
    namespace: &str,
    claim: &str,
    timeout: Duration,
    cancel: &CancellationToken,
) -> Result<Users, StandstillError> {
    let users = users_of(cluster, namespace, claim).await?;
    if !users.others.is_empty() {
        return Err(StandstillError::NotScalable {
            claim: format!("{namespace}/{claim}"),
            others: users.others,
        });
    }
    for workload in &users.workloads {
        scale_down(cluster, namespace, workload, claim).await?;
    }
    let until = Instant::now() + timeout;
    let api = ApiResource::known("", "v1", "Pod", "pods", true);
    let mut pods = users.pods.clone();
    // A rollout may just have made another one.
    while !pods.is_empty() {
        for pod in &pods {
            let wait = Wait {
                timeout: until.saturating_duration_since(Instant::now()),
                cancel: cancel.clone(),
            };
            let gone = cluster.wait_gone(&api, Some(namespace), pod, &wait).await;
            gone.map_err(StandstillError::cluster(format!(
                "wait until pod {namespace}/{pod} has ended"
            )))?;
        }
        let now = users_of(cluster, namespace, claim).await?;
        if !now.others.is_empty() {
            return Err(StandstillError::NotScalable {
                claim: format!("{namespace}/{claim}"),
                others: now.others,
            });
        }
        pods = now.pods;
    }
    Ok(users)
}

/// Gives workloads their replicas back. One that somebody else has scaled meanwhile keeps what it was given.
///
/// # Errors
/// The cluster fails; what is left is still on the workloads, and a further call brings it back.
pub async fn start(
    cluster: &Cluster,
    namespace: &str,
    users: &Users,
) -> Result<(), StandstillError> {
    for workload in &users.workloads {
        change(cluster, namespace, workload, "start", |object| {
            let before = object["metadata"]["annotations"][REPLICAS_BEFORE].as_str()?;
            let replicas: u64 = before.parse().unwrap_or(workload.replicas);
            let mut patch =
                json!({"metadata": {"annotations": {REPLICAS_BEFORE: null, STOPPED_FOR: null}}});
            if object["spec"]["replicas"] == 0 {
                patch["spec"]["replicas"] = replicas.into();
            }
            Some(patch)
        })
        .await?;
    }
    Ok(())
}

async fn scale_down(
    cluster: &Cluster,
    namespace: &str,
    workload: &Workload,
    claim: &str,
) -> Result<(), StandstillError> {
    change(cluster, namespace, workload, "stop", |object| {
        // Stopped by us earlier, or by somebody else, who will not want it started afterwards.
        if object["spec"]["replicas"] == 0 {
            return None;
        }
        // A note that is there already is of a run before somebody started it again.
        let replicas = object["spec"]["replicas"].as_u64().unwrap_or(1);
        let notes = json!({REPLICAS_BEFORE: replicas.to_string(), STOPPED_FOR: claim});
        Some(json!({"metadata": {"annotations": notes}, "spec": {"replicas": 0}}))
    })
    .await
}

/// Reads a workload and writes what `patch` makes of it, if it is as it was read.
async fn change(
    cluster: &Cluster,
    namespace: &str,
    workload: &Workload,
    verb: &str,
    patch: impl Fn(&Value) -> Option<Value>,
) -> Result<(), StandstillError> {
    let Workload { kind, name, .. } = workload;
    let doing = || format!("{verb} {kind} {namespace}/{name}");
    let Some(resource) = scalable(kind) else {
        return Ok(());
    };
    let mut attempt = 1;
    loop {
        let found = cluster.get(&resource, Some(namespace), name).await;
        let found = found.map_err(StandstillError::cluster(doing()))?;
        let object = found.map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap_or_default());
        let Some((object, mut body)) = object.and_then(|object| {
            let body = patch(&object)?;
            Some((object, body))
        }) else {
            return Ok(());
        };
        body["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
        let options = WriteOptions::default();
        let body = body.to_string();
        let written = cluster
            .merge_patch(
                &resource,
                Some(namespace),
                name,
                None,
                body.as_bytes(),
                &options,
            )
            .await;
        match written {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(StandstillError::cluster(doing())(error)),
        }
    }
}

/// The workload that a pod comes from, with its replicas; otherwise who made the pod.
async fn workload_of(
    cluster: &Cluster,
    namespace: &str,
    pod: &Value,
) -> Result<Result<(String, String, u64), String>, StandstillError> {
    let mut owned = pod.clone();
    let mut made_by = "made by hand".to_owned();
    let mut workload = None;
    // A replica set belongs to a deployment, which belongs to nobody that Kubernetes knows; what an operator owns it
    // would scale up again.
    while let Some((kind, name)) = controller(&owned) {
        made_by = format!("{kind} {name}");
        let Some(resource) = scalable(&kind) else {
            workload = None;
            break;
        };
        let found = cluster.get(&resource, Some(namespace), &name).await;
        let found = found.map_err(StandstillError::cluster(format!(
            "read {kind} {namespace}/{name}"
        )))?;
        let Some(found) = found else {
            workload = None;
            break;
        };
        owned = serde_json::from_slice(&found).unwrap_or_default();
        workload = Some((kind, name, replicas_of(&owned)));
    }
    Ok(workload.ok_or(made_by))
}

fn scalable(kind: &str) -> Option<ApiResource> {
    let found = SCALABLE.iter().find(|(_, _, known, _)| *known == kind);
    found.map(|(group, version, kind, plural)| {
        ApiResource::known(group, version, kind, plural, true)
    })
}

fn controller(object: &Value) -> Option<(String, String)> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let owner = owners.iter().find(|owner| owner["controller"] == true)?;
    Some((text(&owner["kind"]), text(&owner["name"])))
}

/// Replicas of a workload; of one that we stopped those that it had.
fn replicas_of(object: &Value) -> u64 {
    let noted = object["metadata"]["annotations"][REPLICAS_BEFORE].as_str();
    let noted = noted.and_then(|noted| noted.parse().ok());
    // Absent means one.
    noted.unwrap_or_else(|| object["spec"]["replicas"].as_u64().unwrap_or(1))
}

fn mounts(spec: &Value, claim: &str) -> bool {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    volumes
        .into_iter()
        .any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim)
}

fn has_ended(pod: &Value) -> bool {
    matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    )
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn list(
    cluster: &Cluster,
    resource: &ApiResource,
    namespace: &str,
) -> Result<Vec<Value>, StandstillError> {
    let mut pager = cluster.pager(resource, Some(namespace), ListOptions::default());
    let mut found = Vec::new();
    let doing = || format!("list {} of namespace {namespace}", resource.resource);
    while let Some(page) = pager
        .next_page()
        .await
        .map_err(StandstillError::cluster(doing()))?
    {
        found.extend(
            page.items()
                .filter_map(|item| serde_json::from_slice(item).ok()),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
