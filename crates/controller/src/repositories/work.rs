//! The part of maintenance that waits for the store: snapshots go, packs are swept and marked, data is read. It runs on a
//! thread that may block and stops at the next safe point when nobody waits for it any more.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use salvor_repository::check::Share;
use salvor_repository::lock::{Holder, Lock};
use salvor_repository::{Error, FileId, Files, Kind, Progress, Repository, damage, prune, retain};

use super::scrub;

/// What one run is to do.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// Snapshots that go.
    pub(super) forget: Vec<FileId>,
    /// Snapshots that must be there: those of backups that are there.
    pub(super) known: Vec<FileId>,
    /// Whether to mark what nobody needs.
    pub(super) mark: bool,
    /// How long after it was marked a pack goes.
    pub(super) grace: SignedDuration,
    /// Whether to keep what is needed from losing the store's protection, and since when that was last done.
    pub(super) retain: Option<Option<Timestamp>>,
    /// Which share of the data is read, if any.
    pub(super) scrub: Option<Share>,
    /// Where else files of this repository may be: the same domain of other locations. What is no copy is passed over.
    pub(super) copies: Vec<Files>,
    /// Who works.
    pub(super) holder: Holder,
}

/// What one run did.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub(super) forgotten: usize,
    pub(super) swept_packs: usize,
    pub(super) swept_bytes: u64,
    pub(super) marked: bool,
    /// What is needed is kept by the store for as long as its rule says, or there is no rule.
    pub(super) retained: bool,
    /// Why the store would not keep it.
    pub(super) not_retained: Option<String>,
    pub(super) scrubbed: bool,
    /// Packs that were damaged or lost and came from a copy.
    pub(super) mended_packs: usize,
    pub(super) mended_bytes: u64,
    /// Snapshots that are known to be damaged and are there.
    pub(super) damaged: usize,
    /// The first things that were found damaged in this run.
    pub(super) findings: Vec<String>,
}

/// Stops the work when it is dropped: whoever waited for it has gone.
pub(super) struct StopOnDrop(pub(super) Arc<Progress>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Does it. Each step may be repeated; what was done before a failure stays done.
pub(super) fn run(
    repository: &Arc<Repository>,
    order: &Order,
    progress: &Progress,
) -> Result<Done, Error> {
    let mut done = Done::default();
    if !order.forget.is_empty() {
        let shared = Lock::take(repository, false, &order.holder)?;
        prune::forget(repository, &shared, &order.forget)?;
        done.forgotten = order.forget.len();
    }
    // First, as what follows needs to walk all trees: a damaged one is found, and mended, before it stops that.
    if let Some(share) = order.scrub {
        scrub::run(repository, order, share, progress, &mut done)?;
    }
    match space(repository, order, progress, &mut done) {
        // What was found stays found: it is told, and space is given back when it is mended.
        Err(error) if error.is_damage() && done.scrubbed => {
            done.findings
                .push(format!("no space is given back meanwhile: {error}"));
        }
        other => other?,
    }
    let damaged = damage::known(repository)?.snapshots;
    if !damaged.is_empty() {
        let there = repository.files().list(Kind::Snapshot)?;
        done.damaged = there
            .iter()
            .filter(|file| damaged.contains(&file.id))
            .count();
    }
    Ok(done)
}

/// Gives space back, and keeps what is needed.
fn space(
    repository: &Arc<Repository>,
    order: &Order,
    progress: &Progress,
    done: &mut Done,
) -> Result<(), Error> {
    let known = still_there(repository, &order.known)?;
    if is_due(repository, order.grace)? {
        sweep(repository, order, &known, progress, done)?;
    }
    if order.mark || done.forgotten > 0 {
        let shared = Lock::take(repository, false, &order.holder)?;
        prune::mark(repository, &shared, &known, progress)?;
        done.marked = true;
    }
    if let Some(since) = order.retain {
        // After marking: what is to go must not be kept for longer.
        let shared = Lock::take(repository, false, &order.holder)?;
        let now = Timestamp::now();
        let extended = retain::extend(repository, &shared, &known, since, now, progress)?;
        done.retained = extended.refused.is_none();
        done.not_retained = extended.refused;
    }
    Ok(())
}

/// Removes what was marked long enough ago. A repository that is in use is swept another time.
fn sweep(
    repository: &Arc<Repository>,
    order: &Order,
    known: &[FileId],
    progress: &Progress,
    done: &mut Done,
) -> Result<(), Error> {
    let alone = match Lock::take(repository, true, &order.holder) {
        Ok(alone) => alone,
        Err(error @ Error::Locked { .. }) => {
            tracing::debug!(%error, "the sweep waits");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let swept = prune::sweep(repository, &alone, known, order.grace, progress)?;
    done.swept_packs = swept.packs;
    done.swept_bytes = swept.bytes;
    Ok(())
}

/// Whether something was marked long enough ago, by the store's clock: a sweep for nothing would keep others out.
fn is_due(repository: &Repository, grace: SignedDuration) -> Result<bool, Error> {
    let now = Timestamp::now();
    let marks = repository.files().list(Kind::Mark)?;
    Ok(marks.iter().any(|mark| {
        mark.modified
            .is_none_or(|at| now.duration_since(at) >= grace)
    }))
}

/// Known snapshots without those that were removed by somebody: neither listed nor there when asked for by name. One
/// that is there and not listed stays known, so that the walk notices that the listing is cut off.
fn still_there(repository: &Repository, known: &[FileId]) -> Result<Vec<FileId>, Error> {
    let listed = repository.files().list(Kind::Snapshot)?;
    let mut there = Vec::new();
    for id in known {
        let is_listed = listed.iter().any(|file| file.id == *id);
        if is_listed || repository.files().exists(Kind::Snapshot, id)? {
            there.push(*id);
        }
    }
    Ok(there)
}
