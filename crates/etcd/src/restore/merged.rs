//! A snapshot and the changes behind it as one snapshot: the file that the source itself would have given at that revision.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use salvor_seal::Hasher;

use super::content::Content;
use super::history::{History, Prepared};
use super::{Error, Result, folder, io_error};
use crate::snapshot::{Snapshot, not_stopped};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// A new snapshot.
#[derive(Debug)]
pub struct Merged {
    /// Its file, which has no name.
    pub file: File,
    /// The hash that etcd's tools print, of what was merged.
    pub hash: u32,
    /// Versions of keys in it.
    pub versions: u64,
    /// Entries that are not what etcd writes; they were copied as they are.
    pub findings: Vec<String>,
}

/// Merges a snapshot and what changed behind it, up to [`History::target`], into a snapshot with a digest: members and
/// alarms are those of the old one, users and roles too where [`History::users`] has no others. Older versions than those of [`History::compact_at`] are left out. The
/// file is in `folder` and has no name.
///
/// # Errors
/// The snapshot is damaged, the disk has too little room or refuses, or it was asked to stop.
pub fn merge(
    snapshot: &Snapshot,
    history: &mut History,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<Merged> {
    if !snapshot.check_digest(stop)? {
        return Err(Error::NoDigest {
            path: snapshot.path().to_owned(),
        });
    }
    folder::check_room(folder, history.most(snapshot)? + super::BESIDES)?;
    let prepared = Prepared::new(history, snapshot, stop)?;
    let file = tempfile::tempfile_in(folder).map_err(io_error("create a file in", folder))?;
    let (content, file) = Content::write_to(file, folder, snapshot, Some(prepared), None, stop)?;
    let file = with_digest(file, folder, stop)?;
    Ok(Merged {
        file,
        hash: content.hash,
        versions: content.versions,
        findings: content.findings,
    })
}

/// Puts the digest of a file behind it.
fn with_digest(mut file: File, folder: &Path, stop: &AtomicBool) -> Result<File> {
    let failed = |doing| io_error(doing, folder);
    file.seek(SeekFrom::Start(0))
        .map_err(failed("read a file in"))?;
    let mut hasher = Hasher::new();
    let mut piece = vec![0; PIECE];
    loop {
        not_stopped(stop)?;
        let read = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("read a file in")(error)),
        };
        hasher.update(&piece[..read]);
    }
    let digest = hasher.finish();
    file.write_all(digest.as_bytes())
        .map_err(failed("write a file in"))?;
    Ok(file)
}
