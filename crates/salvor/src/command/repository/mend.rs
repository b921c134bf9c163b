//! `repo repair --from`: what is damaged comes from a copy of the repository in another location.

use std::collections::BTreeSet;
use std::sync::Arc;

use salvor_repository::check::{self, Checked, Depth};
use salvor_repository::mend::{self, Mended};
use salvor_repository::{FileId, Files, Progress, Repository, damage, repair as repairing};
use salvor_storage::PrefixStore;
use salvor_text::ByteCount;
use tokio::runtime::Handle;

use super::{domain_of, lock, open, stoppable};
use crate::args::repository::RepairArgs;
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress as Shown;
use crate::session::Session;

/// Brings what is damaged, makes the index again and checks everything.
pub(super) async fn run(args: &RepairArgs, from: &str, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let from = copy_at(args, from, session)?;
    let alone = lock(&repository, true).await?;
    let progress = Arc::new(Progress::new());
    let mut shown = Shown::begin(&session.messages.checking_repository());
    let working = Arc::clone(&progress);
    let (snapshots, mended, checked) = stoppable(
        session,
        &progress,
        |progress| shown.update(progress.bytes() >> 20, progress.total_bytes() >> 20, "MiB"),
        move || {
            let done = mend_all(&repository, &alone, &from, &working);
            drop(alone);
            done
        },
    )
    .await?;
    drop(shown);
    for (pack, why) in &mended.missing {
        session.printer.warning(&format!("data/{pack}: {why}"));
    }
    if !snapshots.is_empty() {
        let text = session.messages.snapshots_brought(snapshots.len());
        session.printer.result(&format!("{text}\n"))?;
    }
    let text = session.messages.packs_mended(
        mended.packs.len(),
        &ByteCount(mended.bytes).to_string(),
        mended.missing.len(),
    );
    session.printer.result(&format!("{text}\n"))?;
    super::upkeep::tell(&checked, session)
}

/// Each step may be done again after a crash: what was brought stays.
fn mend_all(
    repository: &Repository,
    alone: &salvor_repository::lock::Lock,
    from: &Files,
    progress: &Progress,
) -> salvor_repository::Result<(Vec<FileId>, Mended, Checked)> {
    mend::indexes(repository, alone, from)?;
    let snapshots = mend::snapshots(repository, alone, from)?;
    let before = check::run(repository, Depth::Data, progress)?;
    let mut damaged: BTreeSet<FileId> = before.damaged_packs.iter().copied().collect();
    if !before.damaged_snapshots.is_empty() {
        // What is lost may be in packs that a repair took out of the index.
        damaged.extend(damage::known(repository)?.packs);
    }
    let damaged: Vec<FileId> = damaged.into_iter().collect();
    let mended = mend::packs(repository, alone, from, &damaged, progress)?;
    repairing::index(repository, alone, false, progress)?;
    let after = check::run(repository, Depth::Data, progress)?;
    damage::note(repository, &after, true)?;
    Ok((snapshots, mended, after))
}

/// The copy: the same domain in another location, or a repository at an address of its own.
fn copy_at(args: &RepairArgs, from: &str, session: &Session) -> Result<Files, Failure> {
    let location = session.location_called(from)?;
    let store = Arc::clone(location.store());
    let store = match &args.repository.domain {
        Some(domain) => PrefixStore::wrap(store, &domain_of(domain)?.folder()),
        None => store,
    };
    Ok(Files::new(store, Handle::current()))
}
