//! A store below a folder of another store.

use std::path::PathBuf;
use std::sync::Arc;
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
    folder_prefix,
};

/// Moves every key below `prefix`.
#[derive(Clone, Debug)]
pub struct PrefixStore {
    inner: Arc<dyn ObjectStore>,
    prefix: String,
}

impl PrefixStore {
    /// `prefix` of `inner`; the inner store itself when the prefix is empty.
    pub fn wrap(inner: Arc<dyn ObjectStore>, prefix: &str) -> Arc<dyn ObjectStore> {
        let prefix = folder_prefix(prefix.trim_start_matches('/'));
        if prefix.is_empty() {
            inner
        } else {
            Arc::new(Self { inner, prefix })
        }
    }

    fn inner_key(&self, key: &Key) -> Result<Key> {
        Ok(Key::new(format!("{}{key}", self.prefix))?)
    }

    fn outer(&self, mut info: ObjectInfo) -> Result<ObjectInfo> {
        info.key = outer_key(&self.prefix, &info.key)?;
        Ok(info)
    }
}

fn outer_key(prefix: &str, key: &Key) -> Result<Key> {
    Ok(Key::new(
        key.as_str().strip_prefix(prefix).unwrap_or(key.as_str()),
    )?)
}

#[async_trait]
impl ObjectStore for PrefixStore {
    fn describe(&self) -> String {
        format!(
            "{}/{}",
            self.inner.describe().trim_end_matches('/'),
            self.prefix.trim_end_matches('/')
        )
    }

    fn excludes(&self) -> bool {
        self.inner.excludes()
    }

    fn local_root(&self) -> Option<PathBuf> {
        self.inner.local_root().map(|root| root.join(&self.prefix))
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        self.outer(self.inner.put(&self.inner_key(key)?, body, mode).await?)
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        let inner = self.inner.upload(&self.inner_key(key)?, mode).await?;
        Ok(Box::new(PrefixUpload {
            inner,
            prefix: self.prefix.clone(),
        }))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        let Object { info, body } = self.inner.get(&self.inner_key(key)?, options).await?;
        Ok(Object {
            info: self.outer(info)?,
            body,
        })
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.outer(self.inner.head(&self.inner_key(key)?).await?)
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        let inner = self.inner.list(&format!("{}{prefix}", self.prefix)).await?;
        let ours = self.clone();
        Ok(inner.map(move |info| ours.outer(info?)).boxed())
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        let mut result = self
            .inner
            .list_folder(&format!("{}{folder}", self.prefix))
            .await?;
        for info in &mut result.objects {
            info.key = outer_key(&self.prefix, &info.key)?;
        }
        Ok(result)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(&self.inner_key(key)?).await
    }

    async fn presign(&self, key: &Key, lasts: Duration) -> Result<Option<String>> {
        self.inner.presign(&self.inner_key(key)?, lasts).await
    }

    async fn discard_unfinished(&self, folder: &str) -> Result<usize> {
        let folder = format!("{}{folder}", self.prefix);
        self.inner.discard_unfinished(&folder).await
    }

    async fn rules(&self) -> Result<Option<BucketRules>> {
        let rules = self.inner.rules().await?;
        Ok(rules.map(|rules| rules.below(&self.prefix)))
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<Timestamp>> {
        self.inner.retained_until(&self.inner_key(key)?).await
    }

    async fn retain(&self, key: &Key, mode: &str, until: Timestamp) -> Result<()> {
        let key = self.inner_key(key)?;
        self.inner.retain(&key, mode, until).await
    }

    async fn tier(&self, key: &Key) -> Result<Tier> {
        self.inner.tier(&self.inner_key(key)?).await
    }

    async fn set_class(&self, key: &Key, class: &str) -> Result<()> {
        self.inner.set_class(&self.inner_key(key)?, class).await
    }

    async fn thaw(&self, key: &Key) -> Result<()> {
        self.inner.thaw(&self.inner_key(key)?).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<VersionInfo>> {
        let mut versions = self
            .inner
            .list_versions(&format!("{}{prefix}", self.prefix))
            .await?;
        for version in &mut versions {
            version.object.key = outer_key(&self.prefix, &version.object.key)?;
        }
        Ok(versions)
    }
}

struct PrefixUpload {
    inner: Box<dyn Upload>,
    prefix: String,
}

#[async_trait]
impl Upload for PrefixUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<ObjectInfo> {
        let mut info = self.inner.finish().await?;
        info.key = outer_key(&self.prefix, &info.key)?;
        Ok(info)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
