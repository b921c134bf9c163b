//! Plain files out of a location: which trees there are, what they hold, whether that is still so, and back.

use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use futures::StreamExt as _;
use jiff::Timestamp;
use salvor_seal::Hasher;
use salvor_storage::GetOptions;

use crate::backup::digest_of;
use crate::copy::Transfer;
use crate::copy::tree::{
    EntryKind, TREE_VERSION, TreeEntry, TreeRecord, assert_tree_name, folder_of, generation_key,
    object_key,
};
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::record;
use crate::run::RunId;
use crate::verify::{Finding, Severity, Verification};

/// Longest line of a list: a path has at most 4096 bytes, twice in hex.
const LONGEST_LINE: usize = 64 << 10;

impl Location {
    /// All generations of all trees that are complete, by tree, oldest first. One whose record cannot be read is an
    /// error of its own in the list.
    ///
    /// # Errors
    /// The listing fails.
    pub async fn trees(&self) -> Result<Vec<Result<TreeRecord>>> {
        let doing = || format!("list the trees of location `{}`", self.name());
        let listed = self.store.list_folder(layout::TREES).await;
        let mut found = Vec::new();
        for tree in listed.map_err(Error::store(doing()))?.folders {
            let listed = self.store.list_folder(&folder_of(&tree)).await;
            for generation in listed.map_err(Error::store(doing()))?.folders {
                if generation == "objects" {
                    continue;
                }
                match self.tree_record(&tree, &RunId::from(generation)).await {
                    Err(error) if error.is_not_found() => {}
                    record => found.push(record),
                }
            }
        }
        Ok(found)
    }

    async fn tree_record(&self, tree: &str, generation: &RunId) -> Result<TreeRecord> {
        let key = generation_key(tree, generation, "tree.json")?;
        record::read(&self.store, &key, TREE_VERSION).await
    }

    /// One generation of a tree: the one that is named, else the newest.
    ///
    /// # Errors
    /// There is none, or its record cannot be read.
    pub async fn tree(&self, tree: &str, generation: Option<&RunId>) -> Result<TreeRecord> {
        assert_tree_name(tree)?;
        if let Some(generation) = generation {
            return self.tree_record(tree, generation).await;
        }
        let doing = format!("list tree `{tree}`");
        let listed = self.store.list_folder(&folder_of(tree)).await;
        let mut folders = listed.map_err(Error::store(doing))?.folders;
        folders.retain(|folder| folder != "objects");
        // Run ids begin with their time.
        for generation in folders.into_iter().rev() {
            match self.tree_record(tree, &RunId::from(generation)).await {
                Err(error) if error.is_not_found() => {}
                record => return record,
            }
        }
        Err(Error::BadRecord {
            key: folder_of(tree),
            reason: format!("location `{}` has no complete tree `{tree}`", self.name()),
        })
    }

    /// Calls `each` with every entry of a tree, in order. The list is compared with its digest before.
    ///
    /// # Errors
    /// [`Error::BadRecord`] when the list is damaged, the store fails, or `each` fails.
    pub async fn tree_entries(
        &self,
        record: &TreeRecord,
        mut each: impl AsyncFnMut(TreeEntry) -> Result<()>,
    ) -> Result<()> {
        let key = generation_key(&record.tree, &record.generation, "files.jsonl")?;
        let doing = format!("read `{key}`");
        let bad = |reason: String| Error::BadRecord {
            key: key.to_string(),
            reason,
        };
        let found = digest_of(self, &key)
            .await
            .map_err(Error::store(doing.clone()))?;
        if found.1 != record.list_sha256 {
            return Err(bad(format!(
                "its SHA-256 is {}, the record states another",
                found.1
            )));
        }
        let object = self.store.get(&key, GetOptions::default()).await;
        let mut body = object.map_err(Error::store(doing.clone()))?.body;
        let mut rest = Vec::new();
        while let Some(chunk) = body.next().await {
            for piece in chunk
                .map_err(Error::store(doing.clone()))?
                .split_inclusive(|b| *b == b'\n')
            {
                rest.extend_from_slice(piece);
                if rest.len() > LONGEST_LINE {
                    return Err(bad("a line of it is too long".to_owned()));
                }
                if rest.last() == Some(&b'\n') {
                    let entry =
                        serde_json::from_slice(&rest).map_err(|error| bad(error.to_string()))?;
                    rest.clear();
                    each(entry).await?;
                }
            }
        }
        Ok(())
    }

    /// Reads every file of a tree and compares it with its digest.
    ///
    /// # Errors
    /// The store fails for a reason other than a missing file, or [`Error::Stopped`].
    pub async fn verify_tree(
        &self,
        record: &TreeRecord,
        transfer: &Transfer,
    ) -> Result<Verification> {
        let mut report = Verification::default();
        let found = self
            .tree_entries(record, async |entry| {
                transfer.go_on(|| format!("verify `{}`", entry.path))?;
                let EntryKind::File { size, sha256 } = entry.kind else {
                    return Ok(());
                };
                let key = object_key(&record.tree, &sha256);
                let message = match digest_of(self, &key).await {
                    Ok((_, digest)) if digest == sha256 => {
                        report.files += 1;
                        report.bytes += size;
                        return Ok(());
                    }
                    Ok((_, digest)) => format!("its SHA-256 is {digest} instead of {sha256}"),
                    Err(error) if error.is_not_found() => "it is missing".to_owned(),
                    Err(error) => return Err(Error::store(format!("read `{key}`"))(error)),
                };
                report.findings.push(error_finding(entry.path, message));
                Ok(())
            })
            .await;
        match found {
            Err(Error::BadRecord { key, reason }) => {
                report.findings.push(error_finding(key, reason));
            }
            found => found?,
        }
        Ok(report)
    }

    /// Removes a tree: its records first, so that an interruption leaves contents that nothing refers to and that a
    /// repetition removes. Returns how many objects there were.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], or the store fails.
    pub async fn delete_tree(&self, tree: &str) -> Result<u64> {
        assert_tree_name(tree)?;
        self.prepare().await?;
        let folder = folder_of(tree);
        let keys = self.keys_below(&folder).await?;
        let count = keys.len() as u64;
        let is_record = |key: &salvor_storage::Key| key.file_name() == "tree.json";
        let (records, rest): (Vec<_>, Vec<_>) = keys.into_iter().partition(is_record);
        self.remove(&folder, records).await?;
        self.remove(&folder, rest).await?;
        Ok(count)
    }

    /// Writes the files of a tree into a new or empty folder: contents compared with their digests, permissions and
    /// times as they were; owners stay those of whoever writes. With `below`, only what stands at or below one of these
    /// paths. What cannot be written is a finding; everything else is.
    ///
    /// # Errors
    /// The folder is not empty, the list is damaged, [`Error::Stopped`], or the store fails.
    pub async fn extract_tree(
        &self,
        record: &TreeRecord,
        to: &Path,
        below: &[String],
        transfer: &Transfer,
    ) -> Result<Verification> {
        assert_empty(to)?;
        let chosen = |path: &str| {
            let is_below = |chosen: &String| {
                let chosen = chosen.trim_matches('/');
                let rest = path.strip_prefix(chosen);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            below.is_empty() || below.iter().any(is_below)
        };
        let mut report = Verification::default();
        // Links come when all files are there, so that nothing is written through one; the times of folders
        // come last, because what is made in a folder changes them.
        for pass in [Pass::Files, Pass::Links, Pass::Folders] {
            self.tree_entries(record, async |entry| {
                transfer.go_on(|| format!("write `{}`", entry.path))?;
                if !chosen(&entry.path) {
                    return Ok(());
                }
                let path = match safe(&entry) {
                    Ok(path) => to.join(path),
                    Err(why) if pass == Pass::Files => {
                        report
                            .findings
                            .push(error_finding(entry.path, why.to_owned()));
                        return Ok(());
                    }
                    Err(_) => return Ok(()),
                };
                let done = match (pass, &entry.kind) {
                    (Pass::Files, EntryKind::Folder) => std::fs::create_dir_all(&path),
                    (Pass::Files, EntryKind::File { size, .. }) => {
                        let written = self.extract_file(record, &entry, &path, transfer).await?;
                        if written.is_ok() {
                            report.files += 1;
                            report.bytes += size;
                        }
                        written
                    }
                    (Pass::Links, EntryKind::Link { target }) => {
                        parent(&path).and_then(|()| symlink(target, &path))
                    }
                    (Pass::Folders, EntryKind::Folder) => finish(&path, &entry),
                    _ => Ok(()),
                };
                if let Err(error) = done {
                    report
                        .findings
                        .push(error_finding(entry.path, error.to_string()));
                }
                Ok(())
            })
            .await?;
        }
        Ok(report)
    }

    async fn extract_file(
        &self,
        record: &TreeRecord,
        entry: &TreeEntry,
        path: &Path,
        transfer: &Transfer,
    ) -> Result<std::io::Result<()>> {
        let EntryKind::File { sha256, .. } = &entry.kind else {
            return Ok(Ok(()));
        };
        let key = object_key(&record.tree, sha256);
        let object = match self.store.get(&key, GetOptions::default()).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => {
                return Ok(Err(std::io::Error::other(
                    "its bytes are missing in the location",
                )));
            }
            Err(error) => return Err(Error::store(format!("read `{key}`"))(error)),
        };
        let created = parent(path).and_then(|()| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600).open(path)
        });
        let mut file = match created {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        let mut hasher = Hasher::new();
        let mut body = object.body;
        while let Some(chunk) = body.next().await {
            transfer.go_on(|| format!("write `{}`", entry.path))?;
            let chunk = chunk.map_err(Error::store(format!("read `{key}`")))?;
            hasher.update(&chunk);
            if let Err(error) = file.write_all(&chunk) {
                return Ok(Err(error));
            }
            transfer.add_sent(chunk.len());
        }
        drop(file);
        if hasher.finish() != *sha256 {
            // Wrong bytes are worse than none.
            let removed = std::fs::remove_file(path);
            return Ok(removed.and_then(|()| {
                Err(std::io::Error::other(
                    "its bytes in the location are damaged; it was not written",
                ))
            }));
        }
        Ok(finish(path, entry))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Files,
    Links,
    Folders,
}

fn error_finding(file: String, message: String) -> Finding {
    Finding {
        severity: Severity::Error,
        file,
        message,
    }
}

fn assert_empty(to: &Path) -> Result<()> {
    let doing = format!("write to folder {}", to.display());
    let entries = std::fs::create_dir_all(to).and_then(|()| std::fs::read_dir(to));
    let mut entries = entries.map_err(|source| Error::File {
        doing: doing.clone(),
        source,
    })?;
    if entries.next().is_none() {
        return Ok(());
    }
    Err(Error::File {
        doing,
        source: std::io::Error::other("it is not empty; name a new or empty folder"),
    })
}

/// The path of an entry, if it stays below the folder. The list may come from anywhere.
fn safe(entry: &TreeEntry) -> Result<PathBuf, &'static str> {
    let path = match &entry.raw_path {
        None => PathBuf::from(&entry.path),
        Some(hex) => PathBuf::from(std::ffi::OsString::from_vec(
            unhex(hex).ok_or("its path is no hex")?,
        )),
    };
    let plain = |part: Component| matches!(part, Component::Normal(_));
    if path.as_os_str().is_empty() || !path.components().all(plain) {
        return Err("its path leads out of the folder; it was not written");
    }
    Ok(path)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

fn parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// Permissions and time, as they were; never what lets a program run as somebody else.
fn finish(path: &Path, entry: &TreeEntry) -> std::io::Result<()> {
    if std::fs::symlink_metadata(path)?.is_symlink() {
        return Err(std::io::Error::other("a link stands in its place"));
    }
    let file = std::fs::File::open(path)?;
    let modified = entry.modified.max(Timestamp::UNIX_EPOCH);
    file.set_modified(modified.into())?;
    file.set_permissions(Permissions::from_mode(entry.mode & 0o777))
}
