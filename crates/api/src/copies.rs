//! Copies of a backup in other locations: what is asked for by annotation, and whether it is there.
//!
//! The rule counts copies, not the original: a backup is in its own location in any case. So `any` is one other
//! place, `all` every place that is named, `quorum` more than half of them, and a number is that many.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::go::GoDuration;
use crate::labels;
use crate::meta::StringMap;

/// How many of the copies that are asked for must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyRule {
    /// One.
    Any,
    /// Every one.
    #[default]
    All,
    /// More than half.
    Quorum,
    /// This many.
    AtLeast(u32),
}

impl CopyRule {
    /// How many of `asked` copies must be there.
    #[must_use]
    pub fn needed(self, asked: usize) -> usize {
        match self {
            Self::Any => 1,
            Self::All => asked,
            Self::Quorum => asked / 2 + 1,
            Self::AtLeast(count) => usize::try_from(count).unwrap_or(usize::MAX),
        }
    }
}

impl fmt::Display for CopyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::All => f.write_str("all"),
            Self::Quorum => f.write_str("quorum"),
            Self::AtLeast(count) => write!(f, "{count}"),
        }
    }
}

impl FromStr for CopyRule {
    type Err = CopyError;

    fn from_str(text: &str) -> Result<Self, CopyError> {
        match text.trim() {
            "any" => Ok(Self::Any),
            "all" => Ok(Self::All),
            "quorum" => Ok(Self::Quorum),
            number => match number.parse() {
                Ok(count) if count > 0 => Ok(Self::AtLeast(count)),
                _ => Err(CopyError::Rule(text.to_owned())),
            },
        }
    }
}

/// Annotations that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The rule is none.
    #[error("the rule of copies `{0}` is not any, all, quorum, or a number from 1")]
    Rule(String),
    /// The rule asks for more copies than there are locations.
    #[error("the rule asks for {needed} copies, and {asked} locations are named")]
    TooMany {
        /// Copies that the rule asks for.
        needed: usize,
        /// Locations that are named.
        asked: usize,
    },
    /// A duration is none.
    #[error("{key}: `{value}` is not a duration such as 720h")]
    Ttl {
        /// The annotation.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A rule or duration without locations.
    #[error("{0} is set, and {to} names no location", to = labels::COPY_TO)]
    NoLocation(&'static str),
}

/// How one copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyState {
    /// Not there, and tried or to be tried.
    Pending,
    /// There.
    Done,
    /// Not there, and no repetition brings it there.
    Failed,
}

/// How the copies of a backup stand under their rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStanding {
    /// Enough are there.
    Satisfied,
    /// Not yet enough.
    Pending,
    /// Never enough: too many failed for good.
    Failed,
}

impl fmt::Display for CopyStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Satisfied => "satisfied",
            Self::Pending => "pending",
            Self::Failed => "failed",
        })
    }
}

/// Copies that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyRequest {
    /// Names of the locations, each once, in the order given.
    pub to: Vec<String>,
    /// How many must be there.
    pub rule: CopyRule,
    /// How long the copies are kept; as the original when absent, for good when zero.
    pub ttl: Option<GoDuration>,
}

impl CopyRequest {
    /// A request for copies.
    ///
    /// # Errors
    /// [`CopyError::TooMany`].
    pub fn new(to: &[String], rule: CopyRule, ttl: Option<GoDuration>) -> Result<Self, CopyError> {
        let mut each: Vec<String> = Vec::new();
        for name in to.iter().map(|name| name.trim()) {
            if !name.is_empty() && !each.iter().any(|known| known == name) {
                each.push(name.to_owned());
            }
        }
        let (needed, asked) = (rule.needed(each.len()), each.len());
        if needed > asked && asked > 0 {
            return Err(CopyError::TooMany { needed, asked });
        }
        Ok(Self {
            to: each,
            rule,
            ttl,
        })
    }

    /// What the annotations of a backup or schedule ask for; `None` when it is nothing.
    ///
    /// # Errors
    /// [`CopyError`]: they cannot be read.
    pub fn of(annotations: &StringMap) -> Result<Option<Self>, CopyError> {
        let get = |key: &str| annotations.get(key).map(|value| value.trim());
        let to: Vec<String> = get(labels::COPY_TO)
            .unwrap_or_default()
            .split(',')
            .map(str::to_owned)
            .collect();
        let rule = get(labels::COPY_RULE).filter(|rule| !rule.is_empty());
        let ttl = get(labels::COPY_TTL).filter(|ttl| !ttl.is_empty());
        let parsed = match ttl {
            None => None,
            Some(ttl) => Some(ttl.parse::<GoDuration>().map_err(|_| CopyError::Ttl {
                key: labels::COPY_TTL,
                value: ttl.to_owned(),
            })?),
        };
        let request = Self::new(&to, rule.map_or(Ok(CopyRule::All), str::parse)?, parsed)?;
        if !request.to.is_empty() {
            return Ok(Some(request));
        }
        match (rule, ttl) {
            (Some(_), _) => Err(CopyError::NoLocation(labels::COPY_RULE)),
            (_, Some(_)) => Err(CopyError::NoLocation(labels::COPY_TTL)),
            (None, None) => Ok(None),
        }
    }

    /// The annotations that ask for this.
    #[must_use]
    pub fn annotations(&self) -> StringMap {
        let mut annotations = StringMap::new();
        if self.to.is_empty() {
            return annotations;
        }
        annotations.insert(labels::COPY_TO.to_owned(), self.to.join(","));
        if self.rule != CopyRule::All {
            annotations.insert(labels::COPY_RULE.to_owned(), self.rule.to_string());
        }
        if let Some(ttl) = self.ttl {
            annotations.insert(labels::COPY_TTL.to_owned(), ttl.to_string());
        }
        annotations
    }

    /// How the copies stand: `states` by location; one that is not in it is pending.
    #[must_use]
    pub fn judge(&self, states: &BTreeMap<String, CopyState>) -> CopyStanding {
        let count = |wanted: CopyState| {
            let state =
                |name: &&String| states.get(*name).copied().unwrap_or(CopyState::Pending) == wanted;
            self.to.iter().filter(state).count()
        };
        let needed = self.rule.needed(self.to.len());
        if count(CopyState::Done) >= needed {
            CopyStanding::Satisfied
        } else if self.to.len() - count(CopyState::Failed) < needed {
            CopyStanding::Failed
        } else {
            CopyStanding::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(rule: &str, of: usize) -> CopyRequest {
        let to: Vec<String> = (0..of).map(|n| format!("l{n}")).collect();
        CopyRequest::new(&to, rule.parse().expect("a rule"), None).expect("possible")
    }

    #[test]
    fn a_rule_counts_the_copies_that_are_there_and_those_that_may_still_come() {
        use CopyStanding::{Failed, Pending, Satisfied};
        for (rule, states, standing) in [
            ("any", "---", Pending),
            ("any", "xx-", Pending),
            ("any", "xxx", Failed),
            ("any", "x+-", Satisfied),
            ("all", "++-", Pending),
            ("all", "+++", Satisfied),
            ("all", "++x", Failed),
            ("quorum", "+--", Pending),
            ("quorum", "++x", Satisfied),
            ("quorum", "xx+", Failed),
            ("quorum", "++--", Pending),
            ("2", "+x+", Satisfied),
            ("2", "+xx", Failed),
        ] {
            let state = |(n, c): (usize, char)| {
                let state = match c {
                    '+' => CopyState::Done,
                    'x' => CopyState::Failed,
                    _ => CopyState::Pending,
                };
                (format!("l{n}"), state)
            };
            let map = states.chars().enumerate().map(state).collect();
            let request = request(rule, states.len());
            assert_eq!(request.judge(&map), standing, "{rule} {states}");
        }
        assert_eq!(request("any", 2).judge(&BTreeMap::new()), Pending);
    }

    #[test]
    fn annotations_say_what_is_asked_for_and_what_cannot_be_is_refused() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            CopyRequest::of(&pairs.collect())
        };
        let (to, rule, ttl) = (labels::COPY_TO, labels::COPY_RULE, labels::COPY_TTL);
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[(to, " , ")]), Ok(None));
        let read = of(&[(to, "a, b,a"), (rule, "quorum"), (ttl, "48h")]);
        let read = read.expect("readable").expect("asked for");
        assert_eq!((read.to.len(), read.rule), (2, CopyRule::Quorum));
        assert_eq!(CopyRequest::of(&read.annotations()), Ok(Some(read)));
        for bad in [
            &[(to, "a"), (rule, "most")] as &[_],
            &[(to, "a"), (rule, "0")],
            &[(to, "a"), (rule, "2")],
            &[(to, "a"), (ttl, "soon")],
            &[(rule, "all")],
            &[(ttl, "1h")],
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
