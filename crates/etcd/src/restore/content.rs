//! The new database: the snapshot entry by entry, with other members.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::history::{Prepared, UNKNOWN_TTL};
use super::{Error, Options, Result, Revisions, folder, io_error};
use crate::bolt::{self, Bucket, BucketWriter, Cursor, Database, Walk, Writer};
use crate::checksum::Crc32c;
use crate::mvcc::{KeyValue, Revision};
use crate::protobuf::Message;
use crate::snapshot::{self, Snapshot, not_stopped};
use crate::wal;

/// Rows by key.
type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// Buckets of users, roles, passwords, and whether they are asked for.
const USERS: [&[u8]; 3] = [b"auth", b"authRoles", b"authUsers"];

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
        history: Option<Prepared<'_>>,
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
        let quota = history.as_ref().map(|history| history.history().quota);
        let (content, _) = Self::write_to(file, &path, snapshot, history, Some(options), stop)?;
        if let Some(quota) = quota.filter(|quota| content.size > *quota) {
            let needed = content.size;
            return Err(Error::OverQuota { needed, quota });
        }
        folder::sync(snap)?;
        Ok(content)
    }

    /// Writes a database into an empty file and reads it once more. Without options it keeps the members, alarms and
    /// revisions of the snapshot.
    pub(super) fn write_to(
        file: File,
        path: &Path,
        snapshot: &Snapshot,
        history: Option<Prepared<'_>>,
        options: Option<&Options>,
        stop: &AtomicBool,
    ) -> Result<(Self, File)> {
        let page_size = snapshot.database().layout().page_size;
        let writer = Writer::create(file, page_size).map_err(unwritten(path))?;
        let mut copy = Copy {
            snapshot,
            history,
            leases: BTreeSet::new(),
            options,
            stop,
            path,
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
        let file = writer.finish().map_err(unwritten(path))?;
        content.hash = crc.value();
        content.size = prove(&file, path, content.hash, stop)?;
        Ok((content, file))
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
    /// What changed behind the snapshot, and what of all of it is kept.
    history: Option<Prepared<'a>>,
    /// Leases that are named by what was kept.
    leases: BTreeSet<i64>,
    /// What becomes of members and revisions; without it they stay as they are in the snapshot.
    options: Option<&'a Options>,
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
            ["key", "lease", "members", "members_removed", "meta"]
                .map(|name| (name.as_bytes(), None))
                .into();
        let history = self.history.as_ref().map(Prepared::history);
        let users = history.and_then(|history| history.users.clone());
        if users.is_some() {
            all.extend(USERS.map(|name| (name, None)));
        }
        all.extend(
            buckets
                .iter()
                .map(|bucket| (bucket.name.as_slice(), Some(bucket))),
        );
        for (name, bucket) in all {
            self.crc.update(name);
            match &users {
                Some(users) if USERS.contains(&name) => self.users(name, users)?,
                _ => self.bucket(name, bucket, &mut walk)?,
            }
        }
        Ok(())
    }

    /// A bucket as another snapshot has it.
    fn users(&mut self, name: &[u8], users: &Snapshot) -> Result<()> {
        let damaged = |source| Error::Snapshot(users.damaged(source));
        let mut walk = users.database().walk();
        let buckets = walk.buckets().map_err(damaged)?;
        let bucket = buckets.iter().find(|bucket| bucket.name == name);
        self.rows_of(users, name, bucket, &mut walk, Rows::new())
    }

    fn bucket(&mut self, name: &[u8], source: Option<&Bucket>, walk: &mut Walk<'_>) -> Result<()> {
        match (name, self.options) {
            (b"key", _) => self.key(source, walk),
            (b"meta", _) => {
                let rows = self.meta_rows();
                self.rows(name, source, walk, rows)
            }
            (b"lease", _) if self.history.is_some() => {
                let rows = self.lease_rows(source)?;
                self.rows(name, source, walk, rows)
            }
            (_, None) => self.rows(name, source, walk, Rows::new()),
            (b"members", Some(options)) => {
                let members = options.cluster.members().iter();
                let rows = members.map(|member| (member.row_key().into_bytes(), member.to_json()));
                self.rows(name, None, walk, rows.collect())
            }
            (b"members_removed", _) => self.rows(name, None, walk, Rows::new()),
            (b"alarm", _) => {
                self.content.alarms = self.count(source, walk)?;
                self.rows(name, None, walk, Rows::new())
            }
            _ => self.rows(name, source, walk, Rows::new()),
        }
    }

    /// The history of all keys, and the mark of a raised revision behind it.
    fn key(&mut self, source: Option<&Bucket>, walk: &mut Walk<'_>) -> Result<()> {
        let mut out = self.writer.bucket(b"key");
        let mut entries = Entries {
            revisions: snapshot::Revisions::default(),
            out: &mut out,
            crc: &mut self.crc,
            content: &mut self.content,
            leases: self.history.is_some().then_some(&mut self.leases),
            path: self.path,
        };
        let mut last = 0;
        if let Some(source) = source {
            let damaged = |error| Error::Snapshot(self.snapshot.damaged(error));
            let mut cursor = walk.cursor(source).map_err(damaged)?;
            while cursor.advance().map_err(damaged)? {
                not_stopped(self.stop)?;
                let (key, value) = (cursor.key(), cursor.value());
                last = Revision::from_key(key).map_or(last, |(revision, _)| revision.main);
                if self
                    .history
                    .as_ref()
                    .is_none_or(|history| history.keeps(key, value))
                {
                    entries.put(key, value)?;
                }
            }
        }
        if let Some(history) = &mut self.history {
            history.each_change(last, |history, key, value| {
                not_stopped(self.stop)?;
                match history.keeps(key, value) {
                    true => entries.put(key, value),
                    false => Ok(()),
                }
            })?;
        }
        let revisions = entries.revisions;
        // Where deletions are the last changes, a compaction takes them away and is itself the newest revision.
        let revision = match &self.history {
            Some(history) => history.history().target,
            None => revisions.last.main.max(self.compacted),
        };
        let revision = revision.max(Revision::FIRST);
        self.content.revision = revision;
        let by = match self.options.map(|options| options.revisions) {
            Some(Revisions::Raise(by)) => by,
            Some(Revisions::RaiseForKubernetes(by)) if revisions.kubernetes => by,
            _ => 0,
        };
        let failed = || unwritten(self.path);
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

    /// Rows of the leases that were granted behind the snapshot.
    fn lease_rows(&self, source: Option<&Bucket>) -> Result<Rows> {
        let mut missing = self.leases.clone();
        if let Some(source) = source {
            let damaged = |error| Error::Snapshot(self.snapshot.damaged(error));
            // A walk reaches a page once: this is another one.
            let mut walk = self.snapshot.database().walk();
            let mut cursor = walk.cursor(source).map_err(damaged)?;
            while cursor.advance().map_err(damaged)? {
                if let Ok(id) = cursor.key().try_into() {
                    missing.remove(&i64::from_be_bytes(id));
                }
            }
        }
        let granted = self
            .history
            .as_ref()
            .map(|history| &history.history().leases);
        let rows = missing.into_iter().map(|id| {
            let ttl = granted.and_then(|granted| granted.get(&id));
            let ttl = ttl.copied().unwrap_or(UNKNOWN_TTL);
            let row = Message::new().integer(1, id as u64).integer(2, ttl as u64);
            (id.to_be_bytes().to_vec(), row.finish())
        });
        Ok(rows.collect())
    }

    /// What changes in `meta`.
    fn meta_rows(&self) -> Rows {
        let mut rows = self.options.map(member_rows).unwrap_or_default();
        let mark = |main| Revision { main, sub: 0 }.to_key().to_vec();
        let compacted = self
            .history
            .as_ref()
            .map(|history| history.history().compact_at);
        let compacted = compacted.filter(|compacted| *compacted > 0);
        rows.extend(compacted.map(|main| ("finishedCompactRev", mark(main))));
        let scheduled = self.content.raised_to.or(compacted);
        rows.extend(scheduled.map(|main| ("scheduledCompactRev", mark(main))));
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
        self.rows_of(self.snapshot, name, source, walk, rows)
    }

    /// The same of another snapshot.
    fn rows_of(
        &mut self,
        snapshot: &Snapshot,
        name: &[u8],
        source: Option<&Bucket>,
        walk: &mut Walk<'_>,
        rows: Rows,
    ) -> Result<()> {
        let mut out = self.writer.bucket(name);
        let failed = || unwritten(self.path);
        let mut rows = rows.into_iter().peekable();
        if let Some(source) = source {
            let damaged = |error| Error::Snapshot(snapshot.damaged(error));
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

/// The rows of `meta` that tell a new cluster from the old one.
fn member_rows(options: &Options) -> Vec<(&'static str, Vec<u8>)> {
    let members = options.cluster.members();
    let voters: Vec<u64> = members.iter().map(|member| member.id).collect();
    let configuration = serde_json::json!({ "voters": voters, "auto_leave": false });
    vec![
        (
            "consistent_index",
            (members.len() as u64).to_be_bytes().to_vec(),
        ),
        ("term", wal::TERM.to_be_bytes().to_vec()),
        ("confState", configuration.to_string().into_bytes()),
    ]
}

/// Entries of the bucket `key` on their way into the new database.
struct Entries<'a, 'w> {
    revisions: snapshot::Revisions,
    out: &'a mut BucketWriter<'w>,
    crc: &'a mut Crc32c,
    content: &'a mut Content,
    /// Leases that they name, where they are asked for.
    leases: Option<&'a mut BTreeSet<i64>>,
    path: &'a Path,
}

impl Entries<'_, '_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Err(finding) = self.revisions.take(key, value)
            && self.content.findings.len() < MOST_FINDINGS
        {
            self.content.findings.push(finding);
        }
        if let Some(leases) = &mut self.leases
            && let Ok(entry) = KeyValue::decode(value)
            && entry.lease != 0
        {
            leases.insert(entry.lease);
        }
        put(self.out, self.crc, key, value).map_err(unwritten(self.path))?;
        self.content.versions += 1;
        Ok(())
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
