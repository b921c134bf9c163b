//! What a backup holds or a restore did, as lists of names by kind.

use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use salvor_api::resource::{GroupVersionKind, ObjectKey};

use crate::error::{ArchiveError, Result};

/// `<b>-resource-list.json.gz` and `restore-<r>-resource-list.json.gz` read into memory:
/// `v1/Pod` to `shop/web-0`, or to `shop/web-0(created)` of a restore.
pub type ResourceList = BTreeMap<String, Vec<String>>;

/// Bytes of names that are sorted in memory; more go to a temporary file, sorted.
const RUN_BYTES: usize = 8 << 20;
/// What an entry costs besides its text.
const ENTRY_BYTES: usize = 2 * size_of::<String>();

/// What a restore's list says of an object: its name and what was done, which is `created`, `updated`,
/// `skipped` or `failed`.
#[must_use]
pub fn restored_entry(key: &ObjectKey, action: &str) -> String {
    format!("{}({action})", key.scoped_name())
}

/// Collects a resource list in any order, in bounded memory: at most 8 MiB of names; the rest lies sorted
/// in anonymous temporary files until the end.
#[derive(Debug)]
pub struct ResourceListBuilder {
    entries: Vec<(String, String)>,
    bytes: usize,
    run_bytes: usize,
    runs: Vec<File>,
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
    /// The temporary directory is full or cannot be written.
    pub fn add(&mut self, kind: &GroupVersionKind, entry: &str) -> Result<()> {
        let kind = kind.to_string();
        self.bytes += kind.len() + entry.len() + ENTRY_BYTES;
        self.entries.push((kind, entry.to_owned()));
        if self.bytes >= self.run_bytes {
            self.spill()
                .map_err(failed("write part of a resource list"))?;
        }
        Ok(())
    }

    /// The list as compressed JSON, kinds and names sorted.
    ///
    /// # Errors
    /// A temporary file cannot be read back.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.entries.sort_unstable();
        let mut runs = Vec::new();
        for mut file in std::mem::take(&mut self.runs) {
            file.rewind()
                .map_err(failed("read part of a resource list"))?;
            runs.push(Run::File(BufReader::new(file)));
        }
        runs.push(Run::Memory(std::mem::take(&mut self.entries).into_iter()));
        merge(runs).map_err(failed("read part of a resource list"))
    }

    fn spill(&mut self) -> io::Result<()> {
        self.entries.sort_unstable();
        let mut out = BufWriter::new(tempfile::tempfile()?);
        for (kind, entry) in self.entries.drain(..) {
            for text in [kind, entry] {
                out.write_all(&(text.len() as u64).to_le_bytes())?;
                out.write_all(text.as_bytes())?;
            }
        }
        self.runs
            .push(out.into_inner().map_err(io::IntoInnerError::into_error)?);
        self.bytes = 0;
        Ok(())
    }
}

fn failed(operation: &'static str) -> impl Fn(io::Error) -> ArchiveError {
    move |source| ArchiveError::Spill { operation, source }
}

/// A sorted run.
enum Run {
    Memory(std::vec::IntoIter<(String, String)>),
    File(BufReader<File>),
}

impl Run {
    fn next(&mut self) -> io::Result<Option<(String, String)>> {
        match self {
            Self::Memory(entries) => Ok(entries.next()),
            Self::File(file) => {
                let Some(kind) = read_text(file)? else {
                    return Ok(None);
                };
                let entry = read_text(file)?.ok_or(io::ErrorKind::UnexpectedEof)?;
                Ok(Some((kind, entry)))
            }
        }
    }
}

fn read_text(file: &mut BufReader<File>) -> io::Result<Option<String>> {
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut len = [0; 8];
    file.read_exact(&mut len)?;
    let mut text = String::new();
    let len = u64::from_le_bytes(len);
    file.take(len).read_to_string(&mut text)?;
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
