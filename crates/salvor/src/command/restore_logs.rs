//! `restore logs`.

use salvor_archive::names::RestoreFile;

use crate::args::restore::LogsArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Prints the log of a restore.
pub(crate) async fn run(args: &LogsArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location(None)?;
    let name = read::restore_name(&args.name)?;
    location.restore(&name).await?;
    let file = RestoreFile::Logs.name(&name);
    let Some(bytes) = location
        .read_restore_file(&name, &file, read::LARGEST_FILE)
        .await?
    else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("restore `{name}` has no log: `{file}` is not there"),
        ));
    };
    let text = read::log_text(&format!("`{file}`"), &bytes)?;
    session.printer.bytes(&text)?;
    Ok(Exit::Done)
}
