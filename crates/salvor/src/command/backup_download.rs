//! `backup download`.

use std::path::PathBuf;

use futures::StreamExt as _;
use salvor_archive::names::BackupFile;
use salvor_text::ByteCount;
use tokio::io::AsyncWriteExt as _;

use crate::args::backup::DownloadArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress;
use crate::session::Session;

/// Copies a backup's archive to a file, readable by its owner only. `-` is standard output.
pub(crate) async fn run(args: &DownloadArgs, session: &Session) -> Result<Exit, Failure> {
    let DownloadArgs {
        name,
        output,
        force,
    } = args;
    let location = session.location(None)?;
    let name = read::backup_name(name)?;
    location.backup(&name).await?;
    let file = BackupFile::Archive.name(&name);
    let Some((size, mut stream)) = location.open_file(&name, &file).await? else {
        return Err(Failure::new(
            Exit::VerificationFailed,
            format!("backup `{name}` has no archive: `{file}` is not there"),
        ));
    };
    let path = output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}-data.tar.gz")));
    if path.as_os_str() == "-" {
        while let Some(chunk) = stream.next().await {
            session.printer.bytes(&chunk?)?;
        }
        return Ok(Exit::Done);
    }
    let doing = format!("write {}", path.display());
    let failed = |error: std::io::Error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let exit = if exists {
            Exit::Refused
        } else {
            Exit::Internal
        };
        let hint = if exists {
            "choose another file with -o, or pass --force"
        } else {
            ""
        };
        Failure::caused(exit, doing.clone(), error).hint(hint)
    };
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    if *force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut out = options.open(&path).await.map_err(failed)?;
    let mut progress = Progress::begin(&file);
    let mut written = 0;
    let copied: Result<(), Failure> = async {
        loop {
            let chunk = tokio::select! {
                chunk = stream.next() => chunk,
                () = session.cancel.cancelled() => {
                    return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
                }
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk?;
            out.write_all(&chunk).await.map_err(failed)?;
            written += chunk.len() as u64;
            progress.update(written, size, "");
        }
        out.sync_all().await.map_err(failed)
    }
    .await;
    drop(progress);
    if let Err(failure) = copied {
        // A part of an archive looks like a whole one to whoever finds it.
        let _ = tokio::fs::remove_file(&path).await;
        return Err(failure);
    }
    let size = ByteCount(written).to_string();
    let text = session
        .messages
        .written_to(&file, &path.display().to_string(), &size);
    session.printer.remark(&text);
    Ok(Exit::Done)
}
