//! How what runs is asked: etcd by its own protocol, the API by Kubernetes'.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use jiff::Timestamp;
use salvor_cluster::{Cluster, ConnectOptions, DiscoverOptions, ListOptions};
use salvor_etcd::client::{Access, Endpoint, Hash, Member as Client};
use salvor_etcd::history::{self, State};
use salvor_etcd::kubernetes::{Path, Place};
use salvor_etcd::points::{self, Placement};
use salvor_etcd::save;
use salvor_etcd::snapshot::Snapshot;
use salvor_location::Location;
use salvor_runbook::StepError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::control_plane::plane::Member;

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Id of its cluster.
    pub cluster: u64,
    /// Its own id.
    pub member: u64,
    /// Revision of its store.
    pub revision: u64,
    /// Its version.
    pub version: String,
    /// Whether it knows a leader.
    pub has_leader: bool,
}

/// What a restore takes away from what is there now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// The revision that is there now.
    pub revision: u64,
    /// What becomes of keys, by the kind of their objects.
    pub kinds: BTreeMap<String, Kind>,
}

/// What becomes of the objects of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    /// They are gone: made since the snapshot.
    pub gone: u64,
    /// They come back: deleted since.
    pub back: u64,
    /// They are as they were: changed since.
    pub older: u64,
}

impl Loss {
    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> Kind {
        let mut total = Kind::default();
        for kind in self.kinds.values() {
            total.gone += kind.gone;
            total.back += kind.back;
            total.older += kind.older;
        }
        total
    }

    /// Compares what is now with what is restored.
    fn between(now: &State, then: &State) -> Self {
        let mut loss = Self {
            revision: now.revision,
            kinds: BTreeMap::new(),
        };
        for (key, revision) in &now.keys {
            match then.keys.get(key) {
                None => loss.kind(key).gone += 1,
                Some(then) if then != revision => loss.kind(key).older += 1,
                Some(_) => {}
            }
        }
        for key in then.keys.keys().filter(|key| !now.keys.contains_key(*key)) {
            loss.kind(key).back += 1;
        }
        loss
    }

    fn kind(&mut self, key: &[u8]) -> &mut Kind {
        let name = match Path::of(key) {
            Some(path) => Place::guessed(path).collection(),
            None => "other keys".to_owned(),
        };
        self.kinds.entry(name).or_default()
    }
}

/// How what runs is asked. Production has [`Live`]; a rehearsal without processes has a world of its own.
#[async_trait]
pub trait Running: fmt::Debug + Send + Sync {
    /// What a member says of itself.
    ///
    /// # Errors
    /// It does not answer.
    async fn member(&self, member: &Member) -> Result<MemberStatus, StepError>;

    /// Its hash of all keys up to a revision.
    ///
    /// # Errors
    /// It does not answer.
    async fn hash(&self, member: &Member, revision: u64) -> Result<Hash, StepError>;

    /// What a restore of the snapshot would take away.
    ///
    /// # Errors
    /// No member gives what it has.
    async fn loss(&self, members: &[Member], snapshot: &Arc<Snapshot>) -> Result<Loss, StepError>;

    /// Keeps what is there now, and says where.
    ///
    /// # Errors
    /// It is not kept.
    async fn keep(&self, members: &[Member], run: &str) -> Result<Value, StepError>;

    /// Whether the API answers.
    ///
    /// # Errors
    /// It does not, and why.
    async fn api(&self) -> Result<(), StepError>;

    /// What nodes are not ready, or have not reported since then; `None` where nobody can be asked.
    ///
    /// # Errors
    /// The API does not answer.
    async fn unready(&self, since: Timestamp) -> Result<Option<Vec<String>>, StepError>;
}

/// A control plane over the network.
#[derive(Debug)]
pub struct Live {
    /// How etcd is asked.
    pub access: Access,
    /// How the API is asked; it is not where nothing says.
    pub api: Option<ConnectOptions>,
    /// Where the safety point goes; else a file in `folder`.
    pub location: Option<Location>,
    /// For a snapshot that is kept as a file, which only its owner may read.
    pub folder: PathBuf,
    /// For files without a name.
    pub work: PathBuf,
}

fn endpoints(members: &[Member]) -> Vec<String> {
    members
        .iter()
        .flat_map(|member| member.client_urls.iter().cloned())
        .collect()
}

impl Live {
    async fn client(&self, member: &Member) -> Result<Client, StepError> {
        let mut last: StepError = format!("member {} has no clientUrls", member.name).into();
        for url in &member.client_urls {
            let endpoint = Endpoint::new(url, &self.access)?;
            match Client::connect(&endpoint, &self.access).await {
                Ok(client) => return Ok(client),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    async fn cluster(&self) -> Result<Option<Cluster>, StepError> {
        match &self.api {
            Some(options) => Ok(Some(Cluster::connect(options).await?)),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Running for Live {
    async fn member(&self, member: &Member) -> Result<MemberStatus, StepError> {
        let status = self.client(member).await?.status().await?;
        Ok(MemberStatus {
            cluster: status.cluster,
            member: status.member,
            revision: status.revision,
            version: status.version,
            has_leader: status.leader != 0,
        })
    }

    async fn hash(&self, member: &Member, revision: u64) -> Result<Hash, StepError> {
        Ok(self.client(member).await?.hash(revision).await?)
    }

    async fn loss(&self, members: &[Member], snapshot: &Arc<Snapshot>) -> Result<Loss, StepError> {
        let stop = CancellationToken::new();
        let endpoints = endpoints(members);
        let (_, file) = save::save_unnamed(&endpoints, &self.access, &self.work, &stop).await?;
        let snapshot = Arc::clone(snapshot);
        let compared = tokio::task::spawn_blocking(move || {
            let go_on = AtomicBool::new(false);
            let now = Snapshot::of_file(file, std::path::Path::new("what is there now"))?;
            let now = history::state(&mut now.into(), None, |_| true, &go_on)?;
            let then = history::state(&mut snapshot.try_clone()?.into(), None, |_| true, &go_on)?;
            Ok::<_, StepError>(Loss::between(&now, &then))
        });
        compared.await?
    }

    async fn keep(&self, members: &[Member], run: &str) -> Result<Value, StepError> {
        let stop = CancellationToken::new();
        let endpoints = endpoints(members);
        let Some(location) = &self.location else {
            let file = self.folder.join(format!("before-restore-{run}.db"));
            std::fs::create_dir_all(&self.folder)?;
            let saved = save::save(&endpoints, &self.access, &file, &stop).await?;
            return Ok(json!({"file": saved.path, "revision": saved.status.store_revision()}));
        };
        let reason = format!("before run {run} restores the control plane");
        let request = points::Request {
            endpoints: &endpoints,
            access: &self.access,
            folder: &self.work,
            reason: Some(&reason),
            placement: Placement::Chain(None),
            clock: &salvor_etcd::Clock::default(),
        };
        let (saved, point) = points::save(location, &request, &stop).await?;
        Ok(json!({
            "point": point.id,
            "location": location.name(),
            "revision": saved.status.store_revision(),
        }))
    }

    async fn api(&self) -> Result<(), StepError> {
        if let Some(cluster) = self.cluster().await? {
            cluster.server_version().await?;
            // A server without its store knows its version.
            cluster.identity().await?;
        }
        Ok(())
    }

    async fn unready(&self, since: Timestamp) -> Result<Option<Vec<String>>, StepError> {
        let Some(cluster) = self.cluster().await? else {
            return Ok(None);
        };
        let discovery = cluster.discover(DiscoverOptions::default()).await?;
        let nodes = listed(&cluster, discovery.resolve("nodes"), None).await?;
        let leases = listed(
            &cluster,
            discovery.resolve("leases.coordination.k8s.io"),
            Some("kube-node-lease"),
        )
        .await?;
        Ok(Some(nodes_unready(&nodes, &leases, since)))
    }
}

async fn listed(
    cluster: &Cluster,
    resource: Option<&salvor_cluster::ApiResource>,
    namespace: Option<&str>,
) -> Result<Vec<Value>, StepError> {
    let Some(resource) = resource else {
        return Err("the API does not serve nodes and their leases yet".into());
    };
    let mut pager = cluster.pager(resource, namespace, ListOptions::default());
    let mut items = Vec::new();
    while let Some(page) = pager.next_page().await? {
        for item in page.items() {
            items.push(serde_json::from_slice(item)?);
        }
    }
    Ok(items)
}

/// A restored node says that it is ready, as it did then: only a lease that was renewed since shows that its kubelet is there.
fn nodes_unready(nodes: &[Value], leases: &[Value], since: Timestamp) -> Vec<String> {
    let name = |object: &Value| {
        object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let mut unready = Vec::new();
    for node in nodes {
        let conditions = node["status"]["conditions"].as_array();
        let ready = conditions
            .into_iter()
            .flatten()
            .any(|one| one["type"] == "Ready" && one["status"] == "True");
        let lease = leases.iter().find(|lease| name(lease) == name(node));
        let renewed = lease.and_then(|lease| lease["spec"]["renewTime"].as_str());
        let renewed: Option<Timestamp> = renewed.and_then(|time| time.parse().ok());
        match (ready, renewed) {
            (false, _) => unready.push(format!("{} is not ready", name(node))),
            (true, Some(renewed)) if renewed >= since => {}
            (true, _) => unready.push(format!("{} has not reported since", name(node))),
        }
    }
    unready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_only_was_ready_once_is_not() {
        let node = |name: &str, status: &str| json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        let lease = |name: &str, time: &str| json!({"metadata": {"name": name}, "spec": {"renewTime": time}});
        let since: Timestamp = "2026-11-22T03:00:00Z".parse().expect("a time");
        let nodes = [
            node("a", "True"),
            node("b", "True"),
            node("c", "False"),
            node("d", "True"),
        ];
        let leases = [
            lease("a", "2026-11-22T03:00:01.000000Z"),
            lease("b", "2026-11-22T02:59:59.000000Z"),
            lease("c", "2026-11-22T03:00:01.000000Z"),
        ];
        assert_eq!(
            nodes_unready(&nodes, &leases, since),
            [
                "b has not reported since",
                "c is not ready",
                "d has not reported since"
            ]
        );
    }
}
