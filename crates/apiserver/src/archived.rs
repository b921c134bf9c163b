//! The store over a backup's archive: everything can be read, nothing written.
//!
//! Discovery is derived: built-in kinds from the table, custom resources from the definitions in the
//! archive, and what neither knows from the bodies' own `kind`. A resource is served in the versions in
//! which it was stored. Memory is the archive's index and one batch of bodies per running list.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use serde_json::{Map, Value};

use crate::continuation::Token;
use crate::crd;
use crate::entry::Entry;
use crate::kinds;
use crate::registry::{Registry, Resource, Version};
use crate::request::Selection;
use crate::status::Failure;
use crate::store::{ListQuery, Listing, Store, WatchEvent, WatchQuery, Write, Written};

/// The one revision of an archive, which never changes.
const REVISION: u64 = 1;
/// Bodies that are read ahead for one list, in bytes; one more body is always read.
const BATCH_BYTES: u64 = 1 << 20;
/// Verbs that work.
const VERBS: [&str; 3] = ["get", "list", "watch"];

/// Objects of an archive.
#[derive(Clone, Debug)]
pub(crate) struct ArchiveStore {
    archive: Archive,
    registry: Arc<Registry>,
}

impl ArchiveStore {
    /// Derives what is served. Reads the definitions and one body of each unknown resource.
    pub(crate) fn open(archive: Archive) -> Result<Self, ArchiveError> {
        let index = archive.index();
        let mut definitions = Vec::new();
        for entry in index.range(&GroupResource::new(crd::PLURAL, crd::GROUP), None) {
            let object = parse(&archive.get(&entry)?);
            definitions.extend(object.and_then(|object| crd::resource(&Entry::new(object))));
        }
        let built_in = Registry::built_in(true);
        let mut served = Vec::new();
        for name in index.resources() {
            let defined = definitions.iter().find(|one| one.name == *name);
            let known = defined.or_else(|| built_in.get(name).map(AsRef::as_ref));
            let template = match known {
                Some(known) => known.clone(),
                None => guess(&archive, name)?,
            };
            let versions = index.versions(name);
            served.push(in_versions(
                template,
                versions.iter().map(|one| one.version),
            ));
        }
        served.extend(definitions);
        let present: BTreeSet<&GroupResource> = index.resources().iter().collect();
        let registry = Registry::built_in(false)
            .filtered(|one| !present.contains(&one.name) && one.allows("list"))
            .with(served)
            .with_verbs(&VERBS);
        Ok(Self {
            registry: Arc::new(registry),
            archive,
        })
    }

    /// Reads one object.
    fn read(&self, key: &ObjectKey, version: &str) -> Result<Option<Arc<Entry>>, Failure> {
        let index = self.archive.index();
        match index
            .get(key, Some(version))
            .or_else(|| index.get(key, None))
        {
            Some(entry) => load(&self.archive, &entry).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the next matching objects of a list.
    fn batch(&self, cursor: &mut Cursor) -> Result<Vec<Arc<Entry>>, Failure> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let range = self
            .archive
            .index()
            .range(&cursor.resource, cursor.namespace.as_deref());
        let mut rest = range.skip(cursor.position).peekable();
        while let Some(mut entry) = rest.next() {
            cursor.position += 1;
            // The versions of one object are neighbours.
            while let Some(other) = rest
                .peek()
                .copied()
                .filter(|one| one.namespace() == entry.namespace() && one.name() == entry.name())
            {
                let better = other.version() == cursor.version
                    || (entry.version() != cursor.version && other.preferred());
                if better {
                    entry = other;
                }
                rest.next();
                cursor.position += 1;
            }
            let namespace = entry.namespace().unwrap_or_default();
            if cursor
                .after
                .as_ref()
                .is_some_and(|(ns, name)| (namespace, entry.name()) <= (ns.as_str(), name.as_str()))
            {
                continue;
            }
            if cursor
                .selection
                .fields
                .exact("metadata.name")
                .is_some_and(|n| n != entry.name())
            {
                continue;
            }
            bytes += entry.body_len();
            let object = load(&self.archive, &entry)?;
            if cursor.selection.matches(&object) {
                found.push(object);
                if cursor.limit == Some(found.len()) {
                    break;
                }
            }
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        cursor.at_end = rest.peek().is_none();
        cursor.left = rest.len();
        if let Some(limit) = &mut cursor.limit {
            *limit -= found.len();
        }
        Ok(found)
    }

    /// All matching objects from the cursor on, read batch by batch off the async threads.
    fn stream(&self, cursor: Cursor) -> BoxStream<'static, Result<Arc<Entry>, Failure>> {
        let batches = futures::stream::unfold(Some((self.clone(), cursor)), |state| async move {
            let (store, cursor) = state.filter(|(_, cursor)| !cursor.at_end)?;
            let task = move || {
                let mut cursor = cursor;
                let batch = store.batch(&mut cursor);
                (batch, store, cursor)
            };
            let (batch, next) = match tokio::task::spawn_blocking(task).await {
                Ok((Ok(batch), store, cursor)) => {
                    (batch.into_iter().map(Ok).collect(), Some((store, cursor)))
                }
                Ok((Err(failure), ..)) => (vec![Err(failure)], None),
                Err(error) => (vec![Err(Failure::internal(error.to_string()))], None),
            };
            Some((futures::stream::iter(batch), next))
        });
        batches.flatten().boxed()
    }
}

/// Where a list is.
#[derive(Debug)]
struct Cursor {
    resource: GroupResource,
    version: String,
    namespace: Option<String>,
    selection: Selection,
    after: Option<(String, String)>,
    /// Index entries of the range that were looked at.
    position: usize,
    /// How many more objects are wanted.
    limit: Option<usize>,
    at_end: bool,
    /// Index entries of the range that were not looked at.
    left: usize,
}

fn load(
    archive: &Archive,
    entry: &salvor_archive::index::Entry<'_>,
) -> Result<Arc<Entry>, Failure> {
    let body = archive.get(entry).map_err(|error| {
        Failure::internal(format!("read {} from the archive: {error}", entry.key()))
    })?;
    let object = parse(&body).ok_or_else(|| {
        Failure::internal(format!(
            "{} is not a JSON object in the archive",
            entry.key()
        ))
    })?;
    Ok(Arc::new(Entry::new(object)))
}

fn parse(body: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(body).ok()
}

/// A resource that no table and no definition knows: the kind is what the first body says.
fn guess(archive: &Archive, name: &GroupResource) -> Result<Resource, ArchiveError> {
    let removed = kinds::kinds()
        .removed
        .iter()
        .find(|one| one.group == name.group && one.plural == name.resource);
    let first = archive.index().range(name, None).next();
    let kind = match (removed, first) {
        (Some(removed), _) => removed.kind.clone(),
        (None, Some(entry)) => parse(&archive.get(&entry)?)
            .and_then(|object| Some(object.get("kind")?.as_str()?.to_owned()))
            .unwrap_or_else(|| name.resource.clone()),
        (None, None) => name.resource.clone(),
    };
    Ok(Resource {
        name: name.clone(),
        list_kind: format!("{kind}List"),
        singular: kind.to_lowercase(),
        kind,
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: first.is_some_and(|entry| entry.namespace().is_some()),
        verbs: Vec::new(),
        versions: Vec::new(),
        custom: removed.is_none(),
    })
}

/// The resource in the versions in which it was stored.
fn in_versions<'a>(mut resource: Resource, stored: impl Iterator<Item = &'a str>) -> Resource {
    let known = std::mem::take(&mut resource.versions);
    resource.versions = stored
        .map(|name| {
            let mut version = match known.iter().find(|one| one.name == name) {
                Some(version) => version.clone(),
                None => Version {
                    name: name.to_owned(),
                    subresources: Vec::new(),
                    root: None,
                    schema: None,
                },
            };
            version
                .subresources
                .retain(|sub| matches!(sub.name.as_str(), "status" | "scale"));
            version
                .subresources
                .iter_mut()
                .for_each(|sub| sub.verbs = vec!["get".to_owned()]);
            version
        })
        .collect();
    resource
}

#[async_trait]
impl Store for ArchiveStore {
    fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    fn read_only(&self) -> Option<&'static str> {
        Some("this server shows a backup, which cannot be changed; restore it instead")
    }

    async fn get(&self, key: &ObjectKey, version: &str) -> Result<Option<Arc<Entry>>, Failure> {
        let (store, key, version) = (self.clone(), key.clone(), version.to_owned());
        tokio::task::spawn_blocking(move || store.read(&key, &version))
            .await
            .map_err(|error| Failure::internal(error.to_string()))?
    }

    async fn list(&self, query: ListQuery) -> Result<Listing, Failure> {
        let ListQuery {
            resource,
            version,
            namespace,
            selection,
            limit,
            continue_token,
            exact_revision: _,
            not_older_than: _,
        } = query;
        let after = match continue_token.as_str() {
            "" => None,
            text => Some(Token::decode(text)?.after),
        };
        let everything = selection.is_everything();
        let mut cursor = Cursor {
            resource: resource.name.clone(),
            version,
            namespace,
            selection,
            after,
            position: 0,
            limit,
            at_end: false,
            left: 0,
        };
        let mut listing = Listing {
            revision: REVISION,
            continue_token: None,
            remaining: None,
            entries: futures::stream::empty().boxed(),
        };
        if limit.is_none() {
            listing.entries = self.stream(cursor);
            return Ok(listing);
        }
        let store = self.clone();
        let (page, cursor) = tokio::task::spawn_blocking(move || {
            let mut page = Vec::new();
            while !cursor.at_end && cursor.limit != Some(0) {
                page.extend(store.batch(&mut cursor)?);
            }
            Ok::<_, Failure>((page, cursor))
        })
        .await
        .map_err(|error| Failure::internal(error.to_string()))??;
        if let (false, Some(last)) = (cursor.at_end, page.last()) {
            let after = (last.meta.namespace.clone(), last.meta.name.clone());
            listing.continue_token = Some(
                Token {
                    rv: REVISION,
                    after,
                }
                .encode(),
            );
            listing.remaining = everything.then_some(cursor.left);
        }
        listing.entries = futures::stream::iter(page.into_iter().map(Ok)).boxed();
        Ok(listing)
    }

    fn watch(&self, query: WatchQuery) -> Result<BoxStream<'static, WatchEvent>, Failure> {
        let WatchQuery {
            resource,
            version,
            namespace,
            selection,
            after,
            bookmarks,
            send_initial_events,
            timeout,
        } = query;
        let present = if after.is_none() || send_initial_events {
            let cursor = Cursor {
                resource: resource.name.clone(),
                version,
                namespace,
                selection,
                after: None,
                position: 0,
                limit: None,
                at_end: false,
                left: 0,
            };
            let events = self.stream(cursor).map(|entry| match entry {
                Ok(entry) => WatchEvent::Added(entry),
                Err(failure) => WatchEvent::Failed(failure),
            });
            events.boxed()
        } else {
            futures::stream::empty().boxed()
        };
        let bookmark = (bookmarks || send_initial_events).then_some(WatchEvent::Bookmark {
            revision: REVISION,
            end_of_initial_events: send_initial_events,
        });
        let silence = async move {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let end = futures::stream::once(silence).filter_map(|()| std::future::ready(None));
        Ok(present
            .chain(futures::stream::iter(bookmark))
            .chain(end)
            .boxed())
    }

    async fn write(&self, _: Write) -> Result<Written, Failure> {
        Err(Failure::method_not_allowed())
    }
}
