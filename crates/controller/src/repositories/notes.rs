//! What maintenance must remember between its runs, in an annotation of the object: another server may do the next one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use salvor_api::velero::BackupRepository;
use serde::{Deserialize, Serialize};

/// The annotation.
const NOTES: &str = "salvor.dev/maintenance";

/// What is remembered. What cannot be read is as if nothing were remembered: grace periods begin anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Notes {
    /// Backups that were gone when it was looked, and since when.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) gone: BTreeMap<String, Timestamp>,
    /// When packs were last marked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) marked: Option<Timestamp>,
    /// When all that is needed was last seen to be protected for long enough by the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retained: Option<Timestamp>,
    /// When a share of the data was last read whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scrubbed: Option<Timestamp>,
    /// Which share comes next.
    pub(super) part: u8,
}

impl Notes {
    pub(super) fn of(object: &BackupRepository) -> Self {
        let text = object.metadata.annotations.get(NOTES);
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    pub(super) fn write(&self, object: &mut BackupRepository) {
        // Of strings, times and a number: this does not fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        object.metadata.annotations.insert(NOTES.to_owned(), text);
    }
}
