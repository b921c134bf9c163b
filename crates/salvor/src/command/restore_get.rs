//! `restore get`.

use salvor_api::velero::Restore;

use crate::args::Format;
use crate::args::choice::ChoiceArgs;
use crate::args::restore::GetArgs;
use crate::command::read::{self, Place};
use crate::command::records;
use crate::exit::{Exit, Failure};
use crate::output::restore_table;
use crate::output::structured::kind_list;
use crate::session::Session;

/// Lists restores.
pub(crate) async fn run(args: &GetArgs, session: &Session) -> Result<Exit, Failure> {
    let GetArgs {
        choice: ChoiceArgs { names, selector },
        format,
    } = args;
    let place = Place::of(session).await?;
    let (restores, damaged) = match &place {
        Place::Server(served) => {
            let restores: Vec<Restore> = served.chosen(names, selector.as_ref()).await?;
            (restores, Vec::new())
        }
        Place::Location(location) => {
            let (records, damaged) = read::restores(location, names, selector.as_ref()).await?;
            for entry in &damaged {
                let text = session.messages.damaged(&entry.name, &entry.reason);
                session.printer.warning(&text);
            }
            read::note_unfinished(&records, session);
            (read::restore_kinds(records), damaged)
        }
    };
    let printer = &session.printer;
    match format.output {
        Format::Json | Format::Yaml => {
            let json = format.output == Format::Json;
            match (restores.as_slice(), names.len()) {
                ([one], 1) if json => printer.json(one)?,
                ([one], 1) => printer.yaml(one)?,
                (all, _) if json => printer.json(&kind_list("Restore", all))?,
                (all, _) => printer.yaml(&kind_list("Restore", all))?,
            }
        }
        Format::Name => {
            for restore in &restores {
                printer.result(&format!("restore.velero.io/{}\n", restore.metadata.name))?;
            }
        }
        Format::Table | Format::Wide => {
            if restores.is_empty() && damaged.is_empty() {
                let text = match &place {
                    Place::Server(served) => session.messages.none_in_namespace(&served.namespace),
                    Place::Location(location) => session.messages.no_restores(location.name()),
                };
                printer.remark(&text);
            } else {
                printer.result(&restore_table::table(&restores, printer.color))?;
            }
            if let Place::Location(location) = &place {
                records::note_others(location, session).await?;
            }
        }
    }
    Ok(if damaged.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}
