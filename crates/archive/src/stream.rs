//! One pass over an archive of unknown origin: check everything, keep what is sound.

mod meter;
mod resolve;
mod spill;

use std::io::{self, BufReader, Read, Write};

use serde::Deserialize;

use self::meter::Metered;
use self::resolve::{Seen, Slot};
use self::spill::Spill;
use crate::assemble::FORMAT_VERSION_PATH;
use crate::error::{ArchiveError, Result, hex, printable};
use crate::findings::{FindingKind, Findings};
use crate::index::{Entry, Index, IndexBuilder};
use crate::item::EntryPath;
use crate::limits::Limits;
use crate::segment::body_digest;
use crate::tar::read::{End, Kind, TarEntry, TarError, TarReader};

/// What an archive is held against when it is verified.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// SHA-256 of the file, as its manifest says.
    pub sha256: Option<[u8; 32]>,
    /// The index that lies beside it.
    pub index: Option<&'a Index>,
}

/// Reads a whole archive, checks every entry and, when given, the digest of the file and the digest of
/// every object. Keeps no bodies; memory is that of an index.
///
/// Whether an index points to the right *places* is what [`crate::archive::Archive::get_all_in_order`]
/// shows, as it reads through the index.
///
/// # Errors
/// Damage, a tar that ends too early, a limit, a format of the future, a file whose digest differs
/// ([`ArchiveError::ArchiveDigest`]), or a reader that fails. Anything less is a finding.
pub fn verify(reader: impl Read, expected: Expected<'_>, limits: &Limits) -> Result<Findings> {
    let Expected { sha256, index } = expected;
    let (found, mut findings) = Pass::new(reader, limits, None).run()?;
    if let Some(expected) = sha256
        && expected != findings.sha256
    {
        return Err(ArchiveError::ArchiveDigest {
            expected: hex(&expected),
            found: hex(&findings.sha256),
        });
    }
    if let Some(index) = index {
        compare(&mut findings, index, &found);
    }
    Ok(findings)
}

/// Writes the members of an archive to `spool`; the index that points into it.
pub(crate) fn transcode(
    reader: impl Read,
    limits: &Limits,
    spool: &mut dyn Write,
) -> Result<(Index, Findings)> {
    Pass::new(reader, limits, Some(Spill::new(spool))).run()
}

/// As [`transcode`], keeping what comes before damage; the error that ended the reading.
pub(crate) fn transcode_readable(
    reader: impl Read,
    limits: &Limits,
    spool: &mut dyn Write,
) -> Result<(Index, Findings, Option<ArchiveError>)> {
    let mut pass = Pass::new(reader, limits, Some(Spill::new(spool)));
    let cut = match pass.read_all() {
        Ok(()) => None,
        Err(error) if error.is_damage() => Some(error),
        Err(error) => return Err(error),
    };
    let (index, findings) = pass.conclude()?;
    Ok((index, findings, cut))
}

/// Decompressed bytes asked of the decoder at once. It is slow when asked for single headers.
const DECODED_BYTES: usize = 128 << 10;

struct Pass<'a, R: Read> {
    tar: TarReader<BufReader<Metered<R>>>,
    limits: &'a Limits,
    spill: Option<Spill<'a>>,
    index: IndexBuilder,
    seen: Vec<Seen>,
    findings: Findings,
    /// The body of the last item and the one being read.
    last_body: Vec<u8>,
    body: Vec<u8>,
}

impl<'a, R: Read> Pass<'a, R> {
    fn new(reader: R, limits: &'a Limits, spill: Option<Spill<'a>>) -> Self {
        Self {
            tar: TarReader::new(BufReader::with_capacity(
                DECODED_BYTES,
                Metered::new(reader, limits),
            )),
            limits,
            spill,
            index: IndexBuilder::default(),
            seen: Vec::new(),
            findings: Findings::default(),
            last_body: Vec::new(),
            body: Vec::new(),
        }
    }

    fn run(mut self) -> Result<(Index, Findings)> {
        self.read_all()?;
        self.conclude()
    }

    fn read_all(&mut self) -> Result<()> {
        let end = loop {
            match self.tar.next_entry() {
                Ok(Ok(entry)) => self.entry(&entry)?,
                Ok(Err(end)) => break end,
                Err(error) => return Err(self.locate(error, None)),
            }
        };
        match self.tar.drain() {
            Ok(true) => self.findings.add("", FindingKind::AfterEnd),
            Ok(false) => {}
            Err(error) => return Err(self.locate(error, None)),
        }
        if self.tar.get_ref().get_ref().compressed_bytes() == 0 {
            return Err(self.locate(TarError::Truncated, None));
        }
        if end == End::NoMarker {
            self.findings.add("", FindingKind::NoEndMarker);
        }
        Ok(())
    }

    /// The index of what was read.
    fn conclude(mut self) -> Result<(Index, Findings)> {
        let meter = self.tar.get_ref().get_ref();
        self.findings.compressed_bytes = meter.compressed_bytes();
        self.findings.sha256 = meter.sha256();
        self.findings.tar_bytes = self.tar.offset();
        if self.findings.format_version.is_none() {
            self.findings.add("", FindingKind::NoFormatVersion);
        }
        if !self.findings.has_resources {
            self.findings.add("", FindingKind::NoResources);
        }
        let archive_len = match &mut self.spill {
            Some(spill) => spill.finish(&mut self.index)?,
            None => self.findings.compressed_bytes,
        };
        resolve::resolve(&mut self.index, self.seen, &mut self.findings)?;
        let index = self.index.finish(archive_len);
        self.findings.object_count = index.object_count();
        Ok((index, self.findings))
    }

    fn entry(&mut self, entry: &TarEntry) -> Result<()> {
        self.findings.entry_count += 1;
        let full = |limit, allowed| ArchiveError::Limit {
            limit,
            allowed,
            tar_offset: self.tar.offset(),
        };
        if self.findings.entry_count > self.limits.max_entries {
            return Err(full("max_entries", self.limits.max_entries));
        }
        if self.index.text_len() as u64 > self.limits.max_names() {
            return Err(full(
                "max_entries (64 bytes of names each)",
                self.limits.max_names(),
            ));
        }
        let Ok(path) = std::str::from_utf8(&entry.path) else {
            self.refuse(entry, "its path is not UTF-8");
            return Ok(());
        };
        let inner = path.strip_prefix("./").unwrap_or(path);
        match entry.kind {
            Kind::Directory => {
                let inner = inner.trim_end_matches('/');
                self.findings.has_resources |=
                    inner == "resources" || inner.starts_with("resources/");
                if !matches!(inner, "" | ".")
                    && let Err(error) = EntryPath::parse(inner)
                {
                    self.refuse(entry, &reason_of(&error));
                }
                return Ok(());
            }
            Kind::Other(b'1' | b'2') => {
                self.refuse(entry, "it is a link");
                return Ok(());
            }
            Kind::Other(_) => {
                self.refuse(entry, "it is neither a file nor a directory");
                return Ok(());
            }
            Kind::File => {}
        }
        if inner == FORMAT_VERSION_PATH {
            return self.format_version(entry);
        }
        let parsed = match EntryPath::parse(path) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.refuse(entry, &reason_of(&error));
                return Ok(());
            }
        };
        self.findings.has_resources |= inner.starts_with("resources/");
        let Some(parsed) = parsed else {
            self.findings
                .add(printable(&entry.path), FindingKind::Foreign);
            return Ok(());
        };
        if entry.size > self.limits.max_item || u32::try_from(entry.size).is_err() {
            let reason = format!(
                "it has {} bytes, more than the limit max_item of {}",
                entry.size, self.limits.max_item
            );
            self.refuse(entry, &reason);
            return Ok(());
        }
        self.item(entry, &parsed)
    }

    fn item(&mut self, entry: &TarEntry, path: &EntryPath) -> Result<()> {
        std::mem::swap(&mut self.last_body, &mut self.body);
        self.read_contents(entry)?;
        let ids = self.index.key_ids(&path.key)?;
        if let (Some(last), Some(dir)) = (self.seen.last_mut(), &path.version)
            && dir.preferred
            && last.slot == Slot::Unversioned
            && last.ids == ids
            && !self.body.is_empty()
            && self.body == self.last_body
        {
            // The usual pair: nothing new but the version.
            last.slot = Slot::Pair;
            last.version = Some(self.index.version_id(&dir.version));
            return Ok(());
        }
        let head = match Head::read(&self.body) {
            Ok(head) => head,
            Err(reason) => {
                self.findings
                    .add(printable(&entry.path), FindingKind::NotAnObject(reason));
                // It must not be taken for the first half of a pair.
                self.body.clear();
                return Ok(());
            }
        };
        if let Some(inside) = head.other_name(path) {
            self.findings
                .add(printable(&entry.path), FindingKind::NameDiffers(inside));
        }
        let (slot, version) = match &path.version {
            None => (Slot::Unversioned, head.version()),
            Some(dir) if dir.preferred => (Slot::Preferred, Some(dir.version.as_str())),
            Some(dir) => (Slot::Other, Some(dir.version.as_str())),
        };
        let version = version.map(|version| self.index.version_id(version));
        let (member, body_offset) = match &mut self.spill {
            Some(spill) => spill.store(&self.body, &mut self.index)?,
            None => (0, 0),
        };
        self.seen.push(Seen {
            ids,
            slot,
            version,
            member,
            body_offset,
            // Checked against a u32 by the caller.
            body_len: self.body.len() as u32,
            digest: body_digest(&self.body),
        });
        Ok(())
    }

    fn format_version(&mut self, entry: &TarEntry) -> Result<()> {
        if entry.size > 64 {
            self.refuse(entry, "it is too long for a version");
            return Ok(());
        }
        self.read_contents(entry)?;
        let text = printable(self.body.trim_ascii());
        self.body.clear();
        if text != "1" && !text.starts_with("1.") {
            return Err(ArchiveError::UnsupportedFormat { found: text });
        }
        self.findings.format_version = Some(text);
        Ok(())
    }

    fn read_contents(&mut self, entry: &TarEntry) -> Result<()> {
        match self.tar.contents(&mut self.body) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.locate(error, Some(entry))),
        }
    }

    fn refuse(&mut self, entry: &TarEntry, reason: &str) {
        let kind = FindingKind::Refused(reason.to_owned());
        self.findings.add(printable(&entry.path), kind);
    }

    /// Says where it happened, and which of the layers it was.
    fn locate(&self, error: TarError, entry: Option<&TarEntry>) -> ArchiveError {
        let meter = self.tar.get_ref().get_ref();
        let within = entry.map(|entry| format!("`{}`", printable(&entry.path)));
        let compressed_offset = meter.compressed_bytes();
        let tar_offset = self.tar.offset();
        match error {
            TarError::Header(reason) => ArchiveError::Tar {
                tar_offset: self.tar.header_offset(),
                reason,
            },
            TarError::Truncated => ArchiveError::Truncated {
                tar_offset,
                within: within.unwrap_or_else(|| "a header or the entry before it".to_owned()),
            },
            TarError::Io(source) => {
                if let Some((limit, allowed)) = meter.limit_hit() {
                    return ArchiveError::Limit {
                        limit,
                        allowed,
                        tar_offset: meter.tar_bytes(),
                    };
                }
                if meter.source_failed() {
                    return ArchiveError::Read {
                        compressed_offset,
                        source,
                    };
                }
                if source.kind() == io::ErrorKind::UnexpectedEof {
                    return self.locate(TarError::Truncated, entry);
                }
                ArchiveError::Decompress {
                    compressed_offset,
                    tar_offset: meter.tar_bytes(),
                    within: within.unwrap_or_else(|| "the headers".to_owned()),
                    source,
                }
            }
        }
    }
}

fn reason_of(error: &ArchiveError) -> String {
    match error {
        ArchiveError::UnsafePath { reason, .. } => (*reason).to_owned(),
        other => other.to_string(),
    }
}

/// What is looked at in a body: enough to know that it is an object, of which version and name.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "apiVersion")]
    api_version: Option<String>,
    metadata: Option<HeadMetadata>,
}

#[derive(Deserialize)]
struct HeadMetadata {
    name: Option<String>,
    namespace: Option<String>,
}

impl Head {
    fn read(body: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
        // A struct may also be read from an array, so the brace is looked for.
        if !text.trim_start().starts_with('{') {
            return Err("it does not begin with `{`".to_owned());
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn version(&self) -> Option<&str> {
        let api_version = self.api_version.as_deref()?;
        let version = api_version.rsplit('/').next()?;
        crate::item::check_segment(version).ok()?;
        Some(version)
    }

    /// The name inside, when it is not the path's.
    fn other_name(&self, path: &EntryPath) -> Option<String> {
        let metadata = self.metadata.as_ref();
        let name = metadata.and_then(|m| m.name.as_deref()).unwrap_or_default();
        let namespace = metadata
            .and_then(|m| m.namespace.as_deref())
            .filter(|namespace| !namespace.is_empty());
        let same_place = namespace.is_none() || namespace == path.key.namespace.as_deref();
        (name != path.key.name || !same_place).then(|| {
            let scoped = namespace.map_or_else(|| name.to_owned(), |n| format!("{n}/{name}"));
            printable(scoped.as_bytes())
        })
    }
}

/// Merges the entries of two indexes, both sorted.
fn compare(findings: &mut Findings, promised: &Index, found: &Index) {
    if promised.archive_len() != findings.compressed_bytes {
        findings.add("", FindingKind::IndexDiffers);
    }
    let show = |entry: &Entry<'_>| format!("{} {}", entry.key(), entry.version());
    let sort_key = |e: &Entry<'_>| (e.key(), e.version().to_owned());
    let (mut left, mut right) = (promised.iter().peekable(), found.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => sort_key(a).cmp(&sort_key(b)),
        };
        let a = if order.is_le() { left.next() } else { None };
        let b = if order.is_ge() { right.next() } else { None };
        match (a, b) {
            (Some(a), Some(b)) => {
                let same = a.digest() == b.digest()
                    && a.body_len() == b.body_len()
                    && a.preferred() == b.preferred();
                if !same {
                    findings.add(show(&a), FindingKind::IndexDiffers);
                }
            }
            (Some(a), None) => findings.add(show(&a), FindingKind::MissingInArchive),
            (None, Some(b)) => findings.add(show(&b), FindingKind::MissingInIndex),
            (None, None) => return,
        }
    }
}
