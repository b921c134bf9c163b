//! What a backup holds or a restore did, as lists of names by kind.

use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, BufRead as _, BufReader, Cursor, Read as _, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use salvor_api::resource::{GroupVersionKind, ObjectKey};

use crate::error::{ArchiveError, Result};

/// `<b>-resource-list.json.gz` and `restore-<r>-resource-list.json.gz` read into memory:
/// `v1/Pod` to `shop/web-0`, or to `shop/web-0(created)` of a restore.
pub type ResourceList = BTreeMap<String, Vec<String>>;

/// Bytes of names that are kept as they are; more are sorted and compressed, about ten to one.
const RUN_BYTES: usize = 8 << 20;
/// The fastest level: neighbours in a sorted list are alike.
const RUN_LEVEL: i32 = 1;
/// What an entry costs besides its text.
const ENTRY_BYTES: usize = 2 * size_of::<String>();

/// What a restore's list says of an object: its name and what was done, which is `created`, `updated`,
/// `skipped` or `failed`.
#[must_use]
pub fn restored_entry(key: &ObjectKey, action: &str) -> String {
    format!("{}({action})", key.scoped_name())
}

/// Collects a resource list in any order, in little memory: at most 8 MiB of names; the rest lies sorted and
/// compressed until the end, which takes about as much as the finished list. Nothing goes to a disk.
#[derive(Debug)]
pub struct ResourceListBuilder {
    entries: Vec<(String, String)>,
    bytes: usize,
    run_bytes: usize,
    runs: Vec<Vec<u8>>,
}

impl Default for ResourceListBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ResourceListBuilder {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::with_run_bytes(RUN_BYTES)
    }

    pub(super) fn with_run_bytes(run_bytes: usize) -> Self {
        Self {
            entries: Vec::new(),
            bytes: 0,
            run_bytes,
            runs: Vec::new(),
        }
    }

    /// Adds an entry, such as [`ObjectKey::scoped_name`] or [`restored_entry`]. What was added before is
    /// listed once.
    ///
    /// # Errors
    /// The entries cannot be compressed.
    pub fn add(&mut self, kind: &GroupVersionKind, entry: &str) -> Result<()> {
        let kind = kind.to_string();
        self.bytes += kind.len() + entry.len() + ENTRY_BYTES;
        self.entries.push((kind, entry.to_owned()));
        if self.bytes >= self.run_bytes {
            self.end_run()
                .map_err(failed("compress part of a resource list"))?;
        }
        Ok(())
    }

    /// The list as compressed JSON, kinds and names sorted.
    ///
    /// # Errors
    /// What was compressed cannot be read back.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entries.sort_unstable();
        let open = |run| zstd::Decoder::with_buffer(Cursor::new(run)).map(BufReader::new);
        let mut read = || {
            let mut runs = Vec::new();
            for run in std::mem::take(&mut self.runs) {
                runs.push(Run::Compressed(open(run)?));
            }
            runs.push(Run::Plain(std::mem::take(&mut self.entries).into_iter()));
            merge(runs)
        };
        read().map_err(failed("read part of a resource list"))
    }

    fn end_run(&mut self) -> io::Result<()> {
        self.entries.sort_unstable();
        let mut out = zstd::Encoder::new(Vec::new(), RUN_LEVEL)?;
        for (kind, entry) in self.entries.drain(..) {
            for text in [kind, entry] {
                out.write_all(&(text.len() as u64).to_le_bytes())?;
                out.write_all(text.as_bytes())?;
            }
        }
        let mut run = out.finish()?;
        run.shrink_to_fit();
        self.runs.push(run);
        self.bytes = 0;
        Ok(())
    }
}

fn failed(operation: &'static str) -> impl Fn(io::Error) -> ArchiveError {
    move |source| ArchiveError::Spill { operation, source }
}

type Compressed = BufReader<zstd::Decoder<'static, Cursor<Vec<u8>>>>;

/// A sorted run.
enum Run {
    Plain(std::vec::IntoIter<(String, String)>),
    Compressed(Compressed),
}

impl Run {
    fn next(&mut self) -> io::Result<Option<(String, String)>> {
        match self {
            Self::Plain(entries) => Ok(entries.next()),
            Self::Compressed(run) => {
                let Some(kind) = read_text(run)? else {
                    return Ok(None);
                };
                let entry = read_text(run)?.ok_or(io::ErrorKind::UnexpectedEof)?;
                Ok(Some((kind, entry)))
            }
        }
    }
}

fn read_text(run: &mut Compressed) -> io::Result<Option<String>> {
    if run.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut len = [0; 8];
    run.read_exact(&mut len)?;
    let mut text = String::new();
    let len = u64::from_le_bytes(len);
    run.take(len).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Merges sorted runs into JSON without repetitions.
fn merge(mut runs: Vec<Run>) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    // The heap gives its greatest, hence `Reverse`.
    let mut heap = BinaryHeap::new();
    for (number, run) in runs.iter_mut().enumerate() {
        if let Some(entry) = run.next()? {
            heap.push(std::cmp::Reverse((entry, number)));
        }
    }
    out.write_all(b"{")?;
    let mut previous: Option<(String, String)> = None;
    while let Some(std::cmp::Reverse((current, number))) = heap.pop() {
        if let Some(next) = runs[number].next()? {
            heap.push(std::cmp::Reverse((next, number)));
        }
        match &previous {
            Some(previous) if *previous == current => continue,
            Some((kind, _)) if *kind == current.0 => out.write_all(b",")?,
            other => {
                out.write_all(if other.is_some() { b"]," } else { b"" })?;
                serde_json::to_writer(&mut out, &current.0)?;
                out.write_all(b":[")?;
            }
        }
        serde_json::to_writer(&mut out, &current.1)?;
        previous = Some(current);
    }
    out.write_all(if previous.is_some() { b"]}\n" } else { b"}\n" })?;
    out.finish()
}
