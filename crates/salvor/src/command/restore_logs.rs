//! `restore logs`.

use salvor_api::name::RestoreName;
use salvor_api::velero::{DownloadTargetKind, Restore};
use salvor_archive::names::RestoreFile;

use crate::args::restore::LogsArgs;
use crate::command::{read, records};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Prints the log of a restore.
pub(crate) async fn run(args: &LogsArgs, session: &Session) -> Result<Exit, Failure> {
    let name = read::restore_name(&args.name)?;
    if let Some(served) = session.served().await? {
        served.named::<Restore>(name.as_str()).await?;
        let bytes = served.bytes(DownloadTargetKind::RestoreLog, name.as_str());
        return print(&name, bytes.await?.as_deref(), session);
    }
    let location = records::of_named(Some(&args.name), session.location(None)?, session).await?;
    location.restore(&name).await?;
    let file = RestoreFile::Logs.name(&name);
    let bytes = location
        .read_restore_file(&name, &file, read::LARGEST_FILE)
        .await?;
    print(&name, bytes.as_deref(), session)
}

fn print(name: &RestoreName, bytes: Option<&[u8]>, session: &Session) -> Result<Exit, Failure> {
    let file = RestoreFile::Logs.name(name);
    let Some(bytes) = bytes else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("restore `{name}` has no log: `{file}` is not there"),
        ));
    };
    let text = read::log_text(&format!("`{file}`"), bytes)?;
    session.printer.bytes(&text)?;
    Ok(Exit::Done)
}
