//! `etcd snapshot status` and `etcd snapshot verify`.

use std::fmt::Write as _;

use salvor_etcd::points::{self, Details};
use salvor_etcd::snapshot::{self, Level, Outcome, Report, Status};
use salvor_text::{ByteCount, Table};
use serde_json::{Value, json};

use super::source::{Source, open};
use super::stoppable;
use crate::args::etcd::{ReportFormat, StatusArgs, VerifyArgs, WriteOut};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Prints the figures of a snapshot.
pub(super) async fn status(args: &StatusArgs, session: &Session) -> Result<Exit, Failure> {
    let count = !args.no_live_keys;
    let status = match open(&args.source, session).await? {
        Source::Open(snapshot) => {
            let status = stoppable(session, move |stop| {
                snapshot::status(&snapshot, count, stop)
            });
            status.await?
        }
        // The record is as good as its object: that one is compared with it.
        Source::Closed(closed) => {
            let (location, point) = *closed;
            location
                .check_point_object(points::object_of(&point)?)
                .await?;
            session.printer.note(&session.messages.etcd_not_opened());
            Details::of_point(&point)?.into_status()
        }
    };
    if !status.has_digest {
        session.printer.note(&session.messages.etcd_no_digest());
    }
    session
        .printer
        .result(&shown(&status, args.output, json!({}))?)?;
    Ok(Exit::Done)
}

/// Figures in the forms of `etcdctl`, with more of them in JSON.
pub(super) fn shown(status: &Status, format: WriteOut, more: Value) -> Result<String, Failure> {
    let keys = status.total_key();
    let size = ByteCount(status.total_size);
    let live = status
        .live_keys
        .map_or_else(|| "-".to_owned(), |live| live.to_string());
    Ok(match format {
        WriteOut::Simple => format!("{:x}, {}, {keys}, {size}\n", status.hash, status.revision),
        WriteOut::Fields => format!(
            "\"Hash\" : {}\n\"Revision\" : {}\n\"Keys\" : {keys}\n\"Size\" : {}\n\"Version\" : \"{}\"\n",
            status.hash, status.revision, status.total_size, status.version
        ),
        WriteOut::Json => {
            let mut value = json!({
                "hash": status.hash,
                "revision": status.revision,
                "totalKey": keys,
                "totalSize": status.total_size,
                "version": status.version,
                "entries": status.entries,
                "versions": status.versions,
                "liveKeys": status.live_keys,
                "digestChecked": status.has_digest,
            });
            if let (Some(value), Some(more)) = (value.as_object_mut(), more.as_object()) {
                value.extend(more.clone());
            }
            crate::output::structured::json(&value)?
        }
        WriteOut::Table => {
            let mut table = Table::new(&[
                "HASH",
                "REVISION",
                "TOTAL KEYS",
                "LIVE KEYS",
                "TOTAL SIZE",
                "STORAGE VERSION",
            ]);
            table.row(&[
                format!("{:x}", status.hash).as_str(),
                &status.revision.to_string(),
                &keys.to_string(),
                &live,
                &size.to_string(),
                &status.version,
            ]);
            table.to_string()
        }
    })
}

/// Looks at all of a snapshot and says what is wrong.
pub(super) async fn verify(args: &VerifyArgs, session: &Session) -> Result<Exit, Failure> {
    let report = match open(&args.source, session).await? {
        Source::Open(snapshot) => {
            let report = stoppable(session, move |stop| snapshot::verify(&snapshot, stop));
            report.await?
        }
        Source::Closed(closed) => {
            let (location, point) = *closed;
            let object = points::object_of(&point)?;
            location.check_point_object(object).await?;
            session.printer.note(&session.messages.etcd_not_opened());
            Report {
                levels: vec![Level::passed("object", object.size)],
            }
        }
    };
    match args.output {
        ReportFormat::Json => session.printer.json(&report)?,
        ReportFormat::Table => session.printer.result(&table(&report, session))?,
    }
    Ok(if report.is_good() {
        Exit::Done
    } else {
        Exit::VerificationFailed
    })
}

fn table(report: &Report, session: &Session) -> String {
    let mut table = Table::new(&["LEVEL", "RESULT", "CHECKED"]);
    let mut below = String::new();
    for level in &report.levels {
        let outcome = match level.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::NotDone => "not done",
        };
        table.row(&[level.name, outcome, &level.checked.to_string()]);
        for line in level.findings.iter().chain(&level.notices) {
            // Writing to a string cannot fail.
            let _ = writeln!(below, "{}: {line}", level.name);
        }
        if level.more_findings > 0 {
            let more = session.messages.etcd_more_findings(level.more_findings);
            let _ = writeln!(below, "{}: {more}", level.name);
        }
    }
    format!("{table}{below}")
}
