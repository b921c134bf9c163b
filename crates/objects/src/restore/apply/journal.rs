//! `salvor-journal-<n>.zst`: what was done, in parts of JSON lines; each line names an entry of the plan by
//! its number. Losing the last part costs nothing but looking again.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Most bytes that one part may decompress to.
const PART_LIMIT: u64 = 256 << 20;

/// What became of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Done {
    /// It was created.
    Created,
    /// It was patched, or made again.
    Updated,
    /// The target has it already; it was left as it is.
    Skipped,
    /// It could not be restored.
    Failed,
}

impl Done {
    /// The word in Velero's resource list.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// One line: what became of one entry of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Number of the entry in the plan.
    pub entry: u32,
    /// What became of it.
    pub done: Done,
    /// The error, or why it was left alone. Of an object that was written: what is wrong with it all the same,
    /// which counts as an error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How a command in a restored pod ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookEnd {
    /// It begins now.
    Begun,
    /// It ended with exit code 0.
    Done,
    /// It failed, and the hooks of the pod after it are not run.
    Failed,
    /// It failed, and may fail.
    Tolerated,
}

/// One line: where one hook of one entry of the plan stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookLine {
    /// Number of the entry in the plan.
    pub entry: u32,
    /// Number of the hook among those of the pod, from 0.
    pub hook: u32,
    /// How it ended.
    pub end: HookEnd,
    /// What ran, or why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What all parts say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// The last line about each entry.
    pub objects: BTreeMap<u32, Line>,
    /// The last line about each hook, by entry and number.
    pub hooks: BTreeMap<(u32, u32), HookLine>,
}

/// Encodes one part.
///
/// # Errors
/// Compression fails, which it does only for want of memory.
pub fn encode(lines: &[Line]) -> std::io::Result<Bytes> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
    }
    zstd::encode_all(text.as_slice(), 3).map(Bytes::from)
}

/// Encodes a part with one line about a hook.
///
/// # Errors
/// As [`encode`].
pub fn encode_hook(line: &HookLine) -> std::io::Result<Bytes> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    zstd::encode_all(text.as_slice(), 3).map(Bytes::from)
}

/// Reads all parts; a later line about an entry or a hook beats an earlier one.
///
/// # Errors
/// A part is damaged.
pub fn decode(parts: &[Bytes]) -> std::io::Result<Journal> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Hook(HookLine),
        Object(Line),
    }
    let mut journal = Journal::default();
    for part in parts {
        let reader = BufReader::new(zstd::Decoder::new(part.as_ref())?.take(PART_LIMIT));
        for text in reader.lines() {
            match serde_json::from_str(&text?)? {
                Any::Hook(line) => drop(journal.hooks.insert((line.entry, line.hook), line)),
                Any::Object(line) => drop(journal.objects.insert(line.entry, line)),
            }
        }
    }
    Ok(journal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_round_trip_and_later_lines_win() {
        let line = |entry, done, message: &str| Line {
            entry,
            done,
            message: message.to_owned(),
            warnings: vec![],
        };
        let first =
            encode(&[line(1, Done::Created, ""), line(2, Done::Failed, "no")]).expect("memory");
        let second = encode(&[line(2, Done::Updated, "")]).expect("memory");
        let hook = |end| HookLine {
            entry: 1,
            hook: 0,
            end,
            message: String::new(),
        };
        let parts = [
            first.clone(),
            encode_hook(&hook(HookEnd::Begun)).expect("memory"),
            second,
            encode_hook(&hook(HookEnd::Done)).expect("memory"),
        ];
        let read = decode(&parts).expect("what was written");
        assert_eq!(read.objects.len(), 2);
        assert_eq!(read.objects.get(&1).map(|l| l.done), Some(Done::Created));
        assert_eq!(read.objects.get(&2).map(|l| l.done), Some(Done::Updated));
        assert_eq!(read.hooks, [((1, 0), hook(HookEnd::Done))].into());
        assert!(decode(&[first.slice(..first.len() - 3)]).is_err());
        assert!(decode(&[Bytes::from_static(b"not zstd")]).is_err());
    }
}
