//! `backup verify`.

use salvor_location::{BackupRecord, Finding, Location};
use salvor_text::{ByteCount, Table};
use serde::Serialize;

use crate::args::Format;
use crate::args::backup::VerifyArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::output::location_table::severity_name;
use crate::session::Session;

/// One backup's verification, as machines read it.
#[derive(Debug, Serialize)]
struct Report {
    backup: String,
    sound: bool,
    files: u64,
    bytes: u64,
    findings: Vec<ReportedFinding>,
}

#[derive(Debug, Serialize)]
struct ReportedFinding {
    severity: &'static str,
    file: String,
    message: String,
}

/// Reads every stored byte of backups and compares it with what was written.
pub(crate) async fn run(args: &VerifyArgs, session: &Session) -> Result<Exit, Failure> {
    let VerifyArgs { names, format } = args;
    let location = session.location(None)?;
    let (records, damaged) = read::backups(&location, names, None).await?;
    let mut reports: Vec<Report> = damaged
        .into_iter()
        .map(|entry| Report {
            backup: entry.name,
            sound: false,
            files: 0,
            bytes: 0,
            findings: vec![ReportedFinding {
                severity: "error",
                file: "velero-backup.json".to_owned(),
                message: entry.reason,
            }],
        })
        .collect();
    for record in records {
        if session.cancel.is_cancelled() {
            return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
        }
        reports.push(verify(&location, &record).await?);
    }
    reports.sort_by(|a, b| a.backup.cmp(&b.backup));
    let sound = reports.iter().all(|report| report.sound);
    match format.output {
        Format::Json => session.printer.json(&reports)?,
        Format::Yaml => session.printer.yaml(&reports)?,
        Format::Name => {
            for report in reports.iter().filter(|report| !report.sound) {
                session
                    .printer
                    .result(&format!("backup.velero.io/{}\n", report.backup))?;
            }
        }
        Format::Table | Format::Wide => show(&reports, session)?,
    }
    Ok(if sound {
        Exit::Done
    } else {
        Exit::VerificationFailed
    })
}

async fn verify(location: &Location, record: &BackupRecord) -> Result<Report, Failure> {
    let found = location.verify_files(record).await?;
    Ok(Report {
        backup: record.name.to_string(),
        sound: found.is_sound(),
        files: found.files,
        bytes: found.bytes,
        findings: found.findings.into_iter().map(reported).collect(),
    })
}

fn reported(finding: Finding) -> ReportedFinding {
    ReportedFinding {
        severity: severity_name(finding.severity),
        file: finding.file,
        message: finding.message,
    }
}

fn show(reports: &[Report], session: &Session) -> Result<(), Failure> {
    for report in reports {
        if !report.findings.is_empty() {
            let mut table = Table::new(&["BACKUP", "SEVERITY", "FILE", "MESSAGE"]);
            for finding in &report.findings {
                table.row(&[
                    report.backup.as_str(),
                    finding.severity,
                    &finding.file,
                    &finding.message,
                ]);
            }
            session.printer.result(&table.to_string())?;
        }
        let line = if report.sound {
            let size = ByteCount(report.bytes).to_string();
            session
                .messages
                .backup_verified(&report.backup, report.files, &size)
        } else {
            session
                .messages
                .backup_damaged(&report.backup, report.findings.len() as u64)
        };
        session.printer.result(&format!("{line}\n"))?;
    }
    Ok(())
}
