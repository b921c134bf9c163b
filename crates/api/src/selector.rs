//! Label selectors: the structured form of the kinds and the text form of `-l`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::meta::{LabelSelector, LabelSelectorRequirement, StringMap};

/// A selector compiled for matching. An empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In {
        key: String,
        values: BTreeSet<String>,
    },
    NotIn {
        key: String,
        values: BTreeSet<String>,
    },
    Exists {
        key: String,
    },
    DoesNotExist {
        key: String,
    },
}

/// Why a selector was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label selector `{selector}` is not valid: {reason}")]
pub struct SelectorError {
    /// The selector as given, or the key of the structured requirement.
    pub selector: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Selector {
    /// Parses `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    ///
    /// # Errors
    /// The text is not in that grammar.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let refuse = |reason: &str| SelectorError {
            selector: text.to_owned(),
            reason: reason.to_owned(),
        };
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text).map_err(|reason| refuse(&reason))? {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    break;
                }
                return Err(refuse("a requirement between two commas is empty"));
            }
            requirements.push(parse_requirement(part).map_err(|reason| refuse(&reason))?);
        }
        Ok(Self { requirements })
    }

    /// Compiles the structured form.
    ///
    /// # Errors
    /// An unknown operator, values that do not fit the operator, or a key or value that is none: as text it
    /// might select something else.
    pub fn compile(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let checked = |key: &str, values: &mut dyn Iterator<Item = &String>| {
            let key_of = |reason| SelectorError {
                selector: key.to_owned(),
                reason,
            };
            if key.trim() != key {
                return Err(key_of("a key has no spaces".to_owned()));
            }
            check_key(key).map_err(key_of)?;
            for value in values {
                if check_value(value).map_err(key_of)? != *value {
                    return Err(key_of(format!("`{value}` has spaces")));
                }
            }
            Ok(())
        };
        let mut requirements = Vec::new();
        for (key, value) in &selector.match_labels {
            checked(key, &mut std::iter::once(value))?;
            requirements.push(Requirement::In {
                key: key.clone(),
                values: BTreeSet::from([value.clone()]),
            });
        }
        for LabelSelectorRequirement {
            key,
            operator,
            values,
        } in &selector.match_expressions
        {
            let refuse = |reason: &str| SelectorError {
                selector: key.clone(),
                reason: reason.to_owned(),
            };
            checked(key, &mut values.iter())?;
            let set: BTreeSet<String> = values.iter().cloned().collect();
            let key = key.clone();
            requirements.push(match operator.as_str() {
                "In" if !set.is_empty() => Requirement::In { key, values: set },
                "NotIn" if !set.is_empty() => Requirement::NotIn { key, values: set },
                "In" | "NotIn" => return Err(refuse("In and NotIn need at least one value")),
                "Exists" if set.is_empty() => Requirement::Exists { key },
                "DoesNotExist" if set.is_empty() => Requirement::DoesNotExist { key },
                "Exists" | "DoesNotExist" => {
                    return Err(refuse("Exists and DoesNotExist take no values"));
                }
                _ => return Err(refuse("operator must be In, NotIn, Exists or DoesNotExist")),
            });
        }
        Ok(Self { requirements })
    }

    /// True when every requirement holds for `labels`.
    #[must_use]
    pub fn matches(&self, labels: &StringMap) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// As [`Selector::matches`], for labels that are not in a [`StringMap`].
    pub fn matches_with<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| match requirement {
                Requirement::In { key, values } => label(key).is_some_and(|v| values.contains(v)),
                Requirement::NotIn { key, values } => {
                    !label(key).is_some_and(|v| values.contains(v))
                }
                Requirement::Exists { key } => label(key).is_some(),
                Requirement::DoesNotExist { key } => label(key).is_none(),
            })
    }

    /// True when it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The `labelSelector` query parameter of the Kubernetes API.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut out = String::new();
        for requirement in &self.requirements {
            if !out.is_empty() {
                out.push(',');
            }
            let join = |values: &BTreeSet<String>| {
                values
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(",")
            };
            // Writing to a String cannot fail.
            let _ = match requirement {
                Requirement::In { key, values } if values.len() == 1 => {
                    write!(out, "{key}={}", join(values))
                }
                Requirement::In { key, values } => write!(out, "{key} in ({})", join(values)),
                Requirement::NotIn { key, values } if values.len() == 1 => {
                    write!(out, "{key}!={}", join(values))
                }
                Requirement::NotIn { key, values } => write!(out, "{key} notin ({})", join(values)),
                Requirement::Exists { key } => write!(out, "{key}"),
                Requirement::DoesNotExist { key } => write!(out, "!{key}"),
            };
        }
        out
    }

    /// The structured form, for a Backup's or Restore's spec.
    #[must_use]
    pub fn to_label_selector(&self) -> LabelSelector {
        let mut selector = LabelSelector::default();
        for requirement in &self.requirements {
            let (key, operator, values) = match requirement {
                // A map has one value per key; a second requirement on it must not replace the first.
                Requirement::In { key, values }
                    if values.len() == 1 && !selector.match_labels.contains_key(key) =>
                {
                    selector
                        .match_labels
                        .extend(values.iter().map(|v| (key.clone(), v.clone())));
                    continue;
                }
                Requirement::In { key, values } => (key, "In", Some(values)),
                Requirement::NotIn { key, values } => (key, "NotIn", Some(values)),
                Requirement::Exists { key } => (key, "Exists", None),
                Requirement::DoesNotExist { key } => (key, "DoesNotExist", None),
            };
            selector.match_expressions.push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.to_owned(),
                values: values
                    .map(|v| v.iter().cloned().collect())
                    .unwrap_or_default(),
            });
        }
        selector
    }
}

impl LabelSelector {
    /// The text that kubectl and Velero print for a selector; `<none>` when it is empty.
    #[must_use]
    pub fn display(&self) -> String {
        match Selector::compile(self) {
            Ok(selector) if selector.is_empty() => "<none>".to_owned(),
            Ok(selector) => selector.to_query(),
            Err(error) => format!("<error: {error}>"),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0u32);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or("`)` without `(`")?,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 {
        return Err("`(` is not closed".to_owned());
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn parse_requirement(part: &str) -> Result<Requirement, String> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::DoesNotExist {
            key: check_key(key)?,
        });
    }
    if let Some((key, value)) = part.split_once("!=") {
        let values = BTreeSet::from([check_value(value)?]);
        return Ok(Requirement::NotIn {
            key: check_key(key)?,
            values,
        });
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        let values = BTreeSet::from([check_value(value)?]);
        return Ok(Requirement::In {
            key: check_key(key)?,
            values,
        });
    }
    if let Some(open) = part.find('(') {
        let inside = part[open + 1..]
            .strip_suffix(')')
            .ok_or("a value list must end with `)`")?;
        let values = inside
            .split(',')
            .map(check_value)
            .collect::<Result<BTreeSet<_>, _>>()?;
        let mut words = part[..open].split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Ok(Requirement::In {
                key: check_key(key)?,
                values,
            }),
            (Some(key), Some("notin"), None) => Ok(Requirement::NotIn {
                key: check_key(key)?,
                values,
            }),
            _ => Err("a value list follows `in` or `notin`".to_owned()),
        };
    }
    Ok(Requirement::Exists {
        key: check_key(part)?,
    })
}

fn check_key(key: &str) -> Result<String, String> {
    let key = key.trim();
    let (prefix, name) = match key.rsplit_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let name_ok = !name.is_empty() && name.len() <= 63 && is_qualified(name);
    let prefix_ok = prefix.is_none_or(|p| crate::name::check_dns_subdomain("label", p).is_ok());
    if name_ok && prefix_ok {
        Ok(key.to_owned())
    } else {
        Err(format!("`{key}` is not a label key"))
    }
}

fn check_value(value: &str) -> Result<String, String> {
    let value = value.trim();
    if value.is_empty() || (value.len() <= 63 && is_qualified(value)) {
        Ok(value.to_owned())
    } else {
        Err(format!("`{value}` is not a label value"))
    }
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> StringMap {
        text.split(',')
            .filter(|p| !p.is_empty())
            .map(|p| p.split_once('=').expect("key=value"))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    #[test]
    fn matches_as_kubernetes_does() {
        for (selector, set, expected) in [
            ("", "", true),
            ("app=web", "app=web,tier=front", true),
            ("app==web", "app=db", false),
            ("app!=web", "", true),
            ("app!=web", "app=web", false),
            ("app in (web,db)", "app=db", true),
            ("app notin (web, db)", "app=db", false),
            ("app notin (web)", "", true),
            ("app", "app=", true),
            ("app", "tier=x", false),
            ("!app", "tier=x", true),
            ("example.com/app=x,!gone", "example.com/app=x", true),
            ("app=web,app=db", "app=db", false),
            ("app=web,app=db", "app=web", false),
            ("app in (web,db),app=db", "app=db", true),
        ] {
            let parsed = Selector::parse(selector).expect(selector);
            assert_eq!(
                parsed.matches(&labels(set)),
                expected,
                "{selector} on {set}"
            );
            let again = Selector::compile(&parsed.to_label_selector()).expect("structured form");
            assert_eq!(
                again.matches(&labels(set)),
                expected,
                "structured {selector} on {set}"
            );
            let asked = Selector::parse(&again.to_query()).expect("our own text");
            assert_eq!(asked.matches(&labels(set)), expected, "{selector} on {set}");
            assert_eq!(
                Selector::parse(&parsed.to_query()).as_ref(),
                Ok(&parsed),
                "{selector}"
            );
        }
    }

    #[test]
    fn refuses_malformed_selectors() {
        for bad in [
            "=x",
            "a=b=c",
            "a in b",
            "a in (b",
            "a)",
            "a,,b",
            "a within (b)",
            "a b",
            "-a=b",
            "a=b c",
        ] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
        let unknown = LabelSelector {
            match_expressions: vec![LabelSelectorRequirement {
                key: "a".into(),
                operator: "Near".into(),
                values: vec![],
            }],
            ..LabelSelector::default()
        };
        assert!(Selector::compile(&unknown).is_err());
        for (key, value) in [
            ("app", "web,tier=front"),
            ("app", "web) "),
            ("app", " web"),
            ("app,!gone", "web"),
            (" app", "web"),
            ("", "web"),
        ] {
            let as_label = LabelSelector {
                match_labels: [(key.to_owned(), value.to_owned())].into(),
                ..LabelSelector::default()
            };
            assert!(Selector::compile(&as_label).is_err(), "{key}={value}");
            let as_expression = LabelSelector {
                match_expressions: vec![LabelSelectorRequirement {
                    key: key.into(),
                    operator: "In".into(),
                    values: vec![value.into()],
                }],
                ..LabelSelector::default()
            };
            assert!(
                Selector::compile(&as_expression).is_err(),
                "{key} in {value}"
            );
        }
    }
}
