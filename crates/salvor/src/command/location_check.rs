//! `backup-location check`.

use salvor_location::CheckReport;
use serde_json::{Value, json};

use crate::args::Format;
use crate::args::location::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::output::location_table::{self, severity_name};
use crate::session::Session;

/// Tries everything that a backup needs of a location.
pub(crate) async fn run(args: &CheckArgs, session: &Session) -> Result<Exit, Failure> {
    let CheckArgs { name, format } = args;
    let location = match name {
        None => session.location(None)?,
        Some(name) => {
            let config = session.config()?;
            let Some(found) = config.locations.get(name) else {
                let path = session.config_path();
                return Err(Failure::new(
                    Exit::NotFound,
                    format!("location `{name}` is not in {}", path.display()),
                ));
            };
            session.named_location(name, &found.url, found.read_only)?
        }
    };
    let report = location.check().await?;
    match format.output {
        Format::Json => session.printer.json(&value(location.name(), &report))?,
        Format::Yaml => session.printer.yaml(&value(location.name(), &report))?,
        Format::Name => session.printer.result(&format!("{}\n", location.name()))?,
        Format::Table | Format::Wide => {
            session.printer.result(&location_table::check(&report))?;
            let line = if report.is_usable() {
                session.messages.location_usable(location.name())
            } else {
                session.messages.location_unusable(location.name())
            };
            session.printer.result(&format!("{line}\n"))?;
            session.note_if_temporary(&location);
        }
    }
    Ok(if report.is_usable() {
        Exit::Done
    } else {
        Exit::Differences
    })
}

fn value(name: &str, report: &CheckReport) -> Value {
    let steps: Vec<Value> = report
        .steps
        .iter()
        .map(|step| {
            let (severity, message) = match &step.problem {
                Some((severity, message)) => (severity_name(*severity), message.as_str()),
                None => ("ok", ""),
            };
            json!({"name": step.name, "result": severity, "message": message})
        })
        .collect();
    json!({"location": name, "usable": report.is_usable(), "steps": steps})
}
