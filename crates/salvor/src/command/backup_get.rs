//! `backup get`.

use crate::args::Format;
use crate::args::backup::GetArgs;
use crate::args::choice::ChoiceArgs;
use crate::command::read::Place;
use crate::exit::{Exit, Failure};
use crate::output::backup_table::{self, Columns};
use crate::output::structured::kind_list;
use crate::session::Session;

/// Lists backups. A damaged one is a warning and does not hide the others.
pub(crate) async fn run(args: &GetArgs, session: &Session) -> Result<Exit, Failure> {
    let GetArgs {
        choice: ChoiceArgs { names, selector },
        show_labels,
        label_columns,
        format,
    } = args;
    let place = Place::of(session).await?;
    let (mut backups, damaged) = place.backups(names, selector.as_ref()).await?;
    backup_table::sort(&mut backups);
    for entry in &damaged {
        let text = session.messages.damaged(&entry.name, &entry.reason);
        session.printer.warning(&text);
    }
    let printer = &session.printer;
    match format.output {
        Format::Json | Format::Yaml => {
            let json = format.output == Format::Json;
            match (backups.as_slice(), names.len()) {
                ([one], 1) if json => printer.json(one)?,
                ([one], 1) => printer.yaml(one)?,
                (all, _) if json => printer.json(&kind_list("Backup", all))?,
                (all, _) => printer.yaml(&kind_list("Backup", all))?,
            }
        }
        Format::Name => {
            for backup in &backups {
                printer.result(&format!("backup.velero.io/{}\n", backup.metadata.name))?;
            }
        }
        Format::Table | Format::Wide => {
            if backups.is_empty() && damaged.is_empty() {
                printer.remark(&place.no_backups(session));
                return Ok(Exit::Done);
            }
            let columns = Columns {
                wide: format.output == Format::Wide,
                show_labels: *show_labels,
                label_columns,
                durability: &place.durability(session),
                color: printer.color,
            };
            printer.result(&backup_table::table(&backups, &columns, session.now()))?;
            if let Place::Location(location) = &place {
                session.note_if_temporary(location);
            }
        }
    }
    Ok(if damaged.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}
