//! Reading cron expressions.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::go::GoDuration;

/// A schedule expression: five fields, a descriptor or an interval, with or without a time zone.
///
/// - Fields: minute, hour, day of month, month, day of week. Each is a list of `*`, `?` (the same),
///   `N`, `N-M`, with `/STEP` behind any of them; `N/STEP` runs to the end of the field. Months and days
///   of the week have English names of three letters. Sunday is `0`; `7` is refused.
/// - When day of month and day of week are both restricted, either may match. `*/2` counts as restricted.
/// - Descriptors: `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`, and
///   `@every DURATION`, which is cut to whole seconds and is at least one.
/// - `TZ=Zone/Name ` or `CRON_TZ=Zone/Name ` in front: the clock that the fields speak of. Without it, it
///   is the server's.
///
/// Unlike the original, an expression that never matches (`0 0 30 2 *`) and a negative interval are
/// refused: Velero takes the first and then starts a backup at every look.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    text: String,
    pub(super) zone: Option<TimeZone>,
    pub(super) rule: Rule,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rule {
    Fields(Fields),
    Every(Duration),
}

/// Which values of each field match: bit N for value N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) minute: u64,
    pub(super) hour: u64,
    pub(super) day: u64,
    pub(super) month: u64,
    pub(super) weekday: u64,
    /// Day of month or day of week has a star, so both must match.
    pub(super) both_days: bool,
}

/// Why an expression was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Nothing is there.
    #[error("the schedule is empty: give a cron expression such as `0 2 * * *` or `@daily`")]
    Empty,
    /// `TZ=` without a zone or without anything after it.
    #[error("`{0}` has a time zone but no schedule behind it: write `CRON_TZ=Zone/Name 0 2 * * *`")]
    ZoneOnly(String),
    /// The time zone database has no such zone.
    #[error(
        "time zone `{0}` is not known here: use a name of the IANA database such as `Europe/Berlin`, \
         and see that the machine has that database"
    )]
    Zone(String),
    /// `@something`.
    #[error(
        "`{0}` is no descriptor: use @yearly, @monthly, @weekly, @daily, @hourly or `@every 6h`"
    )]
    Descriptor(String),
    /// The interval of `@every`.
    #[error("@every: {0}")]
    Interval(String),
    /// Another number of fields than five.
    #[error(
        "`{text}` has {found} fields where five are needed: minute, hour, day of month, month, day of week"
    )]
    FieldCount {
        /// The expression without its time zone.
        text: String,
        /// How many fields it has.
        found: usize,
    },
    /// A field that cannot be read.
    #[error("{field} `{text}`: {reason}")]
    Field {
        /// Which field.
        field: &'static str,
        /// The field, or the part of it that is wrong.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No day matches, ever.
    #[error("`{0}` never runs: no month of it has such a day")]
    NeverRuns(String),
}

/// A field: its name, its values, the names of its values.
struct Bounds {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Bounds = Bounds {
    name: "minute",
    min: 0,
    max: 59,
    names: &[],
};
const HOUR: Bounds = Bounds {
    name: "hour",
    min: 0,
    max: 23,
    names: &[],
};
const DAY: Bounds = Bounds {
    name: "day of month",
    min: 1,
    max: 31,
    names: &[],
};
const MONTH: Bounds = Bounds {
    name: "month",
    min: 1,
    max: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAY: Bounds = Bounds {
    name: "day of week",
    min: 0,
    max: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Cron {
    /// The expression as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The zone of the expression; `None` means the server's.
    #[must_use]
    pub fn zone(&self) -> Option<&TimeZone> {
        self.zone.as_ref()
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let (zone, rest) = zone_and_rest(text)?;
        if rest.is_empty() {
            return Err(CronError::Empty);
        }
        let rule = match rest.strip_prefix('@') {
            Some(_) => descriptor(rest)?,
            None => Rule::Fields(fields(rest)?),
        };
        Ok(Self {
            text: text.to_owned(),
            zone,
            rule,
        })
    }
}

fn zone_and_rest(text: &str) -> Result<(Option<TimeZone>, &str), CronError> {
    let after = ["TZ=", "CRON_TZ="]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    let Some(after) = after else {
        return Ok((None, text.trim()));
    };
    let Some((name, rest)) = after.split_once(' ') else {
        return Err(CronError::ZoneOnly(text.to_owned()));
    };
    let zone = match name {
        "" | "UTC" => Some(TimeZone::UTC),
        // The server's own clock, as in Go.
        "Local" => None,
        name => Some(TimeZone::get(name).map_err(|_| CronError::Zone(name.to_owned()))?),
    };
    match rest.trim() {
        "" => Err(CronError::ZoneOnly(text.to_owned())),
        rest => Ok((zone, rest)),
    }
}

fn descriptor(text: &str) -> Result<Rule, CronError> {
    if let Some(interval) = text.strip_prefix("@every ") {
        let interval: GoDuration = interval.parse().map_err(CronError::Interval)?;
        return Ok(Rule::Every(Duration::from_secs(
            interval.0.as_secs().max(1),
        )));
    }
    let plain = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return Err(CronError::Descriptor(text.to_owned())),
    };
    fields(plain).map(Rule::Fields)
}

fn fields(text: &str) -> Result<Fields, CronError> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = parts.as_slice() else {
        return Err(CronError::FieldCount {
            text: text.to_owned(),
            found: parts.len(),
        });
    };
    let (minute, _) = field(minute, &MINUTE)?;
    let (hour, _) = field(hour, &HOUR)?;
    let (day, day_star) = field(day, &DAY)?;
    let (month, _) = field(month, &MONTH)?;
    let (weekday, weekday_star) = field(weekday, &WEEKDAY)?;
    let fields = Fields {
        minute,
        hour,
        day,
        month,
        weekday,
        both_days: day_star || weekday_star,
    };
    if fields.has_a_day() {
        Ok(fields)
    } else {
        Err(CronError::NeverRuns(text.to_owned()))
    }
}

impl Fields {
    /// False when no month has a day that matches, as for the 30th of February.
    fn has_a_day(&self) -> bool {
        let days_of = |month: u32| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        // With a star in one of them, the other alone decides; every weekday comes up in every month.
        let by_weekday = !self.both_days;
        by_weekday
            || (1..=12)
                .filter(|month| self.month & (1 << month) != 0)
                .any(|month| (1..=days_of(month)).any(|day| self.day & (1 << day) != 0))
    }
}

/// The values of a field, and whether it has a star.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), CronError> {
    let mut bits = 0;
    let mut star = false;
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (more, starred) = range(part, bounds).map_err(|reason| CronError::Field {
            field: bounds.name,
            text: part.to_owned(),
            reason,
        })?;
        bits |= more;
        star |= starred;
    }
    if bits == 0 {
        return Err(CronError::Field {
            field: bounds.name,
            text: text.to_owned(),
            reason: "it has no value".to_owned(),
        });
    }
    Ok((bits, star))
}

/// `N`, `N-M`, `*`, `?`, each with or without `/STEP`.
fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (span, step) = match text.split_once('/') {
        Some((_, step)) if step.contains('/') => return Err("it has several slashes".to_owned()),
        Some((span, step)) => (span, Some(number(step)?)),
        None => (text, None),
    };
    let (low, high) = match span.split_once('-') {
        Some((_, high)) if high.contains('-') => return Err("it has several hyphens".to_owned()),
        Some((low, high)) => (low, Some(high)),
        None => (span, None),
    };
    let star = matches!(low, "*" | "?");
    let (start, mut end) = match (star, high) {
        (true, _) => (bounds.min, bounds.max),
        (false, None) => {
            let value = value(low, bounds)?;
            (value, value)
        }
        (false, Some(high)) => (value(low, bounds)?, value(high, bounds)?),
    };
    if step.is_some() && high.is_none() {
        end = bounds.max;
    }
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err("a step of 0 goes nowhere".to_owned());
    }
    let Bounds { min, max, .. } = bounds;
    if start < *min || end > *max {
        return Err(format!("the values go from {min} to {max}"));
    }
    if start > end {
        return Err(format!("{start} comes after {end}"));
    }
    let bits = (start..=end)
        .step_by(step as usize)
        .fold(0, |bits, value| bits | 1u64 << value);
    Ok((bits, star && step == 1))
}

fn value(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(position) => Ok(position as u32 + bounds.min),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| match text {
        "" => "a number is missing".to_owned(),
        text => format!("`{text}` is no number that can stand here"),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn bits(text: &str, bounds: &Bounds) -> Vec<u32> {
        let (bits, _) = field(text, bounds).expect(text);
        (0..64).filter(|value| bits & (1 << value) != 0).collect()
    }

    #[test]
    fn fields_hold_what_they_say() {
        for (text, bounds, wanted) in [
            ("5", &HOUR, vec![5]),
            ("+5", &HOUR, vec![5]),
            ("05", &HOUR, vec![5]),
            ("5-5", &HOUR, vec![5]),
            ("5-7/2", &HOUR, vec![5, 7]),
            ("20/2", &HOUR, vec![20, 22]),
            ("1,5-7/2,3", &HOUR, vec![1, 3, 5, 7]),
            ("1,,2", &HOUR, vec![1, 2]),
            ("Mon-fri", &WEEKDAY, vec![1, 2, 3, 4, 5]),
            ("FEB,nov", &MONTH, vec![2, 11]),
            ("*/5", &MONTH, vec![1, 6, 11]),
            ("?", &WEEKDAY, vec![0, 1, 2, 3, 4, 5, 6]),
            ("1/100", &DAY, vec![1]),
        ] {
            assert_eq!(bits(text, bounds), wanted, "{text}");
        }
    }

    #[test]
    fn a_star_with_a_step_is_no_star() {
        let starred = |text| field(text, &DAY).expect(text).1;
        assert!(starred("*") && starred("?") && starred("*/1") && starred("3,*"));
        assert!(!starred("*/2") && !starred("1-31") && !starred("5"));
    }

    #[test]
    fn descriptors_are_expressions() {
        for (short, long) in [
            ("@yearly", "0 0 1 1 *"),
            ("@annually", "0 0 1 1 *"),
            ("@monthly", "0 0 1 * *"),
            ("@weekly", "0 0 * * 0"),
            ("@daily", "0 0 * * *"),
            ("@midnight", "0 0 * * *"),
            ("@hourly", "0 * * * *"),
        ] {
            let rule = |text: &str| text.parse::<Cron>().expect(text).rule;
            assert_eq!(rule(short), rule(long), "{short}");
        }
        for (text, seconds) in [
            ("@every 6h", 21600),
            ("@every 1m30.9s", 90),
            ("@every 0s", 1),
        ] {
            let cron: Cron = text.parse().expect(text);
            assert_eq!(cron.rule, Rule::Every(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn zones_stand_in_front() {
        let zone = |text: &str| text.parse::<Cron>().expect(text).zone;
        assert_eq!(zone("0 2 * * *"), None);
        assert_eq!(zone("TZ=UTC  0 2 * * *"), Some(TimeZone::UTC));
        assert_eq!(zone("TZ= @daily"), Some(TimeZone::UTC));
        assert_eq!(zone("CRON_TZ=Local @daily"), None);
        let seoul = TimeZone::get("Asia/Seoul").expect("the machine has time zones");
        assert_eq!(zone("CRON_TZ=Asia/Seoul 0 2 * * *"), Some(seoul));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let errors = [
            "",
            "  ",
            "xyz",
            "0 0 * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "* * * * XYZ",
            "5-2 * * * *",
            "1-2-3 * * * *",
            "1/2/3 * * * *",
            "15/0 * * * *",
            "-5 * * * *",
            ", * * * *",
            "5/ * * * *",
            "0 0 30 2 *",
            "0 0 31 2,4,6 ?",
            "@sometimes",
            "@Daily",
            "@every",
            "@every soon",
            "@every -1h",
            "TZ=UTC",
            "TZ=UTC ",
            "TZ=Mars/Olympus @daily",
        ]
        .map(|text| match text.parse::<Cron>() {
            Ok(_) => panic!("`{text}` was taken"),
            Err(error) => error.to_string(),
        });
        expect![[r#"
            the schedule is empty: give a cron expression such as `0 2 * * *` or `@daily`
            the schedule is empty: give a cron expression such as `0 2 * * *` or `@daily`
            `xyz` has 1 fields where five are needed: minute, hour, day of month, month, day of week
            `0 0 * * * *` has 6 fields where five are needed: minute, hour, day of month, month, day of week
            minute `60`: the values go from 0 to 59
            hour `24`: the values go from 0 to 23
            day of month `0`: the values go from 1 to 31
            month `13`: the values go from 1 to 12
            day of week `7`: the values go from 0 to 6
            day of week `XYZ`: `XYZ` is no number that can stand here
            minute `5-2`: 5 comes after 2
            minute `1-2-3`: it has several hyphens
            minute `1/2/3`: it has several slashes
            minute `15/0`: a step of 0 goes nowhere
            minute `-5`: a number is missing
            minute `,`: it has no value
            minute `5/`: a number is missing
            `0 0 30 2 *` never runs: no month of it has such a day
            `0 0 31 2,4,6 ?` never runs: no month of it has such a day
            `@sometimes` is no descriptor: use @yearly, @monthly, @weekly, @daily, @hourly or `@every 6h`
            `@Daily` is no descriptor: use @yearly, @monthly, @weekly, @daily, @hourly or `@every 6h`
            `@every` is no descriptor: use @yearly, @monthly, @weekly, @daily, @hourly or `@every 6h`
            @every: `soon` is not a duration such as 30m, 720h or 1h30m0s
            @every: `-1h` is not a duration such as 30m, 720h or 1h30m0s
            `TZ=UTC` has a time zone but no schedule behind it: write `CRON_TZ=Zone/Name 0 2 * * *`
            `TZ=UTC ` has a time zone but no schedule behind it: write `CRON_TZ=Zone/Name 0 2 * * *`
            time zone `Mars/Olympus` is not known here: use a name of the IANA database such as `Europe/Berlin`, and see that the machine has that database"#]].assert_eq(&errors.join("\n"));
    }
}
