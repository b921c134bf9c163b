//! `backup archive` and `backup thaw`.

use std::time::Duration;

use salvor_api::labels;
use salvor_api::retention::retrieval;
use salvor_api::velero::Backup;
use salvor_storage::Access;
use salvor_text::duration::about;

use crate::args::backup::{ArchiveArgs, ThawArgs};
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Moves a backup to a storage class, and says how it is read from there.
pub(crate) async fn archive(args: &ArchiveArgs, session: &Session) -> Result<Exit, Failure> {
    let ArchiveArgs { name, to } = args;
    let name = read::backup_name(name)?;
    let location = session.location_of(Some(name.as_str())).await?;
    let archived = location.archive_backup(&name, to).await?;
    if let Some(served) = session.served().await? {
        let mark = archived.mark();
        let change = |backup: &mut Backup| {
            let annotations = &mut backup.metadata.annotations;
            annotations.insert(labels::ARCHIVED.to_owned(), mark.clone());
            Ok(())
        };
        served.change(name.as_str(), change).await?;
    }
    let text = match retrieval(&archived.class) {
        Duration::ZERO => session.messages.backup_archived(name.as_str(), to),
        wait => session
            .messages
            .backup_archived_cold(name.as_str(), to, &about(wait)),
    };
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

/// Asks for an archived backup to be readable, and says how it stands. Exit code 1 while it cannot be read.
pub(crate) async fn thaw(args: &ThawArgs, session: &Session) -> Result<Exit, Failure> {
    let name = read::backup_name(&args.name)?;
    let location = session.location_of(Some(name.as_str())).await?;
    let tier = location.thaw(&name).await?;
    let messages = session.messages;
    let (text, exit) = match tier.access {
        Access::Now => (messages.backup_readable(name.as_str()), Exit::Done),
        Access::Until(until) => {
            let until = until.map_or_else(|| "?".to_owned(), |until| until.to_string());
            (
                messages.backup_readable_until(name.as_str(), &until),
                Exit::Done,
            )
        }
        Access::Thawing | Access::Frozen => {
            let wait = about(retrieval(&tier.class));
            (
                messages.backup_thawing(name.as_str(), &wait),
                Exit::Differences,
            )
        }
    };
    session.printer.result(&format!("{text}\n"))?;
    Ok(exit)
}
