//! The cluster, and where it serves snapshots.

use std::time::Duration;

use salvor_api::resource::GroupResource;
use salvor_cluster::{
    ApiResource, Cluster, DeleteOptions, DiscoverOptions, Discovery, ErrorKind, ListOptions, Look,
    Wait, WriteOptions,
};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::CsiError;

const GROUP: &str = "snapshot.storage.k8s.io";
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
const GROUP_OF_GROUPS: &str = "groupsnapshot.storage.k8s.io";
const VERSIONS_OF_GROUPS: [&str; 3] = ["v1", "v1beta2", "v1beta1"];

/// How long the removal of an object is waited for. Drivers delete within seconds; what takes longer is left to them.
pub(super) const REMOVAL: Duration = Duration::from_secs(60);

/// Takes, restores and deletes snapshots of one cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshots {
    pub(super) cluster: Cluster,
    pub(super) snapshots: ApiResource,
    pub(super) contents: ApiResource,
    pub(super) classes: ApiResource,
    pub(super) groups: Option<Groups>,
    pub(super) removal: Duration,
}

/// Where snapshots of several volumes at once are served.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    pub(super) snapshots: ApiResource,
    pub(super) contents: ApiResource,
    pub(super) classes: ApiResource,
}

/// What a look at an object says.
pub(super) enum Judged {
    Done,
    NotYet(String),
    /// It will not come.
    Failed(String),
}

/// A time limit over several waits.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    ends: Instant,
    cancel: CancellationToken,
}

impl Limit {
    pub(super) fn new(time: Duration, cancel: &CancellationToken) -> Self {
        Self {
            ends: Instant::now() + time,
            cancel: cancel.clone(),
        }
    }

    pub(super) fn wait(&self) -> Wait {
        Wait {
            timeout: self.ends.saturating_duration_since(Instant::now()),
            cancel: self.cancel.clone(),
        }
    }
}

impl Snapshots {
    /// Of a cluster that was discovered in all its versions; `None` when it serves no snapshots.
    #[must_use]
    pub fn of(cluster: &Cluster, discovery: &Discovery) -> Option<Self> {
        let find = |group: &str, resource: &str, versions: &[&str]| {
            let name = GroupResource::new(resource, group);
            let version = |version: &&str| discovery.find_version(&name, version).cloned();
            versions.iter().find_map(version)
        };
        let served = |resource| find(GROUP, resource, &VERSIONS);
        let grouped = |resource| find(GROUP_OF_GROUPS, resource, &VERSIONS_OF_GROUPS);
        let groups = || {
            Some(Groups {
                snapshots: grouped("volumegroupsnapshots")?,
                contents: grouped("volumegroupsnapshotcontents")?,
                classes: grouped("volumegroupsnapshotclasses")?,
            })
        };
        Some(Self {
            cluster: cluster.clone(),
            snapshots: served("volumesnapshots")?,
            contents: served("volumesnapshotcontents")?,
            classes: served("volumesnapshotclasses")?,
            groups: groups(),
            removal: REMOVAL,
        })
    }

    /// Asks a cluster whether it serves snapshots; `None` when it does not.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn find(cluster: &Cluster) -> Result<Option<Self>, CsiError> {
        let all = DiscoverOptions { all_versions: true };
        let discovery = cluster.discover(all).await;
        let discovery = discovery.map_err(CsiError::cluster("look for snapshot kinds"))?;
        Ok(Self::of(cluster, &discovery))
    }

    /// With another patience for objects that are being removed.
    #[must_use]
    pub fn with_removal_time(self, removal: Duration) -> Self {
        Self { removal, ..self }
    }

    /// Whether several volumes can be snapshotted at once.
    #[must_use]
    pub fn serves_groups(&self) -> bool {
        self.groups.is_some()
    }

    pub(super) async fn read(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, CsiError> {
        let what = describe(resource, namespace, name);
        let body = self.cluster.get(resource, namespace, name).await;
        let body = body.map_err(CsiError::cluster(format!("read {what}")))?;
        body.map(|body| parse(&body, &what)).transpose()
    }

    pub(super) async fn list(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        selector: Option<String>,
    ) -> Result<Vec<Value>, CsiError> {
        let options = ListOptions {
            label_selector: selector,
            ..ListOptions::default()
        };
        let what = &resource.resource;
        let mut pager = self.cluster.pager(resource, namespace, options);
        let mut all = Vec::new();
        loop {
            let page = pager.next_page().await;
            let page = page.map_err(CsiError::cluster(format!("list {what}")))?;
            let Some(page) = page else { return Ok(all) };
            for item in page.items() {
                all.push(parse(item, what)?);
            }
        }
    }

    /// Creates an object, or takes the one that is there when `is_ours` says so.
    pub(super) async fn ensure(
        &self,
        resource: &ApiResource,
        object: &Value,
        is_ours: impl Fn(&Value) -> bool,
    ) -> Result<Value, CsiError> {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let namespace = metadata["namespace"].as_str();
        let what = describe(resource, namespace, name);
        let ours = |bytes: &[u8]| {
            let object = serde_json::from_slice::<Value>(bytes);
            object.is_ok_and(|object| is_ours(&object))
        };
        let (body, options) = (object.to_string(), WriteOptions::default());
        let created = self
            .cluster
            .create_once(resource, namespace, name, body.as_bytes(), &options, ours)
            .await;
        let refused = match created {
            Ok(stored) => return parse(&stored, &what),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => error,
            Err(error) => return Err(CsiError::cluster(format!("create {what}"))(error)),
        };
        match self.read(resource, namespace, name).await? {
            Some(there) if is_ours(&there) => Ok(there),
            Some(_) => Err(CsiError::Foreign {
                what,
                reason: "an object of that name was made by somebody else".to_owned(),
            }),
            None => Err(CsiError::cluster(format!("create {what}"))(refused)),
        }
    }

    /// Merges `patch` into an object; `None` when it is not there.
    pub(super) async fn merge(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<Option<Value>, CsiError> {
        let what = describe(resource, namespace, name);
        let (body, options) = (patch.to_string(), WriteOptions::default());
        let merged = self
            .cluster
            .merge_patch(resource, namespace, name, None, body.as_bytes(), &options)
            .await;
        match merged {
            Ok(stored) => parse(&stored, &what).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(CsiError::cluster(format!("change {what}"))(error)),
        }
    }

    /// Deletes this incarnation of an object. One that is gone, or another of its name, is left alone.
    pub(super) async fn remove(
        &self,
        resource: &ApiResource,
        object: &Value,
    ) -> Result<(), CsiError> {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let namespace = metadata["namespace"].as_str();
        let options = DeleteOptions {
            uid: metadata["uid"].as_str().map(str::to_owned),
            ..DeleteOptions::default()
        };
        let deleted = self
            .cluster
            .delete(resource, namespace, name, &options)
            .await;
        match deleted {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            Err(error) => {
                let what = describe(resource, namespace, name);
                Err(CsiError::cluster(format!("delete {what}"))(error))
            }
        }
    }

    /// Waits until this incarnation of an object is gone.
    pub(super) async fn gone(
        &self,
        resource: &ApiResource,
        object: &Value,
    ) -> Result<(), CsiError> {
        let metadata = &object["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let uid = metadata["uid"].clone();
        let limit = Limit::new(self.removal, &CancellationToken::new());
        let judge = |seen: Option<&Value>| match seen {
            Some(seen) if seen["metadata"]["uid"] == uid => Judged::NotYet(match error_of(seen) {
                Some(message) => format!("it is not removed: {message}"),
                None => format!("it is not removed yet{}", finalizers(seen)),
            }),
            _ => Judged::Done,
        };
        let namespace = metadata["namespace"].as_str();
        self.wait(resource, namespace, name, &limit, judge)
            .await
            .map(drop)
    }

    /// Reads an object until `judge` is content, and returns it as it is then.
    pub(super) async fn wait(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        limit: &Limit,
        judge: impl Fn(Option<&Value>) -> Judged,
    ) -> Result<Value, CsiError> {
        let what = describe(resource, namespace, name);
        let look = |object: Option<&Value>| match judge(object) {
            Judged::Done | Judged::Failed(_) => Look::Done,
            Judged::NotYet(seen) => Look::NotYet(seen),
        };
        let waited = self
            .cluster
            .wait_until(resource, namespace, name, &limit.wait(), look)
            .await;
        let body = match waited {
            Ok(body) => body,
            Err(error) if error.kind() == ErrorKind::Timeout => {
                let seen = error.reason().to_owned();
                return Err(CsiError::TimedOut { what, seen });
            }
            Err(error) => return Err(CsiError::cluster(format!("wait for {what}"))(error)),
        };
        let object = body.map(|body| parse(&body, &what)).transpose()?;
        match judge(object.as_ref()) {
            Judged::Failed(message) | Judged::NotYet(message) => {
                Err(CsiError::Refused { what, message })
            }
            Judged::Done => Ok(object.unwrap_or_default()),
        }
    }
}

/// `volumesnapshots shop/velero-data-x2x4b`.
pub(super) fn describe(resource: &ApiResource, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{} {namespace}/{name}", resource.resource),
        None => format!("{} {name}", resource.resource),
    }
}

fn parse(bytes: &[u8], what: &str) -> Result<Value, CsiError> {
    serde_json::from_slice(bytes).map_err(|source| CsiError::Malformed {
        what: what.to_owned(),
        source,
    })
}

fn finalizers(object: &Value) -> String {
    let list = object["metadata"]["finalizers"].as_array();
    let names: Vec<&str> = list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(": finalizers hold it: {}", names.join(", ")),
    }
}

/// What the driver or the controller says is wrong.
pub(super) fn error_of(object: &Value) -> Option<&str> {
    object["status"]["error"]["message"]
        .as_str()
        .filter(|message| !message.is_empty())
}

/// Codes of answers of drivers after which another try gets the same. Everything else is tried again by the controllers
/// themselves, so it is waited for.
const FINAL: [&str; 3] = ["InvalidArgument", "Unimplemented", "OutOfRange"];

/// What an object that is not as it should be yet says.
pub(super) fn not_yet(object: &Value, otherwise: &str) -> Judged {
    let Some(message) = error_of(object) else {
        return Judged::NotYet(otherwise.to_owned());
    };
    let is_final = |code: &&str| message.contains(&format!("code = {code}"));
    match FINAL.iter().any(is_final) {
        true => Judged::Failed(message.to_owned()),
        false => Judged::NotYet(message.to_owned()),
    }
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
