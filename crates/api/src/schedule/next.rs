//! The next time that an expression matches.

use jiff::civil::{Date, Time as ClockTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::cron::{Cron, Fields, Rule};

/// How far ahead a match is looked for, in days: five years, as the original does, and the rest of the
/// year that the search starts in.
const HORIZON: i32 = 6 * 366;

impl Cron {
    /// The first matching time strictly after `after`; `local` is the server's zone, for expressions
    /// without one. `None` when there is none within five years.
    ///
    /// A minute matches when the clock on the wall shows it. What a clock skips in spring does not come,
    /// what it shows twice in autumn comes twice. That is what the original does too, except where it
    /// loses a run: on the first day of summer time in zones east of Greenwich that skip midnight
    /// (`Africa/Cairo`), and where the clock moves by half an hour (`Australia/Lord_Howe`).
    #[must_use]
    pub fn next(&self, after: Timestamp, local: &TimeZone) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every(interval) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                whole.checked_add(*interval).ok()
            }
            Rule::Fields(fields) => next_match(fields, after, self.zone.as_ref().unwrap_or(local)),
        }
    }

    /// True when the wall clock at `at` shows a time of this expression, to the second. An interval has
    /// no such times.
    #[must_use]
    pub fn matches(&self, at: Timestamp, local: &TimeZone) -> bool {
        let Rule::Fields(fields) = &self.rule else {
            return false;
        };
        let shown = self.zone.as_ref().unwrap_or(local).to_datetime(at);
        fields.has_day(shown.date())
            && fields.hour & (1 << shown.hour()) != 0
            && fields.minute & (1 << shown.minute()) != 0
            && shown.second() == 0
            && shown.subsec_nanosecond() == 0
    }
}

impl Fields {
    fn has_day(&self, date: Date) -> bool {
        if self.month & (1 << date.month()) == 0 {
            return false;
        }
        let day = self.day & (1 << date.day()) != 0;
        let weekday = self.weekday & (1 << date.weekday().to_sunday_zero_offset()) != 0;
        if self.both_days {
            day && weekday
        } else {
            day || weekday
        }
    }

    /// Times of a day, in order.
    fn times(&self) -> impl Iterator<Item = ClockTime> + '_ {
        let hours = (0..24).filter(|hour| self.hour & (1 << hour) != 0);
        hours.flat_map(|hour| {
            (0..60)
                .filter(|minute| self.minute & (1 << minute) != 0)
                .map(move |minute| ClockTime::constant(hour, minute, 0, 0))
        })
    }
}

fn next_match(fields: &Fields, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    // A clock that is set back over midnight shows the end of the day before once more.
    let mut date = zone.to_datetime(after).date().yesterday().ok()?;
    for _ in 0..HORIZON {
        if fields.has_day(date)
            && let Some(found) = first_on(fields, date, after, zone)
        {
            return Some(found);
        }
        date = date.tomorrow().ok()?;
    }
    None
}

/// The first match after `after` on this day, or, around a change of the clock, on the next ones: a clock
/// that is set back over midnight shows the beginning of a day before the end of the one before.
fn first_on(fields: &Fields, date: Date, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let midnight = date.to_datetime(ClockTime::midnight());
    // Every zone is within 26 hours of UTC: no change in this span means one offset for the whole day.
    let start = jiff::tz::Offset::UTC.to_timestamp(midnight).ok()?;
    let begin = start.checked_sub(30.hours()).ok()?;
    let end = start.checked_add(54.hours()).ok()?;
    let changes = zone
        .following(begin)
        .next()
        .is_some_and(|change| change.timestamp() <= end);
    if !changes {
        let offset = zone.to_offset(begin);
        let zero = offset.to_timestamp(midnight).ok()?;
        return fields.times().find_map(|time| {
            let since =
                SignedDuration::from_mins(i64::from(time.hour()) * 60 + i64::from(time.minute()));
            zero.checked_add(since).ok().filter(|at| *at > after)
        });
    }
    date.series(1.day())
        .take(3)
        .filter(|day| fields.has_day(*day))
        .flat_map(|day| {
            fields
                .times()
                .flat_map(move |time| shown_at(day, time, zone))
        })
        .filter(|at| *at > after)
        .min()
}

/// When the clock shows this time on this day: once, twice or never.
fn shown_at(date: Date, time: ClockTime, zone: &TimeZone) -> Vec<Timestamp> {
    let shown = date.to_datetime(time);
    let offsets = match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![offset],
        AmbiguousOffset::Gap { .. } => vec![],
        AmbiguousOffset::Fold { before, after } => vec![before, after],
    };
    offsets
        .into_iter()
        .filter_map(|offset| offset.to_timestamp(shown).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, after: &str) -> Option<Timestamp> {
        let cron: Cron = cron.parse().expect(cron);
        cron.next(after.parse().expect(after), &TimeZone::UTC)
    }

    /// Known answers of the original, without its field of seconds.
    #[test]
    fn the_next_run_is_the_originals() {
        for (after, cron, wanted) in [
            (
                "2012-07-09T14:45:00Z",
                "0/15 * * * *",
                "2012-07-09T15:00:00Z",
            ),
            (
                "2012-07-09T14:59:59Z",
                "0/15 * * * *",
                "2012-07-09T15:00:00Z",
            ),
            (
                "2012-07-09T15:45:00Z",
                "20-35/15 * * * *",
                "2012-07-09T16:20:00Z",
            ),
            (
                "2012-07-09T23:46:00Z",
                "*/15 * * * *",
                "2012-07-10T00:00:00Z",
            ),
            (
                "2012-07-09T23:45:00Z",
                "20-35/15 * * * *",
                "2012-07-10T00:20:00Z",
            ),
            (
                "2012-07-09T23:35:51Z",
                "20-35/15 1/2 * * *",
                "2012-07-10T01:20:00Z",
            ),
            (
                "2012-07-09T23:35:51Z",
                "20-35/15 10-12 * * *",
                "2012-07-10T10:20:00Z",
            ),
            (
                "2012-07-09T23:35:51Z",
                "20-35/15 1/2 */2 * *",
                "2012-07-11T01:20:00Z",
            ),
            (
                "2012-07-09T23:35:51Z",
                "20-35/15 * 9-20 Jul *",
                "2012-07-10T00:20:00Z",
            ),
            (
                "2012-07-09T23:35:00Z",
                "0 0 9 Apr-Oct ?",
                "2012-08-09T00:00:00Z",
            ),
            (
                "2012-07-09T23:35:00Z",
                "0 0 */5 Apr,Aug,Oct Mon",
                "2012-08-01T00:00:00Z",
            ),
            (
                "2012-07-09T23:35:00Z",
                "0 0 */5 Oct Mon",
                "2012-10-01T00:00:00Z",
            ),
            (
                "2012-07-09T23:35:00Z",
                "0 0 * Feb Mon",
                "2013-02-04T00:00:00Z",
            ),
            (
                "2012-07-09T23:35:00Z",
                "0 0 * Feb Mon/2",
                "2013-02-01T00:00:00Z",
            ),
            ("2012-12-31T23:59:45Z", "* * * * *", "2013-01-01T00:00:00Z"),
            (
                "2012-07-09T23:35:00Z",
                "0 0 29 Feb ?",
                "2016-02-29T00:00:00Z",
            ),
            (
                "2016-01-03T07:39:03Z",
                "CRON_TZ=Asia/Kolkata 14 14 * * *",
                "2016-01-03T08:44:00Z",
            ),
            // New York leaves out the hour after 2:00 on 2012-03-11.
            (
                "2012-03-11T00:00:00-05:00",
                "TZ=America/New_York 30 2 11 Mar ?",
                "2013-03-11T02:30:00-04:00",
            ),
            (
                "2012-03-11T00:00:00-05:00",
                "TZ=America/New_York 0 * * * ?",
                "2012-03-11T01:00:00-05:00",
            ),
            (
                "2012-03-11T01:00:00-05:00",
                "TZ=America/New_York 0 * * * ?",
                "2012-03-11T03:00:00-04:00",
            ),
            (
                "2012-03-11T01:00:00-05:00",
                "TZ=America/New_York 0 1 * * ?",
                "2012-03-12T01:00:00-04:00",
            ),
            (
                "2012-03-11T00:00:00-05:00",
                "TZ=America/New_York 0 2 * * ?",
                "2012-03-12T02:00:00-04:00",
            ),
            // It shows the hour after 1:00 twice on 2012-11-04.
            (
                "2012-11-04T00:00:00-04:00",
                "TZ=America/New_York 30 2 04 Nov ?",
                "2012-11-04T02:30:00-05:00",
            ),
            (
                "2012-11-04T01:45:00-04:00",
                "TZ=America/New_York 30 1 04 Nov ?",
                "2012-11-04T01:30:00-05:00",
            ),
            (
                "2012-11-04T00:00:00-04:00",
                "TZ=America/New_York 0 1 * * ?",
                "2012-11-04T01:00:00-04:00",
            ),
            (
                "2012-11-04T01:00:00-04:00",
                "TZ=America/New_York 0 1 * * ?",
                "2012-11-04T01:00:00-05:00",
            ),
            (
                "2012-11-04T01:00:00-05:00",
                "TZ=America/New_York 0 1 * * ?",
                "2012-11-05T01:00:00-05:00",
            ),
            (
                "2012-11-04T00:00:00-04:00",
                "TZ=America/New_York 0 2 * * ?",
                "2012-11-04T02:00:00-05:00",
            ),
            (
                "2012-11-04T00:00:00-04:00",
                "TZ=America/New_York 0 3 3 * ?",
                "2012-12-03T03:00:00-05:00",
            ),
            // São Paulo had no midnight on some days.
            (
                "2018-10-17T05:00:00-04:00",
                "TZ=America/Sao_Paulo 0 9 10 * ?",
                "2018-11-10T06:00:00-05:00",
            ),
            (
                "2018-02-14T05:00:00-05:00",
                "TZ=America/Sao_Paulo 0 9 22 * ?",
                "2018-02-22T07:00:00-05:00",
            ),
            // Two that the original loses.
            (
                "2026-04-20T00:00:00Z",
                "TZ=Africa/Cairo 0 3 * * Fri",
                "2026-04-24T03:00:00+03:00",
            ),
            (
                "2026-10-03T13:00:00Z",
                "TZ=Australia/Lord_Howe 0 3 * * *",
                "2026-10-04T03:00:00+11:00",
            ),
            (
                "2026-11-20T02:00:00.9Z",
                "@every 90m",
                "2026-11-20T03:30:00Z",
            ),
        ] {
            let wanted: Timestamp = wanted.parse().expect(wanted);
            assert_eq!(next(cron, after), Some(wanted), "{cron} after {after}");
        }
    }

    #[test]
    fn days_match_as_in_the_original() {
        for (at, cron, wanted) in [
            ("2012-07-15T00:00:00Z", "* * 1,15 * Sun", true),
            ("2012-06-15T00:00:00Z", "* * 1,15 * Sun", true),
            ("2012-08-01T00:00:00Z", "* * 1,15 * Sun", true),
            ("2012-07-15T00:00:00Z", "* * */10 * Sun", true),
            ("2012-07-15T00:00:00Z", "* * * * Mon", false),
            ("2012-07-09T00:00:00Z", "* * 1,15 * *", false),
            ("2012-07-15T00:00:00Z", "* * 1,15 * *", true),
            ("2012-07-15T00:00:00Z", "* * */2 * Sun", true),
            ("2012-07-15T08:30:00Z", "30 08 ? Jul Sun", true),
            ("2012-07-16T08:30:00Z", "30 08 15 Jul ?", false),
            ("2012-07-09T15:04:00Z", "@hourly", false),
            ("2012-07-08T00:00:00Z", "@weekly", true),
            ("2012-07-08T01:00:00Z", "@weekly", false),
        ] {
            let time: Timestamp = at.parse().expect(at);
            let before = time - 1.second();
            let found = next(cron, &before.to_string()) == Some(time);
            assert_eq!(found, wanted, "{cron} at {at}");
            let cron: Cron = cron.parse().expect(cron);
            assert_eq!(cron.matches(time, &TimeZone::UTC), wanted, "{cron} at {at}");
        }
    }

    /// Minutes of the days around the changes of clocks, one after the other.
    #[test]
    fn every_matching_minute_comes_and_no_other() {
        for (zone, days) in [
            (
                "America/New_York",
                ["2026-03-06T05:00:00Z", "2026-10-30T05:00:00Z"],
            ),
            (
                "America/Sao_Paulo",
                ["2018-11-02T00:00:00Z", "2018-02-16T00:00:00Z"],
            ),
            (
                "Africa/Cairo",
                ["2026-04-22T00:00:00Z", "2026-10-28T00:00:00Z"],
            ),
            (
                "America/Havana",
                ["2026-03-07T00:00:00Z", "2026-10-30T00:00:00Z"],
            ),
            (
                "Australia/Lord_Howe",
                ["2026-04-03T00:00:00Z", "2026-10-02T00:00:00Z"],
            ),
            // Set back from 00:01 to 23:01 of the day before.
            (
                "America/St_Johns",
                ["2006-04-01T00:00:00Z", "2006-10-28T00:00:00Z"],
            ),
            // Left out a whole day.
            (
                "Pacific/Apia",
                ["2011-12-29T00:00:00Z", "2012-03-31T00:00:00Z"],
            ),
        ] {
            let local = TimeZone::get(zone).expect(zone);
            for text in [
                "*/7 * * * *",
                "0 0 * * *",
                "30 23 * * *",
                "15 1,2,3 * * *",
                "0 3 * * Fri",
                "59 23 */2 * Sat",
            ] {
                let cron: Cron = text.parse().expect(text);
                for start in days {
                    let start: Timestamp = start.parse().expect(start);
                    let end = start + 96.hours();
                    let minutes = (0..96 * 60).map(|minute| start + minute.minutes());
                    let wanted: Vec<Timestamp> = minutes
                        .filter(|at| *at > start && cron.matches(*at, &local))
                        .collect();
                    let mut found = Vec::new();
                    let mut at = start;
                    while let Some(next) = cron.next(at, &local).filter(|next| *next < end) {
                        assert!(next > at, "{text} in {zone} stands still at {at}");
                        found.push(next);
                        at = next;
                    }
                    let odd = wanted.iter().zip(&found).find(|(a, b)| a != b);
                    assert_eq!(odd, None, "{text} in {zone}");
                    assert_eq!(found.len(), wanted.len(), "{text} in {zone}");
                }
            }
        }
    }
}
