//! Names of stored objects.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Name of an object: segments joined by `/`, never absolute, never climbing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

/// Why a key was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("object key {key:?} is not valid: {reason}")]
pub struct KeyError {
    /// The key as given, cut to 200 characters.
    pub key: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Longest key that S3, Azure and GCS all accept, in bytes.
pub const MAX_KEY_LENGTH: usize = 1024;

impl Key {
    /// Checks and wraps a key.
    ///
    /// # Errors
    /// Empty, too long, absolute, with empty, `.` or `..` segments, or with control characters or `\`.
    pub fn new(key: impl Into<String>) -> Result<Self, KeyError> {
        let key = key.into();
        match check(&key) {
            Ok(()) => Ok(Self(key)),
            Err(reason) => Err(KeyError {
                key: key.chars().take(200).collect(),
                reason,
            }),
        }
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This key as a folder with `name` below it.
    ///
    /// # Errors
    /// The result is not a key.
    pub fn join(&self, name: &str) -> Result<Self, KeyError> {
        Self::new(format!("{}/{name}", self.0))
    }

    /// The last segment.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

fn check(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("it is empty");
    }
    if key.len() > MAX_KEY_LENGTH {
        return Err("it is longer than 1024 bytes");
    }
    if key.chars().any(|c| c.is_control() || c == '\\') {
        return Err("it has a control character or a backslash");
    }
    for segment in key.split('/') {
        match segment {
            "" => return Err("it has an empty segment or starts or ends with `/`"),
            "." | ".." => return Err("it has a `.` or `..` segment"),
            _ => {}
        }
    }
    Ok(())
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_their_root() {
        for good in ["a", "backups/nightly/velero-backup.json", "한글/x", "a b"] {
            assert!(Key::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/../b",
            "./a",
            "a\\b",
            "a\0b",
            "a\nb",
            &"x".repeat(1025),
        ] {
            assert!(Key::new(bad).is_err(), "{bad:?}");
        }
    }
}
