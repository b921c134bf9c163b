//! What the rules of a bucket mean for the backups in it. A lifecycle that deletes what is alive is found before
//! it has deleted anything, not on the day when the backup is needed.

use salvor_storage::bucket::{DefaultRetention, is_cold_class};
use salvor_storage::{BucketRules, Known, LifecycleRule, Versioning};

use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::verify::Severity;

/// A rule of the bucket, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFinding {
    /// `versioning`, `lifecycle` or `default retention`.
    pub about: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What the rule is and what follows from it.
    pub text: String,
}

/// Fewer days than this may end the upload of a run that is still at work.
const SHORTEST_UPLOAD_DAYS: u64 = 2;

/// What a location's bucket does with it by itself, worst first within each kind.
#[must_use]
pub fn judge(rules: &BucketRules) -> Vec<RuleFinding> {
    let mut findings = vec![versioning(&rules.versioning)];
    findings.extend(lifecycle(&rules.lifecycle));
    findings.push(default_retention(&rules.default_retention));
    findings
}

fn finding(about: &'static str, severity: Severity, text: impl Into<String>) -> RuleFinding {
    RuleFinding {
        about,
        severity,
        text: text.into(),
    }
}

/// Why something is not known. It cannot be judged then, which is no fault of the location.
fn unknown<T>(about: &'static str, known: &Known<T>) -> RuleFinding {
    let text = match known {
        Known::Denied(right) => format!("not known: the right {right} is missing"),
        _ => "not known: the store does not tell".to_owned(),
    };
    finding(about, Severity::Info, text)
}

fn versioning(known: &Known<Versioning>) -> RuleFinding {
    const ABOUT: &str = "versioning";
    let text = match known.get() {
        None => return unknown(ABOUT, known),
        Some(Versioning::Enabled) => "on: what is deleted stays as an older version",
        Some(Versioning::Suspended) => "suspended: what is deleted from here on is gone",
        Some(Versioning::Off) => "off: what is deleted is gone",
    };
    finding(ABOUT, Severity::Info, text)
}

fn lifecycle(known: &Known<Vec<LifecycleRule>>) -> Vec<RuleFinding> {
    const ABOUT: &str = "lifecycle";
    let Some(rules) = known.get() else {
        return vec![unknown(ABOUT, known)];
    };
    let in_force = || rules.iter().filter(|rule| rule.enabled);
    let mut findings: Vec<RuleFinding> = in_force()
        .flat_map(of_rule)
        .map(|(severity, text)| finding(ABOUT, severity, text))
        .collect();
    if !in_force().any(|rule| rule.aborts_uploads.is_some()) {
        let text = "no rule gives up unfinished uploads: what killed runs leave is removed by the next writer of the \
                    same name only; AbortIncompleteMultipartUpload after 7 days removes all of it";
        findings.push(finding(ABOUT, Severity::Info, text));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// What one rule that is in force does here.
fn of_rule(rule: &LifecycleRule) -> Vec<(Severity, String)> {
    let what = what_it_meets(&rule.prefix);
    let name = format!("rule `{}`", rule.id);
    let mut said = Vec::new();
    if let Some(when) = &rule.expires {
        said.push(match rule.tagged {
            false => (
                Severity::Error,
                format!(
                    "{name} deletes {what} {when}, whether backups still need it or not: take this location's \
                     prefix out of it; what is kept is decided by TTL and retention"
                ),
            ),
            // Salvor writes no tags; Velero does when it is told to.
            true => (
                Severity::Warning,
                format!("{name} deletes what is tagged {when}: tag nothing in this location"),
            ),
        });
    }
    for (class, when) in &rule.moves {
        said.push(match is_cold_class(class) && !rule.tagged {
            true => (
                Severity::Error,
                format!(
                    "{name} moves {what} to {class} {when}: the records of a backup can then not be read, and the \
                     backup is lost from every list; archive by `archive=` of the retention instead"
                ),
            ),
            false => (
                Severity::Info,
                format!("{name} moves {what} to {class} {when}"),
            ),
        });
    }
    if let Some(days) = rule.aborts_uploads {
        said.push(match days < SHORTEST_UPLOAD_DAYS {
            true => (
                Severity::Warning,
                format!("{name} gives up uploads after {days} day: a longer run fails; use 7 days"),
            ),
            false => (
                Severity::Info,
                format!("{name} gives up unfinished uploads after {days} days"),
            ),
        });
    }
    if let Some(days) = rule.expires_old_versions {
        said.push((
            Severity::Info,
            format!("{name} deletes older versions after {days} days"),
        ));
    }
    said
}

/// What of a location has keys that begin with `prefix`.
fn what_it_meets(prefix: &str) -> String {
    let private = format!("{}/", layout::PRIVATE);
    match prefix {
        "" => "everything in this location".to_owned(),
        prefix if private.starts_with(prefix) || prefix.starts_with(&private) => {
            format!("`{prefix}`, where claims, holds and records are,")
        }
        prefix => format!("`{prefix}`"),
    }
}

fn default_retention(known: &Known<Option<DefaultRetention>>) -> RuleFinding {
    const ABOUT: &str = "default retention";
    let Some(retention) = known.get() else {
        return unknown(ABOUT, known);
    };
    match retention {
        None => finding(ABOUT, Severity::Info, "none"),
        Some(DefaultRetention { mode, period }) => finding(
            ABOUT,
            Severity::Error,
            format!(
                "every new object is locked for {period} ({mode}), claims and probes too: what they leave cannot be \
                 removed, and expired backups stay; take the default away and lock per object"
            ),
        ),
    }
}

impl Location {
    /// What the bucket does by itself with this location, judged. Empty where no store is known to have such rules.
    ///
    /// # Errors
    /// The store fails.
    pub async fn bucket_findings(&self) -> Result<Vec<RuleFinding>> {
        let doing = || format!("read the rules of the bucket of location `{}`", self.name());
        let rules = self.store.rules().await;
        let rules = rules.map_err(|error| Error::store(doing())(error))?;
        Ok(rules.map(|rules| judge(&rules)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &[LifecycleRule]) -> BucketRules {
        BucketRules {
            versioning: Known::Is(Versioning::Enabled),
            lifecycle: Known::Is(rules.to_vec()),
            default_retention: Known::Is(None),
        }
    }

    fn rule(prefix: &str, change: impl FnOnce(&mut LifecycleRule)) -> LifecycleRule {
        let mut rule = LifecycleRule {
            id: "r".to_owned(),
            enabled: true,
            prefix: prefix.to_owned(),
            ..LifecycleRule::default()
        };
        change(&mut rule);
        rule
    }

    fn worst(rules: &BucketRules) -> Severity {
        let judged = judge(rules);
        judged.iter().map(|f| f.severity).max().expect("findings")
    }

    #[test]
    fn what_would_lose_or_hide_backups_is_an_error_and_the_rest_is_not() {
        let expires = |rule: &mut LifecycleRule| rule.expires = Some("after 30 days".to_owned());
        let moves = |class: &'static str| {
            move |rule: &mut LifecycleRule| {
                rule.moves
                    .push((class.to_owned(), "after 5 days".to_owned()));
            }
        };
        let cases = [
            (rule("", expires), Severity::Error),
            (rule("backups/", expires), Severity::Error),
            (rule("plugins/salvor/claims/", expires), Severity::Error),
            (
                rule("", |rule| {
                    expires(rule);
                    rule.tagged = true;
                }),
                Severity::Warning,
            ),
            (
                rule("", |rule| {
                    expires(rule);
                    rule.enabled = false;
                }),
                Severity::Info,
            ),
            (rule("", moves("GLACIER")), Severity::Error),
            (rule("backups/", moves("DEEP_ARCHIVE")), Severity::Error),
            (rule("", moves("STANDARD_IA")), Severity::Info),
            (rule("", moves("GLACIER_IR")), Severity::Info),
            (
                rule("", |rule| rule.aborts_uploads = Some(1)),
                Severity::Warning,
            ),
            (
                rule("", |rule| rule.aborts_uploads = Some(7)),
                Severity::Info,
            ),
            (
                rule("", |rule| rule.expires_old_versions = Some(90)),
                Severity::Info,
            ),
        ];
        for (rule, severity) in cases {
            assert_eq!(
                worst(&rules(std::slice::from_ref(&rule))),
                severity,
                "{rule:?}"
            );
        }
        assert_eq!(worst(&rules(&[])), Severity::Info);
    }

    #[test]
    fn a_default_lock_is_an_error_and_what_is_not_known_is_said() {
        let locked = BucketRules {
            default_retention: Known::Is(Some(DefaultRetention {
                mode: "COMPLIANCE".to_owned(),
                period: "30 days".to_owned(),
            })),
            ..rules(&[])
        };
        assert_eq!(worst(&locked), Severity::Error);
        let unknown = BucketRules {
            versioning: Known::Unsupported,
            lifecycle: Known::Denied("s3:GetLifecycleConfiguration"),
            default_retention: Known::Unsupported,
        };
        let judged = judge(&unknown);
        assert_eq!(worst(&unknown), Severity::Info);
        let texts: Vec<&str> = judged.iter().map(|f| f.text.as_str()).collect();
        assert!(
            texts[1].contains("s3:GetLifecycleConfiguration"),
            "{texts:?}"
        );
    }
}
