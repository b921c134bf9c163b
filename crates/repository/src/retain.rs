//! On stores that let nobody remove what was written for some time after it was (a default retention of the bucket): what
//! is still needed is kept for as long again before that time is over, as if it had been written today. What nobody needs
//! any more is left alone, so that its time runs out and a sweep can remove it.
//!
//! Nothing is written down about it: a file is extended when it has been there for another half of the period since the
//! last run. A run that failed or was killed is repeated from where the last whole one was; a file that is extended twice
//! is none the worse.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use salvor_storage::ErrorKind;

use crate::error::{Error, Result};
use crate::files::{CONFIG, Kind, Retention};
use crate::id::FileId;
use crate::lock::Lock;
use crate::progress::Progress;
use crate::prune;
use crate::repository::Repository;

/// Requests that are under way at once. Each is a few hundred bytes, and a store takes some time for it.
const REQUESTS: usize = 8;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "look at `refused`"]
pub struct Extended {
    /// Files that are kept for longer now.
    pub files: usize,
    /// Why the store would not do it: the right is missing, or it has no such thing. Nothing was lost, and what was written
    /// long enough ago is not protected any more.
    pub refused: Option<String>,
}

/// A file that is to be kept for longer, and when it was written.
struct Candidate {
    path: String,
    written: Option<Timestamp>,
}

/// Extends the retention of what is needed and was written, or extended, half the store's period ago; nothing on stores
/// without such a rule. `since` is when the last run that ended well began, `now` when this one does. `known` are snapshots
/// that must be there. A shared lock is enough.
///
/// # Errors
/// A known snapshot is missing, damage, the lock was lost, or the store fails.
pub fn extend(
    repository: &Repository,
    lock: &Lock,
    known: &[FileId],
    since: Option<Timestamp>,
    now: Timestamp,
    progress: &Progress,
) -> Result<Extended> {
    let Some(retention) = repository.files().retention()? else {
        return Ok(Extended::default());
    };
    let half = retention.period / 2;
    let is_due = |written: Option<Timestamp>| is_due(written, since, now, half);
    let mut due = small_files(repository)?;
    due.retain(|file| is_due(file.written));
    let mut large = listed(repository, Kind::Pack)?;
    large.extend(listed(repository, Kind::Index)?);
    large.retain(|(_, _, written)| is_due(*written));
    if !large.is_empty() {
        let needed = prune::needed(repository, known, progress)?;
        large.retain(|(kind, id, _)| match kind {
            Kind::Pack => needed.packs.contains(id),
            _ => needed.indexes.contains(id),
        });
    }
    due.extend(large.into_iter().map(|(kind, id, written)| Candidate {
        path: kind.path(&id),
        written,
    }));
    lock.check()?;
    put(repository, due, &retention, now, progress)
}

/// Whether another half of the period has gone by between two runs, by the file's age.
fn is_due(
    written: Option<Timestamp>,
    since: Option<Timestamp>,
    now: Timestamp,
    half: SignedDuration,
) -> bool {
    let Some(written) = written else {
        return true;
    };
    let halves = |at: Timestamp| {
        let age = at.duration_since(written).as_secs().max(0);
        age / half.as_secs().max(1)
    };
    halves(now) > since.map_or(0, halves)
}

/// Files without which the packs cannot be read or are not found, all of which are needed while they are there.
fn small_files(repository: &Repository) -> Result<Vec<Candidate>> {
    let mut files = vec![Candidate {
        path: CONFIG.to_owned(),
        written: repository.files().config_written()?,
    }];
    for kind in [Kind::Key, Kind::Snapshot] {
        for (kind, id, written) in listed(repository, kind)? {
            files.push(Candidate {
                path: kind.path(&id),
                written,
            });
        }
    }
    Ok(files)
}

fn listed(repository: &Repository, kind: Kind) -> Result<Vec<(Kind, FileId, Option<Timestamp>)>> {
    let files = repository.files().list(kind)?;
    Ok(files
        .into_iter()
        .map(|file| (kind, file.id, file.modified))
        .collect())
}

/// Several requests at once; the first failure ends all.
fn put(
    repository: &Repository,
    due: Vec<Candidate>,
    retention: &Retention,
    now: Timestamp,
    progress: &Progress,
) -> Result<Extended> {
    let until = now
        .checked_add(retention.period)
        .map_err(|_| Error::Invalid("the default retention ends after the last date".to_owned()))?;
    let queue = Mutex::new(due.into_iter());
    let done = Mutex::new(Ok(Extended::default()));
    let go_on = || matches!(&*lock(&done), Ok(Extended { refused: None, .. }));
    std::thread::scope(|scope| {
        for _ in 0..REQUESTS {
            scope.spawn(|| {
                while go_on() {
                    let Some(file) = lock(&queue).next() else {
                        return;
                    };
                    let put = progress
                        .check()
                        .and_then(|()| one(repository, &file.path, &retention.mode, until));
                    let mut done = lock(&done);
                    match (&mut *done, put) {
                        (Ok(done), Ok(None)) => done.files += 1,
                        (Ok(done), Ok(why)) => done.refused = why,
                        (Ok(_), Err(error)) => *done = Err(error),
                        (Err(_), _) => {}
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Extends one file; answers why the store refuses.
fn one(
    repository: &Repository,
    path: &str,
    mode: &str,
    until: Timestamp,
) -> Result<Option<String>> {
    let files = repository.files();
    let error = match files.retain(path, mode, until) {
        Ok(()) => return Ok(None),
        Err(error) => error,
    };
    let Error::Store { source, .. } = &error else {
        return Err(error);
    };
    match source.kind {
        // Removed meanwhile.
        ErrorKind::NotFound => Ok(None),
        ErrorKind::Denied | ErrorKind::Locked => {
            // A store refuses to shorten a retention with the same words.
            let longer = files.retained_until(path)?;
            let is_kept = longer.is_some_and(|longer| longer >= until);
            Ok((!is_kept).then(|| format!("{error}: {source}")))
        }
        ErrorKind::Unsupported => Ok(Some(format!("{error}: {source}"))),
        _ => Err(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_due_once_in_each_half_of_the_period() {
        let at = |days: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(days * 24);
        let half = SignedDuration::from_hours(15 * 24);
        for (since, now, due) in [
            (None, 14, false),
            (None, 15, true),
            (Some(14), 15, true),
            (Some(15), 16, false),
            (Some(16), 29, false),
            (Some(16), 30, true),
            // The server was away.
            (Some(16), 400, true),
            // A clock that went back.
            (Some(20), 10, false),
        ] {
            let found = is_due(Some(at(0)), since.map(at), at(now), half);
            assert_eq!(found, due, "{since:?} to {now}");
        }
        assert!(is_due(None, Some(at(1)), at(1), half));
        // A run that was every day extends, whenever it came, before the period is over.
        let mut kept_until = at(30);
        for day in 1..1000 {
            assert!(at(day) < kept_until, "day {day}");
            if is_due(Some(at(0)), Some(at(day - 1)), at(day), half) {
                kept_until = at(day + 30);
            }
        }
    }
}
