//! `explain`.

use salvor_text::{Language, Table};
use serde_json::json;

use crate::args::{ExplainArgs, Format};
use crate::exit::{Exit, Failure};
use crate::explain::{ENTRIES, Entry, find, like};
use crate::session::Session;

/// Prints what a code means and its runbook page; without a code, all of them.
pub(crate) fn run(args: &ExplainArgs, session: &Session) -> Result<Exit, Failure> {
    let ExplainArgs { code, output } = args;
    let entries: Vec<&Entry> = match code {
        None => ENTRIES.iter().collect(),
        Some(code) => {
            let code = code.trim_start_matches("error[").trim_end_matches(']');
            let found = find(code).ok_or_else(|| unknown(code))?;
            vec![found]
        }
    };
    let short = |entry: &Entry| match session.messages.language() {
        Language::English => entry.english,
        Language::Korean => entry.korean,
    };
    let value = |entry: &Entry| {
        json!({"code": entry.code, "kind": entry.kind.name(), "meaning": short(entry),
            "runbook": entry.page})
    };
    match (output, entries.as_slice()) {
        (Format::Json, [one]) if code.is_some() => session.printer.json(&value(one))?,
        (Format::Yaml, [one]) if code.is_some() => session.printer.yaml(&value(one))?,
        (Format::Json, all) => {
            let all: Vec<_> = all.iter().map(|entry| value(entry)).collect();
            session.printer.json(&all)?;
        }
        (Format::Yaml, all) => {
            let all: Vec<_> = all.iter().map(|entry| value(entry)).collect();
            session.printer.yaml(&all)?;
        }
        (Format::Name, all) => {
            for entry in all {
                session.printer.result(&format!("{}\n", entry.code))?;
            }
        }
        (_, [one]) if code.is_some() => {
            let text = match session.messages.language() {
                Language::English => one.page.to_owned(),
                Language::Korean => format!("{}\n\n{}", one.korean, one.page),
            };
            session.printer.result(&text)?;
        }
        (_, all) => {
            let mut table = Table::new(&["CODE", "KIND", "MEANING"]);
            for entry in all {
                table.row(&[entry.code, entry.kind.name(), short(entry)]);
            }
            session.printer.result(&table.to_string())?;
        }
    }
    Ok(Exit::Done)
}

fn unknown(code: &str) -> Failure {
    let near = like(code);
    let hint = match near.is_empty() {
        true => "`salvor explain` lists all codes".to_owned(),
        false => format!("did you mean {}?", near.join(", ")),
    };
    Failure::new(Exit::NotFound, format!("`{code}` is no code")).hint(hint)
}
