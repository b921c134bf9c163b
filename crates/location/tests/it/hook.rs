//! A store that does something else before each operation: what another process may do meanwhile.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use salvor_storage::{
    ErrorKind, Folder, GetOptions, Key, MetaStream, Object, ObjectInfo, ObjectStore, PutMode,
    Result, Upload,
};

/// Called with the name of an operation and its key or prefix.
pub(crate) type Hook = Arc<dyn Fn(&'static str, &str) -> BoxFuture<'static, ()> + Send + Sync>;

/// Calls its hook, then the inner store.
#[derive(Clone)]
pub(crate) struct HookStore {
    inner: Arc<dyn ObjectStore>,
    hook: Hook,
    creating: Creating,
    vouched: bool,
}

/// What creating a key comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Creating {
    /// What the inner store makes of it.
    AsInner,
    /// An overwrite.
    Overwrites,
    /// A look whether the key is taken, and then an overwrite.
    LooksFirst,
}

impl HookStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, hook: Hook) -> Self {
        Self {
            inner,
            hook,
            creating: Creating::AsInner,
            vouched: true,
        }
    }

    /// A store that says that creating excludes, and then does not look whether the key is taken.
    pub(crate) fn careless(mut self) -> Self {
        self.creating = Creating::Overwrites;
        self
    }

    /// A store that refuses a second creation, but not one at the same moment.
    pub(crate) fn racy(mut self) -> Self {
        self.creating = Creating::LooksFirst;
        self
    }

    /// A store of which nothing is known, such as one at an address of its own.
    pub(crate) fn unknown(mut self) -> Self {
        self.vouched = false;
        self
    }

    async fn mode(&self, key: &Key, mode: PutMode) -> Result<PutMode> {
        if mode == PutMode::Overwrite || self.creating == Creating::AsInner {
            return Ok(mode);
        }
        if self.creating == Creating::LooksFirst {
            match self.inner.head(key).await {
                Ok(_) => {
                    let kind = ErrorKind::AlreadyExists;
                    return Err(salvor_storage::Error::new(kind, "create", key));
                }
                Err(error) if error.is_not_found() => tokio::task::yield_now().await,
                Err(error) => return Err(error),
            }
        }
        Ok(PutMode::Overwrite)
    }
}

impl fmt::Debug for HookStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl ObjectStore for HookStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn excludes(&self) -> bool {
        self.vouched && self.inner.excludes()
    }

    fn local_root(&self) -> Option<PathBuf> {
        self.inner.local_root()
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        (self.hook)("put", key.as_str()).await;
        let mode = self.mode(key, mode).await?;
        self.inner.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        (self.hook)("upload", key.as_str()).await;
        let mode = self.mode(key, mode).await?;
        let inner = self.inner.upload(key, mode).await?;
        Ok(Box::new(HookUpload {
            inner,
            key: key.clone(),
            hook: Arc::clone(&self.hook),
        }))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        (self.hook)("get", key.as_str()).await;
        self.inner.get(key, options).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        (self.hook)("head", key.as_str()).await;
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        (self.hook)("list", prefix).await;
        self.inner.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        (self.hook)("list_folder", folder).await;
        self.inner.list_folder(folder).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        (self.hook)("delete", key.as_str()).await;
        self.inner.delete(key).await
    }

    async fn discard_unfinished(&self, folder: &str) -> Result<usize> {
        (self.hook)("discard_unfinished", folder).await;
        self.inner.discard_unfinished(folder).await
    }
}

struct HookUpload {
    inner: Box<dyn Upload>,
    key: Key,
    hook: Hook,
}

#[async_trait]
impl Upload for HookUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        (self.hook)("write", self.key.as_str()).await;
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<ObjectInfo> {
        (self.hook)("finish", self.key.as_str()).await;
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort().await
    }
}
