//! Bounds how many requests a store sees at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Result;
use crate::key::Key;
use crate::store::{
    Folder, GetOptions, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Upload, VersionInfo,
};

/// At most so many requests in flight; further ones wait in order.
///
/// A body that is being read and an upload that is open hold no place: they make progress only when their
/// owner asks, and an owner that waits for another request would otherwise wait for itself.
#[derive(Clone, Debug)]
pub struct LimitStore {
    inner: Arc<dyn ObjectStore>,
    places: Arc<Semaphore>,
}

impl LimitStore {
    /// Wraps `inner`; `requests` of zero is taken as one.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, requests: usize) -> Self {
        Self {
            inner,
            places: Arc::new(Semaphore::new(requests.max(1))),
        }
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed; if it were, an unlimited request beats none.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}

#[async_trait]
impl ObjectStore for LimitStore {
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
        let _place = self.place().await;
        self.inner.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        let _place = self.place().await;
        self.inner.upload(key, mode).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        let _place = self.place().await;
        self.inner.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        let _place = self.place().await;
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        let _place = self.place().await;
        self.inner.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        let _place = self.place().await;
        self.inner.list_folder(folder).await
    }

    async fn presign(&self, key: &Key, lasts: Duration) -> Result<Option<String>> {
        self.inner.presign(key, lasts).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let _place = self.place().await;
        self.inner.delete(key).await
    }

    async fn discard_unfinished(&self, folder: &str) -> Result<usize> {
        let _place = self.place().await;
        self.inner.discard_unfinished(folder).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<VersionInfo>> {
        let _place = self.place().await;
        self.inner.list_versions(prefix).await
    }
}
