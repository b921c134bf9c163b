//! Reading a share of the data. What is damaged comes from a copy where another location has one: the same repository, by
//! its `config`. A file is named by its bytes, so nothing that is brought can be wrong. Snapshots that lack data are noted, and damaged packs.

use std::sync::Arc;

use salvor_repository::check::{self, Checked, Depth, Share};
use salvor_repository::lock::Lock;
use salvor_repository::{Error, FileId, Progress, Repository, damage, mend};

use super::work::{Done, Order};

/// Reads it, mends what can be mended and writes down the rest. A crash in between leaves what was brought, and the share
/// is read again.
pub(super) fn run(
    repository: &Arc<Repository>,
    order: &Order,
    mut share: Share,
    progress: &Progress,
    done: &mut Done,
) -> Result<(), Error> {
    let mut checked = look(repository, order, share, progress)?;
    let unreadable = checked.damaged_indexes.len() + checked.unreadable_snapshots.len();
    // Without an index file nothing can be said of the packs that it names.
    if unreadable > 0 && !order.copies.is_empty() && bring_files(repository, order)? > 0 {
        checked = look(repository, order, share, progress)?;
    }
    let damaged = checked.damaged_packs.clone();
    if !damaged.is_empty() && !order.copies.is_empty() {
        let before = done.mended_packs;
        bring_packs(repository, order, damaged, progress, done)?;
        if done.mended_packs > before {
            // What was noted as damaged is forgotten only when everything was looked at.
            if !damage::known(repository)?.is_empty() {
                share = Share::ALL;
            }
            checked = look(repository, order, share, progress)?;
        }
    }
    damage::note(repository, &checked, share.of <= 1)?;
    done.findings = findings(&checked);
    done.scrubbed = true;
    Ok(())
}

fn look(
    repository: &Arc<Repository>,
    order: &Order,
    share: Share,
    progress: &Progress,
) -> Result<Checked, Error> {
    let shared = Lock::take(repository, false, &order.holder)?;
    let checked = check::run_share(repository, Depth::Data, share, progress)?;
    shared.check()?;
    Ok(checked)
}

/// Brings index files and snapshots that cannot be read; how many.
fn bring_files(repository: &Arc<Repository>, order: &Order) -> Result<usize, Error> {
    let Some(alone) = alone(repository, order)? else {
        return Ok(0);
    };
    let mut brought = 0;
    for copy in &order.copies {
        let indexes = mend::indexes(repository, &alone, copy);
        let snapshots = mend::snapshots(repository, &alone, copy);
        match indexes.and_then(|indexes| Ok(indexes + snapshots?.len())) {
            Ok(count) => brought += count,
            Err(error) => pass_over(error)?,
        }
    }
    Ok(brought)
}

/// Brings packs, each from the first copy that has it whole.
fn bring_packs(
    repository: &Arc<Repository>,
    order: &Order,
    mut damaged: Vec<FileId>,
    progress: &Progress,
    done: &mut Done,
) -> Result<(), Error> {
    let Some(alone) = alone(repository, order)? else {
        return Ok(());
    };
    for copy in &order.copies {
        match mend::packs(repository, &alone, copy, &damaged, progress) {
            Ok(mended) => {
                done.mended_packs += mended.packs.len();
                done.mended_bytes += mended.bytes;
                damaged = mended.missing.into_iter().map(|(id, _)| id).collect();
            }
            Err(error) => pass_over(error)?,
        }
        if damaged.is_empty() {
            break;
        }
    }
    Ok(())
}

/// The repository for us alone; `None` while it is in use, and what is damaged is mended another time.
fn alone(repository: &Arc<Repository>, order: &Order) -> Result<Option<Lock>, Error> {
    match Lock::take(repository, true, &order.holder) {
        Ok(alone) => Ok(Some(alone)),
        Err(error @ Error::Locked { .. }) => {
            tracing::info!(%error, "what is damaged waits for the repository to be free");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Another location may have another repository of this domain, or none, or be down: the next one is tried.
fn pass_over(error: Error) -> Result<(), Error> {
    match error {
        Error::Cancelled | Error::LockLost { .. } | Error::LockRemoved { .. } => Err(error),
        other => {
            tracing::debug!(error = %other, "a location has no copy that can be used");
            Ok(())
        }
    }
}

/// The first few findings that are damage, for people.
fn findings(checked: &Checked) -> Vec<String> {
    let damage = checked.findings.iter().filter(|finding| finding.is_damage);
    damage
        .take(3)
        .map(|finding| format!("{}: {}", finding.file, finding.what))
        .collect()
}
