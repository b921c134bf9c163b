//! `restore describe`.

use salvor_archive::names::RestoreFile;

use crate::args::Format;
use crate::args::restore::DescribeArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::output::describe_restore::{self, RestoreView};
use crate::session::Session;

/// Describes restores, one after another.
pub(crate) async fn run(args: &DescribeArgs, session: &Session) -> Result<Exit, Failure> {
    let DescribeArgs {
        names,
        selector,
        details,
        output,
    } = args;
    let location = session.location(None)?;
    let (records, damaged) = read::restores(&location, names, selector.as_ref()).await?;
    for entry in &damaged {
        let text = session.messages.damaged(&entry.name, &entry.reason);
        session.printer.warning(&text);
    }
    read::note_unfinished(&records, session);
    for (at, record) in records.into_iter().enumerate() {
        let status = &record.restore.status;
        let results = if status.warnings > 0 || status.errors > 0 {
            read::restore_json(&location, &record.name, RestoreFile::Results).await?
        } else {
            None
        };
        let resource_list = if *details {
            read::restore_json(&location, &record.name, RestoreFile::ResourceList).await?
        } else {
            None
        };
        let view = RestoreView {
            restore: record.restore,
            results,
            resource_list,
        };
        match output {
            Format::Json => session
                .printer
                .json(&describe_restore::value(&view, *details))?,
            Format::Yaml => session
                .printer
                .yaml(&describe_restore::value(&view, *details))?,
            Format::Name => {
                let name = &view.restore.metadata.name;
                session
                    .printer
                    .result(&format!("restore.velero.io/{name}\n"))?;
            }
            Format::Table | Format::Wide => {
                let text = describe_restore::text(&view, *details, session.printer.color);
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
