//! What a bucket does by itself with what lies in it, and in which tier an object is.

use jiff::Timestamp;

/// Rules of a bucket, as far as they could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketRules {
    /// Whether what is overwritten or deleted stays as an older version.
    pub versioning: Known<Versioning>,
    /// What is deleted or moved after some time. Prefixes are below the folder that was asked about.
    pub lifecycle: Known<Vec<LifecycleRule>>,
    /// What is put under a lock without being told to; `None` inside when nothing is.
    pub default_retention: Known<Option<DefaultRetention>>,
}

/// What was asked for, or why it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Known<T> {
    /// The answer.
    Is(T),
    /// The right to ask is missing: which one.
    Denied(&'static str),
    /// The store does not know the question.
    #[default]
    Unsupported,
}

impl<T> Known<T> {
    /// The answer, where there is one.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Denied(_) | Self::Unsupported => None,
        }
    }
}

/// Whether older versions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// They are.
    Enabled,
    /// Those that were kept stay, no further ones are.
    Suspended,
    /// They are not.
    Off,
}

/// One rule of a lifecycle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name.
    pub id: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// Which keys it is about: those that begin with this.
    pub prefix: String,
    /// Whether only objects with certain tags are meant.
    pub tagged: bool,
    /// When it deletes the newest version of an object, in words: `after 30 days`, `on 2027-01-01`.
    pub expires: Option<String>,
    /// When it deletes older versions, in days.
    pub expires_old_versions: Option<u64>,
    /// When it gives up unfinished uploads, in days.
    pub aborts_uploads: Option<u64>,
    /// To which storage classes it moves objects, and when, in words.
    pub moves: Vec<(String, String)>,
}

impl LifecycleRule {
    /// The rule as it is below `folder`, which ends in `/` or is empty; `None` when it is about other keys.
    #[must_use]
    pub fn below(&self, folder: &str) -> Option<Self> {
        let prefix = match self.prefix.strip_prefix(folder) {
            Some(rest) => rest.to_owned(),
            None if folder.starts_with(&self.prefix) => String::new(),
            None => return None,
        };
        Some(Self {
            prefix,
            ..self.clone()
        })
    }
}

/// A lock that every new object is put under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRetention {
    /// `COMPLIANCE` or `GOVERNANCE`.
    pub mode: String,
    /// For how long, in words: `30 days`.
    pub period: String,
}

impl BucketRules {
    /// The rules as they are below a folder of the bucket.
    #[must_use]
    pub fn below(self, folder: &str) -> Self {
        let lifecycle = match self.lifecycle {
            Known::Is(rules) => {
                Known::Is(rules.iter().filter_map(|rule| rule.below(folder)).collect())
            }
            other => other,
        };
        Self { lifecycle, ..self }
    }
}

/// Where a store keeps an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Storage class as the store calls it; empty for its ordinary one.
    pub class: String,
    /// Whether it can be read.
    pub access: Access,
}

/// Whether an object can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// At once.
    Now,
    /// At once, until then: it was thawed.
    Until(Option<Timestamp>),
    /// Once it is thawed, which was asked for.
    Thawing,
    /// Not before somebody asks for it to be thawed.
    Frozen,
}

impl Access {
    /// True when reading works now.
    #[must_use]
    pub fn is_readable(self) -> bool {
        matches!(self, Self::Now | Self::Until(_))
    }
}

/// True for S3's storage classes that must be thawed before they are read.
#[must_use]
pub fn is_cold_class(class: &str) -> bool {
    matches!(class, "GLACIER" | "DEEP_ARCHIVE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_seen_from_a_folder() {
        let rule = |prefix: &str| LifecycleRule {
            prefix: prefix.to_owned(),
            ..LifecycleRule::default()
        };
        for (prefix, folder, seen) in [
            ("", "", Some("")),
            ("", "a/b/", Some("")),
            ("a/", "a/b/", Some("")),
            ("a/b/", "a/b/", Some("")),
            ("a/b", "a/b/", Some("")),
            ("a/b/backups/", "a/b/", Some("backups/")),
            ("a/b2/", "a/b/", None),
            ("x", "a/b/", None),
        ] {
            let below = rule(prefix).below(folder);
            assert_eq!(
                below.map(|rule| rule.prefix).as_deref(),
                seen,
                "{prefix} in {folder}"
            );
        }
    }
}
