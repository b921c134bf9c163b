//! What happens to the cluster in the demo, apart from how it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use salvor_api::resource::ObjectKey;
use salvor_api::velero::{
    Backup, BackupPhase, DEFAULT_ITEM_OPERATION_TIMEOUT, Restore, RestorePhase,
};
use salvor_apiserver::{ApiServer, Options};
use salvor_cluster::{
    ApiResource, Cluster, DeleteOptions, DiscoverOptions, Discovery, Look, Propagation, Wait,
    WriteOptions,
};
use salvor_location::{Location, RunId};
use salvor_objects::backup::{self, BackupOptions, BackupOutcome, BackupRequest, ProgressSink};
use salvor_objects::diff::comparison::{self, Comparison, Snapshot};
use salvor_objects::restore::plan::Action;
use salvor_objects::restore::{
    self, Observer, RestoreOptions, RestoreOutcome, RestorePlan, RestoreRequest, Source,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::platform::{self, Planned, running};
use crate::command::read;
use crate::exit::{Exit, Failure};

/// Name of the backup.
pub(super) const BACKUP: &str = "demo";
/// The namespace that is lost.
pub(super) const LOST_NAMESPACE: &str = "production";
/// The definition that is lost, with its resources.
pub(super) const LOST_DEFINITION: &str = "applications.argoproj.io";
/// Seed of UIDs: two demos look alike.
const SEED: u64 = 20_261_120;

/// How long deleted things may take to go; in this process they take milliseconds.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// The cluster of the demo.
pub(super) struct DemoCluster {
    server: ApiServer,
    /// Its client.
    pub(super) cluster: Cluster,
}

/// How much is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) objects: usize,
    pub(super) namespaces: usize,
    pub(super) kinds: usize,
}

impl DemoCluster {
    /// Starts an empty cluster and fills it with the platform.
    pub(super) async fn start() -> Result<(Self, Size), Failure> {
        let server = ApiServer::memory(Options {
            seed: Some(SEED),
            ..Options::default()
        });
        let cluster = Cluster::from_service(server.clone(), "demo");
        let this = Self { server, cluster };
        let size = this.fill(platform::objects()).await?;
        Ok((this, size))
    }

    /// Objects in the cluster now.
    pub(super) fn object_count(&self) -> usize {
        self.server.object_count().unwrap_or(0)
    }

    async fn fill(&self, objects: Vec<Planned>) -> Result<Size, Failure> {
        let mut kinds = BTreeMap::new();
        let mut uids: BTreeMap<(String, String, String), String> = BTreeMap::new();
        let mut discovery = self.discover().await?;
        for (number, planned) in objects.iter().enumerate() {
            if discovery.resolve(planned.resource).is_none() {
                // A definition was created since the last look.
                discovery = self.discover().await?;
            }
            let resource = resolve(&discovery, planned.resource)?;
            let mut object = planned.object.clone();
            let namespace = planned.namespace().unwrap_or_default().to_owned();
            if let Some((kind, name)) = &planned.owner {
                let key = ((*kind).to_owned(), namespace.clone(), name.clone());
                object["metadata"]["ownerReferences"] = json!([{
                    "apiVersion": "apps/v1", "kind": kind, "name": name,
                    "uid": uids.get(&key), "controller": true, "blockOwnerDeletion": true,
                }]);
            }
            let created = self
                .cluster
                .create(
                    resource,
                    planned.namespace(),
                    object.to_string().as_bytes(),
                    &WriteOptions::default(),
                )
                .await
                .map_err(|error| Failure::from(error).while_doing("fill the demo cluster"))?;
            let created: Value = serde_json::from_slice(&created)
                .map_err(|error| Failure::caused(Exit::Internal, "fill the demo cluster", error))?;
            self.set_status(resource, planned, &created, number).await?;
            let (kind, name) = planned.kind_and_name();
            *kinds.entry(kind.to_owned()).or_insert(0usize) += 1;
            if let Some(uid) = created["metadata"]["uid"].as_str() {
                let key = (kind.to_owned(), namespace, name.to_owned());
                uids.insert(key, uid.to_owned());
            }
        }
        Ok(Size {
            objects: self.object_count(),
            namespaces: kinds.get("Namespace").copied().unwrap_or(0),
            kinds: kinds.len(),
        })
    }

    /// Says of an object what its controller would.
    async fn set_status(
        &self,
        resource: &ApiResource,
        planned: &Planned,
        created: &Value,
        number: usize,
    ) -> Result<(), Failure> {
        let since = created["metadata"]["creationTimestamp"].as_str();
        let status = running::status(planned, since.unwrap_or_default(), number);
        let Some(status) = status else {
            return Ok(());
        };
        self.cluster
            .merge_patch(
                resource,
                planned.namespace(),
                planned.kind_and_name().1,
                Some("status"),
                json!({"status": status}).to_string().as_bytes(),
                &WriteOptions::default(),
            )
            .await
            .map_err(|error| Failure::from(error).while_doing("fill the demo cluster"))?;
        Ok(())
    }

    async fn discover(&self) -> Result<Discovery, Failure> {
        let found = self.cluster.discover(DiscoverOptions::default()).await;
        found.map_err(|error| Failure::from(error).while_doing("look at the demo cluster"))
    }

    /// Everything that is in the cluster now.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, Failure> {
        Ok(Snapshot::read(&self.cluster).await?)
    }

    /// Compares the cluster with what it was.
    pub(super) async fn compare_with(&self, before: &Snapshot) -> Result<Comparison, Failure> {
        Ok(comparison::compare(before, &self.snapshot().await?))
    }

    /// Deletes a namespace and a definition, and waits until they are gone.
    pub(super) async fn destroy(&self, cancel: &CancellationToken) -> Result<u64, Failure> {
        let wait = Wait {
            timeout: GONE_WITHIN,
            cancel: cancel.clone(),
        };
        let before = self.object_count();
        let definitions = "customresourcedefinitions.apiextensions.k8s.io";
        let discovery = self.discover().await?;
        for (resource, name) in [
            ("namespaces", LOST_NAMESPACE),
            (definitions, LOST_DEFINITION),
        ] {
            let resource = resolve(&discovery, resource)?;
            let options = DeleteOptions {
                propagation: Some(Propagation::Background),
                ..DeleteOptions::default()
            };
            self.cluster.delete(resource, None, name, &options).await?;
            let gone = |object: Option<&Value>| match object {
                None => Look::Done,
                Some(_) => Look::NotYet("it is still there".to_owned()),
            };
            self.cluster
                .wait_until(resource, None, name, &wait, gone)
                .await?;
        }
        Ok((before - self.object_count().min(before)) as u64)
    }

    /// Backs everything up.
    pub(super) async fn back_up(
        &self,
        location: &Location,
        cancel: &CancellationToken,
    ) -> Result<BackupOutcome, Failure> {
        let request = BackupRequest {
            cluster: self.cluster.clone(),
            location: location.clone(),
            backup: Backup::named("velero", BACKUP),
            options: BackupOptions {
                cancel: cancel.clone(),
                ..BackupOptions::default()
            },
        };
        let outcome = Box::pin(backup::run(request, ProgressSink::none())).await?;
        if outcome.backup.status.phase == BackupPhase::Completed {
            return Ok(outcome);
        }
        let phase = &outcome.backup.status.phase;
        let errors = serde_json::to_string(&outcome.results.errors).unwrap_or_default();
        Err(Failure::new(
            Exit::Partial,
            format!("the demo's backup is {phase}: {errors}"),
        ))
    }

    /// The request to restore everything under a name.
    pub(super) async fn restore_request(
        &self,
        location: &Location,
        name: &str,
    ) -> Result<RestoreRequest, Failure> {
        let source = Source::open(location, &read::backup_name(BACKUP)?).await?;
        let mut restore = Restore::named("velero", name);
        restore.spec.backup_name = BACKUP.to_owned();
        restore.spec.item_operation_timeout = DEFAULT_ITEM_OPERATION_TIMEOUT;
        Ok(RestoreRequest {
            cluster: self.cluster.clone(),
            source,
            restore,
            options: RestoreOptions {
                relink_owners: true,
                ..RestoreOptions::default()
            },
        })
    }
}

/// The plan of a request, which is also the comparison of backup and cluster.
pub(super) async fn compare(
    request: &RestoreRequest,
    cancel: &CancellationToken,
) -> Result<RestorePlan, Failure> {
    Ok(Box::pin(restore::plan(request, cancel)).await?)
}

/// Carries a plan out; anything but a complete restore is a failure.
pub(super) async fn recover(
    request: &RestoreRequest,
    location: &Location,
    plan: RestorePlan,
    cancel: &CancellationToken,
) -> Result<RestoreOutcome, Failure> {
    let run = RunId::generate();
    let observer = Observer::none();
    let outcome = Box::pin(restore::apply(
        request, location, plan, &run, &observer, cancel,
    ))
    .await?;
    if *outcome.phase() == RestorePhase::Completed {
        return Ok(outcome);
    }
    let errors = serde_json::to_string(&outcome.results.errors).unwrap_or_default();
    Err(Failure::new(
        Exit::Partial,
        format!("the demo's restore is {}: {errors}", outcome.phase()),
    ))
}

/// What a comparison found, by what it means for the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// In the backup, not in the cluster.
    pub(super) missing: Vec<ObjectKey>,
    /// In both, and different.
    pub(super) changed: u64,
    /// In both, and equal.
    pub(super) equal: u64,
}

impl Compared {
    /// Reads a plan as a comparison.
    pub(super) fn of(plan: &RestorePlan) -> Self {
        let mut this = Self::default();
        for entry in &plan.entries {
            let key = entry.target(&plan.header.rules);
            match entry.action {
                Action::Create => this.missing.push(key),
                Action::Update | Action::Recreate | Action::Conflict | Action::Blocked => {
                    this.changed += 1;
                }
                Action::Unchanged => this.equal += 1,
                Action::Skip => {}
            }
        }
        this
    }

    /// What is missing, in a few lines: cluster-scoped objects by name, the others by number.
    pub(super) fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut counts: BTreeMap<&str, BTreeMap<String, u64>> = BTreeMap::new();
        for key in &self.missing {
            let resource = key.resource.to_string();
            match &key.namespace {
                None => lines.push(format!("{resource} {}", key.name)),
                Some(namespace) => {
                    *counts
                        .entry(namespace)
                        .or_default()
                        .entry(resource)
                        .or_default() += 1;
                }
            }
        }
        for (namespace, resources) in counts {
            let mut resources: Vec<(String, u64)> = resources.into_iter().collect();
            resources.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            let counted: Vec<String> = resources
                .iter()
                .map(|(resource, count)| format!("{count} {resource}"))
                .collect();
            lines.push(format!("{namespace}: {}", counted.join(", ")));
        }
        lines
    }
}

fn resolve<'a>(discovery: &'a Discovery, resource: &str) -> Result<&'a ApiResource, Failure> {
    discovery.resolve(resource).ok_or_else(|| {
        let what = format!("the demo cluster does not serve {resource}");
        Failure::new(Exit::Internal, what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_platform_is_up() {
        let (demo, _) = DemoCluster::start().await.expect("filled");
        let discovery = demo.discover().await.expect("discovery");
        let mut seen = BTreeMap::new();
        for planned in platform::objects() {
            let resource = resolve(&discovery, planned.resource).expect("served");
            let (kind, name) = planned.kind_and_name();
            let found = demo.cluster.get(resource, planned.namespace(), name).await;
            let found = found.expect("answered").expect("there");
            let object: Value = serde_json::from_slice(&found).expect("JSON");
            let (spec, status) = (&object["spec"], &object["status"]);
            let up = match kind {
                "Pod" => {
                    status["phase"] == "Running" && status["containerStatuses"][0]["ready"] == true
                }
                "Deployment" | "ReplicaSet" | "StatefulSet" => {
                    status["readyReplicas"] == spec["replicas"]
                }
                "PersistentVolume" | "PersistentVolumeClaim" => status["phase"] == "Bound",
                _ => continue,
            };
            assert!(up, "{kind} {name}: {status}");
            *seen.entry(kind.to_owned()).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6, "{seen:?}");
    }

    #[test]
    fn what_is_missing_is_named_or_counted() {
        let key = |resource: &str, name: &str| {
            let resource = resource.parse().expect("a resource");
            match name.split_once('/') {
                Some((namespace, name)) => ObjectKey::namespaced(resource, namespace, name),
                None => ObjectKey::cluster(resource, name),
            }
        };
        let compared = Compared {
            missing: vec![
                key("services", "b/x"),
                key("pods", "b/x"),
                key("pods", "b/y"),
                key("namespaces", "b"),
                key("secrets", "a/x"),
            ],
            ..Compared::default()
        };
        assert_eq!(
            compared.summary(),
            ["namespaces b", "a: 1 secrets", "b: 2 pods, 1 services"]
        );
    }
}
