//! `backup-location get` and `check`.

use salvor_api::limits::TransferLimits;
use salvor_location::bucket::RuleFinding;
use salvor_location::{CheckReport, Severity};
use salvor_storage::Distance;
use salvor_text::{ByteCount, Table};
use serde::Serialize;

use super::phase;

/// One location as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LocationRow {
    /// Its name.
    pub(crate) name: String,
    /// The URL without its options.
    pub(crate) url: String,
    /// `aws`, `azure`, `gcp` as Velero's plugins are called, or `file`.
    pub(crate) provider: String,
    /// Bucket and prefix, or folder.
    pub(crate) bucket_and_prefix: String,
    /// `Available` or `Unavailable`.
    pub(crate) phase: String,
    /// When that was found out.
    pub(crate) last_validated: String,
    /// `ReadWrite` or `ReadOnly`.
    pub(crate) access_mode: String,
    /// True for the one that is used when none is named.
    pub(crate) default: bool,
    /// True when it does not survive the loss of what it protects.
    pub(crate) temporary: bool,
    /// True when its address says that it is somewhere else.
    pub(crate) off_site: bool,
    /// Endpoint of its store, where it is not the provider's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// How far it is, as far as the address tells.
    #[serde(skip)]
    pub(crate) distance: Distance,
    /// How fast it may be used, in words; empty for as fast as it goes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) limits: String,
    /// What its bucket does by itself, where that was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<String>,
    /// What its record says, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) record: Option<RecordRow>,
    /// Why it is not available.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
}

/// The record of a location as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecordRow {
    /// Identity of the location.
    pub(crate) id: String,
    /// Id of the location that it mirrors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mirror_of: Option<String>,
    /// Whether a key that was created twice was refused the second time.
    pub(crate) create_only: bool,
    /// Fingerprint of the key that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signed_by: Option<String>,
    /// Whether that key is pinned.
    pub(crate) pinned: bool,
    /// Fingerprints of those that sealed objects are encrypted to.
    pub(crate) recipients: Vec<String>,
}

/// Velero's columns; wide adds its URL.
pub(crate) fn table(
    rows: &[LocationRow],
    wide: bool,
    durability: impl Fn(Distance) -> String,
    color: bool,
) -> String {
    let mut headers = vec![
        "NAME",
        "PROVIDER",
        "BUCKET/PREFIX",
        "PHASE",
        "LAST VALIDATED",
        "ACCESS MODE",
        "DEFAULT",
        "KEPT",
    ];
    if wide {
        headers.push("URL");
    }
    let mut table = Table::new(&headers);
    for row in rows {
        let mut cells = vec![
            row.name.clone(),
            row.provider.clone(),
            row.bucket_and_prefix.clone(),
            phase(&row.phase, color),
            row.last_validated.clone(),
            row.access_mode.clone(),
            if row.default { "true" } else { "" }.to_owned(),
            durability(row.distance),
        ];
        if wide {
            cells.push(row.url.clone());
        }
        table.row(&cells);
    }
    table.to_string()
}

/// `upload 50 MiB/s, 20 requests/s`; empty when nothing is limited.
pub(crate) fn limits_text(limits: &TransferLimits) -> String {
    let TransferLimits {
        upload,
        download,
        requests,
        in_flight,
    } = limits;
    let rate = |what: &str, rate: &Option<u64>| rate.map(|n| format!("{what} {}/s", ByteCount(n)));
    let parts = [
        rate("upload", upload),
        rate("download", download),
        requests.map(|n| format!("{n} requests/s")),
        in_flight.map(|n| format!("{n} requests at once")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The steps of a check.
pub(crate) fn check(report: &CheckReport) -> String {
    let mut table = Table::new(&["STEP", "RESULT", "MESSAGE"]);
    for step in &report.steps {
        let (result, message) = match &step.problem {
            None => ("ok", ""),
            Some((severity, message)) => (severity_name(*severity), message.as_str()),
        };
        table.row(&[step.name, result, message]);
    }
    table.to_string()
}

/// What a bucket does by itself, one line each.
pub(crate) fn rule_lines(findings: &[RuleFinding]) -> Vec<String> {
    let line = |found: &RuleFinding| match found.severity {
        Severity::Info => format!("{}: {}", found.about, found.text),
        severity => format!(
            "{}: {}: {}",
            severity_name(severity),
            found.about,
            found.text
        ),
    };
    findings.iter().map(line).collect()
}

/// `error`, `warning` or `info`.
pub(crate) fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}
