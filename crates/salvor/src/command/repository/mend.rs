//! `repo repair --from`: what is damaged comes from a copy of the repository in another location.

use std::collections::BTreeSet;
use std::sync::Arc;

use salvor_repository::check::{self, Checked, Depth};
use salvor_repository::mend::{self, Mended};
use salvor_repository::{FileId, Files, Progress, Repository, damage, head, repair as repairing};
use salvor_storage::PrefixStore;
use salvor_text::ByteCount;
use tokio::runtime::Handle;

use super::password::{self, Asked};
use super::{blocking, cache, domain_of, files, lock, opened, stoppable};
use crate::args::repository::RepairArgs;
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress as Shown;
use crate::session::Session;

/// Brings what is damaged, makes the index again and checks everything.
pub(super) async fn run(args: &RepairArgs, from: &str, session: &Session) -> Result<Exit, Failure> {
    let from = copy_at(args, from, session)?;
    let repository = open(args, &from, session).await?;
    let alone = lock(&repository, true).await?;
    let progress = Arc::new(Progress::new());
    let mut shown = Shown::begin(&session.messages.checking_repository());
    let working = Arc::clone(&progress);
    let (snapshots, mended, checked, absent) = stoppable(
        session,
        &progress,
        |progress| shown.update(progress.bytes() >> 20, progress.total_bytes() >> 20, "MiB"),
        move || {
            let done = mend_all(&repository, &alone, &from, &working);
            drop(alone);
            let (snapshots, mended, checked) = done?;
            Ok((
                snapshots,
                mended,
                checked,
                mend::absent(&repository, &from)?,
            ))
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
    if !absent.is_empty() {
        let some = absent
            .iter()
            .take(5)
            .map(|id| id.to_string()[..12].to_owned());
        let some = some.collect::<Vec<_>>().join(", ");
        let text = session.messages.snapshots_absent(absent.len(), &some);
        session.printer.warning(&text);
    }
    super::upkeep::tell(&checked, session)
}

/// Opens the repository, with what opens it from the copy where that is gone.
async fn open(
    args: &RepairArgs,
    from: &Files,
    session: &Session,
) -> Result<Arc<Repository>, Failure> {
    let files = files(&args.repository, session).await?;
    let given = password::of(&args.repository, session, Asked::Once).await?;
    let cache = cache(&args.repository, &files);
    let from = from.clone();
    let (brought, repository) = blocking(move || {
        let brought = head::mend(&files, &from, &given.password)?;
        Ok((brought, opened(files, &given.password, cache)?))
    })
    .await?;
    if !brought.is_empty() {
        let text = session.messages.head_brought(&brought.join(", "));
        session.printer.result(&format!("{text}\n"))?;
    }
    Ok(repository)
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
