//! Which snapshot `ID` or `latest` is.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use salvor_repository::{Error, FileId, Repository, Snapshot, damage};
use salvor_text::Messages;

use crate::args::repository::LatestArgs;
use crate::output::Printer;
use crate::session::Session;

/// The snapshot that is meant.
pub(super) struct Wanted {
    snapshot: String,
    latest: LatestArgs,
    /// Says what is passed over.
    session: (Printer, Messages),
}

impl Wanted {
    pub(super) fn of(snapshot: &str, latest: &LatestArgs, session: &Session) -> Self {
        Self {
            snapshot: snapshot.to_owned(),
            latest: latest.clone(),
            session: (session.printer.clone(), session.messages),
        }
    }

    /// `latest` must mean one source: the newest of another directory, restored in place, would be a loss.
    pub(super) fn find(&self, repository: &Repository) -> Result<(FileId, Snapshot), Error> {
        let LatestArgs { host, source } = &self.latest;
        if self.snapshot != "latest" {
            if host.is_some() || source.is_some() {
                return Err(Error::Invalid(
                    "--host and --source say which snapshot `latest` is: leave them out, or name latest".to_owned(),
                ));
            }
            return repository.snapshot(&self.snapshot);
        }
        // Older snapshots have their paths as they were given.
        let same = |path: &String| plain(Path::new(path)).unwrap_or_else(|_| path.into());
        let source = source.as_ref().map(same);
        let is_meant = |snapshot: &Snapshot| {
            host.as_ref().is_none_or(|host| *host == snapshot.hostname)
                && source
                    .as_ref()
                    .is_none_or(|source| snapshot.paths.iter().any(|path| same(path) == *source))
        };
        let mut all = repository.snapshots_that_read()?;
        all.retain(|(_, snapshot)| is_meant(snapshot));
        self.pass_over_damaged(repository, &mut all)?;
        let sources: BTreeSet<String> = all
            .iter()
            .map(|(_, snapshot)| format!("{} of {}", snapshot.paths.join(", "), snapshot.hostname))
            .collect();
        if sources.len() > 1 {
            let sources: Vec<String> = sources.into_iter().collect();
            return Err(Error::Invalid(format!(
                "`latest` could be of several sources ({}): name a snapshot (see `salvor repo snapshots`), or say which with --source or --host",
                sources.join("; ")
            )));
        }
        match all.pop() {
            Some(found) => Ok(found),
            None => {
                let (printer, messages) = &self.session;
                for (file, why) in repository.left_out() {
                    printer.warning(&messages.left_out_of_repository(&file, &why));
                }
                repository.snapshot("latest").and(Err(Error::Invalid(
                    "no snapshot is of that --host and --source: see `salvor repo snapshots`"
                        .to_owned(),
                )))
            }
        }
    }

    /// Takes away snapshots that are known to lack data: `latest` is one that restores. Where all of them do, the newest is
    /// better than none, and the restore says what it lacks.
    fn pass_over_damaged(
        &self,
        repository: &Repository,
        all: &mut Vec<(FileId, Snapshot)>,
    ) -> Result<(), Error> {
        let damaged = damage::known(repository)?.snapshots;
        let whole = |(id, _): &(FileId, Snapshot)| !damaged.contains(id);
        if all.last().is_none_or(whole) {
            return Ok(());
        }
        let (printer, messages) = &self.session;
        let has_whole = all.iter().any(whole);
        printer.warning(&messages.latest_lacks_data(has_whole));
        if has_whole {
            all.retain(whole);
        }
        Ok(())
    }
}

/// A path from the root, without `.`, `..` and a slash at its end, as restic has it: one directory is one source, however it is
/// named.
pub(super) fn plain(path: &Path) -> std::io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    Ok(clean)
}
