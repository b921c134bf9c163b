//! `restore delete`.

use salvor_location::RunId;

use crate::args::choice::DemandArgs;
use crate::args::restore::DeleteArgs;
use crate::command::{read, records, served};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Deletes the records of restores; restored objects stay.
pub(crate) async fn run(args: &DeleteArgs, session: &Session) -> Result<Exit, Failure> {
    let DeleteArgs {
        which: DemandArgs {
            names,
            all: _,
            selector,
        },
        confirm,
    } = args;
    if let Some(served) = session.served().await? {
        return served::restore::delete(args, session, &served).await;
    }
    let location = records::of_named(names.first(), session.location(None)?, session).await?;
    let (records, damaged) = read::restores(&location, names, selector.as_ref()).await?;
    for entry in damaged {
        let text = session.messages.damaged(&entry.name, &entry.reason);
        session.printer.warning(&text);
    }
    if records.is_empty() {
        session
            .printer
            .remark(&session.messages.no_restores(location.name()));
        return Ok(Exit::Done);
    }
    for record in &records {
        let text = session
            .messages
            .restore_will_be_deleted(record.name.as_str(), location.name());
        session.printer.remark(&text);
    }
    let typed = match records.as_slice() {
        [one] => one.name.as_str(),
        _ => location.name(),
    };
    session.confirm(confirm.yes, typed).await?;
    let run = RunId::generate();
    for record in &records {
        if session.cancel.is_cancelled() {
            return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
        }
        location.delete_restore(&record.name, &run).await?;
        session
            .printer
            .remark(&session.messages.restore_deleted(record.name.as_str()));
    }
    Ok(Exit::Done)
}
