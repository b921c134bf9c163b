//! Locks: files that say who works on the repository, as restic writes and honours them.
//!
//! Writers share; what deletes excludes. A lock is written first and the others are looked at afterwards: of two
//! that exclude each other, at least one sees the other.
//!
//! Where the store lets nobody remove what was written (a retention rule), a lock that is given back stays, and a release
//! beside it says so; what is there of both that is older than any live lock is passed over unread.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use salvor_storage::ErrorKind;

use crate::error::{Error, Result};
use crate::files::Kind;
use crate::format::lock_file::LockFile;
use crate::id::FileId;
use crate::repository::Repository;

/// How often a lock is refreshed, as restic does.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// A lock that was not refreshed for so long is dead; by age alone, because a pod's host name and process
/// number mean nothing elsewhere.
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// A lock file that the store has for so long, by the store's clock, belongs to nobody alive, whatever our clock says.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(24);
/// What a release holds. It is its name that counts.
const RELEASED: &[u8] = b"released";
/// A holder who could not refresh for so long gives up, well before others take the lock for dead.
const LOST: SignedDuration = SignedDuration::from_mins(20);

/// Who works.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Machine or pod.
    pub hostname: String,
    /// User.
    pub username: String,
}

/// A lock that is held and refreshed until it is dropped.
#[derive(Debug)]
pub struct Lock {
    repository: Arc<Repository>,
    exclusive: bool,
    state: Arc<Mutex<State>>,
    stop: Option<mpsc::Sender<()>>,
    refresher: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    file: FileId,
    refreshed: Timestamp,
}

impl Lock {
    /// Takes a lock.
    ///
    /// # Errors
    /// [`Error::Locked`] when another's excludes it, or the store fails.
    pub fn take(repository: &Arc<Repository>, exclusive: bool, holder: &Holder) -> Result<Self> {
        conflict(repository, exclusive, None)?;
        let file = write(repository, exclusive, holder)?;
        if let Err(error) = conflict(repository, exclusive, Some(file)) {
            if let Err(error) = give_back(repository, &file) {
                tracing::warn!(%error, "a lock of ours could not be removed; it ends by itself in 30 minutes");
            }
            return Err(error);
        }
        let state = Arc::new(Mutex::new(State {
            file,
            refreshed: Timestamp::now(),
        }));
        let (stop, stopped) = mpsc::channel();
        let refresher = std::thread::spawn({
            let (repository, state, holder) =
                (Arc::clone(repository), Arc::clone(&state), holder.clone());
            move || refresh(&repository, &state, exclusive, &holder, &stopped)
        });
        Ok(Self {
            repository: Arc::clone(repository),
            exclusive,
            state,
            stop: Some(stop),
            refresher: Some(refresher),
        })
    }

    /// Whether nobody else may work meanwhile.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Fails when the lock may be taken for dead by others. To be called before anything is committed or
    /// deleted.
    ///
    /// # Errors
    /// [`Error::LockLost`].
    pub fn check(&self) -> Result<()> {
        let refreshed = self.state.lock().expect("no holder panics").refreshed;
        let age = Timestamp::now().duration_since(refreshed);
        if age > LOST {
            return Err(Error::LockLost {
                place: self.repository.files().place(),
                minutes: age.as_mins(),
            });
        }
        Ok(())
    }
}

impl Lock {
    /// As [`Lock::check`], and asks the store whether the lock is there still. To be called before what cannot be taken back.
    ///
    /// # Errors
    /// [`Error::LockLost`], [`Error::LockRemoved`], or the store fails.
    pub fn check_stored(&self) -> Result<()> {
        self.check()?;
        loop {
            let file = self.file();
            if is_there(&self.repository, &file)? {
                return Ok(());
            }
            // It may just have been refreshed, under another name.
            if file == self.file() {
                return Err(Error::LockRemoved {
                    place: self.repository.files().place(),
                });
            }
        }
    }

    fn file(&self) -> FileId {
        self.state.lock().expect("no holder panics").file
    }
}

fn is_there(repository: &Repository, file: &FileId) -> Result<bool> {
    let files = repository.files();
    Ok(files.exists(Kind::Lock, file)? && !files.exists(Kind::Release, file)?)
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(refresher) = self.refresher.take()
            && refresher.join().is_err()
        {
            tracing::error!("the thread that refreshes a lock panicked");
        }
        let file = self.state.lock().map(|state| state.file);
        if let Ok(file) = file
            && let Err(error) = give_back(&self.repository, &file)
        {
            tracing::warn!(%error, "a lock of ours could not be removed; it ends by itself in 30 minutes");
        }
    }
}

/// Writes a new lock file every five minutes and removes the one before.
fn refresh(
    repository: &Repository,
    state: &Mutex<State>,
    exclusive: bool,
    holder: &Holder,
    stopped: &mpsc::Receiver<()>,
) {
    while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(REFRESH) {
        match write(repository, exclusive, holder) {
            Ok(file) => {
                let before = {
                    let mut state = state.lock().expect("no holder panics");
                    state.refreshed = Timestamp::now();
                    std::mem::replace(&mut state.file, file)
                };
                if let Err(error) = give_back(repository, &before) {
                    tracing::warn!(%error, "an old lock of ours could not be removed");
                }
            }
            Err(error) => tracing::warn!(%error, "the lock could not be refreshed"),
        }
    }
}

/// Removes a lock of ours or, where the store lets nobody do so, says that it holds nothing any more.
fn give_back(repository: &Repository, file: &FileId) -> Result<()> {
    let files = repository.files();
    match files.remove(Kind::Lock, file) {
        Err(Error::Store { source, .. })
            if matches!(source.kind, ErrorKind::Locked | ErrorKind::Denied) =>
        {
            files.write_named(Kind::Release, *file, Bytes::from_static(RELEASED))
        }
        other => other,
    }
}

fn write(repository: &Repository, exclusive: bool, holder: &Holder) -> Result<FileId> {
    let file = LockFile {
        time: Timestamp::now(),
        exclusive,
        hostname: holder.hostname.clone(),
        username: holder.username.clone(),
        pid: std::process::id(),
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    repository.write_document(Kind::Lock, &file)
}

/// Fails when a live lock of another excludes one of ours.
fn conflict(repository: &Repository, exclusive: bool, ours: Option<FileId>) -> Result<()> {
    for (id, lock) in all(repository)? {
        let dead = Timestamp::now().duration_since(lock.time) > STALE;
        if Some(id) != ours && !dead && (exclusive || lock.exclusive) {
            return Err(Error::Locked {
                place: repository.files().place(),
                holder: format!("{}@{} (process {})", lock.username, lock.hostname, lock.pid),
                since: lock.time.to_string(),
            });
        }
    }
    Ok(())
}

/// All locks that are not given back. One that vanishes while it is read was released; one that cannot be read may be of
/// anybody who excludes us, since the store has it.
///
/// # Errors
/// The store fails.
pub fn all(repository: &Repository) -> Result<Vec<(FileId, LockFile)>> {
    let now = Timestamp::now();
    let mut listed = repository.files().list(Kind::Lock)?;
    listed.retain(|file| {
        file.modified
            .is_none_or(|written| now.duration_since(written) < FORGOTTEN)
    });
    if listed.is_empty() {
        return Ok(Vec::new());
    }
    let released: HashSet<FileId> = repository
        .files()
        .list(Kind::Release)?
        .into_iter()
        .map(|file| file.id)
        .collect();
    let mut locks = Vec::new();
    for file in listed.iter().filter(|file| !released.contains(&file.id)) {
        match repository.read_document(Kind::Lock, &file.id) {
            Ok(lock) => locks.push((file.id, lock)),
            Err(Error::Store { source, .. }) if source.is_not_found() => {}
            Err(error) if error.is_damage() => {
                let since = file.modified.unwrap_or(now);
                locks.push((file.id, unreadable(&file.id, since)));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(locks)
}

/// What is taken for the content of a lock that has none that can be read.
fn unreadable(id: &FileId, since: Timestamp) -> LockFile {
    LockFile {
        time: since,
        exclusive: true,
        hostname: format!(
            "unknown, in the file {} that cannot be read",
            Kind::Lock.path(id)
        ),
        username: "unknown".to_owned(),
        pid: 0,
        uid: 0,
        gid: 0,
    }
}

/// What [`unlock`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlocked {
    /// Locks that were removed.
    pub removed: usize,
    /// Who holds the others, as far as can be told.
    pub left: Vec<String>,
}

/// Removes the locks of the dead, with `everybody` all of them. Dead is what was not refreshed for half an hour, and
/// a process of this machine that is not there any more.
///
/// # Errors
/// The store fails.
pub fn unlock(repository: &Repository, here: &str, everybody: bool) -> Result<Unlocked> {
    let mut unlocked = Unlocked::default();
    for (id, lock) in all(repository)? {
        let stale = Timestamp::now().duration_since(lock.time) > STALE;
        let gone = lock.hostname == here && !Path::new(&format!("/proc/{}", lock.pid)).exists();
        if everybody || stale || gone {
            give_back(repository, &id)?;
            unlocked.removed += 1;
        } else {
            unlocked.left.push(format!(
                "{}@{} (process {}), refreshed {}",
                lock.username, lock.hostname, lock.pid, lock.time
            ));
        }
    }
    Ok(unlocked)
}
