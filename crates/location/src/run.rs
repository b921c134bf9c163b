//! Identity of one run of a command: it is in the claim, the manifest, the record and every log line.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Identity of a run: its start and 64 random bits, `20261120t020000-9f86d081884c7d65`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A fresh one.
    #[must_use]
    pub fn generate() -> Self {
        let mut random = [0u8; 8];
        if getrandom::fill(&mut random).is_err() {
            // Without a random source, the address space layout and the clock's nanoseconds differ
            // between processes.
            let nanos = Timestamp::now().subsec_nanosecond().unsigned_abs();
            random[..4].copy_from_slice(&nanos.to_le_bytes());
            random[4..].copy_from_slice(&std::process::id().to_le_bytes());
        }
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!(
            "{}-{hex}",
            Timestamp::now().strftime("%Y%m%dt%H%M%S")
        ))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RunId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
