//! Counts what passes between us and a store.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;

use crate::bucket::{BucketRules, Tier};
use crate::error::Result;
use crate::key::Key;
use crate::store::{
    Folder, GetOptions, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Upload, VersionInfo,
};

/// Running totals. Reading them while requests run gives a moment's view.
#[derive(Debug, Default)]
pub struct Meter {
    requests: AtomicU64,
    written: AtomicU64,
    read: AtomicU64,
}

impl Meter {
    /// Requests begun.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes handed to the store.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes received from the store.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Counts into a shared [`Meter`].
#[derive(Clone, Debug)]
pub struct MeterStore {
    inner: Arc<dyn ObjectStore>,
    meter: Arc<Meter>,
}

impl MeterStore {
    /// Wraps `inner` with a fresh meter.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            meter: Arc::default(),
        }
    }

    /// Wraps `inner` with a meter that counts on, as for a store that was opened anew.
    #[must_use]
    pub fn with_meter(self, meter: Arc<Meter>) -> Self {
        Self { meter, ..self }
    }

    /// The totals.
    #[must_use]
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }
}

#[async_trait]
impl ObjectStore for MeterStore {
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
        self.meter.request();
        self.meter.wrote(body.len());
        self.inner.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        self.meter.request();
        let inner = self.inner.upload(key, mode).await?;
        Ok(Box::new(MeterUpload {
            inner,
            meter: self.meter(),
        }))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.meter.request();
        let Object { info, body } = self.inner.get(key, options).await?;
        let meter = self.meter();
        let body = body.inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                meter.read.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
        Ok(Object {
            info,
            body: body.boxed(),
        })
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.meter.request();
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        self.meter.request();
        self.inner.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        self.meter.request();
        self.inner.list_folder(folder).await
    }

    async fn presign(&self, key: &Key, lasts: Duration) -> Result<Option<String>> {
        self.inner.presign(key, lasts).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.meter.request();
        self.inner.delete(key).await
    }

    async fn discard_unfinished(&self, folder: &str) -> Result<usize> {
        self.meter.request();
        self.inner.discard_unfinished(folder).await
    }

    async fn rules(&self) -> Result<Option<BucketRules>> {
        self.meter.request();
        self.inner.rules().await
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<Timestamp>> {
        self.meter.request();
        self.inner.retained_until(key).await
    }

    async fn retain(&self, key: &Key, mode: &str, until: Timestamp) -> Result<()> {
        self.meter.request();
        self.inner.retain(key, mode, until).await
    }

    async fn tier(&self, key: &Key) -> Result<Tier> {
        self.meter.request();
        self.inner.tier(key).await
    }

    async fn set_class(&self, key: &Key, class: &str) -> Result<()> {
        self.meter.request();
        self.inner.set_class(key, class).await
    }

    async fn thaw(&self, key: &Key) -> Result<()> {
        self.meter.request();
        self.inner.thaw(key).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<VersionInfo>> {
        self.meter.request();
        self.inner.list_versions(prefix).await
    }
}

struct MeterUpload {
    inner: Box<dyn Upload>,
    meter: Arc<Meter>,
}

#[async_trait]
impl Upload for MeterUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.meter.wrote(bytes.len());
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<ObjectInfo> {
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
