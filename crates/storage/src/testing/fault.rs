//! A store that fails where it is told to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use crate::bucket::{BucketRules, Tier};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::{
    Folder, GetOptions, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Upload,
};

/// What goes wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not happen, and says so with this kind.
    Before(ErrorKind),
    /// It does not happen, and the caller cannot know: a time-out.
    BeforeInDoubt,
    /// It happens, and is reported as failed: a lost answer.
    AfterWithError,
    /// It does not happen, and is reported as done: a lying store. Writes and deletes only.
    Lie,
    /// The process dies before it: this and every later operation fails without effect.
    CrashBefore,
    /// The process dies after it: it happens, its caller and every later operation see failure.
    CrashAfter,
}

/// One operation that was seen, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `put`, `upload`, `write`, `finish`, `get`, `head`, `list`, `list_folder`, `delete`.
    pub name: &'static str,
    /// Key or prefix.
    pub key: String,
}

/// Wraps a store, numbers its operations from zero, and fails the ones it was told to. Clones share it.
#[derive(Clone, Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    faults: BTreeMap<usize, Fault>,
    by_key: Vec<(String, Fault)>,
    log: Vec<Operation>,
    crashed: bool,
}

impl FaultStore {
    /// Wraps `inner` without faults.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            plan: Arc::default(),
        }
    }

    /// Fails the operation with this number.
    pub fn at(&self, operation: usize, fault: Fault) {
        self.plan().faults.insert(operation, fault);
    }

    /// Fails every operation whose key contains `text`, until [`FaultStore::heal`].
    pub fn on_key(&self, text: &str, fault: Fault) {
        self.plan().by_key.push((text.to_owned(), fault));
    }

    /// Forgets all faults, a crash included.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.faults.clear();
        plan.by_key.clear();
        plan.crashed = false;
    }

    /// Number of operations seen.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.plan().log.len()
    }

    /// The operations seen.
    #[must_use]
    pub fn log(&self) -> Vec<Operation> {
        self.plan().log.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn next(&self, name: &'static str, key: &str) -> Option<Fault> {
        let mut plan = self.plan();
        if plan.crashed {
            return Some(Fault::CrashBefore);
        }
        let number = plan.log.len();
        plan.log.push(Operation {
            name,
            key: key.to_owned(),
        });
        let by_key = plan
            .by_key
            .iter()
            .find(|(text, _)| key.contains(text.as_str()))
            .map(|(_, f)| *f);
        let fault = plan.faults.get(&number).copied().or(by_key);
        if matches!(fault, Some(Fault::CrashBefore | Fault::CrashAfter)) {
            plan.crashed = true;
        }
        fault
    }

    async fn run<T>(
        &self,
        name: &'static str,
        key: &str,
        lie: Option<T>,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let error = |kind, detail: &str| {
            Error::new(kind, name, key)
                .in_store(self.describe())
                .with_detail(detail)
        };
        match self.next(name, key) {
            None => work.await,
            Some(Fault::Before(kind)) => Err(error(kind, "injected")),
            Some(Fault::BeforeInDoubt) => {
                Err(error(ErrorKind::Transient, "injected, in doubt").maybe_happened())
            }
            Some(Fault::AfterWithError) => {
                work.await?;
                Err(error(ErrorKind::Transient, "injected, answer lost").maybe_happened())
            }
            Some(Fault::Lie) => match lie {
                Some(value) => Ok(value),
                None => work.await,
            },
            Some(Fault::CrashBefore) => Err(error(ErrorKind::Other, "crashed").maybe_happened()),
            Some(Fault::CrashAfter) => {
                work.await?;
                Err(error(ErrorKind::Other, "crashed").maybe_happened())
            }
        }
    }
}

fn invented(key: &Key, size: usize) -> ObjectInfo {
    ObjectInfo {
        key: key.clone(),
        size: size as u64,
        modified: None,
        etag: None,
        version: None,
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn excludes(&self) -> bool {
        self.inner.excludes()
    }

    fn local_root(&self) -> Option<PathBuf> {
        self.inner.local_root()
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        let lie = invented(key, body.len());
        self.run(
            "put",
            key.as_str(),
            Some(lie),
            self.inner.put(key, body, mode),
        )
        .await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        let inner = self
            .run("upload", key.as_str(), None, self.inner.upload(key, mode))
            .await?;
        Ok(Box::new(FaultUpload {
            store: self.clone(),
            key: key.clone(),
            inner,
            size: 0,
        }))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.run("get", key.as_str(), None, self.inner.get(key, options))
            .await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.run("head", key.as_str(), None, self.inner.head(key))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        self.run("list", prefix, None, self.inner.list(prefix))
            .await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        self.run("list_folder", folder, None, self.inner.list_folder(folder))
            .await
    }

    async fn presign(&self, key: &Key, lasts: Duration) -> Result<Option<String>> {
        self.inner.presign(key, lasts).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.run("delete", key.as_str(), Some(()), self.inner.delete(key))
            .await
    }

    async fn discard_unfinished(&self, folder: &str) -> Result<usize> {
        let inner = self.inner.discard_unfinished(folder);
        self.run("discard_unfinished", folder, None, inner).await
    }

    async fn rules(&self) -> Result<Option<BucketRules>> {
        self.run("rules", "", None, self.inner.rules()).await
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<Timestamp>> {
        let inner = self.inner.retained_until(key);
        self.run("retained_until", key.as_str(), None, inner).await
    }

    async fn retain(&self, key: &Key, mode: &str, until: Timestamp) -> Result<()> {
        let inner = self.inner.retain(key, mode, until);
        self.run("retain", key.as_str(), None, inner).await
    }

    async fn tier(&self, key: &Key) -> Result<Tier> {
        self.run("tier", key.as_str(), None, self.inner.tier(key))
            .await
    }

    async fn set_class(&self, key: &Key, class: &str) -> Result<()> {
        let inner = self.inner.set_class(key, class);
        self.run("set_class", key.as_str(), None, inner).await
    }

    async fn thaw(&self, key: &Key) -> Result<()> {
        self.run("thaw", key.as_str(), None, self.inner.thaw(key))
            .await
    }
}

struct FaultUpload {
    store: FaultStore,
    key: Key,
    inner: Box<dyn Upload>,
    size: usize,
}

#[async_trait]
impl Upload for FaultUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.size += bytes.len();
        let store = self.store.clone();
        store
            .run(
                "write",
                self.key.as_str(),
                Some(()),
                self.inner.write(bytes),
            )
            .await
    }

    async fn finish(self: Box<Self>) -> Result<ObjectInfo> {
        let Self {
            store,
            key,
            inner,
            size,
        } = *self;
        store
            .run(
                "finish",
                key.as_str(),
                Some(invented(&key, size)),
                inner.finish(),
            )
            .await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
