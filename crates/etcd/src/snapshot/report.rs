//! What a verification found.

use serde::Serialize;

/// Findings of one kind that are kept; the rest is counted.
const MOST: usize = 20;

/// How a level ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All is as it should be.
    Passed,
    /// Something is not.
    Failed,
    /// It could not be looked at: there is no digest, or a level before it failed.
    NotDone,
}

/// One level of a verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    /// Which: `digest`, `pages`, `revisions`, `rows`; of a point that is not opened `object`.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How many were looked at: bytes, pages, versions, rows.
    pub checked: u64,
    /// What is wrong.
    pub findings: Vec<String>,
    /// Findings that are not listed.
    pub more_findings: u64,
    /// What is unusual but not wrong.
    pub notices: Vec<String>,
}

impl Level {
    /// A level at which all was as it should be.
    #[must_use]
    pub fn passed(name: &'static str, checked: u64) -> Self {
        Self {
            checked,
            ..Self::new(name)
        }
    }

    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            outcome: Outcome::Passed,
            checked: 0,
            findings: Vec::new(),
            more_findings: 0,
            notices: Vec::new(),
        }
    }

    pub(super) fn fail(&mut self, finding: impl Into<String>) {
        self.outcome = Outcome::Failed;
        if self.findings.len() < MOST {
            self.findings.push(finding.into());
        } else {
            self.more_findings += 1;
        }
    }

    pub(super) fn notice(&mut self, notice: impl Into<String>) {
        if self.notices.len() < MOST {
            self.notices.push(notice.into());
        }
    }
}

/// All levels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order in which they were looked at.
    pub levels: Vec<Level>,
}

impl Report {
    /// True when nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.levels
            .iter()
            .all(|level| level.outcome != Outcome::Failed)
    }

    /// A level by its name.
    #[must_use]
    pub fn level(&self, name: &str) -> Option<&Level> {
        self.levels.iter().find(|level| level.name == name)
    }
}
