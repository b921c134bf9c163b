//! A store whose operations wait for a [`Limiter`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;

use super::Limiter;
use crate::bucket::{BucketRules, Tier};
use crate::error::Result;
use crate::key::Key;
use crate::store::{
    Folder, GetOptions, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Upload, VersionInfo,
};

/// Every operation waits until its limiter lets it begin, and every byte until it may pass.
///
/// A body that is being read and an upload that is open hold no place among those in flight: they make progress
/// only when their owner asks, and an owner that waits for another operation would otherwise wait for itself.
/// Bytes are counted where they are handed over; a store sends the parts of an upload as fast as it can.
#[derive(Clone, Debug)]
pub struct LimitStore {
    inner: Arc<dyn ObjectStore>,
    limiter: Arc<Limiter>,
}

impl LimitStore {
    /// Wraps `inner`. Stores with the same limiter share its limits.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, limiter: Arc<Limiter>) -> Self {
        Self { inner, limiter }
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
        // First, so that nobody holds a place while it waits for its bytes.
        self.limiter.sending(body.len()).await;
        let _place = self.limiter.begin().await;
        self.inner.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        let _place = self.limiter.begin().await;
        let inner = self.inner.upload(key, mode).await?;
        Ok(Box::new(LimitUpload {
            inner,
            limiter: Arc::clone(&self.limiter),
        }))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        let _place = self.limiter.begin().await;
        let Object { info, body } = self.inner.get(key, options).await?;
        let limiter = Arc::clone(&self.limiter);
        let body = body.then(move |chunk| {
            let limiter = Arc::clone(&limiter);
            async move {
                if let Ok(chunk) = &chunk {
                    limiter.received(chunk.len()).await;
                }
                chunk
            }
        });
        Ok(Object {
            info,
            body: body.boxed(),
        })
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        let _place = self.limiter.begin().await;
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        let _place = self.limiter.begin().await;
        self.inner.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        let _place = self.limiter.begin().await;
        self.inner.list_folder(folder).await
    }

    async fn presign(&self, key: &Key, lasts: Duration) -> Result<Option<String>> {
        self.inner.presign(key, lasts).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let _place = self.limiter.begin().await;
        self.inner.delete(key).await
    }

    async fn discard_unfinished(&self, folder: &str) -> Result<usize> {
        let _place = self.limiter.begin().await;
        self.inner.discard_unfinished(folder).await
    }

    async fn rules(&self) -> Result<Option<BucketRules>> {
        let _place = self.limiter.begin().await;
        self.inner.rules().await
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<Timestamp>> {
        let _place = self.limiter.begin().await;
        self.inner.retained_until(key).await
    }

    async fn retain(&self, key: &Key, mode: &str, until: Timestamp) -> Result<()> {
        let _place = self.limiter.begin().await;
        self.inner.retain(key, mode, until).await
    }

    async fn tier(&self, key: &Key) -> Result<Tier> {
        let _place = self.limiter.begin().await;
        self.inner.tier(key).await
    }

    async fn set_class(&self, key: &Key, class: &str) -> Result<()> {
        let _place = self.limiter.begin().await;
        self.inner.set_class(key, class).await
    }

    async fn thaw(&self, key: &Key) -> Result<()> {
        let _place = self.limiter.begin().await;
        self.inner.thaw(key).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<VersionInfo>> {
        let _place = self.limiter.begin().await;
        self.inner.list_versions(prefix).await
    }
}

struct LimitUpload {
    inner: Box<dyn Upload>,
    limiter: Arc<Limiter>,
}

#[async_trait]
impl Upload for LimitUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.limiter.sending(bytes.len()).await;
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<ObjectInfo> {
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::limit::Limits;
    use crate::memory::MemoryStore;

    /// A store that holds `object` with 100 kB.
    async fn store(limits: Limits) -> LimitStore {
        let inner = Arc::new(MemoryStore::new());
        let key = Key::new("object").expect("a key");
        let body = Bytes::from(vec![7; 100_000]);
        let put = inner.put(&key, body, PutMode::Create).await;
        put.expect("written");
        LimitStore::new(inner, Arc::new(Limiter::new(limits)))
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_pass_at_their_rate_each_way() {
        let store = store(Limits {
            upload: Some(10_000),
            download: Some(50_000),
            ..Limits::default()
        })
        .await;
        let seconds = |began: Instant| began.elapsed().as_secs_f64();
        let key = Key::new("object").expect("a key");
        let began = Instant::now();
        let object = store.get(&key, GetOptions::default()).await.expect("there");
        assert_eq!(object.bytes(1 << 20).await.expect("read").len(), 100_000);
        let read = seconds(began);
        assert!((1.5..=2.0).contains(&read), "{read}");

        let other = Key::new("other").expect("a key");
        let began = Instant::now();
        let body = Bytes::from(vec![7; 50_000]);
        let put = store.put(&other, body.clone(), PutMode::Overwrite).await;
        put.expect("written");
        let mut upload = store
            .upload(&other, PutMode::Overwrite)
            .await
            .expect("begun");
        upload.write(body).await.expect("taken");
        upload.finish().await.expect("written");
        let wrote = seconds(began);
        assert!((9.5..=10.0).contains(&wrote), "{wrote}");
    }

    #[tokio::test(start_paused = true)]
    async fn operations_begin_at_their_rate() {
        let store = store(Limits {
            requests: Some(10),
            ..Limits::default()
        })
        .await;
        let began = Instant::now();
        for _ in 0..50 {
            let key = Key::new("object").expect("a key");
            store.head(&key).await.expect("there");
        }
        let took = began.elapsed().as_secs_f64();
        assert!((4.5..=5.0).contains(&took), "{took}");
    }
}
