//! Listings: whole or an error, in the order of keys.

use std::cmp::Reverse;

use futures::{Stream, TryStreamExt as _, stream};
use opendal::options::ListOptions;
use opendal::raw::OpList;
use opendal::raw::oio::{Entry, Lister};
use tracing::debug;

use super::store::{Call, RemoteStore, object_info};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::{Folder, ObjectInfo, VersionInfo, folder_prefix};

/// All objects below a folder. The first page is there when this returns.
pub(super) async fn objects(
    store: &RemoteStore,
    prefix: &str,
) -> Result<impl Stream<Item = Result<ObjectInfo>> + Send + 'static + use<>> {
    let options = ListOptions {
        recursive: true,
        ..ListOptions::default()
    };
    let mut listing = Listing::begin(store, prefix, "list", options).await?;
    let first = listing.next_object().await?;
    let start = (first, Some(listing));
    Ok(stream::unfold(start, |(ready, listing)| async {
        let mut listing = listing?;
        let item = match ready {
            Some(info) => Ok(info),
            None => match listing.next_object().await {
                Ok(None) => return None,
                Ok(Some(info)) => Ok(info),
                Err(error) => Err(error),
            },
        };
        let rest = item.is_ok().then_some(listing);
        Some((item, (None, rest)))
    }))
}

/// Objects and folders directly below a folder.
pub(super) async fn folder(store: &RemoteStore, folder: &str) -> Result<Folder> {
    let mut listing = Listing::begin(store, folder, "list", ListOptions::default()).await?;
    let prefix = folder_prefix(folder);
    let mut found = Folder::default();
    while let Some(entry) = listing.next_entry().await? {
        match entry.path().strip_suffix('/') {
            // The folder itself, as consoles mark empty folders by an object.
            Some(path) if path.len() < prefix.len() => {}
            Some(path) => {
                let name = path.strip_prefix(&prefix).unwrap_or(path);
                if name.is_empty() || name.contains('/') {
                    return Err(listing.strange(entry.path()));
                }
                found.folders.push(name.to_owned());
            }
            None => found.objects.push(listing.object(&entry)?),
        }
    }
    found.folders.sort_unstable();
    found.folders.dedup();
    found.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// All versions below a folder, newest first per key.
pub(super) async fn versions(store: &RemoteStore, prefix: &str) -> Result<Vec<VersionInfo>> {
    let options = ListOptions {
        recursive: true,
        versions: true,
        deleted: true,
        ..ListOptions::default()
    };
    let listing = Listing::begin(store, prefix, "list versions of", options).await?;
    let entries = stream::try_unfold(listing, |mut listing| async {
        let Some(entry) = listing.next_entry().await? else {
            return Ok(None);
        };
        let version = if entry.path().ends_with('/') {
            None
        } else {
            Some(VersionInfo {
                object: listing.object(&entry)?,
                is_delete_marker: entry.metadata().is_deleted(),
                is_latest: entry.metadata().is_current() == Some(true),
            })
        };
        Ok::<_, Error>(Some((version, listing)))
    });
    let mut found: Vec<VersionInfo> = entries
        .try_filter_map(|version| std::future::ready(Ok(version)))
        .try_collect()
        .await?;
    // The store lists versions newest first, and deletions apart from them. The sort keeps that order
    // where the store's clock cannot tell two versions apart.
    found.sort_by(|a, b| {
        let age = |version: &VersionInfo| (!version.is_latest, Reverse(version.object.modified));
        (a.object.key.cmp(&b.object.key)).then_with(|| age(a).cmp(&age(b)))
    });
    Ok(found)
}

/// A listing on its way.
struct Listing {
    store: RemoteStore,
    operation: &'static str,
    prefix: String,
    call: Call,
    lister: Lister,
    last: Option<Key>,
}

impl Listing {
    async fn begin(
        store: &RemoteStore,
        prefix: &str,
        operation: &'static str,
        options: ListOptions,
    ) -> Result<Self> {
        let prefix = folder_prefix(prefix);
        let call = store.call(operation, &prefix).await?;
        let path = if prefix.is_empty() { "/" } else { &prefix };
        let lister = call
            .service
            .list_dyn(&call.context, path, OpList::from(options))
            .map_err(|cause| store.failed(operation, &prefix, &call, &cause))?;
        Ok(Self {
            store: store.clone(),
            operation,
            prefix,
            call,
            lister,
            last: None,
        })
    }

    /// The next entry. A page after the first is asked for again here, since nobody else can.
    async fn next_entry(&mut self) -> Result<Option<Entry>> {
        let policy = self.store.policy().clone();
        let mut attempt = 0;
        loop {
            let cause = match self.lister.next_dyn().await {
                Ok(entry) => return Ok(entry),
                Err(cause) => cause,
            };
            let error = self
                .store
                .failed(self.operation, &self.prefix, &self.call, &cause);
            let first_page = self.last.is_none();
            if first_page || !error.is_retryable() || attempt + 1 >= policy.attempts {
                return Err(error);
            }
            debug!(%error, attempt, "page of a listing is asked for again");
            tokio::time::sleep(policy.delay(attempt, &error)).await;
            attempt += 1;
        }
    }

    /// The next object, markers of folders left out.
    async fn next_object(&mut self) -> Result<Option<ObjectInfo>> {
        loop {
            let Some(entry) = self.next_entry().await? else {
                return Ok(None);
            };
            if entry.path().ends_with('/') {
                continue;
            }
            let info = self.object(&entry)?;
            if self.last.as_ref().is_some_and(|last| *last >= info.key) {
                return Err(self
                    .store
                    .refusal(ErrorKind::Unsupported, self.operation, &self.prefix)
                    .with_detail(format!(
                        "the store does not list in the order of keys: `{}` came late",
                        info.key
                    )));
            }
            self.last = Some(info.key.clone());
            return Ok(Some(info));
        }
    }

    fn object(&self, entry: &Entry) -> Result<ObjectInfo> {
        let key = Key::new(entry.path()).map_err(|_| self.strange(entry.path()))?;
        Ok(object_info(key, entry.metadata()))
    }

    /// Somebody else's object under a name that no key of ours can be. To leave it out would make the
    /// listing a short one.
    fn strange(&self, path: &str) -> Error {
        self.store
            .refusal(ErrorKind::Invalid, self.operation, &self.prefix)
            .with_detail(format!(
                "the store holds `{}`, which is no valid key: move it away",
                super::trace::shorten(path, 200)
            ))
    }
}
