//! An object store whose bytes an extension keeps: the contract of `docs/formats/providers.md` behind the trait
//! that every other store implements.
//!
//! A crate of its own, because extensions are shown Kubernetes' objects and stores know none: neither may know
//! the other (`xtask/src/tidy/walls.rs`).
//!
//! Start with [`open`].

mod failure;

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use salvor_extension::provider::Body;
use salvor_extension::provider::object_store::{
    ListEntry, ListPage, ListRequest, ObjectStoreClient, PAGE, Put, StoredObject,
};
use salvor_extension::{Provider, ProviderKind, Providers};
use salvor_storage::url::EXTENSION;
use salvor_storage::{
    ByteStream, Error, ErrorKind, Folder, GetOptions, Key, MetaStream, Object, ObjectInfo,
    ObjectStore, PrefixStore, PutMode, Result, StoreUrl, Upload,
};

use self::failure::{of_read, of_write};

/// Option of a URL `extension://bucket/prefix?provider=example.com/store` that names the provider. All others
/// are told to it with every question.
pub const PROVIDER: &str = "provider";

/// Opens the store that a URL names, which one of the providers serves.
///
/// # Errors
/// The URL names no provider, or none that is known.
pub fn open(url: &StoreUrl, providers: &Providers) -> Result<Arc<dyn ObjectStore>> {
    let refuse = |detail: String| {
        Error::new(ErrorKind::Invalid, "open", url.to_string()).with_detail(detail)
    };
    let name = url
        .options
        .get(PROVIDER)
        .ok_or_else(|| refuse("the option `provider` is missing".to_owned()))?;
    let provider = providers
        .get(ProviderKind::ObjectStore, name)
        .ok_or_else(|| {
            refuse(format!(
                "no definition of an object store `{name}` was given"
            ))
        })?;
    let mut config = url.options.clone();
    config.remove(PROVIDER);
    config.insert("bucket".to_owned(), url.bucket.clone());
    let store = ExtensionStore::new(&provider.with_config(&config), &url.bucket);
    Ok(PrefixStore::wrap(Arc::new(store), &url.path))
}

/// A store that a provider serves. Clones share its connections.
#[derive(Clone, Debug)]
pub struct ExtensionStore {
    client: ObjectStoreClient,
    name: String,
}

impl ExtensionStore {
    /// The store of a provider, which is told the bucket by its configuration.
    #[must_use]
    pub fn new(provider: &Provider, bucket: &str) -> Self {
        Self {
            name: format!("{EXTENSION}://{bucket} of {}", provider.name()),
            client: ObjectStoreClient::new(provider.clone()),
        }
    }

    fn damaged(&self, operation: &'static str, key: impl std::fmt::Display, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, operation, key)
            .in_store(self.describe())
            .with_detail(what)
    }

    fn info(&self, operation: &'static str, object: StoredObject) -> Result<ObjectInfo> {
        let key = Key::new(object.key).map_err(Error::from)?;
        let modified = object.modified.map(|text| text.parse()).transpose();
        let modified =
            modified.map_err(|_| self.damaged(operation, &key, "its time is not RFC 3339"))?;
        Ok(ObjectInfo {
            key,
            size: object.size,
            modified,
            etag: object.etag,
            version: None,
        })
    }

    async fn page(&self, prefix: &str, after: &str, folder: bool) -> Result<ListPage> {
        let request = ListRequest {
            prefix,
            after,
            folder,
            limit: PAGE,
        };
        let page = self.client.list(request).await;
        page.map_err(|error| of_read("list", prefix, &self.name, error))
    }
}

#[async_trait]
impl ObjectStore for ExtensionStore {
    fn describe(&self) -> String {
        self.name.clone()
    }

    /// The contract asks for it; a location tries it all the same.
    fn excludes(&self) -> bool {
        true
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        let mut upload = self.upload(key, mode).await?;
        upload.write(body).await?;
        upload.finish().await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        let operation = verb(mode);
        let put = self
            .client
            .put(key.as_str(), mode == PutMode::Create)
            .map_err(|error| of_write(operation, key, &self.name, error))?;
        Ok(Box::new(ExtensionUpload {
            store: self.clone(),
            put: Some(put),
            key: key.clone(),
            operation,
        }))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        if options.version.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "read a version of", key)
                .in_store(self.describe()));
        }
        let got = self.client.get(key.as_str(), options.range.clone()).await;
        let (object, body) = got.map_err(|error| of_read("read", key, &self.name, error))?;
        let info = self.info("read", object)?;
        let length = match options.range {
            None => info.size,
            Some(Range { start, end }) if start <= end && end <= info.size => end - start,
            Some(_) => {
                return Err(self.damaged("read", key, "a part outside of the object was answered"));
            }
        };
        let body = exactly(self.clone(), key.clone(), body, length);
        Ok(Object { info, body })
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        let seen = self.client.stat(key.as_str()).await;
        let object = seen.map_err(|error| of_read("look up", key, &self.name, error))?;
        self.info("look up", object)
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        let prefix = folder_prefix(prefix);
        let first = self.page(&prefix, "", false).await?;
        let state = Some((self.clone(), prefix, first));
        // Pages follow one another; a position only grows, so they come to an end.
        let pages = stream::try_unfold(state, |state| async move {
            let Some((store, prefix, page)) = state else {
                return Ok::<_, Error>(None);
            };
            let last = page.entries.last().map(|entry| entry.position().to_owned());
            let infos: Vec<Result<ObjectInfo>> = page
                .entries
                .into_iter()
                .filter_map(|entry| match entry {
                    ListEntry::Object(object) => Some(store.info("list", object)),
                    ListEntry::Folder { .. } => None,
                })
                .collect();
            let next = match last {
                Some(last) if page.more => {
                    let page = store.page(&prefix, &last, false).await?;
                    Some((store, prefix, page))
                }
                _ => None,
            };
            Ok(Some((stream::iter(infos), next)))
        });
        Ok(pages.try_flatten().boxed())
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        let prefix = folder_prefix(folder);
        let mut found = Folder::default();
        let mut after = String::new();
        loop {
            let page = self.page(&prefix, &after, true).await?;
            if let Some(last) = page.entries.last() {
                last.position().clone_into(&mut after);
            }
            for entry in page.entries {
                match entry {
                    ListEntry::Object(object) => found.objects.push(self.info("list", object)?),
                    ListEntry::Folder { folder } => {
                        let name = folder[prefix.len()..].trim_end_matches('/');
                        found.folders.push(name.to_owned());
                    }
                }
            }
            if !page.more {
                // They came in the order of their prefixes, where `a-b/` stands before `a/`.
                found.folders.sort_unstable();
                return Ok(found);
            }
        }
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let deleted = self.client.delete(key.as_str()).await;
        deleted.map_err(|error| of_write("delete", key, &self.name, error))
    }
}

fn verb(mode: PutMode) -> &'static str {
    match mode {
        PutMode::Create => "create",
        PutMode::Overwrite => "write",
    }
}

/// `folder` with one `/` at its end, or nothing.
fn folder_prefix(folder: &str) -> String {
    match folder.trim_end_matches('/') {
        "" => String::new(),
        folder => format!("{folder}/"),
    }
}

/// The bytes of a body, which must be as many as the object was said to have.
fn exactly(store: ExtensionStore, key: Key, body: Body, length: u64) -> ByteStream {
    stream::try_unfold((store, key, body, length), |state| async move {
        let (store, key, mut body, left) = state;
        let next = body.next().await;
        let next = next.map_err(|error| of_read("read", &key, &store.name, error))?;
        match next {
            None if left == 0 => Ok(None),
            None => Err(store.damaged("read", &key, "it is shorter than it was said to be")),
            Some(bytes) if bytes.len() as u64 > left => {
                Err(store.damaged("read", &key, "it is longer than it was said to be"))
            }
            Some(bytes) => {
                let left = left - bytes.len() as u64;
                Ok(Some((bytes, (store, key, body, left))))
            }
        }
    })
    .boxed()
}

struct ExtensionUpload {
    store: ExtensionStore,
    /// Absent when it has failed.
    put: Option<Put>,
    key: Key,
    operation: &'static str,
}

impl ExtensionUpload {
    fn over(&self) -> Error {
        Error::new(ErrorKind::Invalid, self.operation, &self.key)
            .in_store(self.store.describe())
            .with_detail("the upload has failed before")
    }
}

#[async_trait]
impl Upload for ExtensionUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let Some(put) = &mut self.put else {
            return Err(self.over());
        };
        let Err(unheard) = put.write(bytes).await else {
            return Ok(());
        };
        let Some(put) = self.put.take() else {
            return Err(self.over());
        };
        let reason = put.reason(unheard).await;
        let error = of_write(self.operation, &self.key, &self.store.name, reason);
        // Its end was never sent: nothing may have become of it.
        Err(Error {
            indeterminate: false,
            ..error
        })
    }

    async fn finish(mut self: Box<Self>) -> Result<ObjectInfo> {
        let put = self.put.take().ok_or_else(|| self.over())?;
        let object = put.finish().await;
        let failed = |error| of_write(self.operation, &self.key, &self.store.name, error);
        let object = object.map_err(failed)?;
        // It is stored: an odd time of it must not make a failure of that.
        let object = StoredObject {
            modified: object
                .modified
                .filter(|text| text.parse::<jiff::Timestamp>().is_ok()),
            ..object
        };
        self.store.info(self.operation, object)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        // Dropping it breaks the body off, after which the provider keeps nothing.
        Ok(())
    }
}
