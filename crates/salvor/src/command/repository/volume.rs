//! `volume backup`, `ls`, `cat` and `restore`.

use std::path::Path;
use std::sync::Arc;

use salvor_repository::backup::{self as backing_up, BackupOptions};
use salvor_repository::chunk::ChunkerKind;
use salvor_repository::path::{self, Found};
use salvor_repository::restore::{self as restoring, Complete, Existing, Extra, RestoreOptions};
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{BlobId, Error, FileId, Node, NodeKind, Progress, Repository, Snapshot};
use salvor_text::ByteCount;
use salvor_text::align::Table;
use salvor_text::width::printable;

use super::wanted::{Wanted, plain};
use super::{holder, hostname, lock, open, stoppable};
use crate::args::repository::{VolumeBackupArgs, VolumePathArgs, VolumeRestoreArgs};
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress as Shown;
use crate::session::Session;

/// Entries that are named before they are removed.
const NAMED_EXTRA: usize = 20;

/// Backs up a directory.
pub(super) async fn backup(args: &VolumeBackupArgs, session: &Session) -> Result<Exit, Failure> {
    let directory = plain(&args.directory).map_err(|e| unreadable(&args.directory, e))?;
    is_directory(&directory)?;
    let tree = TreeOptions {
        one_file_system: args.one_file_system,
        access_times: false,
        is_copy: args.is_copy,
        chunker: args
            .fixed_pieces
            .map_or(ChunkerKind::ByContent, ChunkerKind::Fixed),
    };
    let mut source = TreeSource::open(&directory, tree).map_err(|e| unreadable(&directory, e))?;
    let repository = open(&args.repository, session).await?;
    let opened = Arc::clone(&repository);
    let held = lock(&repository, false).await?;
    let host = args.host.clone().unwrap_or_else(hostname);
    let mut options = BackupOptions {
        paths: vec![directory.display().to_string()],
        hostname: host,
        username: holder().username,
        tags: args.tags.clone(),
        parent: None,
        verify: !args.no_verify_write,
        ..BackupOptions::default()
    };
    let force = args.force;
    let progress = Arc::new(Progress::new());
    let mut shown = Shown::begin(&session.messages.backing_up_files());
    let working = Arc::clone(&progress);
    let written = stoppable(
        session,
        &progress,
        |progress| {
            let done = ByteCount(progress.bytes()).to_string();
            shown.update(progress.files(), 0, &done);
        },
        move || {
            if !force {
                options.parent = parent(&repository, &options)?;
            }
            let written = backing_up::run(&repository, &held, &mut source, &options, &working);
            drop(held);
            written
        },
    )
    .await?;
    drop(shown);
    tell_left_out(&opened, session);
    for failure in &written.failures {
        session.printer.warning(
            &session
                .messages
                .not_backed_up(&printable(&failure.path), &failure.why),
        );
    }
    for changed in &written.changed {
        session.printer.note(
            &session
                .messages
                .changed_while_read(&printable(&changed.path), &changed.why),
        );
    }
    let summary = written.snapshot.summary.clone().unwrap_or_default();
    let text = session.messages.snapshot_written(
        &written.id.to_string()[..12],
        summary.total_files_processed,
        &ByteCount(summary.total_bytes_processed).to_string(),
        &ByteCount(summary.data_added_packed).to_string(),
    );
    session.printer.result(&format!("{text}\n"))?;
    if written.missing() > 0 {
        session
            .printer
            .warning(&session.messages.entries_missing(written.missing()));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

/// Refuses what cannot be the root of a snapshot, with what to do instead.
fn is_directory(path: &Path) -> Result<(), Failure> {
    let found = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    if found.is_dir() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/")).display();
    let text = format!(
        "{} is no directory, and a snapshot is one of a directory",
        path.display()
    );
    let advice = match found.is_file() {
        true => format!("back up the one that it stands in: volume backup {folder}"),
        false => format!("name a directory, such as {folder}"),
    };
    Err(Failure::usage(text).hint(advice))
}

/// Says what could not be read of the repository, and that the work went on without it.
fn tell_left_out(repository: &Repository, session: &Session) {
    for (file, why) in repository.left_out() {
        let text = session.messages.left_out_of_repository(&file, &why);
        session.printer.warning(&text);
    }
}

/// The newest snapshot of the same paths on the same host.
fn parent(repository: &Repository, options: &BackupOptions) -> Result<Option<FileId>, Error> {
    let same = |snapshot: &Snapshot| {
        snapshot.hostname == options.hostname && snapshot.paths == options.paths
    };
    let all = repository.snapshots_that_read()?;
    Ok(all
        .into_iter()
        .rev()
        .find(|(_, snapshot)| same(snapshot))
        .map(|(id, _)| id))
}

fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    let exit = if error.kind() == std::io::ErrorKind::NotFound {
        Exit::NotFound
    } else {
        Exit::Usage
    };
    Failure::caused(exit, format!("read {}", path.display()), error)
}

/// Lists a directory of a snapshot.
pub(super) async fn ls(args: &VolumePathArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let opened = Arc::clone(&repository);
    let (wanted, inside) = (
        Wanted::of(&args.snapshot, &args.latest, session),
        args.path.clone(),
    );
    let nodes = super::blocking(move || {
        let index = repository.load_index_for_reading()?;
        let (_, snapshot) = wanted.find(&repository)?;
        match path::find(&repository, &index, &snapshot.tree, &inside)? {
            Found::Directory(tree) => Ok(repository.read_tree(&index, &tree)?.nodes),
            Found::Entry(node) => Ok(vec![*node]),
        }
    })
    .await?;
    tell_left_out(&opened, session);
    let mut table = Table::new(&["MODE", "OWNER", "SIZE", "TIME", "NAME"]);
    for node in &nodes {
        table.row(&row(node));
    }
    session.printer.result(&table.to_string())?;
    Ok(Exit::Done)
}

fn row(node: &Node) -> [String; 5] {
    let mut name = printable(&String::from_utf8_lossy(&node.name));
    match node.kind {
        NodeKind::Dir => name.push('/'),
        NodeKind::Symlink => {
            name.push_str(" -> ");
            name.push_str(&printable(&String::from_utf8_lossy(&node.link_target)));
        }
        _ => {}
    }
    [
        format!("{} {:04o}", node.kind.word(), node.mode),
        format!("{}:{}", node.uid, node.gid),
        if node.kind == NodeKind::File {
            node.size.to_string()
        } else {
            String::new()
        },
        node.mtime.to_string(),
        name,
    ]
}

/// Writes a file of a snapshot to standard output.
pub(super) async fn cat(args: &VolumePathArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let opened = Arc::clone(&repository);
    let (wanted, inside) = (
        Wanted::of(&args.snapshot, &args.latest, session),
        args.path.clone(),
    );
    let progress = Arc::new(Progress::new());
    let working = Arc::clone(&progress);
    stoppable(
        session,
        &progress,
        |_| (),
        move || {
            let index = repository.load_index_for_reading()?;
            let (_, snapshot) = wanted.find(&repository)?;
            match path::find(&repository, &index, &snapshot.tree, &inside)? {
                Found::Entry(node) if node.kind == NodeKind::File => path::dump(
                    &repository,
                    &index,
                    &node,
                    &mut std::io::stdout().lock(),
                    &working,
                ),
                _ => Err(Error::Invalid(format!(
                    "{} is no file: list it with `volume ls`",
                    inside.display()
                ))),
            }
        },
    )
    .await?;
    tell_left_out(&opened, session);
    Ok(Exit::Done)
}

/// Restores a snapshot or a part of it.
pub(super) async fn restore(args: &VolumeRestoreArgs, session: &Session) -> Result<Exit, Failure> {
    let [target] = args.to.as_slice() else {
        let failure = Failure::usage(
            "a snapshot is restored into one directory: name it, or --point for a claim of the cluster",
        );
        return Err(match args.to.as_slice() {
            [target, part] => failure.hint(format!(
                "for a part of the snapshot: volume restore {} {} --path {}",
                args.from,
                target.display(),
                part.display()
            )),
            [target, ..] => failure.hint(format!(
                "for a part of the snapshot, one at a time: volume restore {} {} --path PATH",
                args.from,
                target.display()
            )),
            [] => failure,
        });
    };
    let repository = open(&args.repository, session).await?;
    let target = std::path::absolute(target).map_err(|e| unreadable(target, e))?;
    let wanted = Wanted::of(&args.from, &args.latest, session);
    let looking = Arc::clone(&repository);
    let (id, snapshot) = super::blocking(move || wanted.find(&looking)).await?;
    let options = options(args, &snapshot)?;
    let mut extra = Vec::new();
    if options.delete_extra.is_some() {
        let looking = (Arc::clone(&repository), args.path.clone(), target.clone());
        let tree = snapshot.tree;
        extra = super::blocking(move || {
            let (repository, inside, target) = looking;
            find_extra(&repository, &tree, inside.as_deref(), &target)
        })
        .await?;
    }
    if snapshot.missing() > 0 {
        let text = session.messages.snapshot_lacks(snapshot.missing());
        session.printer.warning(&text);
    }
    if args.in_place {
        let into = target.display().to_string();
        tell_what_changes(&into, &id, &snapshot, &extra, session);
        session.confirm(args.confirm.yes, &into).await?;
    }
    let opened = Arc::clone(&repository);
    let progress = Arc::new(Progress::new());
    let mut shown = Shown::begin(&session.messages.restoring_files());
    let inside = args.path.clone();
    let working = Arc::clone(&progress);
    let into = target.clone();
    let restored = stoppable(
        session,
        &progress,
        |progress| {
            let done = ByteCount(progress.bytes()).to_string();
            shown.update(progress.files(), 0, &done);
        },
        move || {
            restore_part(
                &repository,
                &snapshot,
                inside.as_deref(),
                &into,
                &options,
                &working,
            )
        },
    )
    .await?;
    drop(shown);
    tell_left_out(&opened, session);
    tell_what_was_not_done(&restored, session);
    let text = session.messages.files_restored(
        restored.files + restored.unchanged,
        restored.directories,
        &ByteCount(restored.bytes).to_string(),
        &target.display().to_string(),
    );
    session.printer.result(&format!("{text}\n"))?;
    if restored.sockets > 0 {
        session
            .printer
            .note(&session.messages.sockets_left_out(restored.sockets));
    }
    if restored.failed > 0 {
        session
            .printer
            .warning(&session.messages.entries_missing(restored.failed));
        return Ok(Exit::Partial);
    }
    Ok(Exit::Done)
}

/// How the snapshot is restored. Refused when what it does not have may only be missing from it, and is to go.
fn options(args: &VolumeRestoreArgs, snapshot: &Snapshot) -> Result<RestoreOptions, Failure> {
    let complete = args.delete_extra.then(|| Complete::of(snapshot));
    let refused = |error| Failure::caused(Exit::Refused, "", error);
    Ok(RestoreOptions {
        existing: match args.in_place {
            true => Existing::Overwrite,
            false => Existing::Refuse,
        },
        delete_extra: complete.transpose().map_err(refused)?,
        owners: !args.no_owners,
        ..RestoreOptions::default()
    })
}

/// What a restore of a directory of the snapshot takes away.
fn find_extra(
    repository: &Repository,
    tree: &BlobId,
    inside: Option<&Path>,
    target: &Path,
) -> Result<Vec<Extra>, Error> {
    let index = repository.load_index_for_reading()?;
    let within = inside.unwrap_or(Path::new("/"));
    match path::find(repository, &index, tree, within)? {
        Found::Directory(tree) => restoring::extra(repository, &index, &tree, target),
        Found::Entry(_) => Ok(Vec::new()),
    }
}

/// Says what a restore in place brings and takes away.
fn tell_what_changes(
    into: &str,
    id: &FileId,
    snapshot: &Snapshot,
    extra: &[Extra],
    session: &Session,
) {
    let messages = session.messages;
    let which = format!(
        "{} ({}, {} of {})",
        &id.to_string()[..12],
        snapshot.time,
        snapshot.paths.join(", "),
        snapshot.hostname
    );
    let text = messages.will_be_overwritten(&printable(into), &printable(&which));
    session.printer.remark(&text);
    if extra.is_empty() {
        return;
    }
    let named = extra.iter().take(NAMED_EXTRA).map(|one| {
        let path = printable(&one.path.display().to_string());
        match one.below {
            Some(0) => path,
            below => messages.with_what_is_below(&path, below),
        }
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = extra.len().saturating_sub(NAMED_EXTRA);
    let text = messages.will_be_removed(extra.len(), &named, more);
    session.printer.remark(&text);
}

/// Says what is not as it was, and what stays.
fn tell_what_was_not_done(restored: &restoring::Restored, session: &Session) {
    for failure in &restored.failures {
        let text = session
            .messages
            .not_restored(&printable(&failure.path), &failure.why);
        session.printer.warning(&text);
    }
    for path in &restored.kept {
        let path = printable(&path.display().to_string());
        session
            .printer
            .warning(&session.messages.not_removed(&path));
    }
}

fn restore_part(
    repository: &Repository,
    snapshot: &Snapshot,
    inside: Option<&Path>,
    target: &Path,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<restoring::Restored, Error> {
    let index = repository.load_index_for_reading()?;
    let within = inside.unwrap_or(Path::new("/"));
    match path::find(repository, &index, &snapshot.tree, within)? {
        Found::Directory(tree) => {
            let mut restored =
                restoring::run(repository, &index, &tree, target, options, progress)?;
            if let (Some(root), None) = (&snapshot.root, inside) {
                restoring::root(root, target, options, &mut restored)?;
            }
            Ok(restored)
        }
        Found::Entry(node) => restoring::one(repository, &index, *node, target, options, progress),
    }
}
