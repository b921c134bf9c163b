//! `salvor-plan.zst`: one JSON document per line, compressed; the header first, then one line an object.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use salvor_api::resource::{GroupResource, GroupVersion};
use serde::{Deserialize, Serialize};

use super::{Action, Destination, Interner, PLAN_VERSION, PlanEntry, PlanHeader, RestorePlan};
use crate::restore::normalise::Digest;

/// Most bytes that a stored plan may decompress to: that of four million objects.
const LIMIT: u64 = 2 << 30;
/// Longest line of a stored plan, in bytes: a header with many volumes.
const LINE_LIMIT: u64 = 256 << 20;
/// Compression level: plans repeat themselves, the fastest levels are enough.
const LEVEL: i32 = 3;

/// Why a stored plan cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlanFormatError {
    /// The bytes are not a plan.
    #[error("read the stored plan, line {line}")]
    Line {
        /// Line number, from 1.
        line: u64,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Written by a newer release.
    #[error(
        "the stored plan has version {0}, this release reads up to {PLAN_VERSION}: use a newer salvor"
    )]
    Newer(u32),
    /// Longer than any plan.
    #[error("the stored plan is longer than 2 GiB decompressed: it is damaged")]
    TooLong,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    resource: GroupResource,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    version: String,
    to: GroupResource,
    to_version: String,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Digest>,
    at: u32,
}

impl RestorePlan {
    /// Writes the stored form. Equal plans give equal bytes.
    ///
    /// # Errors
    /// Compression fails, which it does only for want of memory.
    pub fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut out = zstd::Encoder::new(Vec::new(), LEVEL)?;
        serde_json::to_writer(&mut out, &self.header)?;
        out.write_all(b"\n")?;
        for entry in &self.entries {
            serde_json::to_writer(&mut out, &Line::from(entry))?;
            out.write_all(b"\n")?;
        }
        out.finish()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// The bytes are damaged, cut off, or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanFormatError> {
        let bad = |line: u64| {
            move |source: Box<dyn std::error::Error + Send + Sync>| PlanFormatError::Line {
                line,
                source,
            }
        };
        let decoder = zstd::Decoder::new(bytes).map_err(|e| bad(1)(Box::new(e)))?;
        let mut reader = BufReader::new(decoder.take(LIMIT));
        let mut plan = RestorePlan::default();
        let mut interner = Interner::default();
        let mut text = Vec::new();
        let mut number = 0;
        loop {
            number += 1;
            text.clear();
            let read = (&mut reader)
                .take(LINE_LIMIT)
                .read_until(b'\n', &mut text)
                .map_err(|e| bad(number)(Box::new(e)))?;
            if read == 0 {
                break;
            }
            if number == 1 {
                #[derive(Deserialize)]
                struct Version {
                    version: u32,
                }
                let Version { version } =
                    serde_json::from_slice(&text).map_err(|e| bad(1)(Box::new(e)))?;
                if version > PLAN_VERSION {
                    return Err(PlanFormatError::Newer(version));
                }
                plan.header = serde_json::from_slice(&text).map_err(|e| bad(1)(Box::new(e)))?;
            } else {
                let line: Line =
                    serde_json::from_slice(&text).map_err(|e| bad(number)(Box::new(e)))?;
                plan.entries.push(line.into_entry(&mut interner));
            }
        }
        if number == 1 {
            return Err(bad(1)("it is empty".into()));
        }
        if reader.into_inner().limit() == 0 {
            return Err(PlanFormatError::TooLong);
        }
        Ok(plan)
    }
}

impl From<&PlanEntry> for Line {
    fn from(entry: &PlanEntry) -> Self {
        let PlanEntry {
            resource,
            namespace,
            name,
            version,
            to,
            action,
            reason,
            digest,
            live,
            at,
        } = entry;
        Self {
            resource: (**resource).clone(),
            namespace: namespace.as_deref().map(str::to_owned),
            name: name.to_string(),
            version: version.to_string(),
            to: to.resource.clone(),
            to_version: to.group_version.to_string(),
            action: *action,
            reason: reason.as_deref().map(str::to_owned),
            digest: *digest,
            live: *live,
            at: *at,
        }
    }
}

impl Line {
    fn into_entry(self, interner: &mut Interner) -> PlanEntry {
        let Line {
            resource,
            namespace,
            name,
            version,
            to,
            to_version,
            action,
            reason,
            digest,
            live,
            at,
        } = self;
        PlanEntry {
            resource: interner.resource(&resource),
            namespace: namespace.map(|n| interner.text(&n)),
            name: name.into(),
            version: interner.text(&version),
            to: interner.destination(&Destination {
                resource: to,
                group_version: GroupVersion::parse(&to_version),
            }),
            action,
            reason: reason.map(|r| interner.text(&r)),
            digest,
            live,
            at,
        }
    }
}

/// For tests of readers: the header alone.
impl PlanHeader {
    /// A header of the current version.
    #[must_use]
    pub fn current() -> Self {
        Self {
            version: PLAN_VERSION,
            ..Self::default()
        }
    }
}
