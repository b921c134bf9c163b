//! Giving a volume to a claim so that no other claim can take it on the way.
//!
//! The recipe that circulates (`claimRef: null`, then a new claim) makes the volume free for everybody: whichever claim
//! fits first gets it, and the binder is faster than people. Here the volume is never free. In this order:
//!
//! 1. its reclaim policy becomes `Retain`, so that nothing that goes wrong later deletes bytes;
//! 2. its `claimRef` goes over from the old claim to the new one in one write, which only succeeds on the volume as it
//!    was read;
//! 3. the claim is made with the volume's name, or the one that waits gets it;
//! 4. both are waited for: `Bound`, and to each other.
//!
//! Each step is planned from what the cluster has at that moment, so whoever was killed half way just begins again.

use salvor_cluster::{ApiResource, Cluster, ErrorKind, Look, Wait, WriteOptions};
use serde_json::{Value, json};

use super::objects::{Claim, Meta};
use super::seen::{self, Seen, SeenError, claims, volumes};
use super::volume::{BOUND_BY_CONTROLLER, ClaimRef, Volume, is_left};

mod plan;

use plan::RETAIN;
pub use plan::{Plan, Refusal, Request, Step, are_bound, plan};

/// Who writes, in `managedFields`.
const WRITER: &str = "salvor";
/// How often the world may change under a plan: the binder writes each object a few times, and then is content.
const ATTEMPTS: u32 = 20;

/// Why a volume did not come to its claim.
#[derive(Debug, thiserror::Error)]
pub enum RebindError {
    /// It may not be done.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The cluster cannot be read.
    #[error("look at volume and claim")]
    Look(#[source] SeenError),
    /// A step failed.
    #[error("{doing}")]
    Write {
        /// Which.
        doing: String,
        /// What the server said.
        #[source]
        source: salvor_cluster::Error,
    },
    /// Something else writes volume or claim all the time.
    #[error("volume {volume} or its claim changes faster than it can be written")]
    Restless {
        /// The volume.
        volume: String,
    },
    /// Both are prepared, but the binder has not bound them.
    #[error("claim {claim} is not bound{}", because(.why))]
    NotBound {
        /// The claim.
        claim: String,
        /// What the cluster last said about it; may be empty.
        why: String,
        /// How the wait ended.
        #[source]
        source: salvor_cluster::Error,
    },
    /// The caller gave up.
    #[error("given up; what was done stays, and the same command goes on from there")]
    Cancelled,
}

fn because(why: &str) -> String {
    match why {
        "" => String::new(),
        why => format!(": {why}"),
    }
}

/// Reads volume and claim and plans.
///
/// # Errors
/// The cluster cannot be read, or the volume may not be given to the claim.
pub async fn look(cluster: &Cluster, request: &Request) -> Result<Plan, RebindError> {
    let all = seen::read_volumes(cluster)
        .await
        .map_err(RebindError::Look)?;
    let (namespace, name) = (Some(request.namespace.as_str()), &request.claim);
    let claim = seen::one(cluster, &claims(), namespace, name).await;
    let claim: Option<Claim> = claim.map_err(RebindError::Look)?;
    Ok(plan(request, &all, claim.as_ref())?)
}

/// Carries a plan out. Each step is planned anew from what the cluster has; `told` hears each before it is done.
///
/// # Errors
/// A step failed, or became one that may not be done; what was done before stays, and the same call goes on from
/// there. [`RebindError::NotBound`]: everything is prepared, but not bound within `wait`.
pub async fn carry_out(
    cluster: &Cluster,
    request: &Request,
    shown: &Plan,
    wait: &Wait,
    mut told: impl FnMut(&Step),
) -> Result<(), RebindError> {
    for _ in 0..ATTEMPTS {
        if wait.cancel.is_cancelled() {
            return Err(RebindError::Cancelled);
        }
        let plan = look(cluster, request).await?;
        if plan.volume_uid != shown.volume_uid {
            return Err(Refusal::Replaced {
                volume: plan.volume,
            }
            .into());
        }
        let Some(step) = plan.steps.first().filter(|step| **step != Step::Wait) else {
            told(&Step::Wait);
            return until_bound(cluster, request, wait).await;
        };
        told(step);
        match write(cluster, request, step).await {
            Err(RebindError::Write { source, .. }) if source.kind() == ErrorKind::Conflict => {}
            written => written?,
        }
    }
    Err(RebindError::Restless {
        volume: request.volume.clone(),
    })
}

/// Does one step, on the objects as they were looked at just before.
async fn write(cluster: &Cluster, request: &Request, step: &Step) -> Result<(), RebindError> {
    let Request {
        volume,
        namespace,
        claim,
        ..
    } = request;
    let shown = format!("{namespace}/{claim}");
    match step {
        Step::Keep { .. } => {
            let doing = format!("set the reclaim policy of volume {volume} to {RETAIN}");
            // Right whatever else was written to the volume meanwhile.
            let change = json!({"spec": {"persistentVolumeReclaimPolicy": RETAIN}});
            patch(cluster, &volumes(), None, volume, &change, doing).await
        }
        Step::Reserve { was, uid } => {
            let doing = format!("keep volume {volume} for claim {shown}");
            match reservation(cluster, request, was.as_ref(), uid).await? {
                Some(change) => patch(cluster, &volumes(), None, volume, &change, doing).await,
                None => Ok(()),
            }
        }
        Step::Create { claim: body } => create(cluster, request, body).await,
        Step::Point => {
            let doing = format!("name volume {volume} in claim {shown}");
            let found = seen::one(cluster, &claims(), Some(namespace), claim).await;
            let found: Option<Claim> = found.map_err(RebindError::Look)?;
            let Some(found) = found.filter(|found| found.spec.volume_name.is_empty()) else {
                return Ok(());
            };
            let Meta {
                uid,
                resource_version,
                ..
            } = &found.metadata;
            let change = json!({
                "metadata": {"uid": uid, "resourceVersion": resource_version},
                "spec": {"volumeName": volume},
            });
            patch(cluster, &claims(), Some(namespace), claim, &change, doing).await
        }
        Step::Wait => Ok(()),
    }
}

fn options() -> WriteOptions {
    WriteOptions {
        dry_run: false,
        field_manager: Some(WRITER.to_owned()),
    }
}

async fn patch(
    cluster: &Cluster,
    resource: &ApiResource,
    namespace: Option<&str>,
    name: &str,
    change: &Value,
    doing: String,
) -> Result<(), RebindError> {
    let body = change.to_string();
    let options = options();
    let done = cluster.merge_patch(resource, namespace, name, None, body.as_bytes(), &options);
    done.await
        .map(drop)
        .map_err(|source| RebindError::Write { doing, source })
}

async fn create(cluster: &Cluster, request: &Request, body: &Value) -> Result<(), RebindError> {
    let Request {
        volume,
        namespace,
        claim,
        ..
    } = request;
    let is_ours = |stored: &[u8]| {
        let stored: Option<Claim> = serde_json::from_slice(stored).ok();
        stored.is_some_and(|stored| stored.spec.volume_name == *volume)
    };
    let (resource, options, body) = (claims(), options(), body.to_string());
    let made = cluster.create_once(
        &resource,
        Some(namespace),
        claim,
        body.as_bytes(),
        &options,
        is_ours,
    );
    match made.await {
        Ok(_) => Ok(()),
        // Somebody was faster; whether that claim fits is seen by the next look.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(RebindError::Write {
            doing: format!("create claim {namespace}/{claim}"),
            source,
        }),
    }
}

/// The patch that hands the volume over, good only for the volume as it is now; `None` when it is not any more as it
/// was planned for.
async fn reservation(
    cluster: &Cluster,
    request: &Request,
    was: Option<&ClaimRef>,
    uid: &str,
) -> Result<Option<Value>, RebindError> {
    let found: Option<Volume> = seen::one(cluster, &volumes(), None, &request.volume)
        .await
        .map_err(RebindError::Look)?;
    let is_as_planned = |found: &Volume| {
        found.spec.claim_ref.as_ref() == was
            && found.metadata.deletion_timestamp.is_none()
            && (was.is_none_or(|was| was.names(&request.namespace, &request.claim))
                || is_left(found))
    };
    let Some(found) = found.filter(is_as_planned) else {
        return Ok(None);
    };
    let uid = if uid.is_empty() {
        Value::Null
    } else {
        uid.into()
    };
    let patch = json!({
        "metadata": {
            "uid": found.metadata.uid,
            "resourceVersion": found.metadata.resource_version,
            "annotations": {BOUND_BY_CONTROLLER: null},
        },
        "spec": {"claimRef": {
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": request.namespace,
            "name": request.claim, "uid": uid, "resourceVersion": null, "fieldPath": null,
        }},
    });
    Ok(Some(patch))
}

/// Waits until both are bound to each other.
async fn until_bound(cluster: &Cluster, request: &Request, wait: &Wait) -> Result<(), RebindError> {
    let Request {
        volume,
        namespace,
        claim,
        ..
    } = request;
    let (resource, namespace) = (claims(), Some(namespace.as_str()));
    let has_volume = |object: &Value| object["spec"]["volumeName"] == **volume;
    let claimed = cluster.wait_until(&resource, namespace, claim, wait, |object| {
        bound(object, has_volume)
    });
    let found = match claimed.await {
        Ok(found) => found.unwrap_or_default(),
        Err(source) => return Err(not_bound(cluster, request, source).await),
    };
    let claim: Claim = seen::understood(&found, &resource).map_err(RebindError::Look)?;
    let is_back = |object: &Value| object["spec"]["claimRef"]["uid"] == *claim.metadata.uid;
    let resource = volumes();
    let kept = cluster.wait_until(&resource, None, volume, wait, |object| {
        bound(object, is_back)
    });
    match kept.await {
        Ok(_) => Ok(()),
        Err(source) => Err(not_bound(cluster, request, source).await),
    }
}

/// Whether a volume or claim is bound, and to the right one.
fn bound(object: Option<&Value>, is_right: impl Fn(&Value) -> bool) -> Look {
    let Some(object) = object else {
        return Look::NotYet("it is not there any more".to_owned());
    };
    match object["status"]["phase"].as_str() {
        Some("Bound") if is_right(object) => Look::Done,
        Some("Bound") => Look::NotYet("it is bound to another".to_owned()),
        phase => Look::NotYet(format!("it is {}", phase.unwrap_or("new"))),
    }
}

async fn not_bound(
    cluster: &Cluster,
    request: &Request,
    source: salvor_cluster::Error,
) -> RebindError {
    if source.is_cancelled() {
        return RebindError::Cancelled;
    }
    // Why is worth a try; that it is not bound is certain.
    let seen = Seen::read(cluster, Some(&request.namespace))
        .await
        .unwrap_or_default();
    let found = seen.claim(&request.namespace, &request.claim);
    let event = found.and_then(|found| seen.last_event(found));
    RebindError::NotBound {
        claim: format!("{}/{}", request.namespace, request.claim),
        why: event.map(|event| event.message.clone()).unwrap_or_default(),
        source,
    }
}
