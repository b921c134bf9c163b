//! `repo check`, `forget`, `prune`, `unlock` and `repair`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use salvor_repository::check::{self, Checked, Depth};
use salvor_repository::{
    FileId, Progress, Repository, Snapshot, Snapshots, damage, lock as locks, prune as pruning,
    repair as repairing, retain,
};
use salvor_text::ByteCount;

use super::{blocking, lock, open, stoppable};
use crate::args::repository::{CheckArgs, DepthArg, ForgetArgs, PruneArgs, RepairArgs, UnlockArgs};
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress as Shown;
use crate::session::Session;

/// Checks a repository.
pub(super) async fn check(args: &CheckArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let depth = match args.depth {
        DepthArg::Index => Depth::Index,
        DepthArg::Trees => Depth::Trees,
        DepthArg::Data => Depth::Data,
    };
    let held = lock(&repository, false).await?;
    let progress = Arc::new(Progress::new());
    let mut shown = Shown::begin(&session.messages.checking_repository());
    let working = Arc::clone(&progress);
    let checked = stoppable(
        session,
        &progress,
        |progress| shown.update(progress.bytes() >> 20, progress.total_bytes() >> 20, "MiB"),
        move || {
            let checked = check::run(&repository, depth, &working);
            if let Ok(checked) = &checked {
                note(&repository, checked, depth);
            }
            drop(held);
            checked
        },
    )
    .await?;
    drop(shown);
    tell(&checked, session)
}

/// Writes down which snapshots are damaged, so that `latest` passes them over, and which packs, so that nobody counts on
/// them. A place that cannot be written is checked
/// all the same.
fn note(repository: &Repository, checked: &Checked, depth: Depth) {
    let noted = damage::note(repository, checked, depth == Depth::Data);
    if let Err(error) = noted {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "what was found could not be written down");
    }
}

/// Says what a check found.
pub(super) fn tell(checked: &Checked, session: &Session) -> Result<Exit, Failure> {
    for finding in &checked.findings {
        let text = format!("{}: {}", finding.file, finding.what);
        if finding.is_damage {
            session.printer.warning(&text);
        } else {
            session.printer.note(&text);
        }
    }
    let read = ByteCount(checked.bytes_read).to_string();
    let text = if checked.is_whole() {
        session
            .messages
            .repository_whole(checked.snapshots, checked.packs, checked.blobs, &read)
    } else {
        let hit: Vec<String> = checked
            .damaged_snapshots
            .iter()
            .map(|id| id.to_string()[..12].to_owned())
            .collect();
        session.messages.repository_damaged(&hit.join(", "))
    };
    session.printer.result(&format!("{text}\n"))?;
    Ok(if checked.is_whole() {
        Exit::Done
    } else {
        let advice = session.messages.repository_damaged_advice();
        session.printer.remark(&advice);
        Exit::VerificationFailed
    })
}

/// Removes snapshots.
pub(super) async fn forget(args: &ForgetArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let wanted = args.snapshots.clone();
    let finding = Arc::clone(&repository);
    let found = blocking(move || {
        let found: salvor_repository::Result<Vec<_>> = wanted
            .iter()
            .map(|prefix| named(&finding, prefix))
            .collect();
        found
    })
    .await?;
    for (id, snapshot) in &found {
        let (messages, id) = (session.messages, &id.to_string()[..12]);
        let text = match snapshot {
            Some(snapshot) => {
                messages.snapshot_will_go(id, &snapshot.time, &snapshot.paths.join(", "))
            }
            None => messages.damaged_snapshot_will_go(id),
        };
        session.printer.remark(&text);
    }
    let name = found[0].0.to_string()[..12].to_owned();
    session.confirm(args.confirm.yes, &name).await?;
    let held = lock(&repository, false).await?;
    let ids: Vec<FileId> = found.iter().map(|(id, _)| *id).collect();
    let count = ids.len();
    blocking(move || pruning::forget(&repository, &held, &ids)).await?;
    let text = session.messages.snapshots_forgotten(count);
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

/// A snapshot, or the id alone of one that cannot be read.
fn named(
    repository: &Repository,
    prefix: &str,
) -> salvor_repository::Result<(FileId, Option<Snapshot>)> {
    match repository.snapshot(prefix) {
        Ok((id, snapshot)) => Ok((id, Some(snapshot))),
        Err(error) if error.is_damage() => Ok((repository.snapshot_id(prefix)?, None)),
        Err(error) => Err(error),
    }
}

/// Removes what was marked long enough ago, then marks anew.
pub(super) async fn prune(args: &PruneArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let grace = SignedDuration::from_hours(24 * i64::from(args.grace_days));
    let progress = Arc::new(Progress::new());
    let alone = lock(&repository, true).await?;
    let (working, stop) = (Arc::clone(&repository), Arc::clone(&progress));
    let swept = stoppable(
        session,
        &progress,
        |_| (),
        move || {
            let swept = pruning::sweep(&working, &alone, &[], grace, &stop);
            drop(alone);
            swept
        },
    )
    .await?;
    let text = session.messages.repository_swept(
        swept.packs,
        &ByteCount(swept.bytes).to_string(),
        swept.waiting + swept.retained,
    );
    session.printer.result(&format!("{text}\n"))?;
    let shared = lock(&repository, false).await?;
    let stop = Arc::clone(&progress);
    let (marked, extended) = stoppable(
        session,
        &progress,
        |_| (),
        move || {
            let marked = pruning::mark(&repository, &shared, &[], &stop)?;
            // Of what was just marked nothing is kept for longer.
            let now = Timestamp::now();
            let extended = retain::extend(&repository, &shared, &[], None, now, &stop)?;
            drop(shared);
            Ok((marked, extended))
        },
    )
    .await?;
    let text = session.messages.repository_marked(
        marked.packs,
        &ByteCount(marked.bytes).to_string(),
        args.grace_days,
    );
    session.printer.result(&format!("{text}\n"))?;
    if extended.files > 0 {
        let text = session.messages.retention_extended(extended.files);
        session.printer.note(&text);
    }
    if let Some(why) = extended.refused {
        let text = session.messages.retention_not_extended(&why);
        session.printer.warning(&text);
    }
    Ok(Exit::Done)
}

/// Removes locks.
pub(super) async fn unlock(args: &UnlockArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let everybody = args.remove_all;
    let here = super::hostname();
    let unlocked = blocking(move || locks::unlock(&repository, &here, everybody)).await?;
    for holder in &unlocked.left {
        session.printer.note(&session.messages.lock_left(holder));
    }
    let text = session.messages.locks_removed(unlocked.removed);
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

/// Makes the index again.
pub(super) async fn repair(args: &RepairArgs, session: &Session) -> Result<Exit, Failure> {
    if let Some(from) = &args.from {
        return super::mend::run(args, from, session).await;
    }
    let repository = open(&args.repository, session).await?;
    let unreadable = unreadable_snapshots(&repository, args, session).await?;
    let alone = lock(&repository, true).await?;
    let progress = Arc::new(Progress::new());
    let stop = Arc::clone(&progress);
    let (read_data, set_aside) = (args.read_data, args.set_aside_snapshots);
    let (aside, repaired) = stoppable(
        session,
        &progress,
        |_| (),
        move || {
            let aside = if set_aside {
                repairing::set_aside_snapshots(&repository, &alone)?
            } else {
                Vec::new()
            };
            let repaired = repairing::index(&repository, &alone, read_data, &stop)?;
            drop(alone);
            Ok((aside, repaired))
        },
    )
    .await?;
    if !aside.is_empty() {
        let text = session.messages.snapshots_set_aside(aside.len());
        session.printer.result(&format!("{text}\n"))?;
    }
    for pack in &repaired.damaged {
        session
            .printer
            .warning(&session.messages.pack_unreadable(&pack.to_string()));
    }
    let text =
        session
            .messages
            .index_repaired(repaired.added, repaired.dropped, repaired.unreadable);
    session.printer.result(&format!("{text}\n"))?;
    if !repaired.taken_out.is_empty() {
        let saved = ByteCount(repaired.saved_bytes).to_string();
        let text = session
            .messages
            .packs_taken_out(repaired.taken_out.len(), &saved);
        session.printer.result(&format!("{text}\n"))?;
    }
    if repaired.lost_blobs + repaired.dropped + repaired.damaged.len() > 0 {
        let text = session.messages.back_up_again(repaired.lost_blobs);
        session.printer.warning(&text);
    }
    let lost = repaired.damaged.len() + repaired.dropped + repaired.lost_blobs;
    Ok(if lost + unreadable == 0 {
        Exit::Done
    } else {
        Exit::Partial
    })
}

/// Names snapshots that cannot be read, and asks whether they are to be given up where that is wanted. Answers how many
/// stay.
async fn unreadable_snapshots(
    repository: &Arc<Repository>,
    args: &RepairArgs,
    session: &Session,
) -> Result<usize, Failure> {
    let looking = Arc::clone(repository);
    let Snapshots { damaged, .. } = blocking(move || looking.readable_snapshots()).await?;
    for (id, why) in &damaged {
        let text = session.messages.snapshot_unreadable(&id.to_string(), why);
        session.printer.warning(&text);
    }
    if damaged.is_empty() || !args.set_aside_snapshots {
        return Ok(damaged.len());
    }
    let place = repository.files().place();
    session.confirm(args.confirm.yes, &place).await?;
    Ok(0)
}
