//! `volume export`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use salvor_cluster::exec::ExecFailure;
use salvor_repository::backup::{self as backing_up, BackupOptions, Written};
use salvor_repository::source::stream::StreamSource;
use salvor_repository::{Error, Progress};
use salvor_text::ByteCount;
use salvor_volume::export::pipe::{ExportReader, pipe};
use salvor_volume::export::reader::ReaderOptions;
use salvor_volume::export::{ExportError, ExportOptions, Exported, PodPath, export};

use super::{holder, lock, open, stoppable};
use crate::args::repository::{RepositoryArgs, VolumeExportArgs};
use crate::command::install::IMAGE;
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress as Shown;
use crate::session::Session;

/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// Streams a path inside a pod to where it should go.
pub(super) async fn run(args: &VolumeExportArgs, session: &Session) -> Result<Exit, Failure> {
    let from: PodPath = args.from.parse().map_err(Failure::usage)?;
    let exported = match &args.output {
        Some(file) => to_file(&from, file, args, session).await?,
        None => to_repository(&from, args, session).await?,
    };
    for line in &exported.changed {
        session.printer.warning(line);
    }
    if let Some(reader) = &exported.reader {
        session
            .printer
            .note(&session.messages.export_by_reader(reader));
    }
    let size = ByteCount(exported.bytes).to_string();
    let text = session
        .messages
        .export_whole(&from.to_string(), exported.entries, &size);
    // Standard output may be where the archive went.
    session.printer.remark(&text);
    Ok(Exit::Done)
}

fn options(args: &VolumeExportArgs) -> ExportOptions {
    ExportOptions {
        timeout: args.timeout.0,
        stall: args.stall.0,
        allow_changes: args.allow_changes,
        reader: (!args.no_debug_container).then(|| ReaderOptions {
            image: args.debug_image.clone().unwrap_or_else(|| IMAGE.to_owned()),
            user: args.debug_user.map(i64::from),
        }),
    }
}

/// The failure of what came first: who takes the archive fails because it is not whole, or the other way round.
fn joined<T>(
    exported: Result<Exported, ExportError>,
    taken: Result<T, Failure>,
) -> Result<(Exported, T), Failure> {
    match (exported, taken) {
        (Ok(exported), Ok(taken)) => Ok((exported, taken)),
        (Err(ExportError::NotTaken) | Ok(_), Err(failure)) => Err(failure),
        (Err(error), _) => Err(error.into()),
    }
}

async fn to_file(
    from: &PodPath,
    file: &Path,
    args: &VolumeExportArgs,
    session: &Session,
) -> Result<Exported, Failure> {
    let target = Target::of(file)?;
    let cluster = session.cluster(None).await?;
    let (sink, reader) = pipe();
    let taking = tokio::task::spawn_blocking(move || target.fill(reader));
    let options = options(args);
    let exporting = export(&cluster, from, &options, sink, &session.cancel);
    let (exported, taken) = tokio::join!(exporting, taking);
    let taken = taken
        .unwrap_or_else(|error| Err(Failure::caused(Exit::Internal, "write the archive", error)));
    joined(exported, taken).map(|(exported, ())| exported)
}

/// Where an archive is written.
enum Target {
    /// Standard output: whoever reads it must look at the exit code.
    Stdout,
    /// A file, which has its name when it is whole.
    File {
        part: File,
        path: PathBuf,
        name: PathBuf,
    },
}

impl Target {
    fn of(file: &Path) -> Result<Self, Failure> {
        if file == Path::new("-") {
            if io::IsTerminal::is_terminal(&io::stdout()) {
                return Err(Failure::usage("an archive is not for a terminal")
                    .hint("redirect standard output, or name a file with --output"));
            }
            return Ok(Self::Stdout);
        }
        let doing = || format!("write {}", file.display());
        if file.symlink_metadata().is_ok() {
            return Err(
                Failure::new(Exit::Refused, format!("{} exists", file.display()))
                    .hint("choose another name, or remove it"),
            );
        }
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        let path = PathBuf::from(part);
        // What a killed run left is written over; what another run writes is left alone. It may hold secrets.
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let part = opened.map_err(|error| Failure::caused(Exit::Internal, doing(), error))?;
        match part.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} is being written by another run", path.display());
                return Err(Failure::new(Exit::Refused, text));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Failure::caused(Exit::Internal, doing(), error));
            }
        }
        part.set_len(0)
            .map_err(|error| Failure::caused(Exit::Internal, doing(), error))?;
        Ok(Self::File {
            part,
            path,
            name: file.to_owned(),
        })
    }

    /// Copies until the reader says that the archive is whole. One that is not leaves no file.
    fn fill(self, mut reader: ExportReader) -> Result<(), Failure> {
        let failed = |doing: String| move |error| Failure::caused(Exit::Internal, doing, error);
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                let copied = copy(&mut reader, &mut out).and_then(|()| out.flush());
                copied.map_err(failed("write the archive to standard output".to_owned()))
            }
            Self::File {
                mut part,
                path,
                name,
            } => {
                let doing = format!("write {}", name.display());
                let written = copy(&mut reader, &mut part).and_then(|()| part.sync_all());
                // The commit point: links fail where the name is taken, also since we looked.
                let named = written.and_then(|()| std::fs::hard_link(&path, &name));
                let removed = std::fs::remove_file(&path);
                named.and(removed).map_err(failed(doing))
            }
        }
    }
}

fn copy(reader: &mut impl Read, writer: &mut impl io::Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok(()),
            read => writer.write_all(&piece[..read])?,
        }
    }
}

async fn to_repository(
    from: &PodPath,
    args: &VolumeExportArgs,
    session: &Session,
) -> Result<Exported, Failure> {
    let meant = RepositoryArgs {
        domain: args.domain.clone(),
        repository: args.repository.clone(),
        password: args.password.clone(),
        cache_dir: None,
        no_cache: false,
    };
    let cluster = session.cluster(None).await?;
    let repository = open(&meant, session).await?;
    let held = lock(&repository, false).await?;
    let owner = format!("{}/{}", from.namespace, from.pod);
    let backup = BackupOptions {
        paths: vec![from.to_string()],
        hostname: args.host.clone().unwrap_or(owner),
        username: holder().username,
        tags: args.tags.clone(),
        verify: !args.no_verify_write,
        ..BackupOptions::default()
    };
    let (sink, reader) = pipe();
    let mut source = StreamSource::new(&file_name(from), Timestamp::now(), reader);
    let progress = Arc::new(Progress::new());
    let mut shown = Shown::begin(&session.messages.exporting());
    let working = Arc::clone(&progress);
    let taking = stoppable(
        session,
        &progress,
        |progress| shown.update(0, 0, &ByteCount(progress.bytes()).to_string()),
        move || {
            let written = backing_up::run(&repository, &held, &mut source, &backup, &working);
            drop(held);
            whole(written?)
        },
    );
    let options = options(args);
    let exporting = export(&cluster, from, &options, sink, &session.cancel);
    let (exported, taken) = tokio::join!(exporting, taking);
    drop(shown);
    let (exported, written) = joined(exported, taken)?;
    let summary = written.snapshot.summary.clone().unwrap_or_default();
    let text = session.messages.snapshot_written(
        &written.id.to_string()[..12],
        summary.total_files_processed,
        &ByteCount(summary.total_bytes_processed).to_string(),
        &ByteCount(summary.data_added_packed).to_string(),
    );
    session.printer.result(&format!("{text}\n"))?;
    Ok(exported)
}

/// A stream that fails fails its snapshot; that nothing is missing is looked at all the same.
fn whole(written: Written) -> Result<Written, Error> {
    match written.missing() {
        0 => Ok(written),
        missing => Err(Error::Invalid(format!(
            "{missing} of the snapshot's entries are missing"
        ))),
    }
}

/// `data.tar` for `/var/lib/data`.
fn file_name(from: &PodPath) -> String {
    let name = from.path.trim_end_matches('/').rsplit('/').next();
    match name {
        None | Some("" | "." | "..") => format!("{}.tar", from.pod),
        Some(name) => format!("{name}.tar"),
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let doing = error.to_string();
        let advice = error.advice();
        let exit = match &error {
            ExportError::NoPod { .. }
            | ExportError::NoContainer { .. }
            | ExportError::NoPath { .. } => Exit::NotFound,
            ExportError::NoTar { .. }
            | ExportError::ReaderRefused { .. }
            | ExportError::ReaderNotRunning { .. }
            | ExportError::Changed { .. } => Exit::Refused,
            ExportError::Stalled { .. } => Exit::TimedOut,
            ExportError::Cut { .. } | ExportError::Archive(_) => Exit::VerificationFailed,
            ExportError::Exec(error) => exit_of(error.failure()),
            _ => Exit::Internal,
        };
        match error {
            ExportError::Pod { source, .. } => Self::from(source).while_doing(&doing),
            error => Self::caused(exit, "", error).hint(advice),
        }
    }
}

/// What the end of a command in a pod means for a script.
fn exit_of(failure: &ExecFailure) -> Exit {
    match failure {
        ExecFailure::Cancelled { .. } => Exit::Cancelled,
        ExecFailure::Timeout { .. } => Exit::TimedOut,
        ExecFailure::NoPod | ExecFailure::NoContainer { .. } => Exit::NotFound,
        ExecFailure::Forbidden { .. } | ExecFailure::NotRunning { .. } => Exit::Refused,
        ExecFailure::Lost { .. } | ExecFailure::Malformed { .. } => Exit::Unavailable,
        _ => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_a_snapshot_is_called_as_the_path_is() {
        for (path, name) in [
            ("/var/lib/data", "data.tar"),
            ("/var/lib/data/", "data.tar"),
            ("/", "db-0.tar"),
            ("/x/..", "db-0.tar"),
        ] {
            let from: PodPath = format!("shop/db-0:{path}").parse().expect("a path");
            assert_eq!(file_name(&from), name, "{path}");
        }
    }
}
