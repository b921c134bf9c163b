//! What request handlers need of a store; they do not know which one they have.

use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use salvor_api::resource::ObjectKey;
use serde_json::{Map, Value};

use crate::entry::Entry;
use crate::patch::Patch;
use crate::registry::{Registry, Resource};
use crate::request::Selection;
use crate::status::Failure;

/// Objects that can be read, and perhaps written.
///
/// Reads and writes are linearizable; a write is applied whole or not at all, with everything that
/// follows from it (garbage collection, finished namespaces) before it answers.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    /// What is served now.
    fn registry(&self) -> Arc<Registry>;

    /// Why nothing can be written; `None` when it can.
    fn read_only(&self) -> Option<&'static str> {
        None
    }

    /// One object, preferably as it was stored in `version`; `None` when there is none of that name.
    async fn get(&self, key: &ObjectKey, version: &str) -> Result<Option<Arc<Entry>>, Failure>;

    /// A collection or a page of it, in key order.
    async fn list(&self, query: ListQuery) -> Result<Listing, Failure>;

    /// Changes from a revision on. The stream ends when the watch is over.
    fn watch(&self, query: WatchQuery) -> Result<BoxStream<'static, WatchEvent>, Failure>;

    /// Applies a change.
    async fn write(&self, write: Write) -> Result<Written, Failure>;
}

/// Which objects to list.
#[derive(Clone, Debug)]
pub(crate) struct ListQuery {
    pub(crate) resource: Arc<Resource>,
    /// Version of the request's path.
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) selection: Selection,
    /// Page size in objects; `None` for everything.
    pub(crate) limit: Option<usize>,
    /// Empty for the first page.
    pub(crate) continue_token: String,
    /// List exactly this revision.
    pub(crate) exact_revision: Option<u64>,
    /// Refuse to answer before this revision was reached.
    pub(crate) not_older_than: Option<u64>,
}

/// A collection or a page of it.
pub(crate) struct Listing {
    pub(crate) revision: u64,
    /// Asks for the next page; `None` on the last.
    pub(crate) continue_token: Option<String>,
    /// Objects after this page, when that is known.
    pub(crate) remaining: Option<usize>,
    pub(crate) entries: BoxStream<'static, Result<Arc<Entry>, Failure>>,
}

/// Which changes to watch.
#[derive(Clone, Debug)]
pub(crate) struct WatchQuery {
    pub(crate) resource: Arc<Resource>,
    /// Version of the request's path.
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) selection: Selection,
    /// Changes after this revision; `None` starts with the present objects.
    pub(crate) after: Option<u64>,
    pub(crate) bookmarks: bool,
    /// Mark the end of the present objects with an annotated bookmark.
    pub(crate) send_initial_events: bool,
    /// When to end the stream.
    pub(crate) timeout: Option<std::time::Duration>,
}

/// One event of a watch.
#[derive(Clone, Debug)]
pub(crate) enum WatchEvent {
    Added(Arc<Entry>),
    Modified(Arc<Entry>),
    Deleted(Arc<Entry>),
    Bookmark {
        revision: u64,
        end_of_initial_events: bool,
    },
    Failed(Failure),
}

/// A change that a client asks for.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) resource: Arc<Resource>,
    /// Version of the request's path.
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    pub(crate) dry_run: bool,
    /// Refuse fields that the kind does not have, instead of dropping them.
    pub(crate) strict: bool,
    pub(crate) action: Action,
}

/// What to do.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Create(Map<String, Value>),
    Update(Map<String, Value>),
    Patch(Patch),
    Delete(DeleteOptions),
    DeleteCollection(DeleteOptions, Selection),
}

/// How dependents of a deleted object are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// What a change led to.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    Created(Arc<Entry>),
    Updated(Arc<Entry>),
    /// The object as it was, and whether it is gone now.
    Deleted {
        entry: Arc<Entry>,
        gone: bool,
    },
    /// The objects of a collection as they were.
    DeletedCollection(Vec<Arc<Entry>>),
}

impl Write {
    /// The key of the object that is meant; an absent name is empty.
    pub(crate) fn key(&self) -> ObjectKey {
        ObjectKey {
            resource: self.resource.name.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone().unwrap_or_default(),
        }
    }
}
