//! Cron expressions as calendars of systemd.

use std::fmt::Write as _;

use salvor_api::schedule::Cron;

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The five fields of an expression, without its zone; `None` for an interval, which is no time of a calendar.
pub(super) fn fields(cron: &Cron) -> Option<[String; 5]> {
    let text = cron.as_str().trim();
    let text = match text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        true => text.split_once(' ')?.1.trim(),
        false => text,
    };
    let text = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    };
    let fields: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    fields.try_into().ok()
}

/// Calendars of which any may match, as lines of `OnCalendar=` are taken.
pub(super) fn calendars(cron: &Cron) -> Option<Vec<String>> {
    let [minute, hour, day, month, weekday] = fields(cron)?;
    let of = |field: &str, from: u32, to: u32, names: &[&str]| values(field, from, to, names);
    let two = |values: Vec<u32>, all: usize| list(&values, all, |value| format!("{value:02}"));
    let minutes = two(of(&minute, 0, 59, &[])?, 60);
    let hours = two(of(&hour, 0, 23, &[])?, 24);
    let days = two(of(&day, 1, 31, &[])?, 31);
    let months = two(of(&month, 1, 12, &MONTHS)?, 12);
    let weekdays = of(
        &weekday,
        0,
        6,
        &WEEKDAYS
            .map(str::to_lowercase)
            .each_ref()
            .map(String::as_str),
    )?;
    let weekdays = list(&weekdays, 7, |value| WEEKDAYS[value as usize].to_owned());
    let zone = cron.zone().and_then(|zone| zone.iana_name());
    let line = |weekdays: &str, days: &str| {
        let mut line = String::new();
        if weekdays != "*" {
            // Writing to a string cannot fail.
            let _ = write!(line, "{weekdays} ");
        }
        let _ = write!(line, "*-{months}-{days} {hours}:{minutes}:00");
        if let Some(zone) = zone {
            let _ = write!(line, " {zone}");
        }
        line
    };
    let is_restricted = |field: &str| !matches!(field, "*" | "?");
    // Cron takes either of two days that are both restricted; a calendar wants both.
    Some(match is_restricted(&day) && is_restricted(&weekday) {
        true => vec![line("*", &days), line(&weekdays, "*")],
        false => vec![line(&weekdays, &days)],
    })
}

/// The values of a field that is known to be good.
fn values(field: &str, from: u32, to: u32, names: &[&str]) -> Option<Vec<u32>> {
    let one = |text: &str| {
        let named = names.iter().position(|name| *name == text.to_lowercase());
        match named {
            Some(at) => Some(from + at as u32),
            None => text.parse().ok(),
        }
    };
    let mut wanted = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<usize>().ok()?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (one(first)?, one(last)?),
            None if matches!(range, "*" | "?") => (from, to),
            // With a step a single value is where it begins.
            None => (one(range)?, if step.is_some() { to } else { one(range)? }),
        };
        wanted.extend((first..=last).step_by(step.unwrap_or(1).max(1)));
    }
    wanted.sort_unstable();
    wanted.dedup();
    Some(wanted)
}

fn list(values: &[u32], all: usize, shown: impl Fn(u32) -> String) -> String {
    if values.len() == all {
        return "*".to_owned();
    }
    let values: Vec<String> = values.iter().map(|value| shown(*value)).collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_calendars_with_the_same_times() {
        for (cron, expected) in [
            ("0 2 * * *", &["*-*-* 02:00:00"][..]),
            ("*/15 * * * *", &["*-*-* *:00,15,30,45:00"]),
            (
                "5/20 8-10 * * MON-fri",
                &["Mon,Tue,Wed,Thu,Fri *-*-* 08,09,10:05,25,45:00"],
            ),
            ("0 0 1 jan,7 *", &["*-01,07-01 00:00:00"]),
            ("30 1 1 * 0", &["*-*-01 01:30:00", "Sun *-*-* 01:30:00"]),
            ("@weekly", &["Sun *-*-* 00:00:00"]),
            ("@hourly", &["*-*-* *:00:00"]),
            (
                "CRON_TZ=Europe/Berlin 0 2 * * *",
                &["*-*-* 02:00:00 Europe/Berlin"],
            ),
        ] {
            let cron: Cron = cron.parse().expect("a schedule");
            assert_eq!(calendars(&cron).expect("a calendar"), expected, "{cron}");
        }
        let interval: Cron = "@every 6h".parse().expect("a schedule");
        assert_eq!(calendars(&interval), None);
    }
}
