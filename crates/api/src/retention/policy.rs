//! Policies: what to keep, and how it is written down.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::archive::Archive;
use crate::labels;
use crate::meta::StringMap;

/// How many of something are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(u32);

impl Count {
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);

    /// This many.
    #[must_use]
    pub const fn new(count: u32) -> Self {
        Self(count)
    }

    /// The number; that of [`Count::ALL`] is larger than any number of backups.
    #[must_use]
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => f.write_str("all"),
            Self(count) => write!(f, "{count}"),
        }
    }
}

/// A length of time in hours, days, weeks and years: `14d`, `1y2w`. A day has 24 hours, a year 365 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(u64);

const UNITS: [(char, u64); 4] = [('y', 365 * 24), ('w', 7 * 24), ('d', 24), ('h', 1)];

impl Span {
    /// This many hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self(hours)
    }

    /// The same as a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.saturating_mul(3600))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0h");
        }
        for (unit, hours) in UNITS {
            if rest / hours > 0 {
                write!(f, "{}{unit}", rest / hours)?;
            }
            rest %= hours;
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is no length of time: write hours, days, weeks or years, such as 36h, 14d, 2w, 1y"
            )
        };
        let mut hours: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let (number, tail) = rest.split_at(unit_at);
            let number: u64 = number.parse().map_err(|_| bad())?;
            let mut tail = tail.chars();
            let unit = tail.next();
            let (_, scale) = UNITS
                .into_iter()
                .find(|(name, _)| Some(*name) == unit)
                .ok_or_else(bad)?;
            hours = number
                .checked_mul(scale)
                .and_then(|more| hours.checked_add(more))
                // Three centuries: what Go's durations hold.
                .filter(|hours| *hours <= 300 * 365 * 24)
                .ok_or_else(bad)?;
            rest = tail.as_str();
        }
        if text.is_empty() {
            Err(bad())
        } else {
            Ok(Self(hours))
        }
    }
}

/// What is kept of a series. A backup stays when any rule keeps it.
///
/// Written `last=3,daily=7,weekly=4,within=14d`, see [`Policy::from_str`].
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The newest ones.
    pub last: Count,
    /// The newest one of each of the newest hours that have one.
    pub hourly: Count,
    /// The same by day.
    pub daily: Count,
    /// The same by ISO week, which begins on Monday.
    pub weekly: Count,
    /// The same by month.
    pub monthly: Count,
    /// The same by year.
    pub yearly: Count,
    /// All that are younger than this.
    pub within: Option<Span>,
    /// When those that stay are moved to a colder storage class.
    pub archive: Option<Archive>,
    /// How long failed backups stay, for their logs. They are never counted.
    pub failed: Span,
    /// The clock that says where hours, days, weeks, months and years begin.
    pub zone: TimeZone,
}

/// How long failed backups stay when the policy does not say.
const FAILED: Span = Span::from_hours(7 * 24);

impl Default for Policy {
    fn default() -> Self {
        Self {
            last: Count::default(),
            hourly: Count::default(),
            daily: Count::default(),
            weekly: Count::default(),
            monthly: Count::default(),
            yearly: Count::default(),
            within: None,
            archive: None,
            failed: FAILED,
            zone: TimeZone::UTC,
        }
    }
}

/// Why a policy was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A part that is not `name=value`.
    #[error("`{0}` is not of the form name=value, such as daily=7")]
    Form(String),
    /// A name that no rule has.
    #[error(
        "`{0}` is no rule: use last, hourly, daily, weekly, monthly, yearly, within, archive, failed or zone"
    )]
    Name(String),
    /// A rule that is given twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A value that its rule does not take.
    #[error("{name}: {reason}")]
    Value {
        /// The rule.
        name: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// No rule keeps anything.
    #[error(
        "it would keep nothing but the last good backup: give a count or a time, such as last=3"
    )]
    Empty,
    /// The annotation that holds it.
    #[error("annotation {key}")]
    Annotation {
        /// Key of the annotation.
        key: String,
        /// What is wrong with its value.
        #[source]
        source: Box<PolicyError>,
    },
}

impl FromStr for Policy {
    type Err = PolicyError;

    /// Reads `last=3,daily=7,weekly=4,within=14d`: rules in any order, each at most once, commas between
    /// them, blanks allowed. Counts are numbers or `all`; `within` and `failed` take a [`Span`]; `zone`
    /// takes an IANA name, `archive` an [`Archive`].
    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let mut policy = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| PolicyError::Form(part.to_owned()))?;
            let (name, value) = (name.trim(), value.trim());
            if seen.contains(&name) {
                return Err(PolicyError::Twice(name.to_owned()));
            }
            seen.push(name);
            policy.set(name, value)?;
        }
        let counts = [
            policy.last,
            policy.hourly,
            policy.daily,
            policy.weekly,
            policy.monthly,
            policy.yearly,
        ];
        let keeps = counts.iter().any(|count| *count > Count::default());
        if keeps || policy.within.is_some_and(|span| span > Span(0)) {
            Ok(policy)
        } else {
            Err(PolicyError::Empty)
        }
    }
}

impl Policy {
    fn set(&mut self, name: &str, value: &str) -> Result<(), PolicyError> {
        let wrong = |reason: String| PolicyError::Value {
            name: name.to_owned(),
            reason,
        };
        let count = || match value {
            "all" => Ok(Count::ALL),
            value => value
                .parse()
                .ok()
                .filter(|count| *count <= 100_000)
                .map(Count)
                .ok_or_else(|| {
                    wrong(format!(
                        "`{value}` is no number up to 100000, and not `all`"
                    ))
                }),
        };
        let span = || value.parse::<Span>().map_err(wrong);
        match name {
            "last" => self.last = count()?,
            "hourly" => self.hourly = count()?,
            "daily" => self.daily = count()?,
            "weekly" => self.weekly = count()?,
            "monthly" => self.monthly = count()?,
            "yearly" => self.yearly = count()?,
            "within" => self.within = Some(span()?),
            "archive" => self.archive = Some(value.parse().map_err(wrong)?),
            "failed" => self.failed = span()?,
            "zone" => {
                self.zone = match value {
                    "UTC" => TimeZone::UTC,
                    _ => TimeZone::get(value)
                        .map_err(|_| wrong(format!("time zone `{value}` is not known here")))?,
                };
            }
            _ => return Err(PolicyError::Name(name.to_owned())),
        }
        Ok(())
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            ("last", self.last),
            ("hourly", self.hourly),
            ("daily", self.daily),
            ("weekly", self.weekly),
            ("monthly", self.monthly),
            ("yearly", self.yearly),
        ];
        let mut parts: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count > Count::default())
            .map(|(name, count)| format!("{name}={count}"))
            .collect();
        parts.extend(self.within.map(|span| format!("within={span}")));
        parts.extend(
            self.archive
                .iter()
                .map(|archive| format!("archive={archive}")),
        );
        if self.failed != FAILED {
            parts.push(format!("failed={}", self.failed));
        }
        let zone = self.zone.iana_name().unwrap_or("UTC");
        if zone != "UTC" {
            parts.push(format!("zone={zone}"));
        }
        f.write_str(&parts.join(","))
    }
}

/// The policy that annotations of a schedule (or backup) state for a location: the one for that location,
/// else the one for all; `None` when there is neither, and expiration decides.
///
/// # Errors
/// The annotation that applies cannot be read. Nothing may be removed then.
pub fn policy_for(annotations: &StringMap, location: &str) -> Result<Option<Policy>, PolicyError> {
    let own = labels::retention_at(location);
    let found = [own.as_str(), labels::RETENTION]
        .into_iter()
        .find_map(|key| Some((key, annotations.get(key)?)));
    let Some((key, text)) = found else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|source| PolicyError::Annotation {
            key: key.to_owned(),
            source: Box::new(source),
        })
}
