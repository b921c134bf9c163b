//! `backup repair`.

use salvor_location::copy::Transfer;
use salvor_location::copy::repair::Mend;
use salvor_location::{Error, Location};

use crate::args::backup::RepairArgs;
use crate::command::{backup_verify, read, transfer};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Replaces what is damaged in a backup by the bytes of good copies.
pub(crate) async fn run(args: &RepairArgs, session: &Session) -> Result<Exit, Failure> {
    let RepairArgs { name, from } = args;
    let name = read::backup_name(name)?;
    let location = session.location_of(Some(name.as_str())).await?;
    let copies = copies(&location, &name, from, session).await?;
    let moved = Transfer::default();
    let work = location.repair_backup(&name, &copies, &moved);
    let repair = transfer::follow(name.as_str(), 0, &moved, session, work).await?;
    let (mut replaced, mut lost) = (0, 0);
    for (file, mend) in &repair.mended {
        let line = match mend {
            Mend::Replaced { was, from } => {
                replaced += 1;
                session.messages.file_repaired(file, was, from)
            }
            Mend::Lost { was, tried } => {
                lost += 1;
                let tried = match tried.is_empty() {
                    true => "-".to_owned(),
                    false => tried.join("; "),
                };
                session.messages.file_lost(file, was, &tried)
            }
        };
        session.printer.result(&format!("{line}\n"))?;
    }
    let whole = repair.is_whole();
    let line = match whole {
        true => session
            .messages
            .backup_whole(name.as_str(), repair.sound, replaced),
        false => session.messages.backup_not_whole(name.as_str(), lost),
    };
    session.printer.result(&format!("{line}\n"))?;
    // What was said of it before no longer holds.
    let record = location.backup(&name).await?;
    backup_verify::verify_and_record(&location, &record, session).await?;
    Ok(match whole {
        true => Exit::Done,
        false => Exit::VerificationFailed,
    })
}

/// Where good bytes may be: the locations that are named or, when none is, those that are known to have a copy, and
/// every other one of the configuration.
async fn copies(
    location: &Location,
    name: &salvor_api::name::BackupName,
    from: &[String],
    session: &Session,
) -> Result<Vec<Location>, Failure> {
    let mut copies = Vec::new();
    for text in from {
        copies.push(transfer::location(text, session).await?);
    }
    if !from.is_empty() {
        return Ok(copies);
    }
    let mut known: Vec<String> = Vec::new();
    match location.backup(name).await {
        Ok(record) => {
            let records = location.copies_of(&record).await?;
            known.extend(records.into_iter().map(|record| record.target.name));
        }
        Err(Error::BadRecord { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if let Ok(Some(origin)) = location.copied_from(name).await {
        known.push(origin.from.name);
    }
    if session.served().await?.is_none() {
        known.extend(session.config()?.locations.into_keys());
    }
    known.dedup();
    for text in known {
        let is_known = copies.iter().any(|copy: &Location| copy.name() == text);
        if is_known || text == location.name() {
            continue;
        }
        match transfer::location(&text, session).await {
            Ok(copy) if copy.url() != location.url() => copies.push(copy),
            Ok(_) => {}
            Err(failure) => session.printer.note(&failure.chain()),
        }
    }
    if copies.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("no other location is known that may have backup `{name}`"),
        )
        .hint("name one with --from"));
    }
    Ok(copies)
}
