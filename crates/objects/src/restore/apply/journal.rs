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

/// What became of the data of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FillEnd {
    /// It is whole, but for entries that are counted.
    Filled,
    /// Its claim or pod is not one that the restore has made; it was left alone.
    Left,
    /// It was not filled, or in part.
    Failed,
}

/// One line: what became of the data of one volume of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FillLine {
    /// Number of the volume in the plan, from 0.
    pub volume: u32,
    /// What became of it.
    pub end: FillEnd,
    /// Why it was left or failed, or what of it is not as it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Bytes that were written.
    #[serde(default)]
    pub bytes: u64,
    /// Files and other entries.
    #[serde(default)]
    pub entries: u64,
    /// Entries that are missing or not as they were.
    #[serde(default)]
    pub failed: u64,
    /// Node that wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The persistent volume that was filled.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub persistent_volume: String,
}

/// What all parts say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// The last line about each entry.
    pub objects: BTreeMap<u32, Line>,
    /// The last line about each hook, by entry and number.
    pub hooks: BTreeMap<(u32, u32), HookLine>,
    /// The last line about each volume.
    pub fills: BTreeMap<u32, FillLine>,
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
    encode_one(line)
}

/// Encodes a part with one line about the data of a volume.
///
/// # Errors
/// As [`encode`].
pub fn encode_fill(line: &FillLine) -> std::io::Result<Bytes> {
    encode_one(line)
}

fn encode_one(line: &impl Serialize) -> std::io::Result<Bytes> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    zstd::encode_all(text.as_slice(), 3).map(Bytes::from)
}

/// Reads all parts; a later line about an entry, a hook or a volume beats an earlier one.
///
/// # Errors
/// A part is damaged.
pub fn decode(parts: &[Bytes]) -> std::io::Result<Journal> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Any {
        Hook(HookLine),
        Fill(FillLine),
        Object(Line),
    }
    let mut journal = Journal::default();
    for part in parts {
        let reader = BufReader::new(zstd::Decoder::new(part.as_ref())?.take(PART_LIMIT));
        for text in reader.lines() {
            match serde_json::from_str(&text?)? {
                Any::Hook(line) => drop(journal.hooks.insert((line.entry, line.hook), line)),
                Any::Fill(line) => drop(journal.fills.insert(line.volume, line)),
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
        let fill = |end| FillLine {
            volume: 2,
            end,
            message: String::new(),
            bytes: 7,
            entries: 1,
            failed: 0,
            node: "n".to_owned(),
            persistent_volume: String::new(),
        };
        let parts = [
            first.clone(),
            encode_fill(&fill(FillEnd::Failed)).expect("memory"),
            encode_hook(&hook(HookEnd::Begun)).expect("memory"),
            second,
            encode_hook(&hook(HookEnd::Done)).expect("memory"),
            encode_fill(&fill(FillEnd::Filled)).expect("memory"),
        ];
        let read = decode(&parts).expect("what was written");
        assert_eq!(read.objects.len(), 2);
        assert_eq!(read.objects.get(&1).map(|l| l.done), Some(Done::Created));
        assert_eq!(read.objects.get(&2).map(|l| l.done), Some(Done::Updated));
        assert_eq!(read.fills, [(2, fill(FillEnd::Filled))].into());
        assert_eq!(read.hooks, [((1, 0), hook(HookEnd::Done))].into());
        assert!(decode(&[first.slice(..first.len() - 3)]).is_err());
        assert!(decode(&[Bytes::from_static(b"not zstd")]).is_err());
    }
}
