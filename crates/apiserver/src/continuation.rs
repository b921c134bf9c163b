//! Continue tokens: where the next page of a list starts.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::status::Failure;

/// Where the next page starts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    /// Revision of the first page.
    pub(crate) rv: u64,
    /// Last object of the page before.
    pub(crate) after: (String, String),
}

impl Token {
    pub(crate) fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("numbers and strings always serialize");
        URL_SAFE_NO_PAD.encode(json)
    }

    pub(crate) fn decode(text: &str) -> Result<Self, Failure> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| Failure::bad_request("continue key is not valid"))
    }
}
