//! `backup verify`.

use salvor_archive::findings::Severity as ArchiveSeverity;
use salvor_archive::limits::Limits;
use salvor_archive::names::BackupFile;
use salvor_location::{BackupRecord, Finding, Location, Severity, Verification};
use salvor_objects::source::{self, OpenError};
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
pub(crate) struct Report {
    backup: String,
    sound: bool,
    files: u64,
    bytes: u64,
    findings: Vec<ReportedFinding>,
    /// Objects that were read, in a backup without digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<u64>,
}

impl Report {
    /// An error with its causes.
    fn chain(error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
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
    let location = session
        .location_of(names.first().map(String::as_str))
        .await?;
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
            objects: None,
        })
        .collect();
    for record in records {
        if session.cancel.is_cancelled() {
            return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
        }
        reports.push(verify_and_record(&location, &record, session).await?);
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
        Format::Table | Format::Wide => {
            if reports.is_empty() {
                let text = session.messages.no_backups(location.name());
                session.printer.remark(&text);
            }
            show(&reports, session)?;
        }
    }
    Ok(if sound {
        Exit::Done
    } else {
        Exit::VerificationFailed
    })
}

/// Reads a backup, and writes down beside it what was found: from then on everybody knows.
pub(crate) async fn verify_and_record(
    location: &Location,
    record: &BackupRecord,
    session: &Session,
) -> Result<Report, Failure> {
    let report = verify(location, record).await?;
    let findings = report.findings.iter().map(|finding| Finding {
        severity: match finding.severity {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        },
        file: finding.file.clone(),
        message: finding.message.clone(),
    });
    let found = Verification {
        files: report.files,
        bytes: report.bytes,
        findings: findings.collect(),
    };
    // A copy that may only be read is verified all the same.
    if let Err(error) = location.record_verification(record, &found).await {
        let reason = Failure::from(error).chain();
        let text = session
            .messages
            .verdict_not_recorded(&report.backup, &reason);
        session.printer.note(&text);
    }
    Ok(report)
}

async fn verify(location: &Location, record: &BackupRecord) -> Result<Report, Failure> {
    let found = location.verify_files(record).await?;
    let mut report = Report {
        backup: record.name.to_string(),
        sound: found.is_sound(),
        files: found.files,
        bytes: found.bytes,
        findings: found.findings.into_iter().map(reported).collect(),
        objects: None,
    };
    if report.sound && report.files == 0 {
        read_through(location, record, &mut report).await?;
    }
    Ok(report)
}

/// A backup of Velero's has no digests to compare with. What can be said of it is whether its archive can
/// be read to the end, which the checksums of gzip decide.
async fn read_through(
    location: &Location,
    record: &BackupRecord,
    report: &mut Report,
) -> Result<(), Failure> {
    let file = BackupFile::Archive.name(&record.name);
    let mut add = |severity, message| {
        report.findings.push(ReportedFinding {
            severity,
            file: file.clone(),
            message,
        });
    };
    match source::open(location, record, Limits::default()).await {
        Ok(opened) => {
            let odd = opened.findings.iter().flat_map(|findings| &findings.list);
            for finding in odd.filter(|finding| finding.severity() > ArchiveSeverity::Info) {
                add("warning", finding.to_string());
            }
            report.objects = Some(opened.archive.index().object_count());
        }
        Err(
            error @ (OpenError::NoArchive { .. }
            | OpenError::Archive { .. }
            | OpenError::Damaged { .. }),
        ) => {
            add("error", Report::chain(&error));
            report.sound = false;
        }
        Err(error) => return Err(Failure::from(error)),
    }
    Ok(())
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
        let line = if let Some(objects) = report.objects {
            session.messages.backup_read(&report.backup, objects)
        } else if report.sound {
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
