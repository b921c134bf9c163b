//! A store in memory: for tests, and for rehearsals that leave nothing behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::{
    Folder, GetOptions, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Upload, VersionInfo,
    folder_prefix,
};

/// Objects in a map. Clones share it. Keeps every version of every object.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Key, Vec<Version>>,
    counter: u64,
}

#[derive(Clone, Debug)]
struct Version {
    info: ObjectInfo,
    /// `None` is a delete marker.
    body: Option<Bytes>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so it cannot be poisoned.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn error(&self, kind: ErrorKind, operation: &'static str, key: &Key) -> Error {
        Error::new(kind, operation, key).in_store(self.describe())
    }
}

impl State {
    fn latest(&self, key: &Key) -> Option<&Version> {
        self.objects
            .get(key)
            .and_then(|versions| versions.last())
            .filter(|v| v.body.is_some())
    }

    fn push(&mut self, key: &Key, body: Option<Bytes>) -> ObjectInfo {
        self.counter += 1;
        let info = ObjectInfo {
            key: key.clone(),
            size: body.as_ref().map_or(0, |b| b.len() as u64),
            modified: Some(Timestamp::now()),
            etag: Some(format!("e{}", self.counter)),
            version: Some(format!("v{:08}", self.counter)),
        };
        self.objects.entry(key.clone()).or_default().push(Version {
            info: info.clone(),
            body,
        });
        info
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn describe(&self) -> String {
        "memory://".to_owned()
    }

    fn excludes(&self) -> bool {
        true
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        let mut state = self.state();
        if mode == PutMode::Create && state.latest(key).is_some() {
            drop(state);
            return Err(self.error(ErrorKind::AlreadyExists, "create", key));
        }
        Ok(state.push(key, Some(body)))
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        Ok(Box::new(MemoryUpload {
            store: self.clone(),
            key: key.clone(),
            mode,
            bytes: BytesMut::new(),
        }))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        let found = {
            let state = self.state();
            match &options.version {
                None => state.latest(key).cloned(),
                Some(wanted) => state
                    .objects
                    .get(key)
                    .and_then(|versions| {
                        versions
                            .iter()
                            .find(|v| v.info.version.as_ref() == Some(wanted))
                    })
                    .cloned(),
            }
        };
        let Some(Version {
            info,
            body: Some(body),
        }) = found
        else {
            return Err(self.error(ErrorKind::NotFound, "read", key));
        };
        let body = match options.range {
            None => body,
            Some(range) if range.start <= range.end && range.end <= info.size => {
                // Both ends are at most the length of a buffer in memory.
                body.slice(range.start as usize..range.end as usize)
            }
            Some(range) => {
                return Err(self
                    .error(ErrorKind::Invalid, "read", key)
                    .with_detail(format!(
                        "range {}-{} of {} bytes",
                        range.start, range.end, info.size
                    )));
            }
        };
        Ok(Object {
            info,
            body: stream::iter([Ok(body)]).boxed(),
        })
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        let found = self.state().latest(key).map(|v| v.info.clone());
        found.ok_or_else(|| self.error(ErrorKind::NotFound, "look up", key))
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        let prefix = folder_prefix(prefix);
        let state = self.state();
        let found: Vec<_> = state
            .objects
            .keys()
            .filter(|key| key.as_str().starts_with(&prefix))
            .filter_map(|key| state.latest(key))
            .map(|version| Ok(version.info.clone()))
            .collect();
        Ok(stream::iter(found).boxed())
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        let prefix = folder_prefix(folder);
        let state = self.state();
        let mut result = Folder::default();
        for key in state
            .objects
            .keys()
            .filter(|key| state.latest(key).is_some())
        {
            let Some(rest) = key.as_str().strip_prefix(&prefix) else {
                continue;
            };
            match rest.split_once('/') {
                Some((name, _)) => {
                    if result.folders.last().is_none_or(|last| last != name) {
                        result.folders.push(name.to_owned());
                    }
                }
                None => result
                    .objects
                    .extend(state.latest(key).map(|v| v.info.clone())),
            }
        }
        // Keys are sorted as a whole, where `a-b/` stands before `a/`.
        result.folders.sort_unstable();
        Ok(result)
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let mut state = self.state();
        if state.latest(key).is_some() {
            state.push(key, None);
        }
        Ok(())
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<VersionInfo>> {
        let prefix = folder_prefix(prefix);
        let state = self.state();
        let mut all = Vec::new();
        for (_, versions) in state
            .objects
            .iter()
            .filter(|(k, _)| k.as_str().starts_with(&prefix))
        {
            for (age, version) in versions.iter().rev().enumerate() {
                all.push(VersionInfo {
                    object: version.info.clone(),
                    is_delete_marker: version.body.is_none(),
                    is_latest: age == 0,
                });
            }
        }
        Ok(all)
    }
}

struct MemoryUpload {
    store: MemoryStore,
    key: Key,
    mode: PutMode,
    bytes: BytesMut,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<ObjectInfo> {
        let Self {
            store,
            key,
            mode,
            bytes,
        } = *self;
        store.put(&key, bytes.freeze(), mode).await
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
