//! The new database: the snapshot entry by entry, with other members.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::{Error, Options, Result, Revisions, folder, io_error};
use crate::bolt::{self, Bucket, BucketWriter, Cursor, Database, Walk, Writer};
use crate::checksum::Crc32c;
use crate::mvcc::Revision;
use crate::snapshot::{self, Snapshot, not_stopped};
use crate::wal;

/// Rows by key.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Findings that are kept.
const MOST_FINDINGS: usize = 20;

/// What the new database holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) revision: u64,
    pub(super) raised_to: Option<u64>,
    pub(super) versions: u64,
    pub(super) size: u64,
    pub(super) hash: u32,
    pub(super) alarms: u64,
    pub(super) findings: Vec<String>,
}

impl Content {
    /// Writes `db` into a new folder and reads it once more.
    pub(super) fn write(
        snapshot: &Snapshot,
        snap: &Path,
        options: &Options,
        stop: &AtomicBool,
    ) -> Result<Self> {
        let path = folder::create(snap)?.join("db");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("create", &path))?;
        let page_size = snapshot.database().layout().page_size;
        let writer = Writer::create(file, page_size).map_err(unwritten(&path))?;
        let mut copy = Copy {
            snapshot,
            options,
            stop,
            path: &path,
            writer,
            crc: Crc32c::new(),
            content: Self::default(),
            compacted: 0,
        };
        copy.buckets()?;
        let Copy {
            writer,
            crc,
            mut content,
            ..
        } = copy;
        let file = writer.finish().map_err(unwritten(&path))?;
        content.hash = crc.value();
        content.size = prove(&file, &path, content.hash, stop)?;
        folder::sync(snap)?;
        Ok(content)
    }
}

/// Reads a database that was just written, and compares. Gives its size.
fn prove(file: &File, path: &Path, expected: u32, stop: &AtomicBool) -> Result<u64> {
    let length = file.metadata().map_err(io_error("look at", path))?.len();
    let failed = || unwritten(path);
    let file = file.try_clone().map_err(io_error("look at", path))?;
    let database = Database::open(file, length).map_err(failed())?;
    let mut crc = Crc32c::new();
    let mut walk = database.walk();
    for bucket in walk.buckets().map_err(failed())? {
        crc.update(&bucket.name);
        let mut cursor = walk.cursor(&bucket).map_err(failed())?;
        while cursor.advance().map_err(failed())? {
            not_stopped(stop)?;
            crc.update(cursor.key());
            crc.update(cursor.value());
        }
    }
    let found = crc.value();
    if found == expected {
        return Ok(database.layout().size());
    }
    Err(Error::ReadsOtherwise {
        path: path.to_owned(),
        expected,
        found,
    })
}

/// A copy in progress.
struct Copy<'a> {
    snapshot: &'a Snapshot,
    options: &'a Options,
    stop: &'a AtomicBool,
    path: &'a Path,
    writer: Writer,
    crc: Crc32c,
    content: Content,
    /// Revision up to which the source was compacted, or began to be.
    compacted: u64,
}

impl Copy<'_> {
    fn buckets(&mut self) -> Result<()> {
        let damaged = |source| Error::Snapshot(self.snapshot.damaged(source));
        let mut walk = self.snapshot.database().walk();
        let buckets = walk.buckets().map_err(damaged)?;
        if let Some(meta) = buckets.iter().find(|bucket| bucket.name == b"meta") {
            self.compacted = compacted(self.snapshot.database(), meta).map_err(damaged)?;
        }
        // Those that every member has, and those of the snapshot.
        let mut all: BTreeMap<&[u8], Option<&Bucket>> =
            ["key", "members", "members_removed", "meta"]
                .map(|name| (name.as_bytes(), None))
                .into();
        all.extend(
            buckets
                .iter()
                .map(|bucket| (bucket.name.as_slice(), Some(bucket))),
        );
        for (name, bucket) in all {
            self.crc.update(name);
            self.bucket(name, bucket, &mut walk)?;
        }
        Ok(())
    }

    fn bucket(&mut self, name: &[u8], source: Option<&Bucket>, walk: &mut Walk<'_>) -> Result<()> {
        match name {
            b"key" => self.key(source, walk),
            b"meta" => {
                let rows = self.meta_rows();
                self.rows(name, source, walk, rows)
            }
            b"members" => {
                let members = self.options.cluster.members().iter();
                let rows = members.map(|member| (member.row_key().into_bytes(), member.to_json()));
                self.rows(name, None, walk, rows.collect())
            }
            b"members_removed" => self.rows(name, None, walk, Rows::new()),
            b"alarm" => {
                self.content.alarms = self.count(source, walk)?;
                self.rows(name, None, walk, Rows::new())
            }
            _ => self.rows(name, source, walk, Rows::new()),
        }
    }

    /// The history of all keys, and the mark of a raised revision behind it.
    fn key(&mut self, source: Option<&Bucket>, walk: &mut Walk<'_>) -> Result<()> {
        let mut revisions = snapshot::Revisions::default();
        let mut out = self.writer.bucket(b"key");
        let failed = || unwritten(self.path);
        if let Some(source) = source {
            let damaged = |error| Error::Snapshot(self.snapshot.damaged(error));
            let mut cursor = walk.cursor(source).map_err(damaged)?;
            while cursor.advance().map_err(damaged)? {
                not_stopped(self.stop)?;
                let (key, value) = (cursor.key(), cursor.value());
                if let Err(finding) = revisions.take(key, value)
                    && self.content.findings.len() < MOST_FINDINGS
                {
                    self.content.findings.push(finding);
                }
                put(&mut out, &mut self.crc, key, value).map_err(failed())?;
                self.content.versions += 1;
            }
        }
        // Where deletions are the last changes, a compaction takes them away and is itself the newest revision.
        let revision = revisions.last.main.max(self.compacted).max(Revision::FIRST);
        self.content.revision = revision;
        let by = match self.options.revisions {
            Revisions::Raise(by) => by,
            Revisions::RaiseForKubernetes(by) if revisions.kubernetes => by,
            _ => 0,
        };
        if by > 0 {
            let raised = revision
                .checked_add(by)
                .filter(|raised| *raised < i64::MAX as u64)
                .ok_or(Error::TooHigh { revision, by })?;
            let mark = Revision {
                main: raised,
                sub: 0,
            };
            put(&mut out, &mut self.crc, &mark.to_key(), b"").map_err(failed())?;
            self.content.raised_to = Some(raised);
        }
        out.finish().map_err(failed())
    }

    /// What changes in `meta`.
    fn meta_rows(&self) -> Rows {
        let members = self.options.cluster.members();
        let voters: Vec<u64> = members.iter().map(|member| member.id).collect();
        let configuration = serde_json::json!({ "voters": voters, "auto_leave": false });
        let mut rows = vec![
            (
                "consistent_index",
                (members.len() as u64).to_be_bytes().to_vec(),
            ),
            ("term", wal::TERM.to_be_bytes().to_vec()),
            ("confState", configuration.to_string().into_bytes()),
        ];
        if let Some(main) = self.content.raised_to {
            let mark = Revision { main, sub: 0 };
            rows.push(("scheduledCompactRev", mark.to_key().to_vec()));
        }
        rows.into_iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value))
            .collect()
    }

    /// The rows of a bucket, where `rows` take the place of those with their keys.
    fn rows(
        &mut self,
        name: &[u8],
        source: Option<&Bucket>,
        walk: &mut Walk<'_>,
        rows: Rows,
    ) -> Result<()> {
        let mut out = self.writer.bucket(name);
        let failed = || unwritten(self.path);
        let mut rows = rows.into_iter().peekable();
        if let Some(source) = source {
            let damaged = |error| Error::Snapshot(self.snapshot.damaged(error));
            let mut cursor = walk.cursor(source).map_err(damaged)?;
            while cursor.advance().map_err(damaged)? {
                not_stopped(self.stop)?;
                while let Some((key, value)) =
                    rows.next_if(|(key, _)| key.as_slice() < cursor.key())
                {
                    put(&mut out, &mut self.crc, &key, &value).map_err(failed())?;
                }
                if rows.peek().is_some_and(|(key, _)| key == cursor.key()) {
                    continue;
                }
                put(&mut out, &mut self.crc, cursor.key(), cursor.value()).map_err(failed())?;
            }
        }
        for (key, value) in rows {
            put(&mut out, &mut self.crc, &key, &value).map_err(failed())?;
        }
        out.finish().map_err(failed())
    }

    fn count(&self, source: Option<&Bucket>, walk: &mut Walk<'_>) -> Result<u64> {
        let damaged = |error| Error::Snapshot(self.snapshot.damaged(error));
        let mut count = 0;
        if let Some(source) = source {
            let mut cursor = walk.cursor(source).map_err(damaged)?;
            while cursor.advance().map_err(damaged)? {
                count += 1;
            }
        }
        Ok(count)
    }
}

fn put(out: &mut BucketWriter<'_>, crc: &mut Crc32c, key: &[u8], value: &[u8]) -> bolt::Result<()> {
    crc.update(key);
    crc.update(value);
    out.push(key, value)
}

/// The revision up to which a database was compacted, or began to be.
fn compacted(database: &Database, meta: &Bucket) -> bolt::Result<u64> {
    let mut walk = database.walk();
    let mut cursor: Cursor<'_, '_> = walk.cursor(meta)?;
    let mut newest = 0;
    while cursor.advance()? {
        if [&b"scheduledCompactRev"[..], b"finishedCompactRev"].contains(&cursor.key())
            && let Some((revision, _)) = Revision::from_key(cursor.value())
        {
            newest = newest.max(revision.main);
        }
    }
    Ok(newest)
}

fn unwritten(path: &Path) -> impl Fn(bolt::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |source| Error::Database {
        path: path.clone(),
        source,
    }
}
