//! `volume backup`, `ls`, `cat` and `restore`.

use std::path::Path;
use std::sync::Arc;

use salvor_repository::backup::{self as backing_up, BackupOptions};
use salvor_repository::path::{self, Found};
use salvor_repository::restore::{self as restoring, Existing, RestoreOptions};
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{Error, FileId, Node, NodeKind, Progress, Repository};
use salvor_text::ByteCount;
use salvor_text::align::Table;

use super::{holder, hostname, lock, open, stoppable};
use crate::args::repository::{VolumeBackupArgs, VolumePathArgs, VolumeRestoreArgs};
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress as Shown;
use crate::session::Session;

/// Backs up a directory.
pub(super) async fn backup(args: &VolumeBackupArgs, session: &Session) -> Result<Exit, Failure> {
    let directory =
        std::path::absolute(&args.directory).map_err(|e| unreadable(&args.directory, e))?;
    let tree = TreeOptions {
        one_file_system: args.one_file_system,
        access_times: false,
        is_copy: args.is_copy,
    };
    let mut source = TreeSource::open(&directory, tree).map_err(|e| unreadable(&directory, e))?;
    let repository = open(&args.repository, session).await?;
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
    for failure in &written.failures {
        session
            .printer
            .warning(&session.messages.not_backed_up(&failure.path, &failure.why));
    }
    for changed in &written.changed {
        session.printer.note(
            &session
                .messages
                .changed_while_read(&changed.path, &changed.why),
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

/// The newest snapshot of the same paths on the same host.
fn parent(repository: &Repository, options: &BackupOptions) -> Result<Option<FileId>, Error> {
    let same = |snapshot: &salvor_repository::Snapshot| {
        snapshot.hostname == options.hostname && snapshot.paths == options.paths
    };
    let all = repository.snapshots()?;
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
    let (wanted, inside) = (args.snapshot.clone(), args.path.clone());
    let nodes = super::blocking(move || {
        let index = repository.load_index()?;
        let (_, snapshot) = repository.snapshot(&wanted)?;
        match path::find(&repository, &index, &snapshot.tree, &inside)? {
            Found::Directory(tree) => Ok(repository.read_tree(&index, &tree)?.nodes),
            Found::Entry(node) => Ok(vec![*node]),
        }
    })
    .await?;
    let mut table = Table::new(&["MODE", "OWNER", "SIZE", "TIME", "NAME"]);
    for node in &nodes {
        table.row(&row(node));
    }
    session.printer.result(&table.to_string())?;
    Ok(Exit::Done)
}

fn row(node: &Node) -> [String; 5] {
    let mut name = String::from_utf8_lossy(&node.name).into_owned();
    match node.kind {
        NodeKind::Dir => name.push('/'),
        NodeKind::Symlink => {
            name.push_str(" -> ");
            name.push_str(&String::from_utf8_lossy(&node.link_target));
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
    let (wanted, inside) = (args.snapshot.clone(), args.path.clone());
    let progress = Arc::new(Progress::new());
    let working = Arc::clone(&progress);
    stoppable(
        session,
        &progress,
        |_| (),
        move || {
            let index = repository.load_index()?;
            let (_, snapshot) = repository.snapshot(&wanted)?;
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
    Ok(Exit::Done)
}

/// Restores a snapshot or a part of it.
pub(super) async fn restore(args: &VolumeRestoreArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let options = RestoreOptions {
        existing: if args.in_place {
            Existing::Overwrite
        } else {
            Existing::Refuse
        },
        delete_extra: args.delete_extra,
        owners: !args.no_owners,
        ..RestoreOptions::default()
    };
    let target = std::path::absolute(&args.target).map_err(|e| unreadable(&args.target, e))?;
    if args.in_place {
        let shown = target.display().to_string();
        session.printer.remark(
            &session
                .messages
                .will_be_overwritten(&shown, args.delete_extra),
        );
        session.confirm(args.confirm.yes, &shown).await?;
    }
    let progress = Arc::new(Progress::new());
    let mut shown = Shown::begin(&session.messages.restoring_files());
    let (wanted, inside) = (args.snapshot.clone(), args.path.clone());
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
                &wanted,
                inside.as_deref(),
                &into,
                &options,
                &working,
            )
        },
    )
    .await?;
    drop(shown);
    for failure in &restored.failures {
        session
            .printer
            .warning(&session.messages.not_restored(&failure.path, &failure.why));
    }
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

fn restore_part(
    repository: &Repository,
    wanted: &str,
    inside: Option<&Path>,
    target: &Path,
    options: &RestoreOptions,
    progress: &Progress,
) -> Result<restoring::Restored, Error> {
    let index = repository.load_index()?;
    let (_, snapshot) = repository.snapshot(wanted)?;
    let inside = inside.unwrap_or(Path::new("/"));
    match path::find(repository, &index, &snapshot.tree, inside)? {
        Found::Directory(tree) => {
            restoring::run(repository, &index, &tree, target, options, progress)
        }
        Found::Entry(node) => restoring::one(repository, &index, *node, target, options, progress),
    }
}
