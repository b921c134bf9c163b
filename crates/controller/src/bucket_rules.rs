//! What the buckets of locations do by themselves: asked once an hour, told by an annotation of the location, which
//! `backup-location describe` shows, and by an Event when backups are in danger.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::velero::BackupStorageLocation;
use salvor_location::bucket::RuleFinding;
use salvor_location::{Location, Severity};

use crate::context::{Context, chain};
use crate::events::EventType;

/// Rules change rarely, and asking costs three requests.
const EVERY_SECONDS: i64 = 3600;
/// Longest text of the annotation; those of an object have 256 KiB together.
const LONGEST: usize = 16 << 10;

/// When the rules of each location were asked last.
#[derive(Debug, Default)]
pub(crate) struct BucketRules {
    asked: Mutex<BTreeMap<String, Time>>,
}

impl BucketRules {
    /// True when it is time to ask for the rules of a location.
    fn is_due(&self, name: &str, now: Time) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let due = asked
            .get(name)
            .is_none_or(|last| now.seconds_since(*last) >= EVERY_SECONDS);
        if due {
            asked.insert(name.to_owned(), now);
        }
        due
    }

    /// Asks when it is time; writes what was found into the annotations of `after`, and returns what is dangerous when
    /// that was not known before. What cannot be read changes nothing: the location itself works.
    pub(crate) async fn look(
        &self,
        context: &Context,
        location: &Location,
        after: &mut BackupStorageLocation,
    ) -> Option<String> {
        let name = after.metadata.name.clone();
        if !self.is_due(&name, context.now()) {
            return None;
        }
        let findings = match location.bucket_findings().await {
            Ok(findings) => findings,
            Err(error) => {
                tracing::warn!(
                    location = name,
                    reason = chain(&error),
                    "rules of the bucket"
                );
                return None;
            }
        };
        let annotations = &mut after.metadata.annotations;
        let known = annotations.remove(labels::BUCKET_RULES).unwrap_or_default();
        let told = text(&findings, Severity::Info);
        if !told.is_empty() {
            annotations.insert(labels::BUCKET_RULES.to_owned(), told);
        }
        let dangers = text(&findings, Severity::Error);
        let is_new = dangers
            .lines()
            .any(|danger| !known.lines().any(|line| line == danger));
        is_new.then_some(dangers)
    }
}

/// Findings of at least a severity, one line each.
fn text(findings: &[RuleFinding], least: Severity) -> String {
    let lines = findings
        .iter()
        .filter(|found| found.severity >= least)
        .map(|found| match found.severity {
            Severity::Error => format!("error: {}: {}", found.about, found.text),
            Severity::Warning => format!("warning: {}: {}", found.about, found.text),
            Severity::Info => format!("{}: {}", found.about, found.text),
        });
    let mut text = String::new();
    for line in lines {
        if text.len() + line.len() > LONGEST {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
    }
    text
}

/// Tells of rules that endanger backups.
pub(crate) fn tell(context: &Context, location: &BackupStorageLocation, dangers: String) {
    let reason = "BucketRuleDangerous";
    let name = &location.metadata.name;
    tracing::error!(
        location = name,
        dangers,
        "rules of the bucket endanger backups"
    );
    context
        .events
        .record(location, EventType::Warning, reason, dangers);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(severity: Severity, text: &str) -> RuleFinding {
        RuleFinding {
            about: "lifecycle",
            severity,
            text: text.to_owned(),
        }
    }

    #[test]
    fn findings_are_lines_and_never_too_many() {
        let few = [found(Severity::Error, "a"), found(Severity::Info, "b")];
        assert_eq!(
            text(&few, Severity::Info),
            "error: lifecycle: a\nlifecycle: b"
        );
        assert_eq!(text(&few, Severity::Error), "error: lifecycle: a");
        let many = vec![found(Severity::Error, &"x".repeat(500)); 1000];
        assert!(text(&many, Severity::Info).len() <= LONGEST);
    }

    #[test]
    fn rules_are_asked_once_an_hour_and_location() {
        let rules = BucketRules::default();
        let at = |text: &str| Time::new(text.parse().expect("a time"));
        assert!(rules.is_due("a", at("2026-01-01T00:00:00Z")));
        assert!(!rules.is_due("a", at("2026-01-01T00:59:59Z")));
        assert!(rules.is_due("b", at("2026-01-01T00:30:00Z")));
        assert!(rules.is_due("a", at("2026-01-01T01:00:00Z")));
    }
}
