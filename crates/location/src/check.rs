//! Does a location do what a backup needs? Each right is tried, never asked about.

use std::os::unix::fs::PermissionsExt as _;

use bytes::Bytes;
use futures::TryStreamExt as _;
use salvor_storage::{GetOptions, PutMode};

use crate::claim::read_small;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::run::RunId;
use crate::verify::Severity;

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckStep {
    /// What was tried: `read`, `write`, ...
    pub name: &'static str,
    /// Absent when it worked.
    pub problem: Option<(Severity, String)>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// In the order in which they were tried.
    pub steps: Vec<CheckStep>,
}

impl CheckReport {
    /// True when backups can be written and read.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self
            .steps
            .iter()
            .any(|step| matches!(step.problem, Some((Severity::Error, _))))
    }

    fn ok(&mut self, name: &'static str) {
        self.steps.push(CheckStep {
            name,
            problem: None,
        });
    }

    fn problem(&mut self, name: &'static str, severity: Severity, text: impl Into<String>) {
        self.steps.push(CheckStep {
            name,
            problem: Some((severity, text.into())),
        });
    }

    /// Records an attempt; true when it worked.
    fn tried<T>(
        &mut self,
        name: &'static str,
        outcome: Result<T, salvor_storage::Error>,
    ) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.ok(name);
                Some(value)
            }
            Err(error) => {
                let advice = error.advice();
                let hint = if advice.is_empty() {
                    String::new()
                } else {
                    format!("; {advice}")
                };
                self.problem(name, Severity::Error, format!("{error}{hint}"));
                None
            }
        }
    }
}

impl Location {
    /// Tries everything that a backup needs below `plugins/salvor/probe/`, and cleans up after itself.
    ///
    /// # Errors
    /// Never for a location that lacks something: that is in the report.
    pub async fn check(&self) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let listing = self.store.list_folder("").await;
        if let Some(root) = report.tried("list", listing) {
            let foreign: Vec<&str> = root
                .folders
                .iter()
                .map(String::as_str)
                .filter(|name| !layout::VELERO_FOLDERS.contains(name))
                .take(3)
                .collect();
            if !foreign.is_empty() {
                report.problem(
                    "layout",
                    Severity::Warning,
                    format!(
                        "folders that Velero does not accept here: {}; it will call the location unavailable",
                        foreign.join(", ")
                    ),
                );
            }
        }
        match self.record().await {
            Ok(_) => report.ok("format"),
            Err(error @ Error::NewerFormat { .. }) => {
                report.problem("format", Severity::Error, error.to_string());
                return Ok(report);
            }
            Err(error) => report.problem("format", Severity::Error, with_cause(&error)),
        }
        self.check_trust(&mut report).await;
        self.check_bucket(&mut report).await;
        if self.profile().read_only {
            report.problem(
                "write",
                Severity::Info,
                "the location is read-only: nothing was written",
            );
            return Ok(report);
        }
        self.check_writes(&mut report).await;
        self.check_permissions(&mut report).await;
        Ok(report)
    }

    /// Whether the records are what the configuration pins.
    async fn check_trust(&self, report: &mut CheckReport) {
        // What cannot be read was said already.
        let Ok(records) = self.records_of_location().await else {
            return;
        };
        let trusted = self.assert_trusted(&records);
        let compared = match &records.counting {
            Some(counting) => self.compare_recipients(&counting.record),
            None => Ok(()),
        };
        for outcome in [trusted, compared] {
            if let Err(error) = outcome {
                report.problem("record", Severity::Error, error.to_string());
            }
        }
        if records.counting.is_some() {
            for (file, why) in &records.passed_over {
                let text = format!(
                    "`{}/{file}` does not count: {why}",
                    layout::LOCATION_RECORDS
                );
                report.problem("record", Severity::Warning, text);
            }
        }
        let counts = records.counting.map(|counting| counting.record);
        match counts.and_then(|record| record.signature) {
            Some(signature) if !self.trust().verification_keys.is_empty() => {
                let text = format!("signed by key {}, which is pinned", signature.key);
                report.problem("record", Severity::Info, text);
            }
            Some(signature) => {
                let text = format!(
                    "signed by key {}, and no key is pinned: nobody looks whether it is the right one",
                    signature.key
                );
                report.problem("record", Severity::Info, text);
            }
            None => {}
        }
    }

    /// What the bucket does by itself. A store that does not answer says so in the steps that need it.
    async fn check_bucket(&self, report: &mut CheckReport) {
        match self.bucket_findings().await {
            Ok(findings) => {
                for found in findings {
                    report.problem(found.about, found.severity, found.text);
                }
            }
            Err(error) => {
                report.problem("bucket rules", Severity::Warning, with_cause(&error));
            }
        }
    }

    async fn check_writes(&self, report: &mut CheckReport) {
        let run = RunId::generate();
        let folder = format!("{}/probe/{run}", layout::PRIVATE);
        let key = layout::key(format!("{folder}/object"));
        let body = Bytes::from_static(b"written by a check of this location");
        let put = self.store.put(&key, body.clone(), PutMode::Overwrite).await;
        if report.tried("write", put).is_none() {
            return;
        }
        if let Some(found) = report.tried("read", read_small(&self.store, &key, 1024).await)
            && found != body
        {
            report.problem(
                "read",
                Severity::Error,
                "other bytes came back than were written",
            );
        }
        let range = GetOptions {
            range: Some(8..10),
            version: None,
        };
        let part = async { self.store.get(&key, range).await?.bytes(16).await };
        if let Some(part) = report.tried("read a range", part.await)
            && part != body.slice(8..10)
        {
            report.problem(
                "read a range",
                Severity::Error,
                "other bytes came back than asked for",
            );
        }
        let listed = async {
            let found: Vec<_> = self.store.list(&folder).await?.try_collect().await?;
            Ok(found
                .iter()
                .any(|info: &salvor_storage::ObjectInfo| info.key == key))
        };
        if report.tried("list what was written", listed.await) == Some(false) {
            report.problem(
                "list what was written",
                Severity::Error,
                "the object that was just written is not in the listing",
            );
        }
        self.check_create_only(report, &run).await;
        self.sweep_leftovers(report).await;
        report.tried("delete", self.store.delete(&key).await);
        if let Ok(true) = self.store.head(&key).await.map(|_| true) {
            report.problem(
                "delete",
                Severity::Warning,
                "the object is still there after its deletion: it may be under a retention rule",
            );
        }
    }

    async fn check_create_only(&self, report: &mut CheckReport, run: &RunId) {
        let twice = self.probe_create_only(run).await;
        let at_once = match &twice {
            Ok(true) if !self.store.excludes() => self.race_create_only(run).await,
            _ => Ok(true),
        };
        if let Ok(excludes) = &twice {
            match self.note_create_only(*excludes).await {
                Ok(false) => {}
                Ok(true) => report.problem(
                    "create only",
                    Severity::Info,
                    "the location's record said otherwise; it was renewed",
                ),
                Err(error) => report.problem("create only", Severity::Warning, with_cause(&error)),
            }
        }
        match (twice, at_once) {
            (Ok(true), Ok(true)) => report.ok("create only"),
            (Ok(false), _) => report.problem(
                "create only",
                Severity::Warning,
                "creating one key twice succeeded twice: the store does not honour conditional writes, so \
                 only one writer at a time may use this location",
            ),
            (_, Ok(false)) => report.problem(
                "create only",
                Severity::Warning,
                "several writers that created one key at the same moment succeeded: writers of one name \
                 have to announce themselves and wait, and better only one at a time uses this location",
            ),
            (Err(error), _) | (_, Err(error)) => {
                report.problem("create only", Severity::Error, with_cause(&error));
            }
        }
    }

    async fn sweep_leftovers(&self, report: &mut CheckReport) {
        match self.sweep().await {
            Ok(0) => {}
            Ok(swept) => report.problem(
                "leftovers",
                Severity::Info,
                format!("{swept} temporary files of crashed writers were removed"),
            ),
            Err(error) => report.problem("leftovers", Severity::Warning, with_cause(&error)),
        }
        // A folder that holds nothing yet stays empty.
        if let Ok(Some(_)) = self.record().await {
            self.keep_reserve().await;
        }
    }

    /// Others must not be able to read backups: they hold every Secret of the cluster.
    async fn check_permissions(&self, report: &mut CheckReport) {
        let Some(root) = self.store.local_root() else {
            return;
        };
        let mode = tokio::fs::metadata(&root)
            .await
            .map(|m| m.permissions().mode() & 0o777);
        match mode {
            Ok(mode) if mode & 0o077 != 0 => report.problem(
                "permissions",
                Severity::Warning,
                format!(
                    "{} has mode {mode:04o}: others on this machine can look into it; run `chmod 700 {}`",
                    root.display(),
                    root.display()
                ),
            ),
            Ok(_) => report.ok("permissions"),
            Err(error) => report.problem("permissions", Severity::Warning, error.to_string()),
        }
    }
}

/// An error with its cause, which says what the store answered.
fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
