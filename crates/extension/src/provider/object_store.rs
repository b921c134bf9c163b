//! Questions to an object store: bytes under keys.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::conversation::{Body, Conversation, Provider};
use crate::error::{CallError, ProviderError};

/// Entries of one page of a listing.
pub const PAGE: usize = 1000;

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredObject {
    /// Its key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was written, by the store's clock, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// Changes whenever the content changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// An entry of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ListEntry {
    /// An object.
    Object(StoredObject),
    /// In a listing of one folder: a folder in it, its whole prefix with the `/` at its end.
    Folder {
        /// The prefix.
        folder: String,
    },
}

impl ListEntry {
    /// What entries are ordered by: the key, or the prefix of a folder.
    #[must_use]
    pub fn position(&self) -> &str {
        match self {
            Self::Object(object) => &object.key,
            Self::Folder { folder } => folder,
        }
    }
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListPage {
    /// In order of [`ListEntry::position`], byte by byte.
    pub entries: Vec<ListEntry>,
    /// Whether others follow.
    #[serde(default)]
    pub more: bool,
}

/// What is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListRequest<'a> {
    /// What all keys begin with.
    pub prefix: &'a str,
    /// Only what is behind this position; all when empty.
    pub after: &'a str,
    /// True for what is directly below the prefix: its objects and its folders.
    pub folder: bool,
    /// Most entries of the answer.
    pub limit: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_only: Option<bool>,
    /// First byte and the byte behind the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<(u64, u64)>,
}

fn place(key: &str) -> Place<'_> {
    Place {
        key,
        create_only: None,
        range: None,
    }
}

/// A provider that is an object store.
#[derive(Clone, Debug)]
pub struct ObjectStoreClient(Provider);

/// An object that is being written. Dropping it leaves no object.
#[derive(Debug)]
pub struct Put {
    store: ObjectStoreClient,
    key: String,
    conversation: Conversation,
}

impl ObjectStoreClient {
    /// Asks this provider, which should be of that kind.
    #[must_use]
    pub fn new(provider: Provider) -> Self {
        Self(provider)
    }

    /// The provider that is asked.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.0
    }

    /// Begins an object; with `create_only` it is refused when the key is taken, here or at its end.
    ///
    /// # Errors
    /// The question cannot be put into JSON.
    pub fn put(&self, key: &str, create_only: bool) -> Result<Put, ProviderError> {
        let arguments = Place {
            create_only: Some(create_only),
            ..place(key)
        };
        Ok(Put {
            conversation: self.0.converse("put", arguments)?,
            store: self.clone(),
            key: key.to_owned(),
        })
    }

    /// Reads an object or a part of it. The object is described as a whole.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a range outside of it.
    pub async fn get(
        &self,
        key: &str,
        range: Option<Range<u64>>,
    ) -> Result<(StoredObject, Body), ProviderError> {
        let arguments = Place {
            range: range.map(|range| (range.start, range.end)),
            ..place(key)
        };
        let (object, body) = self.0.ask_for_body("get", arguments).await?;
        self.same("get", key, &object)?;
        Ok((object, body))
    }

    /// What is known of an object.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn stat(&self, key: &str) -> Result<StoredObject, ProviderError> {
        let object = self.0.ask("stat", place(key)).await?;
        self.same("stat", key, &object)?;
        Ok(object)
    }

    /// A page of a listing. What does not belong into it, is out of order or goes backwards is refused, so that a
    /// listing always ends.
    ///
    /// # Errors
    /// The provider fails, or answers something else.
    pub async fn list(&self, request: ListRequest<'_>) -> Result<ListPage, ProviderError> {
        let page: ListPage = self.0.ask("list", request).await?;
        let wrong = |what| Err(self.0.failed("list", CallError::Meaningless(what)));
        let mut last = request.after;
        for entry in &page.entries {
            let position = entry.position();
            if position <= last {
                return wrong("entries that are not in order");
            }
            let Some(rest) = position.strip_prefix(request.prefix) else {
                return wrong("entries outside of what was asked for");
            };
            let fits = match entry {
                ListEntry::Folder { .. } => {
                    let name = rest.strip_suffix('/').unwrap_or_default();
                    request.folder && !name.is_empty() && !name.contains('/')
                }
                ListEntry::Object(_) => !request.folder || !rest.contains('/'),
            };
            if !fits {
                return wrong("entries that are not directly in the folder");
            }
            last = position;
        }
        if page.more && page.entries.is_empty() {
            return wrong("more entries, but none");
        }
        if page.entries.len() > request.limit {
            return wrong("more entries than were asked for");
        }
        Ok(page)
    }

    /// Removes an object; removing what is not there succeeds.
    ///
    /// # Errors
    /// The provider refuses or fails.
    pub async fn delete(&self, key: &str) -> Result<(), ProviderError> {
        let Nothing {} = self.0.ask("delete", place(key)).await?;
        Ok(())
    }

    fn same(
        &self,
        method: &'static str,
        key: &str,
        object: &StoredObject,
    ) -> Result<(), ProviderError> {
        if object.key == key {
            return Ok(());
        }
        let wrong = CallError::Meaningless("another key than it was asked about");
        Err(self.0.failed(method, wrong))
    }
}

/// A result without content.
#[derive(Deserialize)]
struct Nothing {}

impl Put {
    /// Sends the next bytes.
    ///
    /// # Errors
    /// The provider listens no longer: [`Put::reason`] has its reason.
    pub async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), CallError> {
        self.conversation.write(bytes).await
    }

    /// Why the provider listens no longer.
    pub async fn reason(self, unheard: CallError) -> ProviderError {
        self.conversation.reason(unheard).await
    }

    /// Makes the object visible.
    ///
    /// # Errors
    /// `AlreadyExists`; the provider fails, or stored something else.
    pub async fn finish(self) -> Result<StoredObject, ProviderError> {
        let sent = self.conversation.bytes();
        let object: StoredObject = self.conversation.finish().await?;
        self.store.same("put", &self.key, &object)?;
        if object.size != sent {
            return Err(self.store.0.failed("put", CallError::Digest));
        }
        Ok(object)
    }

    /// Ends with a digest that is not that of the bytes: for checking that this is noticed.
    pub(crate) async fn finish_wrongly(self) -> Result<StoredObject, ProviderError> {
        self.conversation.finish_wrongly().await
    }
}
