//! Lists as raw bytes: one page, split into its items without decoding them.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::Cluster;
use crate::error::{Error, ErrorKind};
use crate::resource::ApiResource;

/// Bytes that a page should have: large enough to keep requests few, small enough to hold several.
pub const PAGE_BYTES: usize = 4 << 20;
/// Items of the first page of a list, when their size is not known yet.
const FIRST_LIMIT: u32 = 100;
/// Expired tokens that a pager swallows before it gives up.
const MOST_RESTARTS: u32 = 8;

/// What to list.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// Label selector as the API takes it: `app=web,tier in (a,b)`.
    pub label_selector: Option<String>,
    /// Field selector: `metadata.name=x`.
    pub field_selector: Option<String>,
    /// Items per page at most.
    pub limit: Option<u32>,
    /// Where to go on.
    pub continue_token: Option<String>,
    /// Bytes of one page at most.
    pub max_bytes: usize,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self {
            label_selector: None,
            field_selector: None,
            limit: None,
            continue_token: None,
            max_bytes: 64 << 20,
        }
    }
}

/// One page of a list. It holds the answer's bytes; items are slices of it.
#[derive(Clone, Debug)]
pub struct Page {
    body: Bytes,
    items: Vec<Range<usize>>,
    /// `apiVersion` of the list, which its items share.
    pub api_version: String,
    /// `kind` of the list, for example `PodList`.
    pub kind: String,
    /// Version of the list: the moment that all its pages show.
    pub resource_version: String,
    /// Where the next page begins; `None` on the last.
    pub continue_token: Option<String>,
    /// Items after this page, where the server counts them.
    pub remaining: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
    r#continue: String,
    remaining_item_count: Option<u64>,
}

/// Why an answer is not a list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error("the answer is not a list: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the answer is a `{0}`, not a list")]
    Kind(String),
}

impl Page {
    pub(crate) fn parse(body: Bytes) -> Result<Self, PageError> {
        let envelope: Envelope<'_> = serde_json::from_slice(&body)?;
        if !envelope.kind.ends_with("List") {
            return Err(PageError::Kind(envelope.kind.chars().take(80).collect()));
        }
        let base = body.as_ptr() as usize;
        let items = envelope
            .items
            .unwrap_or_default()
            .into_iter()
            .map(|item| {
                // Borrowed from `body`, so the distance is its offset.
                let start = item.get().as_ptr() as usize - base;
                start..start + item.get().len()
            })
            .collect();
        let ListMeta {
            resource_version,
            r#continue,
            remaining_item_count,
        } = envelope.metadata;
        Ok(Self {
            items,
            api_version: envelope.api_version,
            kind: envelope.kind,
            resource_version,
            continue_token: Some(r#continue).filter(|token| !token.is_empty()),
            remaining: remaining_item_count,
            body,
        })
    }

    /// The items' JSON, in the server's order. They are well-formed JSON values; what is in them is not
    /// checked. Items of built-in kinds have no `apiVersion` and `kind` of their own.
    pub fn items(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.items.iter().map(|range| &self.body[range.clone()])
    }

    /// One item, sharing the page's memory.
    #[must_use]
    pub fn item(&self, index: usize) -> Option<Bytes> {
        Some(self.body.slice(self.items.get(index)?.clone()))
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True without items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the answer.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
    }
}

/// Reads a list to its end, page by page, with pages of about [`PAGE_BYTES`].
///
/// An expired continue token does not end it: it goes on from the token that the server offers, or from
/// the start. Items may then come twice; [`Pager::restarts`] tells.
#[derive(Debug)]
pub struct Pager {
    cluster: Cluster,
    resource: ApiResource,
    namespace: Option<String>,
    options: ListOptions,
    limit: u32,
    done: bool,
    restarts: u32,
    resource_version: Option<String>,
}

impl Cluster {
    /// A pager over a list; `options.limit` and `options.continue_token` are set by the pager.
    #[must_use]
    pub fn pager(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        options: ListOptions,
    ) -> Pager {
        Pager {
            cluster: self.clone(),
            resource: resource.clone(),
            namespace: namespace.map(str::to_owned),
            limit: options.limit.unwrap_or(FIRST_LIMIT),
            options,
            done: false,
            restarts: 0,
            resource_version: None,
        }
    }
}

impl Pager {
    /// The next page; `None` after the last.
    ///
    /// # Errors
    /// As [`Cluster::list_page`]; [`ErrorKind::TooLarge`] only when a single item passes
    /// [`ListOptions::max_bytes`], after which the same page can be asked for with
    /// [`Pager::set_max_bytes`] raised.
    pub async fn next_page(&mut self) -> Result<Option<Page>, Error> {
        while !self.done {
            self.options.limit = Some(self.limit);
            let result = self
                .cluster
                .list_page(&self.resource, self.namespace.as_deref(), &self.options)
                .await;
            match result {
                Ok(page) => {
                    self.advance(&page);
                    return Ok(Some(page));
                }
                Err(error) if error.kind() == ErrorKind::TooLarge && self.limit > 1 => {
                    self.limit = (self.limit / 4).max(1);
                }
                Err(error) if error.kind() == ErrorKind::Gone && self.restarts < MOST_RESTARTS => {
                    self.restarts += 1;
                    self.options.continue_token = error.continue_token().map(str::to_owned);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn advance(&mut self, page: &Page) {
        self.resource_version
            .get_or_insert_with(|| page.resource_version.clone());
        if !page.is_empty() {
            let mean = (page.size() / page.len()).max(1);
            let fitting = u32::try_from(PAGE_BYTES / mean).unwrap_or(u32::MAX);
            // At most four times the last: the first items may not be typical.
            self.limit = fitting.clamp(10, 1000).min(self.limit.saturating_mul(4));
        }
        self.options.continue_token = page.continue_token.clone();
        self.done = page.continue_token.is_none();
    }

    /// Bytes of one page at most, from the next page on.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.options.max_bytes = max_bytes;
    }

    /// How often the list was taken up anew after its token expired.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Version of the list's first page.
    #[must_use]
    pub fn resource_version(&self) -> Option<&str> {
        self.resource_version.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_split_into_the_bytes_of_its_items() {
        let body = br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"t","remainingItemCount":3},
            "items":[{"metadata":{"name":"a"} }, {"x":[1,2]},null,7]}"#;
        let page = Page::parse(Bytes::from_static(body)).expect("a list");
        let items: Vec<&[u8]> = page.items().collect();
        assert_eq!(
            items,
            [
                br#"{"metadata":{"name":"a"} }"#.as_slice(),
                br#"{"x":[1,2]}"#,
                b"null",
                b"7"
            ]
        );
        assert_eq!(page.item(1).as_deref(), Some(br#"{"x":[1,2]}"#.as_slice()));
        assert_eq!(page.item(4), None);
        assert_eq!(
            (page.continue_token.as_deref(), page.remaining),
            (Some("t"), Some(3))
        );
    }

    #[test]
    fn bytes_that_are_not_a_list_are_refused() {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "\"PodList\"",
            r#"{"kind":"Status","items":[]}"#,
            r#"{"kind":"PodList","items":{}}"#,
            r#"{"kind":"PodList","items":[{]}"#,
            r#"{"kind":"PodList","items":[{}"#,
            r#"{"kind":7,"items":[]}"#,
        ] {
            assert!(
                Page::parse(Bytes::from_static(body.as_bytes())).is_err(),
                "{body}"
            );
        }
        let mut invalid = br#"{"kind":"PodList","items":["#.to_vec();
        invalid.extend([b'"', 0xff, 0xfe, b'"']);
        invalid.extend(b"]}");
        assert!(Page::parse(Bytes::from(invalid)).is_err());
        let empty = Page::parse(Bytes::from_static(br#"{"kind":"PodList","items":null}"#));
        assert!(empty.expect("null is no items").is_empty());
    }
}
