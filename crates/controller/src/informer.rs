//! A copy of all objects of one kind in the server's namespace, kept up to date by a watch.
//!
//! It may lag behind. Decisions may be made from it, since every write that follows from one names the version
//! that it was made from and is refused when that is old.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use salvor_api::velero::Kind;
use salvor_cluster::{Cluster, ErrorKind, ListOptions, WatchEvent, WatchOptions};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::kinds::{decode, resource_of};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The copy. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Informer<K> {
    shared: Arc<Shared<K>>,
}

#[derive(Debug)]
struct Shared<K> {
    objects: RwLock<BTreeMap<String, Arc<K>>>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<String>>>,
    synced: watch::Sender<bool>,
}

impl<K: Kind> Informer<K> {
    /// Begins to follow the objects, in a task that ends when `cancel` is.
    #[must_use]
    pub(crate) fn start(
        cluster: &Cluster,
        namespace: &str,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            objects: RwLock::new(BTreeMap::new()),
            listeners: Mutex::new(Vec::new()),
            synced: watch::Sender::new(false),
        });
        let follower = Follower {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            shared: Arc::clone(&shared),
        };
        let cancel = cancel.clone();
        tasks.spawn(async move {
            cancel.run_until_cancelled(follower.follow()).await;
        });
        Self { shared }
    }

    /// Waits until the objects were listed once.
    pub(crate) async fn synced(&self) {
        // Fails only when the sender is gone, which `self` holds.
        let _ = self.shared.synced.subscribe().wait_for(|done| *done).await;
    }

    /// One object.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<Arc<K>> {
        read(&self.shared.objects).get(name).cloned()
    }

    /// All objects, by name.
    #[must_use]
    pub(crate) fn list(&self) -> Vec<Arc<K>> {
        read(&self.shared.objects).values().cloned().collect()
    }

    /// Names of the objects that are there, then of each that is new, changed or went away.
    #[must_use]
    pub(crate) fn changes(&self) -> mpsc::UnboundedReceiver<String> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let objects = read(&self.shared.objects);
        for name in objects.keys() {
            let _ = sender.send(name.clone());
        }
        // Under the lock of the objects, so that no change falls between the two.
        let mut listeners = lock(&self.shared.listeners);
        listeners.push(sender);
        receiver
    }
}

struct Follower<K> {
    cluster: Cluster,
    namespace: String,
    shared: Arc<Shared<K>>,
}

impl<K: Kind> Follower<K> {
    async fn follow(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.list_and_watch(&mut pause).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            // A version that the server has forgotten is ordinary; the list brings the copy up to date.
            if error.kind() != ErrorKind::Gone {
                tracing::warn!(%error, kind = K::KIND, "the watch is taken up anew");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn list_and_watch(
        &self,
        pause: &mut Duration,
    ) -> Result<std::convert::Infallible, salvor_cluster::Error> {
        let resource = resource_of::<K>();
        let namespace = Some(self.namespace.as_str());
        let mut pager = self
            .cluster
            .pager(&resource, namespace, ListOptions::default());
        let mut found = BTreeMap::new();
        while let Some(page) = pager.next_page().await? {
            for item in page.items() {
                if let Some(object) = read_object::<K>(item) {
                    found.insert(object.metadata().name.clone(), Arc::new(object));
                }
            }
        }
        self.replace(found);
        self.shared.synced.send_replace(true);
        *pause = FIRST_PAUSE;
        let mut version = pager.resource_version().unwrap_or_default().to_owned();
        loop {
            let options = WatchOptions {
                resource_version: version.clone(),
                ..WatchOptions::default()
            };
            let mut watch = self.cluster.watch(&resource, namespace, &options).await?;
            while let Some(event) = watch.next().await? {
                match event {
                    WatchEvent::Bookmark(at) => version = at,
                    WatchEvent::Added(bytes) | WatchEvent::Modified(bytes) => {
                        if let Some(object) = read_object::<K>(&bytes) {
                            version.clone_from(&object.metadata().resource_version);
                            self.put(object);
                        }
                    }
                    WatchEvent::Deleted(bytes) => {
                        if let Some(object) = read_object::<K>(&bytes) {
                            version.clone_from(&object.metadata().resource_version);
                            self.remove(&object.metadata().name);
                        }
                    }
                }
            }
        }
    }

    fn put(&self, object: K) {
        let name = object.metadata().name.clone();
        write(&self.shared.objects).insert(name.clone(), Arc::new(object));
        self.tell(&name);
    }

    fn remove(&self, name: &str) {
        write(&self.shared.objects).remove(name);
        self.tell(name);
    }

    fn replace(&self, found: BTreeMap<String, Arc<K>>) {
        let mut changes = Vec::new();
        {
            let mut objects = write(&self.shared.objects);
            let before = std::mem::replace(&mut *objects, found);
            let version = |object: &Arc<K>| object.metadata().resource_version.clone();
            for (name, object) in objects.iter() {
                let known = before.get(name);
                if known.is_none_or(|known| version(known) != version(object)) {
                    changes.push(name.clone());
                }
            }
            let gone = |name: &String| !objects.contains_key(name);
            changes.extend(before.into_keys().filter(gone));
        }
        for change in changes {
            self.tell(&change);
        }
    }

    fn tell(&self, name: &str) {
        lock(&self.shared.listeners).retain(|listener| listener.send(name.to_owned()).is_ok());
    }
}

/// An object that is not of its kind is left out, and said so: one such object must not stop the rest.
fn read_object<K: Kind>(bytes: &[u8]) -> Option<K> {
    match decode::<K>("", bytes) {
        Ok(object) => Some(object),
        Err(error) => {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
            tracing::error!(error = &error as &dyn std::error::Error, object = %shown, "an object is left out");
            None
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
