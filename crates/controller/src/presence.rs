//! Whether somebody serves the kinds of a namespace.

use std::time::Duration;

use jiff::Timestamp;
use salvor_cluster::{ApiResource, Cluster, ListOptions};
use serde_json::Value;

use crate::server::LEASE;

/// How far the clocks of this machine and of a server may be apart.
const SKEW: Duration = Duration::from_secs(60);

/// Who serves the kinds of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// This program, under this identity.
    Salvor(String),
    /// A Velero server, as this deployment.
    Velero(String),
}

/// Looks for a server of a namespace: a lease that is being renewed, or a Velero deployment that is ready.
///
/// # Errors
/// The lease cannot be read. Where only the deployments cannot be listed, there is no Velero server.
pub async fn find_server(
    cluster: &Cluster,
    namespace: &str,
) -> Result<Option<Presence>, salvor_cluster::Error> {
    let leases = ApiResource::known("coordination.k8s.io", "v1", "Lease", "leases", true);
    let found = cluster.get(&leases, Some(namespace), LEASE).await?;
    let lease: Option<Value> = found.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(holder) = lease.and_then(|lease| holder(&lease, Timestamp::now())) {
        return Ok(Some(Presence::Salvor(holder)));
    }
    let velero = velero_server(cluster, namespace).await;
    Ok(velero.ok().flatten().map(Presence::Velero))
}

/// Who holds a lease, if it is being renewed.
fn holder(lease: &Value, now: Timestamp) -> Option<String> {
    let spec = &lease["spec"];
    let renewed: Timestamp = spec["renewTime"].as_str()?.parse().ok()?;
    let lasts = spec["leaseDurationSeconds"].as_i64()?;
    let slack = i64::try_from(SKEW.as_secs()).unwrap_or(i64::MAX);
    let is_live = now.as_second() <= renewed.as_second() + lasts + slack;
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    (is_live && !holder.is_empty()).then(|| holder.to_owned())
}

/// The name of a deployment of a Velero server that is ready.
pub(crate) async fn velero_server(
    cluster: &Cluster,
    namespace: &str,
) -> Result<Option<String>, salvor_cluster::Error> {
    let deployments = ApiResource::known("apps", "v1", "Deployment", "deployments", true);
    let mut pager = cluster.pager(&deployments, Some(namespace), ListOptions::default());
    while let Some(page) = pager.next_page().await? {
        let found = page
            .items()
            .filter_map(|item| serde_json::from_slice::<Value>(item).ok())
            .find(runs_velero);
        if let Some(deployment) = found {
            let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

/// True for a deployment with a ready pod that runs `velero server`.
fn runs_velero(deployment: &Value) -> bool {
    let ready = deployment["status"]["readyReplicas"].as_u64().unwrap_or(0) > 0;
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    let word = |value: &Value, at: usize| value[at].as_str().unwrap_or_default().to_owned();
    let serves = |container: &Value| {
        let program = word(&container["command"], 0);
        program.rsplit('/').next() == Some("velero")
            && (word(&container["args"], 0) == "server"
                || word(&container["command"], 1) == "server")
    };
    ready
        && containers
            .as_array()
            .is_some_and(|all| all.iter().any(serves))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_counts_while_it_is_renewed() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("a time");
        for (renewed, name, live) in [
            ("2026-11-20T11:59:50.000000Z", "pod-a", true),
            // A clock that is a little ahead or behind.
            ("2026-11-20T12:00:30.000000Z", "pod-a", true),
            ("2026-11-20T11:59:00.000000Z", "pod-a", true),
            ("2026-11-20T11:58:00.000000Z", "pod-a", false),
            // Given up in good order.
            ("2026-11-20T11:59:59.000000Z", "", false),
        ] {
            let lease = json!({"spec": {
                "holderIdentity": name, "renewTime": renewed, "leaseDurationSeconds": 15,
            }});
            assert_eq!(holder(&lease, now).is_some(), live, "{renewed} {name}");
        }
        assert_eq!(holder(&json!({"spec": {}}), now), None);
    }
}
