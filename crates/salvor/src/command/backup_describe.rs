//! `backup describe`.

use salvor_archive::names::BackupFile;
use salvor_location::{BackupRecord, Location};

use crate::args::Format;
use crate::args::backup::DescribeArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::output::describe_backup::{self, BackupView, Origin};
use crate::session::Session;

/// Describes backups, one after another.
pub(crate) async fn run(args: &DescribeArgs, session: &Session) -> Result<Exit, Failure> {
    let DescribeArgs {
        names,
        selector,
        details,
        output,
    } = args;
    let location = session.location(None)?;
    let (records, damaged) = read::backups(&location, names, selector.as_ref()).await?;
    for entry in &damaged {
        let text = session.messages.damaged(&entry.name, &entry.reason);
        session.printer.warning(&text);
    }
    for (at, record) in records.into_iter().enumerate() {
        let view = view(&location, record, *details, session).await?;
        match output {
            Format::Json => session
                .printer
                .json(&describe_backup::value(&view, *details))?,
            Format::Yaml => session
                .printer
                .yaml(&describe_backup::value(&view, *details))?,
            Format::Name => {
                let name = &view.backup.metadata.name;
                session
                    .printer
                    .result(&format!("backup.velero.io/{name}\n"))?;
            }
            Format::Table | Format::Wide => {
                let text = describe_backup::text(&view, *details, session.printer.color);
                // Velero's client puts two empty lines between backups.
                let separator = if at > 0 { "\n\n" } else { "" };
                session.printer.result(&format!("{separator}{text}"))?;
            }
        }
    }
    Ok(if damaged.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

async fn view(
    location: &Location,
    record: BackupRecord,
    details: bool,
    session: &Session,
) -> Result<BackupView, Failure> {
    let name = record.name;
    let status = &record.backup.status;
    let results = if status.warnings > 0 || status.errors > 0 {
        read::backup_json(location, &name, BackupFile::Results).await?
    } else {
        None
    };
    let resource_list = if details {
        read::backup_json(location, &name, BackupFile::ResourceList).await?
    } else {
        None
    };
    let operations = if status.backup_item_operations_attempted > 0 {
        read::backup_json(location, &name, BackupFile::ItemOperations).await?
    } else {
        None
    };
    let volumes = salvor_objects::restore::source::read_volumes(location, &name).await?;
    let archive = BackupFile::Archive.name(&name);
    let temporary = location.is_temporary();
    Ok(BackupView {
        backup: record.backup,
        results,
        resource_list,
        volumes,
        operations: operations.unwrap_or_default(),
        origin: Origin {
            url: location.url().to_string(),
            temporary,
            durability: session.durability(temporary),
            archive_bytes: location.file_size(&name, &archive).await?,
        },
    })
}
