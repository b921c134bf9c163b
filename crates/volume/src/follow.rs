//! A copy of some objects, kept up to date by a watch for as long as it is held.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use salvor_cluster::{
    ApiResource, Cluster, Error, ErrorKind, ListOptions, WatchEvent, WatchOptions,
};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Which objects.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) resource: ApiResource,
    pub(crate) namespace: String,
    pub(crate) label_selector: Option<String>,
    pub(crate) field_selector: Option<String>,
}

impl Selection {
    /// One object.
    pub(crate) fn one(resource: ApiResource, namespace: &str, name: &str) -> Self {
        Self {
            resource,
            namespace: namespace.to_owned(),
            label_selector: None,
            field_selector: Some(format!("metadata.name={name}")),
        }
    }

    /// All of a namespace.
    pub(crate) fn all(resource: ApiResource, namespace: &str) -> Self {
        Self {
            resource,
            namespace: namespace.to_owned(),
            label_selector: None,
            field_selector: None,
        }
    }
}

type Objects = Arc<RwLock<BTreeMap<String, Arc<Value>>>>;

/// The copy. It may lag behind.
#[derive(Debug)]
pub(crate) struct Followed {
    objects: Objects,
    changed: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followed {
    /// Begins to follow.
    pub(crate) fn start(cluster: &Cluster, selection: Selection) -> Self {
        let objects = Objects::default();
        let (sender, changed) = watch::channel(0);
        let follower = Follower {
            cluster: cluster.clone(),
            selection,
            objects: Arc::clone(&objects),
            changed: sender,
        };
        let task = tokio::spawn(async move { follower.follow().await });
        Self {
            objects,
            changed,
            task,
        }
    }

    /// Waits for the first list, then for each change.
    ///
    /// Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The follower ends with this only.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the objects were listed once.
    pub(crate) fn is_synced(&self) -> bool {
        *self.changed.borrow() > 0
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Value>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.get(name).cloned()
    }

    pub(crate) fn list(&self) -> Vec<Arc<Value>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.values().cloned().collect()
    }
}

struct Follower {
    cluster: Cluster,
    selection: Selection,
    objects: Objects,
    changed: watch::Sender<u64>,
}

impl Follower {
    async fn follow(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(error) = self.list_and_watch(&mut pause).await else {
                continue;
            };
            if error.kind() != ErrorKind::Gone {
                let kind = &self.selection.resource.kind;
                tracing::warn!(%error, kind, "the watch is taken up anew");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn list_and_watch(&self, pause: &mut Duration) -> Result<(), Error> {
        let Selection {
            resource,
            namespace,
            label_selector,
            field_selector,
        } = &self.selection;
        let namespace = Some(namespace.as_str());
        let options = ListOptions {
            label_selector: label_selector.clone(),
            field_selector: field_selector.clone(),
            ..ListOptions::default()
        };
        let mut pager = self.cluster.pager(resource, namespace, options);
        let mut found = BTreeMap::new();
        while let Some(page) = pager.next_page().await? {
            found.extend(page.items().filter_map(read));
        }
        *self.objects.write().unwrap_or_else(PoisonError::into_inner) = found;
        self.tell();
        let mut version = pager.resource_version().unwrap_or_default().to_owned();
        loop {
            let options = WatchOptions {
                label_selector: label_selector.clone(),
                field_selector: field_selector.clone(),
                resource_version: version.clone(),
            };
            let mut watch = self.cluster.watch(resource, namespace, &options).await?;
            *pause = FIRST_PAUSE;
            while let Some(event) = watch.next().await? {
                let (bytes, is_there) = match event {
                    WatchEvent::Bookmark(at) => {
                        version = at;
                        continue;
                    }
                    WatchEvent::Added(bytes) | WatchEvent::Modified(bytes) => (bytes, true),
                    WatchEvent::Deleted(bytes) => (bytes, false),
                };
                let Some((name, object)) = read(&bytes) else {
                    continue;
                };
                if let Some(at) = object["metadata"]["resourceVersion"].as_str() {
                    at.clone_into(&mut version);
                }
                {
                    let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
                    if is_there {
                        objects.insert(name, object);
                    } else {
                        objects.remove(&name);
                    }
                }
                self.tell();
            }
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

fn read(bytes: &[u8]) -> Option<(String, Arc<Value>)> {
    let object: Value = serde_json::from_slice(bytes).ok()?;
    let name = object["metadata"]["name"].as_str()?.to_owned();
    Some((name, Arc::new(object)))
}
