//! `backup logs`.

use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, DownloadTargetKind};
use salvor_archive::names::BackupFile;

use crate::args::backup::LogsArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Prints the log of a backup.
pub(crate) async fn run(args: &LogsArgs, session: &Session) -> Result<Exit, Failure> {
    let name = read::backup_name(&args.name)?;
    if let Some(served) = session.served().await? {
        // A missing log of a missing backup is a missing backup.
        served.named::<Backup>(name.as_str()).await?;
        let bytes = served.bytes(DownloadTargetKind::BackupLog, name.as_str());
        return print(&name, bytes.await?.as_deref(), session);
    }
    let location = session.location(None)?;
    // The backup first: a missing log of a missing backup is a missing backup.
    location.backup(&name).await?;
    let file = BackupFile::Logs.name(&name);
    let bytes = location.read_file(&name, &file, read::LARGEST_FILE).await?;
    print(&name, bytes.as_deref(), session)
}

fn print(name: &BackupName, bytes: Option<&[u8]>, session: &Session) -> Result<Exit, Failure> {
    let file = BackupFile::Logs.name(name);
    let Some(bytes) = bytes else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("backup `{name}` has no log: `{file}` is not there"),
        ));
    };
    let text = read::log_text(&format!("`{file}`"), bytes)?;
    session.printer.bytes(&text)?;
    Ok(Exit::Done)
}
