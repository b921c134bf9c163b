//! A store of which nothing is known, claimed to exclude: so that the suite tries whether it does.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use salvor_storage::{
    Folder, GetOptions, Key, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Result, Upload,
    VersionInfo,
};

#[derive(Debug)]
pub(crate) struct Excluding(Arc<dyn ObjectStore>);

impl Excluding {
    pub(crate) fn wrap(inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        assert!(
            !inner.excludes(),
            "a test server is no store that is known to exclude"
        );
        Arc::new(Self(inner))
    }
}

#[async_trait]
impl ObjectStore for Excluding {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn excludes(&self) -> bool {
        true
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        self.0.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        self.0.upload(key, mode).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.0.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.0.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        self.0.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        self.0.list_folder(folder).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.0.delete(key).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<VersionInfo>> {
        self.0.list_versions(prefix).await
    }
}
