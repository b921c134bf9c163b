//! `backup logs`.

use salvor_archive::names::BackupFile;

use crate::args::backup::LogsArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Prints the log of a backup.
pub(crate) async fn run(args: &LogsArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location(None)?;
    let name = read::backup_name(&args.name)?;
    // The backup first: a missing log of a missing backup is a missing backup.
    location.backup(&name).await?;
    let file = BackupFile::Logs.name(&name);
    let Some(bytes) = location.read_file(&name, &file, read::LARGEST_FILE).await? else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("backup `{name}` has no log: `{file}` is not there"),
        ));
    };
    let text = read::log_text(&format!("`{file}`"), &bytes)?;
    session.printer.bytes(&text)?;
    Ok(Exit::Done)
}
