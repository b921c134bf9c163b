//! `control-plane runs`: what was begun, how far it is, and how it is gone on with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use salvor_location::RunId;
use salvor_runbook::{Journal, State, Summary};
use salvor_storage::{FsStore, ObjectStore};
use salvor_text::Table;
use serde::Serialize;

use super::runs::{IN_LOCATION, command_of, folder, is_held};
use crate::args::control_plane::{ListFormat, RunsArgs};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// A run, as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    run: String,
    /// The runbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    /// When its last record was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Timestamp>,
    state: &'static str,
    /// The step that it is at.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The command that goes on with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    go_on: Option<String>,
    /// The command that takes it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    undo: Option<String>,
    /// Where its journal is.
    journal: String,
    /// What it was begun with, and is gone on with.
    #[serde(skip)]
    command: String,
}

/// Where journals are.
struct Place<'a> {
    store: Arc<dyn ObjectStore>,
    below: &'a str,
    /// The folder of this machine; `None` of a location.
    folder: Option<PathBuf>,
    /// The folder where it was given: who goes on has to give it, too.
    given: Option<&'a Path>,
    shown: String,
}

/// Lists the runs of this machine, and those of the location that is given.
pub(crate) async fn run(args: &RunsArgs, session: &Session) -> Result<Exit, Failure> {
    let own = folder(args.journal.as_deref());
    let here = Place {
        store: Arc::new(FsStore::new(own.clone())),
        below: "",
        shown: own.display().to_string(),
        folder: Some(own),
        given: args.journal.as_deref(),
    };
    let mut rows = rows(&here, &[]).await?;
    if session.global.location.is_some() {
        let location = session.location(None)?;
        let there = Place {
            store: Arc::clone(location.store()),
            below: IN_LOCATION,
            folder: None,
            given: None,
            shown: format!("location {}", location.name()),
        };
        let known: Vec<String> = rows.iter().map(|row| row.run.clone()).collect();
        rows.extend(self::rows(&there, &known).await?);
    }
    rows.sort_by(|a, b| (a.started, &a.run).cmp(&(b.started, &b.run)));
    match args.output {
        ListFormat::Json => session.printer.json(&rows)?,
        ListFormat::Yaml => session.printer.yaml(&rows)?,
        ListFormat::Table if rows.is_empty() => {
            session
                .printer
                .note(&session.messages.runs_none(&here.shown));
        }
        ListFormat::Table => session.printer.result(&text(&rows, session))?,
    }
    Ok(Exit::Done)
}

async fn rows(place: &Place<'_>, known: &[String]) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for run in Journal::runs(place.store.as_ref(), place.below).await? {
        if !known.iter().any(|known| known == run.as_str()) {
            rows.extend(row(place, run).await);
        }
    }
    Ok(rows)
}

/// One run; `None` where it has not begun. One that cannot be read is told, and hides no other.
async fn row(place: &Place<'_>, run: RunId) -> Option<Row> {
    let read = async {
        let journal = Journal::open(Arc::clone(&place.store), place.below, run.clone()).await?;
        journal.records().await
    };
    let mut row = Row {
        run: run.to_string(),
        kind: None,
        target: None,
        started: None,
        last: None,
        state: "unreadable",
        step: None,
        number: None,
        steps: None,
        error: None,
        go_on: None,
        undo: None,
        journal: place.shown.clone(),
        command: String::new(),
    };
    let records = match read.await {
        Ok(records) => records,
        Err(error) => {
            row.error = Some(Failure::from(error).chain());
            return Some(row);
        }
    };
    let summary = Summary::of(&records)?;
    let command = command_of(
        &summary.begun.runbook,
        &summary.begun.parameters,
        place.given,
    );
    row.state = state(&summary, place, run.as_str());
    let at_work = row.state == "running";
    // A journal of a location is gone on with where its run began: that of another machine is a copy.
    let ours = place.folder.is_some() && !at_work;
    row.go_on = (ours && summary.goes_on()).then(|| format!("salvor {command} --run {run}"));
    let undo = ours && summary.can_be_undone();
    row.undo = undo.then(|| format!("salvor {command} --run {run} --undo"));
    row.command = command;
    row.kind = Some(summary.begun.runbook);
    row.target = Some(summary.begun.target);
    row.started = Some(summary.started);
    row.last = Some(summary.last);
    row.step = summary.step;
    row.number = summary.number;
    row.steps = summary.steps;
    row.error = summary.error;
    Some(row)
}

fn state(summary: &Summary, place: &Place<'_>, run: &str) -> &'static str {
    let held = place.folder.as_deref().map(|folder| is_held(folder, run));
    match (summary.state, held) {
        (State::Done, _) => "done",
        (State::Undone, _) => "undone",
        (_, Some(true)) => "running",
        (State::Stopped, _) => "stopped",
        (State::Undoing, _) => "undoing",
        (State::Open, Some(false)) => "interrupted",
        // Of another machine: whether a program is at it is not known here.
        (State::Open, _) => "open",
    }
}

fn text(rows: &[Row], session: &Session) -> String {
    let mut table = Table::new(&["RUN", "KIND", "TARGET", "STARTED", "STATE"]);
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for row in rows {
        let started = row
            .started
            .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        table.row(&[
            row.run.clone(),
            or_none(&row.kind),
            or_none(&row.target),
            or_none(&started),
            told(row),
        ]);
    }
    let mut text = table.to_string();
    for row in rows.iter().filter(|row| row.go_on.is_some()) {
        let how = session.messages.run_resume(&row.command, &row.run);
        text.push_str(&format!("{}: {how}\n", row.run));
    }
    for row in rows.iter().filter(|row| row.state == "undoing") {
        if let Some(undo) = &row.undo {
            let how = session.messages.run_undo_on(undo);
            text.push_str(&format!("{}: {how}\n", row.run));
        }
    }
    text
}

/// `stopped at step 3 of 16, restore: why`.
fn told(row: &Row) -> String {
    let mut told = row.state.to_owned();
    if matches!(row.state, "done" | "undone") {
        return told;
    }
    match (row.number, row.steps, &row.step) {
        (Some(number), Some(steps), Some(step)) => {
            told.push_str(&format!(" at step {number} of {steps}, {step}"));
        }
        (_, _, Some(step)) => told.push_str(&format!(" at step {step}")),
        _ => {}
    }
    if let Some(error) = &row.error {
        told.push_str(&format!(": {}", error.replace('\n', " ")));
    }
    told
}
